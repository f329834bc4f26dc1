//! Some seeds at every test; many of them, and a million calls, in `make soak`.

use std::sync::atomic::{AtomicU64, Ordering};
use tollkeep_sim::sim::faults::{Fault, Faults, Scenario};
use tollkeep_sim::sim::run::run;

fn all_pass(first: u64, end: u64) -> u64 {
    let next = AtomicU64::new(first);
    let calls = AtomicU64::new(0);
    std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let scenario = Scenario::of_seed(seed);
                    let verdict = run(&scenario, false);
                    calls.fetch_add(u64::from(scenario.requests), Ordering::Relaxed);
                    assert_eq!(verdict.violation, None, "{}", scenario.command());
                }
            });
        }
    });
    calls.into_inner()
}

// LED-50a LED-53 LED-61 LED-63 LED-65 LED-74 LED-74a LED-101
#[test]
fn no_seed_of_some_hundred_loses_or_overspends_anything() {
    assert!(all_pass(1, 400) > 30_000);
}

// LED-101
#[test]
#[ignore = "about two minutes"]
fn no_seed_of_ten_thousand_loses_or_overspends_anything() {
    assert!(all_pass(1, 11_000) >= 1_000_000);
}

// LED-101
#[test]
fn a_run_is_the_same_each_time() {
    for seed in [3, 5, 8, 13] {
        let scenario = Scenario::of_seed(seed);
        assert_eq!(run(&scenario, true).trace, run(&scenario, true).trace);
    }
}

// LED-74
#[test]
fn each_kind_of_fault_alone_and_all_together_are_survived() {
    let mut all = Faults::default();
    for (fault, _) in Fault::ALL {
        all = all.with(fault);
    }
    let alone = Fault::ALL.map(|(fault, _)| Faults::default().with(fault));
    for faults in alone.into_iter().chain([all, Faults::default()]) {
        for seed in 20_000..20_006 {
            let scenario = Scenario {
                faults,
                ..Scenario::of_seed(seed)
            };
            assert_eq!(
                run(&scenario, false).violation,
                None,
                "{}",
                scenario.command()
            );
        }
    }
}
