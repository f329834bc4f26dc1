//! Lists of one kind.

use super::{Kind, Shape, Written, Wrong};
use crate::parse::parse_json;
use crate::tree::{Node, Step, Value};
use serde_json::{Value as Json, json};
use std::borrow::Cow;

/// Entries of a list.
const ITEMS_MAX: usize = 1_000;

/// A list. From the environment it is JSON, or text between commas.
pub(crate) struct List<K> {
    of: K,
    /// Values have commas themselves.
    unsplit: bool,
}

/// A list of values of one kind.
pub(crate) const fn list<K: Kind>(of: K) -> List<K> {
    let unsplit = false;
    List { of, unsplit }
}

/// One value, or a list of them.
pub(crate) struct OneOrMore<K>(List<K>);

/// One value of a kind, or a list of them.
pub(crate) const fn one_or_more<K: Kind>(of: K) -> OneOrMore<K> {
    OneOrMore(list(of))
}

impl<K: Kind> Kind for OneOrMore<K> {
    type Value = Vec<K::Value>;

    fn shape(&self) -> Shape {
        let (one, more) = (self.0.of.shape(), self.0.shape());
        Shape {
            schema: json!({"anyOf": [one.schema, more.schema]}),
            words: format!("{}, or {}", one.words, more.words),
            secrecy: one.secrecy,
        }
    }

    fn read(&self, node: &Node) -> Result<Self::Value, Vec<Wrong>> {
        match &node.value {
            Value::Text(_) => Ok(vec![self.0.of.read(node)?]),
            // What came from the environment says itself which of the two it is.
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Loose(_)
            | Value::List(_)
            | Value::Map(_) => self.0.read(node),
        }
    }
}

impl<K> List<K> {
    /// A list of values that have commas themselves: text that is no JSON is one of them.
    pub(crate) fn unsplit(mut self) -> Self {
        self.unsplit = true;
        self
    }
}

impl<K: Kind> Kind for List<K> {
    type Value = Vec<K::Value>;

    fn shape(&self) -> Shape {
        let of = self.of.shape();
        Shape {
            schema: json!({"type": "array", "items": of.schema, "maxItems": ITEMS_MAX}),
            words: format!("list of: {}", of.words),
            secrecy: of.secrecy,
        }
    }

    fn read(&self, node: &Node) -> Result<Self::Value, Vec<Wrong>> {
        let items = items(node, self.unsplit)?;
        if items.len() > ITEMS_MAX {
            return Err(Wrong::of(node, format!("more than {ITEMS_MAX} entries")));
        }
        let mut values = Vec::with_capacity(items.len());
        let mut wrongs = Vec::new();
        for (index, item) in items.iter().enumerate() {
            match self.of.read(item) {
                Ok(value) => values.push(value),
                Err(inner) => wrongs.extend(inner.into_iter().map(|mut wrong| {
                    wrong.inside.insert(0, Step::Index(index));
                    wrong
                })),
            }
        }
        if wrongs.is_empty() {
            Ok(values)
        } else {
            Err(wrongs)
        }
    }
}

impl<K: Written> Written for List<K> {
    fn write(&self, values: &Self::Value) -> Json {
        values.iter().map(|value| self.of.write(value)).collect()
    }
}

/// The entries of a list.
fn items(node: &Node, unsplit: bool) -> Result<Cow<'_, [Node]>, Vec<Wrong>> {
    let text = match &node.value {
        Value::List(items) => return Ok(Cow::Borrowed(items)),
        Value::Loose(text) => text.trim(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::Map(_) => {
            let problem = format!("want a list, not {}", node.told());
            return Err(Wrong::of(node, problem));
        }
    };
    if text.starts_with('[') {
        let parsed = parse_json(text, &|_| node.source.clone());
        let parsed = parsed.map_err(|faults| {
            let first = faults.into_iter().next().map(|fault| fault.problem);
            Wrong::of(node, first.unwrap_or_default())
        })?;
        if let Value::List(items) = parsed.value {
            return Ok(Cow::Owned(items));
        }
    }
    let parts = text
        .split(|letter| letter == ',' && !unsplit)
        .map(str::trim)
        .filter(|part| !part.is_empty());
    let loose = |part: &str| Node::new(Value::Loose(part.to_owned()), node.source.clone());
    Ok(Cow::Owned(parts.map(loose).collect()))
}
