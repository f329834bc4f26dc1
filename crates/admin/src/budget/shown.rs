//! Budgets as answers show them.

use serde_json::{Value, json};
use tollkeep_ledger::amount::{Amount, Measure};
use tollkeep_ledger::budget::{Budget, Durability, OnShort, Scope};
use tollkeep_ledger::forecast::forecast;
use tollkeep_ledger::money::NanoUsd;
use tollkeep_ledger::row::Enforcement;
use tollkeep_ledger::window::{BUCKETS, Period, Window};
use tollkeep_store::{BudgetRecord, BudgetWindow};
use tollkeep_types::WallMillis;

pub(super) fn shown(record: &BudgetRecord) -> Value {
    let budget = &record.budget;
    let (unit, count) = unit(budget.measure);
    let (window, timezone) = window(&budget.window);
    json!({
        "id": budget.id,
        "tenant_id": budget.tenant,
        "name": record.name,
        "scope": scope(&budget.scope),
        "unit": unit,
        "count": count,
        "limit": budget.limit.units(),
        "limit_usd": usd(budget.measure, budget.limit),
        "window": window,
        "timezone": timezone,
        "enforcement": enforcement(budget.enforcement),
        "on_short": match budget.on_short {
            OnShort::Refuse => "refuse",
            OnShort::Shrink => "shrink",
        },
        "durability": match budget.durability {
            Durability::Lease => "lease",
            Durability::Strict => "strict",
        },
        "warn": budget.warn,
        "origin": record.origin.as_str(),
        "created_at": record.created_at,
        "updated_at": record.updated_at,
    })
}

/// What will have been spent of the present window, and when it is used up, as far as can be said.
pub(crate) fn foretold(
    budget: &Budget,
    window: &BudgetWindow,
    now: WallMillis,
) -> (Option<Amount>, Option<WallMillis>) {
    let times = (window.start, budget.window.end_of(window.start));
    let told = forecast((window.spent, window.limit), times, now);
    let at_end = told.map(|told| told.at_end);
    (at_end, told.and_then(|told| told.exhausted_at))
}

/// The present window of a budget, with what is to come.
pub(super) fn present_of(budget: &Budget, window: &BudgetWindow, now: WallMillis) -> Value {
    let (at_end, exhausted_at) = foretold(budget, window, now);
    let mut shown = window_of(budget, window);
    if let Some(members) = shown.as_object_mut() {
        let forecast = at_end.map(Amount::units);
        members.insert("forecast".to_owned(), json!(forecast));
        members.insert("exhausted_at".to_owned(), json!(exhausted_at));
    }
    shown
}

/// A window of a budget.
pub(super) fn window_of(budget: &Budget, window: &BudgetWindow) -> Value {
    let usd = |amount| usd(budget.measure, amount);
    let left = window.left();
    json!({
        "start": Some(window.start).filter(|start| *start > WallMillis(0)),
        "end": budget.window.end_of(window.start),
        "limit": window.limit.units(),
        "spent": window.spent.units(),
        "reserved": window.reserved.units(),
        "leased": window.leased.units(),
        "left": left.units(),
        "limit_usd": usd(window.limit),
        "spent_usd": usd(window.spent),
        "left_usd": usd(left),
        "forecast": Value::Null,
        "exhausted_at": Value::Null,
    })
}

/// The word for what is limited, and which tokens.
pub(crate) const fn unit(measure: Measure) -> (&'static str, Option<&'static str>) {
    match measure {
        Measure::Cost => ("usd", None),
        Measure::Tokens => ("tokens", Some("total")),
        Measure::OutputTokens => ("tokens", Some("output")),
        Measure::BillableTokens => ("tokens", Some("billable")),
        Measure::Requests => ("requests", None),
    }
}

/// Money in dollars; nothing where it is no money.
pub(crate) fn usd(measure: Measure, amount: Amount) -> Option<String> {
    (measure == Measure::Cost).then(|| NanoUsd::new(amount.units()).to_string())
}

const fn enforcement(enforcement: Enforcement) -> &'static str {
    match enforcement {
        Enforcement::Hard => "hard",
        Enforcement::Soft => "soft",
        Enforcement::Observe => "observe",
    }
}

/// A window in the words that make one, and its zone.
pub(crate) fn window(window: &Window) -> (String, Option<&str>) {
    match window {
        Window::Calendar { period, zone } => {
            let word = match period {
                Period::Day => "day",
                Period::Week => "week",
                Period::Month => "month",
                Period::Year => "year",
            };
            (word.to_owned(), Some(zone.name()))
        }
        Window::Rolling { bucket_ms } => {
            let length = bucket_ms.saturating_mul(BUCKETS);
            (crate::members::duration_text(length), None)
        }
        Window::Lifetime => ("lifetime".to_owned(), None),
    }
}

fn scope(scope: &Scope) -> Value {
    match scope {
        Scope::Tenant(id) => json!({ "tenant": id }),
        Scope::Project(id) => json!({ "project": id }),
        Scope::Token(id) => json!({ "token": id }),
        Scope::Route(name) => json!({ "route": name }),
        Scope::Provider(name) => json!({ "provider": name }),
        Scope::Credential(id) => json!({ "credential": id }),
        Scope::Model(glob) => json!({ "model": glob }),
        Scope::Tokens(ids) => json!({ "tokens": ids }),
        Scope::Metadata { key, value } => json!({ "metadata": { key: value } }),
    }
}
