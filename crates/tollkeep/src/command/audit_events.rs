//! `tollkeep audit list`, `tail` and `stats`: what happened, as the gateway tells it.

use super::client::Client;
use super::token::path_segment;
use super::{Connection, output};
use crate::exit::Failed;
use crate::system::SystemClock;
use clap::Args;
use serde_json::Value;
use std::io::Write as _;
use tollkeep_types::{Clock, WallMillis};

/// Which events.
#[derive(Args, Debug)]
pub(crate) struct Which {
    /// Not before so long ago, such as 2h, or a time
    #[arg(long, value_name = "DURATION|TIME")]
    since: Option<String>,
    /// Before so long ago, or a time
    #[arg(long, value_name = "DURATION|TIME")]
    until: Option<String>,
    /// Actions, by comma; `*` stands for any text, as in `token.*`
    #[arg(long)]
    action: Option<String>,
    /// success, failure, denied or error; by comma
    #[arg(long, alias = "outcome")]
    result: Option<String>,
    /// access, security, management, money or system; by comma
    #[arg(long)]
    class: Option<String>,
    /// For this reason, in a word
    #[arg(long)]
    reason: Option<String>,
    /// Of this project, by id or slug
    #[arg(long)]
    project: Option<String>,
    /// By whom: management, client, local, system, anonymous
    #[arg(long)]
    actor: Option<String>,
    /// About this token, by id, mask or fingerprint
    #[arg(long)]
    token: Option<String>,
    /// From this address
    #[arg(long)]
    client_ip: Option<String>,
    /// In this request
    #[arg(long)]
    request_id: Option<String>,
    /// With at least this amount
    #[arg(long)]
    min_amount: Option<u64>,
    /// With this text anywhere
    #[arg(long)]
    search: Option<String>,
}

/// Which events to list.
#[derive(Args, Debug)]
pub(crate) struct List {
    #[command(flatten)]
    which: Which,
    /// How many at most
    #[arg(long, default_value = "50", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    #[command(flatten)]
    connection: Connection,
}

/// Which events to print.
#[derive(Args, Debug)]
pub(crate) struct Tail {
    #[command(flatten)]
    which: Which,
    /// Go on with what happens, until interrupted
    #[arg(short, long)]
    follow: bool,
    /// How many of those that happened to print first
    #[arg(short = 'n', long, default_value = "10", value_parser = clap::value_parser!(u32).range(1..=200))]
    lines: u32,
    #[command(flatten)]
    connection: Connection,
}

/// Which events to count.
#[derive(Args, Debug)]
pub(crate) struct Stats {
    #[command(flatten)]
    which: Which,
    /// By what: action, result, class, actor, reason, project, client_ip, day; by comma
    #[arg(long, default_value = "action,result")]
    by: String,
    #[command(flatten)]
    connection: Connection,
}

const COLUMNS: &[(&str, &str)] = &[
    ("TIME", "/timestamp"),
    ("ACTION", "/action"),
    ("RESULT", "/result"),
    ("REASON", "/reason"),
    ("ACTOR", "/actor"),
    ("BY", "/actor_id"),
    ("FROM", "/client_ip"),
    ("PROJECT", "/project_id"),
    ("ID", "/id"),
];

impl Which {
    /// As parameters, each behind `&`.
    fn parameters(self) -> anyhow::Result<String> {
        let (since, until) = (self.since.as_deref(), self.until.as_deref());
        let filters = [
            (
                "start_time",
                since.map(|text| point("--since", text)).transpose()?,
            ),
            (
                "end_time",
                until.map(|text| point("--until", text)).transpose()?,
            ),
            ("action", self.action),
            ("outcome", self.result),
            ("class", self.class),
            ("reason", self.reason),
            ("project_id", self.project),
            ("actor", self.actor),
            ("token", self.token),
            ("client_ip", self.client_ip),
            ("request_id", self.request_id),
            (
                "min_amount",
                self.min_amount.map(|amount| amount.to_string()),
            ),
            ("search", self.search),
        ];
        let filters = filters.into_iter().filter_map(|(name, value)| {
            let value = value?;
            Some(format!("&{name}={}", path_segment(&value)))
        });
        Ok(filters.collect())
    }
}

fn rows_of(page: &Value) -> impl Iterator<Item = &Value> {
    let data = page.get("data").and_then(Value::as_array);
    data.into_iter().flatten()
}

fn behind(page: &Value) -> Option<String> {
    let cursor = page.get("next_cursor").and_then(Value::as_str)?;
    Some(format!("&cursor={}", path_segment(cursor)))
}

impl List {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let filters = self.which.parameters()?;
        let client = Client::new(&self.connection)?;
        let (mut rows, mut further) = (Vec::new(), String::new());
        let wanted = usize::try_from(self.limit).unwrap_or(usize::MAX);
        while rows.len() < wanted {
            let limit = (wanted - rows.len()).min(200);
            let page = client.get(&format!("/api/v1/audit?limit={limit}{filters}{further}"))?;
            rows.extend(rows_of(&page).cloned());
            match behind(&page) {
                Some(cursor) => further = cursor,
                None => break,
            }
        }
        output::list(&rows, self.connection.json, COLUMNS);
        Ok(())
    }
}

impl Tail {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let filters = self.which.parameters()?;
        let client = Client::new(&self.connection)?;
        let is_json = output::wants_json(self.connection.json);
        if !self.follow {
            let lines = self.lines;
            let page = client.get(&format!("/api/v1/audit?limit={lines}{filters}"))?;
            let rows: Vec<&Value> = rows_of(&page).collect();
            return print(rows.into_iter().rev(), is_json);
        }
        let (mut lines, mut further) = (self.lines, String::new());
        loop {
            let path = format!("/api/v1/audit?follow=true&limit={lines}{filters}{further}");
            let page = client.get(&path)?;
            print(rows_of(&page), is_json)?;
            further = behind(&page).unwrap_or_default();
            lines = 200;
        }
    }
}

/// A line each, at once: it may be read by a program.
fn print<'v>(events: impl Iterator<Item = &'v Value>, is_json: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for event in events {
        if is_json {
            writeln!(out, "{event}")?;
            continue;
        }
        let at = |place: &str| event.pointer(place).and_then(Value::as_str);
        let texts = [
            "/timestamp",
            "/action",
            "/result",
            "/reason",
            "/actor",
            "/client_ip",
        ];
        let texts: Vec<_> = texts.into_iter().filter_map(at).collect();
        let details = event.get("details").map(Value::to_string);
        writeln!(out, "{}  {}", texts.join("  "), details.unwrap_or_default())?;
    }
    out.flush()?;
    Ok(())
}

impl Stats {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let filters = self.which.parameters()?;
        let by = path_segment(&self.by);
        let client = Client::new(&self.connection)?;
        let sums = client.get(&format!("/api/v1/audit/stats?by={by}{filters}"))?;
        let rows: Vec<Value> = rows_of(&sums).cloned().collect();
        let columns = self.by.split(',').map(|by| {
            let by = by.trim();
            let by = if by == "outcome" { "result" } else { by };
            (by.to_uppercase(), format!("/{by}"))
        });
        let columns: Vec<(String, String)> = columns
            .chain([("EVENTS".to_owned(), "/events".to_owned())])
            .collect();
        let columns: Vec<(&str, &str)> = columns
            .iter()
            .map(|(title, place)| (title.as_str(), place.as_str()))
            .collect();
        output::list(&rows, self.connection.json, &columns);
        Ok(())
    }
}

/// A time as it is written, or so long before now.
pub(super) fn point(flag: &str, text: &str) -> anyhow::Result<String> {
    let wrong = || {
        let problem = format!(
            "{flag}: want a duration such as 2h, or a time such as 2026-11-22T10:15:30Z, not `{text}`"
        );
        Failed::new(2, problem)
    };
    if text.parse::<WallMillis>().is_ok() {
        return Ok(text.to_owned());
    }
    let unit_ms = match text.chars().last() {
        Some('s') => 1_000,
        Some('m') => 60_000,
        Some('h') => 3_600_000,
        Some('d') => 86_400_000_u64,
        Some(_) | None => return Err(wrong().into()),
    };
    let number = text.get(..text.len().saturating_sub(1)).unwrap_or_default();
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let ago = number.checked_mul(unit_ms).ok_or_else(wrong)?;
    let now = SystemClock::new().wall();
    Ok(WallMillis(now.0.saturating_sub(ago)).to_string())
}
