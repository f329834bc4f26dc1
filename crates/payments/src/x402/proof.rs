//! What a caller shows as a payment, read strictly.

use super::header;
use super::identifier::Identifier;
use super::quote_tag::QuoteTag;
use crate::evm::Address;
use crate::json::{self, Fault, Value};
use crate::u256::U256;

/// The field that a proof came in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Field {
    /// `PAYMENT-SIGNATURE`, of version 2.
    PaymentSignature,
    /// `X-PAYMENT`, of version 1.
    XPayment,
}

/// A version of x402.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Version {
    /// With short names of networks.
    One,
    /// With CAIP-2, and the accepted offer in the proof.
    Two,
}

impl Version {
    /// Its number on the wire.
    pub const fn number(self) -> u8 {
        match self {
            Self::One => 1,
            Self::Two => 2,
        }
    }
}

/// A proof that is an object; whether it is any good is judged by [`super::check()`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Proof {
    field: Field,
    json: Value,
}

/// Why a field holds no proof: the caller is told no more than that.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Malformed {
    /// Longer than a proof is.
    #[error("is too long")]
    TooLong,
    /// Neither alphabet.
    #[error("is not base64")]
    NotBase64,
    /// No JSON that can be read in one way only.
    #[error("{0}")]
    NotJson(#[from] Fault),
    /// Some other value.
    #[error("is no object")]
    NotObject,
    /// The name of what is bought is none.
    #[error("has a payment identifier that is none")]
    Identifier,
}

/// A price that a payer says it was told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Echo {
    /// How much, in the smallest unit of the token.
    pub amount: u128,
    /// What came with it.
    pub tag: QuoteTag,
}

/// Bytes of a field's value at most.
const BYTES_MAX: usize = 8 * 1024;
/// Objects in each other at most.
const DEPTH_MAX: usize = 12;

impl Proof {
    /// Reads a field's value.
    ///
    /// # Errors
    /// It is no object in JSON in base64, or goes beyond a bound, or repeats a member.
    pub fn read(field: Field, text: &str) -> Result<Self, Malformed> {
        if text.len() > BYTES_MAX {
            return Err(Malformed::TooLong);
        }
        let bytes = header::decode(text).ok_or(Malformed::NotBase64)?;
        let json = json::read(&bytes, DEPTH_MAX)?;
        if json.is_object() {
            Ok(Self { field, json })
        } else {
            Err(Malformed::NotObject)
        }
    }

    /// The bytes of a field's value, without their base64.
    pub fn bytes(text: &str) -> Option<Vec<u8>> {
        header::decode(text)
    }

    /// Its version, if that is one of its field. A version 1 in the field of version 2 is taken
    /// where clients of tollbooth are.
    pub fn version(&self, v1_in_either: bool) -> Option<Version> {
        let number = self.json.get("x402Version")?.as_number()?;
        match (number, self.field) {
            ("2", Field::PaymentSignature) => Some(Version::Two),
            ("1", Field::XPayment) => Some(Version::One),
            ("1", Field::PaymentSignature) if v1_in_either => Some(Version::One),
            _ => None,
        }
    }

    /// Where scheme and network of this version stand.
    pub(super) fn head(&self, version: Version) -> Option<&Value> {
        match version {
            Version::One => Some(&self.json),
            Version::Two => self.json.get("accepted"),
        }
    }

    /// The price that the payer says it was told, if it says so in a way that can be ours.
    pub fn echo(&self) -> Option<Echo> {
        let accepted = self.json.get("accepted")?;
        let tag = accepted.get("extra")?.get("quote")?.as_text()?;
        let amount = accepted.get("amount")?.as_text()?;
        let is_plain = amount == "0" || !amount.starts_with('0');
        let is_plain = is_plain && amount.bytes().all(|byte| byte.is_ascii_digit());
        Some(Echo {
            amount: amount.parse().ok().filter(|_| is_plain)?,
            tag: QuoteTag::decode(tag)?,
        })
    }

    /// How much its payer says was signed for, and to whom.
    pub fn signed(&self) -> Option<(u128, Address)> {
        let payload = self.payload()?;
        let text = |place: &Value, name: &str| place.get(name)?.as_text().map(str::to_owned);
        let (amount, to) = match payload.get("authorization") {
            Some(signed) => (text(signed, "value")?, text(signed, "to")?),
            None => {
                let signed = payload.get("permit2Authorization")?;
                let amount = text(signed.get("permitted")?, "amount")?;
                (amount, text(signed.get("witness")?, "to")?)
            }
        };
        let amount = U256::from_decimal(&amount)?.to_u128()?;
        Some((amount, Address::from_hex(&to)?))
    }

    /// What its payer calls what it buys, if it says so.
    ///
    /// # Errors
    /// It is called something that is no identifier.
    pub fn identifier(&self) -> Result<Option<Identifier>, Malformed> {
        match self.json.get("extensions") {
            Some(extensions) => Identifier::among(extensions),
            None => Ok(None),
        }
    }

    /// What was signed, and the signature.
    pub(super) fn payload(&self) -> Option<&Value> {
        self.json.get("payload")
    }
}
