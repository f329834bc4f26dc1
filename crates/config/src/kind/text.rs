//! Texts, and what is parsed from them.

use super::{Kind, Secrecy, Shape, Written, Wrong};
use crate::tree::{Node, Value};
use serde_json::{Value as Json, json};
use std::fmt;
use std::path::PathBuf;

/// A text a parser understands.
pub(crate) struct Parsed<T> {
    words: &'static str,
    parse: fn(&str) -> Result<T, String>,
}

/// A text that `parse` understands. `words` say what to write.
pub(crate) const fn parsed<T>(
    words: &'static str,
    parse: fn(&str) -> Result<T, String>,
) -> Parsed<T> {
    Parsed { words, parse }
}

/// Any text.
pub(crate) const fn text() -> Parsed<String> {
    parsed("text", |text| Ok(text.to_owned()))
}

impl<T> Kind for Parsed<T> {
    type Value = T;

    fn shape(&self) -> Shape {
        Shape::new(json!({"type": "string"}), self.words)
    }

    fn read(&self, node: &Node) -> Result<T, Vec<Wrong>> {
        (self.parse)(node.text()?).map_err(|problem| {
            // The problem may quote the value.
            let quiet = || format!("want {}", self.words);
            Wrong::of(node, if node.quotable { problem } else { quiet() })
        })
    }
}

impl<T: fmt::Display> Written for Parsed<T> {
    fn write(&self, value: &T) -> Json {
        Json::from(value.to_string())
    }
}

/// A text, or a number or switch that stands for the text it is written as.
pub(crate) struct Scalar;

/// Any text, number or switch, as text.
pub(crate) const fn scalar() -> Scalar {
    Scalar
}

impl Kind for Scalar {
    type Value = String;

    fn shape(&self) -> Shape {
        let schema = json!({"type": ["string", "number", "boolean"]});
        Shape::new(schema, "text, number or switch")
    }

    fn read(&self, node: &Node) -> Result<String, Vec<Wrong>> {
        match &node.value {
            Value::Number(written) => Ok(written.clone()),
            Value::Bool(on) => Ok(on.to_string()),
            Value::Text(_) | Value::Loose(_) | Value::Null | Value::List(_) | Value::Map(_) => {
                node.text().map(str::to_owned)
            }
        }
    }
}

/// A path of the file system.
pub(crate) struct FilePath;

/// A path of the file system; one that is not absolute starts in the working directory.
pub(crate) const fn path() -> FilePath {
    FilePath
}

impl Kind for FilePath {
    type Value = PathBuf;

    fn shape(&self) -> Shape {
        Shape::new(json!({"type": "string"}), "path")
    }

    fn read(&self, node: &Node) -> Result<PathBuf, Vec<Wrong>> {
        let text = node.text()?;
        if text.is_empty() || text.contains('\0') {
            return Err(Wrong::of(node, "want a path"));
        }
        Ok(PathBuf::from(text))
    }
}

impl Written for FilePath {
    fn write(&self, value: &PathBuf) -> Json {
        Json::from(value.display().to_string())
    }
}

/// A value that empty text means none of.
pub(crate) struct Maybe<K>(K);

/// A value, or empty text for none, which is the default.
pub(crate) const fn maybe<K: Kind>(kind: K) -> Maybe<K> {
    Maybe(kind)
}

impl<K: Kind> Kind for Maybe<K> {
    type Value = Option<K::Value>;

    fn shape(&self) -> Shape {
        let shape = self.0.shape();
        let words = format!("{}, or `\"\"`", shape.words);
        Shape { words, ..shape }
    }

    fn secrecy_of(&self, node: &Node) -> Secrecy {
        self.0.secrecy_of(node)
    }

    fn read(&self, node: &Node) -> Result<Self::Value, Vec<Wrong>> {
        if node.text()?.is_empty() {
            return Ok(None);
        }
        self.0.read(node).map(Some)
    }
}

impl<K: Kind> Written for Maybe<K> {
    fn write(&self, _: &Self::Value) -> Json {
        Json::from("")
    }
}
