//! Limits that several replicas share, with a model of the script in the place of Redis: no window
//! sees more than one replica alone would let pass, and an outage refills nothing.

use proptest::prelude::*;
use std::collections::HashMap;
use std::hash::RandomState;
use std::io::{BufRead, BufReader, Write};
use tollkeep_counters::{
    Claim, Class, Counting, Given, Key, Leased, Leases, RateTable, Sharing, TAKE_SCRIPT, Taken,
    Want, probe_wait_ns,
};
use tollkeep_policy::rate::Quota;
use tollkeep_testkit::Redis;
use tollkeep_types::MonoNanos;

const SECOND: u64 = 1_000_000_000;
const MS: u64 = 1_000_000;
const START: u64 = 1_000 * SECOND;

/// What the script does, in whole ticks of 62.5 ns.
#[derive(Default)]
struct Model(HashMap<usize, i64>);

impl Model {
    /// Runs it at `now` for the limits with these numbers.
    fn run(&mut self, now: i64, keys: &[usize], wants: &[Want]) -> Vec<i64> {
        let mut limits = Vec::new();
        let (mut refused, mut wait) = (0, 0);
        for (at, (key, want)) in keys.iter().zip(wants).enumerate() {
            let [cell, burst, wanted, owed] = want.arguments();
            let known = self.0.get(key).copied().unwrap_or(now);
            let mut tat = (known.max(now) + owed).max(now);
            let mut room = 0;
            if burst > 0 {
                let full = cell * burst;
                tat = tat.min(now + full);
                room = (now + full - tat) / cell;
                if wanted > 0 && room < 1 && refused == 0 {
                    refused = i64::try_from(at).unwrap() + 1;
                    wait = tat - now - full + cell;
                }
            }
            limits.push((*key, tat, wanted.min(room), cell, owed));
        }
        let mut answer = vec![refused, wait];
        for (key, tat, cells, cell, owed) in limits {
            let cells = if refused > 0 { 0 } else { cells };
            if cells > 0 || owed != 0 {
                self.0.insert(key, tat + cells * cell);
            }
            answer.extend([cells, tat - now]);
        }
        answer
    }

    fn take(&mut self, now_ns: u64, want: Want) -> Taken {
        let answer = self.run(ticks(now_ns), &[0], &[want]);
        Taken::read(&answer, &[want]).unwrap()
    }
}

fn ticks(ns: u64) -> i64 {
    i64::try_from(ns / 125 * 2).unwrap()
}

fn key() -> Key {
    Key::whole(Class::Global)
}

/// One replica: its clock begins elsewhere than the server's.
struct Replica {
    ahead: u64,
    leases: Leases,
    rates: RateTable,
    sharing: Sharing,
}

impl Replica {
    fn new(ahead: u64) -> Self {
        Self {
            ahead,
            leases: Leases::new(1_024, RandomState::new()),
            rates: RateTable::new(1_024, RandomState::new()),
            sharing: Sharing::new(MonoNanos(0)),
        }
    }

    fn at(&self, now: u64) -> MonoNanos {
        MonoNanos(now + self.ahead)
    }
}

/// Replicas and what they accepted, by the server's clock.
struct World {
    quota: Quota,
    replicas: Vec<Replica>,
    model: Model,
    now: u64,
    accepted: Vec<u64>,
}

impl World {
    fn new(quota: Quota, replicas: u64) -> Self {
        let world = Self {
            quota,
            replicas: (0..replicas)
                .map(|at| Replica::new(at * 7 * SECOND))
                .collect(),
            model: Model::default(),
            now: START,
            accepted: Vec::new(),
        };
        for replica in &world.replicas {
            replica.sharing.rejoin();
        }
        world
    }

    /// One request at a replica; an answer of the server takes `delay` there and back each.
    fn request(&mut self, at: usize, delay: u64) {
        let count = u64::try_from(self.replicas.len()).unwrap();
        let at = at % self.replicas.len();
        let replica = &self.replicas[at];
        let asked = replica.at(self.now);
        let mut claims = [Claim::key(key(), self.quota)];
        if let Counting::Alone { since } = replica.sharing.counting() {
            claims[0].alone(count, since);
            if replica.rates.admit(asked, &mut claims).is_ok() {
                self.accepted.push(self.now);
            }
            return;
        }
        match replica.leases.take(asked, &mut claims) {
            Leased::All => self.accepted.push(self.now),
            Leased::Refused(_) => {}
            Leased::Missing(missing) => {
                assert_eq!(missing, 1);
                self.now += delay;
                let want = Want::cells(&self.quota, self.quota.lease());
                match self.model.take(self.now, want) {
                    Taken::Given(given) => {
                        replica.leases.keep(asked, key(), &self.quota, given[0]);
                        self.accepted.push(self.now);
                    }
                    Taken::Refused { retry_after_ns, .. } => {
                        replica.leases.refuse(asked, key(), retry_after_ns);
                    }
                }
                self.now += delay;
            }
        }
    }

    /// All replicas find out at once.
    fn outage(&self) {
        for replica in &self.replicas {
            replica.sharing.degrade(replica.at(self.now));
        }
    }

    fn rejoin(&mut self) {
        for replica in &self.replicas {
            let now = replica.at(self.now);
            for part in 0..<RateTable>::PARTS {
                for (_, debt) in replica.rates.take_debts(part, now) {
                    let taken = self.model.take(self.now, Want::owed(debt));
                    assert!(matches!(taken, Taken::Given(_)));
                }
            }
            replica.sharing.rejoin();
        }
    }

    /// The largest part of what was allowed that any window saw, in thousandths.
    fn fullest_window(&self) -> u64 {
        let mut fullest = 0;
        for (at, first) in self.accepted.iter().enumerate() {
            for (count, last) in (1_u64..).zip(&self.accepted[at..]) {
                let allowed = self.quota.burst() + (last - first) / self.quota.interval_ns();
                fullest = fullest.max(count * 1_000 / allowed);
            }
        }
        fullest
    }
}

/// Requests by replica, each after a pause in microseconds.
fn requests() -> impl Strategy<Value = Vec<(usize, u64, u64)>> {
    let pause = prop_oneof![0..50_u64, 0..5_000_u64, 0..400_000_u64];
    prop::collection::vec((0..4_usize, pause, 0..3_000_u64), 1..250)
}

proptest! {
    // EDGE-89
    #[test]
    fn no_window_over_all_replicas_sees_more_than_limit_and_burst(
        rate in 1..3_000_u64,
        burst in 1..200_u64,
        replicas in 1..5_u64,
        requests in requests(),
    ) {
        let mut world = World::new(Quota::per(rate, SECOND, burst), replicas);
        for (at, pause, delay) in requests {
            world.now += pause * 1_000;
            world.request(at, delay * 1_000);
        }
        prop_assert!(world.fullest_window() <= 1_000);
    }

    // EDGE-90
    #[test]
    fn an_outage_costs_no_more_than_the_shares_and_refills_nothing(
        rate in 5..200_u64,
        burst in 1..50_u64,
        replicas in 1..5_u64,
        loses_all: bool,
        (used, away_ms) in (0..1_500_u64, 1..3_000_u64),
    ) {
        let mut world = World::new(Quota::per(rate, SECOND, burst), replicas);
        let hammer = |world: &mut World, ms: u64| {
            let end = world.now + ms * MS;
            while world.now < end {
                for at in 0..4 {
                    world.request(at, 100);
                }
                world.now += 2 * MS;
            }
        };
        hammer(&mut world, used);
        world.outage();
        let (since, before) = (world.now, world.accepted.len());
        hammer(&mut world, away_ms);
        let alone = u64::try_from(world.accepted.len() - before).unwrap();
        let share = world.quota.share(replicas);
        let shares = replicas * ((world.now - since) / share.interval_ns());
        prop_assert!(alone <= shares, "{alone} of {shares}");
        if loses_all {
            world.model = Model::default();
        }
        world.rejoin();
        let (since, before) = (world.now, world.accepted.len());
        hammer(&mut world, 100);
        let again = u64::try_from(world.accepted.len() - before).unwrap();
        let due = (world.now - since).div_ceil(world.quota.interval_ns());
        // What was left over of leases from before the outage lives a second at most.
        let leased = if away_ms < 1_000 { replicas * world.quota.lease() } else { 0 };
        // Shares are whole: what does not divide, and what a replica may just have worked off.
        let whole = replicas + world.quota.burst() % replicas;
        prop_assert!(again <= due + 1 + whole + leased, "{again} of {due}");
        prop_assert!(world.fullest_window() <= 1_500 + 1_000 * replicas / burst);
    }

    // EDGE-89
    #[test]
    fn odd_answers_are_no_answers(
        answer in prop::collection::vec(any::<i64>(), 0..8),
        cells in 1..100_u64,
    ) {
        let wants = [Want::cells(&Quota::per(10, SECOND, 20), cells); 2];
        match Taken::read(&answer, &wants) {
            Some(Taken::Given(given)) => {
                prop_assert_eq!(answer.len(), 6);
                prop_assert!(given.iter().all(|given| given.cells <= cells));
            }
            Some(Taken::Refused { at, .. }) => prop_assert!(at < 2 && answer.len() == 6),
            None => {}
        }
    }
}

// EDGE-89
#[test]
fn a_lease_is_a_twentieth_of_a_second_and_its_rest_is_lost_after_one() {
    for (rate, lease) in [
        (1, 1),
        (10, 1),
        (39, 1),
        (40, 2),
        (1_000, 50),
        (100_000, 5_000),
    ] {
        assert_eq!(Quota::per(rate, SECOND, 20).lease(), lease, "{rate}");
    }
    let quota = Quota::per(1_000, SECOND, 5_000);
    let leases = Leases::<RandomState>::new(64, RandomState::new());
    let (now, given) = (
        MonoNanos(START),
        Given {
            cells: 50,
            ahead_ns: 3 * SECOND,
        },
    );
    leases.keep(now, key(), &quota, given);
    let take = |at: u64| {
        let mut claims = [Claim::key(key(), quota)];
        leases.take(MonoNanos(START + at), &mut claims)
    };
    for _ in 0..40 {
        assert_eq!(take(0), Leased::All);
    }
    assert_eq!(take(SECOND), Leased::All, "for a second");
    assert_eq!(take(SECOND + 1), Leased::Missing(1));
    assert!(leases.is_empty());
}

// EDGE-89
#[test]
fn a_refusal_is_believed_until_its_time_and_takes_nothing_from_others() {
    let quota = Quota::per(1_000, SECOND, 100);
    let leases = Leases::<RandomState>::new(1_024, RandomState::new());
    let other = Key::whole(Class::Ip);
    leases.keep(
        MonoNanos(START),
        other,
        &quota,
        Given {
            cells: 3,
            ahead_ns: SECOND,
        },
    );
    leases.refuse(MonoNanos(START), key(), 5 * MS);
    let take = |at: u64| {
        let mut claims = [Claim::key(other, quota), Claim::key(key(), quota)];
        leases.take(MonoNanos(START + at), &mut claims)
    };
    for at in 0..5 {
        let Leased::Refused(refusal) = take(at * MS) else {
            panic!("at {at}");
        };
        assert_eq!((refusal.claim, refusal.retry_after_ns), (1, (5 - at) * MS));
    }
    // What the first one had taken is still there: two cells, besides the one for who asked.
    assert_eq!(take(5 * MS), Leased::Missing(0b10));
    assert_eq!(take(5 * MS), Leased::Missing(0b10));
    assert_eq!(take(5 * MS), Leased::Missing(0b11));
}

// EDGE-90
#[test]
fn the_share_of_a_replica_is_never_nothing() {
    for (quota, replicas, want) in [
        (
            Quota::per(10, SECOND, 20),
            2,
            Quota::per(10, 2 * SECOND, 10),
        ),
        (Quota::per(10, SECOND, 20), 1, Quota::per(10, SECOND, 20)),
        (Quota::per(3, SECOND, 1), 2, Quota::per(3, 2 * SECOND, 1)),
        (Quota::per(3, SECOND, 5), 4, Quota::per(1, SECOND, 1)),
    ] {
        assert_eq!(quota.share(replicas), want);
    }
    let waits = [0, 1, u64::MAX].map(probe_wait_ns);
    assert!(
        waits
            .iter()
            .all(|wait| (750 * MS..1_250 * MS).contains(wait)),
        "{waits:?}"
    );
}

// EDGE-88
#[test]
fn leases_stay_within_their_memory() {
    let leases = Leases::<RandomState>::new(640, RandomState::new());
    for number in 0..100_000_u32 {
        let key = Key::addr(Class::Ip, std::net::Ipv4Addr::from(number).into());
        leases.refuse(MonoNanos(START + u64::from(number)), key, SECOND);
    }
    assert!(leases.len() <= 640, "{}", leases.len());
    let fresh = Key::addr(Class::Ip, std::net::Ipv4Addr::from(u32::MAX).into());
    let later = MonoNanos(START + 2 * SECOND);
    leases.refuse(later, fresh, SECOND);
    assert_eq!(
        leases.refused(later, fresh),
        Some(SECOND),
        "what has passed makes room"
    );
}

/// A connection that runs one script.
struct Script {
    stream: BufReader<std::net::TcpStream>,
    text: String,
}

impl Script {
    fn run(&mut self, now: i64, keys: &[usize], wants: &[Want]) -> Vec<i64> {
        // Whole microseconds: sixteen ticks each.
        let time = [now / 16_000_000 + 1_735_689_600, now / 16 % 1_000_000];
        let mut parts = vec!["EVAL".to_owned(), self.text.clone(), keys.len().to_string()];
        parts.extend(keys.iter().map(|key| format!("k{key}")));
        let numbers = wants.iter().flat_map(Want::arguments).chain(time);
        parts.extend(numbers.map(|number| number.to_string()));
        let mut request = format!("*{}\r\n", parts.len());
        for part in parts {
            request.push_str(&format!("${}\r\n{part}\r\n", part.len()));
        }
        self.stream.get_mut().write_all(request.as_bytes()).unwrap();
        let head = self.line();
        let count = head.strip_prefix('*').unwrap_or_else(|| panic!("{head}"));
        let count: usize = count.parse().unwrap();
        (0..count)
            .map(|_| {
                let line = self.line();
                let number = line.strip_prefix(':').unwrap_or_else(|| panic!("{line}"));
                number.parse().unwrap()
            })
            .collect()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

/// The script is the one that runs, but for its clock, and for expiry, which goes by another one.
// EDGE-89
#[test]
fn the_script_does_what_its_model_does() {
    let redis = Redis::start();
    let text = TAKE_SCRIPT
        .replace("redis.call('TIME')", "{ARGV[#ARGV - 1], ARGV[#ARGV]}")
        .replace(", 'PX', string.format('%.0f', lives)", "");
    assert_eq!(
        text.matches("ARGV[#ARGV]").count() + text.matches("lives").count(),
        2
    );
    let mut script = Script {
        stream: BufReader::new(redis.connect()),
        text,
    };
    let mut model = Model::default();
    let mut dice = 88_172_645_463_325_252_u64;
    let mut roll = |bound: u64| {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        dice % bound
    };
    let mut now = 16 * 60_000_000_000_000_i64;
    for round in 0..3_000 {
        now += 16 * i64::try_from(roll(3) * roll(200_000)).unwrap();
        let count = usize::try_from(roll(3) + 1).unwrap();
        let keys: Vec<usize> = (0..count)
            .map(|at| at * 4 + usize::try_from(roll(3)).unwrap())
            .collect();
        let wants: Vec<Want> = keys
            .iter()
            .map(|key| {
                let rate = [1, 3, 10, 333, 1_000, 300_000][key % 6];
                let quota = Quota::per(rate, SECOND, [1, 2, 20, 500][key % 4]);
                match roll(8) {
                    0 => Want::charge(&quota),
                    1 => Want::owed(roll(SECOND)),
                    2 => Want::returned(&quota, roll(quota.interval_ns())),
                    _ => Want::cells(&quota, roll(60) + 1),
                }
            })
            .collect();
        let want = model.run(now, &keys, &wants);
        assert_eq!(
            script.run(now, &keys, &wants),
            want,
            "{round}: {keys:?} {wants:?}"
        );
    }
}
