//! `tollkeep route …`

use super::client::Client;
use super::token::path_segment;
use super::{Connection, output};
use clap::{Args, Subcommand};
use serde_json::Value;

/// What becomes of requests.
#[derive(Debug, Subcommand)]
pub(crate) enum Route {
    /// Show the route, policies and limits of a request; nothing is sent
    Explain(Explain),
}

/// A request to explain.
#[derive(Args, Debug)]
pub(crate) struct Explain {
    /// Its method
    method: String,
    /// Its path, or its URL
    #[arg(value_name = "URL")]
    target: String,
    /// The model it asks for
    #[arg(long)]
    model: Option<String>,
    /// The id of the token it would carry, `tid_…`
    #[arg(long, value_name = "ID")]
    token: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

const MEMBERS: &[(&str, &str)] = &[
    ("path", "/path"),
    ("refused", "/refused"),
    ("allow", "/allow"),
    ("route", "/route"),
    ("upstream", "/upstream"),
    ("model", "/model"),
    ("needs a token", "/needs_token"),
    ("body bytes", "/body_bytes_max"),
    ("rate limit", "/rate_limit"),
    ("limits", "/limits"),
];

impl Route {
    /// Runs the command.
    ///
    /// # Errors
    /// The gateway refuses or can't be reached.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Explain(explain) => explain.run(),
        }
    }
}

impl Explain {
    fn run(self) -> anyhow::Result<()> {
        let mut path = format!(
            "/api/v1/routes/explain?method={}&url={}",
            path_segment(&self.method),
            path_segment(&self.target)
        );
        for (name, value) in [("model", self.model), ("token", self.token)] {
            if let Some(value) = value {
                path.push_str(&format!("&{name}={}", path_segment(&value)));
            }
        }
        let told = Client::new(&self.connection)?.get(&path)?;
        if output::wants_json(self.connection.json) {
            output::json(&told);
            return Ok(());
        }
        output::object(&told, MEMBERS);
        let policies = told.get("policies").and_then(Value::as_array);
        for policy in policies.into_iter().flatten() {
            let on = policy.get("on").and_then(Value::as_str).unwrap_or_default();
            let rules = policy.get("policy").unwrap_or(&Value::Null);
            println!("policy of the {on}  {rules}");
        }
        Ok(())
    }
}
