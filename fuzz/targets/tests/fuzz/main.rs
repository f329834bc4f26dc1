//! The fuzz targets on stable Rust: every seed, then mutations of seeds, the same in every run.
//!
//! The short form runs with all other tests. The long form (`fuzz/run.sh` without libFuzzer) goes on
//! for `FUZZ_SECONDS` a target, from another starting point each time:
//! `cargo test --release -p tollkeep-fuzz-targets -- --ignored --nocapture`.

mod mutate;
mod seeds;

use mutate::{Dice, mutate};
use std::time::{Duration, Instant, SystemTime};
use tollkeep_fuzz_targets::TARGETS;

/// Longest that one input may take, debug build and busy machine included.
const INPUT_TIME_MAX: Duration = Duration::from_secs(10);

/// The short form: so many mutations.
fn smoke(name: &str, mutations: usize) {
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

/// The long form: mutations of what the run has come to, for so many seconds.
#[expect(clippy::disallowed_methods, clippy::print_stderr, reason = "a tool in the form of a test")]
fn soak(name: &str) {
    let seconds = std::env::var("FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(30);
    let (start, wall) = (Instant::now(), SystemTime::now());
    let since = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut dice = Dice::new(u64::try_from(since.as_nanos() & u128::from(u64::MAX)).unwrap());
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
    let target = TARGETS.iter().find(|(known, _)| *known == name).expect("a target of that name").1;
    let start = Instant::now();
    let ran = std::panic::catch_unwind(|| target(input));
    assert!(ran.is_ok(), "target {name} failed on b\"{}\"", input.escape_ascii());
    let took = start.elapsed();
    assert!(took < INPUT_TIME_MAX, "target {name} took {took:?} for b\"{}\"", input.escape_ascii());
}

macro_rules! targets {
    ($($name:ident: $mutations:literal,)*) => {
        mod short_form {
            $(#[test]
            fn $name() {
                super::smoke(stringify!($name), $mutations);
            })*
        }

        mod long_form {
            $(#[test]
            #[ignore = "soak"]
            fn $name() {
                super::soak(stringify!($name));
            })*
        }

        #[test]
        fn every_target_is_run() {
            let named = [$(stringify!($name)),*];
            assert_eq!(TARGETS.map(|(name, _)| name), named);
        }
    };
}

targets! {
    admission: 4000,
    answer: 4000,
    call: 4000,
    config: 300,
    egress: 2000,
    path: 8000,
    token: 2000,
    usage: 1000,
}
