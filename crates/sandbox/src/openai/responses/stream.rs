//! The events of a streamed response, numbered from zero.

use serde_json::{Value, json};

use super::object::{Response, status, text_part};
use crate::reply::{Call, Finish, Output, Reply};
use crate::script::{self, Beat, Script, Weight};
use crate::words::Pieces;

/// All events of a response.
pub(super) fn script(response: &Response, reply: &Reply, code: Option<String>) -> Script {
    let mut events = Events {
        response,
        beats: Vec::new(),
    };
    for name in ["response.created", "response.in_progress"] {
        events.push(name, Weight::Frame, json!({"response": response.begun()}));
    }
    let mut place = 0;
    if let Some(thinking) = &reply.thinking {
        events.reasoning(thinking);
        place += 1;
    }
    match &reply.output {
        Output::Text(text) if text.text().is_empty() => {}
        Output::Text(text) => events.message(place, text, reply.finish),
        Output::Calls(calls) => {
            for (nth, call) in calls.iter().enumerate() {
                events.call(place + nth, call);
            }
        }
    }
    let last = match reply.finish {
        Finish::Length => "response.incomplete",
        Finish::Stop | Finish::Calls => "response.completed",
    };
    events.push(
        last,
        Weight::End,
        json!({"response": response.finished(reply)}),
    );
    let beats = events.beats;
    let response = response.clone();
    let failure = move |sent: usize| {
        let failed = response.failed(code);
        script::event(
            &json!({"type": "response.failed", "sequence_number": sent, "response": failed}),
        )
    };
    Script {
        beats,
        failure: Box::new(failure),
    }
}

struct Events<'a> {
    response: &'a Response,
    beats: Vec<Beat>,
}

impl Events<'_> {
    fn push(&mut self, name: &str, weight: Weight, members: Value) {
        let mut event = json!({"type": name, "sequence_number": self.beats.len()});
        if let (Value::Object(event), Value::Object(members)) = (&mut event, members) {
            event.extend(members);
        }
        self.beats.push(Beat::event(&event, weight));
    }

    fn item(&mut self, name: &str, place: usize, item: &Value) {
        let name = format!("response.output_item.{name}");
        self.push(
            &name,
            Weight::Frame,
            json!({"output_index": place, "item": item}),
        );
    }

    fn reasoning(&mut self, thinking: &Pieces) {
        let id = self.response.item_id("rs_", 0);
        let at = |last: (&str, Value)| {
            let mut members = json!({"item_id": id, "output_index": 0, "summary_index": 0});
            if let Value::Object(members) = &mut members {
                members.insert(last.0.to_owned(), last.1);
            }
            members
        };
        let part = |text: &str| json!({"type": "summary_text", "text": text});
        self.item("added", 0, &self.response.reasoning(&json!([])));
        let added = "response.reasoning_summary_part.added";
        self.push(added, Weight::Frame, at(("part", part(""))));
        for text in thinking.iter() {
            let delta = "response.reasoning_summary_text.delta";
            self.push(delta, Weight::Piece, at(("delta", text.into())));
        }
        let done = "response.reasoning_summary_text.done";
        self.push(done, Weight::Frame, at(("text", thinking.text().into())));
        let done = "response.reasoning_summary_part.done";
        self.push(done, Weight::Frame, at(("part", part(thinking.text()))));
        self.item(
            "done",
            0,
            &self.response.reasoning(&json!([part(thinking.text())])),
        );
    }

    fn message(&mut self, place: usize, text: &Pieces, finish: Finish) {
        let id = self.response.item_id("msg_", place);
        let opened = self.response.message(place, "in_progress", &json!([]));
        self.item("added", place, &opened);
        let part = |text: &str| json!({"item_id": id, "output_index": place, "content_index": 0, "part": text_part(text)});
        self.push("response.content_part.added", Weight::Frame, part(""));
        for text in text.iter() {
            let delta = json!({"item_id": id, "output_index": place, "content_index": 0,
                "delta": text, "logprobs": []});
            self.push("response.output_text.delta", Weight::Piece, delta);
        }
        let done = json!({"item_id": id, "output_index": place, "content_index": 0,
            "text": text.text(), "logprobs": []});
        self.push("response.output_text.done", Weight::Frame, done);
        self.push(
            "response.content_part.done",
            Weight::Frame,
            part(text.text()),
        );
        let parts = json!([text_part(text.text())]);
        let closed = self.response.message(place, status(finish), &parts);
        self.item("done", place, &closed);
    }

    fn call(&mut self, place: usize, call: &Call) {
        let id = self.response.item_id("fc_", place);
        let opened = self.response.call(place, "in_progress", (&call.name, ""));
        self.item("added", place, &opened);
        for text in call.arguments.iter() {
            let delta = json!({"item_id": id, "output_index": place, "delta": text});
            self.push(
                "response.function_call_arguments.delta",
                Weight::Piece,
                delta,
            );
        }
        let arguments = call.arguments.text();
        let done = json!({"item_id": id, "output_index": place, "name": call.name, "arguments": arguments});
        self.push("response.function_call_arguments.done", Weight::Frame, done);
        let closed = self
            .response
            .call(place, "completed", (&call.name, arguments));
        self.item("done", place, &closed);
    }
}
