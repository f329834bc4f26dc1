//! Events as lines: one compact JSON object with its keys in llm-proxy's order, and beside it the
//! canonical form (RFC 8785) that is hashed.
//!
//! Both are made in one go and without a JSON library, as this runs once a request. A member is
//! written once, into the line; the canonical form is put together from the same members in its
//! own order. They differ only where the line escapes more than the canonical form may.

use crate::chain::{Chain, HexHash};
use crate::event::{TEXT_CHARS_MAX, USER_AGENT_CHARS_MAX, cut};
use crate::places::{Place, Places};
use crate::{ActorId, Event, IpMask, Key, UserAgentDetail, Value};
use std::borrow::Cow;
use tollkeep_observe::json;
use tollkeep_observe::redact::Redactor;
use tollkeep_types::{
    EventId, ManagementKeyId, ProjectId, RequestId, StreamId, TenantId, TokenId, WallMillis,
};

/// What of an event is shown, and how.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown {
    pub(crate) ip_mask: IpMask,
    pub(crate) user_agent: UserAgentDetail,
    pub(crate) redactor: Redactor,
}

/// The members of a record in the order of the line.
#[derive(Clone, Copy)]
enum Member {
    Timestamp,
    Action,
    Actor,
    ProjectId,
    RequestId,
    CorrelationId,
    ClientIp,
    Result,
    Details,
    Id,
    TenantId,
    ActorId,
    Class,
    Reason,
    Stream,
    Seq,
    Prev,
}

/// The members in the order of their names.
const SORTED: [Member; 17] = [
    Member::Action,
    Member::Actor,
    Member::ActorId,
    Member::Class,
    Member::ClientIp,
    Member::CorrelationId,
    Member::Details,
    Member::Id,
    Member::Prev,
    Member::ProjectId,
    Member::Reason,
    Member::RequestId,
    Member::Result,
    Member::Seq,
    Member::Stream,
    Member::TenantId,
    Member::Timestamp,
];

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
const RANKS: [u8; Key::ALL.len()] = {
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

/// Makes lines. It keeps its buffers, so that it allocates only while they grow.
pub(crate) struct Encoder {
    shown: Shown,
    members: Places<{ SORTED.len() }>,
    /// By rank.
    details: Places<{ Key::ALL.len() }>,
    apart: Vec<u8>,
    canonical: Vec<u8>,
    ip: Vec<u8>,
}

impl Encoder {
    pub(crate) fn new(shown: Shown) -> Self {
        Self {
            shown,
            members: Places::new(),
            details: Places::new(),
            apart: Vec::new(),
            canonical: Vec::with_capacity(1024),
            ip: Vec::new(),
        }
    }

    /// Appends the event as the next record of `chain`, with its line feed.
    pub(crate) fn append(
        &mut self,
        out: &mut Vec<u8>,
        event: &Event<'_>,
        (id, at): (EventId, WallMillis),
        chain: &mut Chain,
    ) {
        self.members.clear();
        self.put_caller_part(out, event, at);
        self.put_details(out, event);
        self.put_own_part(out, event, id, chain);
        self.put_canonical(out);
        let hash: &HexHash = chain.advance(&self.canonical);
        out.extend_from_slice(b",\"hash\":\"");
        out.extend_from_slice(hash);
        out.extend_from_slice(b"\"}\n");
    }

    /// Writes one member and remembers its place. The name comes with the comma or brace before
    /// it, which is not part of the place.
    #[inline]
    fn put(
        &mut self,
        out: &mut Vec<u8>,
        member: Member,
        name: &[u8],
        value: impl FnOnce(&mut Vec<u8>),
    ) {
        let start = out.len() + 1;
        out.extend_from_slice(name);
        value(out);
        let place = Place {
            start,
            end: out.len(),
            apart: false,
        };
        self.members.set(member as usize, place);
    }

    /// The members llm-proxy has too, up to its `result`.
    fn put_caller_part(&mut self, out: &mut Vec<u8>, event: &Event<'_>, at: WallMillis) {
        self.put(out, Member::Timestamp, b"{\"timestamp\":", |out| {
            quoted(out, &at.rfc3339_millis());
        });
        self.put(out, Member::Action, b",\"action\":", |out| {
            quoted(out, event.action.as_str().as_bytes());
        });
        self.put(out, Member::Actor, b",\"actor\":", |out| {
            quoted(out, event.actor.as_str().as_bytes());
        });
        if let Some(id) = event.project_id {
            self.put(out, Member::ProjectId, b",\"project_id\":", |out| {
                json::id(out, ProjectId::PREFIX, &id.hex());
            });
        }
        if let Some(id) = event.request_id {
            self.put(out, Member::RequestId, b",\"request_id\":", |out| {
                json::id(out, RequestId::PREFIX, &id.hex());
            });
        }
        if let Some(id) = &event.correlation_id {
            // The event took only letters, digits, dots, underscores and hyphens.
            let id = self.shown.redactor.hide(id);
            self.put(out, Member::CorrelationId, b",\"correlation_id\":", |out| {
                quoted(out, id.as_bytes());
            });
        }
        if let Some(ip) = event.client_ip {
            let mut text = std::mem::take(&mut self.ip);
            text.clear();
            if self.shown.ip_mask.write(ip, &mut text) {
                self.put(out, Member::ClientIp, b",\"client_ip\":", |out| {
                    quoted(out, &text);
                });
            }
            self.ip = text;
        }
        self.put(out, Member::Result, b",\"result\":", |out| {
            quoted(out, event.outcome.as_str().as_bytes());
        });
    }

    /// The members that are ours, without the hash.
    fn put_own_part(&mut self, out: &mut Vec<u8>, event: &Event<'_>, id: EventId, chain: &Chain) {
        self.put(out, Member::Id, b",\"id\":", |out| {
            json::id(out, EventId::PREFIX, &id.hex());
        });
        if let Some(id) = event.tenant_id {
            self.put(out, Member::TenantId, b",\"tenant_id\":", |out| {
                json::id(out, TenantId::PREFIX, &id.hex());
            });
        }
        if let Some(id) = event.actor_id {
            self.put(out, Member::ActorId, b",\"actor_id\":", |out| match id {
                ActorId::Token(id) => json::id(out, TokenId::PREFIX, &id.hex()),
                ActorId::ManagementKey(id) => json::id(out, ManagementKeyId::PREFIX, &id.hex()),
                ActorId::LocalUid(uid) => {
                    out.extend_from_slice(b"\"local:");
                    json::number(out, u64::from(uid));
                    out.push(b'"');
                }
            });
        }
        self.put(out, Member::Class, b",\"class\":", |out| {
            quoted(out, event.class().as_str().as_bytes());
        });
        if let Some(reason) = event.reason {
            self.put(out, Member::Reason, b",\"reason\":", |out| {
                quoted(out, reason.as_bytes());
            });
        }
        self.put(out, Member::Stream, b",\"stream\":", |out| {
            json::id(out, StreamId::PREFIX, chain.stream_hex());
        });
        self.put(out, Member::Seq, b",\"seq\":", |out| {
            json::number(out, chain.next_seq());
        });
        self.put(out, Member::Prev, b",\"prev\":", |out| {
            quoted(out, chain.prev_hex());
        });
    }

    fn put_details(&mut self, out: &mut Vec<u8>, event: &Event<'_>) {
        self.details.clear();
        self.apart.clear();
        if event.details.is_empty() {
            return;
        }
        let start = out.len();
        out.extend_from_slice(b",\"details\":{");
        let first = out.len();
        for (key, value) in &event.details {
            if matches!(key, Key::UserAgent) && self.shown.user_agent == UserAgentDetail::Off {
                continue;
            }
            if out.len() > first {
                out.push(b',');
            }
            self.put_detail(out, *key, value);
        }
        if out.len() == first {
            out.truncate(start);
            return;
        }
        out.push(b'}');
        let place = Place {
            start: start + 1,
            end: out.len(),
            apart: false,
        };
        self.members.set(Member::Details as usize, place);
    }

    fn put_detail(&mut self, out: &mut Vec<u8>, key: Key, value: &Value<'_>) {
        let start = out.len();
        name(out, key);
        let apart = match value {
            Value::Word(text) => self.put_text(out, key, cut(text, TEXT_CHARS_MAX)),
            Value::OwnedWord(text) => self.put_text(out, key, cut(text, TEXT_CHARS_MAX)),
            Value::Text(text) => {
                let text = self.shown.text(key, text);
                self.put_text(out, key, &text)
            }
            Value::Number(number) => {
                json::number(out, (*number).min(NUMBER_MAX));
                None
            }
            Value::Flag(flag) => {
                out.extend_from_slice(if *flag { b"true" } else { b"false" });
                None
            }
            Value::TokenRef(id) => {
                json::id(out, TokenId::PREFIX, &id.hex());
                None
            }
        };
        let place = apart.unwrap_or(Place {
            start,
            end: out.len(),
            apart: false,
        });
        if let Some(rank) = RANKS.get(key as usize) {
            self.details.set(usize::from(*rank), place);
        }
    }

    /// Writes a text; where the line escapes it, its canonical member goes apart.
    fn put_text(&mut self, out: &mut Vec<u8>, key: Key, text: &str) -> Option<Place> {
        let before = out.len();
        json::string(out, text);
        if out.len() == before + text.len() + 2 {
            return None;
        }
        let start = self.apart.len();
        name(&mut self.apart, key);
        canonical_string(&mut self.apart, text);
        Some(Place {
            start,
            end: self.apart.len(),
            apart: true,
        })
    }

    /// Puts the canonical form together.
    fn put_canonical(&mut self, out: &[u8]) {
        self.canonical.clear();
        let mut opening = b'{';
        for member in SORTED {
            let Some(place) = self.members.get(member as usize) else {
                continue;
            };
            self.canonical.push(opening);
            opening = b',';
            if matches!(member, Member::Details) {
                self.put_canonical_details(out);
            } else {
                let text = out.get(place.range()).unwrap_or_default();
                self.canonical.extend_from_slice(text);
            }
        }
        self.canonical.push(b'}');
    }

    fn put_canonical_details(&mut self, out: &[u8]) {
        self.canonical.extend_from_slice(b"\"details\":");
        let mut opening = b'{';
        for place in self.details.written() {
            let from = if place.apart { &self.apart } else { out };
            self.canonical.push(opening);
            let text = from.get(place.range()).unwrap_or_default();
            self.canonical.extend_from_slice(text);
            opening = b',';
        }
        self.canonical.push(b'}');
    }
}

impl Shown {
    /// What is written of a stranger's text.
    fn text<'t>(&self, key: Key, text: &'t str) -> Cow<'t, str> {
        let chars_max = if matches!(key, Key::UserAgent) {
            USER_AGENT_CHARS_MAX
        } else {
            TEXT_CHARS_MAX
        };
        // More than can be shown is kept until secrets are found, so that none is cut in two.
        let near = cut(text, 4 * TEXT_CHARS_MAX);
        let family = matches!(key, Key::UserAgent) && self.user_agent == UserAgentDetail::Family;
        let near = if family {
            near.split(['/', ' ', '(', ';']).next().unwrap_or_default()
        } else {
            near
        };
        match self.redactor.hide(near) {
            Cow::Borrowed(text) => Cow::Borrowed(cut(text, chars_max)),
            Cow::Owned(text) => Cow::Owned(cut(&text, chars_max).to_owned()),
        }
    }
}

/// Appends a key and its colon.
fn name(out: &mut Vec<u8>, key: Key) {
    out.push(b'"');
    out.extend_from_slice(key.as_str().as_bytes());
    out.extend_from_slice(b"\":");
}

/// Appends a text that needs no escapes.
fn quoted(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    out.extend_from_slice(text);
    out.push(b'"');
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
    fn both_orders_are_complete_and_the_canonical_one_is_sorted() {
        let names: Vec<_> = SORTED_KEYS.iter().map(|key| key.as_str()).collect();
        assert!(names.is_sorted());
        let mut keys = SORTED_KEYS;
        keys.sort_unstable();
        assert_eq!(keys, Key::ALL);
        let mut members = SORTED.map(|member| member as usize);
        members.sort_unstable();
        assert!(members.iter().copied().eq(0..SORTED.len()));
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
