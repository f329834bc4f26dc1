//! `tollkeep ledger …`

use super::client::Client;
use super::{Connection, output};
use crate::exit::{CHECK_FAILED, Failed};
use clap::{Args, Subcommand};
use serde_json::Value;

/// The rows of money.
#[derive(Debug, Subcommand)]
pub(crate) enum Ledger {
    /// Look at all rows for what can't be; ends with 8 if there is any
    Check(Check),
    /// Entries of all accounts in the order of their chain
    Entries(Entries),
}

/// Some of them.
#[derive(Args, Debug)]
pub(crate) struct Entries {
    /// Those behind this number
    #[arg(long, default_value_t = 0)]
    after: u64,
    /// How many at most
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    #[command(flatten)]
    connection: Connection,
}

const ENTRY: &[(&str, &str)] = &[
    ("NUMBER", "/number"),
    ("AT", "/at"),
    ("KIND", "/kind"),
    ("ID", "/id"),
    ("HASH", "/hash"),
];

/// All of them.
#[derive(Args, Debug)]
pub(crate) struct Check {
    #[command(flatten)]
    connection: Connection,
}

impl Ledger {
    /// Runs the command.
    ///
    /// # Errors
    /// Something was found, or the gateway refuses or can't be reached.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Check(check) => check.run(),
            Self::Entries(entries) => entries.run(),
        }
    }
}

impl Entries {
    fn run(self) -> anyhow::Result<()> {
        let (after, limit) = (self.after, self.limit);
        let path = format!("/api/v1/ledger/entries?after={after}&limit={limit}");
        let rows = Client::new(&self.connection)?.get(&path)?;
        let rows = rows.as_array().cloned().unwrap_or_default();
        output::list(&rows, self.connection.json, ENTRY);
        Ok(())
    }
}

impl Check {
    fn run(self) -> anyhow::Result<()> {
        let report = Client::new(&self.connection)?.get("/api/v1/ledger/check")?;
        let found = report.get("violations").and_then(Value::as_array);
        let found = found.map(Vec::as_slice).unwrap_or_default();
        if output::wants_json(self.connection.json) {
            output::json(&report);
        } else {
            let entries = report.get("entries").and_then(Value::as_u64);
            println!("entries followed: {}", entries.unwrap_or(0));
            for told in found.iter().filter_map(Value::as_str) {
                println!("{told}");
            }
        }
        if found.is_empty() {
            return Ok(());
        }
        let problem = format!("the ledger is not as it must be: {} found", found.len());
        Err(Failed::new(CHECK_FAILED, problem).into())
    }
}
