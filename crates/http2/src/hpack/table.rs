//! A table of fields that came before (RFC 7541, sections 2.3.2 and 4).

use std::collections::VecDeque;

/// What an entry counts besides its bytes.
const ENTRY_BYTES: usize = 32;

/// Newest first.
#[derive(Debug)]
pub(super) struct Table {
    entries: VecDeque<Entry>,
    bytes: usize,
    bytes_max: usize,
    /// Entries that were ever put in.
    count: u64,
}

#[derive(Debug)]
struct Entry {
    /// The name, and behind it the value.
    text: Box<[u8]>,
    name_len: usize,
}

impl Entry {
    fn parts(&self) -> (&[u8], &[u8]) {
        self.text
            .split_at_checked(self.name_len)
            .unwrap_or_default()
    }
}

impl Table {
    pub(super) const fn new(bytes_max: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            bytes: 0,
            bytes_max,
            count: 0,
        }
    }

    #[cfg(test)]
    pub(super) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// HOT. The field at a place, of which the newest has 0.
    pub(super) fn at(&self, place: usize) -> Option<(&[u8], &[u8])> {
        self.entries.get(place).map(Entry::parts)
    }

    /// HOT. Where the field with this number stands, if it still does. None has 0.
    pub(super) fn place_of(&self, number: u64) -> Option<usize> {
        let place = usize::try_from(self.count.checked_sub(number)?).ok()?;
        (number > 0 && place < self.entries.len()).then_some(place)
    }

    pub(super) fn resize(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
        self.make_room(0);
    }

    /// Puts a field in: its number. One that is larger than the table empties it, and gets 0.
    pub(super) fn insert(&mut self, name: &[u8], value: &[u8]) -> u64 {
        let bytes = name.len() + value.len() + ENTRY_BYTES;
        self.make_room(bytes);
        if bytes > self.bytes_max {
            return 0;
        }
        self.bytes += bytes;
        self.count += 1;
        self.entries.push_front(Entry {
            text: [name, value].concat().into_boxed_slice(),
            name_len: name.len(),
        });
        self.count
    }

    fn make_room(&mut self, bytes: usize) {
        while self.bytes + bytes > self.bytes_max
            && let Some(oldest) = self.entries.pop_back()
        {
            self.bytes -= oldest.text.len() + ENTRY_BYTES;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_leave_for_the_newest_and_places_move_on() {
        let mut table = Table::new(3 * 34);
        for name in [b"a", b"b", b"c", b"d"] {
            assert!(table.insert(name, b"v") > 0);
        }
        let names: Vec<_> = (0..4)
            .map(|at| table.at(at).map(|(name, _)| name[0]))
            .collect();
        assert_eq!(names, [Some(b'd'), Some(b'c'), Some(b'b'), None]);
        assert_eq!(
            [1, 2, 4].map(|number| table.place_of(number)),
            [None, Some(2), Some(0)]
        );
        assert_eq!(table.place_of(5), None);
        table.resize(34);
        assert_eq!(
            (table.at(0), table.at(1)),
            (Some((&b"d"[..], &b"v"[..])), None)
        );
        assert_eq!(table.insert(b"too", b"large"), 0);
        assert_eq!((table.at(0), table.bytes, table.count), (None, 0, 4));
    }
}
