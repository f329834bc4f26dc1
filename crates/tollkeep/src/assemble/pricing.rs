//! The prices that operators wrote or took in while the gateway ran, brought into force.

use super::prices;
use super::reload::Reloader;
use std::sync::{Arc, Mutex, PoisonError};
use tollkeep_config::Settings;
use tollkeep_gateway::Shared;
use tollkeep_ledger::price::Book;
use tollkeep_store::{KeptPrices, StoreError};

/// The prices of a running gateway.
pub(crate) struct Pricing {
    reloader: Arc<Reloader>,
    shared: Arc<Shared>,
    /// What the prices in force were made of; whoever exchanges them holds the lock.
    applied: Mutex<Option<(Arc<Settings>, Arc<KeptPrices>)>>,
}

impl Pricing {
    pub(crate) fn new(reloader: Arc<Reloader>, shared: Arc<Shared>) -> Self {
        let pricing = Self {
            reloader,
            shared,
            applied: Mutex::default(),
        };
        pricing.apply();
        pricing
    }

    /// Brings in what the store has now, if that or the settings are other than those in force.
    pub(crate) fn apply(&self) {
        let mut applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        let now = (self.reloader.settings(), self.shared.store.prices());
        let is_same = |before: &(Arc<Settings>, Arc<KeptPrices>)| {
            Arc::ptr_eq(&before.0, &now.0) && Arc::ptr_eq(&before.1, &now.1)
        };
        if applied.as_ref().is_some_and(is_same) {
            return;
        }
        match prices::book(&now.0.prices, &now.1) {
            Ok(book) => self.shared.prices.store(Arc::new(book)),
            Err(problem) => tracing::error!("New prices are refused, those in use stay: {problem}"),
        }
        *applied = Some(now);
    }

    /// The table of this hash, without anybody's own prices; `None` if it was never kept.
    ///
    /// # Errors
    /// The store.
    pub(crate) async fn table(&self, sha256: &str) -> Result<Option<Book>, StoreError> {
        let document = self.shared.store.price_table(sha256).await?;
        Ok(document.and_then(|document| prices::alone(&document).ok()))
    }
}
