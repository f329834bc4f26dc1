//! What a call asks for, whichever vendor's words it was said in.

use serde_json::{Map, Value};

use crate::fault::Fault;
use crate::models::{Model, Skill};
use crate::steering::Steering;

/// A call for text, read.
pub(crate) struct Ask {
    /// Whom it asks.
    pub(crate) model: Model,
    /// The last user text, without steering.
    pub(crate) text: String,
    /// What that text asked for besides.
    pub(crate) steering: Steering,
    /// The tools that may be called now, if any.
    pub(crate) offer: Option<Offer>,
    /// The schema the answer must fit, if any.
    pub(crate) schema: Option<Value>,
    /// Most output tokens.
    pub(crate) cap: Option<usize>,
    /// Whether thinking was not switched off.
    pub(crate) may_think: bool,
    /// Whether the answer is wanted as a stream.
    pub(crate) streamed: bool,
    /// Input tokens: one per 4 bytes of text.
    pub(crate) tokens_in: i64,
}

/// Tools that may be called.
pub(crate) struct Offer {
    /// At least one.
    pub(crate) tools: Vec<Tool>,
    /// Whether one must be called.
    pub(crate) must: bool,
    /// Whether several may be called at once.
    pub(crate) parallel: bool,
}

/// One tool.
pub(crate) struct Tool {
    /// Its name.
    pub(crate) name: String,
    /// Schema of its arguments.
    pub(crate) schema: Value,
}

/// What the caller said about calling tools.
pub(crate) enum Choice {
    /// The model may call.
    Auto,
    /// The model must not call.
    None,
    /// The model must call some tool.
    Any,
    /// The model must call this tool.
    One(String),
}

/// Where a conversation stands.
#[derive(Default)]
pub(crate) struct Turn {
    /// The last text a user said.
    pub(crate) text: String,
    /// Whether the last thing in it is a tool's result.
    pub(crate) after_tool: bool,
}

impl Offer {
    /// The tools to choose from; none when there are none, when none may be called, or when the
    /// conversation waits for words about a tool's result.
    pub(crate) fn of(
        tools: Vec<Tool>,
        choice: &Choice,
        parallel: bool,
        turn: &Turn,
    ) -> Result<Option<Self>, Fault> {
        let unknown = Fault::Unfit {
            param: "tool_choice",
            want: "the name of one of the tools",
        };
        let (tools, must) = match choice {
            Choice::None => return Ok(None),
            Choice::Auto => (tools, false),
            Choice::Any => (tools, true),
            Choice::One(name) => {
                let chosen: Vec<Tool> = tools
                    .into_iter()
                    .filter(|tool| tool.name == *name)
                    .collect();
                if chosen.is_empty() {
                    return Err(unknown);
                }
                (chosen, true)
            }
        };
        let offered = !tools.is_empty() && !turn.after_tool;
        Ok(offered.then_some(Self {
            tools,
            must,
            parallel,
        }))
    }
}

impl Ask {
    /// Whether the model thinks unless told otherwise.
    pub(crate) fn thinks(&self) -> bool {
        self.may_think && self.model.skill == Skill::Thinking
    }
}

/// A member, with `null` as absent.
pub(crate) fn member<'a>(body: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    body.get(name).filter(|value| !value.is_null())
}

/// A string that must be there.
pub(crate) fn string<'a>(
    body: &'a Map<String, Value>,
    name: &'static str,
) -> Result<&'a str, Fault> {
    let value = member(body, name).ok_or(Fault::Missing(name))?;
    value.as_str().ok_or(Fault::Unfit {
        param: name,
        want: "a string",
    })
}

/// A true or false that may be absent.
pub(crate) fn flag(body: &Map<String, Value>, name: &'static str) -> Result<Option<bool>, Fault> {
    let unfit = Fault::Unfit {
        param: name,
        want: "a boolean",
    };
    let value = member(body, name);
    value.map(|value| value.as_bool().ok_or(unfit)).transpose()
}

/// A count of at least one that may be absent.
pub(crate) fn count(body: &Map<String, Value>, name: &'static str) -> Result<Option<usize>, Fault> {
    let unfit = Fault::Unfit {
        param: name,
        want: "an integer above zero",
    };
    let Some(value) = member(body, name) else {
        return Ok(None);
    };
    let count = value.as_u64().and_then(|count| usize::try_from(count).ok());
    count.filter(|count| *count > 0).map(Some).ok_or(unfit)
}

/// A list that must be there and not be empty.
pub(crate) fn list<'a>(
    body: &'a Map<String, Value>,
    name: &'static str,
) -> Result<&'a [Value], Fault> {
    let value = member(body, name).ok_or(Fault::Missing(name))?;
    let items = value.as_array().filter(|items| !items.is_empty());
    let unfit = Fault::Unfit {
        param: name,
        want: "a list of at least one",
    };
    items.map(Vec::as_slice).ok_or(unfit)
}

/// The text of a message's content: a string, or the texts of its parts of one of these types.
pub(crate) fn text_of(content: &Value, types: &[&str]) -> Option<String> {
    match content {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => {
            let typed = parts.iter().filter(|part| types.contains(&kind(part)));
            let texts: Vec<&str> = typed
                .filter_map(|part| part.get("text")?.as_str())
                .collect();
            (!texts.is_empty()).then(|| texts.join("\n"))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}

/// The `type` of an object, empty without one.
pub(crate) fn kind(value: &Value) -> &str {
    value
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Input tokens of these members: one per 4 bytes of text, rounded up, at least one. Text is every
/// string but the fixed words of the format.
pub(crate) fn tokens_in(body: &Map<String, Value>, names: &[&str]) -> i64 {
    let bytes: usize = names
        .iter()
        .filter_map(|name| body.get(*name))
        .map(text_bytes)
        .sum();
    i64::try_from(bytes.div_ceil(4).max(1)).unwrap_or(i64::MAX)
}

fn text_bytes(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(text_bytes).sum(),
        Value::Object(members) => {
            let said = members
                .iter()
                .filter(|(name, _)| !matches!(name.as_str(), "role" | "type"));
            said.map(|(_, value)| text_bytes(value)).sum()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    // OPS-23
    #[test]
    fn four_bytes_of_text_are_one_input_token() {
        for (name, messages, want) in [
            (
                "rounded up",
                json!([{"role": "user", "content": "hello"}]),
                2,
            ),
            (
                "roles are free",
                json!([{"role": "user", "content": "hell"}]),
                1,
            ),
            (
                "parts add up",
                json!([{"role": "user", "content": [{"type": "text", "text": "abcd"}, {"type": "text", "text": "e"}]}]),
                2,
            ),
            ("at least one", json!([]), 1),
        ] {
            let Value::Object(body) = json!({"messages": messages, "model": "sandbox-1"}) else {
                panic!("an object");
            };
            assert_eq!(tokens_in(&body, &["messages", "tools"]), want, "{name}");
        }
    }
}
