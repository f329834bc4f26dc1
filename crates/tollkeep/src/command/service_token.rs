//! `tollkeep service-token …`

use super::client::Client;
use super::token::{confirm, path_segment, show_secret_of};
use super::{Connection, output};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

/// Service tokens: what clients show at a front door, beside their token or key.
#[derive(Debug, Subcommand)]
pub(crate) enum ServiceToken {
    /// Make one; its secret is shown once
    Create(Create),
    /// List them, newest first
    List(List),
    /// Give one a new secret; the old one holds for a while
    Rotate(Rotate),
    /// End one for good
    Revoke(Revoke),
}

/// A service token to make.
#[derive(Args, Debug)]
pub(crate) struct Create {
    /// Its name in lists
    #[arg(long)]
    name: Option<String>,
    /// Which listener's front door it opens
    #[arg(long, value_enum, default_value_t = Door::Data)]
    door: Door,
    /// How long it lives, as 24h, 30d
    #[arg(long, default_value = "365d")]
    ttl: String,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Door {
    Data,
    Management,
}

/// All of them.
#[derive(Args, Debug)]
pub(crate) struct List {
    #[command(flatten)]
    connection: Connection,
}

/// One to rotate.
#[derive(Args, Debug)]
pub(crate) struct Rotate {
    /// Its id, `svc_…`
    id: String,
    /// How long the old secret goes on working, as 0s, 1h, 30d
    #[arg(long, default_value = "24h")]
    overlap: String,
    /// How long it lives from now on; its end stays if not given
    #[arg(long)]
    ttl: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

/// One to revoke.
#[derive(Args, Debug)]
pub(crate) struct Revoke {
    /// Its id, `svc_…`
    id: String,
    /// Don't ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    connection: Connection,
}

const COLUMNS: &[(&str, &str)] = &[
    ("ID", "/id"),
    ("NAME", "/name"),
    ("DOOR", "/door"),
    ("SECRET", "/secret_hint"),
    ("STATUS", "/status"),
    ("EXPIRES", "/expires_at"),
];

const MEMBERS: &[(&str, &str)] = &[
    ("id", "/id"),
    ("name", "/name"),
    ("door", "/door"),
    ("status", "/status"),
    ("expires", "/expires_at"),
    ("old secret until", "/previous_works_until"),
    ("revoked", "/revoked_at"),
];

const PATH: &str = "/api/v1/service-tokens";

impl ServiceToken {
    /// Runs the command.
    ///
    /// # Errors
    /// The gateway refuses or can't be reached.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Create(create) => {
                let door = match create.door {
                    Door::Data => "data",
                    Door::Management => "management",
                };
                let body = json!({ "name": create.name, "door": door, "ttl": create.ttl });
                let made = Client::new(&create.connection)?.post(PATH, &body)?;
                show_secret_of(&made, create.connection.json, MEMBERS);
            }
            Self::List(list) => {
                let all = Client::new(&list.connection)?.get(PATH)?;
                if output::wants_json(list.connection.json) {
                    output::json(&all);
                } else {
                    let rows = all.get("data").and_then(Value::as_array);
                    let rows: Vec<_> = rows.into_iter().flatten().collect();
                    output::table(&rows, COLUMNS);
                }
            }
            Self::Rotate(rotate) => {
                let mut body = Map::new();
                body.insert("overlap".to_owned(), rotate.overlap.into());
                body.extend(rotate.ttl.map(|ttl| ("ttl".to_owned(), ttl.into())));
                let path = format!("{PATH}/{}/rotate", path_segment(&rotate.id));
                let made = Client::new(&rotate.connection)?.post(&path, &Value::Object(body))?;
                show_secret_of(&made, rotate.connection.json, MEMBERS);
            }
            Self::Revoke(revoke) => {
                if !revoke.yes {
                    confirm(&format!("Revoke {} for good?", revoke.id))?;
                }
                let path = format!("{PATH}/{}/revoke", path_segment(&revoke.id));
                let token = Client::new(&revoke.connection)?.post(&path, &json!({}))?;
                if output::wants_json(revoke.connection.json) {
                    output::json(&token);
                } else {
                    output::object(&token, MEMBERS);
                }
            }
        }
        Ok(())
    }
}
