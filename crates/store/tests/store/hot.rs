//! What the record of a call costs: its usage record, its entry and what its slice and window sum up.

use crate::ledger::{BUDGET, LEASE, LIFE, about, amount, budget, cost, job, key};
use crate::ledger_model::Pair;
use crate::world::{START, World};
use smallvec::smallvec;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tollkeep_ledger::amount::{Amount, Charge, Measure};
use tollkeep_ledger::budget::Budget;
use tollkeep_ledger::hold::{Ended, Outcome, SliceCover, Sure};
use tollkeep_ledger::row::Quality;
use tollkeep_ledger::step::Command;
use tollkeep_ledger::window::Window;
use tollkeep_store::ledger::{CallRecord, Job};
use tollkeep_types::usage::Flags;
use tollkeep_types::{HoldId, LineageId, RequestId, TokenId, WallMillis};

/// Calls of one transaction: as many as the gateway's writer gathers.
const CALLS: u32 = 512;
const BATCHES: u32 = 60;
/// Ticks of the kernel's clock of CPU time, of which there are a hundred in a second.
const TICK_US: u32 = 10_000;

/// What this process has used of its cores so far, in microseconds.
fn used_us() -> u32 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let (_, rest) = stat.rsplit_once(')').unwrap();
    let mut fields = rest.split_whitespace().skip(11);
    let mut ticks = || fields.next().unwrap().parse::<u32>().unwrap();
    (ticks() + ticks()) * TICK_US
}

/// An id as they are made: the time first, and behind it chance.
fn id(number: u32, seed: u32) -> [u8; 16] {
    let at = START + u64::from(number / 20);
    let chance =
        u64::from(number.wrapping_mul(0x9e37_79b9) ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let id = (u128::from(at) << 80) | (7 << 76) | u128::from(chance);
    id.to_be_bytes()
}

/// The end of a call that was paid from the slice.
fn end(number: u32) -> Command {
    Command::End {
        ended: Arc::new(Ended {
            hold: HoldId::from_bytes(id(number, 0)),
            bound: cost(164_202_500),
            sure: Sure::Bound,
            outcome: Outcome::Settled {
                quality: Quality::Reported,
                actual: Charge {
                    tokens: amount(39),
                    output_tokens: amount(30),
                    billable_tokens: amount(39),
                    requests: amount(1),
                    ..cost(322_500)
                },
            },
            owed: None,
            slices: smallvec![SliceCover {
                lease: LEASE,
                epoch: 1,
                key: key(0),
                measure: Measure::Cost,
                taken: amount(164_202_500),
                bucket: None,
                homeless: Amount::ZERO,
            }],
            strict: smallvec![],
        }),
        version: 0,
    }
}

#[tokio::test]
#[ignore = "a measurement: docs/performance.md has its command"]
async fn what_the_record_of_a_call_costs() {
    let budget = Budget {
        limit: amount(1 << 50),
        ..budget(Window::Lifetime)
    };
    let pair = Pair::new(&[budget], WallMillis(START)).await;
    let store = &pair.world.store;
    let (ledger, tenant) = (store.ledger(), store.default_tenant().id);
    let project = pair.world.project().await.id;
    let slice = Command::Take {
        lease: LEASE,
        budget: BUDGET,
        life: LIFE,
        amount: amount(1 << 40),
    };
    let answer = ledger.run(&[job(slice)]).await.pop().unwrap().unwrap();
    assert_eq!(answer.refusal, None);
    let mut number = 0;
    let (mut used, mut took) = (0, Duration::ZERO);
    for batch in 0..BATCHES {
        let jobs: Vec<_> = (0..CALLS)
            .map(|_| {
                number += 1;
                Job {
                    command: end(number),
                    about: Some(Arc::new(CallRecord {
                        // The first attempt has the bytes of its request's id, as the gateway gives them.
                        request: RequestId::from_bytes(id(number, 0)),
                        token: Some(TokenId::from_bytes([5; 16])),
                        lineage: Some(LineageId::from_bytes([6; 16])),
                        flags: Flags::NONE,
                        upstream_cost: None,
                        ..about(1, tenant, project)
                    })),
                }
            })
            .collect();
        let (cpu, at) = (used_us(), Instant::now());
        let answers = ledger.run(&jobs).await;
        if batch > 0 {
            used += used_us() - cpu;
            took += at.elapsed();
        }
        assert!(
            answers
                .iter()
                .all(|answer| answer.as_ref().unwrap().refusal.is_none())
        );
    }
    let calls = CALLS * (BATCHES - 1);
    let file = pair.world.home.path();
    let size = fs::metadata(&file).unwrap().len();
    println!(
        "a call: {:.1} us of CPU, {:.1} us, {} bytes of the file",
        f64::from(used) / f64::from(calls),
        took.as_secs_f64() * 1e6 / f64::from(calls),
        size / u64::from(calls),
    );
    assert_eq!(
        ledger.check().await.unwrap().violations,
        Vec::<String>::new()
    );
}

#[tokio::test]
#[ignore = "a measurement: docs/performance.md has its command"]
async fn what_the_record_of_a_call_that_no_budget_counts_costs() {
    let world = World::new().await;
    let (store, project) = (&world.store, world.project().await.id);
    let (ledger, tenant) = (store.ledger(), store.default_tenant().id);
    let (mut number, mut used, mut took) = (0, 0, Duration::ZERO);
    for batch in 0..BATCHES {
        let records: Vec<_> = (0..CALLS)
            .map(|_| {
                number += 1;
                CallRecord {
                    request: RequestId::from_bytes(id(number, 0)),
                    token: Some(TokenId::from_bytes([5; 16])),
                    lineage: Some(LineageId::from_bytes([6; 16])),
                    flags: Flags::NONE,
                    upstream_cost: None,
                    ..about(1, tenant, project)
                }
            })
            .collect();
        let (cpu, at) = (used_us(), Instant::now());
        ledger.record(&records).await.unwrap();
        if batch > 0 {
            used += used_us() - cpu;
            took += at.elapsed();
        }
    }
    let calls = CALLS * (BATCHES - 1);
    println!(
        "a call without a budget: {:.1} us of CPU, {:.1} us",
        f64::from(used) / f64::from(calls),
        took.as_secs_f64() * 1e6 / f64::from(calls),
    );
}
