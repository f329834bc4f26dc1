//! The emulated OpenAI API: chat completions, completions, responses, embeddings, models.

pub(crate) mod chat;
pub(crate) mod completions;
pub(crate) mod embeddings;
pub(crate) mod error;
pub(crate) mod models;
pub(crate) mod responses;

use serde_json::{Map, Value, json};

use crate::ask::{self, Choice, Tool};
use crate::fault::Fault;
use crate::ids::Ids;
use crate::reply::Tally;

/// The `system_fingerprint` of every answer.
const FINGERPRINT: &str = "fp_sandbox0001";

/// Header fields of every answer. The limits and the organisation are there because a real
/// vendor's are, and a gateway must not let its callers see them.
pub(crate) fn headers(ids: Ids) -> Vec<(&'static str, String)> {
    vec![
        ("openai-organization", "org-sandbox".to_owned()),
        ("openai-processing-ms", "1".to_owned()),
        ("openai-version", "2020-10-01".to_owned()),
        ("x-ratelimit-limit-requests", "10000".to_owned()),
        ("x-ratelimit-remaining-requests", "9999".to_owned()),
        ("x-request-id", ids.hex("req_", 32, 0)),
    ]
}

/// `usage` of chat completions and completions.
fn usage(tally: Tally) -> Value {
    json!({
        "prompt_tokens": tally.input,
        "completion_tokens": tally.output,
        "total_tokens": tally.total(),
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": tally.thinking,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    })
}

/// Puts `usage` into an answer, unless none is claimed.
fn with_usage(mut answer: Value, usage: Option<Value>) -> Value {
    if let (Value::Object(members), Some(usage)) = (&mut answer, usage) {
        members.insert("usage".to_owned(), usage);
    }
    answer
}

/// Whether a stream is asked to end with usage.
fn includes_usage(body: &Map<String, Value>) -> bool {
    let options = body.get("stream_options");
    let wanted = options.and_then(|options| options.get("include_usage"));
    wanted.and_then(Value::as_bool).unwrap_or(false)
}

/// The sandbox gives one choice.
fn one_choice(body: &Map<String, Value>) -> Result<(), Fault> {
    match ask::count(body, "n")? {
        None | Some(1) => Ok(()),
        Some(_) => Err(Fault::Unfit {
            param: "n",
            want: "1",
        }),
    }
}

/// The function tools; name and schema stand in the member `inside` of each, or in the tool itself.
fn tools(body: &Map<String, Value>, inside: Option<&str>) -> Vec<Tool> {
    let listed = ask::member(body, "tools").and_then(Value::as_array);
    let functions = listed
        .into_iter()
        .flatten()
        .filter(|tool| ask::kind(tool) == "function");
    let read = |tool: &Value| {
        let tool = inside.map_or(Some(tool), |name| tool.get(name))?;
        Some(Tool {
            name: tool.get("name")?.as_str()?.to_owned(),
            schema: tool
                .get("parameters")
                .cloned()
                .unwrap_or_else(|| json!({"type": "object"})),
        })
    };
    functions.filter_map(read).collect()
}

/// `tool_choice`; `name_of` reads the form that names one function.
fn choice(
    body: &Map<String, Value>,
    name_of: impl Fn(&Value) -> Option<&Value>,
) -> Result<Choice, Fault> {
    let unfit = Fault::Unfit {
        param: "tool_choice",
        want: "none, auto, required or one function",
    };
    let Some(value) = ask::member(body, "tool_choice") else {
        return Ok(Choice::Auto);
    };
    match value.as_str() {
        Some("auto") => Ok(Choice::Auto),
        Some("none") => Ok(Choice::None),
        Some("required") => Ok(Choice::Any),
        Some(_) => Err(unfit),
        None => {
            let name = name_of(value).and_then(Value::as_str).ok_or(unfit)?;
            Ok(Choice::One(name.to_owned()))
        }
    }
}
