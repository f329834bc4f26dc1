//! The events of a streamed message.

use serde_json::{Value, json};

use super::error;
use super::messages::{Message, stop_reason, usage};
use crate::fault::Fault;
use crate::reply::{Output, Reply, Tally};
use crate::script::{Beat, Script, Weight};
use crate::words::Pieces;

/// All events of a message.
pub(super) fn script(message: &Message, reply: &Reply, code: Option<String>) -> Script {
    let mut events = Events::default();
    let begun = reply.tally.map(|tally| Tally {
        // The vendor has counted one token when it begins, whatever comes.
        output: tally.output.min(1),
        thinking: 0,
        ..tally
    });
    let opened = message.object(begun.map(usage));
    events.push(
        Weight::Frame,
        &json!({"type": "message_start", "message": opened}),
    );
    if let Some(thinking) = &reply.thinking {
        events.open(&json!({"type": "thinking", "thinking": "", "signature": ""}));
        events.deltas(
            thinking,
            |text| json!({"type": "thinking_delta", "thinking": text}),
        );
        let signature = json!({"type": "signature_delta", "signature": message.signature()});
        events.delta(Weight::Frame, &signature);
        events.close();
    }
    match &reply.output {
        Output::Text(text) if text.text().is_empty() => {}
        Output::Text(text) => {
            events.open(&json!({"type": "text", "text": ""}));
            events.deltas(text, |text| json!({"type": "text_delta", "text": text}));
            events.close();
        }
        Output::Calls(calls) => {
            for (nth, call) in calls.iter().enumerate() {
                events.open(&message.tool_use(nth, call, &json!({})));
                let delta = |text: &str| json!({"type": "input_json_delta", "partial_json": text});
                events.delta(Weight::Frame, &delta(""));
                events.deltas(&call.arguments, delta);
                events.close();
            }
        }
    }
    let mut last = json!({
        "type": "message_delta",
        "delta": {"stop_reason": stop_reason(reply.finish), "stop_sequence": null},
    });
    if let (Value::Object(members), Some(tally)) = (&mut last, reply.tally) {
        members.insert("usage".to_owned(), running(tally));
    }
    events.push(Weight::End, &last);
    events.push(Weight::End, &json!({"type": "message_stop"}));
    let ids = message.ids;
    Script {
        beats: events.beats,
        failure: Box::new(move |_| error::event(&Fault::Interrupted { code }, ids)),
    }
}

/// `usage` of `message_delta`: the running totals.
fn running(tally: Tally) -> Value {
    let mut usage = usage(tally);
    if let Value::Object(members) = &mut usage {
        members.retain(|name, _| !matches!(name.as_str(), "cache_creation" | "service_tier"));
    }
    usage
}

#[derive(Default)]
struct Events {
    beats: Vec<Beat>,
    block: usize,
}

impl Events {
    fn push(&mut self, weight: Weight, data: &Value) {
        self.beats.push(Beat::event(data, weight));
    }

    /// Opens a block; a ping follows the first, as the vendor sends it.
    fn open(&mut self, block: &Value) {
        let start =
            json!({"type": "content_block_start", "index": self.block, "content_block": block});
        self.push(Weight::Frame, &start);
        if self.block == 0 {
            self.push(Weight::Frame, &json!({"type": "ping"}));
        }
    }

    fn delta(&mut self, weight: Weight, delta: &Value) {
        let event = json!({"type": "content_block_delta", "index": self.block, "delta": delta});
        self.push(weight, &event);
    }

    fn deltas(&mut self, pieces: &Pieces, delta: impl Fn(&str) -> Value) {
        for text in pieces.iter() {
            self.delta(Weight::Piece, &delta(text));
        }
    }

    fn close(&mut self) {
        self.push(
            Weight::Frame,
            &json!({"type": "content_block_stop", "index": self.block}),
        );
        self.block += 1;
    }
}
