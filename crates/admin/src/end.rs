//! When what is made stops working, as requests say it.

use crate::members::Members;
use tollkeep_types::WallMillis;

/// A day in milliseconds.
pub(crate) const DAY_MS: u64 = 86_400_000;
/// Longest overlap of a rotation: 30 days.
const OVERLAP_MS_MAX: u64 = 30 * DAY_MS;

/// What a request says of an end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Wanted {
    Nothing,
    /// No end, by `null`.
    Never,
    At(WallMillis),
}

impl Wanted {
    /// Takes `expires_at` and `ttl`; `further` is a life in milliseconds that was said otherwise.
    pub(crate) fn take(members: &mut Members, now: WallMillis, further: Option<u64>) -> Self {
        let never = members.never_expires();
        let at = members.time("expires_at");
        let ttl = members.duration("ttl").or(further);
        match (at, ttl) {
            (Some(at), _) => Self::At(at),
            (None, Some(ttl)) => Self::At(after(now, ttl)),
            (None, None) if never => Self::Never,
            (None, None) => Self::Nothing,
        }
    }
}

/// So much later.
pub(crate) const fn after(now: WallMillis, life_ms: u64) -> WallMillis {
    WallMillis(now.0.saturating_add(life_ms))
}

/// What is wrong with an end: it is past, or later than `max_ms` from now.
pub(crate) fn fault(now: WallMillis, end: WallMillis, max_ms: u64) -> Option<String> {
    match end.0.checked_sub(now.0) {
        None | Some(0) => Some("must be later than now".to_owned()),
        Some(left) if left > max_ms => Some(format!("at most {} days from now", max_ms / DAY_MS)),
        Some(_) => None,
    }
}

/// Takes `overlap`: how long what is replaced goes on working.
pub(crate) fn take_overlap(members: &mut Members, by_default_ms: u64) -> u64 {
    let overlap = members.duration("overlap");
    if overlap.is_some_and(|overlap| overlap > OVERLAP_MS_MAX) {
        members.fault("overlap", "at most 30d");
    }
    overlap.unwrap_or(by_default_ms)
}
