//! Copies the ledger's sources for the tests, with every planted fault of `mutants.txt` in them
//! behind a switch. The crate of the product is compiled from the sources alone: it has no switch.

use std::path::{Path, PathBuf};
use std::{fs, io};

/// What the simulator drives; prices and bounds are not of it.
const COPIED: [&str; 13] = [
    "amount", "budget", "decide", "hold", "judge", "keeper", "lease", "posting", "row", "slice",
    "step", "window", "write",
];

/// A planted fault: in this file, this text stands once, and that comes in its place.
struct Mutant {
    name: String,
    file: String,
    old: String,
    new: String,
}

fn main() -> io::Result<()> {
    let here = PathBuf::from(env("CARGO_MANIFEST_DIR"));
    let sources = here.join("../ledger/src");
    let list = here.join("mutants.txt");
    println!("cargo::rerun-if-changed={}", sources.display());
    println!("cargo::rerun-if-changed={}", list.display());
    let mutants = read(&fs::read_to_string(list)?);
    let mut text = String::new();
    for module in COPIED {
        module_text(&sources, module, &mutants, &mut text)?;
    }
    let names: Vec<_> = mutants.iter().map(|mutant| mutant.name.as_str()).collect();
    text.push_str(&format!(
        "pub const MUTANTS: [&str; {}] = {names:?};
",
        names.len()
    ));
    fs::write(Path::new(&env("OUT_DIR")).join("ledger.rs"), text)
}

#[expect(clippy::disallowed_methods, reason = "cargo tells build scripts so")]
fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

/// Lines of `name | file | old text | new text`, in which `\|` is a bar.
fn read(list: &str) -> Vec<Mutant> {
    let lines = list
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let mut parts = line
                .split(" | ")
                .map(|part| part.trim().replace("\\|", "|"));
            let mut next = || parts.next().unwrap_or_default();
            Mutant {
                name: next(),
                file: next(),
                old: next(),
                new: next(),
            }
        })
        .collect()
}

fn modules(text: &str) -> Vec<String> {
    let names = text.lines().filter_map(|line| {
        let line = line.strip_prefix("pub ").unwrap_or(line);
        line.strip_prefix("mod ")?.strip_suffix(';')
    });
    names.map(str::to_owned).collect()
}

fn module_text(folder: &Path, name: &str, mutants: &[Mutant], text: &mut String) -> io::Result<()> {
    let path = folder.join(format!("{name}.rs"));
    let file = path.display().to_string();
    let mut source = fs::read_to_string(&path)?;
    // The tests of a module stand at its end.
    if let Some(tests) = source.find("#[cfg(test)]\nmod tests {") {
        source.truncate(tests);
    }
    for (number, mutant) in mutants.iter().enumerate() {
        if file.ends_with(&format!("/src/{}", mutant.file)) {
            plant(number, mutant, &mut source)?;
        }
    }
    let children = modules(&source);
    let mut lines = String::new();
    for line in source.lines().filter(|line| !line.starts_with("//!")) {
        let child = children
            .iter()
            .any(|child| line == format!("mod {child};") || line == format!("pub mod {child};"));
        if !child {
            let line = line.replace("crate::", "crate::ledger::");
            lines.push_str(&line.replace("const fn ", "fn "));
            lines.push('\n');
        }
    }
    text.push_str(&format!("pub mod {name} {{\n{lines}\n"));
    for child in children {
        module_text(&folder.join(name), &child, mutants, text)?;
    }
    text.push_str("}\n");
    Ok(())
}

fn plant(number: usize, mutant: &Mutant, source: &mut String) -> io::Result<()> {
    if source.matches(&mutant.old).count() != 1 {
        let problem = format!("`{}` stands not once in {}", mutant.old, mutant.file);
        return Err(io::Error::other(problem));
    }
    let (old, new) = (&mutant.old, &mutant.new);
    let switched = if let Some(statement) = old.strip_suffix(';') {
        let new = new.strip_suffix(';').unwrap_or(new);
        format!("if planted!({number}) {{ {new} }} else {{ {statement} }};")
    } else if let (Some((field, old)), Some((_, new))) = (field(old), field(new)) {
        format!("{field}: if planted!({number}) {{ {new} }} else {{ {old} }},")
    } else if let (Some(old), Some(new)) = (old.strip_suffix(" >="), new.strip_suffix(" >=")) {
        format!("(if planted!({number}) {{ {new} }} else {{ {old} }}) >=")
    } else {
        format!("(if planted!({number}) {{ {new} }} else {{ {old} }})")
    };
    *source = source.replace(old.as_str(), &switched);
    Ok(())
}

/// A member of a struct and its value.
fn field(text: &str) -> Option<(&str, &str)> {
    text.strip_suffix(',')?.split_once(": ")
}
