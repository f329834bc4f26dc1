//! Kinds of values: how each is read, and how it is described to people and editors.
//!
//! A kind is all there is to know about a value: the schema, the reference page and the reader
//! ask the same object, so they can't disagree.

mod amount;
mod choice;
mod list;
mod net;
mod number;
mod price;
mod secret;
mod text;
mod unit;

pub(crate) use amount::{Limit, limit};
pub(crate) use choice::choice;
pub(crate) use list::{list, one_or_more};
pub(crate) use net::{address, denied_network, network, networks_or_all_private, socket};
pub(crate) use number::{switch, whole, whole_or_auto};
pub(crate) use price::{RoutePrice, dollars, pay_to, price_or_none, priced, route_price, rule};
pub(crate) use secret::{credential, header, proxy_url, secret, shared_key};
pub use secret::{credential_fault, header_fault, looks_masked};
pub(crate) use text::{Parsed, maybe, parsed, path, scalar, text};
pub(crate) use unit::upstream_timeout;
pub(crate) use unit::{bytes, bytes_or_auto, duration, log_bytes, millis, seconds};

use crate::tree::{KeyPath, Node, Source, Step, Value};
use serde_json::Value as Json;

/// One kind of value.
pub(crate) trait Kind {
    type Value;

    /// How it is described.
    fn shape(&self) -> Shape;

    /// Whether what is written here must never be shown: not every value of a secret kind has
    /// something to hide.
    fn secrecy_of(&self, _: &Node) -> Secrecy {
        self.shape().secrecy
    }

    /// Its value, or everything wrong with the node.
    fn read(&self, node: &Node) -> Result<Self::Value, Vec<Wrong>>;
}

/// A kind whose values can be written as they would stand in the file, for defaults.
pub(crate) trait Written: Kind {
    fn write(&self, value: &Self::Value) -> Json;
}

/// How a kind is described.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// JSON Schema of the value as written.
    pub(crate) schema: Json,
    /// What to write, in words: type, unit, range.
    pub(crate) words: String,
    /// Whether the value must never be shown.
    pub(crate) secrecy: Secrecy,
}

/// Whether a value may be shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Secrecy {
    Open,
    Secret,
}

impl Shape {
    pub(crate) fn new(schema: Json, words: impl Into<String>) -> Self {
        Self {
            schema,
            words: words.into(),
            secrecy: Secrecy::Open,
        }
    }

    pub(crate) fn secret(self) -> Self {
        let secrecy = Secrecy::Secret;
        Self { secrecy, ..self }
    }
}

/// What is wrong with a node.
#[derive(Clone, Debug)]
pub(crate) struct Wrong {
    /// The way from the key to the faulty part, innermost step last.
    pub(crate) inside: Vec<Step>,
    pub(crate) source: Source,
    pub(crate) problem: String,
}

impl Wrong {
    /// A fault of the whole node.
    pub(crate) fn of(node: &Node, problem: impl Into<String>) -> Vec<Self> {
        vec![Self {
            inside: Vec::new(),
            source: node.source.clone(),
            problem: problem.into(),
        }]
    }

    pub(crate) fn path(&self, key: &KeyPath) -> KeyPath {
        let mut path = key.clone();
        path.0.extend(self.inside.iter().cloned());
        path
    }
}

impl Node {
    /// What stands here, for messages. A value that may be a secret is not told.
    pub(crate) fn told(&self) -> String {
        const LONGEST: usize = 60;
        let text = match &self.value {
            _ if !self.quotable => return "this value".to_owned(),
            Value::Null => return "nothing".to_owned(),
            Value::List(_) => return "a list".to_owned(),
            Value::Map(_) => return "a section".to_owned(),
            Value::Bool(on) => return format!("`{on}`"),
            Value::Number(text) => return format!("`{text}`"),
            Value::Text(text) | Value::Loose(text) => text,
        };
        if text.chars().count() <= LONGEST {
            return format!("{text:?}");
        }
        let start: String = text.chars().take(LONGEST).collect();
        format!("{start:?}…")
    }

    /// The text of a text.
    pub(crate) fn text(&self) -> Result<&str, Vec<Wrong>> {
        match &self.value {
            Value::Text(text) | Value::Loose(text) => Ok(text),
            Value::Number(_) | Value::Bool(_) => {
                let problem = format!("want text, not {}: write it in quotes", self.told());
                Err(Wrong::of(self, problem))
            }
            Value::Null | Value::List(_) | Value::Map(_) => {
                Err(Wrong::of(self, format!("want text, not {}", self.told())))
            }
        }
    }
}
