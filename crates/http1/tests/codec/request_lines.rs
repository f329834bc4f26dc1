//! The request line, and which fault is told when there are several.

use crate::reading::{fault, read};
use tollkeep_http1::HeadFault::{
    self, ContentLength, FieldName, Host, LineEnding, MethodNotAllowed, MethodUnknown, StartLine,
    VersionUnsupported,
};
use tollkeep_http1::Method;

const REQUEST_LINES: &[(&str, &str, Option<HeadFault>)] = &[
    ("plain", "GET /ok HTTP/1.1\r\n", None),
    ("older", "GET /ok HTTP/1.0\r\n", None),
    ("empty line before", "\r\nGET /ok HTTP/1.1\r\n", None),
    (
        "two empty lines",
        "\r\n\r\nGET /ok HTTP/1.1\r\n",
        Some(StartLine),
    ),
    (
        "empty line of LF",
        "\nGET /ok HTTP/1.1\r\n",
        Some(LineEnding),
    ),
    (
        "empty line of CR",
        "\rGET /ok HTTP/1.1\r\n",
        Some(LineEnding),
    ),
    ("no version", "GET /ok\r\n", Some(StartLine)),
    ("written 0.9", "GET /ok HTTP/0.9\r\n", Some(StartLine)),
    ("small letters", "GET /ok http/1.1\r\n", Some(StartLine)),
    ("two digits", "GET /ok HTTP/1.10\r\n", Some(StartLine)),
    ("no digit", "GET /ok HTTP/1.\r\n", Some(StartLine)),
    (
        "version is a letter",
        "GET /ok HTTP/1.x\r\n",
        Some(StartLine),
    ),
    ("other protocol", "GET /ok RTSP/1.0\r\n", Some(StartLine)),
    ("1.2", "GET /ok HTTP/1.2\r\n", Some(VersionUnsupported)),
    ("2.0", "GET /ok HTTP/2.0\r\n", Some(VersionUnsupported)),
    ("3.0", "GET /ok HTTP/3.0\r\n", Some(VersionUnsupported)),
    ("tabs", "GET\t/ok\tHTTP/1.1\r\n", Some(StartLine)),
    (
        "two spaces, then target",
        "GET  /ok HTTP/1.1\r\n",
        Some(StartLine),
    ),
    (
        "target, then two spaces",
        "GET /ok  HTTP/1.1\r\n",
        Some(StartLine),
    ),
    (
        "space in the target",
        "GET /o k HTTP/1.1\r\n",
        Some(StartLine),
    ),
    ("space at the end", "GET /ok HTTP/1.1 \r\n", Some(StartLine)),
    (
        "space at the start",
        " GET /ok HTTP/1.1\r\n",
        Some(StartLine),
    ),
    ("no target", "GET HTTP/1.1\r\n", Some(StartLine)),
    ("nothing but a method", "GET\r\n", Some(StartLine)),
    (
        "NUL in the target",
        "GET /o\0k HTTP/1.1\r\n",
        Some(StartLine),
    ),
    (
        "DEL in the target",
        "GET /o\x7fk HTTP/1.1\r\n",
        Some(StartLine),
    ),
    ("beyond ASCII", "GET /ö HTTP/1.1\r\n", Some(StartLine)),
    ("vertical tab", "GET\x0b/ok HTTP/1.1\r\n", Some(StartLine)),
    ("bare LF", "GET /ok HTTP/1.1\n", Some(LineEnding)),
    ("bare CR", "GET /ok HTTP/1.1\r", Some(LineEnding)),
    (
        "CR in the method",
        "G\rET /ok HTTP/1.1\r\n",
        Some(LineEnding),
    ),
    ("CR CR LF", "GET /ok HTTP/1.1\r\r\n", Some(LineEnding)),
    ("TLS hello", "\x16\x03\x01\x02", Some(StartLine)),
];

// EDGE-21
#[test]
fn a_request_line_has_one_form() {
    for (name, line, want) in REQUEST_LINES {
        let head = format!("{line}Host: gw.test\r\n\r\n");
        assert_eq!(fault(head), *want, "{name}");
    }
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    assert_eq!(fault(preface), Some(VersionUnsupported));
}

// EDGE-30
#[test]
fn methods_are_known_never_allowed_or_unknown() {
    for (method, want) in [
        ("GET", Ok(Method::Get)),
        ("HEAD", Ok(Method::Head)),
        ("POST", Ok(Method::Post)),
        ("PUT", Ok(Method::Put)),
        ("PATCH", Ok(Method::Patch)),
        ("DELETE", Ok(Method::Delete)),
        ("OPTIONS", Ok(Method::Options)),
        ("CONNECT", Err(MethodNotAllowed)),
        ("TRACE", Err(MethodNotAllowed)),
        ("TRACK", Err(MethodNotAllowed)),
        ("get", Err(MethodUnknown)),
        ("connect", Err(MethodUnknown)),
        ("GETT", Err(MethodUnknown)),
        ("PROPFIND", Err(MethodUnknown)),
        ("!#$%&'*+-.^_`|~", Err(MethodUnknown)),
        ("G=T", Err(StartLine)),
        ("G\"T", Err(StartLine)),
        ("GÉT", Err(StartLine)),
    ] {
        let read = read(format!("{method} /ok HTTP/1.1\r\nHost: gw.test\r\n\r\n"));
        let read = read.map(|read| read.head.method);
        assert_eq!(read, want, "{method}");
        assert!(read.is_err() || read.unwrap().as_str() == method);
    }
}

#[test]
fn of_several_faults_the_first_in_the_order_of_refusals_is_told() {
    for (name, line, fields, want) in [
        ("field, version", "GET /ok HTTP/1.2", "X\r\n", FieldName),
        (
            "framing, version",
            "GET /ok HTTP/1.2",
            "Content-Length: x\r\n",
            ContentLength,
        ),
        (
            "version, method",
            "FOO /ok HTTP/1.2",
            "",
            VersionUnsupported,
        ),
        ("version, host", "GET /ok HTTP/1.2", "", VersionUnsupported),
        ("method, host", "FOO /ok HTTP/1.1", "", MethodUnknown),
        (
            "method, target",
            "CONNECT a:80 HTTP/1.1",
            "Host: a:80\r\n",
            MethodNotAllowed,
        ),
        ("host, target", "GET ok HTTP/1.1", "", Host),
        (
            "two fields",
            "GET /ok HTTP/1.1",
            "Content-Length: x\r\nX : y\r\n",
            ContentLength,
        ),
    ] {
        let head = format!("{line}\r\n{fields}\r\n");
        assert_eq!(fault(head), Some(want), "{name}");
    }
}
