//! `tollkeep route …`

use super::client::Client;
use super::config::Source;
use super::quote::{Request, look, prices, print};
use super::token::path_segment;
use super::{Connection, output};
use clap::{Args, Subcommand};
use serde_json::Value;

/// What becomes of requests.
#[derive(Debug, Subcommand)]
pub(crate) enum Route {
    /// List the routes of a configuration, and what their requests cost
    List(List),
    /// Show the route, policies and limits of a request; nothing is sent. With a configuration, a
    /// body or a field: what the request costs, by the file and without a gateway
    Explain(Box<Explain>),
}

/// Which routes.
#[derive(Args, Debug)]
pub(crate) struct List {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: Source,
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
    request: Request,
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    connection: Connection,
}

const QUOTED: &[(&str, &str)] = &[
    ("path", "/path"),
    ("refused", "/refused"),
    ("status", "/status"),
    ("route", "/route"),
    ("access", "/access"),
    ("params", "/params"),
    ("price", "/price"),
    ("model", "/model"),
    ("input tokens", "/input_tokens"),
    ("output tokens", "/output_tokens"),
    ("bound", "/bound"),
    ("from", "/from"),
    ("raised", "/raised_to_min_price"),
    ("offers", "/offers"),
    ("PAYMENT-REQUIRED", "/payment_required"),
];

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
            Self::List(list) => list.run(),
            Self::Explain(explain) => explain.run(),
        }
    }
}

impl List {
    fn run(self) -> anyhow::Result<()> {
        let rows = prices(&look(&self.source)?);
        if output::wants_json(self.json) {
            output::json(&serde_json::json!({ "data": rows }));
        } else {
            print(&rows);
        }
        Ok(())
    }
}

impl Explain {
    fn run(self) -> anyhow::Result<()> {
        if self.source.is_given() || self.request.is_given() {
            let settings = look(&self.source)?;
            let quoted = self.request.quote(&settings, &self.method, &self.target)?;
            output::one(&Value::Object(quoted.told), self.connection.json, QUOTED);
            return Ok(());
        }
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
