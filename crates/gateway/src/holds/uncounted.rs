//! Calls that no budget counts: their records are written behind their backs.
//!
//! Nobody waits for such a record, and no call is refused for it. A store that is slow or away lets
//! them pile up to a bound; what comes beyond is lost, counted and told.

use super::Holds;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tollkeep_observe::metrics::LedgerMeter;
use tollkeep_store::ledger::{CallRecord, Ledger};
use tollkeep_types::{Clock, MonoNanos};

/// Records that wait to be written, at most.
const WAITING_MAX: usize = 65_536;
/// Records written with one transaction.
const AT_ONCE: usize = 512;
/// How long records wait for others, so that few are not a transaction of their own each.
const GATHER: Duration = Duration::from_millis(100);
/// When a store that took nothing is asked again.
const RETRY: Duration = Duration::from_secs(1);
/// How often it is told in the log that records are lost.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Records that wait.
#[derive(Debug, Default)]
pub(super) struct Uncounted {
    waiting: Mutex<Waiting>,
    came: Notify,
    written: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    batches: VecDeque<Vec<CallRecord>>,
    /// With those that are being written.
    records: usize,
    /// Not told yet.
    lost: u64,
}

impl Uncounted {
    /// Takes records that are to be written. Never waits.
    pub(super) fn put(&self, records: Vec<CallRecord>) {
        if records.is_empty() {
            return;
        }
        let mut waiting = self.lock();
        let count = waiting.records.saturating_add(records.len());
        if count > WAITING_MAX {
            let lost = u64::try_from(records.len()).unwrap_or(u64::MAX);
            waiting.lost = waiting.lost.saturating_add(lost);
            return;
        }
        waiting.records = count;
        waiting.batches.push_back(records);
        let is_first = waiting.batches.len() == 1;
        drop(waiting);
        if is_first {
            self.came.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is written next, once there is something.
    async fn next(&self) -> Vec<CallRecord> {
        loop {
            let waiting = self.lock().records;
            if waiting == 0 {
                self.came.notified().await;
                continue;
            }
            if waiting < AT_ONCE {
                tokio::time::sleep(GATHER).await;
            }
            return self.lock().take();
        }
    }

    /// So many are on disk.
    fn done(&self, records: usize) {
        let mut waiting = self.lock();
        waiting.records = waiting.records.saturating_sub(records);
        drop(waiting);
        self.written.notify_waiters();
    }

    /// Waits until all that came so far is written.
    async fn drain(&self) {
        loop {
            let written = self.written.notified();
            if self.lock().records == 0 {
                return;
            }
            written.await;
        }
    }
}

impl Waiting {
    fn take(&mut self) -> Vec<CallRecord> {
        let mut records = self.batches.pop_front().unwrap_or_default();
        while records.len() < AT_ONCE
            && let Some(more) = self.batches.pop_front()
        {
            records.extend(more);
        }
        records
    }
}

/// What was lost, and when that was told as last.
struct Losses<'m> {
    meter: &'m LedgerMeter,
    clock: &'m dyn Clock,
    untold: u64,
    told_at: Option<MonoNanos>,
}

impl Losses<'_> {
    fn look(&mut self, uncounted: &Uncounted) {
        let lost = std::mem::take(&mut uncounted.lock().lost);
        self.meter.records_lost(lost);
        self.untold = self.untold.saturating_add(lost);
        let now = self.clock.mono();
        let since = |at: MonoNanos| Duration::from_nanos(now.since(at));
        let is_due = self.told_at.is_none_or(|at| since(at) >= TELL_EVERY);
        if self.untold > 0 && is_due {
            self.told_at = Some(now);
            let lost = std::mem::take(&mut self.untold);
            tracing::error!(
                "The store is too slow: {lost} usage records of calls that no budget counts are lost"
            );
        }
    }
}

impl Holds {
    /// Leaves records of calls that no budget counts.
    pub(crate) fn leave(&self, records: Vec<CallRecord>) {
        self.uncounted.put(records);
    }

    /// Writes the records of calls that no budget counts, for as long as the process lives.
    pub async fn write_uncounted(
        &self,
        ledger: Ledger,
        (clock, meter): (Arc<dyn Clock>, LedgerMeter),
    ) {
        let mut losses = Losses {
            meter: &meter,
            clock: &*clock,
            untold: 0,
            told_at: None,
        };
        loop {
            let records = self.uncounted.next().await;
            losses.look(&self.uncounted);
            // The ids are those of requests, so what was written after all is not written twice.
            while ledger.record(&records).await.is_err() {
                losses.look(&self.uncounted);
                tokio::time::sleep(RETRY).await;
            }
            self.uncounted.done(records.len());
        }
    }

    /// Waits until the records of calls that no budget counts are written.
    pub async fn drain_uncounted(&self) {
        self.uncounted.drain().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollkeep_ledger::amount::Charge;
    use tollkeep_ledger::row::Quality;
    use tollkeep_types::usage::Flags;
    use tollkeep_types::{ProjectId, RequestId, TenantId, WallMillis};

    fn record() -> CallRecord {
        CallRecord {
            request: RequestId::from_bytes([1; 16]),
            attempt: 1,
            tenant: TenantId::from_bytes([2; 16]),
            project: ProjectId::from_bytes([3; 16]),
            lineage: None,
            token: None,
            method: "POST",
            route: Arc::from("r"),
            provider: Arc::from("p"),
            model_requested: Arc::from("m"),
            quarantines: None,
            model_served: None,
            lines: None,
            quality: Quality::Unknown,
            flags: Flags::NONE,
            bound: Charge::NOTHING,
            bound_method: None,
            charge: Charge::NOTHING,
            upstream_cost: None,
            markup: None,
            price: None,
            started_at: WallMillis(0),
            duration_ms: 0,
            from_cache: false,
            status: None,
        }
    }

    // LED-11
    #[test]
    fn what_finds_no_room_is_lost_and_counted_and_room_comes_with_what_is_written() {
        let uncounted = Uncounted::default();
        let batch = vec![record(); 64];
        for _ in 0..WAITING_MAX / batch.len() {
            uncounted.put(batch.clone());
        }
        assert_eq!(uncounted.lock().lost, 0);
        uncounted.put(batch);
        uncounted.put(vec![record()]);
        assert_eq!(uncounted.lock().lost, 65);
        let taken = uncounted.lock().take();
        assert_eq!(taken.len(), AT_ONCE);
        uncounted.put(vec![record()]);
        assert_eq!(
            uncounted.lock().lost,
            66,
            "what is being written has its room"
        );
        uncounted.done(taken.len());
        uncounted.put(vec![record()]);
        let waiting = uncounted.lock();
        assert_eq!(
            (waiting.lost, waiting.records),
            (66, WAITING_MAX - AT_ONCE + 1)
        );
    }
}
