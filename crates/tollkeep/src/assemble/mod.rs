//! Putting the parts together: settings in, a running gateway out, and its orderly end.

mod acme;
mod anchors;
mod anomaly;
mod archive_key;
mod audit;
mod audit_disk;
mod audit_keys;
mod auth_dir;
mod bound;
mod budgets;
mod cashier;
mod certificates;
mod changes;
mod control;
mod counters;
mod credentials;
mod data;
pub(crate) mod documents;
mod door;
mod egress;
mod examine;
mod file_modes;
mod host;
mod jwks;
mod keks;
mod key_service;
mod ledger;
mod loader;
mod memory;
mod ordered;
mod overrides;
#[cfg(test)]
mod panics;
mod plan;
pub(crate) mod prices;
mod pricing;
mod provider;
mod receipt_keys;
mod receipts;
mod reload;
mod runtime;
mod sinks;
mod sources;
mod store;
mod telling;
mod tls;
mod token_door;
mod untold;
mod vault;
mod watch;

pub(crate) use audit::{log_level, redactor};
pub(crate) use cashier::{differing_tokens, sold_for};
pub(crate) use examine::{Inside, archive_key, examine, fingerprint_key};
pub(crate) use file_modes::Offender;
pub(crate) use loader::Loader;
pub(crate) use ordered::Wanted;
pub(crate) use sinks::reach as reach_sinks;
pub(crate) use tls::{Checked, InUse, Listeners};

use crate::exit::{self, Failed};
use crate::system::SystemClock;
use anchors::Anchors;
use anyhow::Context;
use bound::{Addresses, Others, bind};
use cashier::Cashier;
use certificates::Keeper;
use reload::Reloader;
use runtime::Live;
use sources::Sources;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tollkeep_audit::{Action, Actor, Event, Key, Logger, Outcome, Relay, Value};
use tollkeep_config::ConfigErrors;
use tollkeep_config::settings::Settings;
use tollkeep_crypto::SystemEntropy;
use tollkeep_gateway::Recorder;
use tollkeep_net::Drain;
use tollkeep_net::acme::Challenges;
use tollkeep_observe::health::{Check, Health, Reason};
use tollkeep_observe::line_sink::LineSink;
use tollkeep_observe::metrics::{Build, Labels, LimitedAddresses, Metrics};
use tollkeep_store::Store;
use tollkeep_types::{Clock, Entropy, Secret, WallMillis};

/// The version of this build.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// How long jobs may take to end when the gateway stops: a batch of one is far quicker.
const JOBS_MAX: Duration = Duration::from_secs(5);

/// How long the last lines of each file may take.
const LINES_MAX: Duration = Duration::from_secs(1);

/// How long the last checkpoints of the audit log may take to be kept elsewhere.
const ANCHORS_MAX: Duration = Duration::from_secs(2);

/// Metric series of the process at most.
const SERIES_MAX: usize = 20_000;

/// What every part is given.
pub(crate) struct Base {
    /// The settings.
    pub(crate) settings: Arc<Settings>,
    /// The clock.
    pub(crate) clock: Arc<dyn Clock>,
    /// Randomness.
    pub(crate) entropy: Arc<dyn Entropy>,
    /// Counters.
    pub(crate) metrics: Arc<Metrics>,
}

/// A gateway that serves.
pub(crate) struct Running {
    base: Base,
    control: tokio::runtime::Runtime,
    workers: tollkeep_net::worker::Running,
    drain: Arc<Drain>,
    health: Arc<Health>,
    store: Store,
    audit: Option<Arc<Logger>>,
    /// Has records that were kept back.
    recorder: Arc<Recorder>,
    /// Further places of its records.
    sinks: Vec<Relay>,
    /// Keeps checkpoints, until the log is closed.
    anchors: JoinHandle<()>,
    lines: Vec<LineSink>,
    stop_control: Arc<tokio::sync::Notify>,
    live: Arc<Live>,
    signals: host::Signals,
    /// Where it listens.
    pub(crate) at: Addresses,
    /// The management key that was made because there was none; told once.
    pub(crate) first_key: Option<Secret>,
}

/// Starts a gateway that writes this log. Where its settings can be loaded `again`, SIGHUP does that; else it ends the
/// process, as it does by default.
///
/// # Errors
/// Anything that keeps it from serving as configured; nothing is left half open.
pub(crate) fn start(
    settings: Settings,
    log: LineSink,
    again: Option<Loader>,
) -> anyhow::Result<Running> {
    start_by(Arc::new(SystemClock::new()), settings, log, again)
}

fn start_by(
    clock: Arc<dyn Clock>,
    mut settings: Settings,
    log: LineSink,
    again: Option<Loader>,
) -> anyhow::Result<Running> {
    host::prepare(&settings)?;
    let control = control::runtime()?;
    // A store that is let go of because a later step fails gives its connections back to a task.
    let handle = control.handle().clone();
    let _inside = handle.enter();
    // From the start, so that a signal that comes too early ends the process in order too.
    let (signals, files) = control.block_on(async { host::listen(again.is_some()) })?;
    let sandbox = control::start_sandbox(&mut settings, &control)?;
    let workers = data::worker_count(&settings);
    let (tls, challenges) = listeners_tls(&settings, clock.wall())?;
    let bound = bind(&settings, workers)?;
    let base = Base::new(Arc::new(settings), clock, Arc::new(SystemEntropy));
    let (store, vault) = control.block_on(open_store(&base, &bound.own()))?;
    let (anchors, sinks) = (Anchors::new(), sinks::prepare(&base, &vault)?);
    let audit = audit::open(&base, &vault, &store, &anchors)?;
    let lines = audit::line_sinks(&base, log)?;
    let (drain, health) = (Arc::default(), health(&base, workers, audit.as_deref()));
    let data = data::Parts {
        base: &base,
        store: &store,
        vault: &vault,
        audit: audit.clone(),
        lines: &lines,
        health: &health,
        drain: &drain,
        tls: &tls,
        challenges: &challenges,
    };
    let (at, listeners, others) = bound.split();
    let data = data::start(&data, listeners, &others, &control)?;
    let jwt_keys = data.plane.planner.management_keys();
    let budgets = budgets::BudgetKeeper::new(store.clone(), handle.clone());
    let sources = Sources::new(again, sandbox, budgets);
    let shared = Arc::clone(&data.plane.shared);
    let reloader = Reloader::new(&base, sources, data.plane, tls.clone(), audit.clone());
    let kept = (&store, &vault, audit.as_ref());
    let live = Arc::new(Live::new(&base, kept, reloader, &shared));
    let stop_control = Arc::new(tokio::sync::Notify::new());
    let parts = control::Parts {
        base: &base,
        store: &store,
        vault: &vault,
        audit: audit.clone(),
        health: &health,
        live: &live,
        tls: &tls,
        shared: &shared,
        stop: &stop_control,
        jwt_keys: &jwt_keys,
    };
    let first_key = control.block_on(control::start(&parts, others))?;
    announce(&base, &vault, audit.as_deref());
    let anchors = keep_files(&parts, &challenges, anchors, &control);
    control::keep_settings(&control, &live.reloader, files);
    Ok(Running {
        sinks: sinks.start(&base, audit.as_deref(), &live.reloader)?,
        base,
        control,
        workers: data.workers,
        drain,
        health,
        store,
        audit,
        recorder: Arc::clone(&shared.recorder),
        anchors,
        lines: lines.all(),
        stop_control,
        live,
        signals,
        at,
        first_key,
    })
}

/// The store, with the budgets and the price table of the settings in it, and the vault.
async fn open_store(base: &Base, own: &[SocketAddr]) -> anyhow::Result<(Store, vault::Vault)> {
    let store = store::open(base).await?;
    let prices = prices::keep(&store, &base.settings.prices).await;
    prices.map_err(|problem| Failed::new(exit::INVALID, format!("prices: {problem}")))?;
    let budgets = budgets::keep_those_of(&store, &base.settings).await;
    budgets.map_err(|faults| Failed::new(exit::INVALID, faults.to_string()))?;
    let vault = vault::open(base, &store, own).await?;
    Ok((store, vault))
}

/// Looks after payments and certificates, orders those that are to be ordered, looks at the room that is left for the
/// audit log, and keeps its checkpoints as long as the task that is given back runs.
fn keep_files(
    parts: &control::Parts<'_>,
    challenges: &Arc<Challenges>,
    anchors: Anchors,
    control: &tokio::runtime::Runtime,
) -> JoinHandle<()> {
    let (base, audit) = (parts.base, parts.audit.as_ref());
    let reloader = &parts.live.reloader;
    let kept = (parts.store, &parts.vault.chooser, audit);
    telling::Telling::start(
        base,
        parts.store,
        reloader,
        (parts.shared, control.handle()),
    );
    Cashier::new(base, kept, reloader, control.handle()).start_for(parts.shared);
    let certificates = Keeper::new(base, reloader, parts.health, audit);
    control.spawn(certificates::keep(certificates));
    let of = (reloader, parts.store);
    acme::Orders::new(base, of, parts.health, audit, challenges).start(control);
    if audit.is_some() {
        let recorder = Arc::clone(&parts.shared.recorder);
        control.spawn(audit::tell_kept_back(recorder, Arc::clone(&base.clock)));
    }
    if let (Some(audit), Some(file)) = (audit, &base.settings.audit.file) {
        control.spawn(audit_disk::watch(file.clone(), audit.health()));
    }
    anchors.start(control, parts.store, reloader)
}

impl Base {
    fn new(settings: Arc<Settings>, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        let build = Build {
            version: VERSION,
            commit: "",
        };
        let wanted = &settings.metrics;
        let labels = Labels::default();
        let metrics = if wanted.enabled && wanted.seed_names {
            let addresses = if wanted.compat_ip_label {
                LimitedAddresses::Shown
            } else {
                LimitedAddresses::Hidden
            };
            Metrics::with_seed_names((labels, build), SERIES_MAX, addresses, clock.mono())
        } else {
            Metrics::new(labels, build, SERIES_MAX)
        };
        Self {
            settings,
            clock,
            entropy,
            metrics,
        }
    }
}

/// TLS of every listener that shall speak it, with everything about its certificates checked.
fn listeners_tls(
    settings: &Settings,
    now: WallMillis,
) -> anyhow::Result<(Listeners, Arc<Challenges>)> {
    for wanted in Wanted::all(settings) {
        let folder = wanted.cache.folder().display();
        let refused = |error| {
            let key = format!("{}.acme.cache_dir", wanted.name());
            Failed::new(
                exit::INVALID,
                format!("{key}: {folder} can't be used: {error}"),
            )
        };
        wanted.cache.prepare().map_err(refused)?;
    }
    let checked = Checked::load(settings, now, &Listeners::default());
    let checked =
        checked.map_err(|faults| Failed::new(exit::INVALID, ConfigErrors(faults).to_string()))?;
    for warning in &checked.warnings {
        tracing::warn!("{warning}");
    }
    let challenges = Arc::default();
    Ok((Listeners::new(checked, &challenges), challenges))
}

fn health(base: &Base, workers: usize, audit: Option<&Logger>) -> Arc<Health> {
    let checks = audit.map(|logger| {
        let health = logger.health();
        let check: Check = Box::new(move |now| !health.writable(now));
        (Reason::Audit, check)
    });
    let checks = checks.into_iter().chain([sinks::check(&base.metrics)]);
    Arc::new(Health::new(workers, base.clock.mono(), checks.collect()))
}

fn announce(base: &Base, vault: &vault::Vault, audit: Option<&Logger>) {
    let Some(audit) = audit else {
        tracing::warn!("Audit is off: nothing that happens is recorded");
        return;
    };
    for action in [Action::ConfigLoad, Action::SystemStart] {
        record(base, audit, action);
    }
    vault.report.record(base, audit);
}

/// Records what the process does.
fn record(base: &Base, audit: &Logger, action: Action) {
    let mut event = Event::new(action, Actor::System, Outcome::Success).at(base.clock.wall());
    if action == Action::SystemStart {
        event = event.with_detail(Key::Version, Value::Word(VERSION));
    }
    if let Err(error) = audit.enqueue(&event) {
        let action = action.as_str();
        tracing::error!("`{action}` was not recorded: {error}");
    }
}

/// Writes what was said so far.
fn flush(lines: &[LineSink]) {
    for sink in lines {
        sink.flush(LINES_MAX);
    }
}

impl Running {
    /// The settings in force.
    pub(crate) fn settings(&self) -> &Settings {
        &self.base.settings
    }

    /// The control runtime.
    pub(crate) fn control(&self) -> &tokio::runtime::Runtime {
        &self.control
    }

    /// Serves until SIGTERM or SIGINT, then stops in order: no new connections, running requests
    /// finish within the drain timeout, records are flushed. A second signal skips the wait.
    ///
    /// # Errors
    /// Something due could not be written.
    pub(crate) fn serve_until_signal(mut self) -> anyhow::Result<()> {
        self.control.block_on(self.signals.next());
        self.stop()
    }

    /// Stops now, as on a signal.
    ///
    /// # Errors
    /// Something due could not be written.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        let settings = self.live.reloader.settings();
        let (drain, signals) = (&settings.server.drain, &mut self.signals);
        tracing::info!(
            "Stopping: running requests have {} s",
            drain.timeout.as_secs()
        );
        if let Some(audit) = &self.audit {
            record(&self.base, audit, Action::SystemDrain);
        }
        self.health.raise(Reason::Draining);
        self.base.metrics.draining(true);
        self.control.block_on(async {
            if !drain.delay.is_zero() {
                tokio::select! { () = tokio::time::sleep(drain.delay) => {}, () = signals.next() => {} }
            }
            self.drain.begin();
            tokio::select! {
                () = self.drain.empty() => {}
                () = tokio::time::sleep(drain.timeout) => {}
                () = signals.next() => {}
            }
        });
        self.workers.stop();
        self.stop_control.notify_waiters();
        self.control.block_on(async {
            tokio::select! {
                () = self.live.jobs.stop() => {}
                () = tokio::time::sleep(JOBS_MAX) => tracing::warn!("A job did not end in time"),
            }
        });
        self.control.block_on(self.live.budgeting.drain());
        flush(&self.lines);
        self.recorder.tell_the_last(self.base.clock.wall());
        let audited = self.audit.as_ref().map_or(Ok(()), |audit| {
            let now = self.base.clock.wall();
            self.live.unproven.tell_the_last(audit, now);
            record(&self.base, audit, Action::SystemStop);
            audit.stop()
        });
        sinks::stop(&self.sinks, &*self.base.clock);
        let kept = async { tokio::time::timeout(ANCHORS_MAX, self.anchors).await };
        if self.control.block_on(kept).is_err() {
            tracing::warn!("The last checkpoint of the audit log may be kept nowhere else");
        }
        // After the log, which keeps records in it.
        let closed = self.control.block_on(self.store.close());
        flush(&self.lines);
        audited.context("the audit log was not closed in order")?;
        self.control.shutdown_timeout(Duration::from_secs(1));
        closed.context("the store was not closed in order")
    }
}
