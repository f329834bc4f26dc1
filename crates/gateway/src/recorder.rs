//! From records to lines and events.
//!
//! A worker hands over whole batches: access and usage lines are written at once, audit events by
//! the audit log's own thread.

mod events;

use crate::folds::{self, FoldKey, Folds, REFUSED_MAX, Seen, USED_MAX, When};
use crate::record::{Facts, ShownCredential};
use crate::tally::Tally;
use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tollkeep_audit::{
    Action, Actor, Event, EventSink, IpMask, IpText, Key, Logger, Masker, Outcome, Value,
    fingerprint,
};
use tollkeep_config::settings::{AccessSuccess, ProxyRequests};
use tollkeep_counters::{Asked, Place};
use tollkeep_ledger::price::Book;
use tollkeep_observe::access::Style;
use tollkeep_observe::line_sink::LineSink;
use tollkeep_observe::redact::Redactor;
use tollkeep_observe::usage_line::UsageLine;
use tollkeep_observe::{RequestOutcome, Texts};
use tollkeep_policy::breaker::Change;
use tollkeep_types::WallMillis;

/// Buffers kept for later batches: as many as workers are likely to write at the same moment.
const SPARE_MAX: usize = 8;

/// Where records go.
pub struct Sinks {
    /// The audit log; `None` when audit is off.
    pub audit: Option<Arc<Logger>>,
    /// Access lines; `None` when they are off.
    pub access: Option<LineSink>,
    /// Whether only failed requests have an access line.
    pub access_errors_only: bool,
    /// What access lines are called.
    pub access_style: Style,
    /// Usage lines.
    pub usage: LineSink,
    /// How addresses are written in access lines.
    pub ip_mask: IpMask,
    /// What is hidden in what callers and upstreams named.
    pub redactor: Redactor,
    /// Counts of what tokens do.
    pub tally: Arc<Tally>,
    /// Which uses of tokens have an event.
    pub access_success: AccessSuccess,
    /// Which calls have an event.
    pub proxy_requests: ProxyRequests,
    /// How a credential that was refused is shown.
    pub masker: Masker,
    /// Makes fingerprints of credentials.
    pub fingerprint_key: [u8; 32],
}

/// Turns records into lines and events.
pub struct Recorder {
    sinks: Sinks,
    refused: Mutex<Folds>,
    used: Mutex<Folds>,
    /// What was kept back is about to be told of.
    is_telling: AtomicBool,
    spare: Mutex<Vec<Lines>>,
    batches: Mutex<Vec<Vec<Facts>>>,
}

/// What one batch is written into. The buffers go to the sinks, which give used ones for them.
struct Lines {
    access: Vec<u8>,
    accessed: usize,
    usage: Vec<u8>,
    used: usize,
    ip: IpText,
    texts: Texts,
}

impl Lines {
    fn new(ip_mask: IpMask) -> Self {
        Self {
            access: Vec::new(),
            accessed: 0,
            usage: Vec::new(),
            used: 0,
            ip: IpText::new(ip_mask),
            texts: Texts::default(),
        }
    }
}

impl Recorder {
    /// A recorder into these sinks.
    pub fn new(sinks: Sinks) -> Arc<Self> {
        Arc::new(Self {
            sinks,
            refused: Mutex::new(Folds::new(REFUSED_MAX)),
            used: Mutex::new(Folds::new(USED_MAX)),
            is_telling: AtomicBool::new(false),
            spare: Mutex::default(),
            batches: Mutex::default(),
        })
    }

    /// Takes a worker's batch: lines are written here, at these prices, events by the audit log's own
    /// thread, which also counts what tokens did, so that neither waits for the other. Never waits:
    /// a full queue is the log's to count.
    pub(crate) fn take(self: &Arc<Self>, batch: Vec<Facts>, book: &Book) {
        self.write_lines(&batch, book);
        let Some(audit) = &self.sinks.audit else {
            self.sinks.tally.count(&batch);
            return self.keep(batch);
        };
        let events = batch.iter().map(|facts| self.events_of(facts)).sum();
        if events == 0 && !batch.iter().any(Facts::is_let_in) {
            self.sinks.tally.count(&batch);
            return self.keep(batch);
        }
        let recorder = Arc::clone(self);
        let write = move |sink: &mut EventSink<'_>| {
            for facts in &batch {
                recorder.write_events(facts, sink);
            }
            recorder.sinks.tally.count(&batch);
            recorder.keep(batch);
        };
        if let Err(error) = audit.submit(events, Box::new(write)) {
            tracing::debug!("{events} audit events were not taken: {error}");
        }
    }

    /// How many audit events a request makes, as far as that is known before what is counted is.
    fn events_of(&self, facts: &Facts) -> usize {
        let sinks = &self.sinks;
        let used = sinks.access_success == AccessSuccess::All && facts.is_let_in();
        let is_left_out = sinks.proxy_requests == ProxyRequests::Errors
            && facts.is_call
            && facts.outcome == RequestOutcome::Served;
        (facts.events_max() + usize::from(used)).saturating_sub(usize::from(is_left_out))
    }

    /// Records that a breaker changed.
    pub(crate) fn circuit(
        &self,
        change: Change,
        upstream: &str,
        place: &Place<'_>,
        at: WallMillis,
    ) {
        let Some(audit) = &self.sinks.audit else {
            return;
        };
        let (action, outcome) = match change {
            Change::Opened => (Action::CircuitOpen, Outcome::Error),
            Change::HalfOpened => (Action::CircuitHalfOpen, Outcome::Success),
            Change::Closed => (Action::CircuitClose, Outcome::Success),
        };
        let mut event = Event::new(action, Actor::System, outcome).at(at);
        if let Some(tenant) = place.tenant {
            event = event.with_tenant_id(tenant);
        }
        if let Some(project) = place.project {
            event = event.with_project_id(project);
        }
        if let Asked::Model(model) = place.asked {
            event.add_detail(Key::Model, Value::Text(model.into()));
        }
        event.add_detail(Key::Provider, Value::Word(upstream));
        if let Asked::Route(route) = place.asked {
            event.add_detail(Key::Route, Value::Word(route));
        }
        if let Err(error) = audit.enqueue(&event) {
            tracing::warn!("A change of a breaker was not recorded: {error}");
        }
    }

    /// What is hidden in what callers and upstreams named.
    pub(crate) const fn redactor(&self) -> &Redactor {
        &self.sinks.redactor
    }

    /// An empty batch, with the memory of one that is written.
    pub(crate) fn batch(&self) -> Vec<Facts> {
        let mut batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
        batches.pop().unwrap_or_default()
    }

    fn keep(&self, mut batch: Vec<Facts>) {
        batch.clear();
        let mut batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
        if batches.len() < SPARE_MAX {
            batches.push(batch);
        }
    }

    /// Tells of what was refused to an address before there was a request.
    pub(crate) fn told_of_peer(
        &self,
        action: Action,
        reason: &'static str,
        ip: IpAddr,
        at: WallMillis,
    ) {
        let Some(audit) = &self.sinks.audit else {
            return;
        };
        let key = FoldKey::peer(action, reason, ip);
        if !held(&self.refused).tell(key, at, Seen::default) {
            return;
        }
        let event = Event::new(action, Actor::Anonymous, Outcome::Denied)
            .at(at)
            .with_client_ip(ip)
            .with_reason(reason);
        if let Err(error) = audit.enqueue(&event) {
            tracing::debug!("A refused connection was not recorded: {error}");
        }
    }

    /// Tells of what was kept back and is due. What can't be recorded now stays counted.
    pub fn tell_kept_back(self: &Arc<Self>, now: WallMillis) {
        if !self.is_telling.load(Ordering::Acquire) {
            self.tell_due(When::Now(now), now);
        }
    }

    /// Tells of everything that was kept back: nothing comes any more.
    pub fn tell_the_last(self: &Arc<Self>, now: WallMillis) {
        self.tell_due(When::Last, now);
    }

    fn tell_due(self: &Arc<Self>, when: When, now: WallMillis) {
        let Some(audit) = &self.sinks.audit else {
            return;
        };
        let any_refused = held(&self.refused).is_due(when);
        let any_used = held(&self.used).is_due(when);
        if !(any_refused || any_used) {
            return;
        }
        self.is_telling.store(true, Ordering::Release);
        let recorder = Arc::clone(self);
        let write = move |sink: &mut EventSink<'_>| {
            recorder.is_telling.store(false, Ordering::Release);
            for kept in [&recorder.refused, &recorder.used] {
                let folded = held(kept).take(when);
                for one in &folded {
                    sink.append(&folds::event(one, now));
                }
            }
        };
        // They take no room of others, as they are few and would be lost otherwise.
        if let Err(error) = audit.submit(0, Box::new(write)) {
            self.is_telling.store(false, Ordering::Release);
            tracing::debug!("What was kept back was not recorded: {error}");
        }
    }

    /// A credential that was refused, as events show it.
    pub(crate) fn shown(&self, credential: &[u8]) -> Option<Box<ShownCredential>> {
        self.sinks.audit.as_ref()?;
        let text = std::str::from_utf8(credential).ok()?;
        Some(Box::new(ShownCredential {
            masked: self.sinks.masker.mask(text),
            fingerprint: fingerprint(&self.sinks.fingerprint_key, text),
        }))
    }

    fn write_lines(&self, batch: &[Facts], book: &Book) {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = spare.pop();
        drop(spare);
        let mut lines = kept.unwrap_or_else(|| Lines::new(self.sinks.ip_mask.clone()));
        for facts in batch.iter().filter(|facts| !facts.is_probe) {
            self.write_both(facts, book, &mut lines);
        }
        if let Some(sink) = self.sinks.access.as_ref().filter(|_| lines.accessed > 0) {
            sink.send(&mut lines.access, std::mem::take(&mut lines.accessed));
        }
        if lines.used > 0 {
            let used = std::mem::take(&mut lines.used);
            self.sinks.usage.send(&mut lines.usage, used);
        }
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < SPARE_MAX {
            spare.push(lines);
        }
    }

    /// HOT.
    fn write_both(&self, facts: &Facts, book: &Book, lines: &mut Lines) {
        let models = self.models(facts);
        if self.sinks.access.is_some()
            && (!self.sinks.access_errors_only || facts.outcome != RequestOutcome::Served)
        {
            let ip = lines.ip.of(facts.client_ip, facts.at);
            let line = facts.access_line(models.asked.as_deref(), ip);
            let by = (&mut lines.texts, self.sinks.access_style);
            tollkeep_observe::access::write_line(&mut lines.access, by, &line);
            lines.accessed += 1;
        }
        if let Some(line) = usage_line(facts, &models, (book, &self.sinks.redactor)) {
            tollkeep_observe::usage_line::write_line(&mut lines.usage, &mut lines.texts, &line);
            lines.used += 1;
        }
    }

    fn models<'f>(&self, facts: &'f Facts) -> Models<'f> {
        let Some(llm) = &facts.llm else {
            return Models::default();
        };
        let masked = |name: &'f str| self.sinks.redactor.hide(name);
        let asked = llm.model_asked.as_deref().map(masked);
        let served = if llm.model_served == llm.model_asked {
            asked.clone()
        } else {
            llm.model_served.as_deref().map(masked)
        };
        Models { asked, served }
    }
}

/// Nothing panics while it holds the lock.
fn held(folds: &Mutex<Folds>) -> MutexGuard<'_, Folds> {
    folds.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Names of models as lines show them.
#[derive(Default)]
struct Models<'f> {
    asked: Option<Cow<'f, str>>,
    served: Option<Cow<'f, str>>,
}

/// The usage line of a call that an upstream was asked for; one refused before that has none.
fn usage_line<'a>(
    facts: &'a Facts,
    models: &'a Models<'_>,
    (book, redactor): (&'a Book, &'a Redactor),
) -> Option<UsageLine<'a>> {
    let (llm, asked) = (facts.llm.as_ref()?, facts.asked.as_ref()?);
    let told = llm.told.as_ref()?;
    // The prices of its quote, whatever came since.
    let (price_version, price_sha256) = llm
        .price
        .as_ref()
        .map_or_else(|| book.version(), |price| (&*price.version, &*price.sha256));
    Some(UsageLine {
        at: facts.at,
        request_id: facts.id,
        project_id: facts.token.as_ref().map(|token| token.project.id),
        token_ref: facts.token.as_ref().map(|token| token.id),
        route: facts.route(),
        provider: &asked.name,
        model_asked: models.asked.as_deref(),
        model_served: models.served.as_deref(),
        surface: llm.surface.name(),
        status: facts.status,
        usage: &told.report,
        flags: told.flags,
        cost: llm.cost.as_ref().map(|cost| match cost {
            Ok(amount) => Ok(*amount),
            Err(error) => Err(error as &dyn std::fmt::Display),
        }),
        upstream_cost: llm.upstream_cost,
        price_version,
        price_sha256,
        outcome: facts.outcome,
        stream: llm.stream,
        from_cache: facts.from_cache,
        duration_ms: facts.duration_ns / 1_000_000,
        redactor,
    })
}
