//! The process's clocks: the one place that reads them.

use rustix::time::{ClockId, Timespec, clock_gettime};
use tollkeep_types::{Clock, MonoNanos, WallMillis};

/// The clocks of the operating system.
pub(crate) struct SystemClock {
    start_ns: u64,
}

impl SystemClock {
    pub(crate) fn new() -> Self {
        Self {
            start_ns: read(ClockId::Monotonic),
        }
    }
}

/// Nanoseconds on one of the clocks.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the clock"
)]
fn read(clock: ClockId) -> u64 {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(clock);
    let part = |part: i64| u64::try_from(part).unwrap_or(0);
    part(tv_sec) * 1_000_000_000 + part(tv_nsec)
}

impl Clock for SystemClock {
    fn mono(&self) -> MonoNanos {
        // From 1 second, so that 0 can stand for "never".
        let now = read(ClockId::Monotonic);
        MonoNanos(1_000_000_000 + now.saturating_sub(self.start_ns))
    }

    fn wall(&self) -> WallMillis {
        WallMillis(read(ClockId::Realtime) / 1_000_000)
    }
}
