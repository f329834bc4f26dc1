//! Challenges and receipts on the wire, as the library that clients use reads them.

use crate::proofs::offer;
use crate::vectors::vectors;
use base64::Engine;
use serde_json::{Value, json};
use tollkeep_payments::evm::Address;
use tollkeep_payments::price::Price;
use tollkeep_payments::x402::{
    Asset, Assets, Challenge, Extensions, Network, Networks, Offer, Reason, Receipt, Resource,
    Scheme, Transfer, Version,
};

fn decoded(header: &str) -> Value {
    let bytes = base64::engine::general_purpose::STANDARD.decode(header);
    serde_json::from_slice(&bytes.unwrap()).unwrap()
}

fn resource(json: &Value) -> Resource {
    let text = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
    Resource {
        url: text("url"),
        description: text("description"),
        mime_type: text("mimeType"),
    }
}

// As far as it is decided here: PAY-110.
#[test]
fn the_challenge_of_version_two_is_what_the_library_reads() {
    let mut written = 0;
    for case in vectors("x402-v2-exact").1 {
        let object = &case["payment_required"];
        let Some(accepts) = object["accepts"].as_array() else {
            continue;
        };
        let offers: Vec<Offer> = accepts.iter().map(offer).collect();
        let resource = resource(&object["resource"]);
        let challenge = Challenge {
            resource: &resource,
            offers: &offers,
            quotes: &[],
            reason: None,
            extensions: &Extensions::default(),
        };
        let header = challenge.payment_required(7 * 1024).unwrap();
        assert_eq!(decoded(&header), *object, "{}", case["name"]);
        // Compact, and in the order of the library: the very bytes.
        assert_eq!(case["payment_required_header"], header, "{}", case["name"]);
        written += 1;
    }
    assert!(written >= 9);
}

fn usdc(amount: u128) -> Offer {
    Offer {
        scheme: Scheme::Exact,
        asset: Assets::default()
            .find("USDC", &Network::Evm(84532))
            .unwrap()
            .clone(),
        amount,
        pay_to: "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
            .parse()
            .unwrap(),
        max_timeout_s: 60,
        facilitator: None,
    }
}

// As far as it is decided here: PAY-111, PAY-52.
#[test]
fn version_one_has_what_it_can_express_and_no_nulls() {
    let recorded = &vectors("payment-required").0["recorded"][0]["body"];
    let resource = Resource {
        url: "http://127.0.0.1:24811/paid".to_owned(),
        description: "d".to_owned(),
        mime_type: "application/json".to_owned(),
    };
    let networks = Networks::default();
    let permit2 = Offer {
        asset: Asset {
            transfer: Transfer::Permit2,
            ..usdc(1).asset
        },
        ..usdc(1)
    };
    let upto = Offer {
        scheme: Scheme::Upto,
        ..usdc(1)
    };
    let unnamed = Offer {
        asset: Asset {
            network: Network::Evm(424_242),
            ..usdc(1).asset
        },
        ..usdc(1)
    };
    let offers = [permit2, upto, unnamed, usdc(10_000)];
    let none = Extensions::default();
    let challenge = |offers| Challenge {
        resource: &resource,
        offers,
        quotes: &[],
        reason: None,
        extensions: &none,
    };
    let members = challenge(offers.as_slice()).v1_members(&networks);
    for name in ["x402Version", "error", "accepts"] {
        assert_eq!(members[name], recorded[name], "{name}");
    }
    assert!(!Value::Object(members).to_string().contains("null"));
    let others = &offers[..3];
    assert!(challenge(others).v1_members(&networks).is_empty());
}

// As far as it is decided here: PAY-53, PAY-54, PAY-110.
#[test]
fn upto_comes_first_and_what_does_not_fit_is_left_out_from_the_end() {
    let resource = Resource {
        url: "https://api.example/x".to_owned(),
        ..Resource::default()
    };
    let facilitator: Address = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
        .parse()
        .unwrap();
    let upto = Offer {
        scheme: Scheme::Upto,
        facilitator: Some(facilitator),
        ..usdc(7)
    };
    let offers = [usdc(1), usdc(2), upto];
    let challenge = Challenge {
        resource: &resource,
        offers: &offers,
        quotes: &[],
        reason: Some(Reason::Signature),
        extensions: &Extensions::default(),
    };
    let amounts = |bytes_max| {
        let object = decoded(&challenge.payment_required(bytes_max)?);
        assert_eq!(object["error"], "invalid_exact_evm_payload_signature");
        let accepts = object["accepts"].as_array().unwrap();
        let amounts = accepts
            .iter()
            .map(|offer| offer["amount"].as_str().unwrap());
        Some(amounts.map(str::to_owned).collect::<Vec<_>>().join(" "))
    };
    let whole = challenge.payment_required(usize::MAX).unwrap().len();
    assert_eq!(amounts(whole).as_deref(), Some("7 1 2"));
    assert_eq!(amounts(whole - 1).as_deref(), Some("7 1"));
    assert_eq!(amounts(100), None);
}

// PAY-22 PAY-103
#[test]
fn dollars_are_asked_for_in_tokens_that_are_dollars_only() {
    let usdc = usdc(0).asset;
    let euro = Asset {
        symbol: "EURC".into(),
        is_dollar: false,
        ..usdc.clone()
    };
    let dai = Asset {
        symbol: "DAI".into(),
        decimals: 18,
        ..usdc.clone()
    };
    let units = |symbol: &str, amount| Price::Asset {
        symbol: symbol.into(),
        amount,
    };
    for (name, price, asset, want) in [
        ("dollars", "$0.01".parse().unwrap(), &usdc, Some(10_000)),
        (
            "of its own decimals",
            "$0.01".parse().unwrap(),
            &dai,
            Some(10_000_000_000_000_000),
        ),
        ("euros", "$0.01".parse().unwrap(), &euro, None),
        ("units", units("EURC", 7), &euro, Some(7)),
        ("units of another", units("EURC", 7), &usdc, None),
        ("sats", "21sat".parse().unwrap(), &usdc, None),
    ] {
        assert_eq!(Offer::amount_of(&price, asset), want, "{name}");
    }
}

// As far as it is decided here: PAY-72, PAY-138.
#[test]
fn receipts_are_what_the_library_reads() {
    let mut written = 0;
    for case in vectors("payment-required").1 {
        let name = case["name"].as_str().unwrap();
        if !name.starts_with("response") {
            continue;
        }
        let object = &case["object"];
        let text = |name: &str| object[name].as_str().map(str::to_owned);
        let receipt = Receipt {
            success: object["success"].as_bool().unwrap(),
            transaction: text("transaction").unwrap(),
            network: Network::from_caip2(&text("network").unwrap()).unwrap(),
            payer: text("payer").and_then(|payer| Address::from_hex(&payer)),
            amount: text("amount").map(|amount| amount.parse().unwrap()),
            error_reason: text("errorReason"),
        };
        let networks = Networks::default();
        let header = receipt.encode(Version::Two, &networks);
        assert_eq!(decoded(&header), *object, "{name}");
        let old = decoded(&receipt.encode(Version::One, &networks));
        let short = networks.short_name(&receipt.network).unwrap();
        assert_eq!(old["network"], json!(short), "{name}");
        written += 1;
    }
    assert_eq!(written, 5);
    assert_eq!(Receipt::field(Version::One), "x-payment-response");
    assert_eq!(Receipt::field(Version::Two), "payment-response");
}
