//! Calls of models that are paid by what they use: at most their bound is signed for, and what the
//! answer told is settled.

use crate::fixture::gateway;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tollkeep_testkit::{
    Answer, Builder, Facilitator, Gateway, Origin, PATIENCE, Payer, Request, Step, chunk,
    chunked_head, eventually, json as answers, with_fields,
};

const PAYEE: &str = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC";
/// A model of a dollar for a million tokens in, ten for a million out.
const PRICES: &str = "prices: { overrides: [{ provider: openai, model: m, max_input: 100000, \
                      max_output: 1000, rates: [{ from: \"2025-01-01T00:00:00Z\", base: { in_text: 1000000, out_text: 10000000 } }] }] }\n";
const BODY: &str = r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"max_tokens":100}"#;

fn shop(facilitator: &Facilitator, origin: &Origin, more: &str) -> Builder {
    shop_with(facilitator, (origin, "timeouts: { total_ms: 100s }"), more)
}

/// The same with these lines at its upstream.
fn shop_with(facilitator: &Facilitator, (origin, own): (&Origin, &str), more: &str) -> Builder {
    let (origin, facilitator) = (origin.url(), facilitator.url());
    gateway(format!(
        "{PRICES}upstreams:\n  origin: {{ url: \"{origin}\", allow_private: [\"127.0.0.1/32\"], \
         {own} }}\n\
         accepts: [{{ asset: USDC, network: base-sepolia }}]\n\
         wallets: {{ base-sepolia: \"{PAYEE}\" }}\n\
         payments: {{ settle_wait: 1s, x402: {{ facilitators: {{ main: {{ url: \"{facilitator}\" }} }} }} }}\n\
         routes:\n  \"POST /chat\": {{ upstream: origin, access: payment, \
         pricing: {{ model: tokens, markup_percent: 20 }}{more} }}\n"
    ))
}

fn post(body: &str, proof: Option<&str>) -> Vec<u8> {
    let line = proof.map(|proof| format!("PAYMENT-SIGNATURE: {proof}\r\n"));
    let (line, length) = (line.unwrap_or_default(), body.len());
    format!(
        "POST /chat HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Accept-Encoding: gzip\r\n{line}Content-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

fn offers(answer: &Answer) -> Option<Vec<Value>> {
    let field = answer.field("payment-required")?;
    let told: Value = serde_json::from_slice(&STANDARD.decode(field).unwrap()).unwrap();
    Some(told["accepts"].as_array().unwrap().clone())
}

/// The one offer for a call, once somebody would settle it.
fn offer(gateway: &Gateway, body: &str) -> Value {
    let mut all = eventually("an offer", || offers(&gateway.call(&post(body, None))));
    assert_eq!(
        all.len(),
        1,
        "nothing else can take less than was signed for"
    );
    all.remove(0)
}

fn stands(gateway: &Gateway, state: &str) -> Value {
    eventually(state, || {
        let (status, page) = gateway.api("GET", "/api/v1/payments", None);
        assert_eq!(status, 200, "{page}");
        let newest = page["data"][0].clone();
        (newest["state"] == state).then_some(newest)
    })
}

fn usage(input: u64, output: u64) -> Value {
    json!({ "id": "c", "object": "chat.completion", "model": "m",
        "choices": [{ "index": 0, "finish_reason": "stop",
            "message": { "role": "assistant", "content": "hello" } }],
        "usage": { "prompt_tokens": input, "completion_tokens": output,
            "total_tokens": input + output } })
}

// PAY-29 PAY-113 PAY-136
#[test]
fn the_bound_is_signed_and_what_was_used_is_settled_with_the_markup() {
    let origin = Origin::start(|_| answers(&usage(20, 50)));
    let facilitator = Facilitator::start();
    let gateway = shop(&facilitator, &origin, "").start();
    let offer = offer(&gateway, BODY);
    assert_eq!(offer["scheme"], "upto");
    let bound: u64 = offer["amount"].as_str().unwrap().parse().unwrap();
    // 100 tokens out at most for 1000 units of a dollar's millionth, the body's bytes in, a fifth more.
    assert!((1200..2400).contains(&bound), "{bound}");
    let dearer = BODY.replace("100}", "900}");
    let more: u64 = self::offer(&gateway, &dearer)["amount"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(more - bound, 800 * 12, "{more} {bound}");
    let proof = Payer::new(1).pay_offer(&offer, 1);
    let paid = gateway.call(&post(BODY, Some(&proof)));
    assert_eq!(paid.status, 200, "{}", paid.text());
    assert_eq!(paid.field("x-tollkeep-max-output"), Some("100"));
    assert_eq!(paid.json()["usage"]["completion_tokens"], 50);
    // (20 × 1 + 50 × 10) × 1.2 = 624 micro-dollars.
    let spent = stands(&gateway, "spent");
    assert_eq!(spent["received"], "624", "{spent}");
    assert_eq!(spent["quoted"], bound.to_string(), "{spent}");
    let told = facilitator.told();
    let (body, _) = &told[0][0];
    let told: Value = serde_json::from_str(body).unwrap();
    assert_eq!(told["paymentRequirements"]["amount"], "624");
    let (status, report) = gateway.api("GET", "/api/v1/ledger/check", None);
    assert_eq!((status, &report["valid"]), (200, &json!(true)), "{report}");
    // What the upstream got: the bound, in its own words, and nothing that would hide the usage.
    let request = &origin.requests()[0];
    let sent: Value = serde_json::from_slice(&request.body).unwrap();
    let cap = sent["max_completion_tokens"]
        .as_u64()
        .or(sent["max_tokens"].as_u64());
    assert_eq!(cap, Some(100), "{sent}");
    assert_eq!(request.field("accept-encoding"), None);
}

fn streamed(request: &Request, is_cut: bool) -> Vec<Step> {
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let mut steps = vec![chunked_head("text/event-stream")];
    let piece = |text: &str| {
        let event = json!({ "id": "c", "object": "chat.completion.chunk", "model": "m",
            "choices": [{ "index": 0, "delta": { "content": text } }] });
        chunk(format!("data: {event}\n\n").as_bytes())
    };
    steps.push(piece("hello"));
    if is_cut {
        steps.push(Step::Hang);
        return steps;
    }
    if body["stream_options"]["include_usage"] == true {
        let end = json!({ "id": "c", "object": "chat.completion.chunk", "model": "m",
            "choices": [], "usage": { "prompt_tokens": 20, "completion_tokens": 50,
                "total_tokens": 70 } });
        steps.push(chunk(format!("data: {end}\n\n").as_bytes()));
    }
    steps.push(chunk(b"data: [DONE]\n\n"));
    steps.push(chunk(b""));
    steps
}

const STREAM: &str =
    r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}],"max_tokens":100}"#;

// PAY-29 PAY-136
#[test]
fn a_stream_is_asked_for_its_usage_which_its_caller_does_not_see() {
    let origin = Origin::start_chunked(|request| streamed(request, false));
    let facilitator = Facilitator::start();
    let gateway = shop(&facilitator, &origin, "").start();
    let proof = Payer::new(2).pay_offer(&offer(&gateway, STREAM), 1);
    let paid = gateway.call(&post(STREAM, Some(&proof)));
    assert_eq!(paid.status, 200, "{}", paid.text());
    assert!(paid.text().contains("hello"), "{}", paid.text());
    assert!(paid.text().contains("[DONE]"), "{}", paid.text());
    assert!(!paid.text().contains("usage"), "{}", paid.text());
    assert_eq!(stands(&gateway, "spent")["received"], "624");
}

// PAY-136 LED-55
#[test]
fn a_gateway_that_is_killed_in_mid_stream_settles_what_was_written_down_last() {
    let origin = Origin::start_chunked(|request| streamed(request, true));
    let facilitator = Facilitator::start();
    let mut gateway = shop(&facilitator, &origin, "").start();
    let offer = offer(&gateway, STREAM);
    let bound: u64 = offer["amount"].as_str().unwrap().parse().unwrap();
    let proof = Payer::new(3).pay_offer(&offer, 1);
    let mut caller = gateway.connect();
    caller.send(&post(STREAM, Some(&proof)));
    stands(&gateway, "serving");
    gateway.kill();
    let gateway = gateway.restart().unwrap();
    let spent = stands(&gateway, "spent");
    let received: u64 = spent["received"].as_str().unwrap().parse().unwrap();
    assert!((1..bound).contains(&received), "{spent}");
    assert_eq!(facilitator.settlements(), 1);
}

// LED-28 LED-58 PAY-136
#[test]
fn what_the_gateway_cuts_off_is_paid_to_its_cap_unless_that_ends_the_bill() {
    let stream = STREAM.replace("100}", "900}");
    for (own, is_ended) in [
        ("timeouts: { idle_ms: 300 }", false),
        (
            "timeouts: { idle_ms: 300 }, cancel_stops_billing: true",
            true,
        ),
    ] {
        let origin = Origin::start_chunked(|request| streamed(request, true));
        let facilitator = Facilitator::start();
        let gateway = shop_with(&facilitator, (&origin, own), "").start();
        let offer = offer(&gateway, &stream);
        let bound: u64 = offer["amount"].as_str().unwrap().parse().unwrap();
        let proof = Payer::new(6).pay_offer(&offer, 1);
        let mut caller = gateway.connect();
        caller.send(&post(&stream, Some(&proof)));
        let spent = stands(&gateway, "spent");
        let received: u64 = spent["received"].as_str().unwrap().parse().unwrap();
        if is_ended {
            // `hello`, and 256 tokens that were under way, at a thousandth of a cent and a fifth.
            let output = (5 + 256) * 12;
            assert!((output..output + 1000).contains(&received), "{spent}");
            assert!(received < bound, "{spent}");
        } else {
            assert_eq!(received, bound, "{spent}");
        }
    }
}

// PAY-136
#[test]
fn what_comes_to_nothing_is_not_settled_and_its_proof_is_free() {
    let origin = Origin::start(|_| {
        let body = r#"{"error":{"message":"no","type":"invalid_request_error"}}"#;
        let length = body.len();
        let head = format!(
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        vec![Step::Send(head.into_bytes())]
    });
    let facilitator = Facilitator::start();
    let gateway = shop(&facilitator, &origin, "").start();
    let proof = Payer::new(4).pay_offer(&offer(&gateway, BODY), 1);
    for _ in 0..2 {
        let answer = eventually("the proof is free", || {
            let answer = gateway.call(&post(BODY, Some(&proof)));
            (answer.code() != "payment_in_progress").then_some(answer)
        });
        assert_eq!(answer.status, 400, "{}", answer.text());
        stands(&gateway, "released");
    }
    assert_eq!((facilitator.settlements(), origin.count()), (0, 2));
}

// PAY-136
#[test]
fn without_usage_it_is_estimated_and_never_above_the_bound() {
    let origin = Origin::start(|_| {
        let mut body = usage(0, 0);
        body.as_object_mut().unwrap().remove("usage");
        answers(&body)
    });
    let facilitator = Facilitator::start();
    let gateway = shop(&facilitator, &origin, "").start();
    let offer = offer(&gateway, BODY);
    let bound: u64 = offer["amount"].as_str().unwrap().parse().unwrap();
    let proof = Payer::new(5).pay_offer(&offer, 1);
    assert_eq!(gateway.call(&post(BODY, Some(&proof))).status, 200);
    let spent = stands(&gateway, "spent");
    let received: u64 = spent["received"].as_str().unwrap().parse().unwrap();
    assert!((1..=bound).contains(&received), "{spent}");
}

// PAY-29
#[test]
fn what_can_not_be_bounded_or_priced_is_refused_before_anybody_is_asked_to_pay() {
    let origin = Origin::start(|_| with_fields("", b"x"));
    let facilitator = Facilitator::start();
    let gateway = shop(&facilitator, &origin, "").start();
    offer(&gateway, BODY);
    for (name, body, told) in [
        ("no model", r#"{"messages":[]}"#, (400, "model_required")),
        (
            "unknown model",
            r#"{"model":"x","messages":[]}"#,
            (400, "model_not_priced"),
        ),
        (
            "unknown field",
            r#"{"model":"m","messages":[],"surprise":1}"#,
            (400, "cost_not_boundable"),
        ),
        (
            "twice",
            r#"{"model":"m","model":"m","messages":[]}"#,
            (400, "duplicate_key"),
        ),
        ("no JSON", "hello", (400, "invalid_json")),
    ] {
        let answer = gateway.call(&post(body, None));
        assert_eq!((answer.status, answer.code().as_str()), told, "{name}");
        assert_eq!(answer.field("payment-required"), None, "{name}");
    }
    let plain = gateway.call(
        b"POST /chat HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}",
    );
    assert_eq!(plain.status, 415, "{}", plain.text());
    assert_eq!(origin.count(), 0);
}

// PAY-29 PAY-27
#[test]
fn bounds_of_prices_hold_for_what_is_signed_and_what_is_settled() {
    let origin = Origin::start(|_| answers(&usage(1, 1)));
    let facilitator = Facilitator::start();
    let gateway = shop(
        &facilitator,
        &origin,
        ", min_price: \"$0.001\", max_price: \"$0.005\"",
    )
    .start();
    let offer = offer(&gateway, BODY);
    let dear = gateway.call(&post(&BODY.replace("100}", "900}"), None));
    assert_eq!(
        (dear.status, dear.code().as_str()),
        (500, "price_out_of_bounds")
    );
    let proof = Payer::new(6).pay_offer(&offer, 1);
    assert_eq!(gateway.call(&post(BODY, Some(&proof))).status, 200);
    assert_eq!(stands(&gateway, "spent")["received"], "1000");
}

/// A call that shows these lines besides.
fn with_lines(body: &str, lines: &str) -> Vec<u8> {
    let request = String::from_utf8(post(body, None)).unwrap();
    let host = "Host: localhost\r\n";
    request
        .replacen(host, &format!("{host}{lines}"), 1)
        .into_bytes()
}

const CREDIT: &str = "X-Tollkeep-Credit: $0.01\r\n";

/// Buys a cent of credit by a call: the line that shows it, and the answer.
fn credited(gateway: &Gateway, body: &str, payer: u8) -> (String, Answer) {
    offer(gateway, body);
    let unpaid = gateway.call(&with_lines(body, CREDIT));
    assert_eq!(unpaid.json()["credit"], "$0.01", "{}", unpaid.text());
    let all = offers(&unpaid).unwrap();
    let told: Vec<_> = all
        .iter()
        .map(|it| (&it["scheme"], &it["amount"]))
        .collect();
    assert_eq!(told, [(&json!("exact"), &json!("10000"))]);
    let proof = Payer::new(payer).pay_offer(&all[0], 1);
    let lines = format!("{CREDIT}PAYMENT-SIGNATURE: {proof}\r\n");
    let answer = gateway.call(&with_lines(body, &lines));
    let token = answer.field("x-session-token").expect("a token");
    (format!("X-Session-Token: {token}\r\n"), answer)
}

/// Waits until so much is left of the only session, and nothing is set aside.
fn is_left(gateway: &Gateway, want: u64) {
    let want = want.to_string();
    eventually("it is charged", || {
        let (status, page) = gateway.api("GET", "/api/v1/payment-sessions", None);
        assert_eq!(status, 200, "{page}");
        let session = &page["data"][0];
        let rests = session["held"] == "0";
        (rests && session["balance"] == *want).then_some(())
    });
    let (status, report) = gateway.api("GET", "/api/v1/ledger/check", None);
    assert_eq!((status, &report["valid"]), (200, &json!(true)), "{report}");
}

// PAY-29 PAY-75 PAY-77
#[test]
fn credit_sets_the_bound_aside_and_pays_what_a_call_used() {
    let origin = Origin::start_chunked(|request| {
        if request.text().contains("refuse me") {
            let head = "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n";
            let told = format!("{head}content-length: 2\r\n\r\n{{}}");
            return vec![Step::Send(told.into_bytes())];
        }
        match request.text().contains("\"stream\":true") {
            true => streamed(request, false),
            false => answers(&usage(20, 50)),
        }
    });
    let facilitator = Facilitator::start();
    let gateway = shop(&facilitator, &origin, "").start();
    let (token, first) = credited(&gateway, BODY, 21);
    assert_eq!(first.status, 200, "{}", first.text());
    assert_eq!(first.field("x-tollkeep-max-output"), Some("100"));
    is_left(&gateway, 10_000 - 624);
    let stream = gateway.call(&with_lines(STREAM, &token));
    assert_eq!(stream.status, 200, "{}", stream.text());
    assert!(stream.text().contains("[DONE]") && !stream.text().contains("usage"));
    is_left(&gateway, 10_000 - 2 * 624);
    // What came to nothing takes nothing.
    let refused = gateway.call(&with_lines(&BODY.replace("hi", "refuse me"), &token));
    assert_eq!(refused.status, 400, "{}", refused.text());
    is_left(&gateway, 10_000 - 2 * 624);
    // The bound has to be there, not what is used of it.
    let dear = BODY.replace("100}", "900}");
    let short = gateway.call(&with_lines(&dear, &token));
    assert_eq!(
        (short.status, short.code().as_str()),
        (402, "insufficient_balance")
    );
    assert_eq!(offers(&short).unwrap()[0]["scheme"], "upto");
    assert_eq!((facilitator.settlements(), origin.count()), (1, 3));
    let (_, earned) = gateway.api("GET", "/api/v1/revenue", None);
    assert_eq!(earned[0]["amount"], (2 * 624).to_string(), "{earned}");
}

// PAY-1 PAY-2 PAY-77 LED-55
#[test]
fn a_gateway_that_is_killed_in_mid_stream_takes_of_credit_what_was_written_down_last() {
    let origin = Origin::start_chunked(|request| match request.text().contains("hang on") {
        true => streamed(request, true),
        false => answers(&usage(20, 50)),
    });
    let facilitator = Facilitator::start();
    let mut gateway = shop(&facilitator, &origin, "").start();
    let (token, _) = credited(&gateway, BODY, 22);
    is_left(&gateway, 10_000 - 624);
    let mut caller = gateway.connect();
    caller.send(&with_lines(&STREAM.replace("hi", "hang on"), &token));
    let mut begun = caller.head(PATIENCE).unwrap();
    assert_eq!(begun.status, 200);
    assert!(caller.piece(&mut begun).is_some(), "it is being delivered");
    gateway.kill();
    let gateway = gateway.restart().unwrap();
    let left = eventually("nothing is set aside", || {
        let (_, page) = gateway.api("GET", "/api/v1/payment-sessions", None);
        let session = page["data"][0].clone();
        (session["held"] == "0").then_some(session)
    });
    let left: u64 = left["balance"].as_str().unwrap().parse().unwrap();
    assert!((8_000..10_000 - 624).contains(&left), "{left}");
    is_left(&gateway, left);
}
