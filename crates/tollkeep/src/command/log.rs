//! `tollkeep log …`

use super::client::Client;
use super::{Connection, output};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

/// The process log.
#[derive(Debug, Subcommand)]
pub(crate) enum Log {
    /// Let it tell more or less for a while
    Level(Level),
    /// How much it tells
    Get(Get),
}

/// From which level on.
#[derive(Args, Debug)]
pub(crate) struct Level {
    /// The least severe line that is written
    #[arg(value_parser = ["trace", "debug", "info", "warn", "error"])]
    level: String,
    /// For how long, such as 15m; at most 24h
    #[arg(long = "for", value_name = "DURATION", default_value = "15m")]
    lasts: String,
    #[command(flatten)]
    connection: Connection,
}

/// How much it tells.
#[derive(Args, Debug)]
pub(crate) struct Get {
    #[command(flatten)]
    connection: Connection,
}

const PATH: &str = "/api/v1/log-level";

const MEMBERS: &[(&str, &str)] = &[
    ("level", "/level"),
    ("settings", "/settings"),
    ("until", "/until"),
];

impl Log {
    /// Runs the command.
    ///
    /// # Errors
    /// The gateway refuses or can't be reached.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let (shown, connection): (Value, Connection) = match self {
            Self::Level(level) => {
                let body = json!({ "level": level.level, "for": level.lasts });
                (
                    Client::new(&level.connection)?.put(PATH, &body)?,
                    level.connection,
                )
            }
            Self::Get(get) => (Client::new(&get.connection)?.get(PATH)?, get.connection),
        };
        output::one(&shown, connection.json, MEMBERS);
        Ok(())
    }
}
