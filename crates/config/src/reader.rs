//! Reading sections: every key is declared where it is read, and nowhere else.
//!
//! [`keys!`] declares a section as a struct whose fields are keys; doc comment, kind and default
//! stand side by side. Reading a tree through it yields the struct, and on the way the list of
//! all keys with their values and origins, which is what `show`, the schema, the example and the
//! reference page are made of.

use crate::env::Env;
use crate::error::{Report, nearest};
use crate::interpolate::interpolate;
use crate::kind::{Kind, Secrecy, Shape};
use crate::later;
use crate::tree::{Entry, KeyPath, Node, Source, Value};
use serde_json::Value as Json;

/// A part of the file with keys of its own.
pub(crate) trait Section: Sized {
    /// What it is for.
    const ABOUT: &'static str;

    /// Reads all its keys.
    fn read(reader: &mut Reader<'_, '_>) -> Self;
}

/// Name and documentation of a key.
#[derive(Clone, Copy)]
pub(crate) struct Key {
    /// The name; words behind it are accepted instead.
    pub(crate) names: &'static [&'static str],
    /// Its doc comment.
    pub(crate) doc: &'static str,
}

impl Key {
    pub(crate) fn name(&self) -> &'static str {
        self.names.first().copied().unwrap_or_default()
    }
}

/// What is read at a key: a value with a default, an optional one, a section, …
pub(crate) trait Field {
    type Out;

    fn take(self, key: &Key, reader: &mut Reader<'_, '_>) -> Self::Out;
}

/// Declares a section. Each field is a key of the same name, or of the name behind `as`, with
/// accepted other names behind `|`. `Clone` and `Debug` are derived, and what else is asked for.
macro_rules! keys {
    (
        $(#[doc = $about:literal])*
        $(#[derive($($more:ident),*)])?
        $vis:vis struct $name:ident {
            $(
                $(#[doc = $doc:literal])*
                $field:ident $(as $key:literal $(| $alias:literal)*)?: $ty:ty = $read:expr,
            )*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Clone, Debug)]
        $(#[derive($($more),*)])?
        $vis struct $name {
            $($(#[doc = $doc])* $vis $field: $ty,)*
        }

        impl $crate::reader::Section for $name {
            const ABOUT: &'static str = concat!($($about),*);

            fn read(reader: &mut $crate::reader::Reader<'_, '_>) -> Self {
                $(
                    let key = $crate::reader::Key {
                        names: $crate::reader::names!($field $($key $(| $alias)*)?),
                        doc: concat!($($doc),*),
                    };
                    let $field = $crate::reader::Field::take($read, &key, reader);
                )*
                Self { $($field),* }
            }
        }
    };
}

/// The names of a key: those written, or that of the field.
macro_rules! names {
    ($field:ident) => {
        &[stringify!($field)]
    };
    ($field:ident $($name:literal)|+) => {
        &[$($name),+]
    };
}

pub(crate) use {keys, names};

/// A line of the description: a section or a key, in the order of the declarations.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all lines are keys")]
pub(crate) enum Line {
    Section {
        path: KeyPath,
        about: &'static str,
        form: Form,
        source: Source,
    },
    Key(KeyLine),
}

impl Line {
    pub(crate) fn section<S: Section>(path: &KeyPath, form: Form, source: Source) -> Self {
        Self::group(path, S::ABOUT, form, source)
    }

    pub(crate) fn group(path: &KeyPath, about: &'static str, form: Form, source: Source) -> Self {
        Self::Section {
            path: path.clone(),
            about,
            form,
            source,
        }
    }

    pub(crate) fn path(&self) -> &KeyPath {
        match self {
            Self::Section { path, .. } => path,
            Self::Key(line) => &line.path,
        }
    }

    pub(crate) fn source(&self) -> &Source {
        match self {
            Self::Section { source, .. } => source,
            Self::Key(line) => &line.source,
        }
    }
}

/// How the sections at a path are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Form {
    /// Once.
    One,
    /// Once, or the word `off` instead.
    OneOrOff,
    /// A map from names to what follows.
    Map,
    /// Under a name the operator chooses.
    Named,
    /// A list of what follows.
    List,
    /// In a list.
    Listed,
}

/// A key and what was read there.
#[derive(Clone, Debug)]
pub(crate) struct KeyLine {
    pub(crate) path: KeyPath,
    pub(crate) doc: &'static str,
    pub(crate) shape: Shape,
    pub(crate) default: Fallback,
    pub(crate) source: Source,
    /// The value as it may be shown.
    pub(crate) shown: Json,
}

/// What holds while a key is not written.
#[derive(Clone, Debug)]
pub(crate) enum Fallback {
    /// This.
    Value(Json),
    /// What the documentation says.
    Nothing,
    /// An error.
    Required,
    /// Nothing, and only the environment can write it, under this name.
    Environment(&'static str),
}

/// What stands for a name in descriptions.
pub(crate) const ANY_NAME: &str = "<name>";

/// What stands for a secret in everything that is shown.
pub(crate) const HIDDEN: &str = "‹set›";

/// Everything that is the same for the whole tree.
pub(crate) struct Core<'t> {
    pub(crate) env: &'t Env,
    pub(crate) report: Report,
    pub(crate) lines: Vec<Line>,
    /// Secrets written out, to be judged when the environment is known.
    pub(crate) literals: Vec<(KeyPath, Source)>,
    /// Whether this is for the list of keys only: one entry under each kind of name.
    pub(crate) describing: bool,
    /// Keys that have other names too.
    pub(crate) aliased: Vec<&'static [&'static str]>,
}

impl<'t> Core<'t> {
    pub(crate) const fn new(env: &'t Env, report: Report) -> Self {
        Self {
            env,
            report,
            lines: Vec::new(),
            literals: Vec::new(),
            describing: false,
            aliased: Vec::new(),
        }
    }

    /// The description of a key that nobody wrote.
    pub(crate) fn line_of<K: Kind>(path: &KeyPath, doc: &'static str, kind: &K) -> KeyLine {
        KeyLine {
            path: path.clone(),
            doc,
            shape: kind.shape(),
            default: Fallback::Nothing,
            source: Source::Default,
            shown: Json::Null,
        }
    }

    /// Reads the value of a key, and puts its line on the list.
    pub(crate) fn value<K: Kind>(
        &mut self,
        mut line: KeyLine,
        node: Option<&Node>,
        kind: &K,
    ) -> Option<K::Value> {
        let (path, secrecy) = (line.path.clone(), line.shape.secrecy);
        let mut hidden = secrecy;
        if let Some(node) = node {
            line.source = node.source.clone();
            hidden = kind.secrecy_of(node);
            line.shown = shown(node, hidden);
        }
        self.lines.push(Line::Key(line));
        let node = node?;
        if matches!(node.value, Value::Null) {
            let problem = "has no value: write one, or remove the key";
            self.report.error(&path, &node.source, problem);
            return None;
        }
        let mut node = interpolate(&path, node, secrecy, self)?;
        if secrecy == Secrecy::Secret {
            node.quotable = false;
            if hidden == Secrecy::Secret && is_literal(&node) {
                self.literals.push((path.clone(), node.source.clone()));
            }
        }
        match kind.read(&node) {
            Ok(value) => Some(value),
            Err(wrongs) => {
                for wrong in wrongs {
                    let path = wrong.path(&path);
                    self.report.error(&path, &wrong.source, wrong.problem);
                }
                None
            }
        }
    }

    /// Reads the section that a node is; reports what it does not know.
    pub(crate) fn section<S: Section>(&mut self, path: &KeyPath, node: Option<&'t Node>) -> S {
        let entries = match node.map(|node| (&node.value, node)) {
            Some((Value::Map(entries), _)) => entries.as_slice(),
            // `server:` with every key below it commented out.
            None | Some((Value::Null, _)) => &[],
            Some((_, node)) => {
                let problem = format!("want a section, not {}", node.told());
                self.report.error(path, &node.source, problem);
                &[]
            }
        };
        let mut reader = Reader {
            core: self,
            path: path.clone(),
            entries,
            known: Vec::new(),
        };
        let section = S::read(&mut reader);
        reader.refuse_unknown();
        section
    }
}

/// One section being read.
pub(crate) struct Reader<'c, 't> {
    pub(crate) core: &'c mut Core<'t>,
    pub(crate) path: KeyPath,
    entries: &'t [Entry],
    known: Vec<&'static str>,
}

impl<'t> Reader<'_, 't> {
    /// The node of a key under any of its names. Two at once are an error.
    pub(crate) fn node(&mut self, key: &Key) -> Option<&'t Node> {
        self.known.extend(key.names);
        if key.names.len() > 1 {
            self.core.aliased.push(key.names);
        }
        let goes = |entry: &&Entry| {
            let written = snake(&entry.name);
            key.names.iter().any(|name| *name == written)
        };
        let mut found = self.entries.iter().filter(goes);
        let first = found.next()?;
        for second in found {
            let problem = format!("is the same key as `{}`; write one of them", first.name);
            let path = self.path.name(&second.name);
            self.core.report.error(&path, &second.source, problem);
        }
        Some(&first.node)
    }

    /// Where a key of this section is written, if it is.
    pub(crate) fn source(&self, name: &str) -> Option<Source> {
        let entry = self
            .entries
            .iter()
            .find(|entry| snake(&entry.name) == name)?;
        Some(entry.source.clone())
    }

    /// Puts a line on the list.
    pub(crate) fn line(&mut self, line: Line) {
        self.core.lines.push(line);
    }

    /// Reads the value of a key.
    pub(crate) fn value<K: Kind>(
        &mut self,
        key: &Key,
        kind: &K,
        fallback: Fallback,
    ) -> Option<K::Value> {
        let path = self.path.name(key.name());
        let node = self.node(key);
        if matches!(fallback, Fallback::Required) && node.is_none() && !self.core.describing {
            let missing = &Source::Default;
            self.core.report.error(&path, missing, "is missing");
        }
        let mut line = Core::line_of(&path, key.doc, kind);
        if let Fallback::Value(default) = &fallback {
            line.shown.clone_from(default);
        }
        line.default = fallback;
        self.core.value(line, node, kind)
    }

    fn refuse_unknown(self) {
        for entry in self.entries {
            let written = snake(&entry.name);
            if self.known.iter().any(|name| *name == written) {
                continue;
            }
            let path = self.path.name(&entry.name);
            let problem = if later::is_later(&self.path.name(&written)) {
                "is not supported yet".to_owned()
            } else {
                match nearest(&written, self.known.iter().copied()) {
                    Some(name) => format!("is no known key; did you mean `{name}`?"),
                    None => "is no known key".to_owned(),
                }
            };
            self.core.report.error(&path, &entry.source, problem);
        }
    }
}

/// A secret in the text of the file or of a flag, instead of a reference.
fn is_literal(node: &Node) -> bool {
    let from_text = match node.source {
        Source::File { .. } | Source::Flag => true,
        Source::Environment(_) | Source::Default => false,
    };
    let says_something = node
        .as_text()
        .is_some_and(|text| !text.is_empty() && text != "none");
    from_text && says_something && !node.interpolated
}

/// `rateLimit` as `rate_limit`: the camel case of other gateways' files.
pub(crate) fn snake(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            if !out.is_empty() {
                out.push('_');
            }
            out.push(letter.to_ascii_lowercase());
        } else {
            out.push(letter);
        }
    }
    out
}

/// A value as it may be shown: secrets hidden, interpolated text as it was written.
fn shown(node: &Node, secrecy: Secrecy) -> Json {
    if secrecy == Secrecy::Secret {
        let is_empty = node.as_text().is_some_and(str::is_empty);
        return Json::from(if is_empty { "" } else { HIDDEN });
    }
    match &node.value {
        Value::Null => Json::Null,
        Value::Bool(on) => Json::Bool(*on),
        Value::Number(text) => match text.parse::<i64>() {
            Ok(number) => Json::from(number),
            Err(_) => Json::from(text.as_str()),
        },
        Value::Text(text) | Value::Loose(text) => Json::from(text.as_str()),
        Value::List(items) => items.iter().map(|item| shown(item, secrecy)).collect(),
        Value::Map(entries) => {
            let member = |entry: &Entry| (entry.name.clone(), shown(&entry.node, secrecy));
            Json::Object(entries.iter().map(member).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn camel_case_names_are_the_snake_case_ones() {
        for (camel, want) in [
            ("rateLimit", "rate_limit"),
            ("rate_limit", "rate_limit"),
            ("allowPrivate", "allow_private"),
            ("host", "host"),
        ] {
            assert_eq!(snake(camel), want);
        }
    }
}
