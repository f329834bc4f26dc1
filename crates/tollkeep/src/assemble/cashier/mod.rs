//! Who keeps payments and has them settled: it works on the control runtime, and what it begins it
//! does to the end, also when whoever asked is gone.
//!
//! What becomes of a payment is decided by `payments::state`; here each step is written down before
//! it is acted on, and each payment has one task at a time.

mod back;
mod case;
mod closing;
mod count;
mod door;
mod ends;
mod look;
mod rails;
mod recall;
mod recorded;
mod session;
mod settle;
mod show;
mod standing;
mod tokens;
mod verified;
mod watch;

use super::Base;
use super::reload::Reloader;
use super::vault::Chooser;
use arc_swap::ArcSwap;
use case::Case;
use door::Counter;
use ends::Ends;
use rails::Rails;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
pub(crate) use tokens::{differing_tokens, sold_for};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tollkeep_audit::Logger;
use tollkeep_gateway::Shared;
use tollkeep_observe::metrics::PaymentMeter;
use tollkeep_store::{Scope, Store};
use tollkeep_types::{Clock, Entropy, PaymentId, WallMillis};
use verified::Verified;

/// As whom the store is asked.
const SCOPE: Scope = Scope::Service("payments");
/// The one rail so far.
const RAIL: &str = "x402";
/// How long nobody else may work on a payment that somebody works on.
const LEASE_MS: u64 = 30_000;
/// How often that is renewed.
const RENEW_EVERY: Duration = Duration::from_secs(10);
/// How often it is looked for work that nobody does.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Callers that wait to hear what became of their money.
const WAITING_MAX: usize = 64;

/// Keeps payments and has them settled.
pub(crate) struct Cashier {
    store: Store,
    chooser: Arc<Chooser>,
    reloader: Arc<Reloader>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    control: Handle,
    /// This process, among those that share the store.
    holder: String,
    /// Payments that this process works on.
    desk: Mutex<HashMap<PaymentId, Arc<tokio::sync::Mutex<Case>>>>,
    /// Calls of sessions that this process serves.
    uses: AtomicUsize,
    /// Those of them that are over, and are about to be kept as such.
    ends: Arc<Ends>,
    rails: ArcSwap<Rails>,
    waiting: Semaphore,
    /// Whether a payment could be kept.
    can_keep: AtomicBool,
    meter: PaymentMeter,
    audit: Option<Arc<Logger>>,
    /// Callers that were asked to pay.
    asked: AtomicU64,
    /// What facilitators said yes to.
    verified: Verified,
}

impl Cashier {
    /// One that works as soon as it is started.
    pub(crate) fn new(
        base: &Base,
        (store, chooser, audit): (&Store, &Arc<Chooser>, Option<&Arc<Logger>>),
        reloader: &Arc<Reloader>,
        control: &Handle,
    ) -> Arc<Self> {
        Arc::new(Self {
            store: store.clone(),
            chooser: Arc::clone(chooser),
            reloader: Arc::clone(reloader),
            clock: Arc::clone(&base.clock),
            entropy: Arc::clone(&base.entropy),
            control: control.clone(),
            holder: PaymentId::new(base.clock.as_ref(), base.entropy.as_ref()).to_string(),
            desk: Mutex::default(),
            uses: AtomicUsize::new(0),
            ends: Arc::default(),
            rails: ArcSwap::from_pointee(Rails::none(reloader.settings())),
            waiting: Semaphore::new(WAITING_MAX),
            can_keep: AtomicBool::new(true),
            meter: base.metrics.payments(),
            audit: audit.cloned(),
            asked: AtomicU64::new(0),
            verified: Verified::default(),
        })
    }

    /// Looks after payments, from what an earlier life left on, and takes those of the data plane.
    pub(crate) fn start_for(self: Arc<Self>, shared: &Shared) {
        self.control.block_on(self.take_up_sessions());
        self.control.spawn(Arc::clone(&self).renew());
        self.control.spawn(Arc::clone(&self).look_after());
        self.control.spawn(Arc::clone(&self).keep_rails());
        self.control.spawn(Arc::clone(&self).watch_facilitators());
        self.control.spawn(Arc::clone(&self).count());
        self.control.spawn(Arc::clone(&self).watch_store());
        // Nobody else sets it.
        drop(shared.payments.set(Arc::new(Counter(self))));
    }

    fn now(&self) -> WallMillis {
        self.clock.wall()
    }

    fn in_ms(&self, ms: u64) -> WallMillis {
        WallMillis(self.now().0.saturating_add(ms))
    }

    /// Who works on a payment from now on, and until when.
    fn lease(&self) -> (String, WallMillis) {
        (self.holder.clone(), self.in_ms(LEASE_MS))
    }

    fn put(&self, id: PaymentId, case: Arc<tokio::sync::Mutex<Case>>) {
        let mut desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        desk.insert(id, case);
    }

    fn find(&self, id: PaymentId) -> Option<Arc<tokio::sync::Mutex<Case>>> {
        let desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        desk.get(&id).map(Arc::clone)
    }

    fn drop_case(&self, id: PaymentId) {
        let mut desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        desk.remove(&id);
    }

    fn is_idle(&self) -> bool {
        let desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        desk.is_empty()
    }

    /// Keeps what it works on its own.
    async fn renew(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(RENEW_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let times = (self.now(), self.in_ms(LEASE_MS));
            if self.uses.load(Ordering::Relaxed) > 0 {
                let renewed = self.store.renew_session_uses(self.holder.clone(), times);
                if let Err(error) = renewed.await {
                    tracing::warn!("What calls took of sessions can't be kept for longer: {error}");
                }
            }
            if self.is_idle() {
                continue;
            }
            let renewed = self.store.renew_payment_leases(self.holder.clone(), times);
            if let Err(error) = renewed.await {
                tracing::warn!("Payments under way can't be kept for longer: {error}");
            }
        }
    }
}
