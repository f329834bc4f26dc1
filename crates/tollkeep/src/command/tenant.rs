//! `tollkeep tenant …`

use super::client::Client;
use super::given::{Metadata, Policy, members};
use super::token::{Limits, confirm, path_segment};
use super::{Connection, output};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

/// Tenants that projects belong to.
#[derive(Debug, Subcommand)]
pub(crate) enum Tenant {
    /// Make a tenant
    Create(Create),
    /// List tenants, newest first
    List(List),
    /// Show one tenant
    Get(One),
    /// Change a tenant
    Update(Update),
    /// Refuse a tenant's calls and let its keys read only
    Suspend(One),
    /// Take a suspended tenant's calls again
    Resume(One),
    /// End a tenant for good, with its keys and tokens
    Delete(Delete),
}

/// A tenant to make.
#[derive(Args, Debug)]
pub(crate) struct Create {
    /// Its name
    name: String,
    /// Its short name in commands; made from the name if not given
    #[arg(long)]
    slug: Option<String>,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    policy: Policy,
    #[command(flatten)]
    metadata: Metadata,
    #[command(flatten)]
    connection: Connection,
}

/// All of them.
#[derive(Args, Debug)]
pub(crate) struct List {
    #[command(flatten)]
    connection: Connection,
}

/// One tenant.
#[derive(Args, Debug)]
pub(crate) struct One {
    /// Its id or slug
    tenant: String,
    #[command(flatten)]
    connection: Connection,
}

/// A tenant to change; what is not given stays.
#[derive(Args, Debug)]
pub(crate) struct Update {
    /// Its id or slug
    tenant: String,
    /// Its name
    #[arg(long)]
    name: Option<String>,
    /// Its short name in commands
    #[arg(long)]
    slug: Option<String>,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    policy: Policy,
    #[command(flatten)]
    metadata: Metadata,
    #[command(flatten)]
    connection: Connection,
}

/// A tenant to end.
#[derive(Args, Debug)]
pub(crate) struct Delete {
    /// Its id or slug
    tenant: String,
    /// Don't ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    connection: Connection,
}

const COLUMNS: &[(&str, &str)] = &[
    ("ID", "/id"),
    ("SLUG", "/slug"),
    ("NAME", "/name"),
    ("STATUS", "/status"),
    ("CREATED", "/created_at"),
];

const MEMBERS: &[(&str, &str)] = &[
    ("id", "/id"),
    ("slug", "/slug"),
    ("name", "/name"),
    ("status", "/status"),
    ("created", "/created_at"),
    ("limits", "/limits"),
    ("policy", "/policy"),
    ("metadata", "/metadata"),
];

const PATH: &str = "/api/v1/tenants";

impl Tenant {
    /// Runs the command.
    ///
    /// # Errors
    /// The gateway refuses or can't be reached.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Create(create) => {
                let body = members([
                    ("name", Some(create.name.into())),
                    ("slug", create.slug.map(Value::from)),
                    ("limits", create.limits.body()),
                    ("policy", create.policy.body()?),
                    ("metadata", create.metadata.body()?),
                ]);
                let client = Client::new(&create.connection)?;
                let tenant = client.post(PATH, &Value::Object(body))?;
                output::one(&tenant, create.connection.json, MEMBERS);
            }
            Self::List(list) => {
                let client = Client::new(&list.connection)?;
                output::list(&client.all(PATH, "")?, list.connection.json, COLUMNS);
            }
            Self::Get(one) => {
                let tenant = Client::new(&one.connection)?.get(&path(&one.tenant))?;
                output::one(&tenant, one.connection.json, MEMBERS);
            }
            Self::Update(update) => {
                let body = members([
                    ("name", update.name.map(Value::from)),
                    ("slug", update.slug.map(Value::from)),
                    ("limits", update.limits.body()),
                    ("policy", update.policy.body()?),
                    ("metadata", update.metadata.body()?),
                ]);
                let client = Client::new(&update.connection)?;
                let tenant = client.patch(&path(&update.tenant), &Value::Object(body))?;
                output::one(&tenant, update.connection.json, MEMBERS);
            }
            Self::Suspend(one) => one.act("suspend")?,
            Self::Resume(one) => one.act("resume")?,
            Self::Delete(delete) => {
                if !delete.yes {
                    confirm(&format!("Delete tenant {} for good?", delete.tenant))?;
                }
                Client::new(&delete.connection)?.delete(&path(&delete.tenant))?;
            }
        }
        Ok(())
    }
}

impl One {
    fn act(self, verb: &str) -> anyhow::Result<()> {
        let path = format!("{}/{verb}", path(&self.tenant));
        let tenant: Value = Client::new(&self.connection)?.post(&path, &json!({}))?;
        output::one(&tenant, self.connection.json, MEMBERS);
        Ok(())
    }
}

fn path(tenant: &str) -> String {
    format!("{PATH}/{}", path_segment(tenant))
}
