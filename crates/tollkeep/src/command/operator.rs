//! `tollkeep operator …`

use super::client::Client;
use super::connection::Connection;
use super::key::Role;
use super::noun::{All, Noun, One, Sure};
use super::{output, secret_input, session};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use std::path::PathBuf;

/// People who operate, each with a name and password of their own.
#[derive(Debug, Subcommand)]
pub(crate) enum Operator {
    /// Let somebody operate; their password is asked for
    Create(Create),
    /// List operators, newest first
    List(All),
    /// Show one operator
    Get(One),
    /// Change an operator; another role ends their sessions
    Update(Update),
    /// Set an operator's password, which is asked for
    Password(Password),
    /// Let an operator sign in no more, and end their sessions
    Disable(Sure),
    /// Let a disabled operator sign in again
    Enable(One),
    /// Forget an operator, and end their sessions
    Delete(Sure),
    /// One-time codes of a device: begin, confirm with --code, or --off
    Totp(Totp),
    /// List where an operator is signed in, or sign them out everywhere
    Sessions(Sessions),
}

/// An operator to make.
#[derive(Args, Debug)]
pub(crate) struct Create {
    /// The name they sign in with
    name: String,
    /// What they may do
    #[arg(long, value_enum)]
    role: Role,
    /// The one tenant they are bound to, by id or slug
    #[arg(long)]
    tenant: Option<String>,
    /// Their address
    #[arg(long)]
    email: Option<String>,
    /// A file whose first line is their password, instead of standard input
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Ask for no password: they can't sign in until they have one
    #[arg(long, conflicts_with = "password_file")]
    no_password: bool,
    #[command(flatten)]
    connection: Connection,
}

/// An operator to change; what is not given stays.
#[derive(Args, Debug)]
pub(crate) struct Update {
    /// Their id, `opr_…`
    id: String,
    /// The name they sign in with
    #[arg(long)]
    name: Option<String>,
    /// What they may do
    #[arg(long, value_enum)]
    role: Option<Role>,
    /// Their address; empty for none
    #[arg(long)]
    email: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

/// A password to set.
#[derive(Args, Debug)]
pub(crate) struct Password {
    /// Their id, `opr_…`
    id: String,
    /// A file whose first line is the password, instead of standard input
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// A file whose first line is the password before, to change one's own
    #[arg(long, value_name = "FILE")]
    current_file: Option<PathBuf>,
    #[command(flatten)]
    connection: Connection,
}

/// One-time codes.
#[derive(Args, Debug)]
pub(crate) struct Totp {
    /// Their id, `opr_…`
    id: String,
    /// A code of the device: codes are asked for from now on
    #[arg(long)]
    code: Option<String>,
    /// Ask for codes no more
    #[arg(long, conflicts_with = "code")]
    off: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Their sessions.
#[derive(Args, Debug)]
pub(crate) struct Sessions {
    /// Their id, `opr_…`
    id: String,
    /// Sign them out everywhere
    #[arg(long)]
    end: bool,
    #[command(flatten)]
    connection: Connection,
}

const NOUN: Noun = Noun {
    path: "/api/v1/operators",
    columns: &[
        ("ID", "/id"),
        ("NAME", "/name"),
        ("ROLE", "/role"),
        ("TENANT", "/tenant_id"),
        ("STATUS", "/status"),
        ("MFA", "/mfa"),
        ("LAST LOGIN", "/last_login_at"),
    ],
    members: &[
        ("id", "/id"),
        ("name", "/name"),
        ("email", "/email"),
        ("role", "/role"),
        ("tenant", "/tenant_id"),
        ("status", "/status"),
        ("source", "/source"),
        ("mfa", "/mfa"),
        ("locked until", "/locked_until"),
        ("disabled", "/disabled_at"),
        ("created", "/created_at"),
        ("by", "/created_by"),
        ("last login", "/last_login_at"),
    ],
};

impl Operator {
    /// Runs the command.
    ///
    /// # Errors
    /// The gateway refuses or can't be reached.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Create(create) => create.run(),
            Self::List(all) => NOUN.list(&all),
            Self::Get(one) => NOUN.get(&one),
            Self::Update(update) => update.run(),
            Self::Password(password) => password.run(),
            Self::Disable(sure) => {
                let one = sure.ask(|id| format!("Let {id} sign in no more?"))?;
                NOUN.act(&one, "/disable")
            }
            Self::Enable(one) => NOUN.act(&one, "/enable"),
            Self::Delete(sure) => NOUN.delete(&sure.ask(|id| format!("Forget {id} for good?"))?),
            Self::Totp(totp) => totp.run(),
            Self::Sessions(sessions) => sessions.run(),
        }
    }
}

impl Create {
    fn run(self) -> anyhow::Result<()> {
        let mut body = Map::new();
        body.insert("name".to_owned(), self.name.into());
        body.insert("role".to_owned(), self.role.word());
        for (name, value) in [("tenant_id", self.tenant), ("email", self.email)] {
            body.extend(value.map(|value| (name.to_owned(), value.into())));
        }
        if !self.no_password {
            let password = secret_input::read("Password", self.password_file.as_deref())?;
            body.insert("password".to_owned(), password.expose().into());
        }
        NOUN.create(body, &self.connection)
    }
}

impl Update {
    fn run(self) -> anyhow::Result<()> {
        let mut body = Map::new();
        body.extend(self.name.map(|name| ("name".to_owned(), name.into())));
        body.extend(self.role.map(|role| ("role".to_owned(), role.word())));
        body.extend(self.email.map(|email| ("email".to_owned(), email.into())));
        NOUN.update(&self.id, body, &self.connection)
    }
}

impl Password {
    fn run(self) -> anyhow::Result<()> {
        let mut body = Map::new();
        let password = secret_input::read("New password", self.password_file.as_deref())?;
        body.insert("password".to_owned(), password.expose().into());
        if let Some(file) = &self.current_file {
            let current = secret_input::read("Password before", Some(file))?;
            body.insert("current".to_owned(), current.expose().into());
        }
        let path = NOUN.place(&self.id, "/password");
        let operator = Client::new(&self.connection)?.post(&path, &Value::Object(body))?;
        NOUN.show(&operator, &self.connection);
        Ok(())
    }
}

impl Sessions {
    fn run(self) -> anyhow::Result<()> {
        let client = Client::new(&self.connection)?;
        let path = NOUN.place(&self.id, "/sessions");
        if self.end {
            client.delete(&path)?;
            return Ok(());
        }
        output::list(
            &client.all(&path, "")?,
            self.connection.json,
            session::COLUMNS,
        );
        Ok(())
    }
}

impl Totp {
    fn run(self) -> anyhow::Result<()> {
        let client = Client::new(&self.connection)?;
        let path = NOUN.place(&self.id, "/totp");
        if self.off {
            let operator = client.delete(&path)?;
            NOUN.show(&operator, &self.connection);
            return Ok(());
        }
        let told = match &self.code {
            None => client.post(&path, &json!({}))?,
            Some(code) => client.post(&format!("{path}/confirm"), &json!({ "code": code }))?,
        };
        let members = [
            ("secret", "/secret"),
            ("link", "/link"),
            ("recovery codes", "/recovery_codes"),
        ];
        output::one(&told, self.connection.json, &members);
        Ok(())
    }
}
