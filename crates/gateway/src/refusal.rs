//! Everything the data plane says no with: one row a refusal, two audiences.
//!
//! `Display` is for operators and says much; callers see [`Refusal::public`] alone, whose texts
//! name no address, no version and not which check failed.

mod told;

use crate::hooks;
use crate::paid::PaymentNo;
use std::time::Duration;
use tollkeep_llm::error::ErrorKind;
use tollkeep_payments::pricing::QuoteFault;
use tollkeep_policy::call_policy::CallRefusal;
use tollkeep_policy::cors::CorsRefusal;
use tollkeep_policy::egress::EgressReason;
use tollkeep_policy::hook::Deny;
use tollkeep_policy::rate::RateClass;
use tollkeep_types::{BudgetId, WallMillis};

/// Why a credential was refused. Callers can't tell one from another.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum AuthnFailure {
    /// The route wants a token and the request has none.
    #[error("no credential")]
    Missing,
    /// Two carriers hold different values, or a carrier is not what it should be.
    #[error("credential carriers contradict each other or are malformed")]
    Carriers,
    /// A credential in the query string, which is switched off.
    #[error("credential in the query string")]
    Query,
    /// Not in the form of a token, or of another kind.
    #[error("malformed token")]
    Malformed,
    /// Well formed, and not ours.
    #[error("unknown token")]
    Unknown,
    /// Past its end, its idle time, or its grace after a rotation.
    #[error("expired token")]
    Expired,
    /// Revoked or deleted.
    #[error("revoked token")]
    Revoked,
    /// Suspended by an operator.
    #[error("suspended token")]
    Suspended,
}

impl AuthnFailure {
    /// The reason in audit and metrics.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::Missing => "token_missing",
            Self::Carriers => "duplicate_credential",
            Self::Query => "query_credential",
            Self::Malformed => "token_malformed",
            Self::Unknown => "token_unknown",
            Self::Expired => "token_expired",
            Self::Revoked => "token_revoked",
            Self::Suspended => "token_suspended",
        }
    }
}

/// The class of a rate limit, as callers see it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum LimitClass {
    Global,
    Ip,
    Route,
    Token,
}

impl LimitClass {
    pub(crate) const fn rate(self) -> RateClass {
        match self {
            Self::Global => RateClass::Global,
            Self::Ip => RateClass::Ip,
            Self::Route => RateClass::Route,
            Self::Token => RateClass::Token,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        self.rate().label()
    }
}

/// Who wants an origin, or another one.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum OriginRule {
    /// The token is bound to origins.
    #[error("the token")]
    Token,
    /// The route lists origins.
    #[error("the route")]
    Route,
    /// A preflight asks for what is not allowed.
    #[error("the answer to a preflight: {}", .0.label())]
    Preflight(CorsRefusal),
}

/// Whose requests a limit counts together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum CountedBy {
    All,
    Address,
    Token,
    Project,
}

/// A refused rate: what to tell the caller about when to come back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Limited {
    pub(crate) class: LimitClass,
    pub(crate) by: CountedBy,
    pub(crate) quota: u64,
    pub(crate) window_s: u64,
    pub(crate) retry_after: Duration,
}

/// Our own "no".
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("bad request: {0}")]
    BadRequest(&'static str),
    #[error("invalid JSON: {0}")]
    InvalidJson(String),
    #[error("duplicate key {0}")]
    DuplicateKey(String),
    #[error("{0}")]
    InvalidForm(String),
    #[error("{0}")]
    UnsupportedParameter(&'static str),
    #[error("a policy says no: {}", .0.label())]
    Policy(CallRefusal),
    #[error("credential refused: {0}")]
    Unauthenticated(AuthnFailure),
    #[error("the address may not come: {0}")]
    Forbidden(&'static str),
    #[error("the listener leads to TLS, and the method can't be led there")]
    ClearText,
    #[error("the project is not active")]
    ProjectInactive,
    #[error("the tenant is suspended")]
    TenantSuspended,
    #[error("the token was revoked or switched off while the answer was on its way")]
    AccessRevoked,
    #[error("the token is not one that its holder replaces")]
    NotSelfRotating,
    #[error("the token was replaced before")]
    TokenRotated,
    #[error("the line of the token is as old as one may become")]
    LineageOver,
    #[error("binding violated: {0}")]
    TokenBinding(&'static str),
    #[error("{0} wants an origin and the request has none")]
    OriginRequired(OriginRule),
    #[error("the origin is refused by {0}")]
    OriginNotAllowed(OriginRule),
    #[error("the front door stays shut")]
    FrontDoor,
    #[error("no such endpoint")]
    EndpointNotFound,
    #[error("no such model, or not for this caller: {0}")]
    ModelNotFound(String),
    #[error("method not allowed")]
    MethodNotAllowed { allow: Box<str>, closes: bool },
    #[error("request took too long to arrive")]
    RequestTimeout,
    #[error("request body too large")]
    BodyTooLarge,
    #[error("request target too long")]
    TargetTooLong,
    #[error("media type not served")]
    BadContentType,
    #[error("content coding not served")]
    UnsupportedEncoding,
    #[error("the body is no text, and the origin's signature covers texts only")]
    SigningBodyNotText,
    #[error("expectation not supported")]
    ExpectationFailed,
    #[error("authority not served")]
    Misdirected,
    #[error("rate limited by class {}", .0.class.name())]
    RateLimited(Limited),
    #[error("too many connections from one address")]
    ConnectionLimit,
    #[error("too many failing credentials from one address")]
    LockedOut,
    #[error("the token's request count is used up")]
    RequestsUsedUp,
    #[error("header fields too large")]
    HeadersTooLarge,
    #[error("unknown method")]
    MethodUnknown,
    #[error("HTTP version not supported")]
    VersionUnsupported,
    #[error("upstream failed: {0}")]
    UpstreamError(String),
    #[error("upstream broke the protocol: {0}")]
    UpstreamProtocol(String),
    #[error("upstream ended its answer early")]
    UpstreamInterrupted,
    #[error("upstream's name does not resolve: {0}")]
    UpstreamDns(String),
    #[error("upstream redirects")]
    UpstreamRedirect,
    #[error("upstream refused our credential or account: status {0}")]
    UpstreamAuth(u16),
    #[error("upstream's limit is reached")]
    ModelCooldown { retry_after: Duration },
    #[error("upstream's model is not there")]
    UpstreamModelMissing,
    #[error("upstream is overloaded")]
    UpstreamOverloaded,
    #[error("response too large")]
    ResponseTooLarge,
    #[error("the upstream keeps failing and is left alone for {} ms", retry_after.as_millis())]
    CircuitOpen { retry_after: Duration, status: u16 },
    #[error("egress refused: {}", .0.label())]
    EgressRefused(EgressReason),
    #[error("the proxy of the egress door {0}")]
    ProxyUnavailable(String),
    #[error("the proxy of the egress door answered with status {0}")]
    ProxyRefused(u16),
    #[error("a budget is used up: {budget:?}")]
    BudgetExhausted {
        budget: Option<BudgetId>,
        reset: Option<WallMillis>,
    },
    #[error("{0}")]
    CostNotBoundable(Box<str>),
    #[error("{0}")]
    ModelNotPriced(Box<str>),
    #[error("not paid: {}", .0.code)]
    Payment(Box<PaymentNo>),
    #[error("not priced: {0}")]
    Unpriced(QuoteFault),
    #[error("a hook says no: {}", .0.code)]
    HookDenied(Box<Deny>),
    #[error("a step of a hook failed")]
    HookFailed,
    #[error("the upstream asks to be paid")]
    UpstreamPaymentRequired,
    #[error("the ledger does not answer")]
    LedgerUnavailable,
    #[error("no usable credential for provider {0}")]
    CredentialUnavailable(String),
    #[error("overloaded: {0}")]
    Overloaded(&'static str),
    #[error("turned away while room is short")]
    Shed(Duration),
    #[error("maintenance")]
    Maintenance {
        message: Box<str>,
        retry_after: Duration,
    },
    #[error("the audit log can't be written")]
    AuditUnavailable,
    #[error("nobody knows what was revoked elsewhere, or how many calls are left")]
    AuthUnavailable,
    #[error("upstream took too long")]
    Timeout,
    #[error("the caller wants nothing but what is kept, and it is not")]
    NotCached,
    #[error("a request of our own came back")]
    Loop,
    #[error("the gateway failed")]
    Internal,
}

/// What the caller is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Public {
    pub(crate) status: u16,
    pub(crate) code: &'static str,
    pub(crate) text: &'static str,
    pub(crate) kind: ErrorKind,
    /// The connection ends after this answer.
    pub(crate) closes: bool,
}

const fn row(status: u16, code: &'static str, text: &'static str, kind: ErrorKind) -> Public {
    Public {
        status,
        code,
        text,
        kind,
        closes: false,
    }
}

const fn closing(status: u16, code: &'static str, text: &'static str, kind: ErrorKind) -> Public {
    Public {
        status,
        code,
        text,
        kind,
        closes: true,
    }
}

/// The rows of what policies say no to. A model or path that is not allowed is told as if there were
/// none.
#[rustfmt::skip]
fn of_policy(refused: &CallRefusal) -> Public {
    use ErrorKind as Kind;
    match refused {
        CallRefusal::Method { .. } => row(405, "method_not_allowed", "Method not allowed.", Kind::MethodNotAllowed),
        CallRefusal::Endpoint => Refusal::EndpointNotFound.public(),
        CallRefusal::Origin => row(403, "origin_not_allowed", "Not allowed.", Kind::OriginNotAllowed),
        CallRefusal::OriginRequired => row(400, "origin_required", "An Origin header is required.", Kind::BadRequest),
        CallRefusal::Header => row(400, "header_required", "A required header is missing.", Kind::BadRequest),
        CallRefusal::Model => Refusal::ModelNotFound(String::new()).public(),
        CallRefusal::Param(_) => row(400, "param_not_allowed", "A parameter has a value that is not allowed.", Kind::BadRequest),
        CallRefusal::QueryTwice(_) => row(400, "duplicate_key", "A key appears twice in the query.", Kind::DuplicateKey),
        CallRefusal::Limit(_) => row(400, "limit_exceeded", "The request asks for more than is allowed.", Kind::BadRequest),
        CallRefusal::Feature(_) => row(400, "feature_not_allowed", "The request uses a feature that is not allowed.", Kind::BadRequest),
        CallRefusal::When | CallRefusal::WhenFailed(_) => row(403, "policy_denied", "Not allowed.", Kind::Forbidden),
    }
}

/// The kind of what is told about payments.
const fn kind_of(status: u16) -> ErrorKind {
    match status {
        402 | 412 => ErrorKind::BudgetExhausted,
        415 => ErrorKind::BadContentType,
        429 => ErrorKind::RateLimited,
        502 => ErrorKind::UpstreamError,
        500 | 503 => ErrorKind::Maintenance,
        _ => ErrorKind::BadRequest,
    }
}

/// What a caller is told whose request has no price.
const fn unpriced(fault: QuoteFault) -> &'static str {
    match fault {
        QuoteFault::NotJson => "The price depends on the body, which must be JSON in UTF-8.",
        QuoteFault::BrokenBody => {
            "The price depends on the body, which is broken or has a member twice."
        }
        QuoteFault::Ambiguous => "The price depends on a parameter that stands twice or is broken.",
        QuoteFault::NoModel => "The body names no model.",
        QuoteFault::UnknownModel => "The model has no price here.",
        QuoteFault::Unresolved | QuoteFault::OutOfBounds => {
            "This request has no price that can be asked for."
        }
    }
}

/// Whoever waits for a model asks again once an hour, as its provider may be raised meanwhile (LLM-61).
const COOLDOWN_WAIT_MAX: Duration = Duration::from_secs(3600);
const UPSTREAM: &str = "The upstream could not answer.";
const UNAVAILABLE: &str = "Temporarily unavailable.";
const MANY: &str = "Too many requests.";

impl Refusal {
    /// The row of the refusal table.
    #[rustfmt::skip]
    pub(crate) fn public(&self) -> Public {
        use ErrorKind as Kind;
        match self {
            Self::BadRequest(_) => closing(400, "bad_request", "Bad request.", Kind::BadRequest),
            Self::InvalidJson(_) => row(400, "invalid_json", "The request body is not a JSON object.", Kind::InvalidJson),
            Self::DuplicateKey(_) => row(400, "duplicate_key", "A key appears twice in the request body.", Kind::DuplicateKey),
            Self::InvalidForm(_) => row(400, "invalid_form", "The form in the request body is malformed.", Kind::BadRequest),
            Self::UnsupportedParameter(text) => row(400, "unsupported_parameter", text, Kind::BadRequest),
            Self::Policy(refused) => of_policy(refused),
            Self::Unauthenticated(_) => row(401, "invalid_token", "Invalid or missing credentials.", Kind::Unauthenticated),
            Self::Forbidden(_) | Self::ClearText => row(403, "forbidden", "Not allowed.", Kind::Forbidden),
            Self::ProjectInactive => row(403, "project_inactive", "Not allowed.", Kind::ProjectInactive),
            Self::AccessRevoked => row(403, "access_revoked", "Access was revoked.", Kind::Forbidden),
            Self::TenantSuspended => row(403, "tenant_suspended", "Not allowed.", Kind::Forbidden),
            Self::NotSelfRotating => row(403, "self_rotate_off", "This token is not replaced by its holder.", Kind::Forbidden),
            Self::TokenRotated => row(409, "token_rotated", "This token was replaced before.", Kind::BadRequest),
            Self::LineageOver => row(409, "lineage_over", "This token can't be replaced any more.", Kind::BadRequest),
            Self::TokenBinding(_) => row(403, "token_binding", "Not allowed.", Kind::Forbidden),
            Self::OriginRequired(_) => row(400, "origin_required", "An Origin header is required.", Kind::BadRequest),
            Self::OriginNotAllowed(_) => row(403, "origin_not_allowed", "Not allowed.", Kind::OriginNotAllowed),
            Self::FrontDoor => row(403, "front_door_refused", "Not allowed.", Kind::Forbidden),
            Self::EndpointNotFound => row(404, "endpoint_not_found", "Not found.", Kind::EndpointNotFound),
            Self::ModelNotFound(_) | Self::UpstreamModelMissing => row(404, "model_not_found", "The model does not exist or you have no access to it.", Kind::ModelNotFound),
            Self::MethodNotAllowed { closes, .. } => Public { closes: *closes, ..row(405, "method_not_allowed", "Method not allowed.", Kind::MethodNotAllowed) },
            Self::BudgetExhausted { .. } => row(402, "budget_exhausted", "A budget is used up.", Kind::BudgetExhausted),
            Self::CostNotBoundable(_) => row(400, "cost_not_boundable", "The cost of this request cannot be bounded.", Kind::BadRequest),
            Self::ModelNotPriced(_) => row(400, "model_not_priced", "The model has no price.", Kind::BadRequest),
            Self::Payment(no) => row(no.status, no.code, no.text, kind_of(no.status)),
            Self::Unpriced(fault) => row(fault.status(), fault.code(), unpriced(*fault), kind_of(fault.status())),
            Self::HookDenied(deny) => row(deny.status, "hook_denied", "Not allowed.", hooks::kind_of(deny)),
            Self::HookFailed => row(503, "hook_failed", UNAVAILABLE, Kind::Maintenance),
            Self::UpstreamPaymentRequired => row(502, "upstream_payment_required", UPSTREAM, Kind::UpstreamError),
            Self::LedgerUnavailable => row(503, "ledger_unavailable", UNAVAILABLE, Kind::Maintenance),
            Self::RequestTimeout => closing(408, "request_timeout", "The request took too long to arrive.", Kind::RequestTimeout),
            Self::BodyTooLarge => row(413, "body_too_large", "The request body is too large.", Kind::BodyTooLarge),
            Self::TargetTooLong => closing(414, "target_too_long", "The request target is too long.", Kind::BadRequest),
            Self::BadContentType => row(415, "bad_content_type", "Unsupported content.", Kind::BadContentType),
            Self::UnsupportedEncoding => row(415, "unsupported_encoding", "Unsupported content.", Kind::BadContentType),
            Self::SigningBodyNotText => row(415, "signing_body_not_text", "Unsupported content.", Kind::BadContentType),
            Self::ExpectationFailed => closing(417, "expectation_failed", "Expectation not supported.", Kind::BadRequest),
            Self::Misdirected => closing(421, "misdirected", "Not served here.", Kind::BadRequest),
            Self::RateLimited(_) => row(429, "rate_limited", MANY, Kind::RateLimited),
            Self::ConnectionLimit => row(429, "connection_limit", MANY, Kind::RateLimited),
            Self::LockedOut => row(429, "locked_out", MANY, Kind::RateLimited),
            Self::RequestsUsedUp => row(429, "rate_limit_exceeded", "The request count of this token is used up.", Kind::RateLimited),
            Self::HeadersTooLarge => closing(431, "headers_too_large", "Request header fields too large.", Kind::BadRequest),
            Self::MethodUnknown => closing(501, "method_unknown", "Method not implemented.", Kind::BadRequest),
            Self::VersionUnsupported => closing(505, "version_unsupported", "HTTP version not supported.", Kind::BadRequest),
            Self::UpstreamError(_) => row(502, "upstream_error", UPSTREAM, Kind::UpstreamError),
            Self::UpstreamProtocol(_) => row(502, "upstream_protocol", UPSTREAM, Kind::UpstreamProtocol),
            Self::UpstreamInterrupted => row(502, "upstream_interrupted", UPSTREAM, Kind::UpstreamInterrupted),
            Self::UpstreamDns(_) => row(502, "upstream_dns", UPSTREAM, Kind::UpstreamError),
            Self::UpstreamRedirect => row(502, "upstream_redirect", UPSTREAM, Kind::UpstreamError),
            Self::ResponseTooLarge => row(502, "response_too_large", UPSTREAM, Kind::ResponseTooLarge),
            Self::CircuitOpen { status, .. } => row(*status, "circuit_open", "Service temporarily unavailable", Kind::CircuitOpen),
            Self::EgressRefused(_) => row(502, "egress_refused", UPSTREAM, Kind::UpstreamError),
            Self::ProxyUnavailable(_) => row(503, "proxy_unavailable", "The upstream is not available.", Kind::UpstreamError),
            Self::ProxyRefused(_) => row(502, "proxy_refused", UPSTREAM, Kind::UpstreamError),
            Self::UpstreamAuth(_) => row(503, "upstream_auth", "The upstream is not available.", Kind::UpstreamAuth),
            Self::CredentialUnavailable(_) => row(503, "credential_unavailable", "The upstream is not available.", Kind::UpstreamAuth),
            Self::ModelCooldown { .. } => row(429, "model_cooldown", "The model is at its limit, try again later.", Kind::ModelCooldown),
            Self::UpstreamOverloaded | Self::Overloaded(_) => row(503, "overloaded", "Overloaded, try again shortly.", Kind::Overloaded),
            Self::Shed(_) => closing(503, "overloaded", "Overloaded, try again shortly.", Kind::Overloaded),
            Self::Maintenance { .. } => row(503, "maintenance", UNAVAILABLE, Kind::Maintenance),
            Self::AuditUnavailable => row(503, "audit_unavailable", UNAVAILABLE, Kind::Maintenance),
            Self::AuthUnavailable => row(503, "auth_unavailable", UNAVAILABLE, Kind::Maintenance),
            Self::Timeout => row(504, "timeout", "The upstream took too long.", Kind::Timeout),
            Self::NotCached => row(504, "not_cached", "No answer to this is kept.", Kind::Timeout),
            Self::Loop => row(508, "loop", "Loop detected.", Kind::BadRequest),
            Self::Internal => closing(500, "internal", "Something went wrong.", Kind::UpstreamError),
        }
    }

    /// The methods that a 405 tells.
    pub(crate) fn allow(&self) -> Option<String> {
        if let Self::Policy(CallRefusal::Method { allowed }) = self {
            return Some(allowed.join(", "));
        }
        if let Self::MethodNotAllowed { allow, .. } = self {
            return Some(allow.to_string());
        }
        None
    }

    /// How long the caller should wait, where waiting helps.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        if let Self::RateLimited(limited) = self {
            return Some(limited.retry_after);
        }
        if let Self::Payment(no) = self {
            return no.retry_after;
        }
        if let Self::Shed(wait) = self {
            return Some(*wait);
        }
        if let Self::ModelCooldown { retry_after } = self {
            return Some((*retry_after).min(COOLDOWN_WAIT_MAX));
        }
        if let Self::CircuitOpen { retry_after, .. } | Self::Maintenance { retry_after, .. } = self
        {
            return Some(*retry_after);
        }
        if matches!(self, Self::LockedOut) {
            return Some(Duration::from_secs(60));
        }
        let passing = matches!(
            self,
            Self::ConnectionLimit
                | Self::Overloaded(_)
                | Self::UpstreamOverloaded
                | Self::ProxyUnavailable(_)
                | Self::AuditUnavailable
                | Self::AuthUnavailable
                | Self::LedgerUnavailable
                | Self::HookFailed
        );
        passing.then_some(Duration::from_secs(1))
    }

    /// Whether an SDK's own retry would be in vain though the status suggests it.
    pub(crate) fn retry_is_vain(&self) -> bool {
        matches!(
            self,
            Self::RequestsUsedUp
                | Self::BudgetExhausted { .. }
                | Self::UpstreamAuth(_)
                | Self::CredentialUnavailable(_)
        )
    }
}

#[cfg(test)]
mod tests;
