//! How often operators are told of steps of hooks that fail: not once a request.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use tollkeep_policy::hook::Moment;
use tollkeep_types::MonoNanos;

/// A hook of a route is told of so often at most.
const EVERY_NS: u64 = 60_000_000_000;
/// Hooks that are remembered. Routes come from the settings; only reloading brings more.
const HOOKS_MAX: usize = 4_096;

/// Failures of steps that were told of lately.
#[derive(Debug, Default)]
pub struct HookFailures(Mutex<HashMap<(Moment, Box<str>), Told>>);

#[derive(Debug)]
struct Told {
    at: MonoNanos,
    /// Failures since.
    silent: u64,
}

impl HookFailures {
    /// Whether a failure is to be told now, and how many before it were not.
    pub(super) fn note(&self, moment: Moment, route: &str, now: MonoNanos) -> Option<u64> {
        let mut hooks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let hook = (moment, route.into());
        if let Some(told) = hooks.get_mut(&hook) {
            if now.since(told.at) < EVERY_NS {
                told.silent = told.silent.saturating_add(1);
                return None;
            }
            told.at = now;
            return Some(std::mem::take(&mut told.silent));
        }
        if hooks.len() >= HOOKS_MAX {
            hooks.clear();
        }
        hooks.insert(hook, Told { at: now, silent: 0 });
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // PAY-37
    #[test]
    fn a_hook_that_fails_is_told_of_once_a_minute_with_what_was_not_told() {
        let failures = HookFailures::default();
        let at = |seconds: u64| MonoNanos(seconds * 1_000_000_000);
        let note = |route: &str, seconds| failures.note(Moment::Price, route, at(seconds));
        assert_eq!(note("/a", 1), Some(0));
        assert_eq!(note("/a", 2), None);
        assert_eq!(note("/b", 2), Some(0), "another route");
        let other = failures.note(Moment::Request, "/a", at(2));
        assert_eq!(other, Some(0), "another hook");
        assert_eq!(note("/a", 60), None);
        assert_eq!(note("/a", 61), Some(2));
        assert_eq!(note("/a", 62), None);
        assert_eq!(note("/a", 300), Some(1));
        for number in 0..=HOOKS_MAX {
            note(&number.to_string(), 400);
        }
        assert!(failures.0.lock().unwrap().len() <= HOOKS_MAX);
    }
}
