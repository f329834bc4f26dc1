//! Crowds that race for budgets, on one gateway and on two: as many calls pass as there is room for,
//! never more, and the sums are exact when the race is over. The long forms are in `many_races.rs`.

use crate::fixture::{Dice, UPSTREAM_KEY, chat, gateway};
use crate::held::{CAP, PRICES, answer, body, bound, budget, sums, window};
use crate::replicas::on;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};
use tollkeep_testkit::{
    Builder, Gateway, Origin, Postgres, eventually, json as answer_json, wait_until,
};

/// Callers at the same moment.
const CALLERS: usize = 64;
/// For how many calls there is room: too few for slices, just enough, and plenty.
const ROOMS: [i64; 7] = [1, 5, 19, 20, 21, 64, 300];
/// One race of so many is for a budget of any size; the others end soon.
const ANY_SIZE_EVERY: usize = 50;
/// No slice is called back for a second after that brought nothing.
const QUIET: Duration = Duration::from_millis(1_200);
/// Who was told that the database did not answer may have been granted a hold all the same, which
/// goes back when the answer comes.
const UNANSWERED_QUIET: Duration = Duration::from_secs(15);
/// Before somebody who was told so comes again.
const PAUSE: Duration = Duration::from_millis(20);

/// How many times something is done: as this variable says, or so many.
pub(crate) fn settable(variable: &str, times: usize) -> usize {
    std::env::var(variable).map_or(times, |text| text.parse().unwrap())
}

/// What an upstream reports of a call.
#[derive(Clone, Copy, Debug)]
enum Uses {
    /// As much as was taken aside for it.
    All,
    /// Less.
    Some,
}

const LITTLE: i64 = 39;

/// One race.
#[derive(Debug)]
struct Race {
    unit: &'static str,
    durability: &'static str,
    room: i64,
    uses: Uses,
}

/// What came of races.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    races: usize,
    calls: usize,
    admitted: usize,
    /// Calls that passed after the whole crowd had been refused.
    later: usize,
    looks: usize,
    /// Calls that were told to come again.
    unanswered: usize,
}

/// A project with a token of its own.
struct Lane {
    project: String,
    token: String,
    request: String,
    seen: Arc<Seen>,
}

/// What the upstream knows.
#[derive(Default)]
struct Seen {
    uses_all: AtomicBool,
    calls: AtomicUsize,
}

struct Field {
    origin: Origin,
    gateways: Vec<Gateway>,
    lane: Lane,
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
        let seen = Arc::<Seen>::default();
        let origin = upstream(Arc::clone(&seen));
        let crowds = (4 * CALLERS).to_string();
        let limits = ["connections", "connections_per_ip"];
        let limits = limits
            .iter()
            .chain(&["concurrent_requests", "concurrent_requests_per_ip"]);
        let start = |builder: Builder| {
            let limited = limits.clone().fold(builder, |builder, limit| {
                builder.set(&format!("server.limits.{limit}_max"), &crowds)
            });
            limited.env("UPSTREAM_KEY", UPSTREAM_KEY).start()
        };
        let builders = builders(&provider(&origin));
        let gateways: Vec<_> = builders.into_iter().map(start).collect();
        let named = json!({ "name": "races" });
        let (status, project) = gateways[0].api("POST", "/api/v1/projects", Some(&named));
        assert_eq!(status, 201, "{project}");
        let project = project["id"].as_str().unwrap().to_owned();
        let token = gateways[0].mint_token(&json!({ "project": project }));
        Self {
            origin,
            gateways,
            lane: Lane {
                token,
                project,
                request: body(false),
                seen,
            },
        }
    }

    fn first(&self) -> &Gateway {
        &self.gateways[0]
    }

    /// Waits until every replica has seen what was changed so far: changes are shown in their order.
    fn agree(&self) {
        let later = self.first().mint_token(&json!({ "project": "default" }));
        for gateway in &self.gateways {
            eventually("it is known everywhere", || {
                (passes_models(gateway, &later)).then_some(())
            });
        }
    }

    fn run(&self, race: &Race, tally: &mut Tally) {
        let lane = &self.lane;
        let uses_all = matches!(race.uses, Uses::All);
        lane.seen.uses_all.store(uses_all, Ordering::SeqCst);
        let one = if race.unit == "requests" {
            1
        } else {
            bound(&lane.request)
        };
        let used = match (race.unit, race.uses) {
            ("requests", _) => 1,
            (_, Uses::All) => one,
            (_, Uses::Some) => LITTLE,
        };
        // A part of a call more than there is room for.
        let limit = race.room * one + (one - 1);
        let amount = if race.unit == "usd" {
            json!({ "nano_usd": limit })
        } else {
            json!(limit)
        };
        let made = json!({"name": format!("{} {}", lane.project, tally.races), "unit": race.unit,
            "scope": {"project": lane.project}, "limit": amount, "durability": race.durability, "warn": [50, 80, 100]});
        let id = budget(self.first(), &made);
        self.agree();
        self.origin.forget();
        let before = tally.unanswered;
        let mut admitted = self.crowd(lane, race, (&id, limit), tally);
        let quiet = if tally.unanswered > before {
            UNANSWERED_QUIET
        } else {
            QUIET
        };
        let exactly = (used == one).then(|| usize::try_from(race.room).unwrap());
        admitted += self.ask_again(lane, (&id, exactly), admitted, (quiet, tally));
        let count = i64::try_from(admitted).unwrap();
        let spent = wait_until(Duration::from_secs(120), || {
            let now = sums(self.first(), &id);
            (now == [count * used, 0, 0]).then_some(())
        });
        assert!(
            spent.is_some(),
            "{race:?}: {admitted} passed, of {used} each: {:?}",
            sums(self.first(), &id)
        );
        assert_eq!(
            lane.seen.calls.swap(0, Ordering::SeqCst),
            admitted,
            "{race:?}: what was refused was sent"
        );
        if used == one {
            assert_eq!(count, race.room, "{race:?}: as many as there is room for");
        } else {
            // The slice of another replica may still hold some of it.
            let is_used_up = limit - count * used < one || self.gateways.len() > 1;
            assert!(
                count >= race.room && count * used <= limit && is_used_up,
                "{race:?}: {count}: {:?}",
                window(self.first(), &id)
            );
        }
        // Reading the whole log takes its time.
        if tally.calls < 3_000 {
            self.told_once(&id, count * used, limit);
        }
        let path = format!("/api/v1/budgets/{id}");
        assert_eq!(self.first().api("DELETE", &path, None).0, 204);
        self.agree();
        tally.races += 1;
        tally.admitted += admitted;
    }

    /// Whoever asks again, when no slice is out any more, may have what is left; how many that are.
    fn ask_again(
        &self,
        lane: &Lane,
        (id, exactly): (&str, Option<usize>),
        before: usize,
        (mut quiet, tally): (Duration, &mut Tally),
    ) -> usize {
        let (mut more, mut calm_since) = (0, None::<Instant>);
        loop {
            let unanswered = tally.unanswered;
            let is_over = exactly.is_some_and(|room| before + more >= room);
            let is_calm = calm_since.is_some_and(|since| since.elapsed() >= quiet);
            if passes(self.first(), lane, tally) {
                more += 1;
                tally.later += 1;
                calm_since = None;
            } else if is_over || is_calm {
                return more;
            } else {
                // Whoever is refused now was not refused for calls whose ends are not written yet.
                let is_calm = sums(self.first(), id)[1] == 0;
                calm_since = is_calm.then(|| calm_since.unwrap_or_else(Instant::now));
                if tally.unanswered > unanswered {
                    quiet = UNANSWERED_QUIET;
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }

    /// All callers at once, each until it is refused; how many calls passed. Meanwhile every look at
    /// the sums finds them within the limit.
    fn crowd(
        &self,
        lane: &Lane,
        race: &Race,
        (id, limit): (&str, i64),
        tally: &mut Tally,
    ) -> usize {
        let request = chat(&lane.token, &lane.request);
        let (start, over) = (Barrier::new(CALLERS), AtomicBool::new(false));
        let (calls, admitted, looks, unanswered) = (
            AtomicUsize::new(0),
            AtomicUsize::new(0),
            AtomicUsize::new(0),
            AtomicUsize::new(0),
        );
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let taken: i64 = sums(self.gateways.last().unwrap(), id).iter().sum();
                    assert!(taken <= limit, "{race:?}: {taken} of {limit}");
                    looks.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(25));
                }
            });
            let callers: Vec<_> = (0..CALLERS)
                .map(|number| {
                    let gateway = &self.gateways[number % self.gateways.len()];
                    let (start, calls, request) = (&start, &calls, &request);
                    let (admitted, unanswered) = (&admitted, &unanswered);
                    scope.spawn(move || {
                        let mut client = gateway.connect();
                        start.wait();
                        loop {
                            let answer = client.call(request);
                            calls.fetch_add(1, Ordering::Relaxed);
                            match answer.status {
                                200 => _ = admitted.fetch_add(1, Ordering::Relaxed),
                                402 => return,
                                // A disk of a busy machine may take longer than a call waits: whoever is
                                // told so was refused, and comes again.
                                503 => {
                                    unanswered.fetch_add(1, Ordering::Relaxed);
                                    std::thread::sleep(PAUSE);
                                }
                                _ => panic!("{race:?}: {}", answer.text()),
                            }
                            if answer.closes() {
                                client = gateway.connect();
                            }
                        }
                    })
                })
                .collect();
            let ended: Vec<_> = callers.into_iter().map(|caller| caller.join()).collect();
            over.store(true, Ordering::Relaxed);
            assert!(ended.iter().all(Result::is_ok), "{race:?}");
        });
        tally.calls += calls.into_inner();
        tally.looks += looks.into_inner();
        tally.unanswered += unanswered.into_inner();
        admitted.into_inner()
    }

    /// Each step that was reached for good is told, and none is told twice, whichever replica saw it.
    fn told_once(&self, id: &str, spent: i64, limit: i64) {
        let told = || {
            let mut told = BTreeMap::<i64, usize>::new();
            for event in self.gateways.iter().flat_map(Gateway::audit_lines) {
                let action = event["action"].as_str().unwrap_or_default();
                if action == "budget.threshold" && event["details"]["budget"] == id {
                    let percent = event["details"]["percent"].as_i64().unwrap();
                    *told.entry(percent).or_default() += 1;
                }
            }
            told
        };
        let reached = [50, 80, 100].map(|step| (step, spent * 100 >= limit * step));
        let steps = eventually("steps of the budget", || {
            let told = told();
            let all = reached
                .iter()
                .all(|(step, is)| !is || told.contains_key(step));
            all.then_some(told)
        });
        assert!(steps.values().all(|times| *times == 1), "{steps:?}");
    }

    fn check(&self) {
        for gateway in &self.gateways {
            let checked = gateway.cli(&["ledger", "check"]);
            assert_eq!(checked.status.code(), Some(0), "{checked:?}");
        }
    }
}

/// Answers each call, and counts it.
fn upstream(seen: Arc<Seen>) -> Origin {
    Origin::start(move |request| {
        // Also asked for its models.
        if request.method != "POST" {
            return answer_json(&answer(0, 0));
        }
        seen.calls.fetch_add(1, Ordering::SeqCst);
        answer_json(&if seen.uses_all.load(Ordering::SeqCst) {
            answer(bound(&body(false)) - CAP, CAP)
        } else {
            answer(LITTLE - 30, 30)
        })
    })
}

/// The settings of a provider at `origin`.
pub(crate) fn provider(origin: &Origin) -> String {
    let url = origin.url();
    format!(
        "providers:\n  openai:\n    base_url: \"{url}/v1\"\n    allow_private: [\"127.0.0.1/32\"]\n    \
         credentials: [{{ secret: \"${{UPSTREAM_KEY}}\" }}]\n{PRICES}"
    )
}

pub(crate) fn passes_models(gateway: &Gateway, token: &str) -> bool {
    let lines = format!("Authorization: Bearer {token}\r\n");
    gateway
        .call(&crate::fixture::head("GET /v1/models", &lines))
        .status
        == 200
}

fn passes(gateway: &Gateway, lane: &Lane, tally: &mut Tally) -> bool {
    tally.calls += 1;
    match gateway.call(&chat(&lane.token, &lane.request)).status {
        200 => true,
        402 => false,
        503 => {
            tally.unanswered += 1;
            false
        }
        other => panic!("{other}"),
    }
}

/// Races of all kinds, until there were so many calls.
fn in_turn(field: &Field, seed: u64, calls: usize, rooms: &[i64]) {
    let began = Instant::now();
    let (mut dice, mut tally) = (Dice::new(seed), Tally::default());
    let mut kinds = Vec::new();
    for durability in ["lease", "strict"] {
        for unit in ["requests", "tokens", "usd"] {
            kinds.push((unit, durability));
        }
    }
    while tally.calls < calls || tally.races < kinds.len() {
        let (unit, durability) = kinds[tally.races % kinds.len()];
        let is_any = dice.below(ANY_SIZE_EVERY) == 0;
        let soon = rooms.get(..6).unwrap_or(rooms);
        let race = Race {
            unit,
            durability,
            room: *dice.one_of(if is_any { rooms } else { soon }),
            // To see that nothing is left takes its time.
            uses: if dice.below(3) == 0 {
                Uses::Some
            } else {
                Uses::All
            },
        };
        field.run(&race, &mut tally);
    }
    field.check();
    eprintln!("{tally:?} in {:?}", began.elapsed());
}

// LED-60 LED-63 LED-72 LED-73a LED-104
#[test]
fn a_crowd_on_one_gateway_gets_exactly_what_there_is_room_for() {
    in_turn(&Field::alone(), 11, 1_000, &ROOMS);
}

// LED-63 LED-72 LED-73a LED-104
#[test]
fn a_crowd_on_two_replicas_gets_exactly_what_there_is_room_for() {
    let server = Postgres::start();
    in_turn(&Field::shared(&server, 2), 12, 600, &ROOMS[..6]);
}
