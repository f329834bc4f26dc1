//! Bindings of a token as they are written: each entry checked, none that could mean two things.

use crate::members::Members;
use serde_json::Value;
use tollkeep_policy::permission::{self, BindingsError, parse_network};
use tollkeep_store::Bindings;

/// Takes `bindings`, with a fault at its place for what can't be taken.
pub(crate) fn take(members: &mut Members) -> Option<Bindings> {
    let written = members.take("bindings")?;
    let read = read(written).map_err(|fault| members.fault(&fault.place, fault.message));
    read.ok()
}

struct BindingFault {
    place: String,
    message: String,
}

impl BindingFault {
    fn at(member: &str, message: impl Into<String>) -> Self {
        Self {
            place: format!("bindings/{member}"),
            message: message.into(),
        }
    }
}

impl From<BindingsError> for BindingFault {
    fn from(error: BindingsError) -> Self {
        Self::at(error.member, error.problem)
    }
}

fn read(mut written: Value) -> Result<Bindings, BindingFault> {
    let whole = |message: String| BindingFault {
        place: "bindings".to_owned(),
        message,
    };
    let Some(members) = written.as_object_mut() else {
        return Err(whole("must be an object".to_owned()));
    };
    for (name, value) in members.iter() {
        let empty = match value {
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
        };
        if empty {
            let how = "is empty: leave it out to bind to nothing, or name what is allowed";
            return Err(BindingFault::at(name, how));
        }
    }
    // An address stands for the network of itself.
    for ip in members
        .get_mut("ips")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if let Some(text) = ip.as_str() {
            *ip = parse_network(text)?.to_string().into();
        }
    }
    let bindings: Bindings =
        serde_json::from_value(written).map_err(|error| whole(error.to_string()))?;
    permission::Bindings {
        ips: &bindings.ips,
        origins: &bindings.origins,
        headers: &bindings.headers,
        methods: &bindings.methods,
        routes: &bindings.routes,
        models: &bindings.models,
    }
    .validate()?;
    Ok(bindings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    // ID-22
    #[test]
    fn bindings_are_taken_whole_or_refused_with_their_place() {
        for (name, written, want) in [
            (
                "an address is a network",
                json!({"ips": ["10.1.2.3", "::1"]}),
                Ok(r#"{"ips":["10.1.2.3/32","::1/128"]}"#),
            ),
            (
                "mapped addresses are folded",
                json!({"ips": ["::ffff:10.1.2.3"]}),
                Ok(r#"{"ips":["10.1.2.3/32"]}"#),
            ),
            (
                "models",
                json!({"models": ["gpt-*"]}),
                Ok(r#"{"models":["gpt-*"]}"#),
            ),
            ("nothing written", json!({}), Ok("{}")),
            (
                "no address",
                json!({"ips": ["banana"]}),
                Err("bindings/ips"),
            ),
            (
                "host bits",
                json!({"ips": ["10.1.2.3/8"]}),
                Err("bindings/ips"),
            ),
            (
                "an empty list",
                json!({"models": []}),
                Err("bindings/models"),
            ),
            (
                "an empty map",
                json!({"headers": {}}),
                Err("bindings/headers"),
            ),
            (
                "no method",
                json!({"methods": ["get"]}),
                Err("bindings/methods"),
            ),
            (
                "no origin",
                json!({"origins": ["https://app.example/path"]}),
                Err("bindings/origins"),
            ),
            ("another type", json!({"models": "gpt-4"}), Err("bindings")),
            (
                "unknown",
                json!({"networks": ["10.0.0.0/8"]}),
                Err("bindings"),
            ),
            ("no object", json!(["10.0.0.0/8"]), Err("bindings")),
        ] {
            let got = read(written).map(|bindings| serde_json::to_string(&bindings).unwrap());
            assert_eq!(
                got.as_deref().map_err(|fault| fault.place.as_str()),
                want,
                "{name}"
            );
        }
    }
}
