//! A clock, a source of bytes and a logger to test with.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};
use tollkeep_audit::{Logger, LoggerConfig, Means};
use tollkeep_observe::metrics::AuditMeter;
use tollkeep_types::{Clock, Entropy, MonoNanos, WallMillis};

/// Real time that passes, from a fixed date.
pub(crate) struct Ticking(Instant);

impl Ticking {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn new() -> Self {
        Self(Instant::now())
    }
}

impl Clock for Ticking {
    fn mono(&self) -> MonoNanos {
        MonoNanos(u64::try_from(self.0.elapsed().as_nanos()).unwrap())
    }

    fn wall(&self) -> WallMillis {
        WallMillis(1_795_342_530_123 + u64::try_from(self.0.elapsed().as_millis()).unwrap())
    }
}

/// Real time, all of which the process works on more cores than there are.
pub(crate) struct Busy(Ticking);

impl Default for Busy {
    fn default() -> Self {
        Self(Ticking::new())
    }
}

impl Clock for Busy {
    fn mono(&self) -> MonoNanos {
        self.0.mono()
    }

    fn wall(&self) -> WallMillis {
        self.0.wall()
    }

    fn cpu(&self) -> Duration {
        Duration::from_nanos(self.mono().0) * 4096
    }
}

/// Time that stands still, for lines that are compared byte by byte.
pub(crate) struct Stopped;

impl Clock for Stopped {
    fn mono(&self) -> MonoNanos {
        MonoNanos(0)
    }

    fn wall(&self) -> WallMillis {
        WallMillis(1_795_342_530_123)
    }
}

/// Bytes that count up.
#[derive(Default)]
pub(crate) struct Counting(AtomicU8);

impl Counting {
    pub(crate) fn from(first: u8) -> Self {
        Self(AtomicU8::new(first))
    }
}

impl Entropy for Counting {
    fn fill(&self, out: &mut [u8]) {
        for slot in out {
            *slot = self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The defaults, but patient: the disk under a test may be slow.
pub(crate) fn config(path: &Path) -> LoggerConfig {
    LoggerConfig {
        file_path: path.to_owned(),
        deadline: Duration::from_secs(10),
        ..LoggerConfig::default()
    }
}

pub(crate) fn means() -> Means {
    Means {
        clock: Arc::new(Ticking::new()),
        entropy: Arc::new(Counting::default()),
        meter: AuditMeter::default(),
    }
}

pub(crate) fn logger(path: &Path) -> Logger {
    Logger::new(config(path), means()).unwrap()
}

pub(crate) fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "torn: {text:?}");
    text.lines().map(str::to_owned).collect()
}

/// Waits until something holds, as another thread makes it so.
pub(crate) fn eventually(what: &str, holds: impl Fn() -> bool) {
    let clock = Ticking::new();
    while !holds() {
        assert!(clock.0.elapsed() < Duration::from_secs(20), "never: {what}");
        std::thread::yield_now();
    }
}

/// How long something takes.
pub(crate) fn timed<T>(act: impl FnOnce() -> T) -> (T, Duration) {
    let clock = Ticking::new();
    let result = act();
    (result, clock.0.elapsed())
}
