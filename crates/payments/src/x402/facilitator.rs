//! What is said to a facilitator, and what its answers mean.
//!
//! An answer about money is believed only if it is whole and about our payment. Whatever leaves a
//! doubt is unknown, which is neither yes nor no: the caller is not asked to pay again.

use super::Resource;
use super::check::Checked;
use super::network::{Network, Networks};
use super::offer::{Offer, Scheme};
use super::proof::Version;
use crate::evm::Address;
use crate::json::{self, Value as Read};
use crate::u256::U256;
use serde_json::{Value, json};

/// Bytes of an answer at most.
const BYTES_MAX: usize = 256 * 1024;
/// Objects in each other at most.
const DEPTH_MAX: usize = 16;
/// Kinds that are read of what a facilitator supports.
const KINDS_MAX: usize = 1_000;

/// What came back.
#[derive(Clone, Copy, Debug)]
pub enum Answered<'a> {
    /// No connection: not a byte was written.
    Unsent,
    /// Bytes were written, and no whole answer came.
    Cut,
    /// An answer.
    Whole {
        /// Its status.
        status: u16,
        /// Its body.
        body: &'a [u8],
    },
}

/// What an answer must be about.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The network of the offer.
    pub network: &'a Network,
    /// Names of networks.
    pub networks: &'a Networks,
    /// Who signed.
    pub payer: Address,
    /// How much was asked to be settled.
    pub amount: u128,
}

/// What a facilitator makes of a proof.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum VerifyOutcome {
    /// It would settle it.
    Valid,
    /// It would not, for this.
    Refused(String),
    /// The payer has not allowed Permit2 to spend yet.
    AllowanceMissing,
    /// It can't say; another may be asked.
    Unavailable,
}

/// What became of a settlement.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SettleOutcome {
    /// The money moved.
    Settled {
        /// The transaction; empty where nothing had to move.
        transaction: String,
        /// How much, if that was said.
        amount: Option<u128>,
    },
    /// Refused, and nothing was sent on the chain.
    Refused(String),
    /// The nonce is used: by us, if we called before; else by somebody else.
    NonceUsed,
    /// It was sent on the chain, and is not in a block yet.
    Pending(String),
    /// Nothing was ever sent to the facilitator.
    Unsent,
    /// Nobody knows.
    Unknown {
        /// The transaction that it may be in.
        transaction: Option<String>,
    },
}

/// What `/verify` is asked.
pub fn verification(
    checked: &Checked,
    offer: &Offer,
    resource: &Resource,
    networks: &Networks,
) -> Option<String> {
    request(checked, offer, offer.amount, resource, networks)
}

/// What `/settle` is asked: the whole amount, or less of an offer in scheme `upto`. The same call
/// gives the same bytes. `None`: more than was signed, or less of what is exact.
pub fn settlement(
    checked: &Checked,
    offer: &Offer,
    amount: u128,
    resource: &Resource,
    networks: &Networks,
) -> Option<String> {
    let fits = match offer.scheme {
        Scheme::Exact => amount == offer.amount,
        Scheme::Upto => amount <= offer.amount,
    };
    fits.then(|| request(checked, offer, amount, resource, networks))?
}

/// What `/settle` is asked for less than what was kept of it: the same bytes but for the amount.
/// `None`: it is no such body.
pub fn settlement_of(kept: &str, amount: u128) -> Option<String> {
    let mut body: Value = serde_json::from_str(kept).ok()?;
    *body.pointer_mut("/paymentRequirements/amount")? = amount.to_string().into();
    Some(body.to_string())
}

/// Whether what is kept of a settlement is of this very proof, signature and all.
pub fn is_settlement_of(kept: &str, checked: &Checked) -> bool {
    let kept = serde_json::from_str::<Value>(kept);
    kept.is_ok_and(|kept| kept.pointer("/paymentPayload/payload") == Some(&checked.payload.json()))
}

fn request(
    checked: &Checked,
    offer: &Offer,
    amount: u128,
    resource: &Resource,
    networks: &Networks,
) -> Option<String> {
    let signed = checked.payload.json();
    let (payload, requirements) = match checked.version {
        Version::One => {
            let payload = json!({
                "x402Version": 1,
                "scheme": offer.scheme.name(),
                "network": offer.v1_network(networks)?,
                "payload": signed,
            });
            (payload, offer.v1(resource, networks)?)
        }
        Version::Two => {
            let accepted = offer.v2();
            let mut requirements = accepted.clone();
            if let Some(asked) = requirements.get_mut("amount") {
                *asked = amount.to_string().into();
            }
            let payload = json!({ "x402Version": 2, "accepted": accepted, "payload": signed });
            (payload, requirements)
        }
    };
    let body: Value = json!({
        "x402Version": checked.version.number(),
        "paymentPayload": payload,
        "paymentRequirements": requirements,
    });
    Some(body.to_string())
}

/// What the answer of `/verify` means.
pub fn verify_outcome(answered: &Answered<'_>, expected: &Expected<'_>) -> VerifyOutcome {
    let Some((status, body)) = readable(answered) else {
        return VerifyOutcome::Unavailable;
    };
    if !is_final(status) {
        return VerifyOutcome::Unavailable;
    }
    match body.get("isValid").and_then(Read::as_bool) {
        Some(true) if is_success(status) && is_of_payer(&body, expected) => VerifyOutcome::Valid,
        Some(false) => match told_reason(&body, "invalidReason") {
            reason if reason == "permit2_allowance_required" => VerifyOutcome::AllowanceMissing,
            reason => VerifyOutcome::Refused(reason),
        },
        Some(true) | None => VerifyOutcome::Unavailable,
    }
}

/// What the answer of `/settle` means.
pub fn settle_outcome(answered: &Answered<'_>, expected: &Expected<'_>) -> SettleOutcome {
    const UNKNOWN: SettleOutcome = SettleOutcome::Unknown { transaction: None };
    if matches!(answered, Answered::Unsent) {
        return SettleOutcome::Unsent;
    }
    let Some((status, body)) = readable(answered) else {
        return UNKNOWN;
    };
    if !is_final(status) {
        return UNKNOWN;
    }
    let Ok(transaction) = transaction(&body) else {
        return UNKNOWN;
    };
    match body.get("success").and_then(Read::as_bool) {
        Some(true) if is_success(status) => settled(&body, transaction, expected),
        Some(false) => refused(&body, transaction),
        Some(true) | None => SettleOutcome::Unknown {
            transaction: some(transaction),
        },
    }
}

fn settled(body: &Read, transaction: String, expected: &Expected<'_>) -> SettleOutcome {
    let told = body.get("amount").and_then(Read::as_text);
    let amount = told.map(|text| U256::from_decimal(text).and_then(U256::to_u128));
    let amount_fits = match amount {
        Some(Some(amount)) => amount == expected.amount,
        Some(None) => false,
        None => body.get("amount").is_none(),
    };
    let is_told = !transaction.is_empty() || expected.amount == 0;
    if amount_fits && is_told && is_of_network(body, expected) && is_of_payer(body, expected) {
        return SettleOutcome::Settled {
            transaction,
            amount: amount.flatten(),
        };
    }
    SettleOutcome::Unknown {
        transaction: some(transaction),
    }
}

/// Reasons of a facilitator that was asked and did nothing.
const REFUSALS: [&str; 30] = [
    "insufficient_funds",
    "invalid_exact_evm_insufficient_balance",
    "invalid_exact_evm_payload_authorization_valid_after",
    "invalid_exact_evm_payload_authorization_valid_before",
    "invalid_exact_evm_payload_authorization_value",
    "invalid_exact_evm_payload_authorization_value_mismatch",
    "invalid_exact_evm_payload_recipient_mismatch",
    "invalid_exact_evm_payload_signature",
    "invalid_exact_evm_payload_undeployed_smart_wallet",
    "invalid_exact_evm_token_name_mismatch",
    "invalid_exact_evm_token_version_mismatch",
    "invalid_network",
    "invalid_payload",
    "invalid_payment",
    "invalid_payment_requirements",
    "invalid_permit2_recipient_mismatch",
    "invalid_permit2_signature",
    "invalid_permit2_spender",
    "invalid_scheme",
    "invalid_x402_version",
    "permit2_allowance_required",
    "permit2_amount_mismatch",
    "permit2_deadline_expired",
    "permit2_insufficient_balance",
    "permit2_not_yet_valid",
    "permit2_proxy_not_deployed",
    // Told before anything is sent: on a repeat of ours that is no verdict.
    "permit2_simulation_failed",
    "permit2_token_mismatch",
    "unsupported_scheme",
    "upto_facilitator_mismatch",
];

fn refused(body: &Read, transaction: String) -> SettleOutcome {
    let reason = told_reason(body, "errorReason");
    match reason.as_str() {
        "settlement_pending" if !transaction.is_empty() => SettleOutcome::Pending(transaction),
        // Something went to the chain, whatever is said of it.
        _ if !transaction.is_empty() => SettleOutcome::Unknown {
            transaction: Some(transaction),
        },
        "invalid_exact_evm_nonce_already_used"
        | "permit2_nonce_already_used"
        | "permit2_invalid_nonce" => SettleOutcome::NonceUsed,
        known if REFUSALS.contains(&known) => SettleOutcome::Refused(reason),
        _ => SettleOutcome::Unknown { transaction: None },
    }
}

/// The status and the object of a whole answer.
fn readable(answered: &Answered<'_>) -> Option<(u16, Read)> {
    let Answered::Whole { status, body } = answered else {
        return None;
    };
    let body = (body.len() <= BYTES_MAX).then_some(*body)?;
    let body = json::read(body, DEPTH_MAX).ok()?;
    body.is_object().then_some((*status, body))
}

/// Whether an answer of this status is a verdict: 408 and 429 are not.
fn is_final(status: u16) -> bool {
    is_success(status) || ((400..500).contains(&status) && !matches!(status, 408 | 425 | 429))
}

fn is_success(status: u16) -> bool {
    (200..300).contains(&status)
}

fn is_of_network(body: &Read, expected: &Expected<'_>) -> bool {
    let told = body.get("network").and_then(Read::as_text);
    let network = told.and_then(|text| expected.networks.find(text));
    network.as_ref() == Some(expected.network)
}

/// Whether nobody else is named as the payer.
fn is_of_payer(body: &Read, expected: &Expected<'_>) -> bool {
    match body.get("payer") {
        None | Some(Read::Null) => true,
        Some(payer) => payer.as_text().and_then(Address::from_hex) == Some(expected.payer),
    }
}

/// The reason as a code that may be passed on.
fn told_reason(body: &Read, name: &str) -> String {
    let told = body.get(name).and_then(Read::as_text).unwrap_or_default();
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if told.is_empty() || told.len() > 100 || !told.bytes().all(fits) {
        return "unknown_reason".to_owned();
    }
    // What the reference facilitator says for the documented code.
    if told == "invalid_exact_evm_signature" {
        return "invalid_exact_evm_payload_signature".to_owned();
    }
    told.to_owned()
}

/// The hash of the transaction, empty if none is told.
///
/// # Errors
/// Something that is no hash is told.
fn transaction(body: &Read) -> Result<String, ()> {
    let told = match body.get("transaction") {
        None | Some(Read::Null) => return Ok(String::new()),
        Some(told) => told.as_text().ok_or(())?,
    };
    let fits = told.len() <= 128 && told.bytes().all(|byte| byte.is_ascii_alphanumeric());
    fits.then(|| told.to_owned()).ok_or(())
}

fn some(transaction: String) -> Option<String> {
    (!transaction.is_empty()).then_some(transaction)
}

/// What a facilitator takes.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Supported {
    kinds: Vec<Kind>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Kind {
    version: Box<str>,
    scheme: Box<str>,
    network: Network,
    facilitator: Option<Address>,
}

/// Reads the answer of `/supported`. Kinds of other schemes and networks are passed over; `None`:
/// it is no such answer.
pub fn supported(answered: &Answered<'_>, networks: &Networks) -> Option<Supported> {
    let (status, body) = readable(answered)?;
    let Some(Read::List(kinds)) = body.get("kinds").filter(|_| is_success(status)) else {
        return None;
    };
    let kinds = kinds.iter().take(KINDS_MAX);
    let kinds = kinds.filter_map(|kind| {
        let text = |name: &str| kind.get(name).and_then(Read::as_text);
        let told = kind
            .get("extra")
            .and_then(|extra| extra.get("facilitatorAddress"));
        Some(Kind {
            version: kind.get("x402Version")?.as_number()?.into(),
            scheme: text("scheme")?.into(),
            network: networks.find(text("network")?)?,
            facilitator: told.and_then(Read::as_text).and_then(Address::from_hex),
        })
    });
    Some(Supported {
        kinds: kinds.collect(),
    })
}

impl Supported {
    fn find(&self, version: Version, scheme: Scheme, network: &Network) -> Option<&Kind> {
        let version = version.number().to_string();
        let mut kinds = self.kinds.iter();
        kinds.find(|kind| {
            *kind.version == *version && *kind.scheme == *scheme.name() && kind.network == *network
        })
    }

    /// Whether it takes this.
    pub fn lists(&self, version: Version, scheme: Scheme, network: &Network) -> bool {
        self.find(version, scheme, network).is_some()
    }

    /// The account that settles less than was signed, which a payer must name.
    pub fn facilitator(&self, network: &Network) -> Option<Address> {
        self.find(Version::Two, Scheme::Upto, network)?.facilitator
    }
}
