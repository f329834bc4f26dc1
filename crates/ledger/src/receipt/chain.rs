//! Receipts by their chains: what was taken out of them, put in or exchanged.

use super::Receipt;
use std::collections::BTreeMap;

/// What is wrong with a set of receipts as chains.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ChainFault {
    /// Those between two places are not there.
    Missing { chain: String, from: u64, to: u64 },
    /// Two receipts have the same place.
    Twice { chain: String, seq: u64 },
    /// The receipt does not name the hash of the one before it.
    Cut { chain: String, seq: u64 },
}

impl std::fmt::Display for ChainFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing { chain, from, to } => {
                write!(f, "chain {chain}: numbers {from} to {to} are missing")
            }
            Self::Twice { chain, seq } => write!(f, "chain {chain}: number {seq} is there twice"),
            Self::Cut { chain, seq } => {
                write!(
                    f,
                    "chain {chain}: number {seq} does not follow the one before it"
                )
            }
        }
    }
}

/// Receipts by their chains, to be looked at together.
#[derive(Debug, Default)]
pub struct Chains(BTreeMap<String, Vec<(u64, String, String)>>);

impl Chains {
    /// One of them, with the hash of its whole text.
    pub fn add(&mut self, receipt: &Receipt, hash: String) {
        let chain = self.0.entry(receipt.chain.clone()).or_default();
        chain.push((receipt.seq, receipt.prev.clone(), hash));
    }

    /// What is wrong with them. A chain may begin late in what is given; with `some` it may also
    /// have gaps, as what one caller has of a tenant's chain.
    pub fn faults(mut self, some: bool) -> Vec<ChainFault> {
        let mut faults = Vec::new();
        for (name, links) in &mut self.0 {
            links.sort();
            for pair in links.windows(2) {
                let [(before, _, hash), (seq, prev, _)] = pair else {
                    continue;
                };
                let chain = || name.clone();
                if seq == before {
                    faults.push(ChainFault::Twice {
                        chain: chain(),
                        seq: *seq,
                    });
                } else if *before != seq.saturating_sub(1) {
                    if !some {
                        faults.push(ChainFault::Missing {
                            chain: chain(),
                            from: before.saturating_add(1),
                            to: seq.saturating_sub(1),
                        });
                    }
                } else if prev != hash {
                    faults.push(ChainFault::Cut {
                        chain: chain(),
                        seq: *seq,
                    });
                }
            }
        }
        faults
    }
}
