//! Where the head ends and how long the body is.

use crate::reading::{fault, post_with, read};
use tollkeep_http1::HeadFault::{self, BothLengths, ContentLength, Duplicate, TransferEncoding};
use tollkeep_http1::{Framing, Version};

const FRAMINGS: &[(&str, &str, Result<Framing, HeadFault>)] = &[
    ("nothing", "X: 1", Ok(Framing::None)),
    ("zero", "Content-Length: 0", Ok(Framing::Length(0))),
    ("a length", "content-LENGTH:\t12 ", Ok(Framing::Length(12))),
    (
        "15 digits",
        "Content-Length: 999999999999999",
        Ok(Framing::Length(999_999_999_999_999)),
    ),
    (
        "16 digits",
        "Content-Length: 1000000000000000",
        Err(ContentLength),
    ),
    (
        "wraps",
        "Content-Length: 18446744073709551655",
        Err(ContentLength),
    ),
    ("leading zero", "Content-Length: 05", Err(ContentLength)),
    ("two zeros", "Content-Length: 00", Err(ContentLength)),
    ("plus", "Content-Length: +5", Err(ContentLength)),
    ("minus", "Content-Length: -1", Err(ContentLength)),
    ("hex", "Content-Length: 0x5", Err(ContentLength)),
    ("decimal", "Content-Length: 5.0", Err(ContentLength)),
    ("inner space", "Content-Length: 1 2", Err(ContentLength)),
    ("underscore", "Content-Length: 1_2", Err(ContentLength)),
    ("empty", "Content-Length:", Err(ContentLength)),
    ("list of equals", "Content-Length: 5, 5", Err(ContentLength)),
    ("other digits", "Content-Length: ５", Err(ContentLength)),
    (
        "twice",
        "Content-Length: 5\r\nContent-Length: 5",
        Err(Duplicate),
    ),
    (
        "chunked",
        "Transfer-Encoding: chunked",
        Ok(Framing::Chunked),
    ),
    (
        "capitals",
        "transfer-encoding:CHUNKED",
        Ok(Framing::Chunked),
    ),
    (
        "identity",
        "Transfer-Encoding: identity",
        Err(TransferEncoding),
    ),
    (
        "stacked",
        "Transfer-Encoding: gzip, chunked",
        Err(TransferEncoding),
    ),
    (
        "twice in one",
        "Transfer-Encoding: chunked, chunked",
        Err(TransferEncoding),
    ),
    (
        "comma behind",
        "Transfer-Encoding: chunked,",
        Err(TransferEncoding),
    ),
    (
        "comma before",
        "Transfer-Encoding: ,chunked",
        Err(TransferEncoding),
    ),
    (
        "parameter",
        "Transfer-Encoding: chunked;a=b",
        Err(TransferEncoding),
    ),
    (
        "quoted",
        "Transfer-Encoding: \"chunked\"",
        Err(TransferEncoding),
    ),
    (
        "prefixed",
        "Transfer-Encoding: xchunked",
        Err(TransferEncoding),
    ),
    ("no coding", "Transfer-Encoding:", Err(TransferEncoding)),
    (
        "coding twice",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        Err(Duplicate),
    ),
    (
        "both",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        Err(BothLengths),
    ),
    (
        "both, zero",
        "Transfer-Encoding: chunked\r\nContent-Length: 0",
        Err(BothLengths),
    ),
];

// EDGE-26
#[test]
fn framing_is_read_in_one_way_or_not_at_all() {
    for (name, lines, want) in FRAMINGS {
        let framing = read(post_with(format!("{lines}\r\n"))).map(|read| read.head.framing);
        assert_eq!(framing, *want, "{name}");
    }
    let older = "POST /ok HTTP/1.0\r\nHost: gw.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(fault(older), Some(TransferEncoding));
}

#[test]
fn a_body_may_follow_a_length_above_zero_or_chunked() {
    for (framing, want) in [
        (Framing::None, false),
        (Framing::Length(0), false),
        (Framing::Length(1), true),
        (Framing::Chunked, true),
    ] {
        assert_eq!(framing.has_body(), want, "{framing:?}");
    }
}

#[test]
fn the_head_ends_where_the_body_starts() {
    let bytes = b"\r\nPOST /ok HTTP/1.0\r\nHost: gw.test\r\nContent-Length: 2\r\n\r\nhi";
    let read = read(bytes).unwrap();
    assert_eq!(&bytes[read.head.len..], b"hi");
    assert_eq!(read.head.version, Version::Http10);
    assert_eq!(read.head.authority.of(bytes), b"gw.test");
}
