//! The extension `bazaar` of version 2: how a resource is asked for, for those who list what is sold.

use serde_json::{Value, json};

/// The name of the extension on the wire.
pub(super) const NAME: &str = "bazaar";
/// Methods whose requests say what they want in the query.
const BY_QUERY: [&str; 3] = ["GET", "HEAD", "DELETE"];
/// Methods whose requests say it in a body.
const BY_BODY: [&str; 3] = ["POST", "PUT", "PATCH"];

/// How a resource is asked for by this method; `None` for methods that lists don't know.
pub(super) fn declared(method: &str) -> Option<Value> {
    let text = json!({ "type": "string" });
    let texts = json!({ "type": "object", "additionalProperties": text });
    let (input, methods, required) = if BY_QUERY.contains(&method) {
        let input = json!({ "type": "http", "method": method });
        (input, BY_QUERY, json!(["type", "method"]))
    } else if BY_BODY.contains(&method) {
        let input = json!({ "type": "http", "method": method, "bodyType": "json", "body": {} });
        let required = json!(["type", "method", "bodyType", "body"]);
        (input, BY_BODY, required)
    } else {
        return None;
    };
    let mut properties = json!({
        "type": { "type": "string", "const": "http" },
        "method": { "type": "string", "enum": methods },
        "queryParams": texts,
    });
    if let Some(properties) = properties
        .as_object_mut()
        .filter(|_| BY_BODY.contains(&method))
    {
        let kinds = json!({ "type": "string", "enum": ["json", "form-data", "text"] });
        properties.insert("bodyType".to_owned(), kinds);
        properties.insert("body".to_owned(), json!({ "type": "object" }));
    }
    Some(json!({
        "info": { "input": input },
        "schema": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {
                "input": {
                    "type": "object",
                    "properties": properties,
                    "required": required,
                    "additionalProperties": false,
                },
            },
            "required": ["input"],
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    // PAY-114
    #[test]
    fn what_is_declared_has_what_its_schema_requires_and_nothing_else() {
        for method in BY_QUERY.into_iter().chain(BY_BODY) {
            let told = declared(method).unwrap();
            let input = told["info"]["input"].as_object().unwrap();
            let schema = &told["schema"]["properties"]["input"];
            assert_eq!(input["method"], method);
            for name in schema["required"].as_array().unwrap() {
                assert!(
                    input.contains_key(name.as_str().unwrap()),
                    "{method} {name}"
                );
            }
            let known = schema["properties"].as_object().unwrap();
            assert!(input.keys().all(|name| known.contains_key(name)));
            let methods = known["method"]["enum"].as_array().unwrap();
            assert!(methods.iter().any(|one| one == method));
            assert_eq!(input.contains_key("bodyType"), BY_BODY.contains(&method));
        }
        assert_eq!(declared("OPTIONS"), None);
    }
}
