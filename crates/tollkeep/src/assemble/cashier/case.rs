//! One payment under way, and the writing down of its steps.

use super::rails::Known;
use super::{Cashier, RAIL, SCOPE};
use std::sync::Arc;
use std::time::Duration;
use tollkeep_config::settings::Settings;
use tollkeep_payments::state::{self, Answer, Command, Event, Mode, Row, State};
use tollkeep_payments::x402::{Expected, Network, Receipt};
use tollkeep_store::{NewSession, PaymentChange, PaymentMode, PaymentRecord, PaymentState};
use tollkeep_types::MonoNanos;

/// How often a change is tried that the store did not take.
const TRIES: u32 = 5;
/// How long is waited before the second try; twice as long before each further one.
const PAUSE: Duration = Duration::from_millis(100);
/// When a payment is looked at first that nobody knows about.
const FIRST_LOOK_MS: u64 = 2_000;

/// A payment under way.
pub(super) struct Case {
    pub(super) record: PaymentRecord,
    pub(super) row: Row,
    /// What `/settle` is told.
    pub(super) body: Arc<str>,
    /// Who may settle it, best first.
    pub(super) order: Vec<Arc<Known>>,
    /// When the first byte of what was paid for was about to go out.
    pub(super) head_at: Option<MonoNanos>,
    /// What the delivery came to, where that was said at its end.
    pub(super) due: Option<u64>,
}

/// What is known besides the event.
#[derive(Default)]
pub(super) struct Told {
    pub(super) transaction: Option<String>,
    /// How much is to be settled.
    pub(super) due: Option<u64>,
    pub(super) reason: Option<String>,
    /// The session that it becomes.
    pub(super) opens: Option<NewSession>,
}

/// Why a step was not made.
#[derive(Debug)]
pub(super) enum NotMade {
    /// It has no place here.
    Misplaced,
    /// Somebody else has changed the payment.
    Overtaken,
    /// The store did not take it, and nobody knows whether it did.
    Store,
}

impl NotMade {
    /// What a caller is told: it is not asked to pay again.
    pub(super) const fn answer(&self) -> Answer {
        match self {
            Self::Misplaced | Self::Overtaken => Answer::InProgress,
            Self::Store => Answer::Pending,
        }
    }
}

impl Case {
    pub(super) fn new(record: PaymentRecord, body: Arc<str>, order: Vec<Arc<Known>>) -> Self {
        Self {
            row: row_of(&record),
            record,
            body,
            order,
            head_at: None,
            due: None,
        }
    }

    pub(super) const fn mode(&self) -> Mode {
        match self.record.mode {
            PaymentMode::Before => Mode::Before,
            PaymentMode::After => Mode::After,
            PaymentMode::Upto => Mode::Upto,
        }
    }

    /// What the payer is told of its settlement.
    pub(super) fn receipt(&self) -> Option<Receipt> {
        receipt_of(&self.record)
    }
}

/// What the payer is told of a settlement, where there was one.
pub(super) fn receipt_of(record: &PaymentRecord) -> Option<Receipt> {
    record.received?;
    Some(Receipt {
        success: true,
        transaction: record.transaction.clone().unwrap_or_default(),
        network: Network::from_caip2(&record.network)?,
        payer: record.payer.parse().ok(),
        amount: match record.mode {
            PaymentMode::Before | PaymentMode::After => None,
            PaymentMode::Upto => record.received.map(u128::from),
        },
        error_reason: None,
    })
}

/// What a facilitator's answer about a payment must be about.
pub(super) fn with_expected<T>(
    record: &PaymentRecord,
    settings: &Settings,
    judge: impl FnOnce(&Expected<'_>) -> T,
) -> Option<T> {
    let network = Network::from_caip2(&record.network)?;
    let expected = Expected {
        network: &network,
        networks: &settings.networks,
        payer: record.payer.parse().ok()?,
        amount: record.amount().into(),
    };
    Some(judge(&expected))
}

impl Cashier {
    /// Makes a step and writes it down; gives what is to be done then.
    pub(super) async fn step(
        &self,
        case: &mut Case,
        event: Event,
        told: Told,
    ) -> Result<Vec<Command>, NotMade> {
        let step = state::step(Some(&case.row), case.mode(), event);
        let step = step.map_err(|misplaced| {
            tracing::debug!(payment = %case.record.id, "{misplaced}");
            NotMade::Misplaced
        })?;
        if step.row.version == case.row.version {
            case.row = step.row;
            return Ok(step.commands);
        }
        let to = word_of(step.row.state);
        let change = PaymentChange {
            from: case.record.state,
            version: case.row.version,
            to,
            calls: step.row.calls,
            was_made_good: step.row.was_made_good,
            due: told.due,
            facilitator: None,
            transaction: told.transaction,
            reason: told.reason,
            lease: to.is_worked_on().then(|| self.lease()),
            look_at: (to == PaymentState::Unknown).then(|| self.in_ms(FIRST_LOOK_MS)),
            opens: told.opens,
        };
        let was = case.row.state;
        self.write(case, change).await?;
        let failed = matches!(step.row.state, State::Unknown | State::Voided);
        if case.record.mode == PaymentMode::Upto && failed && was != State::Unknown {
            self.meter.uncollected(RAIL);
        }
        case.row = step.row;
        Ok(step.commands)
    }

    /// Says who is asked to settle from now on, before it is.
    pub(super) async fn pin(&self, case: &mut Case, name: &str) -> Result<(), NotMade> {
        if case.record.facilitator == name {
            return Ok(());
        }
        let change = PaymentChange {
            from: case.record.state,
            version: case.row.version,
            to: case.record.state,
            calls: case.row.calls,
            was_made_good: case.row.was_made_good,
            due: None,
            facilitator: Some(name.to_owned()),
            transaction: None,
            reason: None,
            lease: Some(self.lease()),
            look_at: None,
            opens: None,
        };
        self.write(case, change).await?;
        case.row.version = case.record.version;
        Ok(())
    }

    /// Writes down what is served first comes to by now.
    pub(super) async fn note_due(&self, case: &mut Case, due: u64) -> Result<(), NotMade> {
        if case.row.state != State::Serving || case.record.due == Some(due) {
            return Ok(());
        }
        let change = PaymentChange {
            from: case.record.state,
            version: case.row.version,
            to: case.record.state,
            calls: case.row.calls,
            was_made_good: case.row.was_made_good,
            due: Some(due),
            facilitator: None,
            transaction: None,
            reason: None,
            lease: Some(self.lease()),
            look_at: None,
            opens: None,
        };
        self.write(case, change).await?;
        case.row.version = case.record.version;
        Ok(())
    }

    async fn write(&self, case: &mut Case, change: PaymentChange) -> Result<(), NotMade> {
        let id = case.record.id;
        let mut pause = PAUSE;
        let mut is_doubtful = false;
        for tried in 1..=TRIES {
            match self.store.change_payment(id, change.clone()).await {
                Ok(Some(record)) => {
                    self.note_change(&record);
                    self.record_change(change.from, &record);
                    case.record = record;
                    return Ok(());
                }
                Ok(None) if is_doubtful => return self.look_again(case, &change).await,
                Ok(None) => return Err(NotMade::Overtaken),
                Err(error) => {
                    tracing::error!("Payment {id} can't be written, try {tried}: {error}");
                    is_doubtful = true;
                }
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2);
        }
        Err(NotMade::Store)
    }

    /// Whether a change was made though its answer was lost.
    async fn look_again(&self, case: &mut Case, change: &PaymentChange) -> Result<(), NotMade> {
        let found = self.store.payment(SCOPE, case.record.id).await;
        let found = found.map_err(|_| NotMade::Store)?;
        let is_made = found.state == change.to && found.version == change.version.saturating_add(1);
        if !is_made {
            return Err(NotMade::Overtaken);
        }
        self.note_change(&found);
        self.record_change(change.from, &found);
        case.record = found;
        Ok(())
    }

    /// Tells of a change that is on disk.
    pub(super) fn note_change(&self, record: &PaymentRecord) {
        self.meter.changed(RAIL, record.state.as_str());
        tracing::debug!(
            payment = %record.id,
            state = record.state.as_str(),
            "A payment has changed"
        );
    }
}

pub(super) const fn row_of(record: &PaymentRecord) -> Row {
    Row {
        state: match record.state {
            PaymentState::Pending => State::Pending,
            PaymentState::Serving => State::Serving,
            PaymentState::Settling => State::Settling,
            PaymentState::Unknown => State::Unknown,
            PaymentState::Settled => State::Settled,
            PaymentState::Delivering => State::Delivering,
            PaymentState::Credit => State::Credit,
            PaymentState::Redeeming => State::Redeeming,
            PaymentState::Spent => State::Spent,
            PaymentState::Voided => State::Voided,
            PaymentState::Released => State::Released,
        },
        version: record.version,
        calls: record.calls,
        was_made_good: record.was_made_good,
    }
}

const fn word_of(state: State) -> PaymentState {
    match state {
        State::Pending => PaymentState::Pending,
        State::Serving => PaymentState::Serving,
        State::Settling => PaymentState::Settling,
        State::Unknown => PaymentState::Unknown,
        State::Settled => PaymentState::Settled,
        State::Delivering => PaymentState::Delivering,
        State::Credit => PaymentState::Credit,
        State::Redeeming => PaymentState::Redeeming,
        State::Spent => PaymentState::Spent,
        State::Voided => PaymentState::Voided,
        State::Released => PaymentState::Released,
    }
}
