//! Files of other gateways, rewritten as ours: what can be had is written in our words, what differs
//! is told where it stands, and what can't be had refuses the whole, at its line.

mod keys;
mod routes;
mod tollbooth;
mod write;

use crate::env::Env;
use crate::error::{ConfigErrors, Report};
use crate::interpolate::is_name;
use crate::load::{Documents, LoadRequest, Loaded, load_text, read_file};
use crate::tree::KeyPath;
use std::path::Path;

/// A file in our words.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The text of the file.
    pub text: String,
    /// What became of what stood there, where it is not the same.
    pub notes: Vec<ImportNote>,
}

/// What became of one thing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ImportNote {
    /// In a word.
    pub fate: ImportFate,
    /// The key as it stood there.
    pub key: String,
    /// Why.
    pub why: String,
}

/// What became of something that is not the same as it was.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ImportFate {
    /// It means something else here, or is written otherwise.
    Changed,
    /// It is left out.
    Dropped,
    /// Somebody has to look at it.
    NeedsYou,
}

impl ImportFate {
    /// In words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Dropped => "dropped",
            Self::NeedsYou => "needs you",
        }
    }
}

/// What stands for a variable while nobody has set it.
const UNSET: &str = "not-set-yet";

impl Imported {
    /// Names in `${NAME}` that the environment does not have.
    pub fn unset(&self, env: &Env) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for behind in self.text.split("${").skip(1) {
            let name = behind.split('}').next().unwrap_or_default();
            let is_new = !names.iter().any(|known| known == name);
            if is_new && is_name(name) && env.set(name).is_none() {
                names.push(name.to_owned());
            }
        }
        names
    }

    /// Checks the text as the configuration of a gateway, with something in each variable that is
    /// not set yet.
    ///
    /// # Errors
    /// What is not valid about it.
    pub fn check(&self, env: &Env) -> Result<Loaded, ConfigErrors> {
        let unset = self.unset(env).into_iter();
        let mut env = env.clone();
        env.fill_from(Env::from_pairs(unset.map(|name| (name, UNSET))));
        let request = LoadRequest {
            env,
            // Nobody's `.env` belongs to it.
            working_dir: "/nonexistent".into(),
            // What it names is looked at where it runs.
            documents: Documents::Unread,
            ..LoadRequest::default()
        };
        load_text(&request, &self.text)
    }
}

/// The configuration of a tollbooth, in our words. No code that it names is run or read.
///
/// # Errors
/// Every fault of the file and everything in it that can't be had, at once.
pub fn import_tollbooth(path: &Path) -> Result<Imported, ConfigErrors> {
    let mut report = Report::new(Some(path));
    let Some(tree) = read_file(path, &mut report) else {
        return Err(report.into_errors());
    };
    let mut import = Import {
        report,
        notes: Vec::new(),
    };
    let text = tollbooth::import(&tree, &mut import);
    let Import { report, notes } = import;
    report.finish()?;
    Ok(Imported { text, notes })
}

/// What is told on the way.
struct Import {
    report: Report,
    notes: Vec<ImportNote>,
}

impl Import {
    fn note(&mut self, fate: ImportFate, key: &KeyPath, why: impl Into<String>) {
        let (key, why) = (key.to_string(), why.into());
        self.notes.push(ImportNote { fate, key, why });
    }
}
