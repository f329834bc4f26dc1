//! The environment: read once, here and nowhere else in the program.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Bytes of an env file.
const ENV_FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The environment. `Debug` tells no values.
#[derive(Clone, Default)]
pub struct Env(BTreeMap<String, String>);

impl Env {
    /// The environment of this process. What is not Unicode is left out.
    #[expect(
        clippy::disallowed_methods,
        reason = "this crate is the one that reads the environment"
    )]
    pub fn process() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self(std::env::vars_os().filter_map(text).collect())
    }

    /// Where this machine keeps temporary files.
    pub fn temporary_folder() -> std::path::PathBuf {
        std::env::temp_dir()
    }

    /// An environment without a name in it.
    pub fn empty() -> Self {
        Self::default()
    }

    /// An environment of these names and values.
    pub fn from_pairs<N: Into<String>, V: Into<String>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let own = |(name, value): (N, V)| (name.into(), value.into());
        Self(pairs.into_iter().map(own).collect())
    }

    /// The value of a name, also if it is empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The value of a name, if it says something.
    pub(crate) fn set(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// Names and values, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Takes in names that are not there yet.
    pub(crate) fn fill_from(&mut self, other: Self) {
        for (name, value) in other.0 {
            self.0.entry(name).or_insert(value);
        }
    }
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// An env file as read.
pub(crate) struct EnvFile {
    pub(crate) env: Env,
    /// Whether group or others may read or write it.
    pub(crate) wide: bool,
}

/// Reads `NAME=value` lines. A value may be in quotes; `#` begins a comment line.
pub(crate) fn read_file(path: &Path) -> Result<EnvFile, String> {
    let unreadable = |error: std::io::Error| format!("can't read it: {}", error.kind());
    let about = fs::metadata(path).map_err(unreadable)?;
    if !about.is_file() {
        return Err("is not a file".to_owned());
    }
    if about.len() > ENV_FILE_BYTES_MAX {
        return Err(format!("is longer than {ENV_FILE_BYTES_MAX} bytes"));
    }
    let text = fs::read_to_string(path).map_err(unreadable)?;
    Ok(EnvFile {
        env: parse(&text)?,
        wide: about.mode() & 0o077 != 0,
    })
}

fn parse(text: &str) -> Result<Env, String> {
    let mut names = BTreeMap::new();
    for (line, number) in text.lines().zip(1..) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let Some((name, value)) = line.split_once('=') else {
            return Err(format!("line {number} is not `NAME=value`"));
        };
        let (name, value) = (name.trim(), value.trim());
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(format!("line {number} is not `NAME=value`"));
        }
        names.insert(name.to_owned(), unquoted(value).to_owned());
    }
    Ok(Env(names))
}

/// The text inside matching quotes; without quotes, what stands before a comment.
fn unquoted(value: &str) -> &str {
    for quote in ['"', '\''] {
        let inside = value.strip_prefix(quote);
        if let Some((inside, _)) = inside.and_then(|rest| rest.rsplit_once(quote)) {
            return inside;
        }
    }
    value
        .split_once(" #")
        .map_or(value, |(text, _)| text.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn env_files_are_read_like_everybody_reads_them() {
        let text = "# a comment\n\nexport A=1\nB = two words # why\nC=\"x # y\"\nD='z'\nE=\n";
        let env = parse(text).unwrap();
        for (name, want) in [
            ("A", "1"),
            ("B", "two words"),
            ("C", "x # y"),
            ("D", "z"),
            ("E", ""),
        ] {
            assert_eq!(env.get(name), Some(want), "{name}");
        }
        assert_eq!(env.set("E"), None);
    }

    #[test]
    fn a_line_that_sets_nothing_is_told_by_number_only() {
        let error = parse("A=1\nsk-secret\n").unwrap_err();
        assert_eq!(error, "line 2 is not `NAME=value`");
    }

    #[test]
    fn debug_tells_names_only() {
        let env = Env::from_pairs([("KEY", "sk-secret")]);
        assert_eq!(format!("{env:?}"), "{\"KEY\"}");
    }
}
