//! What is counted of payments. None of it on the path of a call.

use super::histogram::{Histogram, REQUEST_BOUNDS};
use super::meters::Words;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A row of a table that is exchanged as a whole: two label values, and the count.
pub type PaymentRow = (String, String, u64);

/// A part of a payment that takes its time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PaymentPhase {
    /// A facilitator is asked whether it would settle.
    Verify,
    /// A facilitator settles.
    Settle,
    /// What was paid for is on its way to the caller.
    Deliver,
}

impl PaymentPhase {
    pub(super) const ALL: [Self; 3] = [Self::Verify, Self::Settle, Self::Deliver];

    /// Its word.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Settle => "settle",
            Self::Deliver => "deliver",
        }
    }
}

/// How long the parts of payments of one rail took. One at a time writes, as histograms need it.
#[derive(Default)]
pub(super) struct Phases(Mutex<Vec<(&'static str, [Histogram; PaymentPhase::ALL.len()])>>);

impl Phases {
    fn observe(&self, rail: &'static str, phase: PaymentPhase, ns: u64) {
        let mut rails = self.rails();
        let at = match rails.iter().position(|(known, _)| *known == rail) {
            Some(at) => at,
            None => {
                rails.push((rail, Default::default()));
                rails.len() - 1
            }
        };
        let number = PaymentPhase::ALL.iter().position(|one| *one == phase);
        let phases = rails.get(at).map(|(_, phases)| phases);
        let histogram = phases.zip(number).and_then(|(all, at)| all.get(at));
        if let Some(histogram) = histogram {
            histogram.observe(&REQUEST_BOUNDS, ns);
        }
    }

    pub(super) fn rails(
        &self,
    ) -> MutexGuard<'_, Vec<(&'static str, [Histogram; PaymentPhase::ALL.len()])>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a facilitator that was told to settle left it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Settlement {
    /// It is settled.
    Success,
    /// It was refused, or nobody knows.
    Failure,
}

impl Settlement {
    pub(super) const ALL: [Self; 2] = [Self::Success, Self::Failure];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
        }
    }
}

/// Whether a facilitator had to be asked about a proof that may have come before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verification {
    /// Its yes was remembered.
    Hit,
    /// It was asked.
    Miss,
}

/// Routes whose verifications are told apart; those of more count as `other`.
const ROUTES_MAX: usize = 1024;

/// By route: how often a yes was remembered, and how often not.
#[derive(Default)]
pub(super) struct Verifications(Mutex<BTreeMap<Box<str>, [u64; 2]>>);

impl Verifications {
    fn add(&self, route: &str, verification: Verification) {
        let mut routes = self.routes();
        let is_full = routes.len() >= ROUTES_MAX && !routes.contains_key(route);
        let route = if is_full { "other" } else { route };
        let [hits, misses] = routes.entry(route.into()).or_default();
        match verification {
            Verification::Hit => *hits += 1,
            Verification::Miss => *misses += 1,
        }
    }

    pub(super) fn routes(&self) -> MutexGuard<'_, BTreeMap<Box<str>, [u64; 2]>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
pub(super) struct Counts {
    pub(super) settlements: [AtomicU64; Settlement::ALL.len()],
    pub(super) verifications: Verifications,
    pub(super) changes: Words,
    pub(super) challenges: AtomicU64,
    pub(super) unknown: AtomicU64,
    pub(super) uncollected: Words,
    pub(super) phases: Phases,
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

    /// A facilitator was told to settle, and this is what it came to.
    pub fn settlement(&self, settlement: Settlement) {
        if let Some(count) = self.0.settlements.get(settlement as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A proof was verified for a route that has facilitators' answers remembered.
    pub fn verification(&self, route: &str, verification: Verification) {
        self.0.verifications.add(route, verification);
    }

    /// A part of a payment took so long.
    pub fn took(&self, rail: &'static str, phase: PaymentPhase, ns: u64) {
        self.0.phases.observe(rail, phase, ns);
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
