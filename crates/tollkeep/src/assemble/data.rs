//! The data plane: workers on their listeners, with what they share.

use super::audit::{self, Lines};
use super::vault::Vault;
use super::{Base, Others, host};
use crate::exit::{self, Failed};
use anyhow::Context;
use std::hash::RandomState;
use std::net::TcpListener;
use std::sync::Arc;
use tollkeep_audit::Logger;
use tollkeep_config::settings::{ResolverMode, Settings};
use tollkeep_counters::{IpGauge, RateTable};
use tollkeep_gateway::plan::PlanParts;
use tollkeep_gateway::{Plan, Recorder, Shared, Sinks, Worker};
use tollkeep_net::resolve::{Names, ResolverSettings};
use tollkeep_net::worker::{Running, WorkerParts, Workers};
use tollkeep_net::{Descriptors, Dialer, Drain};
use tollkeep_observe::health::Health;
use tollkeep_policy::egress::EgressPolicy;
use tollkeep_store::Store;

/// Rate limit keys of a replica.
const RATE_KEYS_MAX: usize = 100_000;

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
}

/// How many workers: as set, else one per core.
pub(crate) fn worker_count(settings: &Settings) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    settings
        .server
        .workers
        .map_or_else(cores, std::num::NonZero::get)
}

/// Starts the workers.
///
/// # Errors
/// Settings that can't be planned, no resolver, no TLS roots, no threads.
pub(crate) fn start(
    parts: &Parts<'_>,
    listeners: Vec<TcpListener>,
    others: &Others,
    control: &tokio::runtime::Runtime,
) -> anyhow::Result<Running> {
    let (base, settings) = (parts.base, &parts.base.settings);
    let tls = tollkeep_net::tls::client(settings.egress.ca_file.as_deref())
        .map_err(|error| Failed::new(exit::INVALID, error.to_string()))?;
    let mut instance = [0_u8; 8];
    base.entropy.fill(&mut instance);
    let instance = format!("{:016x}", u64::from_be_bytes(instance));
    let plan_parts = PlanParts {
        metrics: &base.metrics,
        bound: &[others.data_addr],
        tls,
        instance: &instance,
    };
    let plan = Plan::new(settings, &plan_parts)
        .map_err(|error| Failed::new(exit::INVALID, error.to_string()))?;
    let limits = &settings.server.limits;
    let descriptors = host::descriptors(listeners.len())?;
    let shared = Arc::new(Shared {
        plan: arc_swap::ArcSwap::from_pointee(plan),
        tokens: Arc::clone(parts.store.live()),
        store: parts.store.clone(),
        hasher: Arc::clone(&parts.vault.hasher),
        rates: RateTable::new(RATE_KEYS_MAX, RandomState::new()),
        global_tat: std::sync::atomic::AtomicU64::new(0),
        connections: IpGauge::new(RandomState::new()),
        requests: IpGauge::new(RandomState::new()),
        running: std::sync::atomic::AtomicUsize::new(0),
        body_bytes: std::sync::atomic::AtomicUsize::new(0),
        clock: Arc::clone(&base.clock),
        entropy: Arc::clone(&base.entropy),
        audit: parts.audit.as_ref().map(|logger| logger.health()),
        recorder: Recorder::new(Sinks {
            audit: parts.audit.clone(),
            access: parts.lines.access.clone(),
            access_errors_only: parts.lines.access_errors_only,
            usage: parts.lines.usage.clone(),
            ip_mask: audit::ip_mask(base, parts.vault),
            redactor: audit::redactor(settings),
        }),
        metrics: Arc::clone(&base.metrics),
        health: Arc::clone(parts.health),
        drain: Arc::clone(parts.drain),
        dialer: dialer(parts, others, control, &descriptors)?,
    });
    let workers = Workers {
        listeners,
        clock: Arc::clone(&base.clock),
        drain: Arc::clone(parts.drain),
        connections_max: limits.connections_max,
        descriptors,
    };
    let make: Arc<dyn Fn(WorkerParts) -> tollkeep_net::worker::Service + Send + Sync> =
        Arc::new(move |own| Worker::service(&shared, &own));
    workers.start(&make).context("cannot start the workers")
}

fn dialer(
    parts: &Parts<'_>,
    others: &Others,
    control: &tokio::runtime::Runtime,
    descriptors: &Arc<Descriptors>,
) -> anyhow::Result<Dialer> {
    let egress = &parts.base.settings.egress;
    let resolver = ResolverSettings {
        servers: match &egress.resolver.mode {
            ResolverMode::System => Vec::new(),
            ResolverMode::Servers(servers) => servers.clone(),
        },
        timeout: egress.resolver.timeout,
        attempts: egress.resolver.attempts,
    };
    let names = control.block_on(async {
        Names::start(&resolver, Arc::clone(&parts.base.clock), control.handle())
    });
    let names = names.map_err(|problem| Failed::new(exit::INVALID, problem))?;
    let policy = EgressPolicy::new(
        egress.ports.clone(),
        egress.allow_ports.clone(),
        others.own.clone(),
    );
    Ok(Dialer::new(
        names,
        Arc::new(policy),
        Arc::clone(descriptors),
    ))
}
