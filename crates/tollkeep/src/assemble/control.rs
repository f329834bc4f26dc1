//! The control plane: management and metrics listeners, the local socket, the sandbox, and the
//! jobs that run beside the requests.

use super::vault::{PEPPER_ID, Vault};
use super::{Base, Others, VERSION};
use crate::exit::{self, Failed};
use anyhow::Context;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tollkeep_admin::{Admin, AdminParts, Scheme};
use tollkeep_audit::Logger;
use tollkeep_config::settings::{Environment, ManagementListen, ProviderKind, Settings};
use tollkeep_net::control::listen_unix;
use tollkeep_net::listen;
use tollkeep_observe::health::{Health, Reason};
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
    /// Told when the control plane must end.
    pub(crate) stop: &'a Arc<Notify>,
}

/// Starts the sandbox upstream if a provider is of its kind, and points that provider at it.
///
/// # Errors
/// It can't listen; it is switched on in production.
pub(crate) fn start_sandbox(
    settings: &mut Settings,
    control: &tokio::runtime::Runtime,
) -> anyhow::Result<Option<SocketAddr>> {
    let wanted = settings
        .providers
        .iter()
        .any(|provider| provider.kind == ProviderKind::Sandbox && provider.enabled);
    if !wanted {
        return Ok(None);
    }
    if settings.environment == Environment::Production || !super::is_local(settings.server.host) {
        let why = "the sandbox upstream is refused in production and on a public listener";
        return Err(Failed::new(exit::INVALID, why).into());
    }
    let listener = listen::bind_one(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0), 1024)?;
    let addr = listener.local_addr()?;
    let url = format!("http://{addr}/v1");
    for provider in settings
        .providers
        .iter_mut()
        .filter(|provider| provider.kind == ProviderKind::Sandbox)
    {
        provider.base_url = parse_url(&url, Purpose::Provider, Giver::Operator)?;
        provider.allow_private = vec![ipnet::IpNet::from(addr.ip())];
        // Its models are known, so that they can be listed.
        if provider.models == ["*"] {
            provider.models = tollkeep_sandbox::models().map(str::to_owned).collect();
        }
    }
    control.spawn(async move {
        if let Err(error) = tollkeep_sandbox::serve(listener, std::future::pending()).await {
            tracing::error!("the sandbox upstream ended: {error}");
        }
    });
    Ok(Some(addr))
}

/// Starts management, metrics and the jobs. Gives the management key that had to be made.
///
/// # Errors
/// The store fails, or a socket can't be opened.
pub(crate) async fn start(parts: &Parts<'_>, others: Others) -> anyhow::Result<Option<Secret>> {
    let base = parts.base;
    let admin = Admin::new(AdminParts {
        store: parts.store.clone(),
        hasher: Arc::clone(&parts.vault.hasher),
        pepper_id: PEPPER_ID,
        fingerprint_key: parts.vault.fingerprint_key,
        settings: Arc::clone(&base.settings),
        clock: Arc::clone(&base.clock),
        entropy: Arc::clone(&base.entropy),
        audit: parts.audit.clone(),
        metrics: Arc::clone(&base.metrics),
        health: Arc::clone(parts.health),
        version: VERSION,
        listeners: others.own.clone(),
    });
    let first_key = admin.ensure_management_key().await?;
    let stop = || {
        let stop = Arc::clone(parts.stop);
        async move { stop.notified().await }
    };
    if let Some(listener) = others.management {
        tokio::task::spawn(admin.serve_tcp(listener, stop())?);
    }
    if let ManagementListen::Unix(path) = &base.settings.management.listen {
        tokio::task::spawn(admin.serve_unix(local_socket(path)?, Scheme::Keyed, stop())?);
    }
    if base.settings.management.local_socket {
        let path = base.settings.data_dir.join("tollkeep.sock");
        tokio::task::spawn(admin.serve_unix(local_socket(&path)?, Scheme::PeerUser, stop())?);
    }
    if let Some(listener) = others.metrics {
        tokio::task::spawn(admin.serve_metrics(listener, stop())?);
    }
    tokio::task::spawn(keep_store(
        parts.store.clone(),
        Arc::clone(parts.health),
        base.settings.auth.token_cleanup_interval,
    ));
    Ok(first_key)
}

/// A listening socket of our own user alone.
fn local_socket(path: &Path) -> anyhow::Result<UnixListener> {
    listen_unix(path).with_context(|| format!("cannot listen on {}", path.display()))
}

/// Flushes counts, keeps the time, cleans up; a store that fails makes the process unready.
async fn keep_store(store: Store, health: Arc<Health>, clean_every: Duration) {
    let mut ticks = tokio::time::interval(FLUSH_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut since_clean = Duration::ZERO;
    loop {
        ticks.tick().await;
        let mut kept = store.flush_usage().await.map(|_| ());
        kept = kept.and(store.keep_time().await);
        since_clean += FLUSH_EVERY;
        if since_clean >= clean_every {
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
