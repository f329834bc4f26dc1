//! What the checkpoints of one chain know of the others: whoever cuts off the end of one would have
//! to cut all that saw it.

use super::runs::{At, Chain};
use super::{FaultKind, Verifier};
use crate::chain::parse_hash;
use std::collections::BTreeMap;

/// Where chains stood at least, by their names.
pub(super) type Heard = BTreeMap<String, (u64, [u8; 32], At)>;

/// What a checkpoint says of other chains: `stream:seq:head`, one after the other.
pub(super) fn read(text: &str) -> impl Iterator<Item = (&str, u64, [u8; 32])> {
    text.split(' ').filter_map(|one| {
        let mut parts = one.split(':');
        let (stream, seq, head) = (parts.next()?, parts.next()?, parts.next()?);
        Some((stream, seq.parse().ok()?, parse_hash(head)?))
    })
}

impl Verifier {
    /// Takes note of what a believed checkpoint says of other chains.
    pub(super) fn hear(&mut self, line: &[u8], at: At) {
        let Some(text) = self.reader.detail(line, "heads") else {
            return;
        };
        for (stream, seq, head) in read(text) {
            let is_known = self.heard.contains_key(stream);
            if !is_known && self.heard.len() >= super::STREAMS_MAX {
                return;
            }
            let heard = self.heard.entry(stream.to_owned()).or_default();
            if seq >= heard.0 {
                *heard = (seq, head, at);
            }
        }
    }

    /// Compares the end of a chain that is here with what others heard of it. Of chains whose files
    /// were not given nothing is said.
    pub(super) fn compare_heard(&self, chain: &mut Chain) -> Option<(At, u64, FaultKind)> {
        let (seq, head, at) = *self.heard.get(&chain.name)?;
        let (_, last) = chain.ends()?;
        if seq > last.seq {
            chain.expected.entry(seq).or_insert((head, at));
        }
        let is_other = seq == last.seq && head != last.hash;
        is_other.then_some((at, seq, FaultKind::NotAsAnchored))
    }
}
