//! One worker's counters.

use super::histogram::Histogram;
use super::labels::{AttemptResult, NAMES_MAX, RATE_CLASSES, STATUS_CLASSES, USAGE_REASONS};
use crate::RequestOutcome;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use tollkeep_types::usage::{Class, Quality};

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

/// Nano-dollars of one provider and model, by how far they are trusted.
pub(super) type Spend = [Tally; Quality::ALL.len()];

/// Calls by how far their usage is trusted, and why no further.
pub(super) type Qualities = [[Tally; USAGE_REASONS.len()]; Quality::ALL.len()];

/// Cells that are made together: few labels are in use, and they stand side by side.
const BLOCK: usize = 16;

/// A table by two labels, large enough for all names there may ever be; rows, blocks and cells are
/// made at their first use.
pub(super) struct Table<T> {
    rows: Box<[OnceLock<Row<T>>]>,
}

type Row<T> = Box<[OnceLock<Block<T>>]>;
type Block<T> = Box<[OnceLock<Box<T>>]>;

fn unused<T>(count: usize) -> Box<[OnceLock<T>]> {
    (0..count).map(|_| OnceLock::new()).collect()
}

impl<T: Default> Table<T> {
    fn new() -> Self {
        Self {
            rows: unused(NAMES_MAX),
        }
    }

    /// HOT. The cell; `None` outside the table.
    pub(super) fn cell(&self, row: u16, column: u16) -> Option<&T> {
        let column = usize::from(column);
        let row = self.rows.get(usize::from(row))?;
        let blocks = row.get_or_init(|| unused(NAMES_MAX / BLOCK));
        let block = blocks.get(column / BLOCK)?;
        let cells = block.get_or_init(|| unused(BLOCK));
        let cell = cells.get(column % BLOCK)?;
        Some(cell.get_or_init(Box::default))
    }

    /// The cells in use with their places.
    pub(super) fn used(&self) -> impl Iterator<Item = ((usize, usize), &T)> {
        let rows = in_use(&self.rows);
        rows.flat_map(|(row, blocks)| {
            in_use(blocks).flat_map(move |(block, cells)| {
                in_use(cells).map(move |(cell, of)| ((row, block * BLOCK + cell), &**of))
            })
        })
    }
}

fn in_use<T>(slots: &[OnceLock<T>]) -> impl Iterator<Item = (usize, &T)> {
    let slots = slots.iter().enumerate();
    slots.filter_map(|(at, slot)| Some((at, slot.get()?)))
}

/// Rate limits of one route that were hit, by their class.
pub(super) type Violations = [Tally; RATE_CLASSES.len()];

/// Attempts at one provider, by how they ended.
pub(super) type Attempts = [Tally; AttemptResult::ALL.len()];

/// One worker's counters.
pub(super) struct Shard {
    /// Routes by providers.
    pub(super) requests: Table<Requests>,
    /// Providers by models.
    pub(super) tokens: Table<Tokens>,
    /// The same in money.
    pub(super) spend: Table<Spend>,
    pub(super) qualities: Qualities,
    /// One per provider.
    pub(super) attempts: Box<[OnceLock<Box<Attempts>>]>,
    /// Rate limits that were hit: classes by route.
    pub(super) violations: Box<[OnceLock<Box<Violations>>]>,
    pub(super) in_flight: Tally,
    pub(super) streams: Tally,
    pub(super) holds: Tally,
    pub(super) bytes_in: Tally,
    pub(super) bytes_out: Tally,
}

impl Shard {
    pub(super) fn new() -> Self {
        Self {
            requests: Table::new(),
            tokens: Table::new(),
            spend: Table::new(),
            qualities: Qualities::default(),
            attempts: unused(NAMES_MAX),
            violations: unused(NAMES_MAX),
            in_flight: Tally::default(),
            streams: Tally::default(),
            holds: Tally::default(),
            bytes_in: Tally::default(),
            bytes_out: Tally::default(),
        }
    }
}
