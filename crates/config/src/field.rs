//! What can stand at a key: a value with a default, an optional or required value, a section,
//! sections under names, a list of sections.

use crate::kind::{Kind, Written, header, list, scalar};
use crate::reader::{ANY_NAME, Core, Fallback, Field, Form, Key, Line, Reader, Section, keys};
use crate::settings::SecretOrText;
use crate::tree::{Entry, KeyPath, Node, Source, Value};
use serde_json::{Value as Json, json};
use std::marker::PhantomData;

/// How a kind becomes a field.
pub(crate) trait KindExt: Kind + Sized {
    /// With a default.
    fn or(self, default: Self::Value) -> Defaulted<Self>
    where
        Self: Written,
    {
        let written = self.write(&default);
        Defaulted {
            kind: self,
            default,
            written,
        }
    }

    /// A list that is empty by default.
    fn or_empty<T>(self) -> Defaulted<Self>
    where
        Self: Kind<Value = Vec<T>>,
    {
        Defaulted {
            kind: self,
            default: Vec::new(),
            written: json!([]),
        }
    }

    /// Nothing by default.
    fn optional(self) -> Optional<Self> {
        Optional { kind: self }
    }

    /// An error when it is not there.
    fn required(self) -> Required<Self> {
        Required { kind: self }
    }
}

impl<K: Kind> KindExt for K {}

/// A value with a default.
pub(crate) struct Defaulted<K: Kind> {
    kind: K,
    default: K::Value,
    /// The default as it would stand in the file.
    written: Json,
}

impl<K: Kind> Field for Defaulted<K> {
    type Out = K::Value;

    fn take(self, key: &Key, reader: &mut Reader<'_, '_>) -> K::Value {
        let fallback = Fallback::Value(self.written);
        let value = reader.value(key, &self.kind, fallback);
        value.unwrap_or(self.default)
    }
}

/// A value that may be missing.
pub(crate) struct Optional<K> {
    kind: K,
}

impl<K: Kind> Field for Optional<K> {
    type Out = Option<K::Value>;

    fn take(self, key: &Key, reader: &mut Reader<'_, '_>) -> Self::Out {
        reader.value(key, &self.kind, Fallback::Nothing)
    }
}

/// A value that must be there; `None` after it was reported missing or wrong.
pub(crate) struct Required<K> {
    kind: K,
}

impl<K: Kind> Field for Required<K> {
    type Out = Option<K::Value>;

    fn take(self, key: &Key, reader: &mut Reader<'_, '_>) -> Self::Out {
        reader.value(key, &self.kind, Fallback::Required)
    }
}

/// A value that only the environment can write.
pub(crate) struct FromEnvironment<K> {
    kind: K,
    variable: &'static str,
}

/// A value for which the file is no place; `variable` is its name in the environment.
pub(crate) const fn from_environment<K: Kind>(
    variable: &'static str,
    kind: K,
) -> FromEnvironment<K> {
    FromEnvironment { kind, variable }
}

impl<K: Kind> Field for FromEnvironment<K> {
    type Out = Option<K::Value>;

    fn take(self, key: &Key, reader: &mut Reader<'_, '_>) -> Self::Out {
        let path = reader.path.name(key.name());
        if let Some(node) = reader.node(key)
            && !matches!(node.source, Source::Environment(_))
        {
            let problem = format!("is no key of the file: set `{}`", self.variable);
            reader.core.report.error(&path, &node.source, problem);
            return None;
        }
        reader.value(key, &self.kind, Fallback::Environment(self.variable))
    }
}

/// A section.
pub(crate) struct Sub<S>(PhantomData<S>);

/// A section below this one.
pub(crate) const fn section<S: Section>() -> Sub<S> {
    Sub(PhantomData)
}

impl<S: Section> Field for Sub<S> {
    type Out = S;

    fn take(self, key: &Key, reader: &mut Reader<'_, '_>) -> S {
        let path = reader.path.name(key.name());
        let node = reader.node(key);
        reader.line(Line::section::<S>(&path, Form::One, Source::of(node)));
        reader.core.section(&path, node)
    }
}

/// A section whose keys stand in the section around it.
pub(crate) struct Flat<S>(PhantomData<S>);

/// The keys of another section among those of this one.
pub(crate) const fn flat<S: Section>() -> Flat<S> {
    Flat(PhantomData)
}

impl<S: Section> Field for Flat<S> {
    type Out = S;

    fn take(self, _: &Key, reader: &mut Reader<'_, '_>) -> S {
        S::read(reader)
    }
}

/// A section with a switch of its own.
pub(crate) struct Switched<S>(PhantomData<S>);

/// A section with a key `enabled` besides its own, on by default; `None` when that is off.
pub(crate) const fn switched<S: Section>() -> Switched<S> {
    Switched(PhantomData)
}

keys! {
    /// The switch of a section.
    struct OnOff {
        /// Whether this part is on.
        enabled: bool = crate::kind::switch().or(true),
    }
}

/// A section read together with its switch.
struct WithSwitch<S>(Option<S>);

impl<S: Section> Section for WithSwitch<S> {
    const ABOUT: &'static str = S::ABOUT;

    fn read(reader: &mut Reader<'_, '_>) -> Self {
        let switch = OnOff::read(reader);
        let section = S::read(reader);
        Self(switch.enabled.then_some(section))
    }
}

impl<S: Section> Field for Switched<S> {
    type Out = Option<S>;

    fn take(self, key: &Key, reader: &mut Reader<'_, '_>) -> Option<S> {
        section::<WithSwitch<S>>().take(key, reader).0
    }
}

/// Sections under names.
pub(crate) struct Named<S> {
    name_fits: fn(&str) -> Result<(), String>,
    section: PhantomData<S>,
}

/// Sections under names the operator chooses, in the order of the file.
pub(crate) const fn named<S: Section>(name_fits: fn(&str) -> Result<(), String>) -> Named<S> {
    Named {
        name_fits,
        section: PhantomData,
    }
}

/// A name for a provider or upstream (LLM-R1).
pub(crate) fn plain_name(name: &str) -> Result<(), String> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if (1..=40).contains(&name.len()) && name.bytes().all(fits) {
        return Ok(());
    }
    Err("want a name of 1 to 40 of `a-z`, `0-9`, `-`".to_owned())
}

impl<S: Section> Field for Named<S> {
    type Out = Vec<(String, S)>;

    fn take(self, key: &Key, reader: &mut Reader<'_, '_>) -> Self::Out {
        let path = reader.path.name(key.name());
        let node = reader.node(key);
        reader.line(Line::group(&path, key.doc, Form::Map, Source::of(node)));
        let mut sections = Vec::new();
        if reader.core.describing {
            let path = path.name(ANY_NAME);
            reader.line(Line::section::<S>(&path, Form::Named, Source::Default));
            sections.push((ANY_NAME.to_owned(), reader.core.section(&path, None)));
        }
        for entry in entries(&path, node, reader.core) {
            let path = path.name(&entry.name);
            if let Err(problem) = (self.name_fits)(&entry.name) {
                reader.core.report.error(&path, &entry.source, problem);
            }
            let source = entry.source.clone();
            reader.line(Line::section::<S>(&path, Form::Named, source));
            let section = reader.core.section(&path, Some(&entry.node));
            sections.push((entry.name.clone(), section));
        }
        sections
    }
}

/// The entries of a map node; whatever else stands there is reported.
fn entries<'t>(path: &KeyPath, node: Option<&'t Node>, core: &mut Core<'t>) -> &'t [Entry] {
    match node.map(|node| (&node.value, node)) {
        Some((Value::Map(entries), _)) => entries,
        None | Some((Value::Null, _)) => &[],
        Some((_, node)) => {
            let problem = format!("want a section, not {}", node.told());
            core.report.error(path, &node.source, problem);
            &[]
        }
    }
}

/// A list of sections.
pub(crate) struct Listed<S> {
    /// What is said where a text stands instead.
    of_text: &'static str,
    section: PhantomData<S>,
}

/// Sections in a list.
pub(crate) const fn listed<S: Section>() -> Listed<S> {
    Listed {
        of_text: "",
        section: PhantomData,
    }
}

/// The steps of a hook.
pub(crate) const fn steps<S: Section>() -> Listed<S> {
    Listed {
        of_text: ": no code is run here. Write `[{cel: \"…\"}]` or `[{http: {url, secret}}]`",
        section: PhantomData,
    }
}

impl<S: Section> Field for Listed<S> {
    type Out = Vec<S>;

    fn take(self, key: &Key, reader: &mut Reader<'_, '_>) -> Vec<S> {
        let path = reader.path.name(key.name());
        let node = reader.node(key);
        let items = match node.map(|node| (&node.value, node)) {
            Some((Value::List(items), _)) => items.as_slice(),
            None | Some((Value::Null, _)) => &[],
            Some((_, node)) => {
                let mut problem = format!("want a list, not {}", node.told());
                problem.push_str(self.of_text);
                reader.core.report.error(&path, &node.source, problem);
                &[]
            }
        };
        reader.line(Line::group(&path, key.doc, Form::List, Source::of(node)));
        if reader.core.describing {
            let path = path.index(0);
            reader.line(Line::section::<S>(&path, Form::Listed, Source::Default));
            return vec![reader.core.section(&path, None)];
        }
        let mut sections = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let path = path.index(index);
            let source = item.source.clone();
            reader.line(Line::section::<S>(&path, Form::Listed, source));
            sections.push(reader.core.section(&path, Some(item)));
        }
        sections
    }
}

/// A section that may be switched off with one word instead.
pub(crate) struct OrOff<S>(PhantomData<S>);

/// What stands where a section or the word `off` may stand.
#[derive(Clone, Debug)]
pub(crate) enum OnOrOff<S> {
    Absent,
    Off,
    On(S),
}

/// A section, or the word `off` (also `false`).
pub(crate) const fn section_or_off<S: Section>() -> OrOff<S> {
    OrOff(PhantomData)
}

impl<S: Section> Field for OrOff<S> {
    type Out = OnOrOff<S>;

    fn take(self, key: &Key, reader: &mut Reader<'_, '_>) -> OnOrOff<S> {
        let path = reader.path.name(key.name());
        let node = reader.node(key);
        reader.line(Line::section::<S>(&path, Form::OneOrOff, Source::of(node)));
        let is_off = node.is_some_and(|node| {
            matches!(node.value, Value::Bool(false)) || node.as_text() == Some("off")
        });
        if is_off {
            OnOrOff::Off
        } else if node.is_none() && !reader.core.describing {
            OnOrOff::Absent
        } else {
            OnOrOff::On(reader.core.section(&path, node))
        }
    }
}

/// Values of one kind by name.
pub(crate) struct Mapped<K>(K);

/// Values of one kind, by any name of 1 to 200 characters.
pub(crate) const fn mapped<K: Kind>(kind: K) -> Mapped<K> {
    Mapped(kind)
}

impl<K: Kind> Field for Mapped<K> {
    type Out = Vec<(String, K::Value)>;

    fn take(self, key: &Key, reader: &mut Reader<'_, '_>) -> Self::Out {
        let path = reader.path.name(key.name());
        let node = reader.node(key);
        reader.line(Line::group(&path, key.doc, Form::Map, Source::of(node)));
        let core = &mut *reader.core;
        if core.describing {
            let line = Core::line_of(&path.name(ANY_NAME), key.doc, &self.0);
            core.lines.push(Line::Key(line));
        }
        let mut values = Vec::new();
        for entry in entries(&path, node, core) {
            let path = path.name(&entry.name);
            if !(1..=200).contains(&entry.name.chars().count()) {
                let problem = "want a name of 1 to 200 characters";
                core.report.error(&path, &entry.source, problem);
            }
            let line = Core::line_of(&path, key.doc, &self.0);
            let value = core.value(line, Some(&entry.node), &self.0);
            values.extend(value.map(|value| (entry.name.clone(), value)));
        }
        values
    }
}

/// Fields set on upstream requests.
pub(crate) struct Headers;

/// Fields by name. What stands in a field of a credential is a secret.
pub(crate) const fn headers() -> Headers {
    Headers
}

impl Field for Headers {
    type Out = Vec<(String, SecretOrText)>;

    fn take(self, key: &Key, reader: &mut Reader<'_, '_>) -> Self::Out {
        let path = reader.path.name(key.name());
        let node = reader.node(key);
        reader.line(Line::group(&path, key.doc, Form::Map, Source::of(node)));
        let core = &mut *reader.core;
        if core.describing {
            let line = Core::line_of(&path.name(ANY_NAME), key.doc, &header(""));
            core.lines.push(Line::Key(line));
        }
        let mut headers: Vec<(String, SecretOrText)> = Vec::new();
        for entry in entries(&path, node, core) {
            let path = path.name(&entry.name);
            let name = entry.name.to_ascii_lowercase();
            let twice = headers.iter().any(|(other, _)| *other == name);
            let fault = field_name(&name).err();
            let fault = fault.or_else(|| twice.then(|| "is set twice".to_owned()));
            if let Some(problem) = fault {
                core.report.error(&path, &entry.source, problem);
                continue;
            }
            let kind = header(&name);
            let line = Core::line_of(&path, key.doc, &kind);
            let value = core.value(line, Some(&entry.node), &kind);
            headers.extend(value.map(|value| (name, value)));
        }
        headers
    }
}

/// Lists of texts under names that the operator chooses.
pub(crate) struct ListsByName;

/// Lists of texts by name. A number or switch in them is the text it is written as.
pub(crate) const fn lists_by_name() -> ListsByName {
    ListsByName
}

impl Field for ListsByName {
    type Out = Vec<(String, Vec<String>)>;

    fn take(self, key: &Key, reader: &mut Reader<'_, '_>) -> Self::Out {
        let path = reader.path.name(key.name());
        let node = reader.node(key);
        reader.line(Line::group(&path, key.doc, Form::Map, Source::of(node)));
        let core = &mut *reader.core;
        let kind = list(scalar());
        if core.describing {
            let line = Core::line_of(&path.name(ANY_NAME), key.doc, &kind);
            core.lines.push(Line::Key(line));
        }
        let mut lists: Vec<(String, Vec<String>)> = Vec::new();
        for entry in entries(&path, node, core) {
            let path = path.name(&entry.name);
            if lists.iter().any(|(other, _)| *other == entry.name) {
                let source = &entry.source;
                core.report.error(&path, source, "is set twice".to_owned());
                continue;
            }
            let line = Core::line_of(&path, key.doc, &kind);
            let value = core.value(line, Some(&entry.node), &kind);
            lists.extend(value.map(|value| (entry.name.clone(), value)));
        }
        lists
    }
}

/// Refuses what is no field name, and the fields whose value is ours alone (EDGE-72).
pub(crate) fn field_name(name: &str) -> Result<(), String> {
    const OURS: [&str; 10] = [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "upgrade",
        "te",
        "trailer",
        "expect",
        "proxy-connection",
    ];
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || name.len() > 128 || !name.bytes().all(token) {
        return Err("is no field name".to_owned());
    }
    if OURS.contains(&name) {
        return Err("is written by the gateway and can't be set".to_owned());
    }
    Ok(())
}
