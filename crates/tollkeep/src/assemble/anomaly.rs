//! What is unusual in how tokens are used: each replica keeps what it counted, one of them judges
//! what all counted together (ID-40, ID-41).

use super::Base;
use super::runtime::Live;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tollkeep_audit::{Action, Actor, Event, Key, Logger, Outcome, Value};
use tollkeep_config::settings::{Anomaly, AnomalyAction};
use tollkeep_crypto::hmac_sha256;
use tollkeep_gateway::{LineCounts, LineMinutes, Tally};
use tollkeep_observe::metrics::Metrics;
use tollkeep_policy::anomaly::{Firing, Habits, Minute, Signal};
use tollkeep_store::{LineMinute, Store, StoreError, Suspender};
use tollkeep_types::{Clock, LineageId, WallMillis};

/// How often counts are kept and judged.
const EVERY: Duration = Duration::from_secs(2);
/// With more lines than this to keep, that is done every [`SELDOM`] turns: others wait for their
/// turn to change things.
const LINES_OFTEN_MAX: usize = 1_000;
const SELDOM: u32 = 5;
/// Lines and minutes held until they are kept, while the store does not take them.
const LINES_HELD_MAX: usize = 200_000;
/// A minute is over when so much time has passed since its end: replicas keep what they counted a
/// moment later, and their clocks differ.
const SLACK_MS: u64 = 15_000;
/// The lease of whoever judges.
const LEASE: &str = "lines";
/// How long it is held, and after how long it is taken for longer.
const LEASE_HELD: Duration = Duration::from_secs(30);
const LEASE_AGAIN_MS: u64 = 10_000;
/// Minutes judged at a time.
const MINUTES_MAX: u32 = 500;
/// What names of networks and clients are hashed for.
const NAMES_OF: &[u8] = b"tollkeep networks and clients of tokens";
/// Letters of a client's name that matter.
const CLIENT_LETTERS_MAX: usize = 32;

/// Keeps and judges.
pub(super) struct Watch {
    judge: Judge,
    live: Arc<Live>,
    tally: Arc<Tally>,
    /// Names networks and clients; the same for all replicas.
    key: [u8; 32],
    replica: String,
    counts: Counts,
    /// Turns in which nothing was kept, though there was something.
    waited: u32,
    /// When the lease was taken last, if it was.
    leased_at: Option<WallMillis>,
}

/// Judges what all replicas kept.
struct Judge {
    store: Store,
    metrics: Arc<Metrics>,
    audit: Option<Arc<Logger>>,
    clock: Arc<dyn Clock>,
}

/// What this replica counted in minutes that are not over, and what of it is not kept yet.
#[derive(Default)]
struct Counts {
    all: LineMinutes,
    unkept: HashSet<(u64, LineageId)>,
}

/// Of what the watch is made, besides.
pub(super) struct WatchParts<'a> {
    pub(super) base: &'a Base,
    pub(super) store: &'a Store,
    pub(super) live: &'a Arc<Live>,
    pub(super) tally: &'a Arc<Tally>,
    pub(super) audit: Option<&'a Arc<Logger>>,
    /// A key that all replicas have.
    pub(super) key: &'a [u8; 32],
}

impl Watch {
    pub(super) fn new(parts: &WatchParts<'_>) -> Self {
        let base = parts.base;
        for signal in Signal::ALL {
            base.metrics.anomaly(signal.name(), 0);
        }
        let mut replica = [0; 8];
        base.entropy.fill(&mut replica);
        Self {
            judge: Judge {
                store: parts.store.clone(),
                metrics: Arc::clone(&base.metrics),
                audit: parts.audit.map(Arc::clone),
                clock: Arc::clone(&base.clock),
            },
            live: Arc::clone(parts.live),
            tally: Arc::clone(parts.tally),
            key: hmac_sha256(parts.key, NAMES_OF),
            replica: format!("{:016x}", u64::from_be_bytes(replica)),
            counts: Counts::default(),
            waited: 0,
            leased_at: None,
        }
    }

    /// Watches to the end of the process.
    pub(super) async fn serve(mut self) {
        self.tally.switch(self.live.anomaly().enabled);
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut is_failing = false;
        loop {
            ticks.tick().await;
            let rules = self.live.anomaly();
            self.tally.switch(rules.enabled);
            let done = self.turn(&rules).await;
            // A store that fails is told of by whoever keeps it.
            if let Err(error) = &done
                && !is_failing
            {
                tracing::warn!("How tokens are used can't be judged: {error}");
            }
            is_failing = done.is_err();
        }
    }

    async fn turn(&mut self, rules: &Anomaly) -> Result<(), StoreError> {
        let now = self.judge.store.now();
        self.counts.take(self.tally.take());
        self.keep().await?;
        self.counts.forget(over(now));
        if rules.enabled && self.is_judge(now).await? {
            self.judge.judge(rules, now).await?;
        }
        Ok(())
    }

    /// Keeps what was counted since the last time.
    async fn keep(&mut self) -> Result<(), StoreError> {
        let lines = self.counts.unkept.len();
        if lines == 0 {
            return Ok(());
        }
        self.waited += 1;
        if lines > LINES_OFTEN_MAX && self.waited < SELDOM {
            return Ok(());
        }
        self.waited = 0;
        let unkept = self.counts.unkept.iter();
        let rows = unkept.filter_map(|key| Some(self.row(*key, self.counts.all.get(key)?)));
        let rows = rows.collect();
        let store = &self.judge.store;
        store.keep_line_minutes(&self.replica, rows).await?;
        self.counts.unkept.clear();
        Ok(())
    }

    fn row(&self, (minute, lineage): (u64, LineageId), counts: &LineCounts) -> LineMinute {
        let networks = counts.networks.iter();
        let clients = counts.clients.iter();
        let mut clients: Vec<u64> = clients
            .map(|name| self.hash(&family(name.as_deref().unwrap_or_default())))
            .collect();
        clients.sort_unstable();
        clients.dedup();
        LineMinute {
            minute,
            lineage,
            requests: counts.requests,
            errors: counts.errors,
            refusals: counts.refusals,
            spend_nano: counts.spend_nano,
            networks: networks.map(|ip| self.hash(&ip.to_string())).collect(),
            clients,
        }
    }

    fn hash(&self, text: &str) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = hmac_sha256(&self.key, text.as_bytes());
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    /// Whether this replica is the one that judges.
    async fn is_judge(&mut self, now: WallMillis) -> Result<bool, StoreError> {
        let store = &self.judge.store;
        if !store.is_shared() {
            return Ok(true);
        }
        let is_fresh = |at: WallMillis| now.0.saturating_sub(at.0) < LEASE_AGAIN_MS;
        if self.leased_at.is_some_and(is_fresh) {
            return Ok(true);
        }
        let taken = store.take_lease(LEASE, &self.replica, LEASE_HELD);
        let taken = taken.await?;
        self.leased_at = taken.then_some(now);
        Ok(taken)
    }
}

impl Judge {
    /// Judges the minutes that are not judged yet, the running one as far as it is.
    async fn judge(&self, rules: &Anomaly, now: WallMillis) -> Result<(), StoreError> {
        let over = over(now);
        let judged_to = self.store.judged_to().await?;
        for minute in self.store.minutes_of_use(judged_to, MINUTES_MAX).await? {
            let lines = self.store.lines_in(minute).await?;
            let ids: Vec<_> = lines.iter().map(|line| line.lineage).collect();
            let known = self.store.habits(&ids).await?;
            let judged = judged(&lines, &known, (rules, minute <= over));
            let judged_to = (minute <= over).then_some(minute);
            if judged_to.is_some() || !judged.changed.is_empty() {
                self.store.keep_habits(judged.changed, judged_to).await?;
            }
            for (lineage, firing) in judged.firings {
                // It was noted that this fired, so that nobody comes back to it.
                if let Err(error) = self.fire(rules, lineage, firing).await {
                    let signal = firing.signal.name();
                    tracing::error!(
                        "{lineage}: {signal} fired, and could not be dealt with: {error}"
                    );
                }
            }
        }
        Ok(())
    }

    /// Tells of something unusual, and does what is to be done then.
    async fn fire(
        &self,
        rules: &Anomaly,
        lineage: LineageId,
        firing: Firing,
    ) -> Result<(), StoreError> {
        let (signal, kind) = (firing.signal, firing.signal.kind());
        self.metrics.anomaly(signal.name(), 1);
        let tokens = self.store.tokens_of_lineage(lineage).await?;
        let suspended = match rules.action(signal) {
            AnomalyAction::Suspend => {
                let by = Suspender {
                    by: "gateway".to_owned(),
                    reason: kind.to_owned(),
                };
                self.store.suspend_lineage(lineage, by).await?
            }
            AnomalyAction::Event | AnomalyAction::Off => Vec::new(),
        };
        tracing::warn!(
            "Unusual use of the tokens of {lineage}: {} is {}, from {} on that is unusual",
            signal.name(),
            firing.seen,
            firing.limit
        );
        if let Some(token) = tokens.last() {
            let event = Event::new(Action::SecurityViolation, Actor::System, Outcome::Denied)
                .with_detail(Key::Count, Value::Number(firing.seen))
                .with_detail(Key::Kind, Value::Word(kind));
            self.record(event, token);
        }
        for token in &suspended {
            let event =
                Event::new(Action::TokenSuspend, Actor::System, Outcome::Success).with_reason(kind);
            self.record(event, token);
        }
        Ok(())
    }

    fn record<'t>(&self, event: Event<'t>, token: &'t tollkeep_store::Token) {
        let Some(audit) = &self.audit else { return };
        let event = event
            .at(self.clock.wall())
            .with_tenant_id(token.tenant_id)
            .with_project_id(token.project_id)
            .with_token_hint(&token.secret.hint)
            .with_token_ref(token.id);
        if let Err(error) = audit.enqueue(&event) {
            tracing::error!("cannot record an unusual use of a token: {error}");
        }
    }
}

impl Counts {
    fn take(&mut self, fresh: LineMinutes) {
        for (key, counts) in fresh {
            if self.all.len() >= LINES_HELD_MAX && !self.all.contains_key(&key) {
                continue;
            }
            self.all.entry(key).or_default().add(counts);
            self.unkept.insert(key);
        }
    }

    /// Forgets minutes that are over; what is not kept yet stays.
    fn forget(&mut self, over: u64) {
        let unkept = &self.unkept;
        self.all
            .retain(|key, _| key.0 > over || unkept.contains(key));
    }
}

/// The last minute that is over.
fn over(now: WallMillis) -> u64 {
    (now.0.saturating_sub(SLACK_MS) / 60_000).saturating_sub(1)
}

/// What judging a minute came to.
struct Judged {
    firings: Vec<(LineageId, Firing)>,
    changed: Vec<(LineageId, String)>,
}

/// Judges what lines did in a minute, which may be over.
fn judged(
    lines: &[LineMinute],
    known: &BTreeMap<LineageId, String>,
    (rules, is_over): (&Anomaly, bool),
) -> Judged {
    let mut judged = Judged {
        firings: Vec::new(),
        changed: Vec::new(),
    };
    for line in lines {
        let kept = known.get(&line.lineage);
        // What can't be read is learnt anew.
        let mut habits: Habits = kept
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default();
        let minute = Minute {
            minute: line.minute,
            requests: line.requests,
            errors: line.errors,
            refusals: line.refusals,
            spend_nano: line.spend_nano,
            networks: line.networks.clone(),
            clients: line.clients.clone(),
        };
        let firings = if is_over {
            habits.close(&minute, &rules.rules)
        } else {
            habits.look(&minute, &rules.rules)
        };
        if (is_over || !firings.is_empty())
            && let Ok(text) = serde_json::to_string(&habits)
        {
            judged.changed.push((line.lineage, text));
        }
        let firings = firings.into_iter();
        let firings = firings.map(|firing| (line.lineage, firing));
        judged.firings.extend(firings);
    }
    judged
}

/// The kind of a client: the first word of what it calls itself, without its version.
fn family(user_agent: &str) -> String {
    let word = user_agent.split(['/', ' ', '(', ';']).next();
    let letters = word.unwrap_or_default().chars().take(CLIENT_LETTERS_MAX);
    letters.map(|letter| letter.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests;
