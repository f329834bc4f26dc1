//! Gemini's calls: what their clients send and get, and that no rule is gone round by them.

use crate::fixture::{Dice, UPSTREAM_KEY, gateway, head, post};
use serde_json::{Value, json};
use tollkeep_testkit::{
    Answer, BodyEnd, Gateway, Origin, Request, Step, chunk, chunked_head, eventually,
    json as answer_json,
};

pub(crate) const GENERATE: &str = "/v1beta/models/gemini-2.5-flash:generateContent";
pub(crate) const STREAM: &str = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse";
const COUNT: &str = "/v1beta/models/gemini-2.5-flash:countTokens";
pub(crate) const BODY: &str = r#"{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}"#;

/// What a model answers, in 7 tokens of which 3 are thoughts, for 11.
pub(crate) fn said() -> Value {
    json!({
        "candidates": [{
            "content": {"parts": [{"text": "Hello"}], "role": "model"}, "finishReason": "STOP", "index": 0,
        }],
        "usageMetadata": {"promptTokenCount": 11, "candidatesTokenCount": 4, "thoughtsTokenCount": 3, "totalTokenCount": 18},
        "modelVersion": "gemini-2.5-flash-001", "responseId": "r",
    })
}

pub(crate) fn event(data: &Value) -> Step {
    chunk(format!("data: {data}\r\n\r\n").as_bytes())
}

pub(crate) fn answers(request: &Request) -> Vec<Step> {
    if request.target.contains(":streamGenerateContent") {
        let first = json!({"candidates": [{"content": {"parts": [{"text": "Hel"}], "role": "model"}}],
            "usageMetadata": {"promptTokenCount": 11, "totalTokenCount": 11}});
        let head = chunked_head("text/event-stream");
        return vec![head, event(&first), event(&said()), chunk(b"")];
    }
    if request.target.ends_with(":countTokens") {
        return answer_json(&json!({"totalTokens": 31}));
    }
    answer_json(&said())
}

/// A gateway before Google as `origin` is it, with these lines at the provider and these besides.
pub(crate) fn served(origin: &Origin, provider: &str, config: &str) -> (Gateway, String) {
    let url = origin.url();
    let config = format!(
        "providers:\n  google:\n    base_url: \"{url}\"\n    allow_private: [\"127.0.0.1/32\"]\n    \
         credentials: [{{ secret: \"${{UPSTREAM_KEY}}\" }}]\n{provider}{config}"
    );
    let gateway = gateway(config).env("UPSTREAM_KEY", UPSTREAM_KEY).start();
    let token = gateway.mint_token(&json!({"project": "default"}));
    (gateway, token)
}

/// A call as Google's clients make it.
pub(crate) fn as_sdk(target: &str, token: &str, body: &str) -> Vec<u8> {
    let lines = format!(
        "x-goog-api-key: {token}\r\nContent-Type: application/json\r\nx-goog-api-client: google-genai-sdk/3.4.0\r\n"
    );
    post(target, &lines, body.as_bytes())
}

pub(crate) fn ask(gateway: &Gateway, token: &str, target: &str) -> Answer {
    gateway.call(&as_sdk(target, token, BODY))
}

/// The status and code of a refusal, which is in Google's form.
pub(crate) fn refused(answer: &Answer) -> (u16, String) {
    let error = &answer.json()["error"];
    assert_eq!(error["code"], answer.status, "{}", answer.text());
    assert!(
        error["message"].is_string() && error["status"].is_string(),
        "{error}"
    );
    let detail = &error["details"][0];
    assert_eq!(detail["@type"], "type.googleapis.com/google.rpc.ErrorInfo");
    assert_eq!(detail["domain"], "tollkeep");
    (answer.status, answer.code())
}

// LLM-1 LLM-2 LLM-10 LLM-13 LLM-D1
#[test]
fn a_call_is_passed_on_byte_for_byte_with_the_providers_key() {
    let origin = Origin::start(|_| {
        let body = br#" { "candidates" : [ ] ,"usageMetadata":{"promptTokenCount":1e0}}"#;
        tollkeep_testkit::with_fields("content-type: application/json; charset=UTF-8\r\n", body)
    });
    let (gateway, token) = served(&origin, "", "");
    let odd = " {\"contents\": [ {\"parts\":[{\"text\":\"Gr\\u00fc\\/\"}]} ],\n \"labels\":{}}";
    let carriers = [
        format!("x-goog-api-key: {token}\r\n"),
        format!("x-api-key: {token}\r\n"),
        format!("Authorization: Bearer {token}\r\n"),
    ];
    for target in [
        GENERATE.to_owned(),
        GENERATE.replace("v1beta", "v1"),
        format!("{GENERATE}?alt=json&prettyPrint=true"),
    ] {
        for carrier in &carriers {
            let lines = format!("{carrier}Content-Type: application/json\r\n");
            let answer = gateway.call(&post(&target, &lines, odd.as_bytes()));
            assert_eq!(answer.status, 200, "{target}: {}", answer.text());
            assert_eq!(
                answer.text(),
                " { \"candidates\" : [ ] ,\"usageMetadata\":{\"promptTokenCount\":1e0}}"
            );
            let sent = origin.last();
            assert_eq!(
                sent.target, GENERATE,
                "one place there, without the caller's query"
            );
            assert_eq!(sent.text(), odd);
            assert_eq!(sent.field("x-goog-api-key"), Some(UPSTREAM_KEY));
            for name in ["authorization", "x-api-key", "x-goog-api-client"] {
                assert_eq!(sent.field(name), None, "{name}");
            }
        }
    }
    assert!(
        origin
            .raw()
            .iter()
            .all(|raw| !String::from_utf8_lossy(raw).contains(&token))
    );
}

// LLM-D1 LED-10 LED-22
#[test]
fn a_stream_is_passed_on_byte_for_byte_and_metered() {
    let mut dice = Dice::new(3);
    let mut events = String::new();
    for end in ["\r\n\r\n", "\n\n", "\r\r"] {
        events.push_str(": a comment\n\n");
        events.push_str(&format!("data: {}{end}", said()));
    }
    let sent = events.clone().into_bytes();
    let mut steps = vec![chunked_head("text/event-stream")];
    let mut rest = sent.as_slice();
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at((1 + dice.below(40)).min(rest.len()));
        steps.push(chunk(piece));
        rest = behind;
    }
    steps.push(chunk(b""));
    let origin = Origin::start(move |_| steps.clone());
    let (gateway, token) = served(&origin, "", "");
    let answer = ask(&gateway, &token, STREAM);
    assert_eq!((answer.status, answer.end), (200, BodyEnd::Whole));
    assert_eq!(answer.text(), events);
    assert_eq!(
        answer.field("content-type"),
        Some("text/event-stream; charset=utf-8")
    );
    let asked = origin.last();
    assert_eq!(asked.target, STREAM);
    assert_eq!(asked.field("accept"), Some("text/event-stream"));
    let line = eventually("a usage line", || gateway.usage_lines().pop());
    assert_eq!(line["surface"], "stream_generate_content", "{line}");
    assert_eq!(
        (&line["stream"], &line["quality"]),
        (&json!(true), &json!("reported"))
    );
    assert_eq!(
        line["usage"],
        json!({"in_text": 11, "out_text": 4, "out_reasoning": 3}),
        "{line}"
    );
}

// LED-10 LED-32
#[test]
fn what_a_call_used_and_cost_is_recorded() {
    let origin = Origin::start(answers);
    let (gateway, token) = served(&origin, "", "llm: { expose_cost: true }\n");
    let answer = ask(&gateway, &token, GENERATE);
    assert_eq!(answer.status, 200, "{}", answer.text());
    // 11 in at $0.30, 7 out at $2.50 a million.
    let cost = 11 * 300 + 7 * 2500;
    assert_eq!(answer.field("x-tollkeep-cost"), Some("0.000020800"));
    let line = eventually("a usage line", || gateway.usage_lines().pop());
    for (member, want) in [
        ("provider", json!("google")),
        ("model_asked", json!("gemini-2.5-flash")),
        ("model_served", json!("gemini-2.5-flash-001")),
        ("surface", json!("generate_content")),
        (
            "route",
            json!("POST /v1beta/models/{model}:generateContent"),
        ),
        ("quality", json!("reported")),
        (
            "usage",
            json!({"in_text": 11, "out_text": 4, "out_reasoning": 3}),
        ),
        ("cost_nano_usd", json!(cost)),
        ("stream", json!(false)),
        ("outcome", json!("served")),
    ] {
        assert_eq!(line[member], want, "{member}: {line}");
    }
    let line = gateway.access_lines().pop().unwrap();
    assert!(!line.to_string().contains(&token), "{line}");
}

// LLM-75
#[test]
fn tokens_are_counted_by_the_provider_and_else_by_the_gateway() {
    let origin = Origin::start(answers);
    let url = origin.url();
    let other = format!(
        "  local: {{ kind: openai-compatible, base_url: \"{url}/v1\", allow_private: true, models: [llama], \
         credentials: [{{ secret: none }}] }}\n"
    );
    let (gateway, token) = served(&origin, "    models: [\"gemini-*\"]\n", &other);
    let counted = ask(&gateway, &token, COUNT);
    assert_eq!(counted.json(), json!({"totalTokens": 31}));
    assert_eq!(counted.field("x-tollkeep-token-count"), Some("exact"));
    assert_eq!(origin.last().target, COUNT);
    let asked = origin.count();
    let own = ask(&gateway, &token, "/v1beta/models/llama:countTokens");
    assert_eq!(
        own.json(),
        json!({"totalTokens": 17}),
        "a message and two bytes"
    );
    assert_eq!(own.field("x-tollkeep-token-count"), Some("estimate"));
    assert_eq!(origin.count(), asked);
    assert_eq!(
        refused(&ask(&gateway, &token, "/v1beta/models/nobody:countTokens")).0,
        404
    );
}

// LLM-1 LLM-40 LLM-R10
#[test]
fn a_model_is_asked_for_by_its_name_there_whatever_it_is_called_here() {
    let origin = Origin::start(answers);
    let (gateway, token) = served(&origin, "", "");
    for (asked, there) in [
        ("gemini-2.5-flash", "gemini-2.5-flash"),
        ("google/gemini-2.5-flash", "gemini-2.5-flash"),
        ("google%2Fgemini-2.5-flash", "gemini-2.5-flash"),
        ("google%2fgemini-2.5-flash", "gemini-2.5-flash"),
        ("vendor/m", "vendor/m"),
        ("vendor%2Fm", "vendor/m"),
        ("m%C3%A9", "m%C3%A9"),
        ("a:b", "a%3Ab"),
        ("%67emini-%32", "gemini-2"),
        ("m:countTokens", "m%3AcountTokens"),
    ] {
        let target = format!("/v1beta/models/{asked}:generateContent");
        let body =
            json!({"contents": [], "model": format!("models/{}", asked.replace("%2F", "/"))});
        let with_model = asked.is_ascii()
            && !asked.contains("%2f")
            && !asked.contains("%C3")
            && !asked.contains("%67");
        let body = if with_model {
            body.to_string()
        } else {
            BODY.to_owned()
        };
        let answer = gateway.call(&as_sdk(&target, &token, &body));
        assert_eq!(answer.status, 200, "{asked}: {}", answer.text());
        let sent = origin.last();
        assert_eq!(
            sent.target,
            format!("/v1beta/models/{there}:generateContent"),
            "{asked}"
        );
        if with_model {
            let bare = there.replace("%3A", ":");
            assert_eq!(sent.json()["model"], format!("models/{bare}"), "{asked}");
        } else {
            assert_eq!(sent.text(), BODY, "{asked}");
        }
    }
}

// LLM-1 LLM-30
#[test]
fn no_path_leads_anywhere_but_to_a_model() {
    let origin = Origin::start(answers);
    let (gateway, token) = served(&origin, "", "");
    for (path, status) in [
        ("/v1beta/models/../cachedContents:generateContent", 400),
        ("/v1beta/models/a/../b:generateContent", 400),
        (
            "/v1beta/models/a%2F..%2F..%2FcachedContents:generateContent",
            400,
        ),
        ("/v1beta/models/..%2Ffiles:generateContent", 400),
        ("/v1beta/models/%2e%2e%2Ffiles:generateContent", 400),
        ("/v1beta/models/%2e%2e/files:generateContent", 400),
        ("/v1beta/models/a%252F..%252Fb:generateContent", 400),
        ("/v1beta/models/a%2F%2Fb:generateContent", 404),
        ("/v1beta/models/a//b:generateContent", 400),
        ("/v1beta/models/a%00b:generateContent", 400),
        ("/v1beta/models/a%0d%0aX:generateContent", 400),
        ("/v1beta/models/a%5c..%5cb:generateContent", 400),
        ("/v1beta/models/a%ff:generateContent", 400),
        ("/v1beta/models/a;b:generateContent", 400),
        ("/v1beta/models/:generateContent", 404),
        ("/v1beta/models/a%2F:generateContent", 404),
        ("/v1beta/models/a", 404),
        ("/v1beta/models/a:", 404),
        ("/v1beta/models/a:embedContent", 404),
        ("/v1beta/models/a:generateContent/b", 404),
        ("/v1beta/models/a%3AgenerateContent", 404),
        ("/v1beta/tunedModels/a:generateContent", 404),
        ("/v1beta/cachedContents", 404),
        ("/v1beta/files/a:download", 404),
        ("/v1alpha/models/a:generateContent", 404),
        ("/v1/models/a:embedContent", 404),
    ] {
        let answer = ask(&gateway, &token, path);
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        if status == 404 && !path.starts_with("/v1alpha") {
            refused(&answer);
        }
    }
    let long = format!("/v1beta/models/{}:generateContent", "m".repeat(300));
    assert_eq!(
        refused(&ask(&gateway, &token, &long)),
        (404, "model_not_found".to_owned())
    );
    let get = gateway.call(&head(
        &format!("GET {GENERATE}"),
        &format!("x-goog-api-key: {token}\r\n"),
    ));
    assert_eq!(refused(&get).0, 405);
    assert_eq!(get.field("allow"), Some("POST"));
    assert_eq!(origin.count(), 0);
}

// LLM-10 LLM-11 LLM-12 LLM-D14 ID-14
#[test]
fn queries_ask_for_no_other_form_and_carry_no_credential() {
    let origin = Origin::start(answers);
    let (gateway, token) = served(&origin, "", "");
    let stream = STREAM.trim_end_matches("?alt=sse");
    for target in [
        stream.to_owned(),
        format!("{stream}?alt=json"),
        format!("{stream}?$alt=json"),
        format!("{stream}?alt=sse&$alt=json"),
        format!("{stream}?alt=sse&alt=json"),
        format!("{GENERATE}?alt=sse"),
        format!("{GENERATE}?alt=proto"),
        format!("{COUNT}?%61lt=media"),
    ] {
        let answer = ask(&gateway, &token, &target);
        assert_eq!(
            refused(&answer),
            (400, "unsupported_parameter".to_owned()),
            "{target}"
        );
    }
    let lines = "Content-Type: application/json\r\n";
    let by_query = |gateway: &Gateway, token: &str| {
        gateway.call(&post(
            &format!("{GENERATE}?key={token}"),
            lines,
            BODY.as_bytes(),
        ))
    };
    let answer = by_query(&gateway, &token);
    assert_eq!(refused(&answer).0, 401);
    assert_eq!(
        answer.json()["error"]["message"],
        "credential in query string is disabled"
    );
    let two = format!("{lines}x-goog-api-key: {token}\r\nx-api-key: another\r\n");
    assert_eq!(
        gateway.call(&post(GENERATE, &two, BODY.as_bytes())).status,
        401
    );
    assert_eq!(origin.count(), 0);
    let (gateway, token) = served(&origin, "", "llm: { query_key: true }\n");
    assert_eq!(by_query(&gateway, &token).status, 200);
    assert_eq!(origin.last().target, GENERATE, "the key is gone");
}

// LLM-12 LLM-60 ID-60
#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn refusals_are_in_the_form_of_the_dialect() {
    let origin = Origin::start(answers);
    let lines = "llm: { max_request_body_bytes: 4096 }\n";
    let (gateway, token) = served(&origin, "    models: [\"gemini-*\"]\n", lines);
    let bare = gateway.call(&post(
        GENERATE,
        "Content-Type: application/json\r\n",
        BODY.as_bytes(),
    ));
    let unknown = ask(&gateway, &format!("tok-{}", "a".repeat(49)), GENERATE);
    let garbage = ask(&gateway, "AIzaSyExampleExampleExample", GENERATE);
    assert_eq!(refused(&bare), (401, "unauthenticated".to_owned()));
    assert_eq!(bare.json()["error"]["status"], "UNAUTHENTICATED");
    assert_eq!(
        (bare.text(), bare.text()),
        (unknown.text(), garbage.text()),
        "all alike"
    );
    let call = |body: &str| gateway.call(&as_sdk(GENERATE, &token, body));
    for (name, body, status, code) in [
        ("no JSON", "{", 400, "invalid_json"),
        ("a list", "[]", 400, "invalid_json"),
        (
            "twice",
            r#"{"contents":[],"contents":[]}"#,
            400,
            "duplicate_key",
        ),
        (
            "twice, hidden",
            r#"{"contents":[],"cont\u0065nts":[]}"#,
            400,
            "duplicate_key",
        ),
        (
            "both spellings",
            r#"{"generationConfig":{},"generation_config":{}}"#,
            400,
            "duplicate_key",
        ),
        (
            "another model",
            r#"{"model":"models/gemini-2.5-pro"}"#,
            400,
            "unsupported_parameter",
        ),
        (
            "too large",
            &format!("{{\"a\":\"{}\"}}", "a".repeat(5000)),
            413,
            "body_too_large",
        ),
    ] {
        assert_eq!(refused(&call(body)), (status, code.to_owned()), "{name}");
    }
    let text = post(
        GENERATE,
        &format!("x-goog-api-key: {token}\r\nContent-Type: text/plain\r\n"),
        BODY.as_bytes(),
    );
    assert_eq!(refused(&gateway.call(&text)).0, 415);
    let missing = ask(&gateway, &token, "/v1beta/models/gpt-4o:generateContent");
    assert_eq!(refused(&missing), (404, "model_not_found".to_owned()));
    let limited =
        gateway.mint_token(&json!({"project": "default", "limits": {"requests_per_minute": 1}}));
    assert_eq!(ask(&gateway, &limited, GENERATE).status, 200);
    let again = ask(&gateway, &limited, GENERATE);
    assert_eq!(refused(&again), (429, "rate_limited".to_owned()));
    assert_eq!(again.json()["error"]["status"], "RESOURCE_EXHAUSTED");
    assert!(again.field("retry-after").is_some());
    let (none, token) = served(&origin, "", "llm: { surfaces: [chat] }\n");
    assert_eq!(
        refused(&ask(&none, &token, GENERATE)),
        (404, "endpoint_not_found".to_owned())
    );
    let (only, token) = served(&origin, "", "llm: { surfaces: [gemini] }\n");
    assert_eq!(ask(&only, &token, GENERATE).status, 200);
}

// ID-71
#[test]
fn a_credential_is_tried_out_where_the_list_of_models_is() {
    let origin = Origin::start(|_| answer_json(&json!({"models": []})));
    let (gateway, _) = served(&origin, "", "");
    let new = json!({"provider": "google", "secret": "AIzaSy-4kfX0wq8Zt2LsV7pQaB3cD5eF7gH9iJ1k"});
    let (status, made) = gateway.api("POST", "/api/v1/credentials", Some(&new));
    assert_eq!(status, 201, "{made}");
    let path = format!("/api/v1/credentials/{}/test", made["id"].as_str().unwrap());
    let (status, told) = gateway.api("POST", &path, Some(&json!({})));
    assert_eq!(
        (status, &told["status_class"]),
        (200, &json!("2xx")),
        "{told}"
    );
    let asked = origin.last();
    assert_eq!(
        (asked.method.as_str(), asked.target.as_str()),
        ("GET", "/v1beta/models")
    );
    assert_eq!(asked.field("x-goog-api-key"), new["secret"].as_str());
}

// ID-90 LLM-R10
#[test]
fn a_call_is_explained_by_the_model_in_its_path() {
    let origin = Origin::start(answers);
    let lines = "policy: { denied_models: [gemini-2.5-pro], allowed_endpoints: [/v1beta] }\n";
    let (gateway, _) = served(&origin, "    models: [\"gemini-*\"]\n", lines);
    for (path, upstream, refused) in [
        ("/v1/models/gemini-2.5-flash:generateContent", "google", ""),
        (
            "/v1beta/models/gemini-2.5-pro:countTokens",
            "google",
            "model_not_found",
        ),
        (
            "/v1beta/models/gpt-4o:generateContent",
            "",
            "model_not_found",
        ),
        (
            "/v1beta/models/gemini-2.5-flash:embedContent",
            "",
            "endpoint_not_found",
        ),
        ("/v1/models", "", "endpoint_not_found"),
    ] {
        let method = if path == "/v1/models" { "GET" } else { "POST" };
        let told = gateway.cli(&["route", "explain", method, path]);
        let told: Value = serde_json::from_slice(&told.stdout).unwrap();
        let text = |name: &str| told[name].as_str().unwrap_or_default().to_owned();
        assert_eq!(
            (text("upstream"), text("refused")),
            (upstream.to_owned(), refused.to_owned()),
            "{path}: {told}"
        );
    }
    assert_eq!(origin.count(), 0);
}

// LLM-50 LLM-R3 LLM-40
#[test]
fn another_credential_is_asked_by_its_own_name_of_the_model() {
    let origin = Origin::start(|request| match request.field("x-goog-api-key") {
        Some(UPSTREAM_KEY) => answers(request),
        _ => {
            let busy = json!({"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}});
            vec![chunked_head("text/event-stream"), event(&busy), chunk(b"")]
        }
    });
    let (gateway, token) = served(&origin, "", "");
    let new = json!({
        "provider": "google", "secret": "AIzaSy-4kfX0wq8Zt2LsV7pQaB3cD5eF7gH9iJ1k", "priority": 5,
        "models": [{"name": "gemini-own", "alias": "gemini-2.5-flash"}],
    });
    let (status, made) = gateway.api("POST", "/api/v1/credentials", Some(&new));
    assert_eq!(status, 201, "{made}");
    let body = BODY.replacen('{', r#"{"model":"models/gemini-2.5-flash","#, 1);
    let answer = gateway.call(&as_sdk(STREAM, &token, &body));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let sent: Vec<_> = origin
        .requests()
        .into_iter()
        .map(|sent| (sent.json()["model"].clone(), sent.target))
        .collect();
    let own = STREAM.replace("gemini-2.5-flash", "gemini-own");
    assert_eq!(
        sent,
        [
            (json!("models/gemini-own"), own),
            (json!("models/gemini-2.5-flash"), STREAM.to_owned())
        ]
    );
}
