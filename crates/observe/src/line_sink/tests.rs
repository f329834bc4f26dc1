//! The sink against real pipes and files.

use super::*;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
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
        Output::Stream(Box::new(writer)),
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
        Output::Stream(Box::new(io::sink())),
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
        Output::Stream(Box::new(full)),
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

/// A clock that a test puts forward.
#[derive(Default)]
struct SetClock(AtomicU64);

impl SetClock {
    fn put_forward(&self, by: Duration) {
        let by = u64::try_from(by.as_millis()).unwrap();
        self.0.fetch_add(by, Ordering::SeqCst);
    }
}

impl Clock for SetClock {
    fn mono(&self) -> MonoNanos {
        MonoNanos(self.0.load(Ordering::SeqCst) * 1_000_000)
    }
    fn wall(&self) -> WallMillis {
        WallMillis(1_795_342_530_123 + self.0.load(Ordering::SeqCst))
    }
}

/// A log of files of forty bytes.
struct Rotated {
    dir: tempfile::TempDir,
    clock: Arc<SetClock>,
    meter: LogMeter,
    sink: LineSink,
}

impl Rotated {
    fn new(keep: usize, prepare: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path());
        let rotation = Rotation {
            size_bytes: 40,
            keep,
            keep_for: Duration::from_secs(86_400),
        };
        let output = LineOutput::Rotated(dir.path().join("gate.log"), rotation);
        let (clock, meter) = (Arc::<SetClock>::default(), LogMeter::default());
        let sink = LineSink::open(&output, Arc::clone(&clock) as _, meter.clone()).unwrap();
        Self {
            dir,
            clock,
            meter,
            sink,
        }
    }

    fn write(&self, text: &str) {
        send(&self.sink, text);
        assert!(self.sink.flush(PATIENCE));
    }

    /// Every file, with what is in it.
    fn files(&self) -> Vec<(String, String)> {
        let entries = fs::read_dir(self.dir.path()).unwrap().map(Result::unwrap);
        let mut files: Vec<_> = entries
            .filter(|entry| entry.path().is_file())
            .map(|entry| {
                let name = entry.file_name().into_string().unwrap();
                (name, fs::read_to_string(entry.path()).unwrap())
            })
            .collect();
        files.sort();
        files
    }

    fn names(&self) -> Vec<String> {
        self.files().into_iter().map(|(name, _)| name).collect()
    }
}

const LINE: &str = "123456789012345678\n";

// AUD-80
#[test]
fn a_full_file_is_closed_and_only_so_many_closed_ones_are_kept() {
    let log = Rotated::new(2, |_| {});
    for number in 0..7 {
        log.write(&LINE.replace("78\n", &format!("{number:02}\n")));
    }
    let of = |numbers: [u8; 2]| {
        let lines = numbers.map(|number| LINE.replace("78\n", &format!("{number:02}\n")));
        lines.concat()
    };
    let named = |name: &str, text: String| (name.to_owned(), text);
    assert_eq!(
        log.files(),
        [
            // The first is deleted, and its number is not given again in that second.
            named("gate-20261122T101530Z-2.log", of([2, 3])),
            named("gate-20261122T101530Z-3.log", of([4, 5])),
            named("gate.log", LINE.replace("78\n", "06\n")),
        ]
    );
    assert_eq!(log.meter.lines_dropped(), 0);
}

// AUD-80
#[test]
fn closed_files_of_the_log_alone_are_deleted_when_they_are_too_old() {
    let others = [
        "gate-20261120T101530Z-1.log.gz",
        "gate-20261120T101530Z.log",
        "gate-old-1.log",
        "other-20261120T101530Z-1.log",
    ];
    let log = Rotated::new(100, |dir| {
        for name in others {
            fs::write(dir.join(name), "kept").unwrap();
        }
        for name in ["gate-20261121T101529Z-1.log", "gate-20261121T101531Z-1.log"] {
            fs::write(dir.join(name), "old").unwrap();
        }
    });
    log.write(LINE);
    let still = |name: &str| log.names().iter().any(|found| found == name);
    assert!(!still("gate-20261121T101529Z-1.log"), "{:?}", log.names());
    assert!(still("gate-20261121T101531Z-1.log"));
    // A log that is never full is looked after too.
    log.clock.put_forward(Duration::from_secs(7_200));
    log.write(LINE);
    assert!(!still("gate-20261121T101531Z-1.log"), "{:?}", log.names());
    assert!(others.into_iter().all(still), "{:?}", log.names());
}

// AUD-80 AUD-82
#[test]
fn a_file_that_cannot_be_closed_grows_on_and_is_closed_later() {
    let log = Rotated::new(9, |dir| {
        // The last name that a closed file could get in this second.
        fs::create_dir(dir.join("gate-20261122T101530Z-10000.log")).unwrap();
    });
    for _ in 0..4 {
        log.write(LINE);
    }
    assert_eq!(log.files(), [("gate.log".to_owned(), LINE.repeat(4))]);
    assert_eq!(log.meter.lines_dropped(), 0);
    log.clock.put_forward(Duration::from_secs(61));
    log.write(LINE);
    let names = ["gate-20261122T101631Z-1.log", "gate.log"];
    assert_eq!(log.names(), names);
}

// AUD-82
#[test]
fn a_log_whose_folder_is_gone_costs_lines_until_it_is_back() {
    let log = Rotated::new(9, |_| {});
    log.write(LINE);
    fs::remove_dir_all(log.dir.path()).unwrap();
    log.write(LINE);
    assert_eq!(log.meter.lines_dropped(), 1);
    fs::create_dir(log.dir.path()).unwrap();
    log.write(LINE);
    assert_eq!(log.meter.lines_dropped(), 1);
    // The note is too long for the file of the line.
    let files = log.files().into_iter();
    let text: String = files.map(|(_, text)| text).collect();
    assert!(text.starts_with(LINE), "{text}");
    assert!(text.ends_with("\"dropped\":1}\n"), "{text}");
}

// AUD-80 OPS-102
#[test]
fn a_file_that_somebody_moved_is_not_moved_again() {
    let log = Rotated::new(9, |_| {});
    log.write(LINE);
    let moved = log.dir.path().join("gate.log.1");
    fs::rename(log.dir.path().join("gate.log"), &moved).unwrap();
    log.write(LINE);
    assert_eq!(fs::read_to_string(&moved).unwrap(), LINE.repeat(2));
    log.write(LINE);
    assert_eq!(log.names(), ["gate.log", "gate.log.1"]);
    assert_eq!(fs::read_to_string(&moved).unwrap(), LINE.repeat(2));
}

// AUD-80
#[test]
fn a_link_to_a_file_stays_one_and_what_it_leads_to_is_closed() {
    let far = tempfile::tempdir().unwrap();
    let log = Rotated::new(9, |dir| {
        std::os::unix::fs::symlink(far.path().join("far.log"), dir.join("gate.log")).unwrap();
    });
    for _ in 0..3 {
        log.write(LINE);
    }
    assert_eq!(log.names(), ["gate.log"]);
    assert_eq!(log.files(), [("gate.log".to_owned(), LINE.to_owned())]);
    let closed = far.path().join("far-20261122T101530Z-1.log");
    assert_eq!(fs::read_to_string(closed).unwrap(), LINE.repeat(2));
}

// AUD-82
#[test]
fn a_line_that_was_torn_does_not_spoil_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    fs::write(&path, "{\"half").unwrap();
    let output = LineOutput::File(path.clone());
    let sink = LineSink::open(&output, Arc::new(StoppedClock), LogMeter::default()).unwrap();
    send(&sink, "{}\n");
    assert!(sink.flush(PATIENCE));
    assert_eq!(fs::read_to_string(&path).unwrap(), "{\"half\n{}\n");
}
