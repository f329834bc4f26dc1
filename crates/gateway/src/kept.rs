//! What new settings take over from those before them: connections of upstreams that are still
//! the same, and what routes of the same name have counted and cost.

use crate::paid::Sold;
use crate::plan::{Plan, Target};
use crate::route::{PlainRoute, RouteTable};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tollkeep_types::WallMillis;

/// The target with the number of the one of this name before it, if that number stands for the
/// same: then connections opened by it are good for this one too.
pub(crate) fn keep_endpoint(mut target: Target, before: &[Arc<Target>]) -> Target {
    let same_name = before.iter().find(|before| before.name == target.name);
    if let Some(before) = same_name
        && before.endpoint.leads_where(&target.endpoint)
    {
        target.endpoint.id = before.endpoint.id;
    }
    target
}

/// Gives each route what the one of its name before had.
pub(crate) fn keep_routes(routes: &mut [PlainRoute], before: Option<&Plan>, now: WallMillis) {
    let before = before.map(|before| &before.routes);
    keep_ids(routes, before);
    keep_prices(routes, before, now);
}

/// Gives each route the number of the one of its name before, or one that no route ever had: the
/// number is part of what its limit is counted by, so nothing is reset and nothing mixed up.
fn keep_ids(routes: &mut [PlainRoute], before: Option<&RouteTable>) {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let before: HashMap<&str, u32> = before
        .map(|table| table.ids().collect())
        .unwrap_or_default();
    for route in routes {
        let known = before.get(&*route.name).copied();
        route.id = known.unwrap_or_else(|| NEXT.fetch_add(1, Ordering::Relaxed));
    }
}

/// Gives each route that is sold what the one of its name cost until now.
fn keep_prices(routes: &mut [PlainRoute], before: Option<&RouteTable>, now: WallMillis) {
    let before: HashMap<&str, &Sold> = before
        .map(|table| table.sold().collect())
        .unwrap_or_default();
    for route in routes {
        if let (Some(sold), Some(before)) = (&mut route.sold, before.get(&*route.name)) {
            sold.follow(before, now);
        }
    }
}

impl Plan {
    /// Whether anything is called by connections to this endpoint.
    pub(crate) fn calls(&self, endpoint: u64) -> bool {
        let mut targets = self.upstreams.iter().chain(&self.llm.providers);
        targets.any(|target| {
            let own = target.provider().map(|provider| &provider.credentials);
            target.endpoint.id == endpoint || own.is_some_and(|pool| pool.calls(endpoint))
        })
    }
}
