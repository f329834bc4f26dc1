//! `tollkeep maintenance …`

use super::client::Client;
use super::{Connection, output};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

/// Maintenance: callers are told to come back later, what runs finishes.
#[derive(Debug, Subcommand)]
pub(crate) enum Maintenance {
    /// Switch it on; it stays on over restarts
    On(On),
    /// Switch it off
    Off(Off),
    /// Whether it is on
    Status(Status),
}

/// Maintenance to switch on.
#[derive(Args, Debug)]
pub(crate) struct On {
    /// What callers are told, at most 500 characters; `server.message` if not given
    #[arg(long)]
    message: Option<String>,
    /// When they should come back, in seconds; `server.maintenance_retry_after_s` if not given
    #[arg(long, value_name = "SECONDS")]
    retry_after: Option<u64>,
    #[command(flatten)]
    connection: Connection,
}

/// Maintenance to switch off.
#[derive(Args, Debug)]
pub(crate) struct Off {
    #[command(flatten)]
    connection: Connection,
}

/// Maintenance as it is.
#[derive(Args, Debug)]
pub(crate) struct Status {
    #[command(flatten)]
    connection: Connection,
}

const PATH: &str = "/api/v1/maintenance";

const MEMBERS: &[(&str, &str)] = &[
    ("on", "/enabled"),
    ("message", "/message"),
    ("retry after", "/retry_after_s"),
    ("by", "/by"),
    ("since", "/since"),
    ("source", "/source"),
];

impl Maintenance {
    /// Runs the command.
    ///
    /// # Errors
    /// The gateway refuses or can't be reached.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let (shown, connection) = match self {
            Self::On(on) => {
                let mut body = json!({ "enabled": true });
                if let Some(members) = body.as_object_mut() {
                    let message = on.message.map(Value::from);
                    members.extend(message.map(|value| ("message".to_owned(), value)));
                    let seconds = on.retry_after.map(Value::from);
                    members.extend(seconds.map(|value| ("retry_after_s".to_owned(), value)));
                }
                let shown = Client::new(&on.connection)?.put(PATH, &body)?;
                (shown, on.connection)
            }
            Self::Off(off) => {
                let body = json!({ "enabled": false });
                let shown = Client::new(&off.connection)?.put(PATH, &body)?;
                if shown.pointer("/enabled") == Some(&Value::Bool(true)) {
                    eprintln!("Maintenance stays on: the settings say `server.maintenance_mode`.");
                }
                (shown, off.connection)
            }
            Self::Status(status) => {
                let shown = Client::new(&status.connection)?.get(PATH)?;
                (shown, status.connection)
            }
        };
        if output::wants_json(connection.json) {
            output::json(&shown);
        } else {
            output::object(&shown, MEMBERS);
        }
        Ok(())
    }
}
