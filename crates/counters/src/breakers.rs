//! The breakers of all upstreams, outside of the settings, so that a reload forgets none.
//!
//! A breaker that is closed and remembers no failure is not there at all: while everything goes
//! well, asking costs one look at a counter.

use crate::hashed::locked;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use tollkeep_policy::breaker::{Breaker, CallEnd, Change, Rules, Ticket, Verdict, View};
use tollkeep_types::{Clock, MonoNanos, ProjectId, TenantId, WallMillis};

/// Breakers that one upstream has at most. When they are all open, further callers have none.
const BREAKERS_MAX: usize = 10_000;
/// Bytes of a name that are kept; a model's name is the caller's.
const NAME_BYTES_MAX: usize = 256;

/// Whose calls to an upstream share a breaker, and for what.
#[derive(Clone, Copy, Debug, Hash)]
pub struct Place<'a> {
    /// Whose; none of an anonymous caller.
    pub tenant: Option<TenantId>,
    /// Whose, if projects are told apart.
    pub project: Option<ProjectId>,
    /// What they call.
    pub asked: Asked<'a>,
}

/// What is called of an upstream.
#[derive(Clone, Copy, Debug, Hash)]
pub enum Asked<'a> {
    /// A route leads there.
    Route(&'a str),
    /// A model of a provider.
    Model(&'a str),
}

/// The breakers of all upstreams, by their names.
pub struct Breakers {
    hasher: RandomState,
    upstreams: Mutex<BTreeMap<Box<str>, Weak<UpstreamBreakers>>>,
}

/// The breakers of one upstream.
pub struct UpstreamBreakers {
    upstream: Arc<str>,
    hasher: RandomState,
    /// How many are in the table.
    known: AtomicUsize,
    table: Mutex<HashMap<u64, Known>>,
}

/// A breaker that remembers something.
struct Known {
    breaker: Breaker,
    tenant: Option<TenantId>,
    project: Option<ProjectId>,
    name: Box<str>,
    is_model: bool,
    failures: u32,
    opened_at: Option<WallMillis>,
}

/// One breaker, as it is shown.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ShownBreaker {
    /// Stands for it while the process lives.
    pub id: u64,
    /// Whose; none of anonymous callers.
    pub tenant: Option<TenantId>,
    /// Whose, if projects are told apart.
    pub project: Option<ProjectId>,
    /// The upstream or provider.
    pub upstream: Arc<str>,
    /// The route, of a plain upstream.
    pub route: Option<Box<str>>,
    /// The model, of a provider.
    pub model: Option<Box<str>>,
    /// What it is now.
    pub view: View,
    /// Failures in a row.
    pub failures: u32,
    /// When it opened last, if it is not closed.
    pub opened_at: Option<WallMillis>,
}

impl Breakers {
    /// None yet.
    pub fn new(hasher: RandomState) -> Self {
        Self {
            hasher,
            upstreams: Mutex::default(),
        }
    }

    /// The breakers of an upstream: those it has for as long as any settings hold them.
    pub fn of(&self, upstream: &str) -> Arc<UpstreamBreakers> {
        let mut upstreams = locked(&self.upstreams);
        upstreams.retain(|_, held| held.strong_count() > 0);
        if let Some(held) = upstreams.get(upstream).and_then(Weak::upgrade) {
            return held;
        }
        let made = Arc::new(UpstreamBreakers {
            upstream: Arc::from(upstream),
            hasher: self.hasher.clone(),
            known: AtomicUsize::new(0),
            table: Mutex::default(),
        });
        upstreams.insert(Box::from(upstream), Arc::downgrade(&made));
        made
    }

    fn all(&self) -> Vec<Arc<UpstreamBreakers>> {
        let upstreams = locked(&self.upstreams);
        upstreams.values().filter_map(Weak::upgrade).collect()
    }

    /// Every upstream, and the worst that one of its breakers is at `now`.
    pub fn worst(&self, now: MonoNanos) -> Vec<(Arc<str>, View)> {
        let worst = |upstream: &Arc<UpstreamBreakers>| {
            let table = locked(&upstream.table);
            let views = table.values().map(|known| known.breaker.view(now));
            views.max_by_key(rank)
        };
        let closed = View::Closed { failures: 0 };
        let each = self.all().into_iter();
        each.map(|upstream| {
            let view = worst(&upstream).unwrap_or(closed);
            (Arc::clone(&upstream.upstream), view)
        })
        .collect()
    }

    /// Every breaker that remembers something, the worst first.
    pub fn shown(&self, now: MonoNanos) -> Vec<ShownBreaker> {
        let mut shown: Vec<_> = self
            .all()
            .iter()
            .flat_map(|upstream| {
                let table = locked(&upstream.table);
                let each = table
                    .iter()
                    .map(|(id, known)| known.shown(*id, upstream, now));
                each.collect::<Vec<_>>()
            })
            .collect();
        shown.sort_by(|a, b| {
            let by_state = rank(&b.view).cmp(&rank(&a.view));
            by_state.then_with(|| (&a.upstream, a.id).cmp(&(&b.upstream, b.id)))
        });
        shown
    }

    /// Forgets a breaker, which closes it; what it was.
    pub fn reset(&self, id: u64, now: MonoNanos) -> Option<ShownBreaker> {
        let mut all = self.all().into_iter();
        all.find_map(|upstream| {
            let mut table = locked(&upstream.table);
            let known = table.remove(&id)?;
            upstream.known.store(table.len(), Ordering::Relaxed);
            Some(known.shown(id, &upstream, now))
        })
    }
}

const fn rank(view: &View) -> u8 {
    match view {
        View::Closed { .. } => 0,
        View::HalfOpen => 1,
        View::Open { .. } => 2,
    }
}

impl UpstreamBreakers {
    /// HOT. Whether a call may go.
    pub fn ask(
        &self,
        place: &Place<'_>,
        rules: &Rules,
        clock: &dyn Clock,
    ) -> (Verdict, Option<Change>) {
        let passes = (Verdict::Pass(Ticket::Call), None);
        if self.known.load(Ordering::Relaxed) == 0 {
            return passes;
        }
        let id = self.hasher.hash_one(place);
        let mut table = locked(&self.table);
        let Some(known) = table.get_mut(&id) else {
            return passes;
        };
        known.breaker.ask(rules, clock.mono())
    }

    /// HOT. A call that had passed ended so.
    pub fn ended(
        &self,
        place: &Place<'_>,
        (ticket, end): (Ticket, CallEnd),
        rules: &Rules,
        clock: &dyn Clock,
    ) -> Option<Change> {
        let failed = end == CallEnd::Failed;
        if !failed && self.known.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let id = self.hasher.hash_one(place);
        let now = clock.mono();
        let mut table = locked(&self.table);
        if failed && !table.contains_key(&id) {
            if table.len() >= BREAKERS_MAX && !make_room(&mut table, now) {
                return None;
            }
            table.insert(id, Known::new(place));
        }
        let known = table.get_mut(&id)?;
        let change = known.breaker.ended(ticket, end, rules, now);
        known.note((end, change), clock);
        if known.breaker.is_clean() {
            table.remove(&id);
        }
        self.known.store(table.len(), Ordering::Relaxed);
        change
    }
}

/// Forgets a breaker that refuses nobody: a closed one if there is one.
fn make_room(table: &mut HashMap<u64, Known>, now: MonoNanos) -> bool {
    let refuses_nobody = table
        .iter()
        .map(|(id, known)| (*id, known.breaker.view(now)))
        .filter(|(_, view)| !matches!(view, View::Open { .. }))
        .min_by_key(|(_, view)| rank(view));
    refuses_nobody
        .and_then(|(id, _)| table.remove(&id))
        .is_some()
}

impl Known {
    fn new(place: &Place<'_>) -> Self {
        let (name, is_model) = match place.asked {
            Asked::Route(name) => (name, false),
            Asked::Model(name) => (name, true),
        };
        let short = name.get(..name.floor_char_boundary(NAME_BYTES_MAX));
        Self {
            breaker: Breaker::default(),
            tenant: place.tenant,
            project: place.project,
            name: Box::from(short.unwrap_or_default()),
            is_model,
            failures: 0,
            opened_at: None,
        }
    }

    fn note(&mut self, (end, change): (CallEnd, Option<Change>), clock: &dyn Clock) {
        if end == CallEnd::Failed {
            self.failures = self.failures.saturating_add(1);
        }
        if let View::Closed { failures } = self.breaker.view(MonoNanos(0)) {
            self.failures = failures;
            self.opened_at = None;
        }
        if change == Some(Change::Opened) {
            self.opened_at = Some(clock.wall());
        }
    }

    fn shown(&self, id: u64, upstream: &UpstreamBreakers, now: MonoNanos) -> ShownBreaker {
        let name = || Some(self.name.clone());
        ShownBreaker {
            id,
            tenant: self.tenant,
            project: self.project,
            upstream: Arc::clone(&upstream.upstream),
            route: name().filter(|_| !self.is_model),
            model: name().filter(|_| self.is_model),
            view: self.breaker.view(now),
            failures: self.failures,
            opened_at: self.opened_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;
    use std::sync::atomic::AtomicU64;

    const RULES: Rules = Rules {
        failures: NonZeroU32::new(5).unwrap(),
        open_ns: 30,
        trials: NonZeroU32::new(2).unwrap(),
    };

    #[derive(Default)]
    struct Hands(AtomicU64);

    impl Clock for Hands {
        fn mono(&self) -> MonoNanos {
            MonoNanos(self.0.load(Ordering::Relaxed))
        }

        fn wall(&self) -> WallMillis {
            WallMillis(self.mono().0)
        }
    }

    fn place(project: u8, name: &str) -> Place<'_> {
        Place {
            tenant: None,
            project: Some(ProjectId::from_bytes([project; 16])),
            asked: Asked::Route(name),
        }
    }

    fn fail(upstream: &UpstreamBreakers, place: &Place<'_>, clock: &Hands) -> Option<Change> {
        let (verdict, _) = upstream.ask(place, &RULES, clock);
        let Verdict::Pass(ticket) = verdict else {
            panic!("it is open");
        };
        upstream.ended(place, (ticket, CallEnd::Failed), &RULES, clock)
    }

    // EDGE-113
    #[test]
    fn each_project_and_route_has_a_breaker_of_its_own() {
        let (breakers, clock) = (Breakers::new(RandomState::new()), Hands::default());
        let (one, other) = (breakers.of("one"), breakers.of("other"));
        for _ in 0..5 {
            fail(&one, &place(1, "GET /a"), &clock);
        }
        let refused = |upstream: &UpstreamBreakers, place: &Place<'_>| {
            let (verdict, _) = upstream.ask(place, &RULES, &clock);
            matches!(verdict, Verdict::Refused { .. })
        };
        assert!(refused(&one, &place(1, "GET /a")));
        assert!(!refused(&one, &place(2, "GET /a")), "another project");
        assert!(!refused(&one, &place(1, "GET /b")), "another route");
        assert!(!refused(&other, &place(1, "GET /a")), "another upstream");
        let anonymous = Place {
            project: None,
            ..place(1, "GET /a")
        };
        assert!(!refused(&one, &anonymous), "nobody's");
        let shown = breakers.shown(clock.mono());
        let [shown] = shown.as_slice() else {
            panic!("{shown:?}");
        };
        assert_eq!(
            (&*shown.upstream, shown.route.as_deref(), shown.failures),
            ("one", Some("GET /a"), 5)
        );
        assert_eq!(shown.opened_at, Some(WallMillis(0)));
        assert!(
            breakers
                .reset(shown.id.wrapping_add(1), clock.mono())
                .is_none()
        );
        assert_eq!(breakers.reset(shown.id, clock.mono()).as_ref(), Some(shown));
        assert!(!refused(&one, &place(1, "GET /a")));
        assert_eq!(breakers.shown(clock.mono()), []);
    }

    // EDGE-113
    #[test]
    fn what_is_well_takes_no_place() {
        let (breakers, clock) = (Breakers::new(RandomState::new()), Hands::default());
        let upstream = breakers.of("one");
        for _ in 0..4 {
            fail(&upstream, &place(1, "GET /a"), &clock);
        }
        assert_eq!(upstream.known.load(Ordering::Relaxed), 1);
        let good = (Ticket::Call, CallEnd::Succeeded);
        upstream.ended(&place(1, "GET /a"), good, &RULES, &clock);
        assert_eq!(upstream.known.load(Ordering::Relaxed), 0);
        assert_eq!(locked(&upstream.table).len(), 0);
    }

    // EDGE-113
    #[test]
    fn settings_that_hold_an_upstream_hold_its_breakers() {
        let (breakers, clock) = (Breakers::new(RandomState::new()), Hands::default());
        let before = breakers.of("one");
        fail(&before, &place(1, "GET /a"), &clock);
        let after = breakers.of("one");
        drop(before);
        assert_eq!(breakers.shown(clock.mono()).len(), 1);
        drop(after);
        assert_eq!(breakers.shown(clock.mono()).len(), 0);
        assert_eq!(breakers.of("one").known.load(Ordering::Relaxed), 0);
    }

    // EDGE-113
    #[test]
    fn the_table_is_bounded_and_what_is_open_stays() {
        let (breakers, clock) = (Breakers::new(RandomState::new()), Hands::default());
        let upstream = breakers.of("one");
        for _ in 0..5 {
            fail(&upstream, &place(1, "open"), &clock);
        }
        for number in 0..BREAKERS_MAX + 100 {
            fail(&upstream, &place(2, &number.to_string()), &clock);
        }
        assert_eq!(upstream.known.load(Ordering::Relaxed), BREAKERS_MAX);
        let (verdict, _) = upstream.ask(&place(1, "open"), &RULES, &clock);
        assert_eq!(verdict, Verdict::Refused { left_ns: 30 });
        let worst = breakers.worst(clock.mono());
        let [(_, View::Open { .. })] = worst.as_slice() else {
            panic!("{worst:?}");
        };
        clock.0.store(30, Ordering::Relaxed);
        let worst = breakers.worst(clock.mono());
        assert!(
            matches!(worst.as_slice(), [(_, View::HalfOpen)]),
            "{worst:?}"
        );
    }

    #[test]
    fn a_callers_name_is_kept_short() {
        let (breakers, clock) = (Breakers::new(RandomState::new()), Hands::default());
        let upstream = breakers.of("one");
        let name = "ü".repeat(1_000);
        let place = Place {
            asked: Asked::Model(&name),
            ..place(1, "")
        };
        fail(&upstream, &place, &clock);
        let shown = breakers.shown(clock.mono()).pop().unwrap();
        assert_eq!(shown.model.unwrap().len(), NAME_BYTES_MAX);
        assert_eq!(shown.route, None);
    }
}
