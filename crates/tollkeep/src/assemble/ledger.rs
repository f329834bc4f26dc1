//! The ledger's own part of the process: who drives the keeper of holds, and brings budgets into
//! force when they change.

use super::Base;
use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tollkeep_audit::{Action, Actor, Event, Key, Logger, Outcome, Value};
use tollkeep_gateway::{Holds, HoldsKeeper, HoldsParts, Money, OnMoney};
use tollkeep_ledger::amount::{Amount, Measure};
use tollkeep_ledger::budget::Budget;
use tollkeep_ledger::hold::Sure;
use tollkeep_ledger::prepaid::Prepaid;
use tollkeep_observe::metrics::LedgerMeter;
use tollkeep_store::ledger::CallRecord;
use tollkeep_store::{BudgetRecord, Store};
use tollkeep_types::{BudgetId, HoldId, ReplicaId};

/// How long ends may take to be written when the gateway stops.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// The budgets of a running gateway.
pub(crate) struct Budgeting {
    store: Store,
    holds: Arc<Holds>,
    /// What was taken from the store as last.
    applied: Mutex<Arc<Vec<BudgetRecord>>>,
    /// The same of prepaid accounts.
    paying: Mutex<Arc<Vec<Prepaid>>>,
}

impl Budgeting {
    /// Starts the keeper of holds.
    pub(crate) fn start(
        base: &Base,
        store: &Store,
        holds: &Arc<Holds>,
        (audit, meter): (Option<&Arc<Logger>>, &LedgerMeter),
    ) -> Self {
        if let Some(audit) = audit {
            super::untold::tell_late(base, store, audit);
        }
        let records = store.budgets_in_use();
        let mut boot = [0; 8];
        base.entropy.fill(&mut boot);
        let parts = HoldsParts {
            holds: Arc::clone(holds),
            ledger: store.ledger(),
            clock: Arc::clone(&base.clock),
            replica: replica(base),
            boot: u64::from_be_bytes(boot) >> 1,
            budgets: budgets(&records),
            flush: base.settings.ledger.flush_ms,
            on_money: on_money(base, store, (audit, meter.clone())),
            meter: meter.clone(),
        };
        let (keeper, writer) = HoldsKeeper::new(parts);
        tokio::spawn(keeper.serve());
        tokio::spawn(writer);
        let (uncounted, ledger) = (Arc::clone(holds), store.ledger());
        let with = (Arc::clone(&base.clock), meter.clone());
        tokio::spawn(async move { uncounted.write_uncounted(ledger, with).await });
        let open = store.accounts_in_use();
        holds.set_accounts(&open);
        Self {
            paying: Mutex::new(open),
            store: store.clone(),
            holds: Arc::clone(holds),
            applied: Mutex::new(records),
        }
    }

    /// Brings in what the store has now, if that is something else.
    pub(crate) fn apply(&self) {
        let mut applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        let records = self.store.budgets_in_use();
        if !Arc::ptr_eq(&applied, &records) {
            self.holds.set_budgets(budgets(&records));
            *applied = records;
        }
        let mut paying = self.paying.lock().unwrap_or_else(PoisonError::into_inner);
        let open = self.store.accounts_in_use();
        if !Arc::ptr_eq(&paying, &open) {
            self.holds.set_accounts(&open);
            *paying = open;
        }
    }

    /// No new holds; waits until all ends are written.
    pub(crate) async fn drain(&self) {
        let written = async { tokio::join!(self.holds.drain(), self.holds.drain_uncounted()) };
        if tokio::time::timeout(DRAIN_MAX, written).await.is_err() {
            tracing::warn!("Not all ends of calls could be written in time");
        }
    }
}

fn budgets(records: &[BudgetRecord]) -> Vec<Budget> {
    records.iter().map(|record| record.budget.clone()).collect()
}

/// What is recorded of money, in the audit log and in metrics.
fn on_money(
    base: &Base,
    store: &Store,
    (audit, meter): (Option<&Arc<Logger>>, LedgerMeter),
) -> OnMoney {
    let (clock, audit) = (Arc::clone(&base.clock), audit.map(Arc::clone));
    let store = store.clone();
    Box::new(move |money| {
        if let Money::Overrun {
            hold,
            sure: Sure::Bound,
            record: Some(record),
        } = money
            && let Some(model) = &record.quarantines
        {
            quarantine(&store, *hold, (&record.provider, model));
        }
        if let Money::Broken { hold } = money {
            tracing::error!("The ledger's rows and the gateway disagree about {hold:?}");
        }
        if let Money::Threshold {
            budget, percent, ..
        } = *money
        {
            tell(&store, budget, percent);
        }
        count(&meter, money);
        let Some(audit) = &audit else {
            return;
        };
        // A budget that is used up is told of by an event of its own besides.
        let used_up = match money {
            Money::Threshold { percent, .. } if *percent >= 100 => {
                threshold(Action::BudgetExhausted, money)
            }
            Money::Threshold { .. }
            | Money::Ended { .. }
            | Money::Held { .. }
            | Money::Leased { .. }
            | Money::LeaseLost { .. }
            | Money::Overrun { .. }
            | Money::Broken { .. } => None,
        };
        for event in event(money).into_iter().chain(used_up) {
            if let Err(error) = audit.enqueue(&event.at(clock.wall())) {
                tracing::warn!("What became of money was not recorded: {error}");
            }
        }
    })
}

fn count(meter: &LedgerMeter, money: &Money<'_>) {
    let nano = |amount: Amount| u64::try_from(amount.units()).unwrap_or(0);
    match *money {
        Money::Ended { end, record, .. } => {
            if let Some(record) = record {
                meter.held(record.duration_ms.saturating_mul(1_000_000));
            }
            if end.quality.is_some() {
                meter.used(nano(end.actual.cost), nano(end.bound.cost));
            }
        }
        Money::LeaseLost { budget, rest, .. } => {
            let of_money = budget.is_some_and(|budget| budget.measure == Measure::Cost);
            meter.lost(if of_money { nano(rest) } else { 0 });
        }
        Money::Overrun {
            sure: Sure::Bound, ..
        } => meter.overrun(),
        Money::Held { .. }
        | Money::Leased { .. }
        | Money::Threshold { .. }
        | Money::Overrun {
            sure: Sure::Guess | Sure::Price,
            ..
        }
        | Money::Broken { .. } => {}
    }
}

/// Tells those who want to know how much of a budget is used.
fn tell(store: &Store, budget: BudgetId, percent: u8) {
    let store = store.clone();
    tokio::spawn(async move {
        if let Err(error) = store.tell_of_budget(budget, percent).await {
            tracing::warn!("That a budget is used up to a point is not told: {error}");
        }
    });
}

/// No bound of the model is trusted from now on, until somebody has looked after it.
fn quarantine(store: &Store, hold: HoldId, (provider, model): (&str, &str)) {
    let (store, provider, model) = (store.clone(), provider.to_owned(), model.to_owned());
    tracing::error!(
        "`{provider}` billed more for `{model}` than the call was bounded to: hard budgets refuse it until `tollkeep price ack`"
    );
    tokio::spawn(async move {
        if let Err(error) = store.quarantine(provider, model, hold).await {
            tracing::error!(
                "A model that was billed beyond its bound is not in quarantine: {error}"
            );
        }
    });
}

fn event<'m>(money: &Money<'m>) -> Option<Event<'m>> {
    let made = |action, outcome| Event::new(action, Actor::System, outcome);
    let id = |id: &dyn Display| Value::OwnedWord(id.to_string().into());
    let nano = |amount: Amount| Value::Number(u64::try_from(amount.units()).unwrap_or(0));
    Some(match *money {
        Money::Ended {
            hold,
            end,
            record,
            entries,
        } => {
            let action = match end.quality {
                Some(_) => Action::MoneySettle,
                None => Action::MoneyRelease,
            };
            let event = of_call(made(action, Outcome::Success), record)
                .with_detail(Key::Hold, id(&hold))
                .with_detail(Key::Amount, nano(end.actual.cost))
                .with_detail(Key::Bound, nano(end.bound.cost));
            let quality = end
                .quality
                .map(|quality| (Key::Quality, Value::Word(quality.as_str())));
            let digest = (!entries.is_empty()).then(|| (Key::EntryDigest, digests(entries)));
            let more = quality.into_iter().chain(digest);
            more.fold(event, |event, (key, value)| event.with_detail(key, value))
        }
        Money::Threshold { .. } => return threshold(Action::BudgetThreshold, money),
        Money::Held {
            hold,
            bound,
            record,
        } => of_call(made(Action::MoneyHold, Outcome::Success), record)
            .with_detail(Key::Hold, id(&hold))
            .with_detail(Key::Bound, nano(bound.cost)),
        Money::Leased {
            lease,
            budget,
            amount,
        } => made(Action::MoneyLease, Outcome::Success)
            .with_tenant_id(budget.tenant)
            .with_detail(Key::Lease, id(&lease))
            .with_detail(Key::Budget, id(&budget.id))
            .with_detail(Key::Amount, nano(amount)),
        Money::LeaseLost {
            lease,
            budget,
            rest,
        } => {
            let event = made(Action::MoneyLeaseLost, Outcome::Error);
            let event = budget.iter().fold(event, |event, budget| {
                event
                    .with_tenant_id(budget.tenant)
                    .with_detail(Key::Budget, id(&budget.id))
            });
            event
                .with_detail(Key::Lease, id(&lease))
                .with_detail(Key::Amount, nano(rest))
        }
        Money::Overrun { hold, sure, record } => {
            let action = match sure {
                Sure::Bound | Sure::Price => Action::LedgerOverrun,
                Sure::Guess => Action::BudgetOvershoot,
            };
            of_call(made(action, Outcome::Error), record).with_detail(Key::Hold, id(&hold))
        }
        Money::Broken { .. } => return None,
    })
}

/// Hashes of entries, as events tell them.
fn digests(entries: &[[u8; 32]]) -> Value<'static> {
    Value::OwnedWord(tollkeep_store::ledger::digests(entries).into())
}

/// What is known of the call.
/// So much of a budget is used.
fn threshold<'m>(action: Action, money: &Money<'m>) -> Option<Event<'m>> {
    let Money::Threshold {
        budget,
        known,
        percent,
        used,
        limit,
        window_end,
    } = *money
    else {
        return None;
    };
    let word = |text: String| Value::OwnedWord(text.into());
    let units = |amount: Amount| Value::Number(u64::try_from(amount.units()).unwrap_or(0));
    let event = Event::new(action, Actor::System, Outcome::Success);
    let event = known
        .iter()
        .fold(event, |event, budget| event.with_tenant_id(budget.tenant));
    let event = event
        .with_detail(Key::Budget, word(budget.to_string()))
        .with_detail(Key::Percent, Value::Number(percent.into()))
        .with_detail(Key::Spent, units(used))
        .with_detail(Key::Limit, units(limit));
    Some(window_end.iter().fold(event, |event, end| {
        event.with_detail(Key::WindowEnd, word(end.to_string()))
    }))
}

fn of_call<'m>(event: Event<'m>, record: Option<&'m CallRecord>) -> Event<'m> {
    let Some(record) = record else { return event };
    let event = event
        .with_tenant_id(record.tenant)
        .with_project_id(record.project)
        .with_request_id(record.request)
        .with_detail(Key::Provider, Value::Word(&record.provider));
    event.with_detail(Key::Model, Value::Text((*record.model_requested).into()))
}

/// Who this is. A file has one process at a time, which is the same replica at each start; those that
/// share a server are told apart by chance.
pub(super) fn replica(base: &Base) -> ReplicaId {
    let mut id = [0; 16];
    if base.settings.store.postgres.is_some() {
        base.entropy.fill(&mut id);
    }
    ReplicaId::from_bytes(id)
}
