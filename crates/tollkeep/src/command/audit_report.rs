//! `tollkeep audit report`: what an auditor asks for each month, as a document or as a page to print.

use super::audit_events::point;
use super::client::Client;
use super::{Connection, output};
use crate::exit::Failed;
use crate::system::SystemClock;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tollkeep_types::Clock;
use tollkeep_types::html::escaped;

/// What to report.
#[derive(Args, Debug)]
pub(crate) struct Report {
    /// About what
    about: About,
    /// Of which month (UTC); of this one if not given
    #[arg(long, value_name = "YYYY-MM", value_parser = month)]
    month: Option<Month>,
    /// As an HTML page to print
    #[arg(long)]
    html: bool,
    #[command(flatten)]
    connection: Connection,
}

/// What a report is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum About {
    /// Who may do what, as it stands, and what changed of that in the month
    Access,
    /// Keys and credentials as they stand, and how old they are
    Keys,
    /// What operators changed in the month
    Changes,
    /// Money that moved in the month
    Money,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Month {
    year: u16,
    month: u8,
}

/// A part of a report: its title, and rows under columns.
struct Part {
    title: &'static str,
    columns: &'static [&'static str],
    rows: Vec<Value>,
}

/// What shows rights, and its changes.
const RIGHTS: &str = "management_key.*,operator.*,service_token.*,token.create,token.revoke";
const HOLDERS: &[&str] = &[
    "id",
    "name",
    "role",
    "scopes",
    "tenant_id",
    "created_at",
    "created_by",
    "expires_at",
    "revoked_at",
    "disabled_at",
    "last_used_at",
    "last_login_at",
];
const AGES: &[&str] = &[
    "id",
    "kid",
    "name",
    "provider",
    "age_days",
    "created_at",
    "rotated_at",
    "expires_at",
    "status",
];
const EVENTS: &[&str] = &[
    "timestamp",
    "action",
    "actor",
    "actor_id",
    "tenant_id",
    "project_id",
    "reason",
    "changed",
    "request_id",
    "id",
];
const SUMS: &[&str] = &["action", "project_id", "currency", "events", "amount"];

fn month(text: &str) -> Result<Month, String> {
    let wrong = || "want a month such as 2026-11".to_owned();
    let (year, month) = text.split_once('-').ok_or_else(wrong)?;
    let is_digits = |text: &str, len| text.len() == len && text.bytes().all(|b| b.is_ascii_digit());
    let is_form = is_digits(year, 4) && is_digits(month, 2);
    let (year, month) = (
        year.parse().map_err(|_| wrong())?,
        month.parse().map_err(|_| wrong())?,
    );
    let is_month = is_form && (1..=12).contains(&month) && (1970..9999).contains(&year);
    is_month.then_some(Month { year, month }).ok_or_else(wrong)
}

impl Month {
    fn text(self) -> String {
        format!("{:04}-{:02}", self.year, self.month)
    }

    const fn next(self) -> Self {
        match self.month {
            12 => Self {
                year: self.year + 1,
                month: 1,
            },
            _ => Self {
                year: self.year,
                month: self.month + 1,
            },
        }
    }

    /// The filters of its events.
    fn filters(self) -> String {
        let (start, end) = (self.text(), self.next().text());
        format!("&start_time={start}-01T00:00:00Z&end_time={end}-01T00:00:00Z")
    }
}

impl Report {
    /// Prints the report.
    ///
    /// # Errors
    /// The gateway refuses or can't be reached.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let now = point("--month", "0s")?;
        let this = now.get(..7).unwrap_or_default();
        let wrong = |problem| Failed::new(2, problem);
        let of = self.month.map_or_else(|| month(this).map_err(wrong), Ok)?;
        let client = Client::new(&self.connection)?;
        let parts = match self.about {
            About::Access => access(&client, of)?,
            About::Keys => keys(&client)?,
            About::Changes => vec![Part {
                title: "changes by operators",
                columns: EVENTS,
                rows: changes(&client, of)?,
            }],
            About::Money => vec![Part {
                title: "money that moved",
                columns: SUMS,
                rows: money(&client, of)?,
            }],
        };
        let about = self.about.to_possible_value();
        let about = about.as_ref().map_or("", |value| value.get_name());
        let head = [
            ("report", about.to_owned()),
            ("month", of.text()),
            ("made_at", now),
        ];
        if self.html {
            print!("{}", page(&head, &parts));
            return Ok(());
        }
        if output::wants_json(self.connection.json) {
            output::json(&document(&head, parts));
            return Ok(());
        }
        for part in &parts {
            println!("{}", part.title);
            let columns: Vec<_> = shown(part).map(|name| (name, format!("/{name}"))).collect();
            let columns: Vec<_> = columns
                .iter()
                .map(|(name, at)| (*name, at.as_str()))
                .collect();
            output::table(&part.rows.iter().collect::<Vec<_>>(), &columns);
        }
        Ok(())
    }
}

fn access(client: &Client, of: Month) -> anyhow::Result<Vec<Part>> {
    let holders = |title, rows| Part {
        title,
        columns: HOLDERS,
        rows,
    };
    let filters = format!("&action={RIGHTS}&outcome=success{}", of.filters());
    Ok(vec![
        holders("management keys", client.all("/api/v1/keys", "")?),
        holders("operators", client.all("/api/v1/operators", "")?),
        holders("service tokens", whole(client, "/api/v1/service-tokens")?),
        Part {
            title: "rights that changed in the month",
            columns: EVENTS,
            rows: events(client, &filters)?,
        },
    ])
}

/// A list that is given whole.
fn whole(client: &Client, path: &str) -> anyhow::Result<Vec<Value>> {
    let list = client.get(path)?;
    let data = list.get("data").unwrap_or(&list).as_array();
    Ok(data.cloned().unwrap_or_default())
}

fn keys(client: &Client) -> anyhow::Result<Vec<Part>> {
    let of_log = client.get("/api/v1/audit/keys")?;
    let of_log = of_log.get("keys").and_then(Value::as_array).cloned();
    let all = [
        ("management keys", client.all("/api/v1/keys", "")?),
        ("service tokens", whole(client, "/api/v1/service-tokens")?),
        (
            "upstream credentials",
            client.all("/api/v1/credentials", "")?,
        ),
        ("keys that sign the audit log", of_log.unwrap_or_default()),
    ];
    let now = SystemClock::new().wall().0;
    let parts = all.into_iter().map(|(title, mut rows)| {
        rows.iter_mut().for_each(|row| tell_age(row, now));
        Part {
            title,
            columns: AGES,
            rows,
        }
    });
    Ok(parts.collect())
}

/// How old a key's text is: since it was made, or got another.
fn tell_age(row: &mut Value, now: u64) {
    let at = |name: &str| {
        row.get(name)?
            .as_str()?
            .parse::<tollkeep_types::WallMillis>()
            .ok()
    };
    let Some(since) = at("rotated_at").or_else(|| at("created_at")) else {
        return;
    };
    let days = now.saturating_sub(since.0) / 86_400_000;
    if let Some(members) = row.as_object_mut() {
        members.insert("age_days".to_owned(), days.into());
    }
}

/// Events, the first of the month first, with what they changed where a column is.
fn events(client: &Client, filters: &str) -> anyhow::Result<Vec<Value>> {
    let mut rows = client.all("/api/v1/audit", filters)?;
    rows.reverse();
    for row in &mut rows {
        let changed = row.pointer("/details/changed").cloned();
        if let (Some(changed), Some(members)) = (changed, row.as_object_mut()) {
            members.insert("changed".to_owned(), changed);
        }
    }
    Ok(rows)
}

fn changes(client: &Client, of: Month) -> anyhow::Result<Vec<Value>> {
    let filters = format!("&class=management,security&outcome=success{}", of.filters());
    let mut rows = events(client, &filters)?;
    rows.retain(|row| {
        let action = row
            .get("action")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let is_reading = [
            ".read", ".list", ".show", ".auth", ".access", ".login", ".logout",
        ];
        let by_operator = matches!(
            row.get("actor").and_then(Value::as_str),
            Some("management" | "local" | "admin")
        );
        by_operator && !is_reading.iter().any(|end| action.ends_with(end))
    });
    Ok(rows)
}

/// How much of what moved, and how often.
fn money(client: &Client, of: Month) -> anyhow::Result<Vec<Value>> {
    let mut sums: BTreeMap<[String; 3], (u64, u128)> = BTreeMap::new();
    let filters = format!("&action=money.*,payment.*&outcome=success{}", of.filters());
    client.pages("/api/v1/audit", &filters, |page| {
        let rows = page.get("data").and_then(Value::as_array);
        for row in rows.into_iter().flatten() {
            let text = |at: &str| row.pointer(at).and_then(Value::as_str).unwrap_or_default();
            let of = ["/action", "/project_id", "/details/currency"].map(|at| text(at).to_owned());
            let amount = row.pointer("/details/amount").and_then(Value::as_u64);
            let sum = sums.entry(of).or_default();
            *sum = (sum.0 + 1, sum.1 + u128::from(amount.unwrap_or_default()));
        }
        Ok(())
    })?;
    let rows = sums
        .into_iter()
        .map(|([action, project, currency], (events, amount))| {
            json!({ "action": action, "project_id": project, "currency": currency,
            "events": events, "amount": amount.to_string() })
        });
    Ok(rows.collect())
}

/// The columns that any row has something in.
fn shown(part: &Part) -> impl Iterator<Item = &'static str> {
    let has = |name: &str| {
        let mut values = part.rows.iter().filter_map(|row| row.get(name));
        values.any(|value| !value.is_null() && *value != "")
    };
    part.columns.iter().copied().filter(move |name| has(name))
}

fn document(head: &[(&str, String)], parts: Vec<Part>) -> Value {
    let mut told = serde_json::Map::new();
    for (name, text) in head {
        told.insert((*name).to_owned(), text.as_str().into());
    }
    let parts = parts
        .into_iter()
        .map(|part| json!({ "title": part.title, "rows": part.rows }));
    told.insert("parts".to_owned(), parts.collect());
    told.into()
}

/// A page without scripts or anything from elsewhere.
fn page(head: &[(&str, String)], parts: &[Part]) -> String {
    let told: Vec<_> = head
        .iter()
        .map(|(name, text)| format!("{name}: {}", escaped(text)))
        .collect();
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Tollkeep audit report</title>\n\
         <style>body{{font:12px sans-serif}}table{{border-collapse:collapse}}td,th{{border:1px solid \
         #999;padding:2px 5px;text-align:left;vertical-align:top}}</style>\n<h1>Audit report</h1>\n\
         <p>{}</p>\n",
        told.join(" · ")
    );
    for part in parts {
        let columns: Vec<_> = shown(part).collect();
        let heads: String = columns
            .iter()
            .map(|name| format!("<th>{name}</th>"))
            .collect();
        let count = part.rows.len();
        let title = part.title;
        let row = |row: &Value| {
            let cells = columns.iter().map(|name| cell(row.get(*name)));
            let cells: String = cells
                .map(|text| format!("<td>{}</td>", escaped(&text)))
                .collect();
            format!("<tr>{cells}</tr>\n")
        };
        let rows: String = part.rows.iter().map(row).collect();
        out += &format!("<h2>{title} ({count})</h2>\n<table><tr>{heads}</tr>\n{rows}</table>\n");
    }
    out.push_str("</html>\n");
    out
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // AUD-74
    #[test]
    fn a_month_is_read_and_has_its_days_and_no_more() {
        for (text, want) in [
            (
                "2026-11",
                "&start_time=2026-11-01T00:00:00Z&end_time=2026-12-01T00:00:00Z",
            ),
            (
                "2026-12",
                "&start_time=2026-12-01T00:00:00Z&end_time=2027-01-01T00:00:00Z",
            ),
        ] {
            assert_eq!(month(text).unwrap().filters(), want);
        }
        for text in [
            "", "2026", "2026-13", "2026-00", "2026-1", "26-11", "+026-11", "2026-+1", "9999-12",
        ] {
            assert!(month(text).is_err(), "{text}");
        }
    }

    // AUD-74 AUD-35
    #[test]
    fn a_page_shows_what_strangers_wrote_as_text() {
        let part = Part {
            title: "keys",
            columns: &["name", "role"],
            rows: vec![json!({ "name": "<script>alert('x')</script>&\"" })],
        };
        let page = page(&[("report", "keys".to_owned())], &[part]);
        assert!(!page.contains("<script>"), "{page}");
        assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&quot;"));
        assert!(!page.contains("<th>role"), "nobody has one");
    }
}
