//! One way to pay for one request.

use super::asset::{Asset, Transfer};
use super::network::{Network, Networks};
use super::proof::Version;
use crate::evm::Address;
use crate::price::{Price, token_units};
use serde_json::{Map, Value, json};

/// How much of what is signed may be taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scheme {
    /// All of it, neither more nor less.
    Exact,
    /// So much as was used, up to it.
    Upto,
}

impl Scheme {
    /// Its name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Upto => "upto",
        }
    }

    /// The contract that may take what a payer permitted.
    pub const fn spender(self) -> &'static str {
        match self {
            Self::Exact => "0x402085c248EeA27D92E8b30b2C58ed07f9E20001",
            Self::Upto => "0x4020A4f3b7b90ccA423B9fabCc0CE57C6C240002",
        }
    }
}

/// One way to pay for one request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Offer {
    /// How much of what is signed is taken.
    pub scheme: Scheme,
    /// The token.
    pub asset: Asset,
    /// How much, in its smallest unit.
    pub amount: u128,
    /// Who is paid.
    pub pay_to: Address,
    /// For how long a payer shall sign.
    pub max_timeout_s: u64,
    /// Who may settle less; in scheme `upto` only.
    pub facilitator: Option<Address>,
}

impl Offer {
    /// The amount of a price in a token: dollars in tokens that are dollars, units in the one they
    /// are written in. `None`: the price is not to be had in it.
    pub fn amount_of(price: &Price, asset: &Asset) -> Option<u128> {
        match price {
            Price::Usd(usd) | Price::Both { usd, .. } => {
                token_units(*usd, asset.decimals).filter(|_| asset.is_dollar)
            }
            Price::Asset { symbol, amount } => (*symbol == asset.symbol).then_some(*amount),
            Price::Msat(_) => None,
        }
    }

    /// Its network.
    pub fn network(&self) -> &Network {
        &self.asset.network
    }

    /// Whether its payer signs for Permit2. `upto` is never anything else.
    pub fn is_permit2(&self) -> bool {
        self.scheme == Scheme::Upto || self.asset.transfer == Transfer::Permit2
    }

    /// Whether this version can express it: version 1 knows one scheme and one kind of transfer.
    pub fn fits(&self, version: Version) -> bool {
        version == Version::Two || (self.scheme == Scheme::Exact && !self.is_permit2())
    }

    fn extra(&self) -> Map<String, Value> {
        let mut extra = Map::new();
        let mut put = |name: &str, value: String| extra.insert(name.to_owned(), value.into());
        put("name", self.asset.name.to_string());
        put("version", self.asset.version.to_string());
        if self.scheme == Scheme::Exact && self.is_permit2() {
            put("assetTransferMethod", "permit2".to_owned());
        }
        if let Some(facilitator) = self.facilitator {
            put("facilitatorAddress", facilitator.to_string());
        }
        extra
    }

    /// As version 2 has it.
    pub(super) fn v2(&self) -> Value {
        json!({
            "scheme": self.scheme.name(),
            "network": self.asset.network.to_string(),
            "amount": self.amount.to_string(),
            "asset": self.asset.address.to_string(),
            "payTo": self.pay_to.to_string(),
            "maxTimeoutSeconds": self.max_timeout_s,
            "extra": self.extra(),
        })
    }

    /// As a challenge of version 2 has it, with what says until when it holds.
    pub(super) fn quoted(&self, quote: Option<&String>) -> Value {
        let mut value = self.v2();
        if let Some(quote) = quote
            && let Some(extra) = value.get_mut("extra").and_then(Value::as_object_mut)
        {
            extra.insert("quote".to_owned(), quote.clone().into());
        }
        value
    }

    /// The name of its network in version 1, if version 1 can express it at all: it knows one
    /// scheme, one kind of transfer, and networks with short names.
    pub(super) fn v1_network<'n>(&self, networks: &'n Networks) -> Option<&'n str> {
        let fits = self.fits(Version::One);
        networks.short_name(self.network()).filter(|_| fits)
    }

    /// As version 1 has it.
    pub(super) fn v1(&self, resource: &super::Resource, networks: &Networks) -> Option<Value> {
        Some(json!({
            "scheme": self.scheme.name(),
            "network": self.v1_network(networks)?,
            "maxAmountRequired": self.amount.to_string(),
            "resource": resource.url,
            "description": resource.description,
            "mimeType": resource.mime_type,
            "payTo": self.pay_to.to_string(),
            "maxTimeoutSeconds": self.max_timeout_s,
            "asset": self.asset.address.to_string(),
            "extra": self.extra(),
        }))
    }
}
