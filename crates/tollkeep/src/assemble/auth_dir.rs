//! Credentials in files: what stands in `auth_dir` is sealed in the store, at start and when a file
//! changes. The files stay as they are.

use super::Base;
use super::credentials::Credentials;
use crate::exit::{self, Failed};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use tollkeep_config::settings::{Environment, Provider, Settings};
use tollkeep_config::{credential_fault, looks_masked};
use tollkeep_types::Secret;

/// Bytes of a file at most.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// Files of the folder that are looked at.
const FILES_MAX: usize = 1_000;
/// What others may not have.
const OTHERS: u32 = 0o077;

/// The folder, as it was read.
#[derive(Default)]
pub(crate) struct AuthDir {
    seen: Mutex<BTreeMap<PathBuf, Stamp>>,
    /// Why the folder could not be read, told once.
    refused: Mutex<Option<String>>,
}

/// How one sees that a file changed.
#[derive(Clone, Copy, Eq, PartialEq)]
struct Stamp {
    changed: (i64, i64),
    size: u64,
    inode: u64,
}

/// A credential that stands in a file.
pub(crate) struct Found {
    /// The name of the file.
    pub(crate) file: String,
    /// Its provider.
    pub(crate) provider: String,
    /// Where that provider is.
    pub(crate) origin: String,
    /// Its secret.
    pub(crate) secret: Secret,
    /// Higher is used first.
    pub(crate) priority: i32,
}

/// Whether the folder and its files are of our own user alone, at start.
///
/// # Errors
/// In production one that is not, or a folder that can't be read.
pub(crate) fn check(base: &Base) -> anyhow::Result<()> {
    let settings = &base.settings;
    let Some(dir) = &settings.auth_dir else {
        return Ok(());
    };
    let files = list(dir).map_err(|error| {
        let told = format!("auth_dir: {} can't be read: {error}", dir.display());
        Failed::new(exit::INVALID, told)
    })?;
    let open = std::iter::once((dir.as_path(), "0700"))
        .chain(files.iter().map(|(path, _)| (path.as_path(), "0600")));
    for (path, mode) in open {
        let Some(told) = too_open(path, mode) else {
            continue;
        };
        if settings.environment == Environment::Production {
            return Err(Failed::new(exit::INVALID, format!("auth_dir: {told}")).into());
        }
        tracing::warn!("auth_dir: {told}");
    }
    Ok(())
}

/// What others may do to it, and how that ends.
fn too_open(path: &Path, mode: &str) -> Option<String> {
    let found = fs::metadata(path).ok()?;
    let own = rustix::process::geteuid().as_raw();
    if found.uid() != own {
        return Some(format!(
            "{} belongs to another user (uid {})",
            path.display(),
            found.uid()
        ));
    }
    (found.mode() & OTHERS != 0).then(|| {
        format!(
            "{} may be read or written by others: chmod {mode} {}",
            path.display(),
            path.display()
        )
    })
}

/// The files, in the order of their names.
fn list(dir: &Path) -> io::Result<Vec<(PathBuf, Stamp)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let is_json = path.extension().is_some_and(|end| end == "json");
        let Some(found) = fs::metadata(&path).ok().filter(|_| is_json) else {
            continue;
        };
        if found.is_file() {
            let stamp = Stamp {
                changed: (found.mtime(), found.mtime_nsec()),
                size: found.size(),
                inode: found.ino(),
            };
            files.push((path, stamp));
        }
    }
    files.sort_by(|a, b| a.0.cmp(&b.0));
    files.truncate(FILES_MAX);
    Ok(files)
}

impl AuthDir {
    /// Seals what is new in the folder.
    pub(crate) async fn keep(&self, settings: &Settings, credentials: &Credentials) {
        for found in self.changed(settings) {
            credentials.take_file(found).await;
        }
    }

    /// What stands in files that were not read as they are now. What is wrong with one is told
    /// once. The folder is small and on a disk of this machine: reading it does not wait.
    fn changed(&self, settings: &Settings) -> Vec<Found> {
        let Some(dir) = &settings.auth_dir else {
            return Vec::new();
        };
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let files = match list(dir) {
            Ok(files) => files,
            Err(error) => {
                let told = format!("auth_dir: {} can't be read: {error}", dir.display());
                if refused.as_ref() != Some(&told) {
                    tracing::error!("{told}");
                    *refused = Some(told);
                }
                return Vec::new();
            }
        };
        *refused = None;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|path, _| files.iter().any(|(there, _)| there == path));
        let mut found = Vec::new();
        for (path, stamp) in files {
            if seen.insert(path.clone(), stamp) == Some(stamp) {
                continue;
            }
            match read(&path, settings) {
                Ok(new) => found.push(new),
                Err(problem) => {
                    let name = path.file_name().unwrap_or_default().to_string_lossy();
                    tracing::error!("auth_dir: {name} is not used: {problem}");
                }
            }
        }
        found
    }
}

fn read(path: &Path, settings: &Settings) -> Result<Found, String> {
    if settings.environment == Environment::Production
        && let Some(told) = too_open(path, "0600")
    {
        return Err(told);
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let provider = provider_of(&stem, settings);
    let provider = provider.ok_or("its name begins with no provider of the settings")?;
    let mut text = String::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    let read = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text);
    read.map_err(|error| error.to_string())?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > FILE_BYTES_MAX {
        return Err("it is larger than 64 KiB".to_owned());
    }
    let (secret, priority) = content(&text)?;
    Ok(Found {
        file: name.into_owned(),
        provider: provider.name.clone(),
        origin: provider.base_url.origin(),
        secret,
        priority,
    })
}

/// The provider whose name, or else whose kind, the file's name begins with: the longest.
fn provider_of<'s>(stem: &str, settings: &'s Settings) -> Option<&'s Provider> {
    let ends = stem.char_indices().map(|(at, char)| at + char.len_utf8());
    let mut ends: Vec<usize> = ends.collect();
    ends.reverse();
    let starts = ends.into_iter().filter_map(|end| stem.get(..end));
    starts
        .filter_map(|start| Provider::called(&settings.providers, start))
        .next()
}

/// The secret and the priority that stand there. What is told of it never quotes it.
fn content(text: &str) -> Result<(Secret, i32), String> {
    let value: Value = serde_json::from_str(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        format!("it is not JSON at {line}:{column}")
    })?;
    let Value::Object(mut members) = value else {
        return Err("want {\"type\", \"token\", \"priority\"}".to_owned());
    };
    let mut take = |name: &str| members.remove(name);
    let (kind, token, priority) = (take("type"), take("token"), take("priority"));
    if let Some(unknown) = members.keys().next() {
        return Err(format!("its member `{unknown}` is not supported"));
    }
    if kind.as_ref().and_then(Value::as_str) != Some("api_key") {
        return Err("its type is not supported: want `api_key`".to_owned());
    }
    let token = token.as_ref().and_then(Value::as_str).unwrap_or_default();
    if looks_masked(token) {
        return Err("its token looks masked".to_owned());
    }
    if let Some(fault) = credential_fault(token) {
        return Err(format!("its token {fault}"));
    }
    let priority = priority.map_or(Some(0), |priority| {
        let priority = i32::try_from(priority.as_i64()?).ok()?;
        (-1_000_000..=1_000_000)
            .contains(&priority)
            .then_some(priority)
    });
    let priority = priority.ok_or("its priority: want a whole number up to a million")?;
    Ok((Secret::new(token), priority))
}

#[cfg(test)]
mod tests {
    use super::*;

    // ID-72
    #[test]
    fn what_a_file_holds_is_read_strictly_and_never_told_back() {
        for (name, text, want) in [
            (
                "whole",
                r#"{"type":"api_key","token":"sk-zz","priority":-3}"#,
                Ok(-3),
            ),
            (
                "without priority",
                r#"{"type":"api_key","token":"sk-zz"}"#,
                Ok(0),
            ),
            (
                "another type",
                r#"{"type":"oauth","token":"sk-zz"}"#,
                Err("type"),
            ),
            ("no type", r#"{"token":"sk-zz"}"#, Err("type")),
            ("no token", r#"{"type":"api_key"}"#, Err("is empty")),
            (
                "masked",
                r#"{"type":"api_key","token":"sk-zz****"}"#,
                Err("masked"),
            ),
            (
                "a blank",
                r#"{"type":"api_key","token":"sk zz"}"#,
                Err("blank"),
            ),
            (
                "more",
                r#"{"type":"api_key","token":"sk-zz","a":1}"#,
                Err("`a`"),
            ),
            (
                "no number",
                r#"{"type":"api_key","token":"sk-zz","priority":"x"}"#,
                Err("number"),
            ),
            (
                "too much",
                r#"{"type":"api_key","token":"sk-zz","priority":1000001}"#,
                Err("million"),
            ),
            ("a list", r#"["sk-zz"]"#, Err("want")),
            ("cut", r#"{"token":"sk-zz"#, Err("not JSON")),
        ] {
            match (content(text), want) {
                (Ok((secret, priority)), Ok(want)) => {
                    assert_eq!((secret.expose(), priority), ("sk-zz", want), "{name}");
                }
                (Err(told), Err(part)) => {
                    assert!(
                        told.contains(part) && !told.contains("zz"),
                        "{name}: {told}"
                    );
                }
                (got, _) => panic!("{name}: {got:?}"),
            }
        }
    }
}
