//! What is said to facilitators, and what their answers are taken for.

use crate::proofs::{Case, cases, judged};
use serde_json::{Value, json};
use tollkeep_payments::evm::Address;
use tollkeep_payments::x402::{
    Answered, Expected, Network, Networks, Resource, Scheme, SettleOutcome, VerifyOutcome, Version,
    settle_outcome, settlement, supported, verification, verify_outcome,
};

fn resource() -> Resource {
    Resource {
        url: "https://api.example.com/v1/item/0".to_owned(),
        description: "item".to_owned(),
        mime_type: "application/json".to_owned(),
    }
}

fn asked(case: &Case) -> Value {
    let checked = judged(case, true).unwrap();
    let body = verification(&checked, &case.offer, &resource(), &Networks::default());
    let amount = case.offer.amount;
    let settle = settlement(
        &checked,
        &case.offer,
        amount,
        &resource(),
        &Networks::default(),
    );
    // The same bytes, whenever they are made.
    assert_eq!(settle, body);
    serde_json::from_str(&body.unwrap()).unwrap()
}

// As far as it is decided here: PAY-131, PAY-134.
#[test]
fn a_facilitator_is_told_what_was_judged_and_what_we_offered() {
    let two = asked(&cases("x402-v2-exact").remove(0));
    assert_eq!(two["x402Version"], 2);
    assert_eq!(two["paymentRequirements"]["amount"], "10000");
    assert_eq!(
        two["paymentPayload"]["accepted"],
        two["paymentRequirements"]
    );
    let signed = &two["paymentPayload"]["payload"];
    assert_eq!(signed["authorization"]["validBefore"], "1795300060");
    let one = asked(&cases("x402-v1-exact").remove(0));
    assert_eq!(one["x402Version"], 1);
    assert_eq!(one["paymentPayload"]["network"], "base-sepolia");
    assert_eq!(one["paymentRequirements"]["maxAmountRequired"], "10000");
    assert_eq!(one["paymentRequirements"]["resource"], resource().url);
    // 0 and 1 are sent on as 27 and 28; another spelling of one proof gives the same bytes.
    let others = cases("x402-v2-exact").into_iter();
    for case in
        others.filter(|case| case.name.contains("v-0-1") || case.name.contains("lower-case"))
    {
        assert_eq!(asked(&case), two, "{}", case.name);
    }
}

// As far as it is decided here: PAY-131, PAY-136.
#[test]
fn less_is_settled_of_upto_only_and_never_more() {
    let settled = |file: &str, amount| {
        let case = cases(file).remove(0);
        let checked = judged(&case, true).unwrap();
        let body = settlement(
            &checked,
            &case.offer,
            amount,
            &resource(),
            &Networks::default(),
        )?;
        let body: Value = serde_json::from_str(&body).unwrap();
        // What was accepted stays what was signed.
        assert_eq!(body["paymentPayload"]["accepted"]["amount"], "10000");
        Some(
            body["paymentRequirements"]["amount"]
                .as_str()
                .unwrap()
                .to_owned(),
        )
    };
    for (file, amount, want) in [
        ("x402-v2-exact", 10_000, Some("10000")),
        ("x402-v2-exact", 9_999, None),
        ("x402-v2-exact", 10_001, None),
        ("x402-permit2-upto", 10_000, Some("10000")),
        ("x402-permit2-upto", 1, Some("1")),
        ("x402-permit2-upto", 10_001, None),
    ] {
        assert_eq!(settled(file, amount).as_deref(), want, "{file} {amount}");
    }
}

const PAYER: &str = "0x667fF918754239Bc5DfB39EfE943f29c735E7CB4";
const HASH: &str = "0xabababababababababababababababababababababababababababababababab";

fn told<T>(status: u16, body: &Value, judge: fn(&Answered<'_>, &Expected<'_>) -> T) -> T {
    let body = match body {
        Value::String(raw) => raw.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            body.to_string()
        }
    };
    answered(
        &Answered::Whole {
            status,
            body: body.as_bytes(),
        },
        10_000,
        judge,
    )
}

fn answered<T>(
    answered: &Answered<'_>,
    amount: u128,
    judge: fn(&Answered<'_>, &Expected<'_>) -> T,
) -> T {
    judge(
        answered,
        &Expected {
            network: &Network::Evm(84532),
            networks: &Networks::default(),
            payer: Address::from_hex(PAYER).unwrap(),
            amount,
        },
    )
}

fn unknown(transaction: Option<&str>) -> SettleOutcome {
    SettleOutcome::Unknown {
        transaction: transaction.map(str::to_owned),
    }
}

// As far as it is decided here: PAY-133.
#[test]
#[expect(clippy::too_many_lines, reason = "a table of answers")]
fn settlements_are_believed_only_if_nothing_is_in_doubt() {
    let yes =
        json!({"success": true, "transaction": HASH, "network": "eip155:84532", "payer": PAYER});
    let with = |name: &str, value: Value| {
        let mut changed = yes.clone();
        changed[name] = value;
        changed
    };
    let no = |reason: &str, transaction: &str| {
        json!({"success": false, "errorReason": reason, "transaction": transaction,
               "network": "eip155:84532", "payer": PAYER})
    };
    let settled = |amount| SettleOutcome::Settled {
        transaction: HASH.to_owned(),
        amount,
    };
    let doubt = || unknown(Some(HASH));
    for (name, status, body, want) in [
        ("yes", 200, yes.clone(), settled(None)),
        (
            "short network",
            200,
            with("network", "base-sepolia".into()),
            settled(None),
        ),
        (
            "the amount",
            200,
            with("amount", "10000".into()),
            settled(Some(10_000)),
        ),
        (
            "a smaller amount",
            200,
            with("amount", "9999".into()),
            doubt(),
        ),
        (
            "a larger amount",
            200,
            with("amount", "10001".into()),
            doubt(),
        ),
        ("no amount", 200, with("amount", "x".into()), doubt()),
        (
            "an amount of another kind",
            200,
            with("amount", 5.into()),
            doubt(),
        ),
        ("another payer", 200, with("payer", HASH.into()), doubt()),
        (
            "somebody else",
            200,
            with("payer", "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC".into()),
            doubt(),
        ),
        (
            "another network",
            200,
            with("network", "base".into()),
            doubt(),
        ),
        (
            "no transaction",
            200,
            with("transaction", "".into()),
            unknown(None),
        ),
        (
            "no hash",
            200,
            with("transaction", "a b".into()),
            unknown(None),
        ),
        ("yes in a 500", 500, yes.clone(), unknown(None)),
        ("yes in a 400", 400, yes.clone(), doubt()),
        ("yes in a 302", 302, yes.clone(), unknown(None)),
        ("yes in words", 200, with("success", "true".into()), doubt()),
        (
            "refused",
            200,
            no("insufficient_funds", ""),
            SettleOutcome::Refused("insufficient_funds".to_owned()),
        ),
        (
            "refused in a 400",
            400,
            no("invalid_payload", ""),
            SettleOutcome::Refused("invalid_payload".to_owned()),
        ),
        (
            "the alias",
            200,
            no("invalid_exact_evm_signature", ""),
            SettleOutcome::Refused("invalid_exact_evm_payload_signature".to_owned()),
        ),
        (
            "refused in a 500",
            500,
            no("insufficient_funds", ""),
            unknown(None),
        ),
        (
            "refused in a 429",
            429,
            no("insufficient_funds", ""),
            unknown(None),
        ),
        (
            "refused, and sent",
            200,
            no("insufficient_funds", HASH),
            doubt(),
        ),
        ("no reason", 200, no("", ""), unknown(None)),
        (
            "its own fault",
            200,
            no("unexpected_settle_error", ""),
            unknown(None),
        ),
        (
            "reverted",
            200,
            no("invalid_transaction_state", HASH),
            doubt(),
        ),
        (
            "on its way",
            200,
            no("settlement_pending", HASH),
            SettleOutcome::Pending(HASH.to_owned()),
        ),
        (
            "on its way, nowhere",
            200,
            no("settlement_pending", ""),
            unknown(None),
        ),
        (
            "used",
            200,
            no("invalid_exact_evm_nonce_already_used", ""),
            SettleOutcome::NonceUsed,
        ),
        ("no object", 200, json!([]), unknown(None)),
        ("no JSON", 200, "{".into(), unknown(None)),
        (
            "twice",
            200,
            r#"{"success":true,"success":false}"#.into(),
            unknown(None),
        ),
        ("nothing", 200, "".into(), unknown(None)),
        ("nothing in a 404", 404, "Not Found".into(), unknown(None)),
    ] {
        assert_eq!(told(status, &body, settle_outcome), want, "{name}");
    }
    assert_eq!(
        answered(&Answered::Unsent, 1, settle_outcome),
        SettleOutcome::Unsent
    );
    assert_eq!(answered(&Answered::Cut, 1, settle_outcome), unknown(None));
    let long = yes.to_string() + &" ".repeat(256 * 1024);
    let long = Answered::Whole {
        status: 200,
        body: long.as_bytes(),
    };
    assert_eq!(answered(&long, 10_000, settle_outcome), unknown(None));
}

// As far as it is decided here: PAY-133, PAY-136.
#[test]
fn nothing_to_settle_needs_no_transaction() {
    let body = json!({"success": true, "transaction": "", "network": "eip155:84532",
                      "payer": PAYER, "amount": "0"});
    let body = body.to_string();
    let whole = Answered::Whole {
        status: 200,
        body: body.as_bytes(),
    };
    let want = SettleOutcome::Settled {
        transaction: String::new(),
        amount: Some(0),
    };
    assert_eq!(answered(&whole, 0, settle_outcome), want);
    assert_eq!(answered(&whole, 1, settle_outcome), unknown(None));
}

// As far as it is decided here: PAY-131, PAY-132.
#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn a_verdict_is_taken_from_whole_answers_only() {
    let refused = |reason: &str| VerifyOutcome::Refused(reason.to_owned());
    for (name, status, body, want) in [
        (
            "yes",
            200,
            json!({"isValid": true, "payer": PAYER}),
            VerifyOutcome::Valid,
        ),
        (
            "yes, unnamed",
            200,
            json!({"isValid": true}),
            VerifyOutcome::Valid,
        ),
        (
            "yes for another",
            200,
            json!({"isValid": true, "payer": "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"}),
            VerifyOutcome::Unavailable,
        ),
        (
            "yes in a 400",
            400,
            json!({"isValid": true}),
            VerifyOutcome::Unavailable,
        ),
        (
            "no",
            200,
            json!({"isValid": false, "invalidReason": "insufficient_funds"}),
            refused("insufficient_funds"),
        ),
        (
            "no in a 400",
            400,
            json!({"isValid": false, "invalidReason": "invalid_payload"}),
            refused("invalid_payload"),
        ),
        (
            "no in words of its own",
            200,
            json!({"isValid": false, "invalidReason": "<b>No</b>"}),
            refused("unknown_reason"),
        ),
        (
            "no allowance",
            412,
            json!({"isValid": false, "invalidReason": "permit2_allowance_required"}),
            VerifyOutcome::AllowanceMissing,
        ),
        (
            "busy",
            429,
            json!({"isValid": false}),
            VerifyOutcome::Unavailable,
        ),
        (
            "broken",
            500,
            json!({"isValid": false}),
            VerifyOutcome::Unavailable,
        ),
        ("neither", 200, json!({}), VerifyOutcome::Unavailable),
    ] {
        assert_eq!(told(status, &body, verify_outcome), want, "{name}");
    }
    for lost in [Answered::Unsent, Answered::Cut] {
        assert_eq!(
            answered(&lost, 1, verify_outcome),
            VerifyOutcome::Unavailable
        );
    }
}

// As far as it is decided here: PAY-130.
#[test]
fn kinds_that_a_facilitator_takes_are_read_and_others_passed_over() {
    let facilitator = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
    let body = json!({
        "kinds": [
            {"x402Version": 2, "scheme": "exact", "network": "eip155:84532"},
            {"x402Version": 2, "scheme": "upto", "network": "eip155:84532",
             "extra": {"facilitatorAddress": facilitator}},
            {"x402Version": 1, "scheme": "exact", "network": "base-sepolia"},
            {"x402Version": 2, "scheme": "exact", "network": "cardano:mainnet"},
            {"x402Version": 3, "scheme": "exact", "network": "base"},
            "what?",
        ],
        "extensions": [],
        "signers": {"eip155:*": [facilitator]},
    });
    let body = body.to_string();
    let networks = Networks::default();
    let whole = |status| Answered::Whole {
        status,
        body: body.as_bytes(),
    };
    let taken = supported(&whole(200), &networks).unwrap();
    let (test, base) = (Network::Evm(84532), Network::Evm(8453));
    for (version, scheme, network, want) in [
        (Version::Two, Scheme::Exact, &test, true),
        (Version::Two, Scheme::Upto, &test, true),
        (Version::One, Scheme::Exact, &test, true),
        (Version::One, Scheme::Upto, &test, false),
        (Version::Two, Scheme::Exact, &base, false),
    ] {
        assert_eq!(
            taken.lists(version, scheme, network),
            want,
            "{version:?} {scheme:?}"
        );
    }
    assert_eq!(taken.facilitator(&test), Address::from_hex(facilitator));
    assert_eq!(taken.facilitator(&base), None);
    assert_eq!(supported(&whole(500), &networks), None);
    assert_eq!(supported(&Answered::Cut, &networks), None);
}
