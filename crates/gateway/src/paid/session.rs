//! Calls of sessions: what their token proves, what they take, and how they end.

use super::call::{CHARGED, NOT_CHARGED, REFUNDED};
use super::judge::{Proven, Shows};
use super::metered::Metering;
use super::session_door::{Opened, Opening, SessionEnd, SessionLeft, SessionUse, SessionWanted};
use super::session_token::{Good, prove, token_of};
use super::sold::{Asking, Sold};
use super::told::of_answer;
use super::{Delivery, NotPaid, PaidCall, PaymentDoor, PaymentNo};
use crate::admit::Entry;
use crate::lifecycle::{Exchange, Stop};
use crate::pump::Ended;
use crate::refusal::Refusal;
use std::sync::Arc;
use std::time::Duration;
use tollkeep_config::settings::MidStream;
use tollkeep_http1::{Known, write};
use tollkeep_payments::session::{
    Billing, CREDIT_SCOPE, Model, Terms, dollars_left, used_up_event,
};
use tollkeep_payments::state::Answer;
use tollkeep_payments::x402::{Offer, Scheme};
use tollkeep_types::{SessionId, WallMillis};

/// A token of a session that passed all that is judged here.
pub(crate) struct ProvenSession {
    wanted: SessionWanted,
    pub(super) asking: Asking,
    pub(super) door: Arc<dyn PaymentDoor>,
}

/// What a call that is served has of a session.
pub(super) struct SessionCall {
    pub(super) used: SessionUse,
    /// Told to whoever has just paid for it.
    token: Option<Box<str>>,
    /// Bytes that may go out for what it took.
    covered: u64,
    step_kib: u64,
    state: Stage,
    /// Whether what it took is there again, and kept so.
    is_back: bool,
}

/// Of a session whose route does not say so any more.
const STEP_KIB: u64 = 256;
/// Of credit that is not sold any more.
const CREDIT_LASTS: Duration = Duration::from_secs(30 * 86_400);
/// What a call takes of credit is its price of that moment.
const CREDIT: Terms = Terms {
    model: Model::Metered,
    unit: 0,
};

/// How far a call of a session came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    /// Nothing is earned.
    Taken,
    /// What it took is earned.
    Earned,
    /// That is given back: its delivery broke off.
    GivingBack,
    /// So much of it is due, as far as is known.
    Counting(u64),
    /// It has ended.
    Ended,
}

impl Sold {
    /// What a session of this route is good for, or credit that is taken here.
    fn good<'a>(&'a self, asking: &Asking, is_credit: bool) -> Good<'a> {
        Good {
            tenant: asking.tenant,
            scope: if is_credit { CREDIT_SCOPE } else { &self.route },
        }
    }
}

impl Exchange<'_> {
    /// The token of a session that the request carries. Its route may sell something else by now.
    pub(super) fn shown_session(&self) -> Option<&str> {
        let bytes = self.request_bytes();
        let mut fields = self.work.head.fields.iter();
        let field = fields.find(|field| {
            let name = || field.name.of(bytes);
            field.known == Known::Credential && name().eq_ignore_ascii_case(b"x-session-token")
        });
        field.map(|field| std::str::from_utf8(field.value.of(bytes)).unwrap_or_default())
    }

    /// Judges a token of a session by its text.
    pub(super) fn prove_session(
        &self,
        entry: &Entry<'_>,
        (sold, asking): (&Sold, Asking),
        (text, door): (&str, Arc<dyn PaymentDoor>),
    ) -> Result<Shows, Refusal> {
        self.check_failed_proofs(entry, sold)?;
        let hasher = &self.worker.shared.hasher;
        let of = |is_credit| {
            let proved = prove(hasher, sold.good(&asking, is_credit), text);
            proved.map(|proved| (proved, is_credit))
        };
        let credit = || sold.takes_credit().then(|| of(true)).flatten();
        let Some((proved, is_credit)) = of(false).or_else(credit) else {
            self.note_failed_proof(entry, sold);
            return Err(self.no_session(sold, &asking, Answer::NoSession));
        };
        if proved.expires_at <= self.store_now() {
            return Err(self.no_session(sold, &asking, Answer::SessionEnded));
        }
        let wanted = SessionWanted {
            request: self.work.facts.id,
            tenant: asking.tenant,
            scope: if is_credit {
                CREDIT_SCOPE.into()
            } else {
                Arc::clone(&sold.route)
            },
            session: proved.id,
            kept: proved.kept,
            step_kib: sold.step_kib(),
            price: is_credit.then(|| asking.price.clone()),
        };
        Ok(Shows::Session(Box::new(ProvenSession {
            wanted,
            asking,
            door,
        })))
    }

    /// While nobody settles there is nothing to pay with, and the reason is told all the same.
    fn no_session(&self, sold: &Sold, asking: &Asking, answer: Answer) -> Refusal {
        if asking.offers.is_empty() {
            return self.payment_no(of_answer(answer));
        }
        self.ask_again(sold, asking, of_answer(answer))
    }

    /// The session that a payment for this request becomes.
    pub(super) fn opening(&self, sold: &Sold, proven: &Proven) -> Option<Opening> {
        let billing = sold.sale.billing.as_ref();
        let is_bought = proven.asking.credit.is_some();
        let is_rest = sold.keeps_rest() && proven.offer.scheme == Scheme::Exact && !is_bought;
        let is_credit = is_bought || is_rest;
        let (terms, calls, lasts) = match (billing, is_credit) {
            // Each of its calls takes its own price.
            (_, true) => (CREDIT, 0, sold.credit.map_or(CREDIT_LASTS, |of| of.lasts)),
            (Some(billing), false) => {
                let terms = terms_of(billing, &proven.offer)?;
                (terms, billing.calls, billing.lasts)
            }
            (None, false) => return None,
        };
        let lasts = u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX);
        let expires_at = WallMillis(self.store_now().0.saturating_add(lasts));
        let id = SessionId::from_bytes(*self.worker.request_id(self.work.facts.at.0).bytes());
        let hasher = &self.worker.shared.hasher;
        let good = sold.good(&proven.asking, is_credit);
        let (_, kept) = token_of(hasher, good, (id, expires_at));
        Some(Opening {
            id,
            kept,
            terms,
            calls,
            expires_at,
            step_kib: sold.step_kib(),
            is_credit,
            of_payer: is_rest || terms.model == Model::TimePass,
        })
    }

    /// Takes what the call needs of its session.
    ///
    /// # Errors
    /// 402 where there is not enough, 503.
    pub(super) async fn pay_by_session(&mut self, proven: Box<ProvenSession>) -> Result<(), Stop> {
        let Some(sold) = self.sold else {
            return Ok(());
        };
        let ProvenSession {
            wanted,
            asking,
            door,
        } = *proven;
        let step_kib = wanted.step_kib;
        match self.wait_for(door.use_session(wanted), sold).await? {
            Some(Ok(paid)) => {
                let Some(used) = paid.session else {
                    return Err(Refusal::Internal.into());
                };
                self.paid_facts(Some(used.payment), &told_use(&used));
                let session = SessionCall::new(used, None, step_kib);
                self.paying = Some(Box::new(PaidCall::by_session(door, session, sold, asking)));
                Ok(())
            }
            Some(Err(no)) if no.answer.has_challenge() => {
                let left = self.told_session(sold, &asking, &no);
                self.tell_lines(&left);
                Err(self.no_session(sold, &asking, no.answer).into())
            }
            Some(Err(no)) => Err(self.not_paid(sold, &asking, &no).into()),
            None => Err(self.payment_no(PaymentNo::PENDING).into()),
        }
    }

    /// What a call has of the session that its payment has just become, or became before.
    pub(super) fn opened(&self, sold: &Sold, asking: &Asking, used: SessionUse) -> SessionCall {
        let opened = Opened {
            id: used.session,
            expires_at: used.expires_at,
            is_credit: used.credit.is_some(),
        };
        let token = self.token_of(sold, asking, opened);
        SessionCall::new(used, Some(token), sold.step_kib())
    }

    fn token_of(&self, sold: &Sold, asking: &Asking, opened: Opened) -> Box<str> {
        let good = sold.good(asking, opened.is_credit);
        let of = (opened.id, opened.expires_at);
        token_of(&self.worker.shared.hasher, good, of).0.into()
    }

    /// The lines that tell of a session though this call is not served by it: that it was paid for,
    /// and what is left.
    pub(super) fn told_session(&self, sold: &Sold, asking: &Asking, no: &NotPaid) -> String {
        let mut lines = Vec::new();
        if let Some(opened) = no.opened {
            write_token(&mut lines, &self.token_of(sold, asking, opened));
        }
        match (&no.left, no.opened) {
            (Some(left), _) => left.write(&mut lines),
            (None, Some(opened)) => write_expires(&mut lines, opened.expires_at),
            (None, None) => {}
        }
        String::from_utf8(lines).unwrap_or_default()
    }

    /// Tells these lines with the refusal that follows.
    pub(super) fn tell_lines(&mut self, lines: &str) {
        self.told_receipt = (!lines.is_empty()).then(|| lines.into());
    }

    /// What the call took of a session is given back where nothing is due for it: whoever is told so
    /// has it by then, whatever becomes of this process.
    pub(crate) async fn give_back_use(&mut self) {
        let Some(paying) = &mut self.paying else {
            return;
        };
        paying.give_back().await;
    }

    /// Whether an answer has broken off that is made good for to its session.
    pub(crate) fn gives_back(&self) -> bool {
        let session = self.paying.as_ref().and_then(|it| it.session.as_ref());
        session.is_some_and(|session| session.state == Stage::GivingBack)
    }

    /// The head of the answer is ready: what the call took is earned, or it is written down that
    /// its bytes are counted.
    pub(super) async fn deliver_by_session(
        &mut self,
        mut paying: Box<PaidCall>,
        (door, is_charged): (Arc<dyn PaymentDoor>, bool),
    ) -> Result<(), Stop> {
        let counted = paying.metered.as_ref().map(|metered| metered.at_least());
        let Some(session) = paying.session.as_mut().filter(|_| is_charged) else {
            paying.give_back().await;
            self.paying = Some(paying);
            return Ok(());
        };
        session.used.counted = counted;
        if !door.session_head_ready(session.used.clone()).await {
            // What it took, if it is still there, is given back when it ends.
            self.paying = Some(paying);
            return Err(self.payment_no(PaymentNo::PENDING).into());
        }
        session.state = match (counted, session.used.terms.model) {
            (Some(due), _) => Stage::Counting(due),
            (None, Model::PerKb) => Stage::Counting(0),
            (None, Model::TimePass | Model::TokenBucket | Model::Metered) => Stage::Earned,
        };
        if counted.is_some() {
            let is_made_good = false;
            paying.deliver_as(Delivery::Broke { is_made_good });
        }
        paying.word = CHARGED;
        self.paying = Some(paying);
        Ok(())
    }

    /// Bytes that may go out before more of the session has to be taken.
    pub(crate) fn covered(&self) -> Option<u64> {
        let session = self.paying.as_ref()?.session.as_ref()?;
        let is_counted = matches!(session.state, Stage::Counting(_));
        let by_bytes = session.used.terms.model == Model::PerKb;
        (is_counted && by_bytes).then_some(session.covered)
    }

    /// Takes more of the session for an answer of which so many bytes are out; gives how many may
    /// go out now. `None`: there is nothing left.
    pub(crate) async fn cover_more(&mut self, sent: u64) -> Option<u64> {
        let paying = self.paying.as_mut()?;
        let door = Arc::clone(paying.door.as_ref()?);
        let session = paying.session.as_mut()?;
        let due = session.used.terms.charge_for(sent);
        session.state = Stage::Counting(due);
        let more = door.session_more(session.used.clone(), due, session.step_kib);
        let more = more.await?;
        session.used.taken.money = session.used.taken.money.saturating_add(more);
        session.covered = session.used.terms.bytes_for(session.used.taken.money);
        Some(session.covered)
    }

    /// Why an answer does not go on for which there is nothing left.
    pub(crate) fn uncovered(&self) -> Refusal {
        self.payment_no(of_answer(Answer::Exhausted))
    }

    /// Tells the reader of an event stream that it ends since there is nothing left to pay it with.
    pub(crate) fn tell_uncovered(&mut self, chunked: bool) {
        let url = self
            .paying
            .as_ref()
            .map(|paying| &*paying.asking.resource.url);
        let event = used_up_event(url.unwrap_or_default());
        crate::pump::write_piece(&mut self.work.out, event.as_bytes(), chunked);
    }
}

impl PaidCall {
    /// Gives back what nothing is due for; once.
    async fn give_back(&mut self) {
        let is_due = |session: &&mut Box<SessionCall>| {
            matches!(session.state, Stage::Taken | Stage::GivingBack)
        };
        let Some(session) = self.session.as_mut().filter(is_due) else {
            return self.end();
        };
        let (Some(door), Some(end)) = (self.door.take(), session.end()) else {
            return;
        };
        session.is_back = door.session_ended(session.used.clone(), end).await;
        // It is given back later; nobody is told what does not hold yet.
        self.word = match session.is_back {
            true => REFUNDED,
            false => NOT_CHARGED,
        };
    }
}

impl Sold {
    /// KiB that are set aside at a time.
    fn step_kib(&self) -> u64 {
        let billing = self.sale.billing.as_ref();
        billing.map_or(STEP_KIB, |billing| billing.step_kib)
    }
}

/// What a call takes of its session, for records.
fn told_use(used: &SessionUse) -> String {
    format!("{} of {}", used.taken.money, used.session)
}

/// What a session is used up by that is paid by this offer.
fn terms_of(billing: &Billing, offer: &Offer) -> Option<Terms> {
    let unit = match &billing.unit {
        None => 0,
        Some(unit) => u64::try_from(Offer::amount_of(unit, &offer.asset)?).ok()?,
    };
    Some(Terms {
        model: billing.model,
        unit,
    })
}

impl SessionCall {
    fn new(used: SessionUse, token: Option<Box<str>>, step_kib: u64) -> Self {
        Self {
            covered: used.terms.bytes_for(used.taken.money),
            used,
            token,
            step_kib,
            state: Stage::Taken,
            is_back: false,
        }
    }

    /// How it ended, once.
    pub(super) fn end(&mut self) -> Option<SessionEnd> {
        match std::mem::replace(&mut self.state, Stage::Ended) {
            Stage::Taken => Some(SessionEnd::Nothing),
            Stage::Earned => Some(SessionEnd::Had),
            Stage::GivingBack => Some(SessionEnd::GivenBack),
            Stage::Counting(due) => Some(SessionEnd::Part(due)),
            Stage::Ended => None,
        }
    }

    /// The delivery has ended: whether what it took is to be given back, which was earned before.
    pub(super) fn note(
        &mut self,
        (ended, sent): (&Result<Ended, Stop>, u64),
        (mid_stream, due): (MidStream, Option<u64>),
    ) -> bool {
        let is_had = matches!(ended, Ok(Ended::Whole) | Err(Stop::CallerGone));
        match self.state {
            Stage::Counting(by_now) if self.used.counted.is_some() => {
                self.state = Stage::Counting(due.unwrap_or(by_now));
            }
            Stage::Counting(_) => self.state = Stage::Counting(self.used.terms.charge_for(sent)),
            Stage::Earned if !is_had && mid_stream == MidStream::Credit => {
                self.state = Stage::GivingBack;
                return true;
            }
            Stage::Earned | Stage::Taken | Stage::GivingBack | Stage::Ended => {}
        }
        false
    }

    /// The fields of every answer to a call of a session.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        if let Some(token) = &self.token {
            write_token(out, token);
        }
        let mut left = self.used.left;
        if self.is_back {
            left.money = left.money.saturating_add(self.used.taken.money);
            left.calls = left.calls.saturating_add(self.used.taken.calls);
        }
        SessionLeft {
            left,
            terms: self.used.terms,
            expires_at: self.used.expires_at,
            credit: self.used.credit,
        }
        .write(out);
    }

    /// What counts a call that takes of credit what it uses.
    pub(super) fn metering(&self, asking: &Asking) -> Option<Box<Metering>> {
        let (decimals, call) = (self.used.credit?, asking.metered.clone()?);
        Some(Box::new(Metering::new(
            call,
            decimals,
            self.used.taken.money,
        )))
    }
}

impl SessionLeft {
    fn write(&self, out: &mut Vec<u8>) {
        write_expires(out, self.expires_at);
        if let Some(decimals) = self.credit {
            let dollars = dollars_left(self.left.money, decimals);
            write::field(out, b"x-tollkeep-credit", dollars.as_bytes());
        }
        if let Some(left) = self.terms.left(self.left) {
            write::field(out, b"x-session-balance", left.to_string().as_bytes());
        }
    }
}

fn write_token(out: &mut Vec<u8>, token: &str) {
    write::field(out, b"x-session-token", token.as_bytes());
}

fn write_expires(out: &mut Vec<u8>, expires_at: WallMillis) {
    write::field(out, b"x-session-expires", &expires_at.rfc3339_millis());
}
