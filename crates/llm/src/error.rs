//! What the gateway itself answers when it refuses or fails, in the caller's dialect.

use crate::json::write_string;
use crate::surface::Dialect;
use tollkeep_types::WallMillis;

/// Longest `message` that is written; longer ones are cut at a character.
pub const MESSAGE_BYTES_MAX: usize = 2048;

/// The classes of errors a caller can meet: those of our refusals, and those of upstreams' errors
/// that a caller must be able to tell apart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names are the classes of the error table")]
pub enum ErrorKind {
    BadRequest,
    InvalidJson,
    DuplicateKey,
    ContextOverflow,
    PolicyBlocked,
    Unauthenticated,
    BudgetExhausted,
    Forbidden,
    OriginNotAllowed,
    ProjectInactive,
    ModelNotFound,
    EndpointNotFound,
    MethodNotAllowed,
    RequestTimeout,
    BodyTooLarge,
    BadContentType,
    RateLimited,
    ModelCooldown,
    UpstreamAuth,
    UpstreamError,
    UpstreamProtocol,
    UpstreamInterrupted,
    ResponseTooLarge,
    CircuitOpen,
    Overloaded,
    Maintenance,
    Timeout,
}

/// One row of the error table.
struct Row {
    class: &'static str,
    status: u16,
    chat_type: &'static str,
    code: &'static str,
    anthropic_type: &'static str,
    gemini_status: &'static str,
}

const fn row(
    class_and_code: (&'static str, &'static str),
    status: u16,
    chat_type: &'static str,
    anthropic_type: &'static str,
    gemini_status: &'static str,
) -> Row {
    Row {
        class: class_and_code.0,
        status,
        chat_type,
        code: class_and_code.1,
        anthropic_type,
        gemini_status,
    }
}

impl ErrorKind {
    /// Every kind, in the order of the table.
    pub const ALL: [Self; 27] = [
        Self::BadRequest,
        Self::InvalidJson,
        Self::DuplicateKey,
        Self::ContextOverflow,
        Self::PolicyBlocked,
        Self::Unauthenticated,
        Self::BudgetExhausted,
        Self::Forbidden,
        Self::OriginNotAllowed,
        Self::ProjectInactive,
        Self::ModelNotFound,
        Self::EndpointNotFound,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::BodyTooLarge,
        Self::BadContentType,
        Self::RateLimited,
        Self::ModelCooldown,
        Self::UpstreamAuth,
        Self::UpstreamError,
        Self::UpstreamProtocol,
        Self::UpstreamInterrupted,
        Self::ResponseTooLarge,
        Self::CircuitOpen,
        Self::Overloaded,
        Self::Maintenance,
        Self::Timeout,
    ];

    /// The name of the class.
    pub const fn class(self) -> &'static str {
        self.row().class
    }

    /// The `code` of the OpenAI and plain bodies.
    pub const fn code(self) -> &'static str {
        self.row().code
    }

    /// The HTTP status. Anthropic callers know overload as 529.
    pub const fn status(self, dialect: Dialect) -> u16 {
        match (self, dialect) {
            (Self::Overloaded, Dialect::Anthropic) => 529,
            _ => self.row().status,
        }
    }

    #[rustfmt::skip]
    const fn row(self) -> Row {
        const INVALID: &str = "invalid_request_error";
        const SERVER: &str = "server_error";
        match self {
            Self::BadRequest => row(("bad_request", "bad_request"), 400, INVALID, INVALID, "INVALID_ARGUMENT"),
            Self::InvalidJson => row(("invalid_json", "invalid_json"), 400, INVALID, INVALID, "INVALID_ARGUMENT"),
            Self::DuplicateKey => row(("duplicate_key", "duplicate_key"), 400, INVALID, INVALID, "INVALID_ARGUMENT"),
            Self::ContextOverflow => row(("context_overflow", "context_length_exceeded"), 400, INVALID, INVALID, "INVALID_ARGUMENT"),
            Self::PolicyBlocked => row(("policy_blocked", "content_policy_violation"), 400, INVALID, INVALID, "INVALID_ARGUMENT"),
            Self::Unauthenticated => row(("unauthenticated", "invalid_api_key"), 401, "authentication_error", "authentication_error", "UNAUTHENTICATED"),
            Self::BudgetExhausted => row(("budget_exhausted", "budget_exhausted"), 402, "insufficient_quota", "billing_error", "FAILED_PRECONDITION"),
            Self::Forbidden => row(("forbidden", "forbidden"), 403, "permission_error", "permission_error", "PERMISSION_DENIED"),
            Self::OriginNotAllowed => row(("origin_not_allowed", "origin_not_allowed"), 403, "permission_error", "permission_error", "PERMISSION_DENIED"),
            Self::ProjectInactive => row(("project_inactive", "project_inactive"), 403, "permission_error", "permission_error", "PERMISSION_DENIED"),
            Self::ModelNotFound => row(("model_not_found", "model_not_found"), 404, INVALID, "not_found_error", "NOT_FOUND"),
            Self::EndpointNotFound => row(("endpoint_not_found", "endpoint_not_found"), 404, INVALID, "not_found_error", "NOT_FOUND"),
            Self::MethodNotAllowed => row(("method_not_allowed", "method_not_allowed"), 405, INVALID, INVALID, "INVALID_ARGUMENT"),
            Self::RequestTimeout => row(("request_timeout", "request_timeout"), 408, INVALID, "timeout_error", "DEADLINE_EXCEEDED"),
            Self::BodyTooLarge => row(("body_too_large", "request_too_large"), 413, INVALID, "request_too_large", "INVALID_ARGUMENT"),
            Self::BadContentType => row(("bad_content_type", "unsupported_media_type"), 415, INVALID, INVALID, "INVALID_ARGUMENT"),
            Self::RateLimited => row(("rate_limited", "rate_limit_exceeded"), 429, "rate_limit_error", "rate_limit_error", "RESOURCE_EXHAUSTED"),
            Self::ModelCooldown => row(("model_cooldown", "model_cooldown"), 429, "rate_limit_error", "rate_limit_error", "RESOURCE_EXHAUSTED"),
            Self::UpstreamAuth => row(("upstream_auth", "upstream_auth_error"), 503, SERVER, "api_error", "UNAVAILABLE"),
            Self::UpstreamError => row(("upstream_error", "upstream_error"), 502, SERVER, "api_error", "INTERNAL"),
            Self::UpstreamProtocol => row(("upstream_protocol", "upstream_protocol"), 502, SERVER, "api_error", "INTERNAL"),
            Self::UpstreamInterrupted => row(("upstream_interrupted", "upstream_interrupted"), 502, SERVER, "api_error", "INTERNAL"),
            Self::ResponseTooLarge => row(("response_too_large", "response_too_large"), 502, SERVER, "api_error", "INTERNAL"),
            Self::CircuitOpen => row(("circuit_open", "circuit_open"), 502, SERVER, "api_error", "UNAVAILABLE"),
            Self::Overloaded => row(("overloaded", "overloaded"), 503, SERVER, "overloaded_error", "UNAVAILABLE"),
            Self::Maintenance => row(("maintenance", "maintenance"), 503, SERVER, "api_error", "UNAVAILABLE"),
            Self::Timeout => row(("timeout", "timeout"), 504, SERVER, "timeout_error", "DEADLINE_EXCEEDED"),
        }
    }
}

/// What one error says. `code` and `status` are the kind's own unless the place of the refusal
/// knows better ones.
#[derive(Clone, Copy, Debug)]
pub struct ErrorText<'a> {
    /// The class.
    pub kind: ErrorKind,
    /// `code` of the OpenAI and plain bodies, `reason` of Gemini's.
    pub code: &'a str,
    /// English, for the caller.
    pub message: &'a str,
    /// `req_…`
    pub request_id: &'a str,
    /// The HTTP status the answer has.
    pub status: u16,
    /// When a model can be asked again, where that is known.
    pub cooldown: Option<Cooldown<'a>>,
}

/// Until when nobody who serves a model can be asked.
#[derive(Clone, Copy, Debug)]
pub struct Cooldown<'a> {
    /// As the caller named it.
    pub model: &'a str,
    /// When that ends.
    pub until: WallMillis,
    /// In how many seconds, as `Retry-After` says it.
    pub seconds: u64,
}

/// The message as it may be written.
fn short(message: &str) -> &str {
    message
        .get(..message.floor_char_boundary(MESSAGE_BYTES_MAX))
        .unwrap_or_default()
}

/// Appends the body of an error answer.
pub fn write_body(out: &mut Vec<u8>, dialect: Dialect, text: &ErrorText<'_>) {
    match dialect {
        Dialect::Chat | Dialect::Responses => write_openai(out, text),
        Dialect::Anthropic => write_anthropic(out, text),
        Dialect::Gemini => write_gemini(out, text, Details::Given),
        Dialect::Plain => {
            out.extend_from_slice(b"{\"error\":");
            write_string(out, short(text.message));
            member(out, ",\"code\":", text.code);
            out.push(b'}');
        }
    }
}

/// Where in a stream the gateway speaks; only the responses dialect needs it.
#[derive(Clone, Copy, Debug)]
pub struct StreamPlace<'a> {
    /// Events already sent: [`crate::usage::StreamUsage::events`].
    pub sequence: u64,
    /// When the answer began, unix seconds.
    pub created_at_s: u64,
    /// The model the caller asked for.
    pub model: &'a str,
}

/// Appends the event that tells the reader of a stream that it failed; the body must then end
/// regularly, without the dialect's end mark. `false` and nothing written when the dialect has
/// no such event: then the body is aborted.
#[must_use]
pub fn stream_event(
    out: &mut Vec<u8>,
    dialect: Dialect,
    text: &ErrorText<'_>,
    place: &StreamPlace<'_>,
) -> bool {
    match dialect {
        Dialect::Chat => {
            out.extend_from_slice(b"data: ");
            write_openai(out, text);
        }
        Dialect::Responses => write_responses_event(out, text, place),
        Dialect::Anthropic => {
            out.extend_from_slice(b"event: error\ndata: ");
            write_anthropic(out, text);
        }
        Dialect::Gemini => {
            out.extend_from_slice(b"data: ");
            write_gemini(out, text, Details::Left);
        }
        Dialect::Plain => return false,
    }
    out.extend_from_slice(b"\n\n");
    true
}

fn write_openai(out: &mut Vec<u8>, text: &ErrorText<'_>) {
    out.extend_from_slice(b"{\"error\":{\"message\":");
    write_string(out, short(text.message));
    member(out, ",\"type\":", text.kind.row().chat_type);
    out.extend_from_slice(b",\"param\":null");
    member(out, ",\"code\":", text.code);
    write_cooldown(out, text);
    out.extend_from_slice(b"}}");
}

/// Members beside those of an error, which clients that don't know them leave alone.
fn write_cooldown(out: &mut Vec<u8>, text: &ErrorText<'_>) {
    let Some(cooldown) = text.cooldown else {
        return;
    };
    member(out, ",\"model\":", cooldown.model);
    member(out, ",\"reset_time\":", &cooldown.until.to_string());
    out.extend_from_slice(b",\"reset_seconds\":");
    out.extend_from_slice(cooldown.seconds.to_string().as_bytes());
}

fn write_anthropic(out: &mut Vec<u8>, text: &ErrorText<'_>) {
    out.extend_from_slice(b"{\"type\":\"error\",\"error\":{");
    member(out, "\"type\":", text.kind.row().anthropic_type);
    out.extend_from_slice(b",\"message\":");
    // Clients know this failure by how the text begins.
    if text.kind == ErrorKind::ContextOverflow && !text.message.starts_with(PROMPT_TOO_LONG) {
        write_string(out, short(&format!("{PROMPT_TOO_LONG} {}", text.message)));
    } else {
        write_string(out, short(text.message));
    }
    write_cooldown(out, text);
    member(out, "},\"request_id\":", text.request_id);
    out.push(b'}');
}

const PROMPT_TOO_LONG: &str = "prompt is too long:";

/// Whether a Gemini error names our code in `details`; its stream form has none.
#[derive(Clone, Copy)]
enum Details {
    Given,
    Left,
}

fn write_gemini(out: &mut Vec<u8>, text: &ErrorText<'_>, details: Details) {
    out.extend_from_slice(b"{\"error\":{\"code\":");
    out.extend_from_slice(text.status.to_string().as_bytes());
    out.extend_from_slice(b",\"message\":");
    write_string(out, short(text.message));
    member(out, ",\"status\":", text.kind.row().gemini_status);
    if matches!(details, Details::Given) {
        out.extend_from_slice(
            b",\"details\":[{\"@type\":\"type.googleapis.com/google.rpc.ErrorInfo\"",
        );
        member(out, ",\"reason\":", &text.code.to_ascii_uppercase());
        out.extend_from_slice(b",\"domain\":\"tollkeep\"}]");
    }
    out.extend_from_slice(b"}}");
}

/// The vendor's typed clients know a closed list of codes, so ours goes into the message.
fn write_responses_event(out: &mut Vec<u8>, text: &ErrorText<'_>, place: &StreamPlace<'_>) {
    let limited = matches!(text.kind, ErrorKind::RateLimited | ErrorKind::ModelCooldown);
    let code = if limited {
        "rate_limit_exceeded"
    } else {
        "server_error"
    };
    let id = text
        .request_id
        .strip_prefix("req_")
        .unwrap_or(text.request_id);
    out.extend_from_slice(
        b"event: response.failed\ndata: {\"type\":\"response.failed\",\"sequence_number\":",
    );
    out.extend_from_slice(place.sequence.to_string().as_bytes());
    member(out, ",\"response\":{\"id\":", &format!("resp_{id}"));
    out.extend_from_slice(b",\"object\":\"response\",\"created_at\":");
    out.extend_from_slice(place.created_at_s.to_string().as_bytes());
    out.extend_from_slice(b",\"status\":\"failed\",\"error\":{");
    member(out, "\"code\":", code);
    member(
        out,
        ",\"message\":",
        &format!("{} [{}]", short(text.message), text.code),
    );
    out.extend_from_slice(b"},\"incomplete_details\":null,\"instructions\":null,\"metadata\":{}");
    member(out, ",\"model\":", place.model);
    out.extend_from_slice(
        b",\"output\":[],\"parallel_tool_calls\":true,\"temperature\":null,\"tool_choice\":\"auto\",\"tools\":[],\"top_p\":null}}",
    );
}

/// `before` as it stands, then `value` as a JSON string.
fn member(out: &mut Vec<u8>, before: &str, value: &str) {
    out.extend_from_slice(before.as_bytes());
    write_string(out, value);
}
