//! The truth beside the ledger: what upstreams really did, and whether the store's rows cover it.
//!
//! None of this uses the core's own judgement of rows: sums are made anew from what they are of.

use super::call::Call;
use super::store::Store;
use crate::ledger::amount::{Amount, Measure};
use crate::ledger::budget::Budget;
use crate::ledger::posting::Account;
use crate::ledger::row::{Cover, Enforcement, LeaseState, Pot, WindowRow};
use crate::ledger::window::{BUCKETS, Window, WindowKey};
use std::collections::{BTreeMap, BTreeSet};
use tollkeep_types::{BudgetId, HoldId, WallMillis};

/// What is wrong.
pub(crate) type Violation = String;

#[derive(Debug, Default)]
pub(crate) struct Audit {
    /// What calls have cost, and the whole bound of those on their way, by the bucket they count in.
    costs: BTreeMap<(WindowKey, Option<WallMillis>), i128>,
    covers: BTreeMap<HoldId, Vec<Cover>>,
    taken: BTreeMap<WindowKey, i128>,
    /// Of that, what is taken for calls under way.
    pending: BTreeMap<WindowKey, i128>,
    reached: BTreeSet<(WindowKey, u8)>,
    /// What calls did, or the store's rows, changed since the last look.
    calls_changed: bool,
    rows_looked_at: u64,
}

fn units(amount: Amount) -> i128 {
    i128::from(amount.units())
}

fn taken(row: &WindowRow) -> i128 {
    units(row.spent) + units(row.reserved) + units(row.leased)
}

impl Audit {
    /// The first byte of a call is on its way: it is covered in every pot it has to fit (I1).
    pub(crate) fn sent(
        &mut self,
        call: &Call,
        covers: Vec<Cover>,
        ended: &BTreeSet<BudgetId>,
    ) -> Result<(), Violation> {
        let of_pot = |pot: &dyn Fn(Pot) -> bool, measure: Option<Measure>| {
            covers.iter().any(|cover| {
                pot(cover.pot)
                    && measure.is_none_or(|of| of == cover.measure)
                    && cover.taken == call.bound.of(cover.measure)
            })
        };
        for id in call.budgets.iter().filter(|id| !ended.contains(*id)) {
            if !of_pot(
                &|pot| matches!(pot, Pot::Window(key) if key.budget == *id),
                None,
            ) {
                return Err(format!("{:?} is sent and not held in {id:?}", call.hold));
            }
        }
        if let Some((account, measure)) = call.account
            && !of_pot(&|pot| pot == Pot::Account(account), Some(measure))
        {
            return Err(format!(
                "{:?} is sent and not held of its credit",
                call.hold
            ));
        }
        for cover in &covers {
            if let Pot::Window(key) = cover.pot {
                *self.costs.entry((key, cover.bucket)).or_default() += units(cover.taken);
            }
        }
        self.calls_changed = true;
        self.covers.insert(call.hold, covers);
        Ok(())
    }

    /// The upstream is done with it.
    pub(crate) fn over(&mut self, call: &Call) {
        self.calls_changed = true;
        for cover in self.covers.get(&call.hold).into_iter().flatten() {
            if let Pot::Window(key) = cover.pot {
                let cost = call.truth.of(cover.measure).min(cover.taken);
                let unused = units(cover.taken) - units(cost);
                *self.costs.entry((key, cover.bucket)).or_default() -= unused;
            }
        }
    }

    pub(crate) fn covers_of(&self, hold: HoldId) -> &[Cover] {
        self.covers.get(&hold).map_or(&[], Vec::as_slice)
    }

    /// What the window has to bear, of buckets of which something is still within.
    fn truth(&self, key: WindowKey, store: &Store) -> i128 {
        let length = match store.budgets.get(&key.budget).map(|budget| &budget.window) {
            Some(Window::Rolling { bucket_ms }) => *bucket_ms,
            Some(Window::Calendar { .. } | Window::Lifetime) | None => 0,
        };
        let outside = store.seen().0.saturating_sub(length * BUCKETS);
        self.costs
            .range((key, None)..)
            .take_while(|((of, _), _)| *of == key)
            .filter(|((_, bucket), _)| bucket.is_none_or(|bucket| bucket.0 + length > outside))
            .map(|(_, cost)| *cost)
            .sum()
    }

    /// [`Self::check`], if anything is otherwise than it was when that was done last. Time alone only
    /// takes from what has to be borne.
    pub(crate) fn look(&mut self, store: &Store) -> Result<(), Violation> {
        let same = self.rows_looked_at == store.changes && !self.calls_changed;
        if same { Ok(()) } else { self.check(store) }
    }

    /// I1, I4, I7: after each event, what was sent is covered, and nothing is over its limit.
    pub(crate) fn check(&mut self, store: &Store) -> Result<(), Violation> {
        (self.rows_looked_at, self.calls_changed) = (store.changes, false);
        for (key, row) in &store.windows {
            let now = taken(row);
            let truth = self.truth(*key, store);
            if truth > now {
                return Err(format!(
                    "{key:?}: calls may cost {truth}, and {now} is taken: {row:?}"
                ));
            }
            let before = self.taken.insert(*key, now).unwrap_or(0);
            let pending = units(row.reserved) + units(row.leased);
            let was = self.pending.insert(*key, pending).unwrap_or(0);
            let is_kept = row.enforcement != Enforcement::Observe;
            if is_kept && pending > was && now > before && now > units(row.limit) {
                return Err(format!("{key:?}: more was granted than is left: {row:?}"));
            }
            if row.enforcement == Enforcement::Hard {
                if now > units(row.ceiling) {
                    return Err(format!("{key:?}: {now} is over the ceiling: {row:?}"));
                }
                if now > before && now > units(row.limit) {
                    return Err(format!("{key:?}: grew over its limit: {row:?}"));
                }
            }
            let used = units(row.spent) + units(row.reserved);
            for percent in warn_of(store.budgets.get(&key.budget)) {
                if used * 100 >= units(row.limit) * i128::from(*percent) {
                    self.reached.insert((*key, *percent));
                }
            }
        }
        for (account, balance) in &store.balances {
            if matches!(account, Account::Credit(_) | Account::Held(_)) && *balance < 0 {
                return Err(format!("{account:?} is at {balance}"));
            }
        }
        Ok(())
    }

    /// I2, I5: sums are those of what they are of.
    pub(crate) fn check_sums(&self, store: &Store) -> Result<(), Violation> {
        let balances = store.balances.values();
        let zero: i128 = balances.map(|units| i128::from(*units)).sum();
        if zero != 0 {
            return Err(format!("all balances come to {zero}"));
        }
        let mut sums = Sums::default();
        sums.add_holds(store);
        sums.add_leases(store);
        sums.add_usage(store);
        for (key, row) in &store.windows {
            let sum = |of: &BTreeMap<WindowKey, i128>| of.get(key).copied().unwrap_or(0);
            let spent = sum(&sums.spent);
            let (reserved, leased) = (sum(&sums.reserved), sum(&sums.leased));
            if units(row.reserved) != reserved || units(row.leased) != leased {
                return Err(format!(
                    "{key:?}: open holds come to {reserved}, leases to {leased}: {row:?}"
                ));
            }
            let counted = if store.rolls(key.budget) {
                let buckets = store.buckets.range((*key, WallMillis(0))..);
                let buckets = buckets.take_while(|((of, _), _)| of == key);
                buckets.map(|(_, amount)| units(*amount)).sum()
            } else {
                spent
            };
            let more = if store.rolls(key.budget) {
                0
            } else {
                sum(&sums.more)
            };
            if units(row.spent) < counted || units(row.spent) > counted + more {
                return Err(format!("{key:?}: costs come to {counted}: {row:?}"));
            }
        }
        self.check_accounts(store, &sums)
    }

    fn check_accounts(&self, store: &Store, sums: &Sums) -> Result<(), Violation> {
        for (account, balance) in &store.balances {
            let want = match account {
                Account::Held(id) => sums.held.get(&Pot::Account(*id)).copied().unwrap_or(0),
                Account::Unresolved(budget) => {
                    let lost = sums.lost.iter().filter(|(key, _)| key.budget == *budget);
                    lost.map(|(_, rest)| *rest).sum()
                }
                Account::UpstreamCost
                | Account::Outside(_)
                | Account::Promo(_)
                | Account::Refunds(_)
                | Account::OperatorLoss(_)
                | Account::Credit(_)
                | Account::Revenue(_)
                | Account::Payable
                | Account::Overrun
                | Account::InDoubt(_) => continue,
            };
            if i128::from(*balance) != want {
                return Err(format!(
                    "{account:?} is at {balance} and should be at {want}"
                ));
            }
        }
        for (key, percent) in &store.warned {
            if !self.reached.contains(&(*key, *percent)) {
                return Err(format!(
                    "{key:?}: told of {percent} % before that was reached"
                ));
            }
        }
        for row in store.holds.values() {
            let buried = row.covers.is_empty();
            if row.state.is_terminal() && !buried && !store.usage.contains_key(&row.id) {
                return Err(format!("{row:?} has ended and has no usage record"));
            }
        }
        Ok(())
    }

    /// Steps of warning that nobody was told of, of those reached ever, or still reached.
    pub(crate) fn untold(&self, store: &Store, ever: bool) -> Vec<(WindowKey, u8)> {
        let still = |step: &(WindowKey, u8)| {
            store.windows.get(&step.0).is_some_and(|row| {
                let used = units(row.spent) + units(row.reserved);
                used * 100 >= units(row.limit) * i128::from(step.1)
            })
        };
        let untold = self
            .reached
            .iter()
            .filter(|step| !store.warned.contains(*step));
        untold.filter(|step| ever || still(step)).copied().collect()
    }
}

fn warn_of(budget: Option<&Budget>) -> &[u8] {
    budget.map_or(&[], |budget| &budget.warn)
}

/// What rows come to.
#[derive(Default)]
struct Sums {
    spent: BTreeMap<WindowKey, i128>,
    /// What corrections found to have cost more, of which pots bear what fits.
    more: BTreeMap<WindowKey, i128>,
    reserved: BTreeMap<WindowKey, i128>,
    leased: BTreeMap<WindowKey, i128>,
    lost: BTreeMap<WindowKey, i128>,
    held: BTreeMap<Pot, i128>,
}

impl Sums {
    fn add_holds(&mut self, store: &Store) {
        for row in store.holds.values().filter(|row| Store::is_open(row)) {
            for cover in &row.covers {
                match cover.pot {
                    Pot::Window(key) => {
                        *self.reserved.entry(key).or_default() += units(cover.taken);
                    }
                    Pot::Account(_) => {
                        *self.held.entry(cover.pot).or_default() += units(cover.taken);
                    }
                }
            }
        }
    }

    fn add_leases(&mut self, store: &Store) {
        for row in store.leases.values() {
            let rest = units(row.amount) - units(row.used) - units(row.returned);
            match row.state {
                LeaseState::Active => *self.leased.entry(row.key).or_default() += rest,
                LeaseState::Lost => {
                    *self.lost.entry(row.key).or_default() += rest;
                    *self.spent.entry(row.key).or_default() += rest;
                }
                LeaseState::Returned => {}
            }
        }
    }

    fn add_usage(&mut self, store: &Store) {
        for row in store.usage.values() {
            for cover in &row.charged {
                if let Pot::Window(key) = cover.pot {
                    let mut cost = cover.taken;
                    if row.corrected {
                        let truth = row.charge.of(cover.measure);
                        cost = cost.min(truth);
                        *self.more.entry(key).or_default() += units(truth.above(cover.taken));
                    }
                    *self.spent.entry(key).or_default() += units(cost);
                }
            }
        }
    }
}
