//! What a request says about its connection: options, expectation, upgrade.

use crate::reading::{fault, get_with, post_with, read};
use tollkeep_http1::{HeadFault, Upgrade};

// EDGE-33
#[test]
fn connection_may_not_name_what_must_stay() {
    for (name, value, refused) in [
        ("close", "close", false),
        ("keep-alive", "Keep-Alive", false),
        (
            "usual options",
            "keep-alive, Upgrade, TE, HTTP2-Settings",
            false,
        ),
        ("any other field", "X-Foo, close", false),
        ("proxy field", "Proxy-Connection", false),
        ("length", "Content-Length", true),
        ("type", "content-type", true),
        ("coding", "Transfer-Encoding", true),
        ("host", "close, Host", true),
        ("expect", "expect", true),
        ("credential", "close, Authorization", true),
        ("key", "X-Api-Key", true),
        ("forwarding", "X-Forwarded-For", true),
        ("CDN", "CF-Connecting-IP", true),
        ("cookie", "Cookie", true),
        ("payment", "PAYMENT-SIGNATURE", true),
        ("gateway", "X-Tollkeep-Project", true),
        ("with an underscore", "X_Forwarded_For", true),
        ("empty", "", true),
        ("empty option", "close,,keep-alive", true),
        ("comma behind", "close,", true),
        ("no token", "close; a", true),
        ("quoted", "\"close\"", true),
        ("as many as may be", &["x"; 32].join(","), false),
        ("one more", &["x"; 33].join(","), true),
    ] {
        let want = refused.then_some(HeadFault::Connection);
        assert_eq!(
            fault(get_with(format!("Connection: {value}\r\n"))),
            want,
            "{name}"
        );
    }
    let lines = "Connection: a, b\r\n".repeat(17);
    assert_eq!(
        fault(get_with(lines)),
        Some(HeadFault::Connection),
        "many fields"
    );
}

// EDGE-33
#[test]
fn fields_that_connection_names_are_marked() {
    let lines = "X-Foo: 1\r\nConnection: x-foo\r\nX-Bar: 1\r\nconnection: X-BAZ, close\r\n\
                 X-Baz: 1\r\nx-foo: 2\r\n";
    let read = read(get_with(lines)).unwrap();
    let marked: Vec<_> = read.head.fields.iter().map(|field| field.hop).collect();
    assert_eq!(marked, [false, true, false, false, false, true, true]);
    assert!(read.head.close);
}

// EDGE-33
#[test]
fn close_is_obeyed_and_http_1_0_always_closes() {
    for (name, version, lines, closes) in [
        ("default", "1.1", "", false),
        ("keep-alive", "1.1", "Connection: keep-alive\r\n", false),
        ("close", "1.1", "Connection: CLOSE\r\n", true),
        (
            "close in a list",
            "1.1",
            "Connection: keep-alive , close\r\n",
            true,
        ),
        (
            "close in the second field",
            "1.1",
            "Connection: te\r\nConnection: close\r\n",
            true,
        ),
        ("older", "1.0", "", true),
        (
            "older with keep-alive",
            "1.0",
            "Connection: keep-alive\r\n",
            true,
        ),
    ] {
        let head = format!("GET /ok HTTP/{version}\r\nHost: gw.test\r\n{lines}\r\n");
        assert_eq!(read(head).unwrap().head.close, closes, "{name}");
    }
}

#[test]
fn an_expectation_is_recorded() {
    for (name, version, value, want) in [
        ("continue", "1.1", "100-continue", (true, false)),
        ("capitals", "1.1", "100-Continue", (true, false)),
        ("other", "1.1", "200-ok", (false, true)),
        ("prefixed", "1.1", "y 100-continue", (false, true)),
        ("list", "1.1", "100-continue, x", (false, true)),
        ("empty", "1.1", "", (false, true)),
        ("older", "1.0", "100-continue", (false, false)),
    ] {
        let head = format!("POST /ok HTTP/{version}\r\nHost: gw.test\r\nExpect: {value}\r\n\r\n");
        let head = read(head).unwrap().head;
        assert_eq!((head.expect_continue, head.expect_other), want, "{name}");
    }
}

#[test]
fn an_upgrade_is_recorded() {
    for (value, want) in [
        ("websocket", Upgrade::WebSocket),
        ("WebSocket", Upgrade::WebSocket),
        ("websocket/13", Upgrade::WebSocket),
        ("h2c", Upgrade::Other),
        ("h2c, foo", Upgrade::Other),
        ("", Upgrade::Other),
    ] {
        let read = read(post_with(format!("Upgrade: {value}\r\n"))).unwrap();
        assert_eq!(read.head.upgrade, want, "{value}");
    }
    assert_eq!(read(get_with("")).unwrap().head.upgrade, Upgrade::None);
}
