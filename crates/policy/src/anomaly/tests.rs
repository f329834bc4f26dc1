//! Each signal at its bound, and the same answers for the same minutes.

use super::*;

/// A minute with so many requests, errors and refusals.
fn minute(minute: u64, (requests, errors, refusals): (u64, u64, u64)) -> Minute {
    Minute {
        minute,
        requests,
        errors,
        refusals,
        spend_nano: 0,
        networks: vec![1],
        clients: vec![1],
    }
}

/// A minute in which so much was spent.
fn spent(now: u64, spend_nano: u64) -> Minute {
    Minute {
        spend_nano,
        ..minute(now, (1, 0, 0))
    }
}

const DOLLAR: u64 = 1_000_000_000;
const START: u64 = 29_000_000;
const DAY: u64 = 1440;

fn from(network: u64, client: u64, now: u64) -> Minute {
    Minute {
        networks: vec![network],
        clients: vec![client],
        ..minute(now, (1, 0, 0))
    }
}

fn names(firings: &[Firing]) -> Vec<&'static str> {
    firings.iter().map(|firing| firing.signal.name()).collect()
}

/// What is known after so many minutes with this many requests each, and the minute that follows.
fn after(minutes: u64, requests: u64) -> (Habits, u64) {
    let mut habits = Habits::default();
    for passed in 0..minutes {
        let fired = habits.close(&minute(START + passed, (requests, 0, 0)), &Rules::default());
        assert_eq!(fired, [], "in minute {passed}");
    }
    (habits, START + minutes)
}

/// What is known after an hour in which so much was spent each minute.
fn after_spending(spend_nano: u64) -> (Habits, u64) {
    let mut habits = Habits::default();
    for passed in 0..60 {
        let fired = habits.close(&spent(START + passed, spend_nano), &Rules::default());
        assert_eq!(fired, [], "in minute {passed}");
    }
    (habits, START + 60)
}

// ID-40
#[test]
fn what_was_learnt_before_there_was_a_signal_is_kept() {
    let (mut habits, now) = after(60, 100);
    let mut kept = serde_json::to_value(&habits).unwrap();
    kept.as_object_mut().unwrap().remove("spend");
    kept["fired"].as_array_mut().unwrap().truncate(6);
    let mut read: Habits = serde_json::from_value(kept).unwrap();
    let next = minute(now, (160, 0, 0));
    let rules = Rules::default();
    assert_eq!(read.look(&next, &rules), habits.look(&next, &rules));
}

/// A name, what is known and the minute that follows, what happens in it, and what fires.
type Row<'r> = (
    &'r str,
    (Habits, u64),
    &'r dyn Fn(u64) -> Minute,
    &'r [&'r str],
);

// ID-40
#[test]
fn each_signal_fires_from_its_bound_on_and_not_before() {
    let calm = |minutes| after(minutes, 100);
    let few = |minutes| after(minutes, 1);
    let week = 7 * DAY;
    #[rustfmt::skip]
    let rows: Vec<Row<'_>> = vec![
        ("as ever", calm(60), &|now| minute(now, (100, 0, 0)), &[]),
        ("just below six deviations", calm(60), &|now| minute(now, (159, 0, 0)), &[]),
        ("six deviations", calm(60), &|now| minute(now, (160, 0, 0)), &["request_rate"]),
        ("before it is warm", calm(59), &|now| minute(now, (10_000, 0, 0)), &[]),
        ("many for it, few in all", few(60), &|now| minute(now, (59, 0, 0)), &[]),
        ("many for it", few(60), &|now| minute(now, (60, 0, 0)), &["request_rate"]),
        ("few failures", few(9), &|now| minute(now, (20, 11, 0)), &[]),
        ("half failed, with the minutes before", few(9), &|now| minute(now, (20, 12, 0)), &["error_ratio"]),
        ("too few to say", few(9), &|now| minute(now, (15, 15, 0)), &[]),
        ("the first minute of all", (Habits::default(), START), &|now| minute(now, (20, 10, 0)), &["error_ratio"]),
        ("with a good minute not long ago", few(9), &|now| minute(now + 3, (20, 10, 0)), &[]),
        ("with good minutes too long ago", few(9), &|now| minute(now + 4, (20, 10, 0)), &["error_ratio"]),
        ("nine refusals", few(9), &|now| minute(now, (9, 0, 9)), &[]),
        ("ten refusals", few(9), &|now| minute(now, (10, 0, 10)), &["policy_probe"]),
        ("another network while it is learnt", few(week - 1), &|now| from(2, 1, now), &[]),
        ("another network", few(week), &|now| from(2, 1, now), &["new_network"]),
        ("another client", few(week), &|now| from(1, 2, now), &["new_client"]),
        ("both", few(week), &|now| from(2, 2, now), &["new_network", "new_client"]),
        ("not quite silent enough", few(9), &|now| minute(now + 30 * DAY - 2, (1, 0, 0)), &[]),
        ("after a long silence", few(9), &|now| minute(now + 30 * DAY - 1, (1, 0, 0)), &["dormant_wake"]),
        ("the first use is no waking", (Habits::default(), START), &|now| minute(now, (1, 0, 0)), &[]),
        ("a dollar by one that spends nothing", few(60), &|now| spent(now, DOLLAR), &["spend_rate"]),
        ("just below a dollar", few(60), &|now| spent(now, DOLLAR - 1), &[]),
        ("a dollar before it is warm", few(59), &|now| spent(now, DOLLAR), &[]),
        ("as much as ever", after_spending(2 * DOLLAR), &|now| spent(now, 2 * DOLLAR), &[]),
        ("just below six tenths more", after_spending(2 * DOLLAR), &|now| spent(now, 3_199_000_000), &[]),
        ("six tenths more", after_spending(2 * DOLLAR), &|now| spent(now, 3_200_001_000), &["spend_rate"]),
        ("nothing happened", calm(60), &|now| minute(now, (0, 0, 0)), &[]),
    ];
    for (name, (habits, now), next, want) in rows {
        for is_over in [false, true] {
            let mut habits = habits.clone();
            let rules = Rules::default();
            let firings = if is_over {
                habits.close(&next(now), &rules)
            } else {
                habits.look(&next(now), &rules)
            };
            assert_eq!(names(&firings), want, "{name}, over: {is_over}");
        }
    }
}

// ID-41
#[test]
fn a_signal_that_fired_is_silent_for_a_quarter_of_an_hour() {
    let (mut habits, now) = after(9, 1);
    let rules = Rules::default();
    let probe = |at| minute(at, (10, 0, 10));
    assert_eq!(names(&habits.look(&probe(now), &rules)), ["policy_probe"]);
    assert_eq!(
        names(&habits.look(&probe(now), &rules)),
        [""; 0],
        "seen again"
    );
    assert_eq!(names(&habits.close(&probe(now), &rules)), [""; 0]);
    for passed in 1..=15 {
        assert_eq!(names(&habits.close(&probe(now + passed), &rules)), [""; 0]);
    }
    let fired = habits.close(&probe(now + 16), &rules);
    assert_eq!(
        fired,
        [Firing {
            signal: Signal::PolicyProbe,
            seen: 10,
            limit: 10
        }]
    );
}

// ID-40
#[test]
fn a_signal_that_is_off_never_fires_and_bounds_are_those_of_the_rules() {
    let off = Rules {
        request_rate: None,
        error_ratio: None,
        new_network: None,
        new_client: None,
        policy_probe: None,
        dormant_wake: None,
        spend_rate: None,
        ..Rules::default()
    };
    let (mut habits, now) = after(60, 1);
    let mut wild = minute(now + 60 * DAY, (1_000_000, 1_000_000, 1_000_000));
    wild.networks = vec![7];
    wild.clients = vec![7];
    wild.spend_nano = u64::MAX;
    assert_eq!(names(&habits.clone().look(&wild, &off)), [""; 0]);
    assert_eq!(habits.look(&wild, &Rules::default()).len(), 7);
    let strict = Rules {
        warmup: 1,
        request_rate: Some((1, 3)),
        ..off
    };
    let (mut habits, now) = after(1, 2);
    assert_eq!(
        names(&habits.look(&minute(now, (2, 0, 0)), &strict)),
        [""; 0]
    );
    let fired = habits.look(&minute(now, (3, 0, 0)), &strict);
    assert_eq!(names(&fired), ["request_rate"]);
}

// ID-41
#[test]
fn a_replay_gives_the_same_answers_also_from_what_was_kept_in_between() {
    let rules = Rules::default();
    // A generator of numbers that is the same every time.
    let mut seed = 88_172_645_463_325_252_u64;
    let mut random = move |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    let mut now = START;
    let minutes: Vec<Minute> = (0..20_000)
        .map(|_| {
            now += 1 + if random(500) == 0 { random(50_000) } else { 0 };
            let requests = 1 + random(80) + if random(300) == 0 { 5_000 } else { 0 };
            Minute {
                networks: vec![
                    random(40),
                    if random(100) == 0 { random(1 << 40) } else { 1 },
                ],
                clients: vec![if random(100) == 0 { random(1 << 40) } else { 1 }],
                spend_nano: if random(300) == 0 {
                    900_000_000_000
                } else {
                    random(1_000)
                },
                ..minute(now, (requests, random(requests), random(12)))
            }
        })
        .collect();
    let mut whole = Habits::default();
    let told: Vec<_> = minutes.iter().map(|m| whole.close(m, &rules)).collect();
    let fired = |signal| told.iter().flatten().any(|firing| firing.signal == signal);
    for signal in Signal::ALL {
        assert!(fired(signal), "{} never fired", signal.name());
    }
    let mut kept = Habits::default();
    for (minute, want) in minutes.iter().zip(&told) {
        assert_eq!(kept.close(minute, &rules), *want, "{}", minute.minute);
        let text = serde_json::to_string(&kept).unwrap();
        assert!(text.len() < 16_384, "what is kept is bounded");
        kept = serde_json::from_str(&text).unwrap();
    }
    assert_eq!(kept, whole);
}

// ID-40
#[test]
fn a_minute_that_comes_late_or_twice_changes_nothing() {
    let (mut habits, now) = after(60, 1);
    let before = habits.clone();
    for late in [now - 1, now - 30, 0] {
        let wild = minute(late, (10_000, 10_000, 10_000));
        assert_eq!(habits.close(&wild, &Rules::default()), []);
        assert_eq!(habits.look(&wild, &Rules::default()), []);
    }
    assert_eq!(habits, before);
}

// ID-40
#[test]
fn networks_not_seen_for_longest_make_room() {
    let mut habits = Habits::default();
    let rules = Rules::default();
    let from = |at: u64, network: u64| Minute {
        networks: vec![network],
        ..minute(START + at, (1, 0, 0))
    };
    let max = u64::try_from(NETWORKS_MAX).unwrap();
    for network in 0..=max {
        habits.close(&from(network, network), &rules);
    }
    assert_eq!(habits.networks.len(), NETWORKS_MAX);
    let later = 8 * DAY;
    assert_eq!(
        names(&habits.clone().look(&from(later, max), &rules)),
        [""; 0]
    );
    assert_eq!(
        names(&habits.look(&from(later, 0), &rules)),
        ["new_network"]
    );
}
