//! The API's description of itself: what it says is served, and nothing else is.

use crate::callers::models;
use crate::fixture::TOLLKEEP;
use crate::operators::ask;
use serde_json::{Value, json};
use std::process::Command;
use tollkeep_testkit::{Answer, Gateway, Origin};

/// A described operation.
pub(crate) struct Described {
    pub(crate) id: String,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) command: String,
    responses: Value,
}

/// The description, as a running gateway gives it.
pub(crate) fn document(gateway: &Gateway) -> Value {
    let (status, document) = gateway.api("GET", "/api/v1/openapi.json", None);
    assert_eq!(status, 200);
    document
}

/// The operations in a description.
pub(crate) fn operations(document: &Value) -> Vec<Described> {
    let paths = document["paths"].as_object().unwrap();
    let mut operations = Vec::new();
    for (path, methods) in paths {
        for (method, operation) in methods.as_object().unwrap() {
            let text = |name: &str| operation[name].as_str().unwrap().to_owned();
            operations.push(Described {
                id: text("operationId"),
                method: method.to_uppercase(),
                path: path.clone(),
                command: text("x-tollkeep-command"),
                responses: operation["responses"].clone(),
            });
        }
    }
    operations
}

/// Asserts that an answer has a status, a type and a body that are described.
pub(crate) fn assert_described(document: &Value, operation: &Described, answer: &Answer) {
    let told: String = answer.text().chars().take(500).collect();
    let name = format!("{} {}: {told}", operation.id, answer.status);
    let response = &operation.responses[answer.status.to_string()];
    assert!(
        response.is_object(),
        "a status that is not described: {name}"
    );
    match response["content"].as_object() {
        None => assert!(answer.body.is_empty(), "{name}"),
        Some(content) => {
            let (kind, content) = content.iter().next().unwrap();
            assert_eq!(answer.field("content-type"), Some(&**kind), "{name}");
            // Another format is a text to a schema.
            let value = if kind.ends_with("json") {
                answer.json()
            } else {
                answer.text().into()
            };
            let fault = fault(document, &content["schema"], &value, "");
            assert_eq!(fault, None, "{name}");
        }
    }
}

/// What keeps a value from being of a schema; the part of JSON Schema that descriptions use.
fn fault(document: &Value, schema: &Value, value: &Value, place: &str) -> Option<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let schema = document.pointer(reference.trim_start_matches('#')).unwrap();
        return fault(document, schema, value, place);
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let kinds = schema["type"].as_array().cloned();
    let kinds = kinds.unwrap_or_else(|| vec![schema["type"].clone()]);
    if !kinds.contains(&json!(kind)) {
        return Some(format!("{place}: {value} is not of {}", schema["type"]));
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        return Some(format!("{place}: {value} is none of {words:?}"));
    }
    if let Some(list) = value.as_array() {
        let mut list = list.iter();
        return list.find_map(|item| fault(document, &schema["items"], item, place));
    }
    let members = value.as_object()?;
    let properties = &schema["properties"];
    let required = schema["required"].as_array().into_iter().flatten();
    for name in required.filter_map(Value::as_str) {
        if !members.contains_key(name) {
            return Some(format!("{place}/{name} is missing"));
        }
    }
    members.iter().find_map(|(name, value)| {
        let place = format!("{place}/{name}");
        let further = &schema["additionalProperties"];
        match (properties.get(name), further) {
            (Some(schema), _) => fault(document, schema, value, &place),
            (None, Value::Object(_)) => fault(document, further, value, &place),
            (None, Value::Bool(false)) => Some(format!("{place} is not described")),
            (None, _) => None,
        }
    })
}

// ID-106
#[test]
fn the_description_needs_no_key_on_this_machine_and_is_that_of_the_command() {
    let gateway = models(&Origin::plain()).start();
    let open = ask(&gateway, "", "GET /api/v1/openapi.json", None);
    assert_eq!(open.status, 200, "{}", open.text());
    let document = document(&gateway);
    assert_eq!(open.json(), document);
    assert_eq!(document["openapi"], "3.1.0");
    let printed = gateway.cli(&["openapi"]);
    let printed: Value = serde_json::from_slice(&printed.stdout).unwrap();
    assert_eq!(printed, document);
    // Whoever comes through a proxy is somebody else.
    let request = format!(
        "GET /api/v1/openapi.json HTTP/1.1\r\nhost: {}\r\nx-forwarded-for: 192.0.2.7\r\n\
         connection: close\r\n\r\n",
        gateway.management()
    );
    let mut client = tollkeep_testkit::Client::connect(gateway.management());
    assert_eq!(client.call(request.as_bytes()).status, 401);
}

// ID-106
#[test]
fn what_is_described_is_served_and_other_methods_are_told_which() {
    let gateway = models(&Origin::plain()).start();
    let document = document(&gateway);
    let described = operations(&document);
    for operation in &described {
        let path = operation.path.replace(['{', '}'], "");
        let key = tollkeep_testkit::MANAGEMENT_KEY;
        let answer = ask(&gateway, key, &format!("OPTIONS {path}"), None);
        assert_eq!(answer.status, 405, "{path}");
        let allowed = answer.field("allow").unwrap().to_owned();
        let mut want: Vec<_> = described
            .iter()
            .filter(|other| other.path == operation.path)
            .map(|other| &*other.method)
            .collect();
        if want.contains(&"GET") {
            want.push("HEAD");
        }
        let mut told: Vec<_> = allowed.split(", ").collect();
        told.sort_unstable();
        want.sort_unstable();
        assert_eq!(told, want, "{path}");
    }
}

// ID-110
#[test]
fn every_operation_is_a_command() {
    let gateway = models(&Origin::plain()).start();
    let mut commands: Vec<_> = operations(&document(&gateway))
        .into_iter()
        .map(|operation| operation.command)
        .collect();
    commands.sort_unstable();
    commands.dedup();
    for command in commands {
        let mut words: Vec<_> = command.split(' ').collect();
        words.push("--help");
        let done = Command::new(TOLLKEEP).args(&words).output().unwrap();
        assert!(done.status.success(), "tollkeep {command}");
    }
}
