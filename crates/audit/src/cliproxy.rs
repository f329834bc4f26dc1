//! Events as lines in the words of cliproxyapi++, for tools that know its log.
//!
//! It is the format of few, so it is written for the eye and not for speed.

use crate::chain::Chain;
use crate::encode::Shown;
use crate::export::canonical;
use crate::{Action, ActorId, Class, Event, IpText, Key, Outcome, Value};
use serde_json::{Map, Value as Json};
use tollkeep_crypto::hmac_sha256;
use tollkeep_observe::json;
use tollkeep_types::{EventId, WallMillis, hex};

/// Kinds of events, as cliproxyapi++ names them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the words are the documentation")]
pub enum EventType {
    AuthSuccess,
    AuthFailure,
    TokenRefresh,
    ConfigChange,
    ProviderRequest,
    SecurityViolation,
}

impl EventType {
    /// Every one.
    pub const ALL: [Self; 6] = [
        Self::AuthSuccess,
        Self::AuthFailure,
        Self::TokenRefresh,
        Self::ConfigChange,
        Self::ProviderRequest,
        Self::SecurityViolation,
    ];

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AuthSuccess => "auth_success",
            Self::AuthFailure => "auth_failure",
            Self::TokenRefresh => "token_refresh",
            Self::ConfigChange => "config_change",
            Self::ProviderRequest => "provider_request",
            Self::SecurityViolation => "security_violation",
        }
    }

    /// The kind of an event by the words of its record.
    pub(crate) fn of_words(action: &str, outcome: &str) -> Option<Self> {
        let action = Action::ALL.iter().find(|one| one.as_str() == action)?;
        let outcome = Outcome::ALL.iter().find(|one| one.as_str() == outcome)?;
        Self::of(*action, *outcome)
    }

    /// The kind of an event; `None` if it is none of these.
    pub const fn of(action: Action, outcome: Outcome) -> Option<Self> {
        match (action, outcome) {
            (
                Action::TokenAccess
                | Action::AdminLogin
                | Action::ManagementAuth
                | Action::PaymentVerify,
                outcome,
            ) => Some(match outcome {
                Outcome::Success => Self::AuthSuccess,
                Outcome::Failure | Outcome::Denied | Outcome::Error => Self::AuthFailure,
            }),
            (Action::TokenRotate | Action::TokenRefresh | Action::CredentialRefresh, _) => {
                Some(Self::TokenRefresh)
            }
            (Action::ProxyRequest, _) => Some(Self::ProviderRequest),
            (Action::ConfigLoad | Action::ConfigReload | Action::ConfigReject, _) => {
                Some(Self::ConfigChange)
            }
            _ => match action.class(outcome) {
                Class::Management if !is_reading(action) => Some(Self::ConfigChange),
                Class::Security => Some(Self::SecurityViolation),
                Class::Management | Class::Access | Class::System | Class::Money => None,
            },
        }
    }
}

/// Whether it changes nothing, by the end of its word.
const fn is_reading(action: Action) -> bool {
    let word = action.as_str().as_bytes();
    ends_with(word, b".read")
        || ends_with(word, b".list")
        || ends_with(word, b".show")
        || ends_with(word, b"_list")
        || ends_with(word, b".export")
        || ends_with(word, b".verify")
        || ends_with(word, b".test")
}

const fn ends_with(word: &[u8], end: &[u8]) -> bool {
    let Some(from) = word.len().checked_sub(end.len()) else {
        return false;
    };
    let (_, mut tail) = word.split_at(from);
    let mut end = end;
    while let ([one, rest @ ..], [other, others @ ..]) = (tail, end) {
        if *one != *other {
            return false;
        }
        (tail, end) = (rest, others);
    }
    true
}

/// Which events are written: all, or those of some kinds. What operators do, what is about safety and
/// money, and what the log says of itself is written whatever is chosen.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Chosen {
    /// Everything.
    #[default]
    All,
    /// These kinds.
    Kinds(Vec<EventType>),
}

impl Chosen {
    /// Whether an event is written.
    pub(crate) fn has(&self, event: &Event<'_>) -> bool {
        let Self::Kinds(kinds) = self else {
            return true;
        };
        match event.class() {
            Class::Management | Class::Security | Class::Money | Class::System => true,
            Class::Access => {
                let kind = EventType::of(event.action, event.outcome);
                kind.is_some_and(|kind| kinds.contains(&kind))
            }
        }
    }
}

/// Who acted, in `user_id`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum UserId {
    /// The id of the actor.
    Owner,
    /// A keyed hash of it.
    #[default]
    Pseudonym,
    /// Nothing.
    Off,
}

/// How lines of cliproxyapi++ are written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Cliproxy {
    /// Who acted.
    pub user_id: UserId,
    /// What pseudonyms are made with.
    pub key: [u8; 32],
    /// Whether times have milliseconds.
    pub millis: bool,
}

impl Cliproxy {
    fn time(&self, text: String) -> String {
        match text.split_once('.') {
            Some((seconds, _)) if !self.millis => format!("{seconds}Z"),
            Some(_) | None => text,
        }
    }

    fn user(&self, owner: String) -> Option<String> {
        match self.user_id {
            UserId::Owner => Some(owner),
            UserId::Off => None,
            UserId::Pseudonym => {
                let keyed = hmac_sha256(&self.key, owner.as_bytes());
                let head = keyed.first_chunk::<16>()?;
                let digits: [u8; 32] = hex(head);
                let digits = String::from_utf8_lossy(&digits);
                Some(format!("u_{}", digits.get(..12)?))
            }
        }
    }

    /// A record in llm-proxy's words in these, without its place in a chain.
    pub(crate) fn translated(&self, record: &Map<String, Json>) -> Map<String, Json> {
        let text = |name: &str| record.get(name).and_then(Json::as_str);
        let (action, outcome) = (text("action"), text("result").unwrap_or_default());
        let kind = EventType::of_words(action.unwrap_or_default(), outcome);
        let told = record.get("details").and_then(Json::as_object);
        let mut details = Map::new();
        if let Some(reason) = record.get("reason") {
            details.insert("reason".to_owned(), reason.clone());
        }
        for (name, value) in told.into_iter().flatten() {
            if name != Key::Provider.as_str() && !details.contains_key(name) {
                details.insert(name.clone(), value.clone());
            }
        }
        let provider = told.and_then(|told| told.get(Key::Provider.as_str())?.as_str());
        let words = [
            (
                "timestamp",
                text("timestamp").map(|text| self.time(text.to_owned())),
            ),
            (
                "event_type",
                kind.map(EventType::as_str).or(action).map(str::to_owned),
            ),
            ("provider", provider.map(str::to_owned)),
            (
                "user_id",
                text("actor_id").and_then(|owner| self.user(owner.to_owned())),
            ),
            ("ip", text("client_ip").map(str::to_owned)),
            (
                "result",
                Some(result_word(outcome, text("reason")).to_owned()),
            ),
        ];
        let mut translated = Map::new();
        for (name, word) in words {
            if let Some(word) = word {
                translated.insert(name.to_owned(), Json::from(word));
            }
        }
        if !details.is_empty() {
            translated.insert("details".to_owned(), Json::Object(details));
        }
        for name in ["id", "action", "request_id", "project_id"] {
            if let Some(value) = record.get(name) {
                translated.insert(name.to_owned(), value.clone());
            }
        }
        translated
    }
}

/// Writes a record as the next of its chain, with its line feed.
pub(crate) fn put_record(out: &mut Vec<u8>, record: &Map<String, Json>, chain: &mut Chain) {
    let mut hashed = Vec::new();
    chain.begin(&mut hashed);
    hashed.extend_from_slice(canonical_text(record).as_bytes());
    out.push(b'{');
    for (name, value) in record {
        put_member(out, name, value);
    }
    let hash = chain.advance(&hashed);
    out.extend_from_slice(b"\"hash\":\"");
    out.extend_from_slice(hash);
    out.extend_from_slice(b"\"}\n");
}

/// Writes lines in these words.
pub(crate) struct CliproxyEncoder {
    settings: Cliproxy,
    shown: Shown,
    ip: IpText,
}

impl CliproxyEncoder {
    pub(crate) fn new(settings: Cliproxy, shown: Shown) -> Self {
        Self {
            settings,
            ip: IpText::new(shown.ip_mask.clone()),
            shown,
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
        let record = self.record(event, (id, at), chain);
        put_record(out, &record, chain);
    }

    fn record(
        &mut self,
        event: &Event<'_>,
        (id, at): (EventId, WallMillis),
        chain: &Chain,
    ) -> Map<String, Json> {
        let mut record = Map::new();
        let mut put = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                record.insert(name.to_owned(), Json::from(value));
            }
        };
        let kind = EventType::of(event.action, event.outcome);
        let kind = kind.map_or(event.action.as_str(), EventType::as_str);
        put("timestamp", Some(self.time(at)));
        put("event_type", Some(kind.to_owned()));
        put("provider", word_of(event, Key::Provider));
        put("user_id", self.user(event));
        let ip = event.client_ip.and_then(|ip| self.ip.of(ip, at));
        put("ip", ip.map(|ip| String::from_utf8_lossy(ip).into_owned()));
        put("result", Some(result(event).to_owned()));
        let details = self.details(event);
        if !details.is_empty() {
            record.insert("details".to_owned(), Json::Object(details));
        }
        let mut put = |name: &str, value: String| {
            record.insert(name.to_owned(), Json::from(value));
        };
        put("id", id.to_string());
        put("action", event.action.as_str().to_owned());
        if let Some(request) = event.request_id {
            put("request_id", request.to_string());
        }
        if let Some(project) = event.project_id {
            put("project_id", project.to_string());
        }
        put("stream", chain.stream.to_string());
        record.insert("seq".to_owned(), Json::from(chain.next_seq()));
        let prev = String::from_utf8_lossy(chain.prev_hex()).into_owned();
        record.insert("prev".to_owned(), Json::from(prev));
        record
    }

    fn time(&self, at: WallMillis) -> String {
        self.settings.time(at.to_string())
    }

    fn user(&self, event: &Event<'_>) -> Option<String> {
        let owner = match event.actor_id? {
            ActorId::Token(id) => id.to_string(),
            ActorId::ManagementKey(id) => id.to_string(),
            ActorId::Operator(id) => id.to_string(),
            ActorId::LocalUid(uid) => format!("local:{uid}"),
        };
        self.settings.user(owner)
    }

    fn details(&self, event: &Event<'_>) -> Map<String, Json> {
        let mut details = Map::new();
        if let Some(reason) = event.reason {
            details.insert("reason".to_owned(), Json::from(reason));
        }
        for (key, value) in &event.details {
            let shown = match value {
                Value::Word(word) => Json::from(*word),
                Value::OwnedWord(word) | Value::Long(word) => Json::from(&**word),
                Value::Text(text) => Json::from(self.shown.text(*key, text)),
                Value::Number(number) => Json::from((*number).min((1 << 53) - 1)),
                Value::Flag(flag) => Json::from(*flag),
                Value::TokenRef(id) => Json::from(id.to_string()),
            };
            let name = key.as_str().to_owned();
            if !matches!(key, Key::Provider) {
                details.entry(name).or_insert(shown);
            }
        }
        details
    }
}

fn word_of(event: &Event<'_>, wanted: Key) -> Option<String> {
    let mut details = event.details.iter();
    let (_, value) = details.find(|(key, _)| *key == wanted)?;
    match value {
        Value::Word(word) => Some((*word).to_owned()),
        Value::OwnedWord(word) | Value::Long(word) => Some(word.to_string()),
        Value::Text(text) => Some(text.to_string()),
        Value::Number(_) | Value::Flag(_) | Value::TokenRef(_) => None,
    }
}

/// The outcome in the words of that family.
fn result(event: &Event<'_>) -> &'static str {
    result_word(event.outcome.as_str(), event.reason)
}

fn result_word<'w>(outcome: &'w str, reason: Option<&'w str>) -> &'w str {
    if outcome == Outcome::Success.as_str() {
        return outcome;
    }
    match reason {
        Some(reason) if reason.starts_with("token_") || reason.ends_with("_token") => {
            "invalid_token"
        }
        Some("malformed" | "unknown" | "wrong_key" | "unauthenticated") => "invalid_token",
        Some("forbidden" | "ip_denied" | "scope" | "denied") => "forbidden",
        Some("rate_limited" | "rate_limit" | "quota") => "rate_limited",
        Some(reason) => reason,
        None => outcome,
    }
}

/// A member with a comma behind it, for more come.
fn put_member(out: &mut Vec<u8>, name: &str, value: &Json) {
    json::string(out, name);
    out.push(b':');
    put_value(out, value);
    out.push(b',');
}

fn put_value(out: &mut Vec<u8>, value: &Json) {
    match value {
        Json::String(text) => json::string(out, text),
        Json::Object(members) => {
            let before = out.len();
            for (name, value) in members {
                put_member(out, name, value);
            }
            // The last comma becomes the brace.
            if out.len() > before {
                out.pop();
            }
            out.insert(before, b'{');
            out.push(b'}');
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) => {
            out.extend_from_slice(value.to_string().as_bytes());
        }
    }
}

/// RFC 8785; its texts are those of the other format.
fn canonical_text(record: &Map<String, Json>) -> String {
    canonical(&Json::Object(record.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::details::canonical_string;

    // AUD-50
    #[test]
    fn both_formats_have_the_same_canonical_texts() {
        for text in [
            "plain",
            "\"\\\u{8}\u{9}\n\u{c}\r\u{1}\u{7f}\u{2028}/é🦀",
            "",
        ] {
            let mut ours = Vec::new();
            canonical_string(&mut ours, text);
            assert_eq!(canonical(&Json::from(text)).as_bytes(), ours, "{text:?}");
        }
    }

    // AUD-3
    #[test]
    fn reading_is_told_from_changing_by_the_word() {
        for action in Action::ALL {
            let kind = EventType::of(*action, Outcome::Success);
            let word = action.as_str();
            if word.ends_with(".create") || word.ends_with(".delete") {
                assert_eq!(kind, Some(EventType::ConfigChange), "{word}");
            }
            if word.ends_with(".list") || word.ends_with(".read") {
                assert_eq!(kind, None, "{word}");
            }
        }
    }
}
