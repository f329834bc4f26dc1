//! Tokens that may be asked for: where they are, what their payers sign, whether one is a dollar.
//!
//! Their EIP-712 names stand here and are never taken from a caller.

use super::network::Network;
use crate::evm::Address;

/// A token on one network.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Asset {
    /// Its symbol.
    pub symbol: Box<str>,
    /// Its network.
    pub network: Network,
    /// Its contract.
    pub address: Address,
    /// Its name in what payers sign.
    pub name: Box<str>,
    /// Its version in what payers sign.
    pub version: Box<str>,
    /// Decimals of one whole token.
    pub decimals: u8,
    /// How it is transferred.
    pub transfer: Transfer,
    /// Whether one whole token is a dollar.
    pub is_dollar: bool,
}

/// How a token is transferred by who did not sign as its owner.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Transfer {
    /// The token itself takes a signed authorisation (EIP-3009).
    Eip3009,
    /// The contract Permit2 does, where it may spend.
    Permit2,
}

/// Chain, contract, and what USDC is called there.
const USDC: [(u64, &str, &str); 8] = [
    (
        8453,
        "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913",
        "USD Coin",
    ),
    (84532, "0x036CbD53842c5426634e7929541eC2318f3dCF7e", "USDC"),
    (1, "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48", "USD Coin"),
    (
        43114,
        "0xB97EF9Ef8734C71904D8002F8b6Bc66Dd9c48a6E",
        "USD Coin",
    ),
    (
        137,
        "0x3c499c542cEF5E3811e1192ce70d8cC03d5c3359",
        "USD Coin",
    ),
    (
        42161,
        "0xaf88d065e77c8cC2239327C5EDb3A432268e5831",
        "USD Coin",
    ),
    (
        421_614,
        "0x75faf114eafb1BDbe2F0316DF893fd58CE46AA4d",
        "USD Coin",
    ),
    (143, "0x754704Bc059F8C67012fEd69BC8A327a5aafb603", "USDC"),
];

/// Tokens that are a dollar wherever they are.
const DOLLARS: [&str; 3] = ["USDC", "USDT", "DAI"];

/// The tokens that may be asked for.
#[derive(Clone, Debug)]
pub struct Assets {
    known: Vec<Asset>,
}

impl Default for Assets {
    fn default() -> Self {
        let known = USDC.iter().filter_map(|(chain, address, name)| {
            Some(Asset {
                symbol: "USDC".into(),
                network: Network::Evm(*chain),
                address: address.parse().ok()?,
                name: (*name).into(),
                version: "2".into(),
                decimals: 6,
                transfer: Transfer::Eip3009,
                is_dollar: true,
            })
        });
        Self {
            known: known.collect(),
        }
    }
}

impl Assets {
    /// Whether a token of this symbol is a dollar unless somebody says otherwise.
    pub fn is_usually_dollar(symbol: &str) -> bool {
        DOLLARS.contains(&symbol)
    }

    /// Adds a token, or replaces the one of its symbol and network.
    pub fn add(&mut self, asset: Asset) {
        self.known
            .retain(|known| known.symbol != asset.symbol || known.network != asset.network);
        self.known.push(asset);
    }

    /// The token of this symbol on this network.
    pub fn find(&self, symbol: &str, network: &Network) -> Option<&Asset> {
        let mut known = self.known.iter();
        known.find(|asset| *asset.symbol == *symbol && asset.network == *network)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Asset> {
        self.known.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // PAY-103
    #[test]
    fn the_built_in_tokens_are_all_there() {
        let assets = Assets::default();
        assert_eq!(assets.iter().count(), USDC.len());
        let base = assets.find("USDC", &Network::Evm(8453)).unwrap();
        assert_eq!((&*base.name, &*base.version), ("USD Coin", "2"));
        let test = assets.find("USDC", &Network::Evm(84532)).unwrap();
        assert_eq!((&*test.name, &*test.version), ("USDC", "2"));
        assert_eq!(assets.find("USDC", &Network::Evm(10)), None);
        assert_eq!(assets.find("EURC", &Network::Evm(8453)), None);
        for asset in assets.iter() {
            assert_eq!((asset.decimals, asset.is_dollar), (6, true));
        }
    }
}
