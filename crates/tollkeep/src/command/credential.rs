//! `tollkeep credential …`

mod rules;

use self::rules::Rules;
use super::client::Client;
use super::noun::All;
use super::token::{confirm, path_segment};
use super::{Connection, output, secret_input};
use crate::exit::{self, Failed};
use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::io::{IsTerminal, Read};
use std::path::PathBuf;

/// Credentials of providers: kept sealed, never shown.
#[derive(Debug, Subcommand)]
pub(crate) enum Credential {
    /// List them, newest first
    List(List),
    /// Look at one
    Get(One),
    /// Add one; its secret comes from a file, from standard input, or is asked for
    Add(Add),
    /// List them in the order in which they are used
    Pool(All),
    /// List providers, and how each is doing
    Providers(All),
    /// Replace all of a provider by others: what is not given is deleted
    Replace(Replace),
    /// Change how one is used
    Update(Update),
    /// Give one another secret, from a file, from standard input, or asked for
    Rotate(Rotate),
    /// Try one out with one small request
    Test(One),
    /// Use one again
    Enable(One),
    /// Keep one without using it
    Disable(One),
    /// Leave one alone for a while
    Cooldown(Cooldown),
    /// Forget whatever one is left alone for
    Recover(One),
    /// Delete one for good
    #[command(alias = "remove")]
    Delete(Delete),
}

/// All, or those of a provider or project.
#[derive(Args, Debug)]
pub(crate) struct List {
    /// Those of this provider
    #[arg(long)]
    provider: Option<String>,
    /// Those of this project alone, by id or slug
    #[arg(long)]
    project: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

/// One of them.
#[derive(Args, Debug)]
pub(crate) struct One {
    /// Its id, `crd_…`
    id: String,
    #[command(flatten)]
    connection: Connection,
}

/// Where a secret comes from. It is never an argument: those are seen by all users of the machine.
#[derive(Args, Debug)]
struct SecretFrom {
    /// A file that holds the secret, `-` for standard input; asked for if not given
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

/// A credential to add.
#[derive(Args, Debug)]
pub(crate) struct Add {
    /// The provider, by its name in the settings
    #[arg(long)]
    provider: String,
    /// The one project that may use it, by id or slug
    #[arg(long)]
    project: Option<String>,
    /// Its tenant, by id or slug
    #[arg(long)]
    tenant: Option<String>,
    /// Keep it without using it
    #[arg(long)]
    disabled: bool,
    #[command(flatten)]
    rules: Rules,
    #[command(flatten)]
    secret: SecretFrom,
    #[command(flatten)]
    connection: Connection,
}

/// The credentials that a provider has from now on.
#[derive(Args, Debug)]
pub(crate) struct Replace {
    /// The provider, by its name in the settings
    provider: String,
    /// A file whose first line is the secret of one; may be given again
    #[arg(long = "secret-file", value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Don't ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    connection: Connection,
}

/// A credential to use in another way.
#[derive(Args, Debug)]
pub(crate) struct Update {
    /// Its id, `crd_…`
    id: String,
    #[command(flatten)]
    rules: Rules,
    /// It serves all models of its provider
    #[arg(long, conflicts_with = "models")]
    all_models: bool,
    #[command(flatten)]
    connection: Connection,
}

/// A credential that gets another secret.
#[derive(Args, Debug)]
pub(crate) struct Rotate {
    /// Its id, `crd_…`
    id: String,
    #[command(flatten)]
    secret: SecretFrom,
    #[command(flatten)]
    connection: Connection,
}

/// A credential to leave alone.
#[derive(Args, Debug)]
pub(crate) struct Cooldown {
    /// Its id, `crd_…`
    id: String,
    /// How long, as 90s, 15m, 24h, 30d
    #[arg(long = "for", default_value = "1h", value_name = "DURATION")]
    duration: String,
    /// Why, for the records
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

/// A credential to delete.
#[derive(Args, Debug)]
pub(crate) struct Delete {
    /// Its id, `crd_…`
    id: String,
    /// End the calls that are on their way with it; else they finish
    #[arg(long)]
    cut: bool,
    /// Don't ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    connection: Connection,
}

const COLUMNS: &[(&str, &str)] = &[
    ("ID", "/id"),
    ("PROVIDER", "/provider"),
    ("LABEL", "/label"),
    ("SECRET", "/token_hint"),
    ("STATUS", "/status"),
    ("PRIORITY", "/priority"),
    ("WEIGHT", "/weight"),
    ("PROJECT", "/project_id"),
    ("LAST USED", "/last_used_at"),
];

const MEMBERS: &[(&str, &str)] = &[
    ("id", "/id"),
    ("provider", "/provider"),
    ("project", "/project_id"),
    ("label", "/label"),
    ("secret", "/token_hint"),
    ("status", "/status"),
    ("models", "/models"),
    ("not", "/excluded_models"),
    ("priority", "/priority"),
    ("weight", "/weight"),
    ("base url", "/base_url"),
    ("proxy", "/egress_proxy"),
    ("prefix", "/prefix"),
    ("limits", "/limits"),
    ("left alone", "/cooldowns"),
    ("file", "/file"),
    ("last used", "/last_used_at"),
    ("last error", "/last_error_code"),
    ("at", "/last_error_at"),
];

const TESTED: &[(&str, &str)] = &[
    ("answer", "/status_class"),
    ("problem", "/problem"),
    ("latency ms", "/latency_ms"),
];

const PATH: &str = "/api/v1/credentials";

impl Credential {
    /// Runs the command.
    ///
    /// # Errors
    /// The gateway refuses or can't be reached, there is no secret, or a test fails.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::List(list) => list.run(),
            Self::Get(one) => {
                let found = Client::new(&one.connection)?.get(&place(&one.id, ""))?;
                output::one(&found, one.connection.json, MEMBERS);
                Ok(())
            }
            Self::Add(add) => add.run(),
            Self::Pool(all) => pool(&all.connection),
            Self::Providers(all) => providers(&all.connection),
            Self::Replace(replace) => replace.run(),
            Self::Update(update) => update.run(),
            Self::Rotate(rotate) => {
                let client = Client::new(&rotate.connection)?;
                let body = json!({ "secret": rotate.secret.read()? });
                let changed = client.post(&place(&rotate.id, "/rotate"), &body)?;
                output::one(&changed, rotate.connection.json, MEMBERS);
                Ok(())
            }
            Self::Test(one) => test(&one),
            Self::Enable(one) => act(&one, "/enable"),
            Self::Disable(one) => act(&one, "/disable"),
            Self::Cooldown(rest) => {
                let client = Client::new(&rest.connection)?;
                let body = json!({ "duration": rest.duration, "reason": rest.reason });
                let changed = client.post(&place(&rest.id, "/cooldown"), &body)?;
                output::one(&changed, rest.connection.json, MEMBERS);
                Ok(())
            }
            Self::Recover(one) => {
                let client = Client::new(&one.connection)?;
                let changed = client.delete(&place(&one.id, "/cooldown"))?;
                output::one(&changed, one.connection.json, MEMBERS);
                Ok(())
            }
            Self::Delete(delete) => {
                if !delete.yes {
                    confirm(&format!("Delete {} and its secret for good?", delete.id))?;
                }
                let behind = if delete.cut { "?in_flight=cut" } else { "" };
                Client::new(&delete.connection)?.delete(&place(&delete.id, behind))?;
                eprintln!("{} is deleted.", delete.id);
                Ok(())
            }
        }
    }
}

fn place(id: &str, behind: &str) -> String {
    format!("{PATH}/{}{behind}", path_segment(id))
}

fn act(one: &One, verb: &str) -> anyhow::Result<()> {
    let changed = Client::new(&one.connection)?.post(&place(&one.id, verb), &json!({}))?;
    output::one(&changed, one.connection.json, MEMBERS);
    Ok(())
}

fn test(one: &One) -> anyhow::Result<()> {
    let tested = Client::new(&one.connection)?.post(&place(&one.id, "/test"), &json!({}))?;
    output::one(&tested, one.connection.json, TESTED);
    if tested.get("status_class").and_then(Value::as_str) == Some("2xx") {
        return Ok(());
    }
    Err(Failed::new(exit::CHECK_FAILED, "the provider does not take it").into())
}

impl List {
    fn run(self) -> anyhow::Result<()> {
        let filter = |name: &str, value: &Option<String>| {
            let value = value.as_deref().map(path_segment);
            value.map_or_else(String::new, |value| format!("&{name}={value}"))
        };
        let filters = filter("provider", &self.provider) + &filter("project", &self.project);
        let rows = Client::new(&self.connection)?.all(PATH, &filters)?;
        output::list(&rows, self.connection.json, COLUMNS);
        Ok(())
    }
}

impl Add {
    fn run(self) -> anyhow::Result<()> {
        let client = Client::new(&self.connection)?;
        let mut body = self.rules.body();
        body.insert("provider".to_owned(), self.provider.into());
        for (name, value) in [("project", self.project), ("tenant", self.tenant)] {
            body.extend(value.map(|value| (name.to_owned(), value.into())));
        }
        if self.disabled {
            body.insert("disabled".to_owned(), true.into());
        }
        body.insert("secret".to_owned(), self.secret.read()?.into());
        let made = client.post(PATH, &Value::Object(body))?;
        output::one(&made, self.connection.json, MEMBERS);
        Ok(())
    }
}

const POOL: &[(&str, &str)] = &[
    ("PROVIDER", "/provider"),
    ("CREDENTIAL", "/id"),
    ("PRIORITY", "/priority"),
    ("WEIGHT", "/weight"),
    ("STATUS", "/status"),
    ("IN USE", "/in_use"),
    ("LAST ERROR", "/last_error_code"),
];

/// A row for each credential, with its provider.
fn pool(connection: &Connection) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for provider in told(connection, "load_balancing")? {
        let own = provider.get("credentials").and_then(Value::as_array);
        for credential in own.into_iter().flatten() {
            let mut row = credential.clone();
            if let Some(members) = row.as_object_mut() {
                let name = provider.get("provider").cloned().unwrap_or_default();
                members.insert("provider".to_owned(), name);
            }
            rows.push(row);
        }
    }
    output::list(&rows, connection.json, POOL);
    Ok(())
}

const PROVIDERS: &[(&str, &str)] = &[
    ("PROVIDER", "/provider"),
    ("ENABLED", "/enabled"),
    ("HEALTHY", "/healthy"),
    ("BREAKER", "/breaker"),
];

fn providers(connection: &Connection) -> anyhow::Result<()> {
    output::list(&told(connection, "providers")?, connection.json, PROVIDERS);
    Ok(())
}

/// The providers that a status of the pool tells of.
fn told(connection: &Connection, what: &str) -> anyhow::Result<Vec<Value>> {
    let told = Client::new(connection)?.get(&format!("/v0/operations/{what}/status"))?;
    let providers = told.get("providers").and_then(Value::as_array);
    Ok(providers.cloned().unwrap_or_default())
}

impl Replace {
    fn run(self) -> anyhow::Result<()> {
        if !self.yes {
            confirm(&format!(
                "Delete all other credentials of {} for good?",
                self.provider
            ))?;
        }
        let mut auths = Vec::new();
        for file in &self.files {
            let secret = secret_input::read("Secret", Some(file))?;
            auths.push(json!({ "token": secret.expose() }));
        }
        let path = format!("/v0/management/auths/{}", path_segment(&self.provider));
        let client = Client::new(&self.connection)?;
        let told = client.put(&path, &json!({ "auths": auths }))?;
        let rows = told.get("auths").and_then(Value::as_array);
        let rows = rows.map(Vec::as_slice).unwrap_or_default();
        output::list(rows, self.connection.json, OF_SET);
        Ok(())
    }
}

const OF_SET: &[(&str, &str)] = &[
    ("ID", "/id"),
    ("PROVIDER", "/provider"),
    ("PRIORITY", "/priority"),
    ("STATUS", "/status"),
    ("SECRET", "/token_hint"),
];

impl Update {
    fn run(self) -> anyhow::Result<()> {
        let mut body = self.rules.body();
        if self.all_models {
            body.insert("models".to_owned(), json!([]));
        }
        let client = Client::new(&self.connection)?;
        let changed = client.patch(&place(&self.id, ""), &Value::Object(body))?;
        output::one(&changed, self.connection.json, MEMBERS);
        Ok(())
    }
}

/// A secret that is an argument, as clients of other gateways have it; `-` is standard input.
pub(super) fn secret_of(argument: String) -> anyhow::Result<String> {
    if argument == "-" {
        let secret_file = Some(PathBuf::from("-"));
        return SecretFrom { secret_file }.read();
    }
    eprintln!("warning: other users of this machine can see secrets in arguments; give `-`");
    Ok(argument)
}

impl SecretFrom {
    fn read(&self) -> anyhow::Result<String> {
        let mut text = String::new();
        match &self.secret_file {
            Some(path) if path.as_os_str() != "-" => {
                text = std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
            }
            None if std::io::stdin().is_terminal() => {
                text = secret_input::typed("Secret")?;
            }
            Some(_) | None => {
                std::io::stdin()
                    .lock()
                    .take(64 * 1024)
                    .read_to_string(&mut text)?;
            }
        }
        let text = text.trim();
        if text.is_empty() {
            let problem = "no secret: give --secret-file, or write it to standard input";
            return Err(Failed::new(2, problem).into());
        }
        Ok(text.to_owned())
    }
}
