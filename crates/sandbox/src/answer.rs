//! The door of the emulated vendors: which of them a request is for, and what it gets.

use http::HeaderMap;
use serde_json::{Map, Value};

use crate::anthropic::{self, messages};
use crate::fault::Fault;
use crate::gemini::{self, generate};
use crate::ids::Ids;
use crate::openai::{self, chat, completions, embeddings, responses};
use crate::plan::Plan;
use crate::script::{self, Script};
use crate::steering::Steering;

/// What an endpoint makes of a good call, before steering has its way with it.
pub(crate) struct Told {
    /// What the call asked for besides an answer.
    pub(crate) steering: Steering,
    /// The answer.
    pub(crate) content: Content,
}

/// An answer in its vendor's words.
pub(crate) enum Content {
    /// One JSON text.
    Whole(Value),
    /// A stream of events.
    Stream(Script),
}

/// Whose words an answer is in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Vendor {
    OpenAi,
    Anthropic,
    Gemini,
}

type Body = Map<String, Value>;

/// An endpoint that takes a JSON object.
type Endpoint = fn(&Body, Ids) -> Result<Told, Fault>;

/// What the vendor whose endpoint this is answers. `path` is the request target, with or without a
/// query. Credentials are not looked at: the gateway sends none.
pub fn answer(method: &str, path: &str, headers: &HeaderMap, body: &[u8]) -> Plan {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let vendor = Vendor::of(path, headers);
    let ids = Ids::of(body);
    let models = ["/v1/models", GEMINI_MODELS];
    let models = models.iter().find_map(|models| path.strip_prefix(models));
    let plan = match (endpoint(path, query), models) {
        (Some(found), _) if found.vendor == Vendor::Anthropic && !headers.contains_key(VERSION) => {
            Err(Fault::NoVersion)
        }
        (Some(found), _) if method == "POST" => vendor.call(&found, body, ids),
        (Some(_), _) => Err(Fault::MethodNotAllowed("POST")),
        (None, Some(rest)) => vendor.models(method, rest, query, ids),
        (None, None) => Err(Fault::UnknownPath(format!("{method} {path}"))),
    };
    plan.unwrap_or_else(|fault| vendor.refuse(&fault, ids))
}

/// What the vendor answers to a body of more than [`crate::BODY_BYTES_MAX`].
pub(crate) fn too_large(path: &str, headers: &HeaderMap) -> Plan {
    let (path, _) = path.split_once('?').unwrap_or((path, ""));
    Vendor::of(path, headers).refuse(&Fault::TooLarge, Ids::of(b""))
}

/// The field that every call of the Anthropic API has.
const VERSION: &str = "anthropic-version";

/// The field that clients of the Gemini API show their key in.
const KEY: &str = "x-goog-api-key";

/// Where the models of the Gemini API are.
const GEMINI_MODELS: &str = "/v1beta/models";

/// An endpoint that belongs to one vendor.
struct Found<'p> {
    vendor: Vendor,
    endpoint: Endpoint,
    /// The model, where the path names it.
    model: Option<&'p str>,
}

/// The endpoint of a path.
fn endpoint<'p>(path: &'p str, query: &str) -> Option<Found<'p>> {
    let (vendor, endpoint): (_, Endpoint) = match path {
        "/v1/chat/completions" => (Vendor::OpenAi, chat::tell),
        "/v1/completions" => (Vendor::OpenAi, completions::tell),
        "/v1/responses" => (Vendor::OpenAi, responses::tell),
        "/v1/embeddings" => (Vendor::OpenAi, embeddings::tell),
        "/v1/messages" => (Vendor::Anthropic, messages::tell),
        "/v1/messages/count_tokens" => (Vendor::Anthropic, messages::count),
        _ => return of_model(path, query),
    };
    Some(Found {
        vendor,
        endpoint,
        model: None,
    })
}

/// The endpoint of a path that names a model.
fn of_model<'p>(path: &'p str, query: &str) -> Option<Found<'p>> {
    let (model, method) = gemini::method_of(path)?;
    let as_events = query.split('&').any(|pair| pair == "alt=sse");
    let endpoint: Endpoint = match method {
        "generateContent" => generate::tell,
        "streamGenerateContent" if as_events => generate::stream,
        "streamGenerateContent" => generate::list,
        "countTokens" => generate::count,
        _ => return None,
    };
    Some(Found {
        vendor: Vendor::Gemini,
        endpoint,
        model: Some(model),
    })
}

impl Vendor {
    /// Whose a path is; of paths that several or none have, a header decides.
    fn of(path: &str, headers: &HeaderMap) -> Self {
        match endpoint(path, "") {
            Some(found) => found.vendor,
            None if path.starts_with("/v1beta/") || headers.contains_key(KEY) => Self::Gemini,
            None if headers.contains_key(VERSION) => Self::Anthropic,
            None => Self::OpenAi,
        }
    }

    /// `GET /v1/models` and `GET /v1/models/{id}`; `rest` is what follows `models`.
    fn models(self, method: &str, rest: &str, query: &str, ids: Ids) -> Result<Plan, Fault> {
        if method != "GET" {
            return Err(Fault::MethodNotAllowed("GET"));
        }
        let value = match (self, rest.strip_prefix('/')) {
            (Self::OpenAi, None) if rest.is_empty() => openai::models::list(),
            (Self::Anthropic, None) if rest.is_empty() => anthropic::models::list(query)?,
            (Self::Gemini, None) if rest.is_empty() => gemini::models::list(query)?,
            (Self::OpenAi, Some(id)) => openai::models::one(id)?,
            (Self::Anthropic, Some(id)) => anthropic::models::one(id)?,
            (Self::Gemini, Some(id)) => gemini::models::one(id)?,
            (Self::OpenAi | Self::Anthropic | Self::Gemini, None) => {
                return Err(Fault::UnknownPath(format!("GET models{rest}")));
            }
        };
        Ok(Plan::json(200, &value, self.headers(ids)))
    }

    fn call(self, found: &Found<'_>, body: &[u8], ids: Ids) -> Result<Plan, Fault> {
        let mut body = object(body)?;
        if let Some(model) = found.model {
            body.insert(generate::MODEL.to_owned(), model.into());
        }
        let Told { steering, content } = (found.endpoint)(&body, ids)?;
        if let Some(status) = steering.status {
            let fault = Fault::Asked {
                status,
                code: steering.code,
                retry_after_s: steering.retry_after_s,
            };
            let mut plan = self.refuse(&fault, ids);
            plan.delay_ms = steering.delay_ms;
            return Ok(plan);
        }
        if steering.html {
            let page = Plan::whole(200, "text/html; charset=utf-8", PAGE.to_owned(), Vec::new());
            return Ok(script::in_parts(page, &steering));
        }
        let headers = self.headers(ids);
        match content {
            Content::Stream(script) => Ok(script.play(&steering, headers)),
            Content::Whole(_) if steering.error_after.is_some() => {
                let mut plan = self.refuse(
                    &Fault::Interrupted {
                        code: steering.code,
                    },
                    ids,
                );
                plan.delay_ms = steering.delay_ms;
                Ok(plan)
            }
            Content::Whole(value) => Ok(script::in_parts(
                Plan::json(200, &value, headers),
                &steering,
            )),
        }
    }

    fn refuse(self, fault: &Fault, ids: Ids) -> Plan {
        let (status, value) = match self {
            Self::OpenAi => openai::error::body(fault),
            Self::Anthropic => anthropic::error::body(fault, ids),
            Self::Gemini => gemini::error::body(fault),
        };
        let mut headers = self.headers(ids);
        headers.extend(fault.headers());
        Plan::json(status, &value, headers)
    }

    fn headers(self, ids: Ids) -> Vec<(&'static str, String)> {
        match self {
            Self::OpenAi => openai::headers(ids),
            Self::Anthropic => anthropic::headers(ids),
            Self::Gemini => gemini::headers(ids),
        }
    }
}

/// What a broken proxy in front of a vendor says.
const PAGE: &str = "<!DOCTYPE html>\n<html><head><title>Just a moment...</title></head>\
    <body><h1>Checking your browser</h1></body></html>\n";

fn object(body: &[u8]) -> Result<Body, Fault> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(Fault::NotJson("the top is not an object".into())),
        Err(error) => Err(Fault::NotJson(error.to_string())),
    }
}
