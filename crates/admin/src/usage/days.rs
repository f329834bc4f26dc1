//! Days as they are where somebody lives, for sums by day.

use crate::problem::Problem;
use tollkeep_ledger::window::{Period, Window, Zone};
use tollkeep_store::ledger::UsageFilter;
use tollkeep_types::WallMillis;

/// Most days of one answer.
const DAYS_MAX: usize = 400;
/// How far an answer goes back that is not told from when.
const BACK_MS: u64 = 30 * 86_400_000;

/// Days that follow each other.
pub(super) struct Days {
    /// From when to before when each is.
    pub(super) times: Vec<(WallMillis, WallMillis)>,
    /// Their names, as `2026-11-22`.
    pub(super) names: Vec<String>,
}

/// The days that the filter's times are in; without an end up to `now`, without a start the last 30.
pub(super) fn days(
    zone: Option<&str>,
    filter: &mut UsageFilter,
    now: WallMillis,
) -> Result<Days, Problem> {
    let zone = zone.map_or(Ok(Zone::utc()), Zone::named);
    let zone = zone.map_err(|error| Problem::bad_request(format!("tz: {error}.")))?;
    let day = Window::Calendar {
        period: Period::Day,
        zone: zone.clone(),
    };
    let to = filter.to.unwrap_or(WallMillis(now.0.saturating_add(1)));
    let back = WallMillis(to.0.saturating_sub(BACK_MS));
    let from = *filter.from.get_or_insert(back);
    let mut start = day.current(from, None);
    let (mut times, mut names) = (Vec::new(), Vec::new());
    while start < to {
        let end = day.end_of(start).filter(|end| *end > start);
        let Some(end) = end else {
            return Err(Problem::bad_request("from: is no time that has days."));
        };
        if times.len() >= DAYS_MAX {
            let problem = format!("from: at most {DAYS_MAX} days are told at once.");
            return Err(Problem::bad_request(problem));
        }
        times.push((start, end));
        names.push(zone.date_at(start).unwrap_or_default());
        start = end;
    }
    Ok(Days { times, names })
}
