//! `tollkeep token …`

use super::client::Client;
use super::given::{Metadata, Policy, document, members};
use super::{Connection, output};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use std::io::{BufRead, IsTerminal, Write};

/// Access tokens of callers.
#[derive(Debug, Subcommand)]
pub(crate) enum Token {
    /// Make a token; its text is shown once
    Create(Create),
    /// List tokens, newest first
    List(List),
    /// Show one token
    Get(One),
    /// End a token for good
    Revoke(Revoke),
    /// Replace a token by a new one with the same settings and counters
    Rotate(Rotate),
    /// Change a token, from its next call on
    Update(Update),
    /// Switch a token off until it is resumed
    Suspend(Suspend),
    /// Take a suspended token again
    Resume(One),
}

/// A token to make.
#[derive(Args, Debug)]
pub(crate) struct Create {
    /// Its project, by id or slug
    #[arg(long, default_value = "default")]
    project: String,
    /// Its name in lists
    #[arg(long)]
    name: Option<String>,
    /// How long it lives, as 90s, 15m, 24h, 30d
    #[arg(long)]
    ttl: Option<String>,
    /// How many calls it may make in all
    #[arg(long)]
    max_requests: Option<u64>,
    /// Let its holder replace it (POST /.well-known/tollkeep/token/rotate)
    #[arg(long)]
    self_rotate: bool,
    #[command(flatten)]
    limits: Limits,
    /// Bind to a model, `*` stands for anything; may be given again
    #[arg(long = "model", value_name = "GLOB")]
    models: Vec<String>,
    /// Bind to an address or network; may be given again
    #[arg(long = "ip", value_name = "CIDR")]
    ips: Vec<String>,
    /// How long it may go unused, as 90s, 15m, 24h, 30d
    #[arg(long)]
    idle_ttl: Option<String>,
    #[command(flatten)]
    more: More,
    #[command(flatten)]
    connection: Connection,
}

/// What tokens carry besides.
#[derive(Args, Clone, Debug)]
struct More {
    /// Who holds it
    #[arg(long)]
    owner: Option<String>,
    #[command(flatten)]
    policy: Policy,
    /// What its holder may do besides calling; may be given again, `none` for nothing
    #[arg(long = "permission", value_name = "NAME")]
    permissions: Vec<String>,
    #[command(flatten)]
    metadata: Metadata,
}

impl More {
    /// Its members of a body.
    fn body(&self) -> anyhow::Result<Map<String, Value>> {
        let permissions = match self.permissions.as_slice() {
            [] => None,
            [none] if none == "none" => Some(json!([])),
            some => Some(json!(some)),
        };
        Ok(members([
            ("owner", self.owner.clone().map(Into::into)),
            ("policy", self.policy.body()?),
            ("permissions", permissions),
            ("metadata", self.metadata.body()?),
        ]))
    }
}

/// Which tokens.
#[derive(Args, Debug)]
pub(crate) struct List {
    /// Only those of this project, by id or slug
    #[arg(long)]
    project: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

/// One token.
#[derive(Args, Debug)]
pub(crate) struct One {
    /// Its id, `tid_…`
    id: String,
    #[command(flatten)]
    connection: Connection,
}

/// A token to revoke.
#[derive(Args, Debug)]
pub(crate) struct Revoke {
    /// Its id, `tid_…`
    id: String,
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

/// A token to change; what is not given stays.
#[derive(Args, Debug)]
pub(crate) struct Update {
    /// Its id, `tid_…`
    id: String,
    /// Its name in lists
    #[arg(long)]
    name: Option<String>,
    /// How many calls it may make in all; 0: any
    #[arg(long)]
    max_requests: Option<u64>,
    /// How long it works from now on, as 90s, 15m, 24h, 30d
    #[arg(long)]
    ttl: Option<String>,
    /// How long it may go unused, as 90s, 15m, 24h, 30d; `none` for ever
    #[arg(long)]
    idle_ttl: Option<String>,
    #[command(flatten)]
    limits: Limits,
    /// Whether its holder may replace it
    #[arg(long, action = clap::ArgAction::Set, value_name = "true|false")]
    self_rotate: Option<bool>,
    /// Inherit all rate limits
    #[arg(long, conflicts_with_all = ["requests_per_second", "requests_per_minute", "burst", "concurrency", "tokens_per_minute", "tokens_per_day"])]
    no_limits: bool,
    /// What it is bound to, instead of what it was: JSON, `@FILE` with it, or `none`
    #[arg(long, value_name = "JSON|@FILE|none")]
    bindings: Option<String>,
    #[command(flatten)]
    more: More,
    #[command(flatten)]
    connection: Connection,
}

/// A token to switch off.
#[derive(Args, Debug)]
pub(crate) struct Suspend {
    /// Its id, `tid_…`
    id: String,
    /// Why, for the records
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    running: Running,
    #[command(flatten)]
    connection: Connection,
}

/// What becomes of answers that are on their way.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct Running {
    /// Let answers end that are on their way, instead of cutting them
    #[arg(long)]
    let_finish: bool,
}

impl Running {
    /// The member of a body.
    pub(super) fn add_to(self, body: &mut Map<String, Value>) {
        if self.let_finish {
            body.insert("in_flight".to_owned(), "finish".into());
        }
    }
}

/// A token to rotate.
#[derive(Args, Debug)]
pub(crate) struct Rotate {
    /// Its id, `tid_…`
    id: String,
    /// How long the old one goes on working, as 0s, 1h, 30d
    #[arg(long, default_value = "24h")]
    overlap: String,
    #[command(flatten)]
    connection: Connection,
}

const COLUMNS: &[(&str, &str)] = &[
    ("ID", "/id"),
    ("NAME", "/name"),
    ("TOKEN", "/token"),
    ("STATUS", "/status"),
    ("REQUESTS", "/request_count"),
    ("MAX", "/max_requests"),
    ("EXPIRES", "/expires_at"),
];

const MEMBERS: &[(&str, &str)] = &[
    ("id", "/id"),
    ("name", "/name"),
    ("project", "/project_id"),
    ("token", "/token"),
    ("status", "/status"),
    ("created", "/created_at"),
    ("expires", "/expires_at"),
    ("last used", "/last_used_at"),
    ("requests", "/request_count"),
    ("max requests", "/max_requests"),
    ("limits", "/limits"),
    ("bindings", "/bindings"),
    ("suspended by", "/suspended_by"),
    ("suspended for", "/suspended_reason"),
    ("replaced by", "/replaced_by"),
    ("grace ends", "/grace_ends_at"),
    ("revoked", "/revoked_at"),
    ("reason", "/revoked_reason"),
    ("idle ttl", "/idle_ttl"),
    ("policy", "/policy"),
];

impl Token {
    /// Runs the command.
    ///
    /// # Errors
    /// The gateway refuses or can't be reached.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Create(create) => create.run(),
            Self::List(list) => list.run(),
            Self::Get(one) => {
                let token = Client::new(&one.connection)?
                    .get(&format!("/api/v1/tokens/{}", path_segment(&one.id)))?;
                show(&token, one.connection.json);
                Ok(())
            }
            Self::Revoke(revoke) => revoke.run(),
            Self::Update(update) => update.run(),
            Self::Suspend(suspend) => {
                let mut body = Map::new();
                let reason = suspend
                    .reason
                    .map(|reason| ("reason".to_owned(), reason.into()));
                body.extend(reason);
                suspend.running.add_to(&mut body);
                let path = format!("/api/v1/tokens/{}/suspend", path_segment(&suspend.id));
                let client = Client::new(&suspend.connection)?;
                let token = client.post(&path, &Value::Object(body))?;
                show(&token, suspend.connection.json);
                Ok(())
            }
            Self::Resume(one) => {
                let path = format!("/api/v1/tokens/{}/resume", path_segment(&one.id));
                let token = Client::new(&one.connection)?.post(&path, &json!({}))?;
                show(&token, one.connection.json);
                Ok(())
            }
            Self::Rotate(rotate) => {
                let path = format!("/api/v1/tokens/{}/rotate", path_segment(&rotate.id));
                let made = Client::new(&rotate.connection)?
                    .post(&path, &json!({ "overlap": rotate.overlap }))?;
                show_secret(&made, rotate.connection.json);
                Ok(())
            }
        }
    }
}

/// Rate limits of calls.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Calls a second
    #[arg(long, value_name = "N")]
    requests_per_second: Option<u32>,
    /// Calls a minute
    #[arg(long, value_name = "N")]
    requests_per_minute: Option<u32>,
    /// Calls that may come at once before the rates bite
    #[arg(long, value_name = "N")]
    burst: Option<u32>,
    /// Tokens a minute, of input and output together
    #[arg(long, value_name = "N")]
    tokens_per_minute: Option<u32>,
    /// Tokens in 24 hours
    #[arg(long, value_name = "N")]
    tokens_per_day: Option<u32>,
    /// Calls at the same time
    #[arg(long, value_name = "N")]
    concurrency: Option<u32>,
}

impl Limits {
    /// The member `limits` of a body, if one is given.
    pub(super) fn body(self) -> Option<Value> {
        let limits = [
            ("requests_per_second", self.requests_per_second),
            ("requests_per_minute", self.requests_per_minute),
            ("burst", self.burst),
            ("tokens_per_minute", self.tokens_per_minute),
            ("tokens_per_day", self.tokens_per_day),
            ("concurrency", self.concurrency),
        ];
        let limits: Map<_, _> = limits
            .into_iter()
            .filter_map(|(name, n)| Some((name.to_owned(), n?.into())))
            .collect();
        (!limits.is_empty()).then(|| limits.into())
    }
}

impl Create {
    fn run(self) -> anyhow::Result<()> {
        let mut body = Map::new();
        body.insert("project".to_owned(), self.project.into());
        let bindings = [("models", self.models), ("ips", self.ips)];
        let bindings: Map<_, _> = bindings
            .into_iter()
            .filter(|(_, list)| !list.is_empty())
            .map(|(name, list)| (name.to_owned(), list.into()))
            .collect();
        body.extend(members([
            ("name", self.name.map(Into::into)),
            ("ttl", self.ttl.map(Into::into)),
            ("idle_ttl", self.idle_ttl.map(Into::into)),
            ("max_requests", self.max_requests.map(Into::into)),
            ("self_rotate", self.self_rotate.then_some(Value::Bool(true))),
            ("limits", self.limits.body()),
            ("bindings", (!bindings.is_empty()).then(|| bindings.into())),
        ]));
        body.extend(self.more.body()?);
        let made = Client::new(&self.connection)?.post("/api/v1/tokens", &Value::Object(body))?;
        show_secret(&made, self.connection.json);
        Ok(())
    }
}

impl Update {
    fn run(self) -> anyhow::Result<()> {
        let idle_ttl = self.idle_ttl.map(|idle_ttl| match idle_ttl.as_str() {
            "none" => Value::Null,
            _ => idle_ttl.into(),
        });
        let no_limits = self.no_limits.then(|| json!({}));
        let mut body = members([
            ("name", self.name.map(Into::into)),
            ("max_requests", self.max_requests.map(Into::into)),
            ("ttl", self.ttl.map(Into::into)),
            ("idle_ttl", idle_ttl),
            ("self_rotate", self.self_rotate.map(Into::into)),
            ("limits", self.limits.body().or(no_limits)),
            (
                "bindings",
                document("--bindings", self.bindings.as_deref())?,
            ),
        ]);
        body.extend(self.more.body()?);
        let path = format!("/api/v1/tokens/{}", path_segment(&self.id));
        let client = Client::new(&self.connection)?;
        let token = client.patch(&path, &Value::Object(body))?;
        show(&token, self.connection.json);
        Ok(())
    }
}

impl List {
    fn run(self) -> anyhow::Result<()> {
        let client = Client::new(&self.connection)?;
        let project = self.project.map(|project| path_segment(&project));
        let filters = project.map(|project| format!("&project={project}"));
        let rows = client.all("/api/v1/tokens", &filters.unwrap_or_default())?;
        output::list(&rows, self.connection.json, COLUMNS);
        Ok(())
    }
}

impl Revoke {
    fn run(self) -> anyhow::Result<()> {
        if !self.yes {
            confirm(&format!("Revoke {} for good?", self.id))?;
        }
        let path = format!("/api/v1/tokens/{}/revoke", path_segment(&self.id));
        let mut body = Map::new();
        body.extend(
            self.reason
                .map(|reason| ("reason".to_owned(), reason.into())),
        );
        self.running.add_to(&mut body);
        let token = Client::new(&self.connection)?.post(&path, &Value::Object(body))?;
        show(&token, self.connection.json);
        Ok(())
    }
}

fn show(token: &Value, json: bool) {
    output::one(token, json, MEMBERS);
}

/// A made token, with its text.
fn show_secret(made: &Value, json: bool) {
    let members = &[
        ("id", "/id"),
        ("name", "/name"),
        ("project", "/project_id"),
        ("expires", "/expires_at"),
        ("limits", "/limits"),
        ("bindings", "/bindings"),
    ];
    show_secret_of(made, json, members);
}

/// What was made, with its secret: on a terminal that stands apart, to be copied.
pub(super) fn show_secret_of(made: &Value, json: bool, members: &[(&str, &str)]) {
    if output::wants_json(json) {
        return output::json(made);
    }
    output::object(made, members);
    let secret = made.get("secret").and_then(Value::as_str);
    println!("\n{}\n", secret.unwrap_or_default());
    eprintln!("This is the only time the secret is shown.");
}

pub(crate) fn confirm(question: &str) -> anyhow::Result<()> {
    let declined =
        || crate::exit::Failed::new(2, "not done: say --yes to go on without a question");
    if !std::io::stdin().is_terminal() {
        return Err(declined().into());
    }
    eprint!("{question} [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        Ok(())
    } else {
        Err(declined().into())
    }
}

/// Text as one path segment or query value.
pub(crate) fn path_segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
