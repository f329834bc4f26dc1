//! Crowds that race for budgets, on one gateway and on two: as many calls pass as there is room for,
//! never more, and the sums are exact when the race is over.

use crate::fixture::{Dice, UPSTREAM_KEY, chat, llm};
use crate::held::{PRICES, answer, body, bound, budget, sums};
use crate::replicas::on;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};
use tollkeep_testkit::{Gateway, Origin, Postgres, eventually, json as answer_json, wait_until};

/// Callers at the same moment.
const CALLERS: usize = 64;
/// For how many calls there is room: too few for slices, just enough, and plenty.
const ROOMS: [i64; 8] = [1, 5, 19, 20, 21, 64, 300, 1500];
/// No slice is called back for a second after that brought nothing.
const QUIET: Duration = Duration::from_millis(1_200);
/// Who was told that the database did not answer may have been granted a hold all the same, which
/// goes back when the answer comes.
const UNANSWERED_QUIET: Duration = Duration::from_secs(15);
/// Before somebody who was told so comes again.
const PAUSE: Duration = Duration::from_millis(20);
/// Calls of the long forms, unless this variable says how many races they are.
const CALLS: usize = 100_000;
const RACES_VARIABLE: &str = "RACES";

/// How many times something is done: as this variable says, or so many.
pub(crate) fn settable(variable: &str, times: usize) -> usize {
    std::env::var(variable).map_or(times, |text| text.parse().unwrap())
}

/// How long races go on.
#[derive(Clone, Copy, Debug)]
enum Length {
    Calls(usize),
    Races(usize),
}

impl Length {
    /// That of the long forms.
    fn long() -> Self {
        match settable(RACES_VARIABLE, 0) {
            0 => Self::Calls(CALLS),
            races => Self::Races(races),
        }
    }

    fn is_over(self, tally: &Tally) -> bool {
        match self {
            Self::Calls(calls) => tally.calls >= calls,
            Self::Races(races) => tally.races >= races,
        }
    }
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

struct Field {
    origin: Origin,
    uses_all: Arc<AtomicBool>,
    gateways: Vec<Gateway>,
}

impl Field {
    /// One gateway with a file of its own.
    fn alone() -> (Self, String) {
        let (origin, uses_all) = upstream();
        let (gateway, token) = llm(&origin, "openai", PRICES);
        let gateways = vec![gateway];
        let field = Self {
            origin,
            uses_all,
            gateways,
        };
        (field, token)
    }

    /// So many replicas on a server.
    fn shared(server: &Postgres, replicas: usize) -> (Self, String) {
        let (origin, uses_all) = upstream();
        let config = provider(&origin);
        let start = || {
            on(server, &config)
                .env("UPSTREAM_KEY", UPSTREAM_KEY)
                .start()
        };
        let gateways: Vec<_> = (0..replicas).map(|_| start()).collect();
        let token = gateways[0].mint_token(&json!({ "project": "default" }));
        let field = Self {
            origin,
            uses_all,
            gateways,
        };
        (field, token)
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

    fn run(&self, race: &Race, token: &str, tally: &mut Tally) {
        let uses_all = matches!(race.uses, Uses::All);
        self.uses_all.store(uses_all, Ordering::SeqCst);
        let request = body(false);
        let one = if race.unit == "requests" {
            1
        } else {
            bound(&request)
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
        let made = json!({"name": format!("race {}", tally.races), "unit": race.unit,
            "limit": amount, "durability": race.durability, "warn": [50, 80, 100]});
        let id = budget(self.first(), &made);
        self.agree();
        self.origin.forget();
        let before = tally.unanswered;
        let mut admitted = self.crowd(race, (token, &id), limit, tally);
        let quiet = if tally.unanswered > before {
            UNANSWERED_QUIET
        } else {
            QUIET
        };
        let exactly = (used == one).then(|| usize::try_from(race.room).unwrap());
        admitted += self.ask_again((token, &id, exactly), admitted, (quiet, tally));
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
            self.origin.count(),
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
                "{race:?}: {count}"
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
        (token, id, exactly): (&str, &str, Option<usize>),
        before: usize,
        (mut quiet, tally): (Duration, &mut Tally),
    ) -> usize {
        let (began, mut more, mut is_calm) = (Instant::now(), 0, false);
        loop {
            let unanswered = tally.unanswered;
            let is_over = exactly.is_some_and(|room| before + more >= room);
            if passes(self.first(), token, tally) {
                more += 1;
                tally.later += 1;
            } else if is_over || (is_calm && began.elapsed() >= quiet) {
                return more;
            } else {
                // Whoever is refused now was not refused for calls whose ends are not written yet.
                is_calm = sums(self.first(), id)[1] == 0;
                if tally.unanswered > unanswered {
                    quiet = UNANSWERED_QUIET;
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }

    /// All callers at once, each until it is refused; how many calls passed. Meanwhile every look at
    /// the sums finds them within the limit.
    fn crowd(&self, race: &Race, of: (&str, &str), limit: i64, tally: &mut Tally) -> usize {
        let ((token, id), request) = (of, chat(of.0, &body(false)));
        let (start, over) = (Barrier::new(CALLERS), AtomicBool::new(false));
        let (calls, admitted, looks, unanswered) = (
            AtomicUsize::new(0),
            AtomicUsize::new(0),
            AtomicUsize::new(0),
            AtomicUsize::new(0),
        );
        assert!(!token.is_empty());
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
                let is_step = matches!(action, "budget.threshold" | "budget.exhausted");
                if is_step && event["details"]["budget"] == id {
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

fn upstream() -> (Origin, Arc<AtomicBool>) {
    let uses_all = Arc::<AtomicBool>::default();
    let all = Arc::clone(&uses_all);
    let origin = Origin::start(move |_| {
        let most = bound(&body(false));
        answer_json(&if all.load(Ordering::SeqCst) {
            answer(most - crate::held::CAP, crate::held::CAP)
        } else {
            answer(LITTLE - 30, 30)
        })
    });
    (origin, uses_all)
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

fn passes(gateway: &Gateway, token: &str, tally: &mut Tally) -> bool {
    tally.calls += 1;
    match gateway.call(&chat(token, &body(false))).status {
        200 => true,
        402 => false,
        503 => {
            tally.unanswered += 1;
            false
        }
        other => panic!("{other}"),
    }
}

/// Races of all kinds, for so long.
fn races(field: &Field, token: &str, seed: u64, length: Length, rooms: &[i64]) {
    let (mut dice, mut tally) = (Dice::new(seed), Tally::default());
    let began = Instant::now();
    let mut kinds = Vec::new();
    for durability in ["lease", "strict"] {
        for unit in ["requests", "tokens", "usd"] {
            kinds.push((unit, durability));
        }
    }
    while !length.is_over(&tally) || tally.races < kinds.len() {
        let (unit, durability) = kinds[tally.races % kinds.len()];
        let race = Race {
            unit,
            durability,
            room: *dice.one_of(rooms),
            uses: if dice.below(3) == 0 {
                Uses::Some
            } else {
                Uses::All
            },
        };
        field.run(&race, token, &mut tally);
    }
    field.check();
    eprintln!("{tally:?} in {:?}", began.elapsed());
}

// LED-60 LED-63 LED-72 LED-73a LED-104
#[test]
fn a_crowd_on_one_gateway_gets_exactly_what_there_is_room_for() {
    let (field, token) = Field::alone();
    races(&field, &token, 11, Length::Calls(1_000), &ROOMS[..7]);
}

// LED-63 LED-72 LED-73a LED-104
#[test]
fn a_crowd_on_two_replicas_gets_exactly_what_there_is_room_for() {
    let server = Postgres::start();
    let (field, token) = Field::shared(&server, 2);
    races(&field, &token, 12, Length::Calls(600), &ROOMS[..6]);
}

// LED-104
#[test]
#[ignore = "soak: some minutes; RACES says how many races"]
fn a_hundred_thousand_calls_race_for_budgets_on_one_gateway() {
    let (field, token) = Field::alone();
    races(&field, &token, 13, Length::long(), &ROOMS);
}

// LED-104
#[test]
#[ignore = "soak: some minutes; RACES says how many races"]
fn a_hundred_thousand_calls_race_for_budgets_on_one_gateway_with_a_server() {
    let server = Postgres::start();
    let (field, token) = Field::shared(&server, 1);
    races(&field, &token, 15, Length::long(), &ROOMS);
}

// LED-104
#[test]
#[ignore = "soak: some minutes; RACES says how many races"]
fn a_hundred_thousand_calls_race_for_budgets_on_two_replicas() {
    let server = Postgres::start();
    let (field, token) = Field::shared(&server, 2);
    races(&field, &token, 14, Length::long(), &ROOMS);
}
