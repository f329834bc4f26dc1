//! x402: stablecoin payments over HTTP, versions 1 and 2.
//!
//! A *challenge* offers ways to pay; a *proof* is what a payer signed for one of them; *checks*
//! judge it without asking anybody; a *facilitator*, which has a key of the chain, verifies and
//! settles what passed.

mod asset;
mod bazaar;
mod challenge;
mod check;
mod facilitator;
mod header;
mod identifier;
mod key;
mod network;
mod offer;
mod payload;
mod play;
mod proof;
mod quote_tag;
mod reason;
mod receipt;

pub use crate::evm::PERMIT2;
pub use asset::{Asset, Assets, Transfer};
pub use challenge::{Challenge, Problem, Resource};
pub use check::{Checked, Rules, check, signed_key};
pub use facilitator::{
    Answered, Expected, SettleOutcome, Supported, VerifyOutcome, is_settlement_of, settle_outcome,
    settlement, settlement_of, supported, verification, verify_outcome,
};
pub use identifier::{Extensions, Identifier};
pub use key::PaymentKey;
pub use network::{Network, Networks};
pub use offer::{Offer, Scheme};
pub use payload::Payload;
pub use play::{PLAY_NETWORK, PlayChain};
pub use proof::{Echo, Field, Malformed, Proof, Version};
pub use quote_tag::QuoteTag;
pub use reason::Reason;
pub use receipt::Receipt;
