//! `tollkeep cooldown …`

use super::client::Client;
use super::token::path_segment;
use super::{Connection, output};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

/// Who of the pool of credentials is left alone, and who is used.
#[derive(Debug, Subcommand)]
pub(crate) enum Cooldown {
    /// List credentials that are left alone
    List(List),
    /// List providers, and how each is doing
    Providers(List),
    /// List credentials in the order in which they are used
    Balance(List),
    /// Leave all credentials of a provider alone for a while
    Set(Set),
    /// Use all credentials of a provider again at once
    Clear(Clear),
}

/// All of them.
#[derive(Args, Debug)]
pub(crate) struct List {
    #[command(flatten)]
    connection: Connection,
}

/// A provider to leave alone.
#[derive(Args, Debug)]
pub(crate) struct Set {
    /// The provider, by its name in the settings
    provider: String,
    /// How long, as 90s, 15m, 24h; 30d at most
    #[arg(long, default_value = "1h")]
    duration: String,
    /// Why, for the records
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

/// A provider to use again.
#[derive(Args, Debug)]
pub(crate) struct Clear {
    /// The provider, by its name in the settings
    provider: String,
    #[command(flatten)]
    connection: Connection,
}

const COOLING: &[(&str, &str)] = &[
    ("PROVIDER", "/provider"),
    ("CREDENTIAL", "/credential"),
    ("MODEL", "/model"),
    ("REASON", "/reason"),
    ("UNTIL", "/until"),
];

const PROVIDERS: &[(&str, &str)] = &[
    ("PROVIDER", "/provider"),
    ("ENABLED", "/enabled"),
    ("HEALTHY", "/healthy"),
    ("BREAKER", "/breaker"),
];

const POOL: &[(&str, &str)] = &[
    ("PROVIDER", "/provider"),
    ("CREDENTIAL", "/id"),
    ("PRIORITY", "/priority"),
    ("WEIGHT", "/weight"),
    ("STATUS", "/status"),
    ("IN USE", "/in_use"),
    ("LAST ERROR", "/last_error_code"),
];

const RESTED: &[(&str, &str)] = &[
    ("provider", "/provider"),
    ("credentials", "/credentials"),
    ("until", "/until"),
];

const PATH: &str = "/v0/operations";

impl Cooldown {
    /// Runs the command.
    ///
    /// # Errors
    /// The gateway refuses or can't be reached.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::List(list) => list.show("cooldown", "/cooldowns", COOLING),
            Self::Providers(list) => list.show("providers", "/providers", PROVIDERS),
            Self::Balance(list) => list.balance(),
            Self::Set(set) => {
                let mut body = Map::new();
                body.insert("duration".to_owned(), set.duration.into());
                body.extend(
                    set.reason
                        .map(|reason| ("reason".to_owned(), reason.into())),
                );
                act(&set.provider, "cooldown", &body.into(), &set.connection)
            }
            Self::Clear(clear) => act(&clear.provider, "recover", &json!({}), &clear.connection),
        }
    }
}

fn act(provider: &str, verb: &str, body: &Value, connection: &Connection) -> anyhow::Result<()> {
    let path = format!("{PATH}/providers/{}/{verb}", path_segment(provider));
    let told = Client::new(connection)?.post(&path, body)?;
    output::one(&told, connection.json, RESTED);
    Ok(())
}

impl List {
    fn show(self, what: &str, rows: &str, columns: &[(&str, &str)]) -> anyhow::Result<()> {
        let told = Client::new(&self.connection)?.get(&format!("{PATH}/{what}/status"))?;
        let rows = told.pointer(rows).and_then(Value::as_array);
        output::list(
            rows.map(Vec::as_slice).unwrap_or_default(),
            self.connection.json,
            columns,
        );
        Ok(())
    }

    /// A row for each credential, with its provider.
    fn balance(self) -> anyhow::Result<()> {
        let path = format!("{PATH}/load_balancing/status");
        let told = Client::new(&self.connection)?.get(&path)?;
        let mut rows = Vec::new();
        let providers = told.get("providers").and_then(Value::as_array);
        for provider in providers.into_iter().flatten() {
            let own = provider.get("credentials").and_then(Value::as_array);
            for credential in own.into_iter().flatten() {
                let mut row = credential.clone();
                if let Some(members) = row.as_object_mut() {
                    let name = provider.get("provider").cloned().unwrap_or_default();
                    members.insert("provider".to_owned(), name);
                }
                rows.push(row);
            }
        }
        output::list(&rows, self.connection.json, POOL);
        Ok(())
    }
}
