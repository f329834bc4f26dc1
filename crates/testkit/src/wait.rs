//! Waiting for a condition, never for luck.

use std::time::{Duration, Instant};

/// How long a test waits for what must happen soon. Long, since machines of tests are busy; a
/// test that passes never waits so long.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Looks every 2 ms until `look` finds something; `None` after `patience`.
pub fn wait_until<T>(patience: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + patience;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until `look` finds something.
///
/// # Panics
/// It does not within [`PATIENCE`].
pub fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    wait_until(PATIENCE, look).unwrap_or_else(|| panic!("{what}: not within {PATIENCE:?}"))
}
