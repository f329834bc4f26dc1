//! How near the end of a certificate is, in the steps that operators are told of.

use tollkeep_types::WallMillis;

const DAY_MS: u64 = 86_400_000;

/// How near the end is; later ones are nearer.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Nearness {
    /// More than thirty days.
    Far,
    /// Thirty days at most.
    ThirtyDays,
    /// Seven days at most.
    SevenDays,
    /// One day at most.
    OneDay,
    /// It is over.
    Expired,
}

impl Nearness {
    /// How near `end` is at `now`.
    pub const fn of(end: WallMillis, now: WallMillis) -> Self {
        let left = end.0.saturating_sub(now.0);
        if now.0 > end.0 {
            Self::Expired
        } else if left <= DAY_MS {
            Self::OneDay
        } else if left <= 7 * DAY_MS {
            Self::SevenDays
        } else if left <= 30 * DAY_MS {
            Self::ThirtyDays
        } else {
            Self::Far
        }
    }

    /// The word in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Far => "far",
            Self::ThirtyDays => "30_days",
            Self::SevenDays => "7_days",
            Self::OneDay => "1_day",
            Self::Expired => "expired",
        }
    }
}

/// Whole days from `now` to `end`.
pub const fn days_left(end: WallMillis, now: WallMillis) -> u64 {
    end.0.saturating_sub(now.0) / DAY_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    // EDGE-12
    #[test]
    fn each_step_begins_with_its_last_millisecond() {
        let end = WallMillis(100 * DAY_MS);
        for (left, want) in [
            (31 * DAY_MS, Nearness::Far),
            (30 * DAY_MS + 1, Nearness::Far),
            (30 * DAY_MS, Nearness::ThirtyDays),
            (7 * DAY_MS + 1, Nearness::ThirtyDays),
            (7 * DAY_MS, Nearness::SevenDays),
            (DAY_MS + 1, Nearness::SevenDays),
            (DAY_MS, Nearness::OneDay),
            (0, Nearness::OneDay),
        ] {
            let now = WallMillis(end.0 - left);
            assert_eq!(Nearness::of(end, now), want, "{left}");
            assert_eq!(days_left(end, now), left / DAY_MS);
        }
        assert_eq!(Nearness::of(end, WallMillis(end.0 + 1)), Nearness::Expired);
        assert_eq!(days_left(end, WallMillis(end.0 + 1)), 0);
    }
}
