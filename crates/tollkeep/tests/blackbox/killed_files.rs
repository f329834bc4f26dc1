//! Gateways with a file that are killed at any moment, under load: what callers were answered stays
//! counted, once, and the rows are right after each start.

use crate::fixture::{Dice, UPSTREAM_KEY, chat, gateway};
use crate::held::{answer, body, bound, budget, sums};
use crate::races::{provider, settable};
use serde_json::json;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tollkeep_testkit::{
    Client, Gateway, MANAGEMENT_KEY, Origin, PATIENCE, json as answer_json, wait_until,
};

const COST: i64 = 39;
/// So much that slices which kills cost are a small part of it.
const LIMIT: i64 = 1_000_000_000_000_000;
/// Callers with each token.
const CALLERS: usize = 3;
/// Kills of the long form, unless this variable says how many.
const KILLS: usize = 300;
pub(crate) const KILLS_VARIABLE: &str = "KILLS";
/// Gateways that are killed at the same time, each with files of its own: to start takes longer than
/// it keeps the machine busy, and what is written down is checked in the time of what there is.
const LANES: usize = 4;
/// After so many kills all rows of a gateway are checked, and not its sums alone.
const CHECK_EVERY: usize = 10;
/// Entries of the ledger that are read at once.
const ENTRIES: usize = 10_000;
const TELL_EVERY: Duration = Duration::from_secs(20);
/// What nobody renews is settled after a minute, and what nobody uses is returned.
const REST: Duration = Duration::from_secs(240);

struct World {
    _origin: Origin,
    gateway: Gateway,
    budgets: [String; 2],
    tokens: [String; 2],
    /// Calls that were answered, by token.
    answered: [i64; 2],
    kills: i64,
    under_load: Duration,
}

impl World {
    fn new() -> Self {
        Self::with(&[])
    }

    /// With these settings of the log.
    fn with(settings: &[(&str, &str)]) -> Self {
        let origin = Origin::start(|_| answer_json(&answer(COST - 30, 30)));
        let gateway = gateway(provider(&origin))
            .env("UPSTREAM_KEY", UPSTREAM_KEY)
            .set("ledger.hold_grace", "30s")
            .set("providers.openai.timeouts.total_ms", "30s")
            .set("logging.level", "warn")
            // What was told is counted in one file.
            .set("audit.rotate", "off");
        let settings = settings.iter();
        let gateway = settings
            .fold(gateway, |gateway, (key, value)| gateway.set(key, *value))
            .start();
        let kinds = ["strict", "lease"];
        let budgets = kinds.map(|how| {
            let made = json!({"name": how, "unit": "usd", "limit": {"nano_usd": LIMIT},
                "durability": how, "scope": {"metadata": {"how": how}}});
            budget(&gateway, &made)
        });
        let tokens = kinds.map(|how| {
            gateway.mint_token(&json!({"project": "default", "metadata": {"how": how}}))
        });
        Self {
            _origin: origin,
            gateway,
            budgets,
            tokens,
            answered: [0; 2],
            kills: 0,
            under_load: Duration::ZERO,
        }
    }

    /// Callers call until the gateway is killed under them.
    fn kill_under_load(mut self, dice: &mut Dice) -> Self {
        let answered = [AtomicI64::new(0), AtomicI64::new(0)];
        let moment = Duration::from_millis(u64::try_from(20 + dice.below(200)).unwrap());
        thread::scope(|scope| {
            for (token, answered) in self.tokens.iter().zip(&answered) {
                for _ in 0..CALLERS {
                    let (address, request) = (self.gateway.data(), chat(token, &body(false)));
                    scope.spawn(move || call_until_killed(address, &request, answered));
                }
            }
            thread::sleep(moment);
            self.gateway.kill();
        });
        for (sum, answered) in self.answered.iter_mut().zip(answered) {
            *sum += answered.into_inner();
        }
        self.under_load += moment;
        let (gateway, kills) = (self.gateway.restart().unwrap(), self.kills + 1);
        Self {
            gateway,
            kills,
            ..self
        }
    }

    fn check(&self) {
        self.check_sums();
        let checked = self.gateway.cli(&["ledger", "check"]);
        assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    }

    fn check_sums(&self) {
        for (id, answered) in self.budgets.iter().zip(self.answered) {
            let sums = sums(&self.gateway, id);
            let taken: i64 = sums.iter().sum();
            assert!(
                (answered * COST..=LIMIT).contains(&taken),
                "{answered} were answered: {sums:?}"
            );
        }
    }

    /// Every charge that is written down is told of in the audit log, once, though the process that
    /// wrote it down may have been killed before it told.
    fn told_once(&self) {
        let mut books = Books::default();
        let found = wait_until(REST, || {
            books.read_on(&self.gateway);
            books.untold.is_empty().then_some(())
        });
        assert!(
            found.is_some(),
            "{} of {} charges are not told of",
            books.untold.len(),
            books.charges
        );
        let twice: Vec<_> = (books.told.iter())
            .filter(|(_, times)| **times != 1)
            .collect();
        assert_eq!(twice, []);
        if !log_of(&self.gateway).exists() {
            return;
        }
        let folder = self.gateway.data_dir().display().to_string();
        let verify = ["audit", "verify", "--ledger", "--data-dir", &folder];
        let verified = self.gateway.cli(&verify);
        assert_eq!(verified.status.code(), Some(0), "{verified:?}");
    }

    fn come_to_rest(&self) {
        let rests = |id: &str| {
            let [spent, reserved, leased] = sums(&self.gateway, id);
            (reserved == 0 && leased == 0).then_some(spent)
        };
        for (number, id) in self.budgets.iter().enumerate() {
            let spent = wait_until(REST, || rests(id));
            let spent = spent.unwrap_or_else(|| panic!("{:?}", sums(&self.gateway, id)));
            // Rows are exact, but for the call that was under way of each caller at a kill, and the one
            // before, whose end may not have been written when it was answered.
            let answered = self.answered[number];
            let unseen = self.kills * 2 * i64::try_from(CALLERS).unwrap();
            let most = answered * COST + unseen * bound(&body(false));
            assert!(
                number == 1 || spent <= most,
                "{answered} answered, {unseen} in doubt: {spent}"
            );
        }
        self.check();
    }
}

/// What the ledger charged and the audit log tells of it: each is read once, however often is looked. A
/// long form leaves hundreds of thousands of each, so texts are searched and not parsed.
#[derive(Default)]
struct Books {
    /// The last entry that was read, and how far the log was.
    entry: u64,
    log: u64,
    /// How often the log tells of which entry, by hashes.
    told: HashMap<String, usize>,
    charges: usize,
    /// Charges that it does not tell of yet.
    untold: HashSet<String>,
}

impl Books {
    fn read_on(&mut self, gateway: &Gateway) {
        while self.read_entries(gateway) == ENTRIES {}
        let log = log_of(gateway);
        if log.exists() {
            return self.read_log(&log);
        }
        // All of it, each time.
        self.told.clear();
        for line in records(gateway).lines() {
            self.take(line);
        }
        self.told.remove("");
    }

    /// Reads entries that calls were charged by; how many entries there were.
    fn read_entries(&mut self, gateway: &Gateway) -> usize {
        let request = format!(
            "GET /api/v1/ledger/entries?after={}&limit={ENTRIES} HTTP/1.1\r\nhost: {}\r\n\
             authorization: Bearer {MANAGEMENT_KEY}\r\nconnection: close\r\n\r\n",
            self.entry,
            gateway.management()
        );
        let page = Client::connect(gateway.management()).call(request.as_bytes());
        assert_eq!(page.status, 200, "{}", page.text());
        let page = page.text();
        let mut count = 0;
        for entry in page.split('}').filter(|entry| entry.contains('{')) {
            count += 1;
            self.entry = after(entry, "\"number\":", ',').parse().unwrap();
            if entry.contains("\"kind\":\"settle\"") {
                self.charges += 1;
                let hash = after(entry, "\"hash\":\"", '"');
                if !self.told.contains_key(hash) {
                    self.untold.insert(hash.to_owned());
                }
            }
        }
        count
    }

    /// Its lines are whole, even the last before a kill; one that is being written is left for later.
    fn read_log(&mut self, path: &Path) {
        let mut log = fs::File::open(path).unwrap();
        log.seek(SeekFrom::Start(self.log)).unwrap();
        let mut log = BufReader::with_capacity(1 << 20, log);
        let mut line = String::new();
        while log.read_line(&mut line).unwrap() > 0 && line.ends_with('\n') {
            self.log += line.len() as u64;
            assert!(line.starts_with('{') && line.ends_with("}\n"), "{line}");
            self.take(&line);
            line.clear();
        }
        // Of lines that tell of none.
        self.told.remove("");
    }

    fn take(&mut self, line: &str) {
        for digest in after(line, "\"entry_digest\":\"", '"').split(' ') {
            self.untold.remove(digest);
            *self.told.entry(digest.to_owned()).or_default() += 1;
        }
    }
}

fn log_of(gateway: &Gateway) -> PathBuf {
    gateway.data_dir().join("audit.log")
}

/// The records of money that the database has, a line each.
fn records(gateway: &Gateway) -> String {
    let request = format!(
        "GET /api/v1/audit?class=money HTTP/1.1\r\nhost: {}\r\naccept: application/x-ndjson\r\n\
         authorization: Bearer {MANAGEMENT_KEY}\r\nconnection: close\r\n\r\n",
        gateway.management()
    );
    let page = Client::connect(gateway.management()).call(request.as_bytes());
    assert_eq!(page.status, 200, "{}", page.text());
    page.text()
}

/// What stands behind `name`, up to this end; nothing, where there is no such name.
fn after<'t>(text: &'t str, name: &str, end: char) -> &'t str {
    let rest = text.split_once(name).map_or("", |(_, rest)| rest);
    rest.split_once(end).map_or(rest, |(value, _)| value)
}

fn call_until_killed(address: std::net::SocketAddr, request: &[u8], answered: &AtomicI64) {
    let mut client = Client::connect(address);
    while client.send(request) {
        let Ok(answer) = client.answer(PATIENCE) else {
            return;
        };
        match answer.status {
            200 => answered.fetch_add(1, Ordering::SeqCst),
            503 => 0,
            other => panic!("{other}: {}", answer.text()),
        };
        if answer.closes() {
            client = Client::connect(address);
        }
    }
}

// LED-103 AUD-40
#[test]
fn what_was_answered_before_a_kill_under_load_is_counted_after_it() {
    let (mut world, mut dice) = (World::new(), Dice::new(21));
    for _ in 0..5 {
        world = world.kill_under_load(&mut dice);
        world.check();
    }
    assert!(world.answered.iter().all(|answered| *answered > 0));
    world.told_once();
}

// AUD-40
#[test]
fn charges_that_a_killed_gateway_did_not_tell_of_are_told_in_other_words_and_without_a_file() {
    for settings in [("audit.format", "cliproxy"), ("audit.file", "")] {
        let (mut world, mut dice) = (World::with(&[settings]), Dice::new(23));
        for _ in 0..3 {
            world = world.kill_under_load(&mut dice);
        }
        assert!(world.answered.iter().all(|answered| *answered > 0));
        world.told_once();
    }
}

/// So many in each second.
pub(crate) fn rate(count: i64, time: Duration) -> i64 {
    count * 1_000 / i64::try_from(time.as_millis()).unwrap().max(1)
}

/// Kills on lanes of their own, all at the same time: each lane is given its number and how many
/// kills are its part, and counts them.
pub(crate) fn in_lanes<T: Send>(
    (lanes, kills): (usize, usize),
    run: impl Fn(usize, usize, &AtomicUsize) -> T + Sync,
) -> Vec<T> {
    let (done, began, run) = (AtomicUsize::new(0), Instant::now(), &run);
    let part = |lane: usize| kills / lanes + usize::from(lane < kills % lanes);
    thread::scope(|scope| {
        let spawn = |lane| {
            let (done, part) = (&done, part(lane));
            scope.spawn(move || run(lane, part, done))
        };
        let lanes: Vec<_> = (0..lanes).map(spawn).collect();
        let mut told = Instant::now();
        while lanes.iter().any(|lane| !lane.is_finished()) {
            thread::sleep(Duration::from_millis(50));
            if told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                let done = done.load(Ordering::Relaxed);
                eprintln!("{done} kills in {:.0?}", began.elapsed());
            }
        }
        let lanes = lanes.into_iter().map(|lane| lane.join());
        let came: Vec<_> = lanes.map(|lane| lane.expect("a lane")).collect();
        eprintln!("{kills} kills in {:.0?}", began.elapsed());
        came
    })
}

// LED-74 LED-103 AUD-40 AUD-42
#[test]
#[ignore = "soak: some minutes; KILLS says how many"]
fn however_often_a_gateway_with_a_file_is_killed_nothing_is_lost_or_counted_twice() {
    let kills = settable(KILLS_VARIABLE, KILLS);
    let answered = in_lanes((LANES, kills), |lane, kills, done| {
        let seed = 22 + 1_000 * lane as u64;
        eprintln!("lane {lane}: {kills} kills with seed {seed}");
        let (mut world, mut dice) = (World::new(), Dice::new(seed));
        for kill in 1..=kills {
            world = world.kill_under_load(&mut dice);
            if kill % CHECK_EVERY == 0 {
                world.check();
            } else {
                world.check_sums();
            }
            done.fetch_add(1, Ordering::Relaxed);
        }
        world.come_to_rest();
        world.told_once();
        let answered: i64 = world.answered.iter().sum();
        (answered, rate(answered, world.under_load))
    });
    eprintln!("calls answered, and in each second of load, by lane: {answered:?}");
}
