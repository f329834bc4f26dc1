//! What is counted of payments: read now and then, for whoever watches.

use super::{Cashier, RAIL, SCOPE};
use std::sync::Arc;
use std::time::Duration;
use tollkeep_observe::metrics::{PaymentPhase, PaymentRow};
use tollkeep_rails::Failure;
use tollkeep_store::{RevenueBy, StoreError};
use tollkeep_types::MonoNanos;

/// How often.
const EVERY: Duration = Duration::from_secs(5);

impl Cashier {
    /// Counts, as long as there is somebody who settles.
    pub(super) async fn count(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if self.rails.load().is_empty() {
                continue;
            }
            self.meter.failures(self.failures());
            if let Err(error) = self.count_kept().await {
                tracing::debug!("Payments can't be counted: {error}");
            }
        }
    }

    /// A part of a payment that began then is over.
    pub(super) fn took(&self, phase: PaymentPhase, began: MonoNanos) {
        let ns = self.clock.mono().since(began);
        self.meter.took(RAIL, phase, ns);
    }

    async fn count_kept(&self) -> Result<(), StoreError> {
        self.meter
            .unknown(self.store.unknown_payments(SCOPE).await?);
        let owed = self.store.credit_sums(SCOPE).await?.into_iter();
        let owed = owed.map(|sum| (sum.unit, sum.symbol, sum.total));
        self.meter.owed(owed.collect());
        let earned = self.store.revenue(SCOPE, RevenueBy::Rail, None).await?;
        let earned = earned.into_iter();
        let earned = earned.map(|sum| (RAIL.to_owned(), sum.unit, sum.total));
        self.meter.earned(earned.collect());
        Ok(())
    }

    fn failures(&self) -> Vec<PaymentRow> {
        let rails = self.rails.load();
        let all = rails.all().flat_map(|facilitator| {
            Failure::ALL.into_iter().map(|how| {
                let name = facilitator.name().to_owned();
                (name, how.label().to_owned(), facilitator.failed(how))
            })
        });
        all.collect()
    }
}
