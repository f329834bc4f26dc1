//! The keepers of some replicas against the simplest ledger there is: one lock, two sums a budget.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tollkeep_ledger::amount::{Amount, Charge, Measure};
use tollkeep_ledger::budget::{Budget, Durability, OnShort, Scope};
use tollkeep_ledger::hold::{Committed, Ended, Outbox, Sure, take};
use tollkeep_ledger::keeper::{Ask, Effect, Event, Keeper, Notice};
use tollkeep_ledger::row::{Enforcement, LeaseState, Quality};
use tollkeep_ledger::window::Window;
use tollkeep_sim::sim::store::Store;
use tollkeep_types::{BudgetId, HoldId, LeaseId, MonoNanos, ReplicaId, TenantId, WallMillis};

#[derive(Debug, Default)]
struct Queue(Mutex<Vec<Event>>);

impl Outbox for Queue {
    fn ended(&self, ended: Ended) {
        self.0.lock().unwrap().push(Event::Ended(ended.into()));
    }
    fn homeless(&self, lease: LeaseId, amount: Amount) {
        self.0.lock().unwrap().push(Event::Homeless(lease, amount));
    }
}

struct House {
    store: Store,
    budgets: Vec<BudgetId>,
    replicas: Vec<(Keeper, Arc<Queue>)>,
    now_ms: u64,
    calls: u8,
    answers: BTreeMap<HoldId, Option<Committed>>,
}

/// The naive ledger: limit, spent, reserved.
#[derive(Clone, Copy, Debug)]
struct Naive {
    limit: i64,
    spent: i64,
    reserved: i64,
}

fn amount(units: i64) -> Amount {
    Amount::new(units).unwrap()
}

impl House {
    fn new(limits: &[(i64, bool)], replicas: u8) -> Self {
        let mut store = Store::default();
        let mut budgets = Vec::new();
        for (number, (limit, strict)) in limits.iter().enumerate() {
            let id = BudgetId::from_bytes([u8::try_from(number).unwrap(); 16]);
            let tenant = TenantId::from_bytes([9; 16]);
            let budget = Budget {
                id,
                tenant,
                scope: Scope::Tenant(tenant),
                measure: Measure::Cost,
                limit: amount(*limit),
                window: Window::Lifetime,
                enforcement: Enforcement::Hard,
                on_short: OnShort::Refuse,
                durability: if *strict {
                    Durability::Strict
                } else {
                    Durability::Lease
                },
                warn: vec![50],
            };
            store.budgets.insert(id, budget.clone());
            budgets.push(budget);
        }
        let ids = budgets.iter().map(|budget| budget.id).collect();
        let replicas = (0..replicas)
            .map(|number| {
                let queue = Arc::new(Queue::default());
                let outbox: Arc<dyn Outbox> = Arc::<Queue>::clone(&queue);
                let id = ReplicaId::from_bytes([number; 16]);
                (Keeper::new(id, 1, outbox, budgets.clone()), queue)
            })
            .collect();
        let mut house = Self {
            store,
            budgets: ids,
            replicas,
            now_ms: 1_000,
            calls: 0,
            answers: BTreeMap::new(),
        };
        house.pass(1);
        house
    }

    fn tell(&mut self, replica: usize, event: Event) {
        let now = MonoNanos(self.now_ms * 1_000_000);
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            let mut effects = Vec::new();
            self.replicas[replica].0.handle(event, now, &mut effects);
            for effect in effects {
                match effect {
                    Effect::Write { call, command } => {
                        let at = WallMillis(1_700_000_000_000 + self.now_ms);
                        let reply = self.store.run(&command, at, false).unwrap();
                        events.push(Event::Answer(call, Ok(Box::new(reply))));
                    }
                    Effect::Send(Notice::Granted(held)) => {
                        self.answers.insert(held.id().unwrap(), Some(held.commit()));
                    }
                    Effect::Send(Notice::Refused { hold, .. }) => {
                        self.answers.insert(hold, None);
                    }
                    Effect::Send(_) | Effect::Wake(_) => {}
                }
            }
            events.append(&mut self.replicas[replica].1.0.lock().unwrap());
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
        for replica in 0..self.replicas.len() {
            self.tell(replica, Event::Tick);
        }
    }

    /// Whether the call is granted, and its hold.
    fn ask(&mut self, replica: usize, cost: i64) -> Option<Committed> {
        self.calls += 1;
        let hold = HoldId::from_bytes([self.calls; 16]);
        let bound = Charge {
            cost: amount(cost),
            ..Charge::NOTHING
        };
        let (keeper, queue) = &self.replicas[replica];
        let slices: Option<Vec<_>> = self
            .budgets
            .iter()
            .map(|id| keeper.slice(*id).cloned())
            .collect();
        let outbox: Arc<dyn Outbox> = Arc::<Queue>::clone(queue);
        let now = MonoNanos(self.now_ms * 1_000_000);
        if let Some(taken) =
            slices.and_then(|slices| take(hold, (bound, Sure::Bound), &slices, now, &outbox).ok())
        {
            return Some(taken.held.commit());
        }
        let ask = Ask {
            hold,
            bound,
            owed: None,
            budgets: self.budgets.iter().copied().collect(),
            sure: Sure::Bound,
            accounts: [].into_iter().collect(),
            confirm: false,
            ttl_ms: 120_000,
        };
        self.tell(replica, Event::Ask(ask));
        for _ in 0..30 {
            if let Some(answer) = self.answers.remove(&hold) {
                return answer;
            }
            self.pass(100);
        }
        panic!("a call was never answered");
    }
}

// LED-74a
#[test]
fn a_slice_whose_last_call_uses_all_of_its_bound_is_returned() {
    let mut house = House::new(&[(1_000_000, false)], 1);
    // The first calls come before there is a slice.
    let has_slice = |house: &House| house.replicas[0].0.slice(house.budgets[0]).is_some();
    for _ in 0..20 {
        drop(house.ask(0, 10).expect("there is room"));
        house.pass(100);
    }
    assert!(has_slice(&house));
    let hold = house.ask(0, 10).expect("there is room");
    house.tell(0, Event::Drain);
    assert!(
        !house.replicas[0].0.is_resting(),
        "the call is under way still"
    );
    let charge = Charge {
        cost: amount(10),
        ..Charge::NOTHING
    };
    hold.settle(Quality::Reported, charge);
    house.tell(0, Event::Tick);
    assert!(house.replicas[0].0.is_resting());
    let leases = house.store.leases.values();
    assert!(
        leases
            .clone()
            .all(|lease| lease.state == LeaseState::Returned)
    );
}

fn operations() -> impl Strategy<Value = Vec<(u8, usize, i64, i64)>> {
    proptest::collection::vec((0_u8..3, 0_usize..8, 1_i64..400, 0_i64..=100), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    // LED-60 LED-72 LED-73a LED-102
    #[test]
    fn keepers_grant_exactly_what_one_lock_and_two_sums_would(
        limits in proptest::collection::vec((0_i64..6_000, any::<bool>()), 1..4),
        replicas in 1_u8..4,
        operations in operations(),
    ) {
        let mut house = House::new(&limits, replicas);
        let mut naive: Vec<_> = limits
            .iter()
            .map(|(limit, _)| Naive { limit: *limit, spent: 0, reserved: 0 })
            .collect();
        let mut running: Vec<(usize, i64, Committed)> = Vec::new();
        for (kind, which, cost, used) in operations {
            match kind {
                0 | 1 => {
                    // Beyond the time in which nobody is called on again.
                    house.pass(3_000);
                    let replica = which % usize::from(replicas);
                    let fits = naive.iter().all(|n| n.spent + n.reserved + cost <= n.limit);
                    let granted = house.ask(replica, cost);
                    prop_assert_eq!(granted.is_some(), fits, "cost {} of {:?}", cost, naive);
                    if let Some(hold) = granted {
                        for budget in &mut naive {
                            budget.reserved += cost;
                        }
                        running.push((replica, cost, hold));
                    }
                }
                _ if !running.is_empty() => {
                    let (replica, cost, hold) = running.remove(which % running.len());
                    let actual = cost * used / 100;
                    let charge = Charge { cost: amount(actual), ..Charge::NOTHING };
                    hold.settle(Quality::Reported, charge);
                    house.tell(replica, Event::Tick);
                    for budget in &mut naive {
                        budget.reserved -= cost;
                        budget.spent += actual;
                    }
                }
                _ => house.pass(u64::try_from(cost).unwrap() * 100),
            }
        }
        for (replica, cost, hold) in running {
            hold.release(tollkeep_ledger::hold::NotBilled::NotConnected);
            house.tell(replica, Event::Tick);
            for budget in &mut naive {
                budget.reserved -= cost;
            }
        }
        for replica in 0..usize::from(replicas) {
            house.tell(replica, Event::Drain);
            prop_assert!(house.replicas[replica].0.is_resting());
        }
        for (key, row) in &house.store.windows {
            let number = usize::from(key.budget.bytes()[0]);
            prop_assert_eq!(row.spent.units(), naive[number].spent);
            prop_assert_eq!((row.reserved, row.leased), (Amount::ZERO, Amount::ZERO));
        }
    }
}
