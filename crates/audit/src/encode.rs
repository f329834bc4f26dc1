//! Events as lines: one compact JSON object with its keys in llm-proxy's order, and beside it the
//! canonical form (RFC 8785) that is hashed.
//!
//! Both are made in one go and without a JSON library, as this runs once a request. Their members
//! are the same, each order written out below; details, which are many, are in
//! [`crate::details`].

use crate::chain::Chain;
use crate::details::Details;
use crate::event::{TEXT_CHARS_MAX, USER_AGENT_CHARS_MAX, cut};
use crate::{ActorId, Event, IpMask, IpText, Key, UserAgentDetail};
use std::borrow::Cow;
use tollkeep_observe::json;
use tollkeep_observe::redact::Redactor;
use tollkeep_types::{EventId, LastHex, TimeText, WallMillis};

/// What of an event is shown, and how.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown {
    pub(crate) ip_mask: IpMask,
    pub(crate) user_agent: UserAgentDetail,
    pub(crate) redactor: Redactor,
}

/// Makes lines. It keeps its buffers, so that it allocates only while they grow, and what it wrote
/// last, as events of one caller come in a row.
pub(crate) struct Encoder {
    shown: Shown,
    time: TimeText,
    hex: Hex,
    details: Details,
    canonical: Vec<u8>,
    ip: IpText,
}

/// The digits of ids.
#[derive(Default)]
struct Hex {
    event: LastHex,
    request: LastHex,
    tenant: LastHex,
    project: LastHex,
    actor: LastHex,
}

/// What both orders write of one record.
struct Record<'a, 'e> {
    event: &'a Event<'e>,
    id: EventId,
    timestamp: [u8; 24],
    correlation_id: Option<Cow<'a, str>>,
    client_ip: Option<&'a [u8]>,
    chain: &'a Chain,
}

impl Encoder {
    pub(crate) fn new(shown: Shown) -> Self {
        Self {
            ip: IpText::new(shown.ip_mask.clone()),
            shown,
            time: TimeText::default(),
            hex: Hex::default(),
            details: Details::default(),
            canonical: Vec::with_capacity(1024),
        }
    }

    /// HOT. Appends the event as the next record of `chain`, with its line feed.
    pub(crate) fn append(
        &mut self,
        out: &mut Vec<u8>,
        event: &Event<'_>,
        (id, at): (EventId, WallMillis),
        chain: &mut Chain,
    ) {
        let correlation_id = event.correlation_id.as_deref();
        let record = Record {
            event,
            id,
            timestamp: self.time.of(at),
            // The event took only letters, digits, dots, underscores and hyphens.
            correlation_id: correlation_id.map(|id| self.shown.redactor.hide(id)),
            client_ip: event.client_ip.and_then(|ip| self.ip.of(ip)),
            chain,
        };
        put_caller_part(out, &record, &mut self.hex);
        self.details.put(out, event, &self.shown);
        put_own_part(out, &record, &mut self.hex);
        chain.begin(&mut self.canonical);
        put_canonical(&mut self.canonical, &record, &mut self.hex, |canonical| {
            self.details.put_canonical(canonical, out);
        });
        let hash = chain.advance(&self.canonical);
        out.extend_from_slice(b",\"hash\":\"");
        out.extend_from_slice(hash);
        out.extend_from_slice(b"\"}\n");
    }
}

/// The members llm-proxy has too, up to its `result`.
fn put_caller_part(out: &mut Vec<u8>, record: &Record<'_, '_>, hex: &mut Hex) {
    let event = record.event;
    out.extend_from_slice(b"{\"timestamp\":\"");
    out.extend_from_slice(&record.timestamp);
    out.extend_from_slice(b"\",\"action\":");
    event.action.write(out);
    out.extend_from_slice(b",\"actor\":");
    event.actor.write(out);
    if let Some(id) = event.project_id {
        put_id(out, b",\"project_id\":\"prj_", hex.project.of(id.bytes()));
    }
    if let Some(id) = event.request_id {
        put_id(out, b",\"request_id\":\"req_", hex.request.of(id.bytes()));
    }
    put_correlation_id(out, record);
    put_client_ip(out, record);
    out.extend_from_slice(b",\"result\":");
    event.outcome.write(out);
}

/// The members that are ours, without the hash.
fn put_own_part(out: &mut Vec<u8>, record: &Record<'_, '_>, hex: &mut Hex) {
    let event = record.event;
    put_id(out, b",\"id\":\"evt_", hex.event.of(record.id.bytes()));
    if let Some(id) = event.tenant_id {
        put_id(out, b",\"tenant_id\":\"ten_", hex.tenant.of(id.bytes()));
    }
    put_actor_id(out, event, hex);
    out.extend_from_slice(b",\"class\":");
    event.class().write(out);
    put_reason(out, event);
    put_id(out, b",\"stream\":\"aus_", record.chain.stream_hex());
    out.extend_from_slice(b",\"seq\":");
    json::number(out, record.chain.next_seq());
    put_prev(out, record);
}

/// All members but the hash, in the order of their names.
fn put_canonical(
    out: &mut Vec<u8>,
    record: &Record<'_, '_>,
    hex: &mut Hex,
    put_details: impl FnOnce(&mut Vec<u8>),
) {
    let event = record.event;
    out.extend_from_slice(b"{\"action\":");
    event.action.write(out);
    out.extend_from_slice(b",\"actor\":");
    event.actor.write(out);
    put_actor_id(out, event, hex);
    out.extend_from_slice(b",\"class\":");
    event.class().write(out);
    put_client_ip(out, record);
    put_correlation_id(out, record);
    put_details(out);
    put_id(out, b",\"id\":\"evt_", hex.event.of(record.id.bytes()));
    put_prev(out, record);
    if let Some(id) = event.project_id {
        put_id(out, b",\"project_id\":\"prj_", hex.project.of(id.bytes()));
    }
    put_reason(out, event);
    if let Some(id) = event.request_id {
        put_id(out, b",\"request_id\":\"req_", hex.request.of(id.bytes()));
    }
    out.extend_from_slice(b",\"result\":");
    event.outcome.write(out);
    out.extend_from_slice(b",\"seq\":");
    json::number(out, record.chain.next_seq());
    put_id(out, b",\"stream\":\"aus_", record.chain.stream_hex());
    if let Some(id) = event.tenant_id {
        put_id(out, b",\"tenant_id\":\"ten_", hex.tenant.of(id.bytes()));
    }
    out.extend_from_slice(b",\"timestamp\":\"");
    out.extend_from_slice(&record.timestamp);
    out.extend_from_slice(b"\"}");
}

/// Appends a member from its name, with all up to the digits, and the digits. Lengths that are
/// known beforehand are copied without a call.
#[inline]
fn put_id<const N: usize>(out: &mut Vec<u8>, name: &[u8; N], digits: &[u8; 32]) {
    out.extend_from_slice(name);
    out.extend_from_slice(digits);
    out.push(b'"');
}

/// Appends a member whose text needs no escapes.
#[inline]
fn put_plain<const N: usize>(out: &mut Vec<u8>, name: &[u8; N], text: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(text);
    out.push(b'"');
}

#[inline]
fn put_correlation_id(out: &mut Vec<u8>, record: &Record<'_, '_>) {
    if let Some(id) = &record.correlation_id {
        put_plain(out, b",\"correlation_id\":\"", id.as_bytes());
    }
}

#[inline]
fn put_client_ip(out: &mut Vec<u8>, record: &Record<'_, '_>) {
    if let Some(ip) = record.client_ip {
        put_plain(out, b",\"client_ip\":\"", ip);
    }
}

#[inline]
fn put_actor_id(out: &mut Vec<u8>, event: &Event<'_>, hex: &mut Hex) {
    match event.actor_id {
        Some(ActorId::Token(id)) => {
            put_id(out, b",\"actor_id\":\"tid_", hex.actor.of(id.bytes()));
        }
        Some(ActorId::ManagementKey(id)) => {
            put_id(out, b",\"actor_id\":\"mky_", hex.actor.of(id.bytes()));
        }
        Some(ActorId::LocalUid(uid)) => {
            out.extend_from_slice(b",\"actor_id\":\"local:");
            json::number(out, u64::from(uid));
            out.push(b'"');
        }
        None => {}
    }
}

#[inline]
fn put_reason(out: &mut Vec<u8>, event: &Event<'_>) {
    if let Some(reason) = event.reason {
        put_plain(out, b",\"reason\":\"", reason.as_bytes());
    }
}

#[inline]
fn put_prev(out: &mut Vec<u8>, record: &Record<'_, '_>) {
    out.extend_from_slice(b",\"prev\":\"");
    out.extend_from_slice(record.chain.prev_hex());
    out.push(b'"');
}

impl Shown {
    /// What is written of a stranger's text.
    pub(crate) fn text<'t>(&self, key: Key, text: &'t str) -> Cow<'t, str> {
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
