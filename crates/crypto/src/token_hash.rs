//! From the text of a token to what may be kept of it.

use crate::digest::bytes_of;
use aws_lc_rs::{digest, hmac};
use std::fmt;
use tollkeep_types::TokenHash;

/// Hashes token texts under one pepper: `HMAC-SHA256(pepper, SHA-256(text))`.
///
/// The inner hash makes stores that kept a plain SHA-256 importable without knowing the tokens.
pub struct TokenHasher {
    pepper: hmac::Key,
}

impl TokenHasher {
    /// A hasher under this pepper; the key schedule is made once, here.
    pub fn new(pepper: &[u8; 32]) -> Self {
        Self {
            pepper: hmac::Key::new(hmac::HMAC_SHA256, pepper),
        }
    }

    /// The hash of a token as its holder sent it.
    pub fn hash(&self, text: impl AsRef<[u8]>) -> TokenHash {
        let inner = digest::digest(&digest::SHA256, text.as_ref());
        TokenHash::from_bytes(bytes_of(hmac::sign(&self.pepper, inner.as_ref()).as_ref()))
    }
}

impl fmt::Debug for TokenHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHasher(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // ID-12
    #[test]
    fn a_token_hashes_to_the_keyed_hash_of_its_plain_hash() {
        // The text is what Python's hmac and hashlib give.
        let hex: String = TokenHasher::new(&[7; 32])
            .hash("tok-x")
            .bytes()
            .map(|byte| format!("{byte:02x}"))
            .concat();
        assert_eq!(
            hex,
            "ce53d1298188a78b50408a2e1024e5ac4060cac7752edf3986ffe400fdf6cdeb"
        );
    }

    // ID-12
    #[test]
    fn another_pepper_gives_another_hash() {
        let text = "tok-x";
        assert_ne!(
            TokenHasher::new(&[1; 32]).hash(text),
            TokenHasher::new(&[2; 32]).hash(text)
        );
        assert_ne!(
            TokenHasher::new(&[1; 32]).hash(text),
            TokenHasher::new(&[1; 32]).hash("tok-y")
        );
    }
}
