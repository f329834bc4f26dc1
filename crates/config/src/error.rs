//! What is wrong with a configuration: every fault at once, each with its key and its place.

use crate::tree::{KeyPath, Source};
use serde::Serialize;
use std::fmt;
use std::path::{Path, PathBuf};

/// One fault. It never holds a value that may be a secret.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct ConfigError {
    /// Path of the key; empty when the fault is not about one key.
    pub key: String,
    /// What is wrong, with the way out where there is one.
    pub problem: String,
    /// Where it was written.
    #[serde(flatten)]
    pub place: Place,
}

/// Where a faulty value was written.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Place {
    /// In a file; line and column count from 1.
    File {
        /// The file.
        file: PathBuf,
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// In the environment.
    Environment {
        /// The name of the variable.
        variable: String,
    },
    /// In a `--set` flag.
    Flag {},
    /// Nowhere; something is missing.
    Nowhere {},
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::File { file, line, column } => {
                write!(f, "{}:{line}:{column}: ", file.display())?;
            }
            Place::Environment { variable } => write!(f, "{variable}: ")?,
            Place::Flag {} => f.write_str("--set: ")?,
            Place::Nowhere {} => {}
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.problem)
    }
}

/// Every fault of a configuration, in the order of the file. `Display` has one line for each.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Collects faults and warnings while a configuration is read.
#[derive(Default)]
pub(crate) struct Report {
    /// The file that [`Source::File`] means.
    file: PathBuf,
    errors: Vec<ConfigError>,
    warnings: Vec<String>,
    /// Files that values came from.
    files: Vec<PathBuf>,
}

impl Report {
    pub(crate) fn new(file: Option<&Path>) -> Self {
        Self {
            file: file.map(Path::to_path_buf).unwrap_or_default(),
            errors: Vec::new(),
            warnings: Vec::new(),
            files: Vec::new(),
        }
    }

    /// A value comes from this file.
    pub(crate) fn note_file(&mut self, path: &Path) {
        if !self.files.iter().any(|known| known == path) {
            self.files.push(path.to_path_buf());
        }
    }

    /// The files that values came from.
    pub(crate) fn take_files(&mut self) -> Vec<PathBuf> {
        std::mem::take(&mut self.files)
    }

    pub(crate) fn error(&mut self, key: &KeyPath, source: &Source, problem: impl Into<String>) {
        let error = ConfigError {
            key: key.to_string(),
            problem: problem.into(),
            place: self.place(source),
        };
        self.errors.push(error);
    }

    /// How many errors there are by now.
    pub(crate) fn error_count(&self) -> usize {
        self.errors.len()
    }

    /// A warning that reads alone.
    pub(crate) fn warn(&mut self, text: impl Into<String>) {
        self.warnings.push(text.into());
    }

    /// A warning about a key.
    pub(crate) fn warn_at(&mut self, key: &KeyPath, source: &Source, problem: &str) {
        let warning = ConfigError {
            key: key.to_string(),
            problem: problem.to_owned(),
            place: self.place(source),
        };
        self.warnings.push(warning.to_string());
    }

    fn place(&self, source: &Source) -> Place {
        match source {
            Source::File { line, column } => Place::File {
                file: self.file.clone(),
                line: *line,
                column: *column,
            },
            Source::Environment(variable) => Place::Environment {
                variable: variable.to_string(),
            },
            Source::Flag => Place::Flag {},
            Source::Default => Place::Nowhere {},
        }
    }

    /// The warnings, unless there is an error.
    pub(crate) fn finish(self) -> Result<Vec<String>, ConfigErrors> {
        if self.errors.is_empty() {
            return Ok(self.warnings);
        }
        Err(self.into_errors())
    }

    /// The errors, in the order of the file.
    pub(crate) fn into_errors(mut self) -> ConfigErrors {
        self.errors.sort_by_key(|error| match &error.place {
            Place::File { line, column, .. } => (0, *line, *column),
            Place::Environment { .. } => (1, 0, 0),
            Place::Flag {} => (2, 0, 0),
            Place::Nowhere {} => (3, 0, 0),
        });
        ConfigErrors(self.errors)
    }
}

/// The known name nearest to a wrong one, if it is near enough to be meant.
pub(crate) fn nearest<'n>(
    wrong: &str,
    known: impl IntoIterator<Item = &'n str>,
) -> Option<&'n str> {
    let reach = (wrong.chars().count() / 3).clamp(1, 4);
    known
        .into_iter()
        .map(|name| (distance(wrong, name), name))
        .filter(|(distance, _)| *distance <= reach)
        .min()
        .map(|(_, name)| name)
}

/// Edits (one character added, dropped, changed, or two swapped) between two names.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (row, from) in a.iter().enumerate() {
        let mut line = vec![row + 1];
        for (column, to) in b.iter().enumerate() {
            let at = |line: &[usize], column: usize| line.get(column).copied().unwrap_or(row);
            let changed = at(&above, column) + usize::from(from != to);
            let dropped = at(&above, column + 1) + 1;
            let added = at(&line, column) + 1;
            let mut best = changed.min(dropped).min(added);
            let swapped = row > 0
                && column > 0
                && a.get(row - 1) == Some(to)
                && b.get(column - 1) == Some(from);
            if swapped {
                best = best.min(at(&before, column - 1) + 1);
            }
            line.push(best);
        }
        before = std::mem::replace(&mut above, line);
    }
    above.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_the_one_meant() {
        let known = ["host", "port", "allowed_hosts", "trusted_proxies"];
        for (wrong, want) in [
            ("prot", Some("port")),
            ("ports", Some("port")),
            ("allowed_host", Some("allowed_hosts")),
            ("trusted-proxies", Some("trusted_proxies")),
            ("banner", None),
            ("x", None),
        ] {
            assert_eq!(nearest(wrong, known), want, "{wrong}");
        }
    }

    #[test]
    fn errors_stand_in_the_order_of_the_file() {
        let mut report = Report::new(Some(Path::new("a.yaml")));
        let at = |line| Source::File { line, column: 1 };
        report.error(&KeyPath::of("z"), &Source::Default, "is missing");
        report.error(&KeyPath::of("b"), &at(9), "late");
        report.error(&KeyPath::of("a"), &at(2), "early");
        let text = report.finish().unwrap_err().to_string();
        assert_eq!(
            text,
            "a.yaml:2:1: a: early\na.yaml:9:1: b: late\nz: is missing"
        );
    }
}
