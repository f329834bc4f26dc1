//! The simulator finds every fault that is planted into a copy of the core.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

macro_rules! planted {
    ($number:literal) => {
        crate::is_planted($number)
    };
}

/// The core with switches. What lints say of the core is said of the crate it is copied from.
#[allow(
    clippy::all,
    clippy::restriction,
    clippy::pedantic,
    clippy::nursery,
    dead_code,
    unreachable_pub,
    unused,
    reason = "generated"
)]
mod ledger {
    include!(concat!(env!("OUT_DIR"), "/ledger.rs"));
}

#[path = "../src/sim/mod.rs"]
#[expect(dead_code, unreachable_pub, reason = "of the library it is taken from")]
mod sim;

thread_local! {
    static PLANTED: Cell<usize> = const { Cell::new(usize::MAX) };
}

fn is_planted(number: usize) -> bool {
    PLANTED.get() == number
}

const SEEDS_MAX: u64 = 10_000;
const THREADS: usize = 2;

/// The first seed that finds it.
fn found_by(number: usize) -> Option<u64> {
    PLANTED.set(number);
    let fails = |seed: &u64| {
        let scenario = sim::faults::Scenario::of_seed(*seed);
        sim::run::run(&scenario, false).violation.is_some()
    };
    let found = (1..=SEEDS_MAX).find(fails);
    PLANTED.set(usize::MAX);
    found
}

// LED-101
#[test]
fn every_planted_fault_is_found() {
    assert!(ledger::MUTANTS.len() >= 30, "so many are wanted");
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Vec::new());
    std::thread::scope(|threads| {
        for _ in 0..THREADS {
            threads.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(name) = ledger::MUTANTS.get(number) else {
                        return;
                    };
                    let seed = found_by(number);
                    println!("{name}: {seed:?}");
                    let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                    found.push((*name, seed));
                }
            });
        }
    });
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    let missed: Vec<_> = found.iter().filter(|(_, seed)| seed.is_none()).collect();
    assert_eq!(found.len(), ledger::MUTANTS.len());
    assert!(missed.is_empty(), "not found: {missed:?}");
}

// LED-101
#[test]
fn the_copy_without_a_fault_passes() {
    for seed in 1..=40 {
        let scenario = sim::faults::Scenario::of_seed(seed);
        assert_eq!(
            sim::run::run(&scenario, false).violation,
            None,
            "seed {seed}"
        );
    }
}
