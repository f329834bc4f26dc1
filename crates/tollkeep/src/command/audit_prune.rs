//! `tollkeep audit prune`: takes old records out of the database.

use super::client::Client;
use super::{Connection, output};
use clap::Args;
use serde_json::{Value, json};

/// How old.
#[derive(Args, Debug)]
pub(crate) struct Prune {
    /// Records older than this, such as 90d
    #[arg(long, value_name = "DURATION")]
    before: String,
    #[command(flatten)]
    connection: Connection,
}

const COLUMNS: &[(&str, &str)] = &[
    ("STREAM", "/stream"),
    ("THROUGH", "/through_seq"),
    ("RECORDS", "/records"),
    ("HEAD", "/head"),
];

impl Prune {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let body = json!({ "before": self.before });
        let pruned = Client::new(&self.connection)?.post("/api/v1/audit/prune", &body)?;
        if output::wants_json(self.connection.json) {
            output::json(&pruned);
            return Ok(());
        }
        let chains = pruned.get("chains").and_then(Value::as_array);
        output::list(chains.map_or(&[], Vec::as_slice), false, COLUMNS);
        let records = pruned.get("records").and_then(Value::as_u64).unwrap_or(0);
        if self.connection.dry_run {
            eprintln!("{records} records would go.");
        } else {
            eprintln!("{records} records go; that is done in the background.");
        }
        Ok(())
    }
}
