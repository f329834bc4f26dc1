//! What the audit log says of payments: an event for each change that is on disk, with the hashes of
//! the ledger's entries that it made.

use super::{Cashier, RAIL};
use std::sync::atomic::Ordering;
use tollkeep_audit::{Action, Actor, Event, Key, Outcome, Value};
use tollkeep_store::{PaymentRecord, PaymentState};
use tollkeep_types::SessionId;

/// Of so many callers that are asked to pay one is recorded, the first one first.
const ASKED_EVERY: u64 = 100;

/// Where the money of a payment is.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Money {
    Elsewhere,
    Owed,
    Earned,
}

const fn money(state: PaymentState) -> Money {
    match state {
        PaymentState::Pending
        | PaymentState::Serving
        | PaymentState::Settling
        | PaymentState::Unknown
        | PaymentState::Voided
        | PaymentState::Released => Money::Elsewhere,
        PaymentState::Settled
        | PaymentState::Delivering
        | PaymentState::Credit
        | PaymentState::Redeeming => Money::Owed,
        PaymentState::Spent => Money::Earned,
    }
}

/// What a change is called; `None` if it is told by another event.
const fn called(from: PaymentState, to: PaymentState) -> Option<(Action, Outcome)> {
    match (from, to, money(from), money(to)) {
        (PaymentState::Unknown, PaymentState::Unknown, ..)
        | (PaymentState::Voided, PaymentState::Voided, ..) => None,
        (PaymentState::Unknown, ..) => Some((Action::PaymentResolve, Outcome::Success)),
        (_, PaymentState::Unknown, ..) => Some((Action::PaymentUnknown, Outcome::Error)),
        (_, PaymentState::Voided, ..) => Some((Action::PaymentVoid, Outcome::Failure)),
        (.., Money::Elsewhere, Money::Owed | Money::Earned) => {
            Some((Action::PaymentSettle, Outcome::Success))
        }
        (.., Money::Owed, Money::Earned) => Some((Action::MoneySettle, Outcome::Success)),
        (.., Money::Elsewhere, Money::Elsewhere)
        | (.., Money::Owed, Money::Owed | Money::Elsewhere)
        | (.., Money::Earned, _) => None,
    }
}

/// The event of a payment, with the entries that it made.
fn of(record: &PaymentRecord, called: (Action, Outcome)) -> Event<'static> {
    let event = about(record, called);
    let digests = tollkeep_store::ledger::digests(&record.made);
    if digests.is_empty() {
        return event;
    }
    event.with_detail(Key::EntryDigest, Value::OwnedWord(digests.into()))
}

fn about(record: &PaymentRecord, (action, outcome): (Action, Outcome)) -> Event<'static> {
    let word = |text: String| Value::OwnedWord(text.into());
    Event::new(action, Actor::System, outcome)
        .with_tenant_id(record.tenant)
        .with_request_id(record.request)
        .with_detail(Key::Payment, word(record.id.to_string()))
        .with_detail(Key::Rail, Value::Word(RAIL))
        .with_detail(Key::Kind, Value::Word(record.state.as_str()))
        .with_detail(Key::Units, Value::Number(record.amount()))
        .with_detail(Key::Asset, word(record.unit.clone()))
        .with_detail(Key::Route, Value::Text(record.route.clone().into()))
}

fn because(event: Event<'static>, reason: Option<&str>) -> Event<'static> {
    match reason {
        Some(reason) => event.with_detail(Key::Reason, Value::Text(reason.to_owned().into())),
        None => event,
    }
}

impl Cashier {
    /// Records a change that is on disk.
    pub(super) fn record_change(&self, from: PaymentState, record: &PaymentRecord) {
        if let Some(called) = called(from, record.state) {
            let reason = match called.1 {
                Outcome::Success => None,
                Outcome::Failure | Outcome::Denied | Outcome::Error => record.reason.as_deref(),
            };
            self.record(&because(of(record, called), reason));
        }
    }

    /// Records what a facilitator said of a proof.
    pub(super) fn record_verified(&self, record: &PaymentRecord, refused: Option<&str>) {
        let outcome = match refused {
            Some(_) => Outcome::Failure,
            None => Outcome::Success,
        };
        self.record(&because(
            of(record, (Action::PaymentVerify, outcome)),
            refused,
        ));
    }

    /// Records that a payment became a session. Its entries are told of by the payment's own event.
    pub(super) fn record_opened(&self, record: &PaymentRecord, session: SessionId) {
        let name = Value::OwnedWord(session.to_string().into());
        let event = about(record, (Action::SessionOpen, Outcome::Success));
        self.record(&event.with_detail(Key::Name, name));
    }

    /// Records one of many callers that were asked to pay.
    pub(super) fn record_asked(&self) {
        let before = self.asked.fetch_add(1, Ordering::Relaxed);
        if before.is_multiple_of(ASKED_EVERY) {
            let event = Event::new(Action::PaymentChallenge, Actor::System, Outcome::Success)
                .with_detail(Key::Rail, Value::Word(RAIL))
                .with_detail(Key::Count, Value::Number(before.saturating_add(1)));
            self.record(&event);
        }
    }

    fn record(&self, event: &Event<'_>) {
        let Some(audit) = &self.audit else { return };
        if let Err(error) = audit.enqueue(&event.clone().at(self.now())) {
            tracing::error!("A change of a payment is not recorded: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // AUD-10 PAY-96
    #[test]
    fn each_change_is_told_by_one_event() {
        use PaymentState as State;
        for (from, to, want) in [
            (State::Pending, State::Settling, None),
            (State::Settling, State::Settled, Some("payment.settle")),
            (State::Settling, State::Spent, Some("payment.settle")),
            (State::Settling, State::Voided, Some("payment.void")),
            (State::Settling, State::Unknown, Some("payment.unknown")),
            (State::Unknown, State::Unknown, None),
            (State::Unknown, State::Credit, Some("payment.resolve")),
            (State::Unknown, State::Voided, Some("payment.resolve")),
            (State::Settled, State::Delivering, None),
            (State::Delivering, State::Credit, None),
            (State::Delivering, State::Spent, Some("money.settle")),
            (State::Pending, State::Released, None),
            (State::Voided, State::Voided, None),
        ] {
            let told = called(from, to).map(|(action, _)| action.as_str());
            assert_eq!(told, want, "{from:?} {to:?}");
        }
    }
}
