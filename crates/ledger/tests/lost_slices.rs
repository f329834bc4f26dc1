//! What a lost slice leaves in a rolling window counts at least as long as anything paid from it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test")]

use proptest::prelude::*;
use tollkeep_ledger::amount::{Amount, Measure};
use tollkeep_ledger::lease::TTL_MS;
use tollkeep_ledger::row::{LeaseRow, LeaseState};
use tollkeep_ledger::slice::{STOP_EARLY_NS, Slice, Taken};
use tollkeep_ledger::step::Command;
use tollkeep_ledger::window::{Window, WindowKey};
use tollkeep_ledger::write::{Facts, Present, Write};
use tollkeep_types::{BudgetId, LeaseId, MonoNanos, ReplicaId, WallMillis};

const KEY: WindowKey = WindowKey {
    budget: BudgetId::from_bytes([1; 16]),
    start: WallMillis(0),
};

/// A store of which this is the largest time it has shown.
struct At(WallMillis, Window);

impl Facts for At {
    fn now(&self) -> WallMillis {
        self.0
    }
    fn present(&self, _: BudgetId) -> Option<Present> {
        Some(Present {
            key: KEY,
            bucket: self.1.bucket_of(self.0),
            floor: self.1.floor_at(self.0),
        })
    }
}

/// Where a store at this time books what the slice leaves.
fn booked(seen: WallMillis, bucket_ms: u64) -> WallMillis {
    let lease = LeaseRow {
        id: LeaseId::from_bytes([2; 16]),
        key: KEY,
        replica: ReplicaId::from_bytes([3; 16]),
        epoch: 1,
        amount: Amount::MAX,
        used: Amount::ZERO,
        returned: Amount::ZERO,
        state: LeaseState::Active,
        expires_at: WallMillis(0),
        serial: 0,
        version: 0,
    };
    let facts = At(seen, Window::Rolling { bucket_ms });
    let writes = Command::Lose(Box::new(lease)).plan(&facts).unwrap();
    let bucket = writes.iter().find_map(|write| {
        if let Write::Window { bucket, .. } = write {
            Some(*bucket)
        } else {
            None
        }
    });
    let Some(Some(bucket)) = bucket else {
        panic!("nothing is booked: {writes:?}")
    };
    bucket
}

proptest! {
    // LED-61 LED-74
    #[test]
    fn no_cost_of_a_lost_slice_is_in_a_later_bucket_than_its_rest(
        store in 1_000_000_u64..2_000_000_000_000,
        bucket_ms in 1_u64..10_000_000,
        asked_ms in 0_u64..100_000_000,
        renewals in proptest::collection::vec((0_u64..600_000, 0_u64..55_000), 0..8),
        last_ms in 0_u64..55_000,
    ) {
        // The store's clock went back and may stand still while the replica's goes on.
        let (mut seen, mut now) = (store, asked_ms * 1_000_000);
        let ttl_ns = TTL_MS * 1_000_000;
        let slice = Slice::new(&Taken {
            lease: LeaseId::from_bytes([2; 16]),
            epoch: 1,
            key: KEY,
            measure: Measure::Cost,
            amount: Amount::MAX,
            bucket_ms: Some(bucket_ms),
            store_at: WallMillis(seen),
            asked_at: MonoNanos(now),
            ttl_ns,
        });
        for (store_went, passed_ms) in renewals {
            seen += if store_went % 2 == 0 { 0 } else { store_went };
            now += passed_ms * 1_000_000;
            slice.renewed(WallMillis(seen), MonoNanos(now), ttl_ns);
        }
        prop_assert!(last_ms * 1_000_000 <= ttl_ns - STOP_EARLY_NS);
        let granted = slice.bucket(MonoNanos(now + last_ms * 1_000_000)).unwrap();
        prop_assert!(granted <= booked(WallMillis(seen), bucket_ms));
    }
}
