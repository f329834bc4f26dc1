//! Who is turned away while room is short, and from when on it is.

use tollkeep_policy::shed::{Memory, Pressure, Thresholds, admits, combined, retry_after_s};

// EDGE-54
#[test]
fn room_is_short_from_its_share_on_and_gone_half_way_to_the_end() {
    let memory = Thresholds::new(1000, 90);
    for (used, want) in [
        (0, Pressure::None),
        (899, Pressure::None),
        (900, Pressure::High),
        (949, Pressure::High),
        (950, Pressure::Full),
        (2000, Pressure::Full),
    ] {
        assert_eq!(memory.pressure(used), want, "{used}");
    }
    for (max, percent, used, want) in [
        (10, 90, 9, Pressure::None),
        (10, 90, 10, Pressure::High),
        (10, 90, 11, Pressure::Full),
        (8, 90, 8, Pressure::None),
        (8, 90, 9, Pressure::Full),
        (10, 100, 10, Pressure::None),
        (1, 50, 1, Pressure::None),
    ] {
        let count = Thresholds::of_count(max, percent);
        assert_eq!(count.pressure(used), want, "{used} of {max}");
    }
    let all = Thresholds::new(u64::MAX, 100);
    assert_eq!(all.pressure(u64::MAX - 1), Pressure::None);
    assert_eq!(all.pressure(u64::MAX), Pressure::Full);
}

// EDGE-54
#[test]
fn what_bodies_gave_back_counts_as_free_up_to_the_bound() {
    let mut memory = Memory::new(1000, 90);
    for (name, used, bodies, want) in [
        ("little", 300, 0, Pressure::None),
        ("bodies come", 920, 500, Pressure::High),
        ("and go, what they took is kept", 920, 100, Pressure::None),
        ("others come in their place", 920, 450, Pressure::None),
        ("all of it is taken again", 960, 500, Pressure::Full),
        ("beyond the bound nothing is free", 1000, 0, Pressure::Full),
        ("what was kept is given back", 500, 0, Pressure::None),
        ("something else takes it", 920, 0, Pressure::High),
    ] {
        assert_eq!(memory.pressure(used, bodies), want, "{name}");
    }
}

// EDGE-54
#[test]
fn strangers_go_first_then_everybody() {
    for (name, pressure, known, want) in [
        ("room for all", Pressure::None, false, true),
        ("short: a stranger", Pressure::High, false, false),
        ("short: somebody known", Pressure::High, true, true),
        ("gone: a stranger", Pressure::Full, false, false),
        ("gone: somebody known", Pressure::Full, true, false),
    ] {
        assert_eq!(admits(pressure, || known), want, "{name}");
    }
}

// EDGE-54
#[test]
fn a_few_run_however_short_memory_is_but_not_beyond_the_count() {
    let (none, high, full) = (Pressure::None, Pressure::High, Pressure::Full);
    for (memory, count, running, want) in [
        (none, none, 500, none),
        (full, none, 16, none),
        (full, none, 17, full),
        (high, none, 17, high),
        (high, full, 17, full),
        (full, high, 17, full),
        (full, high, 3, high),
        (none, full, 3, full),
    ] {
        let pressure = combined(memory, count, running);
        assert_eq!(pressure, want, "{memory:?} {count:?} {running}");
    }
}

// EDGE-54
#[test]
fn those_turned_away_come_back_at_different_times() {
    let waits: Vec<u64> = (0..5).map(retry_after_s).collect();
    let mut sorted = waits.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, [1, 2, 3, 4, 5]);
    assert!(waits.windows(2).all(|pair| pair[0].abs_diff(pair[1]) > 1));
    assert!((0..1000).all(|turn| (1..=5).contains(&retry_after_s(turn))));
}
