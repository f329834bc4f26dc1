//! `tollkeep ledger …`

use super::client::Client;
use super::given::members;
use super::token::{confirm, path_segment};
use super::{Connection, output};
use crate::exit::{CHECK_FAILED, Failed};
use clap::{Args, Subcommand};
use serde_json::Value;

/// The rows of money.
#[derive(Debug, Subcommand)]
pub(crate) enum Ledger {
    /// Look at all rows for what can't be; ends with 8 if there is any
    Check(Check),
    /// List all accounts with their balances: what is owed to payers and to providers too
    Accounts(Accounts),
    /// Entries of all accounts in the order of their chain
    Entries(Entries),
    /// List slices of budgets that were lost with a replica and count as spent
    Unresolved(Unresolved),
    /// Give back what a lost slice holds, once
    Resolve(Resolve),
}

/// Accounts.
#[derive(Args, Debug)]
pub(crate) struct Accounts {
    #[command(flatten)]
    connection: Connection,
}

const ACCOUNTS: &[(&str, &str)] = &[
    ("KIND", "/kind"),
    ("PROVIDER", "/provider"),
    ("UNIT", "/unit"),
    ("BALANCE", "/balance"),
    ("USD", "/balance_usd"),
    ("NAME", "/name"),
];

/// Lost slices.
#[derive(Args, Debug)]
pub(crate) struct Unresolved {
    #[command(flatten)]
    connection: Connection,
}

/// A lost slice that somebody has looked after.
#[derive(Args, Debug)]
pub(crate) struct Resolve {
    /// The slice, by id
    slice: String,
    /// How it is known what was used, for the records
    #[arg(long)]
    evidence: String,
    /// What of it was used all the same, as "$0.25" or a number of tokens or requests
    #[arg(long)]
    used: Option<String>,
    /// Don't ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    connection: Connection,
}

const SLICES: &[(&str, &str)] = &[
    ("ID", "/id"),
    ("BUDGET", "/budget_id"),
    ("UNIT", "/unit"),
    ("IN DOUBT", "/in_doubt"),
    ("USD", "/in_doubt_usd"),
    ("LOST AT", "/lost_at"),
    ("REPLICA", "/replica"),
];

const SLICE: &[(&str, &str)] = &[
    ("id", "/id"),
    ("budget", "/budget_id"),
    ("unit", "/unit"),
    ("taken", "/amount"),
    ("used", "/used"),
    ("in doubt", "/in_doubt"),
    ("lost at", "/lost_at"),
];

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
            Self::Accounts(list) => {
                let client = Client::new(&list.connection)?;
                let rows = client.all("/api/v1/ledger/accounts", "")?;
                output::list(&rows, list.connection.json, ACCOUNTS);
                Ok(())
            }
            Self::Unresolved(list) => {
                let client = Client::new(&list.connection)?;
                let rows = client.all("/api/v1/ledger/unresolved", "")?;
                output::list(&rows, list.connection.json, SLICES);
                Ok(())
            }
            Self::Resolve(resolve) => resolve.run(),
        }
    }
}

impl Resolve {
    fn run(self) -> anyhow::Result<()> {
        let used = self.used.map(|used| match used.parse::<u64>() {
            Ok(count) => Value::from(count),
            Err(_) => Value::from(used),
        });
        if !self.yes {
            let kept = used.as_ref().map(|used| format!(" but {used}"));
            let kept = kept.unwrap_or_default();
            confirm(&format!("Give back all{kept} of {} for good?", self.slice))?;
        }
        let body = members([("evidence", Some(self.evidence.into())), ("used", used)]);
        let slice = path_segment(&self.slice);
        let path = format!("/api/v1/ledger/unresolved/{slice}/resolve");
        let done = Client::new(&self.connection)?.post(&path, &Value::Object(body))?;
        output::one(&done, self.connection.json, SLICE);
        Ok(())
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
