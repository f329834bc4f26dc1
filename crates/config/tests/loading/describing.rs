//! Schema, examples and reference: made of the declarations, so only their form can be wrong.

use crate::support::Case;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tollkeep_config::{ShowOptions, example, reference, schema, show};

fn parsed_schema() -> Value {
    serde_json::from_str(&schema()).unwrap()
}

/// Whether a value fits a schema, for the keywords our schema uses.
fn fits(schema: &Value, value: &Value, root: &Value) -> bool {
    if let Some(reference) = schema.get("$ref") {
        let name = reference.as_str().unwrap().strip_prefix("#/").unwrap();
        let target = root.pointer(&format!("/{name}")).unwrap();
        return fits(target, value, root);
    }
    if let Some(options) = schema.get("anyOf") {
        return options
            .as_array()
            .unwrap()
            .iter()
            .any(|option| fits(option, value, root));
    }
    if let Some(values) = schema.get("enum") {
        return values.as_array().unwrap().contains(value);
    }
    if let Some(only) = schema.get("const") {
        return only == value;
    }
    let actual = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let types = &schema["type"];
    let types = types
        .as_array()
        .cloned()
        .unwrap_or_else(|| vec![types.clone()]);
    let number_fits = value.as_i64().is_none_or(|number| {
        let bound = |name: &str, or: i64| schema.get(name).and_then(Value::as_i64).unwrap_or(or);
        (bound("minimum", i64::MIN)..=bound("maximum", i64::MAX)).contains(&number)
    });
    let text_fits = value
        .as_str()
        .is_none_or(|text| match schema.get("pattern") {
            Some(pattern) if pattern.as_str().unwrap().starts_with("\\$") => text.contains("${"),
            Some(_) => text.starts_with(|c: char| c.is_ascii_digit()),
            None => true,
        });
    let members_fit = value.as_object().is_none_or(|object| {
        let required = schema.get("required").and_then(Value::as_array);
        let complete = required.is_none_or(|names| {
            names
                .iter()
                .all(|name| object.contains_key(name.as_str().unwrap()))
        });
        complete
            && object.iter().all(|(name, member)| {
                match (
                    schema.pointer(&format!("/properties/{name}")),
                    &schema["additionalProperties"],
                ) {
                    (Some(part), _) => fits(part, member, root),
                    (None, Value::Object(_)) => fits(&schema["additionalProperties"], member, root),
                    (None, _) => false,
                }
            })
    });
    let items_fit = value
        .as_array()
        .is_none_or(|items| items.iter().all(|item| fits(&schema["items"], item, root)));
    types.contains(&json!(actual)) && number_fits && text_fits && members_fit && items_fit
}

/// Every key of the schema as `show` spells it, and its part.
fn leaves(schema: &Value, path: &str, out: &mut Vec<(String, Value)>) {
    let object = schema.get("anyOf").and_then(Value::as_array);
    let object = object.and_then(|options| {
        options
            .iter()
            .find(|option| option.get("properties").is_some())
    });
    let schema = object.unwrap_or(schema);
    let below = |name: &str| {
        if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}.{name}")
        }
    };
    if let Some(properties) = schema.get("properties") {
        for (name, part) in properties.as_object().unwrap() {
            leaves(part, &below(name), out);
        }
    } else if schema.get("type") == Some(&json!(["object", "null"])) {
        leaves(&schema["additionalProperties"], &below("<name>"), out);
    } else if schema.get("type") == Some(&json!(["array", "null"])) {
        leaves(&schema["items"], &format!("{path}[]"), out);
    } else {
        out.push((path.to_owned(), schema.clone()));
    }
}

// OPS-7
#[test]
fn the_schema_is_2020_12_and_every_default_fits_it() {
    let schema = parsed_schema();
    assert_eq!(
        schema["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    let mut keys = Vec::new();
    leaves(&schema, "", &mut keys);
    for (key, part) in &keys {
        let about = part["description"].as_str().unwrap();
        assert!(about.len() > 10, "{key} says {about:?}");
        if let Some(default) = part.get("default") {
            assert!(fits(part, default, &schema), "{key}: {default}");
        }
    }
    assert!(keys.len() > 120, "{} keys", keys.len());
}

// OPS-7
#[test]
fn schema_and_show_know_the_same_keys() {
    let mut in_schema = Vec::new();
    leaves(&parsed_schema(), "", &mut in_schema);
    // Whatever the operator names, lists or leaves away is in neither.
    let chosen = [
        "upstreams.",
        "routes.",
        "providers.",
        "tls.certificates",
        "server.listen",
        "front_door.jwt",
        "front_door.mtls",
        "front_door.service_token",
        "management.oidc",
        "vault.keks",
        "budgets.list",
        "accepts[]",
        "wallets.",
        "x402.networks.",
        "x402.facilitators.",
        "x402.rpc.",
        "param_whitelist.",
        "audit.hold[]",
        "audit.sinks[]",
        // A section, or `off`.
        "audit.rotate.",
        "budgets.known_tools[]",
        "models.catalog[]",
        "hooks.on_",
        "webhooks[]",
    ];
    let in_schema: BTreeSet<_> = in_schema
        .into_iter()
        .map(|(key, _)| key)
        .filter(|key| {
            let is_chosen = chosen.iter().any(|part| key.contains(part));
            !is_chosen || key.starts_with("free_routes.")
        })
        .collect();
    let options = ShowOptions {
        defaults: true,
        ..ShowOptions::default()
    };
    let shown = show(&Case::bare().loaded(), options);
    let in_show: BTreeSet<_> = shown
        .lines()
        .filter_map(|line| Some(line.split_once(": ")?.0.to_owned()))
        .filter(|key| key != "management.key")
        .collect();
    assert_eq!(in_schema, in_show);
}

// OPS-7
#[test]
fn both_examples_load() {
    let env = [("OPENAI_API_KEY", "sk-1")];
    let short = Case::yaml(&example(false)).env(&env).loaded();
    assert_eq!(short.settings.providers.len(), 1);
    assert_eq!(short.warnings, Vec::<String>::new());

    let full = Case::yaml(&example(true)).loaded();
    assert_eq!(full.warnings, Vec::<String>::new());
    // It writes the defaults, so it must be the defaults.
    let defaults = Case::bare().loaded();
    assert_eq!(
        format!("{:?}", full.settings),
        format!("{:?}", defaults.settings)
    );
}

// OPS-7
#[test]
fn the_full_example_has_every_key_and_fits_the_schema() {
    let text = example(true);
    assert!(text.starts_with("# yaml-language-server: $schema="));
    let mut keys = Vec::new();
    leaves(&parsed_schema(), "", &mut keys);
    for (key, _) in keys {
        let name = key.rsplit('.').next().unwrap();
        assert!(text.contains(&format!("{name}:")), "{key}");
    }
}

#[test]
fn every_example_of_the_repository_loads() {
    let env = [
        ("OPENAI_API_KEY", "sk-1"),
        ("WEATHER_API_KEY", "w-1"),
        ("FACILITATOR_URL", "https://facilitator.example"),
    ];
    for (name, text) in [
        (
            "one-provider",
            include_str!("../../../../examples/one-provider.yaml"),
        ),
        (
            "paid-api",
            include_str!("../../../../examples/paid-api.yaml"),
        ),
        (
            "plain-upstream",
            include_str!("../../../../examples/plain-upstream.yaml"),
        ),
        ("sandbox", include_str!("../../../../examples/sandbox.yaml")),
    ] {
        let loaded = Case::yaml(text).env(&env).loaded();
        assert_eq!(loaded.warnings, Vec::<String>::new(), "{name}");
    }
}

/// Written by `tollkeep config reference > docs/reference/config.md`.
#[test]
fn the_committed_reference_is_fresh() {
    let committed = include_str!("../../../../docs/reference/config.md");
    assert!(
        committed == reference(),
        "run `tollkeep config reference > docs/reference/config.md`"
    );
}

// OPS-10
#[test]
fn defaults_are_those_of_the_full_products_file() {
    let tree: Value = serde_saphyr::from_str(include_str!("../data/full_tree.yaml")).unwrap();
    let mut keys = Vec::new();
    leaves(&parsed_schema(), "", &mut keys);
    let mut compared = 0;
    for (key, part) in keys {
        let written = tree.pointer(&format!("/{}", key.replace('.', "/")));
        let (Some(written), Some(default)) = (written, part.get("default")) else {
            continue;
        };
        // A day is a day, two minutes are two minutes.
        let same = [("24h", "1d"), ("300s", "5m"), ("120s", "2m"), ("60s", "1m")];
        let is_same = same
            .iter()
            .any(|(one, other)| written == one && default == other);
        let written = if is_same { default } else { written };
        // So is a minute.
        let written = if written == "60s" && *default == 60 {
            default
        } else {
            written
        };
        // 80 and 443 go without saying, and so do all events; a size is shown in bytes.
        if matches!(
            &*key,
            "egress.ports"
                | "audit.events"
                | "audit.rotate.size"
                | "cache.max_bytes"
                | "cache.max_object_bytes"
                | "logging.rotation.max_size"
        ) {
            continue;
        }
        // This reader takes `on` for a boolean; ours does not.
        let written = if *written == true && default == "on" {
            default
        } else {
            written
        };
        assert_eq!(default, written, "{key}");
        compared += 1;
    }
    assert!(compared > 80, "{compared} keys compared");
}
