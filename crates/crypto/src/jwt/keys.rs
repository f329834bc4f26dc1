//! The published keys of an identity provider (RFC 7517).

use super::Algorithm;
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA256, RsaParameters, RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use std::fmt;

/// Bytes of a key set.
const BYTES_MAX: usize = 256 * 1024;
/// Bytes of an RSA modulus: 2048 to 8192 bits.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;
/// Keys of a set.
const KEYS_MAX: usize = 100;

/// What was published is no key set, or none of its keys can be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum JwksFault {
    /// Not JSON, or not of that form.
    #[error("not a key set")]
    Malformed,
    /// Larger than any key set is.
    #[error("larger than {BYTES_MAX} bytes, or more than {KEYS_MAX} keys")]
    TooLarge,
    /// Nothing in it can verify a token.
    #[error("no key in it can be used")]
    NoKey,
}

/// Keys that verify tokens.
pub struct KeySet(Vec<Key>);

pub(crate) struct Key {
    id: String,
    algorithm: Algorithm,
    key: ParsedPublicKey,
}

#[derive(Deserialize)]
struct Published {
    keys: Vec<serde_json::Value>,
}

/// The members of a key that matter here; others are for other uses.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    for_what: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// Reads a published set. Keys that can't be used, such as symmetric ones or those for
    /// encryption, are left out.
    ///
    /// # Errors
    /// See [`JwksFault`].
    pub fn read(json: &[u8]) -> Result<Self, JwksFault> {
        if json.len() > BYTES_MAX {
            return Err(JwksFault::TooLarge);
        }
        let published: Published =
            serde_json::from_slice(json).map_err(|_| JwksFault::Malformed)?;
        if published.keys.len() > KEYS_MAX {
            return Err(JwksFault::TooLarge);
        }
        let keys = published.keys.into_iter().flat_map(|value| {
            let jwk: Option<Jwk> = serde_json::from_value(value).ok();
            jwk.map(Jwk::keys).unwrap_or_default()
        });
        let keys: Vec<Key> = keys.collect();
        if keys.is_empty() {
            return Err(JwksFault::NoKey);
        }
        Ok(Self(keys))
    }

    /// The keys of this id that are for this algorithm; mostly one.
    pub(crate) fn named(&self, id: &str, algorithm: Algorithm) -> impl Iterator<Item = &Key> {
        self.0
            .iter()
            .filter(move |key| key.id == id && key.algorithm == algorithm)
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|key| &key.id))
            .finish()
    }
}

impl Key {
    pub(crate) fn verifies(&self, signed: &[u8], signature: &[u8]) -> bool {
        self.key.verify_sig(signed, signature).is_ok()
    }
}

impl Jwk {
    /// The key, for each algorithm it may be for: that which it names, or all of its kind.
    fn keys(self) -> Vec<Key> {
        let signs = self.for_what.as_deref().is_none_or(|word| word == "sig");
        let verifies = |ops: &Vec<String>| ops.iter().any(|op| op == "verify");
        if !signs || !self.key_ops.as_ref().is_none_or(verifies) {
            return Vec::new();
        }
        let of_kind: &[Algorithm] = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => &[Algorithm::Rs256, Algorithm::Ps256],
            ("EC", Some("P-256")) => &[Algorithm::Es256],
            ("OKP", Some("Ed25519")) => &[Algorithm::EdDsa],
            _ => &[],
        };
        let named = self.alg.as_deref();
        let of_kind = of_kind.iter().copied();
        of_kind
            .filter(|algorithm| named.is_none_or(|named| named == algorithm.name()))
            .filter_map(|algorithm| self.key(algorithm))
            .collect()
    }

    fn key(&self, algorithm: Algorithm) -> Option<Key> {
        let key = match algorithm {
            Algorithm::Rs256 => self.rsa(&RSA_PKCS1_2048_8192_SHA256)?,
            Algorithm::Ps256 => self.rsa(&RSA_PSS_2048_8192_SHA256)?,
            Algorithm::Es256 => self.p256()?,
            Algorithm::EdDsa => self.ed25519()?,
        };
        let id = self.kid.clone()?;
        Some(Key { id, algorithm, key })
    }

    fn rsa(&self, padding: &'static RsaParameters) -> Option<ParsedPublicKey> {
        let (n, e) = (decoded(self.n.as_ref())?, decoded(self.e.as_ref())?);
        if !RSA_BYTES.contains(&n.len()) {
            return None;
        }
        let components = RsaPublicKeyComponents { n, e };
        let der = components.as_der().ok()?;
        ParsedPublicKey::new(padding, der.as_ref()).ok()
    }

    fn p256(&self) -> Option<ParsedPublicKey> {
        let (x, y) = (decoded(self.x.as_ref())?, decoded(self.y.as_ref())?);
        // An uncompressed point (SEC 1, section 2.3.3).
        let point = [&[4][..], &x, &y].concat();
        let is_whole = x.len() == 32 && y.len() == 32;
        is_whole.then_some(())?;
        ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point).ok()
    }

    fn ed25519(&self) -> Option<ParsedPublicKey> {
        ParsedPublicKey::new(&ED25519, decoded(self.x.as_ref())?).ok()
    }
}

fn decoded(text: Option<&String>) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(text?).ok()
}
