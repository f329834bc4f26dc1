//! The smallest value that fits a JSON Schema, for tool arguments and structured output.
//!
//! Knows what vendors let callers write: types, `const`, `enum`, properties, items, lengths and
//! bounds, `anyOf`, `oneOf`, `allOf` and local `$ref`. `pattern`, `not` and conditions are not read.

use serde_json::{Map, Number, Value};

/// Schemas looked at for one instance; one that refers to itself for ever ends here, in nulls.
const NODES_MAX: u32 = 10_000;
/// How deep an instance nests.
const DEPTH_MAX: u32 = 32;
/// Longest string made for a `minLength`.
const STRING_MAX: u64 = 4_096;

/// The smallest instance: of several that would do, the one with the shortest JSON text.
pub(crate) fn smallest(schema: &Value) -> Value {
    let mut maker = Maker {
        root: schema,
        nodes_left: NODES_MAX,
    };
    maker.instance(schema, DEPTH_MAX)
}

struct Maker<'a> {
    root: &'a Value,
    nodes_left: u32,
}

impl<'a> Maker<'a> {
    fn instance(&mut self, schema: &Value, depth: u32) -> Value {
        let Some(nodes_left) = self.nodes_left.checked_sub(1) else {
            return Value::Null;
        };
        self.nodes_left = nodes_left;
        let Some(depth) = depth.checked_sub(1) else {
            return Value::Null;
        };
        let Value::Object(schema) = schema else {
            return Value::Null;
        };
        if let Some(value) = schema.get("const") {
            return value.clone();
        }
        if let Some(Value::Array(values)) = schema.get("enum") {
            return shortest(values.iter().cloned());
        }
        if let Some(target) = self.target(schema) {
            return self.instance(target, depth);
        }
        if let Some(Value::Array(parts)) = schema.get("allOf") {
            let whole = parts.iter().fold(beside(schema, "allOf"), merged);
            return self.instance(&Value::Object(whole), depth);
        }
        for key in ["anyOf", "oneOf"] {
            if let Some(Value::Array(branches)) = schema.get(key) {
                let rest = beside(schema, key);
                let instances = branches.iter().map(|branch| {
                    let whole = Value::Object(merged(rest.clone(), branch));
                    self.instance(&whole, depth)
                });
                return shortest(instances);
            }
        }
        match schema.get("type") {
            Some(Value::String(name)) => self.of_type(name, schema, depth),
            Some(Value::Array(names)) => {
                let names = names.iter().filter_map(Value::as_str);
                shortest(names.map(|name| self.of_type(name, schema, depth)))
            }
            Some(_) | None => self.of_type(implied_type(schema), schema, depth),
        }
    }

    /// What a local `$ref` points to.
    fn target(&self, schema: &Map<String, Value>) -> Option<&'a Value> {
        let pointer = schema.get("$ref")?.as_str()?.strip_prefix('#')?;
        self.root.pointer(pointer)
    }

    fn of_type(&mut self, name: &str, schema: &Map<String, Value>, depth: u32) -> Value {
        match name {
            "object" => self.object(schema, depth),
            "array" => self.array(schema, depth),
            "string" => Value::String(string(schema)),
            "integer" | "number" => Value::Number(number(schema)),
            "boolean" => Value::Bool(true),
            _ => Value::Null,
        }
    }

    fn object(&mut self, schema: &Map<String, Value>, depth: u32) -> Value {
        let required = schema.get("required").and_then(Value::as_array);
        let names = required.into_iter().flatten().filter_map(Value::as_str);
        let member = |name: &str| {
            let property = schema.get("properties").and_then(|all| all.get(name));
            let property = property.or_else(|| schema.get("additionalProperties"));
            (
                name.to_owned(),
                self.instance(property.unwrap_or(&Value::Null), depth),
            )
        };
        names.map(member).collect()
    }

    fn array(&mut self, schema: &Map<String, Value>, depth: u32) -> Value {
        let wanted = count(schema, "minItems");
        let first = schema.get("prefixItems").and_then(Value::as_array);
        let first = first.map_or(&[][..], Vec::as_slice);
        let rest = schema.get("items").unwrap_or(&Value::Null);
        let schemas = first.iter().chain(std::iter::repeat(rest));
        let mut items = Vec::new();
        for (_, schema) in (0..wanted).zip(schemas) {
            if self.nodes_left == 0 {
                break;
            }
            items.push(self.instance(schema, depth));
        }
        Value::Array(items)
    }
}

/// The value with the shortest JSON text, the first of equals.
fn shortest(values: impl Iterator<Item = Value>) -> Value {
    values
        .min_by_key(|value| value.to_string().len())
        .unwrap_or_default()
}

/// The keywords beside `key`, less those that only name or explain (a root's `$defs` can be large).
fn beside(schema: &Map<String, Value>, key: &str) -> Map<String, Value> {
    let idle = ["$defs", "definitions", "title", "description", "examples"];
    let kept = schema
        .iter()
        .filter(|(name, _)| *name != key && !idle.contains(&name.as_str()));
    kept.map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// Both schemas at once: properties and required names are joined, of other keywords the part's count.
fn merged(mut whole: Map<String, Value>, part: &Value) -> Map<String, Value> {
    let Value::Object(part) = part else {
        return whole;
    };
    for (key, value) in part {
        match (whole.get_mut(key), value) {
            (Some(Value::Object(have)), Value::Object(more)) if key == "properties" => {
                have.extend(more.clone());
            }
            (Some(Value::Array(have)), Value::Array(more)) if key == "required" => {
                have.extend(more.iter().cloned());
            }
            (Some(have), _) => *have = value.clone(),
            (None, _) => {
                whole.insert(key.clone(), value.clone());
            }
        }
    }
    whole
}

/// The type a schema without `type` talks about.
fn implied_type(schema: &Map<String, Value>) -> &'static str {
    let has = |keys: &[&str]| keys.iter().any(|key| schema.contains_key(*key));
    if has(&["properties", "required"]) {
        return "object";
    }
    if has(&["items", "prefixItems", "minItems"]) {
        return "array";
    }
    if has(&["minLength", "maxLength", "pattern", "format"]) {
        return "string";
    }
    if has(&[
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
    ]) {
        return "number";
    }
    "null"
}

fn count(schema: &Map<String, Value>, key: &str) -> u64 {
    schema.get(key).and_then(Value::as_u64).unwrap_or(0)
}

fn string(schema: &Map<String, Value>) -> String {
    let sample = match schema.get("format").and_then(Value::as_str) {
        Some("date-time") => "2026-01-01T00:00:00Z",
        Some("date") => "2026-01-01",
        Some("time") => "00:00:00Z",
        Some("duration") => "P0D",
        Some("email") => "a@b.c",
        Some("hostname") => "a",
        Some("uri") => "a:b",
        Some("uuid") => "00000000-0000-0000-0000-000000000000",
        Some("ipv4") => "0.0.0.0",
        Some("ipv6") => "::",
        Some(_) | None => "",
    };
    let wanted = count(schema, "minLength").min(STRING_MAX);
    let mut text = sample.to_owned();
    for _ in text.len() as u64..wanted {
        text.push('x');
    }
    text
}

/// Zero if the bounds allow it, else the whole number nearest to it, else the bound as written.
fn number(schema: &Map<String, Value>) -> Number {
    let bound = |key: &str| schema.get(key).filter(|value| value.is_number());
    let whole = |key: &str, rounded: fn(f64) -> f64| {
        let value = bound(key)?;
        let exact = value.as_i64();
        exact.or_else(|| format!("{:.0}", rounded(value.as_f64()?)).parse().ok())
    };
    let low = [
        whole("minimum", f64::ceil),
        whole("exclusiveMinimum", f64::floor).map(|at| at.saturating_add(1)),
    ];
    let high = [
        whole("maximum", f64::floor),
        whole("exclusiveMaximum", f64::ceil).map(|at| at.saturating_sub(1)),
    ];
    let low = low.into_iter().flatten().max().unwrap_or(i64::MIN);
    let high = high.into_iter().flatten().min().unwrap_or(i64::MAX);
    if low > high {
        let between = bound("minimum").or_else(|| bound("maximum"));
        return between
            .and_then(Value::as_number)
            .cloned()
            .unwrap_or_else(|| 0.into());
    }
    let step = schema
        .get("multipleOf")
        .and_then(Value::as_i64)
        .unwrap_or(1)
        .max(1);
    let nearest = 0.clamp(low, high);
    let over = nearest.rem_euclid(step);
    let stepped = match (over, nearest > 0) {
        (0, _) => nearest,
        (_, true) => nearest.saturating_add(step - over),
        (_, false) => nearest.saturating_sub(over),
    };
    stepped.into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    // OPS-23
    #[test]
    fn the_smallest_instance_fits_its_schema() {
        for (name, schema, want) in [
            ("nothing said", json!({}), json!(null)),
            ("anything", json!(true), json!(null)),
            (
                "required members only, in order",
                json!({"type": "object", "required": ["b", "a"],
                    "properties": {"a": {"type": "string"}, "b": {"type": "integer"}, "c": {}}}),
                json!({"b": 0, "a": ""}),
            ),
            ("implied object", json!({"properties": {}}), json!({})),
            ("constant", json!({"const": [1]}), json!([1])),
            (
                "shortest of an enumeration",
                json!({"enum": ["long", "x", "y"]}),
                json!("x"),
            ),
            (
                "shortest type",
                json!({"type": ["string", "null"]}),
                json!(""),
            ),
            (
                "length",
                json!({"type": "string", "minLength": 3}),
                json!("xxx"),
            ),
            (
                "format",
                json!({"type": "string", "format": "email"}),
                json!("a@b.c"),
            ),
            (
                "items",
                json!({"minItems": 2, "items": {"type": "boolean"}}),
                json!([true, true]),
            ),
            (
                "a tuple",
                json!({"type": "array", "minItems": 2, "prefixItems": [{"const": 1}, {"const": "a"}]}),
                json!([1, "a"]),
            ),
        ] {
            assert_eq!(smallest(&schema), want, "{name}");
        }
    }

    // OPS-23
    #[test]
    fn numbers_are_zero_or_as_near_to_it_as_their_bounds_allow() {
        for (name, schema, want) in [
            (
                "minimum",
                json!({"type": "integer", "minimum": 5}),
                json!(5),
            ),
            (
                "fraction below",
                json!({"type": "integer", "minimum": 1.5}),
                json!(2),
            ),
            (
                "above",
                json!({"type": "number", "exclusiveMinimum": 0}),
                json!(1),
            ),
            ("maximum below zero", json!({"maximum": -3}), json!(-3)),
            (
                "step",
                json!({"type": "integer", "minimum": 5, "multipleOf": 4}),
                json!(8),
            ),
            (
                "step down",
                json!({"type": "integer", "maximum": -5, "multipleOf": 4}),
                json!(-8),
            ),
            (
                "no whole number between",
                json!({"type": "number", "minimum": 0.25, "maximum": 0.75}),
                json!(0.25),
            ),
        ] {
            assert_eq!(smallest(&schema), want, "{name}");
        }
    }

    // OPS-23
    #[test]
    fn schemas_made_of_schemas_have_an_instance_too() {
        for (name, schema, want) in [
            (
                "shortest branch",
                json!({"anyOf": [{"type": "object"}, {"type": "integer"}]}),
                json!(0),
            ),
            (
                "all parts",
                json!({"allOf": [
                    {"properties": {"a": {"const": 1}}, "required": ["a"]},
                    {"properties": {"b": {"const": 2}}, "required": ["b"]}]}),
                json!({"a": 1, "b": 2}),
            ),
            (
                "reference",
                json!({"$ref": "#/$defs/city", "$defs": {"city": {"type": "string", "minLength": 1}}}),
                json!("x"),
            ),
        ] {
            assert_eq!(smallest(&schema), want, "{name}");
        }
    }

    #[test]
    fn a_schema_without_end_still_has_an_instance() {
        let endless =
            json!({"type": "object", "required": ["next"], "properties": {"next": {"$ref": "#"}}});
        assert!(smallest(&endless).to_string().len() < 1_000);
        let wide = json!({"$defs": {"a": {"type": "array", "minItems": 1_000_000, "items": {"$ref": "#/$defs/a"}}},
            "$ref": "#/$defs/a"});
        assert!(smallest(&wide).to_string().len() < 1_000_000);
        let long = json!({"type": "string", "minLength": u64::MAX});
        assert_eq!(smallest(&long).as_str().map(str::len), Some(4_096));
    }
}
