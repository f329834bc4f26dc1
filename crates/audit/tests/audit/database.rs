//! The database beside the file, or instead of it: what it has, and what happens while it hangs.

use crate::support::{Busy, config, eventually, lines, means, timed};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;
use tollkeep_audit::{
    Action, Actor, AuditError, DatabaseError, DatabaseStore, Event, Key, Logger, LoggerConfig,
    Means, OnFailure, Outcome, Report, Require, Rotation, Standing, Value, Verifier, log_files,
};
use tollkeep_types::StreamId;

/// The deadline of the defaults, and what a caller may wait on top.
const DEADLINE: Duration = Duration::from_millis(250);
const IN_TIME: Duration = Duration::from_millis(250 + 50);

/// A database in memory that can be told to hang or to refuse.
#[derive(Debug, Default)]
struct Memory {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: BTreeMap<u64, String>,
    through: u64,
    hangs: bool,
    refuses: bool,
    hanging: usize,
    /// How long it works for each batch, in this process, which has no other CPU then.
    works: Option<Duration>,
}

impl Memory {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }

    fn text(&self) -> String {
        self.state().lines.values().cloned().collect()
    }
}

/// What is wrong with records.
fn verify(text: &[u8]) -> Result<Report, std::io::Error> {
    let mut verifier = Verifier::default().of_a_part();
    verifier.read("records", text)?;
    Ok(verifier.finish())
}

fn number(line: &str) -> u64 {
    let record: serde_json::Value = serde_json::from_str(line).unwrap();
    record["seq"].as_u64().unwrap()
}

impl DatabaseStore for Memory {
    fn is_in_process(&self) -> bool {
        self.state().works.is_some()
    }

    fn keep(&self, lines: &str, through: Option<u64>) -> Result<(), DatabaseError> {
        let works = self.state().works;
        works.into_iter().for_each(std::thread::sleep);
        let mut state = self.state();
        state.hanging += 1;
        state = self.changed.wait_while(state, |state| state.hangs).unwrap();
        state.hanging -= 1;
        if state.refuses {
            return Err(DatabaseError("refused".to_owned()));
        }
        for line in lines.lines() {
            let kept = state.lines.entry(number(line));
            kept.or_insert_with(|| format!("{line}\n"));
        }
        state.through = through.unwrap_or_default().max(state.through);
        Ok(())
    }

    fn standing(&self, stream: Option<StreamId>) -> Result<Option<Standing>, DatabaseError> {
        let state = self.state();
        let Some((seq, line)) = state.lines.last_key_value() else {
            return Ok(None);
        };
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        let own: StreamId = record["stream"].as_str().unwrap().parse().unwrap();
        let hash = record["hash"].as_str().unwrap();
        let byte =
            |at: usize| u8::from_str_radix(hash.get(2 * at..2 * at + 2).unwrap(), 16).unwrap();
        Ok(stream
            .is_none_or(|stream| stream == own)
            .then_some(Standing {
                stream: own,
                seq: *seq,
                hash: std::array::from_fn(byte),
                through: state.through,
            }))
    }

    fn lines_after(&self, _: StreamId, seq: u64, records: usize) -> Result<String, DatabaseError> {
        let state = self.state();
        Ok(state
            .lines
            .range(seq + 1..)
            .take(records)
            .map(|(_, line)| line.as_str())
            .collect())
    }
}

fn with(
    path: &Path,
    memory: &Arc<Memory>,
    change: impl FnOnce(&mut LoggerConfig),
) -> (Logger, Means) {
    let means = means();
    let mut config = LoggerConfig {
        database_store: Some(Arc::<Memory>::clone(memory)),
        ..config(path)
    };
    change(&mut config);
    (Logger::new(config, means.clone()).unwrap(), means)
}

fn managed() -> Event<'static> {
    Event::new(Action::TokenCreate, Actor::Management, Outcome::Success)
}

fn call(number: u64) -> Event<'static> {
    Event::new(Action::ProxyRequest, Actor::Client, Outcome::Success)
        .with_detail(Key::Count, Value::Number(number))
}

/// An event whose line is of some kilobytes.
fn long(number: u64) -> Event<'static> {
    let text = || Value::OwnedWord("x".repeat(250).into());
    let keys = [
        Key::Endpoint,
        Key::Error,
        Key::Model,
        Key::Provider,
        Key::Route,
        Key::Kind,
        Key::Name,
        Key::Message,
        Key::Listener,
        Key::Version,
    ];
    let event = call(number);
    keys.into_iter()
        .fold(event, |event, key| event.with_detail(key, text()))
}

fn writable(logger: &Logger, means: &Means) -> bool {
    logger.health().writable(means.clock.mono())
}

/// A path, and the folder that it is in.
fn place() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    (dir, path)
}

fn count(text: &str, action: &str) -> usize {
    text.matches(&format!("\"action\":\"{action}\"")).count()
}

// AUD-43 AUD-50
#[test]
fn file_and_database_have_the_same_records() {
    let (_dir, path) = place();
    let memory = Arc::default();
    for life in 0..3 {
        let (logger, _) = with(&path, &memory, |_| {});
        for number in 0..700 {
            logger.enqueue(&call(number)).unwrap();
        }
        logger.log(&managed()).unwrap();
        let text = memory.text();
        assert_eq!(
            count(&text, "token.create"),
            life + 1,
            "there before the answer"
        );
        logger.stop().unwrap();
        assert_eq!(memory.text(), std::fs::read_to_string(&path).unwrap());
    }
    let found = verify(memory.text().as_bytes()).unwrap();
    assert_eq!((found.faults_in_all, found.records), (0, 3 * 703));
    assert_eq!(memory.state().through, 3 * 703);
}

// AUD-20 AUD-50
#[test]
fn without_a_file_the_chain_goes_on_in_the_database() {
    let memory = Arc::default();
    for _ in 0..3 {
        let (logger, _) = with(Path::new(""), &memory, |_| {});
        logger.enqueue(&call(1)).unwrap();
        logger.log(&managed()).unwrap();
        logger.stop().unwrap();
    }
    let text = memory.text();
    let found = verify(text.as_bytes()).unwrap();
    assert_eq!((found.faults_in_all, found.records), (0, 12), "{text}");
    let config = LoggerConfig {
        file_path: PathBuf::new(),
        ..LoggerConfig::default()
    };
    assert!(matches!(
        Logger::new(config, means()),
        Err(AuditError::Nowhere)
    ));
}

// AUD-42
#[test]
fn what_the_file_lacks_comes_from_the_database() {
    let (_dir, path) = place();
    let memory = Arc::default();
    let life = || {
        let (logger, _) = with(&path, &memory, |_| {});
        for number in 0..600 {
            logger.enqueue(&call(number)).unwrap();
        }
        logger.stop().unwrap();
    };
    life();
    let whole = std::fs::read_to_string(&path).unwrap();
    for (name, kept) in [
        ("all but one", whole.lines().count() - 1),
        ("one", 1),
        ("none, as after a rotation", 0),
    ] {
        let part: String = whole
            .lines()
            .take(kept)
            .map(|line| format!("{line}\n"))
            .collect();
        std::fs::write(&path, part).unwrap();
        life();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(verify(text.as_bytes()).unwrap().faults, [], "{name}");
        assert_eq!(text.contains(&whole), kept > 0, "{name}");
        assert_eq!(
            verify(memory.text().as_bytes()).unwrap().faults,
            [],
            "{name}"
        );
        std::fs::write(&path, &whole).unwrap();
        memory.change(|state| drop(state.lines.split_off(&(whole.lines().count() as u64 + 1))));
    }
}

// AUD-42
#[test]
fn a_database_whose_records_do_not_follow_the_file_is_not_believed() {
    let (_dir, path) = place();
    let memory = Arc::<Memory>::default();
    let (logger, _) = with(&path, &memory, |_| {});
    logger.log(&managed()).unwrap();
    logger.stop().unwrap();
    let whole = lines(&path);
    memory.change(|state| {
        let line = state.lines.get_mut(&3).unwrap();
        *line = line.replace("system", "client");
    });
    std::fs::write(&path, format!("{}\n{}\n", whole[0], whole[1])).unwrap();
    let (logger, _) = with(&path, &memory, |_| {});
    logger.stop().unwrap();
    let now = lines(&path);
    assert_eq!(now[..2], whole[..2]);
    assert!(!now[2].contains("\"client\""), "{}", now[2]);
    assert_eq!(number(&now[2]), 1, "a stream of its own");
}

// AUD-40 AUD-41 AUD-43
#[test]
fn a_database_that_hangs_or_refuses_is_told_in_time_and_heals() {
    type Change = fn(&mut State, bool);
    let kinds: [(&str, Change); 2] = [
        ("hangs", |state, ill| state.hangs = ill),
        ("refuses", |state, ill| state.refuses = ill),
    ];
    for (name, change) in kinds {
        for file in [true, false] {
            let (_dir, path) = place();
            let path = if file { path } else { PathBuf::new() };
            let memory = Arc::<Memory>::default();
            let (logger, means) = with(&path, &memory, |config| config.deadline = DEADLINE);
            logger.log(&managed()).unwrap();
            memory.change(|state| change(state, true));
            let (result, took) = timed(|| logger.log(&managed()));
            let wrong = matches!(result, Err(AuditError::Unavailable | AuditError::Deadline));
            assert!(wrong, "{name}: {result:?}");
            assert!(took <= IN_TIME, "{name}: {took:?}");
            eventually("the fault is seen", || !writable(&logger, &means));
            let (result, took) = timed(|| logger.log(&managed()));
            assert!(
                result.is_err() && took <= IN_TIME,
                "{name}: {result:?} {took:?}"
            );
            for number in 0..100 {
                let (queued, took) = timed(|| logger.enqueue(&call(number)));
                queued.unwrap();
                assert!(took <= IN_TIME, "{name}: {took:?}");
            }
            memory.change(|state| change(state, false));
            eventually("it heals", || writable(&logger, &means));
            logger.log(&managed()).unwrap();
            logger.stop().unwrap();
            let text = memory.text();
            assert_eq!(verify(text.as_bytes()).unwrap().faults, [], "{name}");
            assert_eq!(
                count(&text, "proxy_request"),
                100,
                "{name}: nothing is lost"
            );
            assert_eq!(count(&text, "audit.gap"), 0, "{name}");
            if file {
                assert_eq!(text, std::fs::read_to_string(&path).unwrap());
            }
        }
    }
}

// AUD-43
#[test]
fn where_one_place_is_enough_a_failing_database_refuses_nothing() {
    let (_dir, path) = place();
    let memory = Arc::<Memory>::default();
    let (logger, means) = with(&path, &memory, |config| {
        config.deadline = DEADLINE;
        config.require = Require::Any;
    });
    memory.change(|state| state.refuses = true);
    for _ in 0..3 {
        logger.log(&managed()).unwrap();
    }
    eventually("the fault is seen", || {
        !logger.health().database_writable(means.clock.mono())
    });
    logger.log(&managed()).unwrap();
    assert!(writable(&logger, &means));
    memory.change(|state| state.refuses = false);
    eventually("it has caught up", || {
        count(&memory.text(), "token.create") == 4
    });
    logger.stop().unwrap();
    assert_eq!(memory.text(), std::fs::read_to_string(&path).unwrap());
}

// AUD-40
#[test]
fn without_a_file_what_finds_no_room_is_counted_exactly() {
    let memory = Arc::<Memory>::default();
    let (logger, means) = with(Path::new(""), &memory, |config| {
        config.deadline = DEADLINE;
        config.on_failure = OnFailure::Open;
        config.queue_events = 1_000_000;
    });
    memory.change(|state| state.hangs = true);
    let sent = 10_000;
    for number in 0..sent {
        logger.enqueue(&long(number)).unwrap();
    }
    eventually("no more is taken", || !writable(&logger, &means));
    assert!(
        logger.health().accepting(means.clock.mono()),
        "calls are served"
    );
    memory.change(|state| state.hangs = false);
    eventually("it heals", || writable(&logger, &means));
    let all = std::cell::Cell::new(sent);
    let gap = |line: &str| {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        record["details"]["count"].as_u64().unwrap()
    };
    eventually("all are kept or counted", || {
        // A gap is told with what comes next.
        logger.enqueue(&call(all.get())).unwrap();
        all.set(all.get() + 1);
        std::thread::sleep(Duration::from_millis(20));
        let text = memory.text();
        let gaps = text
            .lines()
            .filter(|line| line.contains("\"action\":\"audit.gap\""));
        let kept = count(&text, "proxy_request") as u64;
        kept + gaps.map(gap).sum::<u64>() == all.get()
    });
    logger.stop().unwrap();
}

// AUD-41
#[test]
fn a_database_that_takes_the_cpu_of_calls_gives_way_to_them() {
    let (_dir, path) = place();
    let works = Duration::from_millis(60);
    let memory = Arc::<Memory>::default();
    memory.change(|state| state.works = Some(works));
    let means = Means {
        clock: Arc::new(Busy::default()),
        ..means()
    };
    let config = LoggerConfig {
        database_store: Some(Arc::<Memory>::clone(&memory)),
        ..config(&path)
    };
    let logger = Logger::new(config, means).unwrap();
    let has = |number: u64| {
        let told = format!("\"count\":{number}}}");
        eventually("a call is in the database", || {
            memory.text().contains(&told)
        });
    };
    logger.enqueue(&call(1)).unwrap();
    has(1);
    logger.enqueue(&call(2)).unwrap();
    let ((), rested) = timed(|| has(2));
    assert!(rested > works * 5, "it did not rest: {rested:?}");
    // What somebody waits for does not wait for the end of a rest; a disk may be slow, but not each time.
    let took = (3..6).map(|number| {
        logger.enqueue(&call(number)).unwrap();
        has(number);
        let (kept, took) = timed(|| logger.log(&managed()));
        kept.unwrap();
        took
    });
    let took = took.min().unwrap_or_default();
    assert!(took < rested, "{took:?} of {rested:?}");
    logger.stop().unwrap();
    assert_eq!(memory.text(), std::fs::read_to_string(&path).unwrap());
}

// AUD-42
#[test]
fn a_database_that_fell_behind_reads_the_file() {
    let (_dir, path) = place();
    let memory = Arc::<Memory>::default();
    let (logger, _) = with(&path, &memory, |config| config.queue_events = 1_000_000);
    memory.change(|state| state.hangs = true);
    for number in 0..10_000 {
        logger.enqueue(&long(number)).unwrap();
    }
    eventually("more is in the file than waits in memory", || {
        std::fs::metadata(&path).unwrap().len() > 24 << 20
    });
    memory.change(|state| state.hangs = false);
    eventually("all is in the database", || {
        memory.state().lines.len() > 10_000
    });
    logger.log(&managed()).unwrap();
    logger.stop().unwrap();
    assert_eq!(memory.text(), std::fs::read_to_string(&path).unwrap());
}

// AUD-42
#[test]
fn a_database_that_fell_behind_reads_files_that_are_closed_meanwhile_and_misses_none() {
    let (_dir, path) = place();
    let memory = Arc::<Memory>::default();
    let (logger, _) = with(&path, &memory, |config| {
        config.queue_events = 1_000_000;
        config.rotation = Some(Rotation {
            size_bytes: 4 << 20,
            compress: false,
            ..Rotation::default()
        });
    });
    let files = || log_files(&path, None).unwrap();
    // What is written at once stays in one file.
    let write = |thousands: std::ops::Range<u64>| {
        for thousand in thousands {
            let numbers = thousand * 1_000..(thousand + 1) * 1_000;
            numbers.for_each(|number| logger.enqueue(&long(number)).unwrap());
            let last = format!("\"count\":{}", thousand * 1_000 + 999);
            eventually("all is in the files", || {
                let texts = files().into_iter().rev().take(2);
                let mut texts = texts.map(|file| std::fs::read_to_string(file).unwrap_or_default());
                texts.any(|text| text.contains(&last))
            });
        }
    };
    memory.change(|state| state.hangs = true);
    write(0..10);
    assert!(files().len() > 4);
    // It reads the first of the files, and others are closed before it has come to its end.
    memory.change(|state| (state.hangs, state.works) = (false, Some(Duration::from_millis(20))));
    eventually("it reads", || memory.state().lines.len() > 7_000);
    write(10..16);
    memory.change(|state| (state.refuses, state.works) = (true, None));
    write(16..17);
    memory.change(|state| state.refuses = false);
    eventually("all is in the database", || {
        memory.state().lines.len() > 17_000
    });
    logger.stop().unwrap();
    let all = files()
        .into_iter()
        .map(|file| std::fs::read_to_string(file).unwrap());
    let all: String = all.collect();
    assert_eq!(memory.state().lines.len(), all.lines().count());
    assert!(
        memory.text() == all,
        "the database has other lines than the files"
    );
}
