//! Lines in the words of cliproxyapi++, and which events are written.

use crate::signed::{key, verify};
use crate::support::{config, lines, means};
use std::net::IpAddr;
use std::path::Path;
use tollkeep_audit::{
    Action, Actor, ActorId, Chosen, Cliproxy, Event, EventType, Key, Logger, LoggerConfig, Outcome,
    Signer, Signing, Trust, UserId, Value,
};
use tollkeep_types::{TokenId, WallMillis};

/// The seed's sample: 2026-02-19T23:00:00Z.
fn refused() -> Event<'static> {
    Event::new(Action::TokenAccess, Actor::Client, Outcome::Failure)
        .at(WallMillis(1_771_542_000_000))
        .with_actor_id(ActorId::Token(TokenId::from_bytes([7; 16])))
        .with_client_ip(IpAddr::from([192, 168, 1, 100]))
        .with_reason("token_expired")
        .with_detail(Key::Provider, Value::Word("claude"))
        .with_detail(Key::Reason, Value::Word("Token expired"))
}

fn written(
    path: &Path,
    change: impl FnOnce(&mut LoggerConfig),
    events: &[Event<'_>],
) -> Vec<String> {
    let mut config = LoggerConfig {
        signing: Some(Signing::new(Signer::new(key(1)))),
        ..config(path)
    };
    change(&mut config);
    let logger = Logger::new(config, means()).unwrap();
    for event in events {
        logger.enqueue(event).unwrap();
    }
    logger.flush().unwrap();
    let before = lines(path);
    logger.close().unwrap();
    let trust = Trust::read(&key(1).public()).unwrap();
    let report = verify(&[path.to_owned()], trust, &[]);
    assert_eq!(report.faults, []);
    assert_eq!(report.streams[0].unsigned_tail, 0);
    before
}

fn cliproxy(user_id: UserId) -> Option<Cliproxy> {
    Some(Cliproxy {
        user_id,
        key: [9; 32],
        millis: false,
    })
}

// AUD-3
#[test]
fn the_sample_of_cliproxyapi_comes_out_field_for_field() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let all = written(
        &path,
        |config| config.cliproxy = cliproxy(UserId::Owner),
        &[refused()],
    );
    let owner = TokenId::from_bytes([7; 16]);
    let sample = format!(
        concat!(
            r#"{{"timestamp":"2026-02-19T23:00:00Z","event_type":"auth_failure","provider":"claude","#,
            r#""user_id":"{}","ip":"192.168.1.100","result":"invalid_token","details":{{"reason":"token_expired"}},"#,
            r#""id":"evt_"#
        ),
        owner
    );
    assert!(all[1].starts_with(&sample), "{}\n{sample}", all[1]);
    let names: Vec<_> = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&all[1])
        .unwrap()
        .keys()
        .cloned()
        .collect();
    assert_eq!(
        names[7..],
        ["id", "action", "stream", "seq", "prev", "hash"]
    );
}

// AUD-3
#[test]
fn who_acted_is_a_pseudonym_unless_it_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let of = |user_id, name: &str| {
        let path = dir.path().join(name);
        let all = written(
            &path,
            |config| config.cliproxy = cliproxy(user_id),
            &[refused(), refused()],
        );
        let user = |line: &str| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["user_id"].clone()
        };
        assert_eq!(user(&all[1]), user(&all[2]), "the same each time");
        user(&all[1])
    };
    let pseudonym = of(UserId::Pseudonym, "a.log");
    let text = pseudonym.as_str().unwrap();
    let digits = text.strip_prefix("u_").unwrap();
    assert!(
        digits.len() == 12 && digits.bytes().all(|b| b.is_ascii_hexdigit()),
        "{text}"
    );
    assert_eq!(of(UserId::Off, "b.log"), serde_json::Value::Null);
    assert_eq!(
        of(UserId::Owner, "c.log"),
        TokenId::from_bytes([7; 16]).to_string()
    );
}

// AUD-3 AUD-4
#[test]
fn every_action_has_a_type_or_its_own_word_and_chosen_kinds_leave_only_calls_out() {
    // What is signed is written by the log itself.
    let signed = |action: &&Action| matches!(action, Action::AuditCheckpoint | Action::AuditPrune);
    let events: Vec<_> = Action::ALL
        .iter()
        .filter(|action| !signed(action))
        .flat_map(|action| {
            Outcome::ALL
                .iter()
                .map(|outcome| Event::new(*action, Actor::System, *outcome))
        })
        .collect();
    let dir = tempfile::tempdir().unwrap();
    let all = written(
        &dir.path().join("a.log"),
        |config| config.cliproxy = cliproxy(UserId::Off),
        &events,
    );
    let types: Vec<_> = all
        .iter()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| (line["event_type"].clone(), line["action"].clone()))
        .collect();
    let words = EventType::ALL.map(EventType::as_str);
    assert!(
        types
            .iter()
            .all(|(kind, action)| kind == action || words.iter().any(|word| kind == word))
    );
    for word in words {
        assert!(
            types.iter().any(|(kind, _)| kind == word),
            "{word} is never said"
        );
    }
    let chosen = |kinds: &[EventType], name: &str| {
        let chosen = Chosen::Kinds(kinds.to_vec());
        let path = dir.path().join(name);
        let all = written(&path, |config| config.events = chosen, &events);
        let has = |action: &str, outcome: &str| {
            let both = format!("\"action\":\"{action}\"");
            let result = format!("\"result\":\"{outcome}\"");
            all.iter()
                .any(|line| line.contains(&both) && line.contains(&result))
        };
        // Neither what is about safety, operators and money, nor the log itself, can be left out.
        for (action, outcome) in [
            ("token.access", "failure"),
            ("token.create", "success"),
            ("money.settle", "success"),
            ("audit.open", "success"),
            ("ip.denied", "denied"),
        ] {
            assert!(has(action, outcome), "{name}: {action}");
        }
        (
            has("proxy_request", "success"),
            has("token.access", "success"),
        )
    };
    assert_eq!(
        chosen(&[EventType::ProviderRequest], "b.log"),
        (true, false)
    );
    assert_eq!(chosen(&[EventType::AuthSuccess], "c.log"), (false, true));
    assert_eq!(
        chosen(&[EventType::SecurityViolation], "d.log"),
        (false, false)
    );
}

// AUD-90
#[test]
fn words_of_an_embedder_are_written_and_nothing_else_can_be_said_with_them() {
    let dir = tempfile::tempdir().unwrap();
    let events = ["invoice.sent", "a\",\"result\":\"x", ""]
        .map(|word| Event::new(Action::Custom(word), Actor::System, Outcome::Success));
    let all = written(&dir.path().join("audit.log"), |_| {}, &events);
    let actions: Vec<_> = all[1..]
        .iter()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["action"].clone())
        .collect();
    assert_eq!(actions, ["invoice.sent", "custom", "custom"]);
}

// AUD-35
#[test]
fn hostile_texts_stay_in_their_fields_in_this_format_too() {
    let hostile = "\u{1b}[31m\"},{\"event_type\":\"forged\u{2028}\u{202e}\\\r\n\0\u{7f}";
    let event = refused().with_endpoint(hostile).with_user_agent(hostile);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let all = written(
        &path,
        |config| config.cliproxy = cliproxy(UserId::Pseudonym),
        &[event],
    );
    assert_eq!(all.len(), 2);
    let line: serde_json::Value = serde_json::from_str(&all[1]).unwrap();
    assert_eq!(line["event_type"], "auth_failure");
    assert_eq!(line["details"]["endpoint"], hostile);
    assert!(!all[1].contains(['\u{2028}', '\u{202e}', '\u{1b}', '\u{7f}']));
}
