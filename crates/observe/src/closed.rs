//! Names of closed parts of a file that is rotated, which stand beside it in the order of time:
//! `audit.log` leaves `audit-20261122T101530Z-12.log`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use tollkeep_types::WallMillis;

/// `20261122T101530Z`: of two the earlier one is the lesser text.
pub fn stamp(at: WallMillis) -> String {
    let text = at.to_string();
    let seconds = text.split('.').next().unwrap_or_default();
    let mut name: String = seconds
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect();
    name.push('Z');
    name
}

/// What a part of the file at `path` is called once it is closed.
pub fn closed_path(path: &Path, at: WallMillis, number: u64) -> PathBuf {
    let (stem, extension) = name_parts(path);
    path.with_file_name(format!("{stem}-{}-{number}{extension}", stamp(at)))
}

/// The stamp and the number that a name says, if it is that of a closed part of the file at `path`.
pub fn closed_part<'n>(path: &Path, name: &'n str) -> Option<(&'n str, u64)> {
    let (stem, extension) = name_parts(path);
    let name = name.strip_suffix(extension.as_str())?;
    let (stamp, number) = name
        .strip_prefix(stem.as_str())?
        .strip_prefix('-')?
        .split_once('-')?;
    is_stamp(stamp).then_some((stamp, number.parse().ok()?))
}

fn is_stamp(text: &str) -> bool {
    let form = "00000000T000000Z";
    let fits = |(byte, form): (u8, u8)| match form {
        b'0' => byte.is_ascii_digit(),
        other => byte == other,
    };
    text.len() == form.len() && text.bytes().zip(form.bytes()).all(fits)
}

/// `audit` and `.log`.
fn name_parts(path: &Path) -> (String, String) {
    let text = |part: Option<&OsStr>| part.map(|part| part.to_string_lossy().into_owned());
    let stem = text(path.file_stem()).unwrap_or_default();
    let extension = text(path.extension());
    (
        stem,
        extension.map_or_else(String::new, |extension| format!(".{extension}")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_are_given_are_known_again() {
        let at = WallMillis(1_795_342_530_123);
        for (path, name) in [
            ("/x/audit.log", "audit-20261122T101530Z-12.log"),
            ("/x/log", "log-20261122T101530Z-12"),
            ("/x/a-b.c.log", "a-b.c-20261122T101530Z-12.log"),
        ] {
            let path = Path::new(path);
            let closed = closed_path(path, at, 12);
            assert_eq!(closed.file_name(), Some(OsStr::new(name)));
            assert_eq!(closed_part(path, name), Some(("20261122T101530Z", 12)));
        }
        for other in [
            "audit.log",
            "audit-20261122T101530Z-12.log.gz",
            "audit-20261122T101530Z-.log",
            "audit-20261122T101530Z--1.log",
            "audit-20261122T10153Z-12.log",
            "audit-2026112zT101530Z-12.log",
            "audit-2026-1.log",
            "audi-20261122T101530Z-12.log",
            "other-20261122T101530Z-12.log",
            "audit-20261122T101530Z-99999999999999999999.log",
        ] {
            let known = closed_part(Path::new("/x/audit.log"), other);
            assert_eq!(known, None, "{other}");
        }
    }
}
