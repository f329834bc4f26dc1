//! What the Gemini API has that others have not: methods in the path, thoughts beside the answer, lists for streams.

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use tollkeep_sandbox::{Plan, answer};

use crate::door::{Surface, events, json_of, with};

fn post(path: &str, body: &Value) -> Plan {
    answer("POST", path, &HeaderMap::new(), body.to_string().as_bytes())
}

fn said(text: &str) -> Value {
    json!({"contents": [{"role": "user", "parts": [{"text": text}]}]})
}

fn parts(plan: &Plan) -> Value {
    json_of(plan)["candidates"][0]["content"]["parts"].clone()
}

// OPS-23
#[test]
fn a_method_stands_behind_its_model() {
    for (path, status) in [
        ("/v1beta/models/sandbox-1:generateContent", 200),
        ("/v1/models/sandbox-1:generateContent", 200),
        (
            "/v1beta/models/sandbox-1:streamGenerateContent?alt=sse",
            200,
        ),
        ("/v1beta/models/sandbox-1:countTokens", 200),
        ("/v1beta/models/sandbox-embed:generateContent", 404),
        ("/v1beta/models/gpt-0:generateContent", 404),
        ("/v1beta/models/sandbox-1:embedContent", 405),
        ("/v1beta/sandbox-1:generateContent", 404),
    ] {
        let plan = post(path, &said("Hello"));
        assert_eq!(plan.status, status, "{path}");
        let code = &json_of_first(&plan)["error"]["code"];
        let want = if status == 200 {
            Value::Null
        } else {
            status.into()
        };
        assert_eq!(*code, want, "{path}");
    }
    let read = answer(
        "GET",
        "/v1beta/models/sandbox-1:generateContent",
        &HeaderMap::new(),
        b"",
    );
    assert_eq!((read.status, read.header("allow")), (405, Some("POST")));
}

/// The answer, or the first event of a stream.
fn json_of_first(plan: &Plan) -> Value {
    let mut events = events(plan).into_iter();
    events.next().unwrap_or_else(|| json_of(plan))
}

// OPS-23
#[test]
fn a_stream_without_events_is_a_list_of_them() {
    let path = "/v1beta/models/sandbox-1:streamGenerateContent";
    let list = json_of(&post(path, &said("One two")));
    let streamed = post(&format!("{path}?alt=sse"), &said("One two"));
    assert_eq!(list.as_array().unwrap(), &events(&streamed));
}

// OPS-23
#[test]
fn functions_are_called_as_their_configuration_says() {
    let function = |name: &str| json!({"name": name, "parameters": {"type": "object"}});
    let tools = json!([{"functionDeclarations": [function("weather")]}, {"functionDeclarations": [function("time")]}]);
    let names = |text: &str, config: Value| -> Vec<String> {
        let body = with(
            Surface::Generate.body("sandbox-1", text),
            "tools",
            tools.clone(),
        );
        let body = with(body, "toolConfig", json!({"functionCallingConfig": config}));
        let found = parts(&Surface::Generate.send(&body));
        let calls = found.as_array().unwrap().iter();
        calls
            .filter_map(|part| Some(part["functionCall"]["name"].as_str()?.to_owned()))
            .collect()
    };
    for (name, text, config, want) in [
        ("a question", "Rain?", json!({}), vec!["weather"]),
        ("none", "Rain.", json!({"mode": "AUTO"}), vec![]),
        (
            "as steered",
            "sandbox:tools=2;",
            json!({}),
            vec!["weather", "time"],
        ),
        ("must", "Rain.", json!({"mode": "ANY"}), vec!["weather"]),
        ("must not", "Rain?", json!({"mode": "NONE"}), vec![]),
        (
            "one of these",
            "Rain.",
            json!({"mode": "ANY", "allowedFunctionNames": ["time"]}),
            vec!["time"],
        ),
    ] {
        assert_eq!(names(text, config), want, "{name}");
    }
    let mut after = said("Rain?");
    after["tools"] = tools.clone();
    after["contents"].as_array_mut().unwrap().extend([
        json!({"role": "model", "parts": [{"functionCall": {"name": "weather", "args": {}}}]}),
        json!({"role": "user", "parts": [{"functionResponse": {"name": "weather", "response": {}}}]}),
    ]);
    let plan = post("/v1beta/models/sandbox-1:generateContent", &after);
    assert_eq!(parts(&plan), json!([{"text": "You said: Rain?"}]));
}

// OPS-23
#[test]
fn thoughts_are_counted_and_told_to_whom_asks() {
    for (config, told, counted) in [
        (json!({}), 0, json!(6)),
        (json!({"includeThoughts": true}), 1, json!(6)),
        (json!({"include_thoughts": true}), 1, json!(6)),
        (json!({"thinkingBudget": 0}), 0, Value::Null),
    ] {
        let config = json!({"thinkingConfig": config});
        let body = with(
            Surface::Generate.body("sandbox-think", "a"),
            "generationConfig",
            config,
        );
        let whole = Surface::Generate.send(&body);
        let usage = &json_of(&whole)["usageMetadata"];
        assert_eq!(usage["thoughtsTokenCount"], counted, "{body}");
        assert_eq!(usage["candidatesTokenCount"], 3, "{body}");
        let parts = parts(&whole);
        let thoughts = parts.as_array().unwrap().iter();
        assert_eq!(
            thoughts.filter(|part| part["thought"] == true).count(),
            told
        );
        let last = events(&Surface::Generate.send(&with(body, "stream", json!(true)))).pop();
        assert_eq!(last.unwrap()["usageMetadata"], *usage);
    }
}

// OPS-23
#[test]
fn tokens_are_counted_of_contents_or_of_a_whole_request() {
    let path = "/v1beta/models/sandbox-1:countTokens";
    let mut whole = said("Hello");
    whole["systemInstruction"] = json!({"parts": [{"text": "abcd"}]});
    for (body, want) in [
        (said("Hello"), 2),
        (json!({"generateContentRequest": whole}), 3),
    ] {
        let counted = json_of(&post(path, &body));
        assert_eq!(counted["totalTokens"], want, "{body}");
    }
    let generated = json_of(&post("/v1beta/models/sandbox-1:generateContent", &whole));
    assert_eq!(generated["usageMetadata"]["promptTokenCount"], 3);
}

#[test]
fn a_schema_gets_its_smallest_instance_and_bad_members_are_refused() {
    let schema = json!({"type": "object", "required": ["n"], "properties": {"n": {"type": "integer", "minimum": 3}}});
    let shouted = json!({"type": "OBJECT", "required": ["n"], "properties": {"n": {"type": "INTEGER", "minimum": 3}}});
    for (name, schema) in [
        ("responseSchema", &schema),
        ("response_json_schema", &schema),
        ("responseSchema", &shouted),
    ] {
        let config = json!({"responseMimeType": "application/json", name: schema});
        let body = with(
            Surface::Generate.body("sandbox-1", "a"),
            "generationConfig",
            config,
        );
        let plan = Surface::Generate.send(&body);
        assert_eq!(Surface::Generate.text(&plan), r#"{"n":3}"#, "{name}");
    }
    for (name, member, value) in [
        ("no contents", "contents", json!([])),
        (
            "two answers",
            "generationConfig",
            json!({"candidateCount": 2}),
        ),
        ("no cap", "generationConfig", json!({"maxOutputTokens": 0})),
        (
            "no mode",
            "toolConfig",
            json!({"functionCallingConfig": {"mode": "SOME"}}),
        ),
    ] {
        let plan = Surface::Generate.send(&with(
            Surface::Generate.body("sandbox-1", "a"),
            member,
            value,
        ));
        let error = &json_of(&plan)["error"];
        assert_eq!(
            (plan.status, &error["status"]),
            (400, &json!("INVALID_ARGUMENT")),
            "{name}"
        );
    }
}

#[test]
fn models_come_page_by_page() {
    let get = |path: &str| answer("GET", path, &HeaderMap::new(), b"");
    let first = json_of(&get("/v1beta/models?pageSize=1"));
    let token = first["nextPageToken"].as_str().unwrap();
    let second = json_of(&get(&format!(
        "/v1beta/models?pageSize=1&pageToken={token}"
    )));
    let all = json_of(&get("/v1beta/models"));
    assert_eq!(
        all["models"],
        json!([first["models"][0], second["models"][0]])
    );
    assert!(all["nextPageToken"].is_null() && second["nextPageToken"].is_null());
    assert_eq!(get("/v1beta/models?pageSize=0").status, 400);
    let key = HeaderMap::from_iter([(
        HeaderName::from_static("x-goog-api-key"),
        HeaderValue::from_static("k"),
    )]);
    assert_eq!(
        json_of(&answer("GET", "/v1/models", &key, b"")),
        all,
        "by whose client asks"
    );
}
