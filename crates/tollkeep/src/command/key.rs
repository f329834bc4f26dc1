//! `tollkeep key …`

use super::Connection;
use super::client::Client;
use super::noun::{All, Noun, One, Sure};
use super::token::show_secret_of;
use crate::exit::{self, Failed};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value};
use tollkeep_crypto::{SystemEntropy, mint};
use tollkeep_types::Entropy;

/// Management keys: what operators hold.
#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Make a management key; its text is shown once
    Create(Create),
    /// List management keys, newest first
    List(All),
    /// Show one management key
    Get(One),
    /// Change a management key, from its next use on
    Update(Update),
    /// Give a management key another text; the old one works for a while
    Rotate(Rotate),
    /// End a management key for good
    Revoke(Sure),
    /// Print a new key; nothing is stored and no gateway is asked
    Generate(Generate),
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Role {
    Owner,
    Admin,
    Operator,
    Viewer,
    TenantAdmin,
}

/// What a key may do, and from where.
#[derive(Args, Debug)]
pub(super) struct Settings {
    /// Narrow it to an operation, as `token:create`, `token:*` or `*:list`; may be given again
    #[arg(long = "scope", value_name = "NOUN:VERB")]
    scopes: Vec<String>,
    /// Bind it to an address or network; may be given again
    #[arg(long = "ip", value_name = "CIDR")]
    ips: Vec<String>,
    /// How long it works, as 24h, 30d; 365d at most
    #[arg(long)]
    ttl: Option<String>,
}

/// A key to make.
#[derive(Args, Debug)]
pub(crate) struct Create {
    /// Its name in lists
    name: String,
    /// What it may do
    #[arg(long, value_enum)]
    role: Role,
    /// The one tenant it is bound to, by id or slug
    #[arg(long)]
    tenant: Option<String>,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    connection: Connection,
}

/// A key to change; what is not given stays.
#[derive(Args, Debug)]
pub(crate) struct Update {
    /// Its id, `mky_…`
    id: String,
    /// Its name in lists
    #[arg(long)]
    name: Option<String>,
    /// What it may do
    #[arg(long, value_enum)]
    role: Option<Role>,
    /// Take its scopes away: it may do all that its role allows
    #[arg(long, conflicts_with = "scopes")]
    no_scopes: bool,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    connection: Connection,
}

/// A key to rotate.
#[derive(Args, Debug)]
pub(crate) struct Rotate {
    /// Its id, `mky_…`
    id: String,
    /// How long the old text goes on working, as 0s, 1h, 30d
    #[arg(long, default_value = "1h")]
    overlap: String,
    /// How long it works from now on; 90d if not given
    #[arg(long)]
    ttl: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Kind {
    /// A text of the form of access tokens
    Access,
    /// A text of the form of management keys, for TOLLKEEP_MANAGEMENT_KEY
    Management,
    /// An encryption key, for TOLLKEEP_ENCRYPTION_KEY
    Encryption,
}

/// A key to print.
#[derive(Args, Debug)]
pub(crate) struct Generate {
    /// What it is for
    #[arg(long, value_enum, default_value = "management")]
    kind: Kind,
    /// How many characters it has in all; 256 random bits if not given
    #[arg(long)]
    length: Option<usize>,
    /// What it starts with: a letter, up to 13 letters or digits, then `-` or `_`
    #[arg(long)]
    prefix: Option<String>,
}

pub(super) const NOUN: Noun = Noun {
    path: "/api/v1/keys",
    columns: &[
        ("ID", "/id"),
        ("NAME", "/name"),
        ("ROLE", "/role"),
        ("TENANT", "/tenant_id"),
        ("KEY", "/hint"),
        ("STATUS", "/status"),
        ("EXPIRES", "/expires_at"),
        ("LAST USED", "/last_used_at"),
    ],
    members: &[
        ("id", "/id"),
        ("name", "/name"),
        ("role", "/role"),
        ("tenant", "/tenant_id"),
        ("own of", "/operator_id"),
        ("scopes", "/scopes"),
        ("addresses", "/allowed_ips"),
        ("status", "/status"),
        ("created", "/created_at"),
        ("by", "/created_by"),
        ("expires", "/expires_at"),
        ("old text until", "/previous_works_until"),
        ("revoked", "/revoked_at"),
        ("last used", "/last_used_at"),
        ("from", "/last_used_ip"),
    ],
};

impl Key {
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
            Self::Rotate(rotate) => {
                let mut body = Map::new();
                body.insert("overlap".to_owned(), rotate.overlap.into());
                body.extend(rotate.ttl.map(|ttl| ("ttl".to_owned(), ttl.into())));
                let path = NOUN.place(&rotate.id, "/rotate");
                let made = Client::new(&rotate.connection)?.post(&path, &Value::Object(body))?;
                show_secret_of(&made, rotate.connection.json, NOUN.members);
                Ok(())
            }
            Self::Revoke(sure) => {
                let one = sure.ask(|id| format!("Revoke {id} for good?"))?;
                NOUN.act(&one, "/revoke")
            }
            Self::Generate(generate) => generate.run(),
        }
    }
}

impl Role {
    pub(super) fn word(self) -> Value {
        let word = match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::Viewer => "viewer",
            Self::TenantAdmin => "tenant-admin",
        };
        word.into()
    }
}

impl Settings {
    pub(super) fn add_to(self, body: &mut Map<String, Value>) {
        for (name, list) in [("scopes", self.scopes), ("allowed_ips", self.ips)] {
            if !list.is_empty() {
                body.insert(name.to_owned(), list.into());
            }
        }
        body.extend(self.ttl.map(|ttl| ("ttl".to_owned(), ttl.into())));
    }
}

impl Create {
    fn run(self) -> anyhow::Result<()> {
        let mut body = Map::new();
        body.insert("name".to_owned(), self.name.into());
        body.insert("role".to_owned(), self.role.word());
        body.extend(
            self.tenant
                .map(|tenant| ("tenant_id".to_owned(), tenant.into())),
        );
        self.settings.add_to(&mut body);
        let made = Client::new(&self.connection)?.post(NOUN.path, &Value::Object(body))?;
        show_secret_of(&made, self.connection.json, NOUN.members);
        Ok(())
    }
}

impl Update {
    fn run(self) -> anyhow::Result<()> {
        let mut body = Map::new();
        body.extend(self.name.map(|name| ("name".to_owned(), name.into())));
        body.extend(self.role.map(|role| ("role".to_owned(), role.word())));
        if self.no_scopes {
            body.insert("scopes".to_owned(), Value::Null);
        }
        self.settings.add_to(&mut body);
        NOUN.update(&self.id, body, &self.connection)
    }
}

impl Generate {
    fn run(self) -> anyhow::Result<()> {
        println!(
            "{}",
            generate(self.kind, self.prefix.as_deref(), self.length)?
        );
        Ok(())
    }
}

/// A new key of this kind.
///
/// # Errors
/// A prefix or length that makes none.
pub(crate) fn generate(
    kind: Kind,
    prefix: Option<&str>,
    length: Option<usize>,
) -> anyhow::Result<String> {
    let by_default = match kind {
        Kind::Access => "tok-",
        Kind::Management => "mgt-",
        Kind::Encryption => {
            if prefix.is_some() || length.is_some() {
                let problem = "an encryption key is 32 bytes: it has no prefix and one length";
                return Err(Failed::new(2, problem).into());
            }
            let mut bytes = [0; 32];
            SystemEntropy.fill(&mut bytes);
            return Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect());
        }
    };
    let prefix = prefix.unwrap_or(by_default);
    let key = mint::mint(prefix, length, &SystemEntropy)
        .map_err(|error| Failed::new(exit::INVALID, error.to_string()))?;
    Ok(key.expose().to_owned())
}
