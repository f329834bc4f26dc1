//! Settings as a YAML file, to be read by people and by what reads such files. Texts are quoted as in
//! JSON, which YAML reads the same.

use serde_json::Value;

/// The text of a tree.
pub fn yaml(tree: &Value) -> String {
    let mut out = String::new();
    match tree {
        Value::Object(members) if !members.is_empty() => node(&mut out, tree, 0),
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => {
            out.push_str(&tree.to_string());
            out.push('\n');
        }
    }
    out
}

/// A map or list that has something in it, a line for each.
fn node(out: &mut String, value: &Value, depth: usize) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                out.push_str(&indent);
                out.push_str(&key(name));
                out.push(':');
                entry(out, value, depth);
            }
        }
        Value::Array(list) => {
            for value in list {
                out.push_str(&indent);
                out.push('-');
                entry(out, value, depth);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What stands behind a key or a dash.
fn entry(out: &mut String, value: &Value, depth: usize) {
    let is_large = match value {
        Value::Object(members) => !members.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    };
    if is_large {
        out.push('\n');
        node(out, value, depth + 1);
    } else {
        out.push(' ');
        out.push_str(&value.to_string());
        out.push('\n');
    }
}

/// A name, quoted unless it can't be read as anything else.
fn key(name: &str) -> String {
    let is_plain = name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
            .contains(&name.to_ascii_lowercase().as_str());
    if is_plain {
        name.to_owned()
    } else {
        Value::from(name).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_tree_is_written_as_it_would_be_by_hand() {
        let tree = json!({
            "server": { "port": 8080, "host": "127.0.0.1", "tls": {} },
            "on": true,
            "routes": { "GET /a": { "allowed_ips": ["10.0.0.0/8"], "message": "a: \"b\"\n# c" } },
            "list": [{ "a": 1 }, [], null],
        });
        let want = "list:\n  -\n    a: 1\n  - []\n  - null\n\"on\": true\nroutes:\n  \
                    \"GET /a\":\n    allowed_ips:\n      - \"10.0.0.0/8\"\n    \
                    message: \"a: \\\"b\\\"\\n# c\"\nserver:\n  host: \"127.0.0.1\"\n  port: 8080\n  \
                    tls: {}\n";
        let mut lines: Vec<&str> = want.lines().collect();
        let told = yaml(&tree);
        let mut told: Vec<&str> = told.lines().collect();
        // Whether members keep their order is a feature of another crate.
        lines.sort_unstable();
        told.sort_unstable();
        assert_eq!(told, lines);
        assert_eq!(yaml(&json!({})), "{}\n");
    }
}
