//! What is refused to whoever has shown nothing: beyond twenty a second of an address and a reason the
//! others are told of as one event with how many there were, so that a flood can't fill the disk (AUD-12).

use crate::State;
use crate::request::Asked;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tollkeep_audit::folds::{Fold, Folded, Folds, Span, When};
use tollkeep_audit::{Action, Actor, Event, EventSink, Key, Logger, Outcome, Value};
use tollkeep_types::WallMillis;

/// Addresses and reasons that are counted at a time; beyond it those of all addresses together.
const REFUSED_MAX: usize = 10_000;

/// What refusals that are told of together have in common.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Refused {
    span: Span,
    action: Action,
    outcome: Outcome,
    reason: Option<&'static str>,
    ip: Option<IpAddr>,
}

impl Refused {
    /// What is told of twenty times a second, and then together.
    pub(crate) const fn new(
        action: Action,
        outcome: Outcome,
        reason: Option<&'static str>,
        ip: Option<IpAddr>,
    ) -> Self {
        Self {
            span: Span::Second,
            action,
            outcome,
            reason,
            ip,
        }
    }

    /// What is told of once, and then once a minute.
    pub(crate) const fn by_the_minute(self) -> Self {
        Self {
            span: Span::Minute,
            ..self
        }
    }

    fn event(&self, at: WallMillis) -> Event<'static> {
        let event = Event::new(self.action, Actor::Anonymous, self.outcome).at(at);
        match self.reason {
            Some(reason) => event.with_reason(reason),
            None => event,
        }
    }
}

impl Fold for Refused {
    fn span(&self) -> Span {
        self.span
    }

    fn wider(&self) -> Option<Self> {
        Some(Self { ip: None, ..*self })
    }
}

/// What was refused lately, and what of it is not told yet.
#[derive(Debug)]
pub struct Unproven {
    folds: Mutex<Folds<Refused, ()>>,
    /// What was kept back is about to be told of.
    is_telling: AtomicBool,
}

impl Default for Unproven {
    fn default() -> Self {
        Self {
            folds: Mutex::new(Folds::new(REFUSED_MAX)),
            is_telling: AtomicBool::new(false),
        }
    }
}

impl Unproven {
    fn folds(&self) -> MutexGuard<'_, Folds<Refused, ()>> {
        self.folds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of what was kept back and is due. What can't be recorded now stays counted.
    pub fn tell_kept_back(self: &Arc<Self>, audit: &Logger, now: WallMillis) {
        if !self.is_telling.load(Ordering::Acquire) {
            self.tell_due(audit, When::Now(now), now);
        }
    }

    /// Tells of everything that was kept back: nothing comes any more.
    pub fn tell_the_last(self: &Arc<Self>, audit: &Logger, now: WallMillis) {
        self.tell_due(audit, When::Last, now);
    }

    fn tell_due(self: &Arc<Self>, audit: &Logger, when: When, now: WallMillis) {
        if !self.folds().is_due(when) {
            return;
        }
        self.is_telling.store(true, Ordering::Release);
        let own = Arc::clone(self);
        let write = move |sink: &mut EventSink<'_>| {
            own.is_telling.store(false, Ordering::Release);
            let folded = own.folds().take(when);
            for one in &folded {
                sink.append(&event(one, now));
            }
        };
        // They take no room of others, as they are few and would be lost otherwise.
        if let Err(error) = audit.submit(0, Box::new(write)) {
            self.is_telling.store(false, Ordering::Release);
            tracing::debug!("What was kept back was not recorded: {error}");
        }
    }
}

/// The one event that tells of those that were kept back.
fn event(folded: &Folded<Refused, ()>, at: WallMillis) -> Event<'static> {
    let mut event = folded.key.event(at);
    if let Some(ip) = folded.key.ip {
        event = event.with_client_ip(ip);
    }
    event.with_detail(Key::Count, Value::Number(folded.count))
}

impl State {
    /// Records a refusal, or counts it where many like it were told of just now. `more` is what its own
    /// event says besides.
    pub(crate) fn record_or_fold(
        &self,
        asked: &Asked,
        refused: Refused,
        more: impl FnOnce(Event<'static>) -> Event<'static>,
    ) {
        if self.parts.audit.is_none() {
            return;
        }
        let now = self.parts.clock.wall();
        let unproven = &self.parts.unproven;
        let is_told = unproven.folds().tell(refused, now, || ());
        if is_told {
            let event = asked.told_in(more(refused.event(now)));
            self.record_unproven(&event, "What was refused to somebody");
        }
    }
}
