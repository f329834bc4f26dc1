//! Callers with tokens before scripted models, and what they say.

use crate::fixture::{gateway, head, post};
use serde_json::{Value, json};
use tollkeep_testkit::{
    Answer, Builder, Gate, Gateway, Origin, Request, Step, chunk, chunked_head,
};

/// The secret of both providers; callers and records never see it.
pub(crate) const PROVIDER_KEY: &str = "sk-proj-Hq3ZxT8vLm2Kp9Wn4Rb7Yc6D";
/// What callers are told when their credential is not good, whatever is wrong with it.
pub(crate) const UNAUTHENTICATED: &str = "Invalid or missing credentials.";
/// The three kinds of route: two dialects and plain.
pub(crate) const SURFACES: [&str; 3] = ["/v1/chat/completions", "/v1/messages", "/plain"];

/// Providers `openai` and `anthropic` and the plain route `/plain`, all at `origin`.
pub(crate) fn models(origin: &Origin) -> Builder {
    let url = origin.url();
    let provider = |models: &str| {
        format!(
            "{{ base_url: \"{url}/v1\", allow_private: [\"127.0.0.1/32\"], models: [{models}], \
             timeouts: {{ first_byte_ms: 1000, connect_ms: 1000 }}, \
             credentials: [{{ secret: \"${{PROVIDER_KEY}}\", tenant: \"*\" }}] }}"
        )
    };
    let (openai, anthropic) = (provider("gpt-4o, gpt-4o-mini, o3"), provider("claude-3"));
    let config = format!(
        "providers:\n  openai: {openai}\n  anthropic: {anthropic}\n\
         upstreams:\n  origin: {{ url: \"{url}\", allow_private: [\"127.0.0.1/32\"] }}\n\
         routes:\n  \"ANY /plain\": {{ upstream: origin }}\n"
    );
    gateway(config).env("PROVIDER_KEY", PROVIDER_KEY)
}

/// A gateway before models that answer at once, and a token for them.
pub(crate) fn served() -> (Origin, Gateway, String) {
    let origin = Origin::start(answer);
    let gateway = models(&origin).start();
    let token = gateway.mint_token(&json!({}));
    (origin, gateway, token)
}

/// What a model answers; `do:…` in the request's body asks for trouble.
pub(crate) fn answer(request: &Request) -> Vec<Step> {
    let text = request.text();
    if text.contains("do:500") {
        let head = "HTTP/1.1 500 Internal Server Error\r\ncontent-type: application/json\r\n";
        return vec![Step::Send(
            format!("{head}content-length: 2\r\n\r\n{{}}").into_bytes(),
        )];
    }
    if text.contains("do:hang") {
        return vec![Step::Hang];
    }
    if text.contains("do:close") {
        return vec![Step::Close];
    }
    if text.contains("do:cut") {
        let piece = format!("data: {}\n\n", chat_piece("Hel"));
        return vec![
            chunked_head("text/event-stream"),
            chunk(piece.as_bytes()),
            Step::Close,
        ];
    }
    if text.contains("\"stream\":true") {
        return stream(None);
    }
    tollkeep_testkit::json(&match request.target.as_str() {
        "/v1/messages" => json!({
            "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-3",
            "content": [{ "type": "text", "text": "Hello" }],
            "usage": { "input_tokens": 9, "output_tokens": 4 },
        }),
        "/plain" => json!({ "plain": true }),
        _ => json!({
            "id": "chatcmpl-1", "object": "chat.completion", "model": "gpt-4o-2024",
            "choices": [{ "index": 0, "message": { "role": "assistant", "content": "Hello" } }],
            "usage": { "prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18 },
        }),
    })
}

/// A stream of two pieces and its usage; the second waits at the gate.
pub(crate) fn stream(gate: Option<&Gate>) -> Vec<Step> {
    let usage = json!({ "id": "1", "object": "chat.completion.chunk", "model": "gpt-4o-2024",
        "choices": [], "usage": { "prompt_tokens": 11, "completion_tokens": 2, "total_tokens": 13 } });
    let event = |data: &Value| chunk(format!("data: {data}\n\n").as_bytes());
    let mut steps = vec![chunked_head("text/event-stream"), event(&chat_piece("Hel"))];
    steps.extend(gate.cloned().map(Step::Wait));
    steps.extend([
        event(&chat_piece("lo")),
        event(&usage),
        chunk(b"data: [DONE]\n\n"),
        chunk(b""),
    ]);
    steps
}

fn chat_piece(text: &str) -> Value {
    json!({ "id": "1", "object": "chat.completion.chunk", "model": "gpt-4o-2024",
        "choices": [{ "index": 0, "delta": { "content": text } }] })
}

/// A field line that carries a token.
pub(crate) fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}

/// A chat call with these field lines.
pub(crate) fn chat(lines: &str, content: &str) -> Vec<u8> {
    call_to("/v1/chat/completions", lines, content)
}

/// A call of one of [`SURFACES`].
pub(crate) fn call_to(path: &str, lines: &str, content: &str) -> Vec<u8> {
    let model = if path == "/v1/messages" {
        "claude-3"
    } else {
        "gpt-4o"
    };
    let body = json!({ "model": model, "max_tokens": 9,
        "messages": [{ "role": "user", "content": content }] });
    post_json(path, lines, &body)
}

/// A POST of JSON.
pub(crate) fn post_json(path: &str, lines: &str, body: &Value) -> Vec<u8> {
    let lines = format!("{lines}content-type: application/json\r\n");
    post(path, &lines, body.to_string().as_bytes())
}

/// A GET.
pub(crate) fn get(path: &str, lines: &str) -> Vec<u8> {
    head(&format!("GET {path}"), lines)
}

/// Asserts the uniform 401.
pub(crate) fn assert_unauthenticated(name: &str, answer: &Answer) {
    // Surfaces of models know no word for it but their dialects' own.
    let is_plain = answer.json()["code"] == "invalid_token";
    let code = if is_plain {
        "invalid_token"
    } else {
        "unauthenticated"
    };
    assert_eq!(
        (answer.status, answer.code()),
        (401, code.to_owned()),
        "{name}"
    );
    assert!(
        answer.text().contains(UNAUTHENTICATED),
        "{name}: {}",
        answer.text()
    );
}

/// Makes a token: its id and its text.
pub(crate) fn made(gateway: &Gateway, members: &Value) -> (String, String) {
    let (status, made) = gateway.api("POST", "/api/v1/tokens", Some(members));
    assert_eq!(status, 201, "{made}");
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    (text("id"), text("secret"))
}

/// The record of a token.
pub(crate) fn record_of(gateway: &Gateway, id: &str) -> Value {
    let (status, record) = gateway.api("GET", &format!("/api/v1/tokens/{id}"), None);
    assert_eq!(status, 200, "{record}");
    record
}

/// Acts on a token: the status and the answer.
pub(crate) fn act(gateway: &Gateway, id: &str, verb: &str, members: &Value) -> (u16, Value) {
    gateway.api(
        "POST",
        &format!("/api/v1/tokens/{id}/{verb}"),
        Some(members),
    )
}
