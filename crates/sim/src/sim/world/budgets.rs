//! Operators end budgets and change them, and replicas hear of it a little later.

use super::super::audit::Violation;
use super::{MS, What, World};
use crate::ledger::amount::Amount;
use crate::ledger::budget::Durability;
use crate::ledger::step::Command;
use tollkeep_types::BudgetId;

/// Within this time each replica hears of a change.
const HEARD_MS: u64 = 1_500;

impl World {
    pub(super) fn end_budget(&mut self, id: BudgetId) {
        self.say(|| format!("{id:?} is ended"));
        self.store.ended.insert(id);
        self.budgets.retain(|budget| budget.id != id);
        self.ended_at.entry(id).or_insert(self.time);
        self.spread();
    }

    pub(super) fn change_budget(&mut self, id: BudgetId, limit: Amount) -> Result<(), Violation> {
        let Some(budget) = self.budgets.iter_mut().find(|budget| budget.id == id) else {
            return Ok(());
        };
        budget.limit = limit;
        budget.durability = match budget.durability {
            Durability::Lease => Durability::Strict,
            Durability::Strict => Durability::Lease,
        };
        let command = Command::Limit { budget: id, limit };
        self.operate(&command)?;
        self.spread();
        Ok(())
    }

    fn spread(&mut self) {
        for replica in 0..self.replicas.len() {
            let delay = self.random.below(HEARD_MS * MS);
            self.at(self.time + delay, What::Budgets(replica));
        }
    }
}
