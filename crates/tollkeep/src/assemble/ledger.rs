//! The ledger's own part of the process: who drives the keeper of holds, and brings budgets into
//! force when they change.

use super::Base;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tollkeep_gateway::{Holds, HoldsKeeper, HoldsParts};
use tollkeep_ledger::budget::Budget;
use tollkeep_store::{BudgetRecord, Store};
use tollkeep_types::ReplicaId;

/// How long ends may take to be written when the gateway stops.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// The budgets of a running gateway.
pub(crate) struct Budgeting {
    store: Store,
    holds: Arc<Holds>,
    /// What was taken from the store as last.
    applied: Mutex<Arc<Vec<BudgetRecord>>>,
}

impl Budgeting {
    /// Starts the keeper of holds.
    pub(crate) fn start(base: &Base, store: &Store, holds: &Arc<Holds>) -> Self {
        let records = store.budgets_in_use();
        let mut boot = [0; 8];
        base.entropy.fill(&mut boot);
        let parts = HoldsParts {
            holds: Arc::clone(holds),
            ledger: store.ledger(),
            clock: Arc::clone(&base.clock),
            replica: replica(base),
            boot: u64::from_be_bytes(boot) >> 1,
            budgets: budgets(&records),
            flush: base.settings.ledger.flush_ms,
            on_money: Box::new(|notice| tracing::info!("ledger: {notice:?}")),
        };
        let (keeper, writer) = HoldsKeeper::new(parts);
        tokio::spawn(keeper.serve());
        tokio::spawn(writer);
        Self {
            store: store.clone(),
            holds: Arc::clone(holds),
            applied: Mutex::new(records),
        }
    }

    /// Brings in what the store has now, if that is something else.
    pub(crate) fn apply(&self) {
        let mut applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        let records = self.store.budgets_in_use();
        if !Arc::ptr_eq(&applied, &records) {
            self.holds.set_budgets(budgets(&records));
            *applied = records;
        }
    }

    /// No new holds; waits until all ends are written.
    pub(crate) async fn drain(&self) {
        if tokio::time::timeout(DRAIN_MAX, self.holds.drain())
            .await
            .is_err()
        {
            tracing::warn!("Not all ends of calls could be written in time");
        }
    }
}

fn budgets(records: &[BudgetRecord]) -> Vec<Budget> {
    records.iter().map(|record| record.budget.clone()).collect()
}

/// Who this is. A file has one process at a time, which is the same replica at each start; those that
/// share a server are told apart by chance.
fn replica(base: &Base) -> ReplicaId {
    let mut id = [0; 16];
    if base.settings.store.postgres.is_some() {
        base.entropy.fill(&mut id);
    }
    ReplicaId::from_bytes(id)
}
