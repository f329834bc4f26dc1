//! How a hold ends by where it is dropped.

use std::sync::{Arc, Mutex};
use tollkeep_ledger::amount::{Amount, Charge};
use tollkeep_ledger::hold::{Ended, NotBilled, Outbox, Outcome, Sure, take};
use tollkeep_ledger::row::Quality;
use tollkeep_types::{HoldId, LeaseId, MonoNanos};

/// Keeps what ends.
#[derive(Debug, Default)]
struct Ends(Mutex<Vec<Outcome>>);

impl Outbox for Ends {
    fn ended(&self, ended: Ended) {
        self.0.lock().unwrap().push(ended.outcome);
    }

    fn homeless(&self, _: LeaseId, _: Amount) {}
}

// LED-50 LED-52
#[test]
fn what_was_committed_and_not_sent_is_free_and_what_may_have_been_is_not() {
    let ends = Arc::new(Ends::default());
    let outbox = Arc::clone(&ends) as Arc<dyn Outbox>;
    let bound = Charge {
        cost: Amount::new(100).unwrap(),
        ..Charge::NOTHING
    };
    let held = || {
        let id = HoldId::from_bytes([1; 16]);
        let now = MonoNanos(0);
        take(id, (bound, Sure::Bound), &[], now, &outbox)
            .unwrap()
            .held
    };
    let last = || ends.0.lock().unwrap().pop().unwrap();
    drop(held().commit().not_sent());
    assert_eq!(last(), Outcome::Released(NotBilled::NotSent));
    // It may go out again after that.
    drop(held().commit().not_sent().commit());
    let unknown = Outcome::Settled {
        quality: Quality::Unknown,
        actual: bound,
    };
    assert_eq!(last(), unknown);
    drop(held().commit());
    assert_eq!(last(), unknown);
    assert!(ends.0.lock().unwrap().is_empty());
}
