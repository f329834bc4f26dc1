//! The lines that gateways under test left. Which audit actions are among them is noted for `cargo xtask
//! actions`, which says which ones no test ever made happen.

use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// The folder that they are noted in; nothing is noted without it.
const FOLDER: &str = "ACTIONS_SEEN_FOLDER";

/// Notes the actions in the audit files of a gateway that ended, which are in its folder or one of those
/// in it.
pub(crate) fn note_actions(folder_of: &Path) {
    static NOTES: AtomicU32 = AtomicU32::new(0);
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else {
        return;
    };
    let folders = files_in(folder_of).filter(|path| path.is_dir());
    let folders = folders.chain([folder_of.to_owned()]);
    let seen: BTreeSet<String> = folders.flat_map(|folder| actions_in(&folder)).collect();
    if seen.is_empty() {
        return;
    }
    let number = NOTES.fetch_add(1, Ordering::Relaxed);
    let name = format!("{}-{number}", std::process::id());
    let text: String = seen.iter().map(|action| format!("{action}\n")).collect();
    let noted = fs::create_dir_all(&folder).and_then(|()| {
        // Another process may have had the same number before.
        let note = OpenOptions::new()
            .create(true)
            .append(true)
            .open(folder.join(name));
        note?.write_all(text.as_bytes())
    });
    noted.expect("a place for the actions that were seen");
}

fn files_in(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path()))
}

/// What tests wrote into the files, or cut off, says nothing.
fn actions_in(folder: &Path) -> BTreeSet<String> {
    let of_log = files_in(folder).filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("audit") && name.ends_with(".log") && path.is_file()
    });
    let texts = of_log.filter_map(|path| fs::read_to_string(path).ok());
    let mut seen = BTreeSet::new();
    for text in texts {
        let lines = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        let actions = lines.filter_map(|line: Value| line["action"].as_str().map(str::to_owned));
        seen.extend(actions);
    }
    seen
}

/// The whole lines of a file; a last one without its end is still being written.
pub(crate) fn json_lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}
