//! The framing vectors over TCP, before an origin that records every byte.

use crate::fixture::{before, free, gateway};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use std::thread;
use std::time::Duration;
use tollkeep_testkit::{Client, Ended, Gateway, Origin, PATIENCE};

/// Gateways that share the work.
const LANES: usize = 4;
/// Streams up to this are also sent byte by byte.
const TRICKLED_BYTES_MAX: usize = 2048;
/// Sent behind what was accepted: shows that the connection lives and that nothing was left over.
const PROBE: &[u8] = b"GET /marker?probe HTTP/1.1\r\nHost: gw.test\r\n\r\n";

/// The vectors, as the specification gives them.
pub(crate) fn vectors() -> Vec<Value> {
    let file: Value = serde_json::from_str(include_str!("data/http-framing.json")).unwrap();
    let cases = file["cases"].as_array().unwrap().clone();
    assert_eq!(Value::from(cases.len()), file["count"]);
    cases
}

/// The bytes of a vector.
pub(crate) fn bytes_of(case: &Value) -> Vec<u8> {
    let parts = case["parts"].as_array().unwrap().iter().map(|part| {
        let piece = BASE64_STANDARD
            .decode(part["b64"].as_str().unwrap())
            .unwrap();
        piece.repeat(usize::try_from(part["repeat"].as_u64().unwrap_or(1)).unwrap())
    });
    parts.collect::<Vec<_>>().concat()
}

/// The gateway of the vectors' fixture.
pub(crate) fn fixture(origin: &Origin, more: &str) -> Gateway {
    let routes = [
        "GET /ok",
        "POST /ok",
        "PUT /ok",
        "DELETE /ok",
        "GET /marker",
    ];
    let routes: String = routes.into_iter().map(free).collect();
    let config = format!(
        "server: {{ allowed_hosts: [gw.test]{more} }}\n{}",
        before(origin, &routes)
    );
    gateway(config).start()
}

struct Lane {
    origin: Origin,
    gateway: Gateway,
}

impl Lane {
    fn new() -> Self {
        let origin = Origin::plain();
        let gateway = fixture(&origin, "");
        Self { origin, gateway }
    }

    /// What is wrong with the gateway's verdict on a case.
    fn judge(&self, case: &Value, bytewise: bool) -> Result<(), String> {
        self.origin.forget();
        let (bytes, expect) = (bytes_of(case), &case["expect"]);
        let mut client = self.gateway.connect();
        if bytewise {
            bytes
                .iter()
                .all(|byte| client.send(std::slice::from_ref(byte)));
        } else {
            client.send(&bytes);
        }
        let statuses = expect["statuses"].as_array().unwrap();
        let head_only = bytes.starts_with(b"HEAD ");
        for allowed in statuses {
            let answer = client
                .answer_within(PATIENCE, head_only)
                .map_err(|ended| format!("{ended:?}"))?;
            if !allowed
                .as_array()
                .unwrap()
                .contains(&Value::from(answer.status))
            {
                return Err(format!(
                    "status {}, {allowed} wanted: {}",
                    answer.status,
                    answer.text()
                ));
            }
            if answer.status == 405 && answer.field("allow").is_none() {
                return Err("405 without Allow".to_owned());
            }
        }
        self.check_end(&mut client, expect["close"] == true)?;
        self.check_upstream(expect)
    }

    fn check_end(&self, client: &mut Client, closes: bool) -> Result<(), String> {
        if closes {
            let closed = client.closed_within(Duration::from_secs(5));
            return if closed {
                Ok(())
            } else {
                Err(format!("not closed: {:?}", client.unread()))
            };
        }
        client.send(PROBE);
        match client.answer(PATIENCE) {
            Ok(answer) if answer.status == 200 => {}
            other => return Err(format!("the connection should live: {other:?}")),
        }
        // The probe's own request is not the case's.
        let requests = self.origin.requests();
        let last = requests.last().map(|request| request.target.as_str());
        if last == Some("/marker?probe") {
            Ok(())
        } else {
            Err(format!("not the probe: {last:?}"))
        }
    }

    fn check_upstream(&self, expect: &Value) -> Result<(), String> {
        let requests = self.origin.requests();
        let of_case: Vec<_> = requests
            .iter()
            .filter(|request| request.target != "/marker?probe")
            .collect();
        if expect["upstream_requests"].as_u64() != u64::try_from(of_case.len()).ok() {
            return Err(format!("{} requests upstream", of_case.len()));
        }
        for (request, fixed) in of_case
            .iter()
            .zip(expect["forwarded"].as_array().into_iter().flatten())
        {
            let body = BASE64_STANDARD
                .decode(fixed["body_b64"].as_str().unwrap())
                .unwrap();
            let same = fixed["method"] == *request.method
                && fixed["target"] == *request.target
                && body == request.body;
            if !same {
                return Err(format!("forwarded {request:?}"));
            }
            // Fields that the cases plant and that must not pass.
            if let Some(planted) = ["x-foo", "x-trailer", "x_foo", "x-custom-name"]
                .iter()
                .find(|name| request.field(name).is_some())
            {
                return Err(format!("{planted} passed"));
            }
        }
        match self.origin.faults().as_slice() {
            [] => Ok(()),
            faults => Err(format!("not strict: {faults:?}")),
        }
    }
}

// EDGE-20 EDGE-21 EDGE-22 EDGE-23 EDGE-24 EDGE-25 EDGE-26 EDGE-27 EDGE-28 EDGE-29 EDGE-30 EDGE-31 EDGE-33 EDGE-34 EDGE-45 EDGE-47
#[test]
fn every_framing_vector_gets_its_verdict_and_only_strict_requests_go_upstream() {
    let cases = vectors();
    let wrong: Vec<String> = thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES)
            .map(|number| {
                let cases = &cases;
                scope.spawn(move || {
                    let lane = Lane::new();
                    let mut wrong = Vec::new();
                    for case in cases.iter().skip(number).step_by(LANES) {
                        let small = bytes_of(case).len() <= TRICKLED_BYTES_MAX;
                        for bytewise in [false, true]
                            .into_iter()
                            .filter(|bytewise| small || !bytewise)
                        {
                            if let Err(problem) = lane.judge(case, bytewise) {
                                wrong.push(format!(
                                    "{} (byte by byte: {bytewise}): {problem}",
                                    case["id"]
                                ));
                            }
                        }
                    }
                    assert!(
                        !lane.gateway.stderr().contains("panicked"),
                        "{}",
                        lane.gateway.stderr()
                    );
                    wrong
                })
            })
            .collect();
        lanes
            .into_iter()
            .flat_map(|lane| lane.join().unwrap())
            .collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

// EDGE-20
#[test]
fn nothing_goes_upstream_before_the_body_is_whole() {
    let origin = Origin::plain();
    let gateway = fixture(&origin, "");
    for (name, start, rest) in [
        (
            "length",
            "POST /ok HTTP/1.1\r\nHost: gw.test\r\nContent-Length: 10\r\n\r\n12345",
            "67890",
        ),
        (
            "chunked",
            "POST /ok HTTP/1.1\r\nHost: gw.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n",
            "5\r\n67890\r\n0\r\n\r\n",
        ),
    ] {
        origin.forget();
        let connections = origin.connections();
        let mut client = gateway.connect();
        client.send(start.as_bytes());
        assert_eq!(
            client
                .answer(Duration::from_millis(200))
                .map(|answer| answer.status),
            Err(Ended::Silent),
            "{name}"
        );
        assert_eq!(
            (origin.count(), origin.connections()),
            (0, connections),
            "{name}: no contact, not even a connection"
        );
        assert_eq!(client.call(rest.as_bytes()).status, 200, "{name}");
        assert_eq!(origin.last().text(), "1234567890", "{name}");
    }
}
