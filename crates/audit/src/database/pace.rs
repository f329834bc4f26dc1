//! How the thread that feeds the database gives way to calls.
//!
//! A record takes the database more CPU than a call takes the gateway. Where the process has all the CPU
//! it can get and wants more, the thread rests most of the time: the calls are answered, the record of
//! each is in the file, and the database gets it from there when there is time.

use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;
use tollkeep_types::{Clock, MonoNanos};

/// Percent of the CPU it may use from which on the process has none to spare.
const BUSY_PERCENT: u128 = 90;

/// How many times as long as it worked the thread rests then, and how long at most.
const REST_TIMES: u32 = 9;
const REST_MAX: Duration = Duration::from_millis(500);

/// What the process had of its CPU while a batch was kept.
pub(super) struct Pace {
    clock: Arc<dyn Clock>,
    /// Those this process may use, by its affinity and its quota.
    cores: u32,
    began: MonoNanos,
    cpu: Duration,
}

impl Pace {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        Self {
            cores: u32::try_from(cores).unwrap_or(u32::MAX),
            began: clock.mono(),
            cpu: clock.cpu(),
            clock,
        }
    }

    /// A batch is about to be kept.
    pub(super) fn begin(&mut self) {
        (self.began, self.cpu) = (self.clock.mono(), self.clock.cpu());
    }

    /// How long to rest behind it.
    pub(super) fn rest(&self) -> Duration {
        let took = Duration::from_nanos(self.clock.mono().since(self.began));
        rest_after(took, self.clock.cpu().saturating_sub(self.cpu), self.cores)
    }
}

fn rest_after(took: Duration, cpu: Duration, cores: u32) -> Duration {
    let most = took.saturating_mul(cores);
    if most.is_zero() || cpu.as_nanos() * 100 < most.as_nanos() * BUSY_PERCENT {
        return Duration::ZERO;
    }
    took.saturating_mul(REST_TIMES).min(REST_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    // AUD-41
    #[test]
    fn the_thread_rests_only_where_all_cpu_is_taken() {
        let rest = |took, cpu, cores| {
            let [took, cpu] = [took, cpu].map(Duration::from_millis);
            rest_after(took, cpu, cores).as_millis()
        };
        for (name, took, cpu, cores, want) in [
            ("one core, all of it", 20, 20, 1, 180),
            ("one core, nearly all of it", 20, 18, 1, 180),
            ("one core, some of it is free", 20, 17, 1, 0),
            ("two cores, one of them is free", 20, 20, 2, 0),
            ("two cores, all of them", 20, 40, 2, 180),
            ("a slow batch", 2_000, 2_000, 1, 500),
            ("a server that lets it wait", 2_000, 10, 1, 0),
            ("no clock for it", 20, 0, 1, 0),
            ("no time", 0, 0, 1, 0),
        ] {
            assert_eq!(rest(took, cpu, cores), want, "{name}");
        }
    }
}
