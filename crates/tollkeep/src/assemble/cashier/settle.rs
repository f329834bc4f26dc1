//! Having a payment settled: once, by one facilitator, unless nothing ever reached it.

use super::Cashier;
use super::case::{Case, NotMade, Told, with_expected};
use std::borrow::Cow;
use std::sync::Arc;
use tollkeep_observe::metrics::{PaymentPhase, Settlement};
use tollkeep_payments::state::{self, Command, Event};
use tollkeep_payments::x402::{SettleOutcome, settle_outcome, settlement_of};
use tollkeep_store::PaymentRecord;

impl Cashier {
    /// Has it settled; gives what is to be done then.
    pub(super) async fn settle(&self, case: &mut Case) -> Result<Vec<Command>, NotMade> {
        loop {
            self.pin_best(case).await?;
            let told = Told {
                due: case.due,
                ..Told::default()
            };
            self.step(case, Event::SettleCalled, told).await?;
            let (event, told) = self.tell(case).await?;
            let is_settled = event == state::Told::Settled;
            let commands = self.step(case, Event::SettleTold(event), told).await?;
            if !commands.contains(&Command::Settle) {
                self.meter.settlement(if is_settled {
                    Settlement::Success
                } else {
                    Settlement::Failure
                });
                return Ok(commands);
            }
        }
    }

    async fn pin_best(&self, case: &mut Case) -> Result<(), NotMade> {
        let best = case.order.first();
        let best = best.map(|known| known.facilitator.name().to_owned());
        match best {
            Some(best) => self.pin(case, &best).await,
            None => Ok(()),
        }
    }

    /// Tells facilitators, one after the other, until one has heard it.
    async fn tell(&self, case: &mut Case) -> Result<(state::Told, Told), NotMade> {
        let rails = self.rails.load_full();
        let key = hex(&case.record.key);
        let whole = Arc::clone(&case.body);
        let Some(body) = due_body(&case.record, &whole) else {
            return Ok((state::Told::Unknown, Told::default()));
        };
        while let Some(known) = case.order.first().cloned() {
            self.pin(case, known.facilitator.name()).await?;
            let began = self.clock.mono();
            let reply = known.facilitator.settle(&body, &key).await;
            self.took(PaymentPhase::Settle, began);
            let outcome = with_expected(&case.record, &rails.settings, |expected| {
                settle_outcome(&reply.answered(), expected)
            });
            match outcome {
                Some(SettleOutcome::Unsent) if case.order.len() > 1 => {
                    case.order.remove(0);
                }
                Some(outcome) => {
                    let (told, more) = meant(outcome);
                    known.health.note(told);
                    return Ok((told, more));
                }
                None => return Ok((state::Told::Unknown, Told::default())),
            }
        }
        Ok((state::Told::Unsent, Told::default()))
    }
}

/// What a facilitator is told, by what is kept for the whole amount: the same bytes for each repeat.
pub(super) fn due_body<'b>(record: &PaymentRecord, whole: &'b str) -> Option<Cow<'b, str>> {
    match record.due {
        Some(due) if due < record.quoted => settlement_of(whole, due.into()).map(Cow::Owned),
        Some(_) | None => Some(Cow::Borrowed(whole)),
    }
}

/// What an outcome is to the payment, and what is known besides.
pub(super) fn meant(outcome: SettleOutcome) -> (state::Told, Told) {
    let with = |transaction: Option<String>, reason: Option<String>| Told {
        transaction: transaction.filter(|text| !text.is_empty()),
        reason,
        ..Told::default()
    };
    match outcome {
        SettleOutcome::Settled { transaction, .. } => {
            (state::Told::Settled, with(Some(transaction), None))
        }
        SettleOutcome::Refused(reason) => (state::Told::Refused, with(None, Some(reason))),
        SettleOutcome::NonceUsed => {
            let reason = "invalid_exact_evm_nonce_already_used".to_owned();
            (state::Told::NonceUsed, with(None, Some(reason)))
        }
        SettleOutcome::Pending(transaction) => {
            (state::Told::Pending, with(Some(transaction), None))
        }
        SettleOutcome::Unsent => (state::Told::Unsent, Told::default()),
        SettleOutcome::Unknown { transaction } => (state::Told::Unknown, with(transaction, None)),
    }
}

/// The digits of bytes.
pub(super) fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
    let pairs = bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]);
    pairs.collect()
}
