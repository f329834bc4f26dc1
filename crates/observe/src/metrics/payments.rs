//! What is counted of payments. None of it on the path of a call.

use super::meters::Words;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A row of a table that is exchanged as a whole: two label values, and the count.
pub type PaymentRow = (String, String, u64);

#[derive(Default)]
pub(super) struct Counts {
    pub(super) changes: Words,
    pub(super) challenges: AtomicU64,
    pub(super) unknown: AtomicU64,
    pub(super) uncollected: Words,
    pub(super) owed: Table,
    pub(super) earned: Table,
    pub(super) failures: Table,
}

/// Rows by two labels.
#[derive(Default)]
pub(super) struct Table(Mutex<Vec<PaymentRow>>);

impl Table {
    pub(super) fn rows(&self) -> MutexGuard<'_, Vec<PaymentRow>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts for payments. Clones count into the same place.
#[derive(Clone, Default)]
pub struct PaymentMeter(pub(super) Arc<Counts>);

impl PaymentMeter {
    /// A payment of this rail came to this state.
    pub fn changed(&self, rail: &'static str, state: &'static str) {
        self.0.changes.add(rail, state, 1);
    }

    /// A caller was asked to pay, by x402.
    pub fn asked(&self) {
        self.0.challenges.fetch_add(1, Ordering::Relaxed);
    }

    /// So many payments are there that nobody knows about.
    pub fn unknown(&self, count: u64) {
        self.0.unknown.store(count, Ordering::Relaxed);
    }

    /// Something was delivered, and its payment could not be settled afterwards.
    pub fn uncollected(&self, rail: &'static str) {
        self.0.uncollected.add(rail, "", 1);
    }

    /// What is owed, by token.
    pub fn owed(&self, rows: Vec<PaymentRow>) {
        *self.0.owed.rows() = rows;
    }

    /// What was earned, by rail and token.
    pub fn earned(&self, rows: Vec<PaymentRow>) {
        *self.0.earned.rows() = rows;
    }

    /// How often calls of facilitators failed, and how.
    pub fn failures(&self, rows: Vec<PaymentRow>) {
        *self.0.failures.rows() = rows;
    }
}
