//! What is known of a credential while it is used: whose turn it is, when it was used last, and for
//! what it is left alone. It outlives the settings, so that a reload forgets nothing.

use crate::credential_limits::CredentialLoad;
use crate::hashed::locked;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tollkeep_policy::cooling::{CoolDown, Met, Stands};
use tollkeep_policy::turns::Turn;
use tollkeep_types::{MonoNanos, WallMillis};

/// Workers that take turns each for itself; more of them share.
const TURNS: usize = 32;
/// Models that one credential is left alone for, at most; a model's name is the caller's.
const MODELS_MAX: usize = 1_000;

/// The state of one credential.
#[derive(Debug, Default)]
pub struct CredentialState {
    /// What it bears at the moment.
    pub load: CredentialLoad,
    turns: [Turn; TURNS],
    /// When it was used last; 0 for never.
    used_at: AtomicU64,
    /// What it met last: 0 for nothing, else one more than its place in [`Met::ALL`].
    error: AtomicU8,
    error_at: AtomicU64,
    /// The last use that was taken.
    taken_at: AtomicU64,
    /// How many are in the table.
    known: AtomicUsize,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// Whatever model is called.
    whole: Option<CoolDown>,
    models: HashMap<Box<str>, CoolDown>,
    /// An operator's word, which ends by the wall clock.
    rests_until: Option<WallMillis>,
    recovered_at: Option<WallMillis>,
}

/// A cool-down as it is shown.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ShownCoolDown {
    /// The model; `None` for all.
    pub model: Option<Box<str>>,
    /// What it is.
    pub cool: CoolDown,
}

/// When a credential was used, and what it met.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CredentialUsed {
    /// When.
    pub used_at: WallMillis,
    /// The last error, and when.
    pub error: Option<(Met, WallMillis)>,
}

impl CredentialState {
    /// Its turn among others, on this worker.
    pub fn turn(&self, worker: usize) -> &Turn {
        let [first, ..] = &self.turns;
        self.turns.get(worker % TURNS).unwrap_or(first)
    }

    /// HOT. A call goes out with it.
    pub fn note_use(&self, at: WallMillis) {
        self.used_at.store(at.0, Ordering::Relaxed);
    }

    /// HOT. Whether it may be used for this model: a load, unless it met something lately.
    pub fn stands(&self, model: &str, (mono, wall): (MonoNanos, WallMillis)) -> Stands {
        if self.known.load(Ordering::Relaxed) == 0 {
            return Stands::Free;
        }
        let table = locked(&self.table);
        if let Some(until) = table.rests_until.filter(|until| wall < *until) {
            let left_ns = (until.0 - wall.0).saturating_mul(1_000_000);
            return Stands::Cools {
                met: Met::RateLimit,
                until: MonoNanos(mono.0.saturating_add(left_ns)),
                may_probe: false,
            };
        }
        let own = table.whole.as_ref().map(|cool| cool.stands(mono));
        let of_model = table.models.get(model).map(|cool| cool.stands(mono));
        worse(
            own.unwrap_or(Stands::Free),
            of_model.unwrap_or(Stands::Free),
        )
    }

    /// One call tries with it though it is left alone.
    pub fn probe(&self, model: &str, now: MonoNanos) {
        let mut table = locked(&self.table);
        if let Some(cool) = table.models.get_mut(model) {
            cool.probe(now);
        }
        if let Some(cool) = &mut table.whole {
            cool.probe(now);
        }
    }

    /// A call met something that says what the credential is good for.
    pub fn met(
        &self,
        model: &str,
        (met, told): (Met, Option<Duration>),
        (mono, wall): (MonoNanos, WallMillis),
    ) {
        self.note_error(met, wall);
        let mut table = locked(&self.table);
        if met.is_of_credential() {
            match &mut table.whole {
                Some(cool) => cool.again(met, told, mono),
                none => *none = Some(CoolDown::new(met, told, mono)),
            }
        } else if let Some(cool) = table.models.get_mut(model) {
            cool.again(met, told, mono);
        } else {
            if table.models.len() >= MODELS_MAX {
                table.models.retain(|_, cool| !cool.is_past(mono));
            }
            if table.models.len() < MODELS_MAX {
                let cool = CoolDown::new(met, told, mono);
                table.models.insert(Box::from(model), cool);
            }
        }
        self.count(&table);
    }

    /// What it met is told, and keeps it from nothing.
    pub fn note_error(&self, met: Met, at: WallMillis) {
        let place = Met::ALL.iter().position(|one| *one == met);
        let code = place.and_then(|place| u8::try_from(place + 1).ok());
        self.error_at.store(at.0, Ordering::Relaxed);
        self.error
            .store(code.unwrap_or_default(), Ordering::Release);
    }

    /// HOT. A call went well: what was is forgotten.
    pub fn succeeded(&self, model: &str) {
        if self.known.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut table = locked(&self.table);
        table.whole = None;
        table.models.remove(model);
        self.count(&table);
    }

    /// Takes over what an operator says: until when it rests, and when all else was forgotten.
    pub fn follow(&self, rests_until: Option<WallMillis>, recovered_at: Option<WallMillis>) {
        let mut table = locked(&self.table);
        table.rests_until = rests_until;
        if recovered_at > table.recovered_at {
            table.recovered_at = recovered_at;
            table.whole = None;
            table.models.clear();
        }
        self.count(&table);
    }

    /// An operator lets it rest in this process, until then.
    pub fn rest(&self, until: WallMillis) {
        let mut table = locked(&self.table);
        table.rests_until = Some(until);
        self.count(&table);
    }

    /// Until when an operator lets it rest.
    pub fn rests_until(&self, now: WallMillis) -> Option<WallMillis> {
        locked(&self.table).rests_until.filter(|until| now < *until)
    }

    /// What it met is forgotten: all of it, and an operator's word, or what it met with one model.
    pub fn forget(&self, model: Option<&str>) {
        let mut table = locked(&self.table);
        match model {
            Some(model) => drop(table.models.remove(model)),
            None => {
                table.whole = None;
                table.models.clear();
                table.rests_until = None;
            }
        }
        self.count(&table);
    }

    /// What keeps it from use now.
    pub fn shown(&self, now: MonoNanos) -> Vec<ShownCoolDown> {
        let table = locked(&self.table);
        let whole = table.whole.iter().map(|cool| (None, *cool));
        let models = table.models.iter();
        let models = models.map(|(model, cool)| (Some(model.clone()), *cool));
        let mut shown: Vec<_> = whole
            .chain(models)
            .filter(|(_, cool)| cool.until > now)
            .map(|(model, cool)| ShownCoolDown { model, cool })
            .collect();
        shown.sort_by(|a, b| a.model.cmp(&b.model));
        shown
    }

    /// When it was used and what it met, as far as this process knows.
    pub fn used(&self) -> CredentialUsed {
        let error = match self.error.load(Ordering::Acquire) {
            0 => None,
            code => Met::ALL.get(usize::from(code) - 1).copied(),
        };
        CredentialUsed {
            used_at: WallMillis(self.used_at.load(Ordering::Relaxed)),
            error: error.map(|met| (met, WallMillis(self.error_at.load(Ordering::Relaxed)))),
        }
    }

    /// The same, if it was used since this was asked last.
    pub fn take_used(&self) -> Option<CredentialUsed> {
        let used = self.used();
        let latest = used
            .error
            .map_or(used.used_at, |(_, at)| at.max(used.used_at));
        let taken = self.taken_at.swap(latest.0, Ordering::Relaxed);
        (latest.0 > taken).then_some(used)
    }

    fn count(&self, table: &Table) {
        let cool = usize::from(table.whole.is_some()) + table.models.len();
        let known = cool + usize::from(table.rests_until.is_some());
        self.known.store(known, Ordering::Relaxed);
    }
}

/// The worse of two, and of two that forbid the one that lasts longer.
fn worse(one: Stands, other: Stands) -> Stands {
    match (one, other) {
        (Stands::Free, any)
        | (any, Stands::Free)
        | (Stands::Behind, any)
        | (any, Stands::Behind) => any,
        (Stands::Cools { until: a, .. }, Stands::Cools { until: b, .. }) => {
            if a >= b {
                one
            } else {
                other
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: (MonoNanos, WallMillis) = (MonoNanos(1_000_000_000_000), WallMillis(1_000));

    // LLM-R50
    #[test]
    fn a_refused_credential_is_left_alone_for_all_models_a_rate_for_one() {
        let state = CredentialState::default();
        assert_eq!(state.stands("a", NOW), Stands::Free);
        state.met("a", (Met::RateLimit, None), NOW);
        assert!(matches!(state.stands("a", NOW), Stands::Cools { .. }));
        assert_eq!(state.stands("b", NOW), Stands::Free);
        state.met("a", (Met::Auth, None), NOW);
        assert!(matches!(
            state.stands("b", NOW),
            Stands::Cools { met: Met::Auth, .. }
        ));
        let shown = state.shown(NOW.0);
        let models: Vec<_> = shown.iter().map(|one| one.model.as_deref()).collect();
        assert_eq!(models, [None, Some("a")]);
        state.succeeded("a");
        assert_eq!(state.stands("a", NOW), Stands::Free);
        assert_eq!(state.known.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_an_operator_says_holds_and_is_taken_back() {
        let state = CredentialState::default();
        state.met("a", (Met::Auth, None), NOW);
        state.follow(Some(WallMillis(5_000)), None);
        let Stands::Cools {
            until, may_probe, ..
        } = state.stands("b", NOW)
        else {
            panic!("it rests");
        };
        assert_eq!((until.since(NOW.0), may_probe), (4_000_000_000, false));
        state.follow(None, Some(WallMillis(900)));
        assert_eq!(state.stands("a", NOW), Stands::Free);
        state.met("a", (Met::Auth, None), NOW);
        state.follow(None, Some(WallMillis(900)));
        assert!(
            matches!(state.stands("a", NOW), Stands::Cools { .. }),
            "said once"
        );
    }

    #[test]
    fn the_table_is_bounded() {
        let state = CredentialState::default();
        for number in 0..MODELS_MAX + 10 {
            state.met(&number.to_string(), (Met::RateLimit, None), NOW);
        }
        assert_eq!(state.known.load(Ordering::Relaxed), MODELS_MAX);
    }

    // ID-70
    #[test]
    fn uses_are_taken_once() {
        let state = CredentialState::default();
        assert_eq!(state.take_used(), None);
        state.note_use(WallMillis(5));
        state.met("a", (Met::Quota, None), (NOW.0, WallMillis(6)));
        let error = Some((Met::Quota, WallMillis(6)));
        let used_at = WallMillis(5);
        assert_eq!(state.take_used(), Some(CredentialUsed { used_at, error }));
        assert_eq!(state.take_used(), None);
    }
}
