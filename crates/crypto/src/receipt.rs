//! Signatures of receipts: compact JWS (RFC 7515) with Ed25519 (RFC 8037), written and read in one
//! form only, so that no other text passes for the same receipt.

use crate::digest::sha256;
use crate::jwt::{Algorithm, JwksFault, KeySet};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use std::fmt;

/// What kind of text it is (RFC 7515, section 4.1.9).
const TYPE: &str = "tollkeep-receipt+jwt";
/// What stands before the public key of a successor where the key before signs it.
const NEXT_KEY: &[u8] = b"tollkeep-receipt-key/1\n";
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

    /// What tells keys apart: the head of the hash of the public key.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The public key, as base64url.
    pub fn public(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.pair.public_key())
    }

    /// Says that another key takes the place of this one: as base64url.
    pub fn succeeded_by(&self, next: &Self) -> String {
        let signature = self.pair.sign(&succession(&next.public()));
        BASE64_URL_SAFE_NO_PAD.encode(signature)
    }
}

impl fmt::Debug for ReceiptKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReceiptKey({}, …)", self.id)
    }
}

/// What a key signs that another one succeeds.
fn succession(public: &str) -> Vec<u8> {
    [NEXT_KEY, public.as_bytes()].concat()
}

fn header(id: &str) -> String {
    format!(r#"{{"alg":"EdDSA","kid":"{id}","typ":"{TYPE}"}}"#)
}

/// What keys say of whom they succeed.
#[derive(Deserialize)]
struct Told {
    keys: Vec<Succession>,
}

#[derive(Deserialize)]
struct Succession {
    #[serde(default)]
    kid: String,
    #[serde(default)]
    x: String,
    previous: Option<String>,
    sig: Option<String>,
}

/// Why keys can't be trusted.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeysFault {
    /// They are no set of keys.
    #[error(transparent)]
    Set(#[from] JwksFault),
    /// The key before it did not sign it.
    #[error("key `{0}` says that it succeeds another one, which did not sign it")]
    Succession(String),
}

/// Published keys of receipts.
#[derive(Debug)]
pub struct ReceiptKeys(KeySet);

impl ReceiptKeys {
    /// Reads a published set. A key that says whom it succeeds is signed by that one.
    ///
    /// # Errors
    /// See [`KeysFault`].
    pub fn read(json: &[u8]) -> Result<Self, KeysFault> {
        let keys = Self(KeySet::read(json)?);
        let told: Told = serde_json::from_slice(json).map_err(|_| JwksFault::Malformed)?;
        match told.keys.into_iter().find(|key| !keys.bears_out(key)) {
            Some(false_one) => Err(KeysFault::Succession(false_one.kid)),
            None => Ok(keys),
        }
    }

    fn bears_out(&self, told: &Succession) -> bool {
        let (Some(previous), Some(signature)) = (&told.previous, &told.sig) else {
            return told.previous.is_none() && told.sig.is_none();
        };
        let Ok(signature) = BASE64_URL_SAFE_NO_PAD.decode(signature) else {
            return false;
        };
        let signed = succession(&told.x);
        let mut keys = self.0.named(previous, Algorithm::EdDsa);
        keys.any(|key| key.verifies(&signed, &signature))
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

    fn published(keys: &[(&ReceiptKey, Option<(&str, String)>)]) -> Vec<u8> {
        let keys = keys.iter().map(|(key, before)| {
            let mut told = serde_json::json!({
                "alg": "EdDSA", "crv": "Ed25519", "kid": key.id(), "kty": "OKP", "use": "sig",
                "x": key.public(), "since": "2026-11-22T00:00:00.000Z",
            });
            if let Some((previous, sig)) = before {
                told["previous"] = (*previous).into();
                told["sig"] = sig.clone().into();
            }
            told
        });
        let keys: Vec<_> = keys.collect();
        serde_json::json!({ "keys": keys }).to_string().into_bytes()
    }

    // LED-82
    #[test]
    fn a_key_that_succeeds_another_is_signed_by_it() {
        let [one, two, other] = [1, 2, 3].map(|seed| ReceiptKey::from_seed(&[seed; 32]).unwrap());
        let signed = one.succeeded_by(&two);
        let read = |keys: &[_]| ReceiptKeys::read(&published(keys)).map(|_| ());
        assert_eq!(
            read(&[(&one, None), (&two, Some((one.id(), signed.clone())))]),
            Ok(())
        );
        let false_one = |kid: &ReceiptKey| Err(KeysFault::Succession(kid.id().to_owned()));
        for (name, keys) in [
            (
                "another key",
                vec![(&one, None), (&other, Some((one.id(), signed.clone())))],
            ),
            (
                "by another",
                vec![
                    (&one, None),
                    (&other, None),
                    (&two, Some((other.id(), signed.clone()))),
                ],
            ),
            (
                "by nobody who is there",
                vec![(&two, Some((one.id(), signed.clone())))],
            ),
            (
                "no signature",
                vec![(&one, None), (&two, Some((one.id(), "!".to_owned())))],
            ),
        ] {
            let last = keys.last().unwrap().0;
            assert_eq!(read(&keys), false_one(last), "{name}");
        }
        // A text that the first one has signed opens with both of them there.
        let keys = published(&[(&one, None), (&two, Some((one.id(), signed)))]);
        let keys = ReceiptKeys::read(&keys).unwrap();
        for key in [&one, &two] {
            assert_eq!(keys.open(&key.sign(b"{}")), Ok(b"{}".to_vec()));
        }
    }

    // LED-82
    #[test]
    fn a_receipt_is_opened_with_the_published_key_and_no_other() {
        let key = ReceiptKey::from_seed(&[7; 32]).unwrap();
        let keys = ReceiptKeys::read(&published(&[(&key, None)])).unwrap();
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
        let keys = ReceiptKeys::read(&published(&[(&key, None)])).unwrap();
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
