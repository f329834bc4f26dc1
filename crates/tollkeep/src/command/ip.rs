//! `tollkeep ip …`

use super::client::Client;
use super::token::path_segment;
use super::{Connection, output};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

/// Addresses that may or may not come, from now on and on open connections too.
#[derive(Debug, Subcommand)]
pub(crate) enum Ip {
    /// Keep an address or network out
    Deny(Add),
    /// Let an address or network in
    Allow(Add),
    /// List the entries that operators made
    List(List),
    /// Take an entry away
    Remove(Remove),
}

/// An entry to make.
#[derive(Args, Debug)]
pub(crate) struct Add {
    /// The address or network, such as 192.0.2.7 or 192.0.2.0/24
    ip: String,
    /// Why, for the records
    #[arg(long)]
    reason: Option<String>,
    /// How long it holds, as 90s, 15m, 24h, 30d; for good if not given
    #[arg(long)]
    ttl: Option<String>,
    /// Also if it covers loopback, the address you call from, or very many addresses
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Which list.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Which {
    /// Those who may not come
    Deny,
    /// Those who may
    Allow,
}

impl Which {
    const fn path(self) -> &'static str {
        match self {
            Self::Deny => "/api/v1/security/ip-denylist",
            Self::Allow => "/api/v1/security/ip-allowlist",
        }
    }
}

/// The entries of a list.
#[derive(Args, Debug)]
pub(crate) struct List {
    /// The list
    #[arg(long, value_enum, default_value = "deny")]
    list: Which,
    #[command(flatten)]
    connection: Connection,
}

/// An entry to take away.
#[derive(Args, Debug)]
pub(crate) struct Remove {
    /// Its id, `ipe_…`, or its address or network
    entry: String,
    /// The list it is on
    #[arg(long, value_enum, default_value = "deny")]
    list: Which,
    #[command(flatten)]
    connection: Connection,
}

const COLUMNS: &[(&str, &str)] = &[
    ("ID", "/id"),
    ("LIST", "/list"),
    ("ADDRESS", "/ip"),
    ("REASON", "/reason"),
    ("UNTIL", "/expires_at"),
    ("BY", "/created_by"),
    ("CREATED", "/created_at"),
];

const MEMBERS: &[(&str, &str)] = &[
    ("id", "/id"),
    ("list", "/list"),
    ("address", "/ip"),
    ("reason", "/reason"),
    ("until", "/expires_at"),
    ("by", "/created_by"),
    ("created", "/created_at"),
];

impl Ip {
    /// Runs the command.
    ///
    /// # Errors
    /// The gateway refuses or can't be reached.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Deny(add) => add.run(Which::Deny),
            Self::Allow(add) => add.run(Which::Allow),
            Self::List(list) => list.run(),
            Self::Remove(remove) => {
                let path = format!("{}/{}", remove.list.path(), path_segment(&remove.entry));
                Client::new(&remove.connection)?.delete(&path)?;
                Ok(())
            }
        }
    }
}

impl Add {
    fn run(self, list: Which) -> anyhow::Result<()> {
        let mut body = json!({ "ip": self.ip, "force": self.force });
        if let Some(members) = body.as_object_mut() {
            for (name, value) in [("reason", self.reason), ("ttl", self.ttl)] {
                members.extend(value.map(|value| (name.to_owned(), Value::from(value))));
            }
        }
        let entry = Client::new(&self.connection)?.post(list.path(), &body)?;
        if output::wants_json(self.connection.json) {
            output::json(&entry);
        } else {
            output::object(&entry, MEMBERS);
        }
        Ok(())
    }
}

impl List {
    fn run(self) -> anyhow::Result<()> {
        let path = format!("{}?limit=200", self.list.path());
        let page = Client::new(&self.connection)?.get(&path)?;
        if output::wants_json(self.connection.json) {
            output::json(&page);
            return Ok(());
        }
        let rows = page.get("data").and_then(Value::as_array);
        let rows: Vec<&Value> = rows.into_iter().flatten().collect();
        output::table(&rows, COLUMNS);
        Ok(())
    }
}
