//! Error bodies and the events that end a stream.

use serde_json::{Value, json};
use tollkeep_llm::Dialect;
use tollkeep_llm::error::{Cooldown, ErrorKind, ErrorText, StreamPlace, stream_event, write_body};
use tollkeep_types::WallMillis;

const ID: &str = "req_0198a1b2c3d47e5f8a9b0c1d2e3f4a5b";

const DIALECTS: [Dialect; 5] = [
    Dialect::Chat,
    Dialect::Responses,
    Dialect::Anthropic,
    Dialect::Gemini,
    Dialect::Plain,
];

/// A kind's own code and status.
fn text_of(kind: ErrorKind, dialect: Dialect, message: &str) -> ErrorText<'_> {
    ErrorText {
        kind,
        code: kind.code(),
        message,
        request_id: ID,
        status: kind.status(dialect),
        cooldown: None,
    }
}

fn body(dialect: Dialect, text: &ErrorText<'_>) -> Value {
    let mut out = b"kept".to_vec();
    write_body(&mut out, dialect, text);
    serde_json::from_slice(out.strip_prefix(b"kept").unwrap()).unwrap()
}

type Row = (
    &'static str,
    u16,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

/// Class, status, chat type, code, anthropic type, gemini status.
#[rustfmt::skip]
const TABLE: [Row; 27] = [
    ("bad_request", 400, "invalid_request_error", "bad_request", "invalid_request_error", "INVALID_ARGUMENT"),
    ("invalid_json", 400, "invalid_request_error", "invalid_json", "invalid_request_error", "INVALID_ARGUMENT"),
    ("duplicate_key", 400, "invalid_request_error", "duplicate_key", "invalid_request_error", "INVALID_ARGUMENT"),
    ("context_overflow", 400, "invalid_request_error", "context_length_exceeded", "invalid_request_error", "INVALID_ARGUMENT"),
    ("policy_blocked", 400, "invalid_request_error", "content_policy_violation", "invalid_request_error", "INVALID_ARGUMENT"),
    ("unauthenticated", 401, "authentication_error", "invalid_api_key", "authentication_error", "UNAUTHENTICATED"),
    ("budget_exhausted", 402, "insufficient_quota", "budget_exhausted", "billing_error", "FAILED_PRECONDITION"),
    ("forbidden", 403, "permission_error", "forbidden", "permission_error", "PERMISSION_DENIED"),
    ("origin_not_allowed", 403, "permission_error", "origin_not_allowed", "permission_error", "PERMISSION_DENIED"),
    ("project_inactive", 403, "permission_error", "project_inactive", "permission_error", "PERMISSION_DENIED"),
    ("model_not_found", 404, "invalid_request_error", "model_not_found", "not_found_error", "NOT_FOUND"),
    ("endpoint_not_found", 404, "invalid_request_error", "endpoint_not_found", "not_found_error", "NOT_FOUND"),
    ("method_not_allowed", 405, "invalid_request_error", "method_not_allowed", "invalid_request_error", "INVALID_ARGUMENT"),
    ("request_timeout", 408, "invalid_request_error", "request_timeout", "timeout_error", "DEADLINE_EXCEEDED"),
    ("body_too_large", 413, "invalid_request_error", "request_too_large", "request_too_large", "INVALID_ARGUMENT"),
    ("bad_content_type", 415, "invalid_request_error", "unsupported_media_type", "invalid_request_error", "INVALID_ARGUMENT"),
    ("rate_limited", 429, "rate_limit_error", "rate_limit_exceeded", "rate_limit_error", "RESOURCE_EXHAUSTED"),
    ("model_cooldown", 429, "rate_limit_error", "model_cooldown", "rate_limit_error", "RESOURCE_EXHAUSTED"),
    ("upstream_auth", 503, "server_error", "upstream_auth_error", "api_error", "UNAVAILABLE"),
    ("upstream_error", 502, "server_error", "upstream_error", "api_error", "INTERNAL"),
    ("upstream_protocol", 502, "server_error", "upstream_protocol", "api_error", "INTERNAL"),
    ("upstream_interrupted", 502, "server_error", "upstream_interrupted", "api_error", "INTERNAL"),
    ("response_too_large", 502, "server_error", "response_too_large", "api_error", "INTERNAL"),
    ("circuit_open", 502, "server_error", "circuit_open", "api_error", "UNAVAILABLE"),
    ("overloaded", 503, "server_error", "overloaded", "overloaded_error", "UNAVAILABLE"),
    ("maintenance", 503, "server_error", "maintenance", "api_error", "UNAVAILABLE"),
    ("timeout", 504, "server_error", "timeout", "timeout_error", "DEADLINE_EXCEEDED"),
];

#[test]
fn every_kind_has_its_row_in_every_dialect() {
    for (kind, row) in ErrorKind::ALL.into_iter().zip(TABLE) {
        let (class, status, chat_type, code, anthropic_type, gemini_status) = row;
        assert_eq!(kind.class(), class);
        let message = "a \"b\" \\ \n é 🦀";
        for dialect in DIALECTS {
            let status = match (class, dialect) {
                ("overloaded", Dialect::Anthropic) => 529,
                _ => status,
            };
            let text = text_of(kind, dialect, message);
            assert_eq!((text.status, text.code), (status, code), "{class}");
            let want = match dialect {
                Dialect::Chat | Dialect::Responses => json!({"error": {
                    "message": message, "type": chat_type, "param": null, "code": code,
                }}),
                Dialect::Anthropic => {
                    let long = format!("prompt is too long: {message}");
                    let message = if class == "context_overflow" {
                        &long
                    } else {
                        message
                    };
                    json!({"type": "error", "error": {"type": anthropic_type, "message": message}, "request_id": ID})
                }
                Dialect::Gemini => json!({"error": {
                    "code": status, "message": message, "status": gemini_status,
                    "details": [{
                        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                        "reason": code.to_uppercase(), "domain": "tollkeep",
                    }],
                }}),
                Dialect::Plain => json!({"error": message, "code": code}),
            };
            assert_eq!(body(dialect, &text), want, "{class} {dialect:?}");
        }
    }
}

#[derive(serde::Deserialize)]
struct Answer {
    name: String,
    class: String,
    surface: String,
    status: u16,
    body: Value,
}

/// The class a caller is told for what an upstream failed with.
fn told(class: &str) -> ErrorKind {
    match class {
        "rate_limit" | "quota" => ErrorKind::ModelCooldown,
        "auth" | "billing" => ErrorKind::UpstreamAuth,
        "overload" => ErrorKind::Overloaded,
        "timeout" => ErrorKind::Timeout,
        "model_missing" => ErrorKind::ModelNotFound,
        "policy" => ErrorKind::PolicyBlocked,
        "context_overflow" => ErrorKind::ContextOverflow,
        "bad_request" => ErrorKind::BadRequest,
        "network" | "transient" | "resource" | "challenge" => ErrorKind::UpstreamError,
        other => panic!("{other}"),
    }
}

#[test]
fn bodies_are_those_of_the_error_vectors() {
    let answers: Vec<Answer> =
        serde_json::from_str(include_str!("../data/error-answers.json")).unwrap();
    assert_eq!(answers.len(), 129);
    for answer in answers {
        let dialect = match &*answer.surface {
            "chat" => Dialect::Chat,
            "responses" => Dialect::Responses,
            "anthropic" => Dialect::Anthropic,
            "gemini" => Dialect::Gemini,
            other => panic!("{other}"),
        };
        let message = answer.body["error"]["message"].as_str().unwrap();
        let text = text_of(told(&answer.class), dialect, message);
        assert_eq!(text.status, answer.status, "{}", answer.name);
        assert_eq!(
            body(dialect, &text),
            answer.body,
            "{} {}",
            answer.name,
            answer.surface
        );
    }
}

#[test]
fn the_place_of_a_refusal_may_know_a_better_code_and_status() {
    let text = ErrorText {
        kind: ErrorKind::Timeout,
        code: "request_timeout",
        message: "The request took too long.",
        request_id: ID,
        status: 408,
        cooldown: None,
    };
    assert_eq!(
        body(Dialect::Chat, &text)["error"]["code"],
        json!("request_timeout")
    );
    assert_eq!(body(Dialect::Gemini, &text)["error"]["code"], json!(408));
    assert_eq!(
        body(Dialect::Plain, &text)["code"],
        json!("request_timeout")
    );
}

#[test]
fn long_messages_are_cut_at_a_character() {
    let long = "é".repeat(2000);
    for kind in [ErrorKind::BadRequest, ErrorKind::ContextOverflow] {
        for dialect in DIALECTS {
            let value = body(dialect, &text_of(kind, dialect, &long));
            let message = value["error"]["message"]
                .as_str()
                .or(value["error"].as_str())
                .unwrap();
            assert!(message.len() <= 2048, "{dialect:?}: {}", message.len());
            assert!(message.ends_with('é'), "{dialect:?}");
        }
    }
}

fn event(dialect: Dialect, kind: ErrorKind) -> (bool, String) {
    let text = text_of(kind, dialect, "No \"more\".\n");
    let place = StreamPlace {
        sequence: 5,
        created_at_s: 1_795_305_600,
        model: "alias",
    };
    let mut out = Vec::new();
    let written = stream_event(&mut out, dialect, &text, &place);
    (written, String::from_utf8(out).unwrap())
}

// LLM-D62
#[test]
fn a_stream_that_is_stopped_ends_with_the_error_event_of_its_dialect() {
    let failed = json!({"type": "response.failed", "sequence_number": 5, "response": {
        "id": "resp_0198a1b2c3d47e5f8a9b0c1d2e3f4a5b", "object": "response", "created_at": 1_795_305_600,
        "status": "failed", "error": {"code": "server_error", "message": "No \"more\".\n [response_too_large]"},
        "incomplete_details": null, "instructions": null, "metadata": {}, "model": "alias", "output": [],
        "parallel_tool_calls": true, "temperature": null, "tool_choice": "auto", "tools": [], "top_p": null,
    }});
    let kind = ErrorKind::ResponseTooLarge;
    for (dialect, before, want) in [
        (
            Dialect::Chat,
            "data: ",
            json!({"error": {
                "message": "No \"more\".\n", "type": "server_error", "param": null, "code": "response_too_large",
            }}),
        ),
        (Dialect::Responses, "event: response.failed\ndata: ", failed),
        (
            Dialect::Anthropic,
            "event: error\ndata: ",
            json!({
                "type": "error", "error": {"type": "api_error", "message": "No \"more\".\n"}, "request_id": ID,
            }),
        ),
        (
            Dialect::Gemini,
            "data: ",
            json!({"error": {
                "code": 502, "message": "No \"more\".\n", "status": "INTERNAL",
            }}),
        ),
    ] {
        let (written, bytes) = event(dialect, kind);
        assert!(written, "{dialect:?}");
        let data = bytes
            .strip_prefix(before)
            .and_then(|rest| rest.strip_suffix("\n\n"))
            .unwrap();
        assert!(!data.contains('\n'), "{dialect:?}");
        assert_eq!(
            serde_json::from_str::<Value>(data).unwrap(),
            want,
            "{dialect:?}"
        );
    }
    assert_eq!(event(Dialect::Plain, kind), (false, String::new()));
}

#[test]
fn responses_events_use_the_codes_vendors_know() {
    for kind in ErrorKind::ALL {
        let (_, bytes) = event(Dialect::Responses, kind);
        let data: Value = serde_json::from_str(
            bytes
                .lines()
                .nth(1)
                .unwrap()
                .strip_prefix("data: ")
                .unwrap(),
        )
        .unwrap();
        let want = match kind.class() {
            "rate_limited" | "model_cooldown" => "rate_limit_exceeded",
            _ => "server_error",
        };
        assert_eq!(data["response"]["error"]["code"], json!(want), "{kind:?}");
        let message = data["response"]["error"]["message"].as_str().unwrap();
        assert!(
            message.ends_with(&format!(" [{}]", kind.code())),
            "{kind:?}"
        );
    }
}

proptest::proptest! {
    #[test]
    fn any_message_makes_a_body(message in "\\PC*|[\\x00-\\x7f]*", kind in proptest::sample::select(ErrorKind::ALL.to_vec())) {
        for dialect in DIALECTS {
            let text = text_of(kind, dialect, &message);
            let value = body(dialect, &text);
            let told = value["error"]["message"].as_str().or(value["error"].as_str()).unwrap();
            let told = told.strip_prefix("prompt is too long: ").unwrap_or(told);
            proptest::prop_assert!(message.starts_with(told));
        }
    }
}

// LLM-61
#[test]
fn a_cooling_model_is_told_with_its_name_and_when_it_can_be_asked_again() {
    for (dialect, want) in [
        (Dialect::Chat, true),
        (Dialect::Responses, true),
        (Dialect::Anthropic, true),
        (Dialect::Gemini, false),
        (Dialect::Plain, false),
    ] {
        let text = ErrorText {
            cooldown: Some(Cooldown {
                model: "a\"b",
                until: WallMillis(1_795_342_530_000),
                seconds: 42,
            }),
            ..text_of(ErrorKind::ModelCooldown, dialect, "No.")
        };
        let error = body(dialect, &text)["error"].clone();
        let told = ["model", "reset_time", "reset_seconds"].map(|name| error.get(name).cloned());
        let all = [json!("a\"b"), json!("2026-11-22T10:15:30.000Z"), json!(42)];
        assert_eq!(
            told,
            all.map(|value| Some(value).filter(|_| want)),
            "{dialect:?}"
        );
    }
}
