//! Records of the log as records of a relay's own chain.

use super::source::Read;
use super::state::State;
use super::{RelayConfig, RelayLine};
use crate::chain::{Chain, Link, parse_hash};
use crate::cliproxy::put_record;
use crate::signing::{CHECKPOINT, canonical_of};
use crate::{Action, Actor, Outcome};
use serde_json::{Map, Value, json};
use tollkeep_crypto::sha256;
use tollkeep_types::EventId;

/// A chain, and what of it is signed.
#[derive(Clone, Copy)]
pub(super) struct Words {
    chain: Chain,
}

impl Words {
    pub(super) fn new(state: &State) -> Self {
        Self {
            chain: Chain::new(state.stream(), state.own),
        }
    }

    /// Where the chain stands.
    pub(super) fn link(&self) -> Link {
        let hash = String::from_utf8_lossy(self.chain.prev_hex()).into_owned();
        Link {
            seq: self.chain.last_seq(),
            hash: parse_hash(&hash).unwrap_or_default(),
        }
    }

    /// The next line: a record in the words of the place, in this chain.
    pub(super) fn line(&mut self, config: &RelayConfig, record: Map<String, Value>) -> RelayLine {
        let text = |name: &str| match record.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(_) | None => String::new(),
        };
        let (action, timestamp, result) = (text("action"), text("timestamp"), text("result"));
        let mut own = match &config.cliproxy {
            Some(cliproxy) => cliproxy.translated(&record),
            None => record,
        };
        own.shift_remove("hash");
        own.insert("stream".to_owned(), json!(self.chain.stream));
        own.insert("seq".to_owned(), json!(self.chain.next_seq()));
        let prev = String::from_utf8_lossy(self.chain.prev_hex()).into_owned();
        own.insert("prev".to_owned(), Value::from(prev));
        let mut line = Vec::new();
        put_record(&mut line, &own, &mut self.chain);
        line.pop();
        RelayLine {
            text: String::from_utf8_lossy(&line).into_owned(),
            seq: self.chain.last_seq(),
            action,
            timestamp,
            result,
        }
    }

    /// Says that records before this one are gone. It is the same line whenever it is made.
    pub(super) fn gap(&mut self, config: &RelayConfig, next: &Read) -> RelayLine {
        let (stream, seq) = (self.chain.stream.to_string(), self.chain.next_seq());
        let digest = sha256(&[stream.as_bytes(), &seq.to_be_bytes(), b"gap"]);
        let id = EventId::from_bytes(digest.first_chunk().copied().unwrap_or_default());
        let gap = json!({
            "timestamp": next.record.get("timestamp"),
            "action": Action::AuditGap.as_str(),
            "actor": Actor::System.as_str(),
            "result": Outcome::Error.as_str(),
            "details": { "count": next.missed },
            "id": id.to_string(),
            "class": Action::AuditGap.class(Outcome::Error).as_str(),
        });
        let members = gap.as_object().cloned().unwrap_or_default();
        self.line(config, members)
    }

    /// Where this chain stands, signed, in place of a record that says so of the log's; nothing if
    /// there is no key or nothing was given since the last time.
    pub(super) fn checkpoint(&mut self, config: &RelayConfig, next: &Read) -> Option<RelayLine> {
        let key = config.signer.as_ref()?.key();
        let head = String::from_utf8_lossy(self.chain.prev_hex()).into_owned();
        let mut details = Map::new();
        details.insert("stream".to_owned(), json!(self.chain.stream));
        details.insert("seq".to_owned(), json!(self.chain.last_seq()));
        details.insert("head".to_owned(), Value::from(head));
        details.insert("key_id".to_owned(), Value::from(key.id()));
        let sig = key.sign(CHECKPOINT, canonical_of(&details).as_bytes());
        details.insert("sig".to_owned(), Value::from(sig));
        let mut record = next.record.clone();
        record.insert("details".to_owned(), Value::Object(details));
        Some(self.line(config, record))
    }
}
