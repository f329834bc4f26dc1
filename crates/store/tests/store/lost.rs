//! Slices that were lost with their replica, and what becomes of them once somebody has looked.

use crate::ledger::{BUDGET, LEASE, LIFE, amount, budget, cost, job, key};
use crate::ledger_model::Pair;
use crate::world::{SECOND, SERVICE, START, conflict};
use smallvec::smallvec;
use std::sync::Arc;
use tollkeep_ledger::amount::{Amount, Measure};
use tollkeep_ledger::budget::Budget;
use tollkeep_ledger::hold::{Ended, Outcome, SliceCover, Sure};
use tollkeep_ledger::lease::{LOST_AFTER_MS, TTL_MS};
use tollkeep_ledger::row::{Quality, WindowRow};
use tollkeep_ledger::step::Command;
use tollkeep_ledger::window::Window;
use tollkeep_ledger::write::Reply;
use tollkeep_store::ledger::LostSlice;
use tollkeep_store::{Conflict, PageRequest, Scope, StoreError};
use tollkeep_types::{HoldId, LeaseId, TenantId, WallMillis};

const LOST: WallMillis = WallMillis(START + TTL_MS + LOST_AFTER_MS + SECOND);

async fn done(pair: &Pair, command: Command) -> Reply {
    let mut replies = pair.world.store.ledger().run(&[job(command)]).await;
    let reply = replies.pop().unwrap().unwrap();
    assert_eq!(reply.refusal, None);
    reply
}

async fn row(pair: &Pair) -> WindowRow {
    let reply = done(pair, Command::Look(BUDGET)).await;
    reply.windows.first().unwrap().1.clone()
}

/// The end of a call that was paid from the slice.
fn end(number: u8, actual: i64, bucket: Option<WallMillis>) -> Command {
    Command::End {
        ended: Arc::new(Ended {
            hold: HoldId::from_bytes([number; 16]),
            bound: cost(actual),
            sure: Sure::Bound,
            outcome: Outcome::Settled {
                quality: Quality::Reported,
                actual: cost(actual),
            },
            owed: None,
            slices: smallvec![SliceCover {
                lease: LEASE,
                epoch: 1,
                key: key(0),
                measure: Measure::Cost,
                taken: amount(actual),
                bucket,
                homeless: Amount::ZERO,
            }],
            strict: smallvec![],
        }),
        version: 0,
    }
}

/// A slice of 2,000 of which 60 were used before its replica was lost.
async fn lost(budget: Budget) -> Pair {
    let mut pair = Pair::new(&[budget], WallMillis(START)).await;
    let take = Command::Take {
        lease: LEASE,
        budget: BUDGET,
        life: LIFE,
        amount: amount(2_000),
    };
    done(&pair, take).await;
    let bucket = pair
        .model
        .budgets
        .values()
        .next()
        .unwrap()
        .window
        .bucket_of(WallMillis(START));
    done(&pair, end(1, 60, bucket)).await;
    assert_eq!(slices(&pair).await, []);
    pair.set_clock(LOST).await;
    let mut due = done(&pair, Command::Due).await.due_leases;
    done(&pair, Command::Lose(Box::new(due.pop().unwrap()))).await;
    assert_eq!(row(&pair).await.taken(), amount(2_000));
    pair
}

async fn slices(pair: &Pair) -> Vec<LostSlice> {
    let page = PageRequest::<LeaseId> {
        limit: 10,
        after: None,
    };
    let ledger = pair.world.store.ledger();
    ledger.lost_slices(SERVICE, &page).await.unwrap().rows
}

async fn resolve(pair: &Pair, used: i64) -> Result<LostSlice, StoreError> {
    let ledger = pair.world.store.ledger();
    let resolved = ledger.resolve_slice(SERVICE, LEASE, amount(used)).await;
    resolved.map(|(slice, _)| slice)
}

async fn is_right(pair: &Pair) {
    let report = pair.world.store.ledger().check().await.unwrap();
    assert_eq!(report.violations, Vec::<String>::new());
}

// LED-74
#[tokio::test]
async fn what_a_lost_slice_holds_is_given_back_once_to_its_window() {
    for window in [Window::Lifetime, Window::Rolling { bucket_ms: 60_000 }] {
        let pair = lost(budget(window)).await;
        let found = slices(&pair).await;
        let slice = found.first().unwrap();
        assert_eq!(
            (slice.amount, slice.used, slice.in_doubt),
            (amount(2_000), amount(60), amount(1_940))
        );
        assert_eq!(slice.lost_at, LOST);
        let other = Scope::Tenant(TenantId::from_bytes([5; 16]));
        let ledger = pair.world.store.ledger();
        let hidden = ledger.resolve_slice(other, LEASE, Amount::ZERO).await;
        assert_eq!(hidden.unwrap_err(), StoreError::NotFound);
        assert_eq!(conflict(resolve(&pair, 1_941).await), Conflict::SliceShort);
        assert_eq!(resolve(&pair, 40).await.unwrap().in_doubt, amount(1_940));
        assert_eq!(
            (row(&pair).await.spent, row(&pair).await.leased),
            (amount(100), Amount::ZERO)
        );
        assert_eq!(slices(&pair).await, []);
        assert_eq!(conflict(resolve(&pair, 0).await), Conflict::SliceResolved);
        assert_eq!(row(&pair).await.spent, amount(100));
        is_right(&pair).await;
    }
}

// LED-74 LED-74a
#[tokio::test]
async fn a_call_that_tells_its_end_after_its_slice_was_given_back_is_charged_within_the_limit() {
    let pair = lost(budget(Window::Lifetime)).await;
    done(&pair, end(2, 30, None)).await;
    // What is known by now is not in doubt any more, and counted already.
    assert_eq!(slices(&pair).await.first().unwrap().in_doubt, amount(1_910));
    assert_eq!(row(&pair).await.spent, amount(2_000));
    resolve(&pair, 0).await.unwrap();
    assert_eq!(row(&pair).await.spent, amount(90));
    done(&pair, end(3, 25, None)).await;
    assert_eq!(row(&pair).await.spent, amount(115));
    let limit = tollkeep_store::BudgetChange {
        limit: Some(amount(120)),
        ..tollkeep_store::BudgetChange::default()
    };
    let store = &pair.world.store;
    store.change_budget(SERVICE, BUDGET, limit).await.unwrap();
    assert_eq!(row(&pair).await.limit, amount(120));
    // There is no room for this one: it is written down, and nobody's budget bears it.
    done(&pair, end(4, 25, None)).await;
    assert_eq!(row(&pair).await.spent, amount(115));
    is_right(&pair).await;
}
