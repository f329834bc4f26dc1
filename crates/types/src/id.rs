//! Prefixed UUIDv7 ids (RFC 9562): `<prefix>_` and 32 lower-case hex digits.
//!
//! Ids are not secrets and never authorise anything. They carry their creation time, so they
//! sort by it.

use crate::hex::hex;
use crate::{Clock, Entropy, WallMillis};
use std::fmt;
use std::str::FromStr;

/// Why a text is not an id of the wanted kind.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not an id: want `{prefix}` and 32 lower-case hex digits")]
pub struct ParseIdError {
    /// The prefix the id should have had.
    pub prefix: &'static str,
}

const fn uuid_v7(at: WallMillis, random: [u8; 16]) -> [u8; 16] {
    let [_, _, t0, t1, t2, t3, t4, t5] = at.0.to_be_bytes();
    let [.., r6, r7, r8, r9, r10, r11, r12, r13, r14, r15] = random;
    let (version, variant) = ((r6 & 0x0f) | 0x70, (r8 & 0x3f) | 0x80);
    [
        t0, t1, t2, t3, t4, t5, version, r7, variant, r9, r10, r11, r12, r13, r14, r15,
    ]
}

fn parse(text: &str, prefix: &'static str) -> Result<[u8; 16], ParseIdError> {
    let wrong = ParseIdError { prefix };
    let hex = text.strip_prefix(prefix).ok_or(wrong)?.as_bytes();
    if hex.len() != 32 {
        return Err(wrong);
    }
    let nibble = |byte: u8| match byte {
        b'0'..=b'9' => Ok(byte.wrapping_sub(b'0')),
        b'a'..=b'f' => Ok(byte.wrapping_sub(b'a').wrapping_add(10)),
        _ => Err(wrong),
    };
    let mut bytes = [0_u8; 16];
    for (slot, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
        if let [high, low] = pair {
            *slot = (nibble(*high)? << 4) | nibble(*low)?;
        }
    }
    Ok(bytes)
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name([u8; 16]);

        impl $name {
            /// What every id of this kind starts with.
            pub const PREFIX: &'static str = $prefix;

            /// A new id: the wall clock's milliseconds, then random bits.
            pub fn new(clock: &dyn Clock, entropy: &dyn Entropy) -> Self {
                let mut random = [0; 16];
                entropy.fill(&mut random);
                Self::of(clock.wall(), random)
            }

            /// The id of this moment with these random bits.
            #[inline]
            pub const fn of(at: WallMillis, random: [u8; 16]) -> Self {
                Self(uuid_v7(at, random))
            }

            /// The id from its sixteen bytes, as a store keeps them.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The sixteen bytes.
            pub const fn bytes(&self) -> &[u8; 16] {
                &self.0
            }

            /// When it was made, by the clock of whoever made it.
            pub const fn made_at(&self) -> WallMillis {
                let [t0, t1, t2, t3, t4, t5, ..] = self.0;
                WallMillis(u64::from_be_bytes([0, 0, t0, t1, t2, t3, t4, t5]))
            }

            /// The hex digits behind the prefix.
            pub fn hex(&self) -> [u8; 32] {
                hex(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                // In one piece: a text that is made of it grows once.
                let mut text = [0_u8; $prefix.len() + 32];
                let (prefix, digits) = text.split_at_mut($prefix.len());
                prefix.copy_from_slice($prefix.as_bytes());
                digits.copy_from_slice(&self.hex());
                f.write_str(std::str::from_utf8(&text).unwrap_or_default())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                parse(text, $prefix).map(Self)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(
    /// A tenant: owner of projects.
    TenantId, "ten_"
);
id!(
    /// A project: owner of access tokens and credentials.
    ProjectId, "prj_"
);
id!(
    /// The record of an access token (never the token itself).
    TokenId, "tid_"
);
id!(
    /// A line of access tokens made from each other by rotation; it owns the counters.
    LineageId, "lin_"
);
id!(
    /// The record of a management key.
    ManagementKeyId, "mky_"
);
id!(
    /// A person who operates.
    OperatorId, "opr_"
);
id!(
    /// The record of a console session (never what its cookie holds).
    ConsoleSessionId, "csn_"
);
id!(
    /// A service token; clients send it beside its secret.
    ServiceTokenId, "svc_"
);
id!(
    /// An entry of an address list.
    IpEntryId, "ipe_"
);
id!(
    /// A sealed upstream credential.
    CredentialId, "crd_"
);
id!(
    /// A bound taken aside for one attempt of one request.
    HoldId, "hld_"
);
id!(
    /// A payment for one delivery.
    PaymentId, "pay_"
);
id!(
    /// What a payment bought that lasts longer than one call (never the token that shows it).
    SessionId, "ses_"
);
id!(
    /// A budget.
    BudgetId, "bud_"
);
id!(
    /// An account with a balance.
    AccountId, "acc_"
);
id!(
    /// An entry of the ledger: two postings or more that come to zero.
    EntryId, "ent_"
);
id!(
    /// A slice of a budget that a replica may grant from.
    LeaseId, "lse_"
);
id!(
    /// One running place of the gateway, over its restarts.
    ReplicaId, "rep_"
);
id!(
    /// Long work that an operator began.
    JobId, "job_"
);
id!(
    /// One request, as told to the caller in `X-Request-Id`.
    RequestId, "req_"
);
id!(
    /// One audit event.
    EventId, "evt_"
);
id!(
    /// One chain of audit events.
    StreamId, "aus_"
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MonoNanos;

    struct Fixed;
    impl Clock for Fixed {
        fn mono(&self) -> MonoNanos {
            MonoNanos(0)
        }
        fn wall(&self) -> WallMillis {
            WallMillis(0x0192_f3c4_a5b6)
        }
    }
    impl Entropy for Fixed {
        fn fill(&self, out: &mut [u8]) {
            out.fill(0xff);
        }
    }

    // ID-1
    #[test]
    fn an_id_is_its_prefix_and_a_version_seven_uuid() {
        let id = ProjectId::new(&Fixed, &Fixed);
        assert_eq!(id.to_string(), "prj_0192f3c4a5b67fffbfffffffffffffff");
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn an_id_tells_when_it_was_made() {
        for at in [0, 1_795_342_530_123, (1 << 48) - 1] {
            let id = LineageId::of(WallMillis(at), [7; 16]);
            assert_eq!(id.made_at(), WallMillis(at));
        }
    }

    #[test]
    fn what_is_not_an_id_of_the_kind_is_refused() {
        for (name, text) in [
            ("other kind", "tid_0192f3c4a5b67fffbfffffffffffffff"),
            ("upper case", "prj_0192F3C4A5B67FFFBFFFFFFFFFFFFFFF"),
            ("short", "prj_0192f3c4a5b67fffbfffffffffffff"),
            ("long", "prj_0192f3c4a5b67fffbfffffffffffffffff"),
            ("empty", ""),
            ("not ascii", "prj_ä192f3c4a5b67fffbffffffffffffff"),
        ] {
            assert!(text.parse::<ProjectId>().is_err(), "{name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn display_and_parse_are_inverse(bytes: [u8; 16]) {
            let id = TokenId::from_bytes(bytes);
            proptest::prop_assert_eq!(id.to_string().parse(), Ok(id));
        }
    }
}
