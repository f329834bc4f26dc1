//! Who may pay, with what, and how often: proofs that will not do, prices that have changed, tokens
//! beside payments.

use crate::callers::get;
use crate::fixture::Dice;
use crate::paid_fixture::{
    CENT, Facilitator, PAYEE, asked, encode, open, proof, shop, shown, signed,
};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tollkeep_testkit::{Answer, Gateway, Origin, Step};

fn told(gateway: &Gateway, lines: &str) -> (u16, String) {
    let answer = gateway.call(&get("/x", lines));
    (answer.status, answer.code())
}

// PAY-5 PAY-54 PAY-120 PAY-121
#[test]
#[expect(clippy::too_many_lines, reason = "a table of proofs")]
fn a_proof_that_will_not_do_is_told_why_and_nobody_else_is_asked() {
    let (origin, facilitator) = (Origin::plain(), Facilitator::start());
    let gateway = shop(&origin, &facilitator, CENT).start();
    let unpaid = open(&gateway, &get("/x", ""));
    let good = proof(&unpaid);
    let with = |place: &str, value: Value| {
        let mut other = good.clone();
        *other.pointer_mut(place).unwrap() = value;
        shown(&other)
    };
    let authorization = "/payload/authorization";
    let field = |name: &str, value: &str| with(&format!("{authorization}/{name}"), value.into());
    let mut cases = vec![
        (
            "no base64",
            "PAYMENT-SIGNATURE: %%%\r\n".to_owned(),
            400,
            "invalid_payment",
        ),
        (
            "no object",
            format!("PAYMENT-SIGNATURE: {}\r\n", encode(&json!([]))),
            400,
            "invalid_payment",
        ),
        (
            "version",
            with("/x402Version", 3.into()),
            402,
            "invalid_x402_version",
        ),
        (
            "scheme",
            with("/accepted/scheme", "upto".into()),
            402,
            "invalid_scheme",
        ),
        (
            "network",
            with("/accepted/network", "eip155:1".into()),
            402,
            "invalid_network",
        ),
        ("well", with("/accepted/extra", json!({})), 200, ""),
        (
            "value",
            field("value", "9999"),
            402,
            "invalid_exact_evm_payload_authorization_value_mismatch",
        ),
        (
            "from",
            field("from", PAYEE),
            402,
            "invalid_exact_evm_payload_recipient_mismatch",
        ),
        (
            "over",
            field("validBefore", "1"),
            402,
            "invalid_exact_evm_payload_authorization_valid_before",
        ),
        (
            "another nonce",
            field("nonce", &format!("0x{}", "11".repeat(32))),
            402,
            "invalid_exact_evm_payload_signature",
        ),
    ];
    // That one is well: what the payer drops is not asked for (PAY-112).
    let well = cases.remove(5);
    for (name, lines, status, code) in &cases {
        assert_eq!(
            told(&gateway, lines),
            (*status, (*code).to_owned()),
            "{name}"
        );
    }
    let both = format!("{}X-PAYMENT: {}\r\n", shown(&good), encode(&good));
    assert_eq!(
        told(&gateway, &both),
        (400, "ambiguous_credentials".to_owned())
    );
    assert_eq!((facilitator.asked("/verify"), origin.count()), (0, 0));
    assert_eq!(gateway.call(&get("/x", &well.1)).status, well.2);
}

// PAY-88
#[test]
fn failed_proofs_are_counted_apart() {
    let (origin, facilitator) = (Origin::plain(), Facilitator::start());
    let gateway = shop(&origin, &facilitator, CENT)
        .set("payments.failed_proofs.requests", "3")
        .set("payments.failed_proofs.window", "1h")
        .start();
    let unpaid = open(&gateway, &get("/x", ""));
    for _ in 0..3 {
        assert_eq!(told(&gateway, "PAYMENT-SIGNATURE: e30\r\n").0, 402);
    }
    let limited = gateway.call(&get("/x", &shown(&proof(&unpaid))));
    assert_eq!(
        (limited.status, limited.code().as_str()),
        (429, "rate_limited")
    );
    assert!(limited.field("retry-after").is_some());
    // Whoever asks for the price is told.
    assert_eq!(told(&gateway, "").0, 402);
    assert_eq!(origin.count(), 0);
}

// PAY-66
#[test]
fn a_payer_has_only_so_much_running() {
    let (origin, facilitator) = (Origin::start(|_| vec![Step::Hang]), Facilitator::start());
    let routes = "  \"GET /x\": { upstream: origin, price: \"$0.01\", max_concurrent_per_payer: 1 }\n  \
                  \"GET /y\": { upstream: origin, price: \"$0.60\", settlement: after-response, \
                  max_exposure: \"$1.00\" }\n";
    let gateway = shop(&origin, &facilitator, routes).start();
    open(&gateway, &get("/x", ""));
    for path in ["/x", "/y"] {
        let unpaid = gateway.call(&get(path, ""));
        let before = origin.count();
        let mut running = gateway.connect();
        running.send(&get(path, &shown(&proof(&unpaid))));
        origin.wait_for(before + 1);
        let refused = gateway.call(&get(path, &shown(&proof(&unpaid))));
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (429, "payer_limit"),
            "{path}"
        );
        assert_eq!(origin.count(), before + 1, "{path}");
        drop(running);
        // Once that one is over there is room again.
        tollkeep_testkit::eventually("room", || {
            let mut other = gateway.connect();
            other.send(&get(path, &shown(&proof(&unpaid))));
            let waits = other.answer(Duration::from_millis(300));
            waits.is_err().then_some(())
        });
    }
}

// PAY-65 PAY-112
#[test]
fn a_price_that_was_told_holds_for_a_while_and_only_if_we_told_it() {
    let (origin, facilitator) = (Origin::plain(), Facilitator::start());
    let gateway = shop(&origin, &facilitator, CENT).start();
    let unpaid = open(&gateway, &get("/x", ""));
    let (told_before, dropped, tampered) = (proof(&unpaid), proof(&unpaid), proof(&unpaid));
    let config = std::fs::read_to_string(gateway.config_file()).unwrap();
    gateway.configure(config.replace("$0.01", "$0.02"));
    tollkeep_testkit::eventually("the new price", || {
        let offer = asked(&gateway.call(&get("/x", "")))["accepts"][0]["amount"].clone();
        (offer == "20000").then_some(())
    });
    let mut dropped = dropped;
    dropped["accepted"]["extra"] = json!({});
    assert_eq!(
        told(&gateway, &shown(&dropped)).1,
        "invalid_payment_requirements"
    );
    let mut tampered = tampered;
    tampered["accepted"]["amount"] = "1".into();
    tampered["payload"] = signed(0, 1);
    assert_eq!(told(&gateway, &shown(&tampered)).1, "price_mismatch");
    // Told for another request.
    let elsewhere = gateway.call(&get("/x?a=1", &shown(&told_before)));
    assert_eq!(elsewhere.code(), "price_mismatch");
    assert_eq!(told(&gateway, &shown(&told_before)).0, 200);
}

// PAY-13
#[test]
fn a_token_is_looked_at_first_where_either_will_do() {
    let (origin, facilitator) = (Origin::plain(), Facilitator::start());
    let routes = format!(
        "{CENT}  \"GET /either\": {{ upstream: origin, price: \"$0.01\", access: token_or_payment }}\n"
    );
    let gateway = shop(&origin, &facilitator, &routes).start();
    let token = gateway.mint_token(&json!({}));
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let unpaid = open(&gateway, &get("/either", ""));
    let call = |path: &str, lines: &str| gateway.call(&get(path, lines));
    assert_eq!(call("/either", &bearer(&token)).status, 200);
    assert_eq!(facilitator.asked("/settle"), 0);
    let payment = shown(&proof(&unpaid));
    let bad = call("/either", &format!("{}{payment}", bearer("tok-no")));
    assert_eq!(bad.status, 401, "a bad token is never passed over");
    assert_eq!(facilitator.asked("/settle"), 0);
    let both = call("/either", &format!("{}{payment}", bearer(&token)));
    assert_eq!(
        (both.status, both.field("x-tollkeep-payment")),
        (200, Some("charged"))
    );
    // Where only payment will do, a token is nothing.
    assert_eq!(call("/x", &bearer(&token)).status, 402);
}

// PAY-87
#[test]
fn nobody_is_asked_to_pay_for_an_upstream_that_is_left_alone() {
    let (origin, facilitator) = (Origin::start(|_| vec![Step::Close]), Facilitator::start());
    let routes = format!("{CENT}  \"GET /free\": {{ upstream: origin, access: free }}\n");
    let config = shop(&origin, &facilitator, &routes).set("upstreams.origin.breaker.failures", "1");
    let gateway = config.start();
    open(&gateway, &get("/x", ""));
    let unpaid = gateway.call(&get("/x", ""));
    assert_eq!(
        gateway.call(&get("/x", &shown(&proof(&unpaid)))).status,
        502
    );
    let alone = gateway.call(&get("/x", ""));
    assert_eq!((alone.status, alone.code().as_str()), (502, "circuit_open"));
    assert!(alone.field("payment-required").is_none());
}

// PAY-50a
#[test]
fn a_token_with_nothing_left_to_spend_is_asked_to_pay() {
    let (origin, facilitator) = (Origin::plain(), Facilitator::start());
    let route = "  \"GET /x\": { upstream: origin, price: \"$0.01\", access: token_or_payment }\n\
                 budgets:\n  list:\n    - { name: none, unit: requests, limit: 1, window: lifetime, \
                 scope: { route: \"GET /x\" } }\n";
    let gateway = shop(&origin, &facilitator, route).start();
    open(&gateway, &get("/x", ""));
    let token = gateway.mint_token(&json!({}));
    let bearer = format!("Authorization: Bearer {token}\r\n");
    assert_eq!(told(&gateway, &bearer).0, 200);
    let spent = tollkeep_testkit::eventually("the budget is used up", || {
        let answer = gateway.call(&get("/x", &bearer));
        (answer.status == 402).then_some(answer)
    });
    assert_eq!(spent.code(), "budget_exhausted");
    assert_eq!(
        spent.json().get("accepts"),
        None,
        "its words are those of tokens"
    );
    let paid = format!("{bearer}{}", shown(&proof(&spent)));
    assert_eq!(told(&gateway, &paid).0, 200);
}

// PAY-53
#[test]
fn a_challenge_leaves_out_what_does_not_fit() {
    let (origin, facilitator) = (Origin::plain(), Facilitator::start());
    let accepts = ["{ asset: USDC, network: base-sepolia }"; 8].join(", ");
    let route =
        format!("  \"GET /x\": {{ upstream: origin, price: \"$0.01\", accepts: [{accepts}] }}\n");
    let with = |bytes: &str| {
        let gateway = shop(&origin, &facilitator, &route)
            .set("payments.challenge.max_header_bytes", bytes)
            .start();
        let answer = open(&gateway, &get("/x", ""));
        let field = answer.field("payment-required").unwrap().len();
        (asked(&answer)["accepts"].as_array().unwrap().len(), field)
    };
    assert_eq!(with("7168").0, 8);
    let (offers, bytes) = with("1200");
    assert!(
        (1..8).contains(&offers) && bytes <= 1200,
        "{offers} in {bytes}"
    );
}

// PAY-65
#[test]
fn a_price_that_was_told_ends() {
    let (origin, facilitator) = (Origin::plain(), Facilitator::start());
    let gateway = shop(&origin, &facilitator, CENT)
        .set("payments.quote_ttl", "1s")
        .set("payments.failed_proofs.requests", "100000")
        .start();
    let unpaid = open(&gateway, &get("/x", ""));
    let config = std::fs::read_to_string(gateway.config_file()).unwrap();
    gateway.configure(config.replace("$0.01", "$0.02"));
    let other = proof(&unpaid);
    tollkeep_testkit::eventually("the new price, and the end of the old one", || {
        let mut unsigned = other.clone();
        unsigned["payload"]["signature"] = format!("0x{}", "00".repeat(65)).into();
        (told(&gateway, &shown(&unsigned)).1 == "price_mismatch").then_some(())
    });
    assert_eq!(told(&gateway, &shown(&other)).1, "price_mismatch");
    assert_eq!(origin.count(), 0);
}

// PAY-120 PAY-123
#[test]
fn what_only_the_chain_can_judge_goes_on_if_it_may_and_not_often() {
    let (origin, facilitator) = (Origin::plain(), Facilitator::start());
    let start = |smart: &str| {
        shop(&origin, &facilitator, CENT)
            .set("payments.x402.smart_wallets", smart)
            .set("payments.x402.verify", "local_only")
            .set("compat.tollbooth_headers", smart)
            .start()
    };
    let contract = |unpaid: &Answer| {
        let mut proof = proof(unpaid);
        proof["payload"]["signature"] = format!("0x{}", "11".repeat(90)).into();
        shown(&proof)
    };
    // Of version 1, in the field of version 2.
    let one = || {
        let payload = signed(0, 10_000);
        shown(&json!({
            "x402Version": 1, "scheme": "exact", "network": "base-sepolia", "payload": payload,
        }))
    };
    let strict = start("false");
    let unpaid = open(&strict, &get("/x", ""));
    let (_, code) = told(&strict, &contract(&unpaid));
    assert_eq!(code, "invalid_exact_evm_payload_signature");
    assert_eq!(told(&strict, &one()).1, "invalid_x402_version");
    assert_eq!(told(&strict, &shown(&proof(&unpaid))).0, 200);
    assert_eq!(facilitator.asked("/verify"), 0, "local_only");
    let lenient = start("true");
    open(&lenient, &get("/x", ""));
    assert_eq!(told(&lenient, &one()).0, 200);
    assert_eq!(facilitator.asked("/verify"), 0, "local_only");
    let passed = (0..5).filter(|_| told(&lenient, &contract(&unpaid)).0 == 200);
    assert_eq!(passed.count(), facilitator.asked("/verify"));
    assert!(facilitator.asked("/verify") >= 1);
}

// PAY-5 Acceptance 7 of the chapter: the short form.
#[test]
fn mutated_proofs_are_refused_and_cost_no_call() {
    mutate(1_000);
}

// PAY-5 Acceptance 7 of the chapter; `MUTATED_PROOFS` says how many.
#[test]
#[ignore = "200,000 proofs, for the long run"]
fn very_many_mutated_proofs_are_refused_and_cost_no_call() {
    let wanted = std::env::var("MUTATED_PROOFS").ok();
    mutate(wanted.map_or(200_000, |wanted| wanted.parse().unwrap()));
}

/// Memory of the gateway may grow by so much, once it has seen a tenth of the proofs.
const GROWTH_BYTES_MAX: u64 = 16 << 20;
/// As long one answer in a hundred may take, in a build with optimisation.
const P99_MAX: Duration = Duration::from_millis(1);

fn resident_bytes(gateway: &Gateway) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.unwrap().trim().trim_end_matches(" kB");
    kib.parse::<u64>().unwrap() * 1024
}

/// A proof with one to four of its bytes changed.
fn mutated(good: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut text = good.to_vec();
    for _ in 0..=dice.roll() % 4 {
        let at = dice.below(text.len());
        match dice.roll() % 3 {
            0 => text[at] = u8::try_from(dice.roll() % 256).unwrap(),
            1 => drop(text.remove(at)),
            _ => text.insert(at, b'0'),
        }
    }
    text
}

#[expect(clippy::disallowed_methods, reason = "it measures")]
fn mutate(times: usize) {
    let (origin, facilitator) = (Origin::plain(), Facilitator::start());
    let gateway = shop(&origin, &facilitator, CENT)
        .set("payments.failed_proofs.requests", "1000000")
        .set("payments.x402.smart_wallets", "false")
        .set("server.timeouts.requests_per_connection_max", "1000000000")
        .start();
    let unpaid = open(&gateway, &get("/x", ""));
    let good = proof(&unpaid).to_string().into_bytes();
    let mut dice = Dice::new(7);
    let mut client = gateway.connect();
    let (mut served, mut before) = (0, 0);
    let mut took = Vec::with_capacity(times);
    for number in 0..times {
        if number == times / 10 {
            before = resident_bytes(&gateway);
        }
        let text = mutated(&good, &mut dice);
        let field = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &text);
        let request = get("/x", &format!("PAYMENT-SIGNATURE: {field}\r\n"));
        let began = Instant::now();
        let answer = client.call(&request);
        took.push(began.elapsed());
        // A change may leave what counts as it was.
        served += usize::from(answer.status == 200);
        let is_known = [200, 400, 402, 409].contains(&answer.status);
        let text = String::from_utf8_lossy(&text);
        assert!(is_known, "{} {text}", answer.status);
        if answer.closes() {
            client = gateway.connect();
        }
    }
    took.sort_unstable();
    let (median, p99) = (took[times / 2], took[times * 99 / 100]);
    let grown = resident_bytes(&gateway).saturating_sub(before);
    println!(
        "{times} mutated proofs: median {median:?}, p99 {p99:?}, {served} served, {grown} bytes more"
    );
    assert!(facilitator.asked("/settle") <= 1, "one proof settles once");
    assert!(
        facilitator.asked("/verify") <= 1,
        "one proof is verified once"
    );
    assert!(origin.count() <= 1);
    assert!(grown <= GROWTH_BYTES_MAX, "{grown} bytes more");
    // A build without optimisation says nothing about speed, and neither do a few.
    if !cfg!(debug_assertions) && times >= 100_000 {
        assert!(p99 < P99_MAX, "{p99:?}");
    }
}
