//! Proofs that stock clients signed, and each with one change.

use crate::vectors::vectors;
use serde_json::Value;
use std::time::{Duration, Instant};
use tollkeep_payments::evm::Address;
use tollkeep_payments::x402::{
    Assets, Checked, Field, Malformed, Networks, Offer, Proof, Reason, Rules, Scheme, Transfer,
    check,
};

/// The offer of a case, by our own table of tokens.
pub(crate) fn offer(json: &Value) -> Offer {
    let networks = Networks::default();
    let text = |name: &str| json[name].as_str().unwrap();
    let network = networks.find(text("network")).unwrap();
    let mut asset = Assets::default().find("USDC", &network).unwrap().clone();
    assert_eq!(Address::from_hex(text("asset")), Some(asset.address));
    let named = |name: &str| json["extra"][name].as_str().unwrap().into();
    (asset.name, asset.version) = (named("name"), named("version"));
    if json["extra"]["assetTransferMethod"] == "permit2" {
        asset.transfer = Transfer::Permit2;
    }
    let amount = json
        .get("amount")
        .unwrap_or_else(|| &json["maxAmountRequired"]);
    let facilitator = json["extra"]["facilitatorAddress"].as_str();
    Offer {
        scheme: match text("scheme") {
            "exact" => Scheme::Exact,
            "upto" => Scheme::Upto,
            other => panic!("{other}"),
        },
        asset,
        amount: amount.as_str().unwrap().parse().unwrap(),
        pay_to: text("payTo").parse().unwrap(),
        max_timeout_s: json["maxTimeoutSeconds"].as_u64().unwrap(),
        facilitator: facilitator.map(|text| text.parse().unwrap()),
    }
}

/// A case: its offer, its clock, and what is shown in which field.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) offer: Offer,
    pub(crate) now_s: u64,
    pub(crate) field: Field,
    pub(crate) shown: String,
    json: Value,
}

pub(crate) fn cases(file: &str) -> Vec<Case> {
    let cases = vectors(file).1.into_iter();
    let case = |json: Value| {
        let (field, shown) = match json["payment_signature_header"].as_str() {
            Some(shown) => (Field::PaymentSignature, shown),
            None => (Field::XPayment, json["x_payment_header"].as_str().unwrap()),
        };
        Case {
            name: format!("{file} {}", json["name"]),
            offer: offer(&json["offered"]),
            // One clock stands before 1970, where none of ours does.
            now_s: u64::try_from(json["now"].as_i64().unwrap()).unwrap_or(0),
            field,
            shown: shown.to_owned(),
            json,
        }
    };
    cases.map(case).collect()
}

pub(crate) const FILES: [&str; 4] = [
    "x402-v2-exact",
    "x402-v2-exact-python",
    "x402-v1-exact",
    "x402-permit2-upto",
];

pub(crate) fn judged(case: &Case, smart_wallets: bool) -> Result<Checked, Reason> {
    let proof = Proof::read(case.field, &case.shown).unwrap();
    check(
        &proof,
        &Rules {
            smart_wallets,
            ..rules(case, &Networks::default())
        },
    )
}

fn rules<'a>(case: &'a Case, networks: &'a Networks) -> Rules<'a> {
    Rules {
        offers: std::slice::from_ref(&case.offer),
        networks,
        now_s: case.now_s,
        head_s: 0,
        whole_s: 0,
        smart_wallets: false,
        v1_in_either: true,
        takes_ended: false,
    }
}

// As far as it is decided here: PAY-121, PAY-123, PAY-124, PAY-410.
// PAY-120 PAY-122
#[test]
fn proofs_are_judged_as_the_vectors_have_it() {
    let mut judged_cases = 0;
    for case in FILES.into_iter().flat_map(cases) {
        judged_cases += 1;
        let (name, expect) = (&case.name, &case.json["expect"]);
        let told = judged(&case, true);
        if expect["local"] == "defer" {
            assert!(told.unwrap().is_deferred, "{name}");
            let refused = judged(&case, false).unwrap_err();
            assert_eq!(refused, Reason::Signature, "{name}");
            continue;
        }
        match told {
            Ok(checked) => {
                assert_eq!(expect["valid"], true, "{name}");
                assert!(!checked.is_deferred, "{name}");
                if let Some(payer) = case.json["payer"].as_str() {
                    let payer = Address::from_hex(payer);
                    assert_eq!(Some(checked.payload.payer()), payer, "{name}");
                }
            }
            Err(reason) => {
                assert_eq!(expect["valid"], false, "{name}: {reason:?}");
                assert_eq!(expect["code"], reason.code(), "{name}");
            }
        }
    }
    assert_eq!(judged_cases, 76);
}

fn shown(json: &Value) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(json.to_string())
}

/// The first case of a file, changed.
fn changed(file: &str, change: impl FnOnce(&mut Value)) -> Case {
    let mut case = cases(file).remove(0);
    let mut payload = case.json["payment_payload"].clone();
    change(&mut payload);
    case.shown = shown(&payload);
    case
}

// As far as it is decided here: PAY-60.
#[test]
fn the_key_is_what_the_chain_takes_once() {
    let key = |case: &Case| judged(case, true).unwrap().key;
    let first = cases("x402-v2-exact").remove(0);
    let lower = cases("x402-v2-exact").into_iter();
    let lower =
        lower.filter(|case| case.name.contains("lower-case") || case.name.contains("v-0-1"));
    for other in lower {
        assert_eq!(key(&other), key(&first), "{}", other.name);
    }
    let mut keys: Vec<_> = FILES
        .into_iter()
        .flat_map(cases)
        .filter(|case| case.json["expect"]["valid"] == true)
        .filter(|case| !case.name.contains("lower-case") && !case.name.contains("v-0-1"))
        .map(|case| key(&case))
        .collect();
    let count = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), count);
}

// PAY-120
#[test]
fn what_is_no_object_in_base64_is_malformed() {
    use base64::Engine;
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let deep = format!(
        "{}{}",
        "{\"a\":".repeat(12),
        "{}".to_owned() + &"}".repeat(12)
    );
    for (name, text) in [
        ("nothing", String::new()),
        ("no base64", "{}".to_owned()),
        ("a space", "e30 ".to_owned()),
        ("both alphabets", "ab+-".to_owned()),
        ("a list", encode("[]")),
        ("a text", encode("\"x\"")),
        (
            "two members",
            encode(r#"{"x402Version":2,"x402Version":1}"#),
        ),
        ("no JSON", encode("{")),
        ("deep", encode(&deep)),
        ("long", "e".repeat(8 * 1024 + 1)),
    ] {
        let read = Proof::read(Field::PaymentSignature, &text);
        assert!(read.is_err(), "{name}");
    }
    for text in ["e30=", "e30"] {
        assert!(Proof::read(Field::PaymentSignature, text).is_ok(), "{text}");
    }
    let long = Proof::read(Field::XPayment, &"e".repeat(8 * 1024 + 1));
    assert_eq!(long, Err(Malformed::TooLong));
}

// PAY-120
#[test]
fn a_version_belongs_to_its_field() {
    let told = |case: &Case, field, v1_in_either| {
        let proof = Proof::read(field, &case.shown).unwrap();
        check(
            &proof,
            &Rules {
                offers: std::slice::from_ref(&case.offer),
                networks: &Networks::default(),
                now_s: case.now_s,
                head_s: 0,
                whole_s: 0,
                smart_wallets: false,
                v1_in_either,
                takes_ended: false,
            },
        )
        .map(|checked| checked.version.number())
    };
    let (one, two) = (
        cases("x402-v1-exact").remove(0),
        cases("x402-v2-exact").remove(0),
    );
    let other = Err(Reason::InvalidX402Version);
    assert_eq!(told(&one, Field::XPayment, false), Ok(1));
    assert_eq!(told(&two, Field::PaymentSignature, false), Ok(2));
    assert_eq!(told(&two, Field::XPayment, true), other);
    assert_eq!(told(&one, Field::PaymentSignature, true), Ok(1));
    assert_eq!(told(&one, Field::PaymentSignature, false), other);
}

// As far as it is decided here: PAY-121.
#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn what_is_missing_or_of_another_shape_has_its_reason() {
    let file = "x402-v2-exact";
    let at = |pointer: &'static str, value: Value| {
        changed(file, move |json| {
            *json.pointer_mut(pointer).unwrap() = value;
        })
    };
    let payto = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC";
    let zero = "0x0000000000000000000000000000000000000000";
    for (pointer, value, want) in [
        ("/x402Version", "2".into(), Reason::InvalidX402Version),
        ("/x402Version", Value::Null, Reason::InvalidX402Version),
        ("/accepted", Value::Null, Reason::InvalidScheme),
        ("/accepted/scheme", 1.into(), Reason::InvalidScheme),
        (
            "/accepted/network",
            "base-sepolia".into(),
            Reason::InvalidNetwork,
        ),
        (
            "/accepted/amount",
            10000.into(),
            Reason::InvalidPaymentRequirements,
        ),
        (
            "/accepted/payTo",
            zero.into(),
            Reason::InvalidPaymentRequirements,
        ),
        ("/payload", Value::Null, Reason::InvalidPayload),
        ("/payload/authorization", "x".into(), Reason::InvalidPayload),
        (
            "/payload/authorization/from",
            payto.into(),
            Reason::RecipientMismatch,
        ),
        (
            "/payload/authorization/from",
            zero.into(),
            Reason::RecipientMismatch,
        ),
        (
            "/payload/authorization/validBefore",
            1.into(),
            Reason::InvalidPayload,
        ),
        (
            "/payload/authorization/validBefore",
            "".into(),
            Reason::InvalidPayload,
        ),
        ("/payload/signature", "0x".into(), Reason::InvalidPayload),
        ("/payload/signature", "0x1".into(), Reason::InvalidPayload),
        ("/payload/signature", "00".into(), Reason::InvalidPayload),
    ] {
        let case = at(pointer, value.clone());
        assert_eq!(judged(&case, true).unwrap_err(), want, "{pointer} {value}");
    }
    let signature = |byte: &str| {
        changed(file, |json| {
            let text = json["payload"]["signature"].as_str().unwrap();
            let text = format!("{}{byte}", text.get(..130).unwrap());
            json["payload"]["signature"] = text.into();
        })
    };
    for byte in ["02", "1a", "1d", "ff"] {
        let told = judged(&signature(byte), true).unwrap_err();
        assert_eq!(told, Reason::Signature, "{byte}");
    }
    for bytes in ["00".repeat(65), "ff".repeat(64) + "1b"] {
        let case = changed(file, |json| {
            json["payload"]["signature"] = format!("0x{bytes}").into();
        });
        assert_eq!(judged(&case, true).unwrap_err(), Reason::Signature);
    }
}

// As far as it is decided here: PAY-121.
#[test]
fn slow_work_needs_a_signature_that_lives_longer() {
    let case = cases("x402-v2-exact").remove(0);
    let proof = Proof::read(case.field, &case.shown).unwrap();
    // It ends 60 seconds from the clock of the case.
    for (head_s, is_taken) in [(0, true), (53, true), (54, false), (u64::MAX, false)] {
        let told = check(
            &proof,
            &Rules {
                offers: std::slice::from_ref(&case.offer),
                networks: &Networks::default(),
                now_s: case.now_s,
                head_s,
                whole_s: 0,
                smart_wallets: false,
                v1_in_either: false,
                takes_ended: false,
            },
        );
        assert_eq!(told.is_ok(), is_taken, "{head_s}");
    }
}

// PAY-2
#[test]
fn what_is_over_may_still_be_good_for_what_it_bought() {
    for file in ["x402-v2-exact", "x402-permit2-upto"] {
        let mut case = cases(file).remove(0);
        case.now_s += 100_000;
        let over = judged(&case, false).unwrap_err();
        assert!(matches!(
            over,
            Reason::ValidBefore | Reason::Permit2Deadline
        ));
        let late = |case: &Case| {
            let proof = Proof::read(case.field, &case.shown).unwrap();
            check(
                &proof,
                &Rules {
                    takes_ended: true,
                    ..rules(case, &Networks::default())
                },
            )
        };
        let checked = late(&case).unwrap();
        case.now_s -= 100_000;
        assert_eq!(checked, judged(&case, false).unwrap());
        // Nothing else passes for that.
        let forged = changed(file, |json| {
            json["payload"]["signature"] = format!("0x{}1b", "22".repeat(64)).into();
        });
        assert!(late(&forged).is_err());
    }
}

// As far as it is decided here: PAY-121.
#[test]
fn version_one_finds_the_token_that_was_signed_for() {
    let mut case = cases("x402-v1-exact").remove(0);
    let proof = Proof::read(case.field, &case.shown).unwrap();
    let mut other = case.offer.clone();
    other.asset.address = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
        .parse()
        .unwrap();
    let offers = [other, case.offer.clone()];
    let rules = Rules {
        offers: &offers,
        networks: &Networks::default(),
        now_s: case.now_s,
        head_s: 0,
        whole_s: 0,
        smart_wallets: false,
        v1_in_either: false,
        takes_ended: false,
    };
    assert_eq!(check(&proof, &rules).unwrap().offer, 1);
    // Version 1 can't express Permit2.
    case.offer.asset.transfer = Transfer::Permit2;
    assert_eq!(judged(&case, false).unwrap_err(), Reason::InvalidNetwork);
}

/// The quickest of many is what the checks take; the rest is who else works on this machine. The
/// curve and the hash are built with optimisation in every profile, so others say something too.
// As far as it is decided here: PAY-121.
#[test]
#[expect(clippy::disallowed_methods, reason = "it measures")]
fn local_checks_take_little_time() {
    let case = cases("x402-v2-exact").remove(0);
    let times = (0..200).map(|_| {
        let start = Instant::now();
        assert!(judged(&case, false).is_ok());
        start.elapsed()
    });
    let quickest = times.min().unwrap();
    println!("local checks of one proof: {quickest:?}");
    let most = Duration::from_micros(if cfg!(debug_assertions) { 1000 } else { 250 });
    assert!(quickest < most, "{quickest:?}");
}
