//! Names with underscores, and fields that may come once.

use crate::reading::{fault, get_with, read};
use tollkeep_http1::{HeadFault, Known};

// EDGE-24
#[test]
fn an_underscore_does_not_hide_a_reserved_name() {
    for name in [
        "Content_Length",
        "Transfer_Encoding",
        "transfer_encoding",
        "Transfer-Encoding_",
        "X_Forwarded_For",
        "X-Forwarded_Proto",
        "X_Real_IP",
        "X_Original_URL",
        "X_Envoy_Foo",
        "True_Client_IP",
        "CF_Connecting_IP",
        "X_Amz_Cf_Id",
        "X_Api_Key",
        "x-api_key",
        "API_KEY",
        "X_Goog_Api_Key",
        "X_Management_Key",
        "PAYMENT_SIGNATURE",
        "X_PAYMENT",
        "X_Session_Token",
        "X_Bolthub_Payment",
        "Grpc_Metadata_Macaroon",
        "X_Gateway_Signature",
        "X_Tollkeep_Project",
        "Tollkeep_Hop",
        "X_HTTP_Method_Override",
        "X_Accel_Redirect",
        "Proxy_Authorization",
        "Keep_Alive",
        "HTTP2_Settings",
    ] {
        let dangerous = !name.ends_with('_');
        let want = dangerous.then_some(HeadFault::Underscore);
        assert_eq!(fault(get_with(format!("{name}: 1\r\n"))), want, "{name}");
    }
}

// EDGE-24
#[test]
fn other_names_with_an_underscore_are_dropped_unless_listed() {
    let lines =
        "my_field: 1\r\nsession_id: s\r\nConversation_ID: c\r\n_: 2\r\nContent_Type: a/b\r\n";
    let read = read(get_with(lines)).unwrap();
    assert_eq!(read.names(), ["Host", "session_id", "Conversation_ID"]);
    assert!(
        read.head
            .fields
            .iter()
            .skip(1)
            .all(|field| field.known == Known::Other)
    );
}

// EDGE-25
#[test]
fn single_valued_fields_come_once() {
    for (name, value) in [
        ("Host", "gw.test"),
        ("Content-Length", "0"),
        ("Content-Type", "a/b"),
        ("Authorization", "Bearer a"),
        ("X-Api-Key", "a"),
        ("X-Goog-Api-Key", "a"),
        ("Api-Key", "a"),
        ("X-Management-Key", "a"),
        ("X-Session-Token", "a"),
        ("Macaroon", "a"),
        ("Grpc-Metadata-Macaroon", "a"),
        ("PAYMENT-SIGNATURE", "a"),
        ("X-PAYMENT", "a"),
        ("X-Bolthub-Payment", "a"),
        ("Expect", "100-continue"),
        ("Upgrade", "h2c"),
        ("Origin", "https://a.example"),
        ("Content-Encoding", "identity"),
        ("Range", "bytes=0-1"),
        ("Date", "Sun, 22 Nov 2026 00:00:00 GMT"),
        ("Idempotency-Key", "k"),
        ("traceparent", "00-a-b-01"),
    ] {
        let line = format!("{name}: {value}\r\n");
        let other_case = format!("{}: {value}\r\n", name.to_ascii_uppercase());
        if name != "Host" {
            assert_eq!(fault(get_with(&line)), None, "{name} once");
        }
        let twice = get_with(format!("{line}X: y\r\n{other_case}"));
        assert_eq!(fault(twice), Some(HeadFault::Duplicate), "{name} twice");
    }
}

// EDGE-25
#[test]
fn single_valued_fields_are_no_lists() {
    for (name, line, want) in [
        ("content type", "Content-Type: a/b, c/d", true),
        (
            "comma in a quoted parameter",
            "Content-Type: a/b; c=\"d, e\"",
            false,
        ),
        (
            "escaped quote in it",
            "Content-Type: a/b; c=\"\\\", e\"",
            false,
        ),
        ("quote that stays open", "Content-Type: a/b; c=\"d, e", true),
        (
            "backslash before the last quote",
            "Content-Type: a/b; c=\"\\\\\", d/e",
            true,
        ),
        (
            "origin",
            "Origin: https://a.example, https://b.example",
            true,
        ),
        ("key", "X-Api-Key: a,b", true),
        ("management key", "X-Management-Key: a,b", true),
        ("payment", "X-PAYMENT: a,b", true),
        ("idempotency key", "Idempotency-Key: a, b", true),
        (
            "upgrade with a WebSocket in it",
            "Upgrade: h2c, websocket",
            true,
        ),
        ("upgrade without", "Upgrade: h2c, foo", false),
        ("ranges", "Range: bytes=0-1,3-4", false),
        ("date", "Date: Sun, 22 Nov 2026 00:00:00 GMT", false),
        ("codings", "Content-Encoding: gzip, br", false),
    ] {
        let want = want.then_some(HeadFault::Duplicate);
        assert_eq!(fault(get_with(format!("{line}\r\n"))), want, "{name}");
    }
}

// EDGE-25
#[test]
fn fields_of_one_family_with_different_names_are_different_fields() {
    let lines =
        "X-PAYMENT: a\r\nPAYMENT-SIGNATURE: b\r\nAccept: a\r\nAccept: b\r\nX: 1\r\nX: 2\r\n";
    assert_eq!(fault(get_with(lines)), None);
}

#[test]
fn names_are_known_in_any_case() {
    for (name, known) in [
        ("te", Known::Te),
        ("dAtE", Known::Date),
        ("COOKIE", Known::Cookie),
        ("Location", Known::Location),
        ("Forwarded", Known::Forwarded),
        ("X-Real-IP", Known::XRealIp),
        ("Set-Cookie", Known::SetCookie),
        ("Retry-After", Known::RetryAfter),
        ("X-Request-ID", Known::XRequestId),
        ("Anthropic-Version", Known::AnthropicVersion),
        ("accept-encoding", Known::AcceptEncoding),
        ("X-Forwarded-For", Known::XForwardedFor),
        ("X-Correlation-ID", Known::XCorrelationId),
        ("X-Forwarded-Proto", Known::XForwardedProto),
        ("X-Payment-Anything", Known::Credential),
        ("Payment", Known::Other),
        ("X-Forwarded-Fox", Known::Other),
    ] {
        let read = read(get_with(format!("{name}: 1\r\n"))).unwrap();
        assert_eq!(read.head.fields.last().unwrap().known, known, "{name}");
        assert!(read.value(known).is_some());
    }
}
