//! `tollkeep vault …`

use super::client::Client;
use super::{Connection, job, output};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

/// The keys that secrets in the store are sealed under.
#[derive(Debug, Subcommand)]
pub(crate) enum Vault {
    /// What is sealed under which key
    Status(Status),
    /// Seal every record under the key that seals now, while everything goes on
    Rekey(Rekey),
}

/// All keys.
#[derive(Args, Debug)]
pub(crate) struct Status {
    #[command(flatten)]
    connection: Connection,
}

/// Everything that is sealed.
#[derive(Args, Debug)]
pub(crate) struct Rekey {
    /// The active key that seals from now on, or `new` for one that is made
    #[arg(long, value_name = "ID")]
    kek: Option<String>,
    /// Give every record a new data key too
    #[arg(long)]
    deep: bool,
    /// Begin it and don't wait for its end
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    connection: Connection,
}

const COLUMNS: &[(&str, &str)] = &[
    ("KEY", "/id"),
    ("STATE", "/state"),
    ("SEALS", "/seals"),
    ("SOURCE", "/source"),
    ("FINGERPRINT", "/fingerprint"),
    ("RECORDS", "/records"),
    ("OLDEST SEAL", "/oldest_sealed_at"),
];

const UNREADABLE: &[(&str, &str)] = &[
    ("TABLE", "/table"),
    ("ROW", "/row"),
    ("FIELD", "/field"),
    ("TENANT", "/tenant_id"),
];

impl Vault {
    /// Runs the command.
    ///
    /// # Errors
    /// The gateway refuses or can't be reached.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Status(status) => status.run(),
            Self::Rekey(rekey) => rekey.run(),
        }
    }
}

impl Status {
    fn run(self) -> anyhow::Result<()> {
        let vault = Client::new(&self.connection)?.get("/api/v1/vault")?;
        if output::wants_json(self.connection.json) {
            output::json(&vault);
            return Ok(());
        }
        let rows = |name: &str| {
            let rows = vault.get(name).and_then(Value::as_array);
            rows.map(Vec::as_slice).unwrap_or_default()
        };
        output::table(&rows("keks").iter().collect::<Vec<_>>(), COLUMNS);
        let broken = rows("unreadable_records");
        if !broken.is_empty() {
            eprintln!("records that don't open:");
            output::table(&broken.iter().collect::<Vec<_>>(), UNREADABLE);
        }
        Ok(())
    }
}

impl Rekey {
    fn run(self) -> anyhow::Result<()> {
        let client = Client::new(&self.connection)?;
        let body = json!({ "kek": self.kek, "deep": self.deep });
        let begun = client.post("/api/v1/vault/rekey", &body)?;
        let id = begun.get("job").and_then(Value::as_str);
        let Some(id) = id.filter(|_| !self.no_wait) else {
            output::one(&begun, self.connection.json, &[("job", "/job")]);
            return Ok(());
        };
        job::wait(&client, id, &self.connection)
    }
}
