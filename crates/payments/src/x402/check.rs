//! What of a proof is judged here, before anybody is asked: cheapest first, the first fault
//! decides.

use super::key::PaymentKey;
use super::network::Networks;
use super::offer::{Offer, Scheme};
use super::payload::Payload;
use super::proof::{Proof, Version};
use super::reason::Reason;
use crate::evm::{Address, Domain, Permit2, Signature, TransferAuthorization, hex_array};
use crate::json::Value;
use crate::u256::U256;

/// What a proof is held against.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// What this very request may be paid with.
    pub offers: &'a [Offer],
    /// Names of networks.
    pub networks: &'a Networks,
    /// The time, in seconds since 1970.
    pub now_s: u64,
    /// How long the upstream may take before the signature is used; nothing where it is used
    /// first.
    pub head_s: u64,
    /// How long a whole answer may take before a signature of scheme `upto` is used.
    pub whole_s: u64,
    /// Whether signatures that only the chain can judge go on.
    pub smart_wallets: bool,
    /// Whether a proof of version 1 may come in the field of version 2.
    pub v1_in_either: bool,
    /// Whether one whose time is over passes too: for what it bought before, since nobody would settle
    /// it now.
    pub takes_ended: bool,
}

/// A proof that passed. Whether its key is spent is the store's to say, and whether the money is
/// there the facilitator's.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Checked {
    /// Its version.
    pub version: Version,
    /// The number of the offer that it takes.
    pub offer: usize,
    /// What was signed.
    pub payload: Payload,
    /// The identity by which it is spent once.
    pub key: PaymentKey,
    /// Whether its signature is still to be judged by the chain.
    pub is_deferred: bool,
}

/// Between two clocks, and until a transfer is in a block.
const MARGIN_S: u64 = 6;
/// How much longer than asked for a payer may sign.
const LENIENCE_S: u64 = 600;

/// Judges a proof.
///
/// # Errors
/// Why it does not do.
pub fn check(proof: &Proof, rules: &Rules<'_>) -> Result<Checked, Reason> {
    let version = proof.version(rules.v1_in_either);
    let version = version.ok_or(Reason::InvalidX402Version)?;
    let fitting = fitting(proof, version, rules)?;
    let payload = proof.payload().ok_or(Reason::InvalidPayload)?;
    // Version 1 does not say which token of a network was signed for.
    let mut first = None;
    for (at, offer) in fitting {
        match judge(payload, offer, rules) {
            Ok((payload, key, is_deferred)) => {
                return Ok(Checked {
                    version,
                    offer: at,
                    payload,
                    key,
                    is_deferred,
                });
            }
            Err(reason) => first = first.or(Some(reason)),
        }
    }
    Err(first.unwrap_or(Reason::InvalidPaymentRequirements))
}

type Fitting<'a> = Vec<(usize, &'a Offer)>;

/// The offers that the head of a proof names.
fn fitting<'a>(proof: &Proof, version: Version, rules: &Rules<'a>) -> Result<Fitting<'a>, Reason> {
    let head = proof.head(version);
    let text = |name: &str| head.and_then(|head| head.get(name)?.as_text());
    let mut offers: Fitting<'a> = rules.offers.iter().enumerate().collect();
    let scheme = text("scheme").ok_or(Reason::InvalidScheme)?;
    offers.retain(|(_, offer)| offer.scheme.name() == scheme);
    if offers.is_empty() {
        return Err(Reason::InvalidScheme);
    }
    let network = text("network").ok_or(Reason::InvalidNetwork)?;
    offers.retain(|(_, offer)| match version {
        Version::One => offer.v1_network(rules.networks) == Some(network),
        Version::Two => offer.network().to_string() == network,
    });
    if offers.is_empty() {
        return Err(Reason::InvalidNetwork);
    }
    if version == Version::Two {
        offers.retain(|(_, offer)| head.is_some_and(|head| is_accepted(head, offer)));
    }
    if offers.is_empty() {
        return Err(Reason::InvalidPaymentRequirements);
    }
    Ok(offers)
}

/// Whether what a payer says it accepted is this offer.
fn is_accepted(accepted: &Value, offer: &Offer) -> bool {
    let text = |name: &str| accepted.get(name).and_then(Value::as_text);
    let address = |name: &str| text(name).and_then(Address::from_hex);
    address("asset") == Some(offer.asset.address)
        && address("payTo") == Some(offer.pay_to)
        && text("amount").and_then(U256::from_decimal) == Some(U256::from(offer.amount))
}

/// Judges what was signed against one offer.
pub(super) fn judge(
    payload: &Value,
    offer: &Offer,
    rules: &Rules<'_>,
) -> Result<(Payload, PaymentKey, bool), Reason> {
    // What is offered elsewhere has another way to be judged.
    let chain_id = offer.network().chain_id();
    let chain_id = chain_id.ok_or(Reason::InvalidNetwork)?;
    let payload = Payload::read(payload, offer).ok_or(Reason::InvalidPayload)?;
    match &payload {
        Payload::Transfer {
            authorization,
            signature,
        } => {
            check_transfer(authorization, offer, rules)?;
            defer_or_refuse(signature, rules, Reason::Signature)?;
        }
        Payload::Permit2 { permit, signature } => {
            check_permit(permit, offer, rules)?;
            defer_or_refuse(signature, rules, Reason::Permit2Signature)?;
        }
    }
    let signer = signer(&payload, offer, chain_id)?;
    if signer.is_some_and(|signer| signer != payload.payer()) {
        return Err(wrong_signature(&payload));
    }
    let key = PaymentKey::new(chain_id, offer, &payload);
    Ok((payload, key, signer.is_none()))
}

/// The identity of a proof for this offer, whenever that was, if its payer has signed it: whoever
/// shows it may be told what became of it. Signatures that only the chain can judge prove nothing.
pub fn signed_key(proof: &Proof, offer: &Offer) -> Option<PaymentKey> {
    let chain_id = offer.network().chain_id()?;
    let payload = Payload::read(proof.payload()?, offer)?;
    let signer = signer(&payload, offer, chain_id).ok()??;
    (signer == payload.payer()).then(|| PaymentKey::new(chain_id, offer, &payload))
}

/// Who has signed; `None` where only the chain can tell.
fn signer(payload: &Payload, offer: &Offer, chain_id: u64) -> Result<Option<Address>, Reason> {
    let signer = match payload {
        Payload::Transfer {
            authorization,
            signature,
        } => {
            let domain = Domain {
                name: &offer.asset.name,
                version: Some(&offer.asset.version),
                chain_id,
                contract: offer.asset.address,
            };
            authorization.signer(&domain, signature)
        }
        Payload::Permit2 { permit, signature } => permit.signer(chain_id, signature),
    };
    signer.map_err(|_| wrong_signature(payload))
}

const fn wrong_signature(payload: &Payload) -> Reason {
    match payload {
        Payload::Transfer { .. } => Reason::Signature,
        Payload::Permit2 { .. } => Reason::Permit2Signature,
    }
}

fn defer_or_refuse(signature: &Signature, rules: &Rules<'_>, reason: Reason) -> Result<(), Reason> {
    match signature {
        Signature::Contract(_) if !rules.smart_wallets => Err(reason),
        Signature::Contract(_) | Signature::Key { .. } => Ok(()),
    }
}

fn check_transfer(
    signed: &TransferAuthorization,
    offer: &Offer,
    rules: &Rules<'_>,
) -> Result<(), Reason> {
    if signed.value != U256::from(offer.amount) {
        return Err(Reason::ValueMismatch);
    }
    if signed.to != offer.pay_to || !is_payer(signed.from, offer) {
        return Err(Reason::RecipientMismatch);
    }
    let now = rules.now_s;
    if signed.valid_after >= U256::from(now) {
        return Err(Reason::ValidAfter);
    }
    let least = now.saturating_add(rules.head_s).saturating_add(MARGIN_S);
    let most = now
        .saturating_add(offer.max_timeout_s)
        .saturating_add(LENIENCE_S);
    let is_over = signed.valid_before <= U256::from(least);
    if (is_over && !rules.takes_ended) || signed.valid_before > U256::from(most) {
        return Err(Reason::ValidBefore);
    }
    Ok(())
}

/// Nobody pays for nobody, or for the one who is paid.
fn is_payer(from: Address, offer: &Offer) -> bool {
    !from.is_zero() && from != offer.pay_to
}

fn check_permit(signed: &Permit2, offer: &Offer, rules: &Rules<'_>) -> Result<(), Reason> {
    if hex_array(offer.scheme.spender()) != Some(*signed.spender.bytes()) {
        return Err(Reason::Permit2Spender);
    }
    if signed.witness.to != offer.pay_to || !is_payer(signed.from, offer) {
        return Err(Reason::Permit2Recipient);
    }
    if offer.scheme == Scheme::Upto && signed.witness.facilitator != offer.facilitator {
        return Err(Reason::UptoFacilitator);
    }
    if signed.token != offer.asset.address {
        return Err(Reason::Permit2Token);
    }
    if signed.amount != U256::from(offer.amount) {
        return Err(Reason::Permit2Amount);
    }
    let least = rules.now_s.saturating_add(match offer.scheme {
        Scheme::Exact => rules.head_s,
        Scheme::Upto => rules.whole_s,
    });
    let is_over = signed.deadline <= U256::from(least.saturating_add(MARGIN_S));
    if is_over && !rules.takes_ended {
        return Err(Reason::Permit2Deadline);
    }
    if signed.witness.valid_after > U256::from(rules.now_s) {
        return Err(Reason::Permit2NotYetValid);
    }
    Ok(())
}
