//! Further places of audit records: what they get, and what happens while they take nothing.

use crate::audit_kept::faults;
use crate::callers::{answer, bearer, chat, models};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::fs;
use std::io::Read as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use tollkeep_crypto::hmac_sha256;
use tollkeep_testkit::{Gateway, Origin, Signal, Step, eventually, free_addr, ok};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A gateway with these sinks.
fn with_sinks(origin: &Origin, folder: Option<&Path>, sinks: &Value) -> Gateway {
    let builder = models(origin)
        .set("audit.checkpoint_every.events", "5")
        .set("audit.sinks", sinks.to_string());
    match folder {
        Some(folder) => builder.folder(folder).start(),
        None => builder.start(),
    }
}

/// Something that is recorded.
fn act(gateway: &Gateway, count: usize) {
    for _ in 0..count {
        assert_eq!(gateway.api("GET", "/api/v1/projects", None).0, 200);
    }
}

fn stop(gateway: &mut Gateway) {
    gateway.signal(Signal::TERM);
    let ended = gateway.wait_exit(tollkeep_testkit::PATIENCE);
    assert!(ended.unwrap().success(), "{}", gateway.stderr());
}

/// The events of records that are no checkpoints, in their order.
fn ids<'l>(lines: impl Iterator<Item = &'l str>) -> Vec<String> {
    let records = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    let told = records.filter(|record| record["action"] != "audit.checkpoint");
    told.map(|record| record["id"].as_str().unwrap().to_owned())
        .collect()
}

fn log_ids(gateway: &Gateway) -> Vec<String> {
    let text = fs::read_to_string(gateway.data_dir().join("audit.log")).unwrap();
    ids(text.lines())
}

fn metric(gateway: &Gateway, name: &str) -> String {
    let text = gateway.metrics_text();
    let start = format!("tollkeep_audit_sink_{name}{{sink=\"s\"}} ");
    let found = text.lines().find_map(|line| line.strip_prefix(&start));
    found.unwrap_or_else(|| panic!("{text}")).to_owned()
}

// AUD-20 AUD-50 AUD-4
#[test]
fn a_file_beside_has_a_signed_chain_of_its_own_that_goes_on_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (all, some) = (folder.path().join("all"), folder.path().join("some"));
    let sinks = json!([
        { "name": "s", "type": "file", "path": all },
        { "name": "some", "type": "file", "path": some, "format": "cliproxy",
          "events": ["token.*", "auth_failure"] },
    ]);
    let home = tempfile::tempdir().unwrap();
    let origin = Origin::start(answer);
    let mut gateway = with_sinks(&origin, Some(home.path()), &sinks);
    let token = gateway.mint_token(&json!({}));
    assert_eq!(gateway.call(&chat(&bearer(&token), "hi")).status, 200);
    assert_eq!(gateway.call(&chat(&bearer("tok-wrong"), "hi")).status, 401);
    act(&gateway, 20);
    stop(&mut gateway);
    drop(gateway);
    let mut gateway = with_sinks(&origin, Some(home.path()), &sinks);
    act(&gateway, 20);
    let given = || fs::read_to_string(&all).unwrap();
    eventually("all of it, once", || {
        (ids(given().lines()) == log_ids(&gateway)).then_some(())
    });
    stop(&mut gateway);
    let text = given();
    assert_eq!(faults(&text), [], "{text}");
    let checked = gateway.cli(&["audit", "verify", "--json", all.to_str().unwrap()]);
    let told: Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert!(told["streams"].as_array().unwrap().len() == 1, "{told}");
    assert_eq!(told["faults"], json!([]));
    let chosen = fs::read_to_string(&some).unwrap();
    assert_eq!(faults(&chosen), [], "{chosen}");
    let mut kinds: Vec<String> = Vec::new();
    for line in chosen.lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        kinds.push(record["event_type"].as_str().unwrap().to_owned());
    }
    kinds.retain(|kind| kind != "audit.checkpoint");
    kinds.sort();
    kinds.dedup();
    assert_eq!(kinds, ["auth_failure", "auth_success", "config_change"]);
}

/// A sink that is a receiver of syslog on this machine.
fn syslog(addr: SocketAddr) -> Value {
    let url = format!("tcp://{addr}");
    json!([{ "name": "s", "type": "syslog", "url": url, "allow_private": ["127.0.0.1/32"] }])
}

/// A receiver of syslog that reads whole connections, each by `take`, which says whether it reads on.
struct Receiver {
    addr: SocketAddr,
    taken: Arc<Mutex<Vec<String>>>,
    /// Connections that are cut after some bytes.
    cuts: Arc<AtomicUsize>,
}

impl Receiver {
    fn on(listener: TcpListener, cuts: usize) -> Self {
        let addr = listener.local_addr().unwrap();
        let (taken, cuts) = (
            Arc::<Mutex<Vec<String>>>::default(),
            Arc::new(AtomicUsize::new(cuts)),
        );
        let (into, left) = (Arc::clone(&taken), Arc::clone(&cuts));
        thread::spawn(move || {
            for stream in listener.incoming() {
                serve(stream.unwrap(), &into, &left);
            }
        });
        Self { addr, taken, cuts }
    }

    /// The records that came whole.
    fn records(&self) -> Vec<String> {
        self.taken.lock().unwrap().clone()
    }
}

fn serve(mut stream: TcpStream, into: &Mutex<Vec<String>>, cuts: &AtomicUsize) {
    let is_cut = cuts
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            left.checked_sub(1)
        })
        .is_ok();
    if is_cut {
        // In the middle of a line.
        let mut some = [0; 100];
        stream.read_exact(&mut some).unwrap();
        return;
    }
    let mut bytes = Vec::new();
    if stream.read_to_end(&mut bytes).is_ok() {
        into.lock().unwrap().extend(messages(&bytes));
    }
}

/// The records in messages that are counted in octets.
fn messages(mut bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let space = bytes.iter().position(|byte| *byte == b' ').unwrap();
        let (count, rest) = bytes.split_at(space);
        let count: usize = std::str::from_utf8(count).unwrap().parse().unwrap();
        let (message, rest) = rest.split_first().unwrap().1.split_at(count);
        let message = std::str::from_utf8(message).unwrap();
        let (head, record) = message.split_once(" - ").unwrap();
        let fields: Vec<_> = head.split(' ').collect();
        assert_eq!((fields.len(), fields[3]), (6, "tollkeep"), "{head}");
        assert!(
            ["<110>1", "<108>1", "<107>1"].contains(&fields[0]),
            "{head}"
        );
        found.push(record.to_owned());
        bytes = rest;
    }
    found
}

// AUD-20
#[test]
fn syslog_gets_every_record_though_its_receiver_was_down_and_cut_lines() {
    // Nobody listens there now.
    let addr = free_addr();
    let sinks = syslog(addr);
    let origin = Origin::start(answer);
    let gateway = with_sinks(&origin, None, &sinks);
    let token = gateway.mint_token(&json!({}));
    act(&gateway, 10);
    eventually("it is said", || {
        (metric(&gateway, "failing") == "1").then_some(())
    });
    assert_ne!(metric(&gateway, "lag_records"), "0");
    let ready = gateway.call(b"GET /ready HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    assert_eq!(ready.status, 200, "nothing else waits for it");
    assert!(ready.text().contains("audit_sink"), "{}", ready.text());
    assert_eq!(gateway.call(&chat(&bearer(&token), "hi")).status, 200);
    let receiver = Receiver::on(TcpListener::bind(addr).unwrap(), 2);
    eventually("all of it", || {
        let taken = receiver.records();
        (ids(taken.iter().map(String::as_str)) == log_ids(&gateway)).then_some(())
    });
    assert_eq!(receiver.cuts.load(Ordering::Relaxed), 0, "both were met");
    let lines: String = receiver
        .records()
        .iter()
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(faults(&lines), []);
    eventually("well again", || {
        (metric(&gateway, "failing") == "0").then_some(())
    });
    assert_eq!(metric(&gateway, "missed_total"), "0");
    assert_eq!(receiver.addr, addr);
}

/// Whether a post is signed as it says.
fn is_signed(request: &tollkeep_testkit::Request) -> bool {
    let field = |name| request.field(name).unwrap().to_owned();
    let (id, at) = (field("webhook-id"), field("webhook-timestamp"));
    let key = STANDARD
        .decode(SECRET.strip_prefix("whsec_").unwrap())
        .unwrap();
    let signed = [format!("{id}.{at}.").as_bytes(), &request.body].concat();
    field("webhook-signature") == format!("v1,{}", STANDARD.encode(hmac_sha256(&key, &signed)))
}

// AUD-20
#[test]
fn a_webhook_gets_signed_lots_again_until_it_takes_them() {
    let turns = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&turns);
    let status = |line: &str| {
        vec![Step::Send(
            format!("HTTP/1.1 {line}\r\ncontent-length: 0\r\n\r\n").into_bytes(),
        )]
    };
    let hook = Origin::start(move |_| match seen.fetch_add(1, Ordering::Relaxed) {
        0 => status("500 Internal Server Error"),
        1 => vec![Step::Close],
        2 => vec![Step::Send(
            b"HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n".to_vec(),
        )],
        _ => ok(b""),
    });
    let sinks = json!([{
        "name": "s", "type": "webhook", "url": format!("{}/audit", hook.url()), "secret": SECRET,
        "allow_private": ["127.0.0.1/32"],
    }]);
    let gateway = with_sinks(&Origin::start(answer), None, &sinks);
    act(&gateway, 10);
    let taken = || {
        let requests = hook.requests();
        let lots = requests.iter().skip(3);
        lots.map(|request| String::from_utf8(request.body.clone()).unwrap())
            .collect::<String>()
    };
    eventually("all of it", || {
        (hook.count() > 3 && ids(taken().lines()) == log_ids(&gateway)).then_some(())
    });
    assert_eq!(faults(&taken()), []);
    for request in hook.requests() {
        assert_eq!((&*request.target, is_signed(&request)), ("/audit", true));
    }
    let requests = hook.requests();
    let id = |at: usize| requests[at].field("webhook-id").map(str::to_owned);
    assert_eq!(
        (id(0), id(1)),
        (id(1), id(3)),
        "the same lot has the same id"
    );
    assert_eq!(metric(&gateway, "failures_total"), "3");
}

// AUD-20
#[test]
fn what_a_killed_gateway_had_not_given_is_given_by_the_next_one() {
    let (addr, up) = (free_addr(), Origin::start(answer));
    let home = tempfile::tempdir().unwrap();
    let sinks = syslog(addr);
    let mut gateway = with_sinks(&up, Some(home.path()), &sinks);
    act(&gateway, 30);
    gateway.kill();
    drop(gateway);
    let receiver = Receiver::on(TcpListener::bind(addr).unwrap(), 0);
    let gateway = with_sinks(&up, Some(home.path()), &sinks);
    eventually("all of it", || {
        let taken = receiver.records();
        (ids(taken.iter().map(String::as_str)) == log_ids(&gateway)).then_some(())
    });
}

// AUD-20
#[test]
fn a_receiver_that_reads_nothing_holds_nobody_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let sinks = syslog(listener.local_addr().unwrap());
    let origin = Origin::start(answer);
    let mut gateway = with_sinks(&origin, None, &sinks);
    let token = gateway.mint_token(&json!({}));
    for _ in 0..50 {
        assert_eq!(gateway.call(&chat(&bearer(&token), "hi")).status, 200);
    }
    eventually("all are recorded", || {
        (log_ids(&gateway).len() > 50).then_some(())
    });
    stop(&mut gateway);
    drop(listener);
}

// AUD-20
#[test]
fn sinks_that_can_not_be_are_refused_at_the_start() {
    let hook = "https://hook.example/";
    for (name, more, want) in [
        ("s", json!({ "type": "s3" }), "s3"),
        ("s", json!({ "type": "file" }), "audit.sinks[0].path"),
        (
            "s",
            json!({ "type": "syslog", "url": "udp://127.0.0.1:514" }),
            "UDP",
        ),
        (
            "s",
            json!({ "type": "syslog", "url": "tcp://127.0.0.1" }),
            "tcp://host:port",
        ),
        (
            "s",
            json!({ "type": "stdout", "events": ["tokens.*"] }),
            "tokens.*",
        ),
        (
            "s",
            json!({ "type": "webhook", "url": hook, "secret": "short-0123" }),
            "whsec_",
        ),
        (
            "s",
            json!({ "type": "webhook", "url": hook }),
            "audit.sinks[0].secret",
        ),
        (
            "s",
            json!({ "type": "stdout", "path": "/tmp/x" }),
            "audit.sinks[0].path",
        ),
        ("a b", json!({ "type": "stdout" }), "audit.sinks[0].name"),
        ("other", json!({ "type": "stdout" }), "another sink's name"),
    ] {
        let mut sink = more;
        sink["name"] = json!(name);
        let sinks = json!([sink, { "name": "other", "type": "stdout" }]);
        let builder = models(&Origin::plain()).set("audit.sinks", sinks.to_string());
        let told = builder.try_start().err().unwrap().stderr;
        assert!(told.contains(want), "{sinks}: {told}");
    }
}

// AUD-20
#[test]
fn standard_output_is_a_place_too() {
    let sinks = json!([{ "name": "s", "type": "stdout" }]);
    let gateway = with_sinks(&Origin::start(answer), None, &sinks);
    act(&gateway, 3);
    eventually("given", || {
        (metric(&gateway, "records_total") != "0").then_some(())
    });
    assert_eq!(metric(&gateway, "failures_total"), "0");
}
