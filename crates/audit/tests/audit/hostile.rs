//! Text from strangers who want to be somebody else.

use crate::support::{lines, logger};
use crate::verifier::first_fault;
use tollkeep_audit::{Action, Actor, Event, Key, Outcome, Value};

/// Name, bytes as they came in.
const CORPUS: &[(&str, &[u8])] = &[
    (
        "line feed",
        b"curl\n{\"timestamp\":\"2026-11-22T10:15:30.123Z\",\"action\":\"token.create\"}",
    ),
    ("carriage return", b"curl\r\n\r\n"),
    ("forged member", b"x\",\"result\":\"success\",\"y\":\"z"),
    ("backslash at the end", b"x\\"),
    ("escape sequence", b"\x1b]0;owned\x07\x1b[2J"),
    ("c1 controls", "\u{9b}31m\u{85}".as_bytes()),
    ("separators", "a\u{2028}b\u{2029}c".as_bytes()),
    (
        "bidi",
        "\u{202e}gpj.exe\u{2066}x\u{2069}\u{200f}\u{61c}".as_bytes(),
    ),
    ("byte order mark", "\u{feff}x".as_bytes()),
    ("null", b"a\0b"),
    ("delete", b"a\x7fb"),
    ("invalid utf-8", b"\xff\xfe\xc3\x28 \xed\xa0\x80"),
    ("overlong", b"\xc0\xaf"),
    ("spreadsheet formula", b"=cmd|'/C calc'!A0"),
    ("other planes", "🦀𝕏".as_bytes()),
    ("empty", b""),
];

// AUD-35
#[test]
fn every_hostile_text_stays_in_its_field_on_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let logger = logger(&path);
    let huge = vec![b'\n'; 64 << 10];
    let corpus: Vec<(&str, &[u8])> = CORPUS.iter().copied().chain([("huge", &*huge)]).collect();
    for (_, bytes) in &corpus {
        let text = String::from_utf8_lossy(bytes);
        let event = Event::new(Action::RequestRejected, Actor::Anonymous, Outcome::Denied)
            .with_correlation_id(text.clone())
            .with_user_agent(text.clone())
            .with_endpoint(text.clone())
            .with_detail(Key::Model, Value::Text(text.clone()))
            .with_detail(Key::Name, Value::Word(&text));
        logger.enqueue(&event).unwrap();
    }
    logger.stop().unwrap();
    assert_eq!(first_fault(&std::fs::read(&path).unwrap()), None);
    let lines = lines(&path);
    assert_eq!(lines.len(), corpus.len() + 2);
    for ((name, bytes), line) in corpus.iter().zip(lines.iter().skip(1)) {
        let unseen = |c: char| {
            c.is_control()
                || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{feff}')
        };
        assert!(!line.contains(unseen), "{name}");
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(record.get("result").unwrap(), "denied", "{name}");
        assert!(record.get("correlation_id").is_none(), "{name}");
        let details = record.get("details").unwrap();
        let shown = details.get("name").unwrap().as_str().unwrap();
        let sent: String = String::from_utf8_lossy(bytes).chars().take(256).collect();
        assert_eq!(shown, sent, "{name}");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(16))]

    // AUD-35 AUD-50
    #[test]
    fn any_text_is_chained_and_comes_back(texts in proptest::collection::vec("\\PC*|.*|[\\x00-\\x1f\"\\\\]{0,9}", 1..40)) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let logger = logger(&path);
        for text in &texts {
            let event = Event::new(Action::ProxyRequest, Actor::Client, Outcome::Success)
                .with_detail(Key::Name, Value::Word(text))
                .with_detail(Key::Count, Value::Number(7));
            logger.enqueue(&event).unwrap();
        }
        logger.stop().unwrap();
        proptest::prop_assert_eq!(first_fault(&std::fs::read(&path).unwrap()), None);
        for (text, line) in texts.iter().zip(lines(&path).iter().skip(1)) {
            let record: serde_json::Value = serde_json::from_str(line).unwrap();
            let sent: String = text.chars().take(256).collect();
            proptest::prop_assert_eq!(record.pointer("/details/name").unwrap().as_str().unwrap(), sent);
        }
    }
}
