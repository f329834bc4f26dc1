//! The authority and the forms of a target.

use crate::reading::{fault, read};
use tollkeep_http1::HeadFault::{self, Authority, Duplicate, Host, Target};

const HOSTS: &[(&str, &str, Option<HeadFault>)] = &[
    ("name", "Host: gw.test\r\n", None),
    ("capitals", "hOsT: GW.TEST\r\n", None),
    ("port", "Host: gw.test:8317\r\n", None),
    ("underscore", "Host: a_b.test\r\n", None),
    ("IPv6", "Host: [::1]:80\r\n", None),
    ("trailing dot", "Host: gw.test.\r\n", None),
    ("missing", "X: 1\r\n", Some(Host)),
    ("empty", "Host:\r\n", Some(Host)),
    (
        "two equal",
        "Host: gw.test\r\nHost: gw.test\r\n",
        Some(Duplicate),
    ),
    ("list", "Host: gw.test,b.test\r\n", Some(Host)),
    ("space", "Host: gw test\r\n", Some(Host)),
    ("userinfo", "Host: a@gw.test\r\n", Some(Host)),
    ("path", "Host: gw.test/x\r\n", Some(Host)),
    ("percent sign", "Host: gw%2etest\r\n", Some(Host)),
    ("beyond ASCII", "Host: gẃ.test\r\n", Some(Host)),
    ("port empty", "Host: gw.test:\r\n", Some(Host)),
    ("port zero", "Host: gw.test:0\r\n", Some(Host)),
    ("port with zeros", "Host: gw.test:080\r\n", Some(Host)),
    ("port too large", "Host: gw.test:65536\r\n", Some(Host)),
    ("zone", "Host: [fe80::1%25eth0]\r\n", Some(Host)),
];

// EDGE-28
#[test]
fn host_is_one_authority() {
    for (name, lines, want) in HOSTS {
        for version in ["1.1", "1.0"] {
            let head = format!("GET /ok HTTP/{version}\r\n{lines}\r\n");
            assert_eq!(fault(head), *want, "{name} under {version}");
        }
    }
}

/// The target in origin-form, and whether it is `*`.
type Form = Result<(&'static str, bool), HeadFault>;

const TARGETS: &[(&str, &str, Form)] = &[
    ("origin-form", "GET /ok?a=b", Ok(("/ok?a=b", false))),
    (
        "absolute-form",
        "GET http://gw.test/ok?a",
        Ok(("/ok?a", false)),
    ),
    ("in capitals", "GET HTTPS://GW.test/ok", Ok(("/ok", false))),
    ("without a path", "GET http://gw.test", Ok(("/", false))),
    ("asterisk", "OPTIONS *", Ok(("*", true))),
    (
        "OPTIONS without a path",
        "OPTIONS http://gw.test",
        Ok(("/", true)),
    ),
    ("asterisk for GET", "GET *", Err(Target)),
    ("asterisk and more", "OPTIONS *x", Err(Target)),
    ("authority-form", "GET gw.test:80", Err(Target)),
    ("no slash", "GET ok", Err(Target)),
    ("fragment", "GET /ok#x", Err(Target)),
    ("fragment of a URL", "GET http://gw.test/ok#x", Err(Target)),
    ("other scheme", "GET ftp://gw.test/ok", Err(Target)),
    ("userinfo", "GET http://a@gw.test/ok", Err(Target)),
    ("no authority", "GET http:///ok", Err(Target)),
    (
        "query without a path",
        "GET http://gw.test?a=b",
        Err(Target),
    ),
    (
        "backslash, userinfo",
        "GET http://gw.test\\@evil.test/ok",
        Err(Target),
    ),
    ("other authority", "GET http://evil.test/ok", Err(Authority)),
    (
        "port only in one",
        "GET http://gw.test:80/ok",
        Err(Authority),
    ),
    (
        "longer authority",
        "GET http://gw.test.evil.test/ok",
        Err(Authority),
    ),
];

// EDGE-29
#[test]
fn a_target_is_origin_form_or_comes_to_it() {
    for (name, line, want) in TARGETS {
        let read = read(format!("{line} HTTP/1.1\r\nHost: gw.test\r\n\r\n"));
        let form = read
            .as_ref()
            .map(|read| (read.target(), read.head.asterisk));
        assert_eq!(form.map_err(|fault| *fault), *want, "{name}");
    }
}
