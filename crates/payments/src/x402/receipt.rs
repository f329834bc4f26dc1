//! What a payer is told when money has moved: `PAYMENT-RESPONSE`, in version 1
//! `X-PAYMENT-RESPONSE`.

use super::header;
use super::network::{Network, Networks};
use super::proof::Version;
use crate::evm::Address;
use serde_json::{Map, Value};

/// What became of a settlement.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Receipt {
    /// Whether the money moved.
    pub success: bool,
    /// The transaction; empty if there is none.
    pub transaction: String,
    /// The network.
    pub network: Network,
    /// Who paid.
    pub payer: Option<Address>,
    /// How much, in the smallest unit, where it may be less than what was signed.
    pub amount: Option<u128>,
    /// Why it did not move.
    pub error_reason: Option<String>,
}

impl Receipt {
    /// The field it goes in.
    pub const fn field(version: Version) -> &'static str {
        match version {
            Version::One => "x-payment-response",
            Version::Two => "payment-response",
        }
    }

    /// The value of that field.
    pub fn encode(&self, version: Version, networks: &Networks) -> String {
        let network = match version {
            Version::One => networks.short_name(&self.network).map(str::to_owned),
            Version::Two => None,
        };
        let network = network.unwrap_or_else(|| self.network.to_string());
        let mut members = Map::new();
        let mut put = |name: &str, value: Value| members.insert(name.to_owned(), value);
        put("success", self.success.into());
        put("transaction", self.transaction.clone().into());
        put("network", network.into());
        if let Some(payer) = self.payer {
            put("payer", payer.to_string().into());
        }
        if let Some(amount) = self.amount {
            put("amount", amount.to_string().into());
        }
        if let Some(reason) = &self.error_reason {
            put("errorReason", reason.clone().into());
        }
        header::encode(&Value::Object(members))
    }
}
