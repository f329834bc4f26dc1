//! What a client signs (RFC 7515, as RFC 8555 uses it), verified.

use super::Shared;
use crate::request::Request;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::Value;

/// An account's key.
#[derive(Clone, Eq, PartialEq)]
pub(super) struct Key {
    x: String,
    y: String,
}

impl Key {
    fn of(jwk: &Value) -> Option<Self> {
        let text = |name: &str| Some(jwk[name].as_str()?.to_owned());
        (jwk["kty"] == "EC" && jwk["crv"] == "P-256").then_some(())?;
        Some(Self {
            x: text("x")?,
            y: text("y")?,
        })
    }

    /// RFC 7638.
    pub(super) fn thumbprint(&self) -> String {
        let (x, y) = (&self.x, &self.y);
        let text = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, text.as_bytes()))
    }

    fn verifies(&self, text: &str, signature: &[u8]) -> bool {
        let (Some(x), Some(y)) = (decode(&self.x), decode(&self.y)) else {
            return false;
        };
        let point = [&[4], &x[..], &y[..]].concat();
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
        key.verify(text.as_bytes(), signature).is_ok()
    }
}

/// A request whose signature, nonce and URL are right.
pub(super) struct Signed {
    pub(super) key: Key,
    /// Null where it only reads.
    pub(super) payload: Value,
}

type Problem = (&'static str, String);

impl Signed {
    /// Reads one, signed by a new account's key or by a known account.
    pub(super) fn read(shared: &Shared, request: &Request, by_new: bool) -> Result<Self, Problem> {
        let wrong = |what: &str| ("malformed", format!("{what} of {}", request.target));
        if request.field("content-type") != Some("application/jose+json") {
            return Err(wrong("content type"));
        }
        let body: Value = serde_json::from_slice(&request.body).map_err(|_| wrong("body"))?;
        let part = |name: &str| body[name].as_str().ok_or_else(|| wrong(name));
        let (protected, payload) = (part("protected")?, part("payload")?);
        let signature = decode(part("signature")?).ok_or_else(|| wrong("signature"))?;
        let header = json(protected).ok_or_else(|| wrong("header"))?;
        if header["alg"] != "ES256" {
            return Err(("badSignatureAlgorithm", header["alg"].to_string()));
        }
        if header["url"].as_str() != Some(&shared.url(&request.target)) {
            return Err(("unauthorized", format!("the url is {}", header["url"])));
        }
        let mut state = shared.state();
        if !state
            .nonces
            .remove(header["nonce"].as_str().unwrap_or_default())
        {
            return Err(("badNonce", "used or unknown".to_owned()));
        }
        let key = if by_new {
            Key::of(&header["jwk"]).ok_or_else(|| wrong("key"))?
        } else {
            let kid = header["kid"].as_str().unwrap_or_default();
            let mut accounts = state.accounts.iter().enumerate();
            let known =
                accounts.find(|(number, _)| shared.url(&format!("/account/{number}")) == kid);
            let unknown = || ("accountDoesNotExist", kid.to_owned());
            known.map(|(_, (key, _))| key.clone()).ok_or_else(unknown)?
        };
        if !key.verifies(&format!("{protected}.{payload}"), &signature) {
            return Err(("unauthorized", "the signature".to_owned()));
        }
        let payload = match payload {
            "" => Value::Null,
            text => json(text).ok_or_else(|| wrong("payload"))?,
        };
        Ok(Self { key, payload })
    }
}

fn json(text: &str) -> Option<Value> {
    serde_json::from_slice(&decode(text)?).ok()
}

fn decode(text: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(text).ok()
}
