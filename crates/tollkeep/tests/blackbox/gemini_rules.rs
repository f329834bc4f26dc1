//! Rules on Gemini's calls: policies, budgets, and what becomes of failures and broken streams.

use crate::budgets::made;
use crate::fixture::UPSTREAM_KEY;
use crate::gemini::{BODY, GENERATE, STREAM, answers, as_sdk, ask, event, refused, said, served};
use crate::held::{settled, window};
use serde_json::{Value, json};
use tollkeep_testkit::{BodyEnd, Gateway, Origin, Step, chunk, chunked_head, eventually};

fn policed(gateway: &Gateway, policy: &Value) -> String {
    gateway.mint_token(&json!({"project": "default", "policy": policy}))
}

fn call(gateway: &Gateway, token: &str, target: &str, body: &str) -> (u16, String) {
    let answer = gateway.call(&as_sdk(target, token, body));
    match answer.status {
        200 => (200, String::new()),
        _ => refused(&answer),
    }
}

/// Name, policy, target, body, and what becomes of the call.
type Rule<'a> = (&'a str, Value, &'a str, String, u16, &'a str);

fn judge(rules: Vec<Rule<'_>>) {
    let origin = Origin::start(answers);
    let (gateway, _) = served(&origin, "", "");
    for (name, policy, target, body, status, code) in rules {
        let token = policed(&gateway, &policy);
        let asked = origin.count();
        let got = call(&gateway, &token, target, &body);
        assert_eq!(got, (status, code.to_owned()), "{name}: {policy} {body}");
        assert_eq!(origin.count() > asked, status == 200, "{name}");
    }
}

/// A call that says this besides.
fn text(more: &str) -> String {
    format!("{{\"contents\":[{{\"parts\":[{{\"text\":\"hi\"}}]}}]{more}}}")
}

// ID-90
#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn no_rule_is_gone_round_by_the_dialect_or_its_spellings() {
    let parts = |part: &str| format!("{{\"contents\":[{{\"parts\":[{part}]}}]}}");
    let plain = text("");
    let short = "/v1/models/gemini-2.5-flash:generateContent";
    judge(vec![
        (
            "model",
            json!({"allowed_models": ["gemini-2.5-pro"]}),
            GENERATE,
            plain.clone(),
            404,
            "model_not_found",
        ),
        (
            "model let",
            json!({"allowed_models": ["gemini-*"]}),
            GENERATE,
            plain.clone(),
            200,
            "",
        ),
        (
            "model denied",
            json!({"denied_models": ["*flash*"]}),
            short,
            plain.clone(),
            404,
            "model_not_found",
        ),
        (
            "place of lists",
            json!({"allowed_endpoints": ["/v1/models"]}),
            short,
            plain.clone(),
            404,
            "endpoint_not_found",
        ),
        (
            "place",
            json!({"allowed_endpoints": ["/v1beta/models"]}),
            short,
            plain.clone(),
            200,
            "",
        ),
        (
            "other place",
            json!({"allowed_endpoints": ["/v1/chat"]}),
            GENERATE,
            plain.clone(),
            404,
            "endpoint_not_found",
        ),
        (
            "stream",
            json!({"allow_stream": false}),
            STREAM,
            plain.clone(),
            400,
            "feature_not_allowed",
        ),
        (
            "no stream",
            json!({"allow_stream": false}),
            GENERATE,
            text(",\"stream\":true"),
            200,
            "",
        ),
        (
            "tools",
            json!({"max_tools": 1}),
            GENERATE,
            text(",\"tools\":[{\"function_declarations\":[{},{}]}]"),
            400,
            "limit_exceeded",
        ),
        (
            "search",
            json!({"allow_web_search": false}),
            GENERATE,
            text(",\"tools\":[{\"google_search\":{}}]"),
            400,
            "feature_not_allowed",
        ),
        (
            "image",
            json!({"allow_images": false}),
            GENERATE,
            parts("{\"inline_data\":{\"mime_type\":\"image/png\",\"data\":\"AA\"}}"),
            400,
            "feature_not_allowed",
        ),
        (
            "file",
            json!({"allow_files": false}),
            GENERATE,
            parts("{\"inlineData\":{\"mimeType\":\"application/pdf\",\"data\":\"AA\"}}"),
            400,
            "feature_not_allowed",
        ),
        (
            "link",
            json!({"allow_remote_urls": false}),
            GENERATE,
            parts("{\"fileData\":{\"fileUri\":\"https://a.example/x\"}}"),
            400,
            "feature_not_allowed",
        ),
        (
            "input",
            json!({"max_input_tokens": 5}),
            GENERATE,
            plain.clone(),
            400,
            "limit_exceeded",
        ),
        (
            "output",
            json!({"max_output_tokens": 8, "on_excess": "refuse"}),
            GENERATE,
            text(",\"generation_config\":{\"max_output_tokens\":9}"),
            400,
            "limit_exceeded",
        ),
        (
            "answers",
            json!({"max_n": 1, "on_excess": "refuse"}),
            GENERATE,
            text(",\"generationConfig\":{\"candidateCount\":2}"),
            400,
            "limit_exceeded",
        ),
        (
            "condition",
            json!({"when": "model == 'gemini-2.5-pro'"}),
            GENERATE,
            plain.clone(),
            403,
            "policy_denied",
        ),
        (
            "method",
            json!({"allowed_methods": ["GET"]}),
            GENERATE,
            plain,
            405,
            "method_not_allowed",
        ),
    ]);
}

// LLM-34
#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn a_rule_on_a_parameter_holds_wherever_the_parameter_stands() {
    let plain = text("");
    judge(vec![
        (
            "a parameter",
            json!({"param_whitelist": {"max_tokens": ["8"]}}),
            GENERATE,
            text(",\"generation_config\":{\"maxOutputTokens\":9}"),
            400,
            "param_not_allowed",
        ),
        (
            "temperature",
            json!({"param_whitelist": {"temperature": ["0"]}}),
            GENERATE,
            text(",\"generationConfig\":{\"temperature\":1}"),
            400,
            "param_not_allowed",
        ),
        (
            "top_p",
            json!({"param_whitelist": {"top_p": ["0"]}}),
            GENERATE,
            text(",\"generation_config\":{\"top_p\":1}"),
            400,
            "param_not_allowed",
        ),
        (
            "n",
            json!({"param_whitelist": {"n": ["1"]}}),
            GENERATE,
            text(",\"generationConfig\":{\"candidate_count\":2}"),
            400,
            "param_not_allowed",
        ),
        (
            "model's name",
            json!({"param_whitelist": {"model": ["o*"]}}),
            GENERATE,
            plain.clone(),
            400,
            "param_not_allowed",
        ),
        (
            "its own name",
            json!({"param_whitelist": {"model": ["gemini-*"]}}),
            GENERATE,
            text(",\"model\":\"models/gemini-2.5-flash\""),
            200,
            "",
        ),
        (
            "streams",
            json!({"param_whitelist": {"stream": ["false"]}}),
            STREAM,
            plain.clone(),
            400,
            "param_not_allowed",
        ),
        (
            "required",
            json!({"param_required": ["max_tokens"]}),
            GENERATE,
            plain,
            400,
            "param_not_allowed",
        ),
        (
            "required, there",
            json!({"param_required": ["max_tokens", "model"]}),
            GENERATE,
            text(",\"generationConfig\":{\"maxOutputTokens\":9}"),
            200,
            "",
        ),
    ]);
}

// ID-90 LED-41
#[test]
fn what_is_asked_beyond_a_bound_is_brought_down_to_it() {
    let origin = Origin::start(answers);
    let (gateway, _) = served(&origin, "", "");
    let token = policed(
        &gateway,
        &json!({"max_output_tokens": 8, "max_n": 1, "on_excess": "clamp"}),
    );
    for (body, want) in [
        (
            r#"{"contents":[]}"#,
            r#"{"generationConfig":{"maxOutputTokens":8},"contents":[]}"#,
        ),
        (
            r#"{"generation_config":{"max_output_tokens":99,"candidate_count":3},"contents":[]}"#,
            r#"{"generation_config":{"max_output_tokens":8,"candidate_count":1},"contents":[]}"#,
        ),
        (
            r#"{"generationConfig":{"maxOutputTokens":"8"}}"#,
            r#"{"generationConfig":{"maxOutputTokens":"8"}}"#,
        ),
    ] {
        for target in [GENERATE, STREAM] {
            assert_eq!(call(&gateway, &token, target, body).0, 200, "{body}");
            assert_eq!(origin.last().text(), want);
        }
    }
}

// LED-40 LED-41 LED-43 LED-43a LED-45 LED-60
#[test]
fn what_a_call_can_cost_is_taken_aside_and_its_cap_written() {
    let origin = Origin::start(answers);
    let (gateway, token) = served(&origin, "", "");
    let budget = made(
        &gateway,
        &json!({"name": "b", "scope": {"project": "default"}, "limit": "$0.01", "window": "lifetime"}),
    );
    let id = budget["id"].as_str().unwrap();
    eventually("the budget is in force", || {
        (window(&gateway, id)["limit"].is_number()).then_some(())
    });
    // 65536 tokens at $2.50 a million are more than a cent.
    let refusal = ask(&gateway, &token, GENERATE);
    assert_eq!(refused(&refusal), (402, "budget_exhausted".to_owned()));
    assert_eq!(refusal.json()["error"]["status"], "FAILED_PRECONDITION");
    assert_eq!(refusal.field("x-tollkeep-budget"), Some(id));
    assert_eq!(origin.count(), 0);
    let mut spent = 0;
    for (target, config, want) in [
        (
            GENERATE,
            r#"{"maxOutputTokens":100}"#,
            r#"{"maxOutputTokens":100}"#,
        ),
        (
            STREAM,
            r#"{"max_output_tokens":100,"candidateCount":2}"#,
            r#"{"max_output_tokens":100,"candidateCount":2}"#,
        ),
        (
            GENERATE,
            r#"{"thinking_config":{"thinking_budget":5},"maxOutputTokens":9}"#,
            r#"{"thinking_config":{"thinking_budget":5},"maxOutputTokens":9}"#,
        ),
    ] {
        let body = BODY.replacen('{', &format!("{{\"generationConfig\":{config},"), 1);
        let answer = gateway.call(&as_sdk(target, &token, &body));
        assert_eq!(answer.status, 200, "{config}: {}", answer.text());
        let sent = origin.last().text();
        assert!(sent.contains(want), "{sent}");
        spent += 20_800;
        settled(&gateway, id, spent);
    }
    for (name, more) in [
        (
            "too many answers",
            r#""generationConfig":{"maxOutputTokens":100,"candidate_count":99},"#,
        ),
        ("unknown", r#""serviceTier":"priority","#),
        (
            "unknown setting",
            r#""generation_config":{"imageConfig":{}},"#,
        ),
        ("unknown tool", r#""tools":[{"code_execution":{}}],"#),
        (
            "cap of nothing",
            r#""generationConfig":{"maxOutputTokens":0},"#,
        ),
    ] {
        let body = BODY.replacen('{', &format!("{{{more}"), 1);
        let asked = origin.count();
        let (status, code) = call(&gateway, &token, GENERATE, &body);
        let want = if name == "too many answers" {
            (402, "budget_exhausted")
        } else {
            (400, "cost_not_boundable")
        };
        assert_eq!((status, code.as_str()), want, "{name}");
        assert_eq!(origin.count(), asked, "{name}");
    }
    settled(&gateway, id, spent);
}

// LED-41
#[test]
fn a_cap_that_nobody_named_is_written_and_told() {
    let origin = Origin::start(answers);
    let (gateway, token) = served(
        &origin,
        "",
        "budgets: { list: [{ name: all, limit: \"$9\", window: month }], default_output_cap: 1000 }\n",
    );
    let answer = ask(&gateway, &token, STREAM);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.field("x-tollkeep-max-output"), Some("1000"));
    assert_eq!(
        origin.last().json()["generationConfig"],
        json!({"maxOutputTokens": 1000})
    );
}

fn fails(status: u16, fields: &str, body: &str) -> Vec<Step> {
    let head = format!(
        "HTTP/1.1 {status} No\r\ncontent-type: application/json\r\n{fields}content-length: {}\r\n\r\n{body}",
        body.len()
    );
    vec![Step::Send(head.into_bytes())]
}

// LLM-60 LLM-R40 LLM-R45
#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn what_google_refuses_is_passed_on_where_it_is_about_the_call() {
    let error = |code: u16, word: &str, more: Value| json!({"error": {"code": code, "message": format!("About {UPSTREAM_KEY}"), "status": word, "details": [more]}});
    let reason = |word: &str| json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": word, "domain": "googleapis.com"});
    let mut asked = Vec::new();
    for (name, status, body, want, wait) in [
        (
            "the call",
            400,
            error(400, "INVALID_ARGUMENT", json!({})),
            None,
            None,
        ),
        (
            "our key",
            400,
            error(400, "INVALID_ARGUMENT", reason("API_KEY_INVALID")),
            Some((503, "upstream_auth")),
            None,
        ),
        (
            "our account",
            403,
            error(403, "PERMISSION_DENIED", json!({})),
            Some((503, "upstream_auth")),
            None,
        ),
        (
            "no model",
            404,
            error(404, "NOT_FOUND", json!({})),
            Some((404, "model_not_found")),
            None,
        ),
        (
            "a limit",
            429,
            error(
                429,
                "RESOURCE_EXHAUSTED",
                json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "17.2s"}),
            ),
            Some((429, "model_cooldown")),
            Some("18"),
        ),
        (
            "a fault",
            500,
            error(500, "INTERNAL", json!({})),
            Some((502, "upstream_error")),
            None,
        ),
        (
            "overloaded",
            503,
            error(503, "UNAVAILABLE", json!({})),
            Some((503, "overloaded")),
            Some("1"),
        ),
        (
            "late",
            504,
            error(504, "DEADLINE_EXCEEDED", json!({})),
            Some((504, "timeout")),
            None,
        ),
        (
            "no JSON",
            502,
            json!("<html>"),
            Some((502, "upstream_error")),
            None,
        ),
    ] {
        asked.push((name, status, body, want, wait));
    }
    let answers: Vec<_> = asked
        .iter()
        .map(|(_, status, body, ..)| (*status, body.to_string()))
        .collect();
    let origin = Origin::start(move |request| {
        let (_, case) = request.target.split_once("case-").unwrap();
        let (number, _) = case.split_once(':').unwrap();
        let (status, body) = &answers[number.parse::<usize>().unwrap()];
        fails(*status, "", body)
    });
    let (gateway, token) = served(&origin, "    disable_cooling: true\n", "");
    for (number, (name, status, body, want, wait)) in asked.into_iter().enumerate() {
        for verb in ["generateContent", "streamGenerateContent?alt=sse"] {
            let target = format!("/v1beta/models/case-{number}:{verb}");
            let answer = ask(&gateway, &token, &target);
            assert!(!answer.text().contains(UPSTREAM_KEY), "{name}");
            if let Some((status, code)) = want {
                assert_eq!(refused(&answer), (status, code.to_owned()), "{name}");
                assert_eq!(answer.field("retry-after"), wait, "{name}");
                continue;
            }
            let mut told = body.clone();
            told["error"]["message"] = json!("About [redacted]");
            assert_eq!((answer.status, answer.json()), (status, told), "{name}");
        }
    }
}

fn stream(steps: Vec<Step>) -> Vec<Step> {
    std::iter::once(chunked_head("text/event-stream"))
        .chain(steps)
        .collect()
}

// LLM-50 LLM-D60 LLM-D61 LLM-D63 LLM-D64
#[test]
fn a_stream_that_fails_says_so_in_googles_words() {
    let first = json!({"candidates": [{"content": {"parts": [{"text": "Hel"}], "role": "model"}}],
        "usageMetadata": {"promptTokenCount": 11}});
    let greeting = json!({"usageMetadata": {"promptTokenCount": 11}, "modelVersion": "m"});
    let error = json!({"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}});
    for (name, steps, status, code) in [
        (
            "at once",
            vec![event(&error), chunk(b"")],
            503,
            "overloaded",
        ),
        (
            "after a greeting",
            vec![event(&greeting), event(&error), chunk(b"")],
            503,
            "overloaded",
        ),
        ("nothing", vec![chunk(b"")], 502, "upstream_interrupted"),
        (
            "cut at once",
            vec![event(&greeting), Step::Close],
            502,
            "upstream_interrupted",
        ),
    ] {
        let steps = stream(steps);
        let origin = Origin::start(move |_| steps.clone());
        let (gateway, token) = served(&origin, "", "");
        let answer = ask(&gateway, &token, STREAM);
        assert_eq!(refused(&answer), (status, code.to_owned()), "{name}");
    }
    let cut = stream(vec![event(&first), Step::Close]);
    let origin = Origin::start(move |_| cut.clone());
    let (gateway, token) = served(&origin, "", "");
    let answer = ask(&gateway, &token, STREAM);
    assert_eq!(
        (answer.status, answer.end),
        (200, BodyEnd::Whole),
        "an event tells it"
    );
    let text = answer.text();
    let last = text.trim_end().rsplit("data: ").next().unwrap();
    let told: Value = serde_json::from_str(last).unwrap();
    assert_eq!(
        told,
        json!({"error": {"code": 502, "message": "The upstream ended its answer early.", "status": "INTERNAL"}})
    );
    assert!(
        text.starts_with(&format!("data: {first}")) && !text.contains("finishReason"),
        "{text}"
    );
    let line = eventually("a usage line", || gateway.usage_lines().pop());
    assert_eq!(
        (&line["quality"], &line["outcome"]),
        (&json!("estimated"), &json!("cut")),
        "{line}"
    );
    // Google's own word for it passes as it is.
    let late = stream(vec![event(&first), event(&error), chunk(b"")]);
    let origin = Origin::start(move |_| late.clone());
    let (gateway, token) = served(&origin, "", "");
    let text = ask(&gateway, &token, STREAM).text();
    assert!(text.ends_with(&format!("data: {error}\r\n\r\n")), "{text}");
}

// LLM-D12
#[test]
fn the_reader_of_a_silent_stream_is_told_by_empty_lines() {
    let gate = tollkeep_testkit::Gate::default();
    let held = gate.clone();
    let origin =
        Origin::start(move |_| stream(vec![event(&said()), Step::Wait(held.clone()), chunk(b"")]));
    let (gateway, token) = served(&origin, "", "llm: { stream: { keepalive_s: 1 } }\n");
    let mut client = gateway.connect();
    client.send(&as_sdk(STREAM, &token, BODY));
    let mut answer = client.head(tollkeep_testkit::PATIENCE).unwrap();
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).ends_with("\r\n\r\n\n\n") {
        seen.extend(client.piece(&mut answer).unwrap());
    }
    gate.open();
}

// LLM-82 LLM-83
#[test]
fn an_answer_is_given_again_to_the_same_call_alone() {
    let origin = Origin::start(answers);
    let (gateway, token) = served(&origin, "", "cache: { enabled: true }\n");
    let same = BODY.replacen('{', r#"{"generationConfig":{"temperature":0},"#, 1);
    let other = "/v1beta/models/gemini-2.5-pro:generateContent";
    for (name, target, body, asked) in [
        ("first", GENERATE, &same, 1),
        ("again", GENERATE, &same, 1),
        ("another model", other, &same, 2),
        ("by chance", GENERATE, &BODY.to_owned(), 3),
        ("by chance again", GENERATE, &BODY.to_owned(), 4),
    ] {
        assert_eq!(call(&gateway, &token, target, body).0, 200, "{name}");
        assert_eq!(origin.count(), asked, "{name}");
    }
}
