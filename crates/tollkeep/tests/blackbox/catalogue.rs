//! Lists of models and counts of tokens: what the gateway tells of models by itself.

use crate::callers::{bearer, get};
use crate::fixture::{UPSTREAM_KEY, gateway, llm, llm_call};
use crate::held::budget;
use serde_json::{Value, json};
use tollkeep_testkit::{Answer, Gateway, Origin, json as answer};

/// A gateway with a provider of each dialect, and more lines of configuration.
fn both(origin: &Origin, more: &str) -> (Gateway, String) {
    let url = origin.url();
    let provider = |name: &str, models: &str| {
        format!(
            "  {name}:\n    base_url: \"{url}/v1\"\n    allow_private: [\"127.0.0.1/32\"]\n    models: {models}\n    \
             credentials: [{{ secret: \"${{UPSTREAM_KEY}}\" }}]\n"
        )
    };
    let config = format!(
        "providers:\n{}{}{more}",
        provider("openai", "[gpt-4o, gpt-4o-2024-08-06, mine, \"o*\"]"),
        provider("anthropic", "[claude-sonnet-4-5, \"claude-*\"]"),
    );
    let gateway = gateway(config).env("UPSTREAM_KEY", UPSTREAM_KEY).start();
    let token = gateway.mint_token(&json!({ "project": "default" }));
    (gateway, token)
}

fn listed(gateway: &Gateway, token: &str, path: &str, more: &str) -> Answer {
    gateway.call(&get(path, &format!("{}{more}", bearer(token))))
}

const VERSION: &str = "anthropic-version: 2023-06-01\r\n";

// LLM-70
#[test]
fn models_are_listed_in_pages_for_clients_of_gemini() {
    let (gateway, token) = both(&Origin::plain(), "");
    let ids = ["claude-sonnet-4-5", "gpt-4o", "gpt-4o-2024-08-06", "mine"];
    let key = format!("x-goog-api-key: {token}\r\n");
    let google = |path: &str| gateway.call(&get(path, &key));
    for path in ["/v1beta/models", "/v1/models"] {
        let first = google(&format!("{path}?pageSize=3")).json();
        let found = first["models"].as_array().unwrap().iter();
        let found: Vec<_> = found.map(|one| one["name"].clone()).collect();
        assert_eq!(found, ids.map(|id| format!("models/{id}"))[..3], "{path}");
        let next = first["nextPageToken"].as_str().unwrap();
        let last = google(&format!("{path}?pageSize=3&pageToken={next}")).json();
        assert_eq!(
            last["models"][0]["name"],
            format!("models/{}", ids[3]),
            "{path}"
        );
        assert_eq!(last["nextPageToken"], Value::Null, "{path}");
        let one = google(&format!("{path}/gpt-4o"));
        assert_eq!(one.json()["name"], "models/gpt-4o", "{path}");
        // No provider here speaks that dialect.
        assert_eq!(
            one.json()["supportedGenerationMethods"],
            json!([]),
            "{path}"
        );
        for (query, status, word) in [
            ("?pageSize=x", 400, "INVALID_ARGUMENT"),
            ("/none", 404, "NOT_FOUND"),
        ] {
            let refused = google(&format!("{path}{query}"));
            let told = refused.json()["error"]["status"].clone();
            assert_eq!(
                (refused.status, told),
                (status, json!(word)),
                "{path}{query}"
            );
        }
    }
}

// LLM-70 LLM-71 LLM-74
#[test]
fn models_are_listed_in_the_form_of_whoever_asks() {
    let origin = Origin::plain();
    let (gateway, token) = both(&origin, "");
    let ids = ["claude-sonnet-4-5", "gpt-4o", "gpt-4o-2024-08-06", "mine"];
    for path in ["/v1/models", "/models", "/openai/v1/models"] {
        let list = listed(&gateway, &token, path, "");
        assert_eq!(list.status, 200, "{path}: {}", list.text());
        let model =
            |id: &str| json!({"id": id, "object": "model", "created": 0, "owned_by": "tollkeep"});
        assert_eq!(
            list.json(),
            json!({"object": "list", "data": ids.map(model)}),
            "{path}"
        );
    }
    for (path, more) in [("/v1/models", VERSION), ("/anthropic/v1/models", "")] {
        let list = listed(&gateway, &token, &format!("{path}?limit=3"), more);
        assert_eq!(
            list.field("request-id"),
            list.field("x-request-id"),
            "{path}"
        );
        let list = list.json();
        let found = list["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| &one["id"]);
        assert_eq!(found.collect::<Vec<_>>(), ids[..3], "{path}");
        assert_eq!(
            (&list["has_more"], &list["first_id"], &list["last_id"]),
            (&json!(true), &json!(ids[0]), &json!(ids[2])),
            "{path}"
        );
        let next = listed(
            &gateway,
            &token,
            &format!("{path}?limit=3&after_id={}", ids[2]),
            more,
        );
        assert_eq!(next.json()["data"][0]["id"], ids[3], "{path}");
        assert_eq!(next.json()["has_more"], false, "{path}");
        let refused = listed(&gateway, &token, &format!("{path}?limit=0"), more);
        assert_eq!(
            (refused.status, &refused.json()["error"]["type"]),
            (400, &json!("invalid_request_error")),
            "{path}"
        );
    }
    let one = listed(&gateway, &token, "/v1/models/gpt-4o", "");
    assert_eq!(one.json()["id"], "gpt-4o");
    let one = listed(&gateway, &token, "/v1/models/mine", VERSION);
    assert_eq!(
        (&one.json()["type"], &one.json()["id"]),
        (&json!("model"), &json!("mine"))
    );
    // What is served but not listed by name is not told apart from what nobody has.
    let [wild, none] = ["o3-pro", "nobody-has-it"].map(|id| {
        let answer = listed(&gateway, &token, &format!("/v1/models/{id}"), "");
        assert_eq!(answer.status, 404, "{id}");
        answer.text().replace(id, "")
    });
    assert_eq!(wild, none);
    assert_eq!(origin.count(), 0);
}

// LLM-74
#[test]
fn what_is_known_of_models_is_told_and_the_operator_knows_better_than_the_table() {
    let more = "models:\n  catalog:\n    - { model: mine, display_name: \"Mine, 2nd\", context_window: 9000, created: 2026-01-02 }\n    \
                - { model: mine, provider: openai, max_output_tokens: 800 }\n    \
                - { model: gpt-4o, provider: anthropic, max_output_tokens: 1 }\n    \
                - { model: gpt-4o, max_output_tokens: 12345 }\nllm: { expose_providers: true }\n";
    let (gateway, token) = both(&Origin::plain(), more);
    let list = listed(&gateway, &token, "/v1/models", VERSION).json();
    let of = |id: &str| -> Value {
        let models = list["data"].as_array().unwrap();
        models.iter().find(|one| one["id"] == id).unwrap().clone()
    };
    assert_eq!(
        of("mine"),
        json!({"type": "model", "id": "mine", "display_name": "Mine, 2nd", "created_at": "2026-01-02T00:00:00Z",
               "lifecycle": "active", "max_input_tokens": 9000, "max_tokens": 800})
    );
    // The table that is shipped knows these.
    assert_eq!(of("claude-sonnet-4-5")["max_tokens"], 64_000);
    assert!(of("claude-sonnet-4-5")["max_input_tokens"].as_u64() >= Some(200_000));
    assert_eq!(of("gpt-4o")["max_tokens"], 12_345);
    assert!(of("gpt-4o")["max_input_tokens"].as_u64() >= Some(100_000));
    let one = listed(&gateway, &token, "/v1/models/mine", "").json();
    assert_eq!(
        one,
        json!({"id": "mine", "object": "model", "created": 1_767_312_000, "owned_by": "openai"})
    );
    let one = listed(&gateway, &token, "/v1/models/claude-sonnet-4-5", "").json();
    assert_eq!(one["owned_by"], "anthropic");
}

// LLM-73
#[test]
fn a_model_of_which_nothing_is_known_is_served_unless_its_cost_is_counted() {
    let origin = Origin::start(|_| answer(&json!({"object": "chat.completion", "choices": []})));
    let (gateway, token) = llm(&origin, "openai", "");
    let ask = |model: &str| {
        let call = json!({"model": model, "messages": []}).to_string();
        gateway.call(&llm_call("/v1/chat/completions", &token, &call))
    };
    assert_eq!(ask("made-by-nobody-yet").status, 200);
    budget(&gateway, &json!({"unit": "usd", "limit": "$10.00"}));
    let refused = ask("made-by-nobody-yet");
    assert_eq!(
        (refused.status, &*refused.code()),
        (400, "model_not_priced"),
        "{}",
        refused.text()
    );
    for told in ["made-by-nobody-yet", "prices.overrides", "self_hosted"] {
        assert!(refused.text().contains(told), "{told}: {}", refused.text());
    }
    assert_eq!(origin.count(), 1);
}

// LLM-75
#[test]
fn tokens_are_counted_by_the_provider_or_else_by_the_gateway() {
    let origin = Origin::start(|_| answer(&json!({"input_tokens": 77})));
    let (gateway, token) = both(&origin, "");
    // It costs nothing, whatever is left.
    budget(&gateway, &json!({"unit": "usd", "limit": {"nano_usd": 1}}));
    let ask = |path: &str, body: &Value| gateway.call(&llm_call(path, &token, &body.to_string()));
    let call = |model: &str| {
        json!({"model": model, "system": "abc", "messages": [{"role": "user", "content": "abcd"}],
               "tools": [{"name": "f"}]})
    };
    for path in [
        "/v1/messages/count_tokens",
        "/anthropic/v1/messages/count_tokens",
    ] {
        let exact = ask(path, &call("claude-sonnet-4-5"));
        assert_eq!(
            exact.json(),
            json!({"input_tokens": 77}),
            "{}",
            exact.text()
        );
        assert_eq!(exact.field("x-tollkeep-token-count"), Some("exact"));
        assert_eq!(origin.last().target, "/v1/messages/count_tokens");
        let before = origin.count();
        // 16 for each message and the system prompt, 32 for the tool, and 3 + 4 + 12 bytes.
        let estimate = ask(path, &call("gpt-4o"));
        assert_eq!(
            estimate.json(),
            json!({"input_tokens": 16 + 16 + 32 + 7}),
            "{}",
            estimate.text()
        );
        assert_eq!(estimate.field("x-tollkeep-token-count"), Some("estimate"));
        assert_eq!(estimate.field("request-id"), estimate.field("x-request-id"));
        assert_eq!(origin.count(), before, "nobody was asked");
    }
    for (name, body, status, kind) in [
        (
            "no messages",
            json!({"model": "gpt-4o"}),
            400,
            "invalid_request_error",
        ),
        (
            "another form",
            json!({"model": "gpt-4o", "messages": "hi"}),
            400,
            "invalid_request_error",
        ),
        ("no model", call("nobody-has-it"), 404, "not_found_error"),
    ] {
        let refused = ask("/v1/messages/count_tokens", &body);
        assert_eq!(
            (refused.status, &refused.json()["error"]["type"]),
            (status, &json!(kind)),
            "{name}"
        );
    }
}

// LLM-75
#[test]
fn tokens_of_models_that_a_caller_may_not_use_are_not_counted() {
    let (gateway, _) = both(&Origin::plain(), "");
    let token =
        gateway.mint_token(&json!({"project": "default", "bindings": {"models": ["mine"]}}));
    let ask = |model: &str| {
        let call = json!({"model": model, "messages": [{"role": "user", "content": "abc"}]});
        gateway.call(&llm_call(
            "/v1/messages/count_tokens",
            &token,
            &call.to_string(),
        ))
    };
    assert_eq!(ask("mine").json(), json!({"input_tokens": 17}));
    assert_eq!(ask("gpt-4o").status, 404);
}
