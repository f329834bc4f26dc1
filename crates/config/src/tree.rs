//! What was written, as a tree whose every node knows where it was written.

use std::fmt;
use std::sync::Arc;

/// Where a value was written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Source {
    /// Nowhere: the built-in default.
    Default,
    /// In the file; both count from 1.
    File { line: usize, column: usize },
    /// In the environment, under this name.
    Environment(Arc<str>),
    /// In a `--set` flag.
    Flag,
}

impl Source {
    /// Where a node was written, if there is one.
    pub(crate) fn of(node: Option<&Node>) -> Self {
        node.map_or(Self::Default, |node| node.source.clone())
    }
}

/// One value and where it was written.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) source: Source,
    /// Whether interpolation changed the text.
    pub(crate) interpolated: bool,
    /// Whether messages may quote the value.
    pub(crate) quotable: bool,
}

/// A value. It has no `Debug`: any text in it may be a secret.
#[derive(Clone)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    /// A number as written; nothing is lost to a float or a wrong base.
    Number(String),
    Text(String),
    /// Text from the environment or a flag, which is whatever its key wants it to be.
    Loose(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One key of a map.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) name: String,
    /// Where the name stands.
    pub(crate) source: Source,
    pub(crate) node: Node,
}

impl Node {
    pub(crate) fn new(value: Value, source: Source) -> Self {
        Self {
            value,
            source,
            interpolated: false,
            quotable: true,
        }
    }

    pub(crate) fn empty_map() -> Self {
        Self::new(Value::Map(Vec::new()), Source::Default)
    }

    /// Whether nothing stands there, or a map without an entry.
    pub(crate) fn is_empty(&self) -> bool {
        match &self.value {
            Value::Null => true,
            Value::Map(entries) => entries.is_empty(),
            Value::Bool(_)
            | Value::Number(_)
            | Value::Text(_)
            | Value::Loose(_)
            | Value::List(_) => false,
        }
    }

    /// The text, if this is one.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) | Value::Loose(text) => Some(text),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::List(_) | Value::Map(_) => {
                None
            }
        }
    }

    /// The value of a key, if this is a map that has it.
    pub(crate) fn get(&self, name: &str) -> Option<&Self> {
        let Value::Map(entries) = &self.value else {
            return None;
        };
        let entry = entries.iter().find(|entry| entry.name == name)?;
        Some(&entry.node)
    }

    /// The node at a path.
    pub(crate) fn find(&self, path: &KeyPath) -> Option<&Self> {
        path.0.iter().try_fold(self, |node, step| match step {
            Step::Name(name) => node.get(name),
            Step::Index(index) => match &node.value {
                Value::List(items) => items.get(*index),
                Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::Text(_)
                | Value::Loose(_)
                | Value::Map(_) => None,
            },
        })
    }

    /// Puts a node at a path of names, making maps on the way. What is in the way and no map is
    /// replaced. An entry that is the same key under another name is found by `canonical`.
    pub(crate) fn put(&mut self, path: &[String], node: Self, canonical: &dyn Fn(&str) -> String) {
        let Some((name, rest)) = path.split_first() else {
            *self = node;
            return;
        };
        if !matches!(self.value, Value::Map(_)) {
            *self = Self::new(Value::Map(Vec::new()), node.source.clone());
        }
        let Value::Map(entries) = &mut self.value else {
            return;
        };
        let there = entries
            .iter()
            .position(|entry| entry.name == *name || canonical(&entry.name) == *name);
        if let Some(entry) = there.and_then(|at| entries.get_mut(at)) {
            return entry.node.put(rest, node, canonical);
        }
        let source = node.source.clone();
        let mut child = Self::new(Value::Map(Vec::new()), source.clone());
        child.put(rest, node, canonical);
        entries.push(Entry {
            name: name.clone(),
            source,
            node: child,
        });
    }
}

/// The way to a key, as written in messages: `routes."GET /x".access`, `credentials[0].secret`.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct KeyPath(pub(crate) Vec<Step>);

/// One step of a [`KeyPath`].
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Step {
    Name(String),
    Index(usize),
}

impl KeyPath {
    pub(crate) fn name(&self, name: &str) -> Self {
        self.then(Step::Name(name.to_owned()))
    }

    pub(crate) fn index(&self, index: usize) -> Self {
        self.then(Step::Index(index))
    }

    fn then(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    /// A path of plain names between dots, as this crate's own code writes them.
    pub(crate) fn of(dotted: &str) -> Self {
        let names = dotted.split('.').map(|name| Step::Name(name.to_owned()));
        Self(names.collect())
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Name(name) => {
                    if at > 0 {
                        f.write_str(".")?;
                    }
                    let plain = |c: char| c.is_ascii_alphanumeric() || "_-<>".contains(c);
                    if !name.is_empty() && name.chars().all(plain) {
                        f.write_str(name)?;
                    } else {
                        write!(f, "{name:?}")?;
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Node {
        Node::new(Value::Text(text.to_owned()), Source::Flag)
    }

    fn path(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn what_is_put_is_found_and_its_neighbours_stay() {
        let mut tree = Node::empty_map();
        let canonical = |name: &str| name.replace("hostname", "host");
        tree.put(&path(&["server", "hostname"]), text("a"), &canonical);
        tree.put(&path(&["server", "port"]), text("b"), &canonical);
        tree.put(&path(&["server", "host"]), text("c"), &canonical);
        let read = |dotted: &str| tree.find(&KeyPath::of(dotted))?.as_text();
        assert_eq!(read("server.hostname"), Some("c"));
        assert_eq!(read("server.host"), None);
        assert_eq!(read("server.port"), Some("b"));
        assert_eq!(read("server.prot"), None);
    }

    #[test]
    fn a_path_quotes_what_is_not_a_plain_name() {
        let route = KeyPath::of("routes").name("GET /x").name("access");
        assert_eq!(route.to_string(), "routes.\"GET /x\".access");
        let secret = KeyPath::of("credentials").index(0).name("secret");
        assert_eq!(secret.to_string(), "credentials[0].secret");
    }
}
