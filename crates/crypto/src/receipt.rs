//! Signatures of receipts: compact JWS (RFC 7515) with Ed25519 (RFC 8037), written and read in one
//! form only, so that no other text passes for the same receipt.

use crate::digest::sha256;
use crate::jwt::{Algorithm, JwksFault, KeySet};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use std::fmt;

/// What kind of text it is (RFC 7515, section 4.1.9).
const TYPE: &str = "tollkeep-receipt+jwt";
/// Longest text of a receipt.
pub const RECEIPT_BYTES_MAX: usize = 128 * 1024;

/// A key that signs receipts.
pub struct ReceiptKey {
    pair: Ed25519KeyPair,
    id: String,
}

/// A seed of 32 bytes is no key, which does not happen.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the key of receipts can't be used")]
pub struct NoReceiptKey;

/// Why a text is no receipt of one of the keys.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotSigned {
    /// Not in the form of a signed receipt.
    #[error("is not in the form of a signed receipt")]
    Malformed,
    /// Signed with a key that is not among those given.
    #[error("names a key that is not among those given")]
    UnknownKey,
    /// Not what was signed.
    #[error("has a wrong signature")]
    Signature,
}

impl ReceiptKey {
    /// The key of a seed.
    ///
    /// # Errors
    /// The library refuses it.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, NoReceiptKey> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| NoReceiptKey)?;
        let digest = sha256(&[pair.public_key().as_ref()]);
        let id = digest
            .iter()
            .take(8)
            .fold(String::new(), |id, byte| id + &format!("{byte:02x}"));
        Ok(Self { pair, id })
    }

    /// Signs a payload: the whole text of the receipt.
    pub fn sign(&self, payload: &[u8]) -> String {
        let mut text = BASE64_URL_SAFE_NO_PAD.encode(header(&self.id));
        text.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(payload, &mut text);
        let signature = self.pair.sign(text.as_bytes());
        text.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(signature.as_ref(), &mut text);
        text
    }

    /// The set of its public key (RFC 7517).
    pub fn published(&self) -> String {
        let x = BASE64_URL_SAFE_NO_PAD.encode(self.pair.public_key());
        format!(
            r#"{{"keys":[{{"alg":"EdDSA","crv":"Ed25519","kid":"{}","kty":"OKP","use":"sig","x":"{x}"}}]}}"#,
            self.id
        )
    }
}

impl fmt::Debug for ReceiptKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReceiptKey({}, …)", self.id)
    }
}

fn header(id: &str) -> String {
    format!(r#"{{"alg":"EdDSA","kid":"{id}","typ":"{TYPE}"}}"#)
}

/// Published keys of receipts.
#[derive(Debug)]
pub struct ReceiptKeys(KeySet);

impl ReceiptKeys {
    /// Reads a published set.
    ///
    /// # Errors
    /// See [`JwksFault`].
    pub fn read(json: &[u8]) -> Result<Self, JwksFault> {
        KeySet::read(json).map(Self)
    }

    /// The payload of a receipt that one of the keys has signed.
    ///
    /// # Errors
    /// See [`NotSigned`].
    pub fn open(&self, text: &str) -> Result<Vec<u8>, NotSigned> {
        if text.len() > RECEIPT_BYTES_MAX {
            return Err(NotSigned::Malformed);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(NotSigned::Malformed)?;
        let (head, payload) = signed.split_once('.').ok_or(NotSigned::Malformed)?;
        // The decoder takes only the one text that bytes have.
        let decoded = |text: &str| {
            let bytes = BASE64_URL_SAFE_NO_PAD.decode(text);
            bytes.map_err(|_| NotSigned::Malformed)
        };
        let head = decoded(head)?;
        let id = key_id(&head).ok_or(NotSigned::Malformed)?;
        let (payload, signature) = (decoded(payload)?, decoded(signature)?);
        let mut keys = self.0.named(id, Algorithm::EdDsa).peekable();
        if keys.peek().is_none() {
            return Err(NotSigned::UnknownKey);
        }
        if !keys.any(|key| key.verifies(signed.as_bytes(), &signature)) {
            return Err(NotSigned::Signature);
        }
        Ok(payload)
    }
}

/// The key that the one form of a header names.
fn key_id(head: &[u8]) -> Option<&str> {
    let head = std::str::from_utf8(head).ok()?;
    let id = head.strip_prefix(r#"{"alg":"EdDSA","kid":""#)?;
    let id = id.strip_suffix(r#"","typ":"tollkeep-receipt+jwt"}"#)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    id.bytes().all(plain).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    // LED-82
    #[test]
    fn a_receipt_is_opened_with_the_published_key_and_no_other() {
        let key = ReceiptKey::from_seed(&[7; 32]).unwrap();
        let keys = ReceiptKeys::read(key.published().as_bytes()).unwrap();
        let text = key.sign(b"{}");
        assert_eq!(keys.open(&text), Ok(b"{}".to_vec()));
        let other = ReceiptKey::from_seed(&[8; 32]).unwrap();
        assert_eq!(keys.open(&other.sign(b"{}")), Err(NotSigned::UnknownKey));
        let head = BASE64_URL_SAFE_NO_PAD.encode(header(&key.id));
        for (name, text, want) in [
            ("unsigned", format!("{head}.e30."), NotSigned::Signature),
            ("no parts", "e30".to_owned(), NotSigned::Malformed),
            ("a part more", format!("{text}.e30"), NotSigned::Malformed),
            ("padded", format!("{text}="), NotSigned::Malformed),
            (
                "another header",
                text.replacen(&head, "eyJhbGciOiJub25lIn0", 1),
                NotSigned::Malformed,
            ),
        ] {
            assert_eq!(keys.open(&text), Err(want), "{name}");
        }
        assert!(!format!("{key:?}").contains("[7"), "nothing of the seed");
    }

    // LED-83
    #[test]
    fn no_bit_of_a_receipt_can_be_changed() {
        let key = ReceiptKey::from_seed(&[7; 32]).unwrap();
        let keys = ReceiptKeys::read(key.published().as_bytes()).unwrap();
        let text = key.sign(br#"{"cost":1}"#).into_bytes();
        for at in 0..text.len() {
            for bit in 0..8 {
                let mut changed = text.clone();
                changed[at] ^= 1 << bit;
                let opened = std::str::from_utf8(&changed).map(|text| keys.open(text));
                assert!(!matches!(opened, Ok(Ok(_))), "byte {at}, bit {bit}");
            }
        }
    }
}
