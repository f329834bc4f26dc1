//! The reference page of all keys, as Markdown.

use crate::describe::{Description, last_name, prose, spelled};
use crate::reader::{Fallback, Form, KeyLine, Line};
use crate::seed;
use crate::start_only::is_start_only;
use std::fmt::Write as _;

const HEAD: &str = "\
# Configuration reference

This page is made from the program (`tollkeep config reference`); don't edit it.

A value comes from, each beating those before it: the default below, the file, other gateways' \
names in the environment, `TOLLKEEP_…` in the environment, `--set key=value`. \
`tollkeep config show --origin` tells which one won.

- In the environment a key is `TOLLKEEP_` and its path in upper case with `__` between levels: \
`TOLLKEEP_SERVER__PORT=8080`. Lists are JSON or text between commas; sections are JSON. Names \
chosen by you are matched without regard to case, `_` standing for `-`.
- `${NAME}`, `${NAME:-default}` (not in secrets) and `${file:/path}` in the file take a value \
from elsewhere; a literal `${` is `$${`.
- Every secret's name in the environment has a twin ending in `_FILE` that names a file.
- Times are `250ms 30s 5m 24h 30d`, sizes `512KiB 1MiB 10MB`. A bare number is taken only where \
the key's name ends in its unit.
- `off` may also be written `false`.
- A running gateway takes its settings over anew when the file has changed (`reload.watch`), by \
`tollkeep config reload` and by SIGHUP. A change of a key that is read at start only is refused as a whole, and so is every fault: the \
settings in force stay.
";

/// The page.
pub fn reference() -> String {
    let description = Description::new();
    let mut page = HEAD.to_owned();
    section(
        &mut page,
        "Top level",
        "",
        description.below(&Default::default()),
    );
    for (path, about, form) in description.sections() {
        match form {
            // What they hold has a section of its own, or is one key.
            Form::Map | Form::List => {}
            Form::One | Form::OneOrOff | Form::Named | Form::Listed => {
                let title = format!("`{}`", spelled(path));
                section(&mut page, &title, about, description.below(path));
            }
        }
    }
    environment(&mut page, &description);
    page
}

fn section<'l>(page: &mut String, title: &str, about: &str, lines: impl Iterator<Item = &'l Line>) {
    let keys: Vec<String> = lines.filter_map(row).collect();
    if keys.is_empty() {
        return;
    }
    page.push_str(&format!("\n## {title}\n\n"));
    if !about.is_empty() {
        page.push_str(&format!("{}\n\n", prose(about)));
    }
    page.push_str("| key | default | value | meaning |\n|---|---|---|---|\n");
    page.extend(keys);
}

/// The row of a key. A section has a table of its own, unless it is one of many.
fn row(line: &Line) -> Option<String> {
    let (path, about, value) = match line {
        Line::Key(key) => return Some(cells(key)),
        Line::Section {
            path, about, form, ..
        } => match form {
            Form::Map => (path, about, "section by name"),
            Form::List => (path, about, "list of sections"),
            Form::OneOrOff => (path, about, "section, or `off`"),
            Form::One | Form::Named | Form::Listed => return None,
        },
    };
    let name = last_name(path);
    Some(format!("| `{name}` | – | {value} | {} |\n", prose(about)))
}

fn cells(key: &KeyLine) -> String {
    let default = match &key.default {
        Fallback::Value(default) => format!("`{default}`"),
        Fallback::Nothing | Fallback::Environment(_) => "–".to_owned(),
        Fallback::Required => "required".to_owned(),
    };
    let mut doc = prose(key.doc);
    if is_start_only(&key.path) {
        doc.push_str(" *Read at start only.*");
    }
    let [default, words, doc] =
        [default, key.shape.words.clone(), doc].map(|text| text.replace('|', "\\|"));
    format!(
        "| `{}` | {default} | {words} | {doc} |\n",
        last_name(&key.path)
    )
}

fn environment(page: &mut String, description: &Description) {
    page.push_str("\n## Only in the environment\n\n| name | meaning |\n|---|---|\n");
    let mut row = |name: &str, meaning: &str| {
        // Writing to a string can't fail.
        let _written = writeln!(page, "| `{name}` | {meaning} |");
    };
    row("TOLLKEEP_CONFIG", "The configuration file.");
    row(
        "TOLLKEEP_ENCRYPTION_KEY",
        "`auth.encryption.key`, where the file has none.",
    );
    for key in description.environment_only() {
        if let Fallback::Environment(name) = key.default {
            row(name, &prose(key.doc));
        }
    }
    page.push_str("\n## Names of other gateways\n\n| name | key |\n|---|---|\n");
    for (name, keys) in seed::accepted() {
        let keys = keys.join("`, `");
        page.push_str(&format!("| `{name}` | `{keys}` |\n"));
    }
}
