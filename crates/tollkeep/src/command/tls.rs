//! `tollkeep tls …`

use super::client::Client;
use super::config::Source;
use super::{Connection, output};
use crate::assemble::{Checked, InUse, Listeners, Wanted};
use crate::exit::{self, Failed};
use crate::system::SystemClock;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tollkeep_config::ConfigErrors;
use tollkeep_net::tls::Ends;
use tollkeep_policy::acme::Due;
use tollkeep_policy::expiry::{Nearness, days_left};
use tollkeep_types::{Clock, WallMillis};

/// Certificates of our own listeners.
#[derive(Debug, Subcommand)]
pub(crate) enum Tls {
    /// Check the certificates, keys and revocation lists of the configuration; 8 if a certificate
    /// ends within a day, or is to be ordered and not there yet
    Check(Check),
    /// Have a running gateway read them again, and order at once what could not be ordered
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

const ORDERED: &[(&str, &str)] = &[
    ("ordered for", "/name"),
    ("domains", "/domains"),
    ("not after", "/not_after"),
    ("next order", "/next_order"),
    ("failures", "/failures"),
    ("problem", "/problem"),
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
        let ordered: Vec<_> = Wanted::all(&settings)
            .iter()
            .map(|wanted| stands(wanted, now))
            .collect();
        print(self.json, &told, Some(&ordered));
        // Revocation lists live for days, and are renewed at the last moment.
        let near = |one: &&InUse| {
            one.ends != Ends::RevocationList && Nearness::of(one.not_after, now) >= Nearness::OneDay
        };
        let missing = ordered
            .iter()
            .find(|one| one.get("not_after").is_some_and(Value::is_null));
        if let Some(one) = missing.and_then(|one| one.get("name")?.as_str()) {
            let problem = format!("{one}: there is no certificate for all of its names yet");
            return Err(Failed::new(exit::EXPIRING, problem).into());
        }
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

/// How a certificate that is ordered stands.
fn stands(wanted: &Wanted, now: WallMillis) -> Value {
    let standing = wanted.standing(now);
    let next = match standing.due {
        Due::Now => "now".to_owned(),
        Due::At(at) => at.to_string(),
    };
    json!({
        "name": wanted.name(),
        "domains": wanted.acme.domains.join(", "),
        "file": wanted.cache.certificate(),
        "not_after": standing.kept.map(|kept| kept.life.not_after),
        "next_order": next,
        "failures": standing.state.failures,
        "problem": standing.state.problem,
    })
}

/// `ordered` are those that are ordered, where that is known.
fn print(json: bool, certificates: &[Value], ordered: Option<&[Value]>) {
    if output::wants_json(json) {
        let mut told = json!({ "certificates": certificates });
        if let (Some(ordered), Some(told)) = (ordered, told.as_object_mut()) {
            told.insert("ordered".to_owned(), json!(ordered));
        }
        output::json(&told);
        return;
    }
    output::table(&certificates.iter().collect::<Vec<_>>(), COLUMNS);
    let ordered: Vec<_> = ordered.unwrap_or_default().iter().collect();
    if !ordered.is_empty() {
        output::table(&ordered, ORDERED);
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
            None,
        );
        Ok(())
    }
}
