//! Whole answers, written once and sent many times: head and body in one piece.

use crate::request::Request;

/// About what a short answer of a model weighs.
const TEXT: &str =
    "The quick brown fox jumps over the lazy dog while the gateway counts its tokens. ";
const TEXT_TIMES: usize = 8;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Api {
    OpenAi,
    Anthropic,
}

impl Api {
    /// The API a request calls, if it calls one.
    pub(crate) fn of(request: &Request<'_>) -> Option<Self> {
        match request.path {
            _ if request.method != b"POST" => None,
            path if path.ends_with(b"/chat/completions") => Some(Self::OpenAi),
            path if path.ends_with(b"/messages") => Some(Self::Anthropic),
            _ => None,
        }
    }
}

pub(crate) struct Answers {
    openai: Vec<u8>,
    anthropic: Vec<u8>,
}

impl Answers {
    pub(crate) fn new() -> Self {
        let words = TEXT.repeat(TEXT_TIMES);
        let openai = format!(
            r#"{{"id":"chatcmpl-mock","object":"chat.completion","created":1700000000,"model":"mock-1","choices":[{{"index":0,"message":{{"role":"assistant","content":"{words}"}},"logprobs":null,"finish_reason":"stop"}}],"usage":{{"prompt_tokens":25,"completion_tokens":136,"total_tokens":161,"prompt_tokens_details":{{"cached_tokens":0}}}},"system_fingerprint":"fp_mock"}}"#
        );
        let anthropic = format!(
            r#"{{"id":"msg_mock","type":"message","role":"assistant","model":"mock-1","content":[{{"type":"text","text":"{words}"}}],"stop_reason":"end_turn","stop_sequence":null,"usage":{{"input_tokens":25,"output_tokens":136}}}}"#
        );
        let json = |body: &str| answer("200 OK", "application/json", body);
        Self {
            openai: json(&openai),
            anthropic: json(&anthropic),
        }
    }

    pub(crate) fn whole(&self, api: Api) -> &[u8] {
        match api {
            Api::OpenAi => &self.openai,
            Api::Anthropic => &self.anthropic,
        }
    }

    /// The answer to what is no call: health, the models.
    pub(crate) fn other(&self, request: &Request<'_>) -> Vec<u8> {
        let models = r#"{"object":"list","data":[{"id":"mock-1","object":"model","created":1700000000,"owned_by":"mock"}]}"#;
        match request.path {
            b"/health" => answer("200 OK", "text/plain", "ok\n"),
            path if path.ends_with(b"/models") => answer("200 OK", "application/json", models),
            _ => answer("404 Not Found", "text/plain", "no such path\n"),
        }
    }
}

fn answer(status: &str, kind: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}")
        .into_bytes()
}
