//! What calls cost: in usage lines, in metrics, in the API and on the command line.

use crate::fixture::{chat, llm};
use serde_json::{Value, json};
use std::process::Output;
use tollkeep_testkit::{Gateway, Origin, Step, chunk, chunked_head, eventually, json as answer};

const ASK: &str = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}"#;
/// A model with a price of its own; text read costs a third of a cent less than it looks.
const OVERRIDES: &str = r#"prices:
  overrides:
    - { model: local, provider: openai, match: ["local-*"], max_input: 8000, max_output: 100,
        rates: [{ from: "2025-01-01T00:00:00Z", base: { in_text: 150001, out_text: 600007 } }] }
    - { model: gpt-4o-mini, provider: openai,
        rates: [{ from: "2025-01-01T00:00:00Z", base: { in_text: 1, out_text: 1 } }] }
"#;

/// Answers every call with this usage, in the name of the model that was asked for.
fn origin(usage: &Value) -> Origin {
    let usage = usage.clone();
    Origin::start(move |request| {
        let asked: Value = serde_json::from_slice(&request.body).unwrap();
        let told = json!({"object": "chat.completion", "model": asked["model"], "choices": [], "usage": usage});
        answer(&told)
    })
}

fn usage_line(gateway: &Gateway, model: &str) -> Value {
    eventually(model, || {
        let lines = gateway.usage_lines();
        lines.into_iter().find(|line| line["model_asked"] == model)
    })
}

fn ask_of(model: &str) -> String {
    ASK.replace("gpt-4o", model)
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    String::from_utf8_lossy(out).into_owned() + &String::from_utf8_lossy(err)
}

// LED-4 LED-12 LED-30 LED-31 LED-33 LED-34 LED-85
#[test]
fn a_call_is_priced_in_its_usage_line_and_in_metrics() {
    let origin = origin(&json!({
        "prompt_tokens": 1000, "completion_tokens": 10,
        "prompt_tokens_details": {"cached_tokens": 200}, "total_tokens": 1010,
    }));
    let (gateway, token) = llm(&origin, "openai", OVERRIDES);
    for model in ["gpt-4o", "local-7b", "nobody-knows"] {
        assert_eq!(gateway.call(&chat(&token, &ask_of(model))).status, 200);
    }
    // 800 × $2.50/M + 200 × $1.25/M + 10 × $10/M.
    let line = usage_line(&gateway, "gpt-4o");
    assert_eq!(line["cost_nano_usd"], 2_350_000, "{line}");
    assert_eq!(line["cost_usd"], "0.002350000", "{line}");
    assert_eq!(line["price_sha256"].as_str().unwrap().len(), 64, "{line}");
    assert!(
        line["price_version"].as_str().unwrap().starts_with("20"),
        "{line}"
    );
    // 1000 × 150 001 + 10 × 600 007 pico-dollars, rounded up once; cached text falls back.
    let line = usage_line(&gateway, "local-7b");
    assert_eq!(line["cost_nano_usd"], 156_002, "{line}");
    let line = usage_line(&gateway, "nobody-knows");
    assert_eq!(line["cost_nano_usd"], Value::Null, "{line}");
    assert_eq!(line["flags"], json!(["unpriced"]), "{line}");
    assert!(
        line["unpriced"].as_str().unwrap().contains("nobody-knows"),
        "{line}"
    );
    let metrics = eventually("metrics", || {
        let text = gateway.metrics_text();
        text.contains(r#"tollkeep_usage_quality_total{quality="reported",reason="unpriced"} 1"#)
            .then_some(text)
    });
    let spend: u64 = metrics
        .lines()
        .filter(|line| line.starts_with("tollkeep_spend_nano_usd_total{"))
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok())
        .sum();
    assert_eq!(spend, 2_350_000 + 156_002, "{metrics}");
    assert!(
        metrics.contains(r#"tollkeep_usage_quality_total{quality="reported",reason="none"} 2"#)
    );
}

// LED-13 LED-25 LED-28
#[test]
fn a_stream_that_breaks_off_is_estimated_and_one_that_lies_is_unknown() {
    let origin = Origin::start(|request| {
        let body = String::from_utf8_lossy(&request.body);
        if body.contains("lie") {
            return answer(&json!({"model": "gpt-4o", "usage": {"prompt_tokens": -1}}));
        }
        let event =
            br#"data: {"model":"gpt-4o","choices":[{"index":0,"delta":{"content":"0123456789"}}]}"#;
        vec![
            chunked_head("text/event-stream"),
            chunk(&[event, &b"\n\n"[..]].concat()),
            Step::Close,
        ]
    });
    let (gateway, token) = llm(&origin, "openai", "");
    let streamed = ASK.replace("}]}", r#"}],"stream":true,"max_tokens":100}"#);
    gateway.call(&chat(&token, &streamed));
    let line = usage_line(&gateway, "gpt-4o");
    assert_eq!(line["quality"], "estimated", "{line}");
    assert_eq!(line["flags"], json!(["cut"]), "{line}");
    // The cap that was asked for, since the ten bytes and what was under way are more.
    assert_eq!(line["usage"]["out_text"], 100, "{line}");
    let input = u64::try_from(streamed.len()).unwrap() + 64;
    assert_eq!(line["usage"]["in_text"], input, "{line}");
    assert_eq!(
        line["cost_nano_usd"],
        input * 2_500 + 100 * 10_000,
        "{line}"
    );
    let lie = ASK
        .replace("hi", "lie")
        .replace("gpt-4o", "gpt-4o-2024-11-20");
    assert_eq!(gateway.call(&chat(&token, &lie)).status, 200);
    let line = usage_line(&gateway, "gpt-4o-2024-11-20");
    assert_eq!(line["quality"], "unknown", "{line}");
    assert_eq!(line.get("cost_nano_usd"), None, "{line}");
}

// LED-30 LED-33
#[test]
fn tables_and_rules_for_unknown_models_are_taken_over_while_it_runs() {
    let origin = origin(&json!({"prompt_tokens": 100, "completion_tokens": 0}));
    let (gateway, token) = llm(&origin, "openai", "");
    let file = gateway.folder().join("prices.json");
    let table = json!({
        "format": "tollkeep-prices/1", "version": "own-1", "published_at": "2026-11-01T00:00:00Z",
        "models": [{"provider": "openai", "model": "dear", "rates": [
            {"from": "2025-01-01T00:00:00Z", "base": {"in_text": 7000, "out_text": 9000}}]}],
    });
    std::fs::write(&file, table.to_string()).unwrap();
    let config = std::fs::read_to_string(gateway.config_file()).unwrap();
    let with = |more: &str| {
        format!(
            "{config}\nprices: {{ file: \"{}\", {more} }}\n",
            file.display()
        )
    };
    gateway.configure(with("unknown_model: dearest"));
    let (status, reloaded) = gateway.api("POST", "/api/v1/config/reload", Some(&json!({})));
    assert_eq!(status, 200, "{reloaded}");
    assert_eq!(
        gateway
            .call(&chat(&token, &ask_of("never-heard-of")))
            .status,
        200
    );
    let line = usage_line(&gateway, "never-heard-of");
    assert_eq!(line["cost_nano_usd"], 700, "{line}");
    assert_eq!(line["price_version"], "own-1", "{line}");
    // A bad table is refused, and the one in use stays.
    let bad = table.to_string().replace("7000", "7000.5");
    std::fs::write(&file, bad).unwrap();
    let (status, refused) = gateway.api("POST", "/api/v1/config/reload", Some(&json!({})));
    assert_eq!(status, 422, "{refused}");
    assert!(refused.to_string().contains("dear"), "{refused}");
    assert_eq!(gateway.call(&chat(&token, &ask_of("dear"))).status, 200);
    assert_eq!(usage_line(&gateway, "dear")["cost_nano_usd"], 700);
    // Free where the machines are the operator's own.
    std::fs::write(&file, table.to_string()).unwrap();
    let own = with("unknown_model: zero").replace("base_url:", "self_hosted: true\n    base_url:");
    gateway.configure(own);
    let (status, reloaded) = gateway.api("POST", "/api/v1/config/reload", Some(&json!({})));
    assert_eq!(status, 200, "{reloaded}");
    assert_eq!(
        gateway.call(&chat(&token, &ask_of("home-made"))).status,
        200
    );
    assert_eq!(usage_line(&gateway, "home-made")["cost_nano_usd"], 0);
}

// LED-34
#[test]
fn operators_see_prices_and_who_says_so() {
    let (gateway, _) = llm(&origin(&json!({})), "openai", OVERRIDES);
    let (status, page) = gateway.api("GET", "/api/v1/prices?provider=openai", None);
    assert_eq!(status, 200, "{page}");
    let rows = page["data"].as_array().unwrap();
    assert!(rows.len() > 50 && rows.iter().all(|row| row["provider"] == "openai"));
    let (_, price) = gateway.api("GET", "/api/v1/prices/gpt-4o-mini?provider=openai", None);
    assert_eq!(price["source"], "override", "{price}");
    let differences = price["differences"].as_array().unwrap();
    let of_input = differences
        .iter()
        .find(|row| row["class"] == "in_text")
        .unwrap();
    assert_eq!(
        (&of_input["pico_usd"], &of_input["shipped_pico_usd"]),
        (&json!(1), &json!(150_000))
    );
    let path = "/api/v1/prices/gpt-4o?provider=openai&service=batch";
    let (_, price) = gateway.api("GET", path, None);
    let rates = price["rates"].as_array().unwrap();
    let input = rates
        .iter()
        .find(|rate| rate["class"] == "in_text")
        .unwrap();
    assert_eq!(input["pico_usd"], 1_250_000, "{price}");
    assert_eq!(input["usd_per_million"], "1.250000");
    for (path, want) in [
        ("/api/v1/prices/no-such-model", 404),
        ("/api/v1/prices/gpt-4o?provider=nobody", 404),
        ("/api/v1/prices/gpt-4o?at=yesterday", 400),
        ("/api/v1/prices/gpt-4o?service=express", 400),
        (
            "/api/v1/prices/gpt-4o?provider=openai&at=2001-01-01T00:00:00Z",
            404,
        ),
    ] {
        let (status, told) = gateway.api("GET", path, None);
        assert_eq!(status, want, "{path}: {told}");
    }
    let shown = gateway.cli(&[
        "price",
        "show",
        "local-7b",
        "--provider",
        "openai",
        "--json",
    ]);
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(
        (&shown["model"], &shown["max_input"]),
        (&json!("local"), &json!(8000))
    );
    let listed = text(&gateway.cli(&["price", "list", "--provider", "sandbox"]));
    assert!(listed.contains("sandbox-1"), "{listed}");
}

// LED-41 LED-43a LED-45
#[test]
fn the_bound_of_a_request_and_the_cost_of_an_answer_are_told() {
    let (gateway, _) = llm(&origin(&json!({})), "openai", "");
    let file = |name: &str, body: &str| {
        let path = gateway.folder().join(name);
        std::fs::write(&path, body).unwrap();
        path.display().to_string()
    };
    let which = ["--provider", "openai", "--model", "gpt-4o", "--json"];
    let call = |command: &[&str]| gateway.cli(&[command, &which].concat());
    let body = file("ask.json", ASK);
    let output = call(&["price", "bound", &body, "--surface", "chat"]);
    let bound: Value = serde_json::from_slice(&output.stdout).unwrap();
    let input = ASK.len() + 64 + 16;
    assert_eq!(bound["input_tokens"], input, "{bound}");
    assert_eq!(bound["cap"]["field"], "max_completion_tokens", "{bound}");
    assert_eq!(bound["cap"]["tokens"], 16_384, "{bound}");
    assert_eq!(
        bound["bound_nano_usd"],
        input * 2_500 + 16_384 * 10_000,
        "{bound}"
    );
    let odd = file(
        "odd.json",
        &ASK.replace(r#""messages""#, r#""plugins":[],"messages""#),
    );
    let refused = call(&["price", "bound", &odd, "--surface", "chat"]);
    assert!(!refused.status.success());
    assert!(
        text(&refused).contains("cost_not_boundable"),
        "{}",
        text(&refused)
    );
    assert!(text(&refused).contains("plugins"), "{}", text(&refused));
    let told = file(
        "told.json",
        r#"{"model":"gpt-4o","usage":{"prompt_tokens":10,"completion_tokens":1}}"#,
    );
    let output = call(&["price", "cost", &told, "--dialect", "chat"]);
    let cost: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(cost["cost_usd"], "0.000035000", "{cost}");
}

/// What `validate` says of models, and its warnings.
fn validated(gateway: &Gateway, config: &str) -> (Vec<Value>, String) {
    let file = gateway.folder().join("looked-at.yaml");
    std::fs::write(&file, config).unwrap();
    let run = gateway.cli(&["validate", "--json", file.to_str().unwrap()]);
    assert_eq!(run.status.code(), Some(0), "{run:?}");
    let told: Value = serde_json::from_slice(&run.stdout).unwrap();
    let models = told["models"].as_array().unwrap().clone();
    (models, told["warnings"].to_string())
}

// LED-33 LED-34
#[test]
fn a_configuration_is_checked_with_the_rates_of_its_models_and_those_that_have_none() {
    let (gateway, _) = llm(&Origin::plain(), "openai", "");
    let config = format!(
        "providers:\n  openai: {{ credentials: [{{ secret: x }}], models: [gpt-4o, gpt-4o-mini, local, nobody-knows, \"o3*\"] }}\n\
         budgets: {{ list: [{{ name: all, scope: {{ project: default }}, limit: \"$1\", window: lifetime }}, \
         {{ name: other, scope: {{ model: \"o3*\" }}, limit: \"$1\", window: lifetime }}] }}\n{}",
        OVERRIDES.replacen(
            "  overrides:\n",
            "  overrides:\n    - { markup: \"3/2\", provider: openai }\n",
            1
        )
    );
    let (models, warnings) = validated(&gateway, &config);
    let of = |name: &str| {
        let found = models.iter().find(|row| row["model"] == name);
        found
            .unwrap_or_else(|| panic!("{name}: {models:?}"))
            .clone()
    };
    let (shipped, ours, own) = (of("gpt-4o"), of("gpt-4o-mini"), of("local"));
    assert_eq!(shipped["pico_usd"]["in_text"], 2_500_000, "{shipped}");
    assert_eq!(
        shipped["pico_usd"]["out_reasoning"], 10_000_000,
        "{shipped}"
    );
    assert_eq!(shipped["in_text_usd_per_million"], "2.500000", "{shipped}");
    assert_eq!(shipped["markup"], "3/2", "{shipped}");
    assert_eq!(shipped["budgets"], json!(["all"]), "{shipped}");
    let told = |row: &Value| [row["source"].clone(), row["shipped"].clone()];
    assert_eq!(told(&shipped), [json!("table"), json!("the same")]);
    assert_eq!(told(&ours), [json!("override"), json!("differs")]);
    assert_eq!(told(&own), [json!("override"), json!("has none")]);
    assert_eq!(of("nobody-knows")["source"], Value::Null);
    assert!(
        warnings
            .contains("the model `nobody-knows` has no price: the budget `all` counts its cost"),
        "{warnings}"
    );
    assert_eq!(warnings.matches("has no price").count(), 1, "{warnings}");
    let patterns = models.iter().find(|row| row["model"].is_array()).unwrap();
    assert_eq!(patterns["model"], json!(["o3*"]), "{patterns}");
    assert!(
        patterns["source"]
            .as_str()
            .unwrap()
            .ends_with(" have a price"),
        "{patterns}"
    );
    let file = gateway.folder().join("looked-at.yaml");
    let run = gateway.cli(&["validate", file.to_str().unwrap()]);
    let told = text(&run);
    for want in ["gpt-4o-mini", "2.500000", "nobody-knows", "3/2", "is valid"] {
        assert!(told.contains(want), "{want}: {told}");
    }
}

// LED-34
#[test]
fn a_price_is_shown_with_its_source_and_how_it_differs_from_the_shipped_one() {
    let (gateway, _) = llm(&Origin::plain(), "openai", OVERRIDES);
    let show = |model: &str| {
        let run = gateway.cli(&[
            "price",
            "show",
            model,
            "--provider",
            "openai",
            "--output",
            "table",
        ]);
        text(&run)
    };
    let told = show("gpt-4o");
    assert!(told.contains("as in the shipped table"), "{told}");
    assert!(told.contains("shipped"), "{told}");
    let told = show("gpt-4o-mini");
    for want in ["override", "DIFFERENCE", "150000", "600000"] {
        assert!(told.contains(want), "{want}: {told}");
    }
    let (_, shown) = gateway.api("GET", "/api/v1/prices/gpt-4o-mini", None);
    let differs = shown["differences"].as_array().unwrap().iter();
    let input = differs
        .clone()
        .find(|row| row["class"] == "in_text")
        .unwrap();
    assert_eq!(input["pico_usd"], 1, "{shown}");
    assert_eq!(input["shipped_pico_usd"], 150_000, "{shown}");
}
