//! Events as lines: one compact JSON object with its keys in llm-proxy's order, and beside it the
//! canonical form (RFC 8785) that is hashed.
//!
//! Both are made in one go and without a JSON library, as this runs once a request. Their members
//! are the same, each order written out below; details, which are many, are in
//! [`crate::details`], and what many events have in common in [`crate::kept`].

use crate::chain::Chain;
use crate::details::Details;
use crate::event::{TEXT_CHARS_MAX, USER_AGENT_CHARS_MAX, cut};
use crate::kept::Kept;
use crate::{Event, IpMask, IpText, Key, UserAgentDetail};
use std::borrow::Cow;
use tollkeep_observe::json;
use tollkeep_observe::redact::Redactor;
use tollkeep_types::{EventId, LastHex, TimeText, WallMillis, hex};

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
    request: LastHex,
    kept: Kept,
    details: Details,
    canonical: Vec<u8>,
    ip: IpText,
}

/// What both orders write of one record.
struct Record<'a, 'e> {
    event: &'a Event<'e>,
    id: [u8; 32],
    timestamp: [u8; 24],
    request_id: Option<&'a [u8; 32]>,
    correlation_id: Option<Cow<'a, str>>,
    kept: &'a Kept,
    chain: &'a Chain,
}

impl Encoder {
    pub(crate) fn new(shown: Shown) -> Self {
        Self {
            ip: IpText::new(shown.ip_mask.clone()),
            shown,
            time: TimeText::default(),
            request: LastHex::default(),
            kept: Kept::default(),
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
        self.kept.follow(event, at, &mut self.ip);
        let correlation_id = event.correlation_id.as_deref();
        let request_id = event.request_id.as_ref();
        let record = Record {
            event,
            id: hex(id.bytes()),
            timestamp: self.time.of(at),
            request_id: request_id.map(|id| self.request.of(id.bytes())),
            // The event took only letters, digits, dots, underscores and hyphens.
            correlation_id: correlation_id.map(|id| self.shown.redactor.hide(id)),
            kept: &self.kept,
            chain,
        };
        put_caller_part(out, &record);
        self.details.put(out, event, &self.shown);
        put_own_part(out, &record);
        chain.begin(&mut self.canonical);
        put_canonical(&mut self.canonical, &record, |canonical| {
            self.details.put_canonical(canonical, out);
        });
        let hash = chain.advance(&self.canonical);
        out.extend_from_slice(b",\"hash\":\"");
        out.extend_from_slice(hash);
        out.extend_from_slice(b"\"}\n");
    }
}

/// The members llm-proxy has too, up to its `result`.
fn put_caller_part(out: &mut Vec<u8>, record: &Record<'_, '_>) {
    out.extend_from_slice(b"{\"timestamp\":\"");
    out.extend_from_slice(&record.timestamp);
    out.extend_from_slice(&record.kept.who);
    put_request_id(out, record);
    put_correlation_id(out, record);
    out.extend_from_slice(&record.kept.result);
}

/// The members that are ours, without the hash.
fn put_own_part(out: &mut Vec<u8>, record: &Record<'_, '_>) {
    put_id(out, b",\"id\":\"evt_", &record.id);
    out.extend_from_slice(&record.kept.class);
    put_reason(out, record.event);
    put_id(out, b",\"stream\":\"aus_", record.chain.stream_hex());
    out.extend_from_slice(b",\"seq\":");
    json::number(out, record.chain.next_seq());
    put_prev(out, record);
}

/// All members but the hash, in the order of their names.
fn put_canonical(
    out: &mut Vec<u8>,
    record: &Record<'_, '_>,
    put_details: impl FnOnce(&mut Vec<u8>),
) {
    out.extend_from_slice(&record.kept.head);
    put_correlation_id(out, record);
    put_details(out);
    put_id(out, b",\"id\":\"evt_", &record.id);
    put_prev(out, record);
    out.extend_from_slice(&record.kept.project);
    put_reason(out, record.event);
    put_request_id(out, record);
    out.extend_from_slice(b",\"result\":");
    record.event.outcome.write(out);
    out.extend_from_slice(b",\"seq\":");
    json::number(out, record.chain.next_seq());
    put_id(out, b",\"stream\":\"aus_", record.chain.stream_hex());
    out.extend_from_slice(&record.kept.tail);
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
fn put_request_id(out: &mut Vec<u8>, record: &Record<'_, '_>) {
    if let Some(digits) = record.request_id {
        put_id(out, b",\"request_id\":\"req_", digits);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::Link;
    use crate::{Action, Actor, ActorId, Outcome};
    use std::net::{IpAddr, Ipv4Addr};
    use tollkeep_types::{ManagementKeyId, ProjectId, RequestId, StreamId, TenantId, TokenId};

    /// Events of which each differs from the one before in one thing or not at all.
    fn events() -> Vec<Event<'static>> {
        let plain = Event::new(Action::ProxyRequest, Actor::Client, Outcome::Success);
        let call = plain
            .clone()
            .with_tenant_id(TenantId::from_bytes([1; 16]))
            .with_project_id(ProjectId::from_bytes([2; 16]))
            .with_actor_id(ActorId::Token(TokenId::from_bytes([3; 16])))
            .with_request_id(RequestId::from_bytes([4; 16]))
            .with_client_ip(IpAddr::V4(Ipv4Addr::LOCALHOST))
            .with_http_method("POST");
        let changed = |change: fn(&mut Event<'static>)| {
            let mut event = call.clone();
            change(&mut event);
            [call.clone(), event.clone(), event]
        };
        let all = [
            changed(|event| event.action = Action::TokenAccess),
            changed(|event| event.actor = Actor::Anonymous),
            changed(|event| event.outcome = Outcome::Denied),
            changed(|event| event.tenant_id = None),
            changed(|event| event.tenant_id = Some(TenantId::from_bytes([9; 16]))),
            changed(|event| event.project_id = None),
            changed(|event| event.project_id = Some(ProjectId::from_bytes([9; 16]))),
            changed(|event| event.request_id = None),
            changed(|event| event.request_id = Some(RequestId::from_bytes([9; 16]))),
            changed(|event| event.actor_id = None),
            changed(|event| event.actor_id = Some(ActorId::LocalUid(1000))),
            changed(|event| {
                let id = ManagementKeyId::from_bytes([3; 16]);
                event.actor_id = Some(ActorId::ManagementKey(id));
            }),
            changed(|event| event.client_ip = None),
            changed(|event| event.client_ip = Some(IpAddr::V4(Ipv4Addr::BROADCAST))),
            changed(|event| event.reason = Some("quota")),
            changed(|event| event.correlation_id = Some("abc".into())),
            changed(|event| event.details.clear()),
        ];
        [plain]
            .into_iter()
            .chain(all.into_iter().flatten())
            .collect()
    }

    // AUD-50
    #[test]
    fn what_was_written_before_changes_nothing_in_a_record() {
        let mut encoder = Encoder::new(Shown::default());
        let mut chain = Chain::new(StreamId::from_bytes([7; 16]), Link::START);
        for (number, event) in (0..).zip(events()) {
            let at = (EventId::from_bytes([number; 16]), WallMillis(number.into()));
            let (mut line, mut want) = (Vec::new(), Vec::new());
            let mut same = chain;
            encoder.append(&mut line, &event, at, &mut chain);
            Encoder::new(Shown::default()).append(&mut want, &event, at, &mut same);
            assert_eq!(
                String::from_utf8(line),
                String::from_utf8(want),
                "{event:?}"
            );
        }
    }
}
