//! `tollkeep audit …`

use super::audit_events::{List, Stats, Tail};
use super::client::Client;
use super::token::path_segment;
use super::{Connection, output};
use crate::exit::{CHECK_FAILED, Failed, INVALID};
use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use tollkeep_audit::{Verified, verify};

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
}

/// Which event.
#[derive(Args, Debug)]
pub(crate) struct Get {
    /// Its id
    id: String,
    #[command(flatten)]
    connection: Connection,
}

/// Which files.
#[derive(Args, Debug)]
pub(crate) struct Verify {
    /// The files, each a part of what was written; else audit.log in the data folder
    files: Vec<PathBuf>,
    /// The data folder
    #[arg(long, default_value = "./data", value_name = "DIR")]
    data_dir: PathBuf,
    /// Print JSON, also on a terminal
    #[arg(long)]
    json: bool,
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
        }
    }
}

impl Verify {
    fn run(self) -> anyhow::Result<()> {
        let files = match self.files {
            files if files.is_empty() => vec![self.data_dir.join("audit.log")],
            files => files,
        };
        let (mut told, mut faulty) = (Vec::new(), 0);
        for path in &files {
            let name = path.display().to_string();
            let file = File::open(path)
                .map_err(|error| Failed::new(INVALID, format!("cannot read {name}: {error}")))?;
            let found = verify(BufReader::with_capacity(1 << 20, file));
            let found = found.with_context(|| format!("cannot read {name}"))?;
            faulty += found.faults_in_all;
            told.push((name, found));
        }
        if output::wants_json(self.json) {
            let files: Vec<Value> = told
                .iter()
                .map(|(name, found)| shown(name, found))
                .collect();
            output::json(&json!({ "valid": faulty == 0, "files": files }));
        } else {
            told.iter().for_each(|(name, found)| print(name, found));
            println!(
                "What is cut off at the end leaves no trace here, and whoever may write the file may \
                 write another whole one: keep copies elsewhere."
            );
        }
        match faulty {
            0 => Ok(()),
            faults => {
                let lines = if faults == 1 { "line is" } else { "lines are" };
                let problem = format!("{faults} {lines} not what was written");
                Err(Failed::new(CHECK_FAILED, problem).into())
            }
        }
    }
}

fn shown(name: &str, found: &Verified) -> Value {
    let faults = found.faults.iter();
    let faults: Vec<Value> = faults
        .map(
            |fault| json!({ "line": fault.line, "seq": fault.seq, "problem": fault.what.as_str() }),
        )
        .collect();
    json!({
        "file": name,
        "records": found.records,
        "faults": faults,
        "faults_in_all": found.faults_in_all,
        "head": found.head.as_ref().map(|(seq, hash)| json!({ "seq": seq, "hash": hash })),
    })
}

fn print(name: &str, found: &Verified) {
    for fault in &found.faults {
        let seq = fault.seq.map(|seq| format!(" (record {seq})"));
        println!(
            "{name}:{}:{} {}",
            fault.line,
            seq.unwrap_or_default(),
            fault.what.as_str()
        );
    }
    let head = found.head.as_ref();
    let head = head.map(|(seq, hash)| format!(", the last is {seq}, {hash}"));
    println!(
        "{name}: {} records, {} wrong{}",
        found.records,
        found.faults_in_all,
        head.unwrap_or_default()
    );
}
