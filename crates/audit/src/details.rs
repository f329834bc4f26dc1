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
    Key::Amount,
    Key::Asset,
    Key::Bound,
    Key::Budget,
    Key::BytesIn,
    Key::BytesOut,
    Key::CertificateNames,
    Key::CertificateSha256,
    Key::CertificateSubject,
    Key::Changed,
    Key::Cidr,
    Key::Count,
    Key::DownMs,
    Key::DryRun,
    Key::DurationMinutes,
    Key::DurationMs,
    Key::Endpoint,
    Key::EntryDigest,
    Key::Error,
    Key::ExpiresAt,
    Key::File,
    Key::Fingerprint,
    Key::Head,
    Key::Heads,
    Key::Hold,
    Key::HttpMethod,
    Key::InputTokens,
    Key::IsActive,
    Key::Kek,
    Key::KeyId,
    Key::Kind,
    Key::Lease,
    Key::LedgerHead,
    Key::Limit,
    Key::List,
    Key::Listener,
    Key::MaxRequests,
    Key::Message,
    Key::Model,
    Key::Name,
    Key::Outcome,
    Key::OutputTokens,
    Key::Payment,
    Key::Percent,
    Key::Previous,
    Key::Provider,
    Key::PublicKey,
    Key::Quality,
    Key::Rail,
    Key::Reason,
    Key::RevokedCount,
    Key::Route,
    Key::Seq,
    Key::Sig,
    Key::Spent,
    Key::StatusCode,
    Key::Stream,
    Key::ThroughSeq,
    Key::TokenId,
    Key::TokenRef,
    Key::TornBytes,
    Key::Unconfirmed,
    Key::Units,
    Key::Unreadable,
    Key::UserAgent,
    Key::Version,
    Key::WindowEnd,
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

/// [`Places`] has a place for each.
const _: () = assert!(Key::ALL.len() <= Places::MAX);

/// Numbers above this are not exact in JSON (RFC 7493); they are written as this.
const NUMBER_MAX: u64 = (1 << 53) - 1;

/// What comes before the details.
const OPENING: &[u8; 11] = b",\"details\":";

/// Writes details and remembers where they are, until the next event's.
pub(crate) struct Details {
    /// By rank.
    places: Places,
    apart: Vec<u8>,
    token: LastHex,
    /// By key.
    plain: [Plain; Key::ALL.len()],
}

impl Default for Details {
    fn default() -> Self {
        Self {
            places: Places::default(),
            apart: Vec::new(),
            token: LastHex::default(),
            plain: std::array::from_fn(|_| Plain::default()),
        }
    }
}

/// The last text of a key that was written as it came, for the next event's, which often has the
/// same. No other text is kept: what is masked must not stay.
#[derive(Default)]
struct Plain {
    text: Vec<u8>,
    strange: bool,
    /// With the key.
    member: Vec<u8>,
}

impl Plain {
    fn is(&self, text: &str, strange: bool) -> bool {
        self.text == text.as_bytes() && self.strange == strange && !self.member.is_empty()
    }

    #[inline(never)]
    fn keep(&mut self, text: &str, strange: bool, member: &[u8]) {
        self.text.clear();
        self.text.extend_from_slice(text.as_bytes());
        self.strange = strange;
        self.member.clear();
        self.member.extend_from_slice(member);
    }
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

    #[inline]
    fn put_one(&mut self, out: &mut Vec<u8>, key: Key, value: &Value<'_>, shown: &Shown) {
        let (text, strange) = match value {
            Value::Word(text) => (*text, false),
            Value::OwnedWord(text) => (&**text, false),
            Value::Text(text) => (&**text, true),
            Value::Number(_) | Value::Flag(_) | Value::TokenRef(_) | Value::Long(_) => {
                return self.put_short(out, key, value);
            }
        };
        let start = out.len();
        match self.plain.get(key as usize) {
            Some(plain) if plain.is(text, strange) => {
                out.extend_from_slice(&plain.member);
                self.keep(key, Place::between(start, out.len()));
            }
            Some(_) | None => self.put_new(out, key, (text, strange), shown),
        }
    }

    /// Appends what is no text.
    #[inline]
    fn put_short(&mut self, out: &mut Vec<u8>, key: Key, value: &Value<'_>) {
        let start = out.len();
        key.write(out);
        match value {
            Value::Number(number) => json::number(out, (*number).min(NUMBER_MAX)),
            Value::Long(text) => {
                out.push(b'"');
                out.extend_from_slice(text.as_bytes());
                out.push(b'"');
            }
            Value::Flag(true) => out.extend_from_slice(b"true"),
            Value::Flag(false) => out.extend_from_slice(b"false"),
            Value::TokenRef(id) => {
                out.extend_from_slice(b"\"tid_");
                out.extend_from_slice(self.token.of(id.bytes()));
                out.push(b'"');
            }
            Value::Word(_) | Value::OwnedWord(_) | Value::Text(_) => {}
        }
        self.keep(key, Place::between(start, out.len()));
    }

    /// Appends a text that is not the last one of its key.
    #[inline(never)]
    fn put_new(
        &mut self,
        out: &mut Vec<u8>,
        key: Key,
        (text, strange): (&str, bool),
        shown: &Shown,
    ) {
        let start = out.len();
        key.write(out);
        let masked = if strange {
            shown.text(key, text)
        } else {
            text.into()
        };
        let shown = cut(&masked, TEXT_CHARS_MAX);
        let before = out.len();
        json::string(out, shown);
        if out.len() != before + shown.len() + 2 {
            return self.put_apart(key, shown);
        }
        self.keep(key, Place::between(start, out.len()));
        if shown == text
            && let Some(plain) = self.plain.get_mut(key as usize)
        {
            plain.keep(text, strange, out.get(start..).unwrap_or_default());
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
pub(crate) fn canonical_string(out: &mut Vec<u8>, text: &str) {
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
    use crate::{Action, Actor, Outcome};

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

    // AUD-32, AUD-35, AUD-50
    #[test]
    fn a_text_is_written_the_same_whatever_its_key_had_before() {
        let secret = "sk-ant-api03-abcdefghijklmnop";
        let long = "x".repeat(TEXT_CHARS_MAX + 1);
        let texts = ["", "plain", "\"quoted\"", "\u{7f}", secret, &long, "plain"];
        let shown = Shown::default();
        let mut kept = Details::default();
        let all = texts
            .iter()
            .flat_map(|text| texts.map(|next| (*text, next)));
        for text in all.flat_map(|(text, next)| [text, next]) {
            let word = Value::Word(text);
            let strange = Value::Text(text.into());
            let owned = Value::OwnedWord(text.into());
            for value in [word.clone(), strange.clone(), strange, owned, word] {
                for key in [Key::Model, Key::UserAgent] {
                    let event = Event::new(Action::ProxyRequest, Actor::Client, Outcome::Success)
                        .with_detail(Key::Count, Value::Number(1))
                        .with_detail(key, value.clone());
                    let [line, want] = [&mut kept, &mut Details::default()].map(|details| {
                        let (mut line, mut canonical) = (Vec::new(), Vec::new());
                        details.put(&mut line, &event, &shown);
                        details.put_canonical(&mut canonical, &line);
                        (String::from_utf8(line), String::from_utf8(canonical))
                    });
                    assert_eq!(line, want);
                }
            }
        }
        let held = kept.plain.iter().map(|plain| plain.member.clone());
        let held = String::from_utf8(held.flatten().collect()).unwrap();
        assert!(held.contains("plain"));
    }
}
