//! A facilitator of x402 on loopback: it keeps a chain of its own in memory, on which a nonce is
//! used once, and answers as the test says. It checks no signatures.

use crate::origin::{Gate, Origin, Step, json};
use crate::request::Request;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is done with a call.
#[derive(Clone, Default)]
pub enum FacilitatorMood {
    /// What it should.
    #[default]
    Right,
    /// It refuses, for this reason.
    Refuses(&'static str),
    /// It does it and never answers.
    Silent,
    /// It does it and hangs up.
    Cuts,
    /// It does it and answers when the gate opens.
    Late(Gate),
    /// It answers with this status, and does nothing.
    Fails(u16),
    /// It does it, and says the first time that it is on its way.
    Pending,
    /// It does it, and names somebody else as the payer.
    OtherPayer,
    /// It answers with something else.
    Babbles,
}

#[derive(Default)]
struct State {
    verify: FacilitatorMood,
    settle: FacilitatorMood,
    kinds: Option<Value>,
    /// By nonce: the transaction.
    settled: BTreeMap<String, String>,
    verified: usize,
    asked: usize,
    /// By nonce: what it was told to settle, each time.
    told: BTreeMap<String, Vec<(String, String)>>,
}

/// A facilitator.
pub struct Facilitator {
    origin: Origin,
    state: Arc<Mutex<State>>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Facilitator {
    /// One that takes everything, on the test networks and Base.
    pub fn start() -> Self {
        let state = Arc::<Mutex<State>>::default();
        let own = Arc::clone(&state);
        let origin = Origin::start(move |request| answer(&mut lock(&own), request));
        Self { origin, state }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.origin.addr())
    }

    /// What it makes of `/verify` from now on.
    pub fn verify_as(&self, mood: FacilitatorMood) {
        lock(&self.state).verify = mood;
    }

    /// What it makes of `/settle` from now on.
    pub fn settle_as(&self, mood: FacilitatorMood) {
        lock(&self.state).settle = mood;
    }

    /// What it says it takes from now on.
    pub fn take_only(&self, kinds: Value) {
        lock(&self.state).kinds = Some(kinds);
    }

    /// How many payments it has settled.
    pub fn settled(&self) -> usize {
        lock(&self.state).settled.len()
    }

    /// How often it was asked whether it would settle.
    pub fn verifications(&self) -> usize {
        lock(&self.state).verified
    }

    /// How often it was told to settle.
    pub fn settlements(&self) -> usize {
        lock(&self.state).told.values().map(Vec::len).sum()
    }

    /// How often it was asked what it takes.
    pub fn asked(&self) -> usize {
        lock(&self.state).asked
    }

    /// For each payment what it was told, each time: the body and the idempotency key.
    pub fn told(&self) -> Vec<Vec<(String, String)>> {
        lock(&self.state).told.values().cloned().collect()
    }
}

fn answer(state: &mut State, request: &Request) -> Vec<Step> {
    let path = request.target.split('?').next().unwrap_or_default();
    if path.ends_with("/supported") {
        state.asked += 1;
        let kinds = state.kinds.clone().unwrap_or_else(all_kinds);
        return json(&json!({ "kinds": kinds, "extensions": [], "signers": {} }));
    }
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    if path.ends_with("/verify") {
        state.verified += 1;
        return verify(&state.verify, &body);
    }
    settle(state, request, &body)
}

fn all_kinds() -> Value {
    let networks = [
        ("base-sepolia", "eip155:84532"),
        ("base", "eip155:8453"),
        ("arbitrum-sepolia", "eip155:421614"),
    ];
    let kinds = networks.into_iter().flat_map(|(short, full)| {
        [
            json!({ "x402Version": 1, "scheme": "exact", "network": short }),
            json!({ "x402Version": 2, "scheme": "exact", "network": full }),
            json!({ "x402Version": 2, "scheme": "upto", "network": full,
                "extra": { "facilitatorAddress": ACCOUNT } }),
        ]
    });
    kinds.collect()
}

fn payer_of(body: &Value) -> Value {
    signed(body)["from"].clone()
}

/// What was signed: for the token itself, or for Permit2.
fn signed(body: &Value) -> &Value {
    let payload = &body["paymentPayload"]["payload"];
    let permit = &payload["permit2Authorization"];
    if permit.is_null() {
        &payload["authorization"]
    } else {
        permit
    }
}

/// By which it settles less than was signed.
const ACCOUNT: &str = "0x000000000000000000000000000000000000fAc1";

fn verify(mood: &FacilitatorMood, body: &Value) -> Vec<Step> {
    let payer = payer_of(body);
    let valid = json!({ "isValid": true, "payer": payer });
    match mood {
        FacilitatorMood::Right | FacilitatorMood::Pending => json(&valid),
        FacilitatorMood::Refuses(reason) => {
            json(&json!({ "isValid": false, "invalidReason": reason, "payer": payer }))
        }
        FacilitatorMood::Silent => vec![Step::Hang],
        FacilitatorMood::Cuts => vec![Step::Close],
        FacilitatorMood::Late(gate) => held(gate, json(&valid)),
        FacilitatorMood::Fails(status) => failed(*status),
        FacilitatorMood::OtherPayer => json(&json!({ "isValid": true, "payer": OTHER })),
        FacilitatorMood::Babbles => json(&json!(["yes"])),
    }
}

/// Nobody who pays here.
const OTHER: &str = "0x00000000000000000000000000000000000000aa";

fn held(gate: &Gate, mut steps: Vec<Step>) -> Vec<Step> {
    steps.insert(0, Step::Wait(gate.clone()));
    steps
}

fn failed(status: u16) -> Vec<Step> {
    let head = format!("HTTP/1.1 {status} No\r\ncontent-length: 0\r\n\r\n");
    vec![Step::Send(head.into_bytes())]
}

fn settle(state: &mut State, request: &Request, body: &Value) -> Vec<Step> {
    let nonce = &signed(body)["nonce"];
    let nonce = nonce.as_str().unwrap_or_default().to_owned();
    let told = String::from_utf8_lossy(&request.body).into_owned();
    let key = request.field("idempotency-key").unwrap_or_default();
    let calls = state.told.entry(nonce.clone()).or_default();
    calls.push((told, key.to_owned()));
    let is_first = calls.len() == 1;
    let mood = state.settle.clone();
    match mood {
        FacilitatorMood::Refuses(reason) => {
            return json(&json!({
                "success": false, "errorReason": reason, "transaction": "",
                "network": body["paymentRequirements"]["network"], "payer": payer_of(body),
            }));
        }
        FacilitatorMood::Fails(status) => return failed(status),
        FacilitatorMood::Right
        | FacilitatorMood::Silent
        | FacilitatorMood::Cuts
        | FacilitatorMood::Late(_)
        | FacilitatorMood::Pending
        | FacilitatorMood::OtherPayer
        | FacilitatorMood::Babbles => {}
    }
    let number = state.settled.len();
    let transaction = state
        .settled
        .entry(nonce)
        .or_insert_with(|| format!("0x{number:064x}"));
    let mut done = json!({
        "success": true, "transaction": transaction,
        "network": body["paymentRequirements"]["network"], "payer": payer_of(body),
    });
    if body["paymentRequirements"]["scheme"] == "upto" {
        done["amount"] = body["paymentRequirements"]["amount"].clone();
    }
    match mood {
        FacilitatorMood::Silent => vec![Step::Hang],
        FacilitatorMood::Cuts => vec![Step::Close],
        FacilitatorMood::Late(gate) => held(&gate, json(&done)),
        FacilitatorMood::Pending if is_first => {
            done["success"] = false.into();
            done["errorReason"] = "settlement_pending".into();
            json(&done)
        }
        FacilitatorMood::OtherPayer => {
            done["payer"] = OTHER.into();
            json(&done)
        }
        FacilitatorMood::Babbles => json(&json!({ "success": "yes" })),
        FacilitatorMood::Right
        | FacilitatorMood::Pending
        | FacilitatorMood::Refuses(_)
        | FacilitatorMood::Fails(_) => json(&done),
    }
}
