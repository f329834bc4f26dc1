//! What routes cost: the prices of a configuration, the quote of a request, and that nothing with a
//! price is served while nobody can pay it.

use crate::callers::get;
use crate::fixture::TOLLKEEP;
use base64::Engine;
use serde_json::{Value, json};
use std::process::{Command, Output};
use tempfile::TempDir;
use tollkeep_testkit::{Gateway, Origin};

const ROUTES: &str = include_str!("../../../payments/tests/data/routes.json");
const V1: &str = include_str!("../../../payments/tests/data/x402-v1-exact.json");
const V2: &str = include_str!("../../../payments/tests/data/x402-v2-exact.json");
/// Who is paid in the vectors.
const PAYEE: &str = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC";

/// A folder with a configuration: these sections over an upstream that nobody calls.
struct Written(TempDir);

impl Written {
    fn new(sections: &Value) -> Self {
        let mut all = json!({ "upstreams": { "api": { "url": "https://api.example" } } });
        for (name, section) in sections.as_object().unwrap() {
            all[name] = section.clone();
        }
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tollkeep.yaml"), all.to_string()).unwrap();
        Self(folder)
    }

    /// One route of this kind, and what can be paid with.
    fn route(route: &Value) -> Self {
        let mut all = market();
        all["routes"] = json!({ "POST /x/:id": with_upstream(route) });
        Self::new(&all)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(TOLLKEEP);
        let command = command.args(arguments).current_dir(self.0.path());
        command.env_clear().output().unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(arguments);
        let told = String::from_utf8(output.stdout).unwrap();
        serde_json::from_str(&told).unwrap_or_else(|_| {
            panic!("{told}{}", String::from_utf8_lossy(&output.stderr));
        })
    }

    fn check(&self) -> (bool, String) {
        let output = self.run(&["config", "check"]);
        let said = String::from_utf8(output.stderr).unwrap();
        (output.status.success(), said)
    }
}

fn market() -> Value {
    json!({
        "accepts": [{ "asset": "USDC", "network": "base-sepolia" }],
        "wallets": { "base-sepolia": PAYEE },
    })
}

fn with_upstream(route: &Value) -> Value {
    let mut route = route.clone();
    route["upstream"] = "api".into();
    route
}

// As far as it is decided here: PAY-10, PAY-26.
// PAY-11 PAY-12 PAY-24 PAY-25 PAY-33
#[test]
fn requests_have_the_route_and_price_of_the_vectors() {
    let vectors: Value = serde_json::from_str(ROUTES).unwrap();
    let mut all = market();
    for (name, route) in vectors["routes"].as_object().unwrap() {
        all["routes"][name] = with_upstream(route);
    }
    let written = Written::new(&all);
    for case in vectors["cases"].as_array().unwrap() {
        let text = |name: &str| case[name].as_str().unwrap();
        let target = match text("query") {
            "" => text("path").to_owned(),
            query => format!("{}?{query}", text("path")),
        };
        let body = written.0.path().join("body");
        std::fs::write(&body, text("body")).unwrap();
        let headers = case["headers"].as_object().unwrap();
        let headers: Vec<String> = headers
            .iter()
            .map(|(name, value)| format!("--header={name}: {}", value.as_str().unwrap()))
            .collect();
        let mut arguments = vec!["route", "explain", text("method"), &target];
        arguments.extend(["--body", "body"]);
        arguments.extend(headers.iter().map(String::as_str));
        let told = written.json(&arguments);
        let expect = &case["expect"];
        for member in ["route", "price", "params", "status"] {
            if let Some(want) = expect.get(member) {
                let want = match want.as_str() {
                    Some("$0.10") => json!("$0.1"),
                    Some("$0.70") => json!("$0.7"),
                    _ => want.clone(),
                };
                assert_eq!(told[member], want, "{} {member}: {told}", case["name"]);
            }
        }
    }
}

// As far as it is decided here: PAY-6.
// PAY-33
#[test]
fn a_route_that_costs_something_is_never_served_while_nobody_can_pay() {
    let origin = Origin::plain();
    for access in ["", "access: payment, ", "access: token_or_payment, "] {
        let route = format!(
            "upstreams: {{ api: {{ url: '{}', allow_private: ['127.0.0.1/32'] }} }}\n\
             accepts: [{{ asset: USDC, network: base }}]\nwallets: {{ base: '{PAYEE}' }}\n\
             routes:\n  'GET /x': {{ upstream: api, {access}price: '$0.01' }}\n",
            origin.url()
        );
        let refused = Gateway::builder(TOLLKEEP).config(&route).try_start().err();
        let said = refused.expect("refused").stderr;
        assert!(said.contains("nobody settles on"), "{access}{said}");
    }
    let written = Written::route(&json!({ "price": "$0.01" }));
    let (is_valid, said) = written.check();
    assert!(!is_valid && said.contains("POST /x/:id"), "{said}");
    // Its prices are shown all the same.
    let told = written.json(&["validate", "--json"]);
    assert_eq!(told["valid"], false);
    assert_eq!(told["prices"][0]["units"][0], "10000 USDC on eip155:84532");
}

// As far as it is decided here: PAY-13, PAY-15.
#[test]
fn what_costs_nothing_is_free_and_limited() {
    let origin = Origin::plain();
    let gateway = Gateway::builder(TOLLKEEP)
        .config(format!(
            "upstreams: {{ api: {{ url: '{}', allow_private: ['127.0.0.1/32'] }} }}\n\
             routes:\n  'GET /free': {{ upstream: api, price: '$0' }}\n  \
             'GET /priceless': {{ upstream: api }}\n",
            origin.url()
        ))
        .start();
    let status = |path: &str| gateway.connect().call(&get(path, "")).status;
    assert_eq!(status("/free"), 200);
    assert_eq!(status("/priceless"), 401);
    let statuses: Vec<u16> = (0..40).map(|_| status("/free")).collect();
    assert!(statuses.contains(&429), "{statuses:?}");
}

// As far as it is decided here: PAY-13, PAY-27, PAY-31.
// PAY-20 PAY-22 PAY-24 PAY-28 PAY-30
#[test]
#[expect(clippy::too_many_lines, reason = "a table of faults")]
fn what_does_not_hold_together_is_told_by_its_key() {
    let rule = json!({ "where": { "params.id": "7" }, "price": "$1" });
    let not_dollars = json!([{ "asset": "EURC", "network": "base" }]);
    for (name, route, want) in [
        ("a number", json!({ "price": 0.01 }), "is ambiguous"),
        (
            "units",
            json!({ "price": "10000" }),
            "write \"$1\" for dollars",
        ),
        (
            "no fallback",
            json!({ "match": [rule] }),
            "(fallback_missing)",
        ),
        (
            "a fallback elsewhere",
            json!({ "match": [rule], "pricing": { "fallback": "$1" } }),
            "nobody settles on",
        ),
        (
            "two fallbacks",
            json!({ "price": "$1", "fallback": "$1", "pricing": { "fallback": "$1" } }),
            "is the same as `fallback`",
        ),
        (
            "free",
            json!({ "access": "free", "price": "$1" }),
            "nobody would be asked",
        ),
        (
            "a token",
            json!({ "access": "token", "price": { "asset": "USDC", "amount": "1" } }),
            "needs a `token_price`",
        ),
        (
            "no price",
            json!({ "access": "payment" }),
            "needs a price above nothing",
        ),
        (
            "bounds crossed",
            json!({ "price": "$1", "min_price": "$2", "max_price": "$1" }),
            "`min_price` is above `max_price`",
        ),
        (
            "bounds of sats",
            json!({ "price": "21sat", "max_price": "$1" }),
            "a price here has none",
        ),
        ("sats", json!({ "price": "21sat" }), "21sat can't be paid"),
        (
            "another token",
            json!({ "price": { "asset": "EURC", "amount": "7" } }),
            "7 units of EURC can't be paid",
        ),
        (
            "an unknown token",
            json!({ "price": "$1", "accepts": not_dollars }),
            "no token \"EURC\" is known on eip155:8453",
        ),
        (
            "an unknown network",
            json!({ "price": "$1", "accepts": [{ "asset": "USDC", "network": "bose" }] }),
            "did you mean `base`?",
        ),
        (
            "nobody is paid",
            json!({ "price": "$1", "accepts": [{ "asset": "USDC", "network": "base" }] }),
            "says nobody who is paid on eip155:8453",
        ),
        (
            "a mistyped address",
            json!({ "price": "$1", "payTo": "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293Bc" }),
            "wrong checksum",
        ),
        (
            "shares",
            json!({ "price": "$1", "payTo": [{ "address": PAYEE, "share": 1 }] }),
            "no payment is split",
        ),
        (
            "Solana",
            json!({ "price": "$1", "accepts": [{ "asset": "USDC", "network": "solana" }] }),
            "which is not supported yet",
        ),
        (
            "models alone",
            json!({ "models": { "a": "$1" } }),
            "has an effect with `type",
        ),
        (
            "a pass without an end",
            json!({ "price": "$1", "billing": { "model": "time_pass" } }),
            "needs `duration_minutes`",
        ),
        (
            "calls without a number",
            json!({ "price": "$1", "billing": { "model": "token_bucket" } }),
            "needs `token_budget`",
        ),
        (
            "a deposit that nothing takes of",
            json!({ "price": "$1", "billing": { "model": "metered" } }),
            "needs `unit_cost`",
        ),
        (
            "sats",
            json!({ "price": "$1", "billing": { "model": "metered", "unitCostSats": 1 } }),
            "is not supported yet: sats are paid by Lightning",
        ),
        (
            "a deposit for less than a call",
            json!({ "price": "$1", "billing": { "model": "metered", "unit_cost": "$1.01" } }),
            "is more than price brings",
        ),
        (
            "a number that says nothing",
            json!({ "price": "$1", "billing": { "model": "time_pass", "durationMinutes": 1, "tokenBudget": 3 } }),
            "has no effect with this `model`",
        ),
        (
            "two prices for one pass",
            json!({
                "match": [{ "where": { "query.size": "xl" }, "price": "$2" }], "fallback": "$1",
                "billing": { "model": "time_pass", "durationMinutes": 1 },
            }),
            "has several prices with `billing.model: time_pass`",
        ),
        (
            "a pass that is paid afterwards",
            json!({
                "price": "$1", "settlement": "after-response",
                "billing": { "model": "time_pass", "durationMinutes": 1 },
            }),
            "what lasts longer than one call is paid first",
        ),
        (
            "a pass without an end, by its other name",
            json!({ "price": "$1", "pricing": { "model": "time" } }),
            "needs a `duration`",
        ),
        (
            "tokens that pay nobody knows what",
            json!({
                "price": "$1", "access": "token_or_payment",
                "billing": { "model": "time_pass", "durationMinutes": 1 },
            }),
            "needs a `token_price`",
        ),
        (
            "a price for tokens that are not taken",
            json!({ "price": "$1", "token_price": "$1" }),
            "access tokens are not taken here",
        ),
    ] {
        let (is_valid, said) = Written::route(&route).check();
        assert!(!is_valid && said.contains(want), "{name}: {said}");
    }
}

// PAY-33
#[test]
fn the_table_says_what_a_payment_buys_and_what_tokens_pay() {
    let written = Written::route(&json!({
        "price": "$1", "access": "token_or_payment",
        "billing": { "model": "metered", "unit_cost": "$0.25" },
    }));
    let told = written.json(&["route", "list", "--json"]);
    let row = &told["data"][0];
    assert_eq!(row["billing"], "metered", "{row}");
    assert_eq!(row["token_cost"], "$0.25", "{row}");
    assert_eq!(
        row["buys"], "A deposit: each call takes $0.25 of it.",
        "{row}"
    );
}

// PAY-53
#[test]
fn a_challenge_that_is_too_long_is_warned_of() {
    let accepts = vec![json!({ "asset": "USDC", "network": "base-sepolia" }); 8];
    let mut all = market();
    all["facilitator"] = "https://fac.example".into();
    all["routes"]["GET /x"] = with_upstream(&json!({ "price": "$1", "accepts": accepts }));
    let (is_valid, said) = Written::new(&all).check();
    assert!(is_valid && !said.contains("max_header_bytes"), "{said}");
    all["payments"] = json!({ "challenge": { "max_header_bytes": 1200 } });
    let written = Written::new(&all);
    let (is_valid, said) = written.check();
    let told = "its 8 ways to pay make a challenge of";
    assert!(is_valid && said.contains(told), "{said}");
    // The quote is what would be told.
    let told = written.json(&["route", "explain", "GET", "/x", "-H", "x-a: b"]);
    let field = told["payment_required"].as_str().unwrap();
    assert!(field.len() <= 1200, "{told}");
}

// PAY-33
#[test]
fn the_table_for_people_says_by_what_and_when_it_is_paid() {
    let mut all = market();
    all["routes"] = json!({
        "GET /x": with_upstream(&json!({ "price": "$1", "settlement": "after-response" })),
        "GET /free": with_upstream(&json!({ "price": "$0" })),
    });
    let output = Written::new(&all).run(&["config", "check"]);
    let told = String::from_utf8(output.stdout).unwrap();
    let row = |route: &str| {
        let row = told.lines().find(|line| line.contains(route));
        row.unwrap_or_else(|| panic!("{told}")).to_owned()
    };
    for part in ["RAILS", "SETTLED", "LIMIT"] {
        assert!(row("ROUTE").contains(part), "{told}");
    }
    let paid = row("GET /x");
    for part in [
        " 1000000 USDC on eip155:84532 ",
        " x402 ",
        " after-response ",
    ] {
        assert!(paid.contains(part), "{part}: {paid}");
    }
    let free = row("GET /free");
    assert!(!free.contains("USDC") && !free.contains("x402"), "{free}");
    assert!(free.contains("10 in 1 s"), "{free}");
}

/// What is said of a call on a route that costs what calls use, at most `max_price`.
fn explained(max_price: &str, body: &str, more: &[&str]) -> Value {
    let mut all = market();
    // A dollar for a million tokens in, ten for a million out.
    let base = json!({ "in_text": 1_000_000, "out_text": 10_000_000 });
    all["prices"] = json!({ "overrides": [{
        "provider": "openai", "model": "m", "max_input": 100_000, "max_output": 1000,
        "rates": [{ "from": "2025-01-01T00:00:00Z", "base": base }],
    }] });
    let terms = json!({ "model": "tokens", "markup_percent": 20 });
    let route = json!({ "pricing": terms, "max_price": max_price });
    all["routes"]["POST /chat"] = with_upstream(&route);
    let written = Written::new(&all);
    std::fs::write(written.0.path().join("body"), body).unwrap();
    written.json(&[&["route", "explain", "POST", "/chat"], more].concat())
}

const CALL: &str = r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"max_tokens":100}"#;

// PAY-33 PAY-29
#[test]
fn a_call_that_costs_what_it_uses_is_told_its_bound() {
    let told = explained("$1", CALL, &["--body", "body"]);
    let input = told["input_tokens"].as_u64().unwrap();
    assert_eq!(told["output_tokens"], 100, "{told}");
    assert_eq!(told["model"], "m", "{told}");
    // Nano-dollars: a thousand for a token in, ten for one out, a fifth more.
    let most = (input * 1_000 + 100 * 10_000) * 12 / 10;
    let dollars = format!("${}", format!("0.{most:09}").trim_end_matches('0'));
    assert_eq!(told["price"], dollars, "{told}");
    let amount = most.div_ceil(1_000).to_string();
    assert_eq!(told["offers"][0]["amount"], amount, "{told}");
    assert!(told["payment_required"].is_string(), "{told}");
    let larger = CALL.replace("100}", "200}");
    let larger = explained("$1", &larger, &["--body", "body"]);
    assert_ne!(larger["price"], told["price"], "the cap is part of it");
    let unasked = explained("$1", CALL, &["-H", "x-a: b"]);
    assert_eq!(
        unasked["bound"], "give the call as --body FILE",
        "{unasked}"
    );
    let dear = explained("$0.0001", CALL, &["--body", "body"]);
    assert_eq!(dear["refused"], "price_out_of_bounds", "{dear}");
}

// PAY-33 PAY-29
#[test]
fn a_call_that_has_no_bound_is_told_what_its_caller_would_be() {
    let unnamed = CALL.replace("\"model\":\"m\",", "");
    let unknown = CALL.replace("\"m\"", "\"nobody\"");
    let text: &[&str] = &["-H", "content-type: text/plain"];
    for (body, more, status, code) in [
        (&*unknown, &[][..], 400, "model_not_priced"),
        (&unnamed, &[], 400, "model_required"),
        ("{", &[], 400, "invalid_json"),
        (CALL, text, 415, "bad_content_type"),
    ] {
        let told = explained("$1", body, &[&["--body", "body"], more].concat());
        assert_eq!(told["status"], status, "{code}: {told}");
        assert_eq!(told["refused"], code, "{told}");
        let is_priced = told.get("price").is_some() || told.get("offers").is_some();
        assert!(!is_priced, "{told}");
    }
}

// PAY-30
#[test]
fn who_receives_payments_is_told_where_money_comes_and_nowhere_else() {
    const OTHER: &str = "0x90F79bf6EB2c4f870365E785982E1f101E93b906";
    let mut all = market();
    let facilitators = json!({ "f": { "url": "https://fac.example" } });
    all["payments"] = json!({ "x402": { "facilitators": facilitators } });
    let by_rule = json!({
        "fallback": "$0.01",
        "match": [{ "where": { "query.a": "b" }, "price": "$0.02", "payTo": OTHER }],
    });
    all["routes"] = json!({
        "GET /x": with_upstream(&json!({ "price": "$0.01" })), "GET /y": with_upstream(&by_rule),
    });
    let want = format!("payments are received by {PAYEE}, {OTHER}: a gateway that does not share");
    let (is_valid, said) = Written::new(&all).check();
    assert!(is_valid && said.contains(&want), "{said}");
    let told = Written::new(&all).json(&["validate", "--json"]);
    assert!(told["warnings"].to_string().contains(&want), "{told}");
    all["payments"] = json!({ "sandbox": true });
    let played = Written::new(&all).check();
    all["routes"] = json!({ "GET /x": with_upstream(&json!({ "price": "$0" })) });
    for (is_valid, said) in [played, Written::new(&all).check()] {
        assert!(is_valid && !said.contains("received by"), "{said}");
    }
}

// As far as it is decided here: PAY-27.
// PAY-21 PAY-24 PAY-33 PAY-102 PAY-103 PAY-104
#[test]
fn the_table_has_every_price_in_every_unit_that_is_taken() {
    let mut all = market();
    all["defaults"] =
        json!({ "price": "$0.002", "min_price": "$0.001", "max_price": "$0.5", "timeout": 90 });
    all["payments"] = json!({ "x402": {
        "networks": { "mine": "eip155:424242" },
        "assets": { "mine": { "DAI": {
            "address": "0x036CbD53842c5426634e7929541eC2318f3dCF7e", "name": "Dai", "version": "1",
            "decimals": 18, "transfer": "permit2",
        } } },
    } });
    all["accepts"] = json!([
        { "asset": "USDC", "network": "base-sepolia" }, { "asset": "DAI", "network": "mine" },
    ]);
    all["wallets"]["mine"] = PAYEE.into();
    all["routes"] = json!({
        "GET /usual": with_upstream(&json!({ "access": "payment" })),
        "GET /cheap": with_upstream(&json!({ "price": "$0.0001" })),
        "GET /dear": with_upstream(&json!({ "price": "$0.6" })),
        "GET /token": with_upstream(&json!({ "access": "token" })),
        "POST /x": with_upstream(&json!({
            "match": [{ "where": { "body.n": 4 }, "price": "$0.04", "payTo": PAYEE }],
            "fallback": "$0.01",
            "accepts": [{ "asset": "USDC", "network": "base-sepolia" }],
        })),
    });
    let written = Written::new(&all);
    let told = written.json(&["route", "list", "--json"]);
    let row = |route: &str, at: usize| {
        let rows = told["data"].as_array().unwrap().iter();
        let mut rows = rows.filter(|row| row["route"] == route);
        rows.nth(at).unwrap().clone()
    };
    let usual = row("GET /usual", 0);
    assert_eq!(usual["from"], "defaults.price");
    let units = json!([
        "2000 USDC on eip155:84532",
        "2000000000000000 DAI on eip155:424242"
    ]);
    assert_eq!(usual["units"], units);
    assert_eq!(
        (&usual["min_price"], &usual["max_price"]),
        (&json!("$0.001"), &json!("$0.5"))
    );
    assert_eq!(row("GET /token", 0).get("price"), None);
    assert_eq!(usual["rails"], json!(["x402"]));
    assert_eq!(usual["settlement"], "before-response");
    assert_eq!(row("POST /x", 0)["when"], "body.n=4");
    assert_eq!(
        row("POST /x", 1)["units"],
        json!(["10000 USDC on eip155:84532"])
    );
    let said = written.run(&["route", "list"]).stderr;
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains("takes DAI on eip155:424242"), "{said}");
    assert!(!said.contains("more than $1.00 at once"), "{said}");
    let dear = Written::route(&json!({ "price": "$1.01" })).run(&["route", "list"]);
    let said = String::from_utf8(dear.stderr).unwrap();
    assert!(said.contains("more than $1.00 at once"), "{said}");
    let explain =
        |path: &str| written.json(&["route", "explain", "GET", path, "--config", "tollkeep.yaml"]);
    let cheap = explain("/cheap");
    assert_eq!(
        (&cheap["price"], &cheap["raised_to_min_price"]),
        (&json!("$0.001"), &json!(true))
    );
    assert_eq!(cheap["offers"][0]["max_timeout_seconds"], 90);
    assert_eq!(explain("/dear")["refused"], "price_out_of_bounds");
    assert_eq!(explain("/usual")["price"], "$0.002");
}

// PAY-28
#[test]
fn a_request_costs_what_its_model_costs() {
    let written = Written::route(&json!({
        "type": "token-based", "models": { "mine-*": "$0.25" },
        "fallback": "$0.5", "pricing": { "unknown_model": "reject" },
    }));
    let quote = |body: &str| {
        std::fs::write(written.0.path().join("body"), body).unwrap();
        written.json(&["route", "explain", "POST", "/x/1", "--body", "body"])
    };
    let own = quote(r#"{"model":"mine-large"}"#);
    assert_eq!(
        (&own["price"], &own["from"]),
        (&json!("$0.25"), &json!("model mine-large"))
    );
    assert_eq!(quote(r#"{"model":"o1-pro"}"#)["price"], "$0.6");
    assert_eq!(
        quote(r#"{"model":"unheard-of"}"#)["refused"],
        "model_not_priced"
    );
    assert_eq!(quote("{}")["refused"], "model_required");
}

// As far as it is decided here: PAY-110.
#[test]
fn the_challenge_of_a_request_can_be_looked_at() {
    let written = Written::route(&json!({ "price": "$0.01" }));
    let told = written.json(&[
        "route",
        "explain",
        "POST",
        "/x/1",
        "--config",
        "tollkeep.yaml",
    ]);
    let field = told["payment_required"].as_str().unwrap();
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(field)
        .unwrap();
    let challenge: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(challenge["x402Version"], 2);
    assert_eq!(
        challenge["accepts"],
        json!([{
            "scheme": "exact", "network": "eip155:84532", "amount": "10000",
            "asset": "0x036CbD53842c5426634e7929541eC2318f3dCF7e", "payTo": PAYEE,
            "maxTimeoutSeconds": 60, "extra": { "name": "USDC", "version": "2" },
        }])
    );
}

// As far as it is decided here: PAY-5, PAY-121.
#[test]
fn a_proof_is_judged_on_the_command_line() {
    let written = Written::route(&json!({ "price": "$0.01" }));
    let field = |file: &str, name: &str, member: &str| {
        let vectors: Value = serde_json::from_str(file).unwrap();
        let cases = vectors["cases"].as_array().unwrap();
        let case = cases.iter().find(|case| case["name"] == name).unwrap();
        case[member].as_str().unwrap().to_owned()
    };
    let two = |name: &str| field(V2, name, "payment_signature_header");
    let check = |flag: &str, text: &str, at: &str| {
        let arguments = [
            "payment", "check", "POST", "/x/1", flag, text, "--at", at, "--json",
        ];
        let output = written.run(&arguments);
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(output.status.success(), told["valid"] == true, "{told}");
        told
    };
    let now = "1795300000";
    let told = check("--payment-signature", &two("v2-exact-0"), now);
    assert_eq!(told["payer"], "0x667fF918754239Bc5DfB39EfE943f29c735E7CB4");
    assert_eq!(
        told["facilitator_request"]["paymentRequirements"]["amount"],
        "10000"
    );
    let one = check(
        "--x-payment",
        &field(V1, "v1-exact-0", "x_payment_header"),
        now,
    );
    assert_eq!((&one["valid"], &one["version"]), (&json!(true), &json!(1)));
    for (text, at, want) in [
        (two("sig-bit"), now, "invalid_exact_evm_payload_signature"),
        (two("v2-exact-1"), now, "invalid_payment_requirements"),
        (
            two("v2-exact-0"),
            "1795300060",
            "invalid_exact_evm_payload_authorization_valid_before",
        ),
        ("e30".to_owned(), now, "invalid_x402_version"),
        ("%%%".to_owned(), now, "invalid_payment"),
    ] {
        let told = check("--payment-signature", &text, at);
        assert_eq!(told["reason"], want, "{told}");
    }
}
