//! The list of what is understood, from the file beside this one.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use tollkeep_types::usage::Unit;

/// What an operator knows beyond the shipped lists.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Known {
    /// Members of a body that change nothing about its cost.
    pub fields: Vec<String>,
    /// Types of tools.
    pub tools: Vec<KnownTool>,
}

/// A type of tools that an operator knows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KnownTool {
    /// The type.
    pub kind: String,
    /// Tokens that it adds to a prompt.
    pub extra_tokens: u64,
    /// What is billed for each use besides.
    pub unit: Option<Unit>,
    /// Uses at most, where the upstream runs it by itself; `None`: the client does.
    pub max_uses: Option<u64>,
}

impl Known {
    pub(super) fn has_field(&self, name: &str) -> bool {
        self.fields.iter().any(|field| field == name)
    }

    pub(super) fn tool(&self, kind: &str) -> Option<&KnownTool> {
        self.tools.iter().find(|tool| tool.kind == kind)
    }
}

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
