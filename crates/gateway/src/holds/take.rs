//! Taking a call's bound aside, before the call goes out.

use super::inbox::Message;
use super::paying::Accounts;
use super::quote::{Counted, Quote, Quoting, not_boundable};
use super::{Gate, Holds, Pot};
use crate::credentials::Picked;
use crate::lifecycle::{Exchange, Stop};
use crate::plan::Target;
use crate::read_call::LlmCall;
use crate::refusal::Refusal;
use crate::settle::payer;
use smallvec::SmallVec;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tollkeep_ledger::amount::Charge;
use tollkeep_ledger::budget::{Budget, CallFacts, MATCHING_MAX, OnShort, Scope};
use tollkeep_ledger::hold::{Committed, Held, Sure, take};
use tollkeep_ledger::keeper::{Ask, Refused};
use tollkeep_ledger::prepaid::Prepaid;
use tollkeep_ledger::price::{Book, Provider};
use tollkeep_ledger::row::{self, Enforcement};
use tollkeep_ledger::slice::Slice;
use tollkeep_net::Raced;
use tollkeep_store::Quarantine;
use tollkeep_store::ledger::CallRecord;
use tollkeep_types::money::NanoUsd;
use tollkeep_types::{CredentialId, HoldId, ProjectId, TenantId, WallMillis};

/// How long a call waits for the keeper's answer: a recall takes 750 ms of it.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// How often a call is made smaller until it fits.
const SHRINKS_MAX: u32 = 8;

/// Whether the budget refuses nothing.
fn only_looks(pot: &Pot) -> bool {
    pot.budget.enforcement == Enforcement::Observe
}

/// Budgets that count a call.
type Pots = SmallVec<[Pot; 5]>;

/// What a call is taken from.
pub(super) struct Wanted {
    pub(super) pots: Pots,
    accounts: Accounts,
}

impl Wanted {
    fn is_empty(&self) -> bool {
        self.pots.is_empty() && self.accounts.is_empty()
    }

    /// Whether something must not be overspent by any means.
    fn is_hard(&self) -> bool {
        let mut pots = self.pots.iter();
        !self.accounts.is_empty() || pots.any(|pot| pot.budget.enforcement == Enforcement::Hard)
    }

    /// A guess is enough for budgets that keep their limit roughly.
    fn sure(&self) -> Sure {
        let mut pots = self.pots.iter();
        let soft = pots.any(|pot| pot.budget.enforcement == Enforcement::Soft);
        if soft && !self.is_hard() {
            Sure::Guess
        } else {
            Sure::Bound
        }
    }

    pub(super) fn counted(&self) -> Counted {
        let pots = self.pots.iter().map(|pot| pot.budget.measure);
        Counted::of(pots.chain(self.accounts.iter().map(Prepaid::measure)))
    }

    /// Leaves out what counts nothing of a call.
    fn leave_out_nothing(&mut self, charge: &Charge) {
        self.pots
            .retain(|pot| !charge.of(pot.budget.measure).is_zero());
        self.accounts
            .retain(|it| !charge.of(it.measure()).is_zero());
    }
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
    pub(super) remaining: Option<Box<str>>,
    /// Of a call that costs what its route says: whether it has come to that.
    pub(super) gate: Option<Gate>,
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

    /// No byte was written upstream after all.
    pub(crate) fn not_sent(&mut self) {
        self.state = match std::mem::replace(&mut self.state, State::Moving) {
            State::Committed(committed) => State::Held(committed.not_sent()),
            other @ (State::Held(_) | State::Moving) => other,
        };
    }

    /// Whether cancelling the call would not end its bill.
    pub(super) const fn is_billed_to_its_end(&self) -> bool {
        self.quote.is_billed_to_its_end
    }

    /// Tokens of output at most, over all answers, where they are bounded.
    pub(crate) fn output_tokens(&self) -> Option<u64> {
        self.quote.output_tokens()
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
    /// What it costs, where its route says that.
    pub(crate) price: Option<NanoUsd>,
}

impl<'a> Aside<'a> {
    /// A call to a model that goes out with this credential.
    pub(crate) fn of(call: &'a LlmCall, target: &'a Target, picked: &'a Picked) -> Self {
        Self {
            llm: Some(call),
            target,
            model: picked.rename.as_deref().unwrap_or(&call.model),
            credential: picked.credential.stored_id(),
            price: None,
        }
    }
}

impl Exchange<'_> {
    /// Whether a budget may count this caller's calls. HOT.
    pub(crate) fn is_budgeted(&self) -> bool {
        self.worker.shared.holds.counts(self.payer())
    }

    pub(super) fn payer(&self) -> TenantId {
        let token = self.work.facts.token.as_ref();
        token.map_or(self.plan.llm.default_tenant, |token| {
            token.project.tenant_id
        })
    }

    /// Takes the bound of the call aside from all budgets and prepaid accounts that count it, or from
    /// none.
    ///
    /// # Errors
    /// 402 where it does not fit, 400 where nothing bounds it, 503 while nobody knows.
    pub(crate) async fn take_aside(&mut self, aside: Aside<'_>) -> Result<(), Stop> {
        let (pots, accounts) = self.pots(&aside)?;
        if pots.is_empty() && accounts.is_empty() {
            return Ok(());
        }
        let holds = Arc::clone(&self.worker.shared.holds);
        if holds.is_full() {
            self.room(&holds).await?;
        }
        let book = self.worker.shared.prices.load_full();
        let Some((mut quote, mut wanted)) = self.quoted(&aside, &book, (pots, accounts))? else {
            return Ok(());
        };
        let ttl_ms = self.plan.llm.bounds.hold_ms(&aside.target.timeouts);
        let mut asked = 0;
        let held = loop {
            wanted.leave_out_nothing(&quote.charge);
            if wanted.is_empty() {
                return Ok(());
            }
            let taken = match wanted.accounts.is_empty() {
                true => self.take_from_slices(&holds, &quote, &wanted.pots),
                // What was paid is held in the store.
                false => None,
            };
            if let Some(held) = taken {
                break held;
            }
            let id = self.next_hold_id(asked);
            let about = self.about((&aside, &quote), &book);
            let granted = self.ask_keeper(&holds, (id, &quote), (&wanted, about), ttl_ms);
            match granted.await? {
                Ok(held) => break held,
                Err(refused) => {
                    let closer = self.closer(&aside, &book, (&quote, refused), &wanted);
                    let closer = closer.filter(|_| asked == 0);
                    let smaller = || self.smaller(&aside, &book, (&quote, refused), &wanted);
                    quote = match closer.or_else(smaller).filter(|_| asked < SHRINKS_MAX) {
                        Some(fitter) => fitter,
                        None => return Err(self.refusal_of(refused, &wanted.pots).into()),
                    };
                }
            }
            asked += 1;
        };
        if let Some(llm) = aside.llm {
            self.write_bounds(llm, &quote)?;
        }
        let remaining = self.exposes_cost().then(|| self.remaining(&wanted.pots));
        self.worker.counters.hold_taken();
        self.work.facts.hold = Some(Box::new(CallHold {
            id: held.id().unwrap_or(HoldId::from_bytes([0; 16])),
            state: State::Held(held.owing(quote.owed())),
            quote,
            book,
            at: self.work.facts.at,
            tenant: self.payer(),
            remaining: remaining.flatten(),
            gate: aside.price.map(|_| Gate::Free),
        }));
        Ok(())
    }

    /// The budgets and prepaid accounts that count the call.
    fn pots(&self, aside: &Aside<'_>) -> Result<(Pots, Accounts), Refusal> {
        let tenant = self.payer();
        let present = self.worker.shared.holds.present.load();
        let paying = self.worker.shared.holds.paying.load();
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
        let counting = present.of.get(&tenant).map(|pots| pots.counting(&call));
        let counting: Pots = counting.into_iter().flatten().cloned().collect();
        if counting.len() > MATCHING_MAX {
            let why = format!("more than {MATCHING_MAX} budgets count it");
            return Err(not_boundable(&why));
        }
        Ok((counting, paying.of(&call)))
    }

    /// What the call may cost, and what it is taken from: nothing if that only looks and does not
    /// see what can't be bounded.
    fn quoted(
        &self,
        aside: &Aside<'_>,
        book: &Book,
        (pots, accounts): (Pots, Accounts),
    ) -> Result<Option<(Quote, Wanted)>, Refusal> {
        let mut wanted = Wanted { pots, accounts };
        match self.quote(aside, book, &wanted) {
            // What only looks refuses nothing.
            Err(_) if wanted.pots.iter().any(only_looks) => {
                wanted.pots.retain(|pot| !only_looks(pot));
                if wanted.is_empty() {
                    return Ok(None);
                }
                let quote = self.quote(aside, book, &wanted)?;
                Ok(Some((quote, wanted)))
            }
            quoted => quoted.map(|quote| Some((quote, wanted))),
        }
    }

    fn quote(&self, aside: &Aside<'_>, book: &Book, wanted: &Wanted) -> Result<Quote, Refusal> {
        let sure = wanted.sure();
        let Some(quoting) = self.quoting(aside, book) else {
            return match aside.price {
                Some(price) => Quote::price(price),
                None => Ok(Quote {
                    sure,
                    ..Quote::one_request()
                }),
            };
        };
        let (counted, settings) = (wanted.counted(), &self.plan.llm.bounds);
        if sure == Sure::Guess {
            return quoting.guess(book, counted, settings);
        }
        if wanted.is_hard() && counted.is_bounded() && settings.quarantine {
            let quarantined = self.worker.shared.store.quarantines();
            let is_it =
                |one: &Quarantine| one.model == aside.model && one.provider == *aside.target.name;
            if quarantined.iter().any(is_it) {
                return Err(not_boundable(
                    "its provider has billed more than a call was bounded to, and nobody has looked after that yet",
                ));
            }
        }
        quoting.quote(book, counted, settings)
    }

    /// The call, if it is one of a model.
    pub(super) fn quoting<'a>(&'a self, aside: &Aside<'a>, book: &Book) -> Option<Quoting<'a>> {
        let (llm, target) = (aside.llm?, aside.target);
        let provider = Provider {
            name: &target.name,
            kind: target.kind_name(),
            self_hosted: target.self_hosted(),
        };
        let payer = payer(self.work.facts.token.as_deref());
        let markup = book.markup(provider, payer);
        Some(Quoting {
            provider,
            model: aside.model,
            surface: llm.surface,
            body: self.body(),
            at: self.work.facts.at,
            markup,
        })
    }

    /// The call with a smaller cap, if the budget that is short wants that and it fits then.
    fn smaller(
        &self,
        aside: &Aside<'_>,
        book: &Book,
        (quote, refused): (&Quote, Refused),
        wanted: &Wanted,
    ) -> Option<Quote> {
        let Refused::Short(row::Pot::Window(key), left) = refused else {
            return None;
        };
        let mut pots = wanted.pots.iter();
        let pot = pots.find(|pot| pot.budget.id == key.budget)?;
        if pot.budget.on_short != OnShort::Shrink {
            return None;
        }
        let settings = &self.plan.llm.bounds;
        let room = (quote, pot.budget.measure, left);
        self.quoting(aside, book)?
            .smaller(book, wanted.counted(), settings, room)
    }

    /// HOT. Takes from the slices in hand, if there is one of each budget and all can bear it.
    fn take_from_slices(&self, holds: &Holds, quote: &Quote, pots: &[Pot]) -> Option<Held> {
        let slices: Option<SmallVec<[Arc<Slice>; 5]>> =
            pots.iter().map(|pot| pot.slice.clone()).collect();
        let now = self.worker.shared.clock.mono();
        let bound = (quote.charge, quote.sure);
        let taken = take(self.hold_id(), bound, &slices?, now, &holds.outbox).ok()?;
        if taken.low {
            for pot in pots {
                holds.inbox.put(Message::Low(pot.budget.id));
            }
        }
        Some(taken.held)
    }

    /// Asks the keeper, who asks the store and calls slices back.
    async fn ask_keeper(
        &mut self,
        holds: &Holds,
        (hold, quote): (HoldId, &Quote),
        (wanted, about): (&Wanted, CallRecord),
        ttl_ms: u64,
    ) -> Result<Granted, Stop> {
        let (tell, told) = oneshot::channel();
        let accounts = wanted.accounts.iter();
        let ask = Ask {
            hold,
            bound: quote.charge,
            owed: quote.owed(),
            sure: quote.sure,
            budgets: wanted.pots.iter().map(|pot| pot.budget.id).collect(),
            accounts: accounts.map(|it| (it.id, it.measure())).collect(),
            confirm: false,
            ttl_ms,
        };
        holds
            .inbox
            .put(Message::Ask(Box::new(ask), Arc::new(about), tell));
        self.conn.slot().set(ANSWER_MAX);
        match self.conn.race(Box::pin(told)).await {
            Raced::Gone => Err(Stop::CallerGone),
            Raced::Late if self.is_revoked() => Err(Refusal::AccessRevoked.into()),
            Raced::Done(Ok(granted)) => Ok(granted),
            Raced::Late | Raced::Done(Err(_)) => Err(Refusal::LedgerUnavailable.into()),
        }
    }

    fn refusal_of(&self, refused: Refused, pots: &[Pot]) -> Refusal {
        self.count_refused(refused, pots);
        match refused {
            Refused::Short(row::Pot::Window(key), _) => {
                let pot = pots.iter().find(|pot| pot.budget.id == key.budget);
                let reset = pot.and_then(|pot| pot.budget.window.end_of(key.start));
                self.exhausted(pot.map(|pot| &*pot.budget), reset)
            }
            Refused::Short(row::Pot::Account(_), _) => self.exhausted(None, None),
            Refused::TooLate | Refused::Closed => Refusal::LedgerUnavailable,
        }
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
        self.next_hold_id(0)
    }

    /// One for each time that the keeper is asked: what was refused under an id is over.
    fn next_hold_id(&self, asked: u32) -> HoldId {
        if self.work.facts.attempts == 0 && asked == 0 {
            return HoldId::from_bytes(*self.work.facts.id.bytes());
        }
        HoldId::from_bytes(*self.worker.request_id(self.work.facts.at.0).bytes())
    }
}
