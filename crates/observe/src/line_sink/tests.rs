//! The sink against real pipes and files.

use super::*;
use std::io::{BufRead, BufReader, Read};
use tollkeep_types::{MonoNanos, WallMillis};

struct StoppedClock;

impl Clock for StoppedClock {
    fn mono(&self) -> MonoNanos {
        MonoNanos(0)
    }
    fn wall(&self) -> WallMillis {
        WallMillis(0)
    }
}

const PATIENCE: Duration = Duration::from_secs(20);

fn send(sink: &LineSink, text: &str) {
    sink.send(&mut text.as_bytes().to_vec(), 1);
}

// AUD-82
#[test]
fn a_pipe_nobody_reads_costs_lines_but_no_time() {
    let (reader, writer) = io::pipe().unwrap();
    let meter = LogMeter::default();
    let sink = LineSink::start(
        (Box::new(writer), None),
        Arc::new(StoppedClock),
        meter.clone(),
    )
    .unwrap();
    let line = format!("{}\n", "x".repeat(99));
    let sent = 3 * LINES_MAX;
    for _ in 0..sent {
        send(&sink, &line);
    }
    let dropped = usize::try_from(meter.lines_dropped()).unwrap();
    assert!(
        dropped >= sent - LINES_MAX - 2_000,
        "dropped only {dropped}"
    );
    assert!(!sink.flush(Duration::ZERO));

    drop(sink);
    let lines: Vec<String> = BufReader::new(reader).lines().map(Result::unwrap).collect();
    let (note, whole) = lines.split_last().unwrap();
    assert!(whole.iter().all(|read| read.len() == 99));
    assert_eq!(whole.len() + dropped, sent);
    assert_eq!(
        *note,
        format!(
            r#"{{"timestamp":"1970-01-01T00:00:00.000Z","level":"warn","msg":"log lines were dropped","target":"log","dropped":{dropped}}}"#
        )
    );
}

#[test]
fn buffers_come_back_empty() {
    let sink = LineSink::start(
        (Box::new(io::sink()), None),
        Arc::new(StoppedClock),
        LogMeter::default(),
    )
    .unwrap();
    let mut buffer = b"one\n".to_vec();
    sink.send(&mut buffer, 1);
    assert!(buffer.is_empty());
    assert!(sink.flush(PATIENCE));
    buffer.extend_from_slice(b"two\n");
    sink.send(&mut buffer, 1);
    assert!(sink.flush(PATIENCE));
    assert!(buffer.capacity() > 0, "the first buffer is used again");
}

// AUD-82
#[test]
fn lines_that_cannot_be_written_are_counted() {
    let meter = LogMeter::default();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let sink = LineSink::start(
        (Box::new(full), None),
        Arc::new(StoppedClock),
        meter.clone(),
    )
    .unwrap();
    send(&sink, "lost\n");
    assert!(sink.flush(PATIENCE));
    assert_eq!(meter.lines_dropped(), 1);
}

#[test]
fn a_file_is_appended_to_and_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    for text in ["one\n", "two\n"] {
        let output = LineOutput::File(path.clone());
        let sink = LineSink::open(&output, Arc::new(StoppedClock), LogMeter::default()).unwrap();
        send(&sink, text);
        assert!(sink.flush(PATIENCE));
    }
    let mut text = String::new();
    File::open(&path)
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text, "one\ntwo\n");
    let mode = path.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
