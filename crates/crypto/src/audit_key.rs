//! Signatures of the audit log: Ed25519 (RFC 8032) over a line that says what is signed, and its
//! canonical text.

use crate::digest::sha256;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, ParsedPublicKey};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use std::fmt;

/// A key that signs.
pub struct AuditKey {
    pair: Ed25519KeyPair,
    id: String,
}

/// A seed of 32 bytes is no key, which does not happen.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the key of the audit log can't be used")]
pub struct NoAuditKey;

impl AuditKey {
    /// The key of a seed.
    ///
    /// # Errors
    /// The library refuses it.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, NoAuditKey> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| NoAuditKey)?;
        let id = id_of(pair.public_key().as_ref());
        Ok(Self { pair, id })
    }

    /// What tells keys apart: the head of the hash of the public key.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The public key, as base64url.
    pub fn public(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.pair.public_key())
    }

    /// Signs a text as one of this kind: as base64url.
    pub fn sign(&self, kind: &str, text: &[u8]) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.pair.sign(&signed(kind, text)))
    }
}

impl fmt::Debug for AuditKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuditKey({}, …)", self.id)
    }
}

/// A key to check signatures with.
#[derive(Clone)]
pub struct AuditPublicKey {
    key: ParsedPublicKey,
    text: String,
    id: String,
}

impl AuditPublicKey {
    /// Reads a public key from base64url.
    pub fn read(text: &str) -> Option<Self> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        (bytes.len() == 32).then_some(())?;
        let key = ParsedPublicKey::new(&ED25519, &bytes).ok()?;
        Some(Self {
            key,
            text: text.to_owned(),
            id: id_of(&bytes),
        })
    }

    /// What tells keys apart.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// As it was read.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether this key signed the text as one of this kind.
    pub fn verifies(&self, kind: &str, text: &[u8], signature: &str) -> bool {
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature);
        signature.is_ok_and(|signature| {
            let verified = self.key.verify_sig(&signed(kind, text), &signature);
            verified.is_ok()
        })
    }
}

impl fmt::Debug for AuditPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuditPublicKey({})", self.id)
    }
}

fn id_of(public: &[u8]) -> String {
    let digest = sha256(&[public]);
    let head = digest.iter().take(8);
    head.fold(String::new(), |id, byte| id + &format!("{byte:02x}"))
}

fn signed(kind: &str, text: &[u8]) -> Vec<u8> {
    [kind.as_bytes(), b"\n", text].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    // AUD-51
    #[test]
    fn a_signature_is_of_one_key_one_kind_and_one_text() {
        let key = AuditKey::from_seed(&[7; 32]).unwrap();
        let public = AuditPublicKey::read(&key.public()).unwrap();
        assert_eq!(public.id(), key.id());
        let signature = key.sign("a", b"text");
        assert!(public.verifies("a", b"text", &signature));
        let other = AuditKey::from_seed(&[8; 32]).unwrap();
        let other = AuditPublicKey::read(&other.public()).unwrap();
        assert!(!other.verifies("a", b"text", &signature), "another key");
        for (name, kind, text, signature) in [
            ("kind", "b", &b"text"[..], signature.clone()),
            ("text", "a", b"texts", signature.clone()),
            ("moved", "a\ntext", b"", signature.clone()),
            ("padded", "a", b"text", format!("{signature}=")),
            ("none", "a", b"text", String::new()),
        ] {
            assert!(!public.verifies(kind, text, &signature), "{name}");
        }
        assert!(!format!("{key:?}").contains("[7"), "nothing of the seed");
    }

    // AUD-51
    #[test]
    fn signatures_are_those_of_rfc_8032() {
        // Section 7.1, test 1: the key of a known seed.
        let seed = [
            0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec,
            0x2c, 0xc4, 0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03,
            0x1c, 0xae, 0x7f, 0x60,
        ];
        let key = AuditKey::from_seed(&seed).unwrap();
        assert_eq!(key.public(), "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
    }

    // AUD-51
    #[test]
    fn what_is_no_key_is_not_read() {
        for text in ["", "AAAA", "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo="] {
            assert!(AuditPublicKey::read(text).is_none(), "{text}");
        }
    }
}
