//! Budgets that come, change and end while calls run.

use super::{At, Book, Keeper};
use crate::budget::Budget;
use crate::step::Command;
use std::collections::BTreeSet;
use tollkeep_types::{BudgetId, MonoNanos};

/// How long calls may still name a budget that was ended: they matched it before.
const GONE_MS: u64 = 60_000;

impl Keeper {
    /// These are in force from now on, and no others.
    pub(super) fn set_budgets(&mut self, budgets: Vec<Budget>, at: &mut At<'_>) {
        let in_force: BTreeSet<_> = budgets.iter().map(|budget| budget.id).collect();
        let known = self.books.keys().copied();
        let ended: Vec<_> = known.filter(|id| !in_force.contains(id)).collect();
        for id in &ended {
            self.end_budget(*id, at);
        }
        for budget in budgets {
            self.set_budget(budget, at);
        }
        if !ended.is_empty() {
            // Who waits for one that is gone need not fit it any more.
            let gone = self.gone.clone();
            let named = move |id: &BudgetId| gone.contains_key(id);
            self.retry_asks(&|waiting| waiting.asking.ask.budgets.iter().any(&named), at);
        }
    }

    fn end_budget(&mut self, ended: BudgetId, at: &mut At<'_>) {
        self.close_current(ended, at);
        self.books.remove(&ended);
        self.gone.insert(ended, at.after(GONE_MS));
    }

    fn set_budget(&mut self, budget: Budget, at: &mut At<'_>) {
        let id = budget.id;
        self.gone.remove(&id);
        let same_kind = |book: &Book| {
            book.budget.measure == budget.measure && book.budget.window == budget.window
        };
        if self.books.get(&id).is_some_and(|book| !same_kind(book)) {
            // What was counted in another measure or window says nothing of this one.
            self.end_budget(id, at);
            self.gone.remove(&id);
        }
        let Some(book) = self.books.get_mut(&id) else {
            self.books.insert(id, Book::new(budget));
            return;
        };
        if book.budget == budget {
            return;
        }
        book.budget = budget;
        // What was too little may be enough now.
        book.quiet_until = MonoNanos(0);
        book.no_slice_until = MonoNanos(0);
        let strict = !book.leases();
        if strict {
            self.close_current(id, at);
        }
        if self.life.is_some() {
            self.look(id, at);
        }
    }

    /// Looks at the row at once: the store has the new limit already.
    fn look(&mut self, id: BudgetId, at: &mut At<'_>) {
        if let Some(book) = self.books.get_mut(&id) {
            book.looking = true;
            self.call(Command::Look(id), at);
        }
    }
}
