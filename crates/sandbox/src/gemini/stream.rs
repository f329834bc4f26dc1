//! The chunks of a streamed answer.

use serde_json::{Value, json};

use super::error;
use super::generate::{Answer, call, finish_reason, usage};
use crate::fault::Fault;
use crate::reply::{Output, Reply, Tally};
use crate::script::{Beat, Script, Weight};

/// All chunks as server-sent events.
pub(super) fn script(answer: Answer, reply: &Reply, code: Option<String>) -> Script {
    let chunks = chunks(answer, reply).into_iter();
    let beat = |(weight, chunk): (Weight, Value)| Beat::data(&chunk.to_string(), weight);
    Script {
        beats: chunks.map(beat).collect(),
        failure: Box::new(move |_| error::event(&Fault::Interrupted { code })),
    }
}

/// All chunks in one list.
pub(super) fn list(answer: Answer, reply: &Reply) -> Value {
    let chunks = chunks(answer, reply).into_iter();
    chunks.map(|(_, chunk)| chunk).collect()
}

fn chunks(answer: Answer, reply: &Reply) -> Vec<(Weight, Value)> {
    // What was asked is counted from the first chunk on, what was said in the last.
    let running = reply.tally.map(|tally| {
        usage(Tally {
            output: 0,
            thinking: 0,
            ..tally
        })
    });
    let part = |part: Value| {
        let chunk = answer.chunk(&json!([part]), None, running.clone());
        (Weight::Piece, chunk)
    };
    let mut chunks = Vec::new();
    if let Some(thinking) = &reply.thinking
        && answer.shows_thoughts
    {
        let thoughts = thinking.iter();
        chunks.extend(thoughts.map(|text| part(json!({"text": text, "thought": true}))));
    }
    match &reply.output {
        Output::Text(text) => {
            chunks.extend(text.iter().map(|text| part(json!({"text": text}))));
        }
        Output::Calls(calls) => chunks.extend(calls.iter().map(|told| part(call(told)))),
    }
    let (finish, told) = (finish_reason(reply.finish), reply.tally.map(usage));
    let last = answer.chunk(&json!([{"text": ""}]), Some(finish), told);
    chunks.push((Weight::End, last));
    chunks
}
