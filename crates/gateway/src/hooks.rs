//! Hooks of routes: what the operator's steps say of a request, at the moments where they are
//! asked.
//!
//! A route without hooks pays for one look at whether it has any.

mod door;
mod facts;
mod quiet;
mod steps;

pub use door::{Failed as FailedRequest, HookAnswer, HookDoor};
pub use quiet::HookFailures;

use crate::admit::Entry;
use crate::lifecycle::{Exchange, Stop};
use crate::refusal::Refusal;
use crate::route::{Destination, Route};
use std::sync::Arc;
use tollkeep_config::settings::Hooks;
use tollkeep_http1::write;
use tollkeep_observe::RequestOutcome;
use tollkeep_payments::price::Price;
use tollkeep_payments::pricing::QuoteFault;
use tollkeep_payments::x402::{Checked, Offer};
use tollkeep_policy::cel::{Given, HookFacts};
use tollkeep_policy::hook::{Deny, Moment, Verdict};

/// What hooks have said of a request so far.
pub(crate) struct Hooked<'p> {
    hooks: &'p Hooks,
    /// What they are asked about.
    facts: HookFacts,
    /// What it costs, where they said so.
    pub(crate) price: Option<Price>,
    /// They were asked what it costs.
    was_priced: bool,
    /// What it is paid with.
    payment: Option<Given>,
    /// Nothing is settled, where that is still to be done.
    pub(crate) keeps_money: bool,
    /// Fields of the answer besides, ready to write.
    pub(crate) lines: Vec<u8>,
}

impl Hooked<'_> {
    /// Notes what it is paid with.
    pub(crate) fn note_payment(&mut self, checked: &Checked, offer: &Offer) {
        if !self.hooks.response.is_empty() {
            self.payment = Some(facts::payment(checked, offer));
        }
    }
}

impl<'p> Exchange<'p> {
    /// Notes whether something is asked on this route.
    pub(crate) fn find_hooks(&mut self, route: &Route<'p>) {
        let plan = self.plan;
        let hooks = match route.destination() {
            Destination::Plain(plain) => plain.hooks.as_deref(),
            Destination::Surface(_) => plan.hooks.as_deref(),
        };
        self.hooked = hooks.map(|hooks| {
            Box::new(Hooked {
                hooks,
                facts: HookFacts {
                    variables: Vec::new(),
                    now: self.work.facts.at,
                },
                price: None,
                was_priced: false,
                payment: None,
                keeps_money: false,
                lines: Vec::new(),
            })
        });
    }

    /// Asks the steps that come before anything is paid or sent.
    ///
    /// # Errors
    /// What they say; 400 and 415 for a body that they look at and that is no JSON; 503 where
    /// one fails.
    pub(crate) async fn ask_hooks(
        &mut self,
        entry: &Entry<'_>,
        route: &Route<'p>,
    ) -> Result<(), Stop> {
        let Some(mut hooked) = self.hooked.take() else {
            return Ok(());
        };
        let asked = self
            .ask_before_payment(&mut hooked, entry, route)
            .await
            .inspect_err(|_| self.debit_address(entry));
        self.hooked = Some(hooked);
        asked
    }

    async fn ask_before_payment(
        &mut self,
        hooked: &mut Hooked<'p>,
        entry: &Entry<'_>,
        route: &Route<'p>,
    ) -> Result<(), Stop> {
        let hooks = hooked.hooks;
        let asks = [&hooks.request, &hooks.price, &hooks.response];
        if asks.iter().all(|steps| steps.is_empty()) {
            return Ok(());
        }
        hooked.facts.variables = self.request_variables(entry, route, hooks.reads_body())?;
        let mut labels = Vec::new();
        for step in hooks.request.iter() {
            let verdict = self.ask_step((Moment::Request, step), hooked).await?;
            refuse_denied(&verdict)?;
            labels.extend(verdict.labels);
        }
        let told = labels
            .iter()
            .map(|(name, text): &(Box<str>, Box<str>)| (name.clone(), Given::Text(text.clone())));
        hooked
            .facts
            .variables
            .push(("labels", Given::Map(told.collect())));
        labels.truncate(facts::LABELS_MAX);
        self.work.facts.labels = (!labels.is_empty()).then(|| labels.into());
        self.price_by_hooks(hooked, route).await
    }

    /// Asks what it costs, where it is to be paid for now.
    async fn price_by_hooks(
        &mut self,
        hooked: &mut Hooked<'p>,
        route: &Route<'p>,
    ) -> Result<(), Stop> {
        let hooks = hooked.hooks;
        let Destination::Plain(plain) = route.destination() else {
            return Ok(());
        };
        let Some(sold) = plain.sold.as_deref() else {
            return Ok(());
        };
        let asking = self.asking(sold)?;
        let Some(mut price) = asking.map(|asking| asking.price) else {
            return Ok(());
        };
        hooked.facts.variables.push(("price", facts::price(&price)));
        for (at, step) in hooks.price.iter().enumerate() {
            let asked = self.ask_step((Moment::Price, step), hooked).await;
            // The price itself is an expression: without it there is none.
            let is_price = at == 0 && sold.sale.computed.is_some();
            let verdict = match asked {
                Ok(verdict) if !is_price || verdict.price.is_some() => verdict,
                Ok(_) | Err(Stop::Refused(Refusal::HookFailed)) if is_price => {
                    return Err(Refusal::Unpriced(QuoteFault::Unresolved).into());
                }
                other => other?,
            };
            refuse_denied(&verdict)?;
            let Some(told) = verdict.price else { continue };
            price = sold.hook_price(told).map_err(Refusal::Unpriced)?;
            hooked.facts.variables.pop();
            hooked.facts.variables.push(("price", facts::price(&price)));
            hooked.price = Some(price);
        }
        hooked.was_priced = true;
        Ok(())
    }

    /// What it costs by the hooks.
    pub(crate) fn hook_price(&self) -> Option<&Price> {
        self.hooked.as_ref()?.price.as_ref()
    }

    /// Whether hooks say what it costs, and were not asked.
    pub(crate) fn is_unpriced(&self) -> bool {
        let hooked = self.hooked.as_ref();
        hooked.is_some_and(|hooked| !hooked.hooks.price.is_empty() && !hooked.was_priced)
    }

    /// The upstream has answered: asks what shall become of that. A step that fails is left out.
    pub(crate) fn ask_answer_hooks(&mut self) {
        let Some(mut hooked) = self.hooked.take() else {
            return;
        };
        if !hooked.hooks.response.is_empty() {
            let payment = hooked.payment.take();
            self.push_answer(&mut hooked.facts, payment);
            for step in hooked.hooks.response.iter() {
                match steps::ask(Moment::Response, step, &hooked.facts) {
                    Ok(verdict) => {
                        hooked.keeps_money |= verdict.keeps_money;
                        for (name, value) in &verdict.fields {
                            write::field(&mut hooked.lines, name.as_bytes(), value.as_bytes());
                        }
                    }
                    Err(failed) => self.note_failed_step(Moment::Response, failed),
                }
            }
        }
        self.hooked = Some(hooked);
    }

    /// Tells those who want to know that this failed for something that is not the caller's
    /// fault.
    pub(crate) fn tell_failure(&self) {
        let Some(hooked) = &self.hooked else { return };
        let facts = &self.work.facts;
        let Some((code, _)) = facts.refusal.filter(|_| !hooked.hooks.error.is_empty()) else {
            return;
        };
        let is_ours = facts.status >= 500 || facts.outcome == RequestOutcome::Cut;
        let Some(door) = self.worker.shared.hooks.get().filter(|_| is_ours) else {
            return;
        };
        door.failed(FailedRequest {
            request: facts.id,
            route: facts.route.clone(),
            method: facts.method,
            code,
            status: facts.status,
            payment: facts.paid.as_ref().map(|paid| paid.payment.clone()),
            to: Arc::clone(&hooked.hooks.error),
        });
    }
}

fn refuse_denied(verdict: &Verdict) -> Result<(), Refusal> {
    match &verdict.deny {
        Some(deny) => Err(Refusal::HookDenied(Box::new(deny.clone()))),
        None => Ok(()),
    }
}

/// The class of what a hook says no with.
pub(crate) const fn kind_of(deny: &Deny) -> tollkeep_llm::error::ErrorKind {
    use tollkeep_llm::error::ErrorKind as Kind;
    match deny.status {
        403 => Kind::Forbidden,
        404 => Kind::EndpointNotFound,
        429 => Kind::RateLimited,
        _ => Kind::BadRequest,
    }
}
