//! Whether what a request did is in the log.

use super::filter::Filter;
use super::{Wanted, event_of, find, is_in_database};
use crate::State;
use crate::problem::Problem;
use serde_json::Value;
use std::sync::Arc;
use tollkeep_audit::Action;
use tollkeep_store::{AuditFilter, AuditOrder, Scope};

/// Events of one request that are looked at.
const ACT_EVENTS_MAX: u32 = 20;

/// Whether anything that a request did is in the log; if nobody can tell, it is not. After a start
/// the file may know what the database is yet to be told.
pub(crate) async fn is_recorded(state: &Arc<State>, request: &str) -> Result<bool, Problem> {
    let is_act = |event: &Value| {
        let is = |name: &str, word: &str| event.get(name).is_some_and(|text| text == word);
        is("result", "success") && !is("action", Action::ManagementAuth.as_str())
    };
    if is_in_database(state) {
        let filter = AuditFilter {
            request_id: Some(request.to_owned()),
            ..AuditFilter::default()
        };
        let (scope, order) = (Scope::Service("audit"), (AuditOrder::LastFirst, None));
        let store = &state.parts.store;
        let (lines, _) = store
            .audit_lines(scope, &filter, order, ACT_EVENTS_MAX)
            .await?;
        let mut events = lines.iter().filter_map(|line| event_of(line).ok());
        if events.any(|event| is_act(&event)) {
            return Ok(true);
        }
    }
    let wanted = Wanted {
        filter: Filter::of_request(request),
        before: None,
        skip: 0,
        take: ACT_EVENTS_MAX.into(),
        counts: false,
    };
    let found = find(state, wanted).await.unwrap_or_default();
    Ok(found.events.iter().any(is_act))
}
