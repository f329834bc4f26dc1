//! Limits that replicas share: the link to Redis, where the settings name one.

use super::Base;
use crate::exit::{self, Failed};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tollkeep_audit::{Action, Actor, Event, Logger, Outcome};
use tollkeep_config::settings::{KekUse, Redis, ResolverMode};
use tollkeep_crypto::{hmac_sha256, key_text};
use tollkeep_gateway::{Asks, CounterNaming, Keeper, KeeperParts, OnChange, Shared, SharedLimits};
use tollkeep_net::redis::RedisTarget;
use tollkeep_net::resolve::{Names, ResolverSettings};
use tollkeep_net::tls::Trust;

/// What the key of counters' names is made for.
const NAMES_OF: &[u8] = b"tollkeep names of shared counters";

/// Limits that are to be shared, and what their keeper will be asked.
pub(crate) struct Link<'a> {
    /// The limits.
    pub(crate) limits: Arc<SharedLimits>,
    asks: Asks,
    base: &'a Base,
    redis: &'a Redis,
}

impl<'a> Link<'a> {
    /// The limits to share; `None` where this replica counts for itself.
    pub(crate) fn new(base: &'a Base) -> Option<Self> {
        let settings = &base.settings;
        let redis = settings.redis.as_ref()?;
        let (limits, asks) = SharedLimits::new(
            Arc::clone(&base.clock),
            settings.server.replicas,
            settings.counters.keys_max,
            redis.timeout,
        );
        Some(Self {
            limits,
            asks,
            base,
            redis,
        })
    }

    /// Starts the keeper of the connection, which has tried once to reach Redis when this returns.
    ///
    /// # Errors
    /// No resolver, no TLS roots. A Redis that is away is none.
    pub(crate) fn keep(
        self,
        shared: &Arc<Shared>,
        audit: Option<Arc<Logger>>,
        control: &tokio::runtime::Runtime,
    ) -> anyhow::Result<()> {
        let (base, redis) = (self.base, self.redis);
        let parts = KeeperParts {
            limits: self.limits,
            asks: self.asks,
            shared: Arc::clone(shared),
            target: target(base, redis)?,
            names: names(base, control)?,
            naming: CounterNaming {
                prefix: redis.prefix.clone(),
                key: naming_key(base, redis)?,
            },
            wait: redis.timeout,
            on_change: on_change(base, audit),
        };
        let keeper = control.block_on(Keeper::start(parts));
        control.spawn(keeper.serve());
        Ok(())
    }
}

fn invalid(problem: &impl ToString) -> Failed {
    Failed::new(exit::INVALID, problem.to_string())
}

pub(super) fn target(base: &Base, redis: &Redis) -> anyhow::Result<RedisTarget> {
    let (server, egress) = (&redis.server, &base.settings.egress);
    let tls = server
        .tls
        .then(|| Trust::load(egress.roots, egress.ca_file.as_deref(), None)?.client());
    Ok(RedisTarget {
        host: server.host.clone(),
        port: server.port,
        tls: tls.transpose().map_err(|error| invalid(&error))?,
        database: server.database,
        username: server.username.clone(),
        password: server.password.clone(),
    })
}

pub(super) fn names(base: &Base, control: &tokio::runtime::Runtime) -> anyhow::Result<Names> {
    let resolver = &base.settings.egress.resolver;
    let settings = ResolverSettings {
        servers: match &resolver.mode {
            ResolverMode::System => Vec::new(),
            ResolverMode::Servers(servers) => servers.clone(),
        },
        timeout: resolver.timeout,
        attempts: resolver.attempts,
    };
    let clock = Arc::clone(&base.clock);
    let names = control.block_on(async { Names::start(&settings, clock, control.handle()) });
    Ok(names.map_err(|problem| invalid(&problem))?)
}

/// The key under which counters are named. It has to be the same for all replicas, so that it comes
/// from the encryption key they have from outside, if there is one.
fn naming_key(base: &Base, redis: &Redis) -> anyhow::Result<[u8; 32]> {
    let settings = &base.settings;
    let mut others = settings.vault.keks.iter();
    let active = others.find(|kek| kek.state == KekUse::Active);
    let active = active.and_then(|kek| kek.key.as_ref());
    let Some(text) = settings.auth.encryption_key.as_ref().or(active) else {
        tracing::warn!(
            "No encryption key from outside: whoever reads Redis can tell which addresses its \
             counters are for"
        );
        return Ok(hmac_sha256(redis.prefix.as_bytes(), NAMES_OF));
    };
    let key = key_text::parse(text.expose()).map_err(|error| invalid(&error))?;
    Ok(hmac_sha256(&*key.bytes, NAMES_OF))
}

fn on_change(base: &Base, audit: Option<Arc<Logger>>) -> OnChange {
    let (metrics, clock) = (Arc::clone(&base.metrics), Arc::clone(&base.clock));
    let replicas = base.settings.server.replicas;
    let was_alone = AtomicBool::new(false);
    Box::new(move |failure| {
        metrics.counters_shared(failure.is_none());
        let action = match failure {
            None if was_alone.swap(false, Ordering::Relaxed) => {
                tracing::info!("Rate limits are counted together with other replicas again");
                Action::SystemRecovered
            }
            None => return tracing::info!("Rate limits are counted together with other replicas"),
            Some(failure) => {
                was_alone.store(true, Ordering::Relaxed);
                tracing::warn!(
                    "Redis does not count ({failure}): this replica goes on alone with 1/{replicas} of \
                     each rate limit"
                );
                Action::SystemDegraded
            }
        };
        let Some(audit) = &audit else { return };
        let event = Event::new(action, Actor::System, Outcome::Success)
            .at(clock.wall())
            .with_reason("counters");
        if let Err(error) = audit.enqueue(&event) {
            tracing::error!("cannot record that counting changed: {error}");
        }
    })
}
