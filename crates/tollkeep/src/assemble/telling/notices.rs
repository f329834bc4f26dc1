//! Who is told what of something that happened.

use super::Telling;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tollkeep_config::settings::{Receiver, Settings, WebhookEvent};
use tollkeep_crypto::sha256;
use tollkeep_gateway::FailedRequest;
use tollkeep_store::{Happened, Notice, PaymentRecord, PaymentState, SessionRecord, Teller};
use tollkeep_types::{BudgetId, EventId};

/// Failures are written down no faster than this: strangers must not fill the table.
const FAILURE_EVERY: Duration = Duration::from_millis(500);
/// The words of what hooks are told.
const SETTLED: &str = "onSettled";
const ERROR: &str = "onError";

/// Everybody who may be told something, by the digest that rows name them by.
pub(super) fn receivers(settings: &Settings) -> impl Iterator<Item = (String, &Receiver)> {
    let webhooks = settings.webhooks.iter().map(|webhook| &webhook.receiver);
    let of_routes = settings.routes.iter().map(|route| &route.hooks);
    let hooks = std::iter::once(&settings.hooks).chain(of_routes);
    let told = hooks.flat_map(|hooks| hooks.settled.iter().chain(hooks.error.iter()));
    webhooks
        .chain(told)
        .map(|receiver| (key(receiver), receiver))
}

fn key(of: &Receiver) -> String {
    let digest = sha256(&[of.url.to_string().as_bytes()]);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Telling {
    /// The id of something that happens now.
    pub(super) fn event_id(&self) -> String {
        EventId::new(self.clock.as_ref(), self.entropy.as_ref()).to_string()
    }

    /// Who is told what, by the settings in force.
    pub(super) fn teller(self: &Arc<Self>) -> Teller {
        let telling = Arc::clone(self);
        Arc::new(move |happened| match *happened {
            Happened::Payment { from, record } => telling.of_payment(from, record),
            Happened::SessionBegan { session: of } => {
                telling.of_session(WebhookEvent::SessionCreated, &session(of))
            }
            Happened::SessionEnded {
                session: of,
                because,
            } => {
                let mut data = session(of);
                if let Value::Object(members) = &mut data {
                    members.insert("reason".to_owned(), because.as_str().into());
                }
                telling.of_session(WebhookEvent::SessionExpired, &data)
            }
            Happened::Budget { budget, percent } => telling.of_budget(budget, percent),
        })
    }

    fn of_payment(&self, from: PaymentState, record: &PaymentRecord) -> Vec<Notice> {
        let settings = self.reloader.settings();
        let events = events_of(from, record.state);
        let mut notices = Vec::new();
        for event in &events {
            notices.extend(self.of_event(&settings, *event, &payment(record)));
        }
        if events.contains(&WebhookEvent::PaymentSettled) {
            let mut routes = settings.routes.iter();
            let route = routes.find(|route| route.name() == record.route);
            let hooks = route.map_or(&settings.hooks, |route| &route.hooks);
            notices.extend(self.of_hook(SETTLED, &hooks.settled, || settled(record)));
        }
        notices
    }

    fn of_session(&self, event: WebhookEvent, data: &Value) -> Vec<Notice> {
        self.of_event(&self.reloader.settings(), event, data)
    }

    fn of_budget(&self, budget: BudgetId, percent: u8) -> Vec<Notice> {
        let data = json!({ "budget_id": budget.to_string(), "percent": percent });
        let settings = self.reloader.settings();
        self.of_event(&settings, WebhookEvent::BudgetThreshold, &data)
    }

    /// One for each webhook that wants it, all with the same id.
    fn of_event(&self, settings: &Settings, event: WebhookEvent, data: &Value) -> Vec<Notice> {
        let wants = settings
            .webhooks
            .iter()
            .filter(|hook| hook.events.contains(&event));
        let mut wants = wants.peekable();
        if wants.peek().is_none() {
            return Vec::new();
        }
        let id = self.event_id();
        let body = json!({
            "id": id, "event": event.name(), "timestamp": self.clock.wall().to_string(),
            "data": data,
        });
        let body = body.to_string();
        let notice = |receiver: &Receiver| Notice {
            id: id.clone(),
            receiver: key(receiver),
            event: event.name(),
            body: body.clone(),
        };
        wants.map(|hook| notice(&hook.receiver)).collect()
    }

    /// One for each step of a hook that only tells.
    fn of_hook(
        &self,
        hook: &'static str,
        to: &[Receiver],
        facts: impl FnOnce() -> Value,
    ) -> Vec<Notice> {
        if to.is_empty() {
            return Vec::new();
        }
        let id = self.event_id();
        let mut body = facts();
        if let Value::Object(members) = &mut body {
            members.insert("hook".to_owned(), hook.into());
            members.insert("id".to_owned(), id.clone().into());
            let at = self.clock.wall().to_string();
            members.insert("timestamp".to_owned(), at.into());
        }
        let body = body.to_string();
        let notice = |receiver: &Receiver| Notice {
            id: id.clone(),
            receiver: key(receiver),
            event: hook,
            body: body.clone(),
        };
        to.iter().map(notice).collect()
    }

    /// Writes down which requests failed, for those who want to know.
    pub(super) async fn keep_failures(self: Arc<Self>, mut come: mpsc::Receiver<FailedRequest>) {
        let mut ticks = tokio::time::interval(FAILURE_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while let Some(failed) = come.recv().await {
            ticks.tick().await;
            let notices = self.of_hook(ERROR, &failed.to, || failure(&failed));
            if let Err(error) = self.store.add_notices(notices).await {
                tracing::warn!("A failed request is not told to `onError`: {error}");
            }
        }
    }
}

/// What a change of a payment is to those who are told of it.
fn events_of(from: PaymentState, to: PaymentState) -> Vec<WebhookEvent> {
    const fn is_here(state: PaymentState) -> bool {
        match state {
            PaymentState::Settled
            | PaymentState::Delivering
            | PaymentState::Credit
            | PaymentState::Redeeming
            | PaymentState::Spent => true,
            PaymentState::Pending
            | PaymentState::Serving
            | PaymentState::Settling
            | PaymentState::Unknown
            | PaymentState::Voided
            | PaymentState::Released => false,
        }
    }
    let mut events = Vec::new();
    if from == to {
        return events;
    }
    if from == PaymentState::Unknown {
        events.push(WebhookEvent::PaymentResolved);
    }
    if !is_here(from) && is_here(to) {
        events.push(WebhookEvent::PaymentSettled);
    }
    match to {
        PaymentState::Unknown => events.push(WebhookEvent::PaymentUnknown),
        // One that was not redeemed is what it was before.
        PaymentState::Credit if from != PaymentState::Redeeming => {
            events.push(WebhookEvent::PaymentCredit);
        }
        PaymentState::Pending
        | PaymentState::Serving
        | PaymentState::Settling
        | PaymentState::Settled
        | PaymentState::Delivering
        | PaymentState::Credit
        | PaymentState::Redeeming
        | PaymentState::Spent
        | PaymentState::Voided
        | PaymentState::Released => {}
    }
    events
}

fn payment(record: &PaymentRecord) -> Value {
    json!({
        "payment_id": record.id.to_string(),
        "tenant_id": record.tenant.to_string(),
        "request_id": record.request.to_string(),
        "route": record.route,
        "state": record.state.as_str(),
        "rail": "x402",
        "network": record.network,
        "asset": record.symbol,
        "unit": record.unit,
        "decimals": record.decimals,
        "amount": record.received.unwrap_or(record.quoted).to_string(),
        "payer": record.payer,
        "pay_to": record.pay_to,
        "transaction": record.transaction,
        "reason": record.reason,
    })
}

/// A session, without anything that its token could be made of.
fn session(of: &SessionRecord) -> Value {
    json!({
        "session_id": of.id.to_string(),
        "tenant_id": of.tenant.to_string(),
        "payment_id": of.payment.to_string(),
        "route": of.scope,
        "model": of.model.as_str(),
        "rail": "x402",
        "asset": of.symbol,
        "unit": of.unit,
        "decimals": of.decimals,
        "paid": of.paid.to_string(),
        "balance": of.money.to_string(),
        "held": of.held.to_string(),
        "calls": of.calls,
        "payer": of.payer,
        "expires_at": of.expires_at.to_string(),
    })
}

fn settled(record: &PaymentRecord) -> Value {
    let key = record.key.iter();
    let key: String = key.map(|byte| format!("{byte:02x}")).collect();
    json!({
        "request_id": record.request.to_string(),
        "route": record.route,
        "payment": {
            "id": record.id.to_string(),
            "rail": "x402",
            "payer": record.payer,
            "asset": record.symbol,
            "network": record.network,
            "amount": record.received.unwrap_or(record.quoted).to_string(),
            "key": key,
        },
    })
}

fn failure(failed: &FailedRequest) -> Value {
    json!({
        "request_id": failed.request.to_string(),
        "route": failed.route.as_deref(),
        "request": { "method": failed.method },
        "error": { "code": failed.code, "status": failed.status },
        "payment": failed.payment.as_ref().map(|id| json!({ "id": id })),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // PAY-80
    #[test]
    fn each_change_is_told_as_what_it_is() {
        use PaymentState as State;
        use WebhookEvent as Event;
        let told: [(State, State, &[Event]); 10] = [
            (State::Pending, State::Settling, &[]),
            (State::Settling, State::Settled, &[Event::PaymentSettled]),
            (State::Settling, State::Unknown, &[Event::PaymentUnknown]),
            (State::Settling, State::Voided, &[]),
            (State::Unknown, State::Voided, &[Event::PaymentResolved]),
            (
                State::Unknown,
                State::Credit,
                &[
                    Event::PaymentResolved,
                    Event::PaymentSettled,
                    Event::PaymentCredit,
                ],
            ),
            (State::Settled, State::Credit, &[Event::PaymentCredit]),
            (State::Delivering, State::Spent, &[]),
            (State::Redeeming, State::Credit, &[]),
            (State::Pending, State::Pending, &[]),
        ];
        for (from, to, want) in told {
            assert_eq!(events_of(from, to), want, "{from:?} {to:?}");
        }
    }
}
