//! What a keeper does when budgets end and change while calls run.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;
use tollkeep_ledger::amount::{Amount, Charge, Measure};
use tollkeep_ledger::budget::{Budget, Durability, OnShort, Scope};
use tollkeep_ledger::hold::{Ended, Outbox, Sure};
use tollkeep_ledger::keeper::{Ask, CallId, Effect, Event, Keeper, Notice, Refused};
use tollkeep_ledger::row::{
    Covers, Enforcement, HoldRow, HoldState, LeaseRow, LeaseState, WindowRow,
};
use tollkeep_ledger::step::Command;
use tollkeep_ledger::window::{Window, WindowKey};
use tollkeep_ledger::write::{Refusal, Reply};
use tollkeep_types::{BudgetId, HoldId, LeaseId, MonoNanos, ReplicaId, TenantId, WallMillis};

const ID: BudgetId = BudgetId::from_bytes([1; 16]);
const KEY: WindowKey = WindowKey {
    budget: ID,
    start: WallMillis(0),
};

#[derive(Debug, Default)]
struct Nowhere;

impl Outbox for Nowhere {
    fn ended(&self, _: Ended) {}
    fn homeless(&self, _: LeaseId, _: Amount) {}
}

fn amount(units: i64) -> Amount {
    Amount::new(units).unwrap()
}

fn budget(limit: i64) -> Budget {
    let tenant = TenantId::from_bytes([9; 16]);
    Budget {
        id: ID,
        tenant,
        scope: Scope::Tenant(tenant),
        measure: Measure::Cost,
        limit: amount(limit),
        window: Window::Lifetime,
        enforcement: Enforcement::Hard,
        on_short: OnShort::Refuse,
        durability: Durability::Lease,
        warn: Vec::new(),
    }
}

struct House {
    keeper: Keeper,
    now: u64,
    out: Vec<Effect>,
}

impl House {
    /// A keeper that has joined.
    fn new() -> Self {
        let mut house = Self::before_it_joined();
        house.join();
        house
    }

    fn before_it_joined() -> Self {
        let outbox = Arc::new(Nowhere);
        let keeper = Keeper::new(
            ReplicaId::from_bytes([2; 16]),
            1,
            outbox,
            vec![budget(1000)],
        );
        Self {
            keeper,
            now: 1_000_000_000,
            out: Vec::new(),
        }
    }

    fn join(&mut self) {
        self.tell(Event::Tick);
        let call = self.written(|command| matches!(command, Command::Join { .. }));
        self.answer(
            call.unwrap(),
            Reply {
                epoch: 1,
                ..Reply::default()
            },
        );
    }

    fn tell(&mut self, event: Event) {
        self.out.clear();
        self.keeper
            .handle(event, MonoNanos(self.now), &mut self.out);
    }

    fn answer(&mut self, call: CallId, reply: Reply) {
        self.tell(Event::Answer(call, Ok(Box::new(reply))));
    }

    fn written(&self, which: impl Fn(&Command) -> bool) -> Option<CallId> {
        self.out.iter().find_map(|effect| match effect {
            Effect::Write { call, command } if which(command) => Some(*call),
            Effect::Write { .. } | Effect::Send(_) | Effect::Wake(_) => None,
        })
    }

    fn ask(&mut self, number: u8) -> Option<CallId> {
        self.ask_for(number, 120_000)
    }

    fn ask_for(&mut self, number: u8, ttl_ms: u64) -> Option<CallId> {
        let cost = amount(10);
        self.tell(Event::Ask(Ask {
            hold: HoldId::from_bytes([number; 16]),
            bound: Charge {
                cost,
                ..Charge::NOTHING
            },
            owed: None,
            budgets: [ID].into_iter().collect(),
            sure: Sure::Bound,
            accounts: [].into_iter().collect(),
            confirm: false,
            ttl_ms,
        }));
        self.written(|command| matches!(command, Command::Grant(_)))
    }

    fn refused(&self) -> Option<Refused> {
        self.out.iter().find_map(|effect| match effect {
            Effect::Send(Notice::Refused { why, .. }) => Some(*why),
            Effect::Send(_) | Effect::Write { .. } | Effect::Wake(_) => None,
        })
    }

    fn is_granted(&self) -> bool {
        let granted = |effect: &Effect| matches!(effect, Effect::Send(Notice::Granted(_)));
        self.out.iter().any(granted)
    }

    /// Takes a slice of the budget.
    fn lease(&mut self) {
        self.ask(200);
        let present = Reply {
            refusal: Some(Refusal::Moved),
            windows: vec![(KEY, WindowRow::new(Enforcement::Hard, amount(1000)))],
            ..Reply::default()
        };
        let grant = self.written(|command| matches!(command, Command::Grant(_)));
        self.answer(grant.unwrap(), present);
        self.tell(Event::Low(ID));
        let (call, lease) = self.taking().unwrap();
        self.answer(call, taken(lease));
        assert!(self.keeper.slice(ID).is_some());
    }

    fn taking(&self) -> Option<(CallId, LeaseId)> {
        self.out.iter().find_map(|effect| match effect {
            Effect::Write {
                call,
                command: Command::Take { lease, .. },
            } => Some((*call, *lease)),
            Effect::Write { .. } | Effect::Send(_) | Effect::Wake(_) => None,
        })
    }

    fn returns(&self) -> Option<CallId> {
        self.written(|command| matches!(command, Command::Return { .. }))
    }
}

fn taken(lease: LeaseId) -> Reply {
    Reply {
        leases: vec![LeaseRow {
            id: lease,
            key: KEY,
            replica: ReplicaId::from_bytes([2; 16]),
            epoch: 1,
            amount: amount(50),
            used: Amount::ZERO,
            returned: Amount::ZERO,
            state: LeaseState::Active,
            expires_at: WallMillis(60_000),
            serial: 0,
            version: 0,
        }],
        ..Reply::default()
    }
}

// LED-73 LED-84
#[test]
fn an_ended_budget_gives_its_slice_back_and_counts_no_call() {
    let mut house = House::new();
    house.lease();
    let before = house.keeper.slices_version();
    house.tell(Event::Budgets(Vec::new()));
    assert!(house.returns().is_some(), "{:?}", house.out);
    assert!(house.keeper.slice(ID).is_none());
    assert_ne!(
        house.keeper.slices_version(),
        before,
        "whoever shows slices looks"
    );
    // A call that matched it a moment ago.
    assert_eq!(house.ask(3), None);
    assert!(house.is_granted(), "{:?}", house.out);
    // Much later nobody can have matched it.
    house.now += 120_000_000_000;
    house.tell(Event::Tick);
    assert_eq!(house.ask(4), None);
    assert_eq!(house.refused(), Some(Refused::Closed));
}

// LED-73
#[test]
fn a_slice_that_comes_when_its_budget_has_ended_goes_back() {
    let mut house = House::new();
    house.ask(3);
    let present = Reply {
        refusal: Some(Refusal::Moved),
        windows: vec![(KEY, WindowRow::new(Enforcement::Hard, amount(1000)))],
        ..Reply::default()
    };
    let grant = house.written(|command| matches!(command, Command::Grant(_)));
    house.answer(grant.unwrap(), present);
    house.tell(Event::Low(ID));
    let (call, lease) = house.taking().unwrap();
    house.tell(Event::Budgets(Vec::new()));
    house.answer(call, taken(lease));
    assert!(house.returns().is_some(), "{:?}", house.out);
    assert!(house.keeper.slice(ID).is_none());
}

// LED-84
#[test]
fn another_limit_is_looked_at_at_once_and_strict_budgets_have_no_slice() {
    let mut house = House::new();
    house.lease();
    house.tell(Event::Budgets(vec![budget(1000)]));
    let looks = |command: &Command| matches!(command, Command::Look(ID));
    assert_eq!(house.written(looks), None, "nothing changed");
    house.tell(Event::Budgets(vec![budget(2000)]));
    assert!(house.written(looks).is_some(), "{:?}", house.out);
    assert!(house.keeper.slice(ID).is_some());
    let strict = Budget {
        durability: Durability::Strict,
        ..budget(2000)
    };
    house.tell(Event::Budgets(vec![strict]));
    assert!(house.returns().is_some(), "{:?}", house.out);
    assert!(house.keeper.slice(ID).is_none());
}

// LED-73a
#[test]
fn a_call_outlasts_a_budget_that_the_store_has_ended_before_its_replica_hears_of_it() {
    let mut house = House::new();
    let grant = house.ask(3).unwrap();
    house.answer(
        grant,
        Reply {
            refusal: Some(Refusal::Absent),
            ..Reply::default()
        },
    );
    assert_eq!(house.refused(), None, "it waits: {:?}", house.out);
    house.tell(Event::Budgets(Vec::new()));
    assert!(house.is_granted(), "{:?}", house.out);
    // One that nobody tells of is refused in the end.
    let mut house = House::new();
    let grant = house.ask(3).unwrap();
    let absent = || Reply {
        refusal: Some(Refusal::Absent),
        ..Reply::default()
    };
    house.answer(grant, absent());
    house.now += 1_000_000_000;
    house.tell(Event::Tick);
    let again = house.written(|command| matches!(command, Command::Grant(_)));
    house.answer(again.unwrap(), absent());
    assert_eq!(house.refused(), Some(Refused::Closed));
}

// LED-72
#[test]
fn who_asks_before_the_keeper_has_begun_is_answered_when_it_has() {
    let mut house = House::before_it_joined();
    assert_eq!(house.ask(7), None);
    assert_eq!(house.ask(8), None);
    house.join();
    let asked: Vec<_> = house
        .out
        .iter()
        .filter_map(|effect| match effect {
            Effect::Write {
                command: Command::Grant(grant),
                ..
            } => Some(grant.hold),
            Effect::Write { .. } | Effect::Send(_) | Effect::Wake(_) => None,
        })
        .collect();
    assert_eq!(asked, [7, 8].map(|number| HoldId::from_bytes([number; 16])));
}

#[test]
fn who_asked_before_the_keeper_had_begun_is_refused_if_it_ends_before() {
    let mut house = House::before_it_joined();
    assert_eq!(house.ask(7), None);
    house.tell(Event::Drain);
    assert!(house.out.iter().any(|effect| matches!(
        effect,
        Effect::Send(Notice::Refused {
            why: Refused::Closed,
            ..
        })
    )));
    assert!(house.keeper.is_resting());
}

/// The hold of a call, in the store.
fn committed(version: u32) -> Reply {
    let row = HoldRow {
        id: HoldId::from_bytes([7; 16]),
        replica: ReplicaId::from_bytes([2; 16]),
        state: HoldState::Committed,
        version,
        bound: Charge {
            cost: amount(10),
            ..Charge::NOTHING
        },
        owed: None,
        covers: Covers::new(),
        expires_at: WallMillis(0),
    };
    Reply {
        hold: Some(Box::new(row)),
        ..Reply::default()
    }
}

// LED-51
#[test]
fn a_call_under_way_renews_its_hold_each_minute_for_as_long_as_it_was_asked_for() {
    for (ttl_ms, every_ms) in [(3_720_000, 60_000), (120_000, 60_000), (50_000, 25_000)] {
        let mut house = House::new();
        let asked = house.ask_for(7, ttl_ms).unwrap();
        house.answer(asked, committed(0));
        // Whoever has been granted it has it in hand.
        let out = std::mem::take(&mut house.out);
        for round in 0..3 {
            house.now += (every_ms - 1) * 1_000_000;
            house.tell(Event::Tick);
            let renews = |command: &Command| matches!(command, Command::RenewHold { .. });
            assert_eq!(house.written(renews), None, "{ttl_ms}: too early");
            house.now += 1_000_000;
            house.tell(Event::Tick);
            let as_long = |command: &Command| matches!(command, Command::RenewHold { ttl_ms: it, .. } if *it == ttl_ms);
            let renewal = house.written(as_long);
            house.answer(renewal.expect("a renewal"), committed(round + 1));
        }
        drop(out);
    }
}
