//! `config show`: every key, its value as it may be shown, and where it came from.

use crate::Loaded;
use crate::reader::{KeyLine, Line};
use crate::tree::{KeyPath, Source, Step};
use serde_json::{Map, Value as Json, json};
use std::fmt;

/// Where a value came from; each beats those before it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Origin {
    /// Nobody wrote it.
    Default,
    /// The file.
    File,
    /// The environment, or an env file.
    Environment,
    /// `--set`.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "default",
            Self::File => "file",
            Self::Environment => "environment",
            Self::Flag => "flag",
        })
    }
}

impl From<&Source> for Origin {
    fn from(source: &Source) -> Self {
        match source {
            Source::Default => Self::Default,
            Source::File { .. } => Self::File,
            Source::Environment(_) => Self::Environment,
            Source::Flag => Self::Flag,
        }
    }
}

/// Every key with its value and origin, in the order of the reference.
#[derive(Clone, Debug, Default)]
pub struct Origins(Vec<Shown>);

#[derive(Clone, Debug)]
struct Shown {
    key: String,
    path: KeyPath,
    value: Json,
    origin: Origin,
}

impl Origins {
    pub(crate) fn new(lines: Vec<Line>) -> Self {
        let keys = lines.into_iter().filter_map(|line| match line {
            Line::Key(line) => Some(Shown::from(line)),
            Line::Section { .. } => None,
        });
        Self(keys.collect())
    }

    /// Where the value of a key came from; `None` for what is no key.
    pub fn of(&self, key: &str) -> Option<Origin> {
        let shown = self.0.iter().find(|shown| shown.key == key)?;
        Some(shown.origin)
    }

    /// The keys that somebody wrote, or all with their defaults: each with its value as it may be
    /// shown, and where that came from.
    pub fn each(&self, defaults: bool) -> impl Iterator<Item = (&str, &Json, Origin)> {
        let keys = self.keys(defaults);
        keys.map(|shown| (shown.key.as_str(), &shown.value, shown.origin))
    }

    /// The same in the form of the file.
    pub fn tree(&self, defaults: bool) -> Json {
        let mut tree = Json::Object(Map::new());
        for shown in self.keys(defaults) {
            put(&mut tree, &shown.path.0, &shown.value);
        }
        tree
    }

    fn keys(&self, defaults: bool) -> impl Iterator<Item = &Shown> {
        let is_wanted = move |shown: &&Shown| defaults || shown.origin != Origin::Default;
        self.0.iter().filter(is_wanted)
    }
}

/// Puts a value at its place; what is on the way there and missing is made.
fn put(node: &mut Json, steps: &[Step], value: &Json) {
    let Some((step, rest)) = steps.split_first() else {
        *node = value.clone();
        return;
    };
    match step {
        Step::Name(name) => {
            if !node.is_object() {
                *node = Json::Object(Map::new());
            }
            if let Some(members) = node.as_object_mut() {
                put(
                    members.entry(name.as_str()).or_insert(Json::Null),
                    rest,
                    value,
                );
            }
        }
        Step::Index(index) => {
            if !node.is_array() {
                *node = Json::Array(Vec::new());
            }
            if let Some(list) = node.as_array_mut() {
                while list.len() <= *index {
                    list.push(Json::Null);
                }
                if let Some(entry) = list.get_mut(*index) {
                    put(entry, rest, value);
                }
            }
        }
    }
}

impl From<KeyLine> for Shown {
    fn from(line: KeyLine) -> Self {
        Self {
            key: line.path.to_string(),
            path: line.path,
            value: line.shown,
            origin: Origin::from(&line.source),
        }
    }
}

/// How to show settings.
#[derive(Clone, Copy, Debug, Default)]
pub struct ShowOptions {
    /// With the origin of each key.
    pub origin: bool,
    /// Also keys that nobody wrote.
    pub defaults: bool,
    /// As JSON.
    pub json: bool,
}

/// Settings as text: `key: value` a line, or a JSON array. A secret is `‹set›`; a value that
/// came through `${…}` is shown as it was written.
pub fn show(loaded: &Loaded, options: ShowOptions) -> String {
    let keys = loaded.origins.keys(options.defaults);
    if options.json {
        let array: Vec<Json> = keys.map(|shown| shown.json(options)).collect();
        return format!("{:#}\n", Json::Array(array));
    }
    keys.map(|shown| shown.text(options)).collect()
}

impl Shown {
    fn json(&self, options: ShowOptions) -> Json {
        let mut object = json!({"key": self.key, "value": self.value});
        if options.origin
            && let Some(object) = object.as_object_mut()
        {
            object.insert("origin".to_owned(), Json::from(self.origin.to_string()));
        }
        object
    }

    fn text(&self, options: ShowOptions) -> String {
        let Self {
            key, value, origin, ..
        } = self;
        if options.origin {
            format!("{key}: {value}  # {origin}\n")
        } else {
            format!("{key}: {value}\n")
        }
    }
}
