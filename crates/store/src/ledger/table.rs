//! Rows of one table in the hands of a transaction: as they were loaded, as they are, and how to go
//! back.

use std::collections::BTreeMap;
use std::ops::RangeBounds;

/// Rows by their keys. What was not loaded is not there.
#[derive(Debug)]
pub(super) struct Table<K, V> {
    rows: BTreeMap<K, Slot<V>>,
    /// What the rows were that were set, the latest last.
    undo: Vec<(K, Option<V>)>,
}

#[derive(Debug)]
struct Slot<V> {
    stored: Option<V>,
    now: Option<V>,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self {
            rows: BTreeMap::new(),
            undo: Vec::new(),
        }
    }
}

impl<K: Clone + Ord, V: Clone + PartialEq> Table<K, V> {
    /// Puts a row in as it is stored, unless it is there.
    pub(super) fn load(&mut self, key: K, row: V) {
        self.rows.entry(key).or_insert_with(|| Slot {
            stored: Some(row.clone()),
            now: Some(row),
        });
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.rows.get(key)?.now.as_ref()
    }

    /// Rows of these keys, in their order.
    pub(super) fn range(&self, keys: impl RangeBounds<K>) -> impl Iterator<Item = (K, &V)> {
        let rows = self.rows.range(keys);
        rows.filter_map(|(key, slot)| Some((key.clone(), slot.now.as_ref()?)))
    }

    pub(super) fn set(&mut self, key: K, row: Option<V>) {
        let slot = self.rows.entry(key.clone()).or_insert(Slot {
            stored: None,
            now: None,
        });
        let had = std::mem::replace(&mut slot.now, row);
        self.undo.push((key, had));
    }

    /// A place to go back to.
    pub(super) const fn mark(&self) -> usize {
        self.undo.len()
    }

    pub(super) fn go_back(&mut self, mark: usize) {
        while self.undo.len() > mark {
            let Some((key, had)) = self.undo.pop() else {
                return;
            };
            if let Some(slot) = self.rows.get_mut(&key) {
                slot.now = had;
            }
        }
    }

    /// Rows that are no longer as they are stored: the key, whether a row is stored, and the row.
    pub(super) fn changed(&self) -> impl Iterator<Item = (K, bool, Option<&V>)> {
        let rows = self.rows.iter().filter(|(_, slot)| slot.stored != slot.now);
        rows.map(|(key, slot)| (key.clone(), slot.stored.is_some(), slot.now.as_ref()))
    }

    /// What is now is stored.
    pub(super) fn is_stored(&mut self) {
        for (key, _) in self.undo.drain(..) {
            if let Some(slot) = self.rows.get_mut(&key) {
                slot.stored.clone_from(&slot.now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_undone_is_as_it_was_and_needs_no_writing() {
        let mut table = Table::default();
        table.load(1, "one");
        let start = table.mark();
        table.set(1, Some("uno"));
        let mark = table.mark();
        table.set(2, Some("two"));
        table.set(1, None);
        assert_eq!(table.range(..).count(), 1);
        table.go_back(mark);
        assert_eq!(table.get(&1), Some(&"uno"));
        assert_eq!(table.get(&2), None);
        let changed: Vec<_> = table.changed().collect();
        assert_eq!(changed, [(1, true, Some(&"uno"))]);
        table.go_back(start);
        assert_eq!(table.changed().count(), 0);
    }

    #[test]
    fn what_was_written_is_not_written_again() {
        let mut table = Table::default();
        table.set(1, Some("one"));
        table.is_stored();
        assert_eq!(table.changed().count(), 0);
        table.set(1, None);
        assert_eq!(table.changed().collect::<Vec<_>>(), [(1, true, None)]);
    }
}
