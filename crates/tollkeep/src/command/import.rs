//! `tollkeep import`: another gateway's configuration in our words. Nothing is asked, nothing runs.

use super::config::Source;
use super::quote;
use crate::assemble::documents;
use crate::exit::{self, Failed};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use tollkeep_config::{ConfigErrors, Env, Imported, Loaded};

/// Whose file it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum From {
    /// tollbooth.config.yaml
    Tollbooth,
    /// Our own configuration: the documents that its upstreams name are fetched, for their routes
    Openapi,
}

/// Rewrite another gateway's configuration as ours, or fetch the documents that routes are made of
#[derive(Args, Debug)]
pub(crate) struct Import {
    /// Whose file it is
    #[arg(long, value_enum)]
    from: From,
    /// The file; of another gateway's, nothing that it names is read or run
    file: PathBuf,
    /// Write the result here instead of printing it; a file that is there is left alone
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print what became of it as JSON, to the standard error
    #[arg(long)]
    json: bool,
}

impl Import {
    /// Runs the command.
    ///
    /// # Errors
    /// The file holds what can't be had, or the result would not start a gateway.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let imported = match self.from {
            From::Tollbooth => tollkeep_config::import_tollbooth(&self.file),
            From::Openapi => return self.fetch_documents(),
        };
        let imported = imported.map_err(|faults| {
            let message = format!("the file is not imported:\n{faults}");
            Failed::new(exit::INVALID, message)
        })?;
        let checked = imported.check(&Env::process());
        match &self.out {
            Some(path) => {
                write(path, &imported.text)?;
                if let Ok(loaded) = &checked {
                    quote::print(&quote::prices(&loaded.settings));
                }
            }
            None => print!("{}", imported.text),
        }
        self.tell(&imported, &checked);
        match checked {
            Ok(_) => Ok(()),
            Err(faults) => {
                let message = format!("what was written is not valid yet:\n{faults}");
                Err(Failed::new(exit::INVALID, message).into())
            }
        }
    }

    /// Fetches the documents that upstreams name, and keeps a copy of each for the routes.
    fn fetch_documents(self) -> anyhow::Result<()> {
        if self.out.is_some() {
            let problem = "--out is for a configuration that is rewritten: what is fetched is kept \
                           in the data folder";
            return Err(Failed::new(exit::INVALID, problem).into());
        }
        let source = Source::of_file(self.file.clone());
        let before = source.load_before_fetching()?;
        let fetched = documents::fetch(&before.settings, documents::Which::All)?;
        if fetched.is_empty() {
            let problem = "no upstream has a URL in `openapi`: there is nothing to fetch";
            return Err(Failed::new(exit::INVALID, problem).into());
        }
        let mut all_came = true;
        let mut rows = Vec::new();
        for (upstream, came) in &fetched {
            let row = match came {
                Ok(came) => json!({
                    "upstream": upstream, "operations": came.operations, "left_out": came.left_out,
                }),
                Err(problem) => {
                    all_came = false;
                    json!({ "upstream": upstream, "error": problem })
                }
            };
            rows.push(row);
            if self.json {
                continue;
            }
            match came {
                Ok(came) => {
                    for left in &came.left_out {
                        eprintln!("upstreams.{upstream}.openapi: leaves out {left}");
                    }
                    eprintln!(
                        "upstreams.{upstream}.openapi: {} operations",
                        came.operations
                    );
                }
                Err(problem) => eprintln!("upstreams.{upstream}.openapi: {problem}"),
            }
        }
        if self.json {
            eprintln!("{}", json!({ "valid": all_came, "documents": rows }));
        }
        quote::print(&quote::prices(&source.look()?.settings));
        if all_came {
            return Ok(());
        }
        let problem = "not every document came: the last good copies are kept";
        Err(Failed::new(exit::UNREACHABLE, problem).into())
    }

    /// Says what became of what stood there.
    fn tell(&self, imported: &Imported, checked: &Result<Loaded, ConfigErrors>) {
        let notes = imported.notes.iter();
        let notes = notes
            .map(|note| json!({ "fate": note.fate.as_str(), "key": note.key, "why": note.why }));
        let unset = imported.unset(&Env::process());
        let unset_told = unset.iter().map(|name| {
            json!({ "fate": "needs you", "key": name, "why": "is not set in the environment" })
        });
        let rows: Vec<Value> = notes.chain(unset_told).collect();
        if self.json {
            eprintln!("{}", json!({ "valid": checked.is_ok(), "notes": rows }));
            return;
        }
        for row in &rows {
            let at = |name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default();
            eprintln!("{}: {}: {}", at("fate"), at("key"), at("why"));
        }
        if let (Some(path), Ok(_)) = (&self.out, checked) {
            let path = path.display();
            eprintln!("{path} is valid: tollkeep serve --config {path}");
        }
    }
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let failed = |error: std::io::Error| {
        let code = if error.kind() == std::io::ErrorKind::AlreadyExists {
            exit::CONFLICT
        } else {
            exit::UNEXPECTED
        };
        Failed::new(code, format!("{}: {error}", path.display()))
    };
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    Ok(())
}
