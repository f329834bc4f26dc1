//! `tollkeep status`

use super::client::Client;
use super::{Connection, output};
use clap::Args;

/// How a running gateway is doing.
#[derive(Args, Debug)]
pub(crate) struct Status {
    #[command(flatten)]
    connection: Connection,
}

/// Who a key is, and what it may do.
#[derive(Args, Debug)]
pub(crate) struct Whoami {
    #[command(flatten)]
    connection: Connection,
}

pub(super) const WHO: &[(&str, &str)] = &[
    ("id", "/id"),
    ("name", "/name"),
    ("role", "/role"),
    ("tenant", "/tenant_id"),
    ("scopes", "/scopes"),
    ("expires", "/expires_at"),
    ("via", "/via"),
];

impl Whoami {
    /// Runs the command.
    ///
    /// # Errors
    /// The gateway can't be reached.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let who = Client::new(&self.connection)?.get("/api/v1/whoami")?;
        output::one(&who, self.connection.json, WHO);
        Ok(())
    }
}

const MEMBERS: &[(&str, &str)] = &[
    ("version", "/version"),
    ("environment", "/environment"),
    ("started", "/started_at"),
    ("settings", "/settings/generation"),
    ("loaded", "/settings/loaded_at"),
    ("refused", "/settings/refused_at"),
    ("store", "/store"),
    ("audit", "/audit"),
    ("degraded", "/degraded"),
    ("draining", "/draining"),
    ("maintenance", "/maintenance"),
    ("sandbox", "/sandbox"),
    ("open breakers", "/breakers"),
    ("live tokens", "/tokens"),
];

impl Status {
    /// Runs the command.
    ///
    /// # Errors
    /// The gateway can't be reached.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let status = Client::new(&self.connection)?.get("/api/v1/status")?;
        if output::wants_json(self.connection.json) {
            output::json(&status);
        } else {
            output::object(&status, MEMBERS);
        }
        Ok(())
    }
}
