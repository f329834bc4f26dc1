//! `tollkeep cache …`

use super::client::Client;
use super::{Connection, output};
use clap::{ArgGroup, Args, Subcommand};
use serde_json::{Value, json};

/// Answers that are kept.
#[derive(Debug, Subcommand)]
pub(crate) enum Cache {
    /// Take answers out
    Purge(Purge),
}

/// Which answers.
#[derive(Args, Debug)]
pub(crate) struct Purge {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    connection: Connection,
}

/// Which answers are taken out.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("which").required(true))]
pub(crate) struct Which {
    /// The method of the requests, with --request-url
    #[arg(long, default_value = "GET")]
    method: String,
    /// Their URL, or path and query
    #[arg(long, group = "which")]
    request_url: Option<String>,
    /// The URL is how URLs begin
    #[arg(long, requires = "request_url")]
    prefix: bool,
    /// Those of a project, by its id
    #[arg(long, value_name = "ID", group = "which")]
    project: Option<String>,
    /// Those of a model
    #[arg(long, group = "which")]
    model: Option<String>,
    /// All of them
    #[arg(long, group = "which")]
    all: bool,
}

impl Which {
    fn body(self) -> Value {
        match (self.request_url, self.project, self.model) {
            (Some(url), _, _) => json!({
                "method": self.method,
                "url": url,
                "prefix": self.prefix,
            }),
            (None, Some(project), _) => json!({ "project_id": project }),
            (None, None, Some(model)) => json!({ "model": model }),
            (None, None, None) => json!({ "all": self.all }),
        }
    }

    /// Has them taken out, and shows how many that were.
    pub(super) fn purge(self, client: &Client, json: bool) -> anyhow::Result<()> {
        let purged = client.post("/manage/cache/purge", &self.body())?;
        output::one(
            &purged,
            json,
            &[("deleted", "/deleted"), ("count", "/count")],
        );
        Ok(())
    }
}

impl Cache {
    /// Runs the command.
    ///
    /// # Errors
    /// The gateway refuses or can't be reached.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let Self::Purge(purge) = self;
        let client = Client::new(&purge.connection)?;
        purge.which.purge(&client, purge.connection.json())
    }
}
