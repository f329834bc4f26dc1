//! Puts the routes of documents beside those that are written: `METHOD /<upstream>/<path>`.

use super::copy::{NoDocument, document};
use super::{Document, Operation};
use crate::load::Documents;
use crate::reader::{Core, Line, snake};
use crate::settings::{File, Methods, PathPattern, Segment, is_reserved_path};
use crate::tree::{Entry, KeyPath, Node, Source, Value};

/// Paths of a document that are told one by one, where they can't be routes.
const LEFT_OUT_TOLD: usize = 20;

/// A route that a document makes.
pub(crate) struct Offered {
    name: String,
    node: Node,
}

/// Reads the documents of all upstreams, and gives the routes that nobody wrote.
pub(crate) fn add_routes<'e>(
    mut file: File,
    tree: &Node,
    core: Core<'e>,
    documents: Documents,
) -> (File, Core<'e>) {
    let Core {
        env,
        mut report,
        lines,
        literals,
        describing,
        aliased,
    } = core;
    let mut offered = Vec::new();
    if documents != Documents::Unread {
        let mut reading = Reading {
            file: &file,
            report: &mut report,
            lines: &lines,
            documents,
        };
        offered = reading.all(tree);
    }
    let mut inner = Core {
        env,
        report,
        lines: Vec::new(),
        literals,
        describing,
        aliased,
    };
    let mut routes = Vec::new();
    for route in &offered {
        let path = KeyPath::of("routes").name(&route.name);
        routes.push((route.name.clone(), inner.section(&path, Some(&route.node))));
    }
    // Of each only what the document said: the rest is as it is for every route.
    let said = |line: &Line| !matches!(line.source(), Source::Default);
    let more: Vec<Line> = inner.lines.into_iter().filter(said).collect();
    let mut lines = lines;
    lines.extend(more);
    file.routes.extend(routes);
    let core = Core {
        env,
        report: inner.report,
        lines,
        literals: inner.literals,
        describing,
        aliased: inner.aliased,
    };
    (file, core)
}

struct Reading<'a> {
    file: &'a File,
    report: &'a mut crate::error::Report,
    lines: &'a [Line],
    documents: Documents,
}

impl Reading<'_> {
    fn all(&mut self, tree: &Node) -> Vec<Offered> {
        let written: Vec<(Methods, PathPattern)> = self
            .file
            .routes
            .iter()
            .filter_map(|(name, _)| {
                let (methods, path) = name.split_once(' ')?;
                Some((methods.parse().ok()?, path.trim_start().parse().ok()?))
            })
            .collect();
        let mut offered = Vec::new();
        for (name, upstream) in &self.file.upstreams {
            let Some(at) = &upstream.openapi else {
                continue;
            };
            let key = KeyPath::of("upstreams").name(name).name("openapi");
            let source = self.source(&key);
            let (path, read) = document(&self.file.data_dir, name, at);
            self.report.note_file(&path);
            let document = match read {
                Ok(document) => document,
                Err(NoDocument::Faulty(problem)) => {
                    let problem = format!("{}: {problem}", path.display());
                    self.report.error(&key, &source, problem);
                    continue;
                }
                Err(NoDocument::NotFetched) => {
                    self.not_fetched(&key, &source);
                    continue;
                }
            };
            self.tell_left_out(&key, &source, &document);
            let price = price_of(tree, name);
            let routes = document
                .operations
                .iter()
                .filter_map(|operation| route(name, operation, (&written, price, &source)));
            let before = offered.len();
            offered.extend(routes);
            if offered.len() == before {
                let problem = "makes no route: those that are written take all of its requests";
                self.report.warn_at(&key, &source, problem);
            }
        }
        offered
    }

    fn source(&self, key: &KeyPath) -> Source {
        let line = self.lines.iter().find(|line| line.path() == key);
        line.map_or(Source::Default, |line| line.source().clone())
    }

    fn not_fetched(&mut self, key: &KeyPath, source: &Source) {
        let problem = "was not fetched yet: `tollkeep import --from openapi FILE` does it, or \
                       `openapi_refresh: start` at each start";
        match self.documents {
            Documents::Needed => self.report.error(key, source, problem),
            Documents::IfFetched | Documents::Unread => self.report.warn_at(key, source, problem),
        }
    }

    fn tell_left_out(&mut self, key: &KeyPath, source: &Source, document: &Document) {
        for told in document.left_out.iter().take(LEFT_OUT_TOLD) {
            let problem = format!("leaves out {told}");
            self.report.warn_at(key, source, &problem);
        }
        let more = document.left_out.len().saturating_sub(LEFT_OUT_TOLD);
        if more > 0 {
            let problem = format!("leaves out {more} more");
            self.report.warn_at(key, source, &problem);
        }
    }
}

/// What is written as the price of an upstream's routes.
fn price_of<'t>(tree: &'t Node, upstream: &str) -> Option<&'t Node> {
    let upstream = tree.get("upstreams")?.get(upstream)?;
    let Value::Map(entries) = &upstream.value else {
        return None;
    };
    let mut entries = entries.iter();
    let found = entries.find(|entry| snake(&entry.name) == "default_price")?;
    Some(&found.node)
}

/// A route, unless one that is written takes its requests.
fn route(
    upstream: &str,
    operation: &Operation,
    (written, price, source): (&[(Methods, PathPattern)], Option<&Node>, &Source),
) -> Option<Offered> {
    let mut segments = vec![Segment::Literal(upstream.into())];
    segments.extend(operation.pattern.0.iter().cloned());
    let pattern = PathPattern(segments);
    let method = operation.method.as_str();
    let is_taken = |(methods, path): &(Methods, PathPattern)| {
        methods.take(method) && path.takes_all_of(&pattern)
    };
    if written.iter().any(is_taken) || is_reserved_path(&pattern) {
        return None;
    }
    // References to the environment are not meant by what is in a document.
    let to = operation.to.replace("${", "$${");
    // Where the key came from the environment, the texts here do not: they are read as a file's.
    let source = match source {
        Source::File { .. } => source.clone(),
        Source::Default | Source::Environment(_) | Source::Flag => Source::Flag,
    };
    let text = |text: &str| Node::new(Value::Text(text.to_owned()), source.clone());
    let entry = |name: &str, node: Node| Entry {
        name: name.to_owned(),
        source: source.clone(),
        node,
    };
    let to = Node::new(Value::Map(vec![entry("to", text(&to))]), source.clone());
    let mut entries = vec![entry("upstream", text(upstream)), entry("path", to)];
    entries.extend(price.map(|price| entry("price", price.clone())));
    Some(Offered {
        name: format!("{method} {pattern}"),
        node: Node::new(Value::Map(entries), source.clone()),
    })
}
