//! How callers are told of payments: what they are asked for, why something will not do, and on
//! every answer behind a settlement, that money moved.

use super::call::{CHARGED, payment_field};
use super::page::{self, Page};
use super::sold::{Asking, Sold};
use super::{NotPaid, PaidCall};
use crate::answer::Body;
use crate::lifecycle::{Exchange, Stop};
use crate::pump::write_piece;
use crate::refusal::Refusal;
use std::time::Duration;
use tollkeep_http1::{Known, write};
use tollkeep_payments::session::broken_off_event;
use tollkeep_payments::state::Answer;
use tollkeep_payments::x402::{Challenge, Problem, Reason, Scheme};

/// Why a request is not served for want of money that will do.
#[derive(Clone, Debug)]
pub(crate) struct PaymentNo {
    pub(crate) status: u16,
    pub(crate) code: &'static str,
    pub(crate) text: &'static str,
    pub(crate) retry_after: Option<Duration>,
    /// `PAYMENT-REQUIRED`.
    field: Option<Box<str>>,
    body: Box<str>,
    /// Instead of `body`, for people.
    page: Option<Box<Page>>,
}

/// A row of the table of payments.
#[derive(Clone, Copy)]
pub(super) struct Row {
    status: u16,
    code: &'static str,
    text: &'static str,
    retry_after_s: Option<u64>,
}

const fn row(status: u16, code: &'static str, text: &'static str) -> Row {
    Row {
        status,
        code,
        text,
        retry_after_s: None,
    }
}

impl Row {
    const fn retry(self, seconds: u64) -> Self {
        Self {
            retry_after_s: Some(seconds),
            ..self
        }
    }
}

const UNAVAILABLE_TEXT: &str = "Payments can't be taken at the moment. Nothing was charged.";

impl PaymentNo {
    /// What whoever shows nothing is told.
    pub(crate) const REQUIRED: &'static str = "payment_required";

    /// Whether a code is about credit that was asked for, with or without a payment.
    pub(crate) fn is_of_credit(code: &str) -> bool {
        let rows = [
            Self::NO_CREDIT,
            Self::CREDIT_IN_SATS,
            Self::CREDIT_NOT_SOLD,
            Self::CREDIT_OUT_OF_BOUNDS,
        ];
        rows.iter().any(|row| row.code == code)
    }

    pub(super) const UNAVAILABLE: Row = row(503, "payment_unavailable", UNAVAILABLE_TEXT).retry(5);
    pub(super) const PAYER_LIMIT: Row = row(
        429,
        "payer_limit",
        "This payer has as much running as it may.",
    )
    .retry(1);
    pub(super) const AMBIGUOUS: Row = row(
        400,
        "ambiguous_credentials",
        "Two payments came with one request.",
    );
    pub(super) const MALFORMED: Row = row(400, "invalid_payment", "The payment can't be read.");
    pub(super) const UNNAMED: Row = row(
        400,
        "payment_identifier_required",
        "Payments here need an identifier, as extension `payment-identifier` of x402 version 2.",
    );
    pub(super) const NO_CREDIT: Row = row(
        400,
        "invalid_credit",
        "The credit that is asked for can't be read. Write dollars: `X-Tollkeep-Credit: $5`.",
    );
    pub(super) const CREDIT_IN_SATS: Row = row(
        400,
        "credit_not_supported",
        "Sats are paid by Lightning, which is not supported. Write `X-Tollkeep-Credit: $5`.",
    );
    pub(super) const CREDIT_NOT_SOLD: Row = row(400, "credit_not_sold", "No credit is sold here.");
    const CREDIT_OUT_OF_BOUNDS: Row = row(
        400,
        "credit_out_of_bounds",
        "So much credit is not sold here. Nothing was charged.",
    );
    /// Somebody else delivers for it, or it can't be kept.
    pub(super) const PENDING: Row = of_answer(Answer::Pending);
}

/// What is told of what became of a payment.
pub(super) const fn of_answer(answer: Answer) -> Row {
    let (status, code) = answer.told();
    match answer {
        Answer::InProgress => row(status, code, "This payment is being worked on.").retry(1),
        Answer::Pending => row(
            status,
            code,
            "What became of this payment is not known yet. Show it again later, and don't pay anew.",
        )
        .retry(5),
        Answer::Unavailable => row(status, code, UNAVAILABLE_TEXT).retry(5),
        Answer::AlreadyUsed => row(status, code, "This payment was used."),
        Answer::SettlementFailed => row(status, code, "This payment could not be settled."),
        Answer::NotCovered => row(status, code, "This payment is for less than this request costs."),
        Answer::Uncollected => row(
            status,
            code,
            "This payer was served and has not paid for it: it pays first for now.",
        ),
        Answer::Exhausted => row(status, code, "Nothing is left of what was paid for. Pay again."),
        Answer::SessionEnded => row(status, code, "What was paid for has ended. Pay again."),
        Answer::NoSession => row(
            status,
            code,
            "The session token is none of this route.",
        ),
        Answer::Owed => row(
            status,
            code,
            "Paid, and nothing was delivered yet. Show the same payment again.",
        ),
        Answer::IdentifierTaken => row(
            status,
            code,
            "This payment identifier stands for another payment or request. Nothing was charged.",
        ),
        Answer::NothingBought => row(status, code, "This request is paid for."),
    }
}

impl<'p> Exchange<'p> {
    pub(super) fn payment_no(&self, row: Row) -> Refusal {
        self.payment_told(row, None, None, None)
    }

    fn payment_told(
        &self,
        row: Row,
        asked: Option<(&Sold, &Asking, Option<Reason>)>,
        payment: Option<&str>,
        why: Option<&str>,
    ) -> Refusal {
        let credit = asked.and_then(|(sold, asking, _)| Some((sold, asking.credit.as_ref()?)));
        if let Some((sold, Some(fault))) = credit.map(|(sold, it)| (sold, it.fault.as_deref())) {
            let (row, why) = match sold.credit {
                Some(_) => (PaymentNo::CREDIT_OUT_OF_BOUNDS, Some(fault)),
                None => (PaymentNo::CREDIT_NOT_SOLD, None),
            };
            return self.payment_told(row, None, payment, why);
        }
        let credit = credit.map(|(_, credit)| credit.price().to_string());
        let id = self.work.facts.id.to_string();
        let problem = Problem {
            status: row.status,
            code: row.code,
            detail: row.text,
            request_id: &id,
            payment_id: payment,
            reason: why,
            credit: credit.as_deref(),
        };
        let (field, body, page) = match asked {
            None => (None, problem.body(), None),
            Some((sold, asking, reason)) => {
                if let Some(door) = self.worker.shared.payments.get() {
                    door.asked();
                }
                let quotes = self.quotes(sold, asking);
                let extensions = sold.extensions(self.work.head.method.as_str());
                let challenge = Challenge {
                    resource: &asking.resource,
                    offers: &asking.offers,
                    quotes: &quotes,
                    reason,
                    extensions: &extensions,
                };
                let field = challenge.payment_required(sold.challenge_bytes_max);
                let page = self.page(sold, asking, (field.as_deref(), reason, row.text));
                (field, challenge.body(&sold.networks, &problem), page)
            }
        };
        Refusal::Payment(Box::new(PaymentNo {
            status: row.status,
            code: row.code,
            text: row.text,
            retry_after: row.retry_after_s.map(Duration::from_secs),
            field: field.map(String::into_boxed_str),
            body: body.into(),
            page,
        }))
    }

    fn quotes(&self, sold: &Sold, asking: &Asking) -> Vec<String> {
        let now_s = self.work.facts.at.0 / 1000;
        let hasher = &self.worker.shared.hasher;
        let offers = asking.offers.iter();
        offers
            .map(|offer| sold.tag(asking, offer, now_s, hasher))
            .collect()
    }

    /// What is told of a proof that can't be answered again now.
    pub(super) fn recalled_no(&self, answer: Answer, payment: Option<&str>) -> Refusal {
        self.payment_told(of_answer(answer), None, payment, None)
    }

    /// The one 402.
    pub(super) fn ask_payment(
        &self,
        sold: &Sold,
        asking: &Asking,
        reason: Option<Reason>,
    ) -> Refusal {
        let row = match reason {
            None => row(402, PaymentNo::REQUIRED, "This request is paid for."),
            Some(reason) => row(
                402,
                reason.code(),
                "The payment will not do for this request.",
            ),
        };
        self.payment_told(row, Some((sold, asking, reason)), None, None)
    }

    /// The same, to whoever has nothing left of what it paid for.
    pub(super) fn ask_again(&self, sold: &Sold, asking: &Asking, row: Row) -> Refusal {
        self.payment_told(row, Some((sold, asking, None)), None, None)
    }

    /// What is told where those who keep payments said no.
    pub(super) fn not_paid(&self, sold: &Sold, asking: &Asking, no: &NotPaid) -> Refusal {
        let row = of_answer(no.answer);
        let reason = match no.answer {
            Answer::AlreadyUsed => Some(Reason::AlreadyUsed),
            Answer::SettlementFailed => Some(Reason::SettlementFailed),
            Answer::Uncollected => Some(Reason::Uncollected),
            // The payment is good, and used up.
            Answer::Exhausted
            | Answer::SessionEnded
            | Answer::NoSession
            | Answer::NothingBought => None,
            Answer::InProgress
            | Answer::Pending
            | Answer::Unavailable
            | Answer::NotCovered
            | Answer::Owed
            | Answer::IdentifierTaken => Some(Reason::PriceMismatch),
        };
        let mut first = None;
        if no.answer == Answer::Uncollected {
            let mut asking = asking.clone();
            asking.offers.retain(|offer| offer.scheme == Scheme::Exact);
            first = Some(asking);
        }
        let asking = first.as_ref().unwrap_or(asking);
        let asked = no.answer.has_challenge().then_some((sold, asking, reason));
        let payment = no.payment.map(|payment| payment.to_string());
        // A payer that has to allow Permit2 first is told so by a status of its own.
        let row = match no.reason.as_deref() {
            Some("permit2_allowance_required") => Row {
                status: 412,
                code: "permit2_allowance_required",
                ..row
            },
            _ => row,
        };
        self.payment_told(row, asked, payment.as_deref(), no.reason.as_deref())
    }

    /// Asks a caller to pay whose token has nothing left to spend.
    pub(crate) fn write_asked(&mut self) {
        let sold = self.sold.filter(|sold| sold.takes_payment);
        let Some(sold) = sold.filter(|_| !self.is_unpriced()) else {
            return;
        };
        let Ok(Some(asking)) = self.asking(sold) else {
            return;
        };
        if self.worker.shared.payments.get().is_none() {
            return;
        }
        if let Refusal::Payment(no) = self.ask_payment(sold, &asking, None)
            && let Some(field) = &no.field
        {
            write::field(&mut self.work.out, b"payment-required", field.as_bytes());
        }
    }

    /// Tells the reader of an event stream that breaks off what became of its money: the fields that
    /// say so are out.
    pub(crate) fn tell_broken_off(&mut self, chunked: bool) {
        let (answer, bytes) = (&self.work.answer, &self.work.answer_bytes);
        let kind = answer.value(bytes, Known::ContentType).unwrap_or_default();
        let is_stream = kind.to_ascii_lowercase().starts_with(b"text/event-stream");
        let paying = self.paying.as_ref().filter(|_| is_stream);
        let Some(word) = paying.and_then(|paying| paying.broken_off()) else {
            return;
        };
        let event = broken_off_event(word, word == CHARGED);
        write_piece(&mut self.work.out, event.as_bytes(), chunked);
    }

    pub(crate) async fn write_payment_no(&mut self, no: &PaymentNo) -> Result<(), Stop> {
        self.begin_answer(no.status);
        let out = &mut self.work.out;
        if let Some(page) = &no.page {
            page::without_policy(out);
            write::field(out, b"content-security-policy", page.policy.as_bytes());
        }
        write::field(out, b"cache-control", b"no-store");
        write::field(out, b"x-tollkeep-error", no.code.as_bytes());
        if let Some(wait) = no.retry_after {
            write::field(out, b"retry-after", wait.as_secs().to_string().as_bytes());
        }
        if let Some(field) = &no.field {
            write::field(out, b"payment-required", field.as_bytes());
        }
        self.end_whole(match &no.page {
            Some(page) => Body {
                kind: "text/html; charset=utf-8",
                bytes: page.html.as_bytes(),
            },
            None => Body {
                kind: "application/json",
                bytes: no.body.as_bytes(),
            },
        })
        .await
    }
}

impl PaidCall {
    /// The fields of every answer to a request that was paid for.
    pub(crate) fn write(&self, out: &mut Vec<u8>, status: u16) {
        write::field(out, b"x-tollkeep-payment", self.word.as_bytes());
        if let Some(reason) = self.skipped {
            let told = format!("{{\"reason\":\"{reason}\"}}");
            write::field(out, b"x-tollbooth-settlement-skipped", told.as_bytes());
        }
        if let Some(session) = &self.session {
            write::field(out, b"x-bolthub-payment", self.word.as_bytes());
            let is_charged = self.word == CHARGED;
            let code = match (is_charged, status) {
                (false, 408 | 429 | 500..) => Some("upstream_failed_retryable"),
                (true, 400..500) => Some("upstream_rejected"),
                (true | false, _) => None,
            };
            if let Some(code) = code {
                write::field(out, b"x-bolthub-payment-code", code.as_bytes());
            }
            session.write(out);
        }
        if let Some(receipt) = &self.receipt {
            payment_field(out, receipt, self.version, &self.networks);
        }
    }
}
