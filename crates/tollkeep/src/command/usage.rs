//! `tollkeep usage …` and `tollkeep spend …`: what calls used and cost.

use super::client::Client;
use super::export::{Format, export};
use super::given::filters;
use super::token::path_segment;
use super::{Connection, output};
use clap::{Args, Subcommand};
use serde_json::Value;

/// What calls used and cost.
#[derive(Debug, Subcommand)]
pub(crate) enum Usage {
    /// Sums, told apart as wanted
    List(Box<List>),
    /// Write one line for each call, the last first
    Export(Box<Export>),
}

/// Which calls.
#[derive(Args, Debug)]
pub(crate) struct Which {
    /// From this time on, as 2026-11-01T00:00:00Z
    #[arg(long)]
    from: Option<String>,
    /// Before this time
    #[arg(long)]
    to: Option<String>,
    /// Of this project, by id or slug
    #[arg(long)]
    project: Option<String>,
    /// Of this token, by id
    #[arg(long)]
    token: Option<String>,
    /// On this route
    #[arg(long)]
    route: Option<String>,
    /// To this provider
    #[arg(long)]
    provider: Option<String>,
    /// Of this model
    #[arg(long)]
    model: Option<String>,
    /// Of costs that are reported, estimated or unknown
    #[arg(long)]
    quality: Option<String>,
}

/// Sums.
#[derive(Args, Debug)]
pub(crate) struct List {
    /// Told apart by some of tenant, project, token, route, provider, model, day; by comma
    #[arg(long, alias = "group-by", value_name = "NAMES")]
    by: Option<String>,
    /// Where days begin, as Europe/Berlin
    #[arg(long)]
    tz: Option<String>,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    connection: Connection,
}

/// Records.
#[derive(Args, Debug)]
pub(crate) struct Export {
    /// How they are written
    #[arg(long, value_enum, default_value = "jsonl")]
    format: Format,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    connection: Connection,
}

/// What somebody has spent, and the budgets that count it.
#[derive(Debug, Subcommand)]
pub(crate) enum Spend {
    /// Of a token and those it was rotated from and to
    Token(Payer),
    /// Of a project
    Project(Payer),
    /// Of a tenant
    Tenant(Payer),
}

/// Whose calls.
#[derive(Args, Debug)]
pub(crate) struct Payer {
    /// Its id; of projects and tenants also the slug
    id: String,
    #[command(flatten)]
    connection: Connection,
}

const COLUMNS: &[(&str, &str)] = &[
    ("DAY", "/day"),
    ("TENANT", "/tenant_id"),
    ("PROJECT", "/project_id"),
    ("TOKEN", "/token_id"),
    ("ROUTE", "/route"),
    ("PROVIDER", "/provider"),
    ("MODEL", "/model"),
    ("CALLS", "/calls"),
    ("TOKENS", "/tokens"),
    ("USD", "/cost_usd"),
    UPSTREAM,
    ("COST UNKNOWN", "/cost_unknown_calls"),
];

/// What upstreams ask, where that is another amount.
const UPSTREAM: (&str, &str) = ("UPSTREAM USD", "/upstream_cost_usd");

const SPENT: &[(&str, &str)] = &[
    ("of", "/of"),
    ("id", "/id"),
    ("since", "/from"),
    ("calls", "/calls"),
    ("spent in dollars", "/spent_usd"),
    ("asked by upstreams", "/upstream_cost_usd"),
    ("calls of unknown cost", "/cost_unknown_calls"),
];

const BUDGETS: &[(&str, &str)] = &[
    ("BUDGET", "/name"),
    ("UNIT", "/unit"),
    ("WINDOW", "/window"),
    ("LIMIT", "/limit"),
    ("SPENT", "/spent"),
    ("RESERVED", "/reserved"),
    ("LEFT", "/left"),
    ("UNTIL", "/end"),
];

impl Usage {
    /// Runs the command.
    ///
    /// # Errors
    /// The gateway refuses or can't be reached.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::List(list) => list.run(),
            Self::Export(export) => export.run(),
        }
    }
}

impl Which {
    fn query(self) -> String {
        filters([
            ("from", self.from),
            ("to", self.to),
            ("project", self.project),
            ("token", self.token),
            ("route", self.route),
            ("provider", self.provider),
            ("model", self.model),
            ("quality", self.quality),
        ])
    }
}

impl List {
    fn run(self) -> anyhow::Result<()> {
        let how = filters([("group_by", self.by), ("tz", self.tz)]);
        let query = how + &self.which.query();
        let path = format!("/api/v1/usage?{}", query.trim_start_matches('&'));
        let client = Client::new(&self.connection)?;
        let path = path.trim_end_matches('?');
        let mut page = client.get(path)?;
        while let Some(cursor) = page.get("next_cursor").and_then(Value::as_str) {
            let and = if path.contains('?') { '&' } else { '?' };
            let cursor = path_segment(cursor);
            let mut next = client.get(&format!("{path}{and}cursor={cursor}"))?;
            // One list, to its end.
            if let (Some(Value::Array(rows)), Some(Value::Array(more))) =
                (page.get_mut("data"), next.get_mut("data"))
            {
                rows.append(more);
                std::mem::swap(rows, more);
            }
            page = next;
        }
        if output::wants_json(self.connection.json) {
            output::json(&page);
            return Ok(());
        }
        let rows = page.get("data").and_then(Value::as_array);
        let rows: Vec<&Value> = rows.into_iter().flatten().collect();
        let is_told = |place: &str| {
            let mut values = rows.iter().filter_map(|row| row.pointer(place));
            values.any(|value| !value.is_null())
        };
        let differs = |row: &&Value| row.get("upstream_cost_usd") != row.get("cost_usd");
        let is_marked_up = rows.iter().any(differs);
        let columns: Vec<_> = COLUMNS
            .iter()
            .copied()
            .filter(|(_, place)| is_told(place))
            .filter(|column| is_marked_up || *column != UPSTREAM)
            .collect();
        output::table(&rows, &columns);
        Ok(())
    }
}

impl Export {
    fn run(self) -> anyhow::Result<()> {
        let client = Client::new(&self.connection)?;
        let query = self.which.query();
        export(&client, ("/api/v1/usage/records", &query), self.format)
    }
}

impl Spend {
    /// Runs the command.
    ///
    /// # Errors
    /// The gateway refuses or can't be reached.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let (of, payer) = match self {
            Self::Token(payer) => ("token", payer),
            Self::Project(payer) => ("project", payer),
            Self::Tenant(payer) => ("tenant", payer),
        };
        let path = format!("/api/v1/spend/{of}/{}", path_segment(&payer.id));
        let spent = Client::new(&payer.connection)?.get(&path)?;
        if output::wants_json(payer.connection.json) {
            output::json(&spent);
            return Ok(());
        }
        output::object(&spent, SPENT);
        let rows = spent.get("budgets").and_then(Value::as_array);
        let rows: Vec<&Value> = rows.into_iter().flatten().collect();
        if !rows.is_empty() {
            output::table(&rows, BUDGETS);
        }
        Ok(())
    }
}
