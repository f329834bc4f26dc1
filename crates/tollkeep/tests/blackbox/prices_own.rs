//! Prices that operators write while the gateway runs, and price tables that they take in.

use crate::fixture::{chat, llm};
use crate::held::{answer, body, budget, settled};
use serde_json::{Value, json};
use std::path::Path;
use tollkeep_testkit::{Gate, Gateway, Origin, PATIENCE, Step, eventually, json as answer_json};

/// A key whose secret half nobody has, and a table that it signed.
pub(crate) const KEY: &str = "9hdONI9GoV8KPJBsJSmNj4Aw4WMyvaRyYzRqtJ75GnM=";
const OTHER_KEY: &str = "6kpsY+KcUgq+9VB7Ey7F+ZVHdq6+vnuSQh7qaRRG0iw=";
pub(crate) const TABLE: &str = include_str!("data/prices.json");
pub(crate) const SIGNATURE: &str = include_str!("data/prices.json.sig");

/// A token of either kind costs so many nano-dollars.
fn price(nano_usd: u64) -> Value {
    let pico = nano_usd * 1000;
    json!({"override": {"model": "m", "max_input": 100_000, "max_output": 1000,
        "rates": [{"from": "2025-01-01T00:00:00Z", "base": {"in_text": pico, "out_text": pico}}]}})
}

fn put(gateway: &Gateway, id: &str, body: &Value) -> (u16, Value) {
    gateway.api("PUT", &format!("/api/v1/prices/overrides/{id}"), Some(body))
}

/// What the last of so many calls cost.
fn cost(gateway: &Gateway, calls: usize) -> Value {
    let line = eventually("its usage line", || {
        let lines = gateway.usage_lines();
        (lines.len() == calls)
            .then(|| lines.last().cloned())
            .flatten()
    });
    line["cost_nano_usd"].clone()
}

// LED-34
#[test]
fn a_price_of_ones_own_holds_from_the_next_call_on_and_over_a_restart() {
    let origin = Origin::start(|_| answer_json(&answer(9, 30)));
    let (mut gateway, token) = llm(&origin, "openai", "");
    let call = chat(&token, &body(false));
    assert_eq!(gateway.call(&call).status, 200);
    assert_eq!(cost(&gateway, 1), Value::Null);
    let tried = gateway.api(
        "PUT",
        "/api/v1/prices/overrides/house?dry_run=true",
        Some(&price(5)),
    );
    assert_eq!(tried.0, 200, "{}", tried.1);
    assert_eq!(gateway.call(&call).status, 200);
    assert_eq!(cost(&gateway, 2), Value::Null, "a trial changes nothing");
    let (status, put_back) = put(&gateway, "house", &price(5));
    assert_eq!(status, 200, "{put_back}");
    assert_eq!(gateway.call(&call).status, 200);
    assert_eq!(cost(&gateway, 3), json!(39 * 5));
    let (_, shown) = gateway.api("GET", "/api/v1/prices/m?provider=openai", None);
    assert_eq!(shown["source"], json!("override"), "{shown}");
    gateway.kill();
    let gateway = gateway.restart().unwrap();
    assert_eq!(gateway.call(&call).status, 200);
    assert_eq!(cost(&gateway, 4), json!(39 * 5));
    // What the settings say of other models stays when they are read again, and so does this.
    assert_eq!(
        gateway
            .api("POST", "/api/v1/config/reload", Some(&json!({})))
            .0,
        200
    );
    assert_eq!(gateway.call(&call).status, 200);
    assert_eq!(cost(&gateway, 5), json!(39 * 5));
    let (status, list) = gateway.api("GET", "/api/v1/prices/overrides", None);
    assert_eq!(
        (status, list[0]["id"].as_str()),
        (200, Some("house")),
        "{list}"
    );
    assert_eq!(
        gateway.cli(&["price", "unset", "house"]).status.code(),
        Some(0)
    );
    assert_eq!(gateway.call(&call).status, 200);
    assert_eq!(cost(&gateway, 6), Value::Null);
    assert_eq!(
        gateway.api("GET", "/api/v1/prices/overrides/house", None).0,
        404
    );
    let told = gateway.audit_line("an audit event", |line| {
        line["action"] == "price.override_remove"
    });
    assert_eq!(told["details"]["name"], json!("house"), "{told}");
}

// LED-34
#[test]
fn a_price_that_is_none_is_refused_with_its_place() {
    let (gateway, _) = llm(&Origin::plain(), "openai", "");
    assert_eq!(put(&gateway, "house", &price(5)).0, 200);
    for (name, id, body, want) in [
        ("another name for the same", "home", price(6), 409),
        ("a name that is none", "Home", price(6), 400),
        (
            "a float",
            "home",
            json!({"override": {"model": "n", "rates": [{"from": "2025-01-01T00:00:00Z", "base": {"in_text": 1.5}}]}}),
            422,
        ),
        (
            "a member that nobody knows",
            "home",
            json!({"override": {"model": "n", "markup": "11/10", "rates": []}}),
            422,
        ),
        (
            "no rates",
            "home",
            json!({"override": {"model": "n", "rates": []}}),
            422,
        ),
        ("no model", "home", json!({"override": []}), 422),
        ("nothing", "home", json!({}), 422),
    ] {
        let (status, problem) = put(&gateway, id, &body);
        assert_eq!(status, want, "{name}: {problem}");
    }
    let (_, list) = gateway.api("GET", "/api/v1/prices/overrides", None);
    assert_eq!(list.as_array().map(Vec::len), Some(1), "{list}");
}

// LED-32 LED-34
#[test]
fn a_call_is_settled_by_the_prices_of_its_quote_whatever_is_written_meanwhile() {
    let gate = Gate::default();
    let hold = gate.clone();
    let origin = Origin::start(move |_| {
        let mut steps = vec![Step::Wait(hold.clone())];
        steps.extend(answer_json(&answer(9, 30)));
        steps
    });
    let (gateway, token) = llm(&origin, "openai", "");
    assert_eq!(put(&gateway, "house", &price(2)).0, 200);
    let id = budget(
        &gateway,
        &json!({"unit": "usd", "limit": "$0.01", "durability": "strict"}),
    );
    let mut client = gateway.connect();
    assert!(client.send(&chat(&token, &body(false))));
    origin.wait_for(1);
    assert_eq!(put(&gateway, "house", &price(200)).0, 200);
    gate.open();
    assert_eq!(client.answer(PATIENCE).unwrap().status, 200);
    settled(&gateway, &id, 39 * 2);
    let call = gateway.call(&chat(&token, &body(false)));
    assert_eq!(call.status, 200, "{}", call.text());
    settled(&gateway, &id, 39 * 2 + 39 * 200);
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

// LED-30 LED-35
#[test]
fn a_price_table_is_taken_in_if_it_is_signed_and_newer() {
    let origin = Origin::start(|_| answer_json(&answer(9, 30)));
    let (mut gateway, token) = llm(
        &origin,
        "openai",
        &format!("prices: {{ keys: [\"{OTHER_KEY}\", \"{KEY}\"] }}\n"),
    );
    let call = chat(&token, &body(false));
    let (_, shipped) = gateway.api("GET", "/api/v1/prices/gpt-4o?provider=openai", None);
    let import = |gateway: &Gateway, document: &str, signature: &str| {
        let body = json!({"document": document, "signature": signature});
        gateway.api("POST", "/api/v1/prices/import", Some(&body))
    };
    for (name, document, signature) in [
        (
            "another signature",
            TABLE,
            "O5dNf2KYxx+TiqYLjXMSa4vjaXkphyXgthop3rqRzOURYzCzgT1YolHZD+Py38+jGYccoldfhk6vLFWaLbnoDQ==",
        ),
        ("other bytes", &*TABLE.replace("3000", "3001"), SIGNATURE),
        ("none", TABLE, "unsigned"),
    ] {
        let (status, problem) = import(&gateway, document, signature);
        assert_eq!(status, 422, "{name}: {problem}");
        assert!(
            problem.to_string().contains("/signature"),
            "{name}: {problem}"
        );
    }
    let file = write(gateway.folder(), "new.json", TABLE);
    write(gateway.folder(), "new.json.sig", SIGNATURE);
    let taken = gateway.cli(&["price", "import", &file]);
    assert_eq!(taken.status.code(), Some(0), "{taken:?}");
    assert_eq!(gateway.call(&call).status, 200);
    assert_eq!(cost(&gateway, 1), json!(39 * 3));
    assert_eq!(
        gateway.usage_lines()[0]["price_version"],
        json!("2027-01-01.1")
    );
    let (status, again) = import(&gateway, TABLE, SIGNATURE);
    assert_eq!(status, 409, "one that is not newer: {again}");
    gateway.kill();
    let gateway = gateway.restart().unwrap();
    assert_eq!(gateway.call(&call).status, 200);
    assert_eq!(cost(&gateway, 2), json!(39 * 3));
    assert_eq!(
        gateway.cli(&["price", "restore", "--yes"]).status.code(),
        Some(0)
    );
    let (_, back) = gateway.api("GET", "/api/v1/prices/gpt-4o?provider=openai", None);
    assert_eq!(back["sha256"], shipped["sha256"]);
}

// LED-35
#[test]
fn no_price_table_is_taken_in_where_nobody_may_sign_one_or_the_settings_name_theirs() {
    let origin = Origin::plain();
    let body = json!({"document": TABLE, "signature": SIGNATURE});
    let (gateway, _) = llm(&origin, "openai", "");
    let (status, problem) = gateway.api("POST", "/api/v1/prices/import", Some(&body));
    assert_eq!(status, 422, "{problem}");
    assert!(problem.to_string().contains("prices.keys"), "{problem}");
    let file = write(gateway.folder(), "own.json", TABLE);
    let config = format!("prices: {{ file: \"{file}\", keys: [\"{KEY}\"] }}\n");
    let (of_settings, _) = llm(&origin, "openai", &config);
    for method in ["POST", "DELETE"] {
        let body = Some(&body).filter(|_| method == "POST");
        let (status, problem) = of_settings.api(method, "/api/v1/prices/import", body);
        assert_eq!(status, 409, "{problem}");
    }
}
