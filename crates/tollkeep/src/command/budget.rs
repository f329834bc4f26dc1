//! `tollkeep budget …`

use super::client::Client;
use super::given::{filters, members};
use super::token::{confirm, path_segment};
use super::{Connection, output};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

/// Limits of what calls may cost or use.
#[derive(Debug, Subcommand)]
pub(crate) enum Budget {
    /// Make a budget
    Create(Box<Create>),
    /// List budgets
    List(List),
    /// Show one budget
    Get(One),
    /// Change a budget
    Update(Update),
    /// Begin a window now; calls under way end in the one before
    Reset(Delete),
    /// Show what was taken in which time
    Windows(One),
    /// End a budget; what it counted stays on record
    Delete(Delete),
}

/// A budget to make, as `tollkeep budget create team "$100" month --project default`.
#[derive(Args, Debug)]
pub(crate) struct Create {
    /// Its name
    name: String,
    /// Up to how much: "$12.50" or "12.50"; of tokens or requests a number
    limit: String,
    /// In which time: day, week, month, year, lifetime, or a rolling time as 24h
    window: String,
    #[command(flatten)]
    scope: Scope,
    /// What is limited: usd, tokens or requests
    #[arg(long)]
    unit: Option<String>,
    /// Which tokens: total, output, or billable
    #[arg(long)]
    count: Option<String>,
    /// Where days of a calendar begin, as Europe/Berlin
    #[arg(long)]
    timezone: Option<String>,
    #[command(flatten)]
    rules: Rules,
    /// How grants are written down: lease or strict
    #[arg(long)]
    durability: Option<String>,
    /// Its tenant, by id or slug
    #[arg(long)]
    tenant: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

/// Which calls it counts; all of the tenant if none is given.
#[derive(Args, Debug)]
#[group(multiple = false)]
pub(crate) struct Scope {
    /// Those of a project, by id or slug
    #[arg(long)]
    project: Option<String>,
    /// Those of a token, by id
    #[arg(long)]
    token: Option<String>,
    /// Those on a route
    #[arg(long)]
    route: Option<String>,
    /// Those to a provider
    #[arg(long)]
    provider: Option<String>,
    /// Those with a credential, by id
    #[arg(long)]
    credential: Option<String>,
    /// Those of models, by a name with * for any text
    #[arg(long)]
    model: Option<String>,
    /// Those of several tokens together, by ids
    #[arg(long, value_delimiter = ',')]
    tokens: Vec<String>,
    /// Those of tokens with this in their metadata
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    metadata: Option<(String, String)>,
}

/// How it is kept.
#[derive(Args, Debug)]
pub(crate) struct Rules {
    /// hard refuses what does not fit, soft by a guess of the call, observe counts and warns only
    #[arg(long)]
    enforcement: Option<String>,
    /// What becomes of a call that does not fit: refuse, or shrink, which lowers its cap of output
    #[arg(long)]
    on_short: Option<String>,
    /// Hundredths of the limit that are told of, as 50,80,100
    #[arg(long, value_delimiter = ',')]
    warn: Option<Vec<u8>>,
}

/// Budgets.
#[derive(Args, Debug)]
pub(crate) struct List {
    /// Only those of this kind of scope, as project
    #[arg(long)]
    kind: Option<String>,
    /// Only those of this project, line of tokens, credential or tenant, by its id
    #[arg(long)]
    of: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

/// One budget.
#[derive(Args, Debug)]
pub(crate) struct One {
    /// Its id
    budget: String,
    #[command(flatten)]
    connection: Connection,
}

/// A budget to change; what is not given stays.
#[derive(Args, Debug)]
pub(crate) struct Update {
    /// Its id
    budget: String,
    /// Its name
    #[arg(long)]
    name: Option<String>,
    /// Up to how much
    #[arg(long)]
    limit: Option<String>,
    #[command(flatten)]
    rules: Rules,
    #[command(flatten)]
    connection: Connection,
}

/// A budget to end, or to begin anew.
#[derive(Args, Debug)]
pub(crate) struct Delete {
    /// Its id
    budget: String,
    /// Don't ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    connection: Connection,
}

const COLUMNS: &[(&str, &str)] = &[
    ("ID", "/id"),
    ("NAME", "/name"),
    ("SCOPE", "/scope"),
    ("UNIT", "/unit"),
    ("LIMIT", "/limit"),
    ("USD", "/limit_usd"),
    ("WINDOW", "/window"),
    ("KEPT", "/enforcement"),
    ("FROM", "/origin"),
];

const WINDOW: &[(&str, &str)] = &[
    ("FROM", "/start"),
    ("TO", "/end"),
    ("LIMIT", "/limit"),
    ("SPENT", "/spent"),
    ("RESERVED", "/reserved"),
    ("LEASED", "/leased"),
    ("LEFT", "/left"),
    ("LEFT USD", "/left_usd"),
    ("FORECAST", "/forecast"),
    ("USED UP", "/exhausted_at"),
];

const MEMBERS: &[(&str, &str)] = &[
    ("id", "/id"),
    ("name", "/name"),
    ("tenant", "/tenant_id"),
    ("scope", "/scope"),
    ("unit", "/unit"),
    ("count", "/count"),
    ("limit", "/limit"),
    ("limit in dollars", "/limit_usd"),
    ("window", "/window"),
    ("timezone", "/timezone"),
    ("enforcement", "/enforcement"),
    ("on short", "/on_short"),
    ("durability", "/durability"),
    ("warn", "/warn"),
    ("origin", "/origin"),
    ("created", "/created_at"),
    ("updated", "/updated_at"),
];

impl Budget {
    /// Runs the command.
    ///
    /// # Errors
    /// The gateway refuses or can't be reached.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Create(create) => create.run(),
            Self::List(list) => {
                let query = filters([("kind", list.kind), ("of", list.of)]);
                let rows = Client::new(&list.connection)?.all("/api/v1/budgets", &query)?;
                output::list(&rows, list.connection.json, COLUMNS);
                Ok(())
            }
            Self::Get(one) => {
                let budget = Client::new(&one.connection)?.get(&place(&one.budget))?;
                show(&budget, one.connection.json);
                Ok(())
            }
            Self::Update(update) => {
                let mut body = members([
                    ("name", update.name.map(Value::from)),
                    ("limit", update.limit.as_deref().map(limit)),
                ]);
                update.rules.add_to(&mut body);
                let client = Client::new(&update.connection)?;
                let budget = client.patch(&place(&update.budget), &Value::Object(body))?;
                show(&budget, update.connection.json);
                Ok(())
            }
            Self::Reset(reset) => {
                if !reset.yes {
                    confirm(&format!("Begin budget {} anew?", reset.budget))?;
                }
                let path = format!("{}/reset", place(&reset.budget));
                let window = Client::new(&reset.connection)?.post(&path, &json!({}))?;
                output::list(&[window], reset.connection.json, WINDOW);
                Ok(())
            }
            Self::Windows(one) => {
                let path = format!("{}/windows", place(&one.budget));
                let rows = Client::new(&one.connection)?.get(&path)?;
                let rows = rows.as_array().cloned().unwrap_or_default();
                output::list(&rows, one.connection.json, WINDOW);
                Ok(())
            }
            Self::Delete(delete) => {
                if !delete.yes {
                    confirm(&format!("End budget {}?", delete.budget))?;
                }
                Client::new(&delete.connection)?.delete(&place(&delete.budget))?;
                Ok(())
            }
        }
    }
}

impl Create {
    fn run(self) -> anyhow::Result<()> {
        let mut body = members([
            ("name", Some(self.name.into())),
            ("limit", Some(limit(&self.limit))),
            ("window", Some(self.window.into())),
            ("scope", self.scope.body()),
            ("unit", self.unit.map(Value::from)),
            ("count", self.count.map(Value::from)),
            ("timezone", self.timezone.map(Value::from)),
            ("durability", self.durability.map(Value::from)),
            ("tenant", self.tenant.map(Value::from)),
        ]);
        self.rules.add_to(&mut body);
        let client = Client::new(&self.connection)?;
        let made = client.post("/api/v1/budgets", &Value::Object(body))?;
        show(&made, self.connection.json);
        Ok(())
    }
}

impl Scope {
    fn body(self) -> Option<Value> {
        let texts = [
            ("project", self.project),
            ("token", self.token),
            ("route", self.route),
            ("provider", self.provider),
            ("credential", self.credential),
            ("model", self.model),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                return Some(json!({ name: text }));
            }
        }
        if let Some((name, value)) = self.metadata {
            return Some(json!({ "metadata": { name: value } }));
        }
        (!self.tokens.is_empty()).then(|| json!({ "tokens": self.tokens }))
    }
}

impl Rules {
    fn add_to(self, body: &mut Map<String, Value>) {
        body.extend(members([
            ("enforcement", self.enforcement.map(Value::from)),
            ("on_short", self.on_short.map(Value::from)),
            ("warn", self.warn.map(Value::from)),
        ]));
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("want NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// A number of tokens or requests; anything else goes as it is, and the gateway says what is wrong
/// with it.
fn limit(text: &str) -> Value {
    text.parse::<u64>()
        .map_or_else(|_| Value::from(text), Value::from)
}

fn place(budget: &str) -> String {
    format!("/api/v1/budgets/{}", path_segment(budget))
}

fn show(budget: &Value, json: bool) {
    output::one(budget, json, MEMBERS);
}
