//! What commands print: a table on a terminal, JSON otherwise.

use comfy_table::{Table, presets};
use serde_json::Value;
use std::io::IsTerminal;

/// Whether to print JSON.
pub(crate) fn wants_json(asked: bool) -> bool {
    asked || !std::io::stdout().is_terminal()
}

/// Prints JSON on one line.
pub(crate) fn json(value: &Value) {
    println!("{value}");
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

/// Prints a list as JSON, or as a table where people look.
pub(crate) fn list(rows: &[Value], asked: bool, columns: &[(&str, &str)]) {
    if wants_json(asked) {
        json(&serde_json::json!({ "data": rows }));
    } else {
        table(&rows.iter().collect::<Vec<_>>(), columns);
    }
}

/// Prints an object as JSON, or a line a member where people look.
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
        Some(Value::String(text)) => text
            .chars()
            .map(|c| if c.is_control() { '\u{fffd}' } else { c })
            .collect(),
        Some(Value::Bool(yes)) => if *yes { "yes" } else { "no" }.to_owned(),
        Some(other @ (Value::Number(_) | Value::Array(_) | Value::Object(_))) => other.to_string(),
    }
}
