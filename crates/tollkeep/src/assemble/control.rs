//! The control plane: management and metrics listeners, the local socket, the sandbox, and the
//! jobs that run beside the requests.

use super::auth_dir;
use super::door::Door;
use super::host::Files;
use super::jwks::ManagementKeys;
use super::receipts::Receipts;
use super::reload::{Cause, Reloader};
use super::runtime::Live;
use super::tls::{self, ControlDoor, Listeners};
use super::token_door::Tokens;
use super::vault::{PEPPER_ID, Vault};
use super::watch;
use super::{Base, Others, VERSION, anomaly};
use crate::exit::{self, Failed};
use anyhow::Context;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::Signal;
use tokio::sync::Notify;
use tollkeep_admin::{Admin, AdminParts, Runtime, Scheme};
use tollkeep_audit::Logger;
use tollkeep_config::settings::{Environment, ManagementListen, Provider, ProviderKind, Settings};
use tollkeep_gateway::Shared;
use tollkeep_net::control::listen_unix;
use tollkeep_net::listen;
use tollkeep_observe::health::{Health, Reason};
use tollkeep_observe::line_sink::reopen_files;
use tollkeep_policy::egress::{Giver, Purpose, parse_url};
use tollkeep_store::Store;
use tollkeep_types::Secret;

/// How often counts of granted calls go to the store.
const FLUSH_EVERY: Duration = Duration::from_millis(500);

/// What the control plane is built from.
pub(crate) struct Parts<'a> {
    /// What every part is given.
    pub(crate) base: &'a Base,
    /// The store.
    pub(crate) store: &'a Store,
    /// The vault.
    pub(crate) vault: &'a Vault,
    /// The audit log.
    pub(crate) audit: Option<Arc<Logger>>,
    /// Health.
    pub(crate) health: &'a Arc<Health>,
    /// The running gateway.
    pub(crate) live: &'a Arc<Live>,
    /// TLS of the listeners.
    pub(crate) tls: &'a Listeners,
    /// What the data plane shares.
    pub(crate) shared: &'a Shared,
    /// Told when the control plane must end.
    pub(crate) stop: &'a Arc<Notify>,
    /// The keys of the identity provider at the front door, where there is one.
    pub(crate) jwt_keys: &'a ManagementKeys,
}

/// The runtime of everything but the data plane.
///
/// # Errors
/// The system gives no threads.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("control")
        .enable_io()
        .enable_time()
        .build()
        .context("cannot start the control runtime")
}

/// The built-in upstream, running.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sandbox(SocketAddr);

impl Sandbox {
    /// The provider that needs it.
    pub(crate) fn wanted(settings: &Settings) -> Option<&Provider> {
        let mut providers = settings.providers.iter();
        providers.find(|provider| provider.kind == ProviderKind::Sandbox && provider.enabled)
    }

    /// Leads the providers of its kind to it.
    ///
    /// # Errors
    /// Its address makes no URL.
    pub(crate) fn point_at_it(self, settings: &mut Settings) -> anyhow::Result<()> {
        let url = format!("http://{}/v1", self.0);
        let providers = settings.providers.iter_mut();
        for provider in providers.filter(|provider| provider.kind == ProviderKind::Sandbox) {
            provider.base_url = parse_url(&url, Purpose::Provider, Giver::Operator)?;
            provider.allow_private = vec![ipnet::IpNet::from(self.0.ip())];
            // Its models are known, so that they can be listed.
            if provider.models == ["*"] {
                provider.models = tollkeep_sandbox::models().map(str::to_owned).collect();
            }
        }
        Ok(())
    }
}

/// Starts the sandbox upstream if a provider is of its kind, and points that provider at it.
///
/// # Errors
/// It can't listen; it is switched on in production.
pub(crate) fn start_sandbox(
    settings: &mut Settings,
    control: &tokio::runtime::Runtime,
) -> anyhow::Result<Option<Sandbox>> {
    if Sandbox::wanted(settings).is_none() {
        return Ok(None);
    }
    if settings.environment == Environment::Production || !settings.server.is_local() {
        let why = "the sandbox upstream is refused in production and on a public listener";
        return Err(Failed::new(exit::INVALID, why).into());
    }
    let listener = listen::bind_one(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0), 1024)?;
    let sandbox = Sandbox(listener.local_addr()?);
    sandbox.point_at_it(settings)?;
    control.spawn(async move {
        if let Err(error) = tollkeep_sandbox::serve(listener, std::future::pending()).await {
            tracing::error!("the sandbox upstream ended: {error}");
        }
    });
    Ok(Some(sandbox))
}

/// Starts management, metrics and the jobs. Gives the management key that had to be made.
///
/// # Errors
/// The store fails, or a socket can't be opened.
pub(crate) async fn start(parts: &Parts<'_>, others: Others) -> anyhow::Result<Option<Secret>> {
    let base = parts.base;
    auth_dir::check(base)?;
    let live = parts.live;
    live.auth_dir.keep(&base.settings, &live.credentials).await;
    let admin = Admin::new(AdminParts {
        store: parts.store.clone(),
        hasher: Arc::clone(&parts.vault.hasher),
        pepper_id: PEPPER_ID,
        fingerprint_key: parts.vault.fingerprint_key,
        masker: super::audit::masker(&parts.base.settings),
        runtime: Arc::clone(parts.live) as Arc<dyn Runtime>,
        clock: Arc::clone(&base.clock),
        entropy: Arc::clone(&base.entropy),
        audit: parts.audit.clone(),
        metrics: Arc::clone(&base.metrics),
        health: Arc::clone(parts.health),
        replica: super::ledger::replica(base).to_string(),
        version: VERSION,
        listeners: others.own.clone(),
        jobs: Arc::clone(&parts.live.jobs),
        unproven: Arc::clone(&parts.live.unproven),
        jwt_keys: Arc::clone(parts.jwt_keys),
    });
    let first_key = admin.ensure_management_key().await?;
    let door = Door {
        api: admin.on_data_port(),
        control: tokio::runtime::Handle::current(),
    };
    // Nobody else sets it.
    drop(parts.shared.management.set(Arc::new(door)));
    let receipts = start_receipts(parts);
    let tokens = Tokens {
        admin: admin.clone(),
        receipts,
        control: tokio::runtime::Handle::current(),
    };
    drop(parts.shared.token_door.set(Arc::new(tokens)));
    let stop = || {
        let stop = Arc::clone(parts.stop);
        async move { stop.notified().await }
    };
    if let Some(listener) = others.management {
        let door = ControlDoor::new(listener, parts.tls.of(tls::MANAGEMENT))?;
        tokio::task::spawn(admin.serve_tcp(door, stop()));
    }
    if let ManagementListen::Unix(path) = &base.settings.management.listen {
        tokio::task::spawn(admin.serve_unix(local_socket(path)?, Scheme::Keyed, stop())?);
    }
    if base.settings.management.local_socket {
        let path = base.settings.data_dir.join("tollkeep.sock");
        tokio::task::spawn(admin.serve_unix(local_socket(&path)?, Scheme::PeerUser, stop())?);
    }
    if let Some(listener) = others.metrics {
        let door = ControlDoor::new(listener, parts.tls.of(tls::METRICS))?;
        tokio::task::spawn(admin.serve_metrics(door, stop()));
    }
    start_jobs(parts, &admin);
    Ok(first_key)
}

/// What is done beside everything, for as long as the process lives.
fn start_jobs(parts: &Parts<'_>, admin: &Admin) {
    let base = parts.base;
    let replica = super::ledger::replica(base).to_string();
    tokio::task::spawn(admin.clone().prune_audit(replica));
    tokio::task::spawn(admin.clone().record_due());
    let watch = anomaly::Watch::new(&anomaly::WatchParts {
        base,
        store: parts.store,
        live: parts.live,
        tally: &parts.shared.tally,
        audit: parts.audit.as_ref(),
        key: &parts.vault.fingerprint_key,
    });
    tokio::task::spawn(watch.serve());
    tokio::task::spawn(follow_store(parts.store.clone(), Arc::clone(parts.live)));
    tokio::task::spawn(keep_store(
        parts.store.clone(),
        Arc::clone(parts.health),
        Arc::clone(parts.live),
    ));
}

/// Starts what makes receipts, unless none are wanted.
fn start_receipts(parts: &Parts<'_>) -> Option<Arc<Receipts>> {
    let keys = parts.live.receipt_keys.as_ref()?;
    let receipts = Receipts::new(parts.base, parts.store, parts.live, keys);
    let receipts = Arc::new(receipts);
    drop(parts.shared.receipt_keys.set(keys.published()));
    tokio::task::spawn(Arc::clone(&receipts).keep());
    Some(receipts)
}

/// Takes the settings over anew with each signal and each change of a file, where they can be
/// loaded again, and opens files again that somebody moved.
pub(crate) fn keep_settings(
    control: &tokio::runtime::Runtime,
    reloader: &Arc<Reloader>,
    files: Files,
) {
    control.spawn(reopen_on(files.reopen, Arc::clone(reloader)));
    if let Some(hangups) = files.hangups {
        control.spawn(reload_on(hangups, Arc::clone(reloader)));
        control.spawn(reload_on_change(Arc::clone(reloader)));
    }
}

/// Takes the settings over anew with each signal.
async fn reload_on(mut signals: Signal, reloader: Arc<Reloader>) {
    while signals.recv().await.is_some() {
        reopen_files();
        reloader.reopen_audit().await;
        let reloader = Arc::clone(&reloader);
        let reload = tokio::task::spawn_blocking(move || reloader.reload_by(Cause::Signal));
        if reload.await.is_err() {
            tracing::error!("A reload ended before it was done");
        }
    }
}

/// Opens the files that lines are written to again with each signal.
async fn reopen_on(mut signals: Signal, reloader: Arc<Reloader>) {
    while signals.recv().await.is_some() {
        reopen_files();
        reloader.reopen_audit().await;
        tracing::info!("Log files are opened again");
    }
}

/// Takes the settings over anew whenever one of their files has changed.
async fn reload_on_change(reloader: Arc<Reloader>) {
    let mut ticks = tokio::time::interval(watch::LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let reloader = Arc::clone(&reloader);
        // Files may be on disks that take their time.
        let look = tokio::task::spawn_blocking(move || reloader.look());
        if look.await.is_err() {
            tracing::error!("A look at the files of the settings ended before it was done");
        }
    }
}

/// A listening socket of our own user alone.
fn local_socket(path: &Path) -> anyhow::Result<UnixListener> {
    listen_unix(path).with_context(|| format!("cannot listen on {}", path.display()))
}

/// Shows what other replicas change.
async fn follow_store(store: Store, live: Arc<Live>) {
    let keep = || {
        live.overriding.keep();
        live.pricing.apply();
        live.budgeting.apply();
        live.credentials.keep();
    };
    store.follow(keep).await;
}

/// Flushes counts, keeps the time, cleans up; a store that fails makes the process unready.
async fn keep_store(store: Store, health: Arc<Health>, live: Arc<Live>) {
    let mut ticks = tokio::time::interval(FLUSH_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut since_clean = Duration::ZERO;
    loop {
        ticks.tick().await;
        let mut kept = store.flush_usage().await.map(|_| ());
        kept = kept.and(store.keep_time().await);
        kept = kept.and(store.forget_ip_entries().await.map(|_| ()));
        live.overriding.keep();
        live.pricing.apply();
        live.budgeting.apply();
        live.credentials.keep();
        live.auth_dir
            .keep(&live.settings(), &live.credentials)
            .await;
        kept = kept.and(live.credentials.flush().await);
        since_clean += FLUSH_EVERY;
        if since_clean >= live.settings().auth.token_cleanup_interval {
            since_clean = Duration::ZERO;
            kept = kept.and(store.clean().await.map(|_| ()));
        }
        match kept {
            Ok(()) => health.clear(Reason::Store),
            Err(error) => {
                tracing::error!("The store does not take what is due: {error}");
                health.raise(Reason::Store);
            }
        }
    }
}
