//! Services that keep keys, on loopback: the Transit engine of a Vault, and AWS KMS, which checks
//! signatures as strictly as the real one. What they seal they remember, and nobody else can open.

use crate::origin::{Origin, Step, json};
use crate::request::Request;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, PoisonError};

/// What the Vault knows the gateway by.
pub const VAULT_TOKEN: &str = "hvs.Zq8kTm2vXw7pLs4nRy9bHc3dJf6gVa";
/// What AWS knows the gateway by.
pub const AWS_KEY_ID: &str = "AKIDFIXTURE0000001";
/// How the gateway proves that.
pub const AWS_SECRET: &str = "k3Zt/9xQmPw2Lr7vBn5yHc1dJf8gVaTs4eUoXi6R";
/// Where AWS is.
pub const AWS_REGION: &str = "eu-central-1";

/// Both services.
pub struct KeyServices {
    origin: Origin,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// What was sealed, with what it was bound to.
    sealed: Vec<(Value, String)>,
    mood: KeyServiceMood,
}

/// What a service does with a request.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum KeyServiceMood {
    /// What it should.
    #[default]
    Right,
    /// It refuses whoever it is.
    Refuses,
    /// It never answers.
    Silent,
    /// It opens another key than it sealed.
    Mistakes,
    /// It answers with something else.
    Babbles,
}

impl KeyServices {
    /// Both, at one address.
    pub fn start() -> Self {
        let state = Arc::<Mutex<State>>::default();
        let own = Arc::clone(&state);
        let origin = Origin::start(move |request| {
            let mut state = own.lock().unwrap_or_else(PoisonError::into_inner);
            match state.mood {
                KeyServiceMood::Silent => return vec![Step::Hang],
                KeyServiceMood::Refuses => return refused(),
                KeyServiceMood::Babbles => {
                    return json(&json!({ "data": [], "Plaintext": "AAAA" }));
                }
                KeyServiceMood::Right | KeyServiceMood::Mistakes => {}
            }
            state
                .answer(request)
                .map_or_else(refused, |body| json(&body))
        });
        Self { origin, state }
    }

    /// Where they are.
    pub fn url(&self) -> String {
        self.origin.url()
    }

    /// Lets them do something else from now on.
    pub fn set_mood(&self, mood: KeyServiceMood) {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .mood = mood;
    }

    /// What they were asked, as the last word of each target.
    pub fn asked(&self) -> Vec<String> {
        let requests = self.origin.requests();
        let word = |request: &Request| {
            let target = request.field("x-amz-target");
            let word = target.and_then(|target| target.rsplit('.').next());
            let path = request.target.split('/').nth(3);
            word.or(path).unwrap_or_default().to_ascii_lowercase()
        };
        requests.iter().map(word).collect()
    }

    /// The keys that they sealed, in base64.
    pub fn keys(&self) -> Vec<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state
            .sealed
            .iter()
            .map(|(_, plain)| plain.clone())
            .collect()
    }
}

impl State {
    fn answer(&mut self, request: &Request) -> Option<Value> {
        let body: Value = serde_json::from_slice(&request.body).ok()?;
        let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str);
        if request.field("x-amz-target").is_none() {
            let is_known = request.field("x-vault-token") == Some(VAULT_TOKEN);
            let bound = json!(request.field("x-vault-namespace"));
            return match (is_known, request.target.as_str()) {
                (true, "/v1/transit/encrypt/tollkeep") => {
                    let number = self.seal(bound, text("/plaintext")?);
                    Some(json!({ "data": { "ciphertext": format!("vault:v1:{number}") } }))
                }
                (true, "/v1/transit/decrypt/tollkeep") => {
                    let number = text("/ciphertext")?.strip_prefix("vault:v1:")?;
                    Some(json!({ "data": { "plaintext": self.open(&bound, number)? } }))
                }
                _ => None,
            };
        }
        if !is_signed(request) || text("/KeyId") != Some("alias/tollkeep") {
            return None;
        }
        let bound = body.get("EncryptionContext")?.clone();
        match request.field("x-amz-target")? {
            "TrentService.Encrypt" => {
                let number = self.seal(bound, text("/Plaintext")?);
                Some(json!({ "CiphertextBlob": number, "KeyId": "alias/tollkeep" }))
            }
            "TrentService.Decrypt" => {
                let plain = self.open(&bound, text("/CiphertextBlob")?)?;
                Some(json!({ "Plaintext": plain, "KeyId": "alias/tollkeep" }))
            }
            _ => None,
        }
    }

    fn seal(&mut self, bound: Value, plain: &str) -> String {
        self.sealed.push((bound, plain.to_owned()));
        (self.sealed.len() - 1).to_string()
    }

    fn open(&self, bound: &Value, number: &str) -> Option<String> {
        let (own, plain) = self.sealed.get(number.parse::<usize>().ok()?)?;
        if self.mood == KeyServiceMood::Mistakes {
            return Some("AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=".to_owned());
        }
        (own == bound).then(|| plain.clone())
    }
}

fn refused() -> Vec<Step> {
    let head = "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n";
    vec![Step::Send(head.as_bytes().to_vec())]
}

/// Whether a request is signed as AWS says (Signature Version 4).
fn is_signed(request: &Request) -> bool {
    let signature = || {
        let said = request
            .field("authorization")?
            .strip_prefix("AWS4-HMAC-SHA256 ")?;
        let part = |name: &str| {
            let mut parts = said.split(", ");
            parts.find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
        };
        let (names, date) = (part("SignedHeaders")?, request.field("x-amz-date")?);
        let (id, scope) = part("Credential")?.split_once('/')?;
        let day = date.get(..8)?;
        let wanted = format!("{day}/{AWS_REGION}/kms/aws4_request");
        if id != AWS_KEY_ID || scope != wanted || !names.contains("host;x-amz-date") {
            return None;
        }
        let mut canonical = format!("{}\n{}\n\n", request.method, request.target);
        for name in names.split(';') {
            canonical += &format!("{name}:{}\n", request.field(name)?);
        }
        canonical += &format!(
            "\n{names}\n{}",
            hex(digest(&SHA256, &request.body).as_ref())
        );
        let hashed = hex(digest(&SHA256, canonical.as_bytes()).as_ref());
        let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{hashed}");
        let mut key = format!("AWS4{AWS_SECRET}").into_bytes();
        for part in [day, AWS_REGION, "kms", "aws4_request", &to_sign] {
            let with = hmac::Key::new(hmac::HMAC_SHA256, &key);
            key = hmac::sign(&with, part.as_bytes()).as_ref().to_vec();
        }
        Some(part("Signature")? == hex(&key))
    };
    signature() == Some(true)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
