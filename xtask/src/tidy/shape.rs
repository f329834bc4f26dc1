//! Sizes and names: a file is one idea, a function one screen.

use crate::finding::Finding;
use crate::repo::Repo;
use crate::source::Source;

/// Lines of a file and of a function at most.
struct Sizes {
    file: usize,
    function: usize,
}

const SIZES: Sizes = Sizes {
    file: 500,
    function: 70,
};

/// Under `tests/` a function may be one long table of cases, which splitting would only hide.
const TEST_SIZES: Sizes = Sizes {
    file: 700,
    function: 200,
};

fn sizes(name: &str) -> Sizes {
    if name.contains("/tests/") {
        TEST_SIZES
    } else {
        SIZES
    }
}

/// Endings of files a person writes and reads.
const WRITTEN: &[&str] = &[".rs", ".sh", ".py", ".mjs", ".js", ".css", ".sql"];

/// Names that say nothing.
const BANNED_NAMES: &[&str] = &[
    "util", "utils", "helper", "helpers", "common", "misc", "manager", "managers", "shared",
];

/// Words of work that is not done. Written apart, as this file is read too.
const UNDONE: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X:"),
];

pub(super) fn check(repo: &Repo) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in &repo.names {
        check_name(name, &mut findings);
    }
    for (name, text) in &repo.texts {
        check_undone(name, text, &mut findings);
        let lines = text.lines().count();
        let most = sizes(name).file;
        if lines > most && WRITTEN.iter().any(|ending| name.ends_with(ending)) {
            findings.push(Finding::new(
                name,
                lines,
                "long",
                format!("{lines} lines, {most} at most"),
            ));
        }
    }
    for source in &repo.sources {
        check_source(source, &mut findings);
    }
    findings
}

fn check_name(name: &str, findings: &mut Vec<Finding>) {
    for part in name.split('/') {
        let stem = part.split('.').next().unwrap_or(part);
        if BANNED_NAMES.contains(&stem) {
            findings.push(Finding::new(
                name,
                1,
                "name",
                format!("`{stem}` says nothing about what is inside"),
            ));
        }
    }
}

fn check_undone(name: &str, text: &str, findings: &mut Vec<Finding>) {
    for (number, line) in text.lines().enumerate() {
        for word in UNDONE.iter().filter(|word| line.contains(**word)) {
            findings.push(Finding::new(
                name,
                number.saturating_add(1),
                "undone",
                format!("`{word}`: open an issue"),
            ));
        }
    }
}

fn check_source(source: &Source, findings: &mut Vec<Finding>) {
    if !source.text.starts_with("//!") {
        findings.push(Finding::new(
            &source.path,
            1,
            "purpose",
            "a file starts with `//!` and what it is for",
        ));
    }
    for function in &source.functions {
        let body = source
            .code
            .get(function.body..function.bytes.end.saturating_sub(1))
            .unwrap_or("");
        let lines = body.lines().filter(|line| !line.trim().is_empty()).count();
        let most = sizes(&source.path).function;
        if lines > most {
            let line = source.line_of(function.bytes.start);
            let message = format!("`{}` has {lines} lines, {most} at most", function.name);
            findings.push(Finding::new(&source.path, line, "long", message));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules_broken(path: &str, text: &str) -> Vec<&'static str> {
        check(&Repo::of_texts(&[(path, text)]))
            .iter()
            .map(|finding| finding.rule)
            .collect()
    }

    #[test]
    fn sizes_names_and_leftovers_are_found() {
        let long_file = format!("//! A file.\n{}", "// x\n".repeat(SIZES.file));
        let body = "    x();\n".repeat(SIZES.function);
        let long_function = format!("//! A file.\nfn a() {{\n{body}}}\n");
        let longer_function = format!("//! A file.\nfn a() {{\n{body}    y();\n}}\n");
        for (name, path, text, want) in [
            ("good", "a/b.rs", "//! A file.\n", vec![]),
            ("no purpose", "a/b.rs", "fn a() {}\n", vec!["purpose"]),
            ("long file", "a/b.rs", &long_file, vec!["long"]),
            ("long data", "a/b.json", &long_file, vec![]),
            ("a screen", "a/b.rs", &long_function, vec![]),
            (
                "more than a screen",
                "a/b.rs",
                &longer_function,
                vec!["long"],
            ),
            (
                "a name that says nothing",
                "a/util.rs",
                "//! A file.\n",
                vec!["name"],
            ),
            (
                "a folder that says nothing",
                "common/b.rs",
                "//! A file.\n",
                vec!["name"],
            ),
            (
                "work left",
                "a/b.md",
                concat!("x ", "TO", "DO", " y\n"),
                vec!["undone"],
            ),
        ] {
            assert_eq!(rules_broken(path, text), want, "{name}");
        }
    }
}
