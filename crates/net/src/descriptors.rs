//! File descriptors: sockets take them only while enough are left for files.
//!
//! When callers hold every descriptor a process may have, its store can't open a journal and its
//! audit log can't be written, and both are worth more than one more caller. So every socket of
//! the data plane is counted, callers stop short of upstreams, and both stop short of the limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Descriptors that sockets of the data plane never take: store, audit, management, names.
pub const RESERVED: usize = 64;

/// The descriptors that the data plane's sockets share.
pub struct Descriptors {
    taken: AtomicUsize,
    max: usize,
}

/// One descriptor, given back when dropped.
pub struct Taken(Arc<Descriptors>);

impl Descriptors {
    /// For a process that may open `limit` files and has `open` of them open.
    pub fn new(limit: usize, open: usize) -> Arc<Self> {
        Arc::new(Self {
            taken: AtomicUsize::new(0),
            max: limit.saturating_sub(open).saturating_sub(RESERVED),
        })
    }

    /// How many sockets there may be.
    pub fn max(&self) -> usize {
        self.max
    }

    /// A descriptor for a caller's connection. Callers leave a quarter to upstreams: a caller
    /// whose call can't be sent on is of no use.
    pub(crate) fn for_caller(self: &Arc<Self>) -> Option<Taken> {
        self.take(self.max - self.max / 4)
    }

    /// A descriptor for a connection to an upstream.
    pub(crate) fn for_upstream(self: &Arc<Self>) -> Option<Taken> {
        self.take(self.max)
    }

    fn take(self: &Arc<Self>, max: usize) -> Option<Taken> {
        let before = self.taken.fetch_add(1, Ordering::Relaxed);
        let taken = Taken(Arc::clone(self));
        (before < max).then_some(taken)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // EDGE-5
    #[test]
    fn callers_leave_room_for_upstreams_and_both_for_files() {
        let all = Descriptors::new(200, 36);
        assert_eq!(all.max(), 100);
        let callers: Vec<_> = std::iter::from_fn(|| all.for_caller()).collect();
        assert_eq!(callers.len(), 75);
        let upstreams: Vec<_> = std::iter::from_fn(|| all.for_upstream()).collect();
        assert_eq!(upstreams.len(), 25);
        assert!(all.for_caller().is_none());
        drop(upstreams);
        assert!(all.for_caller().is_none(), "callers have their share");
        drop(callers);
        assert!(all.for_caller().is_some());
    }

    #[test]
    fn a_limit_below_what_is_open_leaves_nothing_and_does_not_wrap() {
        let none = Descriptors::new(10, 40);
        assert_eq!(none.max(), 0);
        assert!(none.for_upstream().is_none());
    }
}
