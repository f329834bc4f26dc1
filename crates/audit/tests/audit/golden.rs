//! One line of every action, byte by byte.

use crate::support::{Counting, Stopped, config, lines};
use crate::verifier::first_fault;
use std::net::IpAddr;
use std::sync::Arc;
use tollkeep_audit::{
    Action, Actor, ActorId, Class, Cliproxy, Event, IpMask, Key, Logger, LoggerConfig, Means,
    Outcome, UserAgentDetail, UserId, Value,
};
use tollkeep_observe::metrics::AuditMeter;
use tollkeep_types::{
    ManagementKeyId, OperatorId, ProjectId, RequestId, StreamId, TenantId, TokenId, WallMillis,
};

const GOLDEN: &str = include_str!("../data/every_action.jsonl");
const GOLDEN_CLIPROXY: &str = include_str!("../data/every_action_cliproxy.jsonl");

/// What is written of events under a configuration, without the logger's own first and last line.
fn written(change: impl FnOnce(&mut LoggerConfig), events: &[Event<'_>]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let mut config = config(&path);
    change(&mut config);
    // The plain reader of the tests knows one format.
    let is_read = config.cliproxy.is_none();
    let means = Means {
        clock: Arc::new(Stopped),
        entropy: Arc::new(Counting::default()),
        meter: AuditMeter::default(),
    };
    let logger = Logger::new(config, means).unwrap();
    for event in events {
        logger.enqueue(event).unwrap();
    }
    logger.stop().unwrap();
    let log = std::fs::read(&path).unwrap();
    assert!(!is_read || first_fault(&log).is_none());
    let all = lines(&path);
    all.get(1..all.len() - 1).unwrap().to_vec()
}

fn call(action: Action, outcome: Outcome) -> Event<'static> {
    Event::new(action, Actor::Client, outcome)
        .at(WallMillis(1_795_342_530_999))
        .with_actor_id(ActorId::Token(TokenId::from_bytes([0x33; 16])))
        .with_tenant_id(TenantId::from_bytes([0x44; 16]))
        .with_project_id(ProjectId::from_bytes([0x22; 16]))
        .with_request_id(RequestId::from_bytes([0x11; 16]))
        .with_correlation_id("job-7.a_B")
        .with_client_ip(IpAddr::from([192, 0, 2, 77]))
        .with_http_method("POST")
        .with_endpoint("/v1/chat/completions")
        .with_token_id("tok-1234567890abcdef")
        .with_token_ref(TokenId::from_bytes([0x33; 16]))
        .with_user_agent("openai-python/1.2 \u{202e}")
}

fn of_a_budget(action: Action) -> Event<'static> {
    let budget = Value::Word("bud_018f0000000070008000000000000001");
    Event::new(action, Actor::System, Outcome::Success)
        .with_detail(Key::Budget, budget)
        .with_detail(Key::Percent, Value::Number(80))
        .with_detail(Key::Spent, Value::Number(8_000_000_000))
        .with_detail(Key::Limit, Value::Number(10_000_000_000))
        .with_detail(Key::WindowEnd, Value::Word("2026-12-01T00:00:00.000Z"))
}

fn of_a_token(action: Action) -> Event<'static> {
    if action == Action::TokenValidate {
        return call(action, Outcome::Success).with_detail(Key::Count, Value::Number(1));
    }
    call(action, Outcome::Failure)
        .with_reason("token_expired")
        .with_token_id("tok-1234567890abcdef")
        .with_detail(Key::Fingerprint, Value::Word("fp_0011223344556677"))
}

fn managed(action: Action) -> Event<'static> {
    Event::new(action, Actor::Management, Outcome::Success)
        .with_actor_id(ActorId::ManagementKey(ManagementKeyId::from_bytes(
            [0x55; 16],
        )))
        .with_request_id(RequestId::from_bytes([0x11; 16]))
        .with_client_ip(IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, 1]))
        .with_http_method("POST")
        .with_endpoint("/manage/tokens")
}

fn refused(action: Action, reason: &'static str) -> Event<'static> {
    Event::new(action, Actor::Anonymous, Outcome::Denied)
        .with_client_ip(IpAddr::from([192, 0, 2, 77]))
        .with_reason(reason)
        .with_detail(Key::Listener, Value::Word("data"))
        .with_detail(Key::Count, Value::Number(3))
}

fn rekeyed(action: Action) -> Event<'static> {
    let kek = Value::Word("k2");
    managed(action)
        .with_reason("begun")
        .with_detail(Key::Kek, kek)
}

fn of_money(action: Action) -> Event<'static> {
    Event::new(action, Actor::System, Outcome::Success)
        .with_detail(
            Key::Hold,
            Value::Word("hld_018f0000000070008000000000000001"),
        )
        .with_detail(
            Key::Lease,
            Value::Word("lse_018f0000000070008000000000000001"),
        )
        .with_detail(Key::Amount, Value::Number(322_500))
        .with_detail(Key::EntryDigest, Value::Word("ab"))
        .with_detail(Key::Bound, Value::Number(164_195_000))
        .with_detail(Key::Quality, Value::Word("reported"))
}

fn of_the_log(action: Action) -> Event<'static> {
    Event::new(action, Actor::System, Outcome::Success)
        .with_detail(
            Key::Stream,
            Value::Word("aus_018f0000000070008000000000000001"),
        )
        .with_detail(Key::Seq, Value::Number(1_000))
        .with_detail(Key::Head, Value::Word("ab"))
        .with_detail(Key::Count, Value::Number(1_000))
        .with_detail(Key::LedgerHead, Value::Word("cd"))
        .with_detail(
            Key::Heads,
            Value::Long("aus_018f0000000070008000000000000002:7:ef".into()),
        )
        .with_detail(Key::ThroughSeq, Value::Number(999))
        .with_detail(Key::File, Value::Word("audit-20261122T101530Z-1.log"))
        .with_detail(Key::KeyId, Value::Word("21fe31dfa154a261"))
        .with_detail(Key::Sig, Value::Word("c2ln"))
}

/// A call that has ended.
fn finished(action: Action) -> Event<'static> {
    call(action, Outcome::Success)
        .with_detail(Key::StatusCode, Value::Number(200))
        .with_duration_ms(1204)
        .with_detail(Key::Model, Value::Text("gpt-4o".into()))
        .with_detail(Key::Provider, Value::Word("openai"))
        .with_detail(Key::Route, Value::Word("llm"))
        .with_detail(Key::Stream, Value::Flag(true))
        .with_detail(Key::InputTokens, Value::Number(11))
        .with_detail(Key::OutputTokens, Value::Number(7))
        .with_detail(Key::BytesIn, Value::Number(512))
        .with_detail(Key::BytesOut, Value::Number(u64::MAX))
}

/// What operators move, and what becomes of payments.
fn of_movement(action: Action) -> Event<'static> {
    if action == Action::MoneyAdjust {
        return managed(action)
            .with_detail(Key::Reason, Value::Text("as billed".into()))
            .with_detail(Key::Units, Value::Number(12_500))
            .with_detail(Key::Name, Value::OwnedWord("hld_1".into()));
    }
    if [Action::MoneyCredit, Action::MoneyRefund].contains(&action) {
        return managed(action)
            .with_detail(Key::Reason, Value::Text("invoice 7".into()))
            .with_detail(Key::Amount, Value::Number(12_500))
            .with_detail(Key::Name, Value::OwnedWord("acc_1".into()));
    }
    let event = Event::new(action, Actor::System, Outcome::Success)
        .with_detail(Key::Rail, Value::Word("x402"));
    if action == Action::PaymentChallenge {
        return event.with_detail(Key::Count, Value::Number(101));
    }
    event
        .with_detail(Key::Payment, Value::OwnedWord("pay_1".into()))
        .with_detail(Key::Kind, Value::Word("settled"))
        .with_detail(Key::Units, Value::Number(10_000))
        .with_detail(
            Key::Asset,
            Value::OwnedWord("eip155:84532/erc20:0x1".into()),
        )
        .with_detail(Key::Route, Value::Text("GET /x".into()))
}

#[expect(
    clippy::too_many_lines,
    reason = "a table: one example for each action"
)]
fn example(action: Action) -> Event<'static> {
    match action {
        Action::ProxyRequest => finished(action),
        Action::TokenAccess | Action::TokenValidate => of_a_token(action),
        Action::TokenCreate => managed(action)
            .with_project_id(ProjectId::from_bytes([0x22; 16]))
            .with_token_id("tok-1234567890abcdef")
            .with_detail(Key::DurationMinutes, Value::Number(60))
            .with_detail(Key::MaxRequests, Value::Number(1000))
            .with_detail(Key::Fingerprint, Value::Word("fp_0011223344556677")),
        Action::TokenRevoke => managed(action).with_detail(Key::RevokedCount, Value::Number(1)),
        Action::Custom(_)
        | Action::TokenRead
        | Action::TokenList
        | Action::TokenRotate
        | Action::TokenRefresh
        | Action::ServiceTokenList
        | Action::ProjectRead
        | Action::ProjectList
        | Action::ProjectDelete
        | Action::ManagementKeyList
        | Action::TenantCreate
        | Action::TenantRead
        | Action::TenantList
        | Action::TenantUpdate
        | Action::TenantSuspend
        | Action::TenantResume
        | Action::TenantDelete
        | Action::TokenUpdate
        | Action::TokenSuspend
        | Action::TokenResume
        | Action::BudgetList
        | Action::OperatorList
        | Action::AdminAccess
        | Action::MaintenanceOff => managed(action),
        Action::ManagementKeyCreate
        | Action::ManagementKeyRead
        | Action::ManagementKeyUpdate
        | Action::ManagementKeyRotate
        | Action::ManagementKeyRevoke => managed(action)
            .with_detail(Key::Kind, Value::Word("operator"))
            .with_detail(Key::Name, Value::OwnedWord("mky_1".into())),
        Action::BudgetCreate
        | Action::BudgetRead
        | Action::BudgetUpdate
        | Action::BudgetDelete
        | Action::AccountOpen
        | Action::AccountClose
        | Action::BudgetReset => {
            managed(action).with_detail(Key::Name, Value::OwnedWord("bud_1".into()))
        }
        Action::PriceOverride | Action::PriceOverrideRemove | Action::PriceImport => {
            managed(action).with_detail(Key::Name, Value::Text("house".into()))
        }
        Action::PriceAck => managed(action).with_detail(Key::Model, Value::Text("gpt-4o".into())),
        Action::MoneyCredit
        | Action::MoneyRefund
        | Action::MoneyAdjust
        | Action::PaymentChallenge
        | Action::PaymentVerify
        | Action::PaymentSettle
        | Action::PaymentVoid
        | Action::PaymentUnknown
        | Action::PaymentResolve
        | Action::SessionOpen
        | Action::SessionClose => of_movement(action),
        Action::OperatorCreate
        | Action::OperatorRead
        | Action::OperatorUpdate
        | Action::OperatorPassword
        | Action::OperatorTotp
        | Action::OperatorDisable
        | Action::OperatorEnable
        | Action::OperatorDelete => managed(action)
            .with_actor_id(ActorId::Operator(OperatorId::from_bytes([0x77; 16])))
            .with_detail(Key::Kind, Value::Word("viewer"))
            .with_detail(Key::Name, Value::OwnedWord("opr_1".into())),
        Action::AdminLogin | Action::AdminLogout | Action::SessionEnd => managed(action)
            .with_detail(Key::Kind, Value::Word("key"))
            .with_detail(Key::Name, Value::OwnedWord("csn_1".into())),
        Action::CredentialCreate
        | Action::CredentialRead
        | Action::CredentialList
        | Action::CredentialUpdate
        | Action::CredentialRotate
        | Action::CredentialDelete
        | Action::CredentialTest
        | Action::CredentialRefresh
        | Action::CredentialDisable
        | Action::CredentialEnable
        | Action::CredentialCooldown => managed(action)
            .with_detail(Key::Provider, Value::Word("openai"))
            .with_detail(Key::Name, Value::OwnedWord("crd_1".into())),
        Action::VaultOpenFailed => Event::new(action, Actor::System, Outcome::Error)
            .with_detail(Key::Provider, Value::Word("openai"))
            .with_detail(Key::Name, Value::OwnedWord("crd_1".into())),
        Action::TokenRevokeBatch => {
            managed(action).with_detail(Key::RevokedCount, Value::Number(3))
        }
        Action::ProjectUpdate => managed(action).with_detail(Key::IsActive, Value::Flag(false)),
        Action::AdminLockout => refused(action, "locked_out"),
        Action::ProjectCreate => {
            managed(action).with_detail(Key::Name, Value::Text("träume \"x\"".into()))
        }
        Action::ServiceTokenCreate | Action::ServiceTokenRotate | Action::ServiceTokenRevoke => {
            managed(action)
                .with_detail(Key::Name, Value::OwnedWord("svc_1".into()))
                .with_detail(Key::Listener, Value::Word("data"))
        }
        Action::ManagementAuth => {
            Event::new(action, Actor::Local, Outcome::Success).with_actor_id(ActorId::LocalUid(0))
        }
        Action::RateLimitExceeded => refused(action, "rate_limited"),
        Action::IpDenied => refused(action, "forbidden"),
        Action::CircuitOpen | Action::CircuitHalfOpen | Action::CircuitClose => {
            Event::new(action, Actor::System, Outcome::Success)
                .with_project_id(ProjectId::from_bytes([0x22; 16]))
                .with_detail(Key::Provider, Value::Word("billing"))
                .with_detail(Key::Route, Value::Word("GET /invoices"))
        }
        Action::IpListAdd | Action::IpListRemove => managed(action)
            .with_detail(Key::Reason, Value::Text("probing".into()))
            .with_detail(Key::List, Value::Word("deny"))
            .with_detail(Key::Cidr, Value::Word("192.0.2.0/24"))
            .with_detail(Key::ExpiresAt, Value::Word("2026-11-22T10:15:30.000Z")),
        Action::MaintenanceOn => {
            managed(action).with_detail(Key::Message, Value::Text("back at noon".into()))
        }
        Action::EgressBlocked => refused(action, "metadata"),
        Action::RequestRejected => refused(action, "transfer_encoding"),
        Action::SecurityViolation => {
            refused(action, "header_spoof").with_detail(Key::Kind, Value::Word("header_spoof"))
        }
        Action::ConfigLoad => Event::new(action, Actor::System, Outcome::Success)
            .with_detail(Key::Version, Value::Word("0.1.0")),
        Action::ConfigReload => Event::new(action, Actor::System, Outcome::Success)
            .with_detail(Key::Kind, Value::Word("signal"))
            .with_detail(Key::Version, Value::Number(7)),
        Action::ConfigReject => Event::new(action, Actor::System, Outcome::Denied)
            .with_detail(Key::Kind, Value::Word("file"))
            .with_detail(Key::Count, Value::Number(2))
            .with_error("tollkeep.yaml:3:9: server.port: want 0 to 65535"),
        Action::CertificateOrder => Event::new(action, Actor::System, Outcome::Error)
            .with_detail(Key::Name, Value::Word("server.tls"))
            .with_detail(Key::Message, Value::Text("a.example, b.example".into()))
            .with_error("the authority refuses: rate limited"),
        Action::VaultMigrate => Event::new(action, Actor::System, Outcome::Success)
            .with_detail(Key::Count, Value::Number(12))
            .with_detail(Key::Kek, Value::Word("k2"))
            .with_detail(Key::Unreadable, Value::Number(1)),
        Action::VaultRekey => rekeyed(action),
        Action::AuditList
        | Action::AuditShow
        | Action::AuditExport
        | Action::AuditVerify
        | Action::AuditKeyList
        | Action::CachePurge => Event::new(action, Actor::Management, Outcome::Success)
            .with_http_method("GET")
            .with_endpoint("/api/v1/audit"),
        Action::AuditKeyRotate | Action::ReceiptKeyRotate => managed(action)
            .with_detail(
                Key::PublicKey,
                Value::Word("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"),
            )
            .with_detail(Key::Previous, Value::Word("0123456789abcdef"))
            .with_detail(Key::KeyId, Value::Word("21fe31dfa154a261"))
            .with_detail(Key::Sig, Value::Word("c2ln")),
        Action::AuditCheckpoint | Action::AuditPrune | Action::AuditRotate => of_the_log(action),
        Action::SystemDegraded => Event::new(action, Actor::System, Outcome::Error)
            .with_reason("store")
            .with_error("disk I/O error: tok-1234567890abcdef in /data"),
        Action::BudgetThreshold | Action::BudgetExhausted => of_a_budget(action),
        Action::MoneyHold
        | Action::MoneyLease
        | Action::MoneySettle
        | Action::MoneyRelease
        | Action::MoneyLeaseLost
        | Action::BudgetOvershoot
        | Action::LedgerOverrun
        | Action::LedgerUnpriced
        | Action::LedgerUsageImplausible => of_money(action),
        Action::AuditOpen
        | Action::AuditClose
        | Action::AuditGap
        | Action::AuditRecovered
        | Action::SystemStart
        | Action::SystemStop
        | Action::SystemDrain
        | Action::SystemRecovered => Event::new(action, Actor::System, Outcome::Success),
    }
}

// AUD-1 AUD-2
#[test]
fn every_action_has_its_golden_line() {
    let events: Vec<_> = Action::ALL.iter().map(|action| example(*action)).collect();
    let lines = written(|_| {}, &events);
    assert_golden("every_action.jsonl", GOLDEN, &lines);
}

// AUD-1 AUD-3
#[test]
fn every_action_has_its_golden_line_in_the_words_of_cliproxyapi() {
    let cliproxy = Cliproxy {
        user_id: UserId::Pseudonym,
        key: [9; 32],
        millis: false,
    };
    let events: Vec<_> = Action::ALL.iter().map(|action| example(*action)).collect();
    let lines = written(|config| config.cliproxy = Some(cliproxy), &events);
    assert_golden("every_action_cliproxy.jsonl", GOLDEN_CLIPROXY, &lines);
}

// AUD-10
#[test]
fn the_reference_page_is_made_from_the_list() {
    let mut page = String::from(
        "# Audit actions\n\nMade from the list in the code. What a class means for when a record is on disk is in\n\
         [the guide to the audit log](../guide/audit.md).\n\n| action | class | class if it failed or was refused |\n|---|---|---|\n",
    );
    for action in Action::ALL {
        let class = |outcome| Event::new(*action, Actor::System, outcome).class().as_str();
        let (done, not) = (class(Outcome::Success), class(Outcome::Denied));
        page += &format!("| `{}` | {done} | {not} |\n", action.as_str());
    }
    let words = |words: &[&str]| {
        words
            .iter()
            .map(|word| format!("`{word}`"))
            .collect::<Vec<_>>()
    };
    let results: Vec<_> = Outcome::ALL.iter().map(|word| word.as_str()).collect();
    let actors: Vec<_> = Actor::ALL.iter().map(|word| word.as_str()).collect();
    let keys: Vec<_> = Key::ALL.iter().map(|word| word.as_str()).collect();
    for (what, all) in [
        ("Results", results),
        ("Actors", actors),
        ("Names in `details`, in their order", keys),
    ] {
        page += &format!("\n{what}: {}.\n", words(&all).join(", "));
    }
    let path =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/audit.md");
    if std::fs::read_to_string(&path).ok().as_deref() != Some(&*page) {
        let now = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("audit.md");
        std::fs::write(&now, &page).unwrap();
        panic!("docs/reference/audit.md is not fresh: it is {now:?} now");
    }
}

/// Lines are those of a golden file, byte by byte; else what they are now is put beside it.
fn assert_golden(name: &str, golden: &str, lines: &[String]) {
    let golden: Vec<_> = golden.lines().collect();
    if golden != lines {
        let now = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::write(&now, lines.join("\n") + "\n").unwrap();
        for (line, golden) in lines.iter().zip(&golden) {
            assert_eq!(line, golden);
        }
        panic!("{} lines, not {}: see {now:?}", lines.len(), golden.len());
    }
}

// AUD-2
#[test]
fn the_sample_of_the_seed_comes_out_field_for_field() {
    let event = Event::new(Action::TokenCreate, Actor::Management, Outcome::Success)
        .with_token_id("tok-1234567890abcdef")
        .with_client_ip(IpAddr::from([192, 168, 1, 100]))
        .with_detail(Key::DurationMinutes, Value::Number(60))
        .with_endpoint("/manage/tokens")
        .with_http_method("POST");
    let [line] = &written(|_| {}, &[event])[..] else {
        panic!("one line");
    };
    let sample = concat!(
        r#"{"timestamp":"2026-11-22T10:15:30.123Z","action":"token.create","actor":"management","#,
        r#""client_ip":"192.168.1.100","result":"success","details":{"http_method":"POST","#,
        r#""endpoint":"/manage/tokens","duration_minutes":60,"token_id":"tok-1234****cdef"},"id":"evt_"#
    );
    assert!(line.starts_with(sample), "{line}");
}

// AUD-10
#[test]
fn words_are_said_once_and_classes_follow_them() {
    for (name, words) in [
        (
            "actions",
            Action::ALL.iter().map(|w| w.as_str()).collect::<Vec<_>>(),
        ),
        ("actors", Actor::ALL.iter().map(|w| w.as_str()).collect()),
        (
            "outcomes",
            Outcome::ALL.iter().map(|w| w.as_str()).collect(),
        ),
        ("classes", Class::ALL.iter().map(|w| w.as_str()).collect()),
        ("keys", Key::ALL.iter().map(|w| w.as_str()).collect()),
    ] {
        let mut once = words.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), words.len(), "{name}");
    }
    for (action, outcome, class) in [
        (Action::ProxyRequest, Outcome::Error, Class::Access),
        (Action::TokenAccess, Outcome::Success, Class::Access),
        (Action::TokenAccess, Outcome::Failure, Class::Security),
        (Action::TokenAccess, Outcome::Denied, Class::Security),
        (Action::TokenValidate, Outcome::Success, Class::Access),
        (Action::TokenValidate, Outcome::Failure, Class::Security),
        (Action::TokenRefresh, Outcome::Success, Class::Management),
        (Action::TokenRevoke, Outcome::Success, Class::Management),
        (Action::ManagementAuth, Outcome::Success, Class::Security),
        (Action::SystemStart, Outcome::Success, Class::System),
    ] {
        assert_eq!(Event::new(action, Actor::System, outcome).class(), class);
    }
}

// AUD-33 AUD-34
#[test]
fn addresses_and_user_agents_are_shown_as_the_settings_say() {
    let event = || {
        Event::new(Action::IpDenied, Actor::Anonymous, Outcome::Denied)
            .with_client_ip(IpAddr::from([192, 0, 2, 77]))
            .with_user_agent(format!("curl/8.1 {}", "x".repeat(400)))
    };
    let full = format!(r#""user_agent":"curl/8.1 {}""#, "x".repeat(191));
    for (ip_mask, user_agent, ip_want, agent_want) in [
        (
            IpMask::Off,
            UserAgentDetail::Full,
            r#""client_ip":"192.0.2.77""#,
            &*full,
        ),
        (
            IpMask::Prefix,
            UserAgentDetail::Family,
            r#""client_ip":"192.0.2.0/24""#,
            r#""user_agent":"curl""#,
        ),
    ] {
        let [line] = &written(
            |config| {
                config.ip_mask = ip_mask;
                config.user_agent = user_agent;
            },
            &[event()],
        )[..] else {
            panic!("one line");
        };
        assert!(line.contains(ip_want), "{line}");
        assert!(
            line.contains(&format!(r#""details":{{{agent_want}}}"#)),
            "{line}"
        );
    }
    let [line] = &written(
        |config| {
            config.ip_mask = IpMask::Drop;
            config.user_agent = UserAgentDetail::Off;
        },
        &[event()],
    )[..] else {
        panic!("one line");
    };
    assert!(
        !line.contains("client_ip") && !line.contains("details"),
        "{line}"
    );
}

// AUD-1
#[test]
fn details_are_bounded_and_a_key_counts_once() {
    let long = "ä".repeat(5000);
    let mut event = Event::new(Action::SystemDegraded, Actor::System, Outcome::Error);
    for key in Key::ALL {
        event = event.with_detail(*key, Value::Text((&*long).into()));
    }
    let twice = Event::new(Action::SystemDegraded, Actor::System, Outcome::Error)
        .with_detail(Key::Count, Value::Number(1))
        .with_detail(Key::Count, Value::Number(2));
    let mut many = Event::new(Action::SystemDegraded, Actor::System, Outcome::Error);
    for key in Key::ALL {
        many = many.with_detail(*key, Value::Flag(true));
    }
    let lines = written(|_| {}, &[event, twice, many]);
    let details = |line: &String| -> serde_json::Map<String, serde_json::Value> {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        record.get("details").unwrap().as_object().unwrap().clone()
    };
    let [long, twice, many] = &lines[..] else {
        panic!("three lines");
    };
    assert!(long.len() < 4096 + 1024, "{}", long.len());
    assert!(
        details(long)
            .values()
            .all(|text| text.as_str().unwrap().chars().count() <= 256)
    );
    assert_eq!(details(twice).get("count").unwrap(), 1);
    assert_eq!(details(many).len(), 24);
}

// AUD-32
#[test]
fn a_strangers_text_loses_its_secrets() {
    let secret = "tok-0123456789abcdefghijklmnopqrstuvwxyz";
    let event = Event::new(Action::ProxyRequest, Actor::Anonymous, Outcome::Error)
        .with_correlation_id(secret)
        .with_user_agent(format!("curl {secret}"))
        .with_endpoint(format!("/v1/{secret}/x"))
        .with_error(format!("no {secret}"))
        .with_detail(Key::Model, Value::Text(secret.into()))
        .with_detail(
            Key::Name,
            Value::Text(format!("{}{secret}", " ".repeat(230)).into()),
        )
        .with_token_id(secret);
    let lines = written(|_| {}, &[event]);
    assert!(!lines.concat().contains("23456789"), "{lines:?}");
    assert!(
        lines.concat().contains(r#""token_id":"tok-0123****wxyz""#),
        "{lines:?}"
    );
}

#[test]
fn a_stream_is_new_unless_the_file_has_one() {
    let lines = written(|_| {}, &[example(Action::SystemStart)]);
    let record: serde_json::Value = serde_json::from_str(lines.first().unwrap()).unwrap();
    let stream = record.get("stream").unwrap().as_str().unwrap();
    assert!(stream.parse::<StreamId>().is_ok());
    assert_eq!(record.get("seq").unwrap(), 2);
}
