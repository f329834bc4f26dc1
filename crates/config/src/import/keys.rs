//! The keys of a section of another gateway's file: each known, and written once.

use super::Import;
use crate::error::nearest;
use crate::reader::snake;
use crate::tree::{Entry, KeyPath, Node, Value};
use serde_json::Value as Json;

/// A section, as it is written there.
pub(super) struct Keys<'t> {
    pub(super) path: KeyPath,
    entries: Vec<(String, &'t Entry)>,
}

impl<'t> Keys<'t> {
    /// The keys of a section, in snake case; what is none of `known`, or stands there twice, is
    /// reported.
    pub(super) fn of(
        path: &KeyPath,
        node: Option<&'t Node>,
        known: &[&str],
        import: &mut Import,
    ) -> Self {
        let mut entries: Vec<(String, &Entry)> = Vec::new();
        for entry in members(path, node, import) {
            let (name, at) = (snake(&entry.name), path.name(&entry.name));
            if let Some((_, twin)) = entries.iter().find(|(known, _)| *known == name) {
                let problem = format!("is said by `{}` too: keep one of them", twin.name);
                import.report.error(&at, &entry.source, problem);
            } else if known.contains(&name.as_str()) {
                entries.push((name, entry));
            } else {
                let mut problem = "is no key that tollbooth knows".to_owned();
                if let Some(near) = nearest(&name, known.iter().copied()) {
                    problem.push_str(&format!("; did you mean `{near}`?"));
                }
                import.report.error(&at, &entry.source, problem);
            }
        }
        Self {
            path: path.clone(),
            entries,
        }
    }

    /// What is written at a key, and its path as it is written.
    pub(super) fn get(&self, name: &str) -> Option<(KeyPath, &'t Node)> {
        let mut entries = self.entries.iter();
        let (_, entry) = entries.find(|(known, _)| known == name)?;
        let is_there = !matches!(entry.node.value, Value::Null);
        is_there.then(|| (self.path.name(&entry.name), &entry.node))
    }
}

/// The entries of a map; whatever else stands there is reported.
pub(super) fn members<'t>(
    path: &KeyPath,
    node: Option<&'t Node>,
    import: &mut Import,
) -> &'t [Entry] {
    match node.map(|node| (&node.value, node)) {
        Some((Value::Map(entries), _)) => entries,
        None | Some((Value::Null, _)) => &[],
        Some((_, node)) => {
            let problem = format!("want a section, not {}", node.told());
            import.report.error(path, &node.source, problem);
            &[]
        }
    }
}

/// The items of a list; whatever else stands there is reported.
pub(super) fn items<'t>(path: &KeyPath, node: &'t Node, import: &mut Import) -> &'t [Node] {
    if let Value::List(items) = &node.value {
        return items;
    }
    let problem = format!("want a list, not {}", node.told());
    import.report.error(path, &node.source, problem);
    &[]
}

/// The text at a key; whatever else stands there is reported.
pub(super) fn text<'t>(path: &KeyPath, node: &'t Node, import: &mut Import) -> Option<&'t str> {
    let text = node.as_text();
    if text.is_none() {
        let problem = format!("want a text, not {}", node.told());
        import.report.error(path, &node.source, problem);
    }
    text
}

/// The whole number at a key; whatever else stands there is reported.
pub(super) fn whole(path: &KeyPath, node: &Node, import: &mut Import) -> Option<u64> {
    let number = match &node.value {
        Value::Number(text) => text.parse().ok(),
        Value::Null
        | Value::Bool(_)
        | Value::Text(_)
        | Value::Loose(_)
        | Value::List(_)
        | Value::Map(_) => None,
    };
    if number.is_none() {
        let problem = format!("want a whole number, not {}", node.told());
        import.report.error(path, &node.source, problem);
    }
    number
}

/// Whatever stands there, as JSON, which YAML reads the same. Numbers that are no numbers of JSON
/// stay texts.
pub(super) fn json(node: &Node) -> Json {
    match &node.value {
        Value::Null => Json::Null,
        Value::Bool(on) => Json::Bool(*on),
        Value::Number(text) => serde_json::from_str(text).unwrap_or_else(|_| text.clone().into()),
        Value::Text(text) | Value::Loose(text) => text.clone().into(),
        Value::List(items) => items.iter().map(json).collect(),
        Value::Map(entries) => {
            let member = |entry: &Entry| (entry.name.clone(), json(&entry.node));
            Json::Object(entries.iter().map(member).collect())
        }
    }
}
