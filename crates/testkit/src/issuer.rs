//! An identity provider on loopback: publishes keys, which a test rotates, and signs tokens.

use crate::origin::{Gate, Origin, Step, json, ok};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, PoisonError};

/// How a key signs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SigningAlgorithm {
    /// RSA with SHA-256.
    Rs256,
    /// ECDSA on P-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

enum Pair {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

/// An identity provider.
pub struct Issuer {
    origin: Origin,
    /// What is published now; `None` answers with 503.
    published: Arc<Mutex<Option<Vec<Value>>>>,
    pairs: Mutex<Vec<(String, Pair)>>,
}

impl Issuer {
    /// One that publishes no key yet.
    pub fn start() -> Self {
        let open = Gate::default();
        open.open();
        Self::start_behind(open)
    }

    /// As [`Self::start`], but nobody gets an answer before the gate opens.
    pub fn start_behind(gate: Gate) -> Self {
        let published = Arc::new(Mutex::new(Some(Vec::new())));
        let shown = Arc::clone(&published);
        let origin = Origin::start(move |request| {
            let keys = shown.lock().unwrap_or_else(PoisonError::into_inner);
            let answer = match (&*keys, request.target.as_str()) {
                (Some(keys), "/certs?v=1") => json(&json!({ "keys": keys })),
                (None, _) => vec![Step::Send(
                    b"HTTP/1.1 503 Unavailable\r\ncontent-length: 0\r\n\r\n".to_vec(),
                )],
                (Some(_), _) => ok(b"<html>"),
            };
            [vec![Step::Wait(gate.clone())], answer].concat()
        });
        Self {
            origin,
            published,
            pairs: Mutex::default(),
        }
    }

    /// Where the keys are published.
    pub fn url(&self) -> String {
        format!("{}/certs?v=1", self.origin.url())
    }

    /// How often they were fetched.
    pub fn fetches(&self) -> usize {
        self.origin.count()
    }

    /// Makes a key and publishes it.
    ///
    /// # Panics
    /// There is no randomness.
    pub fn add(&self, kid: &str, algorithm: SigningAlgorithm) {
        let jwk = self.make(kid, algorithm);
        let mut published = self
            .published
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        published.get_or_insert_default().push(jwk);
    }

    /// Makes a key without publishing it.
    ///
    /// # Panics
    /// There is no randomness.
    pub fn make(&self, kid: &str, algorithm: SigningAlgorithm) -> Value {
        let pair = match algorithm {
            SigningAlgorithm::Rs256 => {
                Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).expect("a key"))
            }
            SigningAlgorithm::Es256 => {
                Pair::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key"))
            }
            SigningAlgorithm::EdDsa => Pair::Ed(Ed25519KeyPair::generate().expect("a key")),
        };
        let jwk = pair.jwk(kid);
        let mut pairs = self.pairs.lock().unwrap_or_else(PoisonError::into_inner);
        pairs.push((kid.to_owned(), pair));
        jwk
    }

    /// Stops answering with keys.
    pub fn fail(&self) {
        *self
            .published
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// A token with these claims, signed with a key that was made.
    pub fn token(&self, kid: &str, claims: &Value) -> String {
        let pairs = self.pairs.lock().unwrap_or_else(PoisonError::into_inner);
        let alg = pairs
            .iter()
            .find(|(known, _)| known == kid)
            .map_or("", |(_, pair)| pair.name());
        drop(pairs);
        self.signed(
            &json!({ "alg": alg, "kid": kid, "typ": "JWT" }),
            kid,
            claims,
        )
    }

    /// As [`Self::token`], whatever the header says.
    ///
    /// # Panics
    /// There is no such key.
    pub fn signed(&self, header: &Value, kid: &str, claims: &Value) -> String {
        let text = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
        let pairs = self.pairs.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, pair) = pairs
            .iter()
            .find(|(known, _)| known == kid)
            .expect("a key of that name");
        format!("{text}.{}", b64(pair.sign(text.as_bytes())))
    }
}

impl Pair {
    const fn name(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::Ec(_) => "ES256",
            Self::Ed(_) => "EdDSA",
        }
    }

    fn jwk(&self, kid: &str) -> Value {
        match self {
            Self::Rsa(pair) => {
                // A PKCS#1 public key of 2048 bits: two integers behind headers of fixed length.
                let der = pair.public_key().as_ref();
                let (n, e) = (&der[9..265], &der[267..]);
                json!({ "kty": "RSA", "kid": kid, "alg": "RS256", "use": "sig", "n": b64(n), "e": b64(e) })
            }
            Self::Ec(pair) => {
                let point = pair.public_key().as_ref();
                let (x, y) = (&point[1..33], &point[33..]);
                json!({ "kty": "EC", "crv": "P-256", "kid": kid, "x": b64(x), "y": b64(y) })
            }
            Self::Ed(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": b64(pair.public_key()) })
            }
        }
    }

    fn sign(&self, text: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, text, &mut signature)
                    .expect("a signature");
                signature
            }
            Self::Ec(pair) => pair
                .sign(&random, text)
                .expect("a signature")
                .as_ref()
                .to_vec(),
            Self::Ed(pair) => pair.sign(text).as_ref().to_vec(),
        }
    }
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}
