//! `config schema`: JSON Schema 2020-12 of the file, for editors.

use crate::describe::{Description, any_entry, last_name, prose};
use crate::kind::Secrecy;
use crate::reader::{ANY_NAME, Fallback, Form, KeyLine, Line};
use crate::tree::KeyPath;
use serde_json::{Map, Value as Json, json};

/// The schema. Editors that read `# yaml-language-server: $schema=…` on the first line of a file
/// complete and check keys with it.
pub fn schema() -> String {
    let description = Description::new();
    let mut root = object(
        &description,
        &KeyPath::default(),
        "The configuration of Tollkeep.",
    );
    let dialect = "https://json-schema.org/draft/2020-12/schema";
    root.insert("$schema".to_owned(), json!(dialect));
    root.insert("title".to_owned(), json!("Tollkeep configuration"));
    let reference = json!({
        "description": "A value from the environment or a file.",
        "type": "string",
        "pattern": REFERENCE,
        "examples": ["${NAME}", "${NAME:-default}", "${file:/run/secrets/name}"],
    });
    root.insert("$defs".to_owned(), json!({"reference": reference}));
    format!("{:#}\n", Json::Object(root))
}

const REFERENCE: &str = "\\$\\{[^}]+\\}";

/// The schema of the section at a path.
fn object(description: &Description, path: &KeyPath, about: &str) -> Map<String, Json> {
    let mut properties = Map::new();
    let mut required = Vec::new();
    // What may stand beside the keys.
    let mut others = json!(false);
    for line in description.below(path) {
        let name = last_name(line.path());
        if let Line::Key(key) = line
            && matches!(key.default, Fallback::Required)
        {
            required.push(Json::from(name));
        }
        if name == ANY_NAME {
            others = part(description, line);
            continue;
        }
        properties.insert(name.to_owned(), part(description, line));
    }
    let mut schema = Map::new();
    let mut put = |name: &str, value: Json| schema.insert(name.to_owned(), value);
    put("description", json!(prose(about)));
    if required.is_empty() {
        // A section whose keys are all commented out is null.
        put("type", json!(["object", "null"]));
    } else {
        put("type", json!("object"));
        put("required", Json::Array(required));
    }
    put("properties", Json::Object(properties));
    put("additionalProperties", others);
    schema
}

fn part(description: &Description, line: &Line) -> Json {
    let (path, about, form) = match line {
        Line::Key(key) => return value(key),
        Line::Section {
            path, about, form, ..
        } => (path, *about, *form),
    };
    match form {
        Form::One | Form::Named | Form::Listed => Json::Object(object(description, path, about)),
        Form::OneOrOff => {
            let section = object(description, path, about);
            json!({"description": prose(about), "anyOf": [{"enum": ["off", false]}, section]})
        }
        Form::Map | Form::List => {
            let entry = any_entry(path, form);
            let inside = description
                .below(path)
                .find(|line| *line.path() == entry)
                .map_or(Json::Bool(false), |line| part(description, line));
            if form == Form::List {
                json!({"description": prose(about), "type": ["array", "null"], "items": inside})
            } else {
                json!({
                    "description": prose(about),
                    "type": ["object", "null"],
                    "additionalProperties": inside,
                })
            }
        }
    }
}

fn value(key: &KeyLine) -> Json {
    let plain = json!({"type": "string"});
    let schema = if key.shape.schema == plain {
        plain
    } else {
        json!({"anyOf": [key.shape.schema, {"$ref": "#/$defs/reference"}]})
    };
    let Json::Object(mut schema) = schema else {
        return schema;
    };
    let mut put = |name: &str, value: Json| schema.insert(name.to_owned(), value);
    let text = format!("{} ({})", prose(key.doc), key.shape.words);
    put("description", Json::from(text));
    if let Fallback::Value(default) = &key.default {
        put("default", default.clone());
    }
    if key.shape.secrecy == Secrecy::Secret {
        put("examples", json!(["${NAME}", "${file:/run/secrets/name}"]));
    }
    Json::Object(schema)
}
