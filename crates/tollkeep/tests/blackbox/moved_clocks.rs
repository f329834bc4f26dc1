//! Windows of budgets when clocks jump and days are longer or shorter: none is opened twice, none is
//! skipped, and none is overspent. The clock of the ledger is that of its database.

use crate::fixture::{UPSTREAM_KEY, chat};
use crate::held::{body, budget};
use crate::killed::{put_clock, server_with_clock};
use crate::races::provider;
use crate::replicas::on;
use serde_json::{Value, json};
use tollkeep_testkit::{Gateway, Origin, Postgres, eventually, json as answer_json};
use tollkeep_types::WallMillis;

/// Sets the clock to a time.
pub(crate) fn set_clock(server: &Postgres, at: &str) {
    let want: WallMillis = at.parse().unwrap();
    let now = "SELECT floor(extract(epoch FROM pg_catalog.clock_timestamp()) * 1000)::bigint
        + ms FROM ahead";
    let now: i64 = server.ask(now).parse().unwrap();
    put_clock(server, i64::try_from(want.0).unwrap() - now);
}

struct World {
    server: Postgres,
    gateway: Gateway,
    origin: Origin,
    token: String,
}

fn world(at: &str) -> World {
    let server = server_with_clock();
    set_clock(&server, at);
    let origin = Origin::start(|_| answer_json(&crate::held::answer(9, 30)));
    let gateway = on(&server, &provider(&origin))
        .env("UPSTREAM_KEY", UPSTREAM_KEY)
        .start();
    let token = gateway.mint_token(&json!({ "project": "default" }));
    World {
        server,
        gateway,
        origin,
        token,
    }
}

impl World {
    /// Calls until one is refused; how many passed.
    fn until_refused(&self) -> usize {
        let request = chat(&self.token, &body(false));
        let before = self.origin.count();
        let answer = eventually("a refusal", || {
            let answer = self.gateway.call(&request);
            // A replica whose slices were lost to a jump begins anew.
            (!matches!(answer.status, 200 | 503)).then_some(answer)
        });
        assert_eq!(answer.status, 402, "{}", answer.text());
        self.origin.count() - before
    }

    /// The windows of a budget, the newest first: start, end, spent.
    fn windows(&self, id: &str) -> Vec<(String, Value, i64)> {
        let path = format!("/api/v1/budgets/{id}/windows");
        let (status, windows) = self.gateway.api("GET", &path, None);
        assert_eq!(status, 200, "{windows}");
        let text = |window: &Value| window["start"].as_str().unwrap_or_default().to_owned();
        let windows = windows.as_array().unwrap().iter();
        let windows = windows.map(|window| {
            let spent = window["spent"].as_i64().unwrap();
            (text(window), window["end"].clone(), spent)
        });
        windows.collect()
    }
}

// LED-61
#[test]
fn days_of_23_and_25_hours_are_one_window_each() {
    for (name, begins, first_end, within, next, next_end) in [
        (
            "a day of 25 hours",
            "2037-10-24T22:00:05Z",
            "2037-10-25T23:00:00.000Z",
            "2037-10-25T22:59:30Z",
            "2037-10-25T23:00:05Z",
            "2037-10-26T23:00:00.000Z",
        ),
        (
            "a day of 23 hours",
            "2037-03-28T23:00:05Z",
            "2037-03-29T22:00:00.000Z",
            "2037-03-29T21:59:30Z",
            "2037-03-29T22:00:05Z",
            "2037-03-30T22:00:00.000Z",
        ),
    ] {
        let world = world(begins);
        let id = budget(
            &world.gateway,
            &json!({"unit": "requests", "limit": 3, "window": "day", "timezone": "Europe/Berlin"}),
        );
        assert_eq!(world.until_refused(), 3, "{name}");
        set_clock(&world.server, within);
        assert_eq!(world.until_refused(), 0, "{name}: the same day");
        assert_eq!(world.windows(&id)[0].1, first_end, "{name}");
        set_clock(&world.server, next);
        assert_eq!(world.until_refused(), 3, "{name}: the next one");
        let windows = world.windows(&id);
        assert_eq!(windows.len(), 2, "{name}: {windows:?}");
        assert_eq!(windows[0].1, next_end, "{name}");
        assert_eq!(windows[0].0, first_end, "{name}: without a gap");
    }
}

// LED-61
#[test]
fn a_clock_that_jumps_a_day_ahead_and_back_opens_no_window_twice() {
    const DAY: i64 = 86_400_000;
    let world = world("2037-11-29T12:00:00Z");
    let day = json!({"name": "day", "unit": "requests", "limit": 5, "window": "day"});
    let month = json!({"name": "month", "unit": "requests", "limit": 12, "window": "month"});
    let [day, month] = [&day, &month].map(|made| budget(&world.gateway, made));
    assert_eq!(world.until_refused(), 5);
    for _ in 0..3 {
        put_clock(&world.server, -DAY);
        assert_eq!(world.until_refused(), 0, "yesterday is over");
        put_clock(&world.server, DAY);
        assert_eq!(world.until_refused(), 0, "and today is today");
    }
    put_clock(&world.server, DAY);
    assert_eq!(world.until_refused(), 5, "the next day");
    put_clock(&world.server, -DAY);
    assert_eq!(world.until_refused(), 0, "it stays the one that counts");
    // Two days on it is another month too.
    put_clock(&world.server, 2 * DAY);
    assert_eq!(world.until_refused(), 5);
    put_clock(&world.server, -DAY);
    assert_eq!(world.until_refused(), 0);
    eventually("each day has its own", || {
        let spent = world.windows(&day).into_iter().map(|(_, _, spent)| spent);
        (spent.collect::<Vec<_>>() == [5, 5, 5]).then_some(())
    });
    eventually("and each month", || {
        let spent = world.windows(&month).into_iter().map(|(_, _, spent)| spent);
        (spent.collect::<Vec<_>>() == [5, 10]).then_some(())
    });
    let checked = world.gateway.cli(&["ledger", "check"]);
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
}

// LED-61 LED-74
#[test]
fn a_clock_that_jumps_under_load_overspends_no_window() {
    const LIMIT: i64 = 4_000;
    let world = world("2037-10-24T21:30:00Z");
    let made =
        json!({"unit": "requests", "limit": LIMIT, "window": "day", "timezone": "Europe/Berlin"});
    let id = budget(&world.gateway, &made);
    let request = chat(&world.token, &body(false));
    let over = std::sync::atomic::AtomicBool::new(false);
    let relaxed = std::sync::atomic::Ordering::Relaxed;
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let mut client = world.gateway.connect();
                while !over.load(relaxed) {
                    let status = client.call(&request).status;
                    assert!(matches!(status, 200 | 402 | 503), "{status}");
                }
            });
        }
        // Over midnight, and over leases' lives, to and fro.
        for by_minutes in [1, 40, -40, 2, -1, 31, 120, -60, 24 * 60, -24 * 60, 3] {
            let before = world.origin.count();
            eventually("calls", || {
                (world.origin.count() > before + 40).then_some(())
            });
            put_clock(&world.server, by_minutes * 60_000);
            for (start, _, spent) in world.windows(&id) {
                assert!(spent <= LIMIT, "{start}: {spent}");
            }
        }
        over.store(true, relaxed);
    });
    let sent = i64::try_from(world.origin.count()).unwrap();
    // Slices that were lost to the jumps count as spent.
    let spent = eventually("all ends are written", || {
        let windows = world.windows(&id);
        let spent: i64 = windows.iter().map(|(_, _, spent)| spent).sum();
        (spent >= sent).then_some(spent)
    });
    assert!(spent <= LIMIT * i64::try_from(world.windows(&id).len()).unwrap());
    // What the last jump left out of time is swept within ten seconds.
    eventually("all is in order", || {
        let checked = world.gateway.cli(&["ledger", "check"]);
        (checked.status.code() == Some(0)).then_some(())
    });
}
