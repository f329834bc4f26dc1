//! Hooks of routes: what expressions and those who are asked may say of a request, and what becomes
//! of it while they say nothing.

use crate::callers::get;
use crate::fixture::{before, free, gateway, post};
use crate::paid_fixture::{Facilitator, asked, open, proof, shop, shown};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tollkeep_testkit::{Origin, Step, eventually, ok, with_fields};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// What somebody says who is asked.
type Says = fn() -> Vec<Step>;

/// A step that asks `somebody`.
fn asks(somebody: &Origin, more: &str) -> String {
    let url = somebody.url();
    format!(
        "{{ http: {{ url: \"{url}/ask\", secret: \"{SECRET}\", \
         allow_private: [\"127.0.0.1/32\"]{more} }} }}"
    )
}

fn with_hooks(hooks: &str, routes: &[&str]) -> (Origin, String) {
    let origin = Origin::plain();
    let routes: String = routes.iter().map(|route| free(route)).collect();
    let config = format!("{}hooks:\n{hooks}", before(&origin, &routes));
    (origin, config)
}

fn json_post(path: &str, body: &str) -> Vec<u8> {
    post(path, "Content-Type: application/json\r\n", body.as_bytes())
}

// PAY-35 PAY-36
#[test]
fn an_expression_refuses_requests_in_its_own_words() {
    let hooks = "  onRequest:\n    \
         - cel: \"!has(request.query.stop)\"\n    \
         - cel: \"request.headers['x-team'] == 'red' ? {'deny': {'status': 451, 'code': 'red_team', 'message': 'Not you.'}} : {}\"\n    \
         - cel: \"{'labels': {'who': request.path, 'from': client.ip}}\"\n";
    let (origin, config) = with_hooks(hooks, &["GET /x"]);
    let gateway = gateway(config).start();
    let call = |target: &str, lines: &str| {
        let answer = gateway.call(&get(target, lines));
        (
            answer.status,
            answer.field("x-tollkeep-error").map(str::to_owned),
        )
    };
    let told = |status: u16, code: &str| (status, Some(code.to_owned()));
    assert_eq!(call("/x", "X-Team: blue\r\n"), (200, None));
    assert_eq!(
        call("/x?stop=1", "X-Team: blue\r\n"),
        told(403, "hook_denied")
    );
    let red = gateway.call(&get("/x", "X-Team: red\r\n"));
    assert_eq!(
        (red.status, red.code().as_str()),
        (451, "red_team"),
        "{red:?}"
    );
    assert!(red.text().contains("Not you."));
    // Nobody knows which counts; and what is not there can't be compared.
    assert_eq!(
        call("/x?stop=1&stop=2", "X-Team: blue\r\n"),
        told(503, "hook_failed")
    );
    assert_eq!(
        call("/x", "X-Team: red\r\nX-Team: blue\r\n"),
        told(503, "hook_failed")
    );
    assert_eq!(call("/x", ""), told(503, "hook_failed"));
    assert_eq!(origin.count(), 1);
    let lines = eventually("the line is there", || {
        let lines = gateway.access_lines();
        lines.into_iter().find(|line| line["labels"].is_object())
    });
    assert_eq!(lines["labels"], json!({ "who": "/x", "from": "127.0.0.1" }));
}

// PAY-36
#[test]
fn a_body_is_looked_at_only_as_json_that_can_be_read_in_one_way() {
    let hooks = "  onRequest: [{ cel: \"body.model != 'dear'\" }]\n";
    let (origin, config) = with_hooks(hooks, &["POST /x"]);
    let gateway = gateway(config).start();
    for (name, request, status) in [
        ("fine", json_post("/x", r#"{"model":"cheap"}"#), 200),
        ("refused", json_post("/x", r#"{"model":"dear"}"#), 403),
        (
            "twice",
            json_post("/x", r#"{"model":"dear","model":"cheap"}"#),
            400,
        ),
        ("broken", json_post("/x", r#"{"model":"#), 400),
        (
            "of another kind",
            post(
                "/x",
                "Content-Type: text/plain\r\n",
                b"{\"model\":\"dear\"}",
            ),
            415,
        ),
        ("nothing", json_post("/x", ""), 503),
        ("no object", json_post("/x", "[]"), 503),
    ] {
        let answer = gateway.call(&request);
        assert_eq!(answer.status, status, "{name}: {answer:?}");
    }
    assert_eq!(origin.count(), 1);
}

// PAY-36
#[test]
fn credentials_are_not_among_what_is_asked_about() {
    let hooks = "  onRequest: [{ cel: \"!has(request.headers.authorization) && !has(request.headers.cookie) && !('payment-signature' in request.headers)\" }]\n";
    let (_origin, config) = with_hooks(hooks, &["GET /x"]);
    let gateway = gateway(config).start();
    let lines = "Cookie: a=b\r\nPAYMENT-SIGNATURE: x\r\nX-Api-Key: y\r\n";
    assert_eq!(gateway.call(&get("/x", lines)).status, 200);
}

// PAY-27 PAY-35 PAY-36
#[test]
fn a_hook_changes_what_a_request_costs_between_the_bounds() {
    let (origin, facilitator) = (Origin::plain(), Facilitator::start());
    let routes = "  \"GET /x\":\n    upstream: origin\n    price: \"$0.01\"\n    \
         min_price: \"$0.005\"\n    max_price: \"$0.05\"\n    hooks:\n      onPriceResolved:\n        \
         - cel: \"has(request.query.n) ? {'price': price.nanos * int(request.query.n)} : {}\"\n        \
         - cel: \"!has(request.query.no)\"\n";
    let gateway = shop(&origin, &facilitator, routes).start();
    open(&gateway, &get("/x", ""));
    let amount = |target: &str| {
        let answer = gateway.call(&get(target, ""));
        assert_eq!(answer.status, 402, "{target}: {answer:?}");
        asked(&answer)["accepts"][0]["amount"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(amount("/x"), "10000");
    assert_eq!(amount("/x?n=3"), "30000");
    assert_eq!(amount("/x?n=0"), "5000", "no price is below the least");
    let told = |target: &str| {
        let answer = gateway.call(&get(target, ""));
        (answer.status, answer.code())
    };
    assert_eq!(told("/x?n=6"), (500, "price_out_of_bounds".to_owned()));
    assert_eq!(told("/x?n=-1"), (503, "hook_failed".to_owned()));
    assert_eq!(told("/x?n=99999999999999"), (503, "hook_failed".to_owned()));
    assert_eq!(told("/x?no=1"), (403, "hook_denied".to_owned()));
    // A proof for the lower price does not do for the higher one.
    let cheap = proof(&gateway.call(&get("/x", "")));
    let dear = gateway.call(&get("/x?n=3", &shown(&cheap)));
    assert_eq!(dear.status, 402, "{dear:?}");
    let right = proof(&gateway.call(&get("/x?n=3", "")));
    let paid = gateway.call(&get("/x?n=3", &shown(&right)));
    assert_eq!(paid.status, 200, "{paid:?}");
    assert_eq!(origin.count(), 1);
}

// PAY-35 PAY-71
#[test]
fn a_hook_looks_at_the_answer_and_leaves_the_money_where_it_is() {
    let origin = Origin::start(|request| {
        let is_empty = request.target.contains("empty");
        with_fields(if is_empty { "x-empty: 1\r\n" } else { "" }, b"goods")
    });
    let facilitator = Facilitator::start();
    let routes = "  \"GET /x\":\n    upstream: origin\n    price: \"$0.01\"\n    \
         settlement: after-response\n    hooks:\n      onResponse:\n        \
         - cel: \"{'settle': !('x-empty' in response.headers), 'headers': {'x-paid-by': payment.payer, 'x-nanos': string(price.nanos)}}\"\n        \
         - cel: \"body.nothing == 1\"\n";
    let gateway = shop(&origin, &facilitator, routes).start();
    let unpaid = open(&gateway, &get("/x", ""));
    let full = gateway.call(&get("/x", &shown(&proof(&unpaid))));
    assert_eq!(
        (full.status, full.field("x-tollkeep-payment")),
        (200, Some("charged"))
    );
    assert!(
        full.field("x-paid-by").unwrap().starts_with("0x"),
        "{full:?}"
    );
    assert_eq!(facilitator.asked("/settle"), 1);
    let empty = gateway.call(&get("/x?empty", ""));
    let empty = gateway.call(&get("/x?empty", &shown(&proof(&empty))));
    assert_eq!(
        (empty.status, empty.field("x-tollkeep-payment")),
        (200, Some("not_charged"))
    );
    let skipped = empty.field("x-tollbooth-settlement-skipped");
    assert_eq!(skipped, Some("{\"reason\":\"hook\"}"));
    assert_eq!(
        facilitator.asked("/settle"),
        1,
        "nothing was settled for it"
    );
}

// PAY-37
#[test]
fn somebody_else_is_asked_and_can_tell_that_it_is_us() {
    let somebody = Origin::start(|request| {
        let asked: Value = serde_json::from_slice(&request.body).unwrap();
        let is_bad = asked["request"]["query"]["who"] == "bad";
        let decision = if is_bad { "deny" } else { "allow" };
        tollkeep_testkit::json(&json!({ "decision": decision }))
    });
    let hooks = format!("  onRequest: [{}]\n", asks(&somebody, ""));
    let (origin, config) = with_hooks(&hooks, &["GET /x/:id"]);
    let gateway = gateway(config).start();
    let good = eventually("somebody can be asked", || {
        let answer = gateway.call(&get("/x/7?who=good", "Cookie: secret\r\nX-Team: blue\r\n"));
        (answer.status == 200).then_some(answer)
    });
    let bad = gateway.call(&get("/x/7?who=bad", ""));
    assert_eq!((bad.status, bad.code().as_str()), (403, "hook_denied"));
    let all = somebody.requests();
    let first = all
        .iter()
        .find(|request| String::from_utf8_lossy(&request.body).contains("good"));
    let first = first.unwrap();
    let told: Value = serde_json::from_slice(&first.body).unwrap();
    assert_eq!(told["hook"], "onRequest");
    assert_eq!(told["request_id"], good.field("x-request-id").unwrap());
    assert_eq!(told["request"]["params"]["id"], "7");
    assert_eq!(told["request"]["headers"]["x-team"], "blue");
    assert!(told["request"]["headers"]["cookie"].is_null());
    let at = first.field("x-webhook-timestamp").unwrap();
    let signed = tollkeep_crypto::webhook_signature(SECRET, at, &first.body);
    assert_eq!(first.field("x-webhook-signature"), Some(&*signed));
    assert_eq!(origin.count(), 1);
}

// PAY-37
#[test]
fn nobody_who_is_asked_can_hold_up_or_mislead_a_request() {
    let answers: [(&str, Says); 7] = [
        ("says nothing", || vec![Step::Hang]),
        ("hangs up", || vec![Step::Close]),
        ("fails", || {
            vec![Step::Send(
                b"HTTP/1.1 500 x\r\nContent-Length: 22\r\n\r\n{\"decision\":\"allow\"}  ".to_vec(),
            )]
        }),
        ("leads elsewhere", || {
            vec![Step::Send(
                b"HTTP/1.1 302 x\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
                    .to_vec(),
            )]
        }),
        ("says too much", || {
            let long = format!(
                "{{\"decision\":\"allow\",\"x\":\"{}\"}}",
                "x".repeat(1 << 20)
            );
            ok(long.as_bytes())
        }),
        ("says something else", || ok(b"{\"decision\":\"maybe\"}")),
        ("is no JSON", || ok(b"allow")),
    ];
    for (name, answer) in answers {
        let somebody = Origin::start(move |_| answer());
        let denies = asks(&somebody, ", timeout: 300ms");
        let allows = asks(&somebody, ", timeout: 300ms, on_failure: allow");
        let (origin, config) = with_hooks("  onError: []\n", &["GET /none"]);
        let config = config.replace(
            "hooks:\n",
            &format!(
                "  \"GET /deny\": {{ upstream: origin, access: free, hooks: {{ onRequest: [{denies}] }} }}\n  \
                 \"GET /allow\": {{ upstream: origin, access: free, hooks: {{ onRequest: [{allows}] }} }}\nhooks:\n"
            ),
        );
        let gateway = gateway(config).start();
        let begun = Instant::now();
        let denied = gateway.call(&get("/deny", ""));
        assert_eq!(
            (denied.status, denied.code().as_str()),
            (503, "hook_failed"),
            "{name}"
        );
        assert_eq!(gateway.call(&get("/allow", "")).status, 200, "{name}");
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "{name}: {:?}",
            begun.elapsed()
        );
        assert_eq!(origin.count(), 1, "{name}");
    }
}

// PAY-37 PAY-27
#[test]
fn somebody_else_says_what_a_request_costs() {
    let somebody = Origin::start(|_| {
        tollkeep_testkit::json(&json!({ "decision": "price", "price": "$0.02" }))
    });
    let (origin, facilitator) = (Origin::plain(), Facilitator::start());
    let step = asks(&somebody, "");
    let routes = format!(
        "  \"GET /x\": {{ upstream: origin, price: \"$0.01\", min_price: \"$0.01\", \
         max_price: \"$0.05\", hooks: {{ onPriceResolved: [{step}] }} }}\n"
    );
    let gateway = shop(&origin, &facilitator, &routes).start();
    let unpaid = open(&gateway, &get("/x", ""));
    assert_eq!(asked(&unpaid)["accepts"][0]["amount"], "20000");
    let paid = gateway.call(&get("/x", &shown(&proof(&unpaid))));
    assert_eq!(paid.status, 200, "{paid:?}");
    let told: Value = serde_json::from_slice(&somebody.last().body).unwrap();
    assert_eq!(
        (&told["hook"], &told["price"]["nanos"]),
        (&json!("onPriceResolved"), &json!(10_000_000))
    );
}
