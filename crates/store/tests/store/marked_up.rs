//! Calls that are charged more than their upstream asks, and evidence that comes later: both amounts are
//! right after it, whoever told the end.

use crate::ledger::{BUDGET, LEASE, LIFE, about, amount, budget, cost, job, key, page};
use crate::ledger_model::Pair;
use crate::world::{HOUR, SERVICE, START};
use smallvec::smallvec;
use std::sync::Arc;
use tollkeep_ledger::amount::{Charge, Measure};
use tollkeep_ledger::hold::{Ended, Outcome, Owed, SliceCover, Sure};
use tollkeep_ledger::row::{HoldState, Quality};
use tollkeep_ledger::step::{Command, Grant, LeaseRef, Wish, WishFrom};
use tollkeep_ledger::window::Window;
use tollkeep_store::ledger::{CallRecord, Job, Ledger, UsageFilter, UsageRecord};
use tollkeep_store::{Conflict, StoreError};
use tollkeep_types::{HoldId, ProjectId, WallMillis};

/// The upstream of each call may ask 100 at most, and its payer is charged half as much again.
const MARKUP: &str = "3/2";
const MOST: i64 = 100;
const BOUND: i64 = 150;
const HOLD: HoldId = HoldId::from_bytes([1; 16]);

/// What has no tokens is a price, and owed to no upstream.
fn of_tokens(units: i64) -> Charge {
    Charge {
        tokens: amount(1),
        ..cost(units)
    }
}

struct World {
    pair: Pair,
    ledger: Ledger,
}

async fn done(ledger: &Ledger, job: Job) {
    let answers = ledger.run(&[job]).await;
    let refusals: Vec<_> = answers
        .iter()
        .map(|it| it.as_ref().unwrap().refusal)
        .collect();
    assert_eq!(refusals, [None]);
}

/// What is booked of the call: to its upstream, beyond the bound, and what the window has spent.
#[derive(Debug, Eq, PartialEq)]
struct Books {
    owed: i64,
    overrun: i64,
    spent: i64,
}

impl World {
    async fn new() -> Self {
        let pair = Pair::new(&[budget(Window::Lifetime)], WallMillis(START)).await;
        let ledger = pair.world.store.ledger();
        Self { pair, ledger }
    }

    async fn run(&self, command: Command, upstream_cost: Option<i64>) {
        let tenant = self.pair.world.store.default_tenant().id;
        let told = CallRecord {
            upstream_cost: upstream_cost.map(amount),
            markup: Some(MARKUP.parse().unwrap()),
            ..about(1, tenant, ProjectId::from_bytes([3; 16]))
        };
        let job = Job {
            command,
            about: Some(Arc::new(told)),
        };
        done(&self.ledger, job).await;
    }

    /// A call of which its process did not live to tell anything.
    async fn killed(&mut self) {
        let grant = Command::Grant(Box::new(Grant {
            hold: HOLD,
            life: LIFE,
            bound: of_tokens(BOUND),
            owed: Some(amount(MOST)),
            wishes: smallvec![Wish {
                from: WishFrom::Budget(BUDGET),
                measure: Measure::Cost,
                amount: amount(BOUND),
            }],
            state: HoldState::Committed,
            ttl_ms: 60_000,
        }));
        self.run(grant, None).await;
        self.pair.set_clock(WallMillis(START + HOUR)).await;
        let due = self.ledger.run(&[job(Command::Due)]).await;
        let due = due.into_iter().next().unwrap().unwrap().due_holds;
        let expire = Command::Expire(Box::new(due.into_iter().next().unwrap()));
        done(&self.ledger, job(expire)).await;
    }

    /// A call from a slice that was cut: so much it seems to have cost.
    async fn estimated(&self, charged: i64, asked: i64) {
        let quality = Quality::Estimated;
        self.ended(quality, charged, (asked, MOST)).await;
    }

    /// One that ended so, its upstream asking so much of so much at most.
    async fn ended(&self, quality: Quality, charged: i64, (asked, most): (i64, i64)) {
        let take = Command::Take {
            lease: LEASE,
            budget: BUDGET,
            life: LIFE,
            amount: amount(1_000),
        };
        done(&self.ledger, job(take)).await;
        let ended = Ended {
            hold: HOLD,
            bound: of_tokens(BOUND),
            sure: Sure::Bound,
            outcome: Outcome::Settled {
                quality,
                actual: of_tokens(charged),
            },
            owed: Some(Owed {
                bound: amount(most),
                actual: amount(asked),
            }),
            slices: smallvec![SliceCover {
                lease: LEASE,
                epoch: 1,
                key: key(0),
                measure: Measure::Cost,
                taken: amount(BOUND),
                bucket: None,
                homeless: amount(0),
            }],
            strict: smallvec![],
        };
        let end = Command::End {
            ended: Arc::new(ended),
            version: 0,
        };
        self.run(end, Some(asked)).await;
    }

    async fn record(&self) -> UsageRecord {
        let all = UsageFilter::default();
        let found = self.ledger.usage_records(SERVICE, &all, &page(10)).await;
        found.unwrap().rows.remove(0)
    }

    /// What is charged, and what its upstream asks for it.
    async fn both(&self) -> (i64, Option<i64>) {
        let record = self.record().await;
        assert_eq!(record.markup.as_deref(), Some(MARKUP));
        (
            record.charge.cost.units(),
            record.upstream_cost.map(|cost| cost.units()),
        )
    }

    async fn books(&self) -> Books {
        let accounts = self
            .ledger
            .accounts(SERVICE, &page(100))
            .await
            .unwrap()
            .rows;
        let of = |kind: &str| -> i64 {
            let of = accounts.iter().filter(|account| account.kind == kind);
            of.map(|account| account.balance).sum()
        };
        let (asked, overrun) = (of("upstream_cost"), of("overrun"));
        assert_eq!(of("payable"), -(asked + overrun), "all that is owed");
        let windows = self.pair.world.store.budget_windows(SERVICE, BUDGET).await;
        let windows = windows.unwrap();
        let window = windows.first().expect("a window");
        Books {
            owed: asked,
            overrun,
            spent: window.spent.units(),
        }
    }

    /// After this evidence of what its upstream asks.
    async fn resolved(&self, truth: i64) -> (i64, Option<i64>, Books) {
        let said = self.ledger.resolve_hold(SERVICE, HOLD, amount(truth)).await;
        said.unwrap();
        let again = self.ledger.resolve_hold(SERVICE, HOLD, amount(truth)).await;
        assert!(
            matches!(again, Err(StoreError::Conflict(Conflict::HoldSettled))),
            "once: {again:?}"
        );
        let report = self.ledger.check().await.unwrap();
        assert_eq!(report.violations, Vec::<String>::new());
        let (charged, asked) = self.both().await;
        (charged, asked, self.books().await)
    }
}

/// Evidence, and what is charged by it: the budget has room for all of it, so nothing is nobody's.
const EVIDENCE: &[(&str, i64, i64)] = &[
    ("it was less, and half a unit more", 33, 50),
    ("nothing", 0, 0),
    ("as much as could be", MOST, BOUND),
    ("more than could be", 121, 182),
];

// LED-34 LED-52
#[tokio::test]
async fn a_call_of_unknown_cost_is_charged_what_was_asked_with_the_markup() {
    for (name, truth, charged) in EVIDENCE {
        for killed in [true, false] {
            let mut world = World::new().await;
            let (was_charged, was_asked) = if killed {
                world.killed().await;
                (BOUND, MOST)
            } else {
                world.estimated(75, 50).await;
                (75, 50)
            };
            let name = format!("{name}, killed: {killed}");
            assert_eq!(world.both().await, (was_charged, Some(was_asked)), "{name}");
            let before = Books {
                owed: was_asked,
                overrun: 0,
                spent: was_charged,
            };
            assert_eq!(world.books().await, before, "{name}: no markup is owed");
            let books = Books {
                owed: *truth,
                overrun: 0,
                spent: *charged,
            };
            let asked = (*truth > 0).then_some(*truth);
            assert_eq!(
                world.resolved(*truth).await,
                (*charged, asked, books),
                "{name}"
            );
        }
    }
}

// LED-34 LED-53
#[tokio::test]
async fn what_was_no_overrun_is_none_after_it_is_known() {
    for (truth, charged) in [(120, 180), (60, 90), (230, 345)] {
        let world = World::new().await;
        // It seems to have cost 200, of which its payer is charged the bound.
        world.estimated(300, 200).await;
        assert_eq!(world.both().await, (BOUND, Some(200)), "{truth}");
        let beyond = Books {
            owed: MOST,
            overrun: 100,
            spent: BOUND,
        };
        assert_eq!(world.books().await, beyond, "{truth}");
        let books = Books {
            owed: truth,
            overrun: 0,
            spent: charged,
        };
        assert_eq!(
            world.resolved(truth).await,
            (charged, Some(truth), books),
            "{truth}"
        );
    }
}

// LED-52
#[tokio::test]
async fn evidence_of_more_is_borne_as_far_as_the_limit_goes() {
    for (name, room, truth, owed, overrun, spent) in [
        ("all", 75, 100, 100, 0, 150),
        ("a part", 30, 100, 70, 30, 105),
        ("nothing", 0, 100, 50, 50, 75),
        ("less", 0, 40, 40, 0, 60),
    ] {
        let world = World::new().await;
        world.estimated(75, 50).await;
        let back = Command::Return {
            lease: LeaseRef {
                id: LEASE,
                key: key(0),
                epoch: 1,
                serial: 0,
            },
            amount: amount(1_000 - 75),
        };
        done(&world.ledger, job(back)).await;
        let limit = Command::Limit {
            budget: BUDGET,
            limit: amount(75 + room),
        };
        done(&world.ledger, job(limit)).await;
        let books = Books {
            owed,
            overrun,
            spent,
        };
        let (charged, asked, booked) = world.resolved(truth).await;
        assert_eq!((charged, asked), (truth * 3 / 2, Some(truth)), "{name}");
        assert_eq!(booked, books, "{name}");
    }
}

// LED-3 LED-34
#[tokio::test]
async fn a_guess_whose_amounts_were_rounded_up_each_was_no_overrun() {
    let world = World::new().await;
    // Half as much again of 101 is more than 150, but of what it was rounded up from it is not.
    world.ended(Quality::Unknown, BOUND, (101, 101)).await;
    let books = Books {
        owed: 33,
        overrun: 0,
        spent: 50,
    };
    assert_eq!(world.resolved(33).await, (50, Some(33), books));
}

// LED-1 LED-34
#[tokio::test]
async fn evidence_that_no_amount_can_hold_with_the_markup_is_refused() {
    let mut world = World::new().await;
    world.killed().await;
    let said = world
        .ledger
        .resolve_hold(SERVICE, HOLD, amount(i64::MAX))
        .await;
    assert!(
        matches!(said, Err(StoreError::Conflict(Conflict::CostTooLarge))),
        "{said:?}"
    );
    assert_eq!(world.both().await, (BOUND, Some(MOST)));
}
