//! `POST /v1/messages` and `POST /v1/messages/count_tokens`.

use serde_json::{Map, Value, json};

use super::stream;
use crate::answer::{Content, Told};
use crate::ask::{self, Ask, Choice, Offer, Tool, Turn};
use crate::fault::Fault;
use crate::ids::Ids;
use crate::models;
use crate::reply::{Call, Finish, Output, Reply, Tally};
use crate::steering::{Claim, Steering};

/// What a message call gets.
pub(crate) fn tell(body: &Map<String, Value>, ids: Ids) -> Result<Told, Fault> {
    let cap = ask::count(body, "max_tokens")?.ok_or(Fault::Missing("max_tokens"))?;
    let ask = read(body, Some(cap))?;
    let reply = Reply::to(&ask);
    let message = Message {
        model: ask.model.id,
        ids,
    };
    let content = if ask.streamed {
        Content::Stream(stream::script(&message, &reply, ask.steering.code.clone()))
    } else {
        Content::Whole(message.whole(&reply))
    };
    let steering = ask.steering;
    Ok(Told { steering, content })
}

/// What a token count call gets.
pub(crate) fn count(body: &Map<String, Value>, _: Ids) -> Result<Told, Fault> {
    let ask = read(body, None)?;
    let steering = ask.steering;
    let tally = Tally::claimed(steering.claim, ask.tokens_in, 0, 0);
    let value = match (steering.claim, tally) {
        (Claim::None, _) | (_, None) => json!({}),
        (_, Some(tally)) => json!({"input_tokens": tally.input}),
    };
    let content = Content::Whole(value);
    Ok(Told { steering, content })
}

fn read(body: &Map<String, Value>, cap: Option<usize>) -> Result<Ask, Fault> {
    let model = models::writer(ask::string(body, "model")?)?;
    let turn = turn(ask::list(body, "messages")?);
    let (text, steering) = Steering::take(&turn.text)?;
    let (choice, parallel) = choice(body)?;
    let thinking = body.get("thinking").map(ask::kind);
    Ok(Ask {
        model,
        text,
        steering,
        offer: Offer::of(tools(body), &choice, parallel, &turn)?,
        schema: schema(body),
        cap,
        may_think: thinking != Some("disabled"),
        streamed: ask::flag(body, "stream")?.unwrap_or(false),
        tokens_in: ask::tokens_in(body, &["system", "messages", "tools"]),
    })
}

fn turn(messages: &[Value]) -> Turn {
    let said = |message: &Value| {
        let by_user = message.get("role").and_then(Value::as_str) == Some("user");
        let content = message.get("content").filter(|_| by_user)?;
        ask::text_of(content, &["text"])
    };
    let last = messages
        .last()
        .and_then(|message| message.get("content")?.as_array());
    let mut results = last.into_iter().flatten().map(ask::kind);
    Turn {
        text: messages.iter().rev().find_map(said).unwrap_or_default(),
        after_tool: results.any(|kind| kind == "tool_result"),
    }
}

fn tools(body: &Map<String, Value>) -> Vec<Tool> {
    let listed = ask::member(body, "tools").and_then(Value::as_array);
    let read = |tool: &Value| {
        Some(Tool {
            name: tool.get("name")?.as_str()?.to_owned(),
            schema: tool.get("input_schema")?.clone(),
        })
    };
    listed.into_iter().flatten().filter_map(read).collect()
}

/// The choice, and whether several tools may be called at once.
fn choice(body: &Map<String, Value>) -> Result<(Choice, bool), Fault> {
    let Some(value) = ask::member(body, "tool_choice") else {
        return Ok((Choice::Auto, true));
    };
    let unfit = Fault::Unfit {
        param: "tool_choice",
        want: "of type auto, any, tool or none",
    };
    let alone = value
        .get("disable_parallel_tool_use")
        .and_then(Value::as_bool);
    let choice = match (ask::kind(value), value.get("name").and_then(Value::as_str)) {
        ("auto", _) => Choice::Auto,
        ("any", _) => Choice::Any,
        ("none", _) => Choice::None,
        ("tool", Some(name)) => Choice::One(name.to_owned()),
        _ => return Err(unfit),
    };
    Ok((choice, !alone.unwrap_or(false)))
}

/// The schema the answer must fit.
fn schema(body: &Map<String, Value>) -> Option<Value> {
    let format = body
        .get("output_config")
        .and_then(|config| config.get("format"))?;
    (ask::kind(format) == "json_schema").then(|| format.get("schema").cloned())?
}

/// What all forms of one message have in common.
#[derive(Clone, Copy)]
pub(super) struct Message {
    /// Who says it.
    pub(super) model: &'static str,
    /// Marks the request.
    pub(super) ids: Ids,
}

impl Message {
    fn whole(self, reply: &Reply) -> Value {
        let mut content = Vec::new();
        if let Some(thinking) = &reply.thinking {
            content.push(json!({
                "type": "thinking",
                "thinking": thinking.text(),
                "signature": self.signature(),
            }));
        }
        match &reply.output {
            Output::Text(text) if text.text().is_empty() => {}
            Output::Text(text) => content.push(json!({"type": "text", "text": text.text()})),
            Output::Calls(calls) => {
                let calls = calls.iter().enumerate();
                content.extend(calls.map(|(nth, call)| self.tool_use(nth, call, &input(call))));
            }
        }
        let mut message = self.object(reply.tally.map(usage));
        if let Value::Object(members) = &mut message {
            members.insert("content".to_owned(), content.into());
            members.insert("stop_reason".to_owned(), stop_reason(reply.finish).into());
        }
        message
    }

    /// The message with no content yet.
    pub(super) fn object(self, usage: Option<Value>) -> Value {
        let mut message = json!({
            "id": self.ids.letters("msg_01", 22, 0),
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": [],
            "stop_reason": null,
            "stop_sequence": null,
        });
        if let (Value::Object(members), Some(usage)) = (&mut message, usage) {
            members.insert("usage".to_owned(), usage);
        }
        message
    }

    /// A tool call.
    pub(super) fn tool_use(self, nth: usize, call: &Call, input: &Value) -> Value {
        let id = self.ids.letters("toolu_01", 22, nth);
        json!({"type": "tool_use", "id": id, "name": call.name, "input": input})
    }

    /// What proves that thinking is the model's own.
    pub(super) fn signature(self) -> String {
        self.ids.letters("", 64, 0)
    }
}

fn input(call: &Call) -> Value {
    serde_json::from_str(call.arguments.text()).unwrap_or_default()
}

/// `usage` of a message.
pub(super) fn usage(tally: Tally) -> Value {
    let mut usage = json!({
        "input_tokens": tally.input,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": tally.output,
        "service_tier": "standard",
    });
    if let Value::Object(members) = &mut usage
        && tally.thinking > 0
    {
        let details = json!({"thinking_tokens": tally.thinking});
        members.insert("output_tokens_details".to_owned(), details);
    }
    usage
}

/// `stop_reason` of a message.
pub(super) fn stop_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "end_turn",
        Finish::Length => "max_tokens",
        Finish::Calls => "tool_use",
    }
}
