//! Facilitators that left it unclear what became of money, and are back: who waits for one hears of it
//! within seconds, however long it was away.
//!
//! While it is unclear it is asked what it takes, which costs it nothing. When it says so, it is tried
//! again at once, and a few payments are looked at; when one of them is settled, all are.

use super::Cashier;
use super::look::HOPELESS_MS;
use super::rails::Known;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;
use tollkeep_payments::state::Told;
use tollkeep_types::WallMillis;

/// How often one that left something unclear is asked whether it is back, and how long it has to answer.
const EVERY: Duration = Duration::from_secs(2);
/// Payments that are looked at first.
const SCOUTS: u32 = 2;
/// So often they are where nodes of chains are read for them, before the usual pauses have to do.
const SCOUTINGS_MAX: u32 = 30;
/// Payments that are looked at once it is back.
const HASTENED_MAX: u32 = 100_000;

/// What is known of how a facilitator does.
#[derive(Default)]
pub(super) struct Health {
    is_unclear: AtomicBool,
    is_back: AtomicBool,
    scoutings: AtomicU32,
}

impl Health {
    /// Nobody waits for it, or it has nothing more to say: it is left in peace until the next doubt.
    fn rest(&self) {
        self.is_unclear.store(false, Ordering::Relaxed);
        self.scoutings.store(0, Ordering::Relaxed);
    }

    /// Notes what it said of a settlement.
    pub(super) fn note(&self, told: Told) {
        match told {
            Told::Settled | Told::Refused | Told::NonceUsed => {
                if self.is_unclear.swap(false, Ordering::Relaxed) {
                    self.is_back.store(true, Ordering::Relaxed);
                }
            }
            Told::Unknown | Told::Unsent | Told::Pending => {
                self.is_unclear.store(true, Ordering::Relaxed);
            }
        }
    }
}

impl Cashier {
    /// Looks whether those are back that left something unclear.
    pub(super) async fn watch_facilitators(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let rails = self.rails.load_full();
            let mut watched = tokio::task::JoinSet::new();
            for known in rails.known() {
                let (cashier, known) = (Arc::clone(&self), Arc::clone(known));
                watched.spawn(async move { cashier.watch_one(&known).await });
            }
            while watched.join_next().await.is_some() {}
        }
    }

    async fn watch_one(&self, known: &Known) {
        let health = &known.health;
        if health.is_back.swap(false, Ordering::Relaxed) {
            health.scoutings.store(0, Ordering::Relaxed);
            self.hasten(known, HASTENED_MAX).await;
            return;
        }
        if !health.is_unclear.load(Ordering::Relaxed) {
            return;
        }
        let rails = self.rails.load_full();
        let networks = &rails.settings.networks;
        if !known.facilitator.is_back(networks, EVERY).await {
            health.scoutings.store(0, Ordering::Relaxed);
            return;
        }
        let scoutings = health.scoutings.fetch_add(1, Ordering::Relaxed);
        if rails.reads_chains() && scoutings >= SCOUTINGS_MAX {
            return health.rest();
        }
        if self.hasten(known, SCOUTS).await == Some(0) {
            health.rest();
        }
    }

    /// How many payments are looked at sooner; `None`: nobody knows.
    async fn hasten(&self, known: &Known, most: u32) -> Option<u64> {
        let name = known.facilitator.name();
        let now = self.now();
        let ended = WallMillis(now.0.saturating_sub(HOPELESS_MS));
        let hastened = self
            .store
            .hasten_payments(name.to_owned(), (now, ended), most);
        match hastened.await {
            Ok(count) => {
                tracing::debug!("Facilitator `{name}` answers: {count} payments are looked at now");
                Some(count)
            }
            Err(error) => {
                tracing::debug!("Payments can't be looked at sooner: {error}");
                None
            }
        }
    }
}
