//! The response object: whole, begun, or failed.

use serde_json::{Map, Value, json};

use crate::fault::Fault;
use crate::ids::Ids;
use crate::models::{CREATED, Model};
use crate::openai::error;
use crate::reply::{Finish, Output, Reply, Tally};

/// What all forms of one response have in common.
#[derive(Clone)]
pub(super) struct Response {
    ids: Ids,
    model: Model,
    /// Members of the request that the response repeats.
    echo: Map<String, Value>,
}

/// Members a response repeats from its request, and what they are when absent.
fn echoed() -> [(&'static str, Value); 14] {
    [
        ("background", json!(false)),
        ("instructions", Value::Null),
        ("max_output_tokens", Value::Null),
        ("max_tool_calls", Value::Null),
        ("metadata", json!({})),
        ("parallel_tool_calls", json!(true)),
        ("previous_response_id", Value::Null),
        ("reasoning", json!({"effort": null, "summary": null})),
        ("store", json!(true)),
        ("temperature", json!(1.0)),
        (
            "text",
            json!({"format": {"type": "text"}, "verbosity": "medium"}),
        ),
        ("tool_choice", json!("auto")),
        ("top_p", json!(1.0)),
        ("truncation", json!("disabled")),
    ]
}

impl Response {
    /// Of a request.
    pub(super) fn new(body: &Map<String, Value>, model: Model, ids: Ids) -> Self {
        let said = |name: &str| body.get(name).filter(|value| !value.is_null()).cloned();
        let echo = echoed().map(|(name, usual)| (name.to_owned(), said(name).unwrap_or(usual)));
        let mut echo: Map<String, Value> = echo.into_iter().collect();
        echo.insert(
            "tools".to_owned(),
            said("tools").unwrap_or_else(|| json!([])),
        );
        Self { ids, model, echo }
    }

    /// The id of the output item at this place.
    pub(super) fn item_id(&self, prefix: &str, nth: usize) -> String {
        self.ids.hex(prefix, 48, nth)
    }

    /// What the call at this place of the output is answered under.
    pub(super) fn call_id(&self, nth: usize) -> String {
        self.ids.letters("call_", 24, nth)
    }

    /// The response before anything was said.
    pub(super) fn begun(&self) -> Value {
        self.object("in_progress", &json!([]), &[("usage", Value::Null)])
    }

    /// The response after it broke.
    pub(super) fn failed(&self, code: Option<String>) -> Value {
        let error = error::of_response(&Fault::Interrupted { code });
        self.object(
            "failed",
            &json!([]),
            &[("error", error), ("usage", Value::Null)],
        )
    }

    /// The response when all is said.
    pub(super) fn finished(&self, reply: &Reply) -> Value {
        let status = status(reply.finish);
        let mut last = Vec::new();
        if reply.finish == Finish::Length {
            last.push(("incomplete_details", json!({"reason": "max_output_tokens"})));
        }
        if let Some(tally) = reply.tally {
            last.push(("usage", usage(tally)));
        }
        self.object(status, &Value::Array(self.items(reply)), &last)
    }

    /// The output items, finished.
    pub(super) fn items(&self, reply: &Reply) -> Vec<Value> {
        let mut items = Vec::new();
        if let Some(thinking) = &reply.thinking {
            let summary = json!([{"type": "summary_text", "text": thinking.text()}]);
            items.push(self.reasoning(&summary));
        }
        match &reply.output {
            Output::Text(text) if text.text().is_empty() => {}
            Output::Text(text) => {
                let parts = json!([text_part(text.text())]);
                items.push(self.message(items.len(), status(reply.finish), &parts));
            }
            Output::Calls(calls) => {
                for call in calls {
                    let nth = items.len();
                    items.push(self.call(nth, "completed", (&call.name, call.arguments.text())));
                }
            }
        }
        items
    }

    /// A reasoning item; it is always the first.
    pub(super) fn reasoning(&self, summary: &Value) -> Value {
        json!({"id": self.item_id("rs_", 0), "type": "reasoning", "summary": summary})
    }

    /// A message item.
    pub(super) fn message(&self, nth: usize, status: &str, parts: &Value) -> Value {
        json!({
            "id": self.item_id("msg_", nth),
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": parts,
        })
    }

    /// A function call item of this name and arguments.
    pub(super) fn call(&self, nth: usize, status: &str, (name, arguments): (&str, &str)) -> Value {
        json!({
            "id": self.item_id("fc_", nth),
            "type": "function_call",
            "status": status,
            "arguments": arguments,
            "call_id": self.call_id(nth),
            "name": name,
        })
    }

    fn object(&self, status: &str, output: &Value, last: &[(&str, Value)]) -> Value {
        let mut object = json!({
            "id": self.ids.hex("resp_", 48, 0),
            "object": "response",
            "created_at": CREATED,
            "status": status,
            "error": null,
            "incomplete_details": null,
            "model": self.model.id,
            "output": output,
            "service_tier": "default",
            "user": null,
        });
        if let Value::Object(members) = &mut object {
            members.extend(self.echo.clone());
            members.extend(
                last.iter()
                    .map(|(name, value)| ((*name).to_owned(), value.clone())),
            );
        }
        object
    }
}

/// A text part of a message.
pub(super) fn text_part(text: &str) -> Value {
    json!({"type": "output_text", "annotations": [], "logprobs": [], "text": text})
}

/// `status` of a response and of its message.
pub(super) fn status(finish: Finish) -> &'static str {
    match finish {
        Finish::Length => "incomplete",
        Finish::Stop | Finish::Calls => "completed",
    }
}

fn usage(tally: Tally) -> Value {
    json!({
        "input_tokens": tally.input,
        "input_tokens_details": {"cache_write_tokens": 0, "cached_tokens": 0},
        "output_tokens": tally.output,
        "output_tokens_details": {"reasoning_tokens": tally.thinking},
        "total_tokens": tally.total(),
    })
}
