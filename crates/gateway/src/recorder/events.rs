//! The audit events of a request.

use super::{Recorder, held};
use crate::folds::{FoldKey, Seen};
use crate::record::{Facts, RefusedAs, UsageFault};
use tollkeep_audit::{Action, Actor, ActorId, Event, EventSink, Key, Outcome, Value};
use tollkeep_config::settings::{AccessSuccess, ProxyRequests};
use tollkeep_observe::RequestOutcome;

impl Recorder {
    pub(super) fn write_events(&self, facts: &Facts, sink: &mut EventSink<'_>) {
        if facts.header_spoof {
            self.write_refused(facts, Action::SecurityViolation, "header_spoof", sink);
        }
        if facts.is_let_in() {
            self.write_use(facts, sink);
        }
        match facts.refusal.map(|(_, sort)| sort) {
            Some(RefusedAs::Authn(failure)) => {
                let reason = Some(failure.reason());
                let (action, outcome) = (facts.access(), Outcome::Failure);
                self.write_one(facts, (action, outcome, reason), sink);
            }
            Some(RefusedAs::Binding(reason)) => {
                self.write_refused(facts, facts.access(), reason, sink);
            }
            Some(RefusedAs::Denied(reason)) => {
                self.write_refused(facts, Action::IpDenied, reason, sink);
            }
            Some(RefusedAs::Rejected(reason)) => {
                self.write_refused(facts, Action::RequestRejected, reason, sink);
            }
            Some(RefusedAs::RateLimit(class, by)) => {
                self.write_first(FoldKey::limit(facts, class, by), facts, sink);
            }
            Some(RefusedAs::Egress(reason)) => {
                self.write_refused(facts, Action::EgressBlocked, reason, sink);
                self.write_refused(facts, Action::SecurityViolation, "egress", sink);
            }
            Some(RefusedAs::Violation(kind)) => {
                self.write_refused(facts, Action::SecurityViolation, kind, sink);
            }
            Some(RefusedAs::Other | RefusedAs::Unpaid) | None => {}
        }
        if let Some(fault) = facts.usage_fault() {
            self.write_usage_fault(facts, fault, sink);
        }
        if facts.is_call {
            self.write_call(facts, sink);
        }
    }

    /// What is wrong with a call's usage: each time if an upstream tells nonsense, and of what has no
    /// price once a minute.
    fn write_usage_fault(&self, facts: &Facts, fault: UsageFault, sink: &mut EventSink<'_>) {
        match fault {
            UsageFault::Implausible => {
                let (action, reason) = (Action::LedgerUsageImplausible, Some("malformed"));
                sink.append(&event(facts, action, Outcome::Error, reason));
            }
            UsageFault::Unpriced => {
                let key = FoldKey::call(facts, Action::LedgerUnpriced, "unpriced");
                self.write_first(key, facts, sink);
            }
        }
    }

    /// That a token was shown and let in.
    fn write_use(&self, facts: &Facts, sink: &mut EventSink<'_>) {
        let Some(token) = &facts.token else {
            return;
        };
        let action = facts.access();
        match self.sinks.access_success {
            AccessSuccess::Off => {}
            AccessSuccess::All => {
                sink.append(&event(facts, action, Outcome::Success, None));
            }
            AccessSuccess::First => {
                let seen = || Seen::of(facts);
                if held(&self.used).tell(FoldKey::used(token.id, action), facts.at, seen) {
                    let mut event = event(facts, action, Outcome::Success, None);
                    event.add_detail(Key::Count, Value::Number(1));
                    sink.append(&event);
                }
            }
        }
    }

    /// The one `proxy_request` event of a call.
    fn write_call(&self, facts: &Facts, sink: &mut EventSink<'_>) {
        let (outcome, reason) = call_end(facts);
        match outcome {
            Outcome::Success if self.sinks.proxy_requests == ProxyRequests::Errors => {}
            Outcome::Denied | Outcome::Failure => {
                self.write_one(facts, (Action::ProxyRequest, outcome, reason), sink);
            }
            Outcome::Success | Outcome::Error => {
                sink.append(&event(facts, Action::ProxyRequest, outcome, reason));
            }
        }
    }

    fn write_refused(
        &self,
        facts: &Facts,
        action: Action,
        reason: &'static str,
        sink: &mut EventSink<'_>,
    ) {
        self.write_one(facts, (action, Outcome::Denied, Some(reason)), sink);
    }

    /// An event that is told of by itself unless too many like it come in a second.
    fn write_one(
        &self,
        facts: &Facts,
        (action, outcome, reason): (Action, Outcome, Option<&'static str>),
        sink: &mut EventSink<'_>,
    ) {
        let key = FoldKey::refused(facts, action, outcome, reason);
        if held(&self.refused).tell(key, facts.at, || Seen::of(facts)) {
            sink.append(&event(facts, action, outcome, reason));
        }
    }

    /// The first event of its key and minute.
    fn write_first(&self, key: FoldKey, facts: &Facts, sink: &mut EventSink<'_>) {
        if held(&self.refused).tell(key, facts.at, || Seen::of(facts)) {
            let mut event = event(facts, key.action, key.outcome, key.reason);
            event.add_detail(Key::Count, Value::Number(1));
            sink.append(&event);
        }
    }
}

/// HOT. The reason is given here, as an event that is whole is large to move.
fn event<'f>(
    facts: &'f Facts,
    action: Action,
    outcome: Outcome,
    reason: Option<&'static str>,
) -> Event<'f> {
    let actor = if facts.token.is_some() {
        Actor::Client
    } else {
        Actor::Anonymous
    };
    let mut event = Event::new(action, actor, outcome)
        .at(facts.at)
        .with_request_id(facts.id)
        .with_client_ip(facts.client_ip);
    if let Some(token) = &facts.token {
        event = event
            .with_tenant_id(token.project.tenant_id)
            .with_project_id(token.project.id)
            .with_actor_id(ActorId::Token(token.id));
    }
    if let Some(id) = &facts.correlation_id {
        event = event.with_correlation_id(&**id);
    }
    if let Some(reason) = reason {
        event = event.with_reason(reason);
    }
    add_details(&mut event, facts, action);
    event
}

/// Adds what an event of a request tells, in the order of the keys; more if it is the request's
/// own.
fn add_details<'f>(event: &mut Event<'f>, facts: &'f Facts, action: Action) {
    let own = Some(facts).filter(|_| {
        matches!(
            action,
            Action::ProxyRequest | Action::LedgerUnpriced | Action::LedgerUsageImplausible
        )
    });
    event.add_detail(Key::HttpMethod, Value::Word(facts.method));
    if let Some(own) = own {
        let ms = own.duration_ns / 1_000_000;
        event.add_detail(Key::DurationMs, Value::Number(ms));
    }
    let is_access = action == facts.access();
    let shown = Some(facts).filter(|_| is_access);
    let shown = shown.and_then(|facts| facts.shown.as_deref());
    if let Some(token) = &facts.token {
        event.add_detail(Key::TokenId, Value::Word(&token.hint));
    } else if let Some(shown) = shown {
        event.add_detail(Key::TokenId, Value::Text((&*shown.masked).into()));
    }
    if let Some(agent) = &facts.user_agent {
        event.add_detail(Key::UserAgent, Value::Text((&**agent).into()));
    }
    if let Some(token) = &facts.token {
        event.add_detail(Key::TokenRef, Value::TokenRef(token.id));
    }
    match (&facts.token, shown) {
        (Some(token), _) if is_access => {
            event.add_detail(Key::Fingerprint, Value::Word(&token.fingerprint));
        }
        (None, Some(shown)) => {
            event.add_detail(Key::Fingerprint, Value::Word(&shown.fingerprint));
        }
        (Some(_) | None, _) => {}
    }
    if let Some(own) = own {
        event.add_detail(Key::StatusCode, Value::Number(own.status.into()));
        let llm = own.llm.as_ref();
        if let Some(model) = llm.and_then(|llm| llm.model_asked.as_deref()) {
            event.add_detail(Key::Model, Value::Text(model.into()));
        }
        if let Some(asked) = &own.asked {
            event.add_detail(Key::Provider, Value::Word(&asked.name));
        }
    }
    event.add_detail(Key::Route, Value::Word(facts.route()));
    if let Some(paid) = own.and_then(|own| own.paid.as_ref()) {
        event.add_detail(Key::Amount, Value::Text((&*paid.amount).into()));
        event.add_detail(Key::Payment, Value::Text((&*paid.payment).into()));
        event.add_detail(Key::Rail, Value::Word("x402"));
    }
    if let Some(certificate) = &facts.certificate {
        event.add_certificate(certificate.told());
    }
}

/// How a call ended, and why.
fn call_end(facts: &Facts) -> (Outcome, Option<&'static str>) {
    let outcome = match facts.outcome {
        RequestOutcome::Served => Outcome::Success,
        RequestOutcome::Refused => Outcome::Denied,
        RequestOutcome::UpstreamError
        | RequestOutcome::Timeout
        | RequestOutcome::Cut
        | RequestOutcome::CallerGone
        | RequestOutcome::Error => Outcome::Error,
    };
    let reason = match facts.refusal {
        Some((code, _)) => Some(code),
        None if facts.outcome == RequestOutcome::Served => None,
        None => Some(facts.outcome.as_str()),
    };
    (outcome, reason)
}
