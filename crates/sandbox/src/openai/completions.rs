//! `POST /v1/completions`, the older API of a prompt and its continuation.

use serde_json::{Map, Value, json};

use super::chat::failure;
use super::{FINGERPRINT, includes_usage, one_choice, usage, with_usage};
use crate::answer::{Content, Told};
use crate::ask::{self, Ask};
use crate::fault::Fault;
use crate::ids::Ids;
use crate::models::{self, CREATED};
use crate::reply::{Finish, Output, Reply};
use crate::script::{Beat, Script, Weight};
use crate::steering::Steering;
use crate::words::Pieces;

/// What a completion call gets.
pub(crate) fn tell(body: &Map<String, Value>, ids: Ids) -> Result<Told, Fault> {
    let ask = read(body)?;
    let reply = Reply::to(&ask);
    let text = match &reply.output {
        Output::Text(text) => Some(text),
        Output::Calls(_) => None,
    };
    let envelope = |choices: Value| {
        json!({
            "id": ids.letters("cmpl-", 29, 0),
            "object": "text_completion",
            "created": CREATED,
            "model": ask.model.id,
            "choices": choices,
            "system_fingerprint": FINGERPRINT,
        })
    };
    let content = if ask.streamed {
        let beats = beats(&reply, text, envelope, includes_usage(body));
        let code = ask.steering.code.clone();
        Content::Stream(Script {
            beats,
            failure: Box::new(|_| failure(code)),
        })
    } else {
        let text = text.map_or("", Pieces::text);
        let answer = envelope(json!([choice(text, Some(finish_reason(reply.finish)))]));
        Content::Whole(with_usage(answer, reply.tally.map(usage)))
    };
    let steering = ask.steering;
    Ok(Told { steering, content })
}

fn beats(
    reply: &Reply,
    text: Option<&Pieces>,
    envelope: impl Fn(Value) -> Value,
    include_usage: bool,
) -> Vec<Beat> {
    let chunk = |text: &str, finish: Option<&str>, weight: Weight| {
        let usage = include_usage.then_some(Value::Null);
        let chunk = with_usage(envelope(json!([choice(text, finish)])), usage);
        Beat::data(&chunk.to_string(), weight)
    };
    let pieces = text.into_iter().flat_map(Pieces::iter);
    let mut beats: Vec<Beat> = pieces
        .map(|text| chunk(text, None, Weight::Piece))
        .collect();
    beats.push(chunk("", Some(finish_reason(reply.finish)), Weight::End));
    if let Some(tally) = reply.tally.filter(|_| include_usage) {
        let last = with_usage(envelope(json!([])), Some(usage(tally)));
        beats.push(Beat::data(&last.to_string(), Weight::End));
    }
    beats.push(Beat::data("[DONE]", Weight::End));
    beats
}

fn choice(text: &str, finish_reason: Option<&str>) -> Value {
    json!({"text": text, "index": 0, "logprobs": null, "finish_reason": finish_reason})
}

fn read(body: &Map<String, Value>) -> Result<Ask, Fault> {
    let model = models::writer(ask::string(body, "model")?)?;
    one_choice(body)?;
    let prompt = ask::member(body, "prompt").ok_or(Fault::Missing("prompt"))?;
    let (text, steering) = Steering::take(prompt_text(prompt)?)?;
    Ok(Ask {
        model,
        text,
        steering,
        offer: None,
        schema: None,
        cap: ask::count(body, "max_tokens")?,
        may_think: false,
        streamed: ask::flag(body, "stream")?.unwrap_or(false),
        tokens_in: ask::tokens_in(body, &["prompt"]),
    })
}

/// The prompt as text, alone or as the only one of a list. Token lists are not read here.
fn prompt_text(prompt: &Value) -> Result<&str, Fault> {
    let only = match prompt {
        Value::Array(prompts) if prompts.len() == 1 => prompts.first().and_then(Value::as_str),
        Value::String(text) => Some(text.as_str()),
        Value::Array(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            None
        }
    };
    only.ok_or(Fault::Unfit {
        param: "prompt",
        want: "one text",
    })
}

fn finish_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Length => "length",
        Finish::Stop | Finish::Calls => "stop",
    }
}
