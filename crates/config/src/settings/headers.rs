//! Which fields go to an upstream or a provider, and which come back (EDGE-71, EDGE-73).

use super::SecretOrText;
use crate::check::Checks;
use crate::field::{KindExt, field_name, headers, section};
use crate::kind::{Parsed, choice, header, list, parsed};
use crate::reader::{ANY_NAME, Core, Field, Form, Key, Line, Reader, Section, keys, snake};
use crate::tree::{Entry, KeyPath, Source, Value};
use std::marker::PhantomData;
use tollkeep_policy::headers::{
    provider_field_forbidden, request_field_forbidden, response_field_never_returned, same_field,
};

/// Fields by name, as they are set.
pub(super) type SetHeaders = Vec<(String, SecretOrText)>;

/// What the settings say of the fields between us and an upstream; names are lower case.
#[derive(Clone, Debug, Default)]
pub struct HeaderRules {
    /// Set on every request, last.
    pub set: Vec<(String, SecretOrText)>,
    /// Never sent.
    pub remove: Vec<Box<str>>,
    /// The caller's fields that are sent, where only these are.
    pub only: Option<Vec<Box<str>>>,
    /// Fields of answers that come back though they commonly don't.
    pub returned: Vec<Box<str>>,
}

keys! {
    /// Fields of requests and answers. Fields to set may also stand here by themselves, without
    /// `set`, if nothing else does.
    pub(crate) struct HeadersFile {
        /// Fields set on every request, last: they replace what the caller sent.
        set: SetHeaders = headers(),
        /// Fields that are not sent, though they commonly are.
        remove: Vec<Box<str>> = list(removed()).or_empty(),
        /// Mode `allow`: the caller's fields that are sent. An upstream with bodies wants
        /// `content-type` here.
        allow: Vec<Box<str>> = list(allowed()).or_empty(),
        request: RequestFile = section(),
        response: ResponseFile = section(),
    }
}

keys! {
    /// Fields of requests.
    pub(crate) struct RequestFile {
        /// Which of the caller's fields are sent: `deny`, all but those that never are; `allow`,
        /// those of `headers.allow` only.
        mode: Mode = choice(&MODES).or(Mode::Deny),
    }
}

keys! {
    /// Fields of answers.
    #[derive(Default)]
    pub(crate) struct ResponseFile {
        /// Fields that come back though they commonly don't, such as `set-cookie`. What the
        /// gateway writes itself stays as it is.
        allow: Vec<Box<str>> = list(returned()).or_empty(),
    }
}

keys! {
    /// Fields of requests and answers. Fields to set may also stand here by themselves, without
    /// `set`, if nothing else does.
    #[derive(Default)]
    pub(crate) struct ProviderHeadersFile {
        /// Fields set on every request, last.
        set: SetHeaders = headers(),
        /// Fields that are not sent, though they commonly are.
        remove: Vec<Box<str>> = list(removed()).or_empty(),
        /// Fields of the caller that pass besides the few that every provider gets; the same as
        /// `forward_headers`.
        allow: Vec<Box<str>> = list(forwarded()).or_empty(),
        response: ResponseFile = section(),
    }
}

/// Which of the caller's fields are sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mode {
    Deny,
    Allow,
}

const MODES: [(&str, Mode); 2] = [("deny", Mode::Deny), ("allow", Mode::Allow)];

impl From<SetHeaders> for HeadersFile {
    fn from(set: SetHeaders) -> Self {
        Self {
            set,
            remove: Vec::new(),
            allow: Vec::new(),
            request: RequestFile { mode: Mode::Deny },
            response: ResponseFile::default(),
        }
    }
}

impl From<SetHeaders> for ProviderHeadersFile {
    fn from(set: SetHeaders) -> Self {
        Self {
            set,
            ..Self::default()
        }
    }
}

/// Keys of the section; a field of such a name is set under `set`.
const KEYS: [&str; 5] = ["set", "remove", "allow", "request", "response"];

/// A section, or fields to set in its place.
pub(crate) struct SectionOrFields<S>(PhantomData<S>);

/// A section, or fields to set in its place, as other gateways' files have them.
pub(crate) const fn section_or_fields<S: Section + From<SetHeaders>>() -> SectionOrFields<S> {
    SectionOrFields(PhantomData)
}

impl<S: Section + From<SetHeaders>> Field for SectionOrFields<S> {
    type Out = S;

    fn take(self, key: &Key, reader: &mut Reader<'_, '_>) -> S {
        let path = reader.path.name(key.name());
        let node = reader.node(key);
        let is_key = |entry: &&Entry| KEYS.contains(&snake(&entry.name).as_str());
        let written = match node.map(|node| &node.value) {
            Some(Value::Map(entries)) => entries.as_slice(),
            Some(_) | None => &[],
        };
        let keys = written.iter().filter(is_key).count();
        if keys == 0 && !written.is_empty() {
            return headers().take(key, reader).into();
        }
        let faults: Vec<(&Entry, &str)> = written
            .iter()
            .filter_map(|entry| Some((entry, fault(entry, is_key(&entry))?)))
            .collect();
        if !faults.is_empty() {
            for (entry, problem) in faults {
                let report = &mut reader.core.report;
                report.error(&path.name(&entry.name), &entry.source, problem);
            }
            return Vec::new().into();
        }
        reader.line(Line::section::<S>(&path, Form::One, Source::of(node)));
        let read = reader.core.section(&path, node);
        if reader.core.describing {
            let doc = "A field set on every request, as under `set`.";
            let line = Core::line_of(&path.name(ANY_NAME), doc, &header(""));
            reader.line(Line::Key(line));
        }
        read
    }
}

/// What is wrong with an entry of a section that has keys.
fn fault(entry: &Entry, is_key: bool) -> Option<&'static str> {
    if !is_key {
        return Some(
            "stands beside `set`, `remove`, `allow`, `request` or `response`: a field to set \
             belongs under `set`",
        );
    }
    // A list in the environment is a text, in a file it never is.
    let is_text = matches!(
        entry.node.value,
        Value::Text(_) | Value::Number(_) | Value::Bool(_)
    );
    let is_of_file = matches!(entry.source, Source::File { .. });
    (is_text && is_of_file).then_some("is a key here: a field of this name is set under `set`")
}

/// What we write ourselves into every request to a plain upstream.
const WRITTEN: [&str; 3] = ["accept-encoding", "content-encoding", "x-request-id"];
/// What we write ourselves into every request to a provider.
const WRITTEN_TO_PROVIDERS: [&str; 5] = [
    "accept",
    "accept-encoding",
    "content-encoding",
    "content-type",
    "user-agent",
];

/// A field that is taken out of requests.
const fn removed() -> Parsed<Box<str>> {
    parsed("field name", |text| {
        let name = text.to_ascii_lowercase();
        if field_name(&name).is_err() {
            return Err(format!(
                "{text:?} is no field name, or one that every request has"
            ));
        }
        Ok(name.into())
    })
}

/// A field of the caller that may go to a plain upstream; EDGE-70's never may.
const fn allowed() -> Parsed<Box<str>> {
    parsed("field name", |text| {
        let name = own_or_not(text, &WRITTEN)?;
        let key = match &*name {
            "origin" => "forward_origin",
            "cookie" => "forward_cookies",
            "x-forwarded-for" | "x-forwarded-proto" | "x-real-ip" => "forward_client_ip",
            _ if request_field_forbidden(name.as_bytes()) => {
                return Err(format!("{text:?} is never sent upstream"));
            }
            _ => return Ok(name),
        };
        Err(format!("{text:?} is sent by `{key}` only"))
    })
}

/// A field of the caller that may go to a provider; neither EDGE-70's nor LLM-13's may.
pub(super) const fn forwarded() -> Parsed<Box<str>> {
    parsed("field name", |text| {
        let name = own_or_not(text, &WRITTEN_TO_PROVIDERS)?;
        if provider_field_forbidden(name.as_bytes()) {
            return Err(format!("{text:?} is never sent upstream"));
        }
        Ok(name)
    })
}

fn own_or_not(text: &str, written: &[&str]) -> Result<Box<str>, String> {
    let name = text.to_ascii_lowercase();
    field_name(&name)?;
    if written.contains(&name.as_str()) {
        return Err(format!("{text:?} is written by the gateway"));
    }
    Ok(name.into())
}

/// A field of answers that may come back.
const fn returned() -> Parsed<Box<str>> {
    parsed("field name", |text| {
        let never = response_field_never_returned(text.as_bytes());
        if never
            || ["date", "x-request-id"]
                .iter()
                .any(|own| text.eq_ignore_ascii_case(own))
        {
            return Err(format!("{text:?} never comes back from an upstream"));
        }
        own_or_not(text, &[])
    })
}

impl HeadersFile {
    /// The rules of a plain upstream; `forward_origin` is the key of that name.
    pub(super) fn check(
        self,
        forward_origin: Option<bool>,
        path: &KeyPath,
        checks: &mut Checks<'_>,
    ) -> HeaderRules {
        let (mut allow, mut remove) = (self.allow, self.remove);
        let only = match self.request.mode {
            Mode::Allow => {
                if forward_origin == Some(true) {
                    allow.push("origin".into());
                }
                Some(allow)
            }
            Mode::Deny => {
                if !allow.is_empty() {
                    let problem = "has an effect with `request.mode: allow` only";
                    checks.error_at(&path.name("allow"), problem);
                }
                if forward_origin == Some(false) {
                    remove.push("origin".into());
                }
                None
            }
        };
        check_removed(
            &remove,
            &self.set,
            only.as_deref().unwrap_or_default(),
            path,
            checks,
        );
        HeaderRules {
            set: self.set,
            remove,
            only,
            returned: self.response.allow,
        }
    }
}

impl ProviderHeadersFile {
    /// The rules of a provider; `forward` are the fields of the key `forward_headers`.
    pub(super) fn check(
        self,
        mut forward: Vec<Box<str>>,
        path: &KeyPath,
        checks: &mut Checks<'_>,
    ) -> HeaderRules {
        forward.extend(self.allow);
        check_removed(&self.remove, &self.set, &forward, path, checks);
        HeaderRules {
            set: self.set,
            remove: self.remove,
            only: Some(forward),
            returned: self.response.allow,
        }
    }
}

/// Where a field that is set is written: below `set`, or in place of the section.
pub(super) fn place_of(name: &str, headers: &KeyPath, checks: &Checks<'_>) -> KeyPath {
    let below = headers.name("set").name(name).to_string();
    let mut paths = checks.lines.iter().map(Line::path);
    let written = paths.find(|path| path.to_string().eq_ignore_ascii_case(&below));
    written.cloned().unwrap_or_else(|| headers.name(name))
}

/// A field that is sent can't be removed.
fn check_removed(
    remove: &[Box<str>],
    set: &[(String, SecretOrText)],
    allow: &[Box<str>],
    path: &KeyPath,
    checks: &mut Checks<'_>,
) {
    let set = set.iter().map(|(name, _)| name.as_str());
    for sent in set.chain(allow.iter().map(|name| &**name)) {
        let mut removed = remove.iter().map(|name| name.as_bytes());
        if removed.any(|name| same_field(name, sent.as_bytes())) {
            let problem = format!("`{sent}` is set or allowed too");
            checks.error_at(&path.name("remove"), problem);
        }
    }
}
