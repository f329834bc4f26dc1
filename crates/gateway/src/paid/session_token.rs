//! Tokens of sessions: made from what is kept of a session, so that the same proof is told the same
//! token, and proven before anything is looked up.

use tollkeep_crypto::{TokenHasher, hmac_sha256};
use tollkeep_payments::session::SessionToken;
use tollkeep_types::{SessionId, TenantId, TokenHash, WallMillis};

/// The one key so far.
const KEY: u16 = 1;
/// What keys and texts are derived by: nothing else that is hashed begins so.
const KEY_OF: &[u8] = b"tollkeep/session-key/1\0";
const RANDOM_OF: &[u8] = b"tollkeep/session-random/1\0";
const KEPT_AS: &[u8] = b"tollkeep/session-kept/1\0";

/// What a session is good for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Good<'a> {
    pub(super) tenant: TenantId,
    /// The route.
    pub(super) scope: &'a str,
}

/// A token that we wrote, as far as its text says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Proved {
    pub(super) id: SessionId,
    pub(super) expires_at: WallMillis,
    /// What is kept of its text.
    pub(super) kept: TokenHash,
}

/// The token of a session, and what is kept of it. The same for each time it is asked for.
pub(super) fn token_of(
    hasher: &TokenHasher,
    good: Good<'_>,
    (id, expires_at): (SessionId, WallMillis),
) -> (String, TokenHash) {
    let seed = [RANDOM_OF, id.bytes()].concat();
    let random = hasher.hash(seed);
    let mut token = SessionToken {
        key: KEY,
        id: *id.bytes(),
        expires_ms: expires_at.0,
        random: random.bytes().first_chunk().copied().unwrap_or_default(),
        mac: [0; 32],
    };
    token.mac = mac(hasher, good, &token);
    let text = token.encode();
    let kept = kept(hasher, &text);
    (text, kept)
}

/// What a text proves. `None`: nothing, here.
pub(super) fn prove(hasher: &TokenHasher, good: Good<'_>, text: &str) -> Option<Proved> {
    let token = SessionToken::decode(text).filter(|token| token.key == KEY)?;
    let mac = mac(hasher, good, &token);
    // All bytes in any case: time must not tell how many are right.
    let differing = mac
        .iter()
        .zip(&token.mac)
        .fold(0, |all, (a, b)| all | (a ^ b));
    (differing == 0).then(|| Proved {
        id: SessionId::from_bytes(token.id),
        expires_at: WallMillis(token.expires_ms),
        kept: kept(hasher, text),
    })
}

fn kept(hasher: &TokenHasher, text: &str) -> TokenHash {
    hasher.hash([KEPT_AS, text.as_bytes()].concat())
}

fn mac(hasher: &TokenHasher, good: Good<'_>, token: &SessionToken) -> [u8; 32] {
    let key = hasher.hash(KEY_OF);
    let tenant = good.tenant.to_string();
    hmac_sha256(key.bytes(), &token.proven(&tenant, good.scope))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: SessionId = SessionId::from_bytes([3; 16]);
    const ENDS: WallMillis = WallMillis(1_795_300_000_000);

    fn good(tenant: u8, scope: &str) -> Good<'_> {
        Good {
            tenant: TenantId::from_bytes([tenant; 16]),
            scope,
        }
    }

    // PAY-76
    #[test]
    fn a_token_proves_itself_where_it_was_made_for_and_nowhere_else() {
        let hasher = TokenHasher::new(&[7; 32]);
        let (text, kept) = token_of(&hasher, good(1, "GET /x"), (ID, ENDS));
        let proved = prove(&hasher, good(1, "GET /x"), &text).unwrap();
        assert_eq!((proved.id, proved.expires_at), (ID, ENDS));
        assert_eq!(proved.kept, kept);
        let again = token_of(&hasher, good(1, "GET /x"), (ID, ENDS));
        assert_eq!(again, (text.clone(), kept), "the same each time");
        assert!(prove(&hasher, good(2, "GET /x"), &text).is_none(), "tenant");
        assert!(prove(&hasher, good(1, "GET /y"), &text).is_none(), "route");
        let other = TokenHasher::new(&[8; 32]);
        assert!(prove(&other, good(1, "GET /x"), &text).is_none(), "key");
    }

    // PAY-76
    #[test]
    fn a_token_of_which_one_bit_is_another_proves_nothing() {
        let hasher = TokenHasher::new(&[7; 32]);
        let (text, _) = token_of(&hasher, good(1, "GET /x"), (ID, ENDS));
        for at in 0..text.len() {
            for bit in 0..8 {
                let mut bytes = text.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                if let Ok(other) = String::from_utf8(bytes) {
                    assert!(
                        prove(&hasher, good(1, "GET /x"), &other).is_none(),
                        "{other}"
                    );
                }
            }
        }
    }
}
