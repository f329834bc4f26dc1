//! The log of the process: its files, what its lines say, and that nobody waits for it.

use crate::callers::{answer, bearer, chat, get, models, served};
use crate::records::{ACCESS_KEYS, assert_in_order};
use rustix::fs::{Mode, OFlags};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use tollkeep_testkit::{Builder, Gateway, Origin, PATIENCE, Signal, eventually};

/// The smallest file that can be asked for.
const SIZE: u64 = 64 << 10;

/// Writes its log into `logs/gate.log`, which is in a folder that is there.
fn logging(origin: &Origin) -> (tempfile::TempDir, Builder) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("logs")).unwrap();
    let builder = models(origin).folder(folder.path());
    (folder, builder.set("logging.output", "logs/gate.log"))
}

/// So many calls on one connection after the other, all of which are answered.
fn call(gateway: &Gateway, token: &str, calls: usize) {
    let request = get("/v1/models", &bearer(token));
    let mut client = gateway.connect();
    for _ in 0..calls {
        let answer = client.call(&request);
        assert_eq!(answer.status, 200, "{}", answer.text());
        if answer.closes() {
            client = gateway.connect();
        }
    }
}

/// The closed files of `gate.log`, oldest first.
fn closed(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join("logs")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut closed: Vec<_> = paths.filter(|path| !path.ends_with("gate.log")).collect();
    // A second has one digit of files here.
    closed.sort();
    closed
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    let parsed = text.lines().map(|line| serde_json::from_str(line).unwrap());
    parsed.collect()
}

fn dropped(gateway: &Gateway) -> u64 {
    let text = gateway.metrics_text();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("tollkeep_log_dropped_total "));
    line.unwrap().parse().unwrap()
}

// AUD-80
#[test]
fn a_log_that_is_full_is_closed_and_no_line_is_lost() {
    let origin = Origin::start(answer);
    let (folder, builder) = logging(&origin);
    let gateway = builder
        .env("LOG_MAX_BACKUPS", "3")
        .set("logging.rotation.max_size", "64KiB")
        .start();
    let token = gateway.mint_token(&json!({}));
    // Longer than the files that are kept, whatever else is told.
    let mut calls = 0;
    while closed(folder.path()).len() < 2 {
        call(&gateway, &token, 50);
        calls += 50;
    }
    let log = folder.path().join("logs/gate.log");
    let all = eventually("all access lines", || {
        let files = closed(folder.path()).into_iter().chain([log.clone()]);
        let all: Vec<_> = files.flat_map(|path| lines(&path)).collect();
        let access = all.iter().filter(|line| line["target"] == "access");
        (access.count() >= calls).then_some(all)
    });
    let access = all.iter().filter(|line| line["target"] == "access");
    let ids: BTreeSet<_> = access
        .clone()
        .map(|line| line["request_id"].to_string())
        .collect();
    assert_eq!((ids.len(), access.count()), (calls, calls), "each once");
    assert!(
        all.iter().any(|line| line["target"] != "access"),
        "the log itself is there"
    );
    for path in closed(folder.path()) {
        let len = fs::metadata(&path).unwrap().len();
        assert!(
            (SIZE / 2..=SIZE).contains(&len),
            "{}: {len}",
            path.display()
        );
        let name = path.file_name().unwrap().to_str().unwrap();
        let stamp = name
            .strip_prefix("gate-")
            .unwrap()
            .split('-')
            .next()
            .unwrap();
        assert!(
            stamp.len() == 16 && stamp.starts_with("20") && name.ends_with(".log"),
            "{name}"
        );
    }
    while closed(folder.path()).len() < 3 {
        call(&gateway, &token, 50);
    }
    let oldest = closed(folder.path()).remove(0);
    eventually("the oldest goes", || {
        call(&gateway, &token, 50);
        (!oldest.exists()).then_some(())
    });
    assert!(closed(folder.path()).len() <= 3);
    assert_eq!(dropped(&gateway), 0);
    // Whoever moves it besides has it opened again.
    let moved = folder.path().join("moved");
    fs::rename(&log, &moved).unwrap();
    gateway.signal(Signal::USR1);
    eventually("the next file", || {
        call(&gateway, &token, 1);
        log.exists().then_some(())
    });
    assert!(!lines(&moved).is_empty());
}

// AUD-80
#[test]
fn the_usage_lines_have_files_of_the_same_size_and_are_opened_again_too() {
    let origin = Origin::start(answer);
    let gateway = models(&origin)
        .set("logging.rotation.max_size", "64KiB")
        .set("logging.rotation.max_backups", "2")
        .start();
    let token = gateway.mint_token(&json!({}));
    let folder = gateway.data_dir();
    let is_closed = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        name.starts_with("usage-2") && name.ends_with(".jsonl")
    };
    let closed = || {
        let entries = fs::read_dir(&folder).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        let mut closed: Vec<_> = paths.filter(is_closed).collect();
        closed.sort();
        closed
    };
    let request = chat(&bearer(&token), "hi");
    let mut client = gateway.connect();
    let mut calls = |count: usize| {
        for _ in 0..count {
            let answer = client.call(&request);
            assert_eq!(answer.status, 200, "{}", answer.text());
            if answer.closes() {
                client = gateway.connect();
            }
        }
    };
    let (file, mut made) = (folder.join("usage.jsonl"), 0);
    while closed().is_empty() {
        calls(50);
        made += 50;
    }
    eventually("all lines", || {
        let files = closed().into_iter().chain([file.clone()]);
        (files.map(|path| lines(&path).len()).sum::<usize>() == made).then_some(())
    });
    let first = closed().remove(0);
    assert!(fs::metadata(&first).unwrap().len() <= SIZE);
    eventually("the oldest goes", || {
        calls(50);
        (!first.exists()).then_some(())
    });
    assert!(closed().len() <= 2);
    let moved = folder.join("moved");
    fs::rename(&file, &moved).unwrap();
    gateway.signal(Signal::USR1);
    eventually("the next file", || {
        calls(1);
        file.exists().then_some(())
    });
    assert!(!lines(&moved).is_empty());
    assert_eq!(dropped(&gateway), 0);
}

// AUD-80
#[test]
fn what_a_log_file_can_not_be_is_told_at_the_start() {
    let origin = Origin::start(answer);
    for (name, variable, value, want) in [
        (
            "no number",
            "LOG_MAX_SIZE_MB",
            "many",
            "want a whole number",
        ),
        (
            "no size",
            "LOG_MAX_SIZE_MB",
            "0",
            "logging.rotation.max_size: want 64KiB to",
        ),
        ("none kept", "LOG_MAX_BACKUPS", "0", "want 1 to 100000"),
        (
            "no folder",
            "LOG_FILE",
            "nowhere/log",
            "cannot open the log",
        ),
        (
            "no age",
            "TOLLKEEP_LOGGING__ROTATION__MAX_AGE",
            "30",
            "needs a unit",
        ),
        (
            "no style",
            "TOLLKEEP_LOGGING__STYLE",
            "loud",
            "want `tollkeep`, `cliproxy`",
        ),
    ] {
        let Err(refused) = models(&origin).env(variable, value).try_start() else {
            panic!("{name}: it started");
        };
        assert!(refused.stderr.contains(want), "{name}: {}", refused.stderr);
    }
    let one_file = models(&origin)
        .set("logging.output", "a.log")
        .set("audit.file", "a.log");
    let Err(refused) = one_file.try_start() else {
        panic!("it started");
    };
    assert!(
        refused.stderr.contains("is the file of the audit log"),
        "{}",
        refused.stderr
    );
}

// AUD-82
#[test]
fn a_log_without_its_folder_or_without_room_costs_lines_and_no_call() {
    let origin = Origin::start(answer);
    let (folder, builder) = logging(&origin);
    let gateway = builder.set("logging.level", "warn").start();
    let token = gateway.mint_token(&json!({}));
    call(&gateway, &token, 1);
    let logs = folder.path().join("logs");
    eventually("its line", || {
        (!lines(&logs.join("gate.log")).is_empty()).then_some(())
    });
    fs::remove_dir_all(&logs).unwrap();
    eventually("a line that is lost", || {
        call(&gateway, &token, 5);
        (dropped(&gateway) > 0).then_some(())
    });
    fs::create_dir(&logs).unwrap();
    let note = eventually("what was lost is told", || {
        call(&gateway, &token, 1);
        let lines = logs
            .join("gate.log")
            .exists()
            .then(|| lines(&logs.join("gate.log")));
        lines?.into_iter().find(|line| line["target"] == "log")
    });
    assert_eq!(note["dropped"], dropped(&gateway), "{note}");
    assert_eq!(note["msg"], "log lines were dropped");

    let gateway = models(&origin).set("logging.output", "/dev/full").start();
    let token = gateway.mint_token(&json!({}));
    call(&gateway, &token, 100);
    eventually("they are counted", || {
        (dropped(&gateway) >= 100).then_some(())
    });
    assert!(gateway.stderr().contains("tollkeep") || !gateway.stderr().contains("panicked"));
}

// AUD-82
#[test]
fn a_pipe_that_nobody_reads_delays_no_call_and_what_was_dropped_is_told() {
    let origin = Origin::start(answer);
    let (folder, builder) = logging(&origin);
    let pipe = folder.path().join("logs/gate.log");
    let mode = Mode::RUSR | Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    // Both ends, so that neither side waits for the other to open it.
    let reader = rustix::fs::open(&pipe, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).unwrap();
    let gateway = builder.set("logging.level", "warn").start();
    let token = gateway.mint_token(&json!({}));
    // More than wait, and what the pipe itself takes.
    let (callers, each) = (4, 5_000);
    let slowest = thread::scope(|scope| {
        let calling: Vec<_> = (0..callers)
            .map(|_| {
                scope.spawn(|| {
                    let mut slowest = Duration::ZERO;
                    for _ in 0..each / 50 {
                        let began = Instant::now();
                        call(&gateway, &token, 50);
                        slowest = slowest.max(began.elapsed());
                    }
                    slowest
                })
            })
            .collect();
        calling
            .into_iter()
            .map(|caller| caller.join().unwrap())
            .max()
    });
    assert!(slowest.unwrap() < Duration::from_secs(10), "{slowest:?}");
    eventually("lines that do not fit", || {
        (dropped(&gateway) > 0).then_some(())
    });
    let (lines, came) = mpsc::channel();
    thread::spawn(move || {
        let mut all = BufReader::new(fs::File::from(reader)).lines();
        while all
            .next()
            .is_some_and(|line| lines.send(line.unwrap()).is_ok())
        {}
    });
    let (mut read, mut told) = (0, 0);
    while read + told < callers * each {
        let line = came.recv_timeout(PATIENCE).expect("a line");
        let line: Value = serde_json::from_str(&line).unwrap();
        if line["target"] == "log" {
            assert_eq!(line["level"], "warn", "{line}");
            told += line["dropped"].as_u64().unwrap();
        }
        read += u64::from(line["target"] == "access");
    }
    let counted = (read + told, told);
    assert_eq!(
        counted,
        (callers * each, dropped(&gateway)),
        "each is there or counted"
    );
}

// AUD-81
#[test]
fn an_access_line_tells_all_that_is_known_of_a_call() {
    let (_origin, gateway, token) = served();
    let answered = gateway.call(&chat(&bearer(&token), "hi"));
    assert_eq!(answered.status, 200, "{}", answered.text());
    let line = eventually("its line", || {
        let mut lines = gateway.access_lines().into_iter();
        lines.rfind(|line| line["status"] == 200)
    });
    assert_in_order("chat", &line, &ACCESS_KEYS);
    assert_eq!(line.as_object().unwrap().len(), ACCESS_KEYS.len(), "{line}");
    assert_eq!(line["tokens"], json!({"input": 11, "output": 7}));
    let cost = eventually("its usage", || {
        Some(gateway.usage_lines().pop()?["cost_nano_usd"].clone())
    });
    assert!(cost.as_u64().unwrap() > 0);
    assert_eq!(line["amount_nano_usd"], cost);
    assert_eq!(line["request_id"], answered.field("x-request-id").unwrap());
    assert_eq!(
        (&line["level"], &line["msg"]),
        (&json!("info"), &json!("request"))
    );
}

// AUD-81
#[test]
fn lines_for_readers_of_cliproxyapi_are_called_by_how_calls_ended() {
    let origin = Origin::start(answer);
    let gateway = models(&origin).set("logging.style", "cliproxy").start();
    let token = gateway.mint_token(&json!({}));
    let rows = [
        (chat(&bearer(&token), "hi"), 200, "request_success"),
        (chat(&bearer(&token), "do:500"), 502, "request_error"),
        (chat("", "hi"), 401, "request_error"),
    ];
    for (request, status, want) in rows {
        let answered = gateway.call(&request);
        assert_eq!(answered.status, status, "{}", answered.text());
        let id = answered.field("x-request-id").unwrap();
        let line = eventually("its line", || {
            let lines = gateway.access_lines().into_iter();
            lines.into_iter().find(|line| line["request_id"] == *id)
        });
        assert_eq!(
            (&line["msg"], &line["level"]),
            (&json!(want), &json!("info")),
            "{line}"
        );
    }
}
