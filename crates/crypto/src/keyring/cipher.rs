//! AES-256-GCM with a fresh random nonce in front of every text.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use tollkeep_types::Entropy;
use zeroize::Zeroizing;

/// A key, ready for use.
pub(super) struct Cipher(LessSafeKey);

impl Cipher {
    /// `None` unless the key has 32 bytes.
    pub(super) fn new(key: &[u8]) -> Option<Self> {
        let key = UnboundKey::new(&AES_256_GCM, key).ok()?;
        Some(Self(LessSafeKey::new(key)))
    }

    /// `nonce‖ciphertext‖tag`; `None` for more than the cipher takes (64 GiB).
    pub(super) fn encrypt(
        &self,
        plain: &[u8],
        aad: &str,
        entropy: &dyn Entropy,
    ) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        entropy.fill(&mut nonce);
        let mut text = Zeroizing::new(plain.to_vec());
        let unique = Nonce::assume_unique_for_key(nonce);
        let tag = self
            .0
            .seal_in_place_separate_tag(unique, Aad::from(aad), text.as_mut_slice())
            .ok()?;
        Some([nonce.as_slice(), text.as_slice(), tag.as_ref()].concat())
    }

    /// What [`Cipher::encrypt`] was given; `None` if key, text or associated data differ.
    pub(super) fn decrypt(&self, sealed: &[u8], aad: &str) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, text) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut text = Zeroizing::new(text.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain_bytes = self
            .0
            .open_in_place(nonce, Aad::from(aad), text.as_mut_slice())
            .ok()?
            .len();
        text.truncate(plain_bytes);
        Some(text)
    }
}
