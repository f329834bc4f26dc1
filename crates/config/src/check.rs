//! What is judged when every key has been read: rules between keys, and rules of production.

use crate::env::Env;
use crate::error::Report;
use crate::reader::Line;
use crate::settings::Environment;
use crate::tree::{KeyPath, Source};

/// Where checks report to, and what they may ask.
pub(crate) struct Checks<'a> {
    pub(crate) environment: Environment,
    pub(crate) env: &'a Env,
    pub(crate) lines: &'a [Line],
    pub(crate) report: &'a mut Report,
    /// Whether somebody only looks at the settings, and nothing runs with them.
    pub(crate) looks_only: bool,
}

impl Checks<'_> {
    pub(crate) fn in_production(&self) -> bool {
        self.environment == Environment::Production
    }

    /// Whether somebody wrote this key.
    pub(crate) fn is_written(&self, dotted: &str) -> bool {
        self.is_written_at(&KeyPath::of(dotted))
    }

    pub(crate) fn is_written_at(&self, path: &KeyPath) -> bool {
        !matches!(self.source(path), Source::Default)
    }

    pub(crate) fn error(&mut self, dotted: &str, problem: impl Into<String>) {
        self.error_at(&KeyPath::of(dotted), problem);
    }

    pub(crate) fn error_at(&mut self, path: &KeyPath, problem: impl Into<String>) {
        let source = self.source(path);
        self.report.error(path, &source, problem);
    }

    /// What is well written and can't be sold by this version: no gateway starts with it.
    pub(crate) fn unsold(&mut self, path: &KeyPath, problem: &str) {
        if self.looks_only {
            self.warn_at(path, problem);
        } else {
            self.error_at(path, problem);
        }
    }

    pub(crate) fn warn(&mut self, dotted: &str, problem: &str) {
        self.warn_at(&KeyPath::of(dotted), problem);
    }

    pub(crate) fn warn_at(&mut self, path: &KeyPath, problem: &str) {
        let source = self.source(path);
        self.report.warn_at(path, &source, problem);
    }

    fn source(&self, path: &KeyPath) -> Source {
        let found = self.lines.iter().find(|line| line.path() == path);
        found.map_or(Source::Default, |line| line.source().clone())
    }
}
