//! `/api/v1/usage` and `/api/v1/spend`: what calls used and cost (LED-80).

mod days;
mod record;
mod spend;

pub(crate) use spend::own;

use crate::State;
use crate::operation::{Call, Content, Method, Operation};
use crate::parameters::{CURSOR, LIMIT, Parameters, next_cursor};
use crate::problem::Problem;
use crate::rights::Right;
use crate::router::{Answer, ok};
use crate::shape::{Member, bounded, choice, number, text};
use serde_json::{Value, json};
use tollkeep_ledger::amount::Amount;
use tollkeep_ledger::money::NanoUsd;
use tollkeep_ledger::row::Quality;
use tollkeep_store::ledger::{Groups, UsageBy, UsageFilter, UsageSum};
use tollkeep_store::{After, ProjectRef};
use tollkeep_types::WallMillis;

const QUALITIES: &[&str] = &["reported", "estimated", "unknown"];

macro_rules! filters {
    ($($more:expr),* $(,)?) => {
        &[
            text("from", 40, "From this time on, in RFC 3339"),
            text("to", 40, "Before this time"),
            text("project", 64, "Of this project, by id or slug"),
            text("token", 40, "Of this token alone, by id"),
            text("route", 256, "On this route"),
            text("provider", 256, "To this provider"),
            text("model", 256, "Where this model answered, or was asked for and none did"),
            choice("quality", QUALITIES, "Of costs that are known so far"),
            $($more),*
        ]
    };
}

const SUM: &[Member] = &[
    crate::shape::id("tenant_id", "ten_", "The tenant").or_null(),
    crate::shape::id("project_id", "prj_", "The project").or_null(),
    crate::shape::id("token_id", "tid_", "The token").or_null(),
    text("route", 256, "The route").or_null(),
    text("provider", 256, "The provider").or_null(),
    text("model", 256, "The model").or_null(),
    text("day", 10, "The day").or_null(),
    number("calls", "How many they are"),
    number("cost_nano_usd", "What they cost, in nano-dollars"),
    text("cost_usd", 30, "The same in dollars"),
    number(
        "upstream_cost_nano_usd",
        "What their upstreams ask: without markups, and with what the operator bears",
    ),
    text("upstream_cost_usd", 30, "The same in dollars"),
    number("tokens", "Tokens in all"),
    number("output_tokens", "Tokens of output"),
    number("billable_tokens", "Tokens without those read from a cache"),
    number("reported_nano_usd", "Of the cost: what upstreams said"),
    number(
        "estimated_nano_usd",
        "Of the cost: what is an upper estimate",
    ),
    number(
        "unknown_nano_usd",
        "Of the cost: what was charged as nobody said anything",
    ),
    number(
        "cost_unknown_calls",
        "Of the calls: those whose cost nobody knows, which no budget counts. They are in no sum of costs",
    ),
];

const BASE: Operation = Operation {
    id: "usage_sums",
    command: "usage list",
    about: "What calls used and cost together, told apart as wanted",
    method: Method::Get,
    path: "/api/v1/usage",
    also: None,
    right: Right::Read,
    change: None,
    query: filters![
        text(
            "group_by",
            100,
            "By what they are told apart, by commas: tenant, project, token, route, provider, \
             model, day",
        ),
        text("tz", 64, "Where days begin; `UTC` if not given"),
        bounded(
            "limit",
            1,
            10_000,
            "How many sums at most; 10,000 if not given"
        ),
        CURSOR,
    ],
    body: None,
    answers: &[(200, Content::Page(SUM))],
    refusals: &[404],
    run: |call| Box::pin(sums(call)),
};

pub(crate) const OPERATIONS: &[Operation] = &[
    BASE,
    Operation {
        id: "usage_records",
        command: "usage export",
        about: "Calls with what they used and cost, the last first",
        path: "/api/v1/usage/records",
        query: filters![LIMIT, CURSOR, text("request", 40, "Of this request"),],
        answers: &[(200, Content::Page(record::SHOWN))],
        run: |call| Box::pin(records(call)),
        ..BASE
    },
    Operation {
        id: "spend_of_token",
        command: "spend token",
        about: "What a line of tokens has spent, and its budgets",
        path: "/api/v1/spend/token/{id}",
        query: &[],
        answers: spend::ANSWERS,
        run: |call| Box::pin(spend::of_token(call)),
        ..BASE
    },
    Operation {
        id: "spend_of_project",
        command: "spend project",
        about: "What a project has spent, and its budgets",
        path: "/api/v1/spend/project/{id}",
        query: &[],
        answers: spend::ANSWERS,
        run: |call| Box::pin(spend::of_project(call)),
        ..BASE
    },
    Operation {
        id: "spend_of_tenant",
        command: "spend tenant",
        about: "What a tenant has spent, and its budgets",
        path: "/api/v1/spend/tenant/{id}",
        query: &[],
        answers: spend::ANSWERS,
        run: |call| Box::pin(spend::of_tenant(call)),
        ..BASE
    },
];

/// What sums are told apart by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum By {
    Column(UsageBy),
    Day,
}

const BY: [(&str, By); 7] = [
    ("tenant", By::Column(UsageBy::Tenant)),
    ("project", By::Column(UsageBy::Project)),
    ("token", By::Column(UsageBy::Token)),
    ("route", By::Column(UsageBy::Route)),
    ("provider", By::Column(UsageBy::Provider)),
    ("model", By::Column(UsageBy::Model)),
    ("day", By::Day),
];

async fn sums(call: Call) -> Answer {
    let (state, operator, query) = (&call.state, &call.operator, &call.query);
    let by = group_by(query.get("group_by").unwrap_or_default())?;
    let mut filter = filter_of(&call).await?;
    let place = format!("usage sums {filter:?} {by:?} {:?}", query.get("tz"));
    let page = query.page::<u64>(state, &place)?;
    let now = state.parts.clock.wall();
    let behind = page.after.as_ref();
    let until = behind.map_or(WallMillis(now.0.saturating_add(1)), |after| {
        after.created_at
    });
    if behind.is_some() || query.get("limit").is_some() {
        // Calls that end meanwhile are in no part: so none is told twice, and none left out.
        filter.to.get_or_insert(until);
    }
    let groups = Groups {
        skip: behind.map_or(0, |after| after.id),
        most: match query.get("limit") {
            Some(_) => page.limit,
            None => Groups::default().most,
        },
    };
    let days = if by.contains(&By::Day) {
        Some(days::days(query.get("tz"), &mut filter, now)?)
    } else if query.get("tz").is_some() {
        return Err(Problem::bad_request("tz: only for `group_by` with `day`."));
    } else {
        None
    };
    let columns: Vec<UsageBy> = by
        .iter()
        .filter_map(|by| match by {
            By::Column(column) => Some(*column),
            By::Day => None,
        })
        .collect();
    let times = days.as_ref().map(|days| days.times.as_slice());
    let ledger = state.parts.store.ledger();
    let sums = ledger
        .usage_sums(operator.scope(), &columns, times, (&filter, groups))
        .await?;
    let told = u64::try_from(sums.rows.len()).unwrap_or(u64::MAX);
    let next = sums.more.then(|| After {
        created_at: until,
        id: groups.skip.saturating_add(told),
    });
    let next = next_cursor(state, &place, next);
    let rows = sums.rows.iter();
    // Sums of nothing at all are no row.
    let rows = rows.filter(|sum| sum.calls > 0);
    let data: Vec<Value> = rows
        .map(|sum| shown(sum, &columns, days.as_ref()))
        .collect();
    Ok(ok(
        &json!({ "data": data, "has_more": sums.more, "next_cursor": next }),
    ))
}

fn group_by(text: &str) -> Result<Vec<By>, Problem> {
    let mut all = Vec::new();
    for word in text.split(',').filter(|word| !word.is_empty()) {
        let found = BY.iter().find(|(name, _)| *name == word);
        let (_, by) = found.ok_or_else(|| {
            let names: Vec<_> = BY.iter().map(|(name, _)| *name).collect();
            Problem::bad_request(format!("group_by: want some of {}.", names.join(", ")))
        })?;
        if all.contains(by) {
            return Err(Problem::bad_request("group_by: names one twice."));
        }
        all.push(*by);
    }
    Ok(all)
}

fn shown(sum: &UsageSum, columns: &[UsageBy], days: Option<&days::Days>) -> Value {
    let group = |wanted: UsageBy| {
        let place = columns.iter().position(|column| *column == wanted)?;
        sum.group.get(place)?.as_deref()
    };
    let day = days.and_then(|days| days.names.get(sum.time?));
    let charge = &sum.charge;
    json!({
        "tenant_id": group(UsageBy::Tenant),
        "project_id": group(UsageBy::Project),
        "token_id": group(UsageBy::Token),
        "route": group(UsageBy::Route),
        "provider": group(UsageBy::Provider),
        "model": group(UsageBy::Model),
        "day": day,
        "calls": sum.calls,
        "cost_nano_usd": charge.cost.units(),
        "cost_usd": usd(charge.cost),
        "upstream_cost_nano_usd": sum.upstream_cost.units(),
        "upstream_cost_usd": usd(sum.upstream_cost),
        "tokens": charge.tokens.units(),
        "output_tokens": charge.output_tokens.units(),
        "billable_tokens": charge.billable_tokens.units(),
        "reported_nano_usd": sum.reported.units(),
        "estimated_nano_usd": sum.estimated.units(),
        "unknown_nano_usd": sum.unknown.units(),
        "cost_unknown_calls": sum.costs_unknown,
    })
}

/// Nano-dollars in dollars.
fn usd(amount: Amount) -> String {
    NanoUsd::new(amount.units()).to_string()
}

async fn records(call: Call) -> Answer {
    let (state, operator, query) = (&call.state, &call.operator, &call.query);
    let mut filter = filter_of(&call).await?;
    let request = query.get("request").map(str::parse).transpose();
    filter.request = request.map_err(|_| Problem::bad_request("request: want `req_…`."))?;
    let place = format!("usage {filter:?}");
    let page = query.page::<String>(state, &place)?;
    let ledger = state.parts.store.ledger();
    let page = ledger
        .usage_records(operator.scope(), &filter, &page)
        .await?;
    let last = page.rows.last().filter(|_| page.more);
    let last = last.map(|last| After {
        created_at: last.at,
        id: last.id.clone(),
    });
    let data: Vec<Value> = page.rows.iter().map(record::shown).collect();
    Ok(ok(&json!({
        "data": data,
        "has_more": page.more,
        "next_cursor": next_cursor(state, &place, last),
    })))
}

/// Which calls the request wants.
async fn filter_of(call: &Call) -> Result<UsageFilter, Problem> {
    let query = &call.query;
    let given = |name| query.get(name).map(str::to_owned);
    let project = match query.get("project") {
        Some(project) => {
            let (store, scope) = (&call.state.parts.store, call.operator.scope());
            Some(store.project(scope, ProjectRef::of(project)).await?.id)
        }
        None => None,
    };
    let token = query.get("token").map(str::parse).transpose();
    Ok(UsageFilter {
        from: time_of(query, "from")?,
        to: time_of(query, "to")?,
        project,
        token: token.map_err(|_| Problem::bad_request("token: want `tid_…`."))?,
        route: given("route"),
        provider: given("provider"),
        model: given("model"),
        quality: query.get("quality").map(|word| match word {
            "reported" => Quality::Reported,
            "estimated" => Quality::Estimated,
            _ => Quality::Unknown,
        }),
        ..UsageFilter::default()
    })
}

pub(crate) fn time_of(query: &Parameters, name: &str) -> Result<Option<WallMillis>, Problem> {
    let time = query.get(name).map(str::parse).transpose();
    time.map_err(|_| {
        let problem = format!("{name}: want a time such as \"2026-11-22T10:15:30Z\".");
        Problem::bad_request(problem)
    })
}

impl State {
    /// The months of budgets and of what is told begin by this zone where nobody names one.
    fn month_start(&self) -> WallMillis {
        use tollkeep_ledger::window::{Period, Window, Zone};
        let month = Window::Calendar {
            period: Period::Month,
            zone: Zone::utc(),
        };
        month.current(self.parts.clock.wall(), None)
    }
}
