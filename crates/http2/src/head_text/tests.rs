//! Heads from fields, in tables.

use super::*;

type Given = [(&'static str, &'static str)];

const SERVED: &Given = &[
    (":method", "GET"),
    (":scheme", "http"),
    (":path", "/x"),
    (":authority", "a.test"),
];

fn head(given: &[&Given], ended: bool) -> Result<HeadText, Malformed> {
    let mut fields = Fields::default();
    fields.begin(32 * 1024);
    for (name, value) in given.iter().copied().flatten() {
        fields.request(name.as_bytes(), value.as_bytes());
    }
    fields.head(ended)
}

fn text(given: &[&Given], ended: bool) -> String {
    let head = head(given, ended).unwrap();
    assert_eq!(head.fault, None);
    String::from_utf8(head.text).unwrap()
}

// EDGE-40
#[test]
#[rustfmt::skip]
fn heads_are_written_with_one_host_joined_cookies_and_what_was_sent() {
    let alone: &Given = &[(":method", "GET"), (":scheme", "https"), (":path", "/x"), ("host", "a.test")];
    for (name, given, more, ended, want) in [
        ("no more", SERVED, &[][..], true, ""),
        ("a length", SERVED, &[("content-length", "5")], false, "content-length: 5\r\n"),
        ("a length of none", SERVED, &[("content-length", "0")], true, "content-length: 0\r\n"),
        ("a length of none, not ended", SERVED, &[("content-length", "0")], false, ""),
        ("two lengths, for the reader to refuse", SERVED, &[("content-length", "0"), ("content-length", "1")], false, "content-length: 0\r\ncontent-length: 1\r\n"),
        ("a length that is none, for the reader to refuse", SERVED, &[("content-length", "+5")], false, "content-length: +5\r\n"),
        ("host too", SERVED, &[("host", "A.test")], true, ""),
        ("host alone", alone, &[], true, ""),
        ("crumbs", SERVED, &[("cookie", "a=1"), ("b", "c"), ("cookie", "d=2")], true, "b: c\r\ncookie: a=1; d=2\r\n"),
        ("trailers that are taken", SERVED, &[("te", "trailers")], true, "te: trailers\r\n"),
    ] {
        let want = format!("GET /x HTTP/1.1\r\nhost: a.test\r\n{want}");
        assert_eq!(text(&[given, more], ended), want, "{name}");
    }
    let connect: &Given = &[(":method", "CONNECT"), (":authority", "a.test")];
    assert!(text(&[connect], true).starts_with("CONNECT / HTTP/1.1\r\n"));
    let fragment: &Given = &[(":method", "GET"), (":scheme", "http"), (":path", "/x#y"), (":authority", "a")];
    assert!(text(&[fragment], true).starts_with("GET /x#y "), "for the reader to refuse");
}

// EDGE-40
#[test]
#[rustfmt::skip]
fn what_the_text_would_hide_is_refused() {
    let pseudo = |name: &'static str, value: &'static str| -> Vec<(&'static str, &'static str)> {
        SERVED.iter().map(|field| if field.0 == name { (name, value) } else { *field }).collect()
    };
    let without_authority: &Given = &[(":method", "GET"), (":scheme", "http"), (":path", "/x")];
    let (ftp, far, blank) = (pseudo(":scheme", "ftp"), pseudo(":path", "/\u{e4}"), pseudo(":path", "/x y"));
    let spaced = pseudo(":authority", "a test");
    for (name, given, want) in [
        ("no authority", vec![without_authority], StreamFault::Authority),
        ("two hosts", vec![without_authority, &[("host", "a"), ("host", "a")]], StreamFault::Authority),
        ("another host", vec![SERVED, &[("host", "b.test")]], StreamFault::Authority),
        ("host and host", vec![SERVED, &[("host", "a.test"), ("host", "a.test")]], StreamFault::Authority),
        ("a blank in the authority", vec![&spaced], StreamFault::Authority),
        ("another scheme", vec![&ftp], StreamFault::Scheme),
        ("beyond ASCII", vec![&far], StreamFault::Path),
        ("a blank in the path", vec![&blank], StreamFault::Path),
        ("a blank before", vec![SERVED, &[("b", " c")]], StreamFault::Value),
        ("a tab behind", vec![SERVED, &[("b", "c\t")]], StreamFault::Value),
        ("a blank behind a crumb", vec![SERVED, &[("cookie", "a=1 ")]], StreamFault::Value),
    ] {
        let head = head(&given, true).unwrap();
        assert_eq!((head.fault, head.text.len()), (Some(want), 0), "{name}");
    }
}

// EDGE-40
#[test]
#[rustfmt::skip]
fn malformed_heads_make_no_request() {
    let pseudo = |name: &'static str, value: &'static str| -> Vec<(&'static str, &'static str)> {
        SERVED.iter().map(|field| if field.0 == name { (name, value) } else { *field }).collect()
    };
    for (name, given) in [
        ("nothing", vec![]),
        ("a method that is none", pseudo(":method", "GE T")),
        ("an empty method", pseudo(":method", "")),
        ("an empty path", pseudo(":path", "")),
        ("a path without slash", pseudo(":path", "x")),
        ("a NUL in the path", pseudo(":path", "/\0")),
        ("an empty authority", pseudo(":authority", "")),
        ("connect with a path", pseudo(":method", "CONNECT")),
    ] {
        assert_eq!(head(&[&given], true).err(), Some(Malformed), "{name}");
    }
    for (name, more) in [
        ("a field of the connection", &[("connection", "close")][..]),
        ("a coding", &[("transfer-encoding", "chunked")]),
        ("another te", &[("te", "gzip")]),
        ("an upper-case name", &[("X-A", "b")]),
        ("an empty name", &[("", "b")]),
        ("a name with a colon", &[("a:b", "c")]),
        ("a line break", &[("a", "b\r\nc: d")]),
        ("a NUL", &[("a", "b\0")]),
        ("a pseudo-field of answers", &[(":status", "200")]),
        ("an unknown pseudo-field", &[(":colour", "red")]),
        ("a pseudo-field twice", &[(":path", "/x")]),
        ("a pseudo-field behind others", &[("a", "b"), (":protocol", "websocket")]),
        ("a body that is announced and does not come", &[("content-length", "5")]),
    ] {
        assert_eq!(head(&[SERVED, more], true).err(), Some(Malformed), "{name}");
        let late: &Given = &[("a", "b")];
        assert_eq!(head(&[late, SERVED], true).err(), Some(Malformed), "{name}");
    }
}

// EDGE-41 EDGE-42
#[test]
fn too_many_fields_are_told_and_far_too_many_are_a_bomb() {
    let mut fields = Fields::default();
    fields.begin(1_000);
    let value = [b'v'; 100];
    for (name, text) in SERVED {
        fields.request(name.as_bytes(), text.as_bytes());
    }
    for _ in 0..7 {
        fields.request(b"a", &value);
    }
    assert_eq!(
        fields.head(true).unwrap().fault,
        Some(StreamFault::TooLarge)
    );
    assert!(!fields.is_bomb());
    for _ in 0..60 {
        fields.request(b"a", &value);
    }
    assert!(fields.is_bomb());
    assert!(fields.lines.len() < 1_000, "nothing more is kept");
    fields.begin(1_000);
    assert!(!fields.is_bomb());
}

// EDGE-27
#[test]
fn fields_behind_a_body_pass_as_behind_chunks() {
    for (name, want) in [
        ("x-checksum", Ok(true)),
        ("x-api-key", Ok(false)),
        ("content-type", Ok(false)),
        (":path", Err(Malformed)),
        ("X-Upper", Err(Malformed)),
    ] {
        let mut fields = Fields::default();
        fields.begin(1_000);
        fields.trailer(name.as_bytes(), b"v");
        assert_eq!(fields.trailers().map(trailers_pass), want, "{name}");
    }
    assert!(trailers_pass(b""));
}
