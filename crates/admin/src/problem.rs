//! Refusals of the management API: `application/problem+json` (RFC 9457), never with SQL, paths of
//! the machine (but those that settings name), or stack text.

mod limits;
mod login;
mod refused;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::sync::Arc;
use tollkeep_config::ConfigErrors;

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// One fault of a request body, by its JSON pointer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Fault {
    pub(crate) path: String,
    pub(crate) message: String,
}

/// Whose clients read an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Family {
    /// Ours.
    Own,
    /// Another gateway's, which look for `error`.
    Seed,
}

impl Family {
    /// The family of a path.
    pub(crate) fn of(path: &str) -> Self {
        let is_seed = ["/v0/", "/manage/"]
            .iter()
            .any(|start| path.starts_with(start));
        if is_seed { Self::Seed } else { Self::Own }
    }
}

/// A refusal.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    faults: Vec<Fault>,
    allow: Option<Box<str>>,
    retry_after_s: Option<u64>,
    /// Of a limit: `RateLimit-Policy` and `RateLimit`.
    limit: Option<Arc<[String; 2]>>,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            faults: Vec::new(),
            allow: None,
            retry_after_s: None,
            limit: None,
        }
    }

    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", detail)
    }

    pub(crate) fn duplicate_key(detail: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "duplicate_key", detail)
    }

    pub(crate) fn bad_cursor() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "bad_cursor",
            "The cursor is not one of ours, or belongs to another list.",
        )
    }

    pub(crate) fn unauthorized() -> Self {
        let detail = "No valid management key. Send it as `Authorization: Bearer mgt-…` or `X-Management-Key: mgt-…`.";
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
    }

    pub(crate) fn forbidden() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "forbidden",
            "The role of this key does not allow that.",
        )
    }

    pub(crate) fn project_inactive() -> Self {
        let detail = "The project is switched off.";
        Self::new(StatusCode::FORBIDDEN, "project_inactive", detail)
    }

    pub(crate) fn tenant_suspended() -> Self {
        let detail = "The tenant of this key is suspended: it can read, and change nothing.";
        Self::new(StatusCode::FORBIDDEN, "tenant_suspended", detail)
    }

    pub(crate) fn front_door_refused() -> Self {
        Self::new(StatusCode::FORBIDDEN, "front_door_refused", "Not allowed.")
    }

    /// An address that may not come is told no more than that.
    pub(crate) fn address_forbidden() -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "Not allowed.")
    }

    pub(crate) fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            "There is no such thing here.",
        )
    }

    pub(crate) fn misdirected() -> Self {
        Self::new(
            StatusCode::MISDIRECTED_REQUEST,
            "misdirected",
            "Not served here.",
        )
    }

    pub(crate) fn method_not_allowed(allow: impl Into<Box<str>>) -> Self {
        let problem = Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "Another method is meant for this path.",
        );
        Self {
            allow: Some(allow.into()),
            ..problem
        }
    }

    /// Of the settings, which are shown here and written elsewhere.
    pub(crate) fn managed_by_file(allow: impl Into<Box<str>>) -> Self {
        let detail = "The settings are those of a file: change it there, then \
                      `POST /api/v1/config/reload`, which checks them and tells every fault.";
        Self {
            detail: detail.to_owned(),
            ..Self::method_not_allowed(allow)
        }
    }

    pub(crate) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", detail)
    }

    pub(crate) fn looks_masked() -> Self {
        let detail = "The secret looks masked: give its full text.";
        Self::new(StatusCode::BAD_REQUEST, "looks_masked", detail)
    }

    pub(crate) fn unsupported_credential_type() -> Self {
        let detail = "Not supported: credentials are of type `api_key`.";
        let code = "unsupported_credential_type";
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    pub(crate) fn credential_unbound() -> Self {
        let detail = "The provider is at another address than the secret was given for: give it \
                      again by `rotate`.";
        Self::new(StatusCode::CONFLICT, "credential_unbound", detail)
    }

    /// A URL that may not be stored: by which rule, and nothing of what its name led to.
    pub(crate) fn egress_refused(member: &str, rule: &str) -> Self {
        let fault = Fault {
            path: format!("/{member}"),
            message: rule.to_owned(),
        };
        let detail = format!("This address is not allowed: {rule}.");
        Self {
            faults: vec![fault],
            ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "egress_refused", detail)
        }
    }

    pub(crate) fn precondition_failed() -> Self {
        Self::new(
            StatusCode::PRECONDITION_FAILED,
            "precondition_failed",
            "It is no longer the version that `If-Match` names: look again.",
        )
    }

    pub(crate) fn if_match_required() -> Self {
        Self::new(
            StatusCode::PRECONDITION_REQUIRED,
            "if_match_required",
            "Name the version you change: `If-Match` with the `ETag` of a reading, or `*`.",
        )
    }

    pub(crate) fn still_running() -> Self {
        Self {
            retry_after_s: Some(1),
            ..Self::conflict("The first request with this Idempotency-Key is still running.")
        }
    }

    pub(crate) fn answer_lost() -> Self {
        Self::conflict(
            "The request with this Idempotency-Key was carried out, and its answer can't be given \
             again: look what is there before you send another key.",
        )
    }

    pub(crate) fn key_reused() -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "idempotency_key_reused",
            "This Idempotency-Key came with another request before.",
        )
    }

    pub(crate) fn too_many_keys() -> Self {
        Self {
            retry_after_s: Some(3_600),
            ..Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "rate_limited",
                "There are 10000 Idempotency-Keys of yours on record; each is kept for 24 hours.",
            )
        }
    }

    pub(crate) fn too_many_follow() -> Self {
        Self {
            retry_after_s: Some(60),
            ..Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "rate_limited",
                "32 streams follow the audit log already.",
            )
        }
    }

    pub(crate) fn not_offered(why: &'static str) -> Self {
        Self::new(StatusCode::GONE, "not_offered", why)
    }

    pub(crate) fn too_large() -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            "The body is larger than 1 MiB.",
        )
    }

    pub(crate) fn not_json() -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "The body must be `application/json`.",
        )
    }

    pub(crate) fn invalid(faults: Vec<Fault>) -> Self {
        let detail = "The request has members that can't be taken.";
        Self {
            faults,
            ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail)
        }
    }

    /// Settings that can't be taken over: what is wrong with them and where, never their values.
    pub(crate) fn config_invalid(errors: &ConfigErrors) -> Self {
        let faults = errors.0.iter().map(|error| Fault {
            path: error.key.clone(),
            message: error.to_string(),
        });
        let detail = "The settings can't be taken over: those in force stay.";
        Self {
            faults: faults.collect(),
            ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "config_invalid", detail)
        }
    }

    pub(crate) fn audit_unavailable() -> Self {
        let detail = "The audit log can't be written, so nothing is changed.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "audit_unavailable", detail)
    }

    pub(crate) fn recorded_late() -> Self {
        let detail = "The audit log could not be written in time: look whether the change was made. \
                      If it was, its record follows when the log can be written.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "audit_unavailable", detail)
    }

    pub(crate) fn store_unavailable() -> Self {
        let detail = "The disk does not take what is to be kept: nothing was changed.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", detail)
    }

    pub(crate) fn audit_not_kept() -> Self {
        let detail = "There is no audit file that could be read: the audit log is off, or a pipe.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "audit_db_disabled", detail)
    }

    pub(crate) fn audit_unreadable() -> Self {
        let detail = "The audit file can't be read.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "audit_unavailable", detail)
    }

    pub(crate) fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "Something went wrong.",
        )
    }

    pub(crate) const fn status(&self) -> StatusCode {
        self.status
    }

    /// How many faults there are, and the first one.
    pub(crate) fn first_fault(&self) -> Option<(u64, &str)> {
        let first = self.faults.first()?;
        let count = u64::try_from(self.faults.len()).unwrap_or(u64::MAX);
        Some((count, &first.message))
    }

    pub(crate) const fn code(&self) -> &'static str {
        self.code
    }

    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }
}

impl Problem {
    /// The refusal that an answer stands for: one of ours, or what the framework says in plain
    /// text to a request that reached no handler.
    pub(crate) fn of_answer(response: &mut Response) -> Option<Self> {
        if let Some(problem) = response.extensions_mut().remove::<Self>() {
            return Some(problem);
        }
        // One that was written before, and is given again.
        if response.headers().get(header::CONTENT_TYPE) == Some(&PROBLEM_JSON) {
            return None;
        }
        match response.status() {
            StatusCode::BAD_REQUEST => Some(Self::bad_request("The request could not be read.")),
            StatusCode::NOT_FOUND => Some(Self::not_found()),
            StatusCode::METHOD_NOT_ALLOWED => Some(Self::method_not_allowed("GET, HEAD")),
            _ => None,
        }
    }

    /// Writes the document into the answer.
    pub(crate) fn write(&self, response: &mut Response, request_id: &str, family: Family) {
        let mut document = json!({
            "type": format!("urn:tollkeep:problem:{}", self.code),
            "title": self.status.canonical_reason().unwrap_or("Refused"),
            "status": self.status.as_u16(),
            "detail": self.detail,
            "code": self.code,
            "request_id": request_id,
        });
        if !self.faults.is_empty()
            && let Some(members) = document.as_object_mut()
        {
            let errors: Vec<Value> =
                self.faults.iter().map(|fault| json!({ "path": fault.path, "code": "invalid", "message": fault.message })).collect();
            members.insert("errors".to_owned(), errors.into());
        }
        if family == Family::Seed
            && let Some(members) = document.as_object_mut()
        {
            members.insert("error".to_owned(), self.detail.as_str().into());
        }
        *response.body_mut() = Body::from(document.to_string());
        let fields = response.headers_mut();
        fields.remove(header::CONTENT_LENGTH);
        fields.insert(header::CONTENT_TYPE, PROBLEM_JSON);
        if let Some(Ok(allow)) = self.allow.as_deref().map(HeaderValue::from_str) {
            fields.insert(header::ALLOW, allow);
        }
        if self.status == StatusCode::UNAUTHORIZED {
            fields.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"tollkeep\""),
            );
        }
        let retry_after_s = match self.status {
            StatusCode::SERVICE_UNAVAILABLE => Some(1),
            _ => self.retry_after_s,
        };
        if let Some(seconds) = retry_after_s {
            fields.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        for (name, value) in ["ratelimit-policy", "ratelimit"]
            .into_iter()
            .zip(self.limit.iter().flat_map(|lines| lines.iter()))
        {
            if let Ok(value) = HeaderValue::from_str(value) {
                fields.insert(HeaderName::from_static(name), value);
            }
        }
    }
}

impl IntoResponse for Problem {
    /// The status; the document is written once the request's id is at hand.
    fn into_response(self) -> Response {
        let mut response = (self.status, Body::empty()).into_response();
        response.extensions_mut().insert(self);
        response
    }
}
