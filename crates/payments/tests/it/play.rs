//! The facilitator without a chain.

use secp256k1::{Message, Secp256k1, SecretKey};
use serde_json::{Value, json};
use tollkeep_payments::U256;
use tollkeep_payments::evm::{Domain, TransferAuthorization};
use tollkeep_payments::x402::{
    Answered, Expected, Networks, PLAY_NETWORK, PlayChain, Scheme, SettleOutcome, VerifyOutcome,
    Version, settle_outcome, supported, verify_outcome,
};

const NOW: u64 = 1_800_000_000;
const PAYEE: &str = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC";
const USDC: &str = "0x036CbD53842c5426634e7929541eC2318f3dCF7e";
/// A well-known key that holds nothing.
const KEY: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
const PAYER: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a facilitator is asked about a payment of so many units.
fn asked(units: u64, nonce: u8) -> Value {
    let signed = TransferAuthorization {
        from: PAYER.parse().unwrap(),
        to: PAYEE.parse().unwrap(),
        value: U256::from(units),
        valid_after: U256::from(NOW - 60),
        valid_before: U256::from(NOW + 60),
        nonce: [nonce; 32],
    };
    let domain = Domain {
        name: "USDC",
        version: Some("2"),
        chain_id: 84532,
        contract: USDC.parse().unwrap(),
    };
    let key: SecretKey = KEY.parse().unwrap();
    let message = Message::from_digest(signed.digest(&domain));
    let signature = Secp256k1::new().sign_ecdsa_recoverable(&message, &key);
    let (recovery, compact) = signature.serialize_compact();
    let v = 27 + recovery.to_i32();
    let payload = json!({
        "signature": format!("0x{}{v:02x}", hex(&compact)),
        "authorization": {
            "from": PAYER, "to": PAYEE, "value": units.to_string(),
            "validAfter": (NOW - 60).to_string(), "validBefore": (NOW + 60).to_string(),
            "nonce": format!("0x{}", hex(&signed.nonce)),
        },
    });
    let accepted = json!({
        "scheme": "exact", "network": "eip155:84532", "amount": units.to_string(), "asset": USDC,
        "payTo": PAYEE, "maxTimeoutSeconds": 60, "extra": { "name": "USDC", "version": "2" },
    });
    json!({
        "x402Version": 2,
        "paymentPayload": { "x402Version": 2, "accepted": accepted, "payload": payload },
        "paymentRequirements": accepted,
    })
}

fn settled(chain: &mut PlayChain, asked: &Value, now_s: u64) -> SettleOutcome {
    let body = chain.settle(asked.to_string().as_bytes(), now_s);
    judged(&body, asked, settle_outcome)
}

fn verified(chain: &PlayChain, asked: &Value, now_s: u64) -> VerifyOutcome {
    let body = chain.verify(asked.to_string().as_bytes(), now_s);
    judged(&body, asked, verify_outcome)
}

/// As the gateway judges an answer.
fn judged<T>(body: &str, asked: &Value, judge: fn(&Answered<'_>, &Expected<'_>) -> T) -> T {
    let amount = asked["paymentRequirements"]["amount"].as_str();
    let answered = Answered::Whole {
        status: 200,
        body: body.as_bytes(),
    };
    let networks = Networks::default();
    let expected = Expected {
        network: &PLAY_NETWORK,
        networks: &networks,
        payer: PAYER.parse().unwrap(),
        amount: amount.and_then(|amount| amount.parse().ok()).unwrap_or(1),
    };
    judge(&answered, &expected)
}

// PAY-89
#[test]
fn both_versions_of_one_network_are_taken() {
    let body = PlayChain::supported();
    let answered = Answered::Whole {
        status: 200,
        body: body.as_bytes(),
    };
    let networks = Networks::default();
    let supported = supported(&answered, &networks).unwrap();
    let base = networks.find("base").unwrap();
    for version in [Version::One, Version::Two] {
        assert!(supported.lists(version, Scheme::Exact, &PLAY_NETWORK));
        assert!(!supported.lists(version, Scheme::Upto, &PLAY_NETWORK));
        assert!(!supported.lists(version, Scheme::Exact, &base));
    }
}

// PAY-89
#[test]
fn a_nonce_is_taken_once_and_a_repeat_told_the_same() {
    let mut chain = PlayChain::default();
    let first = asked(10_000, 1);
    assert_eq!(verified(&chain, &first, NOW), VerifyOutcome::Valid);
    let told = settled(&mut chain, &first, NOW);
    assert!(matches!(&told, SettleOutcome::Settled { transaction, .. } if transaction.len() == 66));
    assert_eq!(settled(&mut chain, &first, NOW), told);
    let used = VerifyOutcome::Refused("invalid_exact_evm_nonce_already_used".to_owned());
    assert_eq!(verified(&chain, &first, NOW), used);
    // The nonce for another amount is the same nonce.
    assert_eq!(
        settled(&mut chain, &asked(20_000, 1), NOW),
        SettleOutcome::NonceUsed
    );
    let other = settled(&mut chain, &asked(10_000, 2), NOW);
    assert!(matches!(&other, SettleOutcome::Settled { .. }) && other != told);
}

// PAY-89
#[test]
#[expect(clippy::too_many_lines, reason = "a table of faults")]
fn what_is_not_signed_right_is_refused_as_by_a_chain() {
    let mut chain = PlayChain::default();
    let changed = |place: &str, value: Value| {
        let mut asked = asked(10_000, 3);
        *asked.pointer_mut(place).unwrap() = value;
        asked
    };
    let payload = "/paymentPayload/payload/authorization";
    let wanted = "/paymentRequirements";
    for (name, asked, now_s, reason) in [
        (
            "late",
            asked(10_000, 3),
            NOW + 60,
            "invalid_exact_evm_payload_authorization_valid_before",
        ),
        (
            "early",
            asked(10_000, 3),
            NOW - 60,
            "invalid_exact_evm_payload_authorization_valid_after",
        ),
        (
            "other value",
            changed(&format!("{payload}/value"), json!("10001")),
            NOW,
            "invalid_exact_evm_payload_authorization_value_mismatch",
        ),
        (
            "other payee",
            changed(&format!("{wanted}/payTo"), json!(USDC)),
            NOW,
            "invalid_exact_evm_payload_recipient_mismatch",
        ),
        (
            "other nonce",
            changed(
                &format!("{payload}/nonce"),
                json!(format!("0x{}", "09".repeat(32))),
            ),
            NOW,
            "invalid_exact_evm_payload_signature",
        ),
        (
            "of a contract",
            changed(
                "/paymentPayload/payload/signature",
                json!(format!("0x{}", "ab".repeat(70))),
            ),
            NOW,
            "invalid_exact_evm_payload_signature",
        ),
        (
            "other token",
            changed(&format!("{wanted}/asset"), json!(PAYEE)),
            NOW,
            "invalid_exact_evm_payload_signature",
        ),
        (
            "other network",
            changed(&format!("{wanted}/network"), json!("base")),
            NOW,
            "invalid_network",
        ),
        (
            "other scheme",
            changed(&format!("{wanted}/scheme"), json!("upto")),
            NOW,
            "unsupported_scheme",
        ),
        (
            "no offer",
            changed(wanted, json!([])),
            NOW,
            "unsupported_scheme",
        ),
        (
            "no payload",
            changed("/paymentPayload", json!("x")),
            NOW,
            "invalid_payload",
        ),
        ("no text", json!("x"), NOW, "invalid_payment_requirements"),
    ] {
        let refused = SettleOutcome::Refused(reason.to_owned());
        assert_eq!(settled(&mut chain, &asked, now_s), refused, "{name}");
        let refused = VerifyOutcome::Refused(reason.to_owned());
        assert_eq!(verified(&chain, &asked, now_s), refused, "{name}");
    }
    let broken = chain.settle(b"{", NOW);
    assert!(broken.contains("\"success\":false"), "{broken}");
}
