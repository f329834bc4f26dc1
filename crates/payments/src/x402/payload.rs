//! What a payer signed, and the signature, as they stand in a proof.

use super::offer::{Offer, Scheme};
use crate::evm::{Address, Permit2, Signature, TransferAuthorization, Witness, hex_array, to_hex};
use crate::json::Value as Read;
use crate::u256::U256;
use serde_json::{Value, json};

/// What a payer signed, and the signature.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Payload {
    /// A transfer by the token itself.
    Transfer {
        /// What was signed.
        authorization: TransferAuthorization,
        /// The signature.
        signature: Signature,
    },
    /// A transfer by Permit2.
    Permit2 {
        /// What was signed.
        permit: Permit2,
        /// The signature.
        signature: Signature,
    },
}

impl Payload {
    /// Reads what this offer asks for. `None`: something is missing or of another shape.
    pub(super) fn read(json: &Read, offer: &Offer) -> Option<Self> {
        let signature = Signature::from_hex(json.get("signature")?.as_text()?)?;
        if offer.is_permit2() {
            let permit = permit(json.get("permit2Authorization")?, offer.scheme)?;
            return Some(Self::Permit2 { permit, signature });
        }
        let signed = json.get("authorization")?;
        let authorization = TransferAuthorization {
            from: address(signed, "from")?,
            to: address(signed, "to")?,
            value: number(signed, "value")?,
            valid_after: number(signed, "validAfter")?,
            valid_before: number(signed, "validBefore")?,
            nonce: hex_array(signed.get("nonce")?.as_text()?)?,
        };
        Some(Self::Transfer {
            authorization,
            signature,
        })
    }

    /// Who pays.
    pub fn payer(&self) -> Address {
        match self {
            Self::Transfer { authorization, .. } => authorization.from,
            Self::Permit2 { permit, .. } => permit.from,
        }
    }

    /// The second at which it ends.
    pub fn ends(&self) -> U256 {
        match self {
            Self::Transfer { authorization, .. } => authorization.valid_before,
            Self::Permit2 { permit, .. } => permit.deadline,
        }
    }

    /// As it is sent on: written anew from what was read, so that nobody behind us reads another
    /// thing than we judged.
    pub(super) fn json(&self) -> Value {
        match self {
            Self::Transfer {
                authorization: signed,
                signature,
            } => json!({
                "signature": signature.to_hex(),
                "authorization": {
                    "from": signed.from.to_string(),
                    "to": signed.to.to_string(),
                    "value": signed.value.to_string(),
                    "validAfter": signed.valid_after.to_string(),
                    "validBefore": signed.valid_before.to_string(),
                    "nonce": to_hex(&signed.nonce),
                },
            }),
            Self::Permit2 { permit, signature } => {
                let mut witness = json!({ "to": permit.witness.to.to_string() });
                if let Some(facilitator) = permit.witness.facilitator {
                    put(&mut witness, "facilitator", facilitator.to_string());
                }
                let after = permit.witness.valid_after.to_string();
                put(&mut witness, "validAfter", after);
                json!({
                    "signature": signature.to_hex(),
                    "permit2Authorization": {
                        "from": permit.from.to_string(),
                        "permitted": {
                            "token": permit.token.to_string(),
                            "amount": permit.amount.to_string(),
                        },
                        "spender": permit.spender.to_string(),
                        "nonce": permit.nonce.to_string(),
                        "deadline": permit.deadline.to_string(),
                        "witness": witness,
                    },
                })
            }
        }
    }
}

fn put(object: &mut Value, name: &str, value: String) {
    if let Some(members) = object.as_object_mut() {
        members.insert(name.to_owned(), value.into());
    }
}

fn permit(signed: &Read, scheme: Scheme) -> Option<Permit2> {
    let permitted = signed.get("permitted")?;
    let witness = signed.get("witness")?;
    let facilitator = match scheme {
        Scheme::Exact => None,
        Scheme::Upto => Some(address(witness, "facilitator")?),
    };
    Some(Permit2 {
        from: address(signed, "from")?,
        token: address(permitted, "token")?,
        amount: number(permitted, "amount")?,
        spender: address(signed, "spender")?,
        nonce: number(signed, "nonce")?,
        deadline: number(signed, "deadline")?,
        witness: Witness {
            to: address(witness, "to")?,
            facilitator,
            valid_after: number(witness, "validAfter")?,
        },
    })
}

fn address(object: &Read, name: &str) -> Option<Address> {
    Address::from_hex(object.get(name)?.as_text()?)
}

fn number(object: &Read, name: &str) -> Option<U256> {
    U256::from_decimal(object.get(name)?.as_text()?)
}
