//! Audit actions that no test of the suite ever made a gateway record (AUD-10).

use crate::repo::Repo;
use anyhow::Context as _;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// A line of every action, in the order of the list.
const ALL: &str = "crates/audit/tests/data/every_action.jsonl";

/// The actions that are in the list and in no note of the folder.
///
/// # Errors
/// The list or the notes can't be read, or there are none.
pub(crate) fn never_seen(repo: &Repo, folder: &Path) -> anyhow::Result<Vec<String>> {
    let list = fs::read_to_string(repo.root.join(ALL)).context(ALL)?;
    let mut seen = BTreeSet::new();
    for entry in fs::read_dir(folder).context("the folder of notes")? {
        let text = fs::read_to_string(entry?.path())?;
        seen.extend(text.lines().map(str::to_owned));
    }
    anyhow::ensure!(!seen.is_empty(), "the folder has no notes");
    Ok(missing(&list, &seen))
}

fn missing(list: &str, seen: &BTreeSet<String>) -> Vec<String> {
    let lines = list.lines();
    let records = lines.filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let actions = records.filter_map(|record| Some(record.get("action")?.as_str()?.to_owned()));
    actions.filter(|action| !seen.contains(action)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // AUD-10
    #[test]
    fn an_action_that_no_test_made_happen_is_named() {
        let list = "{\"action\":\"a.b\"}\n{\"action\":\"c.d\"}\n";
        let seen = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        assert_eq!(missing(list, &seen(&["a.b"])), ["c.d"]);
        assert!(missing(list, &seen(&["c.d", "a.b", "e.f"])).is_empty());
    }
}
