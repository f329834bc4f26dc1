//! `POST /v1/responses`.

mod object;
mod stream;

use serde_json::{Map, Value, json};

use self::object::Response;
use super::{choice, tools};
use crate::answer::{Content, Told};
use crate::ask::{self, Ask, Offer, Turn};
use crate::fault::Fault;
use crate::ids::Ids;
use crate::models;
use crate::reply::Reply;
use crate::steering::Steering;

/// What a response call gets.
pub(crate) fn tell(body: &Map<String, Value>, ids: Ids) -> Result<Told, Fault> {
    let ask = read(body)?;
    let reply = Reply::to(&ask);
    let response = Response::new(body, ask.model, ids);
    let content = if ask.streamed {
        Content::Stream(stream::script(&response, &reply, ask.steering.code.clone()))
    } else {
        Content::Whole(response.finished(&reply))
    };
    let steering = ask.steering;
    Ok(Told { steering, content })
}

fn read(body: &Map<String, Value>) -> Result<Ask, Fault> {
    let model = models::writer(ask::string(body, "model")?)?;
    let turn = turn(ask::member(body, "input").ok_or(Fault::Missing("input"))?)?;
    let (text, steering) = Steering::take(&turn.text)?;
    let choice = choice(body, |value| value.get("name"))?;
    let parallel = ask::flag(body, "parallel_tool_calls")?.unwrap_or(true);
    let effort = body
        .get("reasoning")
        .and_then(|reasoning| reasoning.get("effort"));
    Ok(Ask {
        model,
        text,
        steering,
        offer: Offer::of(tools(body, None), &choice, parallel, &turn)?,
        schema: body.get("text").and_then(schema),
        cap: ask::count(body, "max_output_tokens")?,
        may_think: effort.and_then(Value::as_str) != Some("none"),
        streamed: ask::flag(body, "stream")?.unwrap_or(false),
        tokens_in: ask::tokens_in(body, &["instructions", "input", "tools"]),
    })
}

fn turn(input: &Value) -> Result<Turn, Fault> {
    let items = match input {
        Value::String(text) => {
            return Ok(Turn {
                text: text.clone(),
                after_tool: false,
            });
        }
        Value::Array(items) if !items.is_empty() => items,
        Value::Array(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            return Err(Fault::Unfit {
                param: "input",
                want: "a text or a list of at least one item",
            });
        }
    };
    let said = |item: &Value| {
        let by_user = item.get("role").and_then(Value::as_str) == Some("user");
        let content = item.get("content").filter(|_| by_user)?;
        ask::text_of(content, &["input_text"])
    };
    Ok(Turn {
        text: items.iter().rev().find_map(said).unwrap_or_default(),
        after_tool: items.last().map(ask::kind) == Some("function_call_output"),
    })
}

/// The schema of `text.format`; any object will do for `json_object`.
fn schema(text: &Value) -> Option<Value> {
    let format = text.get("format")?;
    match ask::kind(format) {
        "json_schema" => format.get("schema").cloned(),
        "json_object" => Some(json!({"type": "object"})),
        _ => None,
    }
}
