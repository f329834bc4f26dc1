//! `tollkeep tenant …`

use super::Connection;
use super::given::{Metadata, Policy, members};
use super::noun::{All, Noun, One, Sure};
use super::token::Limits;
use clap::{Args, Subcommand};
use serde_json::Value;

/// Tenants that projects belong to.
#[derive(Debug, Subcommand)]
pub(crate) enum Tenant {
    /// Make a tenant
    Create(Create),
    /// List tenants, newest first
    List(All),
    /// Show one tenant
    Get(One),
    /// Change a tenant
    Update(Update),
    /// Refuse a tenant's calls and let its keys read only
    Suspend(One),
    /// Take a suspended tenant's calls again
    Resume(One),
    /// End a tenant for good, with its keys and tokens
    Delete(Sure),
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

const NOUN: Noun = Noun {
    path: "/api/v1/tenants",
    columns: &[
        ("ID", "/id"),
        ("SLUG", "/slug"),
        ("NAME", "/name"),
        ("STATUS", "/status"),
        ("CREATED", "/created_at"),
    ],
    members: &[
        ("id", "/id"),
        ("slug", "/slug"),
        ("name", "/name"),
        ("status", "/status"),
        ("created", "/created_at"),
        ("limits", "/limits"),
        ("policy", "/policy"),
        ("metadata", "/metadata"),
    ],
};

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
                NOUN.create(body, &create.connection)
            }
            Self::List(all) => NOUN.list(&all),
            Self::Get(one) => NOUN.get(&one),
            Self::Update(update) => {
                let body = members([
                    ("name", update.name.map(Value::from)),
                    ("slug", update.slug.map(Value::from)),
                    ("limits", update.limits.body()),
                    ("policy", update.policy.body()?),
                    ("metadata", update.metadata.body()?),
                ]);
                NOUN.update(&update.tenant, body, &update.connection)
            }
            Self::Suspend(one) => NOUN.act(&one, "/suspend"),
            Self::Resume(one) => NOUN.act(&one, "/resume"),
            Self::Delete(sure) => {
                NOUN.delete(&sure.ask(|id| format!("Delete tenant {id} for good?"))?)
            }
        }
    }
}
