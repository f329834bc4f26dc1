//! What taking a bound from slices and settling it costs a worker.

#![cfg(not(loom))]
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test, and one of what things take"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tollkeep_ledger::amount::{Amount, Charge, Measure};
use tollkeep_ledger::hold::{Ended, Outbox, POTS_INLINE, Sure, take};
use tollkeep_ledger::row::Quality;
use tollkeep_ledger::slice::{Slice, Taken};
use tollkeep_ledger::window::WindowKey;
use tollkeep_types::{BudgetId, HoldId, LeaseId, MonoNanos, WallMillis};

const NOW: MonoNanos = MonoNanos(1_000_000_000);
const CALLS: u64 = 2_000;
/// The best of so many rounds counts: what else the machine does is no cost of ours.
const ROUNDS: u32 = 50;
const CALL_MAX: Duration = Duration::from_micros(5);

#[derive(Debug, Default)]
struct Sums {
    ended: AtomicU64,
    charged: AtomicU64,
}

impl Outbox for Sums {
    fn ended(&self, ended: Ended) {
        let charged = ended.outcome.actual().cost;
        self.ended.fetch_add(1, Ordering::Relaxed);
        let units = u64::try_from(charged.units()).unwrap();
        self.charged.fetch_add(units, Ordering::Relaxed);
    }

    fn homeless(&self, _: LeaseId, _: Amount) {}
}

fn slice(number: u8) -> Arc<Slice> {
    Arc::new(Slice::new(&Taken {
        lease: LeaseId::from_bytes([number; 16]),
        epoch: 1,
        key: WindowKey {
            budget: BudgetId::from_bytes([number; 16]),
            start: WallMillis(0),
        },
        measure: Measure::Cost,
        amount: Amount::MAX,
        bucket_ms: Some(60_000),
        store_at: WallMillis(1_000),
        asked_at: NOW,
        ttl_ns: 60_000_000_000,
    }))
}

// LED-76
#[test]
fn taking_from_five_pots_and_settling_takes_less_than_five_microseconds() {
    let slices: Vec<_> = (0..POTS_INLINE)
        .map(|at| slice(u8::try_from(at).unwrap()))
        .collect();
    let sums = Arc::new(Sums::default());
    let outbox: Arc<dyn Outbox> = Arc::clone(&sums) as _;
    let (bound, actual) = (cost(1_000), cost(700));
    let round = || {
        let began = Instant::now();
        for call in 0..CALLS {
            let id = HoldId::from_bytes(u128::from(call).to_be_bytes());
            let taken = take(id, (bound, Sure::Bound), &slices, NOW, &outbox).unwrap();
            taken.held.commit().settle(Quality::Reported, actual);
        }
        began.elapsed()
    };
    let best = (0..ROUNDS).map(|_| round()).min().unwrap();
    let calls = CALLS * u64::from(ROUNDS);
    assert_eq!(sums.ended.load(Ordering::Relaxed), calls);
    assert_eq!(sums.charged.load(Ordering::Relaxed), calls * 700);
    for slice in &slices {
        let spent = i64::try_from(calls * 700).unwrap();
        assert_eq!(slice.free().units(), Amount::MAX.units() - spent);
    }
    let each = best / u32::try_from(CALLS).unwrap();
    assert!(each < CALL_MAX, "{each:?}");
}

fn cost(units: i64) -> Charge {
    Charge {
        cost: Amount::new(units).unwrap(),
        ..Charge::NOTHING
    }
}
