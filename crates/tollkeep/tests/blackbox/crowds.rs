//! Many connections at once: more than there are descriptors for, and many that say nothing.

use crate::fixture::{TOLLKEEP, before, free, gateway, head};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};
use tollkeep_testkit::{
    Builder, Gate, Gateway, Origin, PATIENCE, Step, chunk, chunked_head, eventually, ok,
};

/// The binary with room for this many open files: the shell is asked to `serve …`, and finds a
/// script of that name in its folder.
fn with_files(builder: Builder, files: usize, folder: &Path) -> Builder {
    let script = format!("ulimit -n {files}\nexec {TOLLKEEP} serve \"$@\"\n");
    fs::write(folder.join("serve"), script).unwrap();
    builder.folder(folder).binary("/bin/sh")
}

fn open_files(gateway: &Gateway) -> usize {
    fs::read_dir(format!("/proc/{}/fd", gateway.pid()))
        .unwrap()
        .count()
}

/// Processor time of the gateway so far, in hundredths of a second.
fn cpu_ticks(gateway: &Gateway) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", gateway.pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn resident_bytes(gateway: &Gateway) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.unwrap().trim().trim_end_matches(" kB");
    kib.parse::<u64>().unwrap() * 1024
}

/// Connections that the kernel refused for a full queue, on the whole machine.
fn listen_overflows() -> u64 {
    let text = fs::read_to_string("/proc/net/netstat").unwrap();
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let mut pairs = names.split(' ').zip(values.split(' '));
    let (_, value) = pairs.find(|(name, _)| *name == "ListenOverflows").unwrap();
    value.parse().unwrap()
}

#[expect(clippy::disallowed_methods, reason = "a caller's own sockets")]
fn connect(gateway: &Gateway, count: usize) -> Vec<TcpStream> {
    (0..count)
        .map(|_| TcpStream::connect(gateway.data()).unwrap())
        .collect()
}

// EDGE-5
#[test]
fn out_of_descriptors_new_callers_wait_and_everything_else_goes_on() {
    const FILES: usize = 256;
    const RESERVED: usize = 64;
    let gate = Gate::default();
    let second = gate.clone();
    let origin = Origin::start(move |request| match request.target.as_str() {
        "/stream" => vec![
            chunked_head("text/plain"),
            chunk(b"one"),
            Step::Wait(second.clone()),
            chunk(b"two"),
            chunk(b""),
        ],
        _ => ok(b"ok"),
    });
    let folder = tempfile::tempdir().unwrap();
    let config = before(&origin, &["GET /x", "GET /stream"].map(free).concat());
    let gateway = with_files(gateway(config), FILES, folder.path()).start();
    let mut streaming = gateway.connect();
    streaming.send(&head("GET /stream", ""));
    let mut stream = streaming.head(PATIENCE).unwrap();
    assert_eq!(streaming.piece(&mut stream).unwrap(), b"one");
    let mut early = gateway.connect();
    assert_eq!(early.call(&head("GET /x", "")).status, 200);
    let begin = Instant::now();
    let crowd = connect(&gateway, 400);
    assert!(begin.elapsed() < Duration::from_secs(3), "they are queued");
    let full = eventually("no more are accepted", || {
        let before = open_files(&gateway);
        std::thread::sleep(Duration::from_millis(250));
        (before > FILES / 3 && open_files(&gateway) == before).then_some(before)
    });
    assert!(full + RESERVED <= FILES, "{full} of {FILES} taken");
    let (ticks, began) = (cpu_ticks(&gateway), Instant::now());
    std::thread::sleep(Duration::from_secs(1));
    let busy = Duration::from_millis((cpu_ticks(&gateway) - ticks) * 10);
    assert!(busy * 5 < began.elapsed(), "{busy:?} of a second");
    gateway.mint_token(&serde_json::json!({}));
    gateway.audit_line("the audit log is written", |line| {
        line["action"] == "token.create"
    });
    assert_eq!(
        early.call(&head("GET /x", "")).status,
        200,
        "a known caller"
    );
    gate.open();
    assert_eq!(streaming.piece(&mut stream).unwrap(), b"two");
    assert_eq!(streaming.piece(&mut stream), None);
    let mut waiting = gateway.connect();
    waiting.send(&head("GET /x", ""));
    drop(crowd);
    assert_eq!(
        waiting.answer(PATIENCE).unwrap().status,
        200,
        "its turn came"
    );
}

// EDGE-5
#[test]
fn a_limit_that_leaves_no_room_for_callers_is_told_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let builder = with_files(gateway(""), 100, folder.path());
    let refused = builder.try_start().err().unwrap();
    assert_eq!(refused.code, Some(3));
    assert!(
        refused.stderr.contains("the limit of open files is 100"),
        "{}",
        refused.stderr
    );
}

/// Connects `count` callers that say nothing, and measures.
fn idle_crowd(count: usize, asks: usize) -> (Duration, u64, Vec<Duration>) {
    let files = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: files.maximum,
            maximum: files.maximum,
        },
    )
    .unwrap();
    let origin = Origin::plain();
    let gateway = gateway(before(&origin, &free("GET /x")))
        .set("server.timeouts.first_byte_ms", "600000")
        .set("server.limits.connections_per_ip_max", "100000")
        .set("logging.level", "info")
        .start();
    let fresh = || {
        let begin = Instant::now();
        assert_eq!(gateway.call(&head("GET /x", "")).status, 200);
        begin.elapsed()
    };
    fresh();
    let (files, resident) = (open_files(&gateway), resident_bytes(&gateway));
    let overflows = listen_overflows();
    let begin = Instant::now();
    let crowd = connect(&gateway, count);
    let connected = begin.elapsed();
    eventually("all are accepted", || {
        // What was open before may have been closed since.
        (open_files(&gateway) + 10 >= files + count).then_some(())
    });
    assert_eq!(
        listen_overflows(),
        overflows,
        "none was refused for a full queue"
    );
    let each = resident_bytes(&gateway).saturating_sub(resident) / u64::try_from(count).unwrap();
    let mut waits: Vec<_> = (0..asks).map(|_| fresh()).collect();
    waits.sort_unstable();
    drop(crowd);
    (connected, each, waits)
}

// EDGE-55
#[test]
fn a_thousand_callers_that_say_nothing_cost_little_and_slow_nobody() {
    let (connected, each, waits) = idle_crowd(1_000, 50);
    assert!(connected < Duration::from_secs(3), "{connected:?}");
    assert!(each < 10 * 1024, "{each} bytes each");
    // The middle one: a busy machine may keep any single one waiting.
    assert!(waits[25] < Duration::from_millis(20), "{waits:?}");
}

// EDGE-55
#[test]
#[ignore = "ten thousand descriptors, and figures that want an idle machine"]
fn ten_thousand_callers_that_say_nothing_cost_little_and_slow_nobody() {
    let (connected, each, waits) = idle_crowd(10_000, 1_000);
    println!("{connected:?}, {each} bytes each, p99 {:?}", waits[989]);
    assert!(connected < Duration::from_secs(3), "{connected:?}");
    assert!(each < 10 * 1024, "{each} bytes each");
    assert!(waits[989] < Duration::from_millis(20), "{:?}", waits[989]);
}
