//! The data plane: workers on their listeners, with what they share.

use super::audit::{self, Lines};
use super::counters::Link;
use super::credentials::stored_credentials;
use super::overrides::stored_overrides;
use super::plan::Planner;
use super::tls::{self, Listeners};
use super::vault::Vault;
use super::{Base, Others, changes, host, memory};
use crate::exit::{self, Failed};
use anyhow::Context;
use std::hash::RandomState;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use tollkeep_audit::Logger;
use tollkeep_config::ConfigErrors;
use tollkeep_config::settings::{LineStyle, Settings};
use tollkeep_counters::{IpGauge, RateTable, Recent};
use tollkeep_gateway::{
    HookFailures, KNOWN_SPAN_NS, MemoryPressure, Recorder, ResponseCache, Shared, Sinks, Tally,
    Worker,
};
use tollkeep_net::acme::Challenges;
use tollkeep_net::tls::Offers;
use tollkeep_net::worker::{Door, DoorTls, Running, WorkerParts, Workers};
use tollkeep_net::{Descriptors, Drain};
use tollkeep_observe::access::Style;
use tollkeep_observe::health::Health;
use tollkeep_store::Store;

/// What the data plane is built from.
pub(crate) struct Parts<'a> {
    /// What every part is given.
    pub(crate) base: &'a Base,
    /// The store, for its live tokens.
    pub(crate) store: &'a Store,
    /// The vault, for the token hasher.
    pub(crate) vault: &'a Vault,
    /// The audit log.
    pub(crate) audit: Option<Arc<Logger>>,
    /// The line files.
    pub(crate) lines: &'a Lines,
    /// Health.
    pub(crate) health: &'a Arc<Health>,
    /// Drain.
    pub(crate) drain: &'a Arc<Drain>,
    /// TLS towards callers.
    pub(crate) tls: &'a Listeners,
    /// What authorities find that ask whether names are ours.
    pub(crate) challenges: &'a Arc<Challenges>,
}

/// How many workers: as set, else one per core.
pub(crate) fn worker_count(settings: &Settings) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    settings
        .server
        .workers
        .map_or_else(cores, std::num::NonZero::get)
}

/// The data plane, serving.
pub(crate) struct Data {
    /// The workers.
    pub(crate) workers: Running,
    /// What a reload changes of them.
    pub(crate) plane: Plane,
}

/// What a reload changes of the data plane.
pub(crate) struct Plane {
    /// What the workers share.
    pub(crate) shared: Arc<Shared>,
    /// Makes the plans they serve by.
    pub(crate) planner: Planner,
    /// How many connections they accept.
    pub(crate) connections_max: Arc<AtomicUsize>,
}

/// Makes what serves connections, once in each worker.
type MakeService = Arc<dyn Fn(WorkerParts) -> tollkeep_net::worker::Service + Send + Sync>;

/// Starts the workers.
///
/// # Errors
/// Settings that can't be planned, no resolver, no TLS roots, no threads.
pub(crate) fn start(
    parts: &Parts<'_>,
    listeners: Vec<Vec<TcpListener>>,
    others: &Others,
    control: &tokio::runtime::Runtime,
) -> anyhow::Result<Data> {
    let (base, settings) = (parts.base, &parts.base.settings);
    let count = worker_count(settings);
    let descriptors = host::descriptors(count)?;
    let planner = planner(parts, others, &descriptors, control);
    let refused = |faults| Failed::new(exit::INVALID, ConfigErrors(faults).to_string());
    let planned = planner.plan(settings, None).map_err(refused)?;
    let link = Link::new(base);
    let tally = Arc::<Tally>::default();
    let shared = Arc::new(Shared {
        plan: arc_swap::ArcSwap::new(planner.take(planned)),
        stored_credentials: tollkeep_gateway::StoredCredentials::default(),
        overrides: Arc::default(),
        tokens: Arc::clone(parts.store.live()),
        store: parts.store.clone(),
        hasher: Arc::clone(&parts.vault.hasher),
        rates: RateTable::new(settings.counters.keys_max, RandomState::new()),
        shared_limits: link.as_ref().map(|link| Arc::clone(&link.limits)),
        global_tat: std::sync::atomic::AtomicU64::new(0),
        breakers: Arc::clone(planner.breakers()),
        connections: IpGauge::new(RandomState::new()),
        requests: IpGauge::new(RandomState::new()),
        running: AtomicUsize::new(0),
        memory: MemoryPressure::default(),
        known: Recent::new(KNOWN_SPAN_NS, RandomState::new()),
        body_bytes: AtomicUsize::new(0),
        clock: Arc::clone(&base.clock),
        entropy: Arc::clone(&base.entropy),
        audit: parts.audit.as_ref().map(|logger| logger.health()),
        recorder: recorder(parts, &tally),
        holds: Arc::default(),
        prices: super::prices::at_start(&settings.prices, &parts.store.prices())?,
        metrics: Arc::clone(&base.metrics),
        health: Arc::clone(parts.health),
        drain: Arc::clone(parts.drain),
        challenges: Arc::clone(parts.challenges),
        management: std::sync::OnceLock::new(),
        token_door: std::sync::OnceLock::new(),
        payments: std::sync::OnceLock::new(),
        hooks: std::sync::OnceLock::new(),
        hook_failures: HookFailures::default(),
        payers: Arc::default(),
        receipt_keys: std::sync::OnceLock::new(),
        tally,
        cache: Arc::new(ResponseCache::new(base.metrics.cache())),
    });
    let kept = link.map(|link| link.keep(&shared, parts.audit.clone(), control));
    kept.transpose()?;
    changes::carry(base, parts.store, control)?;
    take_stored(&shared, parts);
    let connections_max = Arc::new(AtomicUsize::new(settings.server.limits.connections_max));
    let (clock, audit) = (Arc::clone(&base.clock), parts.audit.clone());
    control.spawn(memory::watch(clock, audit, Arc::clone(&shared)));
    let workers = Workers {
        count,
        doors: doors(settings, listeners, parts.tls),
        clock: Arc::clone(&base.clock),
        drain: Arc::clone(parts.drain),
        connections_max: Arc::clone(&connections_max),
        descriptors,
    };
    let of_workers = Arc::clone(&shared);
    let make: MakeService = Arc::new(move |own| Worker::service(&of_workers, &own));
    Ok(Data {
        workers: workers.start(&make).context("cannot start the workers")?,
        plane: Plane {
            shared,
            planner,
            connections_max,
        },
    })
}

fn planner(
    parts: &Parts<'_>,
    others: &Others,
    descriptors: &Arc<Descriptors>,
    control: &tokio::runtime::Runtime,
) -> Planner {
    let default_tenant = parts.store.default_tenant().id;
    let handle = control.handle();
    Planner::new(parts.base, others, default_tenant, descriptors, handle)
}

/// What the store keeps besides the settings, before the first connection: who was denied stays
/// denied over a restart. And there is room for answers that are kept.
fn take_stored(shared: &Shared, parts: &Parts<'_>) {
    shared.make_cache_room();
    shared.take_credentials(stored_credentials(
        parts.store,
        &parts.vault.chooser.keyring(),
    ));
    shared.set_overrides(stored_overrides(parts.store));
}

/// Where records go.
fn recorder(parts: &Parts<'_>, tally: &Arc<Tally>) -> Arc<Recorder> {
    let base = parts.base;
    Recorder::new(Sinks {
        audit: parts.audit.clone(),
        access: parts.lines.access.clone(),
        access_errors_only: parts.lines.access_errors_only,
        access_style: match base.settings.logging.style {
            LineStyle::Tollkeep => Style::Tollkeep,
            LineStyle::Cliproxy => Style::Cliproxy,
        },
        usage: parts.lines.usage.clone(),
        ip_mask: audit::ip_mask(base, parts.vault),
        redactor: audit::redactor(&base.settings),
        tally: Arc::clone(tally),
        access_success: base.settings.audit.access_success,
        proxy_requests: base.settings.audit.proxy_request,
        masker: audit::masker(&base.settings),
        fingerprint_key: parts.vault.fingerprint_key,
    })
}

/// The data listeners, each with what it speaks.
fn doors(settings: &Settings, sockets: Vec<Vec<TcpListener>>, tls: &Listeners) -> Vec<Door> {
    let server = &settings.server;
    let listen = server.listen.iter().zip(sockets);
    let doors = listen.map(|(listen, sockets)| {
        let offers = match listen.http2.unwrap_or(server.http2) {
            true => Offers::Http2,
            false => Offers::Http11,
        };
        let of_data = tls.of(tls::DATA).filter(|_| listen.tls).cloned();
        Door {
            sockets,
            tls: of_data.map(|server| DoorTls { server, offers }),
        }
    });
    doors.collect()
}
