//! The list of what is understood, from the file beside this one.

use std::collections::BTreeMap;
use std::sync::LazyLock;

/// What is understood, by the name of its section.
static KNOWN: LazyLock<BTreeMap<&'static str, Vec<Entry>>> = LazyLock::new(|| {
    let mut sections: BTreeMap<&str, Vec<Entry>> = BTreeMap::new();
    let mut section = "";
    for line in include_str!("known.txt").lines().map(str::trim) {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
        {
            section = name;
        } else if !line.starts_with('#') {
            let entries = sections.entry(section).or_default();
            entries.extend(line.split_whitespace().map(Entry::read));
        }
    }
    sections
});

struct Entry {
    name: &'static str,
    /// `name` is only the beginning.
    open: bool,
    tokens: u64,
}

impl Entry {
    fn read(text: &'static str) -> Self {
        let (name, tokens) = text.split_once('=').unwrap_or((text, "0"));
        Self {
            name: name.trim_end_matches('*'),
            open: name.ends_with('*'),
            tokens: tokens.parse().unwrap_or(0),
        }
    }
}

/// Whether a section has this name, and how many tokens it adds.
pub(super) fn known(section: &str, name: &str) -> Option<u64> {
    let entries = KNOWN.get(section)?;
    let is = |entry: &&Entry| {
        if entry.open {
            name.starts_with(entry.name)
        } else {
            name == entry.name
        }
    };
    entries.iter().find(is).map(|entry| entry.tokens)
}
