//! Whole answers as they go over the wire, byte for byte. A missing file is written, and the test
//! fails once so that somebody reads it.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use http::HeaderMap;
use serde_json::{Value, json};
use tollkeep_sandbox::{Ending, Plan, answer};

use crate::door::{Surface, anthropic, with};

fn written(plan: &Plan) -> String {
    let mut text = format!("{}\n", plan.status);
    for (name, value) in &plan.headers {
        writeln!(text, "{name}: {value}").unwrap();
    }
    text.push('\n');
    text.push_str(&String::from_utf8(plan.body()).unwrap());
    if plan.ending == Ending::Cut {
        text.push_str("(cut)");
    }
    text.push('\n');
    text
}

fn check(name: &str, plan: &Plan) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    let got = written(plan);
    match fs::read_to_string(&path) {
        Ok(want) => assert_eq!(got, want, "{name}"),
        Err(_) => {
            fs::write(&path, got).unwrap();
            panic!("{name} was not there and is now: read it");
        }
    }
}

fn tools(surface: Surface) -> Value {
    let schema =
        json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    match surface {
        Surface::Messages => json!([{"name": "weather", "input_schema": schema}]),
        Surface::Chat => {
            json!([{"type": "function", "function": {"name": "weather", "parameters": schema}}])
        }
        Surface::Responses | Surface::Completions => {
            json!([{"type": "function", "name": "weather", "parameters": schema}])
        }
        Surface::Generate => {
            json!([{"functionDeclarations": [{"name": "weather", "parameters": schema}]}])
        }
    }
}

// OPS-23
#[test]
fn answers_have_their_vendors_shapes() {
    for (name, surface) in [
        ("chat", Surface::Chat),
        ("completions", Surface::Completions),
        ("responses", Surface::Responses),
        ("messages", Surface::Messages),
        ("generate", Surface::Generate),
    ] {
        check(&format!("{name}.txt"), &surface.say("Hello"));
        check(
            &format!("{name}-error.txt"),
            &surface.say("sandbox:status=429,retry_after=2;"),
        );
        let mut streamed = with(
            surface.body("sandbox-think", "Hello sandbox:chunks=2;"),
            "stream",
            json!(true),
        );
        if matches!(surface, Surface::Chat | Surface::Completions) {
            streamed["stream_options"] = json!({"include_usage": true});
        }
        check(&format!("{name}-stream.txt"), &surface.send(&streamed));
        check(
            &format!("{name}-stream-failed.txt"),
            &surface.stream("sandbox:error_after=1; Hello"),
        );
        check(
            &format!("{name}-stream-cut.txt"),
            &surface.stream("sandbox:cut_after=1; Hello"),
        );
        if surface != Surface::Completions {
            let asked = with(
                surface.body("sandbox-1", "sandbox:tools=2,chunks=2; Rain?"),
                "tools",
                tools(surface),
            );
            check(&format!("{name}-tools.txt"), &surface.send(&asked));
            check(
                &format!("{name}-tools-stream.txt"),
                &surface.send(&with(asked, "stream", json!(true))),
            );
        }
    }
}

// OPS-23
#[test]
fn vectors_and_model_lists_have_their_vendors_shapes() {
    let embed = |encoding: &str| {
        let body = json!({"model": "sandbox-embed", "input": ["Hello", "World"], "dimensions": 4, "encoding_format": encoding});
        answer(
            "POST",
            "/v1/embeddings",
            &HeaderMap::new(),
            body.to_string().as_bytes(),
        )
    };
    check("embeddings-float.txt", &embed("float"));
    check("embeddings-base64.txt", &embed("base64"));
    for (name, path) in [
        ("models", "/v1/models"),
        ("model", "/v1/models/sandbox-think"),
        ("model-unknown", "/v1/models/gpt-0"),
    ] {
        let beta = path.replace("/v1/", "/v1beta/");
        check(
            &format!("gemini-{name}.txt"),
            &answer("GET", &beta, &HeaderMap::new(), b""),
        );
        check(
            &format!("openai-{name}.txt"),
            &answer("GET", path, &HeaderMap::new(), b""),
        );
        check(
            &format!("anthropic-{name}.txt"),
            &answer("GET", path, &anthropic(), b""),
        );
    }
    check(
        "anthropic-models-page.txt",
        &answer("GET", "/v1/models?limit=1", &anthropic(), b""),
    );
}
