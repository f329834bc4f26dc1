//! What `doctor` looks at of the audit log: whether it is kept, sealed, and reaches its further places.

use super::{Found, Severity, Status};
use crate::assemble::reach_sinks;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use tollkeep_config::settings::Settings;

/// Everything that is seen of the audit log from here.
pub(super) fn audit(settings: &Settings) -> Vec<Found> {
    let mut all = vec![kept(settings), sealed(settings), moved_away(settings)];
    if settings.audit.enabled {
        all.extend(sinks(settings));
    }
    all
}

fn kept(settings: &Settings) -> Found {
    Found {
        number: 43,
        severity: Severity::Error,
        title: "what happens is recorded",
        why: "without an audit log nobody can tell what was done, and by whom",
        status: if settings.audit.enabled {
            Status::Pass
        } else {
            let found = "`audit.enabled` is off".to_owned();
            Status::Fail(found, "audit: { enabled: true }".to_owned())
        },
    }
}

fn sealed(settings: &Settings) -> Found {
    let audit = &settings.audit;
    let status = if !audit.enabled || audit.file.is_none() {
        Status::Skipped("there is no audit file".to_owned())
    } else if audit.rotate.is_none() {
        Status::Skipped("`audit.rotate` is off: others close the files".to_owned())
    } else if audit.encrypt {
        Status::Pass
    } else {
        let found = "`audit.encrypt` is off".to_owned();
        Status::Fail(found, "audit: { encrypt: true }".to_owned())
    };
    Found {
        number: 49,
        severity: Severity::Info,
        title: "closed audit files are sealed",
        why: "who copies the data folder reads who did what, and from where",
        status,
    }
}

/// Where logrotate of this machine reads what it does.
const LOGROTATE: [&str; 2] = ["/etc/logrotate.conf", "/etc/logrotate.d"];
/// As much of a file of it is read, and so many files.
const LOGROTATE_BYTES_MAX: u64 = 256 * 1024;
const LOGROTATE_FILES_MAX: usize = 1_000;

/// Whether logrotate cuts the file off under the gateway.
fn moved_away(settings: &Settings) -> Found {
    let audit = &settings.audit;
    let status = match &audit.file {
        Some(file) if audit.enabled => {
            let file = std::path::absolute(file).unwrap_or_else(|_| file.clone());
            let places = LOGROTATE.iter().map(Path::new);
            match logrotate_files(places)
                .iter()
                .find(|path| cuts(path, &file))
            {
                None => Status::Pass,
                Some(path) => {
                    let found = format!("`{}` says `copytruncate`", path.display());
                    let fix = "`audit: { rotate: off }` and deploy/logrotate/tollkeep, or no logrotate: \
                               the gateway closes its files itself";
                    Status::Fail(found, fix.to_owned())
                }
            }
        }
        Some(_) | None => Status::Skipped("there is no audit file".to_owned()),
    };
    Found {
        number: 61,
        severity: Severity::Warn,
        title: "logrotate loses no audit record",
        why: "what is written between the copy and the cut is lost, and `audit verify` tells it as missing",
        status,
    }
}

/// The files among `places` and in folders among them.
fn logrotate_files<'p>(places: impl Iterator<Item = &'p Path>) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for place in places {
        match fs::read_dir(place) {
            Ok(entries) => {
                let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
                files.extend(paths.filter(|path| path.is_file()));
            }
            Err(_) => files.extend(place.is_file().then(|| place.to_owned())),
        }
    }
    files.sort();
    files.truncate(LOGROTATE_FILES_MAX);
    files
}

/// Whether what this file of logrotate says of `audit` is `copytruncate`. A file that can't be read says
/// nothing.
fn cuts(path: &Path, audit: &Path) -> bool {
    let Ok(file) = fs::File::open(path) else {
        return false;
    };
    let mut text = Vec::new();
    let read = file.take(LOGROTATE_BYTES_MAX).read_to_end(&mut text);
    read.is_ok() && copytruncates(&String::from_utf8_lossy(&text), audit)
}

/// Whether a text of logrotate says `copytruncate` of a file: outside of any block, or in a block that
/// names it.
fn copytruncates(text: &str, audit: &Path) -> bool {
    let lines = text.lines().map(str::trim);
    let (mut names, mut inside) = (Vec::new(), false);
    let (mut by_default, mut in_block) = (false, None);
    let mut is_ours = false;
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (before, opens) = match line.split_once('{') {
            Some((before, _)) if !inside => (before, true),
            Some(_) | None => (line, false),
        };
        if !inside && before.starts_with(['/', '"', '\'']) {
            names.extend(before.split_whitespace().map(str::to_owned));
        }
        if opens {
            inside = true;
            is_ours = names.drain(..).any(|name| names_file(&name, audit));
        } else if line.starts_with('}') {
            if is_ours && in_block.unwrap_or(by_default) {
                return true;
            }
            (inside, is_ours, in_block) = (false, false, None);
        } else if matches!(line, "copytruncate" | "nocopytruncate") {
            let cuts = line == "copytruncate";
            if inside {
                in_block = Some(cuts);
            } else {
                by_default = cuts;
            }
        }
    }
    false
}

/// Whether a pattern of logrotate is this file: a path whose segments may have `*`.
fn names_file(pattern: &str, file: &Path) -> bool {
    let pattern = Path::new(pattern.trim_matches(['"', '\'']));
    let (mut wanted, mut found) = (pattern.components(), file.components());
    loop {
        match (wanted.next(), found.next()) {
            (None, None) => return true,
            (Some(wanted), Some(found)) => {
                let wanted = wanted.as_os_str().to_string_lossy();
                if !fits(&wanted, &found.as_os_str().to_string_lossy()) {
                    return false;
                }
            }
            (Some(_), None) | (None, Some(_)) => return false,
        }
    }
}

/// Whether a name fits a pattern, in which `*` is anything.
fn fits(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut name) = name.strip_prefix(first) else {
        return false;
    };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return name.ends_with(part);
        }
        match name.split_once(part) {
            Some((_, after)) => name = after,
            None => return false,
        }
    }
    true
}

/// Whether each further place can be reached.
fn sinks(settings: &Settings) -> Vec<Found> {
    let found = |status| Found {
        number: 85,
        severity: Severity::Warn,
        title: "further places of audit records are reached",
        why: "what a place lacks stands in the audit file alone, until that is deleted",
        status,
    };
    if settings.audit.sinks.is_empty() {
        return Vec::new();
    }
    let reached = match reach_sinks(settings) {
        Ok(reached) => reached,
        Err(error) => return vec![found(Status::Skipped(format!("{error:#}")))],
    };
    let each = reached.into_iter().map(|(name, reached)| {
        found(match reached {
            Ok(()) => Status::Pass,
            Err(why) => {
                let fix = "see that it runs, and what `egress` and `allow_private` let through";
                Status::Fail(format!("`{name}`: {why}"), fix.to_owned())
            }
        })
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // AUD-61
    #[test]
    fn logrotate_that_cuts_the_file_off_is_seen() {
        let shipped = include_str!("../../../../../deploy/logrotate/tollkeep");
        let cutting = shipped.replace("create 0600", "copytruncate\n    #");
        let ours = "/var/lib/tollkeep/audit.log";
        for (name, text, file, want) in [
            ("the shipped one", shipped, ours, false),
            ("one that cuts", &*cutting, ours, true),
            ("another's file", &*cutting, "/srv/audit.log", false),
            (
                "a pattern",
                "/var/*/tollkeep/a*.log {\ncopytruncate\n}",
                ours,
                true,
            ),
            (
                "another pattern",
                "/var/lib/*.log {\ncopytruncate\n}",
                ours,
                false,
            ),
            (
                "some",
                "/a.log\n/var/lib/tollkeep/audit.log\n{\ncopytruncate\n}",
                ours,
                true,
            ),
            (
                "quoted",
                "\"/var/lib/tollkeep/audit.log\" {\n copytruncate\n}\n",
                ours,
                true,
            ),
            (
                "by default",
                "copytruncate\n/var/lib/tollkeep/*.log {\ndaily\n}",
                ours,
                true,
            ),
            (
                "not here",
                "copytruncate\n/var/lib/tollkeep/*.log {\nnocopytruncate\n}",
                ours,
                false,
            ),
            (
                "a comment",
                "/var/lib/tollkeep/audit.log {\n# copytruncate\n}",
                ours,
                false,
            ),
            (
                "no end",
                "/var/lib/tollkeep/audit.log {\ncopytruncate",
                ours,
                false,
            ),
        ] {
            assert_eq!(copytruncates(text, Path::new(file)), want, "{name}");
        }
    }

    // AUD-61
    #[test]
    fn files_of_logrotate_are_found_in_folders_and_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tollkeep");
        fs::write(&path, "/x/audit.log {\n copytruncate\n}\n").unwrap();
        for place in [folder.path(), &path] {
            let files = logrotate_files([place, Path::new("/nowhere")].into_iter());
            assert_eq!(files, std::slice::from_ref(&path));
        }
        assert!(cuts(&path, Path::new("/x/audit.log")));
        assert!(!cuts(&path, Path::new("/x/other.log")));
        assert!(!cuts(Path::new("/nowhere"), Path::new("/x/audit.log")));
    }
}
