//! `tollkeep completion SHELL`, and what the shell is told while somebody types.

use super::client::Client;
use super::connection::{Connection, Patience};
use crate::exit::Failed;
use clap::{Args, ValueEnum};
use clap_complete::CompleteEnv;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::Shells;
use serde_json::Value;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

/// The variable by which a shell asks.
const ASKED: &str = "_TOLLKEEP_COMPLETE";
/// How long the gateway may take to name what there is: somebody waits for it.
const PATIENCE: Duration = Duration::from_millis(500);

/// Print what makes a shell complete commands, as `source <(tollkeep completion bash)`
#[derive(Args, Debug)]
pub(crate) struct Completion {
    /// The shell
    shell: Shell,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
    Powershell,
    Elvish,
}

impl Shell {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Zsh => "zsh",
            Self::Fish => "fish",
            Self::Powershell => "powershell",
            Self::Elvish => "elvish",
        }
    }
}

impl Completion {
    /// Runs the command.
    ///
    /// # Errors
    /// Standard output can't be written.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let shells = Shells::builtins();
        let Some(shell) = shells.completer(self.shell.as_str()) else {
            return Err(Failed::new(2, "not supported: this shell").into());
        };
        let mut script = Vec::new();
        shell.write_registration(ASKED, "tollkeep", "tollkeep", "tollkeep", &mut script)?;
        print!("{}", String::from_utf8_lossy(&script));
        Ok(())
    }
}

/// Answers the shell and ends the process, if that is what it was started for.
pub(crate) fn answer(command: fn() -> clap::Command) {
    let completing = move || with_ids(command());
    CompleteEnv::with_factory(completing)
        .var(ASKED)
        .bin("tollkeep")
        .complete();
}

/// What can be named: the word for it in commands, its list, and the member that names it.
const NAMED: &[(&str, &str, &str)] = &[
    ("token", "/api/v1/tokens?limit=200", "id"),
    ("project", "/api/v1/projects?limit=200", "slug"),
    ("tenant", "/api/v1/tenants?limit=200", "slug"),
    ("operator", "/api/v1/operators?limit=200", "id"),
    ("key", "/api/v1/keys?limit=200", "id"),
    ("service-token", "/api/v1/service-tokens?limit=200", "id"),
    ("breaker", "/api/v1/breakers", "id"),
    ("lockout", "/api/v1/lockouts", "address"),
    ("job", "/api/v1/jobs", "id"),
];

/// The command with completion of what is there: where something is named by its id, and where a
/// project or tenant is named.
fn with_ids(command: clap::Command) -> clap::Command {
    command.mut_subcommands(|noun| {
        let name = noun.get_name().to_owned();
        noun.mut_subcommands(|verb| {
            verb.mut_args(|arg| {
                let id = arg.get_id().as_str();
                let what = match id {
                    "id" | "address" if arg.is_positional() => name.as_str(),
                    "project" | "tenant" => id,
                    _ => return arg,
                };
                match NAMED.iter().find(|(noun, ..)| *noun == what) {
                    Some(named) => {
                        let (_, path, member) = *named;
                        let there = move |typed: &OsStr| there(path, member, typed);
                        arg.add(ArgValueCompleter::new(there))
                    }
                    None => arg,
                }
            })
        })
    })
}

/// What begins as typed. Whatever goes wrong, a shell is told of nothing.
fn there(path: &str, member: &str, typed: &OsStr) -> Vec<CompletionCandidate> {
    let typed = typed.to_str().unwrap_or_default();
    let listed = || -> anyhow::Result<Value> { Client::new(&asked_where())?.get(path) };
    let Ok(page) = listed() else {
        return Vec::new();
    };
    let entries = page.get("data").and_then(Value::as_array);
    let text = |entry: &Value, name: &str| entry.get(name)?.as_str().map(str::to_owned);
    let named = entries.into_iter().flatten().filter_map(|entry| {
        let id = text(entry, member).filter(|id| id.starts_with(typed))?;
        let name = text(entry, "name").filter(|name| !name.is_empty());
        // Nothing a stranger named something may move the cursor.
        let name = name.map(|name| name.replace(char::is_control, " ").into());
        Some(CompletionCandidate::new(id).help(name))
    });
    named.collect()
}

/// The flags about the gateway on the line that is being typed.
fn asked_where() -> Connection {
    let words = tollkeep_config::arguments();
    let value = |flag: &str| {
        let joined = format!("{flag}=");
        let mut at = words.iter().enumerate();
        at.find_map(|(index, word)| match word.strip_prefix(&joined) {
            Some(value) => Some(value.to_owned()),
            None if word == flag => words.get(index + 1).cloned(),
            None => None,
        })
    };
    let file = |flag: &str| value(flag).map(PathBuf::from);
    Connection {
        data_dir: file("--data-dir"),
        socket: file("--socket"),
        url: value("--url"),
        profile: value("--profile"),
        ca_file: file("--ca-file"),
        client_cert_file: file("--client-cert-file"),
        client_key_file: file("--client-key-file"),
        key_file: file("--key-file"),
        timeout: Patience(PATIENCE),
        ..Connection::default()
    }
}
