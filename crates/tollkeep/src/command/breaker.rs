//! `tollkeep breaker …`

use super::client::Client;
use super::token::path_segment;
use super::{Connection, output};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

/// Breakers of upstreams that keep failing.
#[derive(Debug, Subcommand)]
pub(crate) enum Breaker {
    /// List breakers that remember a failure; all others are closed
    List(List),
    /// Close a breaker now
    Reset(Reset),
}

/// All of them.
#[derive(Args, Debug)]
pub(crate) struct List {
    #[command(flatten)]
    connection: Connection,
}

/// One of them.
#[derive(Args, Debug)]
pub(crate) struct Reset {
    /// Its id
    id: String,
    #[command(flatten)]
    connection: Connection,
}

const COLUMNS: &[(&str, &str)] = &[
    ("ID", "/id"),
    ("STATE", "/state"),
    ("UPSTREAM", "/upstream"),
    ("ROUTE", "/route"),
    ("MODEL", "/model"),
    ("PROJECT", "/project_id"),
    ("FAILURES", "/failures"),
    ("OPENED", "/opened_at"),
    ("RETRY", "/retry_at"),
];

const MEMBERS: &[(&str, &str)] = &[
    ("id", "/id"),
    ("state", "/state"),
    ("upstream", "/upstream"),
    ("route", "/route"),
    ("model", "/model"),
    ("tenant", "/tenant_id"),
    ("project", "/project_id"),
    ("failures", "/failures"),
];

impl Breaker {
    /// Runs the command.
    ///
    /// # Errors
    /// The gateway refuses or can't be reached.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::List(list) => {
                let page = Client::new(&list.connection)?.get("/api/v1/breakers")?;
                if output::wants_json(list.connection.json) {
                    output::json(&page);
                } else {
                    let rows = page.get("data").and_then(Value::as_array);
                    let rows = rows.map(Vec::as_slice).unwrap_or_default();
                    output::table(&rows.iter().collect::<Vec<_>>(), COLUMNS);
                }
            }
            Self::Reset(reset) => {
                let path = format!("/api/v1/breakers/{}/reset", path_segment(&reset.id));
                let breaker = Client::new(&reset.connection)?.post(&path, &json!({}))?;
                if output::wants_json(reset.connection.json) {
                    output::json(&breaker);
                } else {
                    output::object(&breaker, MEMBERS);
                }
            }
        }
        Ok(())
    }
}
