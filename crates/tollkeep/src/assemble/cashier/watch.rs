//! Whether a payment could be kept: who is asked to pay while none can might pay for nothing.

use super::Cashier;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How often it is tried.
const EVERY: Duration = Duration::from_millis(500);
/// Who waits longer than this for its turn keeps nothing.
const LATE: Duration = Duration::from_secs(1);

impl Cashier {
    /// Whether a payment could be kept a moment ago.
    pub(super) fn can_keep(&self) -> bool {
        self.can_keep.load(Ordering::Relaxed)
    }

    fn note_kept(&self, can_keep: bool) {
        if self.can_keep.swap(can_keep, Ordering::Relaxed) != can_keep {
            if can_keep {
                tracing::info!("Payments can be kept again");
            } else {
                tracing::error!("Payments can't be kept: nobody is asked to pay meanwhile");
            }
        }
    }

    /// Tries, as long as there is somebody who settles.
    pub(super) async fn watch_store(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if self.rails.load().is_empty() {
                continue;
            }
            let mut tried = pin!(self.store.can_write());
            let kept = match tokio::time::timeout(LATE, &mut tried).await {
                Ok(kept) => kept,
                Err(_) => {
                    self.note_kept(false);
                    // One that waits is enough.
                    tried.await
                }
            };
            self.note_kept(kept.is_ok());
        }
    }
}
