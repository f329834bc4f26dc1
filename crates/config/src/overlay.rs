//! What stands over the file: seed names, `TOLLKEEP_*`, `--set`, in this order (OPS-2).

use crate::catalog::{Catalog, Target};
use crate::env::Env;
use crate::error::{Report, nearest};
use crate::kind::Secrecy;
use crate::later;
use crate::parse::parse_json;
use crate::reader::ANY_NAME;
use crate::secret_file;
use crate::seed;
use crate::tree::{KeyPath, Node, Source, Step, Value};
use std::path::{Path, PathBuf};
use tollkeep_types::Secret;

const PREFIX: &str = "TOLLKEEP_";
const FILE_SUFFIX: &str = "_FILE";

/// Names that are not the path of a key.
const SHORT: [(&str, &str); 1] = [("TOLLKEEP_MANAGEMENT_KEY", "management.key")];

/// Names that are read elsewhere.
const ELSEWHERE: [&str; 3] = [
    CONFIG_FILE,
    seed::OWN_ENCRYPTION_KEY,
    "TOLLKEEP_ENCRYPTION_KEY_FILE",
];

/// The name that says where the file is.
pub(crate) const CONFIG_FILE: &str = "TOLLKEEP_CONFIG";

/// A tree and what is laid over it.
pub(crate) struct Overlay<'a> {
    pub(crate) tree: &'a mut Node,
    pub(crate) catalog: &'a Catalog,
    pub(crate) env: &'a Env,
    pub(crate) report: &'a mut Report,
}

impl Overlay<'_> {
    /// Lays the environment and the flags over the tree.
    pub(crate) fn apply(&mut self, sets: &[String]) {
        seed::apply(self);
        for (name, value) in self.env.iter() {
            if name.starts_with(PREFIX) && !ELSEWHERE.contains(&name) {
                self.native(name, value);
            }
        }
        for set in sets {
            self.flag(set);
        }
    }

    /// Lays one value of the environment over a key.
    pub(crate) fn put(&mut self, path: &[String], name: &str, value: &str) {
        let source = Source::Environment(name.into());
        self.put_loose(path, source, value);
    }

    /// Reports a fault of a name of the environment.
    pub(crate) fn error(&mut self, name: &str, problem: impl Into<String>) {
        let source = Source::Environment(name.into());
        self.report.error(&KeyPath::default(), &source, problem);
    }

    /// The value a secret's name has, by itself or through its `_FILE` twin.
    pub(crate) fn secret(&mut self, name: &str) -> Option<String> {
        let twin = format!("{name}{FILE_SUFFIX}");
        match (self.env.set(name), self.env.set(&twin)) {
            (Some(_), Some(_)) => {
                self.error(&twin, format!("is set besides `{name}`; set one of them"));
                None
            }
            (Some(value), None) => Some(value.to_owned()),
            (None, Some(file)) => self.read_file(&twin, file),
            (None, None) => None,
        }
    }

    fn read_file(&mut self, name: &str, file: &str) -> Option<String> {
        self.report.note_file(Path::new(file));
        match secret_file::read(Path::new(file)) {
            Ok(read) => {
                if let Some(warning) = read.warning {
                    self.report.warn(format!("{name}: {warning}"));
                }
                Some(read.text)
            }
            Err(problem) => {
                self.error(name, problem);
                None
            }
        }
    }

    fn native(&mut self, name: &str, value: &str) {
        let short = |name: &str| SHORT.iter().find(|(short, _)| *short == name);
        if let Some((_, key)) = short(name) {
            if let Some(value) = self.secret(name) {
                self.put(&names(key), name, &value);
            }
            return;
        }
        if let Some(path) = self.path_of(name) {
            return self.put(&path, name, value);
        }
        if let Some(base) = name.strip_suffix(FILE_SUFFIX) {
            let path = match short(base) {
                Some((_, key)) => Some(names(key)),
                None => self.path_of(base),
            };
            if let Some(path) = path {
                return self.native_file(name, base, &path);
            }
        }
        let known: Vec<String> = self.catalog.keys().map(env_name).collect();
        let short = SHORT.iter().map(|(short, _)| *short);
        let known = known.iter().map(String::as_str).chain(short);
        let levels = name.trim_start_matches(PREFIX).split("__");
        let path = levels.map(|level| Step::Name(level.to_ascii_lowercase()));
        let problem = unknown("name", name, &KeyPath(path.collect()), known);
        self.error(name, problem);
    }

    /// The `_FILE` twin of `base`.
    fn native_file(&mut self, name: &str, base: &str, path: &[String]) {
        if !self.is_secret(path) {
            let problem = format!("is no known name: `{base}` is no secret, so it takes no file");
            self.error(name, problem);
        } else if let Some(value) = self.secret(base) {
            self.put(path, name, &value);
        }
    }

    fn is_secret(&self, path: &[String]) -> bool {
        let key = self.catalog.find(path);
        matches!(key, Some((Target::Key(Secrecy::Secret), _)))
    }

    /// The path a name of the environment stands for: levels between `__`, in lower case.
    fn path_of(&self, name: &str) -> Option<Vec<String>> {
        let levels = name.strip_prefix(PREFIX)?.split("__");
        let levels: Vec<String> = levels.map(str::to_ascii_lowercase).collect();
        let (_, pattern) = self.catalog.find(&levels)?;
        let mut path: Vec<String> = Vec::new();
        for (level, step) in levels.into_iter().zip(pattern) {
            if step == ANY_NAME {
                path.push(self.entry_name(&path, &level));
            } else {
                path.push(level);
            }
        }
        Some(path)
    }

    /// The name of an entry as the file writes it. A name of the environment has no `-`, so `_`
    /// stands for it.
    fn entry_name(&self, parents: &[String], level: &str) -> String {
        let parents = parents.iter().map(|name| Step::Name(name.clone()));
        let parent = self.tree.find(&KeyPath(parents.collect()));
        let folded = level.replace('_', "-");
        if let Some(Value::Map(entries)) = parent.map(|node| &node.value) {
            let same = |name: &str| name.to_ascii_lowercase().replace('_', "-") == folded;
            if let Some(entry) = entries.iter().find(|entry| same(&entry.name)) {
                return entry.name.clone();
            }
        }
        folded
    }

    fn flag(&mut self, set: &str) {
        let fault = |report: &mut Report, key: &KeyPath, problem: &str| {
            report.error(key, &Source::Flag, problem);
        };
        let Some((path, value)) = split_set(set) else {
            let problem = "want `key=value`, with a name that holds a dot in quotes";
            return fault(self.report, &KeyPath::default(), problem);
        };
        let known = self.catalog.known(&path);
        let Some((_, pattern)) = self.catalog.find(&known) else {
            let key = KeyPath(path.into_iter().map(Step::Name).collect());
            let keys: Vec<String> = self.catalog.keys().map(ToString::to_string).collect();
            let keys = keys.iter().map(String::as_str);
            let problem = unknown("key", &key.to_string(), &key, keys);
            return fault(self.report, &key, &problem);
        };
        let spell = |((written, known), step): ((String, String), &str)| {
            if step == ANY_NAME { written } else { known }
        };
        let path: Vec<String> = path
            .into_iter()
            .zip(known)
            .zip(pattern)
            .map(spell)
            .collect();
        self.put_loose(&path, Source::Flag, value);
    }

    /// A section or a list of sections is JSON; any other value is for its kind to read.
    fn put_loose(&mut self, path: &[String], source: Source, value: &str) {
        let node = match self.catalog.find(path) {
            Some((Target::Section, _)) if value != "off" => {
                match parse_json(value, &|_| source.clone()) {
                    Ok(node) => node,
                    Err(faults) => {
                        for fault in faults {
                            self.report.error(&fault.key, &source, fault.problem);
                        }
                        return;
                    }
                }
            }
            _ => Node::new(Value::Loose(value.to_owned()), source),
        };
        let catalog = self.catalog;
        self.tree.put(path, node, &|name| catalog.canonical(name));
    }
}

/// What to say about a name that is none.
fn unknown<'n>(
    what: &str,
    wrong: &str,
    path: &KeyPath,
    known: impl Iterator<Item = &'n str>,
) -> String {
    if later::is_later(path) {
        return "is not supported yet".to_owned();
    }
    match nearest(wrong, known) {
        Some(near) => format!("is no known {what}; did you mean `{near}`?"),
        None => format!("is no known {what}"),
    }
}

/// The management key in the environment of this process, for commands that call a server and
/// have no configuration of their own (ID-110). A file that can't be read is no key.
pub fn management_key() -> Option<Secret> {
    let env = Env::process();
    let [(name, _)] = SHORT;
    let from_file = || {
        let path = env.set(&format!("{name}{FILE_SUFFIX}"))?;
        Some(secret_file::read(Path::new(path)).ok()?.text)
    };
    let text = env.set(name).map(str::to_owned).or_else(from_file)?;
    Some(Secret::new(text))
}

/// Where commands keep what they remember for this user; `None` without a home folder.
pub fn user_folder() -> Option<PathBuf> {
    let env = Env::process();
    let absolute = |name: &str| {
        env.set(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let folder = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")))?;
    Some(folder.join("tollkeep"))
}

/// The words that this process was started with, without its name. What is not Unicode is left out.
pub fn arguments() -> Vec<String> {
    let words = std::env::args_os().skip(1);
    words.filter_map(|word| word.into_string().ok()).collect()
}

/// A secret from where a command was told to take it: `env:NAME` or `file:/path`.
///
/// # Errors
/// What is wrong with the place; the secret itself is not told.
pub fn secret_from(source: &str) -> Result<Secret, String> {
    let text = match source.split_once(':') {
        Some(("env", name)) => Env::process()
            .set(name)
            .map(str::to_owned)
            .ok_or_else(|| format!("`{name}` is not set in the environment"))?,
        Some(("file", path)) => secret_file::read(Path::new(path))?.text,
        Some(_) | None => return Err("want `env:NAME` or `file:/path`".to_owned()),
    };
    Ok(Secret::new(text))
}

/// The names of a dotted path.
pub(crate) fn names(dotted: &str) -> Vec<String> {
    dotted.split('.').map(str::to_owned).collect()
}

/// A path as a name of the environment.
fn env_name(path: &KeyPath) -> String {
    let levels = path.0.iter().filter_map(|step| match step {
        Step::Name(name) => Some(name.to_ascii_uppercase()),
        Step::Index(_) => None,
    });
    format!("{PREFIX}{}", levels.collect::<Vec<_>>().join("__"))
}

/// Path and value of `key=value`; names are between dots, in quotes where they hold one.
fn split_set(set: &str) -> Option<(Vec<String>, &str)> {
    let mut path = Vec::new();
    let mut rest = set;
    loop {
        let (name, behind) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => rest.split_at_checked(rest.find(['.', '='])?)?,
        };
        if name.is_empty() {
            return None;
        }
        path.push(name.to_owned());
        if let Some(value) = behind.strip_prefix('=') {
            return Some((path, value));
        }
        rest = behind.strip_prefix('.')?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_flags_split_at_dots_outside_quotes() {
        for (set, want) in [
            ("server.port=1", Some((vec!["server", "port"], "1"))),
            ("a=b=c", Some((vec!["a"], "b=c"))),
            (
                "routes.\"GET /a.b\".access=free",
                Some((vec!["routes", "GET /a.b", "access"], "free")),
            ),
            ("server.port", None),
            ("=1", None),
            ("a..b=1", None),
            ("\"a=1", None),
        ] {
            let got = split_set(set);
            let want = want.map(|(path, value)| {
                (
                    path.into_iter().map(str::to_owned).collect::<Vec<_>>(),
                    value,
                )
            });
            assert_eq!(got, want, "{set}");
        }
    }
}
