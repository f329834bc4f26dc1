//! `tollkeep project …`

use super::client::Client;
use super::token::{Limits, path_segment};
use super::{Connection, output};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

/// Projects that tokens belong to.
#[derive(Debug, Subcommand)]
pub(crate) enum Project {
    /// Make a project
    Create(Create),
    /// List projects
    List(List),
    /// Show one project
    Get(One),
}

/// A project to make.
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
    connection: Connection,
}

/// All projects.
#[derive(Args, Debug)]
pub(crate) struct List {
    #[command(flatten)]
    connection: Connection,
}

/// One project.
#[derive(Args, Debug)]
pub(crate) struct One {
    /// Its id or slug
    project: String,
    #[command(flatten)]
    connection: Connection,
}

const MEMBERS: &[(&str, &str)] = &[
    ("id", "/id"),
    ("slug", "/slug"),
    ("name", "/name"),
    ("active", "/is_active"),
    ("created", "/created_at"),
];

impl Project {
    /// Runs the command.
    ///
    /// # Errors
    /// The gateway refuses or can't be reached.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Create(create) => {
                let mut body = json!({ "name": create.name });
                let given = [
                    ("slug", create.slug.map(Value::from)),
                    ("limits", create.limits.body()),
                ];
                if let Some(members) = body.as_object_mut() {
                    let given = given.into_iter();
                    members.extend(given.filter_map(|(name, value)| Some((name.into(), value?))));
                }
                let made = Client::new(&create.connection)?.post("/api/v1/projects", &body)?;
                show(&made, create.connection.json);
            }
            Self::List(list) => {
                let page = Client::new(&list.connection)?.get("/api/v1/projects?limit=200")?;
                if output::wants_json(list.connection.json) {
                    output::json(&page);
                } else {
                    let rows = page
                        .get("data")
                        .and_then(Value::as_array)
                        .map(Vec::as_slice)
                        .unwrap_or_default();
                    let columns = &[
                        ("ID", "/id"),
                        ("SLUG", "/slug"),
                        ("NAME", "/name"),
                        ("ACTIVE", "/is_active"),
                        ("CREATED", "/created_at"),
                    ];
                    output::table(&rows.iter().collect::<Vec<_>>(), columns);
                }
            }
            Self::Get(one) => {
                let path = format!("/api/v1/projects/{}", path_segment(&one.project));
                let project = Client::new(&one.connection)?.get(&path)?;
                show(&project, one.connection.json);
            }
        }
        Ok(())
    }
}

fn show(project: &Value, json: bool) {
    if output::wants_json(json) {
        output::json(project);
    } else {
        output::object(project, MEMBERS);
    }
}
