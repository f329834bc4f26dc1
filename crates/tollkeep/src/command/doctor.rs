//! `tollkeep doctor`: what is wrong with this deployment, and what mends it.

mod audit;
mod budgets;
mod edge;
mod payments;

use super::client::Client;
use super::config::Source;
use super::output;
use crate::assemble::{Inside, Offender, examine};
use crate::exit::{self, Failed};
use clap::{Args, ValueEnum};
use rustix::process::{Resource, getrlimit};
use serde_json::{Value, json};
use std::path::PathBuf;
use tollkeep_config::settings::{Environment, Level, Settings};

/// Look for what is wrong with this deployment
#[derive(Args, Debug)]
pub(crate) struct Doctor {
    #[command(flatten)]
    source: Source,
    /// Look at this data folder, whatever the settings say
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Print JSON, also on a terminal
    #[arg(long)]
    json: bool,
    /// Give files of ours the modes they should have
    #[arg(long)]
    fix_modes: bool,
    /// Ask the nodes of `payments.x402.rpc` too
    #[arg(long)]
    online: bool,
    /// Only checks of these numbers
    #[arg(long, value_name = "N", value_delimiter = ',')]
    only: Vec<u16>,
    /// Only what is at least as bad as this
    #[arg(long, value_enum, default_value_t = Severity::Info)]
    min_severity: Severity,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, ValueEnum)]
enum Severity {
    Info,
    #[value(alias = "warning")]
    Warn,
    Error,
}

impl Severity {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warn => "warning",
            Self::Error => "error",
        }
    }
}

/// Whether all is well.
enum Status {
    Pass,
    /// What is wrong, and what mends it.
    Fail(String, String),
    /// Why nobody looked.
    Skipped(String),
}

/// What one check found.
struct Found {
    /// Its number, which never changes.
    number: u16,
    severity: Severity,
    title: &'static str,
    why: &'static str,
    status: Status,
}

impl Doctor {
    /// Runs the command.
    ///
    /// # Errors
    /// A check found an error.
    pub(crate) fn run(mut self) -> anyhow::Result<()> {
        if let Some(data_dir) = &self.data_dir {
            self.source.set("data_dir", &data_dir.display().to_string());
        }
        let mut all = self.findings()?;
        all.retain(|found| self.only.is_empty() || self.only.contains(&found.number));
        all.retain(|found| found.severity >= self.min_severity);
        if output::wants_json(self.json) {
            output::json(&document(&all));
        } else {
            print(&all);
        }
        let is_error = |found: &&Found| {
            found.severity == Severity::Error && matches!(found.status, Status::Fail(..))
        };
        match all.iter().filter(is_error).count() {
            0 => Ok(()),
            1 => Err(Failed::new(exit::CHECK_FAILED, "one check found an error").into()),
            count => {
                let problem = format!("{count} checks found errors");
                Err(Failed::new(exit::CHECK_FAILED, problem).into())
            }
        }
    }

    fn findings(&self) -> anyhow::Result<Vec<Found>> {
        let loaded = match self.source.load() {
            Ok(loaded) => loaded,
            Err(error) => {
                let fix = "mend the keys that are named; `tollkeep config example` shows all";
                return Ok(vec![settings_found(Status::Fail(
                    error.to_string(),
                    fix.to_owned(),
                ))]);
            }
        };
        let mut all = vec![settings_found(Status::Pass)];
        let settings = &loaded.settings;
        all.extend(loaded.warnings.iter().map(|warning| warned(warning)));
        all.push(kek(settings));
        all.push(root(settings));
        all.extend(modes(settings, self.fix_modes));
        all.push(debug_log(settings));
        all.extend(audit::audit(settings));
        all.push(disk(settings));
        all.push(open_files());
        all.extend(edge::edge(settings));
        all.push(budgets::budgets(settings));
        all.push(budgets::outage(settings));
        all.extend(payments::payments(settings, self.online));
        all.extend(inside(loaded.settings)?);
        all.sort_by_key(|found| (found.number, std::cmp::Reverse(found.severity)));
        Ok(all)
    }
}

fn settings_found(status: Status) -> Found {
    Found {
        number: 20,
        severity: Severity::Error,
        title: "the configuration is valid",
        why: "a gateway does not start with settings that it does not understand",
        status,
    }
}

/// What loading the settings warns of.
fn warned(warning: &str) -> Found {
    let (number, severity, title) = if warning.contains("is a secret written out") {
        (6, Severity::Warn, "no secret stands in the configuration")
    } else if warning.ends_with(" is on") {
        (82, Severity::Warn, "no setting is less safe by wish")
    } else if warning.contains(" is read as ") {
        (20, Severity::Info, "settings have names of ours")
    } else {
        (20, Severity::Warn, "the configuration is without doubt")
    };
    Found {
        number,
        severity,
        title,
        why: "production refuses some of it, and all of it is worth a look",
        status: Status::Fail(
            warning.to_owned(),
            "look at the key that is named".to_owned(),
        ),
    }
}

/// What stops a start in production is an error there, and a warning in development.
fn in_production(settings: &Settings) -> Severity {
    match settings.environment {
        Environment::Production => Severity::Error,
        Environment::Development => Severity::Warn,
    }
}

fn kek(settings: &Settings) -> Found {
    let is_external = settings.auth.encryption_key.is_some() || settings.vault.has_active();
    let fix = "set TOLLKEEP_ENCRYPTION_KEY (`openssl rand -base64 32`) or `vault.keks`";
    Found {
        number: 19,
        severity: in_production(settings),
        title: "the key that seals secrets comes from outside",
        why: "who copies the data folder with the key in it has all secrets",
        status: if is_external {
            Status::Pass
        } else {
            let found = "the key is a file beside the database";
            Status::Fail(found.to_owned(), fix.to_owned())
        },
    }
}

fn root(settings: &Settings) -> Found {
    let is_root = rustix::process::geteuid().is_root();
    Found {
        number: 28,
        severity: in_production(settings),
        title: "the gateway does not run as root",
        why: "a fault in it would be a fault in all of the machine",
        status: if is_root {
            let fix = "give it a user of its own: `User=` of the unit, `--user` of the container";
            Status::Fail("this is root".to_owned(), fix.to_owned())
        } else {
            Status::Pass
        },
    }
}

fn modes(settings: &Settings, mend: bool) -> Vec<Found> {
    let found = |status| Found {
        number: 29,
        severity: Severity::Error,
        title: "files of ours are ours alone",
        why: "keys, secrets and records are in them",
        status,
    };
    let mut offenders = Offender::all(settings);
    if mend {
        for offender in &offenders {
            if let Err(error) = offender.mend() {
                eprintln!("cannot mend {}: {error}", offender.path().display());
            }
        }
        offenders = Offender::all(settings);
    }
    if offenders.is_empty() {
        return vec![found(Status::Pass)];
    }
    let each = offenders.iter().map(|offender| {
        let problem = format!("{} {}", offender.path().display(), offender.problem());
        found(Status::Fail(problem, offender.fix()))
    });
    each.collect()
}

fn debug_log(settings: &Settings) -> Found {
    let is_loud = matches!(settings.logging.level, Level::Debug | Level::Trace);
    let is_production = settings.environment == Environment::Production;
    Found {
        number: 40,
        severity: Severity::Warn,
        title: "production does not log for debugging",
        why: "such logs are large and tell more than others should know",
        status: if is_loud && is_production {
            let found = "`logging.level` is debug or trace".to_owned();
            Status::Fail(found, "logging: { level: info }".to_owned())
        } else {
            Status::Pass
        },
    }
}

fn disk(settings: &Settings) -> Found {
    const LEAST: u64 = 20 * 1024 * 1024;
    let mut there = settings.data_dir.as_path();
    while !there.exists() {
        match there.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => there = parent,
            Some(_) | None => there = std::path::Path::new("."),
        }
    }
    let found = |severity, status| Found {
        number: 63,
        severity,
        title: "the disk has room",
        why: "what can't be recorded is refused",
        status,
    };
    let about = match rustix::fs::statvfs(there) {
        Ok(about) => about,
        Err(error) => return found(Severity::Warn, Status::Skipped(error.to_string())),
    };
    let free = about.f_bavail.saturating_mul(about.f_frsize);
    let percent = about.f_bavail.saturating_mul(100) / about.f_blocks.max(1);
    let told = || {
        let mib = free / 1024 / 1024;
        let problem = format!("{mib} MiB ({percent} %) are free at {}", there.display());
        Status::Fail(problem, "make room, or move `data_dir`".to_owned())
    };
    if free < LEAST {
        found(Severity::Error, told())
    } else if percent < 5 {
        found(Severity::Warn, told())
    } else {
        found(Severity::Error, Status::Pass)
    }
}

fn open_files() -> Found {
    const WANTED: u64 = 65_536;
    let most = getrlimit(Resource::Nofile).maximum;
    let status = match most {
        Some(most) if most < WANTED => Status::Fail(
            format!("this user may have {most} files open"),
            format!("LimitNOFILE={WANTED} in the unit, or `ulimit -n {WANTED}`"),
        ),
        Some(_) | None => Status::Pass,
    };
    Found {
        number: 80,
        severity: Severity::Warn,
        title: "enough files may be open",
        why: "every connection is one",
        status,
    }
}

/// The store and the vault: of the gateway that runs, or by opening them.
fn inside(settings: Settings) -> anyhow::Result<Vec<Found>> {
    let store = |status| Found {
        number: 78,
        severity: Severity::Error,
        title: "the store can be used",
        why: "a gateway without its store refuses everything",
        status,
    };
    let vault = |status| Found {
        number: 26,
        severity: Severity::Error,
        title: "every sealed record opens",
        why: "what does not open is a secret that is lost until its key is back",
        status,
    };
    let running = Client::local(&settings.data_dir)?.get("/api/v1/vault");
    if let Ok(told) = running {
        let count = told.get("unreadable").and_then(Value::as_u64).unwrap_or(0);
        return Ok(vec![store(Status::Pass), vault(unreadable(count))]);
    }
    let may_be_running = !settings.management.local_socket;
    Ok(match examine(settings)? {
        Inside::Nothing => {
            let why = || Status::Skipped("nothing is stored yet".to_owned());
            vec![store(why()), vault(why())]
        }
        Inside::Shut(error) if may_be_running => {
            let why = format!("{error:#}; `management.local_socket` is off, so nobody was asked");
            vec![
                store(Status::Skipped(why.clone())),
                vault(Status::Skipped(why)),
            ]
        }
        Inside::Shut(error) => {
            let fix = "see docs/guide/postgresql.md, or restore the file from a backup".to_owned();
            let why = "the store is not open".to_owned();
            vec![
                store(Status::Fail(format!("{error:#}"), fix)),
                vault(Status::Skipped(why)),
            ]
        }
        Inside::Sealed(error) => {
            let fix = "give the gateway the key that sealed the store".to_owned();
            vec![
                store(Status::Pass),
                vault(Status::Fail(format!("{error:#}"), fix)),
            ]
        }
        Inside::Open(survey) => {
            let count = survey.unreadable_count;
            vec![store(Status::Pass), vault(unreadable(count))]
        }
    })
}

fn unreadable(count: u64) -> Status {
    if count == 0 {
        return Status::Pass;
    }
    let fix = "`tollkeep vault status` names them: add those secrets again, or restore a backup";
    Status::Fail(format!("{count} records don't open"), fix.to_owned())
}

fn document(all: &[Found]) -> Value {
    let count = |wanted: Severity| {
        let fails =
            |found: &&Found| found.severity == wanted && matches!(found.status, Status::Fail(..));
        all.iter().filter(fails).count()
    };
    let checks: Vec<Value> = all.iter().map(shown).collect();
    json!({
        "checks": checks,
        "summary": {
            "errors": count(Severity::Error),
            "warnings": count(Severity::Warn),
            "infos": count(Severity::Info),
        },
    })
}

fn shown(found: &Found) -> Value {
    let (status, told, fix) = match &found.status {
        Status::Pass => ("pass", None, None),
        Status::Fail(told, fix) => ("fail", Some(told), Some(fix)),
        Status::Skipped(why) => ("skipped", Some(why), None),
    };
    json!({
        "number": found.number,
        "severity": found.severity.as_str(),
        "status": status,
        "title": found.title,
        "found": told,
        "why": found.why,
        "fix": fix,
    })
}

fn print(all: &[Found]) {
    for found in all {
        let (number, title) = (found.number, found.title);
        match &found.status {
            Status::Pass => println!("ok       {number:>3}  {title}"),
            Status::Skipped(why) => println!("skipped  {number:>3}  {title}: {why}"),
            Status::Fail(told, fix) => {
                let severity = found.severity.as_str();
                println!("{severity:<8} {number:>3}  not so: {title}");
                println!("              {}", told.replace('\n', "\n              "));
                println!("              why: {}", found.why);
                println!("              fix: {fix}");
            }
        }
    }
}
