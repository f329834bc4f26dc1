//! Further places of audit records behind TLS, under an authority of the operator's own, and what `doctor`
//! says of the way to each.

use crate::audit_kept::faults;
use crate::callers::models;
use crate::upstream_tls::Trust;
use serde_json::{Value, json};
use std::fs;
use std::io::Read as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use tollkeep_testkit::{Gateway, Origin, Stream, eventually, free_addr, ok};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Makes TLS of an accepted socket.
type Carrier = Box<dyn Fn(TcpStream) -> Option<Box<dyn Stream>> + Send>;

/// A receiver of syslog over TLS (RFC 5425) that keeps what came in whole connections.
fn receiver(carrier: Carrier) -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let taken = Arc::<Mutex<Vec<u8>>>::default();
    let shared = Arc::clone(&taken);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let Some(mut stream) = carrier(stream) else {
                continue;
            };
            let mut bytes = Vec::new();
            // The end of TLS is told (close_notify); a connection that just breaks is no end.
            if stream.read_to_end(&mut bytes).is_ok() {
                shared.lock().unwrap().extend(bytes);
            }
        }
    });
    (addr, taken)
}

/// The records in what a receiver took: messages are counted in octets.
fn records(mut bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let space = bytes.iter().position(|byte| *byte == b' ').unwrap();
        let (count, rest) = bytes.split_at(space);
        let count: usize = std::str::from_utf8(count).unwrap().parse().unwrap();
        let (message, rest) = rest.split_first().unwrap().1.split_at(count);
        let message = std::str::from_utf8(message).unwrap();
        found.push(message.split_once(" - ").unwrap().1.to_owned());
        bytes = rest;
    }
    found
}

fn ids(lines: &[String]) -> Vec<Value> {
    let records = lines.iter();
    let records = records.map(|line| serde_json::from_str::<Value>(line).unwrap());
    let told = records.filter(|record| record["action"] != "audit.checkpoint");
    told.map(|record| record["id"].clone()).collect()
}

fn log(gateway: &Gateway) -> Vec<String> {
    let text = fs::read_to_string(gateway.data_dir().join("audit.log")).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn act(gateway: &Gateway) {
    for _ in 0..10 {
        assert_eq!(gateway.api("GET", "/api/v1/projects", None).0, 200);
    }
}

fn sinks(syslog: SocketAddr, hook: &Origin) -> Value {
    let private = json!(["127.0.0.1/32"]);
    json!([
        { "name": "siem", "type": "syslog", "allow_private": private,
          "url": format!("tls://127.0.0.1:{}", syslog.port()) },
        { "name": "hook", "type": "webhook", "allow_private": private, "secret": SECRET,
          "url": format!("https://127.0.0.1:{}/audit", hook.addr().port()) },
    ])
}

/// What `doctor` finds of the ways to sinks: whether each passes, and what it says.
fn doctor(gateway: &Gateway, sinks: &Value, ca: Option<&str>) -> Vec<(bool, String)> {
    fs::write(gateway.folder().join("beside.yaml"), "# Nothing.\n").unwrap();
    let sinks = format!("audit.sinks={sinks}");
    let ca = ca.map(|ca| format!("egress.ca_file={ca}"));
    let mut arguments = vec![
        "doctor",
        "--json",
        "--only",
        "20,85",
        "--config",
        "beside.yaml",
    ];
    for set in [Some(&sinks), ca.as_ref()].into_iter().flatten() {
        arguments.extend(["--set", set]);
    }
    let done = gateway.cli(&arguments);
    let told: Value = serde_json::from_slice(&done.stdout).unwrap_or_else(|_| {
        panic!("{}", String::from_utf8_lossy(&done.stderr));
    });
    let checks = told["checks"].as_array().unwrap().iter();
    let of = |check: &Value| {
        let found = check["found"].as_str().unwrap_or_default().to_owned();
        (check["status"] == "pass", found)
    };
    let mut found: Vec<_> = checks.map(of).collect();
    let (is_valid, problem) = found.remove(0);
    assert!(is_valid, "{problem}");
    found
}

// AUD-20 OPS-40
#[test]
fn syslog_and_signed_posts_go_over_tls_to_whom_an_own_authority_vouches_for() {
    let (trust, other) = (Trust::new(), Trust::new());
    let (syslog, taken) = receiver(Box::new(trust.server("127.0.0.1").carrier()));
    let hook = Origin::start_on(trust.server("127.0.0.1").carrier(), |_| ok(b""));
    let sinks = sinks(syslog, &hook);
    let ca = trust.file().display().to_string();
    let gateway = models(&Origin::plain())
        .set("audit.checkpoint_every.events", "5")
        .set("audit.sinks", sinks.to_string())
        .set("egress.ca_file", &*ca)
        .start();
    act(&gateway);
    let posted = || -> Vec<String> {
        let requests = hook.requests();
        let bodies = requests
            .iter()
            .map(|request| String::from_utf8_lossy(&request.body));
        let text = bodies.collect::<String>();
        text.lines().map(str::to_owned).collect()
    };
    let given = eventually("both have all of it", || {
        let given = [records(&taken.lock().unwrap()), posted()];
        let want = ids(&log(&gateway));
        given
            .iter()
            .all(|lines| ids(lines) == want)
            .then_some(given)
    });
    for lines in given {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        assert_eq!(faults(&text), []);
    }
    for request in hook.requests() {
        assert!(
            request
                .field("webhook-signature")
                .unwrap()
                .starts_with("v1,")
        );
    }
    assert_eq!(
        doctor(&gateway, &sinks, Some(&ca)),
        [(true, String::new()), (true, String::new())]
    );
    // Whom somebody else vouches for is given nothing, and it is said why.
    let others = other.file().display().to_string();
    let found = doctor(&gateway, &sinks, Some(&others));
    assert_eq!(found.len(), 2, "{found:?}");
    for ((passes, told), name) in found.iter().zip(["`siem`", "`hook`"]) {
        assert!(!passes && told.contains(name), "{told}");
    }
}

// AUD-20
#[test]
fn a_receiver_that_nobody_vouches_for_gets_nothing() {
    let (trust, other) = (Trust::new(), Trust::new());
    let (syslog, taken) = receiver(Box::new(trust.server("127.0.0.1").carrier()));
    let hook = Origin::start_on(trust.server("elsewhere.example").carrier(), |_| ok(b""));
    let gateway = models(&Origin::plain())
        .set("audit.sinks", sinks(syslog, &hook).to_string())
        .set("egress.ca_file", other.file().display().to_string())
        .start();
    act(&gateway);
    let failing = |name: &str| format!("tollkeep_audit_sink_failing{{sink=\"{name}\"}} 1");
    eventually("it is said of both", || {
        let text = gateway.metrics_text();
        (text.contains(&failing("siem")) && text.contains(&failing("hook"))).then_some(())
    });
    assert_eq!((taken.lock().unwrap().len(), hook.count()), (0, 0));
}

// AUD-20 OPS-40
#[test]
fn doctor_says_which_place_is_not_reached() {
    let nobody = free_addr();
    let gateway = models(&Origin::plain()).start();
    let folder = gateway.folder().to_owned();
    let sinks = json!([
        { "name": "siem", "type": "syslog", "url": format!("tcp://{nobody}"),
          "allow_private": ["127.0.0.1/32"] },
        { "name": "copy", "type": "file", "path": folder.join("copy.log") },
        { "name": "lost", "type": "file", "path": folder.join("missing/copy.log") },
    ]);
    let found = doctor(&gateway, &sinks, None);
    let passes: Vec<_> = found.iter().map(|(passes, _)| *passes).collect();
    assert_eq!(passes, [false, true, false], "{found:?}");
    for ((_, told), name) in found.iter().zip(["`siem`", "", "`lost`"]) {
        assert!(told.contains(name), "{told}");
    }
    assert!(!folder.join("copy.log").exists(), "nothing is made");
}
