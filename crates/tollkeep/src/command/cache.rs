//! `tollkeep cache …`

use super::client::Client;
use super::{Connection, output};
use clap::{Args, Subcommand};
use serde_json::json;

/// Answers that are kept.
#[derive(Debug, Subcommand)]
pub(crate) enum Cache {
    /// Take answers out; refused, as this version keeps none
    Purge(Purge),
}

/// Which answers.
#[derive(Args, Debug)]
pub(crate) struct Purge {
    /// The method of the request
    #[arg(long, default_value = "GET")]
    method: String,
    /// Its URL
    #[arg(long)]
    request_url: String,
    /// The URL is how URLs begin
    #[arg(long)]
    prefix: bool,
    #[command(flatten)]
    connection: Connection,
}

impl Cache {
    /// Runs the command.
    ///
    /// # Errors
    /// The gateway refuses or can't be reached.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let Self::Purge(purge) = self;
        let body = json!({
            "method": purge.method,
            "url": purge.request_url,
            "prefix": purge.prefix,
        });
        let purged = Client::new(&purge.connection)?.post("/manage/cache/purge", &body)?;
        output::one(&purged, purge.connection.json(), &[("deleted", "/deleted")]);
        Ok(())
    }
}
