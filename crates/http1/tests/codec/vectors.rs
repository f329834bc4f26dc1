//! The framing vectors, through the codec and a simulated connection: no socket, no upstream.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use tollkeep_http1::{
    ChunkDecoder, ChunkEvent, Framing, Head, HeadFault, Limits, Method, Progress, Upgrade,
};
use tollkeep_types::AuthorityPattern;
use tollkeep_types::path::{PathRules, canonicalize, check_query, split_target};

const BODY_BYTES_MAX: u64 = 1024 * 1024;

/// The routes of the fixture and their methods.
const ROUTES: [(&str, &[Method]); 2] = [
    (
        "/ok",
        &[
            Method::Get,
            Method::Head,
            Method::Post,
            Method::Put,
            Method::Delete,
        ],
    ),
    ("/marker", &[Method::Get, Method::Head]),
];

/// A request as upstream would get it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Forwarded {
    method: &'static str,
    target: String,
    body: Vec<u8>,
}

/// A refusal with a status; `closes` says what becomes of the connection.
struct Refused {
    status: u64,
    closes: bool,
}

const fn closing(status: u64) -> Refused {
    Refused {
        status,
        closes: true,
    }
}

/// The connection loop: reads heads and bodies out of a growing buffer, answers in order.
#[derive(Default)]
struct Connection {
    head: Head,
    unread: Vec<u8>,
    /// The request whose body is being read.
    current: Option<Current>,
    statuses: Vec<u64>,
    forwarded: Vec<Forwarded>,
    closed: bool,
}

struct Current {
    /// `None` for a request that we answer ourselves.
    request: Option<Forwarded>,
    status: u64,
    closes: bool,
    framing: Framing,
    chunks: ChunkDecoder,
    body_bytes: u64,
}

impl Connection {
    fn receive(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
        while !self.closed {
            let advanced = if self.current.is_some() {
                self.read_body()
            } else {
                self.read_head()
            };
            match advanced {
                Ok(true) => {}
                Ok(false) => return,
                Err(refused) => {
                    self.statuses.push(refused.status);
                    self.closed = refused.closes;
                }
            }
        }
    }

    fn read_head(&mut self) -> Result<bool, Refused> {
        let read = self.head.read(&self.unread, &Limits::default(), &[]);
        match read.map_err(|refusal| closing(status_of(refusal.kind)))? {
            Progress::More => return Ok(false),
            Progress::Done => {}
        }
        let mut current = admit(&self.head, &self.unread)?;
        current.closes |= self.head.close;
        self.current = Some(current);
        self.unread.drain(..self.head.len);
        Ok(true)
    }

    /// Whether the body has ended.
    fn read_body(&mut self) -> Result<bool, Refused> {
        let current = self.current.as_mut().unwrap();
        let ended = match current.framing {
            Framing::None => true,
            Framing::Length(left) => {
                let available = self.unread.len();
                let taken = usize::try_from(left).map_or(available, |left| left.min(available));
                let body: Vec<u8> = self.unread.drain(..taken).collect();
                current.take(&body);
                current.framing = Framing::Length(left - taken as u64);
                left == taken as u64
            }
            Framing::Chunked => current.decode(&mut self.unread)?,
        };
        if ended && let Some(done) = self.current.take() {
            self.statuses.push(done.status);
            self.closed = done.closes;
            self.forwarded.extend(done.request);
        }
        Ok(ended)
    }
}

impl Current {
    fn take(&mut self, body: &[u8]) {
        self.body_bytes += body.len() as u64;
        if let Some(request) = &mut self.request {
            request.body.extend_from_slice(body);
        }
    }

    fn decode(&mut self, unread: &mut Vec<u8>) -> Result<bool, Refused> {
        loop {
            match self.chunks.next(unread).map_err(|_| closing(400))? {
                ChunkEvent::More { used } => {
                    unread.drain(..used);
                    return Ok(false);
                }
                ChunkEvent::Data { skip, len } => {
                    let data = unread[skip..skip + len].to_vec();
                    self.take(&data);
                    unread.drain(..skip + len);
                    if self.body_bytes > BODY_BYTES_MAX {
                        return Err(closing(413));
                    }
                }
                ChunkEvent::End { used } => {
                    unread.drain(..used);
                    return Ok(true);
                }
            }
        }
    }
}

/// The checks behind the codec, in the order of the refusal table.
fn admit(head: &Head, buf: &[u8]) -> Result<Current, Refused> {
    let served: AuthorityPattern = "gw.test".parse().unwrap();
    if !served.matches(head.authority.of(buf)) {
        return Err(closing(421));
    }
    if head.expect_other {
        return Err(closing(417));
    }
    let answered_by_us = |status| Current {
        request: None,
        status,
        closes: false,
        framing: head.framing,
        chunks: ChunkDecoder::new(),
        body_bytes: 0,
    };
    if head.asterisk {
        return Ok(answered_by_us(204));
    }
    let (raw_path, query) = split_target(head.target.of(buf));
    let mut target = String::new();
    canonicalize(raw_path, PathRules::default(), &mut target).map_err(|_| closing(400))?;
    check_query(query.unwrap_or_default()).map_err(|_| closing(400))?;
    let Some((_, methods)) = ROUTES.iter().find(|(path, _)| *path == target) else {
        return Ok(answered_by_us(404));
    };
    if !methods.contains(&head.method) {
        return Ok(answered_by_us(405));
    }
    let bodiless = matches!(head.method, Method::Get | Method::Head | Method::Options);
    if head.upgrade == Upgrade::WebSocket || (bodiless && head.framing.has_body()) {
        return Err(closing(400));
    }
    if matches!(head.framing, Framing::Length(length) if length > BODY_BYTES_MAX) {
        return Err(closing(413));
    }
    if let Some(query) = query {
        target = format!("{target}?{}", std::str::from_utf8(query).unwrap());
    }
    let method = head.method.as_str();
    Ok(Current {
        request: Some(Forwarded {
            method,
            target,
            body: Vec::new(),
        }),
        ..answered_by_us(200)
    })
}

fn status_of(fault: HeadFault) -> u64 {
    match fault {
        HeadFault::StartLine
        | HeadFault::LineEnding
        | HeadFault::FieldName
        | HeadFault::FieldValue
        | HeadFault::ObsFold
        | HeadFault::Underscore
        | HeadFault::Duplicate
        | HeadFault::ContentLength
        | HeadFault::TransferEncoding
        | HeadFault::BothLengths
        | HeadFault::Host
        | HeadFault::Authority
        | HeadFault::Target
        | HeadFault::Connection => 400,
        HeadFault::TargetTooLong => 414,
        HeadFault::HeadersTooLarge => 431,
        HeadFault::VersionUnsupported => 505,
        HeadFault::MethodNotAllowed => 405,
        HeadFault::MethodUnknown => 501,
    }
}

fn bytes_of(case: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in case["parts"].as_array().unwrap() {
        let piece = BASE64_STANDARD
            .decode(part["b64"].as_str().unwrap())
            .unwrap();
        let times = usize::try_from(part["repeat"].as_u64().unwrap_or(1)).unwrap();
        bytes.extend(piece.repeat(times));
    }
    bytes
}

fn check(case: &Value, connection: &Connection, how: &str) {
    let id = case["id"].as_str().unwrap();
    let expect = &case["expect"];
    let wanted = expect["statuses"].as_array().unwrap();
    assert_eq!(
        connection.statuses.len(),
        wanted.len(),
        "{id} {how}: {:?}",
        connection.statuses
    );
    for (status, allowed) in connection.statuses.iter().zip(wanted) {
        let allowed = allowed.as_array().unwrap();
        assert!(
            allowed.contains(&Value::from(*status)),
            "{id} {how}: {status}"
        );
    }
    assert_eq!(
        Value::from(connection.closed),
        expect["close"],
        "{id} {how}: close"
    );
    let upstream = Value::from(connection.forwarded.len());
    assert_eq!(
        upstream, expect["upstream_requests"],
        "{id} {how}: upstream requests"
    );
    let fixed = expect["forwarded"].as_array().into_iter().flatten();
    for (sent, wanted) in connection.forwarded.iter().zip(fixed) {
        assert_eq!(sent.method, wanted["method"], "{id} {how}");
        assert_eq!(
            sent.target,
            wanted["target"].as_str().unwrap(),
            "{id} {how}"
        );
        let body = BASE64_STANDARD
            .decode(wanted["body_b64"].as_str().unwrap())
            .unwrap();
        assert_eq!(sent.body, body, "{id} {how}");
    }
}

// EDGE-21 EDGE-22 EDGE-23 EDGE-26 EDGE-27 EDGE-28 EDGE-29
#[test]
fn every_framing_vector_gets_its_verdict_whole_and_byte_by_byte() {
    let file: Value = serde_json::from_str(include_str!("../data/http-framing.json")).unwrap();
    let cases = file["cases"].as_array().unwrap();
    assert_eq!(Value::from(cases.len()), file["count"]);
    for case in cases {
        let bytes = bytes_of(case);
        let mut whole = Connection::default();
        whole.receive(&bytes);
        check(case, &whole, "whole");
        let mut trickled = Connection::default();
        for byte in &bytes {
            trickled.receive(std::slice::from_ref(byte));
        }
        check(case, &trickled, "byte by byte");
    }
}
