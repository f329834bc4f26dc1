//! An identity provider that people sign in by (OpenID Connect), on loopback: it tells of itself,
//! and exchanges codes for tokens as strictly as a real one. Whoever plays the person and their
//! browser says what the token claims, and how it is signed.

use crate::issuer::{Issuer, SigningAlgorithm};
use crate::origin::{Origin, Step, json};
use crate::request::Request;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Who the gateway is there.
pub const CLIENT_ID: &str = "tollkeep-console";
/// How it proves that.
pub const CLIENT_SECRET: &str = "Zq8kTm2vXw7pLs4n+Ry9b/Hc3dJf6gVa";

/// An identity provider.
pub struct IdentityProvider {
    origin: Origin,
    /// Its keys.
    pub issuer: Issuer,
    codes: Codes,
}

type Codes = Arc<Mutex<HashMap<String, Pending>>>;

/// A code that was given out.
struct Pending {
    redirect_uri: String,
    challenge: String,
    token: String,
}

/// What the browser is sent back with.
#[derive(Clone, Debug)]
pub struct SentBack {
    /// Stands for a token.
    pub code: String,
    /// What it was sent with.
    pub state: String,
}

impl IdentityProvider {
    /// One with a key `ed` that it publishes.
    pub fn start() -> Self {
        let issuer = Issuer::start();
        issuer.add("ed", SigningAlgorithm::EdDsa);
        let codes = Codes::default();
        let (given, jwks) = (Arc::clone(&codes), issuer.url());
        let origin = Origin::start(move |request| answer(request, &jwks, &given));
        Self {
            origin,
            issuer,
            codes,
        }
    }

    /// Who it is.
    pub fn url(&self) -> String {
        self.origin.url()
    }

    /// How often its token endpoint was asked.
    pub fn exchanges(&self) -> usize {
        let requests = self.origin.requests();
        requests
            .iter()
            .filter(|request| request.target == "/token")
            .count()
    }

    /// A person is sent here by this link and signs in; `token` makes their token of what it
    /// should claim.
    ///
    /// # Panics
    /// The link is not one of the authorization code flow with PKCE.
    pub fn sign_in(&self, link: &str, token: impl FnOnce(&Issuer, Value) -> String) -> SentBack {
        let start = format!("{}/authorize?", self.url());
        let query = link
            .strip_prefix(&start)
            .expect("the authorization endpoint");
        let asked = fields(query);
        let ask = |name: &str| asked.get(name).cloned().expect(name);
        assert_eq!(ask("response_type"), "code");
        assert_eq!(ask("code_challenge_method"), "S256");
        assert_eq!(ask("client_id"), CLIENT_ID);
        let now = now();
        let claims = json!({
            "iss": self.url(), "sub": "person-1", "aud": CLIENT_ID, "exp": now + 300, "iat": now,
            "auth_time": now, "nonce": ask("nonce"), "email": "jane@team.example",
            "email_verified": true, "name": "Jane Roe", "groups": ["ops"],
        });
        let mut codes = self.codes.lock().unwrap_or_else(PoisonError::into_inner);
        let code = format!("code-{}", codes.len());
        let pending = Pending {
            redirect_uri: ask("redirect_uri"),
            challenge: ask("code_challenge"),
            token: token(&self.issuer, claims),
        };
        codes.insert(code.clone(), pending);
        SentBack {
            code,
            state: ask("state"),
        }
    }
}

/// Seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "a clock of the test's own")]
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

fn answer(request: &Request, jwks: &str, codes: &Codes) -> Vec<Step> {
    let own = format!("http://{}", request.field("host").unwrap_or_default());
    match request.target.as_str() {
        "/.well-known/openid-configuration" => json(&json!({
            "issuer": own,
            "authorization_endpoint": format!("{own}/authorize"),
            "token_endpoint": format!("{own}/token"),
            "jwks_uri": jwks,
            "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["S256"],
        })),
        "/token" => exchange(request, codes),
        _ => refused(404),
    }
}

fn exchange(request: &Request, codes: &Codes) -> Vec<Step> {
    // Both parts are encoded before they are joined (RFC 6749, section 2.3.1).
    let secret = CLIENT_SECRET.replace('+', "%2B").replace('/', "%2F");
    let pair = BASE64_STANDARD.encode(format!("{CLIENT_ID}:{secret}"));
    if request.field("authorization") != Some(&format!("Basic {pair}")) {
        return refused(401);
    }
    let sent = fields(&request.text());
    let part = |name: &str| sent.get(name).map(String::as_str).unwrap_or_default();
    let mut codes = codes.lock().unwrap_or_else(PoisonError::into_inner);
    // A code is good for one try.
    let Some(pending) = codes.remove(part("code")) else {
        return refused(400);
    };
    let verifier = digest(&SHA256, part("code_verifier").as_bytes());
    let is_bound = pending.challenge == BASE64_URL_SAFE_NO_PAD.encode(verifier)
        && pending.redirect_uri == part("redirect_uri")
        && part("grant_type") == "authorization_code";
    if !is_bound {
        return refused(400);
    }
    json(&json!({ "access_token": "at", "token_type": "Bearer", "id_token": pending.token }))
}

fn refused(status: u16) -> Vec<Step> {
    let head = format!("HTTP/1.1 {status} Refused\r\ncontent-length: 0\r\n\r\n");
    vec![Step::Send(head.into_bytes())]
}

fn fields(query: &str) -> HashMap<String, String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        let digits = behind.get(..2).filter(|_| *byte == b'%');
        let hex = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = behind.get(2..).unwrap_or_default();
            }
            None => bytes.push(*byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
