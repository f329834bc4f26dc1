//! Policies on calls as requests write them and answers show them.

use crate::members::{Members, pointer};
use crate::shape::{Member, bounded, choice, lists, object, switch, text, texts};
use serde_json::Value;
use std::sync::Arc;
use tollkeep_policy::call_policy::{CallPolicy, WrittenPolicy};

const MANY: u64 = 1_000_000_000;

/// A policy.
pub(crate) const POLICY: Member = object(
    "policy",
    &[
        texts("allowed_methods", 256, 256, "Methods, exact"),
        texts(
            "allowed_endpoints",
            256,
            256,
            "Path prefixes on segment borders",
        ),
        texts(
            "allowed_models",
            256,
            256,
            "Globs on the public name of a model",
        ),
        texts("denied_models", 256, 256, "The same, denied"),
        texts("allowed_origins", 256, 256, "Origins of pages"),
        texts(
            "required_headers",
            256,
            256,
            "Fields that must be there once and not empty",
        ),
        lists(
            "param_whitelist",
            "Parameter, JSON pointer or `query.` and a key, to globs of its values",
        ),
        texts("param_required", 64, 256, "Parameters that must be there"),
        bounded("max_output_tokens", 1, MANY, "Most tokens of output"),
        bounded(
            "max_input_tokens",
            1,
            MANY,
            "Most tokens of input, as estimated",
        ),
        bounded("max_n", 1, MANY, "Most answers at once"),
        bounded("max_tools", 0, MANY, "Most tools"),
        bounded("max_body_bytes", 0, 256 << 20, "Most bytes of a body"),
        choice(
            "on_excess",
            &["clamp", "refuse"],
            "What becomes of more; `clamp` for output if not given, else `refuse`",
        ),
        switch("allow_tools", "Whether calls may bring tools"),
        switch("allow_images", "Whether they may bring images"),
        switch(
            "allow_files",
            "Whether they may bring files, documents and audio",
        ),
        switch("allow_stream", "Whether their answers may be streamed"),
        switch(
            "allow_web_search",
            "Whether the provider may search the web",
        ),
        switch(
            "allow_remote_urls",
            "Whether the provider may fetch what they name",
        ),
        text(
            "when",
            4096,
            "A condition in CEL over request, caller, model, tokens_in and now",
        ),
    ],
    "What calls may ask for; an empty list allows nothing, what is left out restricts nothing",
);

/// Takes `policy`. `Some(None)`: it is there, and says nothing.
pub(crate) fn take(members: &mut Members) -> Option<Option<Arc<CallPolicy>>> {
    let is_null = members.is_null("policy");
    let Some(written) = members.take("policy") else {
        return is_null.then_some(None);
    };
    match read(written) {
        Ok(policy) => Some(policy),
        Err(faults) => {
            for (place, message) in faults {
                members.fault(&place, message);
            }
            None
        }
    }
}

/// The policy, or everything that is wrong with it, each with its place.
fn read(written: Value) -> Result<Option<Arc<CallPolicy>>, Vec<(String, String)>> {
    let whole = |message: String| vec![("policy".to_owned(), message)];
    if !written.is_object() {
        return Err(whole("must be an object".to_owned()));
    }
    let written: WrittenPolicy =
        serde_json::from_value(written).map_err(|error| whole(error.to_string()))?;
    if written.is_empty() {
        return Ok(None);
    }
    match CallPolicy::new(written) {
        Ok(policy) => Ok(Some(Arc::new(policy))),
        Err(faults) => Err(faults
            .into_iter()
            .map(|fault| {
                let steps = fault.path.iter().map(|step| pointer(step));
                let place = steps.fold("policy".to_owned(), |place, step| place + "/" + &step);
                (place, fault.problem)
            })
            .collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::Kind;
    use serde_json::json;

    // ID-90
    #[test]
    fn a_policy_is_taken_whole_or_every_fault_is_told_with_its_place() {
        for (written, want) in [
            (json!({}), Ok(false)),
            (json!({"allow_tools": null}), Ok(false)),
            (json!({"allowed_models": []}), Ok(true)),
            (
                json!({"param_whitelist": {"/a~1b": ["x"]}, "max_n": 1}),
                Ok(true),
            ),
            (json!([]), Err(vec!["policy"])),
            (json!("x"), Err(vec!["policy"])),
            (json!({"allow": true}), Err(vec!["policy"])),
            (json!({"max_n": "1"}), Err(vec!["policy"])),
            (json!({"when": "model == 'x'"}), Ok(true)),
            (json!({"when": "modl == 'x'"}), Err(vec!["policy/when"])),
            (
                json!({"allowed_methods": ["x"], "param_whitelist": {"/~/b": ["x"]}}),
                Err(vec![
                    "policy/allowed_methods",
                    "policy/param_whitelist/~1~0~1b",
                ]),
            ),
        ] {
            let told = written.to_string();
            let got = read(written).map(|policy| policy.is_some());
            let got = got.map_err(|faults| {
                faults
                    .into_iter()
                    .map(|(place, _)| place)
                    .collect::<Vec<_>>()
            });
            let want = want.map_err(|places| places.into_iter().map(str::to_owned).collect());
            assert_eq!(got, want, "{told}");
        }
    }

    // ID-90
    #[test]
    fn what_is_declared_is_what_is_read() {
        let Kind::Object(declared) = &POLICY.kind else {
            panic!("an object");
        };
        for member in *declared {
            let value = if matches!(member.kind, Kind::Switch) {
                json!(false)
            } else if matches!(member.kind, Kind::Number(..)) {
                json!(1)
            } else if let Kind::Choice(words) = &member.kind {
                json!(words.first())
            } else if matches!(member.kind, Kind::Lists) {
                json!({"p": ["x"]})
            } else if matches!(member.kind, Kind::Text(_)) {
                json!("true")
            } else {
                json!([])
            };
            let name = member.name;
            let policy = read(json!({ name: value })).unwrap().unwrap();
            let shown = serde_json::to_value(&policy).unwrap();
            assert_eq!(shown, json!({ name: value }));
        }
        let all: Vec<_> = declared.iter().map(|member| member.name).collect();
        let error = serde_json::from_value::<WrittenPolicy>(json!({"x": 1})).unwrap_err();
        let known = error.to_string();
        for name in known.split('`').skip(3).step_by(2) {
            assert!(all.contains(&name), "{name} is read and not declared");
        }
    }
}
