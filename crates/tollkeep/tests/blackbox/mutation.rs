//! Mutated framing vectors, with an innocent caller between them on a pool of one connection.
//!
//! Behind every stream goes an end that no reader can take for part of a request, so that each
//! ends with a refusal, and the books can be balanced: a request at the origin for each 200, in
//! order, and nobody gets another's answer.

use crate::fixture::{Dice, before, free, gateway};
use crate::framing::{bytes_of, vectors};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;
use tollkeep_testkit::{Client, Ended, Gateway, Origin, Request, ok};

/// Streams of a test run, and of the long form.
const STREAMS: usize = 20_000;
const SOAK_STREAMS: usize = 2_000_000;
/// Gateways that share the work.
const LANES: usize = 3;
/// Seeds larger than this only cost time.
const SEED_BYTES_MAX: usize = 4096;
/// The body cap of the gateways; the end is longer, so that no body swallows it whole.
const BODY_BYTES_MAX: usize = 1024;

/// Bytes that readers disagree about.
const BYTES: &[u8] = b"\r\n\0 \t:,;=_-+0159afx\x0b\x0c\x7f\x80\xff\"#%/?\\@";
/// Pieces that change where a message ends.
const PIECES: &[&str] = &[
    "\r\n",
    "\n",
    "\r\n\r\n",
    "\r\n ",
    "0\r\n\r\n",
    "5\r\nhello\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding : chunked\r\n",
    "transfer_encoding: chunked\r\n",
    "Content-Length: 5\r\n",
    "Content-Length: 0\r\n",
    "content-length: 31\r\n",
    "Connection: close\r\n",
    "Connection: Content-Length\r\n",
    "Expect: 100-continue\r\n",
    "Upgrade: h2c\r\n",
    "Host: gw.test\r\n",
    "X: \r\n",
    "GET /marker HTTP/1.1\r\nHost: gw.test\r\n\r\n",
    "POST /ok HTTP/1.1\r\nHost: gw.test\r\n",
    "HEAD /ok HTTP/1.1\r\nHost: gw.test\r\n\r\n",
    " HTTP/1.1",
    " HTTP/1.0",
];

fn mutate(seeds: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let mut stream = dice.one_of(seeds).clone();
    for _ in 0..=dice.below(4) {
        let (at, len) = (dice.below(stream.len() + 1), dice.below(24));
        let end = (at + len).min(stream.len());
        match dice.below(9) {
            0 if at < stream.len() => stream[at] = *dice.one_of(BYTES),
            1 => stream.insert(at, *dice.one_of(BYTES)),
            2 | 3 => drop(stream.splice(at..at, dice.one_of(PIECES).bytes())),
            4 => drop(stream.drain(at..end)),
            5 => drop(stream.splice(at..at, stream[at..end].to_vec())),
            6 => swap_lines(&mut stream, dice),
            7 => {
                let other = dice.one_of(seeds);
                let from = dice.below(other.len() + 1);
                stream.truncate(at);
                stream.extend_from_slice(&other[from..]);
            }
            _ => stream[at..end]
                .iter_mut()
                .for_each(|byte| *byte ^= if byte.is_ascii_alphabetic() { 0x20 } else { 0 }),
        }
    }
    stream
}

fn swap_lines(stream: &mut Vec<u8>, dice: &mut Dice) {
    let mut lines: Vec<Vec<u8>> = stream
        .split_inclusive(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    let (a, b) = (dice.below(lines.len()), dice.below(lines.len()));
    if !lines.is_empty() {
        lines.swap(a, b);
    }
    *stream = lines.concat();
}

/// The answers in what a gateway sent. One without body (to HEAD) shows by the next one's start.
fn answers_in(raw: &[u8]) -> Result<Vec<(u16, Vec<u8>)>, String> {
    let (mut rest, mut answers) = (raw, Vec::new());
    while !rest.is_empty() {
        let wrong = || {
            format!(
                "not an answer: {:?}",
                String::from_utf8_lossy(&rest[..rest.len().min(200)])
            )
        };
        let head_len = rest
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .ok_or_else(wrong)?
            + 4;
        let head = std::str::from_utf8(&rest[..head_len]).map_err(|_| wrong())?;
        let status: u16 = head
            .strip_prefix("HTTP/1.1 ")
            .and_then(|line| line.get(..3)?.parse().ok())
            .ok_or_else(wrong)?;
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(Ok(0), str::parse).map_err(|_| wrong())?;
        rest = &rest[head_len..];
        if (100..200).contains(&status) {
            continue;
        }
        let bodiless = rest.is_empty() || rest.starts_with(b"HTTP/1.1 ");
        let body = if bodiless {
            &[]
        } else {
            rest.get(..length).ok_or("a cut body")?
        };
        rest = &rest[body.len()..];
        answers.push((status, body.to_vec()));
    }
    Ok(answers)
}

struct Lane {
    origin: Origin,
    gateway: Gateway,
    innocent: Client,
    served: usize,
}

impl Lane {
    fn new() -> Self {
        let count = AtomicUsize::new(0);
        let origin = Origin::start(move |request| {
            let number = count.fetch_add(1, Ordering::Relaxed);
            ok(if request.method == "HEAD" {
                String::new()
            } else {
                format!("{number} {}", told(request))
            }
            .as_bytes())
        });
        let routes = [
            "GET /ok",
            "POST /ok",
            "PUT /ok",
            "DELETE /ok",
            "GET /marker",
        ]
        .map(free)
        .concat();
        let config = format!(
            "server:\n  allowed_hosts: [gw.test]\n  limits: {{ request_body_bytes_max: {BODY_BYTES_MAX} }}\n  \
             timeouts: {{ header_ms: 1000, body_ms: 1000, requests_per_connection_max: 1000000000 }}\n{}",
            before(&origin, &routes).replace("32\"]", "32\"], pool: { idle_per_host_max: 1 }")
        );
        let gateway = gateway(config)
            .set("server.workers", "1")
            .set("logging.level", "warn")
            .start();
        let innocent = gateway.connect();
        Self {
            origin,
            gateway,
            innocent,
            served: 0,
        }
    }

    fn try_one(&mut self, stream: &[u8], number: usize) -> Result<(), String> {
        self.origin.forget();
        let mut client = self.gateway.connect();
        client.send(&[stream, b"\r\n\r\n", &[0; BODY_BYTES_MAX * 2]].concat());
        let mut raw = Vec::new();
        loop {
            match client.bytes(Duration::from_secs(10)) {
                Ok(bytes) => raw.extend(bytes),
                Err(Ended::Closed) => break,
                Err(Ended::Silent) => return Err("it never ended".to_owned()),
            }
        }
        let answers = answers_in(&raw)?;
        let (served, upstream) = (
            answers.iter().filter(|(status, _)| *status == 200),
            self.origin.requests(),
        );
        let served: Vec<_> = served.map(|(_, body)| body).collect();
        if served.len() != upstream.len() {
            let statuses: Vec<_> = answers.iter().map(|(status, _)| status).collect();
            return Err(format!("answers {statuses:?}, upstream {upstream:?}"));
        }
        self.served += served.len();
        for (body, request) in served.iter().zip(&upstream) {
            let own = body.is_empty() || body.ends_with(format!(" {}", told(request)).as_bytes());
            if !own
                || !["/ok", "/marker"]
                    .contains(&request.target.split('?').next().unwrap_or_default())
            {
                return Err(format!(
                    "answer {:?} to {request:?}",
                    String::from_utf8_lossy(body)
                ));
            }
        }
        self.check_innocent(number)
    }

    fn check_innocent(&mut self, number: usize) -> Result<(), String> {
        self.origin.forget();
        let request = format!("GET /marker?innocent={number} HTTP/1.1\r\nHost: gw.test\r\n\r\n");
        let answer = self.innocent.call(request.as_bytes());
        let own = answer
            .text()
            .ends_with(&format!(" GET /marker?innocent={number} 0"));
        if !own
            || answer.status != 200
            || self.origin.count() != 1
            || !self.origin.faults().is_empty()
        {
            return Err(format!(
                "the innocent got {answer:?}; faults {:?}",
                self.origin.faults()
            ));
        }
        Ok(())
    }
}

fn told(request: &Request) -> String {
    format!(
        "{} {} {}",
        request.method,
        request.target,
        request.body.len()
    )
}

/// The vectors, those that are accepted so often that about a fifth of the streams is.
fn seeds() -> Vec<Vec<u8>> {
    let seeds = vectors().into_iter().flat_map(|case| {
        let times = if case["expect"]["verdict"] == "refuse" {
            1
        } else {
            20
        };
        vec![bytes_of(&case); times]
    });
    seeds.filter(|seed| seed.len() <= SEED_BYTES_MAX).collect()
}

fn run(streams: usize) {
    let seeds = seeds();
    thread::scope(|scope| {
        for lane_number in 0..LANES {
            let seeds = &seeds;
            scope.spawn(move || {
                let mut lane = Lane::new();
                let mut dice = Dice::new(u64::try_from(lane_number).unwrap());
                for number in 0..streams / LANES {
                    let stream = mutate(seeds, &mut dice);
                    if let Err(problem) = lane.try_one(&stream, number) {
                        panic!(
                            "lane {lane_number}, stream {number}: {problem}\n{}",
                            String::from_utf8_lossy(&stream).escape_debug()
                        );
                    }
                }
                // Streams of which all are refused would prove nothing.
                assert!(lane.served > streams / LANES / 10, "{} served", lane.served);
                let text = lane.gateway.stderr();
                assert!(!text.contains("panicked"), "{text}");
            });
        }
    });
}

// EDGE-20 EDGE-35
#[test]
fn no_mutated_stream_sends_more_upstream_than_it_is_answered() {
    run(STREAMS);
}

// EDGE-20 EDGE-35
#[test]
#[ignore = "soak"]
fn no_mutated_stream_sends_more_upstream_than_it_is_answered_for_long() {
    run(SOAK_STREAMS);
}
