//! `tollkeep cooldown …`

use super::client::Client;
use super::token::path_segment;
use super::{Connection, output};
use clap::{Args, Subcommand};
use serde_json::{Map, Value};

/// For what credentials of providers are left alone.
#[derive(Debug, Subcommand)]
pub(crate) enum Cooldown {
    /// List them, as the gateway that is asked knows them
    List(List),
    /// Forget them: all, those of a provider or credential, or of one model
    Clear(Clear),
    /// Leave a credential, or all of a provider, alone for a while
    Set(Set),
}

/// Whose.
#[derive(Args, Debug)]
pub(crate) struct Of {
    /// Those of this provider
    #[arg(long)]
    provider: Option<String>,
    /// Those of this credential: its id, or its name in the settings
    #[arg(long)]
    credential: Option<String>,
}

/// Those that are asked for.
#[derive(Args, Debug)]
pub(crate) struct List {
    #[command(flatten)]
    of: Of,
    #[command(flatten)]
    connection: Connection,
}

/// Those that are forgotten.
#[derive(Args, Debug)]
pub(crate) struct Clear {
    #[command(flatten)]
    of: Of,
    /// What they met with this model, and no more
    #[arg(long)]
    model: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

/// How long, and who.
#[derive(Args, Debug)]
pub(crate) struct Set {
    /// The provider
    provider: String,
    /// The credential: its id, or its name in the settings; all of the provider without it
    #[arg(long)]
    credential: Option<String>,
    /// How long, in seconds
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=2_592_000))]
    seconds: u64,
    #[command(flatten)]
    connection: Connection,
}

const COLUMNS: &[(&str, &str)] = &[
    ("PROVIDER", "/provider"),
    ("CREDENTIAL", "/credential"),
    ("MODEL", "/model"),
    ("REASON", "/reason"),
    ("SINCE", "/since"),
    ("UNTIL", "/until"),
    ("LEVEL", "/level"),
];

impl Of {
    fn path(&self, model: Option<&str>) -> String {
        let given = [
            ("provider", self.provider.as_deref()),
            ("credential", self.credential.as_deref()),
            ("model", model),
        ];
        let mut path = "/api/v1/cooldowns".to_owned();
        let mut before = '?';
        for (name, value) in given {
            if let Some(value) = value {
                path.push(before);
                path.push_str(name);
                path.push('=');
                path.push_str(&path_segment(value));
                before = '&';
            }
        }
        path
    }
}

impl Cooldown {
    /// Runs the command.
    ///
    /// # Errors
    /// The gateway refuses or can't be reached.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::List(list) => {
                let page = Client::new(&list.connection)?.get(&list.of.path(None))?;
                let rows = page.get("data").and_then(Value::as_array);
                let rows = rows.cloned().unwrap_or_default();
                output::list(&rows, list.connection.json, COLUMNS);
            }
            Self::Clear(clear) => {
                let path = clear.of.path(clear.model.as_deref());
                Client::new(&clear.connection)?.delete(&path)?;
            }
            Self::Set(set) => {
                let mut body = Map::new();
                body.insert("provider".to_owned(), set.provider.into());
                body.insert("seconds".to_owned(), set.seconds.into());
                body.extend(
                    set.credential
                        .map(|it| ("credential".to_owned(), it.into())),
                );
                let client = Client::new(&set.connection)?;
                client.post("/api/v1/cooldowns", &Value::Object(body))?;
            }
        }
        Ok(())
    }
}
