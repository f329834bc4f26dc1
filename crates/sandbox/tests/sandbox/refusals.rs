//! Refusals: those asked for, and those a vendor gives by itself.

use tollkeep_sandbox::answer;

use crate::door::{SURFACES, Surface, anthropic, json_of};

// OPS-23
#[test]
fn a_refusal_has_the_status_code_and_header_asked_for() {
    for surface in SURFACES {
        let plan = surface.stream("sandbox:status=429,code=slow_down,retry_after=7,delay=3; a");
        assert_eq!((plan.status, plan.delay_ms), (429, 3), "{surface:?}");
        assert_eq!(plan.header("retry-after"), Some("7"), "{surface:?}");
        let body = json_of(&plan);
        let code = match surface {
            Surface::Messages => &body["error"]["type"],
            Surface::Generate => &body["error"]["status"],
            Surface::Chat | Surface::Completions | Surface::Responses => &body["error"]["code"],
        };
        assert_eq!(code, "slow_down", "{surface:?}: {body}");
        let plain = surface.say("sandbox:status=503; a");
        assert_eq!(
            (plain.status, plain.header("retry-after")),
            (503, None),
            "{surface:?}"
        );
    }
    for (status, openai, anthropic) in [
        (400, "invalid_request_error", "invalid_request_error"),
        (401, "invalid_request_error", "authentication_error"),
        (402, "billing_error", "billing_error"),
        (403, "permission_error", "permission_error"),
        (404, "invalid_request_error", "not_found_error"),
        (413, "invalid_request_error", "request_too_large"),
        (429, "requests", "rate_limit_error"),
        (500, "server_error", "api_error"),
        (504, "server_error", "timeout_error"),
        (529, "server_error", "overloaded_error"),
    ] {
        let kind = |surface: Surface| {
            let plan = surface.say(&format!("sandbox:status={status};"));
            assert_eq!(plan.status, status);
            json_of(&plan)["error"]["type"].clone()
        };
        assert_eq!(kind(Surface::Chat), openai, "{status}");
        assert_eq!(kind(Surface::Messages), anthropic, "{status}");
    }
}

const HELLO: &str = r#""messages":[{"role":"user","content":"Hello"}]"#;

#[test]
fn openai_refuses_in_its_words() {
    let chat = "/v1/chat/completions";
    let unknown = format!(r#"{{"model":"gpt-0",{HELLO}}}"#);
    for (name, path, body, status, code) in [
        ("not JSON", chat, "{", 400, None),
        ("not an object", chat, "[]", 400, None),
        (
            "no model",
            chat,
            "{}",
            400,
            Some("missing_required_parameter"),
        ),
        (
            "no messages",
            chat,
            r#"{"model":"sandbox-1"}"#,
            400,
            Some("missing_required_parameter"),
        ),
        (
            "no message",
            chat,
            r#"{"model":"sandbox-1","messages":[]}"#,
            400,
            Some("invalid_value"),
        ),
        (
            "unknown model",
            chat,
            &unknown,
            404,
            Some("model_not_found"),
        ),
        (
            "a model that cannot",
            "/v1/embeddings",
            &unknown,
            404,
            Some("model_not_found"),
        ),
        ("unknown path", "/v1/nothing", "{}", 404, None),
    ] {
        let plan = answer("POST", path, &Surface::Chat.headers(), body.as_bytes());
        let error = &json_of(&plan)["error"];
        assert_eq!(plan.status, status, "{name}: {error}");
        assert_eq!(error["type"], "invalid_request_error", "{name}: {error}");
        assert_eq!(error["code"].as_str(), code, "{name}: {error}");
    }
    let known = Surface::Chat.body("sandbox-1", "Hello").to_string();
    let versioned = answer("POST", chat, &anthropic(), known.as_bytes());
    assert_eq!(
        versioned.status, 200,
        "another vendor's header changes nothing"
    );
    let wrong = answer("GET", chat, &Surface::Chat.headers(), b"");
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("POST")));
}

#[test]
fn anthropic_refuses_in_its_words() {
    let messages = "/v1/messages";
    let endless = format!(r#"{{"model":"sandbox-1",{HELLO}}}"#);
    let unknown = format!(r#"{{"model":"gpt-0","max_tokens":5,{HELLO}}}"#);
    let embed = format!(r#"{{"model":"sandbox-embed","max_tokens":5,{HELLO}}}"#);
    for (name, path, body, status, kind) in [
        ("not JSON", messages, "{", 400, "invalid_request_error"),
        ("no cap", messages, &endless, 400, "invalid_request_error"),
        ("unknown model", messages, &unknown, 404, "not_found_error"),
        (
            "a model that cannot",
            messages,
            &embed,
            404,
            "not_found_error",
        ),
        (
            "unknown path",
            "/v1/messages/x",
            "{}",
            404,
            "not_found_error",
        ),
    ] {
        let plan = answer("POST", path, &anthropic(), body.as_bytes());
        let body = json_of(&plan);
        assert_eq!(
            (plan.status, &body["type"]),
            (status, &"error".into()),
            "{name}: {body}"
        );
        assert_eq!(body["error"]["type"], kind, "{name}: {body}");
        assert_eq!(
            plan.header("request-id"),
            body["request_id"].as_str(),
            "{name}: {body}"
        );
    }
    let unversioned = answer(
        "POST",
        messages,
        &Surface::Chat.headers(),
        unknown.as_bytes(),
    );
    assert_eq!(unversioned.status, 400);
}

// OPS-23
#[test]
fn misspelt_steering_is_refused_on_every_surface() {
    for surface in SURFACES {
        let plan = surface.say("sandbox:dealy=5; Hello");
        assert_eq!(plan.status, 400, "{surface:?}");
        let message = json_of(&plan)["error"]["message"].clone();
        assert!(
            message.as_str().unwrap().contains("`dealy`"),
            "{surface:?}: {message}"
        );
    }
}
