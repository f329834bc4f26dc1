//! A request that panics takes nothing with it but its own connection: the whole gateway, on one
//! worker, with a clock that panics when a request reads it.

use super::{Running, start_by};
use crate::system::SystemClock;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tollkeep_config::{Env, LoadRequest};
use tollkeep_observe::line_sink::{LineOutput, LineSink};
use tollkeep_observe::logs::{self, LogConfig};
use tollkeep_observe::metrics::LogMeter;
use tollkeep_testkit::{
    Client, Ended, Gate, Http2Client, Origin, PATIENCE, Request, Reset, Step, chunk, chunked_head,
    eventually, json, ok,
};
use tollkeep_types::{Clock, MonoNanos, WallMillis};

/// Stands for what callers send, wherever they can put it. No file may repeat it.
const SAID: &str = "stranger-said-Zq8kTm2vXw7p";
/// More than any limit below, so that none that panicked is counted for ever.
const ROUNDS: usize = 6;

/// The system's clock, until it is armed.
struct Trap {
    clock: SystemClock,
    armed: AtomicBool,
}

impl Clock for Trap {
    fn mono(&self) -> MonoNanos {
        // Connections are tasks, the worker's own sweep is none.
        let by_request = tokio::task::try_id().is_some() && on_a_worker();
        if by_request && self.armed.swap(false, Ordering::SeqCst) {
            panic!("cannot make sense of {SAID}");
        }
        self.clock.mono()
    }

    fn wall(&self) -> WallMillis {
        self.clock.wall()
    }
}

fn on_a_worker() -> bool {
    let thread = std::thread::current();
    thread
        .name()
        .is_some_and(|name| name.starts_with("worker-"))
}

/// Room for two requests and four connections of an address; one worker, so that whoever is
/// served after a panic is served by the thread that had it.
fn settings(folder: &Path, origin: &Origin) -> tollkeep_config::Settings {
    let (url, at) = (origin.url(), folder.display());
    let config = format!(
        "data_dir: {at}/data\nstore: {{ path: {at}/data/tollkeep.db }}\n\
         audit: {{ file: {at}/data/audit.log, deadline: 60s }}\nlogging: {{ output: {at}/log }}\n\
         server:\n  port: 0\n  h2c: true\n  workers: 1\n  limits: {{ connections_per_ip_max: 4, \
         concurrent_requests_max: 2, concurrent_requests_per_ip_max: 2 }}\n  \
         security: {{ rate_limiting: {{ enabled: false }} }}\n\
         management: {{ listen: \"127.0.0.1:0\" }}\nmetrics: {{ port: 0 }}\n\
         providers:\n  openai: {{ base_url: \"{url}/v1\", allow_private: [\"127.0.0.1/32\"], \
         credentials: [{{ secret: \"${{UPSTREAM_KEY}}\" }}] }}\n\
         upstreams:\n  origin: {{ url: \"{url}\", allow_private: [\"127.0.0.1/32\"] }}\n\
         routes:\n  \"GET /plain/*\": {{ upstream: origin, access: free, \
         rate_limit: {{ requests: 1000000, window: 1s }} }}\n"
    );
    let file = folder.join("tollkeep.yaml");
    std::fs::write(&file, config).unwrap();
    let request = LoadRequest {
        file: Some(file),
        sets: Vec::new(),
        env: Env::from_pairs([(
            "UPSTREAM_KEY",
            "sk-upstream-Zq8kTm2vXw7pLs4nRy9bHc3dJf6gVa1e",
        )]),
        working_dir: folder.to_path_buf(),
        env_file: None,
        running: false,
        looks_only: false,
        documents: tollkeep_config::Documents::Unread,
    };
    tollkeep_config::load(&request).unwrap().settings
}

/// What the origin says: by path, each answer as its caller needs it.
fn answer(request: &Request, trap: &Trap, slow: &Gate, stream: &Gate) -> Vec<Step> {
    let target = request.target.as_str();
    if target.starts_with("/v1/") {
        let doomed = String::from_utf8_lossy(&request.body).contains("panic");
        trap.armed.store(doomed, Ordering::SeqCst);
        return json(&serde_json::json!({ "choices": [] }));
    }
    if target.starts_with("/plain/slow") {
        return [vec![Step::Wait(slow.clone())], ok(b"slow but whole")].concat();
    }
    if target.starts_with("/plain/stream") {
        let (head, wait) = (chunked_head("text/plain"), Step::Wait(stream.clone()));
        return vec![head, wait, chunk(b"some"), chunk(b"")];
    }
    ok(target.as_bytes())
}

struct World {
    running: Running,
    token: String,
}

impl World {
    fn connect(&self) -> Client {
        Client::connect(self.running.at.data)
    }

    fn plain(&self, path: &str, version: &str) -> Vec<u8> {
        let host = self.running.at.data;
        format!("GET /plain/{path} HTTP/{version}\r\nHost: {host}\r\nx-note: {SAID}\r\n\r\n")
            .into_bytes()
    }

    fn body(what: &str) -> String {
        format!(r#"{{"model":"gpt-4o","messages":[],"user":"{what} {SAID}"}}"#)
    }

    fn chat_stream(&self, streams: &Http2Client) -> http::Request<()> {
        let bearer = format!("Bearer {}", self.token);
        let fields = [
            ("x-note", SAID),
            ("authorization", &bearer),
            ("content-type", "application/json"),
        ];
        streams.request(
            "POST",
            &format!("/v1/chat/completions?note={SAID}"),
            &fields,
        )
    }

    fn chat(&self, what: &str) -> Vec<u8> {
        let (host, token) = (self.running.at.data, &self.token);
        let body = Self::body(what);
        format!(
            "POST /v1/chat/completions?note={SAID} HTTP/1.1\r\nHost: {host}\r\nx-note: {SAID}\r\n\
             Authorization: Bearer {token}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }

    fn metrics(&self) -> String {
        let addr = self.running.at.metrics.unwrap();
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
        Client::connect(addr).call(request.as_bytes()).text()
    }

    fn wait_for_metric(&self, line: &str) {
        eventually(line, || {
            self.metrics()
                .lines()
                .any(|known| known == line)
                .then_some(())
        });
    }

    fn wait_for_live(&self, count: usize) {
        eventually("live connections", || {
            (self.running.drain.live() == count).then_some(())
        });
    }
}

/// A token that may make one call at a time.
fn mint(management: SocketAddr, key: &str) -> String {
    let body = r#"{"project":"default","limits":{"concurrency":1}}"#;
    let request = format!(
        "POST /api/v1/tokens HTTP/1.1\r\nHost: {management}\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let made = Client::connect(management).call(request.as_bytes()).json();
    made["secret"].as_str().unwrap().to_owned()
}

/// Starts the gateway with its log, and with its own panic hook on its workers alone: what a test
/// asserts must still be readable.
fn start(folder: &Path, trap: &Arc<Trap>, origin: &Origin) -> World {
    let log = LineOutput::File(folder.join("log"));
    let sink = LineSink::open(&log, Arc::clone(trap) as _, LogMeter::default()).unwrap();
    logs::install(LogConfig::default(), sink.clone(), Arc::clone(trap) as _).unwrap();
    let tests_own = std::panic::take_hook();
    let running = start_by(Arc::clone(trap) as _, settings(folder, origin), sink, None).unwrap();
    let gateways_own = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if on_a_worker() {
            gateways_own(panic);
        } else {
            tests_own(panic);
        }
    }));
    let key = running.first_key.as_ref().unwrap().expose().to_owned();
    let token = mint(running.at.management.unwrap(), &key);
    World { running, token }
}

/// The JSON lines of a file that have these members.
fn lines(file: &Path, wanted: &[(&str, &str)]) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let lines = text
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    lines
        .filter(|line| wanted.iter().all(|(name, value)| line[*name] == *value))
        .collect()
}

/// Waits until so many calls are recorded: a worker that hands records over reads the clock too,
/// and must not be who finds it armed.
fn wait_for_records(folder: &Path, calls: usize) {
    eventually("records", || {
        let events = lines(
            &folder.join("data/audit.log"),
            &[("action", "proxy_request")],
        );
        (events.len() == calls).then_some(())
    });
}

/// Every file below `folder`, but the configuration.
fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.is_file() {
            found.push(path);
        }
    }
    found
}

/// Each of `panics` has its access line, its event and its line in the log, and the model calls
/// among them their usage line; nothing of what was said is in any file.
fn assert_recorded(folder: &Path, panics: usize) {
    let (log, data) = (folder.join("log"), folder.join("data"));
    let panicked = [("outcome", "error")];
    let access = lines(&log, &panicked);
    assert_eq!(access.len(), panics, "{access:?}");
    let audited = [("action", "proxy_request"), ("result", "error")];
    let events = lines(&data.join("audit.log"), &audited);
    let ids = |lines: &[serde_json::Value]| {
        let ids = lines.iter().map(|line| line["request_id"].to_string());
        ids.collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(ids(&events), ids(&access), "{events:?}");
    assert_eq!(events.len(), panics);
    // The model was asked: what that used is not known.
    let used = lines(&data.join("usage.jsonl"), &panicked);
    assert_eq!(used.len(), ROUNDS, "{used:?}");
    let told: Vec<_> = lines(&log, &[("level", "error")])
        .into_iter()
        .map(|line| line["msg"].as_str().unwrap().to_owned())
        .collect();
    let place = format!("A task panicked at {}:", file!());
    assert_eq!(told.len(), panics, "{told:?}");
    assert!(told.iter().all(|told| told.starts_with(&place)), "{told:?}");
    for file in files(folder) {
        let bytes = std::fs::read(&file).unwrap();
        let repeats = bytes
            .windows(SAID.len())
            .any(|part| part == SAID.as_bytes());
        assert!(!repeats, "{}", file.display());
    }
}

// AUD-13 AUD-32
#[test]
fn a_request_that_panics_ends_alone_is_recorded_and_gives_everything_back() {
    let folder = tempfile::tempdir().unwrap();
    let trap = Arc::new(Trap {
        clock: SystemClock::new(),
        armed: AtomicBool::new(false),
    });
    let (slow, stream) = (Gate::default(), Gate::default());
    let origin = {
        let (trap, slow, stream) = (Arc::clone(&trap), slow.clone(), stream.clone());
        Origin::start(move |request| answer(request, &trap, &slow, &stream))
    };
    let world = start(folder.path(), &trap, &origin);
    // Beside those that panic: one in the middle of its request, one between two.
    let (mut bystander, mut idle) = (world.connect(), world.connect());
    bystander.send(&world.plain("slow", "1.1"));
    origin.wait_for(1);
    for round in 0..ROUNDS {
        wait_for_records(folder.path(), 3 * round);
        let path = format!("/plain/idle-{round}");
        let answer = if round % 2 == 0 {
            let mut doomed = world.connect();
            doomed.send(&world.chat("panic"));
            assert_eq!(doomed.answer(PATIENCE).unwrap_err(), Ended::Closed);
            idle.call(&world.plain(&format!("idle-{round}"), "1.1"))
        } else {
            // A stream ends by itself: the next one finds its connection as it was.
            let mut streams = Http2Client::connect(world.running.at.data);
            let doomed = world.chat_stream(&streams);
            let internal_error = Reset(Some(h2::Reason::INTERNAL_ERROR));
            let reset = streams.call(doomed, World::body("panic").as_bytes());
            assert_eq!(reset.unwrap_err(), internal_error);
            let request = streams.request("GET", &path, &[("x-note", SAID)]);
            streams.call(request, b"").unwrap()
        };
        assert!(!trap.armed.load(Ordering::SeqCst), "it did panic");
        assert_eq!((answer.status, answer.text()), (200, path));
        // The token's only place is free again, and so is the address's second one.
        let answer = world.connect().call(&world.chat("fine"));
        assert_eq!(answer.status, 200, "{}", answer.text());
        world.wait_for_live(2);
        world.wait_for_metric("tollkeep_in_flight 1");
    }
    // An answer that had begun, and whose end is the connection's, must not look whole.
    let mut old = world.connect();
    old.send(&world.plain("stream", "1.0"));
    assert_eq!(old.head(PATIENCE).unwrap().status, 200);
    wait_for_records(folder.path(), 3 * ROUNDS);
    trap.armed.store(true, Ordering::SeqCst);
    stream.open();
    let read = old.socket().read(&mut [0; 64]).unwrap_err();
    assert_eq!(read.kind(), io::ErrorKind::ConnectionReset);

    slow.open();
    let answer = bystander.answer(PATIENCE).unwrap();
    assert_eq!(
        (answer.status, answer.text()),
        (200, "slow but whole".to_owned())
    );
    drop((bystander, idle, old));
    world.wait_for_live(0);
    world.wait_for_metric("tollkeep_in_flight 0");
    world.wait_for_metric("tollkeep_streams_open 0");
    world.running.stop().unwrap();
    assert_recorded(folder.path(), ROUNDS + 1);
}
