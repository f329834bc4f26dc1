//! `config show`: every key, its value as it may be shown, and where it came from.

use crate::Loaded;
use crate::reader::{KeyLine, Line};
use crate::tree::Source;
use serde_json::{Value as Json, json};
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
#[derive(Clone, Debug)]
pub struct Origins(Vec<Shown>);

#[derive(Clone, Debug)]
struct Shown {
    key: String,
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
}

impl From<KeyLine> for Shown {
    fn from(line: KeyLine) -> Self {
        Self {
            key: line.path.to_string(),
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
    let keys = loaded.origins.0.iter();
    let keys = keys.filter(|shown| options.defaults || shown.origin != Origin::Default);
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
        let Self { key, value, origin } = self;
        if options.origin {
            format!("{key}: {value}  # {origin}\n")
        } else {
            format!("{key}: {value}\n")
        }
    }
}
