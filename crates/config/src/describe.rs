//! The declarations as a tree of parts, for everything that describes the file.

use crate::catalog::Catalog;
use crate::reader::{ANY_NAME, Fallback, Form, KeyLine, Line};
use crate::tree::{KeyPath, Step};

/// The declarations of all keys.
pub(crate) struct Description(Catalog);

impl Description {
    pub(crate) fn new() -> Self {
        Self(Catalog::new())
    }

    /// What is directly below a path, in the order of the declarations. What only the
    /// environment can write is no part of the file.
    pub(crate) fn below<'d>(&'d self, path: &'d KeyPath) -> impl Iterator<Item = &'d Line> {
        let depth = path.0.len();
        self.0.lines.iter().filter(move |line| {
            let steps = &line.path().0;
            steps.len() == depth + 1 && steps.starts_with(&path.0) && is_in_file(line)
        })
    }

    /// All sections that hold keys, and those keys.
    pub(crate) fn sections(&self) -> impl Iterator<Item = (&KeyPath, &'static str, Form)> {
        self.0.lines.iter().filter_map(|line| match line {
            Line::Section {
                path, about, form, ..
            } => Some((path, *about, *form)),
            Line::Key(_) => None,
        })
    }

    /// What only the environment can write.
    pub(crate) fn environment_only(&self) -> impl Iterator<Item = &KeyLine> {
        self.0.lines.iter().filter_map(|line| match line {
            Line::Key(key) if !is_in_file(line) => Some(key),
            Line::Key(_) | Line::Section { .. } => None,
        })
    }
}

fn is_in_file(line: &Line) -> bool {
    match line {
        Line::Section { .. } => true,
        Line::Key(key) => !matches!(key.default, Fallback::Environment(_)),
    }
}

/// The last name of a path.
pub(crate) fn last_name(path: &KeyPath) -> &str {
    match path.0.last() {
        Some(Step::Name(name)) => name,
        Some(Step::Index(_)) | None => "",
    }
}

/// A path as documentation writes it: `credentials[]` for any entry of a list.
pub(crate) fn spelled(path: &KeyPath) -> String {
    path.to_string().replace("[0]", "[]")
}

/// The path of what a map or list holds.
pub(crate) fn any_entry(path: &KeyPath, form: Form) -> KeyPath {
    match form {
        Form::List => path.index(0),
        Form::Map | Form::One | Form::OneOrOff | Form::Named | Form::Listed => path.name(ANY_NAME),
    }
}

/// A doc comment as one line of text.
pub(crate) fn prose(doc: &str) -> String {
    doc.split_whitespace().collect::<Vec<_>>().join(" ")
}
