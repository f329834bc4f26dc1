//! `tollkeep project …`

use super::client::Client;
use super::given::{Metadata, Policy, members};
use super::noun::{All, Noun, One, Sure};
use super::token::{Limits, Running, confirm};
use super::{Connection, output};
use clap::{Args, Subcommand};
use serde_json::{Map, Value};

/// Projects that tokens belong to.
#[derive(Debug, Subcommand)]
pub(crate) enum Project {
    /// Make a project
    Create(Create),
    /// List projects
    List(All),
    /// Show one project
    Get(One),
    /// Change a project, or switch it off and on
    Update(Update),
    /// End all tokens of a project for good
    RevokeTokens(RevokeTokens),
    /// End a project for good, with its tokens; its records stay
    Delete(Sure),
}

/// A project to make.
#[derive(Args, Debug)]
pub(crate) struct Create {
    /// Its name
    name: String,
    /// Its short name in commands; made from the name if not given
    #[arg(long)]
    slug: Option<String>,
    /// Its tenant, by id or slug
    #[arg(long)]
    tenant: Option<String>,
    #[command(flatten)]
    allowed: Allowed,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    policy: Policy,
    #[command(flatten)]
    metadata: Metadata,
    #[command(flatten)]
    connection: Connection,
}

/// The credentials that a project may use.
#[derive(Args, Debug)]
pub(crate) struct Allowed {
    /// A credential that its calls go out with, `crd_…` or `provider/name`; again for more. `all`:
    /// all that it could use
    #[arg(long = "credential", value_name = "ID|all")]
    credentials: Vec<String>,
}

impl Allowed {
    fn body(&self) -> Option<Value> {
        match &*self.credentials {
            [] => None,
            [all] if all == "all" => Some(Value::Null),
            listed => Some(listed.into()),
        }
    }
}

/// A project to change; what is not given stays.
#[derive(Args, Debug)]
pub(crate) struct Update {
    /// Its id or slug
    project: String,
    /// Its name
    #[arg(long)]
    name: Option<String>,
    /// Whether its tokens may be used
    #[arg(long, action = clap::ArgAction::Set, value_name = "true|false")]
    is_active: Option<bool>,
    /// Its short name in commands
    #[arg(long)]
    slug: Option<String>,
    #[command(flatten)]
    allowed: Allowed,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    policy: Policy,
    #[command(flatten)]
    metadata: Metadata,
    #[command(flatten)]
    running: Running,
    #[command(flatten)]
    connection: Connection,
}

/// A project whose tokens end.
#[derive(Args, Debug)]
pub(crate) struct RevokeTokens {
    /// Its id or slug
    project: String,
    /// Why, for the records
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    running: Running,
    /// Don't ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    connection: Connection,
}

const REVOKED: &[(&str, &str)] = &[
    ("revoked", "/revoked_count"),
    ("revoked before", "/already_revoked_count"),
    ("on record", "/total_tokens"),
];

const NOUN: Noun = Noun {
    path: "/api/v1/projects",
    columns: &[
        ("ID", "/id"),
        ("SLUG", "/slug"),
        ("NAME", "/name"),
        ("ACTIVE", "/is_active"),
        ("CREATED", "/created_at"),
    ],
    members: &[
        ("id", "/id"),
        ("slug", "/slug"),
        ("name", "/name"),
        ("active", "/is_active"),
        ("created", "/created_at"),
        ("credentials", "/allowed_credentials"),
        ("limits", "/limits"),
        ("policy", "/policy"),
        ("metadata", "/metadata"),
    ],
};

impl Project {
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
                    ("tenant", create.tenant.map(Value::from)),
                    ("allowed_credentials", create.allowed.body()),
                    ("limits", create.limits.body()),
                    ("policy", create.policy.body()?),
                    ("metadata", create.metadata.body()?),
                ]);
                NOUN.create(body, &create.connection)
            }
            Self::List(all) => NOUN.list(&all),
            Self::Update(update) => {
                let mut body = members([
                    ("name", update.name.map(Value::from)),
                    ("slug", update.slug.map(Value::from)),
                    ("is_active", update.is_active.map(Value::from)),
                    ("allowed_credentials", update.allowed.body()),
                    ("limits", update.limits.body()),
                    ("policy", update.policy.body()?),
                    ("metadata", update.metadata.body()?),
                ]);
                update.running.add_to(&mut body);
                NOUN.update(&update.project, body, &update.connection)
            }
            Self::RevokeTokens(revoke) => revoke.run(),
            Self::Delete(sure) => {
                NOUN.delete(&sure.ask(|id| format!("Delete project {id} for good?"))?)
            }
            Self::Get(one) => NOUN.get(&one),
        }
    }
}

impl RevokeTokens {
    fn run(self) -> anyhow::Result<()> {
        if !self.yes {
            confirm(&format!("Revoke all tokens of {} for good?", self.project))?;
        }
        let mut body = Map::new();
        body.extend(
            self.reason
                .map(|reason| ("reason".to_owned(), reason.into())),
        );
        self.running.add_to(&mut body);
        let path = NOUN.place(&self.project, "/tokens/revoke");
        let done = Client::new(&self.connection)?.post(&path, &Value::Object(body))?;
        output::one(&done, self.connection.json, REVOKED);
        Ok(())
    }
}
