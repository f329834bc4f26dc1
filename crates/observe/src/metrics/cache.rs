//! What is counted of answers that are kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What became of asking for a kept answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CacheResult {
    /// It was there.
    Hit,
    /// Another call for the same brought it.
    Collapsed,
    /// It was not there.
    Miss,
    /// The caller wanted a fresh one.
    Refresh,
    /// The caller wanted nothing kept.
    Bypass,
}

impl CacheResult {
    pub(super) const ALL: [Self; 5] = [
        Self::Hit,
        Self::Collapsed,
        Self::Miss,
        Self::Refresh,
        Self::Bypass,
    ];

    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Collapsed => "collapsed",
            Self::Miss => "miss",
            Self::Refresh => "refresh",
            Self::Bypass => "bypass",
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    asked: [AtomicU64; CacheResult::ALL.len()],
    pub(super) kept: AtomicU64,
    pub(super) evicted: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) entries: AtomicU64,
    pub(super) waiting: AtomicU64,
}

/// A call that waits for another one.
#[derive(Debug)]
pub struct CacheWait(Arc<Counts>);

impl Drop for CacheWait {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts for the cache. Clones count into the same place.
#[derive(Clone, Debug, Default)]
pub struct CacheMeter(pub(super) Arc<Counts>);

impl CacheMeter {
    /// Somebody asked.
    pub fn asked(&self, result: CacheResult) {
        if let Some(count) = self.0.asked.get(result as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A call waits for another one that asks for the same.
    #[must_use]
    pub fn waits(&self) -> CacheWait {
        self.0.waiting.fetch_add(1, Ordering::Relaxed);
        CacheWait(Arc::clone(&self.0))
    }

    /// An answer is kept, and so many others went for it.
    pub fn kept(&self, gone: usize) {
        let gone = u64::try_from(gone).unwrap_or(u64::MAX);
        self.0.kept.fetch_add(1, Ordering::Relaxed);
        self.0.evicted.fetch_add(gone, Ordering::Relaxed);
    }

    /// So much is kept now.
    pub fn holds(&self, bytes: u64, entries: usize) {
        let entries = u64::try_from(entries).unwrap_or(u64::MAX);
        self.0.bytes.store(bytes, Ordering::Relaxed);
        self.0.entries.store(entries, Ordering::Relaxed);
    }

    pub(super) fn results(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let labels = CacheResult::ALL.into_iter().map(CacheResult::label);
        let counts = self.0.asked.iter();
        labels.zip(counts.map(|count| count.load(Ordering::Relaxed)))
    }
}
