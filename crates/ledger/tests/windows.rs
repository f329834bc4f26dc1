//! Windows of a calendar, in zones whose clocks do odd things.

#![expect(clippy::unwrap_used, reason = "a test")]

use tollkeep_ledger::window::{Period, Window, Zone};
use tollkeep_types::WallMillis;

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
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn calendar_windows_begin_at_local_midnight_whatever_the_clocks_do() {
    use Period::{Day, Month, Week, Year};
    for (name, period, zone, now, start, end) in [
        (
            "a day",
            Day,
            "UTC",
            "2026-11-22T15:00:00Z",
            "2026-11-22T00:00:00Z",
            "2026-11-23T00:00:00Z",
        ),
        (
            "the last millisecond",
            Day,
            "UTC",
            "2026-11-22T23:59:59.999Z",
            "2026-11-22T00:00:00Z",
            "2026-11-23T00:00:00Z",
        ),
        (
            "midnight itself",
            Day,
            "UTC",
            "2026-11-23T00:00:00Z",
            "2026-11-23T00:00:00Z",
            "2026-11-24T00:00:00Z",
        ),
        (
            "23 hours",
            Day,
            "Europe/Berlin",
            "2026-03-29T12:00:00Z",
            "2026-03-28T23:00:00Z",
            "2026-03-29T22:00:00Z",
        ),
        (
            "25 hours",
            Day,
            "Europe/Berlin",
            "2026-10-25T12:00:00Z",
            "2026-10-24T22:00:00Z",
            "2026-10-25T23:00:00Z",
        ),
        (
            "no midnight",
            Day,
            "America/Santiago",
            "2026-09-06T12:00:00Z",
            "2026-09-06T04:00:00Z",
            "2026-09-07T03:00:00Z",
        ),
        (
            "half an hour off",
            Day,
            "Asia/Kolkata",
            "2026-11-22T20:00:00Z",
            "2026-11-22T18:30:00Z",
            "2026-11-23T18:30:00Z",
        ),
        (
            "a week from Monday",
            Week,
            "UTC",
            "2026-11-22T15:00:00Z",
            "2026-11-16T00:00:00Z",
            "2026-11-23T00:00:00Z",
        ),
        (
            "a Monday",
            Week,
            "UTC",
            "2026-11-23T00:00:00Z",
            "2026-11-23T00:00:00Z",
            "2026-11-30T00:00:00Z",
        ),
        (
            "a month",
            Month,
            "America/New_York",
            "2026-03-31T23:00:00Z",
            "2026-03-01T05:00:00Z",
            "2026-04-01T04:00:00Z",
        ),
        (
            "February of a leap year",
            Month,
            "UTC",
            "2028-02-29T23:00:00Z",
            "2028-02-01T00:00:00Z",
            "2028-03-01T00:00:00Z",
        ),
        (
            "a year",
            Year,
            "Pacific/Auckland",
            "2026-12-31T12:00:00Z",
            "2026-12-31T11:00:00Z",
            "2027-12-31T11:00:00Z",
        ),
    ] {
        let window = calendar(period, zone);
        assert_eq!(window.current(at(now), None), at(start), "{name}: start");
        assert_eq!(window.end_of(at(start)), Some(at(end)), "{name}: end");
    }
}
