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

/// What stands in for code that settles.
pub(crate) const NO_CODE: &str = "is code, which is not run here: settle through a facilitator of your own, \
     `facilitator: https://…`, which speaks `/supported`, `/verify` and `/settle`";
/// What stands in for other strategies.
pub(crate) const NO_STRATEGY: &str =
    "is not supported yet: name a facilitator, `facilitator: https://…`";
const IMPORT: &str = "is no key here: `tollkeep import --from tollbooth` says what becomes of it";

/// Moves what tollbooth says of who settles, and of its Redis, to where it belongs.
pub(crate) fn tollbooth(tree: &mut Node, report: &mut Report) {
    for said in section(tree, report, "settlement", "`strategy` and `url`") {
        let here = KeyPath::of("settlement").name(&said.name);
        match (said.name.as_str(), said.node.as_text()) {
            ("strategy", Some("facilitator")) => {}
            ("strategy", Some("custom")) => report.error(&here, &said.source, NO_CODE),
            ("strategy", Some("nanopayments" | "mpp" | "tempo")) => {
                report.error(&here, &said.source, NO_STRATEGY);
            }
            ("strategy", _) => report.error(&here, &said.source, "want `facilitator`"),
            ("url", _) => put(tree, report, (&here, said), "facilitator"),
            _ => report.error(&here, &said.source, IMPORT),
        }
    }
    for said in section(tree, report, "stores", "`redis`") {
        let here = KeyPath::of("stores").name(&said.name);
        match (said.name.as_str(), &said.node.value) {
            ("redis", Value::Map(_)) => {
                let Value::Map(entries) = said.node.value else {
                    continue;
                };
                for said in entries {
                    let here = here.name(&said.name);
                    match said.name.as_str() {
                        "url" => put(tree, report, (&here, said), "redis.url"),
                        _ => report.error(&here, &said.source, IMPORT),
                    }
                }
            }
            ("redis", _) => put(tree, report, (&here, said), "redis.url"),
            _ => report.error(&here, &said.source, IMPORT),
        }
    }
}

/// Takes the entries of a section out of the file.
fn section(tree: &mut Node, report: &mut Report, name: &str, want: &str) -> Vec<Entry> {
    let Value::Map(sections) = &mut tree.value else {
        return Vec::new();
    };
    let Some(at) = sections.iter().position(|entry| entry.name == name) else {
        return Vec::new();
    };
    let said = sections.remove(at);
    match said.node.value {
        Value::Map(entries) => entries,
        Value::Null => Vec::new(),
        Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::Loose(_) | Value::List(_) => {
            let problem = format!("want a section: {want}");
            report.error(&KeyPath::of(name), &said.source, problem);
            Vec::new()
        }
    }
}

/// Moves an entry to a key that nothing else may say.
fn put(tree: &mut Node, report: &mut Report, (here, said): (&KeyPath, Entry), to: &str) {
    if tree.find(&KeyPath::of(to)).is_some() {
        let problem = format!("is said by `{to}` too: keep one of them");
        report.error(here, &said.source, problem);
        return;
    }
    tree.put(&names(to), said.node, &str::to_owned);
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

/// Reads `path: "/v1/x"` of a route, as tollbooth writes it, as `path: {to: "/v1/x"}`. What stands
/// there for the request is no reference to the environment.
pub(crate) fn paths(tree: &mut Node) {
    let Value::Map(sections) = &mut tree.value else {
        return;
    };
    let mut sections = sections.iter_mut();
    let Some(Value::Map(routes)) = sections
        .find(|section| section.name == "routes")
        .map(|section| &mut section.node.value)
    else {
        return;
    };
    for route in routes {
        let Value::Map(keys) = &mut route.node.value else {
            continue;
        };
        for key in keys.iter_mut().filter(|key| key.name == "path") {
            let is_text = matches!(key.node.value, Value::Text(_));
            if is_text {
                let text = std::mem::replace(&mut key.node, Node::empty_map());
                let source = text.source.clone();
                let to = Entry {
                    name: "to".to_owned(),
                    source: source.clone(),
                    node: text,
                };
                key.node = Node::new(Value::Map(vec![to]), source);
            }
            if let Value::Map(keys) = &mut key.node.value {
                for to in keys.iter_mut().filter(|key| key.name == "to") {
                    if let Value::Text(text) = &mut to.node.value {
                        *text = of_request(text);
                    }
                }
            }
        }
    }
}

/// A text whose `${params.…}` and `${query.…}` are left alone when references are filled in.
fn of_request(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("${") {
        out.push_str(before);
        let is_meant = behind.starts_with("params.") || behind.starts_with("query.");
        if is_meant && !before.ends_with('$') {
            out.push('$');
        }
        out.push_str("${");
        rest = behind;
    }
    out.push_str(rest);
    out
}
