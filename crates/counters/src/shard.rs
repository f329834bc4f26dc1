//! The part of the table behind one lock.

use crate::claim::Home;
use crate::hashed::{Hashed, HashedMap, SHARDS};
use crate::key::{Class, Key};
use tollkeep_types::MonoNanos;

/// Cells of one class that keys share when the table is full.
const SHARED_CELLS: usize = 1_024;
const CELLS: usize = SHARED_CELLS / SHARDS;

/// Theoretical arrival times by key.
#[derive(Debug, Default)]
pub(crate) struct Shard {
    entries: HashedMap<Key, u64>,
    shared: [[u64; CELLS]; Class::COUNT],
}

impl Shard {
    /// The state of a key's entry, if it has one. Ahead of `tat_max` ([`Quota::tat_max`]) it is cut
    /// to it.
    ///
    /// [`Quota::tat_max`]: tollkeep_policy::rate::Quota::tat_max
    pub(crate) fn entry(&mut self, key: &Hashed<Key>, tat_max: u64) -> Option<u64> {
        let tat = self.entries.get_mut(key)?;
        *tat = tat_max.min(*tat);
        Some(*tat)
    }

    /// Takes what is owed out of the entries, but for failing credentials: by key, and how many
    /// entries are gone.
    pub(crate) fn take_debts(&mut self, now: MonoNanos) -> (Vec<(Key, u64)>, usize) {
        let before = self.entries.len();
        let mut debts = Vec::new();
        self.entries.retain(|hashed, tat| {
            let stays = hashed.key.class() == Class::FailedCredential;
            let debt = tat.saturating_sub(now.0);
            if !stays && debt > 0 {
                debts.push((hashed.key, debt));
            }
            stays
        });
        (debts, before - self.entries.len())
    }

    /// Lowers the state of a key's entry; what it is then, if there is one.
    pub(crate) fn lower(&mut self, key: &Hashed<Key>, by: u64) -> Option<u64> {
        let tat = self.entries.get_mut(key)?;
        *tat = tat.saturating_sub(by);
        Some(*tat)
    }

    /// The state of the cell a key shares with others.
    pub(crate) fn shared(&self, key: &Hashed<Key>) -> Option<u64> {
        let cells = self.shared.get(key.key.class().index())?;
        cells.get(key.cell(CELLS)).copied()
    }

    /// Keeps the state of a key; whether that made an entry.
    pub(crate) fn set(&mut self, key: Hashed<Key>, home: Home, tat: u64) -> bool {
        match home {
            Home::Entry | Home::Reserved => self.entries.insert(key, tat).is_none(),
            // Others share it, perhaps under a stricter quota: it never goes back.
            Home::Shared => {
                if let Some(cell) = self.cell_mut(&key) {
                    *cell = tat.max(*cell);
                }
                false
            }
        }
    }

    /// Drops what has passed: how many, and when the next one will.
    pub(crate) fn sweep(&mut self, now: MonoNanos) -> (usize, u64) {
        let before = self.entries.len();
        let mut earliest = u64::MAX;
        self.entries.retain(|_, tat| {
            let live = *tat > now.0;
            if live {
                earliest = earliest.min(*tat);
            }
            live
        });
        (before - self.entries.len(), earliest)
    }

    fn cell_mut(&mut self, key: &Hashed<Key>) -> Option<&mut u64> {
        self.shared
            .get_mut(key.key.class().index())?
            .get_mut(key.cell(CELLS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hash map keeps at most 7 of 8 buckets full, with a byte beside each, and doubles.
    // EDGE-88
    #[test]
    fn an_entry_takes_no_more_than_128_bytes() {
        let bucket = size_of::<(Hashed<Key>, u64)>() + 1;
        assert!(bucket * 16 / 7 <= 128, "{bucket}");
    }
}
