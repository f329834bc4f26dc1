//! The table of rate limits: exact, all or none, bounded.

use proptest::prelude::*;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tollkeep_counters::{Claim, Class, Key, RateRefusal, RateTable};
use tollkeep_policy::rate::{Quota, RateClass, Verdict};
use tollkeep_types::MonoNanos;

const SECOND: u64 = 1_000_000_000;
/// So slow that nothing is worked off in a test.
const DAY: u64 = 86_400 * SECOND;
const AT: MonoNanos = MonoNanos(1_000 * SECOND);

fn table(keys_max: usize) -> RateTable {
    RateTable::new(keys_max, RandomState::new())
}

fn addr(number: u32) -> Key {
    Key::addr(Class::Ip, Ipv4Addr::from(number).into())
}

fn try_one(table: &RateTable, now: MonoNanos, key: Key, quota: Quota) -> Result<(), RateRefusal> {
    table.admit(now, &mut [Claim::key(key, quota)])
}

fn left(table: &RateTable, now: MonoNanos, key: Key, quota: &Quota) -> u64 {
    match table.peek(now, &Claim::key(key, *quota)) {
        Verdict::Pass { tat } => quota.remaining(tat, now) + 1,
        Verdict::Refuse { .. } => 0,
    }
}

// EDGE-85
#[test]
fn all_claims_pass_or_none_is_debited() {
    let table = table(100);
    let (wide, narrow) = (Quota::per(100, SECOND, 100), Quota::per(10, SECOND, 3));
    let token = AtomicU64::new(0);
    let claims = || {
        [
            Claim::key(Key::whole(Class::Global), wide),
            Claim::cell(&token, wide),
            Claim::key(addr(1), narrow),
        ]
    };
    for used in 1..=3 {
        let mut claims = claims();
        assert_eq!(table.admit(AT, &mut claims), Ok(()));
        assert_eq!(wide.remaining(claims[0].tat(), AT), 100 - used);
        assert_eq!(claims[2].quota().remaining(claims[2].tat(), AT), 3 - used);
    }
    for _ in 0..10 {
        let refusal = table.admit(AT, &mut claims()).unwrap_err();
        assert_eq!(
            refusal,
            RateRefusal {
                claim: 2,
                retry_after_ns: SECOND / 10
            }
        );
    }
    assert_eq!(left(&table, AT, Key::whole(Class::Global), &wide), 97);
    assert_eq!(wide.remaining(token.load(Ordering::Relaxed), AT), 97);
    let later = MonoNanos(AT.0 + SECOND / 10);
    assert_eq!(table.admit(later, &mut claims()), Ok(()));
}

// EDGE-85
#[test]
fn a_refusing_cell_debits_no_key_and_no_other_cell() {
    let table = table(100);
    let (wide, one) = (Quota::per(100, SECOND, 100), Quota::per(1, DAY, 1));
    let (token, spent) = (AtomicU64::new(0), AtomicU64::new(0));
    let mut first = [Claim::cell(&spent, one)];
    assert_eq!(table.admit(AT, &mut first), Ok(()));
    let mut claims = [
        Claim::key(addr(1), wide),
        Claim::cell(&token, wide),
        Claim::cell(&spent, one),
    ];
    assert_eq!(
        table.admit(AT, &mut claims),
        Err(RateRefusal {
            claim: 2,
            retry_after_ns: DAY
        })
    );
    assert_eq!(left(&table, AT, addr(1), &wide), 100);
    assert_eq!(token.load(Ordering::Relaxed), 0);
    assert_eq!(table.len(), 0, "room that was reserved is free again");
}

#[test]
fn more_claims_than_can_be_held_are_refused() {
    let table = table(100);
    let quota = Quota::per(10, SECOND, 10);
    let mut claims: Vec<_> = (0..9)
        .map(|number| Claim::key(addr(number), quota))
        .collect();
    assert!(table.admit(AT, &mut claims).is_err());
    claims.pop();
    assert_eq!(table.admit(AT, &mut claims), Ok(()));
    assert_eq!(table.admit(AT, &mut []), Ok(()));
}

// EDGE-62 EDGE-85
#[test]
fn keys_are_apart_by_class_route_and_scope() {
    let ip = |text: &str| Key::addr(Class::Ip, text.parse::<IpAddr>().unwrap());
    let same = [
        (ip("2001:db8::1"), ip("2001:db8::2")),
        (ip("192.0.2.1"), ip("::ffff:192.0.2.1")),
    ];
    for (one, other) in same {
        assert_eq!(one, other);
    }
    let different = [
        ip("192.0.2.1"),
        ip("192.0.2.2"),
        ip("2001:db8::"),
        ip("2001:db8:0:1::"),
        Key::addr(Class::FailedCredential, "192.0.2.1".parse().unwrap()),
        ip("192.0.2.1").on_route(1),
        ip("192.0.2.1").on_route(2),
        Key::id(Class::Project, [1; 16]),
        Key::id(Class::Token, [1; 16]),
        Key::whole(Class::Route).on_route(1),
        Key::whole(Class::Global),
    ];
    let table = table(100);
    let once = Quota::per(1, DAY, 1);
    for key in different {
        assert_eq!(try_one(&table, AT, key, once), Ok(()), "{key:?}");
        assert!(try_one(&table, AT, key, once).is_err(), "{key:?}");
    }
    assert_eq!(Class::FailedCredential.told_as(), RateClass::Ip);
}

// EDGE-93
#[test]
fn a_limit_can_be_asked_first_and_debited_at_the_end() {
    let table = table(100);
    let quota = Quota::per(10, SECOND, 20);
    for used in 0..20 {
        assert_eq!(left(&table, AT, addr(1), &quota), 20 - used);
        assert_eq!(
            left(&table, AT, addr(1), &quota),
            20 - used,
            "asking costs nothing"
        );
        table.debit(AT, &Claim::key(addr(1), quota));
    }
    for _ in 0..100 {
        table.debit(AT, &Claim::key(addr(1), quota));
    }
    assert_eq!(
        table.peek(AT, &Claim::key(addr(1), quota)),
        Verdict::Refuse {
            retry_after_ns: SECOND / 10
        }
    );
    assert_eq!(
        left(&table, MonoNanos(AT.0 + 2 * SECOND), addr(1), &quota),
        20
    );
}

// EDGE-91
#[test]
fn a_raised_limit_counts_at_once_and_a_lowered_one_too() {
    let table = table(100);
    let token = AtomicU64::new(0);
    let (daily, quick) = (Quota::per(1, DAY, 1), Quota::per(10, SECOND, 1));
    let soon = MonoNanos(AT.0 + SECOND / 10);
    for place in ["table", "cell"] {
        let ask = |now, quota| {
            let claim = if place == "cell" {
                Claim::cell(&token, quota)
            } else {
                Claim::key(addr(1), quota)
            };
            table.admit(now, &mut [claim])
        };
        assert_eq!(ask(AT, daily), Ok(()), "{place}");
        assert!(ask(AT, quick).is_err(), "{place}: it is still owed");
        assert_eq!(
            ask(soon, quick),
            Ok(()),
            "{place}: not for the rest of the day"
        );
        assert!(
            ask(MonoNanos(soon.0 + SECOND / 10 - 1), daily).is_err(),
            "{place}: lowered again"
        );
    }
}

// EDGE-85
#[test]
fn parallel_requests_get_exactly_what_there_is() {
    let table = table(1_000);
    let (whole, each) = (Quota::per(1, DAY, 500), Quota::per(1, DAY, 30));
    let token = AtomicU64::new(0);
    let cell_quota = Quota::per(1, DAY, 400);
    let admitted = AtomicUsize::new(0);
    let by_address: Vec<AtomicUsize> = (0..20).map(|_| AtomicUsize::new(0)).collect();
    std::thread::scope(|scope| {
        for thread in 0..4_usize {
            let (table, token, admitted, by_address) = (&table, &token, &admitted, &by_address);
            scope.spawn(move || {
                for round in 0..2_000_usize {
                    let address = (round * 7 + thread) % 20;
                    let key = addr(u32::try_from(address).unwrap());
                    let mut claims = [
                        Claim::key(key, each),
                        Claim::cell(token, cell_quota),
                        Claim::key(Key::whole(Class::Global), whole),
                    ];
                    if table.admit(AT, &mut claims).is_ok() {
                        admitted.fetch_add(1, Ordering::Relaxed);
                        by_address[address].fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!(
        admitted.load(Ordering::Relaxed),
        400,
        "the cell is the tightest of all"
    );
    assert_eq!(
        left(&table, AT, Key::whole(Class::Global), &whole),
        100,
        "refusals debited nothing"
    );
    for (number, count) in (0..).zip(&by_address) {
        let count = u64::try_from(count.load(Ordering::Relaxed)).unwrap();
        assert!(count <= 30);
        assert_eq!(left(&table, AT, addr(number), &each), 30 - count);
    }
}

// EDGE-88
#[test]
fn a_million_addresses_stay_within_the_bound() {
    const KEYS_MAX: usize = 100_000;
    let table = table(KEYS_MAX);
    let quota = Quota::per(10, SECOND, 2);
    let victim = Key::addr(Class::Ip, "192.0.2.1".parse().unwrap());
    let slow = Quota::per(1, DAY, 1);
    assert_eq!(try_one(&table, AT, victim, slow), Ok(()));
    for number in 0..1_000_000 {
        // A thousand addresses each millisecond, each live for at least 100 ms.
        let now = MonoNanos(AT.0 + u64::from(number) * 1_000);
        let admitted = try_one(&table, now, addr(0x0100_0000 + number), quota);
        assert!(
            admitted.is_ok() || table.len() == KEYS_MAX,
            "{number}: only a full table shares cells"
        );
        assert!(table.len() <= KEYS_MAX);
    }
    let after = MonoNanos(AT.0 + SECOND);
    assert!(
        try_one(&table, after, victim, slow).is_err(),
        "a live limit is never driven out"
    );
    // `an_entry_takes_no_more_than_128_bytes` bounds the other factor.
    const { assert!(KEYS_MAX * 128 < 32 * 1024 * 1024) };
}

// EDGE-88
#[test]
fn keys_that_have_passed_make_room_first() {
    let table = table(1_000);
    let quota = Quota::per(10, SECOND, 5);
    for number in 0..1_000 {
        assert_eq!(try_one(&table, AT, addr(number), quota), Ok(()));
    }
    assert_eq!(table.len(), 1_000);
    let passed = MonoNanos(AT.0 + SECOND / 10);
    for number in 1_000..2_000 {
        for _ in 0..5 {
            assert_eq!(
                try_one(&table, passed, addr(number), quota),
                Ok(()),
                "{number} has a cell of its own"
            );
        }
        assert!(try_one(&table, passed, addr(number), quota).is_err());
    }
    assert_eq!(table.len(), 1_000);
}

// EDGE-88
#[test]
fn with_the_table_full_of_live_keys_new_ones_share_cells() {
    let table = table(1_000);
    let quota = Quota::per(1, DAY, 3);
    for number in 0..1_000 {
        assert_eq!(try_one(&table, AT, addr(number), quota), Ok(()));
    }
    let newcomers = (1_000..100_000).flat_map(|number| [number; 4]);
    let admitted = newcomers
        .filter(|number| try_one(&table, AT, addr(*number), quota).is_ok())
        .count();
    assert!(
        (3..=3 * 1_024).contains(&admitted),
        "{admitted} of 1024 shared cells"
    );
    for number in 0..1_000 {
        assert_eq!(
            left(&table, AT, addr(number), &quota),
            2,
            "a key with its own entry lost nothing"
        );
    }
    let token = Key::id(Class::Token, [7; 16]);
    assert_eq!(
        left(&table, AT, token, &quota),
        3,
        "other classes share other cells"
    );
    assert_eq!(table.len(), 1_000);
}

#[test]
fn a_table_of_no_keys_still_limits() {
    let table = table(0);
    let quota = Quota::per(1, DAY, 2);
    let admitted = (0..10)
        .filter(|_| try_one(&table, AT, addr(1), quota).is_ok())
        .count();
    assert_eq!(admitted, 2);
    assert!(table.is_empty());
}

/// One request of the laws below.
#[derive(Clone, Debug)]
struct Step {
    address: u32,
    gap_ns: u64,
    debited_at_the_end: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..12_u32, 0..400_000_u64, prop::bool::weighted(0.2));
    let step = step.prop_map(|(address, gap_ns, debited_at_the_end)| Step {
        address,
        gap_ns,
        debited_at_the_end,
    });
    prop::collection::vec(step, 1..200)
}

/// What the table says to each step beside what a cell per address would, which is kept in step
/// with what was let through.
fn run(keys_max: usize, steps: &[Step]) -> Vec<(bool, bool)> {
    let table = RateTable::new(keys_max, BuildHasherDefault::<DefaultHasher>::default());
    let quota = Quota::per(1_000, SECOND, 3);
    let mut cells: HashMap<u32, u64> = HashMap::new();
    let mut now = AT;
    let mut verdicts = Vec::new();
    for step in steps {
        now = MonoNanos(now.0 + step.gap_ns);
        let tat = cells.entry(step.address).or_default();
        let allowed = matches!(quota.check(*tat, now), Verdict::Pass { .. });
        let passed = if step.debited_at_the_end {
            let passed = matches!(
                table.peek(now, &Claim::key(addr(step.address), quota)),
                Verdict::Pass { .. }
            );
            table.debit(now, &Claim::key(addr(step.address), quota));
            *tat = quota.charge(*tat, now);
            passed
        } else {
            let passed = table
                .admit(now, &mut [Claim::key(addr(step.address), quota)])
                .is_ok();
            if passed {
                *tat = quota.charge(*tat, now);
            }
            passed
        };
        assert!(table.len() <= keys_max);
        verdicts.push((passed, allowed));
    }
    verdicts
}

proptest! {
    // EDGE-85
    #[test]
    fn a_table_with_room_is_a_cell_for_each_key(steps in steps()) {
        for (passed, allowed) in run(64, &steps) {
            prop_assert_eq!(passed, allowed);
        }
    }

    /// While all keys are live, sharing makes nobody's limit wider.
    // EDGE-88
    #[test]
    fn a_full_table_is_never_more_generous(mut steps in steps(), keys_max in 0..6_usize) {
        for step in &mut steps {
            step.gap_ns = 0;
        }
        for (passed, allowed) in run(keys_max, &steps) {
            prop_assert!(allowed || !passed);
        }
    }
}

// EDGE-85
#[test]
fn a_debit_is_given_back_as_far_as_it_still_counts() {
    let table = table(100);
    let quota = Quota::per(10, SECOND, 5);
    let cell = AtomicU64::new(0);
    {
        let claim = || Claim::key(addr(7), quota);
        let mut taken = [claim()];
        for _ in 0..5 {
            assert_eq!(table.admit(AT, &mut taken), Ok(()));
        }
        assert!(table.admit(AT, &mut [claim()]).is_err());
        table.give_back(AT, &claim(), taken[0].tat());
        assert_eq!(table.admit(AT, &mut [claim()]), Ok(()));
        assert!(table.admit(AT, &mut [claim()]).is_err());
    }
    let claim = || Claim::cell(&cell, quota);
    let mut first = [claim()];
    assert_eq!(table.admit(AT, &mut first), Ok(()));
    // What was worked off meanwhile made room for others: nothing is left to give back.
    let later = MonoNanos(AT.0 + SECOND);
    for _ in 0..5 {
        assert_eq!(table.admit(later, &mut [claim()]), Ok(()));
    }
    table.give_back(later, &claim(), first[0].tat());
    assert!(table.admit(later, &mut [claim()]).is_err());
}
