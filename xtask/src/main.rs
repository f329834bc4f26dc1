//! Checks and generators of this repository.
//!
//! `cargo xtask tidy` proves the rules no compiler knows: arrows between crates, invariants of
//! absence, bans, licences, sizes, words. `cargo xtask conformance` writes which requirement is
//! proved by which test. `cargo xtask prices` makes the price table.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool"
)]

mod actions;
mod conformance;
mod finding;
mod prices;
mod repo;
mod source;
mod tidy;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;

use crate::conformance::Mode;
use crate::repo::Repo;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  tidy                  check arrows, bans, licences, words, sizes, texts
  conformance           write docs/conformance.md from the requirements and the tests
  conformance --check   say whether docs/conformance.md is fresh
  actions FOLDER        say which audit actions the tests that noted theirs in the folder
                        (ACTIONS_SEEN_FOLDER) never made happen
  prices FOLDER VERSION write prices/table.json from what prices/extract.py wrote; VERSION is
                        YYYY-MM-DD.N";

fn main() -> anyhow::Result<ExitCode> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["tidy"] => run_tidy(),
        ["conformance"] => run_conformance(Mode::Write),
        ["conformance", "--check"] => run_conformance(Mode::Check),
        ["actions", folder] => {
            let never = actions::never_seen(&Repo::read()?, Path::new(folder))?;
            for action in &never {
                println!("no test made `{action}` happen");
            }
            Ok(ExitCode::from(u8::from(!never.is_empty())))
        }
        ["prices", folder, version] => {
            let repo = Repo::read()?;
            println!("{}", prices::run(&repo, Path::new(folder), version)?);
            Ok(ExitCode::SUCCESS)
        }
        _ => {
            eprintln!("{USAGE}");
            Ok(ExitCode::from(2))
        }
    }
}

fn run_tidy() -> anyhow::Result<ExitCode> {
    let repo = Repo::read()?;
    let graph = tidy::graph::Graph::read(&repo.root).context("cargo metadata")?;
    let findings = tidy::check(&repo, &graph);
    if findings.is_empty() {
        println!(
            "tidy: clean ({} files, {} crates)",
            repo.names.len(),
            graph.linked()
        );
        return Ok(ExitCode::SUCCESS);
    }
    for finding in &findings {
        println!("{finding}");
    }
    eprintln!("tidy: {} findings", findings.len());
    Ok(ExitCode::FAILURE)
}

fn run_conformance(mode: Mode) -> anyhow::Result<ExitCode> {
    let repo = Repo::read()?;
    let outcome = conformance::run(&repo, mode)?;
    for finding in &outcome.findings {
        println!("{finding}");
    }
    println!("conformance: {}", outcome.summary);
    Ok(if outcome.findings.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
