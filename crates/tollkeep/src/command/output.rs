//! What commands print: a table on a terminal, JSON otherwise, or whatever `--output` says.

mod forms;

use clap::ValueEnum;
use comfy_table::{Table, presets};
use serde_json::Value;
use std::io::IsTerminal;
use std::sync::OnceLock;

/// How to print.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Form {
    /// Aligned columns, for people
    Table,
    /// One JSON text, as the API gives it
    Json,
    /// A JSON text a line, one for each entry of a list
    Jsonl,
    /// YAML
    Yaml,
    /// A line for each entry of a list, below a line of names
    Csv,
}

/// What `--output` said, once for the process.
static FORM: OnceLock<Form> = OnceLock::new();

/// Prints everything in this form.
pub(crate) fn set_form(form: Form) {
    // Only one command runs in a process.
    FORM.get_or_init(|| form);
}

/// Whether to print the answer as it is rather than a table.
pub(crate) fn wants_json(asked: bool) -> bool {
    match FORM.get() {
        Some(form) => *form != Form::Table,
        None => asked || !std::io::stdout().is_terminal(),
    }
}

/// Prints an answer as it is: JSON on one line, if nothing else was said.
pub(crate) fn json(value: &Value) {
    match FORM.get() {
        Some(Form::Jsonl) => print!("{}", forms::jsonl(value)),
        Some(Form::Yaml) => print!("{}", forms::yaml(value)),
        Some(Form::Csv) => print!("{}", forms::csv(value)),
        Some(Form::Json | Form::Table) | None => println!("{value}"),
    }
}

/// The entries of a list, a JSON text a line.
pub(crate) fn jsonl(value: &Value) -> String {
    forms::jsonl(value)
}

/// The entries of a list as a line each, below a line of names.
pub(crate) fn csv(value: &Value) -> String {
    forms::csv(value)
}

/// Prints rows under headings; `columns` names the heading and where the value stands.
pub(crate) fn table(rows: &[&Value], columns: &[(&str, &str)]) {
    if rows.is_empty() {
        println!("none");
        return;
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(columns.iter().map(|(heading, _)| *heading));
    for row in rows {
        table.add_row(
            columns
                .iter()
                .map(|(_, pointer)| cell(row.pointer(pointer))),
        );
    }
    println!("{table}");
}

/// Prints a list as it is, or as a table where people look.
pub(crate) fn list(rows: &[Value], asked: bool, columns: &[(&str, &str)]) {
    if wants_json(asked) {
        json(&serde_json::json!({ "data": rows }));
    } else {
        table(&rows.iter().collect::<Vec<_>>(), columns);
    }
}

/// Prints an object as it is, or a line a member where people look.
pub(crate) fn one(value: &Value, asked: bool, members: &[(&str, &str)]) {
    if wants_json(asked) {
        json(value);
    } else {
        object(value, members);
    }
}

/// Prints one object, a line a member.
pub(crate) fn object(value: &Value, members: &[(&str, &str)]) {
    let width = members
        .iter()
        .map(|(name, _)| name.len())
        .max()
        .unwrap_or(0);
    for (name, pointer) in members {
        let text = cell(value.pointer(pointer));
        if text != "-" {
            println!("{name:width$}  {text}");
        }
    }
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) if text.is_empty() => "-".to_owned(),
        // Nothing a stranger named something may move the cursor.
        Some(Value::String(text)) => human_time(text).unwrap_or_else(|| {
            text.chars()
                .map(|c| if c.is_control() { '\u{fffd}' } else { c })
                .collect()
        }),
        Some(Value::Bool(yes)) => if *yes { "yes" } else { "no" }.to_owned(),
        Some(other @ (Value::Number(_) | Value::Array(_) | Value::Object(_))) => other.to_string(),
    }
}

/// A time of the API (RFC 3339, UTC) as people read it; `None` if the text is none.
fn human_time(text: &str) -> Option<String> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let time = time.split_once('.').map_or(time, |(whole, _)| whole);
    let is_of = |part: &str, between: char, lengths: [usize; 3]| {
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let parts: Vec<_> = part.split(between).collect();
        let found = parts.iter().map(|part| part.len());
        found.eq(lengths) && parts.iter().all(|part| digits(part))
    };
    let is_time = is_of(date, '-', [4, 2, 2]) && is_of(time, ':', [2, 2, 2]);
    is_time.then(|| format!("{date} {time} UTC"))
}

#[cfg(test)]
mod tests {
    use super::*;

    // ID-111
    #[test]
    fn times_are_shown_as_people_read_them() {
        for (text, want) in [
            ("2026-11-22T10:15:30.123Z", Some("2026-11-22 10:15:30 UTC")),
            ("2026-11-22T10:15:30Z", Some("2026-11-22 10:15:30 UTC")),
            ("2026-11-22", None),
            ("TZ", None),
            ("THE-TIME-Z", None),
            ("", None),
        ] {
            assert_eq!(human_time(text).as_deref(), want, "{text}");
        }
    }
}
