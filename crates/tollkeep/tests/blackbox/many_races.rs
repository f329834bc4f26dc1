//! The long forms of races: very many budgets, and for each a crowd that wants more than there is
//! room for. So many lanes race at the same time that nothing ever waits for one of them; what is
//! proved of each race is what the short forms prove.

use crate::fixture::{Dice, UPSTREAM_KEY, chat, gateway};
use crate::held::{CAP, answer, bound};
use crate::killed_files::rate;
use crate::races::{passes_models, provider, settable};
use crate::replicas::on;
use serde_json::json;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use tollkeep_testkit::{
    Builder, Crowd, Gateway, Next, Operator, Origin, Postgres, eventually, json as answer_json,
};

/// Callers of a crowd.
const CALLERS: usize = 64;
/// Races that go on at the same time, each for a budget of its own project.
const LANES: usize = 64;
/// For how many calls there is room: too few for slices in most, since such races are over soon.
const ROOMS: [i64; 16] = [1, 1, 1, 1, 2, 2, 3, 3, 5, 5, 8, 19, 20, 21, 40, 64];
/// One race of so many has room for one of these.
const LARGE_EVERY: usize = 400;
const LARGE: [i64; 2] = [300, 1_500];
/// A budget with room for fewer calls than this gives no slices.
const SLICES_FROM: i64 = 20;
/// One race of so many is of calls that use less than is taken aside for them.
const SOME_EVERY: usize = 8;
/// What those use.
const LITTLE: i64 = 150;
/// Before somebody who was told that the database did not answer comes again.
const PAUSE: Duration = Duration::from_millis(20);
/// How long a race may take to end when all of its crowd was refused.
const END_MAX: Duration = Duration::from_secs(120);
/// Between two looks at the sums of races that go on.
const LOOK_EVERY: Duration = Duration::from_millis(6);
/// What was changed within this time is told to the lanes at once.
const TOGETHER: Duration = Duration::from_millis(50);
/// Ends of calls are written down together: whether all are is looked at so often.
const REST_EVERY: Duration = Duration::from_millis(60);
const TELL_EVERY: Duration = Duration::from_secs(20);
/// How many races, unless the variable says so.
const RACES: usize = 1_000;
const RACES_VARIABLE: &str = "RACES";
/// The seed, unless the variable names that of a run to be repeated.
const SEED_VARIABLE: &str = "SEED";

/// How a budget gives what it has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    /// In slices, as long as there is room for them.
    Lease,
    /// It would in slices, and has too little room for any.
    Tight,
    /// In rows alone.
    Strict,
}

/// One race.
#[derive(Debug)]
struct Race {
    unit: &'static str,
    durability: &'static str,
    room: i64,
    /// The upstream reports less than was taken aside.
    uses_little: bool,
    /// Calls before the crowd's, so that there is a slice in hand when it comes.
    warm: usize,
}

/// A race whose budget is made, and may not be in force everywhere yet.
struct Coming {
    race: Race,
    /// Which of the lane's two projects.
    stall: usize,
    id: String,
    limit: i64,
    ticket: u64,
}

/// What came of races.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    /// By lease, tight and strict.
    races: [usize; 3],
    calls: usize,
    admitted: usize,
    /// Calls that passed after the whole crowd had been refused.
    later: usize,
    /// Calls that were told to come again.
    unanswered: usize,
}

/// A project with a token of its own. A lane has two: the budget of the next race comes into force
/// while the present one goes on.
struct Stall {
    project: String,
    request: Vec<u8>,
    seen: Arc<Seen>,
}

/// What the upstream knows of a stall.
#[derive(Default)]
struct Seen {
    uses_little: AtomicBool,
    calls: AtomicUsize,
}

/// Says when all replicas know of what was changed.
#[derive(Default)]
struct Herald {
    state: Mutex<Heard>,
    changed: Condvar,
}

#[derive(Default)]
struct Heard {
    asked: u64,
    known: u64,
    over: bool,
}

struct Field {
    origin: Origin,
    gateways: Vec<Gateway>,
    lanes: Vec<[Stall; 2]>,
    herald: Herald,
    /// The budgets of races that go on, with their limits.
    running: Mutex<BTreeMap<String, i64>>,
    over: AtomicBool,
    failed: AtomicBool,
    done: AtomicUsize,
    looks: AtomicUsize,
}

/// One lane at work.
struct Lane<'a> {
    field: &'a Field,
    stalls: &'a [Stall; 2],
    crowd: Crowd,
    operator: Operator,
    dice: Dice,
    tally: Tally,
    /// What one call may cost at most.
    bound: i64,
}

impl Race {
    fn roll(dice: &mut Dice) -> Self {
        let room = match dice.below(LARGE_EVERY) {
            0 => *dice.one_of(&LARGE),
            _ => *dice.one_of(&ROOMS),
        };
        Self {
            unit: *dice.one_of(&["requests", "tokens", "usd"]),
            durability: *dice.one_of(&["lease", "strict"]),
            room,
            uses_little: dice.below(SOME_EVERY) == 0,
            warm: dice.below(4),
        }
    }

    fn kind(&self) -> Kind {
        match (self.durability, self.room) {
            ("strict", _) => Kind::Strict,
            (_, ..SLICES_FROM) => Kind::Tight,
            _ => Kind::Lease,
        }
    }

    /// What a call takes aside, and what it uses of that.
    fn amounts(&self, bound: i64) -> (i64, i64) {
        match (self.unit, self.uses_little) {
            ("requests", _) => (1, 1),
            (_, false) => (bound, bound),
            (_, true) => (bound, LITTLE),
        }
    }
}

impl Tally {
    fn and(self, other: Self) -> Self {
        let races = [0, 1, 2].map(|kind| self.races[kind] + other.races[kind]);
        Self {
            races,
            calls: self.calls + other.calls,
            admitted: self.admitted + other.admitted,
            later: self.later + other.later,
            unanswered: self.unanswered + other.unanswered,
        }
    }
}

impl Herald {
    /// A ticket for what was changed up to now.
    fn ask(&self) -> u64 {
        let mut state = self.state.lock().unwrap();
        state.asked += 1;
        self.changed.notify_all();
        state.asked
    }

    /// Waits until everybody knows of it.
    fn wait(&self, ticket: u64) {
        let state = self.state.lock().unwrap();
        let unknown = |heard: &mut Heard| heard.known < ticket;
        let waited = self.changed.wait_timeout_while(state, END_MAX, unknown);
        assert!(!waited.unwrap().1.timed_out(), "replicas hear of changes");
    }

    fn end(&self) {
        self.state.lock().unwrap().over = true;
        self.changed.notify_all();
    }

    /// Lets `agree` wait for all replicas, once for all tickets that were asked for meanwhile.
    fn serve(&self, agree: impl Fn()) {
        loop {
            let state = self.state.lock().unwrap();
            let idle = |heard: &mut Heard| heard.known == heard.asked && !heard.over;
            let state = self.changed.wait_while(state, idle).unwrap();
            if state.over {
                return;
            }
            drop(state);
            thread::sleep(TOGETHER);
            let asked = self.state.lock().unwrap().asked;
            agree();
            self.state.lock().unwrap().known = asked;
            self.changed.notify_all();
        }
    }
}

/// Tells the others when a thread ends by a panic.
struct Alarm<'a>(&'a AtomicBool);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.store(true, Ordering::SeqCst);
        }
    }
}

impl Field {
    /// One gateway with a file of its own.
    fn alone() -> Self {
        Self::with(|config| vec![gateway(config)])
    }

    /// So many replicas on a server.
    fn shared(server: &Postgres, replicas: usize) -> Self {
        Self::with(|config| (0..replicas).map(|_| on(server, config)).collect())
    }

    fn with(builders: impl Fn(&str) -> Vec<Builder>) -> Self {
        let seen: Arc<[Arc<Seen>]> = (0..2 * LANES).map(|_| Arc::default()).collect();
        let origin = upstream(Arc::clone(&seen));
        let builders = builders(&provider(&origin));
        let gateways: Vec<_> = builders.into_iter().map(start).collect();
        let mut operator = gateways[0].operator();
        let mut stall = |number: usize| {
            let named = json!({ "name": format!("stall {number}") });
            let (status, project) = operator.api("POST", "/api/v1/projects", Some(&named));
            assert_eq!(status, 201, "{project}");
            let project = project["id"].as_str().unwrap().to_owned();
            let token = gateways[0].mint_token(&json!({ "project": project }));
            Stall {
                request: chat(&token, &call_of(number)),
                seen: Arc::clone(&seen[number]),
                project,
            }
        };
        let lanes = (0..LANES).map(|lane| [stall(2 * lane), stall(2 * lane + 1)]);
        Self {
            lanes: lanes.collect(),
            origin,
            gateways,
            herald: Herald::default(),
            running: Mutex::default(),
            over: AtomicBool::default(),
            failed: AtomicBool::default(),
            done: AtomicUsize::default(),
            looks: AtomicUsize::default(),
        }
    }

    /// Waits until every replica has seen what was changed so far: changes are shown in their order.
    fn agree(&self) {
        let (first, others) = self.gateways.split_first().unwrap();
        if others.is_empty() {
            return;
        }
        let later = first.mint_token(&json!({ "project": "default" }));
        for gateway in others {
            eventually("it is known everywhere", || {
                passes_models(gateway, &later).then_some(())
            });
        }
    }

    /// Looks at the sums of the races that go on, one after the other.
    fn watch(&self) {
        let mut operator = self.gateways.last().unwrap().operator();
        let mut at = String::new();
        while !self.over.load(Ordering::Relaxed) {
            let next = {
                let running = self.running.lock().unwrap();
                let behind = (Bound::Excluded(at.clone()), Bound::Unbounded);
                let next = running
                    .range(behind)
                    .next()
                    .or_else(|| running.first_key_value());
                next.map(|(id, limit)| (id.clone(), *limit))
            };
            if let Some((id, limit)) = next {
                let looked = self.look(&mut operator, (&id, limit));
                // A race that has just ended takes its budget with it.
                let is_there = looked.is_some() || !self.running.lock().unwrap().contains_key(&id);
                assert!(is_there, "{id} is gone");
                at = id;
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// What is spent, reserved and leased of a budget, which is never more than there is; nothing of
    /// one that was ended.
    fn look(&self, operator: &mut Operator, (id, limit): (&str, i64)) -> Option<[i64; 3]> {
        let path = format!("/api/v1/budgets/{id}/windows");
        let (status, windows) = operator.api("GET", &path, None);
        if status == 404 {
            return None;
        }
        assert_eq!(status, 200, "{windows}");
        let sums = ["spent", "reserved", "leased"];
        let sums = sums.map(|sum| windows[0][sum].as_i64().unwrap_or(0));
        let taken: i64 = sums.iter().sum();
        assert!(taken <= limit, "overspent, {id}: {sums:?} of {limit}");
        self.looks.fetch_add(1, Ordering::Relaxed);
        Some(sums)
    }

    fn check(&self) {
        for gateway in &self.gateways {
            let checked = gateway.cli(&["ledger", "check"]);
            assert_eq!(checked.status.code(), Some(0), "{checked:?}");
        }
        assert_eq!(self.origin.faults(), Vec::<String>::new());
    }

    /// So many races on each lane, all lanes at the same time.
    fn race(&self, seed: u64, each: usize) -> Tally {
        thread::scope(|scope| {
            scope.spawn(|| self.herald.serve(|| self.agree()));
            let watch = scope.spawn(|| {
                let _alarm = Alarm(&self.failed);
                self.watch();
            });
            let run = |(stalls, number)| {
                scope.spawn(move || {
                    let _alarm = Alarm(&self.failed);
                    self.lane(stalls, (seed, number)).run(each)
                })
            };
            let lanes: Vec<_> = self.lanes.iter().zip(0..).map(run).collect();
            let (began, mut told) = (Instant::now(), Instant::now());
            while lanes.iter().any(|lane| !lane.is_finished()) {
                thread::sleep(Duration::from_millis(100));
                if told.elapsed() >= TELL_EVERY {
                    told = Instant::now();
                    let done = self.done.load(Ordering::Relaxed);
                    eprintln!("{done} races in {:.0?}", began.elapsed());
                }
            }
            let lanes: Vec<_> = lanes.into_iter().map(|lane| lane.join()).collect();
            self.over.store(true, Ordering::Relaxed);
            self.herald.end();
            let watched = watch.join();
            assert!(
                watched.is_ok(),
                "no look finds more taken than there is: seed {seed}"
            );
            let lanes = lanes.into_iter();
            let lanes = lanes.map(|lane| lane.unwrap_or_else(|_| panic!("a race: seed {seed}")));
            lanes.fold(Tally::default(), Tally::and)
        })
    }

    fn lane<'a>(&'a self, stalls: &'a [Stall; 2], (seed, number): (u64, u64)) -> Lane<'a> {
        let addrs: Vec<_> = self.gateways.iter().map(Gateway::data).collect();
        Lane {
            field: self,
            stalls,
            crowd: Crowd::new(&addrs, CALLERS),
            operator: self.gateways[0].operator(),
            dice: Dice::new(seed.wrapping_add(number << 32)),
            tally: Tally::default(),
            bound: bound(&call_of(0)),
        }
    }
}

impl Lane<'_> {
    fn run(mut self, races: usize) -> Tally {
        let mut coming = self.prepare(0);
        for number in 1..=races {
            let present = coming;
            coming = self.prepare(number);
            if self.field.failed.load(Ordering::Relaxed) {
                break;
            }
            self.field.herald.wait(present.ticket);
            self.tally.races[present.race.kind() as usize] += 1;
            self.one(&present);
            self.field.done.fetch_add(1, Ordering::Relaxed);
        }
        self.tally
    }

    /// Makes the budget of a race.
    fn prepare(&mut self, number: usize) -> Coming {
        let (race, stall) = (Race::roll(&mut self.dice), number % 2);
        let (one, _) = race.amounts(self.bound);
        // A part of a call more than there is room for.
        let limit = race.room * one + (one - 1);
        let amount = match race.unit {
            "usd" => json!({ "nano_usd": limit }),
            _ => json!(limit),
        };
        let project = &self.stalls[stall].project;
        let made = json!({"name": format!("{project} {number}"), "unit": race.unit, "window": "lifetime",
            "scope": {"project": project}, "limit": amount, "durability": race.durability, "warn": [50, 80, 100]});
        let (status, made) = self.operator.api("POST", "/api/v1/budgets", Some(&made));
        assert_eq!(status, 201, "{made}");
        Coming {
            race,
            stall,
            id: made["id"].as_str().unwrap().to_owned(),
            limit,
            ticket: self.field.herald.ask(),
        }
    }

    fn one(&mut self, coming: &Coming) {
        let (race, seen) = (&coming.race, &self.stalls[coming.stall].seen);
        seen.uses_little.store(race.uses_little, Ordering::SeqCst);
        let (one, used) = race.amounts(self.bound);
        let exactly = (one == used).then_some(race.room);
        let running = &self.field.running;
        running
            .lock()
            .unwrap()
            .insert(coming.id.clone(), coming.limit);
        let mut admitted = self.crowd(coming);
        admitted += self.ask_again(coming, (admitted, exactly));
        self.rests(coming, admitted * used);
        let sent = seen.calls.swap(0, Ordering::SeqCst);
        let sent = i64::try_from(sent).unwrap();
        assert_eq!(sent, admitted, "{race:?}: what was refused was sent");
        if let Some(room) = exactly {
            assert_eq!(admitted, room, "{race:?}: as many as there is room for");
        }
        assert!(
            admitted >= race.room && admitted * used <= coming.limit,
            "{race:?}: {admitted} of {used} each, of {}",
            coming.limit
        );
        running.lock().unwrap().remove(&coming.id);
        let path = format!("/api/v1/budgets/{}", coming.id);
        assert_eq!(self.operator.api("DELETE", &path, None).0, 204);
        self.tally.admitted += usize::try_from(admitted).unwrap();
    }

    /// All callers at once, each until it is refused; how many calls passed.
    fn crowd(&mut self, coming: &Coming) -> i64 {
        let (request, race) = (&self.stalls[coming.stall].request, &coming.race);
        let (mut admitted, tally) = (0, &mut self.tally);
        for number in 0..race.warm {
            let status = self.crowd.call_one(number, request);
            tally.calls += 1;
            match status {
                200 => admitted += 1,
                402 => {}
                503 => tally.unanswered += 1,
                _ => panic!("{race:?}: {status}"),
            }
        }
        self.crowd.call(request, |status| {
            tally.calls += 1;
            match status {
                200 => {
                    admitted += 1;
                    Next::Again
                }
                402 => Next::Rest,
                // A machine that is busy may take longer than a call waits: whoever is told so was
                // refused, and comes again.
                503 => {
                    tally.unanswered += 1;
                    Next::After(PAUSE)
                }
                _ => panic!("{race:?}: {status}"),
            }
        });
        admitted
    }

    /// Whoever asks again, when slices have gone back, has what is left, to the last call; how many
    /// those are.
    fn ask_again(&mut self, coming: &Coming, (before, exactly): (i64, Option<i64>)) -> i64 {
        let (race, limit) = (&coming.race, coming.limit);
        let request = &self.stalls[coming.stall].request;
        let (one, used) = race.amounts(self.bound);
        let (mut more, began) = (0, Instant::now());
        for turn in 0.. {
            assert!(
                began.elapsed() < END_MAX,
                "{race:?}: {before} and {more} passed, no end"
            );
            self.tally.calls += 1;
            match self.crowd.call_one(turn, request) {
                200 => {
                    more += 1;
                    self.tally.later += 1;
                    let passed = before + more;
                    assert!(passed * used <= limit, "{race:?}: {passed} passed");
                    continue;
                }
                402 if exactly.is_some_and(|room| before + more >= room) => break,
                402 => {}
                503 => self.tally.unanswered += 1,
                status => panic!("{race:?}: {status}"),
            }
            let [spent, reserved, leased] = self.look(coming);
            if exactly.is_none() && reserved == 0 && leased == 0 && limit - spent < one {
                break;
            }
            thread::sleep(PAUSE);
        }
        more
    }

    fn look(&mut self, coming: &Coming) -> [i64; 3] {
        let budget = (coming.id.as_str(), coming.limit);
        let sums = self.field.look(&mut self.operator, budget);
        sums.expect("a budget that is in force")
    }

    /// Waits until all is spent that was used, and nothing else is taken.
    fn rests(&mut self, coming: &Coming, spent: i64) {
        let began = Instant::now();
        loop {
            thread::sleep(REST_EVERY);
            let sums = self.look(coming);
            if sums == [spent, 0, 0] {
                return;
            }
            let race = &coming.race;
            assert!(began.elapsed() < END_MAX, "{race:?}: {sums:?} for {spent}");
        }
    }
}

/// A gateway that keeps nothing of calls but what the ledger does.
fn start(builder: Builder) -> Gateway {
    let crowds = (4 * CALLERS * LANES).to_string();
    let limits = ["connections", "concurrent_requests"];
    let limits = limits
        .iter()
        .flat_map(|limit| ["max", "per_ip_max"].map(|of| format!("server.limits.{limit}_{of}")));
    let limited = limits.fold(builder, |builder, limit| builder.set(&limit, &crowds));
    limited
        .set("server.timeouts.requests_per_connection_max", "1000000000")
        .set("audit.enabled", "false")
        .set("logging.level", "warn")
        .set("logging.access", "off")
        .env("UPSTREAM_KEY", UPSTREAM_KEY)
        .start()
}

/// What stands before and behind the number in a call.
const NUMBER: [&str; 2] = ["\"user\":\"", "\""];

/// A call of this stall; those of all have one length, so one bound.
fn call_of(stall: usize) -> String {
    let [before, behind] = NUMBER;
    format!(
        "{{\"model\":\"m\",\"max_tokens\":{CAP},{before}{stall:04}{behind},\
         \"messages\":[{{\"role\":\"user\",\"content\":\"hi\"}}]}}"
    )
}

/// Answers each call, and counts it for its stall.
fn upstream(stalls: Arc<[Arc<Seen>]>) -> Origin {
    let one = bound(&call_of(0));
    let all = answer_json(&answer(one - CAP, CAP));
    let little = answer_json(&answer(LITTLE - 30, 30));
    let origin = Origin::start(move |request| {
        let body = std::str::from_utf8(&request.body).unwrap_or_default();
        let [before, behind] = NUMBER;
        let number = body
            .split_once(before)
            .and_then(|(_, rest)| rest.split_once(behind));
        let number = number.and_then(|(number, _)| number.parse::<usize>().ok());
        // Also asked for its models.
        let Some(stall) = number.and_then(|number| stalls.get(number)) else {
            return all.clone();
        };
        stall.calls.fetch_add(1, Ordering::SeqCst);
        match stall.uses_little.load(Ordering::SeqCst) {
            true => little.clone(),
            false => all.clone(),
        }
    });
    origin.keep_nothing();
    origin
}

/// As many races as [`RACES_VARIABLE`] says.
fn many_races(field: &Field, seed: usize) {
    let seed = u64::try_from(settable(SEED_VARIABLE, seed)).unwrap();
    let (each, began) = (
        settable(RACES_VARIABLE, RACES).div_ceil(LANES),
        Instant::now(),
    );
    let tally = field.race(seed, each);
    let took = began.elapsed();
    field.check();
    let (looks, races) = (
        field.looks.load(Ordering::Relaxed),
        tally.races.iter().sum::<usize>(),
    );
    assert!(looks > races, "each race was looked at");
    eprintln!(
        "{races} races with seed {seed} in {took:.0?}, {} a second: {tally:?}, {looks} looks; checked in {:.0?}",
        rate(i64::try_from(races).unwrap(), took),
        began.elapsed() - took
    );
}

// LED-104
#[test]
#[ignore = "soak: some minutes; RACES says how many races"]
fn many_races_for_budgets_on_one_gateway() {
    many_races(&Field::alone(), 13);
}

// LED-104
#[test]
#[ignore = "soak: some minutes; RACES says how many races"]
fn many_races_for_budgets_on_one_gateway_with_a_server() {
    let server = Postgres::start();
    many_races(&Field::shared(&server, 1), 15);
}

// LED-104
#[test]
#[ignore = "soak: some minutes; RACES says how many races"]
fn many_races_for_budgets_on_two_replicas() {
    let server = Postgres::start();
    many_races(&Field::shared(&server, 2), 14);
}
