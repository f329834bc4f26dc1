//! `/api/v1/budgets`: limits of what calls may cost or use over a time (LED-84).

mod given;
mod scope;
mod shown;

pub use scope::{ScopeError, scope_of, tenant_of};
pub(crate) use shown::{foretold, unit, usd, window};

use crate::State;
use crate::authn::Operator;
use crate::operation::{Call, Content, Method, Operation};
use crate::parameters::{CURSOR, LIMIT, next_cursor};
use crate::problem::Problem;
use crate::rights::Right;
use crate::router::{Answer, created, no_content, ok};
use crate::shape::{Member, amount, choice, number, object, pairs, percents, text, texts, time};
use serde_json::{Value as Json, json};
use shown::shown;
use tollkeep_audit::{Action, Event, Key, Value};
use tollkeep_store::{After, BudgetFilter, BudgetOrigin, BudgetRecord, Scope, TenantRef};
use tollkeep_types::BudgetId;

const ENFORCEMENTS: &[&str] = &["hard", "soft", "observe"];
const SHORTS: &[&str] = &["refuse", "shrink"];
const UNITS: &[&str] = &["usd", "tokens", "requests"];
const COUNTS: &[&str] = &["total", "output", "billable"];
const KINDS: &[&str] = &[
    "tenant",
    "project",
    "token",
    "route",
    "provider",
    "credential",
    "model",
    "tokens",
    "metadata",
];

/// Which calls: exactly one of these.
const SCOPE: &[Member] = &[
    text("tenant", 64, "All calls of the tenant, by its id"),
    text("project", 64, "Those of a project, by id or slug"),
    text(
        "token",
        40,
        "Those of a token and of those it was rotated from and to: its id, or that of the line",
    ),
    text("route", 256, "Those on a route"),
    text("provider", 256, "Those to a provider"),
    text("credential", 40, "Those with a credential"),
    text(
        "model",
        256,
        "Those of models, by a name with `*` for any text",
    ),
    texts("tokens", 1_000, 40, "Those of several tokens together"),
    pairs("metadata", 1, "Those of tokens with this in their metadata"),
];

const CREATE: &[Member] = &[
    text("name", 100, "Its name, unique in its tenant").required(),
    text(
        "tenant",
        64,
        "Its tenant, by id or slug; the key's own or `default` if not given",
    ),
    object(
        "scope",
        SCOPE,
        "Which calls it counts; all of the tenant if not given",
    ),
    choice("unit", UNITS, "What is limited; `usd` if not given"),
    choice("count", COUNTS, "Which tokens; `total` if not given"),
    amount(
        "limit",
        "Up to how much: money as \"$12.50\", \"12.50\" or {\"nano_usd\": N}, others as a number",
    )
    .required(),
    text(
        "window",
        20,
        "In which time: `day`, `week`, `month`, `year`, `lifetime`, or a rolling time as `24h`",
    )
    .required(),
    text(
        "timezone",
        64,
        "Where days of a calendar begin; `UTC` if not given",
    ),
    choice(
        "enforcement",
        ENFORCEMENTS,
        "Whether what does not fit is refused: always, by a guess of the call, or never; `hard` if not given",
    ),
    choice(
        "on_short",
        SHORTS,
        "What becomes of a call that does not fit: it is refused, or its cap of output lowered; `refuse` if not given",
    ),
    choice(
        "durability",
        &["lease", "strict"],
        "How grants are written down; as the settings say if not given",
    ),
    percents("warn", "Hundredths of the limit that are told of"),
];

const UPDATE: &[Member] = &[
    text("name", 100, "Its name, unique in its tenant"),
    amount("limit", "Up to how much, from now on"),
    choice(
        "enforcement",
        ENFORCEMENTS,
        "Whether what does not fit is refused",
    ),
    choice(
        "on_short",
        SHORTS,
        "What becomes of a call that does not fit",
    ),
    percents("warn", "Hundredths of the limit that are told of"),
];

const SHOWN: &[Member] = &[
    crate::shape::id("id", "bud_", "Its id"),
    crate::shape::id("tenant_id", "ten_", "Its tenant"),
    text("name", 100, "Its name"),
    object("scope", SCOPE, "Which calls it counts"),
    choice("unit", UNITS, "What is limited"),
    choice("count", COUNTS, "Which tokens").or_null(),
    number("limit", "Up to how much: nano-dollars, tokens or requests"),
    text("limit_usd", 30, "The same in dollars").or_null(),
    text("window", 20, "In which time"),
    text("timezone", 64, "Where days of a calendar begin").or_null(),
    choice(
        "enforcement",
        ENFORCEMENTS,
        "Whether what does not fit is refused",
    ),
    choice(
        "on_short",
        SHORTS,
        "What becomes of a call that does not fit",
    ),
    choice(
        "durability",
        &["lease", "strict"],
        "How grants are written down",
    ),
    percents("warn", "Hundredths of the limit that are told of"),
    choice(
        "origin",
        &["config", "quota", "api"],
        "Who wrote it: the settings, a provider's quota there, or an operator",
    ),
    time("created_at", "When it was made"),
    time("updated_at", "When it last changed"),
];

const WINDOW: &[Member] = &[
    time("start", "When it began; null: it always was").or_null(),
    time("end", "When it ends by itself").or_null(),
    number("limit", "Up to how much: nano-dollars, tokens or requests"),
    number("spent", "What calls that ended were charged"),
    number("reserved", "What is taken aside for calls under way"),
    number("leased", "What replicas have in hand to grant from"),
    number("left", "What nobody has taken"),
    text("limit_usd", 30, "The limit in dollars").or_null(),
    text("spent_usd", 30, "What was spent in dollars").or_null(),
    text("left_usd", 30, "What is left in dollars").or_null(),
    number(
        "forecast",
        "Of the present window: what will have been spent at its end, if it goes on as so far",
    )
    .or_null(),
    time(
        "exhausted_at",
        "When the limit is reached then, if before the end",
    )
    .or_null(),
];

const ONE: &[(u16, Content)] = &[(200, Content::Object(&[SHOWN]))];

pub(crate) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "budget_list",
        command: "budget list",
        about: "Budgets, newest first",
        method: Method::Get,
        path: "/api/v1/budgets",
        also: None,
        right: Right::Read,
        change: None,
        query: &[
            LIMIT,
            CURSOR,
            text("name", 100, "The one of this name"),
            choice("kind", KINDS, "Those of this kind of scope"),
            text(
                "of",
                64,
                "Those of this tenant, project, line of tokens or credential, by its id",
            ),
        ],
        body: None,
        answers: &[(200, Content::Page(SHOWN))],
        refusals: &[],
        run: |call| Box::pin(list(call)),
    },
    Operation {
        id: "budget_create",
        command: "budget create",
        about: "Make a budget; it counts from the next call on",
        method: Method::Post,
        path: "/api/v1/budgets",
        also: None,
        right: Right::Projects,
        change: Some(Action::BudgetCreate),
        query: &[],
        body: Some(CREATE),
        answers: &[(201, Content::Object(&[SHOWN]))],
        refusals: &[404, 409],
        run: |call| Box::pin(create(call)),
    },
    Operation {
        id: "budget_get",
        command: "budget get",
        about: "One budget",
        method: Method::Get,
        path: "/api/v1/budgets/{budget}",
        also: None,
        right: Right::Read,
        change: None,
        query: &[],
        body: None,
        answers: ONE,
        refusals: &[],
        run: |call| Box::pin(get(call)),
    },
    Operation {
        id: "budget_update",
        command: "budget update",
        about: "Change a budget; another limit holds for what is taken from then on",
        method: Method::Patch,
        path: "/api/v1/budgets/{budget}",
        also: None,
        right: Right::Projects,
        change: Some(Action::BudgetUpdate),
        query: &[],
        body: Some(UPDATE),
        answers: ONE,
        refusals: &[409],
        run: |call| Box::pin(update(call)),
    },
    Operation {
        id: "budget_delete",
        command: "budget delete",
        about: "End a budget; what it counted stays on record",
        method: Method::Delete,
        path: "/api/v1/budgets/{budget}",
        also: None,
        right: Right::Projects,
        change: Some(Action::BudgetDelete),
        query: &[],
        body: None,
        answers: &[(204, Content::None)],
        refusals: &[409],
        run: |call| Box::pin(delete(call)),
    },
    Operation {
        id: "budget_reset",
        command: "budget reset",
        about: "Begin a window now; calls under way end in the one before",
        method: Method::Post,
        path: "/api/v1/budgets/{budget}/reset",
        also: None,
        right: Right::Projects,
        change: Some(Action::BudgetReset),
        query: &[],
        body: None,
        answers: &[(200, Content::Object(&[WINDOW]))],
        refusals: &[],
        run: |call| Box::pin(reset(call)),
    },
    Operation {
        id: "budget_windows",
        command: "budget windows",
        about: "What was taken in which time, the latest first",
        method: Method::Get,
        path: "/api/v1/budgets/{budget}/windows",
        also: None,
        right: Right::Read,
        change: None,
        query: &[],
        body: None,
        answers: &[(200, Content::List(WINDOW))],
        refusals: &[],
        run: |call| Box::pin(windows(call)),
    },
];

async fn list(call: Call) -> Answer {
    let (state, operator, query) = (&call.state, &call.operator, &call.query);
    let given = |name| query.get(name).map(str::to_owned);
    let filter = BudgetFilter {
        name: given("name"),
        scope_kind: given("kind"),
        scope_id: given("of"),
    };
    let place = format!("budgets {filter:?}");
    let page = query.page(state, &place)?;
    let store = &state.parts.store;
    let page = store.budgets(operator.scope(), filter, page).await?;
    state
        .record(state.event(operator, Action::BudgetList))
        .await?;
    let last = page.rows.last().filter(|_| page.more);
    let last = last.map(|last| After {
        created_at: last.created_at,
        id: last.budget.id,
    });
    let data: Vec<Json> = page.rows.iter().map(shown).collect();
    Ok(ok(&json!({
        "data": data,
        "has_more": page.more,
        "next_cursor": next_cursor(state, &place, last),
    })))
}

async fn create(call: Call) -> Answer {
    let Call {
        state,
        operator,
        mut body,
        ..
    } = call;
    let tenant = body.text("tenant");
    let given = given::New::take(&mut body);
    body.done()?;
    let given = given.ok_or_else(Problem::internal)?;
    let store = &state.parts.store;
    let mut scope = operator.scope();
    if let Some(tenant) = tenant {
        let tenant = store.tenant_by(scope, TenantRef::of(&tenant)).await?;
        scope = Scope::Tenant(tenant.id);
    }
    let tenant = match scope {
        Scope::Tenant(tenant) => tenant,
        Scope::Service(_) => store.default_tenant().id,
    };
    let new = given.resolve(&state, tenant).await?;
    state.check_audit()?;
    let record = store.create_budget(scope, new).await?;
    state.parts.runtime.apply_overrides();
    state
        .record(event(&state, &operator, Action::BudgetCreate, &record))
        .await?;
    let place = format!("/api/v1/budgets/{}", record.budget.id);
    Ok(created(&place, &shown(&record)))
}

async fn get(call: Call) -> Answer {
    let (state, operator) = (&call.state, &call.operator);
    let record = found(state, operator, &call.id).await?;
    state
        .record(event(state, operator, Action::BudgetRead, &record))
        .await?;
    Ok(ok(&shown(&record)))
}

async fn update(call: Call) -> Answer {
    let Call {
        state,
        operator,
        id,
        mut body,
        ..
    } = call;
    let before = found(&state, &operator, &id).await;
    // What is written wrong is told first, as in every other operation.
    let measure = before.as_ref().ok().map(|record| record.budget.measure);
    let change = given::change(&mut body, measure);
    body.done()?;
    if change == tollkeep_store::BudgetChange::default() {
        return Err(Problem::bad_request("There is nothing to change."));
    }
    let before = before?;
    check_origin(&before)?;
    state.check_audit()?;
    let (store, scope) = (&state.parts.store, operator.scope());
    let record = store.change_budget(scope, before.budget.id, change).await?;
    state.parts.runtime.apply_overrides();
    state
        .record(event(&state, &operator, Action::BudgetUpdate, &record))
        .await?;
    Ok(ok(&shown(&record)))
}

async fn delete(call: Call) -> Answer {
    let Call {
        state,
        operator,
        id,
        body,
        ..
    } = call;
    body.done()?;
    let before = found(&state, &operator, &id).await?;
    check_origin(&before)?;
    state.check_audit()?;
    let (store, scope) = (&state.parts.store, operator.scope());
    let record = store.end_budget(scope, before.budget.id).await?;
    state.parts.runtime.apply_overrides();
    state
        .record(event(&state, &operator, Action::BudgetDelete, &record))
        .await?;
    Ok(no_content())
}

async fn reset(call: Call) -> Answer {
    let Call {
        state,
        operator,
        id,
        body,
        ..
    } = call;
    body.done()?;
    let before = found(&state, &operator, &id).await?;
    state.check_audit()?;
    let (store, scope) = (&state.parts.store, operator.scope());
    let record = store.reset_budget(scope, before.budget.id).await?;
    state.parts.runtime.apply_overrides();
    let window = store.present_window(&record).await?;
    state
        .record(event(&state, &operator, Action::BudgetReset, &record))
        .await?;
    Ok(ok(&shown::window_of(&record.budget, &window)))
}

async fn windows(call: Call) -> Answer {
    let (state, operator) = (&call.state, &call.operator);
    let record = found(state, operator, &call.id).await?;
    let store = &state.parts.store;
    let present = store.present_window(&record).await?;
    let mut windows = store
        .budget_windows(operator.scope(), record.budget.id)
        .await?;
    match windows.first_mut() {
        Some(latest) if latest.start == present.start => *latest = present,
        _ => windows.insert(0, present),
    }
    let now = state.parts.clock.wall();
    let shown = |(at, window)| match at {
        0 => shown::present_of(&record.budget, window, now),
        _ => shown::window_of(&record.budget, window),
    };
    Ok(ok(&windows.iter().enumerate().map(shown).collect::<Json>()))
}

/// The budget of this id, if the operator may see it.
async fn found(state: &State, operator: &Operator, id: &str) -> Result<BudgetRecord, Problem> {
    let store = &state.parts.store;
    let id: BudgetId = id.parse().map_err(|_| Problem::not_found())?;
    Ok(store.budget(operator.scope(), id).await?)
}

/// What stands in the settings would come back with the next reload.
fn check_origin(record: &BudgetRecord) -> Result<(), Problem> {
    match record.origin {
        BudgetOrigin::Api => Ok(()),
        BudgetOrigin::Config => Err(Problem::conflict(
            "The budget stands in the settings: change it there, under `budgets.list`.",
        )),
        BudgetOrigin::Quota => Err(Problem::conflict(
            "The budget is a quota of the settings: change it there, at its provider.",
        )),
    }
}

fn event(
    state: &State,
    operator: &Operator,
    action: Action,
    record: &BudgetRecord,
) -> Event<'static> {
    let id = record.budget.id.to_string();
    state
        .event(operator, action)
        .with_tenant_id(record.budget.tenant)
        .with_detail(Key::Name, Value::OwnedWord(id.into()))
}
