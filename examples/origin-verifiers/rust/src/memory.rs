//! Which nonces were seen lately.

use std::collections::HashSet;

/// How long a nonce is remembered at least: longer than a signature is fresh, on either side.
const REMEMBERED_S: u64 = 600;

/// Nonces in two generations: the older is forgotten whole when the newer has had its time.
#[derive(Debug)]
pub(crate) struct Memory {
    newer: HashSet<String>,
    older: HashSet<String>,
    began: u64,
    /// Entries of a generation. Beyond it nothing new is taken: what can't be remembered could
    /// be sent again.
    max: usize,
}

impl Memory {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            newer: HashSet::new(),
            older: HashSet::new(),
            began: 0,
            max,
        }
    }

    /// Takes a nonce in; `false` if it was seen, or there is no room.
    pub(crate) fn take(&mut self, nonce: String, now: u64) -> bool {
        let age = now.saturating_sub(self.began);
        if age >= REMEMBERED_S {
            let gone = std::mem::take(&mut self.newer);
            self.older = if age < 2 * REMEMBERED_S {
                gone
            } else {
                HashSet::new()
            };
            self.began = now;
        }
        !self.older.contains(&nonce) && self.newer.len() < self.max && self.newer.insert(nonce)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // EDGE-122
    #[test]
    fn a_nonce_is_remembered_for_ten_minutes_at_least_and_not_forever() {
        let mut memory = Memory::new(10);
        let mut take = |nonce: &str, now| memory.take(nonce.to_owned(), now);
        assert!(take("a", 1_000));
        assert!(take("b", 1_599));
        assert!(!take("a", 1_599));
        assert!(!take("b", 2_198), "599 s after it was seen");
        assert!(take("a", 3_500), "once its generation is gone");
    }

    // EDGE-122
    #[test]
    fn what_can_not_be_remembered_is_refused() {
        let mut memory = Memory::new(2);
        let taken = ["a", "b", "c"].map(|nonce| memory.take(nonce.to_owned(), 1_000));
        assert_eq!(taken, [true, true, false]);
    }
}
