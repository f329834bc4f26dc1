//! Events that repeat are told of together: the first ones of a time each by itself, the others as one
//! with how many there were. No count is lost: what is kept back is told when its time is over (AUD-12).

use std::collections::HashMap;
use std::hash::Hash;
use tollkeep_types::WallMillis;

/// For how long events of a key are told of together.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Span {
    /// Twenty of a second each by itself, the rest of that second as one.
    Second,
    /// The first by itself, then one a minute for all that came in it.
    Minute,
    /// The first by itself, then one an hour for all that came in it.
    Hour,
}

impl Span {
    const fn ms(self) -> u64 {
        match self {
            Self::Second => 1_000,
            Self::Minute => 60_000,
            Self::Hour => 3_600_000,
        }
    }

    /// How many are told of by themselves.
    const fn each(self) -> u32 {
        match self {
            Self::Second => 20,
            Self::Minute | Self::Hour => 1,
        }
    }

    /// Whether what was told of goes on being counted in the next span.
    const fn goes_on(self) -> bool {
        match self {
            Self::Second => false,
            Self::Minute | Self::Hour => true,
        }
    }
}

/// What events that are told of together have in common.
pub trait Fold: Copy + Eq + Hash {
    /// For how long they are told of together.
    fn span(&self) -> Span;

    /// What it is counted under where there is no room, of which there are few; `None` for what is told of
    /// then.
    fn wider(&self) -> Option<Self>;
}

/// What was kept back of a key.
#[derive(Debug)]
pub struct Folded<K, S> {
    /// What they have in common.
    pub key: K,
    /// What is known of the first of them.
    pub seen: S,
    /// How many they are.
    pub count: u64,
}

/// The count of a key in its span.
#[derive(Debug)]
struct Cell<S> {
    since: u64,
    told: u32,
    kept_back: u64,
    seen: S,
}

/// What was told of lately.
#[derive(Debug)]
pub struct Folds<K, S> {
    cells: HashMap<K, Cell<S>>,
    keys_max: usize,
}

impl<K: Fold, S: Default> Folds<K, S> {
    /// Counts of so many keys at a time; beyond it those of a wider key.
    pub fn new(keys_max: usize) -> Self {
        Self {
            cells: HashMap::new(),
            keys_max,
        }
    }

    /// Whether this event is told of by itself; else it is counted.
    pub fn tell(&mut self, key: K, now: WallMillis, seen: impl FnOnce() -> S) -> bool {
        let mut key = key;
        if self.cells.len() >= self.keys_max && !self.cells.contains_key(&key) {
            let Some(wider) = key.wider() else {
                return true;
            };
            // There are few of these: as many as there are reasons.
            key = wider;
        }
        let cell = self.cells.entry(key).or_insert(Cell {
            since: now.0,
            told: 0,
            kept_back: 0,
            seen: S::default(),
        });
        let is_over = now.0.saturating_sub(cell.since) >= key.span().ms();
        if is_over && cell.kept_back == 0 {
            (cell.since, cell.told) = (now.0, 0);
        }
        if cell.told < key.span().each() {
            cell.told += 1;
            return true;
        }
        if cell.kept_back == 0 {
            cell.seen = seen();
        }
        cell.kept_back = cell.kept_back.saturating_add(1);
        false
    }

    /// Forgets keys that had nothing for a span; says whether others have something to tell.
    pub fn is_due(&mut self, when: When) -> bool {
        let mut any = false;
        self.cells.retain(|key, cell| {
            let is_due = when.is_due(key, cell);
            any |= is_due && cell.kept_back > 0;
            !is_due || cell.kept_back > 0
        });
        any
    }

    /// Takes what is due.
    pub fn take(&mut self, when: When) -> Vec<Folded<K, S>> {
        let mut taken = Vec::new();
        self.cells.retain(|key, cell| {
            if !when.is_due(key, cell) {
                return true;
            }
            let count = std::mem::take(&mut cell.kept_back);
            if count == 0 {
                return false;
            }
            let seen = std::mem::take(&mut cell.seen);
            taken.push(Folded {
                key: *key,
                seen,
                count,
            });
            if let When::Now(now) = when {
                cell.since = now.0;
            }
            key.span().goes_on()
        });
        taken
    }

    /// How many keys are counted now.
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }
}

/// What is told of.
#[derive(Clone, Copy, Debug)]
pub enum When {
    /// What is over now.
    Now(WallMillis),
    /// All, since nothing comes any more.
    Last,
}

impl When {
    fn is_due<K: Fold, S>(self, key: &K, cell: &Cell<S>) -> bool {
        match self {
            Self::Now(now) => now.0.saturating_sub(cell.since) >= key.span().ms(),
            Self::Last => true,
        }
    }
}
