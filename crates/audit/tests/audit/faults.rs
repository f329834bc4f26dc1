//! Disks that are full, gone or hanging: nobody waits, nothing is lost unsaid, all heals.

use crate::support::{config, eventually, lines, logger, means, timed};
use crate::verifier::first_fault;
use rustix::fs::{CWD, FileType, Mode, OFlags};
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::pin::pin;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tollkeep_audit::{
    Action, Actor, AuditError, Event, Key, Logger, LoggerConfig, Means, OnFailure, Outcome, Value,
};

/// The deadline of the defaults, and what a caller may wait on top.
const DEADLINE: Duration = Duration::from_millis(250 + 50);

fn managed() -> Event<'static> {
    Event::new(Action::TokenCreate, Actor::Management, Outcome::Success)
}

fn call(number: u64) -> Event<'static> {
    Event::new(Action::ProxyRequest, Actor::Client, Outcome::Success)
        .with_detail(Key::Count, Value::Number(number))
}

fn writable(logger: &Logger, means: &Means) -> bool {
    logger.health().writable(means.clock.mono())
}

/// Management and data plane are told in time that nothing can be written.
fn refuses(logger: &Logger, means: &Means) {
    let (result, took) = timed(|| logger.log(&managed()));
    assert!(
        matches!(result, Err(AuditError::Unavailable | AuditError::Deadline)),
        "{result:?}"
    );
    assert!(took <= DEADLINE, "{took:?}");
    assert!(!logger.health().accepting(means.clock.mono()));
    let (queued, took) = timed(|| logger.enqueue(&call(1)));
    queued.unwrap();
    assert!(took <= DEADLINE, "{took:?}");
}

fn actions(path: &Path) -> Vec<String> {
    lines(path)
        .iter()
        .map(|line| {
            let record: serde_json::Value = serde_json::from_str(line).unwrap();
            record.get("action").unwrap().as_str().unwrap().to_owned()
        })
        .collect()
}

fn pipe(path: &Path) {
    rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
}

// AUD-41
#[test]
fn a_pipe_without_a_reader_refuses_and_heals_when_one_comes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    pipe(&path);
    let means = means();
    let logger = Logger::new(config(&path), means.clone()).unwrap();
    eventually("the fault is seen", || !writable(&logger, &means));
    refuses(&logger, &means);

    let reader = rustix::fs::open(&path, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).unwrap();
    eventually("it heals", || writable(&logger, &means));
    logger.log(&managed()).unwrap();
    logger.stop().unwrap();
    drop(logger);
    let mut log = Vec::new();
    File::from(reader).read_to_end(&mut log).unwrap();
    assert_eq!(first_fault(&log), None);
    let text = String::from_utf8(log).unwrap();
    let told: Vec<_> = [
        "audit.open",
        "proxy_request",
        "audit.recovered",
        "token.create",
        "audit.close",
    ]
    .map(|action| text.matches(&format!(r#""action":"{action}""#)).count())
    .to_vec();
    assert_eq!(told, [1, 1, 1, 1, 1], "{text}");
}

// AUD-41
#[test]
fn a_pipe_nobody_empties_stops_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    pipe(&path);
    let reader = rustix::fs::open(&path, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).unwrap();
    let means = means();
    let logger = Logger::new(config(&path), means.clone()).unwrap();
    logger.log(&managed()).unwrap();
    for number in 0..2_000 {
        let (queued, took) = timed(|| logger.enqueue(&call(number)));
        queued.unwrap();
        assert!(took < DEADLINE);
    }
    eventually("the pipe is full", || !writable(&logger, &means));
    refuses(&logger, &means);
    let mut reader = File::from(reader);
    let mut log = Vec::new();
    eventually_read(&mut reader, &mut log, || writable(&logger, &means));
    logger.log(&managed()).unwrap();
    logger.stop().unwrap();
    drop(logger);
    reader.read_to_end(&mut log).unwrap();
    assert_eq!(first_fault(&log), None);
    let text = String::from_utf8(log).unwrap();
    assert_eq!(text.matches("proxy_request").count(), 2_001);
}

/// Empties a pipe until something holds.
fn eventually_read(pipe: &mut File, into: &mut Vec<u8>, holds: impl Fn() -> bool) {
    let into = std::cell::RefCell::new((pipe, into));
    eventually("it heals", || {
        let (pipe, into) = &mut *into.borrow_mut();
        let mut some = [0; 4096];
        if let Ok(len) = pipe.read(&mut some) {
            into.extend_from_slice(some.get(..len).unwrap());
        }
        holds()
    });
}

// AUD-41
#[test]
fn a_full_disk_refuses_and_heals_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let means = means();
    let logger = Logger::new(config(&path), means.clone()).unwrap();
    eventually("the fault is seen", || !writable(&logger, &means));
    refuses(&logger, &means);
    refuses(&logger, &means);
    assert!(means.meter.failures() > 0);

    fs::remove_file(&path).unwrap();
    eventually("it heals", || writable(&logger, &means));
    logger.log(&managed()).unwrap();
    logger.stop().unwrap();
    assert_eq!(first_fault(&fs::read(&path).unwrap()), None);
    assert_eq!(
        actions(&path),
        [
            "audit.open",
            "proxy_request",
            "proxy_request",
            "audit.recovered",
            "token.create",
            "audit.close"
        ]
    );
}

// AUD-40 AUD-41
#[test]
fn a_management_event_that_does_not_fit_leaves_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    fs::create_dir(&disk).unwrap();
    if rustix::mount::mount(
        "tmpfs",
        &disk,
        "tmpfs",
        rustix::mount::MountFlags::empty(),
        Some(c"size=64k"),
    )
    .is_err()
    {
        eprintln!("not run: mounting is not allowed here");
        return;
    }
    let path = disk.join("audit.log");
    let ballast = disk.join("ballast");
    let means = means();
    let logger = Logger::new(config(&path), means.clone()).unwrap();
    logger.log(&managed()).unwrap();
    let before = fs::read(&path).unwrap();
    let _full = fs::write(&ballast, vec![0; 1 << 20]);
    let mut answered = 1;
    while logger.log(&managed()).is_ok() {
        answered += 1;
    }
    refuses(&logger, &means);
    let during = fs::read(&path).unwrap();
    assert!(during.starts_with(&before));
    fs::remove_file(&ballast).unwrap();
    eventually("it heals", || writable(&logger, &means));
    logger.log(&managed()).unwrap();
    logger.stop().unwrap();
    let log = fs::read(&path).unwrap();
    let actions = actions(&path);
    drop(logger);
    rustix::mount::unmount(&disk, rustix::mount::UnmountFlags::empty()).unwrap();
    assert_eq!(first_fault(&log), None);
    let count = |wanted: &str| actions.iter().filter(|action| *action == wanted).count();
    assert_eq!(count("token.create"), answered + 1);
    assert_eq!(count("proxy_request"), 1);
    assert_eq!(count("audit.recovered"), 1);
}

// AUD-41
#[test]
fn a_removed_directory_is_seen_and_nothing_unsynced_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let logs = dir.path().join("logs");
    let path = logs.join("audit.log");
    let means = means();
    let logger = Logger::new(config(&path), means.clone()).unwrap();
    logger.log(&managed()).unwrap();
    fs::remove_dir_all(&logs).unwrap();
    logger.enqueue(&call(1)).unwrap();
    let (result, took) = timed(|| logger.log(&managed()));
    assert!(matches!(result, Err(AuditError::Unavailable)), "{result:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    refuses(&logger, &means);
    assert!(!logs.exists(), "a lost directory is not made again");

    fs::create_dir(&logs).unwrap();
    eventually("it heals", || writable(&logger, &means));
    logger.stop().unwrap();
    assert_eq!(
        actions(&path),
        [
            "proxy_request",
            "proxy_request",
            "audit.recovered",
            "audit.close"
        ]
    );
}

// AUD-41
#[test]
fn calls_alone_notice_a_removed_directory_too() {
    let dir = tempfile::tempdir().unwrap();
    let logs = dir.path().join("logs");
    let means = means();
    let logger = Logger::new(config(&logs.join("audit.log")), means.clone()).unwrap();
    logger.log(&managed()).unwrap();
    fs::remove_dir_all(&logs).unwrap();
    logger.enqueue(&call(1)).unwrap();
    eventually("the fault is seen", || !writable(&logger, &means));
}

// AUD-40 AUD-41
#[test]
fn in_open_mode_lost_events_are_counted_exactly() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let means = means();
    let config = LoggerConfig {
        on_failure: OnFailure::Open,
        queue_events: 100,
        ..config(&path)
    };
    let logger = Logger::new(config, means.clone()).unwrap();
    eventually("the fault is seen", || !writable(&logger, &means));
    assert!(logger.health().accepting(means.clock.mono()));
    let mut refused = 0;
    for batch in 0..100 {
        let events = 7;
        let submitted = logger.submit(
            events,
            Box::new(move |sink| {
                for number in 0..7 {
                    sink.append(&call(batch * 7 + number));
                }
            }),
        );
        if submitted.is_err() {
            assert!(matches!(submitted, Err(AuditError::QueueFull)));
            refused += events;
        }
    }
    assert!(refused > 500, "{refused}");
    fs::remove_file(&path).unwrap();
    eventually("it heals", || writable(&logger, &means));
    logger.stop().unwrap();
    assert_eq!(first_fault(&fs::read(&path).unwrap()), None);
    let lines = lines(&path);
    let calls = lines
        .iter()
        .filter(|line| line.contains("proxy_request"))
        .count();
    let gaps: Vec<_> = lines
        .iter()
        .filter(|line| line.contains("audit.gap"))
        .collect();
    let [gap] = &gaps[..] else {
        panic!("one gap: {gaps:?}");
    };
    assert!(
        gap.contains(&format!(r#""details":{{"count":{refused}}}"#)),
        "{gap}"
    );
    assert_eq!(calls + refused, 700);
}

// AUD-41
#[test]
fn a_batch_that_panics_is_lost_and_counted_and_nothing_else_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let logger = logger(&path);
    logger.enqueue(&call(1)).unwrap();
    logger
        .submit(
            3,
            Box::new(|sink| {
                sink.append(&call(2));
                panic!("as a test");
            }),
        )
        .unwrap();
    logger.enqueue(&call(3)).unwrap();
    logger.log(&managed()).unwrap();
    logger.stop().unwrap();
    assert_eq!(first_fault(&fs::read(&path).unwrap()), None);
    let text = lines(&path).concat();
    assert_eq!(text.matches("proxy_request").count(), 2);
    assert_eq!(text.matches(r#""action":"audit.gap""#).count(), 1);
    assert!(text.contains(r#"{"count":3}"#));
}

/// A logger whose writer hangs in a batch until the sender is dropped.
fn hanging(logger: &Logger) -> mpsc::Sender<()> {
    let (release, held) = mpsc::channel();
    logger
        .submit(
            0,
            Box::new(move |_| {
                let _released = held.recv();
            }),
        )
        .unwrap();
    release
}

// AUD-41
#[test]
fn a_writer_that_hangs_is_no_callers_problem() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let means = means();
    let config = LoggerConfig {
        deadline: LoggerConfig::default().deadline,
        ..config(&path)
    };
    let logger = Logger::new(config, means.clone()).unwrap();
    let release = hanging(&logger);
    let waits = [(); 4].map(|()| {
        let (result, took) = timed(|| logger.log(&managed()));
        assert!(matches!(result, Err(AuditError::Deadline)), "{result:?}");
        took
    });
    // The machine under a test may be busy; once is enough to see whose patience it is.
    let shortest = waits.into_iter().min().unwrap();
    assert!(shortest >= Duration::from_millis(250), "{shortest:?}");
    assert!(shortest <= DEADLINE, "{shortest:?}");
    assert!(!logger.health().accepting(means.clock.mono()));
    drop(release);
    eventually("it goes on", || writable(&logger, &means));
    eventually("it ends", || logger.stop().is_ok());
    let actions = actions(&path);
    assert!(
        !actions.contains(&"token.create".to_owned()),
        "what was refused is not written"
    );
}

// AUD-40
#[test]
fn a_caller_that_leaves_takes_its_event_along() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let logger = logger(&path);
    let release = hanging(&logger);
    drop(logger.log_async(&managed()));
    let pending = logger.log_async(&managed());
    drop(release);
    pending.wait().unwrap();
    logger.stop().unwrap();
    let created = actions(&path)
        .iter()
        .filter(|action| *action == "token.create")
        .count();
    assert_eq!(created, 1);
}

// AUD-40
#[test]
fn the_verdict_can_be_awaited() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let logger = logger(&path);
    let mut pending = pin!(logger.log_async(&managed()));
    let mut context = Context::from_waker(Waker::noop());
    let receipt = loop {
        match pending.as_mut().poll(&mut context) {
            Poll::Ready(result) => break result.unwrap(),
            Poll::Pending => std::thread::yield_now(),
        }
    };
    assert_eq!(receipt.seq, 2);
    let line = lines(&path).pop().unwrap();
    assert!(line.contains(&receipt.id.to_string()));
    assert!(line.contains(&receipt.stream.to_string()));
}

// AUD-40
#[test]
fn an_acknowledged_event_is_in_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let logger = logger(&path);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..25 {
                    let receipt = logger.log(&managed()).unwrap();
                    let seq = format!(r#""seq":{},"#, receipt.seq);
                    assert!(fs::read_to_string(&path).unwrap().contains(&seq));
                }
            });
        }
    });
    logger.stop().unwrap();
    assert_eq!(first_fault(&fs::read(&path).unwrap()), None);
    assert_eq!(lines(&path).len(), 102);
}

// AUD-40
#[test]
fn calls_are_written_soon_without_anybody_asking() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let logger = logger(&path);
    logger.enqueue(&call(1)).unwrap();
    eventually("it is written", || {
        fs::read_to_string(&path).is_ok_and(|text| text.lines().count() == 2)
    });
}

// AUD-41
#[test]
fn a_flood_of_small_batches_is_never_refused_by_a_disk_that_works() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let means = means();
    let config = LoggerConfig {
        // Eight times the default, as the machine under a test may be busy.
        deadline: LoggerConfig::default().deadline * 8,
        ..config(&path)
    };
    let logger = Logger::new(config, means.clone()).unwrap();
    for _ in 0..1_500 {
        let batch = || {
            logger.submit(
                16,
                Box::new(|sink| (0..16).for_each(|number| sink.append(&call(number)))),
            )
        };
        while batch().is_err() {
            std::thread::yield_now();
        }
        assert!(logger.health().accepting(means.clock.mono()));
    }
    eventually("it ends", || logger.stop().is_ok());
    let calls = actions(&path);
    let calls = calls.iter().filter(|action| *action == "proxy_request");
    assert_eq!(calls.count(), 1_500 * 16);
}

#[test]
fn nothing_is_taken_after_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let logger = logger(&dir.path().join("audit.log"));
    logger.stop().unwrap();
    assert!(matches!(logger.log(&managed()), Err(AuditError::Stopped)));
    assert!(matches!(logger.enqueue(&call(1)), Err(AuditError::Stopped)));
    logger.stop().unwrap();
}
