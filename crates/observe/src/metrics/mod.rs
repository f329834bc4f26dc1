//! Counters for operators: closed label sets, one recorder a worker, Prometheus text.
//!
//! Labels come from settings and from program text, never from a caller. A worker counts into
//! memory of its own with plain loads and stores; reading sums the workers up.

mod busiest;
mod cache;
mod histogram;
mod labels;
mod ledger;
mod meters;
mod payments;
mod process;
mod recorder;
mod render;
mod seed;
mod shard;

pub use cache::{CacheMeter, CacheResult, CacheWait};
pub use labels::{AttemptResult, Labels, Listener, ModelLabel, ProviderLabel, RouteLabel};
pub use ledger::LedgerMeter;
pub use meters::{AuditMeter, LogMeter, SinkMeter};
pub use payments::{PaymentMeter, PaymentPhase, PaymentRow, Settlement, Verification};
pub use recorder::{Finished, Recorder};
pub use seed::{LimitedAddresses, Payment, SeedMeter, SeedRequest};

use busiest::Busiest;
use labels::Names;
use meters::Words;
use shard::Shard;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tollkeep_types::{MonoNanos, WallMillis};

/// The media type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the binary says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Build {
    /// Version of the package.
    pub version: &'static str,
    /// Commit it was built from, or empty.
    pub commit: &'static str,
}

/// How loading the settings went.
#[derive(Default)]
struct Reloads {
    /// Whether it failed, the last time.
    failed: AtomicBool,
    /// When it succeeded last.
    at_ms: AtomicU64,
}

/// All counters of the process.
pub struct Metrics {
    build: Build,
    series_max: usize,
    routes: Names,
    providers: Names,
    models: Names,
    shards: Mutex<Vec<Arc<Shard>>>,
    refusals: Words,
    rejected: Words,
    auth_failures: Words,
    limited_addresses: Option<Mutex<Busiest>>,
    seeds: Option<SeedMeter>,
    strict_violations: AtomicU64,
    egress_refused: Words,
    anomalies: Words,
    draining: AtomicBool,
    counters_shared: AtomicBool,
    breakers: Mutex<Vec<(Arc<str>, u8)>>,
    audit: AuditMeter,
    sinks: Mutex<Vec<(String, SinkMeter)>>,
    log: OnceLock<LogMeter>,
    ledger: LedgerMeter,
    cache: CacheMeter,
    payments: PaymentMeter,
    reloads: Reloads,
    certificates: Mutex<Vec<(String, u64)>>,
}

impl Metrics {
    /// Counters at zero. Series by route, provider and model past `series_max` are shown summed
    /// up as `other`.
    pub fn new(labels: Labels, build: Build, series_max: usize) -> Arc<Self> {
        Arc::new(Self::plain(labels, build, series_max))
    }

    /// The same, and also by the names that other gateways have for them, from now on.
    pub fn with_seed_names(
        (labels, build): (Labels, Build),
        series_max: usize,
        addresses: LimitedAddresses,
        now: MonoNanos,
    ) -> Arc<Self> {
        let mut metrics = Self::plain(labels, build, series_max);
        metrics.seeds = Some(SeedMeter::new(now));
        metrics.limited_addresses = match addresses {
            LimitedAddresses::Hidden => None,
            LimitedAddresses::Shown => Some(Mutex::default()),
        };
        Arc::new(metrics)
    }

    fn plain(labels: Labels, build: Build, series_max: usize) -> Self {
        let metrics = Self {
            build,
            series_max,
            routes: Names::new("none"),
            providers: Names::new("none"),
            models: Names::new("other"),
            shards: Mutex::default(),
            refusals: Words::default(),
            rejected: Words::default(),
            auth_failures: Words::default(),
            limited_addresses: None,
            seeds: None,
            strict_violations: AtomicU64::new(0),
            egress_refused: Words::default(),
            anomalies: Words::default(),
            draining: AtomicBool::new(false),
            counters_shared: AtomicBool::new(false),
            breakers: Mutex::default(),
            audit: AuditMeter::default(),
            sinks: Mutex::default(),
            log: OnceLock::new(),
            ledger: LedgerMeter::default(),
            cache: CacheMeter::default(),
            payments: PaymentMeter::default(),
            reloads: Reloads::default(),
            certificates: Mutex::default(),
        };
        metrics.name(labels);
        metrics
    }

    /// Takes in names that labels may have from now on; those there are stay.
    pub fn name(&self, labels: Labels) {
        self.routes.add(labels.routes);
        self.providers.add(labels.providers);
        self.models.add(labels.models);
    }

    /// A recorder for one worker; each keeps its own counters, summed when they are read.
    pub fn recorder(&self) -> Recorder {
        let shard = Arc::new(Shard::new());
        self.shards
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::clone(&shard));
        Recorder::new(shard)
    }

    /// The label of a configured route.
    pub fn route(&self, name: &str) -> RouteLabel {
        RouteLabel(self.routes.find(name))
    }

    /// The label of a configured provider or upstream.
    pub fn provider(&self, name: &str) -> ProviderLabel {
        ProviderLabel(self.providers.find(name))
    }

    /// The label of a model; what nobody configured is `other`.
    pub fn model(&self, name: &str) -> ModelLabel {
        ModelLabel(self.models.find(name))
    }

    /// A refusal by its code.
    pub fn refusal(&self, code: &'static str, listener: Listener) {
        self.refusals.add(code, listener.as_str(), 1);
    }

    /// A request rejected for its form.
    pub fn rejected(&self, reason: &'static str) {
        self.rejected.add(reason, "", 1);
    }

    /// A credential that was not accepted.
    pub fn auth_failure(&self, reason: &'static str) {
        self.auth_failures.add(reason, "", 1);
    }

    /// A rate limit was hit by an address, which is asked for only where addresses are shown.
    pub fn limited_address(&self, address: impl FnOnce() -> IpAddr) {
        if let Some(busiest) = &self.limited_addresses {
            let mut busiest = busiest.lock().unwrap_or_else(PoisonError::into_inner);
            busiest.add(address());
        }
    }

    /// An address the egress policy refused.
    pub fn egress_refused(&self, reason: &'static str) {
        self.egress_refused.add(reason, "", 1);
    }

    /// Unusual uses of tokens, so many by this signal; with none the signal is shown from now on.
    pub fn anomaly(&self, signal: &'static str, times: u64) {
        self.anomalies.add(signal, "", times);
    }

    /// The strict limit of the management API was hit.
    pub fn strictly_limited(&self) {
        self.strict_violations.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the process is draining.
    pub fn draining(&self, yes: bool) {
        self.draining.store(yes, Ordering::Relaxed);
    }

    /// Whether rate limits are counted together with other replicas.
    pub fn counters_shared(&self, yes: bool) {
        self.counters_shared.store(yes, Ordering::Relaxed);
    }

    /// The settings were loaded, or could not be.
    pub fn loaded(&self, success: bool, at: WallMillis) {
        self.reloads.failed.store(!success, Ordering::Relaxed);
        if success {
            self.reloads.at_ms.store(at.0, Ordering::Relaxed);
        }
    }

    /// Until when each certificate of ours is valid, in seconds, by its name in the settings.
    pub fn certificates(&self, ends: Vec<(String, u64)>) {
        *self.ends() = ends;
    }

    fn ends(&self) -> MutexGuard<'_, Vec<(String, u64)>> {
        self.certificates
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The worst state of each upstream's breakers: 0 closed, 1 half-open, 2 open. Told before
    /// each reading, since time alone changes them.
    pub fn breaker_states(&self, states: Vec<(Arc<str>, u8)>) {
        *self.breakers.lock().unwrap_or_else(PoisonError::into_inner) = states;
    }

    /// Counters of the audit writer.
    pub fn audit(&self) -> AuditMeter {
        self.audit.clone()
    }

    /// Counters of a further place of audit records, by its name in the settings.
    pub fn audit_sink(&self, name: &str) -> SinkMeter {
        let mut sinks = self.sinks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) = sinks.iter().find(|(known, _)| known == name) {
            return known.clone();
        }
        let meter = SinkMeter::default();
        sinks.push((name.to_owned(), meter.clone()));
        meter
    }

    /// Whether a further place of audit records takes nothing now.
    pub fn has_failing_audit_sink(&self) -> bool {
        let sinks = self.sinks.lock().unwrap_or_else(PoisonError::into_inner);
        sinks.iter().any(|(_, meter)| meter.is_failing())
    }

    /// Counters by other gateways' names, where they are wanted.
    pub const fn seeds(&self) -> Option<&SeedMeter> {
        self.seeds.as_ref()
    }

    /// Counters of payments.
    pub fn payments(&self) -> PaymentMeter {
        self.payments.clone()
    }

    /// Counters of the cache.
    pub fn cache(&self) -> CacheMeter {
        self.cache.clone()
    }

    /// Counters of the ledger.
    pub fn ledger(&self) -> LedgerMeter {
        self.ledger.clone()
    }

    /// Counters of the log: those it was begun with, if [`Self::count_log`] said so before.
    pub fn log(&self) -> LogMeter {
        self.log.get_or_init(LogMeter::default).clone()
    }

    /// What the log counts in, which began before anything else.
    pub fn count_log(&self, meter: LogMeter) {
        // There is one log a process.
        drop(self.log.set(meter));
    }
}
