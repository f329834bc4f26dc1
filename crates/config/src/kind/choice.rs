//! One word of a few.

use super::number::as_switch;
use super::{Kind, Shape, Written, Wrong};
use crate::error::nearest;
use crate::tree::{Node, Value};
use serde_json::{Value as Json, json};

/// One word of a few. Where `off` is one of them, `false` is too.
pub(crate) struct Choice<T: 'static> {
    words: &'static [(&'static str, T)],
    later: &'static [&'static str],
}

/// One of these words; a value may have several, the first is its name.
pub(crate) const fn choice<T: Copy>(words: &'static [(&'static str, T)]) -> Choice<T> {
    Choice { words, later: &[] }
}

impl<T: Copy> Choice<T> {
    /// Words of the full product that this version does not know yet.
    pub(crate) const fn later(self, later: &'static [&'static str]) -> Self {
        Self { later, ..self }
    }

    fn pick(&self, word: &str) -> Option<T> {
        let found = self.words.iter().find(|(name, _)| *name == word)?;
        Some(found.1)
    }
}

impl<T: Copy> Kind for Choice<T> {
    type Value = T;

    fn shape(&self) -> Shape {
        let names = || self.words.iter().map(|(name, _)| *name);
        let mut values: Vec<Json> = names().map(Json::from).collect();
        if names().any(|name| name == "off") {
            values.push(Json::Bool(false));
        }
        let words: Vec<_> = names().map(|name| format!("`{name}`")).collect();
        Shape::new(json!({"enum": values}), words.join(", "))
    }

    fn read(&self, node: &Node) -> Result<T, Vec<Wrong>> {
        let known = || self.words.iter().map(|(name, _)| *name);
        let word = match (&node.value, as_switch(node)) {
            (_, Some(false)) => "off",
            (Value::Text(text) | Value::Loose(text) | Value::Number(text), _) => text,
            (Value::Bool(_) | Value::Null | Value::List(_) | Value::Map(_), _) => "",
        };
        if let Some(value) = self.pick(word) {
            return Ok(value);
        }
        if self.later.contains(&word) {
            let problem = format!("`{word}` is not supported yet");
            return Err(Wrong::of(node, problem));
        }
        let names: Vec<_> = known().map(|name| format!("`{name}`")).collect();
        let mut problem = format!("want {}, not {}", names.join(", "), node.told());
        if node.quotable
            && let Some(name) = nearest(word, known())
        {
            problem.push_str(&format!("; did you mean `{name}`?"));
        }
        Err(Wrong::of(node, problem))
    }
}

impl<T: Copy + PartialEq> Written for Choice<T> {
    fn write(&self, value: &T) -> Json {
        let found = self.words.iter().find(|(_, other)| other == value);
        found.map_or(Json::Null, |(name, _)| Json::from(*name))
    }
}
