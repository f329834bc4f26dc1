//! From the text of a token to what may be kept of it.

use crate::digest::sha256;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use std::fmt;
use std::sync::Arc;
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

/// Hashes the texts that one connection shows. Callers that keep a connection show the same token
/// each time, so the last text is kept beside its hash until another one comes.
#[derive(ZeroizeOnDrop)]
pub struct LastHash {
    #[zeroize(skip)]
    hasher: Arc<TokenHasher>,
    text: [u8; KEPT_MAX],
    /// More than a text can have before the first one.
    len: usize,
    #[zeroize(skip)]
    hash: TokenHash,
}

/// Longer texts are hashed each time. Our tokens are shorter.
const KEPT_MAX: usize = 80;

impl LastHash {
    /// Of nothing yet.
    pub const fn new(hasher: Arc<TokenHasher>) -> Self {
        Self {
            hasher,
            text: [0; KEPT_MAX],
            len: usize::MAX,
            hash: TokenHash::from_bytes([0; 32]),
        }
    }

    /// HOT. What [`TokenHasher::hash`] gives. A proxy may speak for several callers on one
    /// connection: how far two texts agree does not show in the time it takes.
    pub fn of(&mut self, text: &[u8]) -> TokenHash {
        let kept = self.text.get(..self.len);
        if kept.is_some_and(|kept| verify_slices_are_equal(kept, text).is_ok()) {
            return self.hash;
        }
        let hash = self.hasher.hash(text);
        if let Some(slot) = self.text.get_mut(..text.len()) {
            slot.copy_from_slice(text);
            (self.len, self.hash) = (text.len(), hash);
        }
        hash
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
    fn a_connection_hashes_each_text_it_shows_to_its_own_hash() {
        let hasher = Arc::new(TokenHasher::new(&[7; 32]));
        let mut last = LastHash::new(Arc::clone(&hasher));
        let longest = "x".repeat(KEPT_MAX);
        let too_long = "x".repeat(KEPT_MAX + 1);
        let texts = [
            "", "tok-a", "tok-a", "tok-b", "tok-", "tok-b", "", "\0", "", &longest, &longest,
            &too_long, &longest, "tok-a", &too_long, "tok-a",
        ];
        for text in texts {
            assert_eq!(last.of(text.as_bytes()), hasher.hash(text), "{text}");
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
