//! The keys in force, and when they are fetched anew. It fetches nothing itself: whoever does is
//! woken, and asks [`JwtKeys::due`].

use super::KeySet;
use arc_swap::ArcSwapOption;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tollkeep_types::MonoNanos;

const SECOND_NS: u64 = 1_000_000_000;
/// How long keys are used before they are fetched again.
const FRESH_NS: u64 = 3_600 * SECOND_NS;
/// Between two tries at least, whoever asks.
const TRY_NS: u64 = 60 * SECOND_NS;
/// How long keys serve while none can be fetched; after that nobody comes in.
const KEPT_NS: u64 = 86_400 * SECOND_NS;

/// The keys of one provider. Shared by all who verify with them.
pub struct JwtKeys {
    fetched: ArcSwapOption<Fetched>,
    /// When the last try began; 0 before the first.
    tried_at: AtomicU64,
    /// A try is under way.
    is_trying: AtomicBool,
    /// Somebody saw a key id that is not known.
    wanted: AtomicBool,
    wake: Box<dyn Fn() + Send + Sync>,
}

struct Fetched {
    keys: KeySet,
    at: MonoNanos,
}

/// The keys in force at one time.
pub struct Current(Arc<Fetched>);

impl std::ops::Deref for Current {
    type Target = KeySet;

    fn deref(&self) -> &KeySet {
        &self.0.keys
    }
}

/// Whether waiting can help one whose key is not known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wait {
    /// Keys are being fetched, or will be at once.
    ForFetch,
    /// They were tried for just now.
    InVain,
}

impl JwtKeys {
    /// No keys yet. `wake` rouses the one who fetches.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            fetched: ArcSwapOption::empty(),
            tried_at: AtomicU64::new(0),
            is_trying: AtomicBool::new(false),
            wanted: AtomicBool::new(false),
            wake: Box::new(wake),
        }
    }

    /// The keys to verify with; `None` when there are none, or none young enough.
    pub fn current(&self, now: MonoNanos) -> Option<Current> {
        let fetched = self.fetched.load_full()?;
        (now.since(fetched.at) < KEPT_NS).then_some(Current(fetched))
    }

    /// Tells that a key was asked for that is not there.
    pub fn want(&self, now: MonoNanos) -> Wait {
        if self.is_trying.load(Ordering::Acquire) {
            return Wait::ForFetch;
        }
        if !self.may_try(now) {
            return Wait::InVain;
        }
        if !self.wanted.swap(true, Ordering::AcqRel) {
            (self.wake)();
        }
        Wait::ForFetch
    }

    /// Whether a fetch is under way, or wanted and allowed.
    pub fn is_pending(&self, now: MonoNanos) -> bool {
        self.is_trying.load(Ordering::Acquire)
            || (self.wanted.load(Ordering::Acquire) && self.may_try(now))
    }

    /// How long until the next fetch is due, if nobody asks for one before.
    pub fn due(&self, now: MonoNanos) -> Duration {
        let tried_at = self.tried_at.load(Ordering::Acquire);
        if tried_at == 0 {
            return Duration::ZERO;
        }
        let since_try = now.since(MonoNanos(tried_at));
        let age = self
            .fetched
            .load()
            .as_ref()
            .map(|fetched| now.since(fetched.at));
        let is_asked = self.wanted.load(Ordering::Acquire);
        let until_old = match age {
            Some(age) if !is_asked => FRESH_NS.saturating_sub(age),
            Some(_) | None => 0,
        };
        Duration::from_nanos(until_old.max(TRY_NS.saturating_sub(since_try)))
    }

    /// A fetch begins.
    pub fn begin(&self, now: MonoNanos) {
        self.is_trying.store(true, Ordering::Release);
        self.tried_at.store(now.0.max(1), Ordering::Release);
        self.wanted.store(false, Ordering::Release);
    }

    /// The fetch is over; without keys those in force stay.
    pub fn end(&self, keys: Option<KeySet>, now: MonoNanos) {
        if let Some(keys) = keys {
            self.fetched
                .store(Some(Arc::new(Fetched { keys, at: now })));
        }
        self.is_trying.store(false, Ordering::Release);
    }

    fn may_try(&self, now: MonoNanos) -> bool {
        let tried_at = self.tried_at.load(Ordering::Acquire);
        tried_at == 0 || now.since(MonoNanos(tried_at)) >= TRY_NS
    }
}

impl fmt::Debug for JwtKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.fetched.load_full();
        f.debug_tuple("JwtKeys")
            .field(&keys.as_ref().map(|fetched| &fetched.keys))
            .finish()
    }
}
