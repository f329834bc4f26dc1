//! Which requirement is proved by which test: `docs/conformance.md`, made from the list of
//! requirements and from the ids that stand above tests.

mod evidence;
mod page;
mod requirements;

use anyhow::Context as _;

use crate::finding::Finding;
use crate::repo::Repo;

const PAGE: &str = "docs/conformance.md";

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mode {
    Write,
    Check,
}

pub(crate) struct Outcome {
    pub(crate) findings: Vec<Finding>,
    pub(crate) summary: String,
}

/// Writes the page, or says whether the one in the repository is fresh.
pub(crate) fn run(repo: &Repo, mode: Mode) -> anyhow::Result<Outcome> {
    let requirements = requirements::read(repo)?;
    let evidence = evidence::gather(repo);
    let mut findings = evidence.findings;
    for (id, tests) in &evidence.tests {
        if !requirements.iter().any(|requirement| requirement.id == *id) {
            let message = format!("`{id}` is no requirement");
            findings.extend(
                tests.iter().map(|test| {
                    Finding::new(&test.file, test.line, "requirement", message.clone())
                }),
            );
        }
    }
    let text = page::write(&requirements, &evidence.tests);
    let summary = page::summary(&requirements, &evidence.tests);
    match mode {
        Mode::Write => std::fs::write(repo.root.join(PAGE), text).context(PAGE)?,
        Mode::Check if repo.texts.get(PAGE) != Some(&text) => {
            findings.push(Finding::new(
                PAGE,
                1,
                "stale",
                "run `cargo xtask conformance`",
            ));
        }
        Mode::Check => {}
    }
    Ok(Outcome { findings, summary })
}
