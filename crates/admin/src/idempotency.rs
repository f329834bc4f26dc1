//! `Idempotency-Key`: a POST that is sent again is not carried out again.
//!
//! Who asks, where, and the key's text name a slot of the store, where replicas meet. The request
//! is carried out by a task of its own, so that its answer is kept even if the asker goes away.
//! Answers are sealed under a key made of the management key that was presented and of the
//! idempotency key: neither is kept, so nobody else can read them, the gateway included.

use crate::State;
use crate::authn::Operator;
use crate::etag::Precondition;
use crate::operation::{Call, Operation};
use crate::problem::{Family, Problem};
use crate::router::Answer;
use axum::body::{Body, to_bytes};
use axum::http::{
    HeaderMap, HeaderName, HeaderValue, Response as HttpResponse, StatusCode, header,
};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tollkeep_crypto::{Keyring, SealContext, hkdf_sha256, sha256};
use tollkeep_store::{Claim, KeptAnswer, RunEnd, RunKey};
use tollkeep_types::Secret;

const FIELD: &str = "idempotency-key";
const REPLAYED: &str = "idempotency-replayed";
/// Characters of a key at most.
const KEY_CHARS_MAX: usize = 200;
/// Bytes of an answer that is kept. A longer one can't be given again.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Fields of an answer that are kept.
const FIELDS: [HeaderName; 4] = [
    header::CONTENT_TYPE,
    header::LOCATION,
    header::ETAG,
    header::LINK,
];

/// The credential that the operator presented.
#[derive(Clone)]
pub(crate) struct Presented(pub(crate) Secret);

/// A request that is to be carried out once.
pub(crate) struct Once {
    run: RunKey,
    sealing: [u8; 32],
    path: Box<str>,
}

/// What is asked, as far as it tells one request from another.
pub(crate) struct Wanted<'a> {
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    pub(crate) body: &'a [u8],
    pub(crate) presented: Option<&'a Presented>,
}

/// An answer as it is sealed.
#[derive(Debug, Deserialize, Serialize)]
struct Sealed {
    fields: Vec<(String, String)>,
    body: String,
}

/// The key of a request, if it brings one.
///
/// # Errors
/// 400: it is there twice, or of another form.
pub(crate) fn key_of(fields: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = fields.get_all(FIELD).iter();
    let (Some(value), further) = (values.next(), values.next()) else {
        return Ok(None);
    };
    let is_visible = |byte: &u8| byte.is_ascii_graphic();
    let key = value.to_str().ok().filter(|key| {
        (1..=KEY_CHARS_MAX).contains(&key.len()) && key.as_bytes().iter().all(is_visible)
    });
    match (key, further) {
        (Some(key), None) => Ok(Some(key.to_owned())),
        (Some(_), Some(_)) => Err(Problem::bad_request("Idempotency-Key: given twice.")),
        (None, _) => {
            let problem = "Idempotency-Key: want 1 to 200 visible ASCII characters.";
            Err(Problem::bad_request(problem))
        }
    }
}

impl Once {
    pub(crate) fn new(state: &State, operator: &Operator, key: &str, wanted: &Wanted<'_>) -> Self {
        let owner = operator.name();
        let parts = [owner.as_str(), wanted.path, key].map(str::as_bytes);
        // Under the pepper: a body may be a password, which a bare digest would let guess.
        let keyed = |parts: &[&[u8]]| *state.parts.hasher.hash(digest(parts)).bytes();
        let slot = keyed(&parts);
        // Without a key of its own (the local socket), what only this deployment knows.
        let ikm = match wanted.presented {
            Some(Presented(key)) => sha256(&[key.expose().as_bytes()]),
            None => *state.parts.hasher.hash(format!("once {owner}")).bytes(),
        };
        Self {
            sealing: hkdf_sha256(&ikm, key.as_bytes(), b"tollkeep kept answers"),
            path: wanted.path.into(),
            run: RunKey {
                slot,
                owner,
                request: keyed(&[wanted.query.as_bytes(), wanted.body]),
                run: operator.asked.id.to_string(),
            },
        }
    }

    /// Carries the request out, unless it was. To its end, also if the asker goes away.
    #[expect(
        clippy::disallowed_methods,
        reason = "as long as one operation, and what the end of the process cuts off is known to be cut off"
    )]
    pub(crate) async fn carry_out(
        self,
        operation: &'static Operation,
        call: Call,
        precondition: Option<Precondition>,
    ) -> Answer {
        let running = tokio::spawn(async move {
            match call.state.parts.store.claim_run(self.run.clone()).await? {
                Claim::Begun => self.run(operation, call, precondition).await,
                Claim::Running => Err(Problem::still_running()),
                Claim::Answered(kept) => self.replay(operation, &call, &kept).await,
                Claim::Lost => Err(Problem::answer_lost()),
                Claim::OtherRequest => Err(Problem::key_reused()),
                Claim::Full => Err(Problem::too_many_keys()),
            }
        });
        running.await.map_err(|_| Problem::internal())?
    }

    async fn run(
        self,
        operation: &'static Operation,
        call: Call,
        precondition: Option<Precondition>,
    ) -> Answer {
        let state = Arc::clone(&call.state);
        let store = state.parts.store.running(self.run.clone());
        let call = Call {
            state: state.with_store(store),
            ..call
        };
        let answer = operation.carry_out(call, precondition).await;
        let (end, answer) = self.end(&state, answer).await;
        if let Err(error) = state.parts.store.end_run(self.run, end).await {
            tracing::warn!("The answer to an idempotent request was not kept: {error}");
        }
        answer
    }

    /// Gives the answer again. It may hold a secret, so it is told who got it.
    async fn replay(&self, operation: &Operation, call: &Call, kept: &KeptAnswer) -> Answer {
        let answer = self.open(kept).ok_or_else(Problem::answer_lost)?;
        if let Some(action) = operation.change {
            let event = call.state.event(&call.operator, action);
            call.state.record(event.with_reason("replayed")).await?;
        }
        Ok(answer)
    }

    /// How the run ended, and the answer.
    async fn end(&self, state: &State, answer: Answer) -> (RunEnd, Answer) {
        match answer {
            Ok(response) => match self.seal(state, response).await {
                Ok((response, kept)) => {
                    (kept.map_or(RunEnd::Broken, RunEnd::Answered), Ok(response))
                }
                Err(problem) => (RunEnd::Broken, Err(problem)),
            },
            Err(problem) if problem.status().is_server_error() => (RunEnd::Broken, Err(problem)),
            Err(problem) => {
                let mut response = problem.clone().into_response();
                problem.write(&mut response, &self.run.run, Family::of(&self.path));
                let end = match self.seal(state, response).await {
                    Ok((_, Some(kept))) => RunEnd::Refused(kept),
                    Ok((_, None)) | Err(_) => RunEnd::Broken,
                };
                (end, Err(problem))
            }
        }
    }

    /// The answer, and as it is kept if it can be.
    async fn seal(
        &self,
        state: &State,
        response: Response,
    ) -> Result<(Response, Option<KeptAnswer>), Problem> {
        let (head, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await;
        let bytes = bytes.map_err(|_| Problem::internal())?;
        let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
        let fields = FIELDS.iter().filter_map(|name| {
            let value = head.headers.get(name).and_then(text)?;
            Some((name.to_string(), value))
        });
        let body = std::str::from_utf8(&bytes).ok();
        let body = body.filter(|body| body.len() <= ANSWER_BYTES_MAX);
        let sealed = body.and_then(|body| {
            let sealed = Sealed {
                fields: fields.collect(),
                body: body.to_owned(),
            };
            let plain = serde_json::to_vec(&sealed).ok()?;
            let row = hex(&self.run.slot);
            let entropy = state.parts.entropy.as_ref();
            self.keyring()?.seal(&plain, &place(&row), entropy).ok()
        });
        let kept = sealed.map(|sealed| KeptAnswer {
            status: head.status.as_u16(),
            sealed,
        });
        Ok((Response::from_parts(head, Body::from(bytes)), kept))
    }

    fn open(&self, kept: &KeptAnswer) -> Option<Response> {
        let row = hex(&self.run.slot);
        let plain = self.keyring()?.open(&kept.sealed, &place(&row)).ok()?;
        let sealed: Sealed = serde_json::from_slice(&plain).ok()?;
        let status = StatusCode::from_u16(kept.status).ok()?;
        let mut response = HttpResponse::builder()
            .status(status)
            .header(REPLAYED, "true");
        for (name, value) in sealed.fields {
            response = response.header(name, value);
        }
        response.body(Body::from(sealed.body)).ok()
    }

    fn keyring(&self) -> Option<Keyring> {
        Keyring::new("once", &self.sealing).ok()
    }
}

const fn place(row: &str) -> SealContext<'_> {
    SealContext {
        tenant: "-",
        table: "idempotency",
        row,
        field: "answer",
    }
}

/// The digest of the parts, which can't run into one another.
fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let each: Vec<[u8; 32]> = parts.iter().map(|part| sha256(&[part])).collect();
    sha256(&each.iter().map(<[u8; 32]>::as_slice).collect::<Vec<_>>())
}

fn hex(bytes: &[u8; 32]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // ID-104
    #[test]
    fn a_key_is_visible_ascii_and_there_once() {
        let (longest, long) = ("k".repeat(200), "k".repeat(201));
        for (name, values, want) in [
            ("none", &[][..], Some(None)),
            ("usual", &["8e03978e-40d5-43e8-bc93-6894a57f9324"], {
                Some(Some("8e03978e-40d5-43e8-bc93-6894a57f9324"))
            }),
            ("longest", &[&longest], Some(Some(&longest))),
            ("longer", &[&long], None),
            ("empty", &[""], None),
            ("with a space", &["a b"], None),
            ("not ASCII", &["\u{e4}"], None),
            ("twice", &["a", "a"], None),
        ] {
            let mut fields = HeaderMap::new();
            for value in values {
                let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
                fields.append(FIELD, value);
            }
            let key = key_of(&fields).ok();
            assert_eq!(key.as_ref().map(Option::as_deref), want, "{name}");
        }
    }

    #[test]
    fn parts_do_not_run_into_one_another() {
        assert_ne!(digest(&[b"ab", b"c"]), digest(&[b"a", b"bc"]));
        assert_ne!(digest(&[b"ab"]), digest(&[b"ab", b""]));
    }
}
