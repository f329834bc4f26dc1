//! `ETag` and `If-Match`: nobody overwrites what they have not seen (RFC 9110, section 13.1.1).
//!
//! A version is the digest of what a reading shows, without what counts by itself (uses, calls).
//! It needs no column that some change could forget to bump, and it is the same at every replica.

use crate::State;
use crate::authn::Operator;
use crate::history::Streaming;
use crate::members::Members;
use crate::operation::{self, Call, Content, Method, Operation};
use crate::parameters::Parameters;
use crate::problem::Problem;
use crate::rights::Right;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::Value;
use std::sync::Arc;
use tollkeep_crypto::sha256;
use tollkeep_store::{Check, Store};

/// Members that change without anybody changing the thing, and texts that are shown once.
const APART: &[&str] = &[
    "cache_hit_count",
    "failures",
    "hits",
    "last_check",
    "last_error_code",
    "last_login_at",
    "last_seen_at",
    "last_used_at",
    "last_used_ip",
    "remaining",
    "request_count",
    "token",
    "token_count",
    "used",
];
/// Bytes of an answer that is looked at; one thing is far smaller.
const LOOKED_AT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Versions that one `If-Match` names at most.
const NAMED_MAX: usize = 50;

/// What `If-Match` asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum IfMatch {
    /// `*`: whatever is there.
    Any,
    /// One of these. Weak ones never match (strong comparison), so they are left out.
    OneOf(Vec<String>),
}

impl IfMatch {
    /// What the request asks for.
    ///
    /// # Errors
    /// It can't be read.
    pub(crate) fn read(fields: &HeaderMap) -> Result<Option<Self>, Problem> {
        let bad = || Problem::bad_request("If-Match: want `*`, or a list of entity tags.");
        let lines = fields.get_all(header::IF_MATCH).iter();
        let lines: Result<Vec<_>, _> = lines.map(HeaderValue::to_str).collect();
        let text = lines.map_err(|_| bad())?.join(",");
        if !fields.contains_key(header::IF_MATCH) {
            return Ok(None);
        }
        parse(&text).map(Some).ok_or_else(bad)
    }

    fn holds(&self, version: &str) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(versions) => versions.iter().any(|one| one == version),
        }
    }
}

fn parse(text: &str) -> Option<IfMatch> {
    let mut rest = text.trim_matches([' ', '\t']);
    if rest == "*" {
        return Some(IfMatch::Any);
    }
    let mut versions = Vec::new();
    let mut named = 0_usize;
    loop {
        // Empty elements of a list are passed over (RFC 9110, section 5.6.1).
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            break;
        }
        let is_weak = rest.starts_with("W/");
        let quoted = rest.strip_prefix("W/").unwrap_or(rest).strip_prefix('"')?;
        let (tag, behind) = quoted.split_once('"')?;
        let is_good = |byte: u8| byte == 0x21 || (0x23..=0x7e).contains(&byte);
        named += 1;
        if !tag.bytes().all(is_good) || named > NAMED_MAX {
            return None;
        }
        if !is_weak {
            versions.push(tag.to_owned());
        }
        rest = behind.trim_start_matches([' ', '\t']);
        if !rest.is_empty() && !rest.starts_with(',') {
            return None;
        }
    }
    (named > 0).then_some(IfMatch::OneOf(versions))
}

/// How the thing that an operation changes is read; `None` if it can't be, as one thing.
pub(crate) fn reading_of(operation: &Operation) -> Option<&'static Operation> {
    // Nobody else changes the caller's own session.
    if matches!(operation.right, Right::Open | Right::Own) {
        return None;
    }
    let path = match operation.method {
        Method::Get | Method::Put | Method::Patch | Method::Delete => operation.path,
        // What is done to a thing stands below it.
        Method::Post => {
            let end = operation.path.find('}')?;
            operation.path.get(..=end)?
        }
    };
    let mut all = operation::all();
    let reading = all.find(|one| one.method == Method::Get && one.path == path)?;
    let is_one = |(_, content): &(u16, Content)| matches!(content, Content::Object(_));
    reading.answers.iter().any(is_one).then_some(reading)
}

/// Whether a reading shows a thing that has a version: one that can be changed.
fn has_version(reading: &Operation) -> bool {
    let changes = |one: &Operation| one.method != Method::Get && one.path == reading.path;
    reading.path.ends_with('}') || operation::all().any(changes)
}

/// The version of what a reading shows; `None` if this is not all of it.
fn version(reading: &Operation, shown: &Value) -> Option<String> {
    let parts = reading
        .answers
        .iter()
        .find_map(|(_, content)| match content {
            Content::Object(parts) => Some(*parts),
            Content::None
            | Content::List(_)
            | Content::Document
            | Content::Yaml
            | Content::Page(_) => None,
        })?;
    let shown = shown.as_object()?;
    let mut text = String::new();
    for member in parts.iter().copied().flatten() {
        let value = shown.get(member.name)?;
        if !APART.contains(&member.name) {
            text.push_str(member.name);
            text.push(' ');
            text.push_str(&value.to_string());
            text.push('\n');
        }
    }
    let digest = sha256(&[reading.path.as_bytes(), b"\n", text.as_bytes()]);
    Some(
        digest
            .iter()
            .take(16)
            .map(|byte| format!("{byte:02x}"))
            .collect(),
    )
}

/// Writes the version into an answer that shows the whole of a thing.
pub(crate) async fn tag(operation: &Operation, response: Response) -> Response {
    let tells = match operation.method {
        Method::Get | Method::Put | Method::Patch => response.status() == StatusCode::OK,
        Method::Post => response.status() == StatusCode::CREATED,
        Method::Delete => false,
    };
    let reading = match operation.method {
        _ if !tells => None,
        Method::Post => made_by(operation),
        Method::Get | Method::Put | Method::Patch | Method::Delete => reading_of(operation),
    };
    let Some(reading) = reading.filter(|reading| has_version(reading)) else {
        return response;
    };
    let (mut head, body) = response.into_parts();
    let Ok(bytes) = to_bytes(body, LOOKED_AT_BYTES_MAX).await else {
        head.status = StatusCode::INTERNAL_SERVER_ERROR;
        return Response::from_parts(head, Body::empty());
    };
    let shown = serde_json::from_slice(&bytes).ok();
    let version = shown.and_then(|shown| version(reading, &shown));
    let version = version.map(|version| HeaderValue::try_from(format!("\"{version}\"")));
    if let Some(Ok(version)) = version {
        head.headers.insert(header::ETAG, version);
    }
    Response::from_parts(head, Body::from(bytes))
}

/// How something that a list's `POST` makes is read: one step below the list.
fn made_by(operation: &Operation) -> Option<&'static Operation> {
    let mut all = operation::all();
    all.find(|one| {
        let below = one.path.strip_prefix(operation.path);
        let is_step = |below: &str| below.starts_with("/{") && below.ends_with('}');
        one.method == Method::Get && below.is_some_and(is_step)
    })
}

/// What must be so before a request changes a thing.
pub(crate) struct Precondition {
    reading: &'static Operation,
    wanted: IfMatch,
    operator: Operator,
    id: String,
}

impl Precondition {
    /// What a request asks for, or must ask for.
    ///
    /// # Errors
    /// 400 if it can't be read or means nothing here; 428 if it is missing where settings want it.
    pub(crate) fn of(
        operation: &Operation,
        fields: &HeaderMap,
        (state, operator, id): (&State, &Operator, &str),
    ) -> Result<Option<Self>, Problem> {
        if operation.method == Method::Get {
            return Ok(None);
        }
        let reading = reading_of(operation);
        match (IfMatch::read(fields)?, reading) {
            (Some(wanted), Some(reading)) => Ok(Some(Self {
                reading,
                wanted,
                operator: operator.clone(),
                id: id.to_owned(),
            })),
            (Some(_), None) => {
                let problem = "If-Match: what this changes has no version.";
                Err(Problem::bad_request(problem))
            }
            (None, Some(reading))
                if operation.method != Method::Post
                    && has_version(reading)
                    && state.settings().management.require_if_match =>
            {
                Err(Problem::if_match_required())
            }
            (None, _) => Ok(None),
        }
    }

    /// Refuses what is not as expected, and gives the state to act with: its first change looks
    /// again, within its transaction.
    ///
    /// # Errors
    /// 412, or what reading the thing meets (404).
    pub(crate) async fn check(self, state: &Arc<State>) -> Result<Arc<State>, Problem> {
        let look = Arc::new(self);
        if !look.holds(state, state.parts.store.clone()).await? {
            return Err(Problem::precondition_failed());
        }
        let then = Arc::clone(state);
        let check: Check = Arc::new(move |store| {
            let (look, state) = (Arc::clone(&look), Arc::clone(&then));
            Box::pin(async move { look.holds(&state, store).await.unwrap_or(false) })
        });
        Ok(state.with_store(state.parts.store.expecting(check)))
    }

    async fn holds(&self, state: &State, store: Store) -> Result<bool, Problem> {
        let call = Call {
            state: state.looking(store),
            operator: self.operator.clone(),
            id: self.id.clone(),
            query: Parameters::none(self.reading.query),
            body: Members::read(&[], &[])?,
            streaming: Streaming::default(),
        };
        let response = (self.reading.run)(call).await?;
        let bytes = to_bytes(response.into_body(), LOOKED_AT_BYTES_MAX).await;
        let shown = bytes
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let version = shown.and_then(|shown| version(self.reading, &shown));
        let version = version.ok_or_else(Problem::internal)?;
        Ok(self.wanted.holds(&version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_of(tags: &[&str]) -> Option<IfMatch> {
        let tags = tags.iter().map(|tag| (*tag).to_owned());
        Some(IfMatch::OneOf(tags.collect()))
    }

    // ID-105
    #[test]
    fn if_match_is_read_as_rfc_9110_writes_it() {
        for (text, want) in [
            ("*", Some(IfMatch::Any)),
            (" * ", Some(IfMatch::Any)),
            ("\"a\"", one_of(&["a"])),
            ("\"a\", \"b\"", one_of(&["a", "b"])),
            ("\"a\",\t\"b\" ,, \"c\"", one_of(&["a", "b", "c"])),
            ("\"a,b\"", one_of(&["a,b"])),
            ("W/\"a\"", one_of(&[])),
            ("W/\"a\", \"b\"", one_of(&["b"])),
            ("\"\"", one_of(&[""])),
            ("", None),
            (",", None),
            ("a", None),
            ("\"a", None),
            ("\"a\" \"b\"", None),
            ("\"a\"x", None),
            ("w/\"a\"", None),
            ("*, \"a\"", None),
            ("\"a b\"", None),
        ] {
            assert_eq!(parse(text), want, "{text:?}");
        }
        let many = vec!["\"a\""; NAMED_MAX + 1].join(",");
        assert_eq!(parse(&many), None);
    }

    // ID-105
    #[test]
    fn weak_versions_never_match() {
        assert!(IfMatch::Any.holds("a"));
        assert!(parse("\"b\", \"a\"").is_some_and(|it| it.holds("a")));
        assert!(parse("W/\"a\"").is_some_and(|it| !it.holds("a")));
    }

    // ID-105
    #[test]
    fn whatever_can_be_changed_and_read_as_one_thing_has_a_version() {
        for operation in operation::all() {
            let is_change = !matches!(operation.method, Method::Get | Method::Post);
            if let Some(reading) = reading_of(operation).filter(|_| is_change) {
                assert!(has_version(reading), "{}", operation.id);
            }
        }
        let path = |wanted: &str| operation::all().find(|one| one.id == wanted);
        let of = |id: &str| path(id).and_then(reading_of).map(|reading| reading.id);
        assert_eq!(of("token_update"), Some("token_get"));
        assert_eq!(of("token_revoke"), Some("token_get"));
        assert_eq!(of("maintenance_put"), Some("maintenance_get"));
        assert_eq!(of("token_create"), None);
        let made = path("token_create").and_then(made_by);
        assert_eq!(made.map(|reading| reading.id), Some("token_get"));
    }
}
