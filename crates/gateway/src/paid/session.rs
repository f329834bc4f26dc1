//! Calls of sessions: what their token proves, what they take, and how they end.

use super::call::{CHARGED, REFUNDED};
use super::judge::{Proven, Shows};
use super::session_door::{Opening, SessionEnd, SessionUse, SessionWanted};
use super::session_token::{Good, prove, token_of};
use super::sold::{Asking, Sold};
use super::told::of_answer;
use super::{PaidCall, PaymentDoor, PaymentNo};
use crate::admit::Entry;
use crate::lifecycle::{Exchange, Stop};
use crate::pump::Ended;
use crate::refusal::Refusal;
use std::sync::Arc;
use tollkeep_config::settings::MidStream;
use tollkeep_http1::{Known, write};
use tollkeep_payments::session::{Billing, Model, Terms, used_up_event};
use tollkeep_payments::state::Answer;
use tollkeep_payments::x402::Offer;
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
}

/// Of a session whose route does not say so any more.
const STEP_KIB: u64 = 256;

/// How far a call of a session came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    /// Nothing is earned.
    Taken,
    /// What it took is earned.
    Earned,
    /// So much of it is due, as far as is known.
    Counting(u64),
    /// It has ended.
    Ended,
}

impl Sold {
    fn good<'a>(&'a self, asking: &Asking) -> Good<'a> {
        Good {
            tenant: asking.tenant,
            scope: &self.route,
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
        let Some(proved) = prove(&self.worker.shared.hasher, sold.good(&asking), text) else {
            self.note_failed_proof(entry, sold);
            return Err(self.no_session(sold, &asking, Answer::NoSession));
        };
        if proved.expires_at <= self.store_now() {
            return Err(self.no_session(sold, &asking, Answer::SessionEnded));
        }
        let wanted = SessionWanted {
            request: self.work.facts.id,
            tenant: asking.tenant,
            route: Arc::clone(&sold.route),
            session: proved.id,
            kept: proved.kept,
            step_kib: sold.step_kib(),
        };
        Ok(Shows::Session(Box::new(ProvenSession {
            wanted,
            asking,
            door,
        })))
    }

    fn no_session(&self, sold: &Sold, asking: &Asking, answer: Answer) -> Refusal {
        if asking.offers.is_empty() {
            return self.payment_no(PaymentNo::UNAVAILABLE);
        }
        self.ask_again(sold, asking, of_answer(answer))
    }

    /// The session that a payment for this request becomes.
    pub(super) fn opening(&self, sold: &Sold, proven: &Proven) -> Option<Opening> {
        let billing = sold.sale.billing.as_ref()?;
        let lasts = u64::try_from(billing.lasts.as_millis()).unwrap_or(u64::MAX);
        let expires_at = WallMillis(self.store_now().0.saturating_add(lasts));
        let id = SessionId::from_bytes(*self.worker.request_id(self.work.facts.at.0).bytes());
        let hasher = &self.worker.shared.hasher;
        let (_, kept) = token_of(hasher, sold.good(&proven.asking), (id, expires_at));
        Some(Opening {
            id,
            kept,
            terms: terms_of(billing, &proven.offer)?,
            calls: billing.calls,
            expires_at,
            step_kib: billing.step_kib,
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
                Err(self.no_session(sold, &asking, no.answer).into())
            }
            Some(Err(no)) => Err(self.not_paid(sold, &asking, &no).into()),
            None => Err(self.payment_no(PaymentNo::PENDING).into()),
        }
    }

    /// What a call has of the session that its payment has just become, or became before.
    pub(super) fn opened(&self, sold: &Sold, asking: &Asking, used: SessionUse) -> SessionCall {
        let hasher = &self.worker.shared.hasher;
        let of = (used.session, used.expires_at);
        let (token, _) = token_of(hasher, sold.good(asking), of);
        SessionCall::new(used, Some(token.into()), sold.step_kib())
    }

    /// The head of the answer is ready: what the call took is earned, or it is written down that
    /// its bytes are counted.
    pub(super) async fn deliver_by_session(
        &mut self,
        mut paying: Box<PaidCall>,
        (door, is_charged): (Arc<dyn PaymentDoor>, bool),
    ) -> Result<(), Stop> {
        let Some(session) = paying.session.as_mut().filter(|_| is_charged) else {
            paying.word = REFUNDED;
            paying.end();
            self.paying = Some(paying);
            return Ok(());
        };
        if !door.session_head_ready(session.used.clone()).await {
            // What it took, if it is still there, is given back when it ends.
            self.paying = Some(paying);
            return Err(self.payment_no(PaymentNo::PENDING).into());
        }
        session.state = match session.used.terms.model {
            Model::PerKb => Stage::Counting(0),
            Model::TimePass | Model::TokenBucket | Model::Metered => Stage::Earned,
        };
        paying.word = CHARGED;
        self.paying = Some(paying);
        Ok(())
    }

    /// Bytes that may go out before more of the session has to be taken.
    pub(crate) fn covered(&self) -> Option<u64> {
        let session = self.paying.as_ref()?.session.as_ref()?;
        matches!(session.state, Stage::Counting(_)).then_some(session.covered)
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
        }
    }

    /// How it ended, once.
    pub(super) fn end(&mut self) -> Option<SessionEnd> {
        match std::mem::replace(&mut self.state, Stage::Ended) {
            Stage::Taken => Some(SessionEnd::Nothing),
            Stage::Earned => Some(SessionEnd::Had),
            Stage::Counting(due) => Some(SessionEnd::Part(due)),
            Stage::Ended => None,
        }
    }

    /// The delivery has ended.
    pub(super) fn note(
        &mut self,
        door: &Arc<dyn PaymentDoor>,
        (ended, sent): (&Result<Ended, Stop>, u64),
        mid_stream: MidStream,
    ) {
        let is_had = matches!(ended, Ok(Ended::Whole) | Err(Stop::CallerGone));
        match self.state {
            Stage::Counting(_) => self.state = Stage::Counting(self.used.terms.charge_for(sent)),
            Stage::Earned if !is_had && mid_stream == MidStream::Credit => {
                self.state = Stage::Ended;
                door.session_ended(self.used.clone(), SessionEnd::GivenBack);
            }
            Stage::Earned | Stage::Taken | Stage::Ended => {}
        }
    }

    /// The fields of every answer to a call of a session.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        if let Some(token) = &self.token {
            write::field(out, b"x-session-token", token.as_bytes());
        }
        let expires = self.used.expires_at.rfc3339_millis();
        write::field(out, b"x-session-expires", &expires);
        let mut left = self.used.left;
        if self.state == Stage::Ended {
            // What it took is there again.
            left.money = left.money.saturating_add(self.used.taken.money);
            left.calls = left.calls.saturating_add(self.used.taken.calls);
        }
        if let Some(left) = self.used.terms.left(left) {
            write::field(out, b"x-session-balance", left.to_string().as_bytes());
        }
    }
}
