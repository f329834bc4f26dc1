//! Budgets: limits of what calls may cost or use over a time. What was taken of them stands in their
//! windows.

mod change;
mod configured;
mod read;
mod windows;

pub use configured::ConfiguredBudgets;
pub(crate) use read::{by_id, in_use, read_window};
pub use windows::BudgetWindow;

use serde::{Deserialize, Serialize};
use std::str::FromStr;
use std::sync::Arc;
use tollkeep_ledger::amount::{Amount, Measure};
use tollkeep_ledger::budget::{Budget, Durability, OnShort, Scope as BudgetScope};
use tollkeep_ledger::row::Enforcement;
use tollkeep_ledger::window::{BUCKETS, Period, Window, Zone};
use tollkeep_types::{BudgetId, TenantId, WallMillis};

/// Budgets of a tenant at most, ended ones not counted.
const BUDGETS_MAX: u32 = 1_000;
/// Longest name, in characters.
const NAME_CHARS_MAX: usize = 100;
/// Most tokens that share one budget by being listed.
const TOKENS_MAX: usize = 1_000;
/// Longest name of a route, provider or model, and longest piece of metadata.
const SCOPE_BYTES_MAX: usize = 256;
/// Most steps of warning.
const WARN_MAX: usize = 10;

/// A budget as it is kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BudgetRecord {
    /// What calls are held to.
    pub budget: Budget,
    /// Its name, unique among the living ones of its tenant.
    pub name: String,
    /// Who wrote it.
    pub origin: BudgetOrigin,
    /// When it was made.
    pub created_at: WallMillis,
    /// When it was last changed.
    pub updated_at: WallMillis,
    /// Counts its changes.
    pub version: u64,
}

/// Who wrote a budget.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum BudgetOrigin {
    /// The settings, among the budgets.
    Config,
    /// The settings, as the quota of a provider.
    Quota,
    /// An operator, while the gateway runs.
    Api,
}

impl BudgetOrigin {
    /// The word for it in the database and in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Quota => "quota",
            Self::Api => "api",
        }
    }
}

impl FromStr for BudgetOrigin {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        let mut all = [Self::Config, Self::Quota, Self::Api].into_iter();
        all.find(|origin| origin.as_str() == word).ok_or(())
    }
}

/// A budget to be made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NewBudget {
    /// Whose calls it counts.
    pub tenant: TenantId,
    /// Its name, 1 to 100 characters.
    pub name: String,
    /// Which of them.
    pub scope: BudgetScope,
    /// What of them.
    pub measure: Measure,
    /// Up to how much.
    pub limit: Amount,
    /// In which time.
    pub window: Window,
    /// Whether the limit is kept.
    pub enforcement: Enforcement,
    /// What becomes of a call that does not fit.
    pub on_short: OnShort,
    /// How grants are written down.
    pub durability: Durability,
    /// Hundredths of the limit that are told of, ascending.
    pub warn: Vec<u8>,
    /// Who writes it.
    pub origin: BudgetOrigin,
}

impl NewBudget {
    /// Why it can't be kept, if it can't.
    pub fn fault(&self) -> Option<&'static str> {
        let is_text = |text: &str| !text.is_empty() && text.len() <= SCOPE_BYTES_MAX;
        let scope = match &self.scope {
            BudgetScope::Tenant(tenant) if *tenant != self.tenant => {
                Some("a budget of a tenant counts that tenant's calls")
            }
            BudgetScope::Tenant(_)
            | BudgetScope::Project(_)
            | BudgetScope::Token(_)
            | BudgetScope::Credential(_) => None,
            BudgetScope::Route(text) | BudgetScope::Provider(text) | BudgetScope::Model(text) => {
                (!is_text(text)).then_some("names in a scope have 1 to 256 bytes")
            }
            BudgetScope::Tokens(tokens) => (tokens.is_empty() || tokens.len() > TOKENS_MAX)
                .then_some("1 to 1000 tokens share a budget"),
            BudgetScope::Metadata { key, value } => (!is_text(key)
                || value.len() > SCOPE_BYTES_MAX)
                .then_some("metadata in a scope has 1 to 256 bytes"),
        };
        let quota = self.origin == BudgetOrigin::Quota && self.enforcement != Enforcement::Hard;
        scope
            .or_else(|| name_fault(&self.name))
            .or_else(|| warn_fault(&self.warn))
            .or_else(|| quota.then_some("a quota is hard"))
    }
}

fn name_fault(name: &str) -> Option<&'static str> {
    let is_fit = !name.trim().is_empty()
        && name.chars().count() <= NAME_CHARS_MAX
        && !name.chars().any(char::is_control);
    (!is_fit).then_some("a budget's name has 1 to 100 characters")
}

fn warn_fault(warn: &[u8]) -> Option<&'static str> {
    let is_fit = warn.len() <= WARN_MAX
        && warn.iter().all(|percent| (1..=100).contains(percent))
        && warn.is_sorted_by(|one, next| one < next);
    (!is_fit).then_some("warnings are at most 10 ascending hundredths from 1 to 100")
}

/// What to change of a budget; what is not given stays. Scope, measure and window are what it is:
/// with others it is another budget.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct BudgetChange {
    /// Its name.
    pub name: Option<String>,
    /// Up to how much.
    pub limit: Option<Amount>,
    /// Whether the limit is kept.
    pub enforcement: Option<Enforcement>,
    /// What becomes of a call that does not fit.
    pub on_short: Option<OnShort>,
    /// What is told of.
    pub warn: Option<Vec<u8>>,
}

/// Which budgets are wanted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct BudgetFilter {
    /// The one of this name.
    pub name: Option<String>,
    /// Those of this kind of scope, as `project`.
    pub scope_kind: Option<String>,
    /// Those of this tenant, project, token or credential.
    pub scope_id: Option<String>,
}

/// The word for a measure in the database.
const MEASURES: [(&str, Measure); 5] = [
    ("usd", Measure::Cost),
    ("tokens", Measure::Tokens),
    ("output_tokens", Measure::OutputTokens),
    ("billable_tokens", Measure::BillableTokens),
    ("requests", Measure::Requests),
];

const PERIODS: [(&str, Period); 4] = [
    ("day", Period::Day),
    ("week", Period::Week),
    ("month", Period::Month),
    ("year", Period::Year),
];

const ENFORCEMENTS: [(&str, Enforcement); 3] = [
    ("hard", Enforcement::Hard),
    ("soft", Enforcement::Soft),
    ("observe", Enforcement::Observe),
];

const SHORTS: [(&str, OnShort); 2] = [("refuse", OnShort::Refuse), ("shrink", OnShort::Shrink)];

const DURABILITIES: [(&str, Durability); 2] =
    [("lease", Durability::Lease), ("strict", Durability::Strict)];

/// The word of a value in such a list.
fn word<T: Copy + PartialEq>(words: &[(&'static str, T)], value: T) -> &'static str {
    let mut words = words.iter();
    let found = words.find(|(_, of)| *of == value);
    found.map_or("", |(word, _)| word)
}

/// The value of a word in such a list.
fn meant<T: Copy>(words: &[(&'static str, T)], word: &str) -> Option<T> {
    let mut words = words.iter();
    words.find(|(of, _)| *of == word).map(|(_, value)| *value)
}

/// A scope as its columns have it: kind, id, value.
type ScopeColumns = (&'static str, Option<String>, Option<String>);

#[derive(Deserialize, Serialize)]
struct Pair {
    key: String,
    value: String,
}

fn scope_columns(scope: &BudgetScope) -> Result<ScopeColumns, crate::StoreError> {
    let by_id = |kind, id: String| (kind, Some(id), None);
    let by_value = |kind, value: String| (kind, None, Some(value));
    Ok(match scope {
        BudgetScope::Tenant(id) => by_id("tenant", id.to_string()),
        BudgetScope::Project(id) => by_id("project", id.to_string()),
        BudgetScope::Token(id) => by_id("token", id.to_string()),
        BudgetScope::Credential(id) => by_id("credential", id.to_string()),
        BudgetScope::Route(name) => by_value("route", name.clone()),
        BudgetScope::Provider(name) => by_value("provider", name.clone()),
        BudgetScope::Model(glob) => by_value("model", glob.clone()),
        BudgetScope::Tokens(tokens) => by_value("tokens", crate::row::to_json(tokens)?),
        BudgetScope::Metadata { key, value } => {
            let pair = Pair {
                key: key.clone(),
                value: value.clone(),
            };
            by_value("metadata", crate::row::to_json(&pair)?)
        }
    })
}

fn scope_of(kind: &str, id: Option<&str>, value: Option<&str>) -> Option<BudgetScope> {
    Some(match kind {
        "tenant" => BudgetScope::Tenant(id?.parse().ok()?),
        "project" => BudgetScope::Project(id?.parse().ok()?),
        "token" => BudgetScope::Token(id?.parse().ok()?),
        "credential" => BudgetScope::Credential(id?.parse().ok()?),
        "route" => BudgetScope::Route(value?.to_owned()),
        "provider" => BudgetScope::Provider(value?.to_owned()),
        "model" => BudgetScope::Model(value?.to_owned()),
        "tokens" => BudgetScope::Tokens(serde_json::from_str(value?).ok()?),
        "metadata" => {
            let pair: Pair = serde_json::from_str(value?).ok()?;
            BudgetScope::Metadata {
                key: pair.key,
                value: pair.value,
            }
        }
        _ => return None,
    })
}

/// A window as its columns have it: kind, period, length, zone.
type WindowColumns = (
    &'static str,
    Option<&'static str>,
    Option<i64>,
    Option<String>,
);

fn window_columns(window: &Window) -> WindowColumns {
    match window {
        Window::Calendar { period, zone } => {
            let zone = zone.name().to_owned();
            ("calendar", Some(word(&PERIODS, *period)), None, Some(zone))
        }
        Window::Rolling { bucket_ms } => {
            let length = crate::row::count(bucket_ms.saturating_mul(BUCKETS));
            ("rolling", None, Some(length), None)
        }
        Window::Lifetime => ("lifetime", None, None, None),
    }
}

fn window_of(
    kind: &str,
    period: Option<&str>,
    length_ms: Option<u64>,
    zone: Option<&str>,
) -> Option<Window> {
    match kind {
        "calendar" => Some(Window::Calendar {
            period: meant(&PERIODS, period?)?,
            zone: Zone::named(zone?).ok()?,
        }),
        "rolling" => Window::rolling(length_ms?).ok(),
        "lifetime" => Some(Window::Lifetime),
        _ => None,
    }
}

impl crate::open::Inner {
    /// The list with this budget as it is now; callers hold the turn.
    pub(crate) fn show_budget(&self, record: &BudgetRecord) {
        let id = record.budget.id;
        self.budgets.rcu(|before| {
            let mut list = Vec::clone(before);
            match list.binary_search_by_key(&id, |known| known.budget.id) {
                Ok(at) => {
                    if let Some(known) = list.get_mut(at) {
                        *known = record.clone();
                    }
                }
                Err(at) => list.insert(at, record.clone()),
            }
            Arc::new(list)
        });
    }

    /// The list without it; callers hold the turn.
    pub(crate) fn forget_budget(&self, id: BudgetId) {
        self.budgets.rcu(|before| {
            let kept = before.iter().filter(|known| known.budget.id != id);
            Arc::new(kept.cloned().collect::<Vec<_>>())
        });
    }
}

/// The id of a budget to be made.
fn new_id(inner: &crate::open::Inner) -> BudgetId {
    BudgetId::new(inner.wall.clock(), inner.entropy.as_ref())
}
