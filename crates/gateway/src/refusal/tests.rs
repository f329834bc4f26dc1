//! What callers are told, row by row: by status, by field, and by each dialect's body.

use super::*;
use tollkeep_llm::Dialect;
use tollkeep_llm::error::{ErrorText, write_body};

/// Status, code in the field, OpenAI's type and code, Anthropic's type, Gemini's status.
type Row = (
    Refusal,
    u16,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

const INVALID: &str = "invalid_request_error";
const NO: &str = "permission_error";
const DENIED: &str = "PERMISSION_DENIED";
const ARGUMENT: &str = "INVALID_ARGUMENT";

#[rustfmt::skip]
fn rows() -> Vec<Row> {
    let json_fault = || "at byte 7".to_owned();
    let limited = Limited { class: LimitClass::Token, by: CountedBy::Token, quota: 1, window_s: 1, retry_after: Duration::from_secs(1) };
    let cooling = Refusal::ModelCooldown { retry_after: Duration::from_secs(1) };
    let circuit = |status| Refusal::CircuitOpen { retry_after: Duration::ZERO, status };
    vec![
        (Refusal::BadRequest("host"), 400, "bad_request", INVALID, "bad_request", INVALID, ARGUMENT),
        (Refusal::InvalidJson(json_fault()), 400, "invalid_json", INVALID, "invalid_json", INVALID, ARGUMENT),
        (Refusal::DuplicateKey(json_fault()), 400, "duplicate_key", INVALID, "duplicate_key", INVALID, ARGUMENT),
        (Refusal::UnsupportedParameter("no such"), 400, "unsupported_parameter", INVALID, "unsupported_parameter", INVALID, ARGUMENT),
        (Refusal::Unauthenticated(AuthnFailure::Unknown), 401, "invalid_token", "authentication_error", "invalid_api_key", "authentication_error", "UNAUTHENTICATED"),
        (Refusal::BudgetExhausted { budget: None, reset: None }, 402, "budget_exhausted", "insufficient_quota", "budget_exhausted", "billing_error", "FAILED_PRECONDITION"),
        (Refusal::CostNotBoundable("x".into()), 400, "cost_not_boundable", INVALID, "cost_not_boundable", INVALID, ARGUMENT),
        (Refusal::ModelNotPriced("m".into()), 400, "model_not_priced", INVALID, "model_not_priced", INVALID, ARGUMENT),
        (Refusal::Unpriced(QuoteFault::NotJson), 415, "unsupported_media_type", INVALID, "unsupported_media_type", INVALID, ARGUMENT),
        (Refusal::Unpriced(QuoteFault::Ambiguous), 400, "ambiguous_parameter", INVALID, "ambiguous_parameter", INVALID, ARGUMENT),
        (Refusal::UpstreamPaymentRequired, 502, "upstream_payment_required", "server_error", "upstream_payment_required", "api_error", "INTERNAL"),
        (Refusal::LedgerUnavailable, 503, "ledger_unavailable", "server_error", "ledger_unavailable", "api_error", "UNAVAILABLE"),
        (Refusal::ProjectInactive, 403, "project_inactive", NO, "project_inactive", NO, DENIED),
        (Refusal::AccessRevoked, 403, "access_revoked", NO, "access_revoked", NO, DENIED),
        (Refusal::TenantSuspended, 403, "tenant_suspended", NO, "tenant_suspended", NO, DENIED),
        (Refusal::OriginNotAllowed(OriginRule::Token), 403, "origin_not_allowed", NO, "origin_not_allowed", NO, DENIED),
        (Refusal::TokenBinding("method"), 403, "token_binding", NO, "token_binding", NO, DENIED),
        (Refusal::OriginRequired(OriginRule::Route), 400, "origin_required", INVALID, "bad_request", INVALID, ARGUMENT),
        (Refusal::FrontDoor, 403, "front_door_refused", NO, "front_door_refused", NO, DENIED),
        (Refusal::ModelNotFound("m".to_owned()), 404, "model_not_found", INVALID, "model_not_found", "not_found_error", "NOT_FOUND"),
        (Refusal::UpstreamModelMissing, 404, "model_not_found", INVALID, "model_not_found", "not_found_error", "NOT_FOUND"),
        (Refusal::EndpointNotFound, 404, "endpoint_not_found", INVALID, "endpoint_not_found", "not_found_error", "NOT_FOUND"),
        (Refusal::RequestTimeout, 408, "request_timeout", INVALID, "request_timeout", "timeout_error", "DEADLINE_EXCEEDED"),
        (Refusal::BodyTooLarge, 413, "body_too_large", INVALID, "request_too_large", "request_too_large", ARGUMENT),
        (Refusal::BadContentType, 415, "bad_content_type", INVALID, "unsupported_media_type", INVALID, ARGUMENT),
        (Refusal::RateLimited(limited), 429, "rate_limited", "rate_limit_error", "rate_limit_exceeded", "rate_limit_error", "RESOURCE_EXHAUSTED"),
        (cooling, 429, "model_cooldown", "rate_limit_error", "model_cooldown", "rate_limit_error", "RESOURCE_EXHAUSTED"),
        (Refusal::CredentialUnavailable("openai".to_owned()), 503, "credential_unavailable", "server_error", "credential_unavailable", "api_error", "UNAVAILABLE"),
        (Refusal::UpstreamAuth(401), 503, "upstream_auth", "server_error", "upstream_auth_error", "api_error", "UNAVAILABLE"),
        (Refusal::UpstreamError("500".to_owned()), 502, "upstream_error", "server_error", "upstream_error", "api_error", "INTERNAL"),
        (Refusal::UpstreamProtocol("cut".to_owned()), 502, "upstream_protocol", "server_error", "upstream_protocol", "api_error", "INTERNAL"),
        (Refusal::UpstreamInterrupted, 502, "upstream_interrupted", "server_error", "upstream_interrupted", "api_error", "INTERNAL"),
        (Refusal::ResponseTooLarge, 502, "response_too_large", "server_error", "response_too_large", "api_error", "INTERNAL"),
        (circuit(502), 502, "circuit_open", "server_error", "circuit_open", "api_error", "UNAVAILABLE"),
        (circuit(503), 503, "circuit_open", "server_error", "circuit_open", "api_error", "UNAVAILABLE"),
        (Refusal::Overloaded("requests"), 503, "overloaded", "server_error", "overloaded", "overloaded_error", "UNAVAILABLE"),
        (Refusal::NotCached, 504, "not_cached", "server_error", "not_cached", "timeout_error", "DEADLINE_EXCEEDED"),
        (Refusal::Timeout, 504, "timeout", "server_error", "timeout", "timeout_error", "DEADLINE_EXCEEDED"),
    ]
}

fn body(refusal: &Refusal, dialect: Dialect) -> String {
    let public = refusal.public();
    let text = ErrorText {
        kind: public.kind,
        code: refusal.code_in(dialect),
        message: public.text,
        request_id: "req_1",
        status: public.status,
        cooldown: None,
    };
    let mut out = Vec::new();
    write_body(&mut out, dialect, &text);
    String::from_utf8(out).unwrap()
}

#[test]
fn every_class_is_told_by_status_and_field_and_in_each_dialects_words() {
    for (refusal, status, code, chat_type, chat_code, anthropic_type, gemini_status) in rows() {
        let public = refusal.public();
        assert_eq!((public.status, public.code), (status, code), "{refusal:?}");
        let text = public.text;
        let openai = format!(
            r#"{{"error":{{"message":"{text}","type":"{chat_type}","param":null,"code":"{chat_code}"}}}}"#
        );
        let anthropic = format!(
            r#"{{"type":"error","error":{{"type":"{anthropic_type}","message":"{text}"}},"request_id":"req_1"}}"#
        );
        let reason = chat_code.to_uppercase();
        let gemini = format!(
            r#"{{"error":{{"code":{status},"message":"{text}","status":"{gemini_status}","details":[{{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"{reason}","domain":"tollkeep"}}]}}}}"#
        );
        let plain = format!(r#"{{"error":"{text}","code":"{code}"}}"#);
        for (dialect, want) in [
            (Dialect::Chat, &openai),
            (Dialect::Responses, &openai),
            (Dialect::Anthropic, &anthropic),
            (Dialect::Gemini, &gemini),
            (Dialect::Plain, &plain),
        ] {
            assert_eq!(body(&refusal, dialect), *want, "{refusal:?} {dialect:?}");
        }
    }
}

#[test]
fn sdks_are_told_not_to_retry_where_the_status_alone_would_make_them() {
    let others = [Refusal::RequestsUsedUp];
    let table = rows().into_iter().map(|(refusal, ..)| refusal);
    let vain = table
        .chain(others)
        .filter(Refusal::retry_is_vain)
        .map(|refusal| refusal.public().code);
    assert_eq!(
        vain.collect::<Vec<_>>(),
        [
            "budget_exhausted",
            "credential_unavailable",
            "upstream_auth",
            "rate_limit_exceeded"
        ]
    );
}
