//! What prices and payments are made of where routes don't say otherwise: defaults, tokens,
//! networks, who is paid.

use super::Egress;
use super::facilitator::Addresses;
use super::payments::{Payments, PaymentsFile, Terms};
use super::sale::{Accept, AcceptFile};
use crate::check::Checks;
use crate::error::nearest;
use crate::field::KindExt;
use crate::kind::{Kind, Shape, Wrong, dollars, pay_to, price_or_none, seconds, whole};
use crate::reader::{keys, snake};
use crate::tree::{Entry, KeyPath, Node, Value};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tollkeep_payments::evm::Address;
use tollkeep_payments::price::Price;
use tollkeep_payments::x402::{Asset, Assets, Network, Networks, Transfer};
use tollkeep_types::money::NanoUsd;

keys! {
    /// What holds for routes that don't say otherwise.
    pub(crate) struct DefaultsFile {
        /// What a request costs on routes without a price, but those with `access: token` or
        /// `free`.
        price: Option<Option<Price>> = price_or_none().optional(),
        /// The least a request costs.
        min_price: Option<NanoUsd> = dollars().optional(),
        /// The most a request costs.
        max_price: Option<NanoUsd> = dollars().optional(),
        /// For how long payers shall sign.
        timeout: Duration = seconds(10_000..=3_600_000).or(Duration::from_secs(60)),
    }
}

/// What routes are sold by.
pub(super) struct Market {
    pub(super) price: Option<Price>,
    pub(super) min_price: Option<NanoUsd>,
    pub(super) max_price: Option<NanoUsd>,
    pub(super) timeout_s: u64,
    accepts: Vec<AcceptFile>,
    wallets: Vec<(Network, Address)>,
    pub(super) networks: Networks,
    pub(super) payments: Payments,
    /// The terms of routes that say nothing of their own.
    pub(super) terms: Terms,
    assets: Assets,
}

/// The sections that make a [`Market`].
pub(super) struct MarketFile {
    pub(super) defaults: DefaultsFile,
    pub(super) facilitator: Option<Addresses>,
    pub(super) payments: PaymentsFile,
    pub(super) accepts: Vec<AcceptFile>,
    pub(super) wallets: Vec<(String, Address)>,
}

impl MarketFile {
    pub(super) fn check(mut self, egress: &Egress, checks: &mut Checks<'_>) -> Market {
        let mut networks = Networks::default();
        let mut assets = Assets::default();
        let x402 = KeyPath::of("payments.x402");
        for (name, network) in std::mem::take(&mut self.payments.x402.networks) {
            if !networks.add(&name, network) {
                let at = x402.name("networks").name(&name);
                checks.error_at(&at, "is the name of another network");
            }
        }
        for listing in self.payments.x402.assets.take().into_iter().flatten() {
            let at = x402.name("assets");
            if let Some(network) = find(&networks, &listing.network, &at, checks) {
                assets.add(listing.asset(network));
            }
        }
        let mut wallets = Vec::new();
        for (name, address) in self.wallets {
            let at = KeyPath::of("wallets").name(&name);
            let network = find(&networks, &name, &at, checks);
            wallets.extend(network.map(|network| (network, address)));
        }
        let terms = self.payments.terms();
        let payments = self
            .payments
            .check(self.facilitator, &networks, egress, checks);
        let market = Market {
            payments,
            terms,
            price: self.defaults.price.flatten(),
            min_price: self.defaults.min_price,
            max_price: self.defaults.max_price,
            timeout_s: self.defaults.timeout.as_secs(),
            accepts: self.accepts,
            wallets,
            networks,
            assets,
        };
        // Also where no route asks for them.
        for (at, accept) in market.accepts.iter().enumerate() {
            market.asset(accept, &KeyPath::of("accepts").index(at), checks);
        }
        market
    }
}

/// The network of a name; one of Solana can't be paid on yet.
pub(super) fn find(
    networks: &Networks,
    name: &str,
    at: &KeyPath,
    checks: &mut Checks<'_>,
) -> Option<Network> {
    match networks.find(name) {
        Some(Network::Solana(_)) => {
            checks.error_at(at, "is a network of Solana, which is not supported yet");
            None
        }
        Some(network) => Some(network),
        None => {
            let mut problem = format!("no network is named {name:?}");
            if let Some(near) = nearest(name, networks.names()) {
                problem.push_str(&format!("; did you mean `{near}`?"));
            }
            checks.error_at(at, problem);
            None
        }
    }
}

impl Market {
    /// Whether somebody settles payments on this network.
    pub(super) fn is_settled(&self, network: &Network) -> bool {
        !self.payments.x402.facilitators_of(network).is_empty()
    }

    /// The facilitators of these names.
    pub(super) fn named(
        &self,
        names: &[String],
        at: &KeyPath,
        checks: &mut Checks<'_>,
    ) -> Arc<[Box<str>]> {
        let known = || {
            let all = self.payments.x402.facilitators.iter();
            all.map(|known| known.name.as_str())
        };
        for name in names {
            if !known().any(|known| known == name) {
                let mut problem = format!(
                    "no facilitator is named {name:?}: it stands in `payments.x402.facilitators` \
                     with its address"
                );
                if let Some(near) = nearest(name, known()) {
                    problem.push_str(&format!("; did you mean `{near}`?"));
                }
                checks.error_at(at, problem);
            }
        }
        names.iter().map(|name| name.as_str().into()).collect()
    }

    fn asset(&self, accept: &AcceptFile, at: &KeyPath, checks: &mut Checks<'_>) -> Option<Asset> {
        let (symbol, network) = (accept.asset.as_ref()?, accept.network.as_ref()?);
        let network = find(&self.networks, network, &at.name("network"), checks)?;
        let found = self.assets.find(symbol, &network).cloned();
        if found.is_none() {
            let problem = format!(
                "no token {symbol:?} is known on {network}: add it to `payments.x402.assets`"
            );
            checks.error_at(&at.name("asset"), problem);
        }
        found
    }

    /// What a route takes, and who is paid.
    pub(super) fn accepts(
        &self,
        own: &[AcceptFile],
        pay_to: Option<Address>,
        route: &KeyPath,
        checks: &mut Checks<'_>,
    ) -> Vec<Accept> {
        let (listed, place) = if own.is_empty() {
            (self.accepts.as_slice(), KeyPath::of("accepts"))
        } else {
            (own, route.name("accepts"))
        };
        let mut accepts = Vec::new();
        for (at, accept) in listed.iter().enumerate() {
            let at = place.index(at);
            let found = if own.is_empty() {
                // Its faults are told once, where it stands.
                let network = accept
                    .network
                    .as_ref()
                    .and_then(|name| self.networks.find(name));
                network
                    .and_then(|network| self.assets.find(accept.asset.as_ref()?, &network))
                    .cloned()
            } else {
                self.asset(accept, &at, checks)
            };
            let Some(asset) = found else {
                continue;
            };
            let mut wallets = self.wallets.iter();
            let wallet = wallets.find(|(network, _)| *network == asset.network);
            match pay_to.or(wallet.map(|(_, address)| *address)) {
                Some(pay_to) => accepts.push(Accept { asset, pay_to }),
                None => {
                    let problem = format!(
                        "says nobody who is paid on {}: add the network to `wallets`, or write \
                         `payTo`",
                        asset.network
                    );
                    checks.error_at(if own.is_empty() { route } else { &at }, problem);
                }
            }
        }
        accepts
    }
}

/// A token as it is written.
#[derive(Clone, Debug)]
pub(crate) struct Listing {
    network: String,
    symbol: Box<str>,
    address: Address,
    name: Box<str>,
    version: Box<str>,
    decimals: u8,
    transfer: Transfer,
    is_dollar: bool,
}

impl Listing {
    fn asset(self, network: Network) -> Asset {
        Asset {
            symbol: self.symbol,
            network,
            address: self.address,
            name: self.name,
            version: self.version,
            decimals: self.decimals,
            transfer: self.transfer,
            is_dollar: self.is_dollar,
        }
    }
}

/// Tokens by network and symbol.
pub(super) struct Listings;

/// Decimals of a token at most.
const DECIMALS_MAX: u8 = 18;

impl Kind for Listings {
    type Value = Vec<Listing>;

    fn shape(&self) -> Shape {
        let token = json!({
            "type": "object",
            "required": ["address", "name", "version", "decimals"],
            "properties": {
                "address": {"type": "string"}, "name": {"type": "string"},
                "version": {"type": "string"},
                "decimals": {"type": "integer", "minimum": 0, "maximum": DECIMALS_MAX},
                "transfer": {"enum": ["eip3009", "permit2"]}, "peg": {"enum": ["usd", "none"]},
            },
            "additionalProperties": false,
        });
        let tokens = json!({"type": "object", "additionalProperties": token});
        let schema = json!({"type": "object", "additionalProperties": tokens});
        Shape::new(schema, "tokens by network and symbol")
    }

    fn read(&self, node: &Node) -> Result<Vec<Listing>, Vec<Wrong>> {
        let mut listings = Vec::new();
        for network in members(node)? {
            for token in members(&network.node)? {
                listings.push(listing(&network.name, token)?);
            }
        }
        Ok(listings)
    }
}

fn members(node: &Node) -> Result<&[Entry], Vec<Wrong>> {
    match &node.value {
        Value::Map(entries) => Ok(entries),
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::Text(_)
        | Value::Loose(_)
        | Value::List(_) => {
            let problem = format!("want tokens by network and symbol, not {}", node.told());
            Err(Wrong::of(node, problem))
        }
    }
}

fn listing(network: &str, token: &Entry) -> Result<Listing, Vec<Wrong>> {
    const KEYS: [&str; 6] = ["address", "name", "version", "decimals", "transfer", "peg"];
    let (symbol, node) = (&token.name, &token.node);
    let wrong = |problem: String| Wrong::of(node, format!("{network} {symbol}: {problem}"));
    for entry in members(node)? {
        if !KEYS.contains(&snake(&entry.name).as_str()) {
            return Err(wrong(format!("`{}` is no key of a token", entry.name)));
        }
    }
    let of = |name: &str| {
        node.get(name)
            .ok_or_else(|| wrong(format!("`{name}` is missing")))
    };
    let text = |name: &str| of(name)?.text().map(Into::into);
    let choose = |name: &str, words: [&'static str; 2]| match node.get(name) {
        None => Ok(None),
        Some(written) => {
            let word = written.text()?;
            let known = words.into_iter().find(|known| *known == word);
            let problem = || wrong(format!("`{name}` is `{}` or `{}`", words[0], words[1]));
            known.map(Some).ok_or_else(problem)
        }
    };
    let decimals = whole::<u8>(0..=i64::from(DECIMALS_MAX)).read(of("decimals")?)?;
    let is_usually_dollar = Assets::is_usually_dollar(symbol);
    Ok(Listing {
        network: network.to_owned(),
        symbol: symbol.as_str().into(),
        address: pay_to().read(of("address")?)?,
        name: text("name")?,
        version: text("version")?,
        decimals,
        transfer: match choose("transfer", ["eip3009", "permit2"])? {
            Some("permit2") => Transfer::Permit2,
            _ => Transfer::Eip3009,
        },
        is_dollar: choose("peg", ["usd", "none"])?.map_or(is_usually_dollar, |peg| peg == "usd"),
    })
}
