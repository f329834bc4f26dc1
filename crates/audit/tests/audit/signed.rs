//! Checkpoints, rotation and what an auditor makes of the files.

use crate::support::{Counting, config, eventually, lines, means};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tollkeep_audit::{
    Action, Actor, Anchor, ChainHead, Event, FaultKind, Key, Logger, LoggerConfig, Means, Outcome,
    Report, Rotation, Signer, Signing, Trust, Value, Verifier, in_order, open_log, succession,
};
use tollkeep_crypto::audit_key::AuditKey;

pub(crate) fn key(seed: u8) -> AuditKey {
    AuditKey::from_seed(&[seed; 32]).unwrap()
}

pub(crate) fn signing(told: &Arc<Mutex<Vec<Anchor>>>) -> Signing {
    let told = Arc::clone(told);
    Signing {
        every_events: 10,
        told: Some(Arc::new(move |anchor| told.lock().unwrap().push(anchor))),
        ..Signing::new(Signer::new(key(1)))
    }
}

fn signed(path: &Path, told: &Arc<Mutex<Vec<Anchor>>>) -> LoggerConfig {
    LoggerConfig {
        signing: Some(signing(told)),
        ..config(path)
    }
}

pub(crate) fn call(number: u64) -> Event<'static> {
    Event::new(Action::ProxyRequest, Actor::Client, Outcome::Success)
        .with_user_agent("curl/8.1 \"quoted\"")
        .with_detail(Key::Count, Value::Number(number))
}

fn calls(logger: &Logger, count: u64) {
    for number in 0..count {
        logger.enqueue(&call(number)).unwrap();
    }
}

/// Every file of a log in a folder.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    in_order(entries.collect(), None)
}

pub(crate) fn verify(files: &[PathBuf], trust: Trust, checkpoints: &[Vec<u8>]) -> Report {
    let mut verifier = Verifier::default().trusting(trust);
    for line in checkpoints {
        assert!(verifier.expect("checkpoints", line));
    }
    for path in files {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        verifier.read(&name, open_log(path, None).unwrap()).unwrap();
    }
    verifier.finish()
}

fn trust(seed: u8) -> Trust {
    Trust::read(&key(seed).public()).unwrap()
}

// AUD-51 AUD-52
#[test]
fn checkpoints_say_where_the_chain_stood_and_cover_all_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let told = Arc::default();
    let logger = Logger::new(signed(&path, &told), means()).unwrap();
    for number in 0..35 {
        logger.log(&call(number)).unwrap();
    }
    logger.stop().unwrap();
    let all = lines(&path);
    let places: Vec<_> = (1..)
        .zip(&all)
        .filter(|(_, line)| line.contains("audit.checkpoint"))
        .map(|(number, _)| number)
        .collect();
    assert_eq!(places.len(), 4, "three of ten and the last: {places:?}");
    assert_eq!(places.last(), Some(&all.len()));
    let report = verify(std::slice::from_ref(&path), trust(1), &[]);
    assert_eq!(report.faults, []);
    assert_eq!((report.checkpoints, report.unchecked), (4, 0));
    assert_eq!(report.streams[0].unsigned_tail, 0);
    let told = told.lock().unwrap();
    let lines: Vec<_> = told.iter().map(|anchor| anchor.line.clone()).collect();
    let written: Vec<_> = places
        .iter()
        .map(|at| all[at - 1].clone().into_bytes())
        .collect();
    assert_eq!(lines, written, "each is told as it was written");
    assert_eq!(told.last().unwrap().seq, all.len() as u64 - 1);
    let other = verify(std::slice::from_ref(&path), trust(2), &[]);
    assert_eq!(other.faults_in_all, 4);
    assert_eq!(other.faults[0].what, FaultKind::UnknownKey);
    let without = verify(&[path], Trust::default(), &[]);
    assert!(without.is_clean());
    assert_eq!(without.unchecked, 4);
}

// AUD-51
#[test]
fn a_record_waits_for_a_checkpoint_no_longer_than_said() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let told = Arc::default();
    let mut config = signed(&path, &told);
    config.signing.as_mut().unwrap().every = Duration::from_millis(100);
    let logger = Logger::new(config, means()).unwrap();
    logger.log(&call(1)).unwrap();
    eventually("a checkpoint", || !told.lock().unwrap().is_empty());
    assert_eq!(told.lock().unwrap()[0].seq, 2, "after open and call");
    logger.stop().unwrap();
    let checkpoints = lines(&path);
    let checkpoints = checkpoints
        .iter()
        .filter(|line| line.contains("audit.checkpoint"));
    assert_eq!(checkpoints.count(), 2, "an idle log makes none");
}

// AUD-51 AUD-52
#[test]
fn a_checkpoint_knows_other_chains_and_finds_the_end_of_one_cut_off() {
    let (dir, told) = (tempfile::tempdir().unwrap(), Arc::default());
    let (one, other) = (dir.path().join("one.log"), dir.path().join("other.log"));
    let logger = Logger::new(signed(&one, &told), means()).unwrap();
    let known: Vec<_> = (0..3)
        .map(|number| logger.log(&call(number)).unwrap())
        .collect();
    let hash = |at: usize| {
        let line: serde_json::Value = serde_json::from_str(&lines(&one)[at]).unwrap();
        let digits = line["hash"].as_str().unwrap().to_owned();
        let pairs = digits
            .as_bytes()
            .chunks(2)
            .map(|pair| str::from_utf8(pair).unwrap());
        let bytes = pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap());
        let bytes: Vec<u8> = bytes.collect();
        <[u8; 32]>::try_from(bytes).unwrap()
    };
    let last = known[2];
    assert_eq!(last.seq, 4, "behind audit.open");
    let second = |hash, path: &Path| {
        let config = signed(path, &Arc::default());
        let others = Arc::clone(&config.signing.as_ref().unwrap().others);
        let head = ChainHead {
            stream: last.stream,
            seq: last.seq,
            hash,
        };
        others.lock().unwrap().push(head);
        let entropy = Arc::new(Counting::from(100));
        let logger = Logger::new(config, Means { entropy, ..means() }).unwrap();
        let own = logger.log(&call(1)).unwrap().stream;
        // Its own chain is no other one.
        others.lock().unwrap().push(ChainHead {
            stream: own,
            ..head
        });
        logger.stop().unwrap();
    };
    second(hash(3), &other);
    let checkpoint = lines(&other)
        .into_iter()
        .find(|line| line.contains("audit.checkpoint"));
    let checkpoint: serde_json::Value = serde_json::from_str(&checkpoint.unwrap()).unwrap();
    let heads = checkpoint["details"]["heads"].as_str().unwrap();
    assert!(heads.starts_with(&format!("{}:4:", last.stream)), "{heads}");
    assert!(!heads.contains(' '), "one other chain: {heads}");
    let both = [other.clone(), one.clone()];
    assert_eq!(verify(&both, trust(1), &[]).faults, []);
    assert_eq!(
        verify(&both[..1], trust(1), &[]).faults,
        [],
        "nothing is said of what is not here"
    );
    let whole = fs::read_to_string(&one).unwrap();
    let cut: String = whole.split_inclusive('\n').take(3).collect();
    fs::write(&one, cut).unwrap();
    for files in [[other.clone(), one.clone()], [one.clone(), other]] {
        let found = verify(&files, trust(1), &[]).faults;
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(
            (found[0].seq, found[0].what),
            (Some(3), FaultKind::Truncated(1))
        );
    }
    // Another record is there than the one that was known.
    fs::write(&one, whole).unwrap();
    let forged = dir.path().join("forged.log");
    second([7; 32], &forged);
    let found = verify(&[one, forged], trust(1), &[]).faults;
    assert_eq!(found[0].what, FaultKind::NotAsAnchored, "{found:?}");
    drop(logger);
}

// AUD-51
#[test]
fn a_checkpoint_says_where_the_ledger_stands_and_is_signed_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let told = Arc::default();
    let config = signed(&path, &told);
    let ledger = Arc::clone(&config.signing.as_ref().unwrap().ledger_head);
    *ledger.lock().unwrap() = Some("7:abcd".to_owned());
    let logger = Logger::new(config, means()).unwrap();
    logger.log(&call(1)).unwrap();
    logger.stop().unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(r#""ledger_head":"7:abcd""#), "{text}");
    let report = verify(std::slice::from_ref(&path), trust(1), &[]);
    assert_eq!((report.checkpoints, report.faults_in_all), (1, 0));
}

// AUD-51
#[test]
fn a_new_key_is_believed_by_the_word_of_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let told = Arc::default();
    let config = signed(&path, &told);
    let signer = config.signing.as_ref().unwrap().signer.clone();
    let logger = Logger::new(config, means()).unwrap();
    for number in 0..12 {
        logger.log(&call(number)).unwrap();
    }
    let mut event = Event::new(Action::AuditKeyRotate, Actor::Management, Outcome::Success);
    for (key, value) in succession(&key(1), &key(2)) {
        event = event.with_detail(key, value);
    }
    logger.log(&event).unwrap();
    signer.take(key(2));
    calls(&logger, 12);
    logger.stop().unwrap();
    let report = verify(std::slice::from_ref(&path), trust(1), &[]);
    assert_eq!(report.faults, []);
    assert!(report.checkpoints >= 2);
    // Who knows only the new key can't judge what the old one signed.
    let report = verify(&[path], trust(2), &[]);
    assert!(
        report
            .faults
            .iter()
            .all(|fault| fault.what == FaultKind::UnknownKey)
    );
    assert!(!report.is_clean() && report.checkpoints > 0);
}

// AUD-52
#[test]
fn a_tail_that_was_cut_off_is_missed_by_who_has_a_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let told = Arc::default();
    let logger = Logger::new(signed(&path, &told), means()).unwrap();
    calls(&logger, 30);
    logger.stop().unwrap();
    let anchors: Vec<_> = told
        .lock()
        .unwrap()
        .iter()
        .map(|anchor: &Anchor| anchor.line.clone())
        .collect();
    let all = lines(&path);
    assert!(verify(std::slice::from_ref(&path), trust(1), &anchors).is_clean());
    for kept in [1, 5, all.len() - 1] {
        fs::write(&path, all[..kept].join("\n") + "\n").unwrap();
        assert!(
            verify(std::slice::from_ref(&path), trust(1), &[]).is_clean(),
            "unseen from within"
        );
        let report = verify(std::slice::from_ref(&path), trust(1), &anchors);
        let [fault] = &report.faults[..] else {
            panic!("{kept}: {:?}", report.faults);
        };
        let known = all.len() as u64;
        assert_eq!(fault.what, FaultKind::Truncated(known - kept as u64));
        assert_eq!(fault.seq, Some(kept as u64));
    }
    fs::write(&path, "").unwrap();
    let report = verify(&[path], trust(1), &anchors);
    assert_eq!(report.faults[0].what, FaultKind::NoStream);
}

// AUD-60
#[test]
fn a_full_file_is_closed_and_the_chain_goes_on_in_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let told = Arc::default();
    let config = LoggerConfig {
        rotation: Some(Rotation {
            size_bytes: 8 << 10,
            daily: false,
            ..Rotation::default()
        }),
        ..signed(&path, &told)
    };
    let logger = Logger::new(config, means()).unwrap();
    for number in 0..100 {
        logger.log(&call(number)).unwrap();
    }
    logger.stop().unwrap();
    eventually("all but the last are compressed", || {
        let plain = files(dir.path());
        let plain = plain
            .iter()
            .filter(|path| path.extension().is_some_and(|end| end == "log"));
        plain.count() == 2
    });
    let files = files(dir.path());
    assert!(files.len() > 5, "{files:?}");
    let report = verify(&files, trust(1), &[]);
    assert_eq!(report.faults, []);
    assert_eq!(report.streams[0].first, 1);
    assert_eq!(report.streams[0].last, report.records);
    let first = &lines(&path)[0];
    let first: serde_json::Value = serde_json::from_str(first).unwrap();
    assert_eq!(first["action"], "audit.open");
    assert_eq!(first["details"]["head"], first["prev"]);
    for path in &files {
        let mode = fs::metadata(path).unwrap().permissions();
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(mode.mode() & 0o777, 0o600, "{path:?}");
    }
}

// AUD-60 AUD-52
#[test]
fn what_is_deleted_on_purpose_is_signed_and_anything_else_is_missed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let told = Arc::default();
    let config = LoggerConfig {
        rotation: Some(Rotation {
            size_bytes: 8 << 10,
            daily: false,
            keep: 3,
            compress: false,
            seal: false,
            keep_for: None,
        }),
        ..signed(&path, &told)
    };
    let logger = Logger::new(config, means()).unwrap();
    for number in 0..100 {
        logger.log(&call(number)).unwrap();
    }
    logger.stop().unwrap();
    let mut files = files(dir.path());
    assert_eq!(files.len(), 4, "three closed and the open one: {files:?}");
    let report = verify(&files, trust(1), &[]);
    assert_eq!(report.faults, []);
    let [stream] = &report.streams[..] else {
        panic!("one chain");
    };
    assert!(stream.first > 1);
    assert_eq!(stream.pruned_through, Some(stream.first - 1));
    // One more file is gone, and nobody signed for it.
    let gone = files.remove(0);
    let report = verify(&files, trust(1), &[]);
    let [fault] = &report.faults[..] else {
        panic!("{:?}", report.faults);
    };
    let lost = lines(&gone).len() as u64;
    assert_eq!(fault.what, FaultKind::NoBeginning(lost));
}

// AUD-60
#[test]
fn a_rotation_that_a_crash_cut_short_costs_no_link() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let told = Arc::default();
    let logger = Logger::new(signed(&path, &told), means()).unwrap();
    calls(&logger, 5);
    logger.stop().unwrap();
    // As between closing one file and the first record of the next, and as logrotate leaves it.
    for (name, empty) in [
        ("audit-20261122T101530Z-1.log", true),
        ("audit-20261122T101530Z-9.log", false),
        ("audit.log.1", true),
        ("audit.log-20261122", false),
    ] {
        fs::rename(&path, dir.path().join(name)).unwrap();
        if empty {
            fs::write(&path, "").unwrap();
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        let logger = Logger::new(signed(&path, &told), means()).unwrap();
        calls(&logger, 5);
        logger.stop().unwrap();
    }
    let report = verify(&files(dir.path()), trust(1), &[]);
    assert_eq!(report.faults, []);
    assert_eq!(report.streams.len(), 1);
}

// AUD-61
#[test]
fn no_line_is_lost_while_the_file_is_moved_and_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let told = Arc::default();
    let logger = Logger::new(signed(&path, &told), means()).unwrap();
    for turn in 0..20 {
        calls(&logger, 7);
        fs::rename(&path, dir.path().join(format!("audit.log.{turn}"))).unwrap();
        calls(&logger, 7);
        logger.log(&call(0)).unwrap();
        assert!(!path.exists(), "it goes on in the file that was moved");
        logger.reopen().wait().unwrap();
        assert!(path.exists());
    }
    logger.reopen().wait().unwrap();
    logger.stop().unwrap();
    let report = verify(&files(dir.path()), trust(1), &[]);
    assert_eq!(report.faults, []);
    let open = Action::AuditOpen.as_str();
    let opened = files(dir.path()).into_iter().flat_map(|path| lines(&path));
    assert_eq!(
        opened.filter(|line| line.contains(open)).count(),
        21,
        "once a file"
    );
}

// AUD-52
#[test]
fn compressed_files_are_read_as_they_are() {
    use std::io::Write as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let told = Arc::default();
    let logger = Logger::new(signed(&path, &told), means()).unwrap();
    calls(&logger, 50);
    logger.stop().unwrap();
    let text = fs::read(&path).unwrap();
    let middle = text.len() / 2;
    let middle = text[..middle]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .unwrap()
        + 1;
    let (one, other) = text.split_at(middle);
    let level = ruzstd::encoding::CompressionLevel::Fastest;
    // A frame in the middle of a line, as whoever concatenates compressed files gets them.
    let frames =
        [&one[..100], &one[100..]].map(|part| ruzstd::encoding::compress_to_vec(part, level));
    fs::write(dir.path().join("a.zst"), frames.concat()).unwrap();
    let out = fs::File::create(dir.path().join("b.gz")).unwrap();
    let mut gz = flate2::write::GzEncoder::new(out, flate2::Compression::fast());
    gz.write_all(other).unwrap();
    gz.finish().unwrap();
    fs::remove_file(&path).unwrap();
    let report = verify(&files(dir.path()), trust(1), &[]);
    assert_eq!(report.faults, []);
    assert_eq!(
        report.records,
        text.iter().filter(|byte| **byte == b'\n').count() as u64
    );
}
