//! Requests that are paid for: what callers are asked, that a payment is served once, and what
//! becomes of it where nothing is delivered.

use crate::callers::get;
use crate::fixture::post;
use crate::paid_fixture::{
    CENT, Facilitator, PAYEE, Settles, USDC, asked, encode, open, proof, shop, shown, signed,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tollkeep_testkit::{Answer, BodyEnd, Origin, Step, chunk, chunked_head, ok};

fn receipt(answer: &Answer, field: &str) -> Value {
    let field = answer
        .field(field)
        .unwrap_or_else(|| panic!("no receipt: {answer:?}"));
    serde_json::from_slice(&STANDARD.decode(field).unwrap()).unwrap()
}

/// Shows a proof until nobody works on it any more: how a delivery ended is told beside its answer.
fn settled(gateway: &tollkeep_testkit::Gateway, request: &[u8]) -> Answer {
    tollkeep_testkit::eventually("nobody works on the payment", || {
        let answer = gateway.call(request);
        (answer.status != 409).then_some(answer)
    })
}

// PAY-50 PAY-52 PAY-110 PAY-111 PAY-112
#[test]
fn who_has_not_paid_is_told_once_and_in_both_versions_what_it_costs() {
    let (origin, facilitator) = (Origin::plain(), Facilitator::start());
    let gateway = shop(&origin, &facilitator, CENT)
        .set("server.public_url", "https://shop.example/")
        .start();
    let answer = open(&gateway, &get("/x?a=1", ""));
    assert_eq!(answer.field("cache-control"), Some("no-store"));
    let asked = asked(&answer);
    assert_eq!(asked["resource"]["url"], "https://shop.example/x?a=1");
    let offer = &asked["accepts"][0];
    let wanted = json!({
        "scheme": "exact", "network": "eip155:84532", "amount": "10000", "asset": USDC,
        "payTo": PAYEE, "maxTimeoutSeconds": 60,
        "extra": { "name": "USDC", "version": "2", "quote": offer["extra"]["quote"] },
    });
    assert_eq!(*offer, wanted);
    assert!(offer["extra"]["quote"].is_string());
    let body = answer.json();
    assert_eq!(
        (&body["x402Version"], &body["status"]),
        (&json!(1), &json!(402))
    );
    assert_eq!(body["code"], "payment_required");
    let one = &body["accepts"][0];
    assert_eq!(one["network"], "base-sepolia");
    assert_eq!(one["maxAmountRequired"], "10000");
    assert_eq!(one.get("outputSchema"), None);
    assert_eq!((origin.count(), facilitator.asked("/verify")), (0, 0));
}

// PAY-70 PAY-72 PAY-90 PAY-91 PAY-120 PAY-138
#[test]
fn a_payment_is_served_once_and_its_receipt_told() {
    let origin = Origin::start(|_| {
        let fields = "cache-control: public\r\npayment-response: x\r\nx-payment-response: x\r\n";
        tollkeep_testkit::with_fields(fields, b"goods")
    });
    let facilitator = Facilitator::start();
    let gateway = shop(&origin, &facilitator, CENT).start();
    let unpaid = open(&gateway, &get("/x", ""));
    let two = get("/x", &shown(&proof(&unpaid)));
    let one = json!({
        "x402Version": 1, "scheme": "exact", "network": "base-sepolia", "payload": signed(0, 10_000),
    });
    let one = get("/x", &format!("X-PAYMENT: {}\r\n", encode(&one)));
    for (request, field, network) in [
        (two, "payment-response", "eip155:84532"),
        (one, "x-payment-response", "base-sepolia"),
    ] {
        let answer = gateway.call(&request);
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (200, "goods"),
            "{answer:?}"
        );
        let receipt = receipt(&answer, field);
        assert_eq!(
            (&receipt["success"], &receipt["network"]),
            (&json!(true), &json!(network))
        );
        assert_eq!(answer.field("x-tollkeep-payment"), Some("charged"));
        assert_eq!(answer.values("cache-control"), ["private, no-store"]);
        assert_eq!(
            answer.field("vary"),
            Some("PAYMENT-SIGNATURE, X-PAYMENT, X-Session-Token")
        );
        let last = origin.last();
        assert!(
            last.field("payment-signature")
                .or(last.field("x-payment"))
                .is_none()
        );
        let again = settled(&gateway, &request);
        assert_eq!(
            (again.status, again.code().as_str()),
            (402, "payment_already_used")
        );
        assert!(again.field("payment-required").is_some());
    }
    assert_eq!((origin.count(), facilitator.asked("/settle")), (2, 2));
    let paid = |lines: Vec<Value>| lines.into_iter().find(|line| line["payment"].is_object());
    let line = tollkeep_testkit::eventually("the access line", || paid(gateway.access_lines()));
    assert_eq!(line["payment"]["rail"], "x402");
    assert_eq!(line["payment"]["amount"], "10000 USDC on eip155:84532");
    gateway.audit_line("of the payment", |line| {
        let told = line["details"]["payment"].as_str();
        told.is_some_and(|payment| payment.starts_with("pay_"))
    });
}

// PAY-70: before-response.
#[test]
fn what_was_paid_and_not_delivered_is_served_for_the_same_payment() {
    let fails = Arc::new(AtomicBool::new(true));
    let failing = Arc::clone(&fails);
    let origin = Origin::start(move |_| match failing.load(Ordering::SeqCst) {
        true => vec![Step::Close],
        false => ok(b"goods"),
    });
    let facilitator = Facilitator::start();
    let gateway = shop(&origin, &facilitator, CENT).start();
    let unpaid = open(&gateway, &get("/x", ""));
    let request = get("/x", &shown(&proof(&unpaid)));
    let failed = gateway.call(&request);
    assert_eq!(failed.status, 502, "{failed:?}");
    assert_eq!(failed.field("x-tollkeep-payment"), Some("reverted"));
    let transaction = receipt(&failed, "payment-response")["transaction"].clone();
    fails.store(false, Ordering::SeqCst);
    let served = settled(&gateway, &request);
    assert_eq!(
        (served.status, served.text().as_str()),
        (200, "goods"),
        "{served:?}"
    );
    assert_eq!(
        receipt(&served, "payment-response")["transaction"],
        transaction
    );
    assert_eq!(settled(&gateway, &request).code(), "payment_already_used");
    assert_eq!(facilitator.asked("/settle"), 1);
}

// PAY-70: which answers are charged. PAY-90
#[test]
fn answers_are_charged_by_their_status() {
    let origin = Origin::start(|request| {
        let status = request.target.trim_start_matches("/x/");
        let head = format!("HTTP/1.1 {status} Some\r\ncontent-length: 2\r\n\r\nno");
        vec![Step::Send(head.into_bytes())]
    });
    let facilitator = Facilitator::start();
    let routes = "  \"GET /x/:n\": { upstream: origin, price: \"$0.01\" }\n  \
                  \"GET /y/:n\": { upstream: origin, price: \"$0.01\", charge_on_4xx: false }\n";
    let gateway = shop(&origin, &facilitator, routes).start();
    open(&gateway, &get("/x/200", ""));
    for (status, told) in [
        (200, "charged"),
        (404, "charged"),
        (408, "reverted"),
        (429, "reverted"),
        (500, "reverted"),
    ] {
        let path = format!("/x/{status}");
        let unpaid = gateway.call(&get(&path, ""));
        let answer = gateway.call(&get(&path, &shown(&proof(&unpaid))));
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(answer.field("x-tollkeep-payment"), Some(told), "{status}");
        receipt(&answer, "payment-response");
    }
    let unpaid = gateway.call(&get("/x/402", ""));
    let answer = gateway.call(&get("/x/402", &shown(&proof(&unpaid))));
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (502, "upstream_payment_required")
    );
    assert!(answer.field("payment-required").is_none());
    receipt(&answer, "payment-response");
}

// PAY-70: after-response. PAY-54 PAY-63
#[test]
fn money_is_taken_after_the_answer_where_the_route_says_so() {
    let status = Arc::new(std::sync::Mutex::new("500 No"));
    let says = Arc::clone(&status);
    let origin = Origin::start(move |_| {
        let status = *says.lock().unwrap();
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: 5\r\n\r\ngoods");
        vec![Step::Send(head.into_bytes())]
    });
    let facilitator = Facilitator::start();
    let route =
        "  \"GET /x\": { upstream: origin, price: \"$0.01\", settlement: after-response }\n";
    let gateway = shop(&origin, &facilitator, route).start();
    let unpaid = open(&gateway, &get("/x", ""));
    let request = get("/x", &shown(&proof(&unpaid)));
    let failed = gateway.call(&request);
    assert_eq!(
        (failed.status, failed.field("x-tollkeep-payment")),
        (500, Some("not_charged"))
    );
    assert!(failed.field("payment-response").is_none());
    assert!(failed.field("x-tollbooth-settlement-skipped").is_some());
    assert_eq!(facilitator.asked("/settle"), 0);
    *status.lock().unwrap() = "200 OK";
    let served = settled(&gateway, &request);
    assert_eq!(
        (served.status, served.field("x-tollkeep-payment")),
        (200, Some("charged"))
    );
    receipt(&served, "payment-response");
    facilitator.settles(Settles::No);
    let unpaid = gateway.call(&get("/x", ""));
    let refused = gateway.call(&get("/x", &shown(&proof(&unpaid))));
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (402, "settlement_failed")
    );
    assert!(!refused.text().contains("goods"));
    facilitator.settles(Settles::Garbled);
    let unpaid = gateway.call(&get("/x", ""));
    let pending = gateway.call(&get("/x", &shown(&proof(&unpaid))));
    assert_eq!(
        (pending.status, pending.code().as_str()),
        (503, "payment_pending")
    );
    assert!(pending.field("payment-required").is_none());
    assert!(!pending.text().contains("goods"));
    assert!(
        pending.json()["payment_id"]
            .as_str()
            .unwrap()
            .starts_with("pay_")
    );
}

// PAY-70: an answer that breaks off.
#[test]
fn an_answer_that_broke_off_is_made_good_for_once() {
    let origin = Origin::start(|_| vec![chunked_head("text/plain"), chunk(b"half"), Step::Close]);
    let facilitator = Facilitator::start();
    let routes = format!(
        "{CENT}  \"GET /y\": {{ upstream: origin, price: \"$0.01\", mid_stream: charge }}\n"
    );
    let gateway = shop(&origin, &facilitator, &routes).start();
    open(&gateway, &get("/x", ""));
    for (path, deliveries) in [("/x", 2), ("/y", 1)] {
        let unpaid = gateway.call(&get(path, ""));
        let request = get(path, &shown(&proof(&unpaid)));
        let before = origin.count();
        for _ in 0..deliveries {
            let mut client = gateway.connect();
            client.send(&request);
            let broken = client.answer(std::time::Duration::from_secs(20)).unwrap();
            assert_eq!((broken.status, broken.end), (200, BodyEnd::Cut), "{path}");
            // Until how it ended is kept.
            tollkeep_testkit::eventually("the end is kept", || {
                let shown = gateway
                    .api("GET", "/api/v1/payments?state=delivering", None)
                    .1;
                shown["data"]
                    .as_array()
                    .is_some_and(Vec::is_empty)
                    .then_some(())
            });
        }
        assert_eq!(
            settled(&gateway, &request).code(),
            "payment_already_used",
            "{path}"
        );
        assert_eq!(origin.count() - before, deliveries, "{path}");
    }
}

// PAY-1: the data plane's part.
#[test]
fn one_proof_shown_by_64_callers_makes_one_call() {
    let (origin, facilitator) = (Origin::plain(), Facilitator::start());
    let gateway = shop(&origin, &facilitator, CENT)
        .set("payments.max_concurrent_per_payer", "100")
        .start();
    let unpaid = open(&gateway, &get("/x", ""));
    let request = get("/x", &shown(&proof(&unpaid)));
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..64)
            .map(|_| scope.spawn(|| gateway.call(&request).status))
            .collect();
        callers
            .into_iter()
            .map(|caller| caller.join().unwrap())
            .collect()
    });
    let served = statuses.iter().filter(|status| **status == 200).count();
    assert_eq!((served, origin.count()), (1, 1), "{statuses:?}");
    assert!(
        statuses
            .iter()
            .all(|status| [200, 402, 409].contains(status)),
        "{statuses:?}"
    );
    assert_eq!(facilitator.asked("/settle"), 1);
}

// PAY-6 PAY-26 PAY-58
#[test]
fn what_can_not_be_priced_is_refused_before_anybody_is_asked_to_pay() {
    let (origin, facilitator) = (Origin::plain(), Facilitator::start());
    let routes = "  \"POST /x\": { upstream: origin, max_price: \"$1\", fallback: \"$0.01\", match: \
                  [{ where: { body.n: 4 }, price: \"$2\" }, \
                  { where: { query.size: big }, price: \"$0.5\" }] }\n";
    let gateway = shop(&origin, &facilitator, routes).start();
    let json = "Content-Type: application/json\r\n";
    open(&gateway, &post("/x", json, b"{}"));
    for (name, path, lines, body, want) in [
        (
            "another kind",
            "/x",
            "Content-Type: text/plain\r\n",
            "{}",
            (415, "unsupported_media_type"),
        ),
        ("no kind", "/x", "", "{}", (415, "unsupported_media_type")),
        ("broken", "/x", json, "{", (400, "invalid_json")),
        (
            "a key twice",
            "/x",
            json,
            r#"{"n":1,"n":4}"#,
            (400, "invalid_json"),
        ),
        (
            "a parameter twice",
            "/x?size=a&size=big",
            json,
            "{}",
            (400, "ambiguous_parameter"),
        ),
        (
            "too dear",
            "/x",
            json,
            r#"{"n":4}"#,
            (500, "price_out_of_bounds"),
        ),
        ("well", "/x?size=big", json, "{}", (402, "payment_required")),
    ] {
        let answer = gateway.call(&post(path, lines, body.as_bytes()));
        assert_eq!((answer.status, answer.code().as_str()), want, "{name}");
        assert_eq!(
            answer.field("payment-required").is_some(),
            want.0 == 402,
            "{name}"
        );
    }
    assert_eq!(origin.count(), 0);
}
