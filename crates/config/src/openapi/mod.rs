//! Routes of an `OpenAPI` document (3.0, 3.1): which methods and paths an upstream has. Nothing else
//! of the document is believed, least of all its servers; and nothing that it points to is fetched.

mod copy;
mod offered;

pub use copy::{check_document, keep_copy};
pub(crate) use offered::add_routes;

use crate::parse::{Budget, Format, parse_within};
use crate::settings::{Method, PathPattern, Segment};
use crate::tree::{Entry, Node, Value};

/// Bytes of a document.
pub const DOCUMENT_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Values in a document, those repeated by aliases counted each time.
const NODES_MAX: usize = 300_000;
/// Operations that become routes, of one document.
const OPERATIONS_MAX: usize = 1_000;
/// Paths of a document.
const PATHS_MAX: usize = 1_000;
/// References that lead from one to the next.
const HOPS_MAX: usize = 8;
/// Characters of a document's text in a message.
const TOLD_MAX: usize = 120;

/// What a document offers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Document {
    /// What can be a route.
    pub(crate) operations: Vec<Operation>,
    /// What can't be one, and why.
    pub(crate) left_out: Vec<String>,
}

/// One method of one path.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) method: Method,
    /// The path below that of the document.
    pub(crate) pattern: PathPattern,
    /// The path at the upstream, as `path.to` of a route wants it.
    pub(crate) to: String,
}

/// Reads a document.
///
/// # Errors
/// What makes the whole of it none that could be used.
pub(crate) fn read(format: Format, text: &str) -> Result<Document, String> {
    if text.len() as u64 > DOCUMENT_BYTES_MAX {
        return Err(format!("is longer than {DOCUMENT_BYTES_MAX} bytes"));
    }
    let root = parse_within(Budget::of(NODES_MAX), format, text).map_err(|faults| {
        let first = faults.into_iter().next();
        first.map_or_else(|| "can't be read".to_owned(), |fault| fault.told())
    })?;
    check_version(&root)?;
    check_references(&root)?;
    let Some(Value::Map(paths)) = root.get("paths").map(|paths| &paths.value) else {
        return Err("has no `paths`".to_owned());
    };
    if paths.len() > PATHS_MAX {
        return Err(format!("has more than {PATHS_MAX} paths"));
    }
    let mut document = Document::default();
    for path in paths {
        document.path(&root, path)?;
    }
    if document.operations.is_empty() {
        let first = document.left_out.first();
        let why = first.map_or(String::new(), |first| format!(": {first}"));
        return Err(format!("has no path that could be a route{why}"));
    }
    Ok(document)
}

fn check_version(root: &Node) -> Result<(), String> {
    if root.get("swagger").is_some() {
        return Err("is a document of Swagger 2: want OpenAPI 3.0 or 3.1".to_owned());
    }
    let version = root.get("openapi").map(|version| &version.value);
    let Some(Value::Text(version) | Value::Number(version)) = version else {
        return Err("is no OpenAPI document: it has no `openapi: 3.1.0`".to_owned());
    };
    let is_taken = ["3.0", "3.1"].iter().any(|taken| {
        let rest = version.strip_prefix(taken);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    });
    if is_taken {
        return Ok(());
    }
    Err(format!(
        "is of OpenAPI {}: want 3.0 or 3.1",
        quoted(version)
    ))
}

/// Whatever is meant must stand in the document itself.
fn check_references(node: &Node) -> Result<(), String> {
    match &node.value {
        Value::List(items) => items.iter().try_for_each(check_references),
        Value::Map(entries) => entries.iter().try_for_each(|entry| {
            let to = entry.node.as_text().filter(|_| entry.name == "$ref");
            match to {
                Some(to) if !to.starts_with('#') => Err(format!(
                    "refers to {}, which is outside of it: only references that start with `#` are \
                     taken",
                    quoted(to)
                )),
                Some(_) | None => check_references(&entry.node),
            }
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::Loose(_) => {
            Ok(())
        }
    }
}

impl Document {
    /// Takes what stands at a path.
    fn path(&mut self, root: &Node, path: &Entry) -> Result<(), String> {
        if path.name.starts_with("x-") {
            return Ok(());
        }
        let read = pattern(&path.name);
        let mut item = &path.node;
        for _ in 0..HOPS_MAX {
            self.item(&path.name, &read, item)?;
            let Some(to) = item.get("$ref").and_then(Node::as_text) else {
                return Ok(());
            };
            let Some(found) = find(root, to) else {
                let told = format!("{}: there is nothing at {}", quoted(&path.name), quoted(to));
                self.left_out.push(told);
                return Ok(());
            };
            item = found;
        }
        self.left_out
            .push(format!("{}: refers on and on", quoted(&path.name)));
        Ok(())
    }

    fn item(
        &mut self,
        path: &str,
        read: &Result<(PathPattern, String), String>,
        item: &Node,
    ) -> Result<(), String> {
        const BESIDES: [&str; 5] = ["$ref", "summary", "description", "servers", "parameters"];
        let Value::Map(entries) = &item.value else {
            self.left_out
                .push(format!("{}: is no object of operations", quoted(path)));
            return Ok(());
        };
        for entry in entries {
            let name = entry.name.as_str();
            if BESIDES.contains(&name) || name.starts_with("x-") {
                continue;
            }
            let told = || quoted(&format!("{} {path}", name.to_ascii_uppercase()));
            let mut methods = Method::ALL.into_iter();
            let method = methods.find(|method| method.as_str().to_ascii_lowercase() == name);
            let problem = match (method, read) {
                (None, _) => "is no method that a route can have".to_owned(),
                (Some(Method::Options), _) => "is answered for browsers only".to_owned(),
                (Some(_), Err(problem)) => problem.clone(),
                (Some(method), Ok((pattern, to))) => match self.twin(method, pattern) {
                    Some(twin) => format!("takes the same requests as {}", quoted(&twin)),
                    None => {
                        self.operations.push(Operation {
                            method,
                            pattern: pattern.clone(),
                            to: to.clone(),
                        });
                        continue;
                    }
                },
            };
            self.left_out.push(format!("{}: {problem}", told()));
        }
        if self.operations.len() > OPERATIONS_MAX {
            return Err(format!("has more than {OPERATIONS_MAX} operations"));
        }
        Ok(())
    }

    fn twin(&self, method: Method, pattern: &PathPattern) -> Option<String> {
        let mut operations = self.operations.iter();
        let twin =
            operations.find(|known| known.method == method && known.pattern.is_same(pattern))?;
        Some(twin.pattern.to_string())
    }
}

/// What a reference within the document leads to (RFC 6901).
fn find<'t>(root: &'t Node, reference: &str) -> Option<&'t Node> {
    let pointer = reference.strip_prefix("#/")?;
    pointer.split('/').try_fold(root, |node, step| {
        node.get(&step.replace("~1", "/").replace("~0", "~"))
    })
}

/// The pattern of a path such as `/items/{id}`, and that path at the upstream.
fn pattern(path: &str) -> Result<(PathPattern, String), String> {
    let Some(segments) = path.strip_prefix('/') else {
        return Err("does not start with `/`".to_owned());
    };
    let (mut written, mut to) = (String::new(), String::new());
    for segment in segments.split('/') {
        written.push('/');
        to.push('/');
        let inside = segment
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'));
        match inside {
            Some(name) if !name.contains(['{', '}']) => {
                let name = name.replace(['-', '.'], "_");
                written.push(':');
                written.push_str(&name);
                to.push_str("${params.");
                to.push_str(&name);
                to.push('}');
            }
            Some(_) | None => {
                if segment.contains(['{', '}']) {
                    let problem = format!("{} has a name within a segment", quoted(segment));
                    return Err(problem);
                }
                // What would mean something else in the name of a route, or in a URL.
                let is_strange = segment.starts_with(':') || segment == "*";
                // Such paths are refused at the door, unless a route that is written allows them.
                let is_shut = segment.to_ascii_lowercase().contains("%2f") || segment.contains(';');
                if is_strange || is_shut || segment.contains(['?', '#']) {
                    return Err(format!("{} is no segment of a path", quoted(segment)));
                }
                written.push_str(segment);
                to.push_str(segment);
            }
        }
    }
    let pattern = written.parse::<PathPattern>()?;
    let names = pattern
        .0
        .iter()
        .filter(|segment| matches!(segment, Segment::Rest));
    match names.count() {
        0 => Ok((pattern, to)),
        _ => Err("takes whatever stands behind it".to_owned()),
    }
}

/// A document's text in a message: short, and nothing in it that a terminal would do.
fn quoted(text: &str) -> String {
    let short: String = text.chars().take(TOLD_MAX).collect();
    let more = if short.len() < text.len() { "…" } else { "" };
    format!("{short:?}{more}")
}

#[cfg(test)]
mod tests;
