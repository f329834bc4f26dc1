//! What holds for every call.

use proptest::prelude::*;
use serde_json::{Value, json};
use tollkeep_sandbox::{Framing, answer};

use crate::door::{SURFACES, Surface, anthropic, json_of, with};

/// Any JSON of a few levels, with the words of schemas and calls among its names.
fn json() -> impl Strategy<Value = Value> {
    let name = prop_oneof![
        prop::sample::select(vec![
            "type",
            "enum",
            "const",
            "anyOf",
            "allOf",
            "$ref",
            "properties",
            "required",
            "items",
            "minItems",
            "minLength",
            "minimum",
            "multipleOf",
            "content",
            "text",
            "role",
            "name",
        ])
        .prop_map(str::to_owned),
        "[a-z]{0,3}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(vec![
            "object", "array", "string", "integer", "#", "#/items", "user"
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, move |inner| {
        let members = prop::collection::vec((name.clone(), inner.clone()), 0..5);
        prop_oneof![
            prop::collection::vec(inner, 0..5).prop_map(Value::from),
            members.prop_map(|members| members.into_iter().collect()),
        ]
    })
}

/// The lengths that a plan announces are those it sends.
fn is_consistent(plan: &tollkeep_sandbox::Plan) -> bool {
    match plan.framing {
        Framing::Length(bytes) => bytes == plan.body().len() as u64,
        Framing::Chunked => plan.status == 200,
    }
}

proptest! {
    #[test]
    fn a_stream_says_what_the_whole_answer_says(text in "(?s).{0,80}", chunks in 1..20_usize) {
        let text = format!("sandbox:chunks={chunks};{text}");
        for surface in SURFACES {
            let whole = surface.say(&text);
            let streamed = surface.stream(&text);
            prop_assert_eq!(whole.status, streamed.status);
            if whole.status == 200 && whole.ending == tollkeep_sandbox::Ending::Clean {
                prop_assert_eq!(surface.text(&whole), surface.deltas(&streamed).concat());
            }
        }
    }

    // OPS-23
    #[test]
    fn no_answer_passes_its_cap(text in "[a-z ?]{0,60}", cap in 1..12_u64, think in 0..9_u64) {
        let text = format!("sandbox:think={think};{text}");
        let body = with(Surface::Messages.body("sandbox-think", &text), "max_tokens", json!(cap));
        let plan = Surface::Messages.send(&body);
        let (_, output) = Surface::Messages.usage(&plan).unwrap();
        prop_assert!(output <= i64::try_from(cap).unwrap());
    }

    #[test]
    fn any_bytes_get_a_plan(path in "/v1/[a-z_/]{0,12}|/v1/messages|/v1/embeddings", body in any::<Vec<u8>>()) {
        for headers in [Surface::Chat.headers(), anthropic()] {
            prop_assert!(is_consistent(&answer("POST", &path, &headers, &body)));
        }
    }

    #[test]
    fn any_members_get_a_plan(one in json(), other in json()) {
        for surface in SURFACES {
            for name in ["messages", "input", "prompt", "tools", "tool_choice", "text", "thinking", "max_tokens"] {
                let body = with(surface.body("sandbox-1", "Well?"), name, one.clone());
                prop_assert!(is_consistent(&surface.send(&with(body, "output_config", other.clone()))));
            }
        }
    }

    #[test]
    fn any_schema_has_an_instance(schema in json()) {
        let tool = json!({"name": "tool", "input_schema": schema});
        let body = with(Surface::Messages.body("sandbox-1", "Well?"), "tools", json!([tool]));
        let plan = Surface::Messages.send(&body);
        prop_assert_eq!(plan.status, 200);
        prop_assert!(json_of(&plan)["content"][0]["input"].is_object());
    }
}
