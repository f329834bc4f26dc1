//! Whatever the bytes are: no panic, no hang, an answer.

use crate::support::Case;
use std::time::{Duration, Instant};

fn formats(bytes: &[u8]) {
    for name in ["a.yaml", "a.json", "a.toml", ".env"] {
        let mut case = Case::bare().file(name, bytes);
        if name != ".env" {
            case = case.config(name);
        }
        let _answer = case.load();
    }
}

#[test]
fn what_is_no_text_is_told() {
    let case = Case::bare().file("tollkeep.yaml", [b'a', b':', b' ', 0xff]);
    assert_eq!(
        case.errors(),
        "tollkeep.yaml:1:1: is not UTF-8 after byte 3"
    );
}

// OPS-1
#[test]
fn a_huge_file_is_refused_by_its_size() {
    let case = Case::bare().file("tollkeep.yaml", vec![b'#'; 10 * 1024 * 1024 + 1]);
    assert_eq!(
        case.errors(),
        "tollkeep.yaml:1:1: is longer than 10485760 bytes"
    );
}

// OPS-1
#[test]
fn bombs_are_refused_fast() {
    let mut aliases = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..50 {
        let ten = format!("*a{},", level - 1).repeat(10);
        aliases.push_str(&format!("a{level}: &a{level} [{ten}]\n"));
    }
    let wide = format!("providers: {{{}}}\n", "a: {}, ".repeat(1_000_000));
    let deep = "[".repeat(5_000_000);
    for (name, text) in [("aliases", aliases), ("wide", wide), ("deep", deep)] {
        let started = started();
        assert!(Case::yaml(&text).load().is_err(), "{name}");
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "{name}: {:?}",
            started.elapsed()
        );
    }
}

#[expect(clippy::disallowed_methods, reason = "the test measures real time")]
fn started() -> Instant {
    Instant::now()
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 64, ..Default::default() })]

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
        formats(&bytes);
    }

    #[test]
    fn no_value_of_any_key_makes_it_panic(
        key in proptest::sample::select(vec![
            "server", "server.host", "server.allowed_hosts", "server.limits", "providers", "routes",
            "upstreams", "egress.resolver.servers", "auth.encryption.key", "llm.surfaces", "audit.mode",
        ]),
        value in "([a-z0-9]|[ .:/\\[\\]{},\"'*$\\-]){0,40}",
    ) {
        let name = key.rsplit('.').next().unwrap_or_default();
        let nested = key.split('.').rev().fold(value.clone(), |inner, name| format!("{{{name}: {inner}}}"));
        let _answer = Case::yaml(&nested).load();
        let _answer = Case::bare().set(&format!("{key}={value}")).load();
        let _answer = Case::yaml(&format!("providers: {{openai: {{{name}: {value}}}}}")).load();
        let _answer = Case::yaml(&format!("routes: {{'{value}': {{upstream: a}}}}")).load();
    }
}
