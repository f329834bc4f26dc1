//! What happens, told as it does: each answer waits until there is something behind the cursor.
//!
//! Records come to the database a moment after what they tell of, and not in its order; so what is
//! told is two seconds old. Who follows is recorded once: the cursor, which nobody else can make,
//! says that it was.

use super::event_of;
use crate::operation::Call;
use crate::parameters::next_cursor;
use crate::problem::Problem;
use crate::router::{Answer, ok};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::Semaphore;
use tollkeep_audit::Action;
use tollkeep_store::{After, AuditFilter, AuditOrder, AuditPlace};
use tollkeep_types::WallMillis;

/// How old a record is when it is told.
const SETTLED_MS: u64 = 2_000;
/// How long an answer waits for something to tell, in steps.
const WAITS: u32 = 20;
pub(super) const STEP: Duration = Duration::from_millis(500);
/// Requests that wait at once; others are told at once that nothing is there.
pub(super) static FOLLOWING: Semaphore = Semaphore::const_new(32);

pub(super) async fn follow(call: &Call, filter: AuditFilter) -> Answer {
    let (state, operator) = (&call.state, &call.operator);
    let filters = format!("follow|{filter:?}");
    let page = call.query.page::<String>(state, &filters)?;
    let store = &state.parts.store;
    let Some(after) = page.after else {
        // Begins with what happened last.
        let settled = settled(store.now());
        let filter = until(&filter, settled);
        let order = (AuditOrder::LastFirst, None);
        let found = store.audit_lines(operator.scope(), &filter, order, page.limit);
        let (mut lines, _) = found.await?;
        lines.reverse();
        state
            .record(state.event(operator, Action::AuditList))
            .await?;
        let from = AuditPlace {
            at: settled,
            id: String::new(),
        };
        return told(call, &filters, &lines, from);
    };
    let mut from = AuditPlace {
        at: after.created_at,
        id: after.id,
    };
    let waits = FOLLOWING.try_acquire().ok();
    for wait in 0..=WAITS {
        let settled = settled(store.now());
        let filter = until(&filter, settled);
        let order = (AuditOrder::AsHappened, Some(&from));
        let found = store.audit_lines(operator.scope(), &filter, order, page.limit);
        let (lines, last) = found.await?;
        if !lines.is_empty() || waits.is_none() || wait == WAITS {
            // Behind the last of a part that is full; else behind all that is settled.
            from = last.unwrap_or(AuditPlace {
                at: settled,
                id: String::new(),
            });
            return told(call, &filters, &lines, from);
        }
        tokio::time::sleep(STEP).await;
    }
    Err(Problem::internal())
}

/// Up to when nothing comes any more.
pub(super) const fn settled(now: WallMillis) -> WallMillis {
    WallMillis(now.0.saturating_sub(SETTLED_MS))
}

pub(super) fn until(filter: &AuditFilter, settled: WallMillis) -> AuditFilter {
    let end = filter.end.map_or(settled, |end| end.min(settled));
    AuditFilter {
        end: Some(end),
        ..filter.clone()
    }
}

fn told(call: &Call, filters: &str, lines: &[String], from: AuditPlace) -> Answer {
    let from = After {
        created_at: from.at,
        id: from.id,
    };
    let events = lines.iter().map(|line| event_of(line));
    Ok(ok(&json!({
        "data": events.collect::<Result<Vec<Value>, Problem>>()?,
        "has_more": true,
        "next_cursor": next_cursor(&call.state, filters, Some(from)),
    })))
}
