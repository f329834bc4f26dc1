//! The process's clocks: the one place that reads them.

use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tollkeep_types::{Clock, MonoNanos, WallMillis};

/// The clocks of the operating system.
pub(crate) struct SystemClock {
    start: Instant,
}

impl SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the clock"
    )]
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
        }
    }
}

impl Clock for SystemClock {
    fn mono(&self) -> MonoNanos {
        // From 1 second, so that 0 can stand for "never".
        MonoNanos(
            1_000_000_000 + u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX),
        )
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the clock"
    )]
    fn wall(&self) -> WallMillis {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        WallMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}
