//! A facilitator without a chain, to try things out: it judges what payers signed as a real one
//! does, takes each nonce once, and moves no money. It answers in the words of the wire, so that
//! those who ask it can't tell it from another.

use super::asset::{Asset, Transfer};
use super::check::{Rules, judge};
use super::key::PaymentKey;
use super::network::{Network, Networks};
use super::offer::{Offer, Scheme};
use super::payload::Payload;
use super::reason::Reason;
use crate::evm::{Address, keccak256, to_hex};
use crate::json::{self, Value as Read};
use crate::u256::U256;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The one network that is taken: Base Sepolia.
pub const PLAY_NETWORK: Network = Network::Evm(84532);
/// Bytes of what it is asked at most.
const BYTES_MAX: usize = 64 * 1024;
/// Objects in each other at most.
const DEPTH_MAX: usize = 16;
/// Payments that are remembered at most.
const TAKEN_MAX: usize = 100_000;
/// What says no where there is no room: a refusal that every caller knows.
const NO_ROOM: &str = "insufficient_funds";
const UNSUPPORTED: &str = "unsupported_scheme";
const USED: &str = "invalid_exact_evm_nonce_already_used";

/// What was taken so far, in memory.
#[derive(Debug, Default)]
pub struct PlayChain {
    taken: BTreeMap<[u8; 32], Taken>,
}

/// A payment that was taken.
#[derive(Debug)]
struct Taken {
    /// Of what was asked, so that a repeat is told the same.
    asked: [u8; 32],
    /// The second at which its proof ends; then it is refused for that.
    ends: U256,
}

/// A proof that would do.
struct Sound {
    key: PaymentKey,
    payload: Payload,
}

impl PlayChain {
    /// The answer of `/supported`.
    pub fn supported() -> String {
        let network = PLAY_NETWORK.to_string();
        let kind =
            |version: u8| json!({ "x402Version": version, "scheme": "exact", "network": network });
        let kinds = [kind(2), kind(1)];
        json!({ "kinds": kinds, "extensions": [], "signers": {} }).to_string()
    }

    /// The answer of `/verify`.
    pub fn verify(&self, body: &[u8], now_s: u64) -> String {
        let told = match sound(body, now_s) {
            Ok(sound) if self.taken.contains_key(sound.key.bytes()) => Err(USED),
            Ok(sound) => Ok(sound),
            Err(reason) => Err(reason),
        };
        match told {
            Ok(sound) => json!({ "isValid": true, "payer": sound.payload.payer().to_string() }),
            Err(reason) => json!({ "isValid": false, "invalidReason": reason }),
        }
        .to_string()
    }

    /// The answer of `/settle`. Asked the same once more it answers the same.
    pub fn settle(&mut self, body: &[u8], now_s: u64) -> String {
        self.settled(body, now_s)
            .unwrap_or_else(|reason| {
                json!({
                    "success": false, "errorReason": reason, "transaction": "",
                    "network": PLAY_NETWORK.to_string(),
                })
            })
            .to_string()
    }

    fn settled(&mut self, body: &[u8], now_s: u64) -> Result<Value, &'static str> {
        let sound = sound(body, now_s)?;
        let asked = keccak256(&[body]);
        match self.taken.get(sound.key.bytes()) {
            Some(taken) if taken.asked == asked => {}
            Some(_) => return Err(USED),
            None => self.take(&sound, asked, now_s)?,
        }
        Ok(json!({
            "success": true,
            "transaction": to_hex(&keccak256(&[b"tollkeep/play/1\0", sound.key.bytes()])),
            "network": PLAY_NETWORK.to_string(),
            "payer": sound.payload.payer().to_string(),
        }))
    }

    fn take(&mut self, sound: &Sound, asked: [u8; 32], now_s: u64) -> Result<(), &'static str> {
        if self.taken.len() >= TAKEN_MAX {
            let now = U256::from(now_s);
            self.taken.retain(|_, taken| taken.ends > now);
        }
        if self.taken.len() >= TAKEN_MAX {
            return Err(NO_ROOM);
        }
        let ends = sound.payload.ends();
        self.taken.insert(*sound.key.bytes(), Taken { asked, ends });
        Ok(())
    }
}

/// Judges what is asked, as any facilitator does: it believes nothing that the gateway says.
fn sound(body: &[u8], now_s: u64) -> Result<Sound, &'static str> {
    let payload = Reason::InvalidPayload.code();
    let body = Some(body).filter(|body| body.len() <= BYTES_MAX);
    let asked = body.and_then(|body| json::read(body, DEPTH_MAX).ok());
    let asked = asked.ok_or(payload)?;
    let wanted = asked
        .get("paymentRequirements")
        .ok_or(Reason::InvalidPaymentRequirements.code())?;
    let offer = offer(wanted)?;
    let proof = asked
        .get("paymentPayload")
        .and_then(|proof| proof.get("payload"))
        .ok_or(payload)?;
    let networks = Networks::default();
    let rules = Rules {
        offers: &[],
        networks: &networks,
        now_s,
        head_s: 0,
        whole_s: 0,
        smart_wallets: false,
        v1_in_either: false,
        takes_ended: false,
    };
    let (payload, key, _) = judge(proof, &offer, &rules).map_err(Reason::code)?;
    Ok(Sound { key, payload })
}

/// What is to be paid, of either version.
fn offer(wanted: &Read) -> Result<Offer, &'static str> {
    let text = |name: &str| wanted.get(name).and_then(Read::as_text);
    let extra = |name: &str| wanted.get("extra")?.get(name)?.as_text();
    if text("scheme") != Some(Scheme::Exact.name()) || extra("assetTransferMethod").is_some() {
        return Err(UNSUPPORTED);
    }
    let network = text("network").and_then(|name| Networks::default().find(name));
    if network != Some(PLAY_NETWORK) {
        return Err(Reason::InvalidNetwork.code());
    }
    let read = || {
        let amount = text("amount").or_else(|| text("maxAmountRequired"))?;
        Some(Offer {
            scheme: Scheme::Exact,
            amount: U256::from_decimal(amount)?.to_u128()?,
            pay_to: Address::from_hex(text("payTo")?)?,
            max_timeout_s: wanted.get("maxTimeoutSeconds")?.as_number()?.parse().ok()?,
            facilitator: None,
            asset: Asset {
                symbol: "play".into(),
                network: PLAY_NETWORK,
                address: Address::from_hex(text("asset")?)?,
                name: extra("name")?.into(),
                version: extra("version")?.into(),
                decimals: 0,
                transfer: Transfer::Eip3009,
                is_dollar: false,
            },
        })
    };
    read().ok_or(Reason::InvalidPaymentRequirements.code())
}
