//! The wall clock that never goes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tollkeep_types::{Clock, WallMillis};

/// How long the stored time may lag behind; at most this much is forgotten by a crash.
const STORE_EVERY_MS: u64 = 60_000;

/// The greatest wall time ever seen, here or before the last start. What has expired stays expired
/// when the clock is set back.
pub(crate) struct SteadyWall {
    clock: Arc<dyn Clock>,
    highest: AtomicU64,
    stored: AtomicU64,
}

impl SteadyWall {
    pub(crate) const fn new(clock: Arc<dyn Clock>, stored: WallMillis) -> Self {
        Self {
            clock,
            highest: AtomicU64::new(stored.0),
            stored: AtomicU64::new(stored.0),
        }
    }

    /// The clock's time, or the greatest one ever seen if that is later.
    pub(crate) fn now(&self) -> WallMillis {
        self.at(self.clock.wall())
    }

    /// The same for a time that was read from the clock before.
    pub(crate) fn at(&self, read: WallMillis) -> WallMillis {
        let now = read.0;
        let highest = self.highest.load(Ordering::Relaxed);
        if now <= highest {
            return WallMillis(highest);
        }
        // Written at most once a millisecond, so readers on other cores rarely miss their cache.
        WallMillis(self.highest.fetch_max(now, Ordering::Relaxed).max(now))
    }

    /// The time to store now, if the stored one lags enough.
    pub(crate) fn due(&self) -> Option<WallMillis> {
        let now = self.now();
        let lag = now.0.saturating_sub(self.stored.load(Ordering::Relaxed));
        (lag >= STORE_EVERY_MS).then_some(now)
    }

    /// Remembers that this time is on disk.
    pub(crate) fn stored(&self, at: WallMillis) {
        self.stored.fetch_max(at.0, Ordering::Relaxed);
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        self.clock.as_ref()
    }
}
