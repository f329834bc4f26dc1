//! `tollkeep console-session …`

mod browser;

use super::client::Client;
use super::connection::Connection;
use super::token::path_segment;
use super::{output, secret_input};
use crate::exit::Failed;
use anyhow::Context;
use clap::{Args, Subcommand};
use http::HeaderValue;
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use tollkeep_types::Secret;

/// A login.
#[derive(Args, Debug)]
pub(crate) struct Login {
    /// Sign in as this operator, with the password that is asked for; without it by the management
    /// key
    #[arg(long, value_name = "NAME")]
    operator: Option<String>,
    /// Sign in at the identity provider, with a browser of this machine
    #[arg(long, conflicts_with_all = ["operator", "password", "password_file", "code"])]
    browser: bool,
    #[command(flatten)]
    proof: Proof,
}

/// What shows who it is.
#[derive(Args, Debug)]
pub(crate) struct Proof {
    /// A file whose first line is the password, instead of standard input
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Ask for a password, not for the key
    #[arg(long)]
    password: bool,
    /// A one-time code of the operator's device, or a recovery code
    #[arg(long)]
    code: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

/// The own one, which ends.
#[derive(Args, Debug)]
pub(crate) struct Leave {
    #[command(flatten)]
    connection: Connection,
}

/// Sessions of operators who are signed in.
#[derive(Debug, Subcommand)]
pub(crate) enum ConsoleSession {
    /// Sign in at a management address, and keep the session in a file for --session-file
    Begin(Login),
    /// Prove again who is signed in, for what needs a fresh proof
    Prove(Proof),
    /// Sign out, and delete the file
    Leave(Leave),
    /// Show the session of --session-file
    Get(Get),
    /// List who is signed in, newest first
    List(List),
    /// Sign somebody out
    End(End),
}

/// The own one.
#[derive(Args, Debug)]
pub(crate) struct Get {
    #[command(flatten)]
    connection: Connection,
}

/// All of them.
#[derive(Args, Debug)]
pub(crate) struct List {
    #[command(flatten)]
    connection: Connection,
}

/// One of them.
#[derive(Args, Debug)]
pub(crate) struct End {
    /// Its id, `csn_…`
    id: String,
    #[command(flatten)]
    connection: Connection,
}

pub(super) const COLUMNS: &[(&str, &str)] = &[
    ("ID", "/id"),
    ("HOLDER", "/holder"),
    ("ROLE", "/role"),
    ("SINCE", "/created_at"),
    ("LAST SEEN", "/last_seen_at"),
    ("FROM", "/ip"),
    ("WITH", "/user_agent"),
];

const MEMBERS: &[(&str, &str)] = &[
    ("id", "/id"),
    ("holder", "/holder"),
    ("role", "/role"),
    ("tenant", "/tenant_id"),
    ("since", "/created_at"),
    ("proved", "/proved_at"),
    ("expires", "/expires_at"),
];

const PATH: &str = "/api/v1/session";

/// A session as its file keeps it.
pub(crate) struct Kept {
    /// The cookie, with its name.
    pub(crate) cookie: Secret,
    /// What changes carry.
    pub(crate) csrf: Secret,
}

impl Kept {
    /// Reads a file that `login` wrote.
    ///
    /// # Errors
    /// It is not there, or no such file.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let kept: Value = serde_json::from_slice(&text).unwrap_or_default();
        let part = |name: &str| kept.get(name).and_then(Value::as_str).map(Secret::new);
        let no_session = || {
            format!(
                "{} holds no session: `tollkeep console-session begin`",
                path.display()
            )
        };
        Ok(Self {
            cookie: part("cookie").with_context(no_session)?,
            csrf: part("csrf").with_context(no_session)?,
        })
    }

    /// Writes it for this user alone.
    fn write(&self, path: &Path) -> anyhow::Result<()> {
        let kept = json!({ "cookie": self.cookie.expose(), "csrf": self.csrf.expose() });
        let write = || -> std::io::Result<()> {
            // What may be there already has modes of its own.
            if path.exists() {
                fs::remove_file(path)?;
            }
            let mut options = fs::OpenOptions::new();
            options.write(true).create_new(true).mode(0o600);
            let mut file = options.open(path)?;
            file.write_all(kept.to_string().as_bytes())
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }
}

fn file(connection: &Connection) -> anyhow::Result<&Path> {
    let file = connection.session_file.as_deref();
    file.ok_or_else(|| Failed::new(2, "say --session-file: where the session is kept").into())
}

impl Login {
    fn run(self) -> anyhow::Result<()> {
        let connection = &self.proof.connection;
        let path = file(connection)?;
        let client = Client::unsigned(connection)?;
        let body = if self.browser {
            let waiting = browser::Waiting::begin()?;
            let place = connection.url.as_deref().unwrap_or_default();
            let link = format!("{}{}", place.trim_end_matches('/'), waiting.link());
            eprintln!(
                "Open this with a browser of this machine, within ten minutes:\n\n  {link}\n"
            );
            waiting.end()?
        } else {
            let mut body = self.proof.body(self.operator.is_some())?;
            if let (Some(operator), Some(members)) = (&self.operator, body.as_object_mut()) {
                members.insert("operator".to_owned(), operator.as_str().into());
            }
            body
        };
        let (session, cookie) = client.sign_in(PATH, &body)?;
        let csrf = session.get("csrf").and_then(Value::as_str);
        let kept = Kept {
            cookie: cookie.context("the answer sets no cookie")?,
            csrf: Secret::new(csrf.unwrap_or_default()),
        };
        kept.write(path)?;
        output::one(&told(session), connection.json, MEMBERS);
        Ok(())
    }
}

impl Proof {
    fn run(self) -> anyhow::Result<()> {
        file(&self.connection)?;
        let body = self.body(self.password)?;
        let client = Client::new(&self.connection)?;
        let session = client.post(&format!("{PATH}/proof"), &body)?;
        output::one(&told(session), self.connection.json, MEMBERS);
        Ok(())
    }

    /// The key, or the password if that is wanted.
    fn body(&self, by_password: bool) -> anyhow::Result<Value> {
        if !by_password && self.password_file.is_none() {
            let key = self.connection.own_key()?;
            return Ok(json!({ "key": key.expose() }));
        }
        let password = secret_input::read("Password", self.password_file.as_deref())?;
        let mut body = json!({ "password": password.expose() });
        if let (Some(code), Some(members)) = (&self.code, body.as_object_mut()) {
            members.insert("code".to_owned(), code.as_str().into());
        }
        Ok(body)
    }
}

/// A session without what is kept in the file alone.
fn told(mut session: Value) -> Value {
    if let Some(members) = session.as_object_mut() {
        members.remove("csrf");
    }
    session
}

impl Leave {
    fn run(self) -> anyhow::Result<()> {
        let path = file(&self.connection)?;
        Client::new(&self.connection)?.delete(PATH)?;
        fs::remove_file(path).with_context(|| format!("cannot delete {}", path.display()))
    }
}

impl ConsoleSession {
    /// Runs the command.
    ///
    /// # Errors
    /// The gateway refuses or can't be reached.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        const ALL: &str = "/api/v1/console-sessions";
        match self {
            Self::Begin(login) => login.run()?,
            Self::Prove(proof) => proof.run()?,
            Self::Leave(leave) => leave.run()?,
            Self::Get(get) => {
                file(&get.connection)?;
                let session = Client::new(&get.connection)?.get(PATH)?;
                output::one(&told(session), get.connection.json, MEMBERS);
            }
            Self::List(list) => {
                let rows = Client::new(&list.connection)?.all(ALL, "")?;
                output::list(&rows, list.connection.json, COLUMNS);
            }
            Self::End(end) => {
                let path = format!("{ALL}/{}", path_segment(&end.id));
                Client::new(&end.connection)?.delete(&path)?;
            }
        }
        Ok(())
    }
}

/// The cookie of an answer, with its name.
pub(super) fn cookie_of(lines: &http::HeaderMap) -> Option<Secret> {
    let mut lines = lines.get_all(http::header::SET_COOKIE).iter();
    let line = lines.find_map(|line: &HeaderValue| {
        let (cookie, _) = line.to_str().ok()?.split_once(';')?;
        cookie.contains("tollkeep_session=csn-").then_some(cookie)
    })?;
    Some(Secret::new(line))
}
