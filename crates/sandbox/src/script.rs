//! A stream as a list of events, and how steering plays it: gaps, failures, cuts.

use bytes::Bytes;
use serde_json::Value;

use crate::plan::{Ending, Framing, Piece, Plan};
use crate::steering::Steering;

/// A stream, before it is known how far it gets.
pub(crate) struct Script {
    /// All events in order.
    pub(crate) beats: Vec<Beat>,
    /// The vendor's error event, given how many events went before it.
    pub(crate) failure: Box<dyn FnOnce(usize) -> String>,
}

/// One event of a stream.
pub(crate) struct Beat {
    bytes: String,
    weight: Weight,
}

/// What an event is to the answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Weight {
    /// It opens or closes a part of it.
    Frame,
    /// It carries some of it; these are the pieces that steering counts.
    Piece,
    /// It says that the answer is over.
    End,
}

impl Beat {
    /// `data:` alone, as chat streams have it.
    pub(crate) fn data(data: &str, weight: Weight) -> Self {
        let bytes = format!("data: {data}\n\n");
        Self { bytes, weight }
    }

    /// `event:` with the `type` of the data, and `data:`.
    pub(crate) fn event(data: &Value, weight: Weight) -> Self {
        let bytes = event(data);
        Self { bytes, weight }
    }
}

/// `event:` with the `type` of the data, and `data:`.
pub(crate) fn event(data: &Value) -> String {
    let name = crate::ask::kind(data);
    format!("event: {name}\ndata: {data}\n\n")
}

impl Script {
    /// The stream as it will be sent.
    pub(crate) fn play(self, steering: &Steering, headers: Vec<(&'static str, String)>) -> Plan {
        let broken_after = steering.cut_after.or(steering.error_after);
        let mut pieces = Vec::with_capacity(self.beats.len());
        let mut played = 0;
        for beat in self.beats {
            let breaks = match beat.weight {
                Weight::Frame => false,
                Weight::Piece => broken_after == Some(played),
                Weight::End => broken_after.is_some(),
            };
            if breaks {
                break;
            }
            let waits = beat.weight == Weight::Piece && played > 0;
            played += usize::from(beat.weight == Weight::Piece);
            pieces.push(Piece {
                delay_ms: if waits { steering.gap_ms } else { 0 },
                bytes: Bytes::from(beat.bytes),
            });
        }
        if broken_after.is_some() && steering.cut_after.is_none() {
            let bytes = Bytes::from((self.failure)(pieces.len()));
            pieces.push(Piece { delay_ms: 0, bytes });
        }
        let mut all = vec![
            (
                "content-type",
                "text/event-stream; charset=utf-8".to_owned(),
            ),
            ("cache-control", "no-cache".to_owned()),
        ];
        all.extend(headers);
        Plan {
            delay_ms: steering.delay_ms,
            status: 200,
            headers: all,
            framing: Framing::Chunked,
            pieces,
            ending: if steering.cut_after.is_some() {
                Ending::Cut
            } else {
                Ending::Clean
            },
        }
    }
}

/// A whole answer, sent in `chunks` parts with a `gap` between them, the last ones withheld if cut.
pub(crate) fn in_parts(mut plan: Plan, steering: &Steering) -> Plan {
    plan.delay_ms = steering.delay_ms;
    let cut_after = steering.cut_after;
    let wanted = steering
        .chunks
        .unwrap_or(if cut_after.is_some() { 2 } else { 1 });
    let body = Bytes::from(plan.body());
    let part = body.len().div_ceil(wanted).max(1);
    let mut rest = body;
    let mut pieces: Vec<Piece> = Vec::new();
    while !rest.is_empty() {
        let bytes = rest.split_to(part.min(rest.len()));
        let delay_ms = if pieces.is_empty() {
            0
        } else {
            steering.gap_ms
        };
        pieces.push(Piece { delay_ms, bytes });
    }
    if let Some(after) = cut_after {
        pieces.truncate(after.min(pieces.len().saturating_sub(1)));
        plan.ending = Ending::Cut;
    }
    plan.pieces = pieces;
    plan
}
