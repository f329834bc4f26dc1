//! Budgets on calls. What a call may cost at most is taken aside before it goes out, from every
//! budget that counts it; when it has ended, it becomes what the call did cost.
//!
//! Most calls take from slices that this replica has in hand: one atomic number each. What slices
//! can't bear is asked of the [`keeper`], which has the store's word.

mod again;
mod alone;
mod beside;
mod end;
mod gate;
mod inbox;
mod keeper;
mod money;
mod paying;
mod quote;
mod room;
mod take;
mod uncounted;
mod written;

pub use keeper::{HoldsKeeper, HoldsParts};
pub use money::{End, Money, OnMoney};
pub use quote::{Bears, BoundOptions};

pub(crate) use again::Again;
pub(crate) use alone::{Drained, HungUp};
pub(crate) use end::uncounted;
pub(crate) use quote::{Counted, Quote, Quoting, not_boundable};
pub(crate) use take::{Aside, CallHold};

use arc_swap::ArcSwap;
use gate::Gate;
use inbox::Inbox;
use paying::Paying;
use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tollkeep_ledger::budget::{Budget, CallFacts, Finder};
use tollkeep_ledger::hold::Outbox;
use tollkeep_ledger::prepaid::Prepaid;
use tollkeep_ledger::slice::Slice;
use tollkeep_types::{BudgetId, TenantId};
use uncounted::Uncounted;

/// Ends that are not written yet, at most (LED-75).
const OPEN_MAX: usize = 65_536;

/// What workers and the keeper have together.
#[derive(Debug)]
pub struct Holds {
    present: ArcSwap<Present>,
    /// The budgets in force: whoever shows anything shows these. The lock is also the turn to do so.
    in_force: Mutex<Vec<Arc<Budget>>>,
    paying: ArcSwap<Paying>,
    inbox: Arc<Inbox>,
    outbox: Arc<dyn Outbox>,
    /// Ends that are not in the store yet, as the keeper counts them.
    unwritten: AtomicUsize,
    /// Records of calls that no budget counts.
    uncounted: Uncounted,
}

/// The budgets of this moment, with the slices in hand.
#[derive(Debug, Default)]
struct Present {
    of: HashMap<TenantId, Pots>,
}

/// The budgets of a tenant.
#[derive(Debug, Default)]
struct Pots {
    /// In ascending order of ids.
    pots: Vec<Pot>,
    finder: Finder,
}

/// A budget and the slice of it that is in hand.
#[derive(Clone, Debug)]
struct Pot {
    budget: Arc<Budget>,
    slice: Option<Arc<Slice>>,
    left: Arc<Left>,
}

/// What the store has left of a budget beyond all that is taken aside, by its last word.
#[derive(Debug)]
struct Left(AtomicI64);

impl Default for Left {
    fn default() -> Self {
        Self(AtomicI64::new(i64::MIN))
    }
}

impl Pot {
    /// What is left for other calls, as far as this replica knows.
    fn left(&self) -> Option<i64> {
        let left = self.left.0.load(Ordering::Relaxed);
        let in_hand = self.slice.as_ref().map_or(0, |slice| slice.free().units());
        (left != i64::MIN).then(|| left.saturating_add(in_hand))
    }
}

impl Present {
    fn of(
        budgets: impl Iterator<Item = Arc<Budget>>,
        in_hand: impl Fn(&Budget) -> (Option<Arc<Slice>>, Arc<Left>),
    ) -> Self {
        let mut present = Self::default();
        for budget in budgets {
            let (slice, left) = in_hand(&budget);
            let of_tenant = present.of.entry(budget.tenant).or_default();
            of_tenant.pots.push(Pot {
                budget,
                slice,
                left,
            });
        }
        for of_tenant in present.of.values_mut() {
            of_tenant.pots.sort_unstable_by_key(|pot| pot.budget.id);
            let budgets = of_tenant.pots.iter().map(|pot| &*pot.budget);
            of_tenant.finder = Finder::new(budgets);
        }
        present
    }

    fn slices(&self) -> usize {
        let pots = self.of.values().flat_map(|of_tenant| &of_tenant.pots);
        pots.filter(|pot| pot.slice.is_some()).count()
    }

    fn in_hand(&self, budget: &Budget) -> (Option<Arc<Slice>>, Arc<Left>) {
        let pot = self.of.get(&budget.tenant).and_then(|of_tenant| {
            let pots = &of_tenant.pots;
            let place = pots.binary_search_by_key(&budget.id, |pot| pot.budget.id);
            pots.get(place.ok()?)
        });
        pot.map(|pot| (pot.slice.clone(), Arc::clone(&pot.left)))
            .unwrap_or_default()
    }
}

impl Pots {
    /// The budgets that count a call, in ascending order of ids. HOT.
    fn counting(&self, call: &CallFacts<'_>) -> impl Iterator<Item = &Pot> {
        let budget = |place: usize| self.pots.get(place).map(|pot| &*pot.budget);
        let places = self.finder.counting(budget, call);
        places.into_iter().filter_map(|place| self.pots.get(place))
    }
}

impl Default for Holds {
    fn default() -> Self {
        let inbox = Arc::<Inbox>::default();
        Self {
            present: ArcSwap::default(),
            in_force: Mutex::default(),
            paying: ArcSwap::default(),
            outbox: Arc::clone(&inbox) as Arc<dyn Outbox>,
            inbox,
            unwritten: AtomicUsize::new(0),
            uncounted: Uncounted::default(),
        }
    }
}

impl Holds {
    /// Other budgets are in force.
    pub fn set_budgets(&self, budgets: Vec<Budget>) {
        let known = budgets.iter().cloned().map(Arc::new).collect();
        let mut in_force = self.in_force();
        *in_force = known;
        // The keeper hears of them before any call asks it, and calls are counted when this returns.
        self.inbox.put(inbox::Message::Budgets(budgets));
        let shown = self.present.load_full();
        let fresh = Present::of(in_force.iter().cloned(), |budget| shown.in_hand(budget));
        self.present.store(Arc::new(fresh));
    }

    /// Shows what the keeper has in hand. It may not have heard yet which budgets are in force.
    fn show(&self, in_hand: impl Fn(&Budget) -> (Option<Arc<Slice>>, Arc<Left>)) -> Arc<Present> {
        let in_force = self.in_force();
        let fresh = Arc::new(Present::of(in_force.iter().cloned(), in_hand));
        self.present.store(Arc::clone(&fresh));
        fresh
    }

    fn in_force(&self) -> MutexGuard<'_, Vec<Arc<Budget>>> {
        self.in_force.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Other prepaid accounts are open.
    pub fn set_accounts(&self, open: &[Prepaid]) {
        self.paying.store(Arc::new(Paying::new(open)));
    }

    /// Somebody else wants the slices of this budget back, or changed it.
    pub fn recall(&self, budget: BudgetId) {
        self.inbox.put(inbox::Message::Recall(budget));
    }

    /// No new holds; waits until all ends are written.
    pub async fn drain(&self) {
        let (tell, told) = tokio::sync::oneshot::channel();
        self.inbox.put(inbox::Message::Drain(tell));
        // A keeper that is gone writes nothing more.
        let _gone = told.await;
    }

    /// Whether any call of a tenant may be counted.
    fn counts(&self, tenant: TenantId) -> bool {
        let present = self.present.load();
        (!present.of.is_empty() && present.of.contains_key(&tenant))
            || self.paying.load().counts(tenant)
    }

    fn is_full(&self) -> bool {
        self.unwritten.load(Ordering::Relaxed) >= OPEN_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollkeep_ledger::amount::{Amount, Measure};
    use tollkeep_ledger::budget::{Durability, OnShort, Scope};
    use tollkeep_ledger::row::Enforcement;
    use tollkeep_ledger::window::Window;

    const TENANT: TenantId = TenantId::from_bytes([1; 16]);

    fn budget(number: u8) -> Budget {
        Budget {
            id: BudgetId::from_bytes([number; 16]),
            tenant: TENANT,
            scope: Scope::Tenant(TENANT),
            measure: Measure::Requests,
            limit: Amount::new(1).unwrap(),
            window: Window::Lifetime,
            enforcement: Enforcement::Hard,
            on_short: OnShort::default(),
            durability: Durability::Lease,
            warn: Vec::new(),
        }
    }

    fn shown(holds: &Holds) -> Vec<BudgetId> {
        let present = holds.present.load();
        let pots = present.of.get(&TENANT).map(|of| of.pots.iter());
        pots.into_iter()
            .flatten()
            .map(|pot| pot.budget.id)
            .collect()
    }

    // LED-60
    #[test]
    fn a_budget_counts_from_its_making_on_whatever_a_keeper_shows_that_has_not_heard_of_it() {
        let (holds, first, second) = (Holds::default(), budget(1), budget(2));
        let ids = [first.id, second.id];
        let left = Arc::<Left>::default();
        left.0.store(7, Ordering::Relaxed);
        // A keeper that knows of the first alone.
        let in_hand = |of: &Budget| match of.id == ids[0] {
            true => (None, Arc::clone(&left)),
            false => (None, Arc::default()),
        };
        holds.set_budgets(vec![first.clone()]);
        holds.show(in_hand);
        holds.set_budgets(vec![first, second.clone()]);
        assert_eq!(shown(&holds), ids);
        holds.show(in_hand);
        assert_eq!(shown(&holds), ids, "and it stays");
        let pots = holds.present.load().of[&TENANT].pots.clone();
        let left: Vec<_> = pots.iter().map(Pot::left).collect();
        assert_eq!(left, [Some(7), None]);
        // And one that was ended counts nothing more, though the keeper still has it.
        holds.set_budgets(vec![second]);
        holds.show(in_hand);
        assert_eq!(shown(&holds), [ids[1]]);
    }
}
