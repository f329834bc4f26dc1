//! Policies by value.

use serde_json::{Value, json};
use std::sync::Arc;
use tollkeep_policy::call_policy::*;

fn policy(written: &Value) -> Arc<CallPolicy> {
    Arc::new(serde_json::from_value(written.clone()).unwrap())
}

fn faults(written: &Value) -> Vec<String> {
    let written: WrittenPolicy = serde_json::from_value(written.clone()).unwrap();
    let faults = CallPolicy::new(written).err().unwrap_or_default();
    faults.iter().map(ToString::to_string).collect()
}

/// Name, policy, method and path, fields, and why it is refused.
type HeadRow<'a> = (
    &'a str,
    Value,
    (&'a str, &'a str),
    Lines<'a>,
    Option<&'a str>,
);

type Lines<'a> = &'a [(&'a str, &'a str)];

fn head(
    policies: &[Arc<CallPolicy>],
    (method, path): (&str, &str),
    fields: Lines<'_>,
) -> Result<(), CallRefusal> {
    let fields = fields.iter();
    let facts = HeadFacts {
        method,
        path,
        fields: fields.map(|(name, value)| (name.as_bytes(), value.as_bytes())),
    };
    check_head(policies, &facts)
}

// ID-90
#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn each_rule_on_the_head_says_its_own_no() {
    let chat = ("POST", "/v1/chat/completions");
    let origin = ("Origin", "https://app.example");
    let rows: &[HeadRow<'_>] = &[
        ("nothing", json!({}), chat, &[], None),
        (
            "a method",
            json!({"allowed_methods": ["POST"]}),
            chat,
            &[],
            None,
        ),
        (
            "no method",
            json!({"allowed_methods": []}),
            chat,
            &[],
            Some("policy_method"),
        ),
        (
            "another method",
            json!({"allowed_methods": ["GET"]}),
            chat,
            &[],
            Some("policy_method"),
        ),
        (
            "an endpoint",
            json!({"allowed_endpoints": ["/v1/chat/completions"]}),
            chat,
            &[],
            None,
        ),
        (
            "a prefix",
            json!({"allowed_endpoints": ["/v1/chat"]}),
            chat,
            &[],
            None,
        ),
        (
            "a prefix with its slash",
            json!({"allowed_endpoints": ["/v1/chat/"]}),
            chat,
            &[],
            None,
        ),
        (
            "everything",
            json!({"allowed_endpoints": ["/"]}),
            chat,
            &[],
            None,
        ),
        (
            "within a segment",
            json!({"allowed_endpoints": ["/v1/chat"]}),
            ("POST", "/v1/chatter"),
            &[],
            Some("policy_endpoint"),
        ),
        (
            "a prefix that is encoded",
            json!({"allowed_endpoints": ["/v1/%63hat"]}),
            chat,
            &[],
            None,
        ),
        (
            "no endpoint",
            json!({"allowed_endpoints": []}),
            chat,
            &[],
            Some("policy_endpoint"),
        ),
        (
            "an origin",
            json!({"allowed_origins": ["https://app.example:443"]}),
            chat,
            &[origin],
            None,
        ),
        (
            "another origin",
            json!({"allowed_origins": ["https://app.example"]}),
            chat,
            &[("origin", "https://app.example.evil")],
            Some("policy_origin"),
        ),
        (
            "no origin sent",
            json!({"allowed_origins": ["https://app.example"]}),
            chat,
            &[],
            None,
        ),
        (
            "no origin allowed",
            json!({"allowed_origins": []}),
            chat,
            &[],
            Some("policy_origin"),
        ),
        (
            "two origins sent",
            json!({"allowed_origins": ["https://app.example"]}),
            chat,
            &[origin, origin],
            Some("policy_origin"),
        ),
        (
            "an origin that is wanted",
            json!({"required_headers": ["Origin"]}),
            chat,
            &[],
            Some("policy_origin_missing"),
        ),
        (
            "a field",
            json!({"required_headers": ["X-Team"]}),
            chat,
            &[("x-team", "a")],
            None,
        ),
        (
            "a field that is not there",
            json!({"required_headers": ["X-Team"]}),
            chat,
            &[],
            Some("policy_header"),
        ),
        (
            "an empty field",
            json!({"required_headers": ["X-Team"]}),
            chat,
            &[("x-team", "")],
            Some("policy_header"),
        ),
        (
            "a field twice",
            json!({"required_headers": ["X-Team"]}),
            chat,
            &[("x-team", "a"), ("X-Team", "a")],
            Some("policy_header"),
        ),
        (
            "none required",
            json!({"required_headers": []}),
            chat,
            &[],
            None,
        ),
    ];
    for (name, written, line, fields, want) in rows {
        let got = head(&[policy(written)], *line, fields);
        assert_eq!(got.err().map(|refusal| refusal.label()), *want, "{name}");
    }
}

// ID-90
#[test]
fn a_method_that_is_refused_is_told_those_that_all_allow() {
    let policies = [
        policy(&json!({"allowed_methods": ["POST", "GET"]})),
        policy(&json!({})),
        policy(&json!({"allowed_methods": ["GET", "DELETE"]})),
    ];
    let allowed = vec!["GET"];
    assert_eq!(
        head(&policies, ("POST", "/"), &[]),
        Err(CallRefusal::Method { allowed })
    );
    assert_eq!(head(&policies, ("GET", "/"), &[]), Ok(()));
}

// ID-90
#[test]
fn models_are_those_that_all_allow_and_none_denies() {
    let both = [
        policy(&json!({"allowed_models": ["gpt-*", "claude-*"]})),
        policy(&json!({"allowed_models": ["gpt-*"], "denied_models": ["*-pro"]})),
    ];
    for (name, want) in [
        ("gpt-4o", true),
        ("claude-3", false),
        ("gpt-5-pro", false),
        ("o3", false),
    ] {
        assert_eq!(allow_model(&both, name), want, "{name}");
    }
    for (written, want) in [
        (json!({}), true),
        (json!({"allowed_models": []}), false),
        (json!({"denied_models": []}), true),
        (
            json!({"allowed_models": ["*"], "denied_models": ["*"]}),
            false,
        ),
    ] {
        assert_eq!(
            allow_model(&[policy(&written)], "gpt-4o"),
            want,
            "{written}"
        );
    }
}

// ID-91
#[test]
fn a_parameter_has_the_values_that_are_listed() {
    use ParamValue as Is;
    for (globs, value, want) in [
        (json!(["gpt-4*"]), Is::Text("gpt-4o"), true),
        (json!(["gpt-4*"]), Is::Text("o3"), false),
        (json!([]), Is::Text("gpt-4o"), false),
        (json!(["0.7"]), Is::Number("7.0e-1"), true),
        (json!(["1"]), Is::Number("1.0"), true),
        (json!(["1.0"]), Is::Number("1.0"), false),
        (json!(["true"]), Is::Word("true"), true),
        (json!(["null"]), Is::Word("null"), true),
        (json!(["*"]), Is::Opaque, false),
        (json!(["*"]), Is::Number("1e999"), false),
    ] {
        let policy = policy(&json!({"param_whitelist": {"p": globs}}));
        let rule = policy.params().first().unwrap();
        assert_eq!(rule.allows(value), want, "{value:?} {globs}");
    }
}

// EDGE-47 ID-91
#[test]
fn rules_on_the_query_decode_it_and_take_no_key_twice() {
    let rules =
        json!({"param_whitelist": {"query.size": ["x l", "m"]}, "param_required": ["query.size"]});
    for (query, want) in [
        ("size=m", None),
        ("size=x+l", None),
        ("si%7Ae=x%20l&other=1&other=2", None),
        ("size=s", Some("policy_param")),
        ("", Some("policy_param")),
        ("Size=m", Some("policy_param")),
        ("size", Some("policy_param")),
        ("size=m&size=m", Some("policy_query_twice")),
        ("size=m&s%69ze=s", Some("policy_query_twice")),
        ("size=%ff", Some("policy_param")),
    ] {
        let got = check_query(&[policy(&rules)], query.as_bytes());
        assert_eq!(got.err().map(|refusal| refusal.label()), want, "{query}");
    }
}

// ID-90
#[test]
fn more_than_is_allowed_is_brought_down_or_refused() {
    let asks = CallAsks {
        output_tokens: Some(Count::Number(500)),
        choices: Some(Count::Number(3)),
        input_tokens: 100,
        tools: 2,
        ..CallAsks::default()
    };
    let bound = |output_tokens, choices| {
        Ok(CallBounds {
            output_tokens,
            choices,
        })
    };
    let limit = |key| Err(CallRefusal::Limit(key));
    for (written, want) in [
        (json!({}), bound(None, None)),
        (json!({"max_output_tokens": 100}), bound(Some(100), None)),
        (
            json!({"max_output_tokens": 900, "on_excess": "refuse"}),
            bound(Some(900), None),
        ),
        (
            json!({"max_output_tokens": 100, "on_excess": "refuse"}),
            limit("max_output_tokens"),
        ),
        (json!({"max_n": 3}), bound(None, None)),
        (json!({"max_n": 2}), limit("max_n")),
        (
            json!({"max_n": 2, "on_excess": "clamp"}),
            bound(None, Some(2)),
        ),
        (
            json!({"max_input_tokens": 99, "on_excess": "clamp"}),
            limit("max_input_tokens"),
        ),
        (
            json!({"max_tools": 1, "on_excess": "clamp"}),
            limit("max_tools"),
        ),
        (
            json!({"max_tools": 2, "max_input_tokens": 100}),
            bound(None, None),
        ),
    ] {
        assert_eq!(check_asks(&[policy(&written)], &asks), want, "{written}");
    }
    let two = [
        policy(&json!({"max_output_tokens": 300})),
        policy(&json!({"max_output_tokens": 200})),
    ];
    assert_eq!(check_asks(&two, &asks), bound(Some(200), None));
    let odd = CallAsks {
        output_tokens: Some(Count::Other),
        ..CallAsks::default()
    };
    let strict = policy(&json!({"max_output_tokens": 300, "on_excess": "refuse"}));
    assert_eq!(check_asks(&[strict], &odd), limit("max_output_tokens"));
}

// ID-90
#[test]
fn a_feature_that_is_off_is_refused_and_no_other() {
    let asked = |key: &str| CallAsks {
        tools: u64::from(key == "allow_tools"),
        images: key == "allow_images",
        files: key == "allow_files",
        stream: key == "allow_stream",
        web_search: key == "allow_web_search",
        remote_urls: key == "allow_remote_urls",
        ..CallAsks::default()
    };
    let keys = [
        "allow_tools",
        "allow_images",
        "allow_files",
        "allow_stream",
        "allow_web_search",
        "allow_remote_urls",
    ];
    for key in keys {
        let (off, on) = (policy(&json!({key: false})), policy(&json!({key: true})));
        for other in keys {
            let want = if other == key {
                Err(CallRefusal::Feature(key))
            } else {
                Ok(CallBounds::default())
            };
            assert_eq!(
                check_asks(&[Arc::clone(&off)], &asked(other)),
                want,
                "{key} {other}"
            );
        }
        assert!(check_asks(&[on], &asked(key)).is_ok(), "{key}");
    }
}

// ID-90
#[test]
fn everything_wrong_with_a_policy_is_told_with_its_place() {
    let many: Vec<String> = (0..257).map(|n| format!("m{n}")).collect();
    for (written, want) in [
        (
            json!({"allowed_methods": ["post"]}),
            &["allowed_methods: `post`"][..],
        ),
        (
            json!({"allowed_endpoints": ["v1", "/a/../b"]}),
            &["allowed_endpoints: `v1`", "allowed_endpoints: `/a/../b`"],
        ),
        (
            json!({"allowed_models": [""]}),
            &["allowed_models: an entry is empty"],
        ),
        (
            json!({"allowed_models": many}),
            &["allowed_models: more than 256"],
        ),
        (json!({"allowed_origins": ["*"]}), &["allowed_origins: `*`"]),
        (
            json!({"required_headers": ["x_y"]}),
            &["required_headers: `x_y`"],
        ),
        (
            json!({"max_output_tokens": 0}),
            &["max_output_tokens: want"],
        ),
        (
            json!({"param_whitelist": {}}),
            &["param_whitelist: names no parameter"],
        ),
        (
            json!({"param_whitelist": {"/a~2": ["x"], "query.": ["x"], "": ["x"]}}),
            &[
                "param_whitelist.: is empty",
                "param_whitelist./a~2: is no JSON pointer",
                "param_whitelist.query.: names no key",
            ],
        ),
        (json!({"param_required": ["/~"]}), &["param_required: `/~`"]),
    ] {
        let got = faults(&written);
        assert_eq!(got.len(), want.len(), "{written}: {got:?}");
        for (got, want) in got.iter().zip(want) {
            assert!(got.starts_with(want), "{got} for {want}");
        }
    }
    for unknown in [json!({"allow_tools": "no"}), json!({"max_n": -1})] {
        assert!(
            serde_json::from_value::<WrittenPolicy>(unknown.clone()).is_err(),
            "{unknown}"
        );
    }
}

// ID-90
#[test]
fn a_policy_is_written_as_it_was_read() {
    let text = r#"{"allowed_methods":["POST"],"param_whitelist":{"/a~1b/0":["x"],"model":["gpt-*"]},"param_required":["model","seed"],"on_excess":"clamp","allow_tools":false}"#;
    let policy: CallPolicy = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_string(&policy).unwrap(), text);
    let place = |segments: &[&str]| {
        let segments = segments.iter().map(|segment| (*segment).to_owned());
        ParamPlace::Body(segments.collect())
    };
    let places: Vec<_> = policy
        .params()
        .iter()
        .map(|rule| (rule.place().clone(), rule.is_required()))
        .collect();
    let want = [
        (place(&["a/b", "0"]), false),
        (place(&["model"]), true),
        (place(&["seed"]), true),
    ];
    assert_eq!(places, want);
    assert!(
        serde_json::from_str::<WrittenPolicy>("{}")
            .unwrap()
            .is_empty()
    );
}

fn any_policy() -> impl proptest::strategy::Strategy<Value = Value> {
    use proptest::prelude::*;
    let lists = proptest::collection::vec("(gpt|o|\\*|-|4){0,3}a", 0..3);
    let methods = proptest::collection::vec(proptest::sample::select(vec!["GET", "POST"]), 0..3);
    let option = |strategy: BoxedStrategy<Value>| proptest::option::of(strategy);
    let models = lists.prop_map(|list| json!(list)).boxed();
    let numbers = (1_u64..600).prop_map(|number| json!(number)).boxed();
    let switch = any::<bool>().prop_map(|on| json!(on)).boxed();
    (
        option(methods.prop_map(|list| json!(list)).boxed()),
        option(models.clone()),
        option(models),
        option(numbers.clone()),
        option(numbers),
        option(switch),
    )
        .prop_map(|(methods, allowed, denied, output, n, tools)| {
            let members = [
                ("allowed_methods", methods),
                ("allowed_models", allowed),
                ("denied_models", denied),
                ("max_output_tokens", output),
                ("max_n", n),
                ("allow_tools", tools),
            ];
            members
                .into_iter()
                .filter_map(|(name, value)| Some((name.to_owned(), value?)))
                .collect()
        })
}

proptest::proptest! {
    // ID-90
    #[test]
    fn one_more_policy_never_allows_more(
        one in any_policy(), other in any_policy(), model in "(gpt|o|-|4){0,3}a",
        asked in 0_u64..700, method in proptest::sample::select(vec!["GET", "POST", "PUT"]),
    ) {
        let (one, both) = ([policy(&one)], [policy(&one), policy(&other)]);
        let asks = CallAsks { output_tokens: Some(Count::Number(asked)), choices: Some(Count::Number(asked)), tools: asked % 2, ..CallAsks::default() };
        if allow_model(&both, &model) {
            proptest::prop_assert!(allow_model(&one, &model));
        }
        if head(&both, (method, "/"), &[]).is_ok() {
            proptest::prop_assert!(head(&one, (method, "/"), &[]).is_ok());
        }
        if let Ok(bounds) = check_asks(&both, &asks) {
            let alone = check_asks(&one, &asks).unwrap();
            let within = |both: Option<u64>, alone: Option<u64>| alone.is_none_or(|alone| both.is_some_and(|both| both <= alone));
            proptest::prop_assert!(within(bounds.output_tokens, alone.output_tokens));
        }
    }

    // ID-90
    #[test]
    fn reading_anything_as_a_policy_ends(names in proptest::collection::vec("\\PC{0,9}", 0..4), text in "\\PC{0,20}") {
        let written = WrittenPolicy {
            allowed_endpoints: Some(names.clone()),
            allowed_origins: Some(names.clone()),
            required_headers: Some(names.clone()),
            param_required: Some(names.clone()),
            param_whitelist: Some(names.iter().map(|name| (name.clone(), vec![text.clone()])).collect()),
            ..WrittenPolicy::default()
        };
        if let Ok(policy) = CallPolicy::new(written) {
            for rule in policy.params() {
                rule.allows(ParamValue::Text(&text));
                rule.allows(ParamValue::Number(&text));
            }
        }
    }
}
