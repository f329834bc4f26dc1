//! How the tests call: one line for each surface, and the parts of an answer they look at.

use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};
use tollkeep_sandbox::{Plan, answer};

/// A surface that answers a text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Surface {
    Chat,
    Completions,
    Responses,
    Messages,
    Generate,
}

/// All of them.
pub(crate) const SURFACES: [Surface; 5] = [
    Surface::Chat,
    Surface::Completions,
    Surface::Responses,
    Surface::Messages,
    Surface::Generate,
];

impl Surface {
    /// Where bodies go; of the one whose path names a model, its last part.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
            Self::Responses => "/v1/responses",
            Self::Messages => "/v1/messages",
            Self::Generate => ":generateContent",
        }
    }

    /// A body that says this text to this model.
    pub(crate) fn body(self, model: &str, text: &str) -> Value {
        let messages = json!([{"role": "user", "content": text}]);
        match self {
            Self::Chat => json!({"model": model, "messages": messages}),
            Self::Completions => json!({"model": model, "prompt": text}),
            Self::Responses => json!({"model": model, "input": text}),
            Self::Messages => json!({"model": model, "max_tokens": 1024, "messages": messages}),
            Self::Generate => {
                json!({"model": model, "contents": [{"role": "user", "parts": [{"text": text}]}]})
            }
        }
    }

    /// The plan for a text, whole.
    pub(crate) fn say(self, text: &str) -> Plan {
        self.send(&self.body("sandbox-1", text))
    }

    /// The plan for a text, streamed.
    pub(crate) fn stream(self, text: &str) -> Plan {
        self.send(&with(self.body("sandbox-1", text), "stream", json!(true)))
    }

    /// Of the surface that has model and stream in its path, these are members of `body` too.
    pub(crate) fn send(self, body: &Value) -> Plan {
        let (path, body) = match self {
            Self::Generate => generate(body),
            Self::Chat | Self::Completions | Self::Responses | Self::Messages => {
                (self.path().to_owned(), body.to_string())
            }
        };
        answer("POST", &path, &self.headers(), body.as_bytes())
    }

    pub(crate) fn headers(self) -> HeaderMap {
        if self == Self::Messages {
            anthropic()
        } else {
            HeaderMap::new()
        }
    }

    /// The text of a whole answer.
    pub(crate) fn text(self, plan: &Plan) -> String {
        let body = json_of(plan);
        let text = match self {
            Self::Chat => &body["choices"][0]["message"]["content"],
            Self::Completions => &body["choices"][0]["text"],
            Self::Responses => {
                &body["output"].as_array().unwrap().last().unwrap()["content"][0]["text"]
            }
            Self::Messages => &body["content"].as_array().unwrap().last().unwrap()["text"],
            Self::Generate => &body["candidates"][0]["content"]["parts"][0]["text"],
        };
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Input and output tokens of a whole answer, if any are claimed.
    pub(crate) fn usage(self, plan: &Plan) -> Option<(i64, i64)> {
        let body = json_of(plan);
        let usage = body.get("usage").or(body.get("usageMetadata"))?;
        let (input, output) = match self {
            Self::Chat | Self::Completions => ("prompt_tokens", "completion_tokens"),
            Self::Responses | Self::Messages => ("input_tokens", "output_tokens"),
            Self::Generate => ("promptTokenCount", "candidatesTokenCount"),
        };
        Some((usage[input].as_i64()?, usage[output].as_i64()?))
    }

    /// The pieces of a streamed answer: text, thinking and arguments in order.
    pub(crate) fn deltas(self, plan: &Plan) -> Vec<String> {
        let deltas = events(plan)
            .into_iter()
            .filter_map(|event| self.delta(&event));
        deltas.filter(|text| !text.is_empty()).collect()
    }

    fn delta(self, event: &Value) -> Option<String> {
        let found = match self {
            Self::Chat => {
                let delta = &event["choices"][0]["delta"];
                let arguments = &delta["tool_calls"][0]["function"]["arguments"];
                [&delta["content"], &delta["reasoning_content"], arguments]
            }
            Self::Completions => [&event["choices"][0]["text"], &Value::Null, &Value::Null],
            Self::Responses => [&event["delta"], &Value::Null, &Value::Null],
            Self::Messages => {
                let delta = &event["delta"];
                [&delta["text"], &delta["thinking"], &delta["partial_json"]]
            }
            Self::Generate => {
                let text = &event["candidates"][0]["content"]["parts"][0]["text"];
                [text, &Value::Null, &Value::Null]
            }
        };
        found
            .into_iter()
            .find_map(|value| value.as_str().map(str::to_owned))
    }
}

/// Path and body of a call whose path names the model, and whether it is streamed.
pub(crate) fn generate(body: &Value) -> (String, String) {
    let mut body = body.clone();
    let members = body.as_object_mut().unwrap();
    let model = members.remove("model").unwrap();
    let streamed = members.remove("stream") == Some(json!(true));
    let method = if streamed {
        "streamGenerateContent?alt=sse"
    } else {
        "generateContent"
    };
    let path = format!("/v1beta/models/{}:{method}", model.as_str().unwrap());
    (path, body.to_string())
}

/// The header that makes a call Anthropic's.
pub(crate) fn anthropic() -> HeaderMap {
    HeaderMap::from_iter([(
        http::HeaderName::from_static("anthropic-version"),
        HeaderValue::from_static("2023-06-01"),
    )])
}

pub(crate) fn with(mut body: Value, name: &str, value: Value) -> Value {
    body[name] = value;
    body
}

pub(crate) fn json_of(plan: &Plan) -> Value {
    serde_json::from_slice(&plan.body()).unwrap()
}

/// The `data` of all events but `[DONE]`.
pub(crate) fn events(plan: &Plan) -> Vec<Value> {
    let body = String::from_utf8(plan.body()).unwrap();
    let lines = body.lines().filter_map(|line| line.strip_prefix("data: "));
    lines
        .filter_map(|data| serde_json::from_str(data).ok())
        .collect()
}
