//! Times, and the two things pure code must be handed: a clock and randomness.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Nanoseconds of a clock that never goes back; its zero means nothing.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct MonoNanos(pub u64);

impl MonoNanos {
    /// Nanoseconds since `earlier`, 0 if that is not earlier.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Milliseconds since 1970-01-01T00:00:00Z. `Display` and `FromStr` are RFC 3339 in UTC.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct WallMillis(pub u64);

/// Where times come from. Decisions take a time; only the outside reads the clock.
pub trait Clock: Send + Sync {
    /// The monotonic clock.
    fn mono(&self) -> MonoNanos;
    /// The wall clock.
    fn wall(&self) -> WallMillis;
    /// CPU time that all threads of the process have had. Clocks that stand for no process say none.
    fn cpu(&self) -> Duration {
        Duration::ZERO
    }
}

/// Where random bytes come from.
pub trait Entropy: Send + Sync {
    /// Fills `out` with unpredictable bytes.
    fn fill(&self, out: &mut [u8]);
}

/// The text is not an RFC 3339 time in UTC between 1970 and 9999.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a time: want `2026-11-22T10:15:30Z`")]
pub struct ParseTimeError;

const DAY_MS: u64 = 86_400_000;

/// The decimal digits of a number below 100.
const fn two_digits(value: u64) -> [u8; 2] {
    let [value, ..] = value.to_le_bytes();
    [b'0' + value / 10, b'0' + value % 10]
}

impl WallMillis {
    /// Last millisecond of the year 9999, the largest time RFC 3339 can say.
    pub const MAX: Self = Self(253_402_300_799_999);

    /// Year, month, day of the proleptic Gregorian calendar (Howard Hinnant's `civil_from_days`).
    pub const fn date(self) -> (u64, u64, u64) {
        let z = self.0 / DAY_MS + 719_468;
        let era = z / 146_097;
        let doe = z % 146_097;
        let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let day = doy - (153 * mp + 2) / 5 + 1;
        let month = if mp < 10 { mp + 3 } else { mp - 9 };
        let year = yoe + era * 400 + if month <= 2 { 1 } else { 0 };
        (year, month, day)
    }

    /// `2026-11-22T10:15:30.123Z` as bytes, without allocation. Times past [`Self::MAX`] are
    /// written as that.
    pub fn rfc3339_millis(self) -> [u8; 24] {
        let at = self.min(Self::MAX);
        let (year, month, day) = at.date();
        let ms = at.0 % DAY_MS;
        let ([y1, y2], [y3, y4]) = (two_digits(year / 100), two_digits(year % 100));
        let ([o1, o2], [d1, d2]) = (two_digits(month), two_digits(day));
        let ([h1, h2], [m1, m2]) = (two_digits(ms / 3_600_000), two_digits(ms / 60_000 % 60));
        let ([s1, s2], [f1, f2]) = (two_digits(ms / 1_000 % 60), two_digits(ms % 1_000 / 10));
        let [_, f3] = two_digits(ms % 10);
        [
            y1, y2, y3, y4, b'-', o1, o2, b'-', d1, d2, b'T', h1, h2, b':', m1, m2, b':', s1, s2,
            b'.', f1, f2, f3, b'Z',
        ]
    }

    fn from_date(year: u64, month: u64, day: u64) -> Option<u64> {
        let leap =
            year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let last = match month {
            1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
            4 | 6 | 9 | 11 => 30,
            2 if leap => 29,
            2 => 28,
            _ => return None,
        };
        if year < 1970 || day < 1 || day > last {
            return None;
        }
        let y = if month <= 2 { year - 1 } else { year };
        let era = y / 400;
        let yoe = y % 400;
        let mp = if month > 2 { month - 3 } else { month + 9 };
        let doy = (153 * mp + 2) / 5 + day - 1;
        let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
        Some((era * 146_097 + doe - 719_468) * DAY_MS)
    }
}

/// Texts of times that come close together: what they share is worked out once a second.
#[derive(Clone, Copy, Debug)]
pub struct TimeText {
    at: WallMillis,
    text: [u8; 24],
}

impl Default for TimeText {
    fn default() -> Self {
        let at = WallMillis(0);
        let text = at.rfc3339_millis();
        Self { at, text }
    }
}

impl TimeText {
    /// HOT. The same as [`WallMillis::rfc3339_millis`].
    #[inline]
    pub fn of(&mut self, at: WallMillis) -> [u8; 24] {
        if at != self.at {
            self.go_to(at);
        }
        self.text
    }

    fn go_to(&mut self, at: WallMillis) {
        let is_near = at.0 / 1_000 == self.at.0 / 1_000 && at < WallMillis::MAX;
        self.at = at;
        if !is_near {
            self.text = at.rfc3339_millis();
            return;
        }
        let ms = at.0 % 1_000;
        let [.., d1, d2, d3, _] = &mut self.text;
        [*d1, *d2] = two_digits(ms / 10);
        [_, *d3] = two_digits(ms % 10);
    }
}

impl fmt::Display for WallMillis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.rfc3339_millis()).unwrap_or_default())
    }
}

impl FromStr for WallMillis {
    type Err = ParseTimeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |from: usize, width: usize| {
            let digits = text.get(from..from + width).ok_or(ParseTimeError)?;
            if !digits.bytes().all(|b| b.is_ascii_digit()) {
                return Err(ParseTimeError);
            }
            digits.parse::<u64>().map_err(|_| ParseTimeError)
        };
        let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
        if marks
            .iter()
            .any(|(at, mark)| text.as_bytes().get(*at) != Some(mark))
        {
            return Err(ParseTimeError);
        }
        let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
        let millis = match text.get(19..).ok_or(ParseTimeError)?.strip_suffix('Z') {
            Some("") => 0,
            Some(fraction) if fraction.len() == 4 && fraction.starts_with('.') => number(20, 3)?,
            _ => return Err(ParseTimeError),
        };
        if hour > 23 || minute > 59 || second > 59 {
            return Err(ParseTimeError);
        }
        let days =
            Self::from_date(number(0, 4)?, number(5, 2)?, number(8, 2)?).ok_or(ParseTimeError)?;
        Ok(Self(
            days + hour * 3_600_000 + minute * 60_000 + second * 1_000 + millis,
        ))
    }
}

impl serde::Serialize for WallMillis {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for WallMillis {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_times_print_as_rfc_3339() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_795_342_530_123, "2026-11-22T10:15:30.123Z"),
            (WallMillis::MAX.0, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(WallMillis(millis).to_string(), text);
            assert_eq!(text.parse(), Ok(WallMillis(millis)));
        }
        assert_eq!(
            "2026-11-22T10:15:30Z".parse(),
            Ok(WallMillis(1_795_342_530_000))
        );
    }

    #[test]
    fn what_is_not_a_time_is_refused() {
        for text in [
            "",
            "2026-02-29T00:00:00Z",
            "2026-11-22 10:15:30Z",
            "2026-11-22T24:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-11-22T10:15:30+00:00",
            "2026-11-22T10:15:30.1Z",
            "ä026-11-22T10:15:30Z",
        ] {
            assert!(text.parse::<WallMillis>().is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_kept_second_tells_the_same_time(
            start in 0..=WallMillis::MAX.0 + 5_000,
            steps in proptest::collection::vec(0..1_500_u64, 0..20),
        ) {
            let (mut texts, mut at) = (TimeText::default(), WallMillis(start));
            for step in steps {
                proptest::prop_assert_eq!(texts.of(at), at.rfc3339_millis());
                at.0 += step;
            }
        }

        #[test]
        fn display_and_parse_are_inverse(millis in 0..=WallMillis::MAX.0) {
            proptest::prop_assert_eq!(WallMillis(millis).to_string().parse(), Ok(WallMillis(millis)));
        }
    }
}
