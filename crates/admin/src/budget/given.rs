//! What a request gives of a budget.

use super::scope::{ScopeError, scope_of};
use crate::State;
use crate::members::Members;
use crate::problem::{Fault, Problem};
use serde_json::Value;
use tollkeep_config::settings::{BudgetScope, PairText, limit_of, measure_of, window_of};
use tollkeep_ledger::amount::{Amount, Measure};
use tollkeep_ledger::budget::{Durability, OnShort};
use tollkeep_ledger::row::Enforcement;
use tollkeep_ledger::window::Window;
use tollkeep_store::{BudgetChange, BudgetOrigin, NewBudget};
use tollkeep_types::TenantId;

/// A budget to be made, by the names that operators write.
pub(super) struct New {
    name: String,
    scope: Written,
    measure: Measure,
    limit: Amount,
    window: Window,
    enforcement: Enforcement,
    on_short: OnShort,
    durability: Option<Durability>,
    warn: Vec<u8>,
}

/// A scope as it is written.
enum Written {
    /// All of the tenant of this id, which must be the budget's own.
    Tenant(String),
    Other(BudgetScope),
}

impl New {
    /// Takes all of it; `None` after a fault.
    pub(super) fn take(members: &mut Members) -> Option<Self> {
        let name = members.text("name");
        let scope = match members.take_as("scope", scope) {
            None if members.is_faulty() => None,
            None => Some(Written::Other(BudgetScope::Tenant)),
            some => some,
        };
        let unit = word(members, "unit").unwrap_or_else(|| "usd".to_owned());
        let count = word(members, "count");
        let measure = measure_of(&unit, count.as_deref());
        let measure = measure
            .map_err(|problem| members.fault("count", problem))
            .ok();
        let limit = limit(members, measure);
        let window = window(members);
        let new = Self {
            name: name.unwrap_or_default(),
            measure: measure.unwrap_or(Measure::Cost),
            scope: scope.unwrap_or(Written::Other(BudgetScope::Tenant)),
            limit: limit.unwrap_or_default(),
            window: window.unwrap_or(Window::Lifetime),
            enforcement: enforcement(members).unwrap_or(Enforcement::Hard),
            on_short: on_short(members).unwrap_or_default(),
            durability: word(members, "durability").map(|word| match word.as_str() {
                "strict" => Durability::Strict,
                _ => Durability::Lease,
            }),
            warn: members.percents("warn").unwrap_or_default(),
        };
        (!members.is_faulty()).then_some(new)
    }

    /// The same by ids, for this tenant.
    pub(super) async fn resolve(
        self,
        state: &State,
        tenant: TenantId,
    ) -> Result<NewBudget, Problem> {
        let at_scope = |message: String| {
            Problem::invalid(vec![Fault {
                path: "/scope".to_owned(),
                message,
            }])
        };
        let scope = match self.scope {
            Written::Tenant(id) if id != tenant.to_string() => {
                return Err(at_scope("want the budget's own tenant".to_owned()));
            }
            Written::Tenant(_) => BudgetScope::Tenant,
            Written::Other(scope) => scope,
        };
        let scope = scope_of(&state.parts.store, tenant, scope).await;
        let scope = scope.map_err(|error| match error {
            ScopeError::Missing(_) => at_scope(error.to_string()),
            ScopeError::Store(error) => error.into(),
        })?;
        Ok(NewBudget {
            tenant,
            name: self.name,
            scope,
            measure: self.measure,
            limit: self.limit,
            window: self.window,
            enforcement: self.enforcement,
            on_short: self.on_short,
            durability: self
                .durability
                .unwrap_or_else(|| state.settings().ledger.durability),
            warn: self.warn,
            origin: BudgetOrigin::Api,
        })
    }
}

/// Takes what is to be changed of a budget that counts by this measure; without one, the budget is
/// not there, and nothing becomes of the limit.
pub(super) fn change(members: &mut Members, measure: Option<Measure>) -> BudgetChange {
    BudgetChange {
        name: members.text("name"),
        limit: limit(members, measure),
        enforcement: enforcement(members),
        on_short: on_short(members),
        warn: members.percents("warn"),
    }
}

fn limit(members: &mut Members, measure: Option<Measure>) -> Option<Amount> {
    members.take_as("limit", |written| match measure {
        Some(measure) => limit_of(measure, &written),
        None => Ok(Amount::ZERO),
    })
}

fn window(members: &mut Members) -> Option<Window> {
    let text = members.text("window");
    let timezone = members.text("timezone");
    let text = text?;
    if let Err(problem) = window_of(&text, None) {
        members.fault("window", problem);
        return None;
    }
    let window = window_of(&text, timezone.as_deref());
    window
        .map_err(|problem| members.fault("timezone", problem))
        .ok()
}

fn enforcement(members: &mut Members) -> Option<Enforcement> {
    word(members, "enforcement").map(|word| match word.as_str() {
        "observe" => Enforcement::Observe,
        "soft" => Enforcement::Soft,
        _ => Enforcement::Hard,
    })
}

fn on_short(members: &mut Members) -> Option<OnShort> {
    word(members, "on_short").map(|word| match word.as_str() {
        "shrink" => OnShort::Shrink,
        _ => OnShort::Refuse,
    })
}

/// One of the words that are declared.
fn word(members: &mut Members, name: &str) -> Option<String> {
    members.choice(name)
}

/// Reads `{"project": "…"}` and its like.
fn scope(written: Value) -> Result<Written, String> {
    let Value::Object(members) = written else {
        return Err("must be an object".to_owned());
    };
    let mut members = members.into_iter().filter(|(_, value)| !value.is_null());
    let (Some((kind, value)), None) = (members.next(), members.next()) else {
        return Err("want exactly one member".to_owned());
    };
    let text = || {
        let text = value
            .as_str()
            .filter(|text| (1..=256).contains(&text.len()) && !text.chars().any(char::is_control));
        text.ok_or_else(|| format!("{kind}: want a text of 1 to 256 bytes"))
    };
    Ok(Written::Other(match kind.as_str() {
        "tenant" => return Ok(Written::Tenant(text()?.to_owned())),
        "project" => BudgetScope::Project(text()?.to_owned()),
        "token" => BudgetScope::Token(text()?.parse()?),
        "route" => BudgetScope::Route(text()?.to_owned()),
        "provider" => BudgetScope::Provider(text()?.to_owned()),
        "model" => BudgetScope::Model(text()?.to_owned()),
        "credential" => {
            let id = text()?.parse();
            BudgetScope::Credential(id.map_err(|_| "want the id of a credential, `crd_…`")?)
        }
        "tokens" => {
            let names = value
                .as_array()
                .filter(|names| (1..=1_000).contains(&names.len()));
            let names = names.ok_or("tokens: want 1 to 1000 of them")?;
            let read = |name: &Value| name.as_str().unwrap_or_default().parse();
            let names: Result<Vec<_>, &str> = names.iter().map(read).collect();
            BudgetScope::Tokens(names?)
        }
        "metadata" => BudgetScope::Metadata(pair(&value)?),
        _ => return Err("unknown member".to_owned()),
    }))
}

fn pair(value: &Value) -> Result<PairText, String> {
    let wrong = || "metadata: want one name and its value, each of 1 to 256 bytes".to_owned();
    let pairs = value.as_object().filter(|pairs| pairs.len() == 1);
    let (key, value) = pairs
        .and_then(|pairs| pairs.iter().next())
        .ok_or_else(wrong)?;
    let value = value.as_str().ok_or_else(wrong)?;
    let fits = |text: &str| (1..=256).contains(&text.len()) && !text.chars().any(char::is_control);
    if !fits(key) || !fits(value) {
        return Err(wrong());
    }
    Ok(PairText {
        key: key.clone(),
        value: value.to_owned(),
    })
}
