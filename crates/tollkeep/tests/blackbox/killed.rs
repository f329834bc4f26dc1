//! Gateways that are killed at a chosen step of a call: what was taken aside stays taken, what was
//! written down is written down once, and nothing is forgotten that a caller was answered.
//!
//! The steps lie between words to the database and its answers, which are held up on their way
//! ([`Wire`]); the process under test knows nothing of it.

use crate::fixture::{Dice, UPSTREAM_KEY, chat};
use crate::held::{CAP, answer, body, bound, budget, sums};
use crate::killed_files::{KILLS_VARIABLE, in_lanes};
use crate::races::{provider, settable};
use crate::replicas::on;
use serde_json::json;
use std::net::TcpListener;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tollkeep_testkit::{
    Client, Gate, Gateway, HoldUp, Origin, PATIENCE, Postgres, Session, Step, Wire, eventually,
    json as answer_json, wait_until,
};

/// What a call costs.
const COST: i64 = 39;
/// So much that slices which kills cost are a small part of it.
const LIMIT: i64 = 1_000_000_000_000_000;
/// Kills of the long form, unless `KILLS` says how many.
const KILLS: usize = 300;
/// Gateways that are killed at the same time, each with a server of its own.
const LANES: usize = 4;
/// Slices that were ever taken: how many are out changes with time too.
const SLICES: &str = "SELECT count(*) FROM budget_leases";
/// Holds that were ever written.
const HOLDS: &str = "SELECT count(*) FROM holds";
/// Ends of calls that are written.
const RECORDS: &str = "SELECT count(*) FROM usage_records";
/// Calls wait for a hold so long at most, and for a slice.
const WRITTEN_WITHIN: Duration = Duration::from_secs(10);
/// Kills of a lane that may miss what they were meant for.
const MISSED_MAX: usize = 5;
/// How often everything comes to rest: no hold or slice ends by itself in between, whose end would be held up
/// instead of what is to be.
const REST_EVERY: Duration = Duration::from_secs(40);
/// Longer than any hold or slice lives without its owner.
const LONG_MS: i64 = 4_000_000;

/// Where a gateway is killed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Point {
    /// The hold's row is not committed.
    HoldUnwritten,
    /// The hold's row is committed, and the gateway is not told.
    HoldUntold,
    /// The call is with its upstream.
    Sent,
    /// The caller has its answer, and the end is not committed.
    EndUnwritten,
    /// The end is committed, and the gateway is not told.
    EndUntold,
    /// A slice is being taken or refilled: not committed.
    SliceUnwritten,
    /// The same: committed, and the gateway is not told.
    SliceUntold,
    /// A slice that is in use is being renewed: committed, and the gateway is not told.
    RenewalUntold,
    /// Any moment, under load.
    Anywhere,
}

const POINTS: [Point; 7] = [
    Point::HoldUnwritten,
    Point::HoldUntold,
    Point::Sent,
    Point::EndUnwritten,
    Point::EndUntold,
    Point::SliceUnwritten,
    Point::SliceUntold,
];

/// A server whose clock can be put forward, for those who ask as the gateway does.
const CLOCK: &str = "CREATE TABLE IF NOT EXISTS ahead (ms bigint NOT NULL);
  GRANT SELECT ON ahead TO tollkeep_jobs;
  INSERT INTO ahead VALUES (0);
  CREATE OR REPLACE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
    AS 'SELECT pg_catalog.clock_timestamp() + ms * interval ''1 ms'' FROM public.ahead';
  DO $$ BEGIN EXECUTE format(
    'ALTER ROLE tollkeep_jobs IN DATABASE %I SET search_path = public, pg_catalog',
    current_database()); END $$";

/// A server with such a clock.
pub(crate) fn server_with_clock() -> Postgres {
    let server = Postgres::start();
    server.ask(CLOCK);
    server
}

/// Puts the clock of the ledger forward, or back.
pub(crate) fn put_clock(server: &Postgres, by_ms: i64) {
    server.ask(&format!("UPDATE ahead SET ms = ms + {by_ms}"));
}

struct World {
    server: Postgres,
    /// Asks the server, past the gateway.
    session: Mutex<Session>,
    wire: Wire,
    origin: Origin,
    gate: Gate,
    gateway: Option<Gateway>,
    config: String,
    /// Calls with this token are held in rows, with that one from slices.
    strict: (String, String),
    leased: (String, String),
    /// What is known of the strict budget: the least and the most that may be taken of it.
    known: (i64, i64),
    answered: i64,
    /// Kills that were to be behind something that was not written.
    missed: usize,
}

impl World {
    fn new() -> Self {
        let (server, gate) = (server_with_clock(), Gate::default());
        gate.open();
        let passes = gate.clone();
        let origin = Origin::start(move |_| {
            let mut steps = vec![Step::Wait(passes.clone())];
            steps.extend(answer_json(&answer(COST - 30, 30)));
            steps
        });
        let wire = Wire::to(server.port());
        let config = provider(&origin);
        let gateway = start(&server, &wire, &config);
        let of = |durability: &str| {
            let metadata = json!({ "how": durability });
            let made = json!({"name": durability, "unit": "usd", "limit": {"nano_usd": LIMIT},
                "durability": durability, "scope": {"metadata": metadata}});
            let members = json!({"project": "default", "metadata": metadata});
            (budget(&gateway, &made), gateway.mint_token(&members))
        };
        let (strict, leased) = (of("strict"), of("lease"));
        Self {
            gateway: Some(gateway),
            session: Mutex::new(server.session()),
            server,
            wire,
            origin,
            gate,
            config,
            strict,
            leased,
            known: (0, 0),
            answered: 0,
            missed: 0,
        }
    }

    fn gateway(&self) -> &Gateway {
        self.gateway.as_ref().unwrap()
    }

    fn number(&self, statement: &str) -> i64 {
        self.session.lock().unwrap().ask(statement).parse().unwrap()
    }

    fn send(&self, token: &str) -> Client {
        let mut client = self.gateway().connect();
        assert!(client.send(&chat(token, &body(false))));
        client
    }

    /// A call that is answered.
    fn call(&mut self, token: &str) {
        let answer = self.gateway().call(&chat(token, &body(false)));
        assert_eq!(answer.status, 200, "{}", answer.text());
        self.answered += 1;
    }

    /// The transaction of the ledger stands before its end.
    fn wait_for_unwritten(&self) {
        eventually("a transaction of the ledger that is held up", || {
            let free = "SELECT count(*) FROM (SELECT 1 FROM ledger_state FOR UPDATE SKIP LOCKED) s";
            (self.wire.stuck() > 0 && self.number(free) == 0).then_some(())
        });
    }

    fn wait_for_more(&self, count: &str, than: i64) {
        eventually(count, || (self.number(count) > than).then_some(()));
    }

    /// Whether what is to be killed at is written. Rarely a process wrote something of its own at that very moment,
    /// such as what it found of those before it, and the answer to that is what was held up.
    fn is_written(&mut self, count: &str, than: i64) -> bool {
        let more = || (self.number(count) > than).then_some(());
        let written = wait_until(WRITTEN_WITHIN, more).is_some();
        self.missed += usize::from(!written);
        assert!(self.missed <= MISSED_MAX, "{count} rarely rises");
        written
    }

    fn die(&mut self) {
        self.gateway.take().unwrap().kill();
        self.wire.cut();
        self.gate.open();
    }

    fn kill_at(&mut self, point: Point, dice: &mut Dice) {
        let token = self.strict.1.clone();
        let sent = self.origin.count();
        let bound = bound(&body(false));
        if matches!(point, Point::Sent | Point::EndUnwritten) {
            self.known = (self.known.0 + bound, self.known.1 + bound);
        }
        match point {
            Point::HoldUnwritten => {
                self.wire.hold_up(HoldUp::Commits);
                let _caller = self.send(&token);
                self.wait_for_unwritten();
                self.die();
                assert_eq!(self.origin.count(), sent, "nothing goes out without a hold");
            }
            Point::HoldUntold => {
                let before = self.number(HOLDS);
                self.wire.hold_up(HoldUp::Answers);
                let _caller = self.send(&token);
                if self.is_written(HOLDS, before) {
                    self.known = (self.known.0 + bound, self.known.1 + bound);
                }
                self.die();
                assert_eq!(
                    self.origin.count(),
                    sent,
                    "nothing goes out before it is told"
                );
            }
            Point::Sent => {
                self.gate.close();
                let _caller = self.send(&token);
                self.origin.wait_for(sent + 1);
                self.die();
            }
            Point::EndUnwritten | Point::EndUntold => self.kill_at_end(point, &token),
            Point::SliceUnwritten | Point::SliceUntold | Point::RenewalUntold => {
                self.kill_at_slice(point);
            }
            Point::Anywhere => self.kill_anywhere(dice),
        }
    }

    fn kill_at_end(&mut self, point: Point, token: &str) {
        let sent = self.origin.count();
        self.gate.close();
        let mut caller = self.send(token);
        self.origin.wait_for(sent + 1);
        let before = self.number(RECORDS);
        self.wire.hold_up(if point == Point::EndUntold {
            HoldUp::Answers
        } else {
            HoldUp::Commits
        });
        self.gate.open();
        let answer = caller.answer(PATIENCE).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        self.answered += 1;
        if point == Point::EndUntold {
            let written = self.is_written(RECORDS, before);
            let most = if written { COST } else { bound(&body(false)) };
            self.known = (self.known.0 + COST, self.known.1 + most);
        } else {
            self.wait_for_unwritten();
        }
        self.die();
    }

    fn kill_at_slice(&mut self, point: Point) {
        if point == Point::RenewalUntold {
            return self.kill_at_renewal();
        }
        let (id, token) = self.leased.clone();
        let before = self.without_slice(point);
        let untold = point == Point::SliceUntold;
        self.wire.hold_up(if untold {
            HoldUp::Answers
        } else {
            HoldUp::Commits
        });
        let _caller = self.send(&token);
        if untold {
            self.is_written(SLICES, before);
        } else {
            self.wait_for_unwritten();
        }
        let taken = "SELECT coalesce(sum(spent + reserved + leased), 0) FROM budget_windows";
        let taken = self.number(&format!("{taken} WHERE budget_id = '{id}'"));
        assert!(taken <= LIMIT, "{taken}");
        self.die();
    }

    /// Makes it so that the next call asks for a slice: from its first call on a process knows what is left,
    /// unless it knew before, as one that came to rest does, and took a slice with that call. What slices
    /// there are.
    fn without_slice(&mut self, point: Point) -> i64 {
        let token = self.leased.1.clone();
        for _ in 0..10 {
            let (before, answered) = (self.number(SLICES), self.answered);
            let records = self.number(RECORDS);
            self.call(&token);
            self.wait_for_ends((records, answered));
            if self.number(SLICES) == before {
                return before;
            }
            self.die();
            self.rise(point);
        }
        panic!("each process takes a slice with its first call");
    }

    /// What else would be held up is done: the ends of all calls since then are written.
    fn wait_for_ends(&self, (records, answered): (i64, i64)) {
        self.wait_for_more(RECORDS, records + self.answered - answered - 1);
    }

    fn kill_at_renewal(&mut self) {
        let token = self.leased.1.clone();
        // Of the slice that was taken last.
        let steps = "SELECT serial FROM budget_leases WHERE state = 'active'
            ORDER BY expires_at DESC LIMIT 1";
        let (before, since) = (self.number(SLICES), (self.number(RECORDS), self.answered));
        while self.number(SLICES) == before {
            self.call(&token);
        }
        let (own, began) = (self.number(steps), Instant::now());
        // In use, so that it is renewed and not returned.
        while began.elapsed() < Duration::from_secs(27) {
            self.call(&token);
            std::thread::sleep(Duration::from_millis(500));
        }
        assert_eq!(
            self.number(steps),
            own,
            "a slice of a dollar lasts that long"
        );
        self.wait_for_ends(since);
        // From here on nobody calls: what a call writes would be held up first, and once no news came from the
        // database for some seconds no call is let in.
        self.wire.hold_up(HoldUp::Answers);
        let renewed = wait_until(Duration::from_secs(25), || {
            (self.number(steps) != own).then_some(())
        });
        assert_eq!(renewed, Some(()), "a renewal");
        self.die();
    }

    fn kill_anywhere(&mut self, dice: &mut Dice) {
        let (over, answered) = (AtomicBool::new(false), Mutex::new([0_i64; 2]));
        let calls = 1 + dice.below(60);
        let mut gateway = self.gateway.take().unwrap();
        let before = self.origin.count();
        std::thread::scope(|scope| {
            for number in 0..6 {
                let token = [&self.strict.1, &self.leased.1][number % 2];
                let (mut client, request) = (gateway.connect(), chat(token, &body(false)));
                let (over, answered) = (&over, &answered);
                scope.spawn(move || {
                    while !over.load(Ordering::Relaxed)
                        && client.send(&request)
                        && let Ok(answer) = client.answer(PATIENCE)
                    {
                        assert_eq!(answer.status, 200, "{}", answer.text());
                        answered.lock().unwrap()[number % 2] += 1;
                    }
                });
            }
            eventually("some calls", || {
                (self.origin.count() >= before + calls).then_some(())
            });
            std::thread::sleep(Duration::from_micros(dice.roll() % 5_000));
            gateway.kill();
            over.store(true, Ordering::Relaxed);
        });
        self.wire.cut();
        let [strict, leased] = answered.into_inner().unwrap();
        self.answered += strict + leased;
        self.known.0 += strict * COST;
        // What was under way when it ended is charged in full at most, and so is the call before it of each
        // caller, whose end may not have been written when it was answered.
        self.known.1 += strict * COST + 2 * 3 * bound(&body(false));
    }

    /// Another process, and what it finds.
    fn rise(&mut self, point: Point) {
        self.gateway = Some(start(&self.server, &self.wire, &self.config));
        let [spent, reserved, leased] = sums(self.gateway(), &self.strict.0);
        let taken = spent + reserved + leased;
        assert!(
            (self.known.0..=self.known.1).contains(&taken),
            "{point:?}: {taken} is taken, and should be {:?}",
            self.known
        );
        let all: i64 = sums(self.gateway(), &self.leased.0).iter().sum();
        assert!(all <= LIMIT, "{point:?}: {all}");
        let sent = i64::try_from(self.origin.count()).unwrap();
        assert!(
            taken + all >= sent * COST,
            "{point:?}: {sent} were sent, {taken} and {all} taken"
        );
        assert!(
            taken + all >= self.answered * COST,
            "{point:?}: {} answered",
            self.answered
        );
        let checked = self.gateway().cli(&["ledger", "check"]);
        assert_eq!(checked.status.code(), Some(0), "{point:?}: {checked:?}");
    }

    /// After the time of everything that was out nothing is out any more, and nothing was forgotten.
    fn come_to_rest(&self) {
        put_clock(&self.server, LONG_MS);
        let gateway = self.gateway();
        let at_rest = |id: &str| {
            eventually("nothing is out", || {
                let [spent, reserved, leased] = sums(gateway, id);
                (reserved == 0 && leased == 0).then_some(spent)
            })
        };
        let strict = at_rest(&self.strict.0);
        assert!(
            (self.known.0..=self.known.1).contains(&strict),
            "{strict}: {:?}",
            self.known
        );
        let all = strict + at_rest(&self.leased.0);
        assert!(all >= self.answered * COST, "{all}");
        let open = "SELECT (SELECT count(*) FROM holds WHERE state IN ('held', 'committed'))
            + (SELECT count(*) FROM budget_leases WHERE state = 'active')";
        assert_eq!(self.number(open), 0, "nothing is open");
        let twice = "SELECT count(request_id) - count(DISTINCT request_id) FROM usage_records";
        assert_eq!(self.number(twice), 0, "each call has one record");
        let checked = gateway.cli(&["ledger", "check"]);
        assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    }
}

fn start(server: &Postgres, wire: &Wire, config: &str) -> Gateway {
    let through = |user: &str| {
        let port = |port: u16| format!("127.0.0.1:{port}");
        server
            .url(user)
            .replace(&port(server.port()), &port(wire.port()))
    };
    on(server, config)
        .env("DATABASE_URL", through("tollkeep_app"))
        .env("TOLLKEEP_STORE__JOBS_URL", through("tollkeep_jobs"))
        .env("TOLLKEEP_STORE__OWNER_URL", through("tollkeep_migrate"))
        .env("UPSTREAM_KEY", UPSTREAM_KEY)
        .set("logging.level", "warn")
        .start()
}

// LED-50a LED-52 LED-71 LED-74 LED-103
#[test]
#[ignore = "soak: it waits for what only time ends"]
fn whichever_step_a_gateway_is_killed_at_the_sums_say_what_was_done() {
    let (mut world, mut dice) = (World::new(), Dice::new(1));
    for point in POINTS.into_iter().chain([Point::Anywhere]) {
        world.kill_at(point, &mut dice);
        world.rise(point);
    }
    world.come_to_rest();
}

// LED-103
#[test]
#[ignore = "soak: some minutes; KILLS says how many"]
fn kills_at_chosen_steps_and_anywhere_lose_nothing() {
    let kills = settable(KILLS_VARIABLE, KILLS);
    let came = in_lanes((LANES, kills), |lane, kills, done| {
        let seed = 2 + 1_000 * lane as u64;
        eprintln!("lane {lane}: {kills} kills with seed {seed}");
        let (mut world, mut dice) = (World::new(), Dice::new(seed));
        let (mut times, mut rested) = ([0; 9], Instant::now());
        for kill in 0..kills {
            let point = match kill % 100 {
                // Half a minute each.
                99 => Point::RenewalUntold,
                _ if dice.below(3) == 0 => Point::Anywhere,
                _ => *dice.one_of(&POINTS),
            };
            times[point as usize] += 1;
            world.kill_at(point, &mut dice);
            world.rise(point);
            if kill % 50 == 49 || rested.elapsed() > REST_EVERY {
                world.come_to_rest();
                rested = Instant::now();
            }
            done.fetch_add(1, Ordering::Relaxed);
        }
        world.come_to_rest();
        (times, world.answered, world.missed)
    });
    for (lane, (times, answered, missed)) in came.iter().enumerate() {
        eprintln!(
            "lane {lane}: kills by point {times:?}, {missed} missed, {answered} calls answered"
        );
    }
}

// AUD-40
#[test]
fn what_a_killed_gateway_wrote_to_a_server_and_did_not_tell_of_is_told_by_the_next_one() {
    let mut world = World::new();
    let untold = "SELECT count(*) FROM entries AS e WHERE kind = 'settle' AND NOT EXISTS
        (SELECT 1 FROM audit_events AS a WHERE a.action = 'money.settle' AND a.metadata LIKE '%' || encode(e.hash, 'hex') || '%')";
    let mut due = 0;
    // What is held up may rarely be the answer to something else.
    for seed in 0..3 {
        world.kill_at(Point::EndUntold, &mut Dice::new(seed));
        world.rise(Point::EndUntold);
        due = world.number(untold);
        if due > 0 {
            break;
        }
    }
    assert!(due > 0, "nobody was left to tell of it");
    // Whoever lives has told of its own calls after a minute.
    let told = wait_until(Duration::from_secs(150), || {
        (world.number(untold) == 0).then_some(())
    });
    assert_eq!(told, Some(()), "it is told late");
    let late = "SELECT count(*) FROM audit_events WHERE reason = 'recorded_late' AND action = 'money.settle'";
    assert_eq!(world.number(late), due, "once, and of nothing else");
    let verified = world.gateway().cli(&[
        "audit",
        "verify",
        "--ledger",
        "--data-dir",
        &world.gateway().data_dir().display().to_string(),
    ]);
    assert_eq!(verified.status.code(), Some(0), "{verified:?}");
}

// LED-50 LED-52
#[test]
fn a_call_that_was_held_and_never_sent_is_charged_when_its_gateway_was_killed() {
    // It takes connections and says nothing: no byte of a request can be written to it.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", silent.local_addr().unwrap());
    let config = format!(
        "providers:\n  openai:\n    base_url: \"{url}/v1\"\n    allow_private: [\"127.0.0.1/32\"]\n    \
         credentials: [{{ secret: \"${{UPSTREAM_KEY}}\" }}]\n{}",
        crate::held::PRICES
    );
    let gateway = crate::fixture::gateway(config)
        .env("UPSTREAM_KEY", UPSTREAM_KEY)
        .start();
    let token = gateway.mint_token(&json!({ "project": "default" }));
    let limit = json!({"unit": "usd", "limit": {"nano_usd": LIMIT}, "durability": "strict"});
    let id = budget(&gateway, &limit);
    let mut caller = gateway.connect();
    assert!(caller.send(&chat(&token, &body(false))));
    let (_upstream, _) = silent.accept().unwrap();
    let bound = bound(&body(false));
    assert_eq!(
        sums(&gateway, &id),
        [0, bound, 0],
        "it is held before it goes out"
    );
    let gateway = gateway.restart().unwrap();
    let taken: i64 = sums(&gateway, &id).iter().sum();
    assert_eq!(taken, bound, "nobody knows that nothing was sent");
    assert!(bound > CAP);
    let checked = gateway.cli(&["ledger", "check"]);
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
}
