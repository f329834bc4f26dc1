//! A configuration: file, flags, and what is told about them.

use std::fs;
use std::path::PathBuf;
use tollkeep_config::{Documents, Env, LoadRequest, ShowOptions, load, show};

/// The first byte chooses YAML, JSON or TOML; then comes the file, and behind a NUL, one a line,
/// what `--set` says.
///
/// Laws: every configuration is loaded or refused with a text, in bounded time; one that loads can
/// be shown, and the provider's secret is not in what is shown.
pub fn config(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else {
        return;
    };
    let extension = match kind % 3 {
        0 => "yaml",
        1 => "json",
        _ => "toml",
    };
    let mut parts = rest.splitn(2, |byte| *byte == 0);
    let file = parts.next().unwrap_or_default();
    let sets = String::from_utf8_lossy(parts.next().unwrap_or_default());
    let Ok(folder) = tempfile::tempdir() else {
        return;
    };
    let path: PathBuf = folder.path().join(format!("tollkeep.{extension}"));
    if fs::write(&path, file).is_err() {
        return;
    }
    let request = LoadRequest {
        file: Some(path),
        sets: sets.lines().map(str::to_owned).collect(),
        env: Env::from_pairs([("OPENAI_API_KEY", SECRET), ("EMPTY", ""), ("PORT", "8317")]),
        working_dir: folder.path().to_path_buf(),
        env_file: None,
        running: false,
        looks_only: false,
        documents: Documents::Unread,
    };
    match load(&request) {
        Err(errors) => assert!(!errors.to_string().is_empty()),
        Ok(loaded) => {
            for (origin, defaults, json) in [(true, true, true), (true, false, false)] {
                let shown = show(
                    &loaded,
                    ShowOptions {
                        origin,
                        defaults,
                        json,
                    },
                );
                // Where a key is no secret's, what the operator wrote is shown.
                let only_credentials = occurrences(file, b"OPENAI_API_KEY")
                    == occurrences(file, b"secret: ${OPENAI_API_KEY}");
                assert!(!only_credentials || !shown.contains(SECRET), "{shown}");
            }
        }
    }
}

const SECRET: &str = "sk-fuzz-4f0bd52c7a9e1836";

fn occurrences(text: &[u8], word: &[u8]) -> usize {
    text.windows(word.len())
        .filter(|window| *window == word)
        .count()
}
