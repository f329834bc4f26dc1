//! Lock-out by address.

use std::time::Duration;
use tollkeep_policy::lockout::{Failures, LockoutRules, account_wait};
use tollkeep_types::MonoNanos;

const RULES: LockoutRules = LockoutRules {
    failures: 5,
    window: Duration::from_secs(15 * 60),
    ban: Duration::from_secs(30 * 60),
};

const fn at(minutes: u64) -> MonoNanos {
    MonoNanos(minutes * 60 * 1_000_000_000)
}

/// Fails five times at once; until when that locks out, in minutes.
fn five(failures: &mut Failures, minute: u64) -> u64 {
    let ends: Vec<_> = (0..5).map(|_| failures.fail(&RULES, at(minute))).collect();
    assert!(ends[..4].iter().all(Option::is_none), "{ends:?}");
    ends[4].unwrap().0 / at(1).0
}

// ID-56
#[test]
fn the_fifth_failure_in_a_quarter_of_an_hour_locks_out() {
    let mut failures = Failures::default();
    for minute in [0, 1, 2, 14] {
        assert_eq!(failures.fail(&RULES, at(minute)), None, "{minute}");
    }
    // The first one is too long ago.
    assert_eq!(failures.fail(&RULES, at(15)), None);
    let until = failures.fail(&RULES, at(15)).unwrap();
    assert_eq!(until, at(45));
    assert_eq!(failures.locked_until(at(44)), Some(until));
    assert_eq!(
        failures.fail(&RULES, at(44)),
        Some(until),
        "no longer for it"
    );
    assert_eq!(failures.locked_until(at(45)), None);
}

// ID-56
#[test]
fn each_ban_is_twice_the_one_before_up_to_a_day_and_forgiven_after_one() {
    let mut failures = Failures::default();
    let mut minute = 0;
    for want in [30, 60, 120, 240, 480, 960, 1440, 1440] {
        let until = five(&mut failures, minute);
        assert_eq!(until - minute, want);
        minute = until;
    }
    let until = five(&mut failures, minute + 24 * 60 - 1);
    assert_eq!(until - minute, 24 * 60 - 1 + 1440, "not yet");
    assert_eq!(five(&mut failures, until + 24 * 60), until + 24 * 60 + 30);
}

// ID-56 ID-123
#[test]
fn an_account_waits_after_ten_failures_and_ever_longer() {
    for (failures, want) in [
        (0, None),
        (9, None),
        (10, Some(60)),
        (11, Some(120)),
        (15, Some(1_920)),
        (16, Some(3_600)),
        (50, Some(3_600)),
        (u64::MAX, Some(3_600)),
    ] {
        let want = want.map(Duration::from_secs);
        assert_eq!(account_wait(failures), want, "{failures}");
    }
}
