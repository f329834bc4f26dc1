//! Spellings of `Transfer-Encoding` that some servers read and others don't, each beside a
//! `Content-Length` that says otherwise: whatever the gateway makes of one, nobody else's
//! connection carries it. The spellings are those of the tools that look for request smuggling:
//! one byte before, within or behind the field, and beside other line ends.

use crate::framing::fixture;
use std::thread;
use tollkeep_testkit::{Client, Ended, Gateway, Origin, PATIENCE};

/// Gateways that share the work.
const LANES: usize = 4;

/// `%` stands for the byte.
const SPELLINGS: &[&str] = &[
    "Transfer-Encoding:%chunked",
    "Transfer-Encoding%: chunked",
    "%Transfer-Encoding: chunked",
    "Transfer-Encoding: chunked%",
    "Transfer-Encoding: %chunked",
    "Transfer-Encoding: chu%nked",
    "Transfer-%Encoding: chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: %",
    "Transfer-Encoding: %\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: %, chunked",
    "Transfer-Encoding: chunked,%",
    "Transfer-Encoding:\r\n%chunked",
    "X: X%Transfer-Encoding: chunked",
    "Transfer-Encoding: chunked%X: X",
    "X: X\r%Transfer-Encoding: chunked",
    "X: X%\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r%X: X",
    "Transfer-Encoding: chunked%\nX: X",
];

/// What a server that takes the wrong length would find behind the body.
const HIDDEN: &str = "GET /marker?hidden HTTP/1.1\r\nHost: gw.test\r\nX: ";

/// Ends a connection that still lives.
const LAST: &[u8] = b"GET /marker?last HTTP/1.1\r\nHost: gw.test\r\nConnection: close\r\n\r\n";

/// The spelling with the byte in its place.
fn spelt(spelling: &str, byte: u8) -> Vec<u8> {
    let (before, after) = spelling.split_once('%').unwrap();
    [before.as_bytes(), &[byte], after.as_bytes()].concat()
}

/// A POST whose length ends behind the hidden request, and whose chunks end before it.
fn hidden_behind_chunks(spelt: &[u8]) -> Vec<u8> {
    let body = format!("0\r\n\r\n{HIDDEN}");
    let head = format!(
        "POST /ok HTTP/1.1\r\nHost: gw.test\r\nContent-Length: {}\r\n",
        body.len()
    );
    [head.as_bytes(), spelt, b"\r\n\r\n", body.as_bytes()].concat()
}

/// A POST whose chunks end behind the hidden request, and whose length ends before it.
fn hidden_behind_length(spelt: &[u8]) -> Vec<u8> {
    let chunk = format!("{:x}\r\n", HIDDEN.len());
    let head = format!(
        "POST /ok HTTP/1.1\r\nHost: gw.test\r\nContent-Length: {}\r\n",
        chunk.len()
    );
    let body = format!("{chunk}{HIDDEN}\r\n0\r\n\r\n");
    [head.as_bytes(), spelt, b"\r\n\r\n", body.as_bytes()].concat()
}

struct Lane {
    origin: Origin,
    gateway: Gateway,
    innocent: Client,
    /// Streams of which something was served.
    served: usize,
}

impl Lane {
    fn new() -> Self {
        let origin = Origin::plain();
        let gateway = fixture(&origin, "");
        let innocent = gateway.connect();
        Self {
            origin,
            gateway,
            innocent,
            served: 0,
        }
    }

    /// What is wrong with how the gateway took the stream.
    fn judge(&mut self, stream: &[u8]) -> Result<(), String> {
        self.origin.forget();
        let mut attacker = self.gateway.connect();
        attacker.send(&[stream, LAST].concat());
        let told = read_all(attacker)?;
        let served = told.matches("HTTP/1.1 200 ").count();
        let targets: Vec<_> = self
            .origin
            .requests()
            .iter()
            .map(|r| r.target.clone())
            .collect();
        if served != targets.len() {
            return Err(format!("{served} answered, upstream saw {targets:?}"));
        }
        if targets.iter().any(|target| target.contains("hidden")) {
            return Err("the hidden request was made".to_owned());
        }
        if !self.origin.faults().is_empty() {
            return Err(format!("not strict: {:?}", self.origin.faults()));
        }
        self.served += usize::from(served > 0);
        let own = self
            .innocent
            .call(b"GET /marker?own HTTP/1.1\r\nHost: gw.test\r\n\r\n");
        let last = self.origin.last();
        if own.status == 200 && last.target == "/marker?own" && last.field("x").is_none() {
            Ok(())
        } else {
            Err(format!(
                "an innocent caller was answered {own:?} to {last:?}"
            ))
        }
    }
}

fn read_all(mut client: Client) -> Result<String, String> {
    let mut raw = Vec::new();
    loop {
        match client.bytes(PATIENCE) {
            Ok(bytes) => raw.extend(bytes),
            Err(Ended::Closed) => return Ok(String::from_utf8_lossy(&raw).into_owned()),
            Err(Ended::Silent) => return Err("it never ended".to_owned()),
        }
    }
}

// EDGE-22 EDGE-23 EDGE-26 EDGE-33
#[test]
fn no_spelling_of_transfer_encoding_hides_a_request() {
    let bytes: Vec<u8> = (0x00..=0x2f)
        .chain([0x3b, 0x5f])
        .chain(0x7f..=0xff)
        .collect();
    let streams: Vec<_> = SPELLINGS
        .iter()
        .flat_map(|spelling| bytes.iter().map(|byte| spelt(spelling, *byte)))
        .flat_map(|spelt| [hidden_behind_chunks(&spelt), hidden_behind_length(&spelt)])
        .collect();
    let judged: Vec<(Vec<String>, usize)> = thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES)
            .map(|number| {
                let streams = streams.iter().skip(number).step_by(LANES);
                scope.spawn(move || {
                    let mut lane = Lane::new();
                    let wrong = streams.filter_map(|stream| {
                        let problem = lane.judge(stream).err()?;
                        Some(format!("{}: {problem}", stream.escape_ascii()))
                    });
                    (wrong.collect(), lane.served)
                })
            })
            .collect();
        lanes.into_iter().map(|lane| lane.join().unwrap()).collect()
    });
    let (wrong, served): (Vec<_>, Vec<_>) = judged.into_iter().unzip();
    let (wrong, served) = (wrong.concat(), served.iter().sum::<usize>());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // A field that merely holds the words is no length; what is one, or nearly one, is refused.
    assert!(
        served > 0 && served < streams.len() / 4,
        "{served} of {} served",
        streams.len()
    );
}
