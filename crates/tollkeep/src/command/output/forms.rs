//! An answer of the API in other forms than JSON on one line.

use serde_json::{Map, Value};

/// The entries of a list: of a page, or of a bare array. `None` for anything else.
fn entries(value: &Value) -> Option<&[Value]> {
    let list = value.get("data").unwrap_or(value);
    list.as_array().map(Vec::as_slice)
}

/// A JSON text a line.
pub(super) fn jsonl(value: &Value) -> String {
    let entries = entries(value).unwrap_or(std::slice::from_ref(value));
    entries.iter().map(|entry| format!("{entry}\n")).collect()
}

/// A line of names, then a line for each entry (RFC 4180, but lines end as on Unix).
pub(super) fn csv(value: &Value) -> String {
    let entries = entries(value).unwrap_or(std::slice::from_ref(value));
    let objects = || entries.iter().filter_map(Value::as_object);
    let mut names: Vec<&String> = Vec::new();
    for name in objects().flat_map(Map::keys) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    // Entries that are no objects have no names.
    if names.is_empty() {
        let lines = entries.iter().filter(|entry| !entry.is_object());
        return lines.map(|entry| field(Some(entry)) + "\n").collect();
    }
    let heading: Vec<_> = names.iter().map(|name| quoted(name)).collect();
    let mut text = heading.join(",") + "\n";
    for object in objects() {
        let fields: Vec<_> = names.iter().map(|name| field(object.get(*name))).collect();
        text += &(fields.join(",") + "\n");
    }
    text
}

fn field(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => quoted(text),
        Some(other) => quoted(&other.to_string()),
    }
}

/// A field. A spreadsheet takes what begins with one of these for a formula, so a blank goes first.
fn quoted(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let is_number = text.parse::<f64>().is_ok();
    let text = if is_formula && !is_number {
        format!(" {text}")
    } else {
        text.to_owned()
    };
    if text.contains(['"', ',', '\n', '\r']) || text.starts_with(' ') {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

/// YAML in blocks. Texts are written as JSON does it, which is YAML too.
pub(super) fn yaml(value: &Value) -> String {
    let mut text = String::new();
    block(value, 0, &mut text);
    text
}

/// A list or an object, each entry on lines of its own. Nesting is bounded by that of the answer.
fn block(value: &Value, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, value) in members {
                let name = Value::from(name.as_str());
                let plain = plain_name(&name);
                text.push_str(&format!("{indent}{plain}:"));
                below(value, depth, text);
            }
        }
        Value::Array(entries) if !entries.is_empty() => {
            for entry in entries {
                text.push_str(&format!("{indent}-"));
                below(entry, depth, text);
            }
        }
        Value::Object(_)
        | Value::Array(_)
        | Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_) => text.push_str(&format!("{indent}{value}\n")),
    }
}

fn below(value: &Value, depth: usize, text: &mut String) {
    let is_block = match value {
        Value::Object(members) => !members.is_empty(),
        Value::Array(entries) => !entries.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    };
    if is_block {
        text.push('\n');
        block(value, depth + 1, text);
    } else {
        text.push_str(&format!(" {value}\n"));
    }
}

/// A member's name without quotes, where that means the same.
fn plain_name(name: &Value) -> String {
    let text = name.as_str().unwrap_or_default();
    let plain = |c: char| c.is_ascii_lowercase() || c == '_';
    let is_word = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&text);
    if !text.is_empty() && text.chars().all(plain) && !is_word {
        text.to_owned()
    } else {
        name.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    // ID-110
    #[test]
    fn lists_are_a_line_an_entry() {
        let page = json!({ "data": [{ "id": "a" }, { "id": "b" }], "has_more": false });
        assert_eq!(jsonl(&page), "{\"id\":\"a\"}\n{\"id\":\"b\"}\n");
        assert_eq!(jsonl(&json!([1, 2])), "1\n2\n");
        assert_eq!(jsonl(&json!({ "id": "a" })), "{\"id\":\"a\"}\n");
        assert_eq!(jsonl(&json!({ "data": [] })), "");
    }

    // ID-110
    #[test]
    fn tables_for_spreadsheets_hold_no_formulas_and_no_loose_commas() {
        let page = json!({ "data": [
            { "id": "a", "name": "x,\"y\"", "count": -3, "on": true },
            { "id": "b", "name": "=HYPERLINK(\"http://x\")", "limits": { "n": 1 }, "at": null },
        ]});
        assert_eq!(
            csv(&page),
            "id,name,count,on,limits,at\n\
             a,\"x,\"\"y\"\"\",-3,true,,\n\
             b,\" =HYPERLINK(\"\"http://x\"\")\",,,\"{\"\"n\"\":1}\",\n"
        );
        assert_eq!(csv(&json!({ "data": [] })), "");
        assert_eq!(csv(&json!(["+1", "@x"])), "+1\n\" @x\"\n");
    }

    // ID-110
    #[test]
    fn yaml_says_the_same_as_json() {
        let value = json!({
            "data": [{ "id": "a", "none": null, "tags": [], "of": { "on": "y", "n": [1, [2]] } }],
            "text": "two\nlines: \"quoted\"",
        });
        assert_eq!(
            yaml(&value),
            "data:\n  -\n    id: \"a\"\n    none: null\n    tags: []\n    of:\n      \"on\": \"y\"\n      \"n\":\n        - 1\n        -\n          - 2\ntext: \"two\\nlines: \\\"quoted\\\"\"\n"
        );
        assert_eq!(yaml(&json!([])), "[]\n");
        assert_eq!(yaml(&Value::Null), "null\n");
    }
}
