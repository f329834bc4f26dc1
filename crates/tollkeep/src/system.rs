//! The process's clocks: the one place that reads them.

use rustix::time::{ClockId, Timespec, clock_gettime};
use std::time::Duration;
use tollkeep_types::{Clock, MonoNanos, WallMillis};

/// The clocks of the operating system. A request reads them five times, so they are read without
/// the checked arithmetic of the standard library's instants.
pub(crate) struct SystemClock {
    /// From 1 second, so that 0 can stand for "never".
    zero: u64,
}

const NANOS: u64 = 1_000_000_000;

impl SystemClock {
    pub(crate) fn new() -> Self {
        Self {
            zero: boot_time().saturating_sub(NANOS),
        }
    }
}

impl Clock for SystemClock {
    fn mono(&self) -> MonoNanos {
        MonoNanos(boot_time().saturating_sub(self.zero))
    }

    fn wall(&self) -> WallMillis {
        WallMillis(nanos(clock_gettime(ClockId::Realtime)) / 1_000_000)
    }

    fn cpu(&self) -> Duration {
        Duration::from_nanos(nanos(clock_gettime(ClockId::ProcessCPUTime)))
    }
}

/// The clock that also runs while the machine sleeps: what was lent for a time is over when it wakes.
fn boot_time() -> u64 {
    nanos(clock_gettime(ClockId::Boottime))
}

/// Nanoseconds since the clock's epoch; none before it.
fn nanos(time: Timespec) -> u64 {
    let [seconds, nanos] =
        [time.tv_sec, time.tv_nsec].map(|part| u64::try_from(part).unwrap_or_default());
    seconds.saturating_mul(NANOS).saturating_add(nanos)
}
