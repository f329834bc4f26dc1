//! `tollkeep audit …`

use super::audit_cat::Cat;
use super::audit_events::{List, Stats, Tail};
use super::audit_export::Export;
use super::audit_fingerprint::Fingerprint;
use super::audit_prune::Prune;
use super::audit_report::Report;
use super::audit_verify::Verify;
use super::client::Client;
use super::token::path_segment;
use super::{Connection, output};
use crate::exit::{CHECK_FAILED, Failed};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

/// What happened: who did what, when, from where, with what outcome.
#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// List what happened, the last first
    List(Box<List>),
    /// Print what happened last, and with -f what happens from now on
    Tail(Box<Tail>),
    /// Count what happened
    Stats(Box<Stats>),
    /// Show one event
    Get(Box<Get>),
    /// Look whether files are what was written; needs no gateway
    Verify(Verify),
    /// Print what files say, plain, compressed or sealed
    Cat(Cat),
    /// What the log shows of a secret that was found somewhere; needs no gateway
    Fingerprint(Fingerprint),
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
    /// Report who may do what, how old keys are, what was changed, what money moved
    Report(Box<Report>),
    /// Open the file by its name again: somebody moved it away
    Reopen(Box<Asked>),
    /// Take old records out of the database, with a record that says so
    Prune(Box<Prune>),
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
            Self::Tail(tail) => tail.run(),
            Self::Stats(stats) => stats.run(),
            Self::Get(get) => {
                let path = format!("/api/v1/audit/{}", path_segment(&get.id));
                let event = Client::new(&get.connection)?.get(&path)?;
                output::one(&event, get.connection.json, MEMBERS);
                Ok(())
            }
            Self::Verify(verify) => verify.run(),
            Self::Cat(cat) => cat.run(),
            Self::Fingerprint(fingerprint) => fingerprint.run(),
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
            Self::Prune(prune) => prune.run(),
            Self::Report(report) => report.run(),
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
