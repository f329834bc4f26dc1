//! The text that a caller shows for a session.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::fmt;

/// What stands in a token of a session: `ses-`, the payload, a dot, and what proves that it was us
/// who wrote that.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct SessionToken {
    /// Which key it was proven with.
    pub key: u16,
    /// The bytes of the session's id.
    pub id: [u8; 16],
    /// When it ends, in milliseconds since 1970.
    pub expires_ms: u64,
    /// What nobody can guess.
    pub random: [u8; 16],
    /// HMAC-SHA256 over [`Self::proven`].
    pub mac: [u8; 32],
}

const PREFIX: &str = "ses-";
const VERSION: u8 = 1;
const PAYLOAD_BYTES: usize = 43;
/// Characters of a token: it has one length.
const CHARS: usize = 106;
/// What tells it from everything else that is proven so.
const DOMAIN: &[u8] = b"tollkeep/session/1\0";

impl SessionToken {
    /// As it is shown.
    pub fn encode(&self) -> String {
        let payload = URL_SAFE_NO_PAD.encode(self.payload());
        format!("{PREFIX}{payload}.{}", URL_SAFE_NO_PAD.encode(self.mac))
    }

    /// What a text says; `None`: we never wrote that. It has one form: no other text is read as the
    /// same token.
    pub fn decode(text: &str) -> Option<Self> {
        if text.len() != CHARS {
            return None;
        }
        let (payload, mac) = text.strip_prefix(PREFIX)?.split_once('.')?;
        let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
        let mac = URL_SAFE_NO_PAD.decode(mac).ok()?;
        let (version, rest) = payload.split_first()?;
        let (key, rest) = rest.split_first_chunk::<2>()?;
        let (id, rest) = rest.split_first_chunk::<16>()?;
        let (expires, random) = rest.split_first_chunk::<8>()?;
        (*version == VERSION).then_some(Self {
            key: u16::from_be_bytes(*key),
            id: *id,
            expires_ms: u64::from_be_bytes(*expires),
            random: random.try_into().ok()?,
            mac: mac.try_into().ok()?,
        })
    }

    /// What the proof is over: it is one of a tenant and a scope, so that it is of no use elsewhere.
    pub fn proven(&self, tenant: &str, scope: &str) -> Vec<u8> {
        [
            DOMAIN,
            tenant.as_bytes(),
            b"\0",
            scope.as_bytes(),
            b"\0",
            &self.payload(),
        ]
        .concat()
    }

    fn payload(&self) -> [u8; PAYLOAD_BYTES] {
        let key = self.key.to_be_bytes();
        let expires = self.expires_ms.to_be_bytes();
        let parts = [VERSION]
            .into_iter()
            .chain(key)
            .chain(self.id)
            .chain(expires)
            .chain(self.random);
        let mut payload = [0; PAYLOAD_BYTES];
        for (slot, byte) in payload.iter_mut().zip(parts) {
            *slot = byte;
        }
        payload
    }
}

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionToken(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_token() -> impl Strategy<Value = SessionToken> {
        any::<(u16, [u8; 16], u64, [u8; 16], [u8; 32])>().prop_map(
            |(key, id, expires_ms, random, mac)| SessionToken {
                key,
                id,
                expires_ms,
                random,
                mac,
            },
        )
    }

    // PAY-76
    #[test]
    fn a_token_has_the_form_that_is_written_down() {
        let token = SessionToken {
            key: 1,
            id: [2; 16],
            expires_ms: 3,
            random: [4; 16],
            mac: [5; 32],
        };
        let text = token.encode();
        let (payload, mac) = text
            .strip_prefix("ses-")
            .and_then(|rest| rest.split_once('.'))
            .unwrap();
        let mut want = vec![1, 0, 1];
        want.extend([2; 16]);
        want.extend([0, 0, 0, 0, 0, 0, 0, 3]);
        want.extend([4; 16]);
        assert_eq!(URL_SAFE_NO_PAD.decode(payload).unwrap(), want);
        assert_eq!(URL_SAFE_NO_PAD.decode(mac).unwrap(), [5; 32]);
        let mut proven = b"tollkeep/session/1\0ten\0GET /x\0".to_vec();
        proven.extend(want);
        assert_eq!(token.proven("ten", "GET /x"), proven);
    }

    // PAY-76
    #[test]
    fn what_is_no_token_is_not_read_as_one() {
        let text = SessionToken {
            key: 1,
            id: [2; 16],
            expires_ms: 3,
            random: [4; 16],
            mac: [5; 32],
        }
        .encode();
        let longer = format!("{text}A");
        let shorter: String = text.chars().skip(1).collect();
        let other = text.replace("ses-", "csn-");
        let padded = text.replace('.', "=");
        let wide = format!("ses-{}", "é".repeat(51));
        for no in ["", "ses-", &longer, &shorter, &other, &padded, &wide] {
            assert_eq!(SessionToken::decode(no), None, "{no}");
        }
    }

    proptest! {
        // PAY-76
        #[test]
        fn a_token_is_read_as_it_was_written(token in any_token()) {
            let text = token.encode();
            prop_assert_eq!(text.len(), CHARS);
            prop_assert_eq!(SessionToken::decode(&text), Some(token));
        }

        // PAY-76
        #[test]
        fn no_two_texts_are_one_token(token in any_token(), at in 0..CHARS, bit in 0_u8..8) {
            let mut bytes = token.encode().into_bytes();
            bytes[at] ^= 1 << bit;
            if let Ok(text) = String::from_utf8(bytes) {
                prop_assert_ne!(SessionToken::decode(&text), Some(token));
            }
        }
    }
}
