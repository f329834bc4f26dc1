//! `tollkeep price quarantine, ack`

use super::client::Client;
use super::given::members;
use super::{Connection, output};
use clap::Args;
use serde_json::Value;

/// Models in quarantine.
#[derive(Args, Debug)]
pub(crate) struct Quarantine {
    #[command(flatten)]
    connection: Connection,
}

/// A model that was looked after.
#[derive(Args, Debug)]
pub(crate) struct Ack {
    /// Its name, as it goes to the provider
    model: String,
    /// Of this provider only
    #[arg(long)]
    provider: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

const QUARANTINED: &[(&str, &str)] = &[
    ("PROVIDER", "/provider"),
    ("MODEL", "/model"),
    ("SINCE", "/since"),
    ("HOLD", "/hold"),
];

impl Quarantine {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let rows = Client::new(&self.connection)?.get("/api/v1/quarantine")?;
        let rows = rows.as_array().cloned().unwrap_or_default();
        output::list(&rows, self.connection.json, QUARANTINED);
        Ok(())
    }
}

impl Ack {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let body = members([
            ("model", Some(self.model.into())),
            ("provider", self.provider.map(Value::from)),
        ]);
        let client = Client::new(&self.connection)?;
        let rows = client.post("/api/v1/quarantine/ack", &Value::Object(body))?;
        let rows = rows.as_array().cloned().unwrap_or_default();
        output::list(&rows, self.connection.json, QUARANTINED);
        Ok(())
    }
}
