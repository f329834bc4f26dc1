//! From the text of a token to what may be kept of it.

use crate::digest::sha256;
use std::fmt;
use tollkeep_types::TokenHash;
use zeroize::ZeroizeOnDrop;

/// Hashes token texts under one pepper: `HMAC-SHA256(pepper, SHA-256(text))`.
///
/// The inner hash makes stores that kept a plain SHA-256 importable without knowing the tokens.
///
/// Every call pays for this hash, and the library's keyed context costs three times its compressions
/// to copy. So the two lines of RFC 2104 stand here, over blocks that are made ready once; the
/// message always has 32 bytes, like both hashes.
#[derive(ZeroizeOnDrop)]
pub struct TokenHasher {
    inner: [u8; BLOCK],
    outer: [u8; BLOCK],
}

/// SHA-256's block, in bytes.
const BLOCK: usize = 64;

impl TokenHasher {
    /// A hasher under this pepper; its blocks are made once, here.
    pub fn new(pepper: &[u8; 32]) -> Self {
        let padded = |pad: u8| {
            let mut block = [pad; BLOCK];
            for (slot, byte) in block.iter_mut().zip(pepper) {
                *slot ^= byte;
            }
            block
        };
        Self {
            inner: padded(0x36),
            outer: padded(0x5c),
        }
    }

    /// The hash of a token as its holder sent it.
    pub fn hash(&self, text: impl AsRef<[u8]>) -> TokenHash {
        let plain = sha256(&[text.as_ref()]);
        let inner = after(&self.inner, &plain);
        TokenHash::from_bytes(after(&self.outer, &inner))
    }
}

/// SHA-256 of a block and a hash behind it.
fn after(block: &[u8; BLOCK], hash: &[u8; 32]) -> [u8; 32] {
    let mut message = [0; BLOCK + 32];
    let (head, tail) = message.split_at_mut(BLOCK);
    head.copy_from_slice(block);
    tail.copy_from_slice(hash);
    sha256(&[&message])
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
    fn the_keyed_hash_is_the_librarys() {
        for seed in 0..=255u8 {
            let mut pepper = [seed; 32];
            pepper[usize::from(seed) % 32] ^= 0xa5;
            let text: Vec<u8> = (0..seed).collect();
            assert_eq!(
                TokenHasher::new(&pepper).hash(&text).bytes(),
                &crate::digest::hmac_sha256(&pepper, &sha256(&[&text])),
                "{seed}"
            );
        }
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
