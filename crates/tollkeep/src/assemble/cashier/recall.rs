//! Answers that payers ask for once more: kept for a day where they named what they bought.

use super::Cashier;
use super::case::{Case, receipt_of};
use super::show::refused;
use tollkeep_crypto::SealContext;
use tollkeep_gateway::{AnswerCopy, Recalled, Recalling, Remembered};
use tollkeep_payments::state::Answer;
use tollkeep_store::{PaymentAnswer, PaymentRecord, PaymentState};

/// Between the kind of a body and the body.
const BREAK: u8 = b'\n';

impl Cashier {
    /// Keeps what was answered: it is there before the payment is spent.
    pub(super) async fn keep_answer(&self, case: &Case, answer: AnswerCopy) {
        let record = &case.record;
        let sealed = answer.body.as_ref().and_then(|body| {
            let mut text = answer.kind.replace('\n', " ").into_bytes();
            text.push(BREAK);
            text.extend_from_slice(body);
            let (tenant, row) = (record.tenant.to_string(), record.id.to_string());
            let place = place(&tenant, &row);
            let keyring = self.chooser.keyring();
            keyring.seal(&text, &place, self.entropy.as_ref()).ok()
        });
        let kept = PaymentAnswer {
            status: answer.status,
            sealed,
        };
        let whose = (record.tenant, record.id);
        if let Err(error) = self.store.keep_payment_answer(whose, kept).await {
            let id = record.id;
            tracing::warn!("What was answered for payment {id} is not kept: {error}");
        }
    }

    /// What is known of a proof that names what it bought.
    pub(super) async fn recall(&self, recalling: &Recalling) -> Recalled {
        let found = self
            .store
            .payment_of_payload(recalling.tenant, recalling.payload_hash);
        let (record, kept) = match found.await {
            Ok(Some(found)) => found,
            Ok(None) => return Recalled::Nothing,
            Err(error) => {
                tracing::error!("What was answered before can't be read: {error}");
                return Recalled::No(refused(Answer::Unavailable, None));
            }
        };
        let id = record.id;
        let no = |answer| Recalled::No(refused(answer, Some(id)));
        let is_same = record.route == *recalling.route && record.request_digest == recalling.digest;
        if !is_same {
            return no(Answer::IdentifierTaken);
        }
        match record.state {
            PaymentState::Spent => match kept {
                Some(kept) => Recalled::Answer(Box::new(self.remembered(&record, &kept))),
                None => Recalled::Nothing,
            },
            PaymentState::Unknown => no(Answer::Pending),
            state if state.is_worked_on() => no(Answer::InProgress),
            PaymentState::Credit
            | PaymentState::Voided
            | PaymentState::Released
            | PaymentState::Pending
            | PaymentState::Serving
            | PaymentState::Settling
            | PaymentState::Settled
            | PaymentState::Delivering
            | PaymentState::Redeeming => Recalled::Nothing,
        }
    }

    fn remembered(&self, record: &PaymentRecord, kept: &PaymentAnswer) -> Remembered {
        let (tenant, row) = (record.tenant.to_string(), record.id.to_string());
        let place = place(&tenant, &row);
        let opened = kept.sealed.as_ref();
        let opened = opened.and_then(|text| self.chooser.keyring().open(text, &place).ok());
        let mut parts = opened.as_ref().map(|text| {
            let mut parts = text.splitn(2, |byte| *byte == BREAK);
            let kind = parts.next().unwrap_or_default();
            (kind, parts.next().unwrap_or_default())
        });
        let (kind, body) = parts.take().unzip();
        Remembered {
            status: kept.status,
            receipt: receipt_of(record),
            kind: String::from_utf8_lossy(kind.unwrap_or_default()).into(),
            body: body.map(Box::from),
        }
    }
}

/// Where a sealed answer belongs.
const fn place<'a>(tenant: &'a str, row: &'a str) -> SealContext<'a> {
    SealContext {
        tenant,
        table: "payment_identifiers",
        row,
        field: "answer",
    }
}
