//! What the project's texts may say: links that lead somewhere, no places of one machine, no line
//! numbers that rot.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use crate::finding::Finding;
use crate::repo::Repo;

/// Places that exist on somebody's machine only. Written apart, as this file is read too.
const MACHINE_PATHS: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/fa", "rm/"),
    concat!("/tmp", "/t/"),
    concat!("/tmp", "/plan"),
    concat!("../", "shared"),
];

pub(super) fn check(repo: &Repo) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, text) in &repo.texts {
        check_paths(name, text, &mut findings);
        if name.ends_with(".md") {
            check_page(repo, name, text, &mut findings);
        }
    }
    findings
}

fn check_paths(name: &str, text: &str, findings: &mut Vec<Finding>) {
    for (number, line) in text.lines().enumerate() {
        for place in MACHINE_PATHS {
            // A host or a longer path before it makes it something else: `example.com/…`.
            let alone = |at: usize| {
                !line.get(..at).is_some_and(|before| {
                    before.ends_with(|c: char| c.is_alphanumeric() || c == '.')
                })
            };
            if line.match_indices(place).any(|(at, _)| alone(at)) {
                let message = format!("`{place}` exists on one machine only");
                findings.push(Finding::new(
                    name,
                    number.saturating_add(1),
                    "machine path",
                    message,
                ));
            }
        }
    }
}

fn check_page(repo: &Repo, name: &str, text: &str, findings: &mut Vec<Finding>) {
    let mut fenced = false;
    for (number, line) in text.lines().enumerate() {
        let number = number.saturating_add(1);
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            continue;
        }
        if fenced {
            continue;
        }
        if names_a_line(line) {
            findings.push(Finding::new(
                name,
                number,
                "line number",
                "name the function or the section; line numbers rot",
            ));
        }
        for target in targets(line) {
            if let Some(problem) = problem_of(repo, name, text, &target) {
                findings.push(Finding::new(
                    name,
                    number,
                    "link",
                    format!("`{target}`: {problem}"),
                ));
            }
        }
    }
}

/// `file.rs:12` or `…#L12`.
fn names_a_line(line: &str) -> bool {
    [".rs:", ".md:", ".toml:", "#L"].iter().any(|mark| {
        line.match_indices(mark).any(|(at, _)| {
            let after = line.get(at.saturating_add(mark.len())..).unwrap_or("");
            after.starts_with(|c: char| c.is_ascii_digit())
        })
    })
}

/// Targets of the links of one line, outside inline code.
fn targets(line: &str) -> Vec<String> {
    let plain: String = line
        .split('`')
        .enumerate()
        .map(|(n, part)| if n % 2 == 0 { part } else { "code" })
        .collect();
    plain
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter_map(|target| target.split_whitespace().next())
        .map(|target| target.trim_matches(['<', '>']).to_owned())
        .collect()
}

fn problem_of(repo: &Repo, page: &str, text: &str, target: &str) -> Option<&'static str> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (path, fragment) = target.split_once('#').unwrap_or((target, ""));
    let (there, anchors) = if path.is_empty() {
        (page.to_owned(), anchors(text))
    } else {
        let folder = Path::new(page).parent().unwrap_or(Path::new(""));
        let Some(there) = plain_path(&folder.join(path)) else {
            return Some("leaves the repository");
        };
        let anchors = repo
            .texts
            .get(&there)
            .map(|text| anchors(text))
            .unwrap_or_default();
        (there, anchors)
    };
    let folder = format!("{}/", there.trim_end_matches('/'));
    if !repo.names.contains(&there) && !repo.names.iter().any(|name| name.starts_with(&folder)) {
        return Some("no such file");
    }
    (there.ends_with(".md") && !fragment.is_empty() && !anchors.contains(fragment))
        .then_some("no such heading")
}

/// A path without `.` and `..`; none if it climbs out.
fn plain_path(path: &Path) -> Option<String> {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => plain.push(part),
            Component::CurDir => {}
            Component::ParentDir if plain.pop() => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    plain.to_str().map(str::to_owned)
}

/// The names headings can be linked by.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let words = line.trim_start_matches('#').trim().to_lowercase();
            let kept = words
                .chars()
                .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_lead_nowhere_are_found() {
        for (name, line, want) in [
            ("a file", "[a](docs/b.md)", None),
            ("a file beside", "[a](./docs/b.md#the-heading-1)", None),
            ("a folder", "[a](docs/)", None),
            ("a heading here", "[a](#top)", None),
            ("the web", "[a](https://example.com/x)", None),
            ("in code", "`[a](gone.md)`", None),
            ("no file", "[a](gone.md)", Some("link")),
            ("no heading", "[a](docs/b.md#gone)", Some("link")),
            ("outside", "[a](../x.md)", Some("link")),
            ("a line of a file", "see src/lib.rs:12", Some("line number")),
            (
                "a place of one machine",
                concat!("see /wo", "rk/main"),
                Some("machine path"),
            ),
            (
                "a host with such a path",
                concat!("see example.com/wo", "rk/"),
                None,
            ),
        ] {
            let page = format!("# Top\n{line}\n");
            let repo =
                Repo::of_texts(&[("README.md", &page), ("docs/b.md", "## The heading (1)\n")]);
            let rules: Vec<_> = check(&repo).iter().map(|finding| finding.rule).collect();
            assert_eq!(rules, want.into_iter().collect::<Vec<_>>(), "{name}");
        }
    }
}
