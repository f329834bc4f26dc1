//! Access tokens, management keys, and the key that seals secrets.

use super::vault::Vault;
use super::{DAY_MS, TEN_YEARS_MS, days, ms};
use crate::check::Checks;
use crate::field::{KindExt, section};
use crate::kind::{Parsed, choice, duration, maybe, parsed, secret, switch, whole};
use crate::reader::keys;
use std::time::Duration;
use tollkeep_types::Secret;

/// Access tokens, management keys and the encryption key.
#[derive(Clone, Debug)]
pub struct Auth {
    /// Prefix of new access tokens (ID-11).
    pub token_prefix: String,
    /// Prefix of new management keys.
    pub management_prefix: String,
    /// Life of an access token made without one.
    pub token_default_ttl: Duration,
    /// Longest life of an access token.
    pub token_max_ttl: Duration,
    /// How long tokens that holders replace themselves go on in all.
    pub lineage_max_ttl: Duration,
    /// Whether access tokens without an end may be made.
    pub allow_eternal_tokens: bool,
    /// Request count of an access token made without one; 0 is no count.
    pub token_default_max_requests: u64,
    /// How often expired tokens are swept.
    pub token_cleanup_interval: Duration,
    /// Earliest moment an authentication failure is answered, after the head (ID-61).
    pub failure_floor: Duration,
    /// How old the knowledge of what was revoked elsewhere may be; `None`: of any age (ID-33).
    pub revocation_stale_after: Option<Duration>,
    /// The external key-encryption key as text (ID-64); `None` makes a local key file.
    pub encryption_key: Option<Secret>,
}

keys! {
    /// Access tokens and management keys.
    pub(crate) struct AuthFile {
        /// Prefix of new access tokens. Changing it leaves old ones valid.
        token_prefix: String = prefix().or("tok-".into()),
        /// Prefix of new management keys.
        management_prefix: String = prefix().or("mgt-".into()),
        /// Life of an access token made without one.
        token_default_ttl: Duration = duration(1_000..=TEN_YEARS_MS).or(days(30)),
        /// Longest life of an access token.
        token_max_ttl: Duration = duration(1_000..=TEN_YEARS_MS).or(days(365)),
        /// How long after the first token of a line was made the last one ends that a holder made
        /// by itself (`self_rotate`). Operators may rotate for longer.
        lineage_max_ttl: Duration = duration(1_000..=TEN_YEARS_MS).or(days(365)),
        /// Whether access tokens without an end may be made.
        allow_eternal_tokens: bool = switch().or(false),
        /// Request count of an access token made without one; 0 is no count.
        token_default_max_requests: u64 = whole(0..=i64::MAX).or(0),
        /// How often expired tokens are swept.
        token_cleanup_interval: Duration = duration(1_000..=DAY_MS).or(ms(3_600_000)),
        /// Earliest moment an authentication failure is answered, counted from the end of the
        /// head, so that time does not tell why.
        failure_floor: Duration = duration(0..=1_000).or(ms(20)),
        /// How long a replica that can't read what others revoked goes on letting tokens call. It
        /// matters with PostgreSQL.
        revocation_stale_after: Duration = duration(1_000..=600_000).or(ms(5_000)),
        /// What it does then: `closed` refuses calls with tokens, `open` lets them pass.
        on_stale: OnStale = choice(&[("closed", OnStale::Closed), ("open", OnStale::Open)])
            .or(OnStale::Closed),
        encryption: Encryption = section(),
    }
}

/// What is done with tokens of which nobody knows whether they were revoked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum OnStale {
    Closed,
    Open,
}

keys! {
    /// The external key that seals secrets in the store.
    pub(crate) struct Encryption {
        /// Whether there is one. Without, a key file in `data_dir` is made and used.
        enabled: bool = switch().or(true),
        /// The key: 32 bytes as 64 hex digits, as base64, or as 32 characters.
        key: Option<Secret> = maybe(secret()).or(None),
    }
}

/// A prefix of tokens or keys (ID-11).
const fn prefix() -> Parsed<String> {
    parsed("1 to 14 letters and digits and then `-` or `_`", |text| {
        let body = text.strip_suffix(['-', '_']).unwrap_or_default();
        let letter_first = body.starts_with(|c: char| c.is_ascii_alphabetic());
        let plain = body.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if letter_first && plain && body.len() <= 14 {
            return Ok(text.to_owned());
        }
        Err(format!(
            "want a letter, up to 13 letters and digits, and `-` or `_`, not {text:?}"
        ))
    })
}

const KEY: &str = "auth.encryption.key";

impl AuthFile {
    pub(super) fn check(self, vault: &Vault, checks: &mut Checks<'_>) -> Auth {
        if self.token_prefix == self.management_prefix {
            let problem = "is that of access tokens too: the two must differ";
            checks.error("auth.management_prefix", problem);
        }
        if self.token_default_ttl > self.token_max_ttl {
            let problem = "is longer than `auth.token_max_ttl`";
            checks.error("auth.token_default_ttl", problem);
        }
        let encryption_key = self.encryption.check(vault, checks);
        Auth {
            token_prefix: self.token_prefix,
            management_prefix: self.management_prefix,
            token_default_ttl: self.token_default_ttl,
            token_max_ttl: self.token_max_ttl,
            lineage_max_ttl: self.lineage_max_ttl,
            allow_eternal_tokens: self.allow_eternal_tokens,
            token_default_max_requests: self.token_default_max_requests,
            token_cleanup_interval: self.token_cleanup_interval,
            failure_floor: self.failure_floor,
            revocation_stale_after: match self.on_stale {
                OnStale::Closed => Some(self.revocation_stale_after),
                OnStale::Open => None,
            },
            encryption_key,
        }
    }
}

impl Encryption {
    /// ID-64.
    fn check(self, vault: &Vault, checks: &mut Checks<'_>) -> Option<Secret> {
        const PLACEHOLDER: &str = "YOUR_32_BYTE_ENCRYPTION_KEY_HERE";
        if !self.enabled && self.key.is_some() {
            let problem = "is off, so the key that is set is not used";
            checks.warn("auth.encryption.enabled", problem);
        }
        let key = self.key.filter(|_| self.enabled);
        if key.as_ref().is_some_and(|key| key.expose() == PLACEHOLDER) {
            checks.error(KEY, "is the placeholder of a guide, not a key");
        }
        if key.is_some() && vault.keks.iter().any(|kek| kek.id == "k1") {
            let problem = "is set, and its id is `k1` as is that of a key in `vault.keks`: leave \
                           one of them out";
            checks.error(KEY, problem);
        }
        let is_given = key.is_some() || vault.has_active();
        if !is_given && checks.env.set("REQUIRE_ENCRYPTION_KEY") == Some("true") {
            checks.error(KEY, "is missing, and REQUIRE_ENCRYPTION_KEY asks for it");
        } else if !is_given && checks.in_production() && !vault.allow_local_kek {
            let problem = "is missing: production wants a key from outside, here or in \
                           `vault.keks`, or `vault.allow_local_kek: true`";
            checks.error(KEY, problem);
        }
        key
    }
}
