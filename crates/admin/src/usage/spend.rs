//! What somebody has spent, and the budgets that count it.

use super::usd;
use crate::State;
use crate::budget::{foretold, unit, usd as usd_of, window};
use crate::operation::{Call, Content};
use crate::problem::Problem;
use crate::router::{Answer, ok};
use crate::shape::{Member, choice, number, objects, text, time};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tollkeep_config::settings::TokenName;
use tollkeep_ledger::amount::Amount;
use tollkeep_ledger::budget::Scope as Counts;
use tollkeep_store::ledger::{Groups, UsageFilter};
use tollkeep_store::{BudgetRecord, ProjectRef, Scope, StoreError, TenantRef, Token};
use tollkeep_types::{LineageId, ProjectId, TenantId, WallMillis};

const UNITS: &[&str] = &["usd", "tokens", "requests"];

const BUDGET: &[Member] = &[
    crate::shape::id("id", "bud_", "Its id").required(),
    text("name", 100, "Its name").required(),
    choice("unit", UNITS, "What is limited").required(),
    number("limit", "Up to how much: nano-dollars, tokens or requests").required(),
    number("spent", "What calls that ended were charged").required(),
    number(
        "reserved",
        "What is taken aside for calls under way, and in the hands of replicas",
    )
    .required(),
    number("left", "What nobody has taken").required(),
    text("left_usd", 30, "What is left in dollars"),
    text("window", 20, "In which time").required(),
    time("start", "When the window began"),
    time("end", "When it ends by itself"),
    number(
        "forecast",
        "What will have been spent at its end, if it goes on as so far",
    ),
    time(
        "exhausted_at",
        "When the limit is reached then, if before the end",
    ),
];

const SHOWN: &[Member] = &[
    choice("of", &["token", "project", "tenant"], "Whose calls"),
    text("id", 40, "Its id"),
    time("from", "Since when: the beginning of the month, in UTC"),
    number("calls", "How many calls"),
    number("spent_nano_usd", "What they cost, in nano-dollars"),
    text("spent_usd", 30, "The same in dollars"),
    number(
        "upstream_cost_nano_usd",
        "What their upstreams ask: without markups, and with what the operator bears",
    ),
    text("upstream_cost_usd", 30, "The same in dollars"),
    number("reported_nano_usd", "Of that: what upstreams said"),
    number("estimated_nano_usd", "Of that: what is an upper estimate"),
    number(
        "unknown_nano_usd",
        "Of that: what was charged as nobody said anything",
    ),
    number(
        "cost_unknown_calls",
        "Of the calls: those whose cost nobody knows, which no budget counts. They are in no sum of costs",
    ),
    objects("budgets", BUDGET, "Budgets that count all its calls"),
];

pub(super) const ANSWERS: &[(u16, Content)] = &[(200, Content::Object(&[SHOWN]))];

/// Whose calls are asked about.
struct Payer {
    tenant: TenantId,
    project: Option<ProjectId>,
    lineage: Option<LineageId>,
    metadata: BTreeMap<String, String>,
}

impl Payer {
    fn of_token(token: &Token) -> Self {
        Self {
            tenant: token.tenant_id,
            project: Some(token.project_id),
            lineage: Some(token.lineage),
            metadata: token.metadata.clone(),
        }
    }

    /// Whether a budget counts every call of it.
    fn is_counted_by(&self, record: &BudgetRecord) -> bool {
        let budget = &record.budget;
        self.tenant == budget.tenant
            && match &budget.scope {
                Counts::Tenant(_) => true,
                Counts::Project(project) => self.project == Some(*project),
                Counts::Token(lineage) => self.lineage == Some(*lineage),
                Counts::Tokens(lineages) => self
                    .lineage
                    .is_some_and(|lineage| lineages.contains(&lineage)),
                Counts::Metadata { key, value } => self.metadata.get(key) == Some(value),
                Counts::Route(_)
                | Counts::Provider(_)
                | Counts::Credential(_)
                | Counts::Model(_) => false,
            }
    }

    fn filter(&self, from: WallMillis) -> UsageFilter {
        UsageFilter {
            from: Some(from),
            project: self.project.filter(|_| self.lineage.is_none()),
            lineage: self.lineage,
            ..UsageFilter::default()
        }
    }

    /// The budgets that count it, each with its present window.
    async fn budgets(&self, state: &State) -> Result<Vec<Value>, StoreError> {
        let store = &state.parts.store;
        let records = store.budgets_in_use();
        let mut shown = Vec::new();
        for record in records.iter().filter(|record| self.is_counted_by(record)) {
            let budget = &record.budget;
            let present = store.present_window(record).await?;
            let left = present.left();
            let reserved = present.reserved.plus(present.leased).unwrap_or_default();
            let now = state.parts.clock.wall();
            let (forecast, exhausted_at) = foretold(budget, &present, now);
            let mut row = json!({
                "id": budget.id,
                "name": record.name,
                "unit": unit(budget.measure).0,
                "limit": budget.limit.units(),
                "spent": present.spent.units(),
                "reserved": reserved.units(),
                "left": left.units(),
                "left_usd": usd_of(budget.measure, left),
                "window": window(&budget.window).0,
                "start": Some(present.start).filter(|start| *start > WallMillis(0)),
                "end": budget.window.end_of(present.start),
                "forecast": forecast.map(Amount::units),
                "exhausted_at": exhausted_at,
            });
            if let Some(members) = row.as_object_mut() {
                members.retain(|_, value| !value.is_null());
            }
            shown.push(row);
        }
        Ok(shown)
    }
}

pub(super) async fn of_token(call: Call) -> Answer {
    let name: TokenName = call.id.parse().map_err(|_| Problem::not_found())?;
    let (store, scope) = (&call.state.parts.store, call.operator.scope());
    let token = match name {
        TokenName::Token(id) => store.token(scope, id).await?,
        TokenName::Lineage(id) => {
            let mut tokens = store.tokens_of_lineage(id).await?;
            let last = tokens.pop().ok_or_else(Problem::not_found)?;
            // Read as the operator may: another tenant's line is missing.
            store.token(scope, last.id).await?
        }
    };
    let payer = Payer::of_token(&token);
    told(&call, "token", &token.id.to_string(), &payer).await
}

pub(super) async fn of_project(call: Call) -> Answer {
    let (store, scope) = (&call.state.parts.store, call.operator.scope());
    let project = store.project(scope, ProjectRef::of(&call.id)).await?;
    let payer = Payer {
        tenant: project.tenant_id,
        project: Some(project.id),
        lineage: None,
        metadata: BTreeMap::new(),
    };
    told(&call, "project", &project.id.to_string(), &payer).await
}

pub(super) async fn of_tenant(call: Call) -> Answer {
    let (store, scope) = (&call.state.parts.store, call.operator.scope());
    let tenant = store.tenant_by(scope, TenantRef::of(&call.id)).await?;
    let payer = Payer {
        tenant: tenant.id,
        project: None,
        lineage: None,
        metadata: BTreeMap::new(),
    };
    told(&call, "tenant", &tenant.id.to_string(), &payer).await
}

async fn told(call: &Call, of: &str, id: &str, payer: &Payer) -> Answer {
    let state = &call.state;
    let from = state.month_start();
    let ledger = state.parts.store.ledger();
    let own = Scope::Tenant(payer.tenant);
    let sums = ledger
        .usage_sums(own, &[], None, (&payer.filter(from), Groups::default()))
        .await?;
    let sum = sums.rows.first();
    let of_sum =
        |read: fn(&tollkeep_store::ledger::UsageSum) -> Amount| sum.map(read).unwrap_or_default();
    let spent = of_sum(|sum| sum.charge.cost);
    let upstream = of_sum(|sum| sum.upstream_cost);
    Ok(ok(&json!({
        "of": of,
        "id": id,
        "from": from,
        "calls": sum.map_or(0, |sum| sum.calls),
        "spent_nano_usd": spent.units(),
        "spent_usd": usd(spent),
        "upstream_cost_nano_usd": upstream.units(),
        "upstream_cost_usd": usd(upstream),
        "reported_nano_usd": of_sum(|sum| sum.reported).units(),
        "estimated_nano_usd": of_sum(|sum| sum.estimated).units(),
        "unknown_nano_usd": of_sum(|sum| sum.unknown).units(),
        "cost_unknown_calls": sum.map_or(0, |sum| sum.costs_unknown),
        "budgets": payer.budgets(state).await?,
    })))
}

/// What a holder may know of what its own line of tokens has spent. Amounts are for those that may
/// read usage; the others see hundredths of their budgets.
pub(crate) async fn own(state: &State, token: &Token) -> Result<Value, StoreError> {
    let payer = Payer::of_token(token);
    let may_read = token
        .permissions
        .contains(&tollkeep_store::Permission::UsageRead);
    let budgets = payer.budgets(state).await?;
    let budgets = budgets.into_iter().map(|budget| match may_read {
        true => budget,
        false => in_hundredths(&budget),
    });
    let budgets: Vec<Value> = budgets.collect();
    if !may_read {
        return Ok(json!({ "budgets": budgets }));
    }
    let from = state.month_start();
    let ledger = state.parts.store.ledger();
    let own = Scope::Tenant(token.tenant_id);
    let sums = ledger
        .usage_sums(own, &[], None, (&payer.filter(from), Groups::default()))
        .await?;
    let sum = sums.rows.first();
    let spent = sum.map(|sum| sum.charge.cost).unwrap_or_default();
    Ok(json!({
        "from": from,
        "calls": sum.map_or(0, |sum| sum.calls),
        "spent_nano_usd": spent.units(),
        "spent_usd": usd(spent),
        "tokens": sum.map_or(0, |sum| sum.charge.tokens.units()),
        "budgets": budgets,
    }))
}

/// A budget without its amounts, and without the name that an operator gave it.
fn in_hundredths(budget: &Value) -> Value {
    let number = |name: &str| i128::from(budget.get(name).and_then(Value::as_i64).unwrap_or(0));
    let (limit, left) = (number("limit"), number("left"));
    let left = if limit == 0 { 0 } else { left * 100 / limit };
    let part = |name: &str| budget.get(name).cloned().unwrap_or_default();
    json!({
        "id": part("id"),
        "unit": part("unit"),
        "window": part("window"),
        "end": part("end"),
        "left_percent": i64::try_from(left).unwrap_or(0),
    })
}
