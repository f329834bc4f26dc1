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
    let request = member(body, "generateContentRequest").and_then(Value::as_object);
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
    if !matches!(
        setting(body, "candidateCount").map(Value::as_u64),
        None | Some(Some(1))
    ) {
        return Err(Fault::Unfit {
            param: "candidateCount",
            want: "1",
        });
    }
    let cap = setting(body, "maxOutputTokens");
    let cap = cap.map(|cap| cap.as_u64().and_then(|cap| usize::try_from(cap).ok()));
    if cap.is_some_and(|cap| cap.is_none_or(|cap| cap == 0)) {
        return Err(Fault::Unfit {
            param: "maxOutputTokens",
            want: "an integer above zero",
        });
    }
    let (tools, choice) = tools(body)?;
    Ok(Ask {
        model,
        text,
        steering,
        offer: Offer::of(tools, &choice, true, &turn)?,
        schema: schema_of(config(body), ["responseJsonSchema", "responseSchema"]),
        cap: cap.flatten(),
        may_think: thought(body, "thinkingBudget").and_then(Value::as_i64) != Some(0),
        streamed: false,
        tokens_in: tokens_in(body),
    })
}

fn tokens_in(body: &Map<String, Value>) -> i64 {
    let names = ["systemInstruction", "system_instruction"];
    ask::tokens_in(body, &[names[0], names[1], "contents", "tools"])
}

fn shows_thoughts(body: &Map<String, Value>) -> bool {
    let wanted = thought(body, "includeThoughts");
    wanted.and_then(Value::as_bool).unwrap_or(false)
}

/// A member by its name, or the name that its schema has: this vendor takes both, and its clients
/// send both.
fn member<'a>(body: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    ask::member(body, name).or_else(|| {
        let mut other = String::new();
        for letter in name.chars() {
            if letter.is_ascii_uppercase() {
                other.push('_');
            }
            other.push(letter.to_ascii_lowercase());
        }
        ask::member(body, &other)
    })
}

fn inside<'a>(body: Option<&'a Map<String, Value>>, name: &str) -> Option<&'a Map<String, Value>> {
    member(body?, name)?.as_object()
}

fn config(body: &Map<String, Value>) -> Option<&Map<String, Value>> {
    inside(Some(body), "generationConfig")
}

fn setting<'a>(body: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    member(config(body)?, name)
}

fn thought<'a>(body: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    member(inside(config(body), "thinkingConfig")?, name)
}

/// The schema under one of these names, with its types as other vendors write them.
fn schema_of(body: Option<&Map<String, Value>>, names: [&str; 2]) -> Option<Value> {
    let found = names.iter().find_map(|name| member(body?, name));
    found.map(|schema| {
        let mut schema = schema.clone();
        lower_types(&mut schema);
        schema
    })
}

fn lower_types(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            for (name, value) in members {
                if let (Value::String(word), "type") = (&mut *value, name.as_str()) {
                    *word = word.to_lowercase();
                }
                lower_types(value);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(lower_types),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
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
        after_tool: last.iter().any(|part| {
            part.as_object()
                .is_some_and(|part| member(part, "functionResponse").is_some())
        }),
    }
}

/// The functions, and how they may be called.
fn tools(body: &Map<String, Value>) -> Result<(Vec<Tool>, Choice), Fault> {
    let listed = ask::member(body, "tools").and_then(Value::as_array);
    let declared = listed
        .into_iter()
        .flatten()
        .filter_map(|tool| member(tool.as_object()?, "functionDeclarations")?.as_array());
    let read = |tool: &Value| {
        let schema = schema_of(tool.as_object(), ["parametersJsonSchema", "parameters"]);
        Some(Tool {
            name: tool.get("name")?.as_str()?.to_owned(),
            schema: schema.unwrap_or_else(|| json!({"type": "object"})),
        })
    };
    let mut tools: Vec<Tool> = declared.flatten().filter_map(read).collect();
    let config = inside(inside(Some(body), "toolConfig"), "functionCallingConfig");
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
    let allowed = config.and_then(|config| member(config, "allowedFunctionNames")?.as_array());
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
