//! One run from its scenario to its verdict, and how a failed one is made smaller.

use super::accounts;
use super::call::{Call, Fate, Habits};
use super::faults::{Fault, Faults, Scenario};
use super::random::Random;
use super::replica::Replica;
use super::world::{MS, What, World};
use crate::ledger::amount::{Amount, Charge, Measure};
use crate::ledger::budget::{Budget, Durability, OnShort, Scope};
use crate::ledger::hold::Sure;
use crate::ledger::keeper::Event;
use crate::ledger::row::{Enforcement, Pot, Quality};
use crate::ledger::step::Command;
use crate::ledger::window::{Period, Window, WindowKey, Zone};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use tollkeep_types::{AccountId, BudgetId, ReplicaId, TenantId, WallMillis};

/// How long a world has to come to rest after the last call.
const REST_MS: u64 = 30 * 60_000;
/// Moments shortly before days, months, years and summer times end somewhere.
const BEGINNINGS: [(u64, &str); 6] = [
    (1_774_738_500_000, "Europe/Berlin"), // 2026-03-28T22:55:00Z, a day of 23 hours begins
    (1_792_882_500_000, "Europe/Berlin"), // 2026-10-24T21:55:00Z, a day of 25 hours begins
    (1_796_082_900_000, "UTC"),           // 2026-11-30T23:55:00Z
    (1_798_757_700_000, "UTC"),           // 2026-12-31T22:55:00Z
    (1_788_667_080_000, "America/Santiago"), // 2026-09-06T03:58:00Z, a day without midnight begins
    (1_795_352_400_000, "Asia/Kolkata"),  // an ordinary noon
];

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    pub events: u64,
    pub granted: u32,
    pub refused: u32,
    pub violation: Option<String>,
    pub trace: Vec<String>,
}

/// Runs a scenario to its end, or to the first violation.
pub fn run(scenario: &Scenario, with_trace: bool) -> Verdict {
    let mut world = world_of(scenario);
    world.trace = with_trace.then(Vec::new);
    let mut verdict = Verdict::default();
    verdict.violation = live(&mut world, scenario, &mut verdict.events).err();
    verdict.granted = world.granted;
    verdict.refused = world.refused;
    verdict.trace = world.trace.unwrap_or_default();
    verdict
}

/// The budgets of a scenario, and every command that its store is given, when.
pub fn commands(scenario: &Scenario) -> (Vec<Budget>, Vec<(Command, WallMillis)>) {
    let mut world = world_of(scenario);
    world.store.given = Some(Vec::new());
    let budgets = world.budgets.clone();
    // Whether the run ends well is asked elsewhere.
    drop(live(&mut world, scenario, &mut 0));
    (budgets, world.store.given.unwrap_or_default())
}

fn live(world: &mut World, scenario: &Scenario, events: &mut u64) -> Result<(), String> {
    world.pay_in(Amount::new(20_000).unwrap_or(Amount::ZERO))?;
    for replica in 0..world.replicas.len() {
        world.start(replica);
    }
    let last = u64::from(scenario.minutes) * 60_000 * MS;
    run_until(world, last, events)?;
    heal(world);
    // Calls that are on their way may last, and what they hold is renewed meanwhile.
    let calls_over = last + 8 * 60_000 * MS;
    run_until(world, calls_over, events)?;
    for replica in 0..world.replicas.len() {
        world.tell(replica, Event::Drain);
    }
    let mut until = calls_over;
    while !at_rest(world) {
        until += 5_000 * MS;
        if until > calls_over + REST_MS * MS {
            return Err(format!("not at rest: {}", unrest(world)));
        }
        run_until(world, until, events)?;
    }
    conclude(world)
}

fn run_until(world: &mut World, until: u64, events: &mut u64) -> Result<(), String> {
    while let Some(done) = world.step(until) {
        *events += 1;
        done?;
    }
    Ok(())
}

/// Nothing more goes wrong, and whoever is away comes back.
fn heal(world: &mut World) {
    world.faults = Faults::default();
    // A clock that went back lets everything live for longer, up to a day; that is not waited for.
    world.jump = world.jump_most;
    world.say(|| "nothing more goes wrong".to_owned());
    for at in 0..world.replicas.len() {
        if let Some(replica) = world.replicas.get_mut(at) {
            replica.paused_until = 0;
        }
        world.start(at);
    }
}

fn at_rest(world: &World) -> bool {
    let idle = |replica: &Replica| {
        let process = replica.process.as_ref();
        process.is_some_and(|it| it.keeper.is_resting() && it.in_hand.is_empty())
    };
    world.replicas.iter().all(idle)
        && world
            .store
            .holds
            .values()
            .all(|row| row.state.is_terminal())
        && world
            .store
            .leases
            .values()
            .all(|row| !matches!(row.state, crate::ledger::row::LeaseState::Active))
}

fn unrest(world: &World) -> String {
    let holds = world.store.holds.values();
    let holds: Vec<_> = holds.filter(|row| !row.state.is_terminal()).collect();
    let leases: Vec<_> = world
        .store
        .leases
        .values()
        .filter(|row| matches!(row.state, crate::ledger::row::LeaseState::Active))
        .collect();
    let keepers: Vec<_> = world
        .replicas
        .iter()
        .map(|replica| {
            let process = replica.process.as_ref();
            process.map(|process| process.keeper.is_resting())
        })
        .collect();
    format!("holds {holds:?}, leases {leases:?}, keepers {keepers:?}")
}

/// At rest everything is terminal, costs are exactly what they were, and nothing is in doubt but
/// for what a fault took with it.
fn conclude(world: &mut World) -> Result<(), String> {
    resolve_unknown(world)?;
    accounts::conclude(world)?;
    accounts::check_borne(world)?;
    world.audit.check(&world.store)?;
    world.audit.check_sums(&world.store)?;
    let mut want: BTreeMap<(WindowKey, bool), i128> = BTreeMap::new();
    for call in world.calls.values() {
        if world.lives(call) && call.granted && !world.store.usage.contains_key(&call.hold) {
            return Err(format!("{:?} has no usage record", call.hold));
        }
        for cover in world.audit.covers_of(call.hold) {
            if let Pot::Window(key) = cover.pot {
                let rolls = world.store.rolls(key.budget);
                let cost = match call.sure {
                    Sure::Bound | Sure::Price => told(call).of(cover.measure).min(cover.taken),
                    Sure::Guess => told(call).of(cover.measure),
                };
                *want.entry((key, rolls)).or_default() += i128::from(cost.units());
            }
        }
    }
    let lost = world
        .store
        .leases
        .values()
        .any(|row| matches!(row.state, crate::ledger::row::LeaseState::Lost));
    if lost && !world.may_lose_slices {
        return Err("a slice was lost, and nothing went wrong".to_owned());
    }
    // Who reached a step for a moment is told of it by the answer, if that arrives.
    let untold = world.audit.untold(&world.store, world.answers_arrive);
    if !world.may_lose_slices && !world.limits_change && !untold.is_empty() {
        return Err(format!("nobody was told of {untold:?}"));
    }
    if world.may_lose_slices {
        return Ok(());
    }
    for (key, row) in &world.store.windows {
        let want = want.get(&(*key, false)).copied().unwrap_or(0);
        if !world.store.rolls(key.budget) && i128::from(row.spent.units()) != want {
            return Err(format!("{key:?}: calls cost {want}: {row:?}"));
        }
    }
    Ok(())
}

/// What was written down for a call that is over, once unknown costs are known.
pub(super) const fn told(call: &Call) -> Charge {
    match call.fate {
        Fate::Cancelled | Fate::NotBilled | Fate::Borne => Charge::NOTHING,
        Fate::Told(_) => call.told,
        Fate::NotTold | Fate::Dropped => call.truth,
    }
}

/// An operator finds out what calls of unknown cost did.
fn resolve_unknown(world: &mut World) -> Result<(), String> {
    let unknown: Vec<_> = world
        .store
        .usage
        .values()
        .filter(|row| row.quality == Quality::Unknown && !row.corrected)
        .cloned()
        .collect();
    for usage in unknown {
        let Some(call) = world.calls.get(&usage.hold) else {
            return Err(format!("usage of a hold nobody asked for: {usage:?}"));
        };
        let actual = if call.sent {
            told(call)
        } else {
            Charge::NOTHING
        };
        let command = Command::Correct {
            usage: Box::new(usage),
            actual: Box::new(actual),
            asked: None,
        };
        for (again, want) in [(false, true), (true, false)] {
            let reply = world.operate(&command)?;
            let done = reply.is_some_and(|reply| reply.refusal.is_none());
            if done != want {
                return Err(format!("a correction, again {again}: {done}: {command:?}"));
            }
        }
    }
    Ok(())
}

fn world_of(scenario: &Scenario) -> World {
    let mut random = Random::new(scenario.seed ^ 0xabcd_ef01);
    let habits = Habits {
        same_bound: random.one_in(3),
        long_calls: random.one_in(2),
    };
    let mut world = World::empty(scenario, habits);
    let beginning = random.pick(&BEGINNINGS).unwrap_or((0, "UTC"));
    world.wall = beginning.0;
    for _ in 0..random.between(1, 4) {
        let budget = budget(&mut random, beginning.1);
        world.store.budgets.insert(budget.id, budget.clone());
        world.budgets.push(budget);
    }
    if random.one_in(3) {
        let measures = [Measure::Cost, Measure::Tokens, Measure::Requests];
        let measure = random.pick(&measures).unwrap_or(Measure::Cost);
        world.account = Some((AccountId::from_bytes(random.id()), measure));
    }
    for _ in 0..scenario.replicas.clamp(1, 4) {
        world.replicas.push(Replica {
            id: ReplicaId::from_bytes(random.id()),
            process: None,
            life: 0,
            paused_until: 0,
            offset: random.below(1_000_000_000_000),
        });
    }
    let span = u64::from(scenario.minutes) * 60_000;
    plan_calls(&mut world, &mut random, scenario, span);
    plan_faults(&mut world, &mut random, scenario, span);
    world
}

fn budget(random: &mut Random, zone: &str) -> Budget {
    let measure = match random.below(6) {
        0 => Measure::Requests,
        1 => Measure::Tokens,
        2 => Measure::OutputTokens,
        _ => Measure::Cost,
    };
    let call = match measure {
        Measure::Requests => 1,
        Measure::Cost => 500,
        Measure::Tokens | Measure::OutputTokens | Measure::BillableTokens => 2000,
    };
    let calls = match random.below(3) {
        0 => random.between(0, 12),
        1 => random.between(20, 80),
        _ => random.between(200, 2000),
    };
    let window = match random.below(5) {
        0 => Window::Lifetime,
        1 => Window::Rolling {
            bucket_ms: random.between(100, 2_000),
        },
        2 => calendar(Period::Month, "UTC"),
        _ => calendar(Period::Day, zone),
    };
    let limit = i64::try_from(call * calls + random.below(call)).unwrap_or(0);
    Budget {
        id: BudgetId::from_bytes(random.id()),
        tenant: TenantId::from_bytes([1; 16]),
        scope: Scope::Tenant(TenantId::from_bytes([1; 16])),
        measure,
        limit: Amount::new(limit).unwrap_or(Amount::ZERO),
        window,
        enforcement: match random.below(10) {
            0 => Enforcement::Observe,
            1 | 2 => Enforcement::Soft,
            _ => Enforcement::Hard,
        },
        on_short: OnShort::Refuse,
        durability: if random.one_in(4) {
            Durability::Strict
        } else {
            Durability::Lease
        },
        warn: vec![50, 80, 100],
    }
}

fn calendar(period: Period, name: &str) -> Window {
    // Zones are slow to read.
    static ZONES: Mutex<Vec<Zone>> = Mutex::new(Vec::new());
    let mut zones = ZONES.lock().unwrap_or_else(PoisonError::into_inner);
    let known = zones.iter().find(|zone| zone.name() == name).cloned();
    let zone = known.unwrap_or_else(|| {
        let zone = Zone::named(name).unwrap_or_else(|_| Zone::utc());
        zones.push(zone.clone());
        zone
    });
    drop(zones);
    Window::Calendar { period, zone }
}

fn plan_calls(world: &mut World, random: &mut Random, scenario: &Scenario, span: u64) {
    let replicas = world.replicas.len();
    let mut at = 0;
    let step = span * 2 / u64::from(scenario.requests.max(1));
    let burst = random.one_in(3);
    for _ in 0..scenario.requests {
        let mut call = Call::drawn(random, scenario.faults, world.habits);
        // The number of replicas may be made smaller without another world coming of it.
        call.replica = usize::try_from(random.below(1 << 20)).unwrap_or(0) % replicas.max(1);
        for budget in &world.budgets {
            if !random.one_in(4) {
                call.budgets.push(budget.id);
            }
        }
        if random.one_in(3) {
            call.account = world.account;
        }
        let counting = |budget: &&Budget| call.budgets.contains(&budget.id);
        let is_hard = |budget: &Budget| budget.enforcement == Enforcement::Hard;
        if call.account.is_none()
            && !call.budgets.is_empty()
            && !world.budgets.iter().filter(counting).any(is_hard)
        {
            call.guessed(random);
        }
        at += if burst && !random.one_in(20) {
            random.below(3)
        } else {
            random.below(step.max(1))
        };
        world.at(at.min(span) * MS, What::Arrive(Box::new(call)));
    }
}

fn plan_faults(world: &mut World, random: &mut Random, scenario: &Scenario, span: u64) {
    let faults = scenario.faults;
    world.may_lose_slices = faults.may_lose_slices();
    world.answers_arrive = faults.answers_arrive();
    world.limits_change = faults.has(Fault::Limits) || faults.has(Fault::Budgets);
    let budgets: Vec<_> = world.budgets.iter().map(|b| (b.id, b.limit)).collect();
    // Each kind draws its own numbers, so that leaving one out leaves the others as they are.
    for (fault, _) in Fault::ALL {
        let mut random = Random::new(random.next());
        if !faults.has(fault) {
            continue;
        }
        for _ in 0..random.between(1, 4) {
            let at = random.below(span) * MS;
            let replica = usize::try_from(random.below(4)).unwrap_or(0) % world.replicas.len();
            match fault {
                Fault::Crash => {
                    world.at(at, What::Crash(replica));
                    let back = at + random.between(0, 200_000) * MS;
                    world.at(back, What::Start(replica));
                }
                Fault::Pause => {
                    let ms = random.between(1_000, 240_000);
                    world.at(at, What::Pause(replica, ms));
                }
                Fault::Outage => {
                    world.at(at, What::Outage(random.between(100, 120_000)));
                }
                Fault::Clock => {
                    // By up to a day, or by so little that it is made good within the run.
                    let most = if random.one_in(2) { 86_400_000 } else { 90_000 };
                    let ms = i64::try_from(random.below(2 * most)).unwrap_or(0);
                    world.at(at, What::Jump(ms.saturating_sub_unsigned(most)));
                    // Leases run out by a clock that went back.
                    if random.one_in(3) {
                        let soon = at + random.between(0, 40_000) * MS;
                        world.at(soon, What::Outage(random.between(80_000, 150_000)));
                    }
                }
                Fault::Limits => {
                    if let Some((budget, limit)) = random.pick(&budgets) {
                        let limit = other_limit(&mut random, limit);
                        world.at(at, What::Limit(budget, limit));
                    }
                }
                Fault::Budgets => {
                    if let Some((budget, limit)) = random.pick(&budgets) {
                        let limit = other_limit(&mut random, limit);
                        let ends = random.one_in(2);
                        let change = What::ChangeBudget(budget, limit);
                        let end = What::EndBudget(budget);
                        world.at(at, if ends { end } else { change });
                    }
                }
                Fault::Loss
                | Fault::Twice
                | Fault::Delay
                | Fault::Write
                | Fault::Upstream
                | Fault::Task => {}
            }
        }
    }
}

/// From nothing to twice as much.
fn other_limit(random: &mut Random, limit: Amount) -> Amount {
    let units = u64::try_from(limit.units()).unwrap_or(0);
    let limit = i64::try_from(random.below(units * 2 + 2)).unwrap_or(0);
    Amount::new(limit).unwrap_or(Amount::ZERO)
}

/// A smaller scenario that fails too: without faults that do not matter, with fewer replicas, and
/// with as few calls as it takes.
pub fn shrink(scenario: &Scenario) -> Scenario {
    let fails = |scenario: &Scenario| run(scenario, false).violation.is_some();
    let mut small = scenario.clone();
    for (fault, _) in Fault::ALL {
        let mut next = small.clone();
        next.faults = next.faults.without(fault);
        if next.faults != small.faults && fails(&next) {
            small = next;
        }
    }
    while small.replicas > 1 {
        let mut next = small.clone();
        next.replicas -= 1;
        if !fails(&next) {
            break;
        }
        small = next;
    }
    let mut cut = small.requests / 2;
    while cut > 0 {
        let mut next = small.clone();
        next.requests -= cut;
        if next.requests > 0 && fails(&next) {
            small = next;
            cut = cut.min(small.requests / 2);
        } else {
            cut /= 2;
        }
    }
    small
}
