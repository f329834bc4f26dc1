//! Bodies with a content coding: decoded within their bound, refused when they are not what they
//! say.

use crate::fixture::{UPSTREAM_KEY, before, free, gateway, head, llm, post};
use flate2::Compression;
use flate2::write::GzEncoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use std::io::Write;
use std::time::{Duration, Instant};
use tollkeep_testkit::{Answer, Gateway, Origin, PATIENCE, eventually};

const MIB: usize = 1 << 20;

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn zstd(plain: &[u8]) -> Vec<u8> {
    compress_to_vec(plain, CompressionLevel::Fastest)
}

/// What another encoder makes of these bodies; there is none in this program.
const BR_SMALL: &[u8] = include_bytes!("../data/brotli/small.br");
const BR_MODEL: &[u8] = include_bytes!("../data/brotli/model.br");
const BR_MEBIBYTE: &[u8] = include_bytes!("../data/brotli/mebibyte.br");
const BR_MEBIBYTE_AND_ONE: &[u8] = include_bytes!("../data/brotli/mebibyte_and_one.br");
/// Zeros, behind windows of 4 MiB and of 8.
const BR_GIBIBYTE: &[u8] = include_bytes!("../data/brotli/gibibyte.br");
const BR_WIDE: &[u8] = include_bytes!("../data/brotli/wide.br");
/// Routes take it where they say so.
const WITH_BR: &str = "content_encodings: [gzip, zstd, br]";

/// A zstd frame of this window and these blocks, none of which is the last.
fn zstd_frame(window_log: u8, blocks: &[u8]) -> Vec<u8> {
    let head = [0x28, 0xb5, 0x2f, 0xfd, 0, (window_log - 10) << 3];
    [&head, blocks].concat()
}

/// A block that says "this byte, 128 KiB of it", in four bytes.
const ZEROS: [u8; 4] = [0x02, 0x00, 0x10, 0x00];
/// A last block of no bytes.
const LAST: [u8; 3] = [0x01, 0x00, 0x00];

fn text(len: usize) -> Vec<u8> {
    let line = b"{\"said\": \"the same again, and a number: 0123456789\"}\n";
    line.iter().copied().cycle().take(len).collect()
}

fn coded(coding: &str, body: &[u8]) -> Vec<u8> {
    post("/x", &format!("Content-Encoding: {coding}\r\n"), body)
}

fn chunked(coding: &str, body: &[u8]) -> Vec<u8> {
    let lines = format!("Content-Encoding: {coding}\r\nTransfer-Encoding: chunked\r\n");
    let mut request = head("POST /x", &lines);
    for piece in body.chunks(1000) {
        request.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        request.extend_from_slice(piece);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
    request
}

fn served(request: &str) -> (Origin, Gateway) {
    let origin = Origin::plain();
    let route = free("POST /x").replace(" }\n", &format!(", request: {{ {request} }} }}\n"));
    let gateway = gateway(before(&origin, &route)).start();
    (origin, gateway)
}

fn assert_refused(name: &str, answer: &Answer, status: u16, code: &str) {
    let told = (answer.status, answer.code());
    assert_eq!(told, (status, code.to_owned()), "{name}");
}

// EDGE-37
#[test]
fn an_upstream_gets_the_body_decoded_and_without_its_coding() {
    let (origin, gateway) = served(WITH_BR);
    let small = b"{\"a\": 1}".to_vec();
    let large = text(MIB);
    for (name, plain, brotli) in [
        ("small", &small, BR_SMALL),
        ("of the whole bound", &large, BR_MEBIBYTE),
    ] {
        let twice = plain.split_at(plain.len() / 2);
        for (coding, body) in [
            ("gzip", gzip(plain)),
            ("GZip", gzip(plain)),
            ("zstd", zstd(plain)),
            ("br", brotli.to_vec()),
            ("gzip", [gzip(twice.0), gzip(twice.1)].concat()),
            ("zstd", [zstd(twice.0), zstd(twice.1)].concat()),
            ("identity", plain.clone()),
        ] {
            for request in [coded(coding, &body), chunked(coding, &body)] {
                let answer = gateway.call(&request);
                assert_eq!(answer.status, 200, "{name} {coding}: {}", answer.text());
                let seen = origin.last();
                assert!(seen.body == *plain, "{name} {coding}: {}", seen.body.len());
                assert_eq!(seen.field("content-encoding"), None, "{name} {coding}");
                let length = plain.len().to_string();
                assert_eq!(seen.field("content-length"), Some(length.as_str()));
            }
        }
    }
    let lines = "Content-Encoding: gzip\r\nContent-Digest: sha-256=:x:\r\nContent-MD5: x\r\n";
    assert_eq!(gateway.call(&post("/x", lines, &gzip(&small))).status, 200);
    let seen = origin.last();
    assert_eq!(
        (seen.field("content-digest"), seen.field("content-md5")),
        (None, None)
    );
    let empty = gateway.call(&coded("gzip", b""));
    assert_eq!((empty.status, origin.last().body.len()), (200, 0));
    assert_eq!(origin.faults(), [""; 0]);
}

// EDGE-37
#[test]
fn a_model_is_asked_with_the_decoded_body() {
    let origin = Origin::start(|_| tollkeep_testkit::json(&serde_json::json!({ "ok": true })));
    let (gateway, token) = llm(&origin, "openai", "");
    let plain = br#"{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}"#;
    let refused = gateway.call(&post(
        "/v1/chat/completions",
        &format!(
            "Authorization: Bearer {token}\r\nContent-Type: application/json\r\n\
             Content-Encoding: br\r\n"
        ),
        BR_MODEL,
    ));
    assert_refused(
        "br is taken where it is listed",
        &refused,
        415,
        "unsupported_encoding",
    );
    for (coding, body) in [("gzip", gzip(plain)), ("zstd", zstd(plain))] {
        let lines = format!(
            "Authorization: Bearer {token}\r\nContent-Type: application/json\r\n\
             Content-Encoding: {coding}\r\n"
        );
        let answer = gateway.call(&post("/v1/chat/completions", &lines, &body));
        assert_eq!(answer.status, 200, "{coding}: {}", answer.text());
        let seen = origin.last();
        assert_eq!(seen.body, plain, "{coding}");
        assert_eq!(seen.field("content-encoding"), None);
        assert_eq!(
            seen.field("authorization"),
            Some(format!("Bearer {UPSTREAM_KEY}").as_str())
        );
    }
}

// EDGE-37
#[test]
fn a_body_that_is_not_what_its_coding_says_is_400() {
    let (origin, gateway) = served(WITH_BR);
    let (good_gzip, good_zstd) = (gzip(&text(5000)), zstd(&text(5000)));
    let cut = |body: &[u8]| body[..body.len() - 1].to_vec();
    let flipped = |body: &[u8], at: usize| {
        let mut body = body.to_vec();
        let at = body.len() - at;
        body[at] ^= 1;
        body
    };
    let then = |body: &[u8], more: &[u8]| [body, more].concat();
    for (name, coding, body) in [
        ("no gzip", "gzip", b"plain text".to_vec()),
        ("no zstd", "zstd", b"plain text".to_vec()),
        ("the other one", "gzip", good_zstd.clone()),
        ("the other one", "zstd", good_gzip.clone()),
        ("cut", "gzip", cut(&good_gzip)),
        ("cut", "zstd", cut(&good_zstd)),
        ("a wrong checksum", "gzip", flipped(&good_gzip, 8)),
        ("a wrong length", "gzip", flipped(&good_gzip, 4)),
        ("a wrong checksum", "zstd", flipped(&good_zstd, 1)),
        ("something behind it", "gzip", then(&good_gzip, b"x")),
        ("something behind it", "zstd", then(&good_zstd, b"x")),
        ("too many members", "gzip", gzip(b"").repeat(65)),
        ("too many frames", "zstd", zstd(b"a").repeat(65)),
        ("no last block", "zstd", zstd_frame(20, &[])),
        ("a window of 16 MiB", "zstd", zstd_frame(24, &LAST)),
        ("no brotli", "br", b"plain text".to_vec()),
        ("the other one", "br", good_gzip.clone()),
        ("cut", "br", cut(BR_MEBIBYTE)),
        ("something behind it", "br", then(BR_SMALL, b"x")),
        ("two of them", "br", then(BR_SMALL, BR_SMALL)),
        ("a window of 16 MiB", "br", vec![0x3f]),
        ("a window of no RFC", "br", vec![0x11, 0x1f, 0x03]),
    ] {
        let answer = gateway.call(&coded(coding, &body));
        assert_refused(&format!("{name}: {coding}"), &answer, 400, "bad_request");
    }
    let widest = gateway.call(&coded("zstd", &zstd_frame(23, &LAST)));
    assert_eq!(widest.status, 200, "a window of 8 MiB");
    let widest = gateway.call(&coded("br", &[0x3d]));
    assert_eq!(widest.status, 200, "a window of 8 MiB");
    assert_eq!(origin.count(), 2);
    eventually("the reason is counted", || {
        let series = "tollkeep_requests_rejected_total{reason=\"coding\"} 22";
        gateway.metrics_text().contains(series).then_some(())
    });
}

// EDGE-37
#[test]
fn other_codings_and_stacks_of_them_are_415_before_the_body_is_read() {
    for (request, refused, taken) in [
        ("", "br", "gzip"),
        ("", "deflate", "zstd"),
        ("", "gzip, zstd", "gzip"),
        ("", "gzip, identity", "gzip"),
        ("", "x-gzip", "gzip"),
        ("", "gzipx", "gzip"),
        ("content_encodings: [gzip]", "zstd", "gzip"),
        ("content_encodings: [zstd]", "gzip", "zstd"),
        ("content_encodings: []", "gzip", "identity"),
        (WITH_BR, "br, gzip", "br"),
        (WITH_BR, "x-br", "br"),
    ] {
        let (origin, gateway) = served(request);
        let announced = format!("Content-Encoding: {refused}\r\nContent-Length: 9\r\n");
        let mut client = gateway.connect();
        client.send(&head("POST /x", &announced));
        let answer = client.answer(PATIENCE).unwrap();
        assert_refused(refused, &answer, 415, "unsupported_encoding");
        assert_eq!(origin.count(), 0);
        let body = match taken {
            "gzip" => gzip(b"a"),
            "zstd" => zstd(b"a"),
            "br" => BR_SMALL.to_vec(),
            _ => b"a".to_vec(),
        };
        assert_eq!(gateway.call(&coded(taken, &body)).status, 200, "{request}");
    }
    let (_, gateway) = served("");
    let two = "Content-Encoding: gzip\r\nContent-Encoding: gzip\r\n";
    assert_eq!(gateway.call(&post("/x", two, &gzip(b"a"))).status, 400);
}

// EDGE-37 EDGE-50
#[test]
fn a_small_body_that_means_a_large_one_costs_no_more_than_its_bound() {
    let (origin, gateway) = served(WITH_BR);
    let over = text(MIB + 1);
    for (name, coding, body) in [
        ("one byte too many", "gzip", gzip(&over)),
        ("one byte too many", "zstd", zstd(&over)),
        ("thirty times", "gzip", gzip(&vec![0; 30 * MIB])),
        (
            "thirteen gigabytes",
            "zstd",
            zstd_frame(20, &ZEROS.repeat(100_000)),
        ),
        (
            "as much behind a wide window",
            "zstd",
            zstd_frame(23, &ZEROS.repeat(100_000)),
        ),
        ("one byte too many", "br", BR_MEBIBYTE_AND_ONE.to_vec()),
        ("a gigabyte", "br", BR_GIBIBYTE.to_vec()),
        ("as much behind a wide window", "br", BR_WIDE.to_vec()),
    ] {
        assert!(body.len() < MIB, "{name}: {}", body.len());
        let begin = Instant::now();
        let answer = gateway.call(&coded(coding, &body));
        assert_refused(&format!("{name}: {coding}"), &answer, 413, "body_too_large");
        // Decoding it all would take many times as long.
        let took = begin.elapsed();
        assert!(took < Duration::from_secs(5), "{name}: {coding}: {took:?}");
    }
    assert_eq!(origin.count(), 0);
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak: u64 = peak
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    assert!(peak < 200 * 1024, "{peak} KiB at most");
}
