//! The cell rate algorithm and how it is told.

use proptest::prelude::*;
use tollkeep_policy::lockout::FAILED_CREDENTIALS;
use tollkeep_policy::rate::{
    Quota, RateClass, Verdict, retry_after_ms, retry_after_s, write_exhausted,
};
use tollkeep_types::MonoNanos;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

/// One cell, asked as the gateway does.
struct Cell {
    quota: Quota,
    tat: u64,
}

impl Cell {
    fn new(quota: Quota) -> Self {
        Self { quota, tat: 0 }
    }

    fn try_pass(&mut self, at: u64) -> bool {
        match self.quota.check(self.tat, MonoNanos(at)) {
            Verdict::Pass { tat } => {
                self.tat = tat;
                true
            }
            Verdict::Refuse { .. } => false,
        }
    }
}

// EDGE-85
#[test]
fn ten_a_second_with_burst_twenty_is_twenty_at_once_then_one_each_100_ms() {
    let mut cell = Cell::new(Quota::per(10, SECOND, 20));
    let start = 12_345 * SECOND;
    assert_eq!((0..25).filter(|_| cell.try_pass(start)).count(), 20);
    for step in 1..=50 {
        let due = start + step * 100 * MS;
        assert!(!cell.try_pass(due - 1), "step {step}, a nanosecond early");
        assert!(cell.try_pass(due), "step {step}");
        assert!(!cell.try_pass(due), "step {step}, twice");
    }
    assert_eq!(
        (0..25)
            .filter(|_| cell.try_pass(start + 3_600 * SECOND))
            .count(),
        20,
        "after an idle hour"
    );
}

// EDGE-85
#[test]
fn windows_may_be_of_any_length() {
    #[rustfmt::skip]
    let rows = [
        ("once a day", 1, 86_400 * SECOND, 1),
        ("sixty a minute", 60, 60 * SECOND, 60),
        ("three a second", 3, SECOND, 1),
        ("more than a nanosecond each", 5 * SECOND, SECOND, 1_000),
        ("zeros count as one", 0, 0, 0),
        ("absurd", u64::MAX, u64::MAX, u64::MAX),
    ];
    for (name, requests, window, burst) in rows {
        let quota = Quota::per(requests, window, burst);
        let mut cell = Cell::new(quota);
        assert!(
            cell.try_pass(0),
            "{name}: the first at the beginning of time"
        );
        let mut used = Cell::new(quota);
        let at = 1_000_000 * SECOND;
        let passed = (0..burst.clamp(1, 2_000))
            .filter(|_| used.try_pass(at))
            .count();
        assert_eq!(
            u64::try_from(passed).unwrap(),
            burst.clamp(1, 2_000),
            "{name}: its burst"
        );
        assert_eq!(used.try_pass(at), burst > 2_000, "{name}: one more");
    }
}

// EDGE-91
#[test]
fn the_state_stays_and_counts_by_the_new_quota_at_once() {
    let at = 1_000 * SECOND;
    let mut cell = Cell::new(Quota::per(100, SECOND, 100));
    assert_eq!((0..40).filter(|_| cell.try_pass(at)).count(), 40);
    cell.quota = Quota::per(100, SECOND, 30);
    assert!(!cell.try_pass(at), "forty are more than the lowered burst");
    assert!(
        cell.try_pass(at + 110 * MS),
        "eleven of them are worked off"
    );

    let mut cell = Cell::new(Quota::per(1, 86_400 * SECOND, 1));
    assert!(cell.try_pass(at) && !cell.try_pass(at));
    cell.quota = Quota::per(10, SECOND, 1);
    assert!(!cell.try_pass(at), "it is still owed");
    cell.tat = cell.tat.min(cell.quota.tat_max(MonoNanos(at)));
    assert!(
        cell.try_pass(at + 100 * MS),
        "by the raised quota, not for the rest of the day"
    );
}

// EDGE-93
#[test]
fn requests_charged_afterwards_owe_at_most_a_full_burst() {
    let quota = Quota::per(10, SECOND, 20);
    let at = MonoNanos(5 * SECOND);
    let mut tat = 0;
    for used in 1..=100_u64 {
        tat = quota.charge(tat, at);
        assert_eq!(quota.remaining(tat, at), 20_u64.saturating_sub(used));
    }
    assert_eq!(
        quota.check(tat, at),
        Verdict::Refuse {
            retry_after_ns: 100 * MS
        }
    );
    let Verdict::Pass { tat: checked } = quota.check(0, at) else {
        panic!("the first passes")
    };
    assert_eq!(
        quota.charge(0, at),
        checked,
        "charging and passing debit the same"
    );
}

// EDGE-87
#[test]
fn retry_after_is_rounded_up_within_its_bounds() {
    #[rustfmt::skip]
    let rows = [
        ("nothing", 0, 1, 1),
        ("a nanosecond", 1, 1, 1),
        ("just over a millisecond", MS + 1, 1, 2),
        ("a second", SECOND, 1, 1_000),
        ("just over a second", SECOND + 1, 2, 1_001),
        ("an hour", 3_600 * SECOND, 3_600, 3_600_000),
        ("a day", 86_400 * SECOND, 3_600, 3_600_000),
        ("for ever", u64::MAX, 3_600, 3_600_000),
    ];
    for (name, ns, seconds, ms) in rows {
        assert_eq!(
            (retry_after_s(ns), retry_after_ms(ns)),
            (seconds, ms),
            "{name}"
        );
    }
}

// EDGE-87
#[test]
fn a_limit_is_told_in_the_words_of_the_fields() {
    let text = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    };
    let quota = Quota::per(60, 60 * SECOND, 60);
    let at = MonoNanos(1_000 * SECOND);
    let Verdict::Pass { tat } = quota.check(0, at) else {
        panic!("the first passes")
    };
    #[rustfmt::skip]
    let rows = [
        ("policy", text(&|out| quota.write_policy(out, RateClass::Token)), r#""token";q=60;w=60"#),
        ("short window", text(&|out| Quota::per(5, MS, 1).write_policy(out, RateClass::Ip)), r#""ip";q=5;w=1"#),
        ("after one", text(&|out| quota.write_state(out, RateClass::Route, tat, at)), r#""route";r=59;t=1"#),
        ("unused", text(&|out| quota.write_state(out, RateClass::Project, 0, at)), r#""project";r=60;t=0"#),
        ("refused", text(&|out| write_exhausted(out, RateClass::Global, 1)), r#""global";r=0;t=1"#),
        ("refused for long", text(&|out| write_exhausted(out, RateClass::Strict, u64::MAX)), r#""strict";r=0;t=3600"#),
    ];
    for (name, told, want) in rows {
        assert_eq!(told, want, "{name}");
    }
    let huge = text(&|out| Quota::per(u64::MAX, u64::MAX, 1).write_policy(out, RateClass::Ip));
    assert_eq!(huge, r#""ip";q=18446744073709551615;w=18446744074"#);
}

// ID-56
#[test]
fn the_twenty_first_failing_credential_of_a_minute_is_locked_out() {
    let mut cell = Cell::new(FAILED_CREDENTIALS);
    let at = 77 * SECOND;
    assert_eq!((0..100).filter(|_| cell.try_pass(at)).count(), 20);
    assert!(!cell.try_pass(at + 3 * SECOND - 1));
    assert_eq!(
        (0..100).filter(|_| cell.try_pass(at + 60 * SECOND)).count(),
        20,
        "a minute later"
    );
}

/// The same in exact arithmetic: what is owed falls by `requests` units a nanosecond, a request
/// owes `window` units, and no more than `burst` may be owed.
struct Naive {
    owed: u128,
    last: u64,
    requests: u128,
    window: u128,
    burst: u128,
}

impl Naive {
    fn try_pass(&mut self, at: u64) -> bool {
        self.owed = self
            .owed
            .saturating_sub(u128::from(at - self.last) * self.requests);
        self.last = at;
        let fits = self.owed + self.window <= self.burst * self.window;
        if fits {
            self.owed += self.window;
        }
        fits
    }
}

proptest! {
    /// Never more than burst + rate * t pass in any window of length t.
    // EDGE-85
    #[test]
    fn no_window_sees_more_than_burst_and_rate(
        requests in 1..50_u64,
        window in 1..2_000_000_u64,
        burst in 1..20_u64,
        gaps in prop::collection::vec(0..200_000_u64, 1..120),
    ) {
        let mut cell = Cell::new(Quota::per(requests, window, burst));
        let mut at = SECOND;
        let mut passed = Vec::new();
        for gap in gaps {
            at += gap;
            if cell.try_pass(at) {
                passed.push(at);
            }
        }
        for (first, from) in passed.iter().enumerate() {
            for (last, to) in passed.iter().enumerate().skip(first) {
                let count = u128::try_from(last - first + 1).unwrap();
                let allowed = u128::from(burst) + u128::from(to - from) * u128::from(requests) / u128::from(window);
                prop_assert!(count <= allowed, "{count} in {} ns", to - from);
            }
        }
    }

    /// Where the interval is a whole number of nanoseconds, it is the exact bucket.
    // EDGE-85
    #[test]
    fn it_equals_a_naive_bucket(
        requests in 1..50_u64,
        interval in 1..100_000_u64,
        burst in 1..20_u64,
        gaps in prop::collection::vec(0..200_000_u64, 1..200),
    ) {
        let window = requests * interval;
        let mut cell = Cell::new(Quota::per(requests, window, burst));
        let mut naive = Naive {
            owed: 0,
            last: 0,
            requests: requests.into(),
            window: window.into(),
            burst: burst.into(),
        };
        let mut at = 0;
        for gap in gaps {
            at += gap;
            prop_assert_eq!(cell.try_pass(at), naive.try_pass(at), "at {}", at);
        }
    }

    /// What passes now passes later; after the told wait it passes, and not a nanosecond before;
    /// a debit never moves the state back; what is left is what passes.
    // EDGE-85
    #[test]
    fn it_is_monotone_and_keeps_its_word(
        requests in 1..1_000_u64,
        window in 1..(100 * SECOND),
        burst in 1..50_u64,
        ahead in 0..(200 * SECOND),
        later in 0..(200 * SECOND),
    ) {
        let quota = Quota::per(requests, window, burst);
        let now = MonoNanos(1_000 * SECOND);
        let tat = now.0 + ahead;
        match quota.check(tat, now) {
            Verdict::Pass { tat: next } => {
                prop_assert!(next > now.0);
                prop_assert_eq!(quota.remaining(next, now) + 1, quota.remaining(tat, now));
                let passes_later = matches!(quota.check(tat, MonoNanos(now.0 + later)), Verdict::Pass { .. });
                prop_assert!(passes_later);
            }
            Verdict::Refuse { retry_after_ns } => {
                prop_assert_eq!(quota.remaining(tat, now), 0);
                let passes_after = |wait: u64| {
                    matches!(quota.check(tat, MonoNanos(now.0 + wait)), Verdict::Pass { .. })
                };
                prop_assert!(passes_after(retry_after_ns));
                prop_assert!(!passes_after(retry_after_ns - 1));
            }
        }
    }
}
