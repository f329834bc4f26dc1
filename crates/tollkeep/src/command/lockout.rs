//! `tollkeep lockout …`

use super::client::Client;
use super::token::path_segment;
use super::{Connection, output};
use clap::{Args, Subcommand};

/// Addresses that failed to authenticate at the management API too often.
#[derive(Debug, Subcommand)]
pub(crate) enum Lockout {
    /// List addresses that failed lately
    List(List),
    /// Let an address in again
    Clear(Clear),
}

/// All of them.
#[derive(Args, Debug)]
pub(crate) struct List {
    #[command(flatten)]
    connection: Connection,
}

/// One of them.
#[derive(Args, Debug)]
pub(crate) struct Clear {
    /// The address
    address: String,
    #[command(flatten)]
    connection: Connection,
}

const COLUMNS: &[(&str, &str)] = &[
    ("ADDRESS", "/address"),
    ("SURFACE", "/surface"),
    ("FAILURES", "/failures"),
    ("UNTIL", "/until"),
];

impl Lockout {
    /// Runs the command.
    ///
    /// # Errors
    /// The gateway refuses or can't be reached.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::List(list) => {
                let client = Client::new(&list.connection)?;
                let page = client.get("/api/v1/lockouts")?;
                let rows = page.get("data").and_then(serde_json::Value::as_array);
                let rows = rows.cloned().unwrap_or_default();
                output::list(&rows, list.connection.json, COLUMNS);
            }
            Self::Clear(clear) => {
                let path = format!("/api/v1/lockouts/{}", path_segment(&clear.address));
                Client::new(&clear.connection)?.delete(&path)?;
            }
        }
        Ok(())
    }
}
