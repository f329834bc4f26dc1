//! `tollkeep manage …`: the commands of llm-proxy, in its words.

use super::cache::Which;
use super::client::Client;
use super::credential::secret_of;
use super::token::{path_segment, show_secret_of};
use super::{Connection, output};
use clap::{ArgAction, Args, Subcommand};
use serde_json::{Map, Value, json};
use tollkeep_types::Secret;

/// Projects and tokens in the words of llm-proxy.
#[derive(Args, Debug)]
pub(crate) struct Manage {
    #[command(subcommand)]
    noun: Noun,
    /// The management address; the same as --url
    #[arg(long, global = true, value_name = "URL")]
    manage_api_base_url: Option<String>,
    /// The management key; others on this machine see it in the list of processes
    #[arg(long, global = true, value_name = "KEY")]
    management_token: Option<String>,
    /// Print JSON, also on a terminal
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Noun {
    /// Projects
    #[command(subcommand)]
    Project(Project),
    /// Tokens
    #[command(subcommand)]
    Token(Token),
    /// The cache
    #[command(subcommand)]
    Cache(Cache),
}

#[derive(Debug, Subcommand)]
enum Project {
    /// List projects
    List,
    /// Show one project
    Get {
        /// Its id
        id: String,
    },
    /// Make a project
    Create {
        /// Its name
        #[arg(long)]
        name: String,
        /// Its secret of the provider; `-` reads it from standard input, where nobody sees it
        #[arg(long, alias = "openai-key", value_name = "SECRET")]
        api_key: Option<String>,
    },
    /// Change a project
    Update {
        /// Its id
        id: String,
        /// Its name
        #[arg(long)]
        name: Option<String>,
        /// Whether its tokens may be used
        #[arg(long, action = ArgAction::Set, value_name = "true|false")]
        is_active: Option<bool>,
        /// Its secret of the provider; `-` reads it from standard input, where nobody sees it
        #[arg(long, alias = "openai-key", value_name = "SECRET")]
        api_key: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
enum Token {
    /// Make a token; its text is shown once
    Generate {
        /// Its project
        #[arg(long)]
        project_id: String,
        /// How long it works, in minutes
        #[arg(long, default_value = "1440")]
        duration: u64,
        /// How many calls it may make in all; 0: any
        #[arg(long)]
        max_requests: Option<u64>,
    },
}

#[derive(Debug, Subcommand)]
enum Cache {
    /// Take answers out
    Purge(Which),
}

const PROJECT: &[(&str, &str)] = &[
    ("id", "/id"),
    ("name", "/name"),
    ("active", "/is_active"),
    ("created", "/created_at"),
];

const PROJECTS: &[(&str, &str)] = &[
    ("ID", "/id"),
    ("NAME", "/name"),
    ("ACTIVE", "/is_active"),
    ("CREATED", "/created_at"),
];

const TOKEN: &[(&str, &str)] = &[
    ("id", "/id"),
    ("expires", "/expires_at"),
    ("max requests", "/max_requests"),
];

impl Manage {
    /// Runs the command.
    ///
    /// # Errors
    /// The gateway refuses or can't be reached; what is asked for is not supported.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        if self.management_token.is_some() {
            eprintln!(
                "warning: others on this machine see --management-token in the list of processes: \
                 set TOLLKEEP_MANAGEMENT_KEY instead"
            );
        }
        let connection = Connection::to(self.manage_api_base_url, self.json);
        let key = self.management_token.map(|key| Secret::new(key.trim()));
        let client = Client::with_key(&connection, key)?;
        match self.noun {
            Noun::Project(project) => project.run(&client, self.json),
            Noun::Token(token) => token.run(&client, self.json),
            Noun::Cache(Cache::Purge(which)) => which.purge(&client, self.json),
        }
    }
}

impl Project {
    fn run(self, client: &Client, json: bool) -> anyhow::Result<()> {
        const PATH: &str = "/manage/projects";
        let of = |id: &str| format!("{PATH}/{}", path_segment(id));
        match self {
            Self::List => {
                let list = client.get(PATH)?;
                if output::wants_json(json) {
                    output::json(&list);
                } else {
                    let rows = list.as_array().map(Vec::as_slice).unwrap_or_default();
                    output::table(&rows.iter().collect::<Vec<_>>(), PROJECTS);
                }
            }
            Self::Get { id } => output::one(&client.get(&of(&id))?, json, PROJECT),
            Self::Create { name, api_key } => {
                let key = api_key.map(secret_of).transpose()?;
                let made = client.post(PATH, &json!({ "name": name, "api_key": key }))?;
                output::one(&made, json, PROJECT);
            }
            Self::Update {
                id,
                name,
                is_active,
                api_key,
            } => {
                let mut body = Map::new();
                let key = api_key.map(secret_of).transpose()?;
                body.extend(key.map(|key| ("api_key".to_owned(), key.into())));
                body.extend(name.map(|name| ("name".to_owned(), name.into())));
                body.extend(is_active.map(|on| ("is_active".to_owned(), on.into())));
                let changed = client.patch(&of(&id), &Value::Object(body))?;
                output::one(&changed, json, PROJECT);
            }
        }
        Ok(())
    }
}

impl Token {
    fn run(self, client: &Client, json: bool) -> anyhow::Result<()> {
        let Self::Generate {
            project_id,
            duration,
            max_requests,
        } = self;
        let mut body = json!({ "project_id": project_id, "duration_minutes": duration });
        if let (Some(members), Some(max)) = (body.as_object_mut(), max_requests) {
            members.insert("max_requests".to_owned(), max.into());
        }
        let made = client.post("/manage/tokens", &body)?;
        if output::wants_json(json) {
            output::json(&made);
            return Ok(());
        }
        let secret = made.get("token").cloned().unwrap_or_default();
        let mut shown = made;
        if let Some(members) = shown.as_object_mut() {
            members.insert("secret".to_owned(), secret);
        }
        show_secret_of(&shown, json, TOKEN);
        Ok(())
    }
}
