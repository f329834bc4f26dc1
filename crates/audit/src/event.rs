//! One thing that happened, before it becomes a line.

use crate::{Action, Actor, Class, Key, Outcome, mask};
use smallvec::SmallVec;
use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;
use tollkeep_types::{
    ManagementKeyId, OperatorId, ProjectId, RequestId, TenantId, TokenId, ToldCertificate,
    WallMillis,
};

/// Which one of its kind the actor was. Never a secret.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ActorId {
    /// The record of an access token.
    Token(TokenId),
    /// The record of a management key.
    ManagementKey(ManagementKeyId),
    /// A person who operates.
    Operator(OperatorId),
    /// A user of this machine, as the kernel named it.
    LocalUid(u32),
}

/// The value of a detail.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Value<'a> {
    /// A word of ours or a configured name; written as it is.
    Word(&'a str),
    /// As [`Self::Word`], for one that was made for the event.
    OwnedWord(Box<str>),
    /// As [`Self::OwnedWord`], for one of ours that is not cut: ASCII that needs no escapes.
    Long(Box<str>),
    /// Anything a stranger had a hand in; what looks like a secret in it is masked when written.
    Text(Cow<'a, str>),
    /// A count.
    Number(u64),
    /// A yes or no.
    Flag(bool),
    /// The record of an access token.
    TokenRef(TokenId),
}

/// One thing that happened. It borrows, so that the writer thread can build it from a record.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    pub(crate) action: Action,
    pub(crate) actor: Actor,
    pub(crate) outcome: Outcome,
    pub(crate) at: Option<WallMillis>,
    pub(crate) actor_id: Option<ActorId>,
    pub(crate) tenant_id: Option<TenantId>,
    pub(crate) project_id: Option<ProjectId>,
    pub(crate) request_id: Option<RequestId>,
    pub(crate) correlation_id: Option<Cow<'a, str>>,
    pub(crate) client_ip: Option<IpAddr>,
    pub(crate) reason: Option<&'static str>,
    /// In the order of the keys, each once.
    pub(crate) details: SmallVec<[(Key, Value<'a>); DETAILS_USUAL]>,
    details_bytes: usize,
}

/// How many details an event may have, and their size with names.
const DETAILS_MAX: usize = 24;
const DETAILS_BYTES_MAX: usize = 4096;

/// As many as a call has, with some to spare, need no memory of their own.
const DETAILS_USUAL: usize = 12;

/// The longest text of a detail, in characters, and of a `User-Agent`.
pub(crate) const TEXT_CHARS_MAX: usize = 256;
pub(crate) const USER_AGENT_CHARS_MAX: usize = 200;

impl<'a> Event<'a> {
    /// An event with nothing but its head. Without [`Self::at`] it happened when it is written.
    pub const fn new(action: Action, actor: Actor, outcome: Outcome) -> Self {
        Self {
            action,
            actor,
            outcome,
            at: None,
            actor_id: None,
            tenant_id: None,
            project_id: None,
            request_id: None,
            correlation_id: None,
            client_ip: None,
            reason: None,
            details: SmallVec::new_const(),
            details_bytes: 0,
        }
    }

    /// How durable it must be.
    pub const fn class(&self) -> Class {
        self.action.class(self.outcome)
    }

    /// When it happened.
    #[must_use]
    pub const fn at(mut self, at: WallMillis) -> Self {
        self.at = Some(at);
        self
    }

    /// Which one of its kind the actor was.
    #[must_use]
    pub const fn with_actor_id(mut self, id: ActorId) -> Self {
        self.actor_id = Some(id);
        self
    }

    /// The tenant it belongs to.
    #[must_use]
    pub const fn with_tenant_id(mut self, id: TenantId) -> Self {
        self.tenant_id = Some(id);
        self
    }

    /// The project it belongs to.
    #[must_use]
    pub const fn with_project_id(mut self, id: ProjectId) -> Self {
        self.project_id = Some(id);
        self
    }

    /// The request it happened in.
    #[must_use]
    pub const fn with_request_id(mut self, id: RequestId) -> Self {
        self.request_id = Some(id);
        self
    }

    /// The caller's own name for the request; left out unless it is 1 to 64 letters, digits,
    /// dots, underscores and hyphens.
    #[must_use]
    #[inline]
    pub fn with_correlation_id(mut self, id: impl Into<Cow<'a, str>>) -> Self {
        let id = id.into();
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if (1..=64).contains(&id.len()) && id.bytes().all(plain) {
            self.correlation_id = Some(id);
        }
        self
    }

    /// The resolved address of the caller; masked when written, as the settings say.
    #[must_use]
    pub const fn with_client_ip(mut self, ip: IpAddr) -> Self {
        self.client_ip = Some(ip);
        self
    }

    /// Why, as a closed code like `token_expired`.
    #[must_use]
    pub const fn with_reason(mut self, code: &'static str) -> Self {
        self.reason = Some(code);
        self
    }

    /// A secret as its mask: `tok-1234567890abcdef` becomes `tok-1234****cdef`.
    #[must_use]
    #[inline]
    pub fn with_token_id(self, secret: &str) -> Self {
        let masked = mask(secret);
        self.with_detail(Key::TokenId, Value::Text(Cow::Owned(masked)))
    }

    /// A token by the mask that was made of it when it was minted.
    #[must_use]
    #[inline]
    pub fn with_token_hint(self, hint: &'a str) -> Self {
        self.with_detail(Key::TokenId, Value::Word(hint))
    }

    /// The record of the token.
    #[must_use]
    #[inline]
    pub fn with_token_ref(self, id: TokenId) -> Self {
        self.with_detail(Key::TokenRef, Value::TokenRef(id))
    }

    /// The request method.
    #[must_use]
    #[inline]
    pub fn with_http_method(self, method: &'a str) -> Self {
        self.with_detail(Key::HttpMethod, Value::Word(method))
    }

    /// The path without its query.
    #[must_use]
    #[inline]
    pub fn with_endpoint(self, path: impl Into<Cow<'a, str>>) -> Self {
        self.with_detail(Key::Endpoint, Value::Text(path.into()))
    }

    /// What the caller calls itself; at most 200 characters are kept.
    #[must_use]
    #[inline]
    pub fn with_user_agent(self, text: impl Into<Cow<'a, str>>) -> Self {
        self.with_detail(Key::UserAgent, Value::Text(text.into()))
    }

    /// How long it took.
    #[must_use]
    pub fn with_duration(self, duration: Duration) -> Self {
        self.with_duration_ms(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    /// How long it took, in milliseconds.
    #[must_use]
    #[inline]
    pub fn with_duration_ms(self, ms: u64) -> Self {
        self.with_detail(Key::DurationMs, Value::Number(ms))
    }

    /// The certificate the client showed.
    #[must_use]
    pub fn with_certificate(mut self, certificate: &ToldCertificate) -> Self {
        for (key, text) in certificate_texts(certificate) {
            self.put(key, Value::Text(Cow::Owned(text.to_owned())));
        }
        let sha256 = Value::OwnedWord(certificate.sha256.clone());
        self.with_detail(Key::CertificateSha256, sha256)
    }

    /// As [`Self::with_certificate`], in place and borrowed.
    pub fn add_certificate(&mut self, certificate: &'a ToldCertificate) {
        for (key, text) in certificate_texts(certificate) {
            self.put(key, Value::Text(text.into()));
        }
        self.put(Key::CertificateSha256, Value::Word(&certificate.sha256));
    }

    /// What broke, for the operator.
    #[must_use]
    #[inline]
    pub fn with_error(self, text: impl Into<Cow<'a, str>>) -> Self {
        self.with_detail(Key::Error, Value::Text(text.into()))
    }

    /// One detail; texts are cut at 256 characters when written. A key given twice keeps the
    /// first value; what comes after 24 details or 4 KiB of them is left out.
    #[must_use]
    #[inline]
    pub fn with_detail(mut self, key: Key, value: Value<'a>) -> Self {
        self.put(key, value);
        self
    }

    /// Not inlined, so that the builders are, and events are not copied from one to the next.
    #[inline(never)]
    fn put(&mut self, key: Key, value: Value<'a>) {
        self.add_detail(key, value);
    }

    /// HOT. As [`Self::with_detail`], in place; quickest in the order of the keys. Inlined, as for
    /// a known key and kind of value little is left to do.
    #[inline(always)]
    pub fn add_detail(&mut self, key: Key, value: Value<'a>) {
        let bytes = key.as_str().len() + value.bytes_max();
        if self.details.len() >= DETAILS_MAX || self.details_bytes + bytes > DETAILS_BYTES_MAX {
            return;
        }
        // Details mostly come in their order.
        if self.details.last().is_none_or(|(last, _)| *last < key) {
            self.details.push((key, value));
            self.details_bytes += bytes;
        } else if self.sort_in(key, value) {
            self.details_bytes += bytes;
        }
    }

    /// Puts a detail between others; says whether its key is new.
    #[inline(never)]
    fn sort_in(&mut self, key: Key, value: Value<'a>) -> bool {
        let before = self.details.iter().rev();
        let after = before.take_while(|(other, _)| *other > key).count();
        let place = self.details.len() - after;
        let twin = place.checked_sub(1).and_then(|at| self.details.get(at));
        let is_new = twin.is_none_or(|(other, _)| *other != key);
        if is_new {
            self.details.insert(place, (key, value));
        }
        is_new
    }

    /// The same event, borrowing nothing, so that it can wait for the writer thread.
    pub(crate) fn to_owned_event(&self) -> Event<'static> {
        let details = self.details.iter();
        Event {
            action: self.action,
            actor: self.actor,
            outcome: self.outcome,
            at: self.at,
            actor_id: self.actor_id,
            tenant_id: self.tenant_id,
            project_id: self.project_id,
            request_id: self.request_id,
            correlation_id: self
                .correlation_id
                .clone()
                .map(|id| Cow::Owned(id.into_owned())),
            client_ip: self.client_ip,
            reason: self.reason,
            details: details
                .map(|(key, value)| (*key, value.to_owned_value()))
                .collect(),
            details_bytes: self.details_bytes,
        }
    }
}

/// What a certificate says of its holder, if it says it.
fn certificate_texts(certificate: &ToldCertificate) -> impl Iterator<Item = (Key, &str)> {
    let texts = [
        (Key::CertificateSubject, &*certificate.subject),
        (Key::CertificateNames, &*certificate.names),
    ];
    texts.into_iter().filter(|(_, text)| !text.is_empty())
}

/// At most `chars` characters of a text.
#[inline]
pub(crate) fn cut(text: &str, chars: usize) -> &str {
    if text.len() <= chars {
        return text;
    }
    cut_long(text, chars)
}

#[inline(never)]
fn cut_long(text: &str, chars: usize) -> &str {
    let end = text.char_indices().nth(chars);
    text.get(..end.map_or(text.len(), |(at, _)| at))
        .unwrap_or_default()
}

impl Value<'_> {
    /// How many bytes it may take, quotes and separators included.
    #[inline]
    fn bytes_max(&self) -> usize {
        // Escapes are not counted.
        let text = |text: &str| cut(text, TEXT_CHARS_MAX).len() + 6;
        match self {
            Self::Word(word) => text(word),
            Self::OwnedWord(word) => text(word),
            Self::Long(word) => word.len() + 6,
            Self::Text(value) => text(value),
            Self::Number(_) | Self::Flag(_) => 20,
            Self::TokenRef(_) => 42,
        }
    }

    fn to_owned_value(&self) -> Value<'static> {
        match self {
            Self::Word(word) => Value::OwnedWord((*word).into()),
            Self::OwnedWord(word) => Value::OwnedWord(word.clone()),
            Self::Long(word) => Value::Long(word.clone()),
            Self::Text(text) => Value::Text(Cow::Owned(text.clone().into_owned())),
            Self::Number(number) => Value::Number(*number),
            Self::Flag(flag) => Value::Flag(*flag),
            Self::TokenRef(id) => Value::TokenRef(*id),
        }
    }
}
