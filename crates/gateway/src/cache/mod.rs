//! Answers that are kept and given again to the very same request (LLM-80 to LLM-88).
//!
//! Who may ask is decided before the cache is asked, so a call that is refused is refused whether
//! or not its answer is here. What an answer is found by ([`key`]) names whose it is, and everything
//! that its upstream saw of the request, so that nobody finds what was made for somebody else. What
//! is kept ([`keep`]) is an answer as its upstream gave it; when it is given again ([`give`]) it goes
//! the way on which it first went.

mod ask;
mod directives;
mod flight;
mod give;
mod keep;
mod key;
mod plan;

pub(crate) use ask::Caching;
pub(crate) use keep::copy_within;
pub(crate) use plan::CachePlan;

use flight::{Flight, Lead, Wait};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tollkeep_counters::kept::{KeptKey, KeptTable, New, Room};
use tollkeep_observe::metrics::CacheMeter;
use tollkeep_types::usage::Told;
use tollkeep_types::{CachePurge, MonoNanos, ProjectId, TenantId};

/// What an entry takes besides its bytes, about.
const ENTRY_BYTES: usize = 1_024;

/// An answer that is kept.
#[derive(Debug)]
pub(crate) struct Kept {
    /// A head as an upstream writes it, with what may go to callers.
    head: Box<[u8]>,
    body: Box<[u8]>,
    /// A stream of events.
    is_stream: bool,
    /// What it used.
    told: Option<Told>,
    model_served: Option<Arc<str>>,
    /// When it came, and how many seconds old it was then.
    kept_at: MonoNanos,
    age_s: u64,
    ends: MonoNanos,
    of: Asked,
}

/// What an answer was asked for with, by which operators take answers out.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    tenant: TenantId,
    project: Option<ProjectId>,
    method: &'static str,
    /// Path and query.
    target: Box<str>,
    /// By the name that the caller used, and by that of its provider.
    models: [Option<Arc<str>>; 2],
}

impl Kept {
    fn bytes(&self) -> u64 {
        let own = [&self.head, &self.body].map(|bytes| bytes.len());
        let all = own.iter().sum::<usize>() + self.of.target.len() + ENTRY_BYTES;
        u64::try_from(all).unwrap_or(u64::MAX)
    }

    fn age_s(&self, now: MonoNanos) -> u64 {
        self.age_s
            .saturating_add(now.since(self.kept_at) / SECOND_NS)
    }
}

const SECOND_NS: u64 = 1_000_000_000;

/// Whether an answer is one of those that are taken out.
fn is_meant(purge: &CachePurge, of: &Asked) -> bool {
    match purge {
        CachePurge::Url {
            method,
            target,
            is_prefix,
        } => {
            let is_target = if *is_prefix {
                of.target.starts_with(&**target)
            } else {
                *of.target == **target
            };
            of.method.eq_ignore_ascii_case(method) && is_target
        }
        CachePurge::Project(project) => of.project == Some(*project),
        CachePurge::Model(model) => of.models.iter().flatten().any(|own| **own == **model),
        CachePurge::All => true,
    }
}

/// The answers that this process keeps, for all workers. One lock for all: bounds are exact, and
/// what is done under it takes less than a microsecond, but for purges.
#[derive(Debug, Default)]
pub struct ResponseCache {
    inner: Mutex<Inner>,
    /// Another one whenever the credentials of the store are others.
    credentials: AtomicU64,
    /// Goes up with each flight.
    flights: AtomicU64,
    /// Goes up when answers are taken out: what was asked for before is not kept after.
    purges: AtomicU64,
    meter: CacheMeter,
}

#[derive(Debug, Default)]
struct Inner {
    table: KeptTable<Arc<Kept>>,
    flights: HashMap<KeptKey, Flight>,
}

/// What was found.
enum Found {
    Kept(Arc<Kept>),
    /// Somebody asks the upstream for it.
    Wait(Wait),
    /// Nobody does: the others wait for this one.
    Lead(Lead),
    /// Too many wait already.
    Alone,
}

impl ResponseCache {
    /// One that counts there.
    pub fn new(meter: CacheMeter) -> Self {
        Self {
            meter,
            ..Self::default()
        }
    }

    /// Whatever was decided by the credentials before is not found any more.
    pub(crate) fn note_credentials(&self) {
        self.credentials.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn meter(&self) -> &CacheMeter {
        &self.meter
    }

    /// Says how much there is room for; nothing is kept where nothing may be.
    pub(crate) fn set_room(&self, room: Option<Room>) {
        let mut inner = self.inner();
        inner.table.set_room(room.unwrap_or_default());
        self.tell(&inner);
    }

    /// Takes out what has ended.
    pub(crate) fn sweep(&self, now: MonoNanos) {
        let mut inner = self.inner();
        if inner.table.sweep(now) > 0 {
            self.tell(&inner);
        }
    }

    /// How many are meant of a tenant, or of all.
    pub(crate) fn count(&self, whose: Option<TenantId>, purge: &CachePurge) -> usize {
        let is_meant = |kept: &Arc<Kept>, tenant| {
            whose.is_none_or(|whose| whose == tenant) && is_meant(purge, &kept.of)
        };
        self.inner().table.count(is_meant)
    }

    /// Takes out what is meant of a tenant, or of all; gives how many.
    pub(crate) fn purge(&self, whose: Option<TenantId>, purge: &CachePurge) -> usize {
        let mut inner = self.inner();
        self.purges.fetch_add(1, Ordering::Relaxed);
        let purged = inner.table.purge(|kept, tenant| {
            whose.is_none_or(|whose| whose == tenant) && is_meant(purge, &kept.of)
        });
        self.tell(&inner);
        purged
    }

    /// An answer, if it is kept.
    fn look(&self, key: &KeptKey, now: MonoNanos) -> Option<Arc<Kept>> {
        self.inner().table.find(key, now)
    }

    /// An answer, or who brings it.
    fn find(self: &Arc<Self>, key: &KeptKey, now: MonoNanos) -> Found {
        let mut inner = self.inner();
        if let Some(kept) = inner.table.find(key, now) {
            return Found::Kept(kept);
        }
        match inner.flights.get(key) {
            Some(flight) => flight.join().map_or(Found::Alone, Found::Wait),
            None => {
                let number = self.flights.fetch_add(1, Ordering::Relaxed);
                let flight = Flight::new(number);
                let lead = Lead::new(Arc::clone(self), *key, &flight);
                inner.flights.insert(*key, flight);
                Found::Lead(lead)
            }
        }
    }

    /// Keeps an answer; says whether there was room for it.
    fn keep(&self, (key, purges): (KeptKey, u64), kept: &Arc<Kept>, now: MonoNanos) -> bool {
        let new = New {
            value: Arc::clone(kept),
            tenant: kept.of.tenant,
            bytes: kept.bytes(),
            ends: kept.ends,
        };
        let mut inner = self.inner();
        if self.purges() != purges {
            return false;
        }
        let gone = inner.table.insert(key, new, now);
        self.tell(&inner);
        drop(inner);
        if let Some(gone) = gone {
            self.meter.kept(gone);
        }
        gone.is_some()
    }

    fn purges(&self) -> u64 {
        self.purges.load(Ordering::Relaxed)
    }

    /// The one who went for it has come to an end.
    fn land(&self, key: &KeptKey, number: u64) {
        let mut inner = self.inner();
        if inner.flights.get(key).is_some_and(|it| it.is(number)) {
            inner.flights.remove(key);
        }
    }

    fn tell(&self, inner: &Inner) {
        let held = inner.table.held();
        self.meter.holds(held.bytes, held.entries);
    }

    /// A panic under the lock leaves a table that finds less than it holds.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
