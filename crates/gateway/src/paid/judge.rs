//! What a request costs, and whether what was shown for it will do: all that can be said without
//! asking anybody, cheapest first.

use super::session::ProvenSession;
use super::sold::{Asking, Sold, Wanted, nano_dollars};
use super::{Named, PaymentDoor, PaymentNo, payers::PayerSeat};
use crate::admit::Entry;
use crate::identify::Caller;
use crate::lifecycle::Exchange;
use crate::refusal::{CountedBy, LimitClass, Limited, Refusal};
use crate::route::{Destination, Route};
use std::sync::Arc;
use std::time::Duration;
use tollkeep_counters::{Claim, Class, Key};
use tollkeep_crypto::sha256;
use tollkeep_http1::Known;
use tollkeep_observe::health::Reason as HealthReason;
use tollkeep_payments::pricing::{Asked, QuoteFault};
use tollkeep_payments::state::Mode;
use tollkeep_payments::x402::{Checked, Field, Offer, Proof, Reason, Scheme};
use tollkeep_policy::client_ip::prefix_key;
use tollkeep_policy::rate::{Quota, Verdict};
use tollkeep_types::money::NanoUsd;

/// Signatures that only the chain can judge, by client network: each costs a call.
const DEFERRED: (u64, Duration) = (5, Duration::from_secs(1));
/// What failed proofs and such signatures are counted under: no route has these numbers.
const FAILED_NUMBER: u32 = u32::MAX - 5;
const DEFERRED_NUMBER: u32 = u32::MAX - 6;
/// Of a field that is no text: only a rule that takes anything takes it.
const NO_TEXT: &str = "\u{fffd}";

/// What a request shows that it is paid with.
pub(crate) enum Shows {
    Payment(Box<Proven>),
    Session(Box<ProvenSession>),
}

/// A proof that passed all that is judged here.
pub(crate) struct Proven {
    pub(super) checked: Checked,
    pub(super) offer: Offer,
    pub(super) payload: Arc<[u8]>,
    pub(super) asking: Asking,
    pub(super) mode: Mode,
    pub(super) seat: PayerSeat,
    pub(super) door: Arc<dyn PaymentDoor>,
    pub(super) named: Option<Named>,
    /// Why nothing more can be bought with it, if that is so.
    pub(super) past: Option<Reason>,
}

/// A proof that passed the checks, and what it is held against.
struct Held {
    payload: Arc<[u8]>,
    checked: Checked,
    asking: Asking,
    named: Option<Named>,
    past: Option<Reason>,
}

impl<'p> Exchange<'p> {
    /// Prices the request and judges what was shown for it. `None`: nothing is to be paid, or a
    /// token stands for it.
    ///
    /// # Errors
    /// 400, 402, 415, 429, 500, 503.
    pub(crate) fn judge(
        &mut self,
        entry: &Entry<'_>,
        route: &Route<'p>,
        caller: &Caller,
    ) -> Result<Option<Shows>, Refusal> {
        let Destination::Plain(plain) = route.destination() else {
            return Ok(None);
        };
        let Some(sold) = plain.sold.as_deref() else {
            return Ok(None);
        };
        self.sold = Some(sold);
        if caller.token().is_some() {
            let shows_payment = sold.takes_payment
                && (self.shown_proof()?.is_some() || self.shown_session().is_some());
            if !shows_payment {
                self.token_cost = self.cost_of_token(sold)?;
                return Ok(None);
            }
        }
        let judged = self.judged(entry, sold);
        // Whoever shows nothing that will do has proven nothing.
        if caller.token().is_none() && !matches!(judged, Ok(Some(_))) {
            self.debit_address(entry);
        }
        judged
    }

    fn judged(&self, entry: &Entry<'_>, sold: &Sold) -> Result<Option<Shows>, Refusal> {
        let shown = self.shown_proof()?;
        let Some(asking) = self.asking(sold)? else {
            return Ok(None);
        };
        let door = self.worker.shared.payments.get().map(Arc::clone);
        // Who is asked to pay now could not show it: it would be kept nowhere.
        let is_kept = !self.worker.shared.health.is_raised(HealthReason::Store);
        let door = door.filter(|_| is_kept);
        // What is paid for is used also while nobody settles. Whoever brings a new payment has it
        // taken, and whatever else it shows is not looked at.
        let session = self.shown_session().filter(|_| shown.is_none());
        if let (Some(text), Some(door)) = (session, &door) {
            let shown = (text, Arc::clone(door));
            return self.prove_session(entry, (sold, asking), shown).map(Some);
        }
        let is_sold = asking.credit.as_ref().is_none_or(|it| it.fault.is_none());
        if !is_sold && (shown.is_none() || asking.offers.is_empty()) {
            return Err(self.ask_payment(sold, &asking, None));
        }
        let door = door.filter(|_| !asking.offers.is_empty());
        let door = door.ok_or_else(|| self.payment_no(PaymentNo::UNAVAILABLE))?;
        let Some((field, text)) = shown else {
            return Err(self.ask_payment(sold, &asking, None));
        };
        self.check_failed_proofs(entry, sold)?;
        let Held {
            payload,
            checked,
            asking,
            named,
            past,
        } = self
            .check_proof(sold, asking, (field, text))
            .inspect_err(|_| self.note_failed_proof(entry, sold))?;
        let Some(offer) = asking.offers.get(checked.offer).cloned() else {
            return Err(Refusal::Internal);
        };
        if checked.is_deferred {
            self.take_deferred(entry)?;
        }
        let terms = &sold.sale.terms;
        let mode = match offer.scheme {
            Scheme::Exact if asking.credit.is_some() || sold.keeps_rest() => Mode::Before,
            Scheme::Exact => terms.mode,
            Scheme::Upto => Mode::Upto,
        };
        let unsettled = match mode {
            Mode::Before => 0,
            Mode::After | Mode::Upto => {
                nano_dollars(&asking.price, &offer).unwrap_or(terms.exposure_max.get())
            }
        };
        let payers = &self.worker.shared.payers;
        let seat = payers.enter(checked.payload.payer(), unsettled, terms);
        let seat = seat.ok_or_else(|| self.payment_no(PaymentNo::PAYER_LIMIT))?;
        Ok(Some(Shows::Payment(Box::new(Proven {
            checked,
            offer,
            payload,
            asking,
            mode,
            seat,
            door,
            named,
            past,
        }))))
    }

    /// What the call costs its access token; `None` is nothing.
    fn cost_of_token(&self, sold: &Sold) -> Result<Option<NanoUsd>, Refusal> {
        let Some(asking) = self.asking(sold)? else {
            return Ok(None);
        };
        let unresolved = || Refusal::Unpriced(QuoteFault::Unresolved);
        let cost = sold.sale.token_cost(&asking.price);
        Ok(Some(cost.ok_or_else(unresolved)?).filter(|cost| *cost > NanoUsd::ZERO))
    }

    /// The one proof that the request carries.
    pub(crate) fn shown_proof(&self) -> Result<Option<(Field, &str)>, Refusal> {
        let bytes = self.request_bytes();
        let mut shown = None;
        let fields = self.work.head.fields.iter();
        for field in fields.filter(|field| field.known == Known::Credential) {
            let name = field.name.of(bytes);
            let of = if name.eq_ignore_ascii_case(b"payment-signature") {
                Field::PaymentSignature
            } else if name.eq_ignore_ascii_case(b"x-payment") {
                Field::XPayment
            } else {
                continue;
            };
            if shown.is_some() {
                return Err(self.payment_no(PaymentNo::AMBIGUOUS));
            }
            // What is no text is no base64 either, and is told so.
            let text = std::str::from_utf8(field.value.of(bytes)).unwrap_or(NO_TEXT);
            shown = Some((of, text));
        }
        Ok(shown)
    }

    /// What the request costs, and how it can be paid; `None` is nothing.
    pub(crate) fn asking(&self, sold: &Sold) -> Result<Option<Asking>, Refusal> {
        let (head, bytes) = (&self.work.head, self.request_bytes());
        let text = |bytes| std::str::from_utf8(bytes).unwrap_or(NO_TEXT);
        let headers: Vec<(&str, &str)> = head
            .fields
            .iter()
            .map(|field| (text(field.name.of(bytes)), text(field.value.of(bytes))))
            .collect();
        let target = text(head.target.of(bytes));
        let query = target.split_once('?').map_or("", |(_, query)| query);
        let params = sold.params(&self.work.path);
        let token = self.work.facts.token.as_ref();
        let wanted = Wanted {
            // HEAD is had for the price of GET, and by its proof.
            method: match head.method.as_str() {
                "HEAD" => "GET",
                other => other,
            },
            path: &self.work.path,
            asked: Asked {
                params: &params,
                query,
                headers: &headers,
                body: if self.detached { self.body() } else { &[] },
            },
            tenant: token.map_or(self.plan.llm.default_tenant, |token| {
                token.project.tenant_id
            }),
            metered: self.metered_call(sold)?,
            credit: self.wished_credit(sold)?,
            at: self.work.facts.at,
        };
        let asking = sold.ask(&wanted, self.hook_price(), self.resource_url(sold, query));
        let asking = asking.map_err(Refusal::Unpriced)?;
        let Some(mut asking) = asking else {
            return Ok(None);
        };
        let door = self.worker.shared.payments.get();
        if let Some(door) = door.filter(|_| sold.takes_payment) {
            let by = &sold.sale.facilitators;
            asking.offers.retain_mut(|offer| door.readies(offer, by));
        }
        Ok(Some(asking))
    }

    /// What is paid for, as callers know it.
    fn resource_url(&self, sold: &Sold, query: &str) -> String {
        let authority = self.work.head.authority.of(self.request_bytes());
        let mut url = match &sold.public_url {
            Some(url) => url.to_string(),
            None => {
                let scheme = if self.secure { "https" } else { "http" };
                // One that is served: admission looked at it.
                format!("{scheme}://{}", String::from_utf8_lossy(authority))
            }
        };
        url.push_str(&self.work.path);
        if !query.is_empty() {
            url.push('?');
            url.push_str(query);
        }
        url
    }

    fn check_proof(
        &self,
        sold: &Sold,
        asking: Asking,
        (field, text): (Field, &str),
    ) -> Result<Held, Refusal> {
        let malformed = || self.payment_no(PaymentNo::MALFORMED);
        let proof = Proof::read(field, text).map_err(|_| malformed())?;
        let payload = Proof::bytes(text).ok_or_else(malformed)?;
        self.check_named(sold.requires_identifier, &proof)?;
        let identifier = proof.identifier().ok().flatten();
        let named = identifier.map(|identifier| Named {
            identifier,
            payload_hash: sha256(&[&payload]),
        });
        let judged = self.judge_proof(sold, &asking, &proof);
        let judged = judged.map_err(|reason| self.ask_payment(sold, &asking, Some(reason)))?;
        let offers = judged.offers.unwrap_or(asking.offers);
        Ok(Held {
            payload: payload.into(),
            checked: judged.checked,
            asking: Asking { offers, ..asking },
            named,
            past: judged.past,
        })
    }

    /// Whether too many from there did not do.
    pub(super) fn check_failed_proofs(
        &self,
        entry: &Entry<'_>,
        sold: &Sold,
    ) -> Result<(), Refusal> {
        let (claim, limited) = failed_proofs(entry, sold);
        match self.worker.shared.rates.peek(self.started, &claim) {
            Verdict::Pass { .. } => Ok(()),
            Verdict::Refuse { retry_after_ns, .. } => Err(Refusal::RateLimited(Limited {
                retry_after: Duration::from_nanos(retry_after_ns),
                ..limited
            })),
        }
    }

    pub(super) fn note_failed_proof(&self, entry: &Entry<'_>, sold: &Sold) {
        let (claim, _) = failed_proofs(entry, sold);
        self.worker.shared.rates.debit(self.started, &claim);
    }

    fn take_deferred(&self, entry: &Entry<'_>) -> Result<(), Refusal> {
        let (requests, window) = DEFERRED;
        let window_ns = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX);
        let key = Key::addr(Class::FailedCredential, prefix_key(entry.client_ip()));
        let quota = Quota::per(requests, window_ns, requests);
        let claim = Claim::key(key.on_route(DEFERRED_NUMBER), quota);
        let admitted = self.worker.shared.rates.admit(self.started, &mut [claim]);
        admitted.map_err(|refused| {
            Refusal::RateLimited(Limited {
                class: LimitClass::Ip,
                by: CountedBy::Address,
                quota: requests,
                window_s: window.as_secs(),
                retry_after: Duration::from_nanos(refused.retry_after_ns),
            })
        })
    }
}

/// What failed proofs from there are counted by.
fn failed_proofs<'c>(entry: &Entry<'_>, sold: &Sold) -> (Claim<'c>, Limited) {
    let limit = &sold.failed_proofs;
    let window_ns = u64::try_from(limit.window.as_nanos()).unwrap_or(u64::MAX);
    let key = Key::addr(Class::FailedCredential, prefix_key(entry.client_ip()));
    let quota = Quota::per(limit.requests, window_ns, limit.requests);
    let limited = Limited {
        class: LimitClass::Ip,
        by: CountedBy::Address,
        quota: limit.requests,
        window_s: limit.window.as_secs().max(1),
        retry_after: Duration::from_secs(1),
    };
    (Claim::key(key.on_route(FAILED_NUMBER), quota), limited)
}
