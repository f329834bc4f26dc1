//! Running inputs: the short form and the long one.

use crate::mutate::{Dice, mutate};
use crate::seeds;
use std::time::{Duration, Instant, SystemTime};
use tollkeep_fuzz_targets::TARGETS;

/// Longest that one input may take, debug build and busy machine included.
const INPUT_TIME_MAX: Duration = Duration::from_secs(10);

/// The short form: so many mutations.
pub(crate) fn smoke(name: &str, mutations: usize) {
    let seeds = seeds::of(name);
    assert!(!seeds.is_empty(), "fuzz/corpus/{name} is empty");
    for seed in &seeds {
        run(name, seed);
    }
    let mut dice = Dice::new(0x5eed);
    for _ in 0..mutations {
        run(name, &mutate(&mut dice, &seeds));
    }
}

/// The long form: mutations of seeds for so many seconds.
#[expect(clippy::disallowed_methods, reason = "a tool in the form of a test")]
pub(crate) fn soak(name: &str) {
    let seconds = std::env::var("FUZZ_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(30);
    let (start, wall) = (Instant::now(), SystemTime::now());
    let since = wall
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let mut dice = Dice::new(since.as_secs() ^ (u64::from(since.subsec_nanos()) << 32));
    let seeds = seeds::of(name);
    let mut runs = 0_u64;
    while start.elapsed() < Duration::from_secs(seconds) {
        run(name, &mutate(&mut dice, &seeds));
        runs += 1;
    }
    eprintln!("{name}: {runs} inputs in {seconds} s");
}

/// Runs one input; one that fails is told, so that it can become a seed.
#[expect(clippy::disallowed_methods, reason = "measures, decides nothing")]
fn run(name: &str, input: &[u8]) {
    let target = TARGETS
        .iter()
        .find(|(known, _)| *known == name)
        .expect("a target of that name")
        .1;
    let start = Instant::now();
    let ran = std::panic::catch_unwind(|| target(input));
    assert!(
        ran.is_ok(),
        "target {name} failed on b\"{}\"",
        input.escape_ascii()
    );
    let took = start.elapsed();
    assert!(
        took < INPUT_TIME_MAX,
        "target {name} took {took:?} for b\"{}\"",
        input.escape_ascii()
    );
}
