//! The list of all keys, made by reading nothing.

use crate::env::Env;
use crate::error::Report;
use crate::kind::Secrecy;
use crate::reader::{ANY_NAME, Core, Line, snake};
use crate::settings::File;
use crate::tree::{KeyPath, Step};

/// Every section and key of the file, in the order of their declarations.
pub(crate) struct Catalog {
    pub(crate) lines: Vec<Line>,
    /// Keys that have other names too; the first is the one to use.
    aliased: Vec<&'static [&'static str]>,
}

/// What a path leads to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Target {
    Key(Secrecy),
    Section,
}

impl Catalog {
    pub(crate) fn new() -> Self {
        let env = Env::default();
        let mut core = Core::new(&env, Report::new(None));
        core.describing = true;
        let _file: File = core.section(&KeyPath::default(), None);
        Self {
            lines: core.lines,
            aliased: core.aliased,
        }
    }

    /// The names of a path that may be written in camel case or under other names. The other name of
    /// one key may be the name of another, so what is found as it stands is meant.
    pub(crate) fn known(&self, written: &[String]) -> Vec<String> {
        let plain: Vec<_> = written.iter().map(|name| snake(name)).collect();
        if self.find(&plain).is_some() {
            return plain;
        }
        written.iter().map(|name| self.canonical(name)).collect()
    }

    /// The name of a key that may be written in camel case or under another name.
    pub(crate) fn canonical(&self, written: &str) -> String {
        let name = snake(written);
        let key = self
            .aliased
            .iter()
            .find(|names| names.contains(&name.as_str()));
        match key.and_then(|names| names.first()) {
            Some(first) => (*first).to_owned(),
            None => name,
        }
    }

    /// The paths of all keys.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &KeyPath> {
        self.lines.iter().filter_map(|line| match line {
            Line::Key(line) => Some(&line.path),
            Line::Section { .. } => None,
        })
    }

    /// What stands at a path of names, and the path as the catalogue has it. A list of sections
    /// is set as a whole, so nothing is found inside one.
    pub(crate) fn find(&self, names: &[String]) -> Option<(Target, Vec<&str>)> {
        self.lines.iter().find_map(|line| match line {
            Line::Key(line) => Some((Target::Key(line.shape.secrecy), fits(&line.path, names)?)),
            Line::Section { path, .. } => Some((Target::Section, fits(path, names)?)),
        })
    }
}

/// The names of a path, if `names` go there.
fn fits<'p>(path: &'p KeyPath, names: &[String]) -> Option<Vec<&'p str>> {
    // A list stands for its entries.
    let steps: Vec<&str> = path
        .0
        .iter()
        .map_while(|step| match step {
            Step::Name(step) => Some(step.as_str()),
            Step::Index(_) => None,
        })
        .collect();
    let same = |(step, name): (&&str, &String)| *step == name || *step == ANY_NAME;
    (steps.len() == names.len() && steps.iter().zip(names).all(same)).then_some(steps)
}
