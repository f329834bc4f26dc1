//! `POST /v1/chat/completions`.

use serde_json::{Map, Value, json};

use super::{FINGERPRINT, choice, includes_usage, one_choice, tools, usage, with_usage};
use crate::answer::{Content, Told};
use crate::ask::{self, Ask, Offer, Turn};
use crate::fault::Fault;
use crate::ids::Ids;
use crate::models::{self, CREATED};
use crate::openai::error;
use crate::reply::{Call, Finish, Output, Reply};
use crate::script::{Beat, Script, Weight};
use crate::steering::Steering;

/// What a chat call gets.
pub(crate) fn tell(body: &Map<String, Value>, ids: Ids) -> Result<Told, Fault> {
    let ask = read(body)?;
    let chat = Chat {
        id: ids.letters("chatcmpl-", 29, 0),
        model: ask.model.id,
        ids,
        include_usage: includes_usage(body),
    };
    let reply = Reply::to(&ask);
    let content = if ask.streamed {
        Content::Stream(chat.stream(&reply, ask.steering.code.clone()))
    } else {
        Content::Whole(chat.whole(&reply))
    };
    let steering = ask.steering;
    Ok(Told { steering, content })
}

fn read(body: &Map<String, Value>) -> Result<Ask, Fault> {
    let model = models::writer(ask::string(body, "model")?)?;
    one_choice(body)?;
    let turn = turn(ask::list(body, "messages")?);
    let (text, steering) = Steering::take(&turn.text)?;
    let choice = choice(body, |value| value.get("function")?.get("name"))?;
    let parallel = ask::flag(body, "parallel_tool_calls")?.unwrap_or(true);
    let tools = tools(body, Some("function"));
    let cap = ask::count(body, "max_completion_tokens")?;
    Ok(Ask {
        model,
        text,
        steering,
        offer: Offer::of(tools, &choice, parallel, &turn)?,
        schema: body.get("response_format").and_then(schema),
        cap: cap.or(ask::count(body, "max_tokens")?),
        may_think: body.get("reasoning_effort").and_then(Value::as_str) != Some("none"),
        streamed: ask::flag(body, "stream")?.unwrap_or(false),
        tokens_in: ask::tokens_in(body, &["messages", "tools"]),
    })
}

fn turn(messages: &[Value]) -> Turn {
    let role = |message: &Value| {
        message
            .get("role")
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let said = |message: &Value| {
        let by_user = role(message).as_deref() == Some("user");
        let content = message.get("content").filter(|_| by_user)?;
        ask::text_of(content, &["text"])
    };
    Turn {
        text: messages.iter().rev().find_map(said).unwrap_or_default(),
        after_tool: messages.last().and_then(role).as_deref() == Some("tool"),
    }
}

/// The schema of `response_format`; any object will do for `json_object`.
fn schema(format: &Value) -> Option<Value> {
    match ask::kind(format) {
        "json_schema" => format.get("json_schema")?.get("schema").cloned(),
        "json_object" => Some(json!({"type": "object"})),
        _ => None,
    }
}

struct Chat {
    id: String,
    model: &'static str,
    ids: Ids,
    include_usage: bool,
}

impl Chat {
    fn whole(&self, reply: &Reply) -> Value {
        let mut message =
            json!({"role": "assistant", "content": null, "refusal": null, "annotations": []});
        if let Value::Object(members) = &mut message {
            match &reply.output {
                Output::Text(text) => {
                    members.insert("content".to_owned(), text.text().into());
                }
                Output::Calls(calls) => {
                    let calls = calls
                        .iter()
                        .enumerate()
                        .map(|(nth, call)| self.call(nth, call, call.arguments.text()));
                    members.insert("tool_calls".to_owned(), calls.collect());
                }
            }
            if let Some(thinking) = &reply.thinking {
                members.insert("reasoning_content".to_owned(), thinking.text().into());
            }
        }
        let answer = json!({
            "id": self.id,
            "object": "chat.completion",
            "created": CREATED,
            "model": self.model,
            "choices": [{
                "index": 0,
                "message": message,
                "logprobs": null,
                "finish_reason": finish_reason(reply.finish),
            }],
            "service_tier": "default",
            "system_fingerprint": FINGERPRINT,
        });
        with_usage(answer, reply.tally.map(usage))
    }

    fn stream(&self, reply: &Reply, code: Option<String>) -> Script {
        let piece = |delta: Value| Beat::data(&self.chunk(&delta, None), Weight::Piece);
        let content = match &reply.output {
            Output::Text(_) => json!(""),
            Output::Calls(_) => Value::Null,
        };
        let opening = json!({"role": "assistant", "content": content, "refusal": null});
        let mut beats = vec![Beat::data(&self.chunk(&opening, None), Weight::Frame)];
        if let Some(thinking) = &reply.thinking {
            beats.extend(
                thinking
                    .iter()
                    .map(|text| piece(json!({"reasoning_content": text}))),
            );
        }
        match &reply.output {
            Output::Text(text) => {
                beats.extend(text.iter().map(|text| piece(json!({"content": text}))));
            }
            Output::Calls(calls) => {
                for (nth, call) in calls.iter().enumerate() {
                    let mut opening = self.call(nth, call, "");
                    if let Value::Object(members) = &mut opening {
                        members.shift_insert(0, "index".to_owned(), nth.into());
                    }
                    let opening = self.chunk(&json!({"tool_calls": [opening]}), None);
                    beats.push(Beat::data(&opening, Weight::Frame));
                    beats.extend(call.arguments.iter().map(|text| {
                        piece(json!({"tool_calls": [{"index": nth, "function": {"arguments": text}}]}))
                    }));
                }
            }
        }
        let finish = self.chunk(&json!({}), Some(finish_reason(reply.finish)));
        beats.push(Beat::data(&finish, Weight::End));
        if let Some(tally) = reply.tally.filter(|_| self.include_usage) {
            let last = with_usage(self.envelope(&json!([])), Some(usage(tally)));
            beats.push(Beat::data(&last.to_string(), Weight::End));
        }
        beats.push(Beat::data("[DONE]", Weight::End));
        Script {
            beats,
            failure: Box::new(|_| failure(code)),
        }
    }

    fn call(&self, nth: usize, call: &Call, arguments: &str) -> Value {
        json!({
            "id": self.ids.letters("call_", 24, nth),
            "type": "function",
            "function": {"name": call.name, "arguments": arguments},
        })
    }

    fn chunk(&self, delta: &Value, finish_reason: Option<&str>) -> String {
        let choice =
            json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason});
        let usage = self.include_usage.then_some(Value::Null);
        with_usage(self.envelope(&json!([choice])), usage).to_string()
    }

    fn envelope(&self, choices: &Value) -> Value {
        json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": CREATED,
            "model": self.model,
            "service_tier": "default",
            "system_fingerprint": FINGERPRINT,
            "choices": choices,
        })
    }
}

/// The line that ends a stream that failed.
pub(crate) fn failure(code: Option<String>) -> String {
    let (_, body) = error::body(&Fault::Interrupted { code });
    format!("data: {body}\n\n")
}

fn finish_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
        Finish::Calls => "tool_calls",
    }
}
