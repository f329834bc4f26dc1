//! The money of one request, from the moment it is taken to the end of the answer.

use super::judge::{Proven, Shows};
use super::metered::Metering;
use super::payers::PayerSeat;
use super::session::SessionCall;
use super::sold::{Asking, Sold};
use super::{
    AnswerCopy, BODY_BYTES_MAX, Delivery, Ending, PaidFacts, Paying, PaymentDoor, PaymentNo, Shown,
};
use crate::admit::Entry;
use crate::lifecycle::{Exchange, Stop};
use crate::pump::Ended;
use std::sync::Arc;
use tollkeep_config::settings::{MidStream, Terms};
use tollkeep_http1::{AnswerFraming, Known, Method, write};
use tollkeep_net::Raced;
use tollkeep_payments::state::{Answer, Mode};
use tollkeep_payments::x402::{Networks, Offer, Reason, Receipt, Version};
use tollkeep_types::PaymentId;

/// A request that is served for a payment. Whatever becomes of it, whoever keeps the payment is
/// told how it ended: by the end of this at the latest.
pub(crate) struct PaidCall {
    /// Until that is told.
    pub(super) door: Option<Arc<dyn PaymentDoor>>,
    payment: PaymentId,
    delivery: Delivery,
    is_credit: bool,
    terms: Terms,
    mode: Mode,
    pub(super) asking: Asking,
    pub(super) version: Version,
    pub(super) networks: Arc<Networks>,
    pub(super) receipt: Option<Receipt>,
    /// What the caller is told of its money.
    pub(super) word: &'static str,
    /// Why nothing was settled.
    pub(super) skipped: Option<&'static str>,
    seat: Option<PayerSeat>,
    /// What it has of a session.
    pub(super) session: Option<Box<SessionCall>>,
    /// Whether its payer named it: a copy of what goes out is kept.
    is_named: bool,
    answer: Option<AnswerCopy>,
    /// What it used, where that is what it costs.
    pub(super) metered: Option<Box<Metering>>,
}

pub(super) const CHARGED: &str = "charged";
/// What a call took of a session is there again.
pub(super) const REFUNDED: &str = "refunded_to_balance";
const REVERTED: &str = "reverted";
pub(super) const NOT_CHARGED: &str = "not_charged";

/// Whether an answer of this status is charged.
pub(crate) const fn charges(terms: &Terms, status: u16) -> bool {
    match status {
        408 | 429 | 500.. => false,
        400..500 => terms.charge_on_4xx,
        _ => true,
    }
}

/// What counts a call whose price is what it uses.
fn metering(asking: &Asking, offer: &Offer) -> Option<Box<Metering>> {
    let call = asking.metered.clone()?;
    let most = u64::try_from(offer.amount).unwrap_or(u64::MAX);
    Some(Box::new(Metering::new(call, offer.asset.decimals, most)))
}

impl PaidCall {
    /// One that is paid with what was bought before.
    pub(super) fn by_session(
        door: Arc<dyn PaymentDoor>,
        session: SessionCall,
        sold: &Sold,
        asking: Asking,
    ) -> Self {
        let metered = session.metering(&asking);
        Self {
            door: Some(door),
            payment: session.used.payment,
            delivery: Delivery::None,
            is_credit: false,
            terms: sold.sale.terms,
            mode: Mode::Before,
            asking,
            version: Version::Two,
            networks: Arc::clone(&sold.networks),
            receipt: None,
            word: REFUNDED,
            skipped: None,
            seat: None,
            session: Some(Box::new(session)),
            is_named: false,
            answer: None,
            metered,
        }
    }

    /// Has it written down what it comes to by now.
    pub(super) fn progressed(&self, door: &Arc<dyn PaymentDoor>, due: u64) {
        match &self.session {
            Some(session) => door.session_progressed(session.used.clone(), due),
            None => door.progressed(self.payment, due),
        }
    }

    /// Who keeps it, until its end was told.
    pub(super) fn door(&self) -> Option<Arc<dyn PaymentDoor>> {
        self.door.as_ref().map(Arc::clone)
    }

    /// Whether a byte went to the caller for it, or is about to.
    pub(super) const fn is_delivering(&self) -> bool {
        matches!(self.delivery, Delivery::Broke { .. })
    }

    /// What became of its money, when its delivery has broken off. `None`: of credit it is not known
    /// here whether that was made good for before.
    pub(super) const fn broken_off(&self) -> Option<&'static str> {
        match self.delivery {
            Delivery::Broke { is_made_good: true } if self.is_credit => None,
            Delivery::Broke { .. } | Delivery::Ended | Delivery::None => Some(self.word),
        }
    }

    pub(super) const fn deliver_as(&mut self, delivery: Delivery) {
        self.delivery = delivery;
    }

    /// Tells how it ended; once.
    pub(crate) fn end(&mut self) {
        if let Some(session) = &mut self.session {
            if let (Some(door), Some(end)) = (self.door.take(), session.end()) {
                drop(door.session_ended(session.used.clone(), end));
            }
            return;
        }
        if let Some(door) = self.door.take() {
            let is_owed = self.mode == Mode::Upto;
            let seat = self.seat.take_if(|_| is_owed);
            // What was not brought to its end is not what was bought.
            let answer = self.answer.take_if(|_| self.delivery == Delivery::Ended);
            door.ended(
                self.payment,
                Ending {
                    delivery: self.delivery,
                    seat,
                    answer,
                    due: self.metered.as_ref().and_then(|metered| metered.due()),
                },
            );
        }
    }
}

impl Drop for PaidCall {
    fn drop(&mut self) {
        self.end();
    }
}

impl Exchange<'_> {
    /// Takes the payment: reserves it, and where money comes first, settles it.
    ///
    /// # Errors
    /// 402, 409, 503 by what became of it.
    pub(crate) async fn pay(&mut self, entry: &Entry<'_>, shows: Shows) -> Result<(), Stop> {
        match shows {
            Shows::Payment(proven) => self.pay_by_proof(entry, proven).await,
            Shows::Session(proven) => self.pay_by_session(proven).await,
        }
    }

    async fn pay_by_proof(&mut self, entry: &Entry<'_>, proven: Box<Proven>) -> Result<(), Stop> {
        let Some(sold) = self.sold else {
            return Ok(());
        };
        let opens = self.opening(sold, &proven);
        let Proven {
            checked,
            offer,
            payload,
            asking,
            mode,
            seat,
            door,
            named,
            past,
        } = *proven;
        let (terms, version) = (sold.sale.terms, checked.version);
        let (amount, metered) = (told_amount(&offer), metering(&asking, &offer));
        if let Some(hooked) = &mut self.hooked {
            hooked.note_payment(&checked, &offer);
        }
        let shown = Shown {
            request: self.work.facts.id,
            tenant: asking.tenant,
            route: Arc::clone(&sold.route),
            mode,
            verify: sold.verify || checked.is_deferred,
            verified_for: terms.verified_for,
            proof: checked,
            payload,
            offer,
            resource: asking.resource.clone(),
            price: asking.price.clone(),
            digest: asking.digest,
            client_ip: entry.client_ip(),
            opens,
            named,
            by: Arc::clone(&sold.sale.facilitators),
            is_past: past.is_some(),
        };
        let is_named = shown.named.is_some();
        let paying = self.paid_by(
            (door.show(shown), past),
            (entry, sold),
            (&asking, version, &amount),
        );
        let paid = paying.await?;
        let session = paid.session.map(|used| self.opened(sold, &asking, used));
        let metered = session.as_ref().map_or(metered, |it| it.metering(&asking));
        self.paying = Some(Box::new(PaidCall {
            door: Some(door),
            payment: paid.payment,
            delivery: Delivery::None,
            is_credit: paid.is_credit,
            terms,
            mode,
            asking,
            version,
            networks: Arc::clone(&sold.networks),
            word: first_word(session.is_some(), paid.receipt.is_some() || paid.is_credit),
            receipt: paid.receipt,
            skipped: None,
            seat: Some(seat),
            session: session.map(Box::new),
            is_named,
            answer: None,
            metered,
        }));
        Ok(())
    }

    /// Waits for what becomes of a proof.
    async fn paid_by(
        &mut self,
        (paying, past): (Paying, Option<Reason>),
        (entry, sold): (&Entry<'_>, &Sold),
        (asking, version, amount): (&Asking, Version, &str),
    ) -> Result<super::Paid, Stop> {
        match self.wait_for(paying, sold).await? {
            Some(Ok(paid)) => {
                self.paid_facts(Some(paid.payment), amount);
                Ok(paid)
            }
            Some(Err(no)) => {
                self.paid_facts(no.payment, amount);
                if no.answer == Answer::NothingBought {
                    self.note_failed_proof(entry, sold);
                    return Err(self.ask_payment(sold, asking, past).into());
                }
                let refusal = self.not_paid(sold, asking, &no);
                let receipt = no.receipt.as_ref();
                let receipt = receipt.map(|it| receipt_line(it, version, &sold.networks));
                let lines = [
                    receipt.unwrap_or_default(),
                    self.told_session(sold, asking, &no),
                ];
                self.tell_lines(&lines.concat());
                Err(refusal.into())
            }
            None => Err(self.payment_no(PaymentNo::PENDING).into()),
        }
    }

    pub(super) fn paid_facts(&mut self, payment: Option<PaymentId>, amount: &str) {
        self.work.facts.paid = payment.map(|payment| {
            Box::new(PaidFacts {
                payment: payment.to_string().into(),
                amount: amount.into(),
            })
        });
    }

    /// Waits for those who keep payments. `None`: it took too long; they go on, and find that
    /// nobody was served.
    pub(super) async fn wait_for(
        &mut self,
        paying: Paying,
        sold: &Sold,
    ) -> Result<Option<Result<super::Paid, super::NotPaid>>, Stop> {
        self.conn.slot().set(sold.wait);
        match self.conn.race(paying).await {
            Raced::Done(paid) => Ok(Some(paid)),
            Raced::Late if self.is_revoked() => Err(self.cut_off().into()),
            Raced::Late => Ok(None),
            Raced::Gone => Err(Stop::CallerGone),
        }
    }

    /// The upstream has answered, and the first byte of that is about to go out: where money comes
    /// last it is taken now, and the payment is marked as one that was delivered for.
    ///
    /// # Errors
    /// 402, 503: nothing of the answer goes out.
    pub(crate) async fn deliver(&mut self) -> Result<(), Stop> {
        let status = self.work.answer.status;
        let (Some(mut paying), Some(sold)) = (self.paying.take(), self.sold) else {
            return Ok(());
        };
        if paying.session.is_some() {
            let is_charged = charges(&paying.terms, status);
            let Some(door) = paying.door.clone() else {
                return Err(self.payment_no(PaymentNo::PENDING).into());
            };
            return Box::pin(self.deliver_by_session(paying, (door, is_charged))).await;
        }
        let is_kept = self
            .hooked
            .as_ref()
            .is_some_and(|hooked| hooked.keeps_money)
            && paying.terms.mode == Mode::After
            && !paying.is_credit;
        if is_kept || !charges(&paying.terms, status) {
            if paying.word == NOT_CHARGED {
                paying.skipped = Some(if is_kept { "hook" } else { "upstream_failed" });
            }
            paying.end();
            self.paying = Some(paying);
            return Ok(());
        }
        let Some(door) = paying.door.clone() else {
            return Err(self.payment_no(PaymentNo::PENDING).into());
        };
        if paying.mode == Mode::After && !paying.is_credit {
            match self
                .wait_for(door.upstream_answered(paying.payment), sold)
                .await?
            {
                Some(Ok(paid)) => {
                    paying.receipt = paid.receipt;
                    paying.word = REVERTED;
                }
                Some(Err(no)) => {
                    // What became of it is known there.
                    paying.door = None;
                    paying.receipt = no.receipt.clone();
                    let refusal = self.not_paid(sold, &paying.asking, &no);
                    self.paying = Some(paying);
                    return Err(refusal.into());
                }
                None => return Err(self.payment_no(PaymentNo::PENDING).into()),
            }
        }
        let due = paying.metered.as_ref().map(|metered| metered.at_least());
        if !door.head_ready(paying.payment, due).await {
            self.paying = Some(paying);
            return Err(self.payment_no(PaymentNo::PENDING).into());
        }
        // What is paid by what it uses is paid so far as it was had.
        let is_made_good = paying.terms.mid_stream == MidStream::Credit && paying.metered.is_none();
        paying.delivery = Delivery::Broke { is_made_good };
        paying.word = CHARGED;
        self.paying = Some(paying);
        Ok(())
    }

    /// The upstream has answered a call that is charged to its token.
    pub(crate) fn charge_token(&mut self, status: u16) {
        let is_charged = self
            .sold
            .is_some_and(|sold| charges(&sold.sale.terms, status));
        if let Some(hold) = &mut self.work.facts.hold {
            hold.charge_price(is_charged);
        }
    }

    /// Where a copy of the body that follows goes, if one is kept.
    pub(crate) fn copy_for_payer(&self) -> Option<Vec<u8>> {
        self.paying.as_ref().filter(|paying| paying.is_named)?;
        let (answer, bytes) = (&self.work.answer, &self.work.answer_bytes);
        let kind = answer.value(bytes, Known::ContentType).unwrap_or_default();
        let is_short = match answer.framing {
            AnswerFraming::Length(length) => {
                usize::try_from(length).is_ok_and(|length| length <= BODY_BYTES_MAX)
            }
            AnswerFraming::None | AnswerFraming::Chunked | AnswerFraming::UntilClose => true,
        };
        let is_stream = kind.to_ascii_lowercase().starts_with(b"text/event-stream");
        let is_kept = is_short && !is_stream && self.work.head.method != Method::Head;
        is_kept.then(Vec::new)
    }

    /// Notes what went out, where its payer named it.
    pub(crate) fn note_copy(&mut self, copy: Option<Vec<u8>>, ended: &Result<Ended, Stop>) {
        let status = self.work.answer.status;
        let (answer, bytes) = (&self.work.answer, &self.work.answer_bytes);
        let kind = answer.value(bytes, Known::ContentType).unwrap_or_default();
        let Some(paying) = self.paying.as_mut().filter(|paying| paying.is_named) else {
            return;
        };
        let body = copy.filter(|_| matches!(ended, Ok(Ended::Whole)));
        paying.answer = Some(AnswerCopy {
            status,
            kind: String::from_utf8_lossy(kind).into(),
            body: body.map(Vec::into_boxed_slice),
        });
    }

    /// How the answer ended: a caller that hangs up had its chance.
    pub(crate) fn note_delivery(&mut self, ended: &Result<Ended, Stop>) {
        let is_had = matches!(ended, Ok(Ended::Whole) | Err(Stop::CallerGone));
        if let (false, Some(_), Some(sold)) = (is_had, self.token_cost, self.sold)
            && sold.sale.terms.mid_stream == MidStream::Credit
            && let Some(hold) = &mut self.work.facts.hold
        {
            hold.charge_price(false);
        }
        let sent = self.work.facts.bytes_out;
        let Some(paying) = &mut self.paying else {
            return;
        };
        if let Some(session) = &mut paying.session {
            let due = paying.metered.as_ref().and_then(|metered| metered.due());
            let terms = (paying.terms.mid_stream, due);
            if session.note((ended, sent), terms) {
                return;
            }
        }
        match paying.delivery {
            Delivery::Broke { .. } if is_had => paying.delivery = Delivery::Ended,
            Delivery::Broke { is_made_good: true } => paying.word = REVERTED,
            Delivery::Broke {
                is_made_good: false,
            }
            | Delivery::Ended
            | Delivery::None => {}
        }
        paying.end();
    }
}

/// How much of what is offered, in words.
fn told_amount(offer: &Offer) -> String {
    let (amount, symbol, network) = (offer.amount, &offer.asset.symbol, offer.network());
    format!("{amount} {symbol} on {network}")
}

/// Adds a piece to a copy, as long as that is short.
pub(crate) fn copy_piece(copy: &mut Option<Vec<u8>>, data: &[u8]) {
    if let Some(kept) = copy {
        if kept.len().saturating_add(data.len()) <= BODY_BYTES_MAX {
            kept.extend_from_slice(data);
        } else {
            *copy = None;
        }
    }
}

/// Writes a receipt.
pub(super) fn payment_field(
    out: &mut Vec<u8>,
    receipt: &Receipt,
    version: Version,
    networks: &Networks,
) {
    let value = receipt.encode(version, networks);
    let name = Receipt::field(version);
    write::field(out, name.as_bytes(), value.as_bytes());
}

/// What the caller is told of its money before anything was delivered.
const fn first_word(is_session: bool, is_settled: bool) -> &'static str {
    match (is_session, is_settled) {
        (true, _) => REFUNDED,
        (false, true) => REVERTED,
        (false, false) => NOT_CHARGED,
    }
}

/// The line of a receipt.
fn receipt_line(receipt: &Receipt, version: Version, networks: &Networks) -> String {
    let value = receipt.encode(version, networks);
    format!("{}: {value}\r\n", Receipt::field(version))
}
