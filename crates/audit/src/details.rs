//! The details of an event: in the line in the order of their keys, in the canonical form sorted by
//! name.
//!
//! A detail is written once, into the line; the canonical form is copied from there. They differ
//! only where the line escapes more than the canonical form may.

use crate::encode::Shown;
use crate::event::{TEXT_CHARS_MAX, cut};
use crate::places::{Place, Places};
use crate::{Event, Key, UserAgentDetail, Value};
use tollkeep_observe::json;
use tollkeep_types::LastHex;

/// The keys of details in the order of their names.
const SORTED_KEYS: [Key; Key::ALL.len()] = [
    Key::BytesIn,
    Key::BytesOut,
    Key::Count,
    Key::DownMs,
    Key::DurationMinutes,
    Key::DurationMs,
    Key::Endpoint,
    Key::Error,
    Key::Fingerprint,
    Key::HttpMethod,
    Key::InputTokens,
    Key::IsActive,
    Key::Kind,
    Key::Listener,
    Key::MaxRequests,
    Key::Model,
    Key::Name,
    Key::Outcome,
    Key::OutputTokens,
    Key::Provider,
    Key::Reason,
    Key::RevokedCount,
    Key::Route,
    Key::StatusCode,
    Key::Stream,
    Key::TokenId,
    Key::TokenRef,
    Key::TornBytes,
    Key::Unconfirmed,
    Key::Units,
    Key::UserAgent,
    Key::Version,
];

/// Where each key stands in [`SORTED_KEYS`].
#[expect(
    clippy::indexing_slicing,
    reason = "a constant: an index out of range fails the build"
)]
static RANKS: [u8; Key::ALL.len()] = {
    let mut ranks = [0; Key::ALL.len()];
    let mut rank = 0_u8;
    while (rank as usize) < SORTED_KEYS.len() {
        ranks[SORTED_KEYS[rank as usize] as usize] = rank;
        rank += 1;
    }
    ranks
};

/// Numbers above this are not exact in JSON (RFC 7493); they are written as this.
const NUMBER_MAX: u64 = (1 << 53) - 1;

/// What comes before the details.
const OPENING: &[u8; 11] = b",\"details\":";

/// Writes details and remembers where they are, until the next event's.
#[derive(Default)]
pub(crate) struct Details {
    /// By rank.
    places: Places,
    apart: Vec<u8>,
    token: LastHex,
}

impl Details {
    /// Appends the member with its comma, if there is any detail to show.
    pub(crate) fn put(&mut self, out: &mut Vec<u8>, event: &Event<'_>, shown: &Shown) {
        self.places.clear();
        self.apart.clear();
        let start = out.len();
        out.extend_from_slice(OPENING);
        let first = out.len();
        for (key, value) in &event.details {
            if matches!(key, Key::UserAgent) && shown.user_agent == UserAgentDetail::Off {
                continue;
            }
            self.put_one(out, *key, value, shown);
        }
        if out.len() == first {
            return out.truncate(start);
        }
        close(out, first);
    }

    fn put_one(&mut self, out: &mut Vec<u8>, key: Key, value: &Value<'_>, shown: &Shown) {
        let start = out.len();
        key.write(out);
        match value {
            Value::Word(text) => return self.put_text(out, start, key, text),
            Value::OwnedWord(text) => return self.put_text(out, start, key, text),
            Value::Text(text) => return self.put_text(out, start, key, &shown.text(key, text)),
            Value::Number(number) => json::number(out, (*number).min(NUMBER_MAX)),
            Value::Flag(true) => out.extend_from_slice(b"true"),
            Value::Flag(false) => out.extend_from_slice(b"false"),
            Value::TokenRef(id) => {
                out.extend_from_slice(b"\"tid_");
                out.extend_from_slice(self.token.of(id.bytes()));
                out.push(b'"');
            }
        }
        self.keep(key, Place::between(start, out.len()));
    }

    /// Appends a text, cut; where the line escapes it, its canonical form goes apart.
    #[inline]
    fn put_text(&mut self, out: &mut Vec<u8>, start: usize, key: Key, text: &str) {
        let text = cut(text, TEXT_CHARS_MAX);
        let before = out.len();
        json::string(out, text);
        if out.len() == before + text.len() + 2 {
            self.keep(key, Place::between(start, out.len()));
        } else {
            self.put_apart(key, text);
        }
    }

    #[cold]
    fn put_apart(&mut self, key: Key, text: &str) {
        let start = self.apart.len();
        key.write(&mut self.apart);
        canonical_string(&mut self.apart, text);
        let place = Place::between(start, self.apart.len());
        let apart = true;
        self.keep(key, Place { apart, ..place });
    }

    #[inline]
    fn keep(&mut self, key: Key, place: Place) {
        if let Some(rank) = RANKS.get(key as usize) {
            self.places.set(usize::from(*rank), place);
        }
    }

    /// Appends the canonical member with its comma. `line` is where the details were put last.
    pub(crate) fn put_canonical(&self, out: &mut Vec<u8>, line: &[u8]) {
        let mut places = self.places.written();
        let Some(mut run) = places.next() else {
            return;
        };
        out.extend_from_slice(OPENING);
        let first = out.len();
        for place in places {
            // Neighbours in the line too are copied together.
            if place.start == run.end && place.apart == run.apart {
                run.end = place.end;
            } else {
                self.copy(out, line, run);
                run = place;
            }
        }
        self.copy(out, line, run);
        close(out, first);
    }

    fn copy(&self, out: &mut Vec<u8>, line: &[u8], place: Place) {
        let from = if place.apart { &self.apart } else { line };
        let start = out.len();
        out.extend_from_slice(from.get(place.start..place.end).unwrap_or_default());
        // What is first in the line need not be here.
        put_at(out, start, b',');
    }
}

/// Every detail has a comma before it; the first one's becomes the brace.
fn close(out: &mut Vec<u8>, first: usize) {
    put_at(out, first, b'{');
    out.push(b'}');
}

fn put_at(out: &mut [u8], at: usize, byte: u8) {
    if let Some(place) = out.get_mut(at) {
        *place = byte;
    }
}

/// Appends a text as RFC 8785 wants it: the short escapes, `\u00xx` for the other controls, and
/// everything else as it is.
fn canonical_string(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x09 => out.extend_from_slice(b"\\t"),
            0x0a => out.extend_from_slice(b"\\n"),
            0x0c => out.extend_from_slice(b"\\f"),
            0x0d => out.extend_from_slice(b"\\r"),
            0x00..=0x1f => {
                out.extend_from_slice(b"\\u00");
                for nibble in [byte >> 4, byte & 0x0f] {
                    out.extend(HEX.get(usize::from(nibble)));
                }
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    // AUD-50
    #[test]
    fn the_canonical_order_is_complete_and_sorted() {
        let names: Vec<_> = SORTED_KEYS.iter().map(|key| key.as_str()).collect();
        assert!(names.is_sorted());
        let mut keys = SORTED_KEYS;
        keys.sort_unstable();
        assert_eq!(keys, Key::ALL);
    }

    // AUD-50
    #[test]
    fn canonical_strings_are_those_of_rfc_8785() {
        // Section 3.2.2.2's example, and what only the line escapes.
        let mut out = Vec::new();
        canonical_string(
            &mut out,
            "\u{20ac}$\u{f}\u{a}A'\u{42}\u{22}\u{5c}\\\"/\u{7f}\u{2028}",
        );
        let want = "\"\u{20ac}$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\u{7f}\u{2028}\"";
        assert_eq!(String::from_utf8(out).unwrap(), want);
    }
}
