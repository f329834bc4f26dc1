//! Signed tokens of identity providers (RFC 7519), for the front door and for operators who sign in: strict reading, the few
//! algorithms with public keys, and every claim that bounds a token required.
//!
//! No key is ever taken for a symmetric one, and which algorithm a key is for is its own say, not
//! the token's.

mod cache;
mod keys;

pub use cache::{Current, JwtKeys, Wait};
pub use keys::{JwksFault, KeySet};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Number, Value};

/// Bytes of a token.
const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// Audiences that a token may name.
const AUDIENCES_MAX: usize = 64;

/// How a token may be signed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Algorithm {
    /// RSA with PKCS#1 padding and SHA-256, keys of 2048 bits or more.
    Rs256,
    /// RSA with PSS padding and SHA-256, keys of 2048 bits or more.
    Ps256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// Its name in tokens and keys (RFC 7518, RFC 8037).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }
}

/// What a token must be to be believed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct JwtRules {
    /// Who must have issued it, exactly.
    pub issuer: String,
    /// For whom: one of these.
    pub audience: Vec<String>,
    /// How it may be signed.
    pub algorithms: Vec<Algorithm>,
    /// How far the clocks may be apart, in seconds.
    pub leeway_s: u64,
}

/// Why a token is not believed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the token {}", self.words())]
pub enum JwtRefused {
    /// Not in the form of a signed token.
    Malformed,
    /// Signed in a way that is not allowed, or not at all.
    Algorithm,
    /// Signed with a key that is not among the provider's.
    UnknownKey,
    /// Not signed with the key it names.
    Signature,
    /// A claim that bounds it is missing.
    MissingClaim,
    /// Of another issuer.
    Issuer,
    /// For somebody else.
    Audience,
    /// Not valid yet.
    NotYet,
    /// Not valid any more.
    Expired,
}

impl JwtRefused {
    /// What is wrong with it, behind its name.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Malformed => "is malformed",
            Self::Algorithm => "has an algorithm that is not allowed",
            Self::UnknownKey => "names a key that is not known",
            Self::Signature => "has a wrong signature",
            Self::MissingClaim => "lacks a claim",
            Self::Issuer => "is of another issuer",
            Self::Audience => "is for another audience",
            Self::NotYet => "is not valid yet",
            Self::Expired => "has expired",
        }
    }
}

#[derive(Deserialize)]
struct Header<'t> {
    #[serde(borrow)]
    alg: std::borrow::Cow<'t, str>,
    #[serde(borrow)]
    kid: Option<std::borrow::Cow<'t, str>>,
    /// Extensions that must be understood (RFC 7515, section 4.1.11): none is.
    crit: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Claims {
    iss: Option<String>,
    aud: Option<Audience>,
    exp: Option<Number>,
    nbf: Option<Number>,
    iat: Option<Number>,
    azp: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Audience {
    fn names(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Several(names) => names,
        }
    }
}

impl JwtRules {
    /// Rules with these algorithms by name; a name that is none of them allows nothing.
    pub fn new(issuer: &str, audience: &[String], algorithms: &[&str], leeway_s: u64) -> Self {
        let known = [
            Algorithm::Rs256,
            Algorithm::Ps256,
            Algorithm::Es256,
            Algorithm::EdDsa,
        ]
        .into_iter();
        Self {
            issuer: issuer.to_owned(),
            audience: audience.to_vec(),
            algorithms: known
                .filter(|algorithm| algorithms.contains(&algorithm.name()))
                .collect(),
            leeway_s,
        }
    }

    /// Whether a token is to be believed at this time, in seconds since 1970.
    ///
    /// # Errors
    /// See [`JwtRefused`].
    pub fn verify(&self, token: &[u8], keys: &KeySet, now_s: u64) -> Result<(), JwtRefused> {
        let claims = self.signed_claims(token, keys)?;
        let claims: Claims = serde_json::from_slice(&claims).map_err(|_| JwtRefused::Malformed)?;
        self.check(&claims, claims.nbf.as_ref(), now_s)
    }

    /// The claims of an identity token (OpenID Connect Core, section 3.1.3.7), if it is to be
    /// believed at this time. What the login was begun with, its asker compares.
    ///
    /// # Errors
    /// See [`JwtRefused`].
    pub fn verify_identity(
        &self,
        token: &[u8],
        keys: &KeySet,
        now_s: u64,
    ) -> Result<Map<String, Value>, JwtRefused> {
        let bytes = self.signed_claims(token, keys)?;
        let claims: Claims = serde_json::from_slice(&bytes).map_err(|_| JwtRefused::Malformed)?;
        let issued = claims.iat.as_ref().ok_or(JwtRefused::MissingClaim)?;
        self.check(&claims, claims.nbf.as_ref().or(Some(issued)), now_s)?;
        // One that is meant for others too is for the one who asked for it.
        let is_shared = claims.aud.as_ref().is_some_and(|aud| aud.names().len() > 1);
        let is_ours = |asker: &String| self.audience.contains(asker);
        if !claims.azp.as_ref().map_or(!is_shared, is_ours) {
            return Err(JwtRefused::Audience);
        }
        serde_json::from_slice(&bytes).map_err(|_| JwtRefused::Malformed)
    }

    /// What a token claims, once it is known to be signed by the provider.
    fn signed_claims(&self, token: &[u8], keys: &KeySet) -> Result<Vec<u8>, JwtRefused> {
        let (signed, header, claims, signature) = split(token).ok_or(JwtRefused::Malformed)?;
        let header: Header<'_> =
            serde_json::from_slice(&header).map_err(|_| JwtRefused::Malformed)?;
        if header.crit.is_some() {
            return Err(JwtRefused::Malformed);
        }
        let mut allowed = self.algorithms.iter();
        let algorithm = allowed
            .find(|algorithm| algorithm.name() == header.alg)
            .ok_or(JwtRefused::Algorithm)?;
        let kid = header.kid.ok_or(JwtRefused::UnknownKey)?;
        let mut named = keys.named(&kid, *algorithm).peekable();
        if named.peek().is_none() {
            return Err(JwtRefused::UnknownKey);
        }
        if named.any(|key| key.verifies(signed, &signature)) {
            Ok(claims)
        } else {
            Err(JwtRefused::Signature)
        }
    }

    fn check(
        &self,
        claims: &Claims,
        not_before: Option<&Number>,
        now_s: u64,
    ) -> Result<(), JwtRefused> {
        let (Some(issuer), Some(audience), Some(expires), Some(not_before)) =
            (&claims.iss, &claims.aud, &claims.exp, not_before)
        else {
            return Err(JwtRefused::MissingClaim);
        };
        if *issuer != self.issuer {
            return Err(JwtRefused::Issuer);
        }
        let names = audience.names();
        let is_meant = |name: &String| self.audience.contains(name);
        if names.len() > AUDIENCES_MAX || !names.iter().any(is_meant) {
            return Err(JwtRefused::Audience);
        }
        let (expires, not_before) = seconds(expires)
            .zip(seconds(not_before))
            .ok_or(JwtRefused::Malformed)?;
        if not_before > now_s.saturating_add(self.leeway_s) {
            return Err(JwtRefused::NotYet);
        }
        if now_s >= expires.saturating_add(self.leeway_s) {
            return Err(JwtRefused::Expired);
        }
        Ok(())
    }
}

type Parts<'t> = (&'t [u8], Vec<u8>, Vec<u8>, Vec<u8>);

/// What is signed, and header, claims and signature decoded.
fn split(token: &[u8]) -> Option<Parts<'_>> {
    if token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let mut parts = token.split(|byte| *byte == b'.');
    let (header, claims, signature) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || signature.is_empty() {
        return None;
    }
    let signed = token.get(..header.len() + 1 + claims.len())?;
    let decode = |part| BASE64_URL_SAFE_NO_PAD.decode(part).ok();
    Some((signed, decode(header)?, decode(claims)?, decode(signature)?))
}

/// A `NumericDate` in whole seconds; it may have a fraction.
fn seconds(number: &Number) -> Option<u64> {
    number.as_u64().or_else(|| {
        let date = std::time::Duration::try_from_secs_f64(number.as_f64()?).ok()?;
        Some(date.as_secs())
    })
}

#[cfg(test)]
mod tests;
