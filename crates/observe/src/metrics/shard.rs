//! One worker's counters.

use super::histogram::Histogram;
use super::labels::{AttemptResult, RATE_CLASSES, STATUS_CLASSES};
use crate::RequestOutcome;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use tollkeep_types::usage::Class;

/// A count with one writer: a load and a store, no locked instruction. Readers see every whole
/// value, perhaps a moment late.
#[derive(Debug, Default)]
pub(super) struct Tally(AtomicU64);

impl Tally {
    pub(super) fn add(&self, count: u64) {
        let total = self.0.load(Ordering::Relaxed).wrapping_add(count);
        self.0.store(total, Ordering::Relaxed);
    }

    pub(super) fn subtract(&self, count: u64) {
        self.add(count.wrapping_neg());
    }

    pub(super) fn total(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Requests of one route and provider.
#[derive(Default)]
pub(super) struct Requests {
    pub(super) by_end: [[Tally; RequestOutcome::ALL.len()]; STATUS_CLASSES.len()],
    pub(super) duration: Histogram,
    pub(super) overhead: Histogram,
    pub(super) first_token: Histogram,
}

/// Tokens of one provider and model.
pub(super) type Tokens = [Tally; Class::ALL.len()];

/// A table by two labels; rows and cells are made at their first use.
pub(super) struct Table<T> {
    columns: usize,
    rows: Box<[OnceLock<Row<T>>]>,
}

type Row<T> = Box<[OnceLock<Box<T>>]>;

impl<T: Default> Table<T> {
    fn new(rows: usize, columns: usize) -> Self {
        Self {
            columns,
            rows: (0..rows).map(|_| OnceLock::new()).collect(),
        }
    }

    /// The cell; `None` outside the table.
    pub(super) fn cell(&self, row: u16, column: u16) -> Option<&T> {
        let row = self.rows.get(usize::from(row))?;
        let cells = row.get_or_init(|| (0..self.columns).map(|_| OnceLock::new()).collect());
        let cell = cells.get(usize::from(column))?;
        Some(cell.get_or_init(Box::default))
    }

    /// The cells in use with their places.
    pub(super) fn used(&self) -> impl Iterator<Item = ((usize, usize), &T)> {
        let rows = self.rows.iter().enumerate();
        rows.filter_map(|(at, row)| Some((at, row.get()?)))
            .flat_map(|(at, row)| {
                let cells = row.iter().enumerate();
                cells.filter_map(move |(column, cell)| Some(((at, column), &**cell.get()?)))
            })
    }
}

/// One worker's counters.
pub(super) struct Shard {
    /// Routes by providers.
    pub(super) requests: Table<Requests>,
    /// Providers by models.
    pub(super) tokens: Table<Tokens>,
    /// One per provider.
    pub(super) attempts: Box<[[Tally; AttemptResult::ALL.len()]]>,
    /// Rate limits that were hit: classes by route.
    pub(super) violations: Box<[[Tally; RATE_CLASSES.len()]]>,
    pub(super) in_flight: Tally,
    pub(super) streams: Tally,
    pub(super) bytes_in: Tally,
    pub(super) bytes_out: Tally,
}

impl Shard {
    pub(super) fn new(routes: usize, providers: usize, models: usize) -> Self {
        Self {
            requests: Table::new(routes, providers),
            tokens: Table::new(providers, models),
            attempts: (0..providers).map(|_| Default::default()).collect(),
            violations: (0..routes).map(|_| Default::default()).collect(),
            in_flight: Tally::default(),
            streams: Tally::default(),
            bytes_in: Tally::default(),
            bytes_out: Tally::default(),
        }
    }
}
