//! `tollkeep tls …`

use super::client::Client;
use super::config::Source;
use super::{Connection, output};
use crate::assemble::{Checked, InUse, Listeners};
use crate::exit::{self, Failed};
use crate::system::SystemClock;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tollkeep_config::ConfigErrors;
use tollkeep_net::tls::Ends;
use tollkeep_policy::expiry::{Nearness, days_left};
use tollkeep_types::{Clock, WallMillis};

/// Certificates of our own listeners.
#[derive(Debug, Subcommand)]
pub(crate) enum Tls {
    /// Check the certificates, keys and revocation lists of the configuration; 8 if a certificate
    /// ends within a day
    Check(Check),
    /// Have a running gateway read them again
    Reload(Reload),
}

/// What to check.
#[derive(Args, Debug)]
pub(crate) struct Check {
    /// Print JSON, also on a terminal
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: Source,
}

/// Which gateway.
#[derive(Args, Debug)]
pub(crate) struct Reload {
    #[command(flatten)]
    connection: Connection,
}

const COLUMNS: &[(&str, &str)] = &[
    ("name", "/name"),
    ("subject", "/subject"),
    ("not after", "/not_after"),
    ("days left", "/days_left"),
];

impl Tls {
    /// Runs the command.
    ///
    /// # Errors
    /// A certificate or key is wrong or nearly over; the gateway can't be reached.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Check(check) => check.run(),
            Self::Reload(reload) => reload.run(),
        }
    }
}

impl Check {
    fn run(self) -> anyhow::Result<()> {
        let settings = self.source.load()?.settings;
        let now = SystemClock::new().wall();
        let checked = Checked::load(&settings, now, &Listeners::default());
        let checked = checked
            .map_err(|faults| Failed::new(exit::INVALID, ConfigErrors(faults).to_string()))?;
        for warning in &checked.warnings {
            eprintln!("warning: {warning}");
        }
        let certificates = checked.certificates();
        let told: Vec<_> = certificates.iter().map(|one| shown(one, now)).collect();
        print(self.json, &told);
        // Revocation lists live for days, and are renewed at the last moment.
        let near = |one: &&InUse| {
            one.ends != Ends::RevocationList && Nearness::of(one.not_after, now) >= Nearness::OneDay
        };
        match certificates.iter().find(near) {
            Some(one) => {
                let (path, until) = (&one.path, one.not_after);
                let problem = format!("{path}: the certificate expires at {until}, within a day");
                Err(Failed::new(exit::EXPIRING, problem).into())
            }
            None => Ok(()),
        }
    }
}

fn shown(one: &InUse, now: WallMillis) -> Value {
    json!({
        "name": one.name,
        "file": one.path,
        "subject": one.subject,
        "not_after": one.not_after,
        "days_left": days_left(one.not_after, now),
    })
}

fn print(json: bool, certificates: &[Value]) {
    if output::wants_json(json) {
        output::json(&json!({ "certificates": certificates }));
    } else {
        output::table(&certificates.iter().collect::<Vec<_>>(), COLUMNS);
    }
}

impl Reload {
    fn run(self) -> anyhow::Result<()> {
        let client = Client::new(&self.connection)?;
        let answer = client.post("/api/v1/tls/reload", &json!({}))?;
        let certificates = answer.get("certificates").and_then(Value::as_array);
        print(
            self.connection.json,
            certificates.map_or(&[], Vec::as_slice),
        );
        Ok(())
    }
}
