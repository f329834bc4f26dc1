//! The gateway key in the words of llm-router: an access token named `master` of the default
//! project.

use super::Connection;
use super::client::Client;
use super::token::show_secret_of;
use crate::exit::{self, Failed};
use clap::{ArgAction, Args};
use serde_json::{Map, Value, json};

const NAME: &str = "master";

const MEMBERS: &[(&str, &str)] = &[
    ("id", "/id"),
    ("name", "/name"),
    ("project", "/project_id"),
    ("expires", "/expires_at"),
];

/// What the text of the gateway key looks like.
#[derive(Args, Debug)]
pub(crate) struct KeyForm {
    /// Make the gateway key, and end the one before at once
    #[arg(long, action = ArgAction::Set, default_value_t = false, value_name = "true|false")]
    generate_master_key: bool,
    /// How many characters it has in all
    #[arg(long, value_name = "N")]
    master_key_length: Option<u64>,
    /// What it starts with
    #[arg(long, value_name = "PREFIX")]
    master_key_prefix: Option<String>,
}

/// `config --operation=set-master-key`, as llm-router has it.
#[derive(Args, Debug)]
pub(crate) struct SetMasterKey {
    /// What to do; `set-master-key` is the one operation
    #[arg(long, value_parser = ["set-master-key"])]
    operation: Option<String>,
    #[command(flatten)]
    form: KeyForm,
    #[command(flatten)]
    connection: Connection,
}

impl SetMasterKey {
    /// Runs the command.
    ///
    /// # Errors
    /// No operation is given; the gateway refuses or can't be reached.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        if self.operation.is_none() {
            let problem = "say what to do: see `tollkeep config --help`";
            return Err(Failed::new(2, problem).into());
        }
        replace(&Client::new(&self.connection)?, self.form, &self.connection)
    }
}

/// Replace the gateway key of a deployment, as llm-router's `worker-key` does
#[derive(Args, Debug)]
pub(crate) struct WorkerKey {
    /// The profile of the gateway, or the environment that it must be of; another one is left alone
    #[arg(long, value_name = "ENVIRONMENT")]
    env: Option<String>,
    #[command(flatten)]
    form: KeyForm,
    #[command(flatten)]
    connection: Connection,
}

impl WorkerKey {
    /// Runs the command.
    ///
    /// # Errors
    /// The gateway is of another environment, refuses, or can't be reached.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let mut connection = self.connection;
        let mut wanted = self.env;
        if let Some(name) = &wanted {
            let (by_profile, is_there) = connection.by_profile(name)?;
            connection = by_profile;
            // Whoever named a gateway so has said which one is meant.
            if is_there {
                wanted = None;
            }
        }
        let client = Client::new(&connection)?;
        if let Some(wanted) = &wanted {
            let status = client.get("/api/v1/status")?;
            let found = status.get("environment").and_then(Value::as_str);
            if found != Some(wanted) {
                let found = found.unwrap_or("unknown");
                let problem = format!("the gateway's environment is {found}, not {wanted}");
                return Err(Failed::new(exit::CONFLICT, problem).into());
            }
        }
        replace(&client, self.form, &connection)
    }
}

fn replace(client: &Client, form: KeyForm, connection: &Connection) -> anyhow::Result<()> {
    if !form.generate_master_key {
        let problem = "nothing to do: say --generate-master-key=true";
        return Err(Failed::new(2, problem).into());
    }
    let before = client.all("/api/v1/tokens", "&project=default&active=true")?;
    let mut body = Map::new();
    body.insert("name".to_owned(), NAME.into());
    body.extend(
        form.master_key_length
            .map(|length| ("length".to_owned(), length.into())),
    );
    body.extend(
        form.master_key_prefix
            .map(|prefix| ("prefix".to_owned(), prefix.into())),
    );
    let made = client.post("/api/v1/tokens", &Value::Object(body))?;
    // The new one is there: whatever happens now, nobody is left without a key.
    for token in &before {
        let text = |name: &str| token.get(name).and_then(Value::as_str);
        if let (Some(NAME), Some(id)) = (text("name"), text("id")) {
            let reason = json!({ "reason": "replaced by a new master key" });
            client.post(&format!("/api/v1/tokens/{id}/revoke"), &reason)?;
        }
    }
    show_secret_of(&made, connection.json(), MEMBERS);
    Ok(())
}
