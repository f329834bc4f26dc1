//! Taking a call's bound aside, before the call goes out.

use super::inbox::Message;
use super::quote::{Method, Quote, Quoting, not_boundable};
use super::{Holds, Pot};
use crate::credentials::Picked;
use crate::lifecycle::{Exchange, Stop};
use crate::plan::Target;
use crate::read_call::LlmCall;
use crate::refusal::Refusal;
use smallvec::SmallVec;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tollkeep_http1::Framing;
use tollkeep_ledger::amount::{Charge, Measure};
use tollkeep_ledger::budget::{Budget, CallFacts, MATCHING_MAX, Scope};
use tollkeep_ledger::hold::{Committed, Held, take};
use tollkeep_ledger::keeper::{Ask, Refused};
use tollkeep_ledger::price::{Book, Provider};
use tollkeep_ledger::row;
use tollkeep_ledger::slice::Slice;
use tollkeep_llm::Surface;
use tollkeep_llm::asks::{self, BoundFault, Bounds};
use tollkeep_net::Raced;
use tollkeep_types::money::NanoUsd;
use tollkeep_types::{CredentialId, HoldId, ProjectId, TenantId, WallMillis};

/// How long a call waits for the keeper's answer: a recall takes 750 ms of it.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Where the service is named, and as what.
const SERVICE: &str = "default";

/// Whether the budget refuses what does not fit.
fn is_kept(pot: &Pot) -> bool {
    pot.budget.enforcement == row::Enforcement::Hard
}

/// What a keeper answers.
pub(crate) type Granted = Result<Held, Refused>;

/// A call under its hold.
#[derive(Debug)]
pub(crate) struct CallHold {
    pub(super) state: State,
    pub(super) quote: Quote,
    /// The prices of the quote, and the instant that selects rates: they settle it too.
    pub(crate) book: Arc<Book>,
    pub(crate) at: WallMillis,
    pub(super) id: HoldId,
    /// Whose budgets bear it.
    pub(super) tenant: TenantId,
    /// What is left of the budget with the least, where callers are told.
    remaining: Option<Box<str>>,
}

#[derive(Debug)]
pub(super) enum State {
    Held(Held),
    Committed(Committed),
    /// Between the two.
    Moving,
}

impl CallHold {
    /// The first byte is about to be written upstream.
    pub(crate) fn commit(&mut self) {
        self.state = match std::mem::replace(&mut self.state, State::Moving) {
            State::Held(held) => State::Committed(held.commit()),
            other @ (State::Committed(_) | State::Moving) => other,
        };
    }

    /// Whether cancelling the call would not end its bill.
    pub(super) const fn is_billed_to_its_end(&self) -> bool {
        self.quote.is_billed_to_its_end
    }

    /// Tokens of output at most, where they are bounded.
    pub(super) fn output_tokens(&self) -> Option<u64> {
        self.quote.cap?;
        u64::try_from(self.quote.charge.output_tokens.units()).ok()
    }

    /// Its id, and what is left besides it.
    pub(crate) fn told(&self) -> (HoldId, Option<Box<str>>) {
        (self.id, self.remaining.clone())
    }

    /// Tokens of input at most.
    pub(crate) const fn input_tokens(&self) -> Option<u64> {
        if self.quote.input_tokens > 0 {
            Some(self.quote.input_tokens)
        } else {
            None
        }
    }
}

/// A call as budgets see it.
#[derive(Clone, Copy)]
pub(crate) struct Aside<'a> {
    /// `None`: no call of a model.
    pub(crate) llm: Option<&'a LlmCall>,
    pub(crate) target: &'a Target,
    /// The name of the model that goes out.
    pub(crate) model: &'a str,
    pub(crate) credential: Option<CredentialId>,
}

impl<'a> Aside<'a> {
    /// A call to a model that goes out with this credential.
    pub(crate) fn of(call: &'a LlmCall, target: &'a Target, picked: &'a Picked) -> Self {
        Self {
            llm: Some(call),
            target,
            model: picked.rename.as_deref().unwrap_or(&call.model),
            credential: picked.credential.stored_id(),
        }
    }
}

impl Exchange<'_> {
    /// Whether a budget may count this caller's calls. HOT.
    pub(crate) fn is_budgeted(&self) -> bool {
        self.worker.shared.holds.counts(self.payer())
    }

    fn payer(&self) -> TenantId {
        let token = self.work.facts.token.as_ref();
        token.map_or(self.plan.llm.default_tenant, |token| {
            token.project.tenant_id
        })
    }

    /// Takes the bound of the call aside from all budgets that count it, or from none.
    ///
    /// # Errors
    /// 402 where it does not fit, 400 where nothing bounds it, 503 while nobody knows.
    pub(crate) async fn take_aside(&mut self, aside: Aside<'_>) -> Result<(), Stop> {
        let mut pots = self.pots(&aside)?;
        if pots.is_empty() {
            return Ok(());
        }
        let holds = Arc::clone(&self.worker.shared.holds);
        if holds.is_full() {
            return Err(Refusal::Overloaded("ends of calls wait to be written").into());
        }
        let mut priced = match self.quote(&aside, &pots, Method::Bytes) {
            // What only looks refuses nothing: it does not see what can't be bounded.
            Err(_) if pots.iter().any(|pot| !is_kept(pot)) => {
                pots.retain(|pot| is_kept(pot));
                if pots.is_empty() {
                    return Ok(());
                }
                self.quote(&aside, &pots, Method::Bytes)?
            }
            quoted => quoted?,
        };
        let charge = priced.0.charge;
        let pots: SmallVec<[Pot; 5]> = pots
            .into_iter()
            .filter(|pot| !charge.of(pot.budget.measure).is_zero())
            .collect();
        if pots.is_empty() {
            return Ok(());
        }
        let held = match self.take_from_slices(&holds, charge, &pots) {
            Some(held) => held,
            None => {
                let asked = self.ask_closer(&holds, &mut priced, (&aside, &pots)).await;
                asked.inspect_err(|stop| self.count_refused(stop, &pots))?
            }
        };
        let (quote, book) = priced;
        if let Some(llm) = aside.llm {
            self.write_bounds(llm, &quote)?;
        }
        let remaining = self.plan.llm.expose_cost.then(|| self.remaining(&pots));
        let remaining = remaining.flatten();
        self.worker.counters.hold_taken();
        self.work.facts.hold = Some(Box::new(CallHold {
            id: held.id().unwrap_or(HoldId::from_bytes([0; 16])),
            state: State::Held(held),
            quote,
            book,
            at: self.work.facts.at,
            tenant: self.payer(),
            remaining,
        }));
        Ok(())
    }

    /// The budgets that count the call.
    fn pots(&self, aside: &Aside<'_>) -> Result<SmallVec<[Pot; 5]>, Refusal> {
        let tenant = self.payer();
        let present = self.worker.shared.holds.present.load();
        let Some(pots) = present.of.get(&tenant) else {
            return Ok(SmallVec::new());
        };
        let token = self.work.facts.token.as_ref();
        let call = CallFacts {
            tenant,
            project: token.map_or(ProjectId::from_bytes([0; 16]), |token| token.project.id),
            token: token.map(|token| token.lineage.id),
            metadata: token.map_or(&[], |token| &token.metadata),
            route: self.work.facts.route(),
            provider: &aside.target.name,
            credential: aside.credential,
            model: aside.model,
        };
        let counting = pots.iter().filter(|pot| pot.budget.counts(&call));
        let counting: SmallVec<[Pot; 5]> = counting.cloned().collect();
        if counting.len() > MATCHING_MAX {
            let why = format!("more than {MATCHING_MAX} budgets count it");
            return Err(not_boundable(&why));
        }
        Ok(counting)
    }

    /// What is left of the budget that has the least: in its unit for those who may see amounts, in
    /// hundredths for others.
    fn remaining(&self, pots: &[Pot]) -> Option<Box<str>> {
        let left = pots.iter().filter_map(|pot| {
            let left = pot.left()?.max(0);
            let limit = i128::from(pot.budget.limit.units()).max(1);
            Some((i128::from(left) * 1_000_000 / limit, left, pot))
        });
        let (millionths, left, pot) = left.min_by_key(|(millionths, ..)| *millionths)?;
        let token = self.work.facts.token.as_ref()?;
        if !token.reads_usage {
            return Some(format!("{}%", millionths / 10_000).into());
        }
        Some(match pot.budget.measure {
            Measure::Cost => NanoUsd::new(left).to_string().into(),
            Measure::Tokens | Measure::OutputTokens | Measure::BillableTokens => {
                format!("{left} tokens").into()
            }
            Measure::Requests => format!("{left} requests").into(),
        })
    }

    /// The most tokens that a call can use: by its hold, or else by what it says.
    pub(crate) fn token_bound(&self, aside: &Aside<'_>, target: &Target) -> u64 {
        let tokens = |charge: Charge| u64::try_from(charge.tokens.units()).unwrap_or(u64::MAX);
        if let Some(hold) = &self.work.facts.hold
            && !hold.quote.charge.tokens.is_zero()
        {
            return tokens(hold.quote.charge);
        }
        let book = self.worker.shared.prices.load();
        let quote = aside.llm.map(|llm| {
            let quoting = self.quoting(llm, target, aside.model);
            let measures = std::iter::once(Measure::Tokens);
            quoting.quote(&book, measures, (&self.plan.llm.bounds, Method::Bytes))
        });
        match quote {
            Some(Ok(quote)) => tokens(quote.charge),
            // What nothing bounds: a token has a byte at least.
            Some(Err(_)) | None => {
                let cap = self.work.facts.llm.as_ref().and_then(|llm| llm.output_cap);
                let cap = cap.unwrap_or(self.plan.llm.bounds.options.default_output_cap);
                cap.saturating_add(u64::try_from(self.body().len()).unwrap_or(u64::MAX))
            }
        }
    }

    fn quoting<'a>(&'a self, llm: &LlmCall, target: &'a Target, model: &'a str) -> Quoting<'a> {
        Quoting {
            provider: Provider {
                name: &target.name,
                kind: target.kind_name(),
                self_hosted: target.self_hosted(),
            },
            model,
            surface: llm.surface,
            body: self.body(),
            at: self.work.facts.at,
        }
    }

    fn quote(
        &self,
        aside: &Aside<'_>,
        pots: &[Pot],
        method: Method,
    ) -> Result<(Quote, Arc<Book>), Refusal> {
        let book = self.worker.shared.prices.load_full();
        let Some(llm) = aside.llm else {
            return Ok((Quote::one_request(), book));
        };
        let quoting = self.quoting(llm, aside.target, aside.model);
        let measures = pots.iter().map(|pot| pot.budget.measure);
        let quote = quoting.quote(&book, measures, (&self.plan.llm.bounds, method))?;
        Ok((quote, book))
    }

    /// HOT. Takes from the slices in hand, if there is one of each budget and all can bear it.
    fn take_from_slices(&self, holds: &Holds, charge: Charge, pots: &[Pot]) -> Option<Held> {
        let slices: Option<SmallVec<[Arc<Slice>; 5]>> =
            pots.iter().map(|pot| pot.slice.clone()).collect();
        let now = self.worker.shared.clock.mono();
        let taken = take(self.hold_id(), charge, &slices?, now, &holds.outbox).ok()?;
        if taken.low {
            for pot in pots {
                holds.inbox.put(Message::Low(pot.budget.id));
            }
        }
        Some(taken.held)
    }

    /// Asks the keeper, and if the bound does not fit, once more with a closer one, where there is
    /// one (LED-46).
    async fn ask_closer(
        &mut self,
        holds: &Holds,
        priced: &mut (Quote, Arc<Book>),
        (aside, pots): (&Aside<'_>, &[Pot]),
    ) -> Result<Held, Stop> {
        let asked = self.ask_keeper(holds, (self.hold_id(), priced.0.charge), pots);
        let refused = match asked.await {
            Err(Stop::Refused(
                refused @ (Refusal::BudgetExhausted { .. } | Refusal::ModelCooldown { .. }),
            )) => refused,
            asked => return asked,
        };
        let closer = self.quote(aside, pots, Method::Texts);
        let before = priced.0.input_tokens;
        let Some(closer) = closer
            .ok()
            .filter(|(closer, _)| closer.input_tokens < before)
        else {
            return Err(refused.into());
        };
        let charge = closer.0.charge;
        *priced = closer;
        // The other one may be known to the store as refused.
        let id = self.worker.request_id(self.work.facts.at.0);
        let id = HoldId::from_bytes(*id.bytes());
        self.ask_keeper(holds, (id, charge), pots).await
    }

    /// Counts a call that did not fit, by the unit of its budget.
    fn count_refused(&self, stop: &Stop, pots: &[Pot]) {
        let short = match stop {
            Stop::Refused(Refusal::BudgetExhausted { budget, .. }) => {
                pots.iter().find(|pot| Some(pot.budget.id) == *budget)
            }
            Stop::Refused(Refusal::ModelCooldown { .. }) => pots
                .iter()
                .find(|pot| matches!(pot.budget.scope, Scope::Provider(_))),
            _ => return,
        };
        let unit = short.map_or("account", |pot| match pot.budget.measure {
            Measure::Cost => "usd",
            Measure::Tokens | Measure::OutputTokens | Measure::BillableTokens => "tokens",
            Measure::Requests => "requests",
        });
        self.worker.shared.metrics.ledger().refused(unit);
    }

    /// Asks the keeper, who asks the store and calls slices back.
    async fn ask_keeper(
        &mut self,
        holds: &Holds,
        (hold, charge): (HoldId, Charge),
        pots: &[Pot],
    ) -> Result<Held, Stop> {
        let (tell, told) = oneshot::channel();
        let ask = Ask {
            hold,
            bound: charge,
            budgets: pots.iter().map(|pot| pot.budget.id).collect(),
            account: None,
            confirm: false,
        };
        holds.inbox.put(Message::Ask(ask, tell));
        self.conn.slot().set(ANSWER_MAX);
        let refused = match self.conn.race(Box::pin(told)).await {
            Raced::Gone => return Err(Stop::CallerGone),
            Raced::Late if self.is_revoked() => return Err(Refusal::AccessRevoked.into()),
            Raced::Done(Ok(Ok(held))) => return Ok(held),
            Raced::Late | Raced::Done(Err(_)) => return Err(Refusal::LedgerUnavailable.into()),
            Raced::Done(Ok(Err(refused))) => refused,
        };
        Err(match refused {
            Refused::Short(row::Pot::Window(key)) => {
                let pot = pots.iter().find(|pot| pot.budget.id == key.budget);
                let reset = pot.and_then(|pot| pot.budget.window.end_of(key.start));
                self.exhausted(pot.map(|pot| &*pot.budget), reset)
            }
            Refused::Short(row::Pot::Account(_)) => self.exhausted(None, None),
            Refused::TooLate | Refused::Closed => Refusal::LedgerUnavailable,
        }
        .into())
    }

    /// A provider that has used up what it may is left alone, as if its own limit were reached
    /// (LED-62); whoever has used up a budget of their own is told so.
    fn exhausted(&self, budget: Option<&Budget>, reset: Option<WallMillis>) -> Refusal {
        match budget {
            Some(budget) if matches!(budget.scope, Scope::Provider(_)) => {
                let now = self.work.facts.at.0;
                let wait = reset.map_or(60_000, |reset| reset.0.saturating_sub(now));
                Refusal::ModelCooldown {
                    retry_after: Duration::from_millis(wait),
                }
            }
            _ => Refusal::BudgetExhausted {
                budget: budget.map(|budget| budget.id),
                reset,
            },
        }
    }

    /// One for each attempt: the first has the bytes of the request's own id.
    fn hold_id(&self) -> HoldId {
        if self.work.facts.attempts == 0 {
            return HoldId::from_bytes(*self.work.facts.id.bytes());
        }
        HoldId::from_bytes(*self.worker.request_id(self.work.facts.at.0).bytes())
    }

    /// Writes the cap into the body, and the service where it matters: what was reckoned with is
    /// what the upstream is asked for.
    fn write_bounds(&mut self, llm: &LlmCall, quote: &Quote) -> Result<(), Refusal> {
        // A stream that does not tell its usage is charged by an estimate, which is never in favour of
        // its caller.
        let asks_for_usage = llm.stream && llm.surface == Surface::Chat && quote.cap.is_some();
        let bounds = Bounds {
            output_tokens: quote.cap,
            choices: None,
            service: quote.pins_service.then_some(SERVICE),
            usage: asks_for_usage,
        };
        let name = self.output_bound_name(llm.surface, llm.provider);
        let edited = asks::bounded(llm.surface, self.body(), &bounds, name);
        let edited = edited.map_err(|fault| match fault {
            BoundFault::Unreadable => Refusal::Internal,
            BoundFault::Thinking => {
                not_boundable("thinking.budget_tokens does not fit below the cap of output")
            }
        })?;
        if let Some(facts) = &mut self.work.facts.llm
            && quote.cap.is_some()
        {
            facts.output_cap = quote.cap;
            facts.hides_usage = asks_for_usage && !llm.wants_usage;
        }
        let Some(edited) = edited else {
            return Ok(());
        };
        self.work.body = edited;
        self.work.head.framing = Framing::Chunked;
        if let Some(cap) = quote.cap {
            let cap = cap.to_string();
            tollkeep_http1::write::field(
                &mut self.work.limits,
                b"x-tollkeep-max-output",
                cap.as_bytes(),
            );
        }
        Ok(())
    }
}
