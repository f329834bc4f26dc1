//! Payments as strangers send them: proofs in fields, answers of facilitators, prices in files.

use tollkeep_payments::evm::Address;
use tollkeep_payments::price::Price;
use tollkeep_payments::read_json;
use tollkeep_payments::x402::{
    Answered, Assets, Expected, Field, Network, Networks, Offer, Proof, Rules, Scheme,
    SettleOutcome, VerifyOutcome, check, settle_outcome, supported, verify_outcome,
};

/// A payer that signs for nobody.
const PAYER: Address = Address::from_bytes([0x11; 20]);

/// The bytes are a field of a proof, an answer, and a price, where they are text.
///
/// Laws: what is judged is judged the same twice and in either field's version; what passes was
/// signed over the amount that is asked; a price is read back from how it is written; an answer
/// that names somebody else is never believed.
pub fn payment(data: &[u8]) {
    check_answers(data);
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(price) = text.parse::<Price>() {
        assert_eq!(price.to_string().parse(), Ok(price));
    }
    for field in [Field::PaymentSignature, Field::XPayment] {
        check_proof(field, text);
    }
}

fn check_proof(field: Field, text: &str) {
    let networks = Networks::default();
    let Ok(proof) = Proof::read(field, text) else {
        return;
    };
    let offers: Vec<Offer> = offers().collect();
    let rules = Rules {
        offers: &offers,
        networks: &networks,
        now_s: 1_795_300_000,
        head_s: 0,
        whole_s: 0,
        smart_wallets: true,
        v1_in_either: true,
        takes_ended: false,
    };
    let told = check(&proof, &rules);
    assert_eq!(told, check(&proof, &rules));
    if let Ok(checked) = told {
        assert!(checked.offer < offers.len());
        assert!(!checked.payload.payer().is_zero());
    }
}

/// Offers that the seeds take.
fn offers() -> impl Iterator<Item = Offer> {
    let asset = Assets::default()
        .find("USDC", &Network::Evm(84532))
        .cloned();
    let pay_to = Address::from_hex("0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC");
    let facilitator = Address::from_hex("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
    let offer = move |scheme| {
        Some(Offer {
            scheme,
            asset: asset.clone()?,
            amount: 10_000,
            pay_to: pay_to?,
            max_timeout_s: 120,
            facilitator,
        })
    };
    [Scheme::Exact, Scheme::Upto].into_iter().filter_map(offer)
}

fn check_answers(data: &[u8]) {
    let networks = Networks::default();
    let network = Network::Evm(84532);
    let expected = Expected {
        network: &network,
        networks: &networks,
        payer: PAYER,
        amount: 10_000,
    };
    let answered = |status| Answered::Whole { status, body: data };
    let names_another = read_json(data, 16).is_ok_and(|body| {
        let payer = body.get("payer").and_then(|payer| payer.as_text());
        payer.is_some_and(|payer| Address::from_hex(payer) != Some(PAYER))
    });
    for status in [200, 400] {
        let settled = settle_outcome(&answered(status), &expected);
        let valid = verify_outcome(&answered(status), &expected);
        if names_another || status != 200 {
            assert!(!matches!(settled, SettleOutcome::Settled { .. }));
            assert_ne!(valid, VerifyOutcome::Valid);
        }
    }
    let broken = settle_outcome(&answered(500), &expected);
    assert_eq!(broken, SettleOutcome::Unknown { transaction: None });
    let _kinds = supported(&answered(200), &networks);
}
