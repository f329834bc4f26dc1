//! A gateway that sells before an origin, a facilitator that says what it is told to, and payers who
//! sign.

use crate::fixture::gateway;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secp256k1::{Message, Secp256k1, SecretKey};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};
use tollkeep_payments::U256;
use tollkeep_payments::evm::{Domain, TransferAuthorization};
use tollkeep_testkit::{Answer, Builder, Gateway, Origin, Request, Step};

/// Who is paid.
pub(crate) const PAYEE: &str = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC";
/// USDC on Base Sepolia.
pub(crate) const USDC: &str = "0x036CbD53842c5426634e7929541eC2318f3dCF7e";
const CHAIN: u64 = 84532;
/// Well-known keys that hold nothing, and their addresses.
const KEYS: [(&str, &str); 2] = [
    (
        "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
        "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
    ),
    (
        "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
        "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
    ),
];

/// What a facilitator does when it is asked to settle.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Settles {
    Yes,
    No,
    /// It answers something that says nothing.
    Garbled,
}

/// A facilitator that does as it is told.
pub(crate) struct Facilitator {
    origin: Origin,
    settles: Arc<Mutex<Settles>>,
}

impl Facilitator {
    pub(crate) fn start() -> Self {
        let settles = Arc::new(Mutex::new(Settles::Yes));
        let told = Arc::clone(&settles);
        let origin = Origin::start(move |request| answer(request, *told.lock().unwrap()));
        Self { origin, settles }
    }

    pub(crate) fn settles(&self, how: Settles) {
        *self.settles.lock().unwrap() = how;
    }

    pub(crate) fn url(&self) -> String {
        self.origin.url()
    }

    /// How often something was asked of it.
    pub(crate) fn asked(&self, path: &str) -> usize {
        let requests = self.origin.requests();
        requests
            .iter()
            .filter(|request| request.target == path)
            .count()
    }
}

fn answer(request: &Request, settles: Settles) -> Vec<Step> {
    if request.target == "/supported" {
        return tollkeep_testkit::json(&json!({ "kinds": [
            { "x402Version": 2, "scheme": "exact", "network": "eip155:84532" },
            { "x402Version": 1, "scheme": "exact", "network": "base-sepolia" },
        ], "extensions": [], "signers": {} }));
    }
    let asked: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let payer = &asked["paymentPayload"]["payload"]["authorization"]["from"];
    if request.target == "/verify" {
        return tollkeep_testkit::json(&json!({ "isValid": true, "payer": payer }));
    }
    let network = match asked["x402Version"].as_u64() {
        Some(1) => "base-sepolia",
        _ => "eip155:84532",
    };
    tollkeep_testkit::json(&match settles {
        Settles::Yes => json!({
            "success": true, "transaction": format!("0x{}", "ab".repeat(32)),
            "network": network, "payer": payer,
        }),
        Settles::No => json!({
            "success": false, "errorReason": "insufficient_funds", "transaction": "",
            "network": network, "payer": payer,
        }),
        Settles::Garbled => json!({ "who": "knows" }),
    })
}

/// A gateway that sells these routes (lines of YAML with `upstream: origin`) before `origin`.
pub(crate) fn shop(origin: &Origin, facilitator: &Facilitator, routes: &str) -> Builder {
    let (url, settler) = (origin.url(), facilitator.url());
    gateway(format!(
        "upstreams:\n  origin: {{ url: \"{url}\", allow_private: [\"127.0.0.1/32\"] }}\n\
         accepts: [{{ asset: USDC, network: base-sepolia }}]\n\
         wallets: {{ base-sepolia: \"{PAYEE}\" }}\n\
         payments: {{ x402: {{ facilitators: {{ main: {{ url: \"{settler}\" }} }} }} }}\n\
         routes:\n{routes}"
    ))
}

/// The usual route: a cent.
pub(crate) const CENT: &str = "  \"GET /x\": { upstream: origin, price: \"$0.01\" }\n";

/// Waits until the gateway knows that payments can be settled: it asks for them.
pub(crate) fn open(gateway: &Gateway, request: &[u8]) -> Answer {
    tollkeep_testkit::eventually("payments are taken", || {
        let answer = gateway.call(request);
        (answer.status == 402).then_some(answer)
    })
}

/// What a 402 asks for, in version 2.
pub(crate) fn asked(answer: &Answer) -> Value {
    let field = answer.field("payment-required").expect("asks for payment");
    serde_json::from_slice(&STANDARD.decode(field).unwrap()).unwrap()
}

pub(crate) fn encode(value: &Value) -> String {
    STANDARD.encode(value.to_string())
}

/// The next nonce of this run.
fn nonce() -> [u8; 32] {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut nonce = [7; 32];
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    nonce[..8].copy_from_slice(&next.to_be_bytes());
    nonce
}

pub(crate) fn now_s() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap().as_secs()
}

/// What a payer signs for so many units.
pub(crate) fn signed(payer: usize, units: u128) -> Value {
    let (key, from) = KEYS[payer];
    let now = now_s();
    let authorization = TransferAuthorization {
        from: from.parse().unwrap(),
        to: PAYEE.parse().unwrap(),
        value: U256::from(units),
        valid_after: U256::from(now - 60),
        valid_before: U256::from(now + 300),
        nonce: nonce(),
    };
    let domain = Domain {
        name: "USDC",
        version: Some("2"),
        chain_id: CHAIN,
        contract: USDC.parse().unwrap(),
    };
    let key: SecretKey = key.parse().unwrap();
    let message = Message::from_digest(authorization.digest(&domain));
    let signature = Secp256k1::new().sign_ecdsa_recoverable(&message, &key);
    let (recovery, compact) = signature.serialize_compact();
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let v = 27 + u8::try_from(recovery.to_i32()).unwrap();
    json!({
        "signature": format!("0x{}{v:02x}", hex(&compact)),
        "authorization": {
            "from": from, "to": PAYEE, "value": units.to_string(),
            "validAfter": (now - 60).to_string(), "validBefore": (now + 300).to_string(),
            "nonce": format!("0x{}", hex(&authorization.nonce)),
        },
    })
}

/// A proof of version 2 for the first offer of a 402.
pub(crate) fn proof(answer: &Answer) -> Value {
    let accepted = asked(answer)["accepts"][0].clone();
    let units = accepted["amount"].as_str().unwrap().parse().unwrap();
    json!({ "x402Version": 2, "accepted": accepted, "payload": signed(0, units) })
}

/// The line that shows it.
pub(crate) fn shown(proof: &Value) -> String {
    format!("PAYMENT-SIGNATURE: {}\r\n", encode(proof))
}
