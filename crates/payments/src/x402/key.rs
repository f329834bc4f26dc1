//! The identity of a proof, by which it is spent once.

use super::offer::Offer;
use super::payload::Payload;
use crate::evm::{keccak256, to_hex};
use std::fmt;

/// The identity by which a proof is spent once: what the chain itself takes once only. Spelling,
/// version and field of the proof are no part of it, nor is its signature, which may have several
/// forms.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PaymentKey([u8; 32]);

impl PaymentKey {
    /// The key of a payload for an offer on an EVM chain.
    pub(super) fn new(chain_id: u64, offer: &Offer, payload: &Payload) -> Self {
        const DOMAIN: &[u8] = b"tollkeep/payment/1\0";
        let chain = chain_id.to_be_bytes();
        Self(match payload {
            // A token has nonces of its own for each payer.
            Payload::Transfer { authorization, .. } => keccak256(&[
                DOMAIN,
                b"eip3009\0",
                &chain,
                offer.asset.address.bytes(),
                authorization.from.bytes(),
                &authorization.nonce,
            ]),
            // Permit2 has one row of nonces a payer for all tokens.
            Payload::Permit2 { permit, .. } => keccak256(&[
                DOMAIN,
                b"permit2\0",
                &chain,
                permit.from.bytes(),
                permit.nonce.bytes(),
            ]),
        })
    }

    /// Its bytes.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// `0x` and digits.
impl fmt::Display for PaymentKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&to_hex(&self.0))
    }
}
