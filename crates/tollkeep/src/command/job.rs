//! `tollkeep job …`

use super::client::Client;
use super::token::path_segment;
use super::{Connection, output};
use crate::exit::{self, Failed};
use clap::{Args, Subcommand};
use serde_json::Value;
use std::io::IsTerminal;
use std::time::Duration;

/// Work that takes longer than a request.
#[derive(Debug, Subcommand)]
pub(crate) enum Job {
    /// List jobs since the gateway was started, the newest first
    List(List),
    /// Show how far a job has come
    Get(One),
    /// Wait until a job has ended
    Wait(One),
    /// End a job early; what it has done stays done
    Cancel(One),
}

/// All of them.
#[derive(Args, Debug)]
pub(crate) struct List {
    #[command(flatten)]
    connection: Connection,
}

/// One of them.
#[derive(Args, Debug)]
pub(crate) struct One {
    /// Its id, `job_…`
    id: String,
    #[command(flatten)]
    connection: Connection,
}

const COLUMNS: &[(&str, &str)] = &[
    ("ID", "/id"),
    ("KIND", "/kind"),
    ("STATE", "/state"),
    ("DONE", "/progress/done"),
    ("OF", "/progress/total"),
    ("BEGAN", "/created_at"),
    ("ENDED", "/ended_at"),
];

const MEMBERS: &[(&str, &str)] = &[
    ("id", "/id"),
    ("kind", "/kind"),
    ("state", "/state"),
    ("done", "/progress/done"),
    ("of", "/progress/total"),
    ("key", "/result/kek"),
    ("sealed anew", "/result/resealed"),
    ("unreadable", "/result/unreadable"),
    ("problem", "/problem/detail"),
];

/// How often a job is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

impl Job {
    /// Runs the command.
    ///
    /// # Errors
    /// The gateway refuses or can't be reached.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let path = |id: &str| format!("/api/v1/jobs/{}", path_segment(id));
        match self {
            Self::List(list) => {
                let rows = Client::new(&list.connection)?.get("/api/v1/jobs")?;
                let rows = rows.get("data").and_then(Value::as_array);
                let rows = rows.map(Vec::as_slice).unwrap_or_default();
                output::list(rows, list.connection.json, COLUMNS);
            }
            Self::Get(one) => {
                let job = Client::new(&one.connection)?.get(&path(&one.id))?;
                output::one(&job, one.connection.json, MEMBERS);
            }
            Self::Wait(one) => {
                return wait(&Client::new(&one.connection)?, &one.id, &one.connection);
            }
            Self::Cancel(one) => {
                Client::new(&one.connection)?.delete(&path(&one.id))?;
            }
        }
        Ok(())
    }
}

/// Waits until a job has ended, telling how far it is where somebody looks.
///
/// # Errors
/// The job failed.
pub(super) fn wait(client: &Client, id: &str, connection: &Connection) -> anyhow::Result<()> {
    let path = format!("/api/v1/jobs/{}", path_segment(id));
    let looks = std::io::stderr().is_terminal();
    loop {
        let job = client.get(&path)?;
        let state = job.get("state").and_then(Value::as_str);
        let number = |at: &str| job.pointer(at).and_then(Value::as_u64).unwrap_or(0);
        if looks {
            let (done, total) = (number("/progress/done"), number("/progress/total"));
            eprint!("\r{done} of {total} ");
        }
        if state == Some("running") {
            std::thread::sleep(LOOK_EVERY);
            continue;
        }
        if looks {
            eprintln!(" ");
        }
        output::one(&job, connection.json, MEMBERS);
        let why = job.pointer("/problem/detail").and_then(Value::as_str);
        return match why {
            Some(why) => Err(Failed::new(exit::UNEXPECTED, why).into()),
            None => Ok(()),
        };
    }
}
