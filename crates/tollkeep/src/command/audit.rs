//! `tollkeep audit …`

use super::audit_export::Export;
use super::audit_verify::Verify;
use super::client::Client;
use super::token::path_segment;
use super::{Connection, output};
use crate::exit::{CHECK_FAILED, Failed};
use crate::system::SystemClock;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tollkeep_types::{Clock, WallMillis};

/// What happened: who did what, when, from where, with what outcome.
#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// List what happened, the last first
    List(Box<List>),
    /// Show one event
    Get(Box<Get>),
    /// Look whether files are what was written; needs no gateway
    Verify(Verify),
    /// Have the gateway look whether its files are what was written
    Check(Box<Asked>),
    /// The public keys that the log is signed with; give them to whoever shall check it
    Keys(Box<Asked>),
    /// Sign with a new key, which the one before signs
    RotateKey(Box<Asked>),
    /// The last checkpoints, as the gateway's store keeps them; a line each, for --checkpoint
    Checkpoints(Box<Asked>),
    /// Copy the records of a time, for somebody else to keep
    Export(Box<Export>),
    /// Open the file by its name again: somebody moved it away
    Reopen(Box<Asked>),
}

/// Which events.
#[derive(Args, Debug)]
pub(crate) struct List {
    /// Not before so long ago, such as 2h, or a time
    #[arg(long, value_name = "DURATION|TIME")]
    since: Option<String>,
    /// Before so long ago, or a time
    #[arg(long, value_name = "DURATION|TIME")]
    until: Option<String>,
    /// Actions, by comma; `*` stands for any text, as in `token.*`
    #[arg(long)]
    action: Option<String>,
    /// success, failure, denied or error; by comma
    #[arg(long, alias = "outcome")]
    result: Option<String>,
    /// Of this project, by id or slug
    #[arg(long)]
    project: Option<String>,
    /// By whom: management, client, local, system, anonymous
    #[arg(long)]
    actor: Option<String>,
    /// About this token, by id, mask or fingerprint
    #[arg(long)]
    token: Option<String>,
    /// From this address
    #[arg(long)]
    client_ip: Option<String>,
    /// In this request
    #[arg(long)]
    request_id: Option<String>,
    /// With this text anywhere
    #[arg(long)]
    search: Option<String>,
    /// How many at most
    #[arg(long, default_value = "50", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    #[command(flatten)]
    connection: Connection,
}

/// Which event.
#[derive(Args, Debug)]
pub(crate) struct Get {
    /// Its id
    id: String,
    #[command(flatten)]
    connection: Connection,
}

/// The gateway whose log it is.
#[derive(Args, Debug)]
pub(crate) struct Asked {
    #[command(flatten)]
    connection: Connection,
}

const COLUMNS: &[(&str, &str)] = &[
    ("TIME", "/timestamp"),
    ("ACTION", "/action"),
    ("RESULT", "/result"),
    ("REASON", "/reason"),
    ("ACTOR", "/actor"),
    ("BY", "/actor_id"),
    ("FROM", "/client_ip"),
    ("PROJECT", "/project_id"),
    ("ID", "/id"),
];

const MEMBERS: &[(&str, &str)] = &[
    ("id", "/id"),
    ("time", "/timestamp"),
    ("action", "/action"),
    ("result", "/result"),
    ("reason", "/reason"),
    ("actor", "/actor"),
    ("by", "/actor_id"),
    ("from", "/client_ip"),
    ("tenant", "/tenant_id"),
    ("project", "/project_id"),
    ("request", "/request_id"),
    ("details", "/details"),
];

impl Audit {
    /// Runs the command.
    ///
    /// # Errors
    /// The gateway refuses or can't be reached; a file is not what was written.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::List(list) => list.run(),
            Self::Get(get) => {
                let path = format!("/api/v1/audit/{}", path_segment(&get.id));
                let event = Client::new(&get.connection)?.get(&path)?;
                output::one(&event, get.connection.json, MEMBERS);
                Ok(())
            }
            Self::Verify(verify) => verify.run(),
            Self::Check(asked) => {
                let client = Client::new(&asked.connection)?;
                let found = client.post("/api/v1/audit/verify", &json!({}))?;
                output::json(&found);
                if found.get("valid") == Some(&Value::Bool(false)) {
                    let problem = "the audit log is not what was written".to_owned();
                    return Err(Failed::new(CHECK_FAILED, problem).into());
                }
                Ok(())
            }
            Self::Keys(asked) => {
                output::json(&Client::new(&asked.connection)?.get("/api/v1/audit/keys")?);
                Ok(())
            }
            Self::RotateKey(asked) => {
                let client = Client::new(&asked.connection)?;
                output::json(&client.post("/api/v1/audit/keys", &json!({}))?);
                Ok(())
            }
            Self::Checkpoints(asked) => {
                let found = checkpoints(&Client::new(&asked.connection)?)?;
                found.iter().for_each(|line| println!("{line}"));
                Ok(())
            }
            Self::Export(export) => export.run(),
            Self::Reopen(asked) => {
                let client = Client::new(&asked.connection)?;
                client.post("/api/v1/audit/reopen", &json!({}))?;
                Ok(())
            }
        }
    }
}

/// The last checkpoint of each chain.
pub(super) fn checkpoints(client: &Client) -> anyhow::Result<Vec<Value>> {
    let found = client.get("/api/v1/audit/checkpoints")?;
    let all = found.get("checkpoints").and_then(Value::as_array);
    Ok(all.cloned().unwrap_or_default())
}

impl List {
    fn run(self) -> anyhow::Result<()> {
        let (since, until) = (self.since.as_deref(), self.until.as_deref());
        let filters = [
            (
                "start_time",
                since.map(|text| point("--since", text)).transpose()?,
            ),
            (
                "end_time",
                until.map(|text| point("--until", text)).transpose()?,
            ),
            ("action", self.action),
            ("outcome", self.result),
            ("project_id", self.project),
            ("actor", self.actor),
            ("token", self.token),
            ("client_ip", self.client_ip),
            ("request_id", self.request_id),
            ("search", self.search),
        ];
        let filters = filters.into_iter().filter_map(|(name, value)| {
            let value = value?;
            Some(format!("&{name}={}", path_segment(&value)))
        });
        let filters: String = filters.collect();
        let client = Client::new(&self.connection)?;
        let (mut rows, mut behind) = (Vec::new(), String::new());
        let wanted = usize::try_from(self.limit).unwrap_or(usize::MAX);
        while rows.len() < wanted {
            let limit = (wanted - rows.len()).min(200);
            let page = client.get(&format!("/api/v1/audit?limit={limit}{filters}{behind}"))?;
            let data = page.get("data").and_then(Value::as_array);
            rows.extend(data.into_iter().flatten().cloned());
            match page.get("next_cursor").and_then(Value::as_str) {
                Some(cursor) => behind = format!("&cursor={}", path_segment(cursor)),
                None => break,
            }
        }
        output::list(&rows, self.connection.json, COLUMNS);
        Ok(())
    }
}

/// A time as it is written, or so long before now.
pub(super) fn point(flag: &str, text: &str) -> anyhow::Result<String> {
    let wrong = || {
        let problem = format!(
            "{flag}: want a duration such as 2h, or a time such as 2026-11-22T10:15:30Z, not `{text}`"
        );
        Failed::new(2, problem)
    };
    if text.parse::<WallMillis>().is_ok() {
        return Ok(text.to_owned());
    }
    let unit_ms = match text.chars().last() {
        Some('s') => 1_000,
        Some('m') => 60_000,
        Some('h') => 3_600_000,
        Some('d') => 86_400_000_u64,
        Some(_) | None => return Err(wrong().into()),
    };
    let number = text.get(..text.len().saturating_sub(1)).unwrap_or_default();
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let ago = number.checked_mul(unit_ms).ok_or_else(wrong)?;
    let now = SystemClock::new().wall();
    Ok(WallMillis(now.0.saturating_sub(ago)).to_string())
}
