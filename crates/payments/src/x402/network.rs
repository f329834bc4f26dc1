//! Networks: by CAIP-2, and by the short names that version 1 and configurations use.

use std::fmt;

/// A network, as CAIP-2 names it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Network {
    /// A chain of the Ethereum kind, by its number.
    Evm(u64),
    /// A cluster of Solana, by the start of its genesis hash.
    Solana(Box<str>),
}

/// Short names and what they stand for.
const BUILT_IN: [(&str, u64); 25] = [
    ("base", 8453),
    ("base-sepolia", 84532),
    ("ethereum", 1),
    ("sepolia", 11_155_111),
    ("polygon", 137),
    ("polygon-amoy", 80002),
    ("avalanche", 43114),
    ("avalanche-fuji", 43113),
    ("sei", 1329),
    ("sei-testnet", 1328),
    ("iotex", 4689),
    ("peaq", 3338),
    ("abstract", 2741),
    ("abstract-testnet", 11124),
    ("story", 1514),
    ("educhain", 41923),
    ("skale-base-sepolia", 324_705_682),
    ("megaeth", 4326),
    ("monad", 143),
    ("stable", 988),
    ("stable-testnet", 2201),
    ("celo", 42220),
    ("flare", 14),
    ("arbitrum", 42161),
    ("arbitrum-sepolia", 421_614),
];

/// Those of Solana.
const SOLANA: [(&str, &str); 2] = [
    ("solana", "5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp"),
    ("solana-devnet", "EtWTRABZaYq6iMfeYKouRu166VU2xqa1"),
];

impl Network {
    /// The network of a CAIP-2 name, as `eip155:8453`.
    pub fn from_caip2(text: &str) -> Option<Self> {
        let (namespace, reference) = text.split_once(':')?;
        match namespace {
            "eip155" => {
                let is_plain = reference.bytes().all(|byte| byte.is_ascii_digit());
                let is_canonical = is_plain && !reference.starts_with('0');
                let id = reference.parse().ok().filter(|_| is_canonical);
                id.map(Self::Evm)
            }
            "solana" => {
                let fits = |byte: u8| byte.is_ascii_alphanumeric();
                let is_hash = reference.len() == 32 && reference.bytes().all(fits);
                is_hash.then(|| Self::Solana(reference.into()))
            }
            _ => None,
        }
    }

    /// The number of the chain, if it has one.
    pub const fn chain_id(&self) -> Option<u64> {
        match self {
            Self::Evm(id) => Some(*id),
            Self::Solana(_) => None,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Evm(id) => write!(out, "eip155:{id}"),
            Self::Solana(reference) => write!(out, "solana:{reference}"),
        }
    }
}

/// The networks that have a short name.
#[derive(Clone, Debug)]
pub struct Networks {
    named: Vec<(Box<str>, Network)>,
}

impl Default for Networks {
    fn default() -> Self {
        let evm = BUILT_IN.iter();
        let evm = evm.map(|(name, id)| ((*name).into(), Network::Evm(*id)));
        let solana = SOLANA.iter();
        let solana = solana.map(|(name, hash)| ((*name).into(), Network::Solana((*hash).into())));
        Self {
            named: evm.chain(solana).collect(),
        }
    }
}

impl Networks {
    /// Adds a short name. Says `false` if it stands for another network already.
    pub fn add(&mut self, name: &str, network: Network) -> bool {
        if let Some(known) = self.named(name) {
            return *known == network;
        }
        self.named.push((name.into(), network));
        true
    }

    fn named(&self, name: &str) -> Option<&Network> {
        let mut named = self.named.iter();
        let found = named.find(|(known, _)| **known == *name);
        found.map(|(_, network)| network)
    }

    /// The short names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.named.iter().map(|(name, _)| &**name)
    }

    /// The network of a short name or a CAIP-2 name.
    pub fn find(&self, text: &str) -> Option<Network> {
        self.named(text)
            .cloned()
            .or_else(|| Network::from_caip2(text))
    }

    /// The short name of a network, without which version 1 can't name it.
    pub fn short_name(&self, network: &Network) -> Option<&str> {
        let mut named = self.named.iter();
        let found = named.find(|(_, known)| known == network);
        found.map(|(name, _)| &**name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // PAY-102
    #[test]
    fn networks_have_one_caip_2_name_and_perhaps_a_short_one() {
        let networks = Networks::default();
        for (text, want) in [
            ("base", Some("eip155:8453")),
            ("base-sepolia", Some("eip155:84532")),
            ("eip155:84532", Some("eip155:84532")),
            ("eip155:424242", Some("eip155:424242")),
            ("arbitrum-sepolia", Some("eip155:421614")),
            ("solana", Some("solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp")),
            ("Base", None),
            ("goerli", None),
            ("eip155:", None),
            ("eip155:0", None),
            ("eip155:08453", None),
            ("eip155:+1", None),
            ("eip155:99999999999999999999", None),
            ("solana:x", None),
            ("bip122:000000000019d6689c085ae165831e93", None),
            ("", None),
        ] {
            let found = networks.find(text).map(|network| network.to_string());
            assert_eq!(found.as_deref(), want, "{text}");
        }
        for (name, network) in &networks.named {
            assert_eq!(networks.short_name(network), Some(&**name));
        }
        assert_eq!(networks.named.len(), 27);
        assert_eq!(networks.short_name(&Network::Evm(424_242)), None);
    }

    // PAY-102
    #[test]
    fn a_short_name_stands_for_one_network() {
        let mut networks = Networks::default();
        assert!(!networks.add("base", Network::Evm(1)));
        assert!(networks.add("base", Network::Evm(8453)));
        assert!(networks.add("mine", Network::Evm(424_242)));
        assert_eq!(networks.find("mine"), Some(Network::Evm(424_242)));
    }
}
