//! `:generateContent`, `:streamGenerateContent` and `:countTokens` of a model.

use serde_json::{Map, Value, json};

use super::stream;
use crate::answer::{Content, Told};
use crate::ask::{self, Ask, Choice, Offer, Tool, Turn};
use crate::fault::Fault;
use crate::ids::Ids;
use crate::models;
use crate::reply::{Call, Finish, Output, Reply, Tally};
use crate::steering::{Claim, Steering};

/// The model as the path names it stands here in a body.
pub(crate) const MODEL: &str = "model";

/// What a call for a whole answer gets.
pub(crate) fn tell(body: &Map<String, Value>, ids: Ids) -> Result<Told, Fault> {
    tell_as(body, ids, |answer, reply, _| {
        Content::Whole(answer.whole(reply))
    })
}

/// What a call for a stream gets.
pub(crate) fn stream(body: &Map<String, Value>, ids: Ids) -> Result<Told, Fault> {
    tell_as(body, ids, |answer, reply, code| {
        Content::Stream(stream::script(answer, reply, code))
    })
}

/// What a call for a stream gets that does not ask for server-sent events.
pub(crate) fn list(body: &Map<String, Value>, ids: Ids) -> Result<Told, Fault> {
    tell_as(body, ids, |answer, reply, _| {
        Content::Whole(stream::list(answer, reply))
    })
}

/// What a token count call gets: of the contents themselves, or of a whole request.
pub(crate) fn count(body: &Map<String, Value>, _: Ids) -> Result<Told, Fault> {
    models::writer(ask::string(body, MODEL)?)?;
    let request = ask::member(body, "generateContentRequest").and_then(Value::as_object);
    let asked = request.unwrap_or(body);
    let turn = turn(ask::list(asked, "contents")?);
    let (_, steering) = Steering::take(&turn.text)?;
    let tally = Tally::claimed(steering.claim, tokens_in(asked), 0, 0);
    let value = match (steering.claim, tally) {
        (Claim::None, _) | (_, None) => json!({}),
        (_, Some(tally)) => json!({
            "totalTokens": tally.input,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": tally.input}],
        }),
    };
    let content = Content::Whole(value);
    Ok(Told { steering, content })
}

fn tell_as(
    body: &Map<String, Value>,
    ids: Ids,
    say: impl FnOnce(Answer, &Reply, Option<String>) -> Content,
) -> Result<Told, Fault> {
    let ask = read(body)?;
    let reply = Reply::to(&ask);
    let answer = Answer {
        model: ask.model.id,
        ids,
        shows_thoughts: shows_thoughts(body),
    };
    let content = say(answer, &reply, ask.steering.code.clone());
    let steering = ask.steering;
    Ok(Told { steering, content })
}

fn read(body: &Map<String, Value>) -> Result<Ask, Fault> {
    let model = models::writer(ask::string(body, MODEL)?)?;
    let turn = turn(ask::list(body, "contents")?);
    let (text, steering) = Steering::take(&turn.text)?;
    let none = Map::new();
    let config = ask::member(body, "generationConfig").and_then(Value::as_object);
    let config = config.unwrap_or(&none);
    if !matches!(ask::count(config, "candidateCount")?, None | Some(1)) {
        return Err(Fault::Unfit {
            param: "candidateCount",
            want: "1",
        });
    }
    let budget = config
        .get("thinkingConfig")
        .and_then(|thinking| thinking.get("thinkingBudget"));
    let (tools, choice) = tools(body)?;
    Ok(Ask {
        model,
        text,
        steering,
        offer: Offer::of(tools, &choice, true, &turn)?,
        schema: ["responseJsonSchema", "responseSchema"]
            .iter()
            .find_map(|name| ask::member(config, name).cloned()),
        cap: ask::count(config, "maxOutputTokens")?,
        may_think: budget.and_then(Value::as_i64) != Some(0),
        streamed: false,
        tokens_in: tokens_in(body),
    })
}

fn tokens_in(body: &Map<String, Value>) -> i64 {
    ask::tokens_in(body, &["systemInstruction", "contents", "tools"])
}

fn shows_thoughts(body: &Map<String, Value>) -> bool {
    let config = body.get("generationConfig");
    let thinking = config.and_then(|config| config.get("thinkingConfig"));
    let wanted = thinking.and_then(|thinking| thinking.get("includeThoughts"));
    wanted.and_then(Value::as_bool).unwrap_or(false)
}

fn turn(contents: &[Value]) -> Turn {
    let parts = |content: &Value| -> Vec<Value> {
        let parts = content.get("parts").and_then(Value::as_array);
        parts.cloned().unwrap_or_default()
    };
    let said = |content: &Value| {
        let by_user = content.get("role").and_then(Value::as_str) != Some("model");
        let texts: Vec<String> = parts(content)
            .iter()
            .filter_map(|part| Some(part.get("text")?.as_str()?.to_owned()))
            .collect();
        (by_user && !texts.is_empty()).then(|| texts.join("\n"))
    };
    let last = contents.last().map(parts).unwrap_or_default();
    Turn {
        text: contents.iter().rev().find_map(said).unwrap_or_default(),
        after_tool: last
            .iter()
            .any(|part| part.get("functionResponse").is_some()),
    }
}

/// The functions, and how they may be called.
fn tools(body: &Map<String, Value>) -> Result<(Vec<Tool>, Choice), Fault> {
    let listed = ask::member(body, "tools").and_then(Value::as_array);
    let declared = listed
        .into_iter()
        .flatten()
        .filter_map(|tool| tool.get("functionDeclarations")?.as_array());
    let read = |tool: &Value| {
        let schemas = ["parametersJsonSchema", "parameters"];
        let schema = schemas.iter().find_map(|name| tool.get(*name));
        Some(Tool {
            name: tool.get("name")?.as_str()?.to_owned(),
            schema: schema.cloned().unwrap_or_else(|| json!({"type": "object"})),
        })
    };
    let mut tools: Vec<Tool> = declared.flatten().filter_map(read).collect();
    let config = ask::member(body, "toolConfig");
    let config = config.and_then(|config| config.get("functionCallingConfig"));
    let mode = config.and_then(|config| config.get("mode")?.as_str());
    let choice = match mode {
        None | Some("AUTO" | "MODE_UNSPECIFIED" | "VALIDATED") => Choice::Auto,
        Some("NONE") => Choice::None,
        Some("ANY") => Choice::Any,
        Some(_) => {
            return Err(Fault::Unfit {
                param: "mode",
                want: "AUTO, ANY or NONE",
            });
        }
    };
    let allowed = config.and_then(|config| config.get("allowedFunctionNames")?.as_array());
    if let Some(allowed) = allowed {
        tools.retain(|tool| allowed.iter().any(|name| *name == tool.name));
    }
    Ok((tools, choice))
}

/// What all forms of one answer have in common.
#[derive(Clone, Copy)]
pub(super) struct Answer {
    /// Who says it.
    model: &'static str,
    /// Marks the request.
    ids: Ids,
    /// Whether thoughts are told, and not only counted.
    pub(super) shows_thoughts: bool,
}

impl Answer {
    fn whole(self, reply: &Reply) -> Value {
        let mut parts = Vec::new();
        if let Some(thinking) = &reply.thinking
            && self.shows_thoughts
        {
            parts.push(json!({"text": thinking.text(), "thought": true}));
        }
        match &reply.output {
            Output::Text(text) => parts.push(json!({"text": text.text()})),
            Output::Calls(calls) => parts.extend(calls.iter().map(call)),
        }
        let usage = reply.tally.map(usage);
        self.chunk(&parts.into(), Some(finish_reason(reply.finish)), usage)
    }

    /// The answer, or as much of it as these parts.
    pub(super) fn chunk(self, parts: &Value, finish: Option<&str>, usage: Option<Value>) -> Value {
        let mut candidate = json!({"content": {"parts": parts, "role": "model"}});
        if let (Value::Object(members), Some(finish)) = (&mut candidate, finish) {
            members.insert("finishReason".to_owned(), finish.into());
        }
        if let Value::Object(members) = &mut candidate {
            members.insert("index".to_owned(), 0.into());
        }
        let mut chunk = json!({"candidates": [candidate]});
        if let Value::Object(members) = &mut chunk {
            if let Some(usage) = usage {
                members.insert("usageMetadata".to_owned(), usage);
            }
            members.insert("modelVersion".to_owned(), self.model.into());
            members.insert("responseId".to_owned(), self.ids.letters("", 22, 0).into());
        }
        chunk
    }
}

/// A function call.
pub(super) fn call(call: &Call) -> Value {
    let args: Value = serde_json::from_str(call.arguments.text()).unwrap_or_default();
    json!({"functionCall": {"name": call.name, "args": args}})
}

/// `usageMetadata`: thoughts are counted beside the candidates.
pub(super) fn usage(tally: Tally) -> Value {
    let mut usage = json!({
        "promptTokenCount": tally.input,
        "candidatesTokenCount": tally.output.saturating_sub(tally.thinking),
        "totalTokenCount": tally.total(),
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": tally.input}],
    });
    if let Value::Object(members) = &mut usage
        && tally.thinking > 0
    {
        members.insert("thoughtsTokenCount".to_owned(), tally.thinking.into());
    }
    usage
}

/// `finishReason` of a candidate; calls end it like words.
pub(super) const fn finish_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::Calls => "STOP",
        Finish::Length => "MAX_TOKENS",
    }
}
