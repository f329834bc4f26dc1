//! `tollkeep-sim`: many runs of the ledger's core with faults, each from a seed.

#![expect(clippy::print_stdout, reason = "a program that tells what it found")]

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use tollkeep_sim::sim::faults::{Fault, Scenario};
use tollkeep_sim::sim::run::{Verdict, run, shrink};

const USAGE: &str = "usage: tollkeep-sim [--seeds N] [--seed S] [--requests M] [--replicas R] [--minutes T]
                    [--without crash,pause,…] [--jobs J] [--trace]

Runs the ledger's core in a world where things go wrong, from the seed S on, N seeds. After each event it
looks whether what was sent is covered and nothing is over its limit. A seed that fails is run again with
less in it, and the command that replays it is printed. Exit 8: a violation; 2: wrong arguments.";

/// How much of a trace is printed.
const TRACE_LINES: usize = 60;

#[derive(Clone, Debug, Default)]
struct Wanted {
    seeds: u64,
    first: u64,
    requests: Option<u32>,
    replicas: Option<u32>,
    minutes: Option<u32>,
    without: Vec<Fault>,
    jobs: u64,
    trace: bool,
}

impl Wanted {
    fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut wanted = Self {
            seeds: 0,
            jobs: 2,
            ..Self::default()
        };
        let mut one = None;
        while let Some(name) = arguments.next() {
            if name == "--trace" {
                wanted.trace = true;
                continue;
            }
            let value = arguments
                .next()
                .ok_or_else(|| format!("`{name}` wants a value, or is no option"))?;
            let number = value.parse::<u64>();
            let number = number.map_err(|_| format!("`{name}`: `{value}` is no number"));
            let small = number.clone().and_then(|number| {
                u32::try_from(number).map_err(|_| format!("`{name}`: `{value}` is too large"))
            });
            match name.as_str() {
                "--seeds" => wanted.seeds = number?,
                "--seed" => one = Some(number?),
                "--requests" => wanted.requests = Some(small?.clamp(1, 100_000)),
                "--replicas" => wanted.replicas = Some(small?.clamp(1, 4)),
                "--minutes" => wanted.minutes = Some(small?.clamp(1, 600)),
                "--jobs" => wanted.jobs = number?.clamp(1, 64),
                "--without" => wanted.without = faults(&value)?,
                _ => return Err(format!("`{name}` is no option")),
            }
        }
        wanted.first = one.unwrap_or(1);
        if wanted.seeds == 0 {
            wanted.seeds = if one.is_some() { 1 } else { 1000 };
        }
        Ok(wanted)
    }

    fn scenario(&self, seed: u64) -> Scenario {
        let mut scenario = Scenario::of_seed(seed);
        scenario.requests = self.requests.unwrap_or(scenario.requests);
        scenario.replicas = self.replicas.unwrap_or(scenario.replicas);
        scenario.minutes = self.minutes.unwrap_or(scenario.minutes);
        for fault in &self.without {
            scenario.faults = scenario.faults.without(*fault);
        }
        scenario
    }
}

fn faults(names: &str) -> Result<Vec<Fault>, String> {
    let of_name = |name: &str| {
        let found = Fault::ALL.iter().find(|(_, known)| *known == name);
        found
            .map(|(fault, _)| *fault)
            .ok_or_else(|| format!("`{name}` is no fault"))
    };
    names.split(',').map(of_name).collect()
}

fn main() -> ExitCode {
    let wanted = match Wanted::read(std::env::args().skip(1)) {
        Ok(wanted) => wanted,
        Err(problem) => {
            println!("{problem}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let total = Mutex::new((Verdict::default(), None::<u64>));
    let next = AtomicU64::new(wanted.first);
    let end = wanted.first.saturating_add(wanted.seeds);
    std::thread::scope(|threads| {
        for _ in 0..wanted.jobs.min(wanted.seeds) {
            threads.spawn(|| work(&wanted, &next, end, &total));
        }
    });
    let (sum, failed) = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!(
        "{} seeds, {} events, {} calls granted, {} refused",
        wanted.seeds, sum.events, sum.granted, sum.refused
    );
    match failed {
        None => ExitCode::SUCCESS,
        Some(seed) => {
            tell_failure(&wanted, seed);
            ExitCode::from(8)
        }
    }
}

fn work(wanted: &Wanted, next: &AtomicU64, end: u64, total: &Mutex<(Verdict, Option<u64>)>) {
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= end {
            return;
        }
        let verdict = run(&wanted.scenario(seed), false);
        let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
        total.0.events += verdict.events;
        total.0.granted += verdict.granted;
        total.0.refused += verdict.refused;
        if verdict.violation.is_some() {
            total.1 = Some(total.1.map_or(seed, |other| other.min(seed)));
            next.store(end, Ordering::Relaxed);
        }
    }
}

fn tell_failure(wanted: &Wanted, seed: u64) {
    let scenario = wanted.scenario(seed);
    let small = shrink(&scenario);
    let verdict = run(&small, true);
    println!(
        "seed {seed} fails: {}",
        verdict.violation.unwrap_or_default()
    );
    println!("replay: {}", small.command());
    let lines = if wanted.trace {
        usize::MAX
    } else {
        TRACE_LINES
    };
    let from = verdict.trace.len().saturating_sub(lines);
    println!("the last of its trace:");
    for line in verdict.trace.iter().skip(from) {
        println!("{line}");
    }
}
