//! Two replicas and a clock that is set by hand.

use super::*;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use tollkeep_config::{Env, LoadRequest};
use tollkeep_crypto::SystemEntropy;
use tollkeep_observe::metrics::{Build, Labels};
use tollkeep_store::{
    Bindings, CallLimits, NewToken, Place, ProjectRef, Scope, StoreOptions, Switch, Token,
    TokenSecret, TokenState,
};
use tollkeep_types::{MonoNanos, TokenHash};

const SERVICE: Scope = Scope::Service("test");

// ID-40
#[test]
fn a_client_is_known_by_its_first_word() {
    for (name, want) in [
        ("OpenAI/Python 3.54.0", "openai"),
        ("openai/JS 1.0", "openai"),
        ("curl/8.5.0", "curl"),
        ("Mozilla/5.0 (X11; Linux x86_64)", "mozilla"),
        ("my-app", "my-app"),
        ("", ""),
        ("/", ""),
    ] {
        assert_eq!(family(name), want, "{name}");
    }
    assert_eq!(family(&"x".repeat(9_000)).len(), CLIENT_LETTERS_MAX);
}

// ID-40
#[test]
fn a_minute_is_over_when_all_replicas_had_time_to_say_what_they_counted() {
    for (ms, want) in [
        (60_000 * 10 + SLACK_MS - 1, 8),
        (60_000 * 10 + SLACK_MS, 9),
        (0, 0),
    ] {
        assert_eq!(over(WallMillis(ms)), want, "{ms}");
    }
}

/// A clock that is set by hand.
struct HandClock(AtomicU64);

impl HandClock {
    fn set(&self, minute: u64) {
        self.0.store(minute * 60_000, Ordering::Relaxed);
    }
}

impl Clock for HandClock {
    fn mono(&self) -> MonoNanos {
        MonoNanos(0)
    }

    fn wall(&self) -> WallMillis {
        WallMillis(self.0.load(Ordering::Relaxed))
    }
}

const START: u64 = 29_000_000;

async fn judge(folder: &Path, clock: &Arc<HandClock>) -> Judge {
    let place = Place::Sqlite(folder.join("tollkeep.db"));
    let (hand, entropy) = (Arc::clone(clock), Arc::new(SystemEntropy));
    let options = StoreOptions::default();
    let store = Store::open(&place, &options, hand, entropy);
    let build = Build {
        version: "1",
        commit: "",
    };
    Judge {
        store: store.await.unwrap(),
        metrics: Metrics::new(Labels::default(), build, 100),
        audit: None,
        clock: Arc::clone(clock) as Arc<dyn Clock>,
    }
}

impl Judge {
    async fn token(&self) -> Token {
        let project = ProjectRef::of("default");
        let project = self.store.project(SERVICE, project).await.unwrap();
        let new = NewToken {
            project_id: project.id,
            name: String::new(),
            secret: TokenSecret {
                digest: TokenHash::from_bytes([7; 32]),
                pepper_id: String::new(),
                hint: "tok-x".to_owned(),
                fingerprint: String::new(),
            },
            expires_at: None,
            idle_ttl_ms: None,
            max_requests: None,
            limits: CallLimits::default(),
            bindings: Bindings::default(),
            metadata: BTreeMap::new(),
            owner: String::new(),
            policy: None,
            permissions: Vec::new(),
            self_rotate: false,
        };
        self.store.create_token(SERVICE, new).await.unwrap()
    }

    /// What two replicas counted in that minute, as it is now.
    async fn counted(&self, line: LineageId, (minute, requests): (u64, u64)) {
        self.spent(line, (minute, requests), 0).await;
    }

    /// The same, with what each of them saw spent.
    async fn spent(&self, line: LineageId, (minute, requests): (u64, u64), spend_nano: u64) {
        for (replica, requests) in [("a", requests / 2), ("b", requests - requests / 2)] {
            let counted = LineMinute {
                minute,
                lineage: line,
                requests,
                errors: 0,
                refusals: 0,
                spend_nano,
                networks: vec![1],
                clients: vec![1],
            };
            let kept = self.store.keep_line_minutes(replica, vec![counted]);
            kept.await.unwrap();
        }
    }

    async fn at(&self, rules: &Anomaly, ms: u64) {
        self.judge(rules, WallMillis(ms)).await.unwrap();
    }

    fn fired(&self, signal: &str) -> u64 {
        let text = self.metrics.render();
        let name = format!("tollkeep_anomalies_total{{signal=\"{signal}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name));
        line.map_or(0, |count| count.parse().unwrap())
    }

    async fn status(&self, token: &Token) -> TokenState {
        let found = self.store.token(SERVICE, token.id).await.unwrap();
        found.state
    }
}

// ID-40 ID-41
#[tokio::test]
async fn what_replicas_count_is_judged_together_once_and_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(HandClock(AtomicU64::new(START * 60_000)));
    let rules = rules(
        folder.path(),
        "anomaly: { signals: { request_rate: { action: suspend } } }",
    );
    let first = judge(folder.path(), &clock).await;
    let token = first.token().await;
    for passed in 0..60 {
        first.counted(token.lineage, (START + passed, 40)).await;
        clock.set(START + passed + 2);
        first.at(&rules, (START + passed + 2) * 60_000).await;
    }
    assert_eq!(first.fired("request_rate"), 0);
    first.store.close().await.unwrap();
    drop(first);
    // Neither replica alone has counted what is unusual.
    let second = judge(folder.path(), &clock).await;
    let now = START + 61;
    second.counted(token.lineage, (now, 63)).await;
    second.at(&rules, now * 60_000 + 1_000).await;
    assert_eq!(second.fired("request_rate"), 0, "63 is below 64");
    second.counted(token.lineage, (now, 64)).await;
    second.at(&rules, now * 60_000 + 2_000).await;
    assert_eq!(second.fired("request_rate"), 1, "before the minute is over");
    assert_eq!(second.status(&token).await, TokenState::Suspended);
    let kept = second.store.token(SERVICE, token.id).await.unwrap();
    assert_eq!(kept.suspended_by.as_deref(), Some("gateway"));
    let reason = kept.suspended_reason.as_deref();
    assert_eq!(reason, Some("anomaly.request_rate"));
    // An operator lifts it, and it does not come back for the same minutes.
    let on = second.store.switch_token(SERVICE, token.id, Switch::On);
    assert_eq!(on.await.unwrap().suspended_reason, None);
    for later in [2_500, 60_000, 180_000] {
        second.at(&rules, now * 60_000 + later).await;
    }
    second.counted(token.lineage, (now + 1, 500)).await;
    second.at(&rules, (now + 3) * 60_000).await;
    assert_eq!(second.fired("request_rate"), 1);
    assert_eq!(second.status(&token).await, TokenState::Active);
    second.counted(token.lineage, (now + 16, 500)).await;
    second.at(&rules, (now + 18) * 60_000).await;
    assert_eq!(
        second.fired("request_rate"),
        2,
        "a quarter of an hour later"
    );
}

// ID-40 ID-41
#[tokio::test]
async fn what_replicas_spend_is_judged_together() {
    const CENT: u64 = 10_000_000;
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(HandClock(AtomicU64::new(START * 60_000)));
    let judge = judge(folder.path(), &clock).await;
    let token = judge.token().await;
    for (yaml, floor, action, want) in [
        ("", 50 * CENT, "spend_rate", TokenState::Active),
        (
            "anomaly: { signals: { spend_rate: { action: suspend, floor: \"$0.50\", sigma: 9 } } }",
            25 * CENT,
            "spend_rate",
            TokenState::Suspended,
        ),
    ] {
        let rules = rules(folder.path(), yaml);
        let from = START + judge.fired(action) * 1_000;
        for passed in 0..60 {
            judge.spent(token.lineage, (from + passed, 2), CENT).await;
            clock.set(from + passed + 2);
            judge.at(&rules, (from + passed + 2) * 60_000).await;
        }
        let (before, now) = (judge.fired(action), from + 61);
        judge.spent(token.lineage, (now, 2), floor - 1).await;
        judge.at(&rules, now * 60_000 + 1_000).await;
        assert_eq!(judge.fired(action), before, "{yaml}: below its floor");
        judge.spent(token.lineage, (now, 2), floor).await;
        judge.at(&rules, now * 60_000 + 2_000).await;
        assert_eq!(judge.fired(action), before + 1, "{yaml}");
        assert_eq!(judge.status(&token).await, want, "{yaml}");
    }
}

// ID-40
#[tokio::test]
async fn minutes_are_kept_for_thirty_days_and_habits_as_long_as_their_line() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(HandClock(AtomicU64::new(START * 60_000)));
    let judge = judge(folder.path(), &clock).await;
    let token = judge.token().await;
    judge.counted(token.lineage, (START, 1)).await;
    judge
        .at(&rules(folder.path(), ""), (START + 2) * 60_000)
        .await;
    let minutes = async || judge.store.minutes_of_use(0, 10).await.unwrap().len();
    let habits = async || judge.store.habits(&[token.lineage]).await.unwrap().len();
    const MONTH: u64 = 30 * 1440;
    clock.set(START + MONTH - 1);
    judge.store.clean().await.unwrap();
    assert_eq!((minutes().await, habits().await), (1, 1));
    clock.set(START + MONTH);
    judge.store.clean().await.unwrap();
    assert_eq!((minutes().await, habits().await), (0, 1));
    let revoked = judge.store.revoke_token(SERVICE, token.id, "x").await;
    revoked.unwrap();
    clock.set(START + 5 * MONTH);
    judge.store.clean().await.unwrap();
    assert_eq!(habits().await, 0, "the line is gone");
}

/// The settings of these lines.
fn rules(folder: &Path, yaml: &str) -> Anomaly {
    let file = folder.join("tollkeep.yaml");
    std::fs::write(&file, format!("version: 1\n{yaml}\n")).unwrap();
    let request = LoadRequest {
        file: Some(file),
        sets: Vec::new(),
        env: Env::from_pairs::<&str, &str>([]),
        working_dir: folder.to_path_buf(),
        env_file: None,
        running: false,
        looks_only: false,
        documents: tollkeep_config::Documents::Unread,
    };
    tollkeep_config::load(&request).unwrap().settings.anomaly
}
