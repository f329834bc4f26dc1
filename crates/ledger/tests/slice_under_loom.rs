//! Every order in which takers, a refill and an end can meet at the number of a slice. `make soak`
//! runs it with `--cfg loom`; without that there is nothing here.

#![cfg(loom)]

use loom::sync::Arc;
use loom::thread;
use tollkeep_ledger::amount::{Amount, Measure};
use tollkeep_ledger::slice::{Slice, Take, Taken};
use tollkeep_ledger::window::WindowKey;
use tollkeep_types::{BudgetId, LeaseId, MonoNanos, WallMillis};

const NOW: MonoNanos = MonoNanos(1);

fn amount(units: i64) -> Amount {
    Amount::new(units).unwrap()
}

fn slice(units: i64) -> Arc<Slice> {
    Arc::new(Slice::new(&Taken {
        lease: LeaseId::from_bytes([1; 16]),
        epoch: 1,
        key: WindowKey {
            budget: BudgetId::from_bytes([2; 16]),
            start: WallMillis(0),
        },
        measure: Measure::Cost,
        amount: amount(units),
        bucket_ms: None,
        store_at: WallMillis(0),
        asked_at: MonoNanos(0),
        ttl_ns: 60_000_000_000,
    }))
}

/// Takes 3, uses 1 of it, puts the rest back: what is used, and what found no slice any more.
fn call(slice: &Slice) -> (i64, i64) {
    if slice.take(amount(3), NOW) == Take::Short {
        return (0, 0);
    }
    if slice.put_back(amount(2)) {
        (1, 0)
    } else {
        (1, 2)
    }
}

// LED-102
#[test]
fn nothing_is_lost_or_made_when_takers_a_refill_and_an_end_meet() {
    loom::model(|| {
        let shared = slice(4);
        let taker = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || call(&shared))
        };
        let refiller = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.refill(amount(5)))
        };
        let returned = shared.close().units();
        let (used, homeless) = taker.join().unwrap();
        let refused = if refiller.join().unwrap() { 0 } else { 5 };
        assert_eq!(used + homeless + returned + refused, 9);
        assert_eq!(shared.close(), Amount::ZERO, "it is closed once");
    });
}

// LED-102
#[test]
fn two_takers_never_take_more_than_there_is() {
    loom::model(|| {
        let shared = slice(5);
        let takers: Vec<_> = (0..2)
            .map(|_| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || i64::from(shared.take(amount(3), NOW) != Take::Short))
            })
            .collect();
        let taken: i64 = takers.into_iter().map(|taker| taker.join().unwrap()).sum();
        assert_eq!(taken, 1);
        assert_eq!(shared.free(), amount(2));
    });
}

// LED-102
#[test]
fn a_slice_whose_time_is_over_gives_nothing() {
    loom::model(|| {
        let shared = slice(5);
        let renewer = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let asked_at = MonoNanos(60_000_000_000);
                shared.renewed(WallMillis(60_000), asked_at, 60_000_000_000);
            })
        };
        let late = MonoNanos(120_000_000_000);
        assert_eq!(shared.take(amount(1), late), Take::Short);
        renewer.join().unwrap();
        assert_eq!(
            shared.take(amount(1), MonoNanos(90_000_000_000)),
            Take::Done
        );
    });
}
