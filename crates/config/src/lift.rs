//! Sections that stand elsewhere in the files of other gateways, moved to where they belong.

use crate::error::Report;
use crate::overlay::names;
use crate::tree::{Entry, KeyPath, Node, Value};

/// Moves what cliproxyapi++ says of its audit log under `logging` to `audit`. Its `json` is a word
/// for its own lines.
pub(crate) fn audit(tree: &mut Node, report: &mut Report) {
    let Some(said) = take(tree, "logging", "audit") else {
        return;
    };
    let Value::Map(entries) = said.node.value else {
        let path = KeyPath::of("logging.audit");
        return report.error(
            &path,
            &said.source,
            "want a section: `enabled`, `file`, `format`, `events`",
        );
    };
    for mut entry in entries {
        let path = format!("audit.{}", entry.name);
        let here = KeyPath::of("logging").name("audit").name(&entry.name);
        if !["enabled", "file", "format", "events"].contains(&entry.name.as_str()) {
            report.error(
                &here,
                &entry.source,
                "is no key: there are `enabled`, `file`, `format`, `events`",
            );
        } else if tree.find(&KeyPath::of(&path)).is_some() {
            let problem = format!("is said by `{path}` too: keep one of them");
            report.error(&here, &entry.source, problem);
        } else {
            if entry.name == "format" && entry.node.as_text() == Some("json") {
                entry.node.value = Value::Text("cliproxy".to_owned());
            }
            tree.put(&names(&path), entry.node, &str::to_owned);
        }
    }
}

/// Takes an entry out of a section.
fn take(tree: &mut Node, section: &str, name: &str) -> Option<Entry> {
    let Value::Map(entries) = &mut tree.value else {
        return None;
    };
    let found = entries.iter_mut().find(|entry| entry.name == section)?;
    let Value::Map(entries) = &mut found.node.value else {
        return None;
    };
    let at = entries.iter().position(|entry| entry.name == name)?;
    Some(entries.remove(at))
}
