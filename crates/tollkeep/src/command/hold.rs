//! `tollkeep hold …`

use super::client::Client;
use super::given::filters;
use super::token::{confirm, path_segment};
use super::{Connection, output};
use clap::{Args, Subcommand};
use serde_json::json;

/// What is taken aside for calls, and what nobody told the cost of.
#[derive(Debug, Subcommand)]
pub(crate) enum Hold {
    /// List holds of calls under way, and calls whose cost nobody told
    List(List),
    /// Show one hold
    Show(One),
    /// Say what a call cost of which nobody told, once
    #[command(visible_alias = "resolve")]
    Settle(Settle),
    /// Say that a call cost nothing of which nobody told, once
    Release(Release),
}

/// Holds.
#[derive(Args, Debug)]
pub(crate) struct List {
    /// Only those that are held, committed, estimated or unknown
    #[arg(long)]
    state: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

/// One hold.
#[derive(Args, Debug)]
pub(crate) struct One {
    /// Its id
    hold: String,
    #[command(flatten)]
    connection: Connection,
}

/// A cost that is known now.
#[derive(Args, Debug)]
pub(crate) struct Settle {
    /// The hold, by id
    hold: String,
    /// What its upstream asks for the call, as "$0.0125"; a markup of the call is added
    cost: String,
    #[command(flatten)]
    release: Why,
}

/// A call that cost nothing.
#[derive(Args, Debug)]
pub(crate) struct Release {
    /// The hold, by id
    hold: String,
    #[command(flatten)]
    release: Why,
}

/// Why, for the records.
#[derive(Args, Debug)]
pub(crate) struct Why {
    /// Why, for the records
    #[arg(long)]
    reason: String,
    /// Don't ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    connection: Connection,
}

const COLUMNS: &[(&str, &str)] = &[
    ("ID", "/id"),
    ("STATE", "/state"),
    ("BOUND", "/bound_nano_usd"),
    ("COST USD", "/cost_usd"),
    ("AT", "/at"),
    ("REQUEST", "/request_id"),
];

const MEMBERS: &[(&str, &str)] = &[
    ("id", "/id"),
    ("tenant", "/tenant_id"),
    ("state", "/state"),
    ("bound in nano-dollars", "/bound_nano_usd"),
    ("charged in dollars", "/cost_usd"),
    ("at", "/at"),
    ("expires", "/expires_at"),
    ("request", "/request_id"),
];

impl Hold {
    /// Runs the command.
    ///
    /// # Errors
    /// The gateway refuses or can't be reached.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::List(list) => {
                let query = filters([("state", list.state)]);
                let rows = Client::new(&list.connection)?.all("/api/v1/holds", &query)?;
                output::list(&rows, list.connection.json, COLUMNS);
            }
            Self::Show(one) => {
                let hold = Client::new(&one.connection)?.get(&place(&one.hold))?;
                output::one(&hold, one.connection.json, MEMBERS);
            }
            Self::Settle(settle) => {
                let (why, cost) = (settle.release, settle.cost);
                let question = format!("Charge {cost} for {} for good?", settle.hold);
                let path = format!("{}/settle", place(&settle.hold));
                let body = json!({ "cost": cost, "reason": why.reason });
                why.ask(&question)?.post(&path, &body)?;
            }
            Self::Release(release) => {
                let why = release.release;
                let question = format!("Charge nothing for {} for good?", release.hold);
                let path = format!("{}/release", place(&release.hold));
                let body = json!({ "reason": why.reason });
                why.ask(&question)?.post(&path, &body)?;
            }
        }
        Ok(())
    }
}

impl Why {
    fn ask(&self, question: &str) -> anyhow::Result<Client> {
        if !self.yes {
            confirm(question)?;
        }
        Client::new(&self.connection)
    }
}

fn place(hold: &str) -> String {
    format!("/api/v1/holds/{}", path_segment(hold))
}
