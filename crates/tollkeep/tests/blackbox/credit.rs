//! Credit that is bought ahead: asked for by a field, paid once, and used up by all that is sold by the
//! request.

use crate::bought::{bought, config, rests, token_of};
use crate::callers::{bearer, get};
use crate::fixture::gateway;
use crate::paid_fixture::{asked, open, proof, shown, signed};
use serde_json::{Value, json};
use std::thread;
use tollkeep_testkit::{
    Answer, BodyEnd, Gateway, Origin, Step, chunk, chunked_head, eventually, ok,
};

const ROUTES: &str = "  \"GET /a\": { upstream: origin, price: \"$0.01\" }\n  \
     \"GET /b\": { upstream: origin, price: \"$0.25\" }\n  \
     \"GET /units\": { upstream: origin, price: { asset: USDC, amount: \"5\" } }\n  \
     \"GET /late\": { upstream: origin, price: \"$0.02\", settlement: after-response }\n  \
     \"GET /metered\": { upstream: origin, price: \"$0.50\", billing: { model: metered, unit_cost: \"$0.01\" } }\n  \
     \"GET /free\": { upstream: origin, price: \"$0\", rate_limit: { requests: 100, window: 1s } }\n";

/// The line that asks for so much.
pub(crate) fn asks(credit: &str) -> String {
    format!("X-Tollkeep-Credit: {credit}\r\n")
}

/// Buys credit by a call of this path: its answer.
pub(crate) fn credited(gateway: &Gateway, path: &str, credit: &str) -> Answer {
    let line = asks(credit);
    let unpaid = open(gateway, &get(path, &line));
    gateway.call(&get(path, &format!("{line}{}", shown(&proof(&unpaid)))))
}

fn api(gateway: &Gateway, path: &str) -> Value {
    let (status, told) = gateway.api("GET", path, None);
    assert_eq!(status, 200, "{told}");
    told
}

/// Status, code, what is left in dollars, and for how many such calls.
fn told(answer: &Answer) -> (u16, String, Option<&str>, Option<&str>) {
    (
        answer.status,
        answer.code(),
        answer.field("x-tollkeep-credit"),
        answer.field("x-session-balance"),
    )
}

fn had<'a>(dollars: &'a str, calls: &'a str) -> (u16, String, Option<&'a str>, Option<&'a str>) {
    (200, String::new(), Some(dollars), Some(calls))
}

// PAY-75 PAY-76 PAY-77 PAY-90
#[test]
fn credit_is_asked_for_paid_once_and_pays_for_all_that_is_sold_by_the_request() {
    let origin = Origin::plain();
    let gateway = gateway(config(&origin, ROUTES)).start();
    let line = asks("$0.50");
    let unpaid = open(&gateway, &get("/a", &line));
    assert_eq!(unpaid.json()["credit"], "$0.5", "{}", unpaid.text());
    assert_eq!(unpaid.json()["accepts"][0]["maxAmountRequired"], "500000");
    let required = asked(&unpaid);
    assert_eq!(required["accepts"].as_array().unwrap().len(), 1);
    assert_eq!(required["accepts"][0]["amount"], "500000");
    assert_eq!(required["accepts"][0]["scheme"], "exact");
    let said = required["resource"]["description"].to_string();
    assert!(said.contains("Credit of $0.5"), "{said}");
    // Without the field it is the price, as ever.
    let plain = gateway.call(&get("/a", ""));
    assert_eq!(asked(&plain)["accepts"][0]["amount"], "10000");
    assert_eq!(plain.json()["credit"], Value::Null);

    let first = gateway.call(&get("/a", &format!("{line}{}", shown(&proof(&unpaid)))));
    assert_eq!(told(&first), had("$0.49", "49"), "{first:?}");
    assert!(first.field("payment-response").is_some());
    assert_eq!(first.field("x-tollkeep-payment"), Some("charged"));
    assert_eq!(first.field("x-bolthub-payment"), Some("charged"));
    assert!(first.field("x-session-expires").unwrap().ends_with('Z'));
    let token = token_of(&first);
    for (path, dollars, calls) in [
        ("/b", "$0.24", "0"),
        ("/late", "$0.22", "11"),
        ("/units", "$0.219995", "43999"),
        ("/a", "$0.209995", "20"),
    ] {
        let answer = gateway.call(&get(path, &token));
        assert_eq!(told(&answer), had(dollars, calls), "{path}: {answer:?}");
        assert_eq!(answer.field("payment-response"), None, "{path}");
    }
    assert_eq!(gateway.call(&get("/free", &token)).status, 200);
    // Not enough for this one, which may be bought ahead or by itself.
    for (more, amount) in [("", "250000"), (&*asks("$1"), "1000000")] {
        let short = gateway.call(&get("/b", &format!("{token}{more}")));
        assert_eq!(short.status, 402, "{short:?}");
        assert_eq!(short.code(), "insufficient_balance");
        assert_eq!(asked(&short)["accepts"][0]["amount"], amount);
    }
    // What is sold by other measures is not had for it, nor what is bought there for this.
    let other = gateway.call(&get("/metered", &token));
    assert_eq!(
        (other.status, other.code().as_str()),
        (402, "invalid_session")
    );
    let metered = token_of(&bought(&gateway, "/metered"));
    let other = gateway.call(&get("/a", &metered));
    assert_eq!(
        (other.status, other.code().as_str()),
        (402, "invalid_session")
    );
    for request in origin.requests() {
        let names = request.fields.iter().map(|(name, _)| name.to_lowercase());
        let ours = |name: String| name.contains("credit") || name.starts_with("x-session");
        assert!(!names.into_iter().any(ours), "{request:?}");
    }
    rests(&gateway);
    let owed = api(&gateway, "/api/v1/credits");
    assert_eq!(owed[0]["amount"], (209_995 + 490_000).to_string(), "{owed}");
}

// PAY-5 PAY-75
#[test]
fn what_can_not_be_bought_is_refused_before_anybody_is_asked_to_pay() {
    let origin = Origin::plain();
    let gateway = gateway(config(&origin, ROUTES)).start();
    open(&gateway, &get("/a", ""));
    for (path, line, code) in [
        ("/a", asks("5"), "invalid_credit"),
        ("/a", asks("$0"), "invalid_credit"),
        ("/a", asks("$-1"), "invalid_credit"),
        ("/a", asks(""), "invalid_credit"),
        ("/a", asks("$1e3"), "invalid_credit"),
        ("/a", asks("21sat"), "invalid_credit"),
        ("/a", asks("$99999999999999999999"), "invalid_credit"),
        ("/a", asks("$9999999999"), "invalid_credit"),
        ("/a", asks("$9223372036.854775807"), "credit_out_of_bounds"),
        ("/a", asks("$20.000000001"), "credit_out_of_bounds"),
        ("/a", asks("$0.009999999"), "credit_out_of_bounds"),
        ("/b", asks("$0.24"), "credit_out_of_bounds"),
        ("/metered", asks("$1"), "credit_not_sold"),
        (
            "/a",
            "X-Bolthub-Credit: 500\r\n".to_owned(),
            "credit_not_supported",
        ),
        ("/a", asks("$1, $2"), "bad_request"),
        ("/a", format!("{0}{0}", asks("$1")), "bad_request"),
    ] {
        let answer = gateway.call(&get(path, &line));
        assert_eq!(answer.status, 400, "{line}: {answer:?}");
        assert_eq!(answer.field("payment-required"), None, "{line}");
        assert_eq!(answer.code(), code, "{line}");
    }
    let bounds = gateway.call(&get("/a", &asks("$30")));
    assert_eq!(
        bounds.json()["reason"],
        "from $0.01 to $20",
        "{}",
        bounds.text()
    );
    let less = gateway.call(&get("/b", &asks("$0.24")));
    assert!(
        less.text().contains("what this request costs, $0.25"),
        "{}",
        less.text()
    );
    for amount in ["$0.01", "$20"] {
        assert_eq!(
            gateway.call(&get("/a", &asks(amount))).status,
            402,
            "{amount}"
        );
    }
    // Where nothing is to be paid, nobody buys anything.
    assert_eq!(gateway.call(&get("/free", &asks("$1"))).status, 200);
    assert_eq!(api(&gateway, "/api/v1/payments")["data"], json!([]));
}

// PAY-65 PAY-75
#[test]
fn a_proof_for_credit_buys_no_call_and_one_for_a_call_no_credit() {
    let origin = Origin::plain();
    let gateway = gateway(config(&origin, ROUTES)).start();
    let line = asks("$1");
    let unpaid = open(&gateway, &get("/a", &line));
    let for_credit = shown(&proof(&unpaid));
    let for_call = shown(&proof(&gateway.call(&get("/a", ""))));
    for (name, line, code) in [
        ("no field", for_credit.clone(), "price_mismatch"),
        (
            "another amount",
            format!("{}{for_credit}", asks("$2")),
            "invalid_payment_requirements",
        ),
        (
            "for a call",
            format!("{line}{for_call}"),
            "invalid_payment_requirements",
        ),
    ] {
        let answer = gateway.call(&get("/a", &line));
        assert_eq!(answer.status, 402, "{name}: {answer:?}");
        assert_eq!(answer.code(), code, "{name}");
    }
    assert_eq!(api(&gateway, "/api/v1/payments")["data"], json!([]));
    // Money comes first, also where calls are paid afterwards. What was bought by one route is told by
    // that one.
    let bought = gateway.call(&get("/late", &format!("{line}{for_credit}")));
    assert_eq!(told(&bought), had("$0.98", "49"), "{bought:?}");
    let again = gateway.call(&get("/a", &format!("{line}{for_credit}")));
    assert_eq!(again.code(), "payment_already_used", "{again:?}");
    assert_eq!(gateway.call(&get("/a", &for_call)).status, 200);
    rests(&gateway);
}

// PAY-75
#[test]
fn an_answer_that_was_lost_loses_no_credit() {
    let origin = Origin::plain();
    let gateway = gateway(config(&origin, ROUTES)).start();
    let line = asks("$0.30");
    let unpaid = open(&gateway, &get("/b", &line));
    let paid = get("/b", &format!("{line}{}", shown(&proof(&unpaid))));
    let first = gateway.call(&paid);
    assert_eq!(told(&first), had("$0.05", "0"), "{first:?}");
    // Its token is told again, though what is left is not enough for this.
    let gateway = gateway.restart().unwrap();
    open(&gateway, &get("/b", ""));
    let again = gateway.call(&paid);
    assert_eq!(
        (again.status, again.code().as_str()),
        (402, "insufficient_balance")
    );
    assert_eq!(token_of(&again), token_of(&first));
    assert!(again.field("payment-response").is_some(), "{again:?}");
    // Also where so much is not sold any more, or nothing at all.
    for (terms, code) in [
        ("min: \"$1\"", "credit_out_of_bounds"),
        ("sold: false", "credit_not_sold"),
    ] {
        let terms = format!("sandbox: true, credit: {{ {terms} }}");
        gateway.configure(config(&origin, ROUTES).replace("sandbox: true", &terms));
        eventually("it is not sold", || {
            (gateway.call(&get("/b", &line)).code() == code).then_some(())
        });
        let again = gateway.call(&paid);
        assert_eq!((again.status, again.code().as_str()), (400, code));
        assert_eq!(token_of(&again), token_of(&first));
        assert_eq!(gateway.call(&get("/a", &token_of(&first))).status, 200);
    }
    let refused = gateway.call(&get("/a", &asks("$1")));
    assert_eq!(refused.code(), "credit_not_sold");
    rests(&gateway);
}

// PAY-70 PAY-71 PAY-75
#[test]
fn a_call_that_fails_gives_its_credit_back() {
    let origin = Origin::start(|request| {
        let status = match request.target.as_str() {
            "/a?fail" => "503 Service Unavailable",
            "/a?late" => "429 Too Many Requests",
            "/a?no" => "404 Not Found",
            _ => return ok(b"ha"),
        };
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        vec![Step::Send(head.into_bytes())]
    });
    let gateway = gateway(config(&origin, ROUTES)).start();
    let first = credited(&gateway, "/a?fail", "$0.10");
    assert_eq!(first.status, 503, "{first:?}");
    let token = token_of(&first);
    assert!(first.field("payment-response").is_some());
    for (path, status, word, code, left) in [
        (
            "/a?fail",
            503,
            "refunded_to_balance",
            Some("upstream_failed_retryable"),
            "$0.1",
        ),
        (
            "/a?late",
            429,
            "refunded_to_balance",
            Some("upstream_failed_retryable"),
            "$0.1",
        ),
        ("/a?no", 404, "charged", Some("upstream_rejected"), "$0.09"),
        ("/a", 200, "charged", None, "$0.08"),
    ] {
        let answer = gateway.call(&get(path, &token));
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.field("x-tollkeep-payment"), Some(word), "{path}");
        assert_eq!(answer.field("x-bolthub-payment"), Some(word), "{path}");
        assert_eq!(answer.field("x-bolthub-payment-code"), code, "{path}");
        assert_eq!(answer.field("x-tollkeep-credit"), Some(left), "{path}");
    }
    rests(&gateway);
    let earned = api(&gateway, "/api/v1/revenue");
    assert_eq!(earned[0]["amount"], "20000", "{earned}");
}

// PAY-77
#[test]
fn a_hundred_calls_of_two_routes_at_once_use_up_credit_for_ten() {
    let origin = Origin::plain();
    let two = "  \"GET /x\": { upstream: origin, price: \"$0.01\" }\n  \"GET /y\": { upstream: origin, price: \"$0.01\" }\n";
    let gateway = gateway(config(&origin, two)).start();
    let token = token_of(&credited(&gateway, "/x", "$0.10"));
    let served = thread::scope(|scope| {
        let call = |at: usize| {
            let path = ["/x", "/y"][at % 2];
            let (gateway, token) = (&gateway, &token);
            scope.spawn(move || gateway.call(&get(path, token)).status)
        };
        let callers: Vec<_> = (0..100).map(call).collect();
        let told: Vec<u16> = callers.into_iter().map(|it| it.join().unwrap()).collect();
        assert!(
            told.iter().all(|status| matches!(status, 200 | 402)),
            "{told:?}"
        );
        told.into_iter().filter(|status| *status == 200).count()
    });
    assert_eq!((served, origin.count()), (9, 10));
    rests(&gateway);
}

// PAY-75 PAY-79 PAY-96 AUD-10
#[test]
fn credit_outlives_its_route_and_an_operator_sees_it_and_ends_it() {
    let origin = Origin::plain();
    let gateway = gateway(config(&origin, ROUTES)).start();
    let token = token_of(&credited(&gateway, "/b", "$1"));
    let listed = gateway.cli(&["payment", "sessions", "--json"]);
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let session = listed["data"][0].clone();
    for (member, want) in [
        ("model", json!("credit")),
        ("state", json!("open")),
        ("route", json!("*")),
        ("paid", json!("1000000")),
        ("balance", json!("750000")),
    ] {
        assert_eq!(session[member], want, "{member}: {session}");
    }
    let without = "  \"GET /a\": { upstream: origin, price: \"$0.02\" }\n";
    gateway.configure(config(&origin, without));
    eventually("the route is gone", || {
        (gateway.call(&get("/b", "")).status == 404).then_some(())
    });
    // At the price of today.
    let served = gateway.call(&get("/a", &token));
    assert_eq!(told(&served), had("$0.73", "36"), "{served:?}");
    // A restart begins with the first settings.
    let gateway = gateway.restart().unwrap();
    let served = gateway.call(&get("/a", &token));
    assert_eq!(told(&served), had("$0.72", "72"), "{served:?}");
    let id = session["id"].as_str().unwrap();
    let ended = gateway.cli(&["payment", "revoke-session", id, "--yes", "--json"]);
    assert!(ended.status.success(), "{ended:?}");
    let refused = gateway.call(&get("/a", &token));
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (402, "invalid_session")
    );
    let owed = api(&gateway, "/api/v1/credits");
    assert_eq!(owed[0]["amount"], "720000", "{owed}");
    for action in ["session.open", "session.close"] {
        let event = gateway.audit_line(action, |event| event["action"] == action);
        assert_eq!(event["details"]["name"], id, "{event}");
    }
    let opened = gateway.audit_line("credit", |event| event["action"] == "session.open");
    assert_eq!(opened["details"]["kind"], "credit", "{opened}");
    rests(&gateway);
}

// PAY-13 PAY-75
#[test]
fn credit_pays_beside_an_access_token_whose_budget_is_left_alone() {
    let origin = Origin::plain();
    let route = "  \"GET /x\": { upstream: origin, price: \"$0.01\", access: token_or_payment }\n";
    let gateway = gateway(config(&origin, route)).start();
    let token = gateway.mint_token(&json!({ "project": "default" }));
    let body = json!({
        "name": "calls", "scope": { "project": "default" }, "limit": "$0.05", "window": "lifetime",
    });
    let budget = crate::budgets::made(&gateway, &body);
    let place = format!("/api/v1/budgets/{}/windows", crate::budgets::id(&budget));
    let first = credited(&gateway, "/x", "$1");
    assert_eq!(first.status, 200, "{first:?}");
    let both = format!("{}{}", bearer(&token), token_of(&first));
    let answer = gateway.call(&get("/x", &both));
    assert_eq!(told(&answer), had("$0.98", "98"), "{answer:?}");
    let windows = api(&gateway, &place);
    assert_eq!(windows[0]["spent"], 0, "{windows}");
    let bad = format!("{}{}", bearer("tk-wrong"), token_of(&first));
    assert_eq!(gateway.call(&get("/x", &bad)).status, 401);
    let left = gateway.call(&get("/x", &token_of(&first)));
    assert_eq!(left.field("x-tollkeep-credit"), Some("$0.97"));
    rests(&gateway);
}

// PAY-41 PAY-43 PAY-75
#[test]
fn those_who_look_for_what_is_sold_are_told_of_credit() {
    let origin = Origin::plain();
    let gateway = gateway(config(&origin, ROUTES)).start();
    let x402 = gateway.call(&get("/.well-known/x402", "")).json();
    let want = json!({ "header": "X-Tollkeep-Credit", "min": "$0.01", "max": "$20", "duration": "43200m" });
    assert_eq!(x402["credit"], want, "{x402}");
    let text = gateway.call(&get("/llms.txt", "")).text();
    assert!(
        text.contains("`X-Tollkeep-Credit: $5` (from $0.01 to $20)"),
        "{text}"
    );
    let none =
        config(&origin, ROUTES).replace("sandbox: true", "sandbox: true, credit: { sold: false }");
    gateway.configure(none);
    eventually("none is sold", || {
        let x402 = gateway.call(&get("/.well-known/x402", "")).json();
        x402["credit"].is_null().then_some(())
    });
}

// PAY-75 PAY-88
#[test]
fn a_token_of_credit_that_is_forged_or_of_another_gateway_opens_nothing() {
    let origin = Origin::plain();
    let gateways = [(); 2].map(|()| gateway(config(&origin, ROUTES)).start());
    let token = token_of(&credited(&gateways[0], "/a", "$1"));
    open(&gateways[1], &get("/a", ""));
    let foreign = gateways[1].call(&get("/a", &token));
    assert_eq!(
        (foreign.status, foreign.code().as_str()),
        (402, "invalid_session")
    );
    let mut other = proof(&gateways[1].call(&get("/a", &asks("$1"))));
    other["payload"] = signed(1, 999_999);
    let less = gateways[1].call(&get("/a", &format!("{}{}", asks("$1"), shown(&other))));
    assert_eq!(less.status, 402, "{less:?}");
    assert_eq!(api(&gateways[1], "/api/v1/payments")["data"], json!([]));
}

// PAY-70 PAY-71
#[test]
fn an_event_stream_that_breaks_off_tells_what_became_of_its_money() {
    let origin = Origin::start(|request| {
        let kind = match request.target.as_str() {
            "/bytes" => "application/octet-stream",
            _ => "text/event-stream",
        };
        let mut steps = vec![chunked_head(kind), chunk(b"data: half an ev")];
        steps.push(Step::Close);
        steps
    });
    let routes = "  \"GET /events\": { upstream: origin, price: \"$0.01\" }\n  \
         \"GET /charged\": { upstream: origin, price: \"$0.01\", mid_stream: charge }\n  \
         \"GET /bytes\": { upstream: origin, price: \"$0.01\" }\n";
    let gateway = gateway(config(&origin, routes)).start();
    let credit = token_of(&credited(&gateway, "/events", "$1"));
    for (path, by_credit, told) in [
        (
            "/events",
            false,
            Some(json!({ "status": "reverted", "code": "upstream_failed_retryable" })),
        ),
        (
            "/events",
            true,
            Some(json!({ "status": "refunded_to_balance", "code": "upstream_failed_retryable" })),
        ),
        ("/charged", false, Some(json!({ "status": "charged" }))),
        ("/charged", true, Some(json!({ "status": "charged" }))),
        ("/bytes", true, None),
    ] {
        let broken = match by_credit {
            true => gateway.call(&get(path, &credit)),
            false => bought(&gateway, path),
        };
        assert_eq!(broken.status, 200, "{path}");
        assert_ne!(broken.end, BodyEnd::Whole, "{path}");
        let text = broken.text();
        assert!(text.starts_with("data: half an ev"), "{path}: {text}");
        let event = text.split_once("\n\nevent: payment-status\ndata: ");
        let event = event.map(|(_, data)| serde_json::from_str::<Value>(data.trim()).unwrap());
        assert_eq!(event, told, "{path}: {text}");
    }
    rests(&gateway);
    let sessions = api(&gateway, "/api/v1/payment-sessions");
    assert_eq!(sessions["data"][0]["balance"], "990000", "{sessions}");
}
