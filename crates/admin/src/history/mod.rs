//! `/api/v1/audit` and `/manage/audit`: what happened, from the database, or where no records are
//! kept in it from the audit file.
//!
//! The file is its own index then: lines are read backwards, as operators look for what happened
//! lately. One request reads so much and no more; a cursor goes on from there.

mod feed;
mod filter;
mod follow;
mod prune;
mod recorded;
mod stats;

use crate::State;
use crate::operation::{Call, Content, Method, Operation};
use crate::parameters::{CURSOR, LIMIT, next_cursor};
use crate::problem::Problem;
use crate::rights::Right;
use crate::router::{Answer, ok};
use crate::shape::{Member, bounded, duration, number, switch, text};
pub(crate) use feed::Streaming;
use filter::Filter;
pub(crate) use recorded::is_recorded;
use serde_json::{Map, Value, json};
use std::io;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tollkeep_audit::{Action, Backwards};
use tollkeep_store::{After, AuditFilter, AuditOrder, AuditPlace};
use tollkeep_types::{ProjectId, TenantId, WallMillis};

/// Bytes of the file that one request reads at most.
const READ_BYTES_MAX: u64 = 64 << 20;
/// How far events are counted.
const COUNTED_MAX: u64 = 100_000;
/// Requests that read at once; others wait.
static READING: Semaphore = Semaphore::const_new(2);

/// Where lines may be looked for: a page is a part of what fits.
const PAGE_MAX: u64 = 1_000_000;

macro_rules! filters {
    ($($further:expr),* $(,)?) => {
        &[
            text("action", 500, "Actions, by comma; `*` stands for any text"),
            text("client_ip", 60, "The client's address"),
            text("project_id", 64, "The project, by id or slug"),
            text("outcome", 100, "success, failure, denied, error; by comma"),
            text("actor", 100, "Who acted: management, client, local, system, anonymous"),
            text("actor_id", 100, "The key or operator that acted"),
            text("request_id", 100, "The request"),
            text("correlation_id", 200, "The correlation id that came with it"),
            text("method", 20, "The method of the request"),
            text("path", 500, "The path of the request, up to a `*`"),
            text("class", 100, "access, security, management, system; by comma"),
            text("reason", 100, "Why, in a word"),
            text("token", 100, "The token, by id, mask or fingerprint"),
            text("search", 200, "A text anywhere in the event"),
            number("min_amount", "With at least this amount"),
            text("start_time", 40, "Not before then"),
            text("end_time", 40, "Before then"),
            $($further),*
        ]
    };
}

const QUERY: &[Member] = filters![
    LIMIT,
    CURSOR,
    switch(
        "follow",
        "Whether to tell what happens from the cursor on, waiting for it, in its order"
    ),
];

const STATS_QUERY: &[Member] = filters![text(
    "by",
    100,
    "action, result, class, actor, reason, project, client_ip, day; by comma"
),];

const PRUNE: &[Member] =
    &[duration("before", "Records older than this go, such as `90d`").required()];

const SEED_QUERY: &[Member] = filters![
    bounded("page", 1, PAGE_MAX, "Which page; 1 if not given"),
    bounded("page_size", 1, 100, "Events of a page; 20 if not given"),
];

const BASE: Operation = Operation {
    id: "audit_list",
    command: "audit list",
    about: "What happened, the last first",
    method: Method::Get,
    path: "/api/v1/audit",
    also: None,
    right: Right::Read,
    change: None,
    query: QUERY,
    body: None,
    answers: &[(200, Content::Document)],
    refusals: &[404],
    run: |call| Box::pin(list(call)),
};

pub(crate) const OPERATIONS: &[Operation] = &[
    BASE,
    Operation {
        id: "audit_get",
        command: "audit get",
        about: "One event",
        path: "/api/v1/audit/{id}",
        query: &[],
        run: |call| Box::pin(get(call, |event| event)),
        ..BASE
    },
    Operation {
        id: "audit_stats",
        command: "audit stats",
        about: "How much happened, by what it has in common",
        path: "/api/v1/audit/stats",
        query: STATS_QUERY,
        run: |call| Box::pin(stats::stats(call)),
        ..BASE
    },
    Operation {
        id: "audit_prune",
        command: "audit prune",
        about: "Take old records out of the database, with a record that says so",
        method: Method::Post,
        path: "/api/v1/audit/prune",
        right: Right::Vault,
        change: Some(Action::AuditPrune),
        query: &[],
        body: Some(PRUNE),
        answers: &[(200, Content::Document)],
        refusals: &[],
        run: |call| Box::pin(prune::prune(call)),
        ..BASE
    },
    Operation {
        id: "manage_audit_list",
        about: "What happened, the last first (llm-proxy)",
        path: "/manage/audit",
        query: SEED_QUERY,
        run: |call| Box::pin(seed_list(call)),
        ..BASE
    },
    Operation {
        id: "manage_audit_get",
        command: "audit get",
        about: "One event (llm-proxy)",
        path: "/manage/audit/{id}",
        query: &[],
        run: |call| Box::pin(get(call, in_seed_shape)),
        ..BASE
    },
];

/// Whether records are in the database.
fn is_in_database(state: &State) -> bool {
    state.parts.audit.is_some() && state.settings().audit.store_in_db
}

/// The event of a line of our own.
fn event_of(line: &str) -> Result<Value, Problem> {
    serde_json::from_str(line).map_err(|_| Problem::internal())
}

/// What a part of the file gave.
#[derive(Default)]
struct Found {
    events: Vec<Value>,
    /// How many fit.
    fitting: u64,
    /// Where the last line that was looked at begins, if there are more before it.
    further: Option<u64>,
}

/// What is looked for.
struct Wanted {
    filter: Filter,
    /// Before this place of the file.
    before: Option<u64>,
    /// Fitting events that are passed over.
    skip: u64,
    take: u64,
    /// Whether those behind what is taken are counted.
    counts: bool,
}

impl Wanted {
    fn find(&self, path: &Path) -> io::Result<Option<Found>> {
        let Some(mut lines) = Backwards::open(path, self.before)? else {
            return Ok(None);
        };
        let mut found = Found::default();
        let mut first = None;
        while let Some((at, line)) = lines.next()? {
            let first = *first.get_or_insert(at);
            let read = first.saturating_sub(at);
            let Some(event) = filter::event(&line) else {
                continue;
            };
            if self.filter.is_past(&event) {
                return Ok(Some(found));
            }
            if self.filter.fits(&event, &line) {
                found.fitting += 1;
                if found.fitting > self.skip && found.fitting <= self.skip + self.take {
                    found.events.push(event);
                }
            }
            let is_full = found.fitting >= self.skip + self.take;
            let is_counted = !self.counts || found.fitting >= COUNTED_MAX;
            if (is_full && is_counted) || read >= READ_BYTES_MAX {
                found.further = Some(at).filter(|at| *at > 0);
                return Ok(Some(found));
            }
        }
        Ok(Some(found))
    }
}

/// Looks for events in the file.
async fn find(state: &Arc<State>, wanted: Wanted) -> Result<Found, Problem> {
    let settings = state.settings();
    if state.parts.audit.is_none() {
        return Err(Problem::audit_not_kept());
    }
    let permit = READING.acquire().await.map_err(|_| Problem::internal())?;
    let path = settings.audit.file.clone();
    let path = path.ok_or_else(Problem::audit_not_kept)?;
    let found = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        wanted.find(&path)
    });
    match found.await.map_err(|_| Problem::internal())? {
        Ok(Some(found)) => Ok(found),
        Ok(None) => Err(Problem::audit_not_kept()),
        Err(error) => {
            tracing::error!("The audit file can't be read: {error}");
            Err(Problem::audit_unreadable())
        }
    }
}

/// What the request filters by; a key of one tenant sees that tenant's events alone.
async fn filter_of(call: &Call) -> Result<Filter, Problem> {
    let mut filter = Filter::read(&call.query, call.operator.tenant())?;
    if let Some(project) = project_of(call).await? {
        filter.of_project(project);
    }
    Ok(filter)
}

async fn project_of(call: &Call) -> Result<Option<ProjectId>, Problem> {
    let Some(project) = call.query.get("project_id") else {
        return Ok(None);
    };
    let (store, scope) = (&call.state.parts.store, call.operator.scope());
    let project = tollkeep_store::ProjectRef::of(project);
    Ok(Some(store.project(scope, project).await?.id))
}

async fn database_filter_of(call: &Call) -> Result<AuditFilter, Problem> {
    filter::of_database(&call.query, project_of(call).await?)
}

async fn list(call: Call) -> Answer {
    if is_in_database(&call.state) {
        return list_database(call).await;
    }
    if call.query.is_on("follow") {
        return Err(Problem::audit_not_kept());
    }
    let (state, operator) = (&call.state, &call.operator);
    let filter = filter_of(&call).await?;
    let filters = format!("audit|{}", filter.name());
    let page = call.query.page::<u64>(state, &filters)?;
    let wanted = Wanted {
        filter,
        before: page.after.map(|after| after.id),
        skip: 0,
        take: page.limit.into(),
        counts: false,
    };
    let found = find(state, wanted).await?;
    state
        .record(state.event(operator, Action::AuditList))
        .await?;
    let last = found.further.map(|place| After {
        created_at: WallMillis(0),
        id: place,
    });
    let next = next_cursor(state, &filters, last);
    Ok(ok(&json!({
        "data": found.events,
        "has_more": next.is_some(),
        "next_cursor": next,
    })))
}

async fn list_database(call: Call) -> Answer {
    let (state, operator) = (&call.state, &call.operator);
    let filter = database_filter_of(&call).await?;
    if call.streaming.is_wanted() {
        return feed::stream(&call, filter).await;
    }
    if call.query.is_on("follow") {
        return follow::follow(&call, filter).await;
    }
    let filters = format!("audit|{filter:?}");
    let page = call.query.page::<String>(state, &filters)?;
    let after = page.after.map(|after| AuditPlace {
        at: after.created_at,
        id: after.id,
    });
    let found = state.parts.store.audit_lines(
        operator.scope(),
        &filter,
        (AuditOrder::LastFirst, after.as_ref()),
        page.limit,
    );
    let (lines, last) = found.await?;
    state
        .record(state.event(operator, Action::AuditList))
        .await?;
    let last = last.map(|place| After {
        created_at: place.at,
        id: place.id,
    });
    let next = next_cursor(state, &filters, last);
    let events = lines.iter().map(|line| event_of(line));
    Ok(ok(&json!({
        "data": events.collect::<Result<Vec<Value>, Problem>>()?,
        "has_more": next.is_some(),
        "next_cursor": next,
    })))
}

/// Which page llm-proxy's callers want.
struct SeedPage {
    page: u64,
    size: u64,
}

impl SeedPage {
    fn of(call: &Call) -> Self {
        let number = |name, by_default| {
            let given = call.query.get(name).and_then(|text| text.parse().ok());
            given.unwrap_or(by_default)
        };
        Self {
            page: number("page", 1),
            size: number("page_size", 20),
        }
    }

    const fn skip(&self) -> u64 {
        self.page.saturating_sub(1).saturating_mul(self.size)
    }
}

/// What of the database or the file fits.
async fn seed_found(call: &Call, wanted: &SeedPage) -> Result<Found, Problem> {
    let state = &call.state;
    if !is_in_database(state) {
        let wanted = Wanted {
            filter: filter_of(call).await?,
            before: None,
            skip: wanted.skip(),
            take: wanted.size,
            counts: true,
        };
        return find(state, wanted).await;
    }
    let filter = database_filter_of(call).await?;
    let take = u32::try_from(wanted.size).unwrap_or(u32::MAX);
    let counted_max = u32::try_from(COUNTED_MAX).unwrap_or(u32::MAX);
    let part = (wanted.skip(), take);
    let store = &state.parts.store;
    let found = store.audit_page(call.operator.scope(), &filter, part, counted_max);
    let (lines, fitting) = found.await?;
    let events = lines.iter().map(|line| event_of(line));
    Ok(Found {
        events: events.collect::<Result<_, _>>()?,
        fitting: fitting.min(COUNTED_MAX),
        further: (fitting > COUNTED_MAX).then_some(fitting),
    })
}

async fn seed_list(call: Call) -> Answer {
    let (state, operator) = (&call.state, &call.operator);
    let wanted = SeedPage::of(&call);
    let (page, size) = (wanted.page, wanted.size);
    let found = seed_found(&call, &wanted).await?;
    state
        .record(state.event(operator, Action::AuditList))
        .await?;
    let pages = found.fitting.div_ceil(size);
    let events: Vec<Value> = found.events.into_iter().map(in_seed_shape).collect();
    Ok(ok(&json!({
        "events": events,
        "pagination": {
            "page": page,
            "page_size": size,
            "total_count": found.fitting,
            "total_capped": found.further.is_some(),
            "total_pages": pages,
            "has_next": page < pages || found.further.is_some(),
            "has_prev": page > 1,
        },
    })))
}

async fn get(call: Call, shape: fn(Value) -> Value) -> Answer {
    let (state, operator) = (&call.state, &call.operator);
    let filter = Filter::of_event(&call.id, operator.tenant()).ok_or_else(Problem::not_found)?;
    let event = if is_in_database(state) {
        let line = state
            .parts
            .store
            .audit_line(operator.scope(), &call.id)
            .await?;
        line.map(|line| event_of(&line)).transpose()?
    } else {
        let wanted = Wanted {
            filter,
            before: None,
            skip: 0,
            take: 1,
            counts: false,
        };
        find(state, wanted).await?.events.pop()
    };
    let event = event.ok_or_else(Problem::not_found)?;
    state
        .record(state.event(operator, Action::AuditShow))
        .await?;
    Ok(ok(&shape(event)))
}

/// An event as llm-proxy names its parts.
fn in_seed_shape(event: Value) -> Value {
    let Value::Object(mut members) = event else {
        return event;
    };
    let mut take = |name: &str| members.remove(name).unwrap_or(Value::Null);
    let mut shown = Map::new();
    for name in [
        "id",
        "timestamp",
        "action",
        "actor",
        "project_id",
        "request_id",
        "correlation_id",
        "client_ip",
        "reason",
    ] {
        shown.insert(name.to_owned(), take(name));
    }
    shown.insert("outcome".to_owned(), take("result"));
    let details = take("details");
    for (name, of) in [
        ("method", "http_method"),
        ("path", "endpoint"),
        ("user_agent", "user_agent"),
        ("token_id", "token_id"),
    ] {
        let value = details.get(of).cloned().unwrap_or(Value::Null);
        shown.insert(name.to_owned(), value);
    }
    shown.insert("metadata".to_owned(), details);
    Value::Object(shown)
}

/// Whose events are seen.
type Whose = Option<TenantId>;
