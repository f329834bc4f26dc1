//! Text to tree: YAML, JSON and TOML, within one budget, with a place for every node.

mod json;
mod toml;
mod yaml;

use crate::tree::{KeyPath, Node, Source};
use std::path::Path;

pub(crate) use json::parse as parse_json;

/// Bytes of a configuration file.
pub(crate) const FILE_BYTES_MAX: u64 = 10 * 1024 * 1024;
/// Values in a configuration, those repeated by aliases counted each time.
const NODES_MAX: usize = 10_000;
/// Maps and lists inside each other.
const DEPTH_MAX: usize = 64;

/// How a file is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Format {
    Yaml,
    Json,
    Toml,
}

impl Format {
    /// By the extension; what is neither JSON nor TOML is YAML.
    pub(crate) fn of(path: &Path) -> Self {
        let extension = path.extension().unwrap_or_default();
        if extension.eq_ignore_ascii_case("json") {
            Self::Json
        } else if extension.eq_ignore_ascii_case("toml") {
            Self::Toml
        } else {
            Self::Yaml
        }
    }
}

/// What is wrong with the text, before any key is looked at.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Fault {
    pub(crate) key: KeyPath,
    pub(crate) source: Source,
    pub(crate) problem: String,
}

impl Fault {
    /// In words, for who does not look into the file.
    pub(crate) fn told(&self) -> String {
        match &self.source {
            Source::File { line, column } => format!("line {line}:{column}: {}", self.problem),
            Source::Default | Source::Environment(_) | Source::Flag => self.problem.clone(),
        }
    }

    fn new(key: KeyPath, source: Source, problem: impl Into<String>) -> Self {
        let problem = problem.into();
        Self {
            key,
            source,
            problem,
        }
    }
}

/// The tree of a text, or everything that keeps it from being one.
pub(crate) fn parse(format: Format, text: &str) -> Result<Node, Vec<Fault>> {
    parse_within(Budget::new(), format, text)
}

/// As [`parse`], of a text that may have more values, or fewer, than a configuration.
pub(crate) fn parse_within(budget: Budget, format: Format, text: &str) -> Result<Node, Vec<Fault>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match format {
        Format::Yaml => yaml::parse(text, budget),
        Format::Json => {
            let lines = Lines::new(text);
            json::parse_within(budget, text, &|offset| lines.source(offset))
        }
        Format::Toml => toml::parse(text, budget),
    }
}

/// What a text may still spend.
#[derive(Clone, Copy)]
pub(crate) struct Budget {
    nodes_max: usize,
    nodes: usize,
}

impl Budget {
    const fn new() -> Self {
        Self::of(NODES_MAX)
    }

    /// So many values.
    pub(crate) const fn of(nodes_max: usize) -> Self {
        Self {
            nodes_max,
            nodes: nodes_max,
        }
    }

    /// Spends nodes at a depth; says what is exceeded.
    fn spend(&mut self, nodes: usize, depth: usize) -> Result<(), String> {
        if depth > DEPTH_MAX {
            return Err(format!("more than {DEPTH_MAX} levels inside each other"));
        }
        let left = self.nodes.checked_sub(nodes);
        self.nodes = left.ok_or_else(|| format!("more than {} values", self.nodes_max))?;
        Ok(())
    }
}

/// Bytes after which a column counts bytes, so that one long line costs nothing.
const LONG_LINE: usize = 4096;

/// Lines and columns of byte offsets.
struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    fn new(text: &'t str) -> Self {
        let after_break = text.match_indices('\n').map(|(at, _)| at + 1);
        let starts = std::iter::once(0).chain(after_break).collect();
        Self { text, starts }
    }

    /// The column counts characters, on lines too long to be read by people bytes.
    fn source(&self, offset: usize) -> Source {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts.get(line.saturating_sub(1)).copied();
        let start = start.unwrap_or(0);
        let before = match self.text.get(start..offset) {
            Some(text) if text.len() <= LONG_LINE => text.chars().count(),
            _ => offset.saturating_sub(start),
        };
        Source::File {
            line,
            column: before + 1,
        }
    }
}

#[cfg(test)]
mod tests;
