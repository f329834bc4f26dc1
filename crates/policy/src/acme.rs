//! Certificates that are ordered (ACME): when the next order is due, how long a failed one waits,
//! and which of the certificates that are kept may be served.

use std::time::Duration;
use tollkeep_types::WallMillis;

/// The least wait after a failed order; it doubles with each further one.
pub const WAIT_MIN: Duration = Duration::from_secs(60);
/// The longest wait after failed orders.
pub const WAIT_MAX: Duration = Duration::from_secs(12 * 3_600);
/// How long the authority's own `Retry-After` is obeyed at most: the longest of its usual limits.
pub const ASKED_WAIT_MAX: Duration = Duration::from_secs(7 * 86_400);
/// Part of a lifetime that is left at the latest when an order begins, whatever the authority
/// suggests: one tenth.
const LEFT_AT_LEAST: u64 = 10;

/// From when and until when a certificate is valid.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Life {
    /// From when.
    pub not_before: WallMillis,
    /// Until when.
    pub not_after: WallMillis,
}

impl Life {
    /// Whether its time is over.
    pub const fn is_over(self, now: WallMillis) -> bool {
        now.0 > self.not_after.0
    }

    /// Whether its time has come.
    const fn has_begun(self, now: WallMillis) -> bool {
        now.0 >= self.not_before.0
    }

    const fn span(self) -> u64 {
        self.not_after.0.saturating_sub(self.not_before.0)
    }
}

/// When the authority would like a certificate to be renewed (ARI, RFC 9773).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Window {
    /// From when.
    pub from: WallMillis,
    /// Until when.
    pub to: WallMillis,
}

/// A chance between 0 and 1, in parts of 2^32: drawn by whoever asks, so that decisions have no
/// randomness of their own.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Draw(pub u32);

impl Draw {
    /// That part of `whole`.
    fn of(self, whole: u64) -> u64 {
        let part = (u128::from(whole) * u128::from(self.0)) >> 32;
        u64::try_from(part).unwrap_or(whole)
    }
}

/// Orders that failed since the last one that did not.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Failures {
    /// How many.
    pub count: u32,
    /// When the last one did.
    pub at: WallMillis,
    /// When the authority wants to be asked again.
    pub asked: Option<WallMillis>,
}

/// When the next order is due.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Due {
    /// It is.
    Now,
    /// Then.
    At(WallMillis),
}

/// When a certificate is renewed: at two thirds of its life, or at a time of the window that the
/// authority suggests, so that not all of its clients come at once.
pub fn renews_at(life: Life, window: Option<Window>, draw: Draw) -> WallMillis {
    let span = life.span();
    let two_thirds = life.not_before.0.saturating_add(span - span / 3);
    let last = life.not_after.0.saturating_sub(span / LEFT_AT_LEAST);
    let at = match window {
        Some(window) if window.from <= window.to && window.from < life.not_after => {
            let length = window.to.0 - window.from.0;
            window.from.0.saturating_add(draw.of(length)).min(last)
        }
        // One that makes no sense is none.
        Some(_) | None => two_thirds,
    };
    WallMillis(at)
}

/// How long `failures` orders in a row make the next one wait.
pub fn wait(failures: u32, draw: Draw) -> Duration {
    let Some(doublings) = failures.checked_sub(1) else {
        return Duration::ZERO;
    };
    let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
    let wait = WAIT_MIN.saturating_mul(factor).min(WAIT_MAX);
    let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    // Up to a quarter more: replicas and neighbours shall not come back together.
    (wait + Duration::from_millis(draw.of(ms / 4))).min(WAIT_MAX)
}

/// When the next order is due. `life` is that of the certificate for exactly the names that are
/// wanted, if there is one.
pub fn due(
    life: Option<Life>,
    window: Option<Window>,
    failures: Option<Failures>,
    draw: Draw,
    now: WallMillis,
) -> Due {
    let wanted = life.map_or(WallMillis(0), |life| renews_at(life, window, draw));
    let allowed = failures.map_or(WallMillis(0), |failures| allowed_at(failures, draw, now));
    let at = wanted.max(allowed);
    if at <= now { Due::Now } else { Due::At(at) }
}

/// When an order is allowed after those that failed.
fn allowed_at(failures: Failures, draw: Draw, now: WallMillis) -> WallMillis {
    // A clock that was put back must not make the wait longer.
    let failed = failures.at.min(now);
    let after = |wait: Duration| {
        let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        WallMillis(failed.0.saturating_add(ms))
    };
    let own = after(wait(failures.count, draw));
    let asked = failures.asked.unwrap_or_default();
    own.max(asked.min(after(ASKED_WAIT_MAX)))
}

/// A certificate that is kept.
#[derive(Clone, Copy, Debug)]
pub struct Kept<'a> {
    /// The names it is for, lower case.
    pub names: &'a [String],
    /// Its life.
    pub life: Life,
}

impl Kept<'_> {
    /// Whether it is for these names, no more and no fewer.
    pub fn is_for(&self, wanted: &[String]) -> bool {
        let within = |some: &[String], all: &[String]| some.iter().all(|name| all.contains(name));
        within(self.names, wanted) && within(wanted, self.names)
    }
}

/// A certificate that is served.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Chosen {
    /// Its place among those kept.
    pub index: usize,
    /// Which of the wanted names it is served for.
    pub names: Vec<String>,
}

/// Which of the certificates kept are served for the names that are wanted. One that is over
/// serves a name that no other has: it tells a client more than no certificate at all.
pub fn choose(wanted: &[String], kept: &[Kept<'_>], now: WallMillis) -> Vec<Chosen> {
    let mut order: Vec<(usize, &Kept<'_>)> = kept.iter().enumerate().collect();
    order.retain(|(_, kept)| kept.life.has_begun(now));
    order.sort_by_key(|(_, kept)| {
        let is_over = kept.life.is_over(now);
        (
            is_over,
            !kept.is_for(wanted),
            u64::MAX - kept.life.not_after.0,
        )
    });
    let mut chosen: Vec<Chosen> = Vec::new();
    for (index, kept) in order {
        let has = |name: &&String| chosen.iter().any(|one| one.names.contains(name));
        let names: Vec<String> = wanted
            .iter()
            .filter(|name| kept.names.contains(name) && !has(name))
            .cloned()
            .collect();
        if !names.is_empty() {
            chosen.push(Chosen { index, names });
        }
    }
    chosen
}

/// When an authority wants to be asked again, by its `Retry-After` (RFC 9110, section 10.2.3):
/// seconds, or a date in the one form that is still made.
pub fn retry_after(text: &str, now: WallMillis) -> Option<WallMillis> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let seconds: u64 = text.parse().unwrap_or(u64::MAX);
        return Some(WallMillis(
            now.0.saturating_add(seconds.saturating_mul(1_000)),
        ));
    }
    let (_, date) = text.split_once(", ")?;
    let [day, month, year, time, "GMT"] = date.split(' ').collect::<Vec<_>>()[..] else {
        return None;
    };
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let month = MONTHS.iter().position(|known| *known == month)? + 1;
    format!("{year}-{month:02}-{day}T{time}Z").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{Just, Strategy, prop, prop_assert, prop_assert_eq};

    const DAY: u64 = 86_400_000;
    const MINUTE: u64 = 60_000;

    const fn life(from: u64, to: u64) -> Life {
        Life {
            not_before: WallMillis(from),
            not_after: WallMillis(to),
        }
    }

    const fn window(from: u64, to: u64) -> Option<Window> {
        Some(Window {
            from: WallMillis(from),
            to: WallMillis(to),
        })
    }

    // EDGE-14
    #[test]
    fn a_certificate_is_renewed_at_two_thirds_of_its_life_or_when_its_authority_says() {
        let ninety = life(0, 90 * DAY);
        let half = Draw(1 << 31);
        for (name, suggested, draw, want) in [
            ("two thirds", None, half, 60 * DAY),
            (
                "the window's begin",
                window(30 * DAY, 32 * DAY),
                Draw(0),
                30 * DAY,
            ),
            ("its middle", window(30 * DAY, 32 * DAY), half, 31 * DAY),
            ("one that is past", window(0, 0), half, 0),
            (
                "not so late",
                window(80 * DAY, 89 * DAY),
                Draw(u32::MAX),
                81 * DAY,
            ),
            ("turned round", window(40 * DAY, 30 * DAY), half, 60 * DAY),
            ("behind the end", window(91 * DAY, 92 * DAY), half, 60 * DAY),
            ("without end", window(10, u64::MAX), half, 81 * DAY),
        ] {
            assert_eq!(
                renews_at(ninety, suggested, draw),
                WallMillis(want),
                "{name}"
            );
        }
        assert_eq!(
            renews_at(life(5, 5), None, half),
            WallMillis(5),
            "no life at all"
        );
        assert_eq!(
            renews_at(life(9, 3), None, half),
            WallMillis(9),
            "turned round"
        );
    }

    // EDGE-14
    #[test]
    fn failures_wait_from_a_minute_to_twelve_hours() {
        let waits: Vec<_> = (0..=12)
            .map(|count| wait(count, Draw(0)).as_secs() / 60)
            .collect();
        assert_eq!(waits, [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 720, 720]);
        assert_eq!(wait(u32::MAX, Draw(u32::MAX)), WAIT_MAX);
        assert_eq!(wait(1, Draw(1 << 31)), Duration::from_millis(67_500));
    }

    // EDGE-14
    #[test]
    fn an_order_is_due_when_it_is_wanted_and_allowed() {
        let now = 100 * DAY;
        let fresh = Some(life(90 * DAY, 180 * DAY));
        let failed = |count, ago: u64, asked: Option<u64>| {
            Some(Failures {
                count,
                at: WallMillis(now - ago),
                asked: asked.map(WallMillis),
            })
        };
        for (name, kept, failures, want) in [
            ("none", None, None, Due::Now),
            ("a fresh one", fresh, None, Due::At(WallMillis(150 * DAY))),
            ("an old one", Some(life(0, 120 * DAY)), None, Due::Now),
            ("one that is over", Some(life(0, 90 * DAY)), None, Due::Now),
            (
                "just failed",
                None,
                failed(1, 0, None),
                Due::At(WallMillis(now + MINUTE)),
            ),
            ("failed long ago", None, failed(9, DAY, None), Due::Now),
            (
                "the authority asks for more",
                None,
                failed(1, 0, Some(now + 5 * DAY)),
                Due::At(WallMillis(now + 5 * DAY)),
            ),
            (
                "for too much",
                None,
                failed(1, 0, Some(u64::MAX)),
                Due::At(WallMillis(now + 7 * DAY)),
            ),
            (
                "for less",
                None,
                failed(2, 0, Some(now)),
                Due::At(WallMillis(now + 2 * MINUTE)),
            ),
            (
                "failed, and not wanted yet",
                fresh,
                failed(1, 0, None),
                Due::At(WallMillis(150 * DAY)),
            ),
        ] {
            assert_eq!(
                due(kept, None, failures, Draw(0), WallMillis(now)),
                want,
                "{name}"
            );
        }
        let later = Failures {
            count: 1,
            at: WallMillis(now + 900 * DAY),
            asked: None,
        };
        let put_back = due(None, None, Some(later), Draw(0), WallMillis(now));
        assert_eq!(
            put_back,
            Due::At(WallMillis(now + MINUTE)),
            "a clock put back"
        );
    }

    // EDGE-14
    #[test]
    fn what_is_kept_serves_the_names_that_are_wanted() {
        let names = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let now = WallMillis(50 * DAY);
        let (old, good, better) = (life(0, 40 * DAY), life(0, 90 * DAY), life(10, 95 * DAY));
        let unborn = life(60 * DAY, 150 * DAY);
        for (name, wanted, kept, want) in [
            ("nothing", "a", vec![], ""),
            ("its own", "a b", vec![("a b", good)], "0:a b"),
            ("a name less", "a", vec![("a b", good)], "0:a"),
            ("a name more", "a b c", vec![("a b", good)], "0:a b"),
            (
                "exact first",
                "a b",
                vec![("a b c", better), ("b a", good)],
                "1:a b",
            ),
            ("the longer", "a", vec![("a", good), ("a", better)], "1:a"),
            (
                "two parts",
                "a b",
                vec![("a", good), ("b x", good)],
                "0:a, 1:b",
            ),
            (
                "one that is over",
                "a b",
                vec![("a b", old), ("b", good)],
                "1:b, 0:a",
            ),
            ("not yet", "a", vec![("a", unborn)], ""),
            ("strangers", "a", vec![("x", good)], ""),
        ] {
            let kept: Vec<_> = kept
                .into_iter()
                .map(|(text, life)| (names(text), life))
                .collect();
            let kept: Vec<_> = kept
                .iter()
                .map(|(names, life)| Kept { names, life: *life })
                .collect();
            let chosen = choose(&names(wanted), &kept, now);
            let told: Vec<_> = chosen
                .iter()
                .map(|one| format!("{}:{}", one.index, one.names.join(" ")))
                .collect();
            assert_eq!(told.join(", "), want, "{name}");
        }
    }

    // EDGE-14
    #[test]
    fn both_forms_of_retry_after_are_read() {
        let now = WallMillis(1_000);
        for (text, want) in [
            ("0", Some(1_000)),
            (" 120 ", Some(121_000)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("Sun, 22 Nov 2026 10:15:30 GMT", Some(1_795_342_530_000)),
            ("Sun, 22 Nov 2026 10:15:30 CET", None),
            ("Sunday, 22-Nov-26 10:15:30 GMT", None),
            ("", None),
            ("-1", None),
            ("soon", None),
        ] {
            assert_eq!(retry_after(text, now), want.map(WallMillis), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn an_order_always_begins_within_the_life_of_what_it_replaces(
            (from, span) in (0..=WallMillis::MAX.0, 10..=400 * DAY),
            suggested in prop::option::of((0..=WallMillis::MAX.0, 0..=WallMillis::MAX.0)),
            draw in 0..=u32::MAX,
        ) {
            let life = life(from, from + span);
            let window = suggested.map(|(from, to)| Window { from: WallMillis(from), to: WallMillis(to) });
            let at = renews_at(life, window, Draw(draw));
            prop_assert!(at < life.not_after, "before its end");
        }

        #[test]
        fn a_wait_grows_with_failures_and_stays_in_bounds(count in 1..=u32::MAX, draw in 0..=u32::MAX) {
            let wait = wait(count, Draw(draw));
            prop_assert!(wait >= WAIT_MIN && wait <= WAIT_MAX);
            prop_assert!(super::wait(count.saturating_add(1), Draw(0)) >= super::wait(count, Draw(0)));
        }

        #[test]
        fn every_wanted_name_is_served_once_if_anything_kept_has_it(
            wanted in prop::collection::hash_set("[a-e]", 1..5),
            kept in prop::collection::vec(
                (prop::collection::hash_set("[a-e]", 1..5), 0..100_u64, 0..100_u64), 0..6),
            now in Just(50_u64).prop_map(WallMillis),
        ) {
            let wanted: Vec<String> = wanted.into_iter().collect();
            let kept: Vec<(Vec<String>, Life)> = kept
                .into_iter()
                .map(|(names, from, to)| (names.into_iter().collect(), life(from, to)))
                .collect();
            let all: Vec<_> = kept.iter().map(|(names, life)| Kept { names, life: *life }).collect();
            let chosen = choose(&wanted, &all, now);
            for name in &wanted {
                let has = |(names, life): &&(Vec<String>, Life)| life.not_before <= now && names.contains(name);
                let servers: Vec<_> = chosen.iter().filter(|one| one.names.contains(name)).collect();
                prop_assert_eq!(servers.len(), usize::from(kept.iter().any(|one| has(&one))));
                if let Some(server) = servers.first() {
                    let better = kept.iter().filter(has).any(|(_, life)| !life.is_over(now));
                    prop_assert_eq!(!kept[server.index].1.is_over(now), better, "a valid one if there is one");
                }
            }
        }
    }
}
