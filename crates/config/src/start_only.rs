//! Keys that are read when the process starts and never again: what they decide can't be
//! exchanged under running requests, or is whom the records are trusted by.

use crate::settings::Settings;
use crate::tree::KeyPath;
use std::net::SocketAddr;
use tollkeep_types::Secret;

type Same = fn(&Settings, &Settings) -> bool;

/// Each key, and whether two settings agree in it.
const START_ONLY: &[(&str, Same)] = &[
    ("environment", |a, b| a.environment == b.environment),
    ("data_dir", |a, b| a.data_dir == b.data_dir),
    ("server.host", |a, b| {
        one_address(a)
            .zip(one_address(b))
            .is_none_or(|(a, b)| a.ip() == b.ip())
    }),
    ("server.port", |a, b| {
        one_address(a)
            .zip(one_address(b))
            .is_none_or(|(a, b)| a.port() == b.port())
    }),
    ("server.listen", |a, b| {
        let several = a.server.listen_written || b.server.listen_written;
        !several || a.server.listen == b.server.listen
    }),
    ("server.workers", |a, b| {
        a.server.workers == b.server.workers
    }),
    // The counters, and who shares them.
    ("server.replicas", |a, b| {
        a.server.replicas == b.server.replicas
    }),
    ("counters.keys_max", |a, b| a.counters == b.counters),
    ("redis.url", |a, b| {
        let server =
            |settings: &Settings| settings.redis.as_ref().map(|redis| redis.server.clone());
        match (server(a), server(b)) {
            (Some(a), Some(b)) => a.is_same(&b),
            (a, b) => a.is_none() == b.is_none(),
        }
    }),
    ("redis.prefix", |a, b| {
        let prefix =
            |settings: &Settings| settings.redis.as_ref().map(|redis| redis.prefix.clone());
        prefix(a) == prefix(b)
    }),
    ("redis.timeout_ms", |a, b| {
        let timeout = |settings: &Settings| settings.redis.as_ref().map(|redis| redis.timeout);
        timeout(a) == timeout(b)
    }),
    ("server.backlog", |a, b| {
        a.server.backlog == b.server.backlog
    }),
    ("server.tls.enabled", |a, b| {
        a.server.tls.is_some() == b.server.tls.is_some()
    }),
    ("management.tls.enabled", |a, b| {
        a.management.tls.is_some() == b.management.tls.is_some()
    }),
    ("metrics.tls.enabled", |a, b| {
        a.metrics.tls.is_some() == b.metrics.tls.is_some()
    }),
    ("server.http2", |a, b| a.server.http2 == b.server.http2),
    ("management.listen", |a, b| {
        a.management.listen == b.management.listen
    }),
    ("management.local_socket", |a, b| {
        a.management.local_socket == b.management.local_socket
    }),
    ("metrics.enabled", |a, b| {
        a.metrics.enabled == b.metrics.enabled
    }),
    ("metrics.host", |a, b| {
        a.metrics.addr.ip() == b.metrics.addr.ip()
    }),
    ("metrics.port", |a, b| {
        a.metrics.addr.port() == b.metrics.addr.port()
    }),
    ("metrics.seed_names", |a, b| {
        a.metrics.seed_names == b.metrics.seed_names
    }),
    ("metrics.compat_ip_label", |a, b| {
        a.metrics.compat_ip_label == b.metrics.compat_ip_label
    }),
    // The writers of logs and records hide what begins with these.
    ("auth.token_prefix", |a, b| {
        a.auth.token_prefix == b.auth.token_prefix
    }),
    ("auth.management_prefix", |a, b| {
        a.auth.management_prefix == b.auth.management_prefix
    }),
    ("auth.encryption.key", |a, b| {
        let text = |settings: &Settings| {
            let key = settings.auth.encryption_key.as_ref();
            key.map(Secret::expose).map(str::to_owned)
        };
        text(a) == text(b)
    }),
    ("vault.keks", |a, b| a.vault.keks == b.vault.keks),
    ("store.path", |a, b| a.store.path == b.store.path),
    ("store.driver", |a, b| {
        a.store.postgres.is_some() == b.store.postgres.is_some()
    }),
    ("store.url", |a, b| {
        a.store.is_same_login(&b.store, |server| Some(&server.app))
    }),
    ("store.jobs_url", |a, b| {
        a.store.is_same_login(&b.store, |server| Some(&server.jobs))
    }),
    ("store.owner_url", |a, b| {
        a.store
            .is_same_login(&b.store, |server| server.owner.as_ref())
    }),
    ("store.pool_size", |a, b| a.store.pool() == b.store.pool()),
    ("store.conn_max_lifetime", |a, b| {
        a.store.pool() == b.store.pool()
    }),
    ("store.migrate", |a, b| a.store.migrate == b.store.migrate),
    ("store.busy_timeout", |a, b| {
        a.store.busy_timeout == b.store.busy_timeout
    }),
    // The audit log is one chain, written by one writer under one set of rules.
    ("ledger.flush_ms", |a, b| {
        a.ledger.flush_ms == b.ledger.flush_ms
    }),
    ("audit.enabled", |a, b| a.audit.enabled == b.audit.enabled),
    ("audit.file", |a, b| a.audit.file == b.audit.file),
    ("audit.store_in_db", |a, b| {
        a.audit.store_in_db == b.audit.store_in_db
    }),
    ("audit.retention", |a, b| {
        a.audit.retention == b.audit.retention
    }),
    ("audit.hold", |a, b| a.audit.hold == b.audit.hold),
    ("audit.require", |a, b| a.audit.require == b.audit.require),
    ("audit.create_dir", |a, b| {
        a.audit.create_dir == b.audit.create_dir
    }),
    ("audit.mode", |a, b| a.audit.mode == b.audit.mode),
    ("audit.mask_ip", |a, b| a.audit.mask_ip == b.audit.mask_ip),
    ("audit.unknown_token_mask", |a, b| {
        a.audit.unknown_token_mask == b.audit.unknown_token_mask
    }),
    ("audit.user_agent", |a, b| {
        a.audit.user_agent == b.audit.user_agent
    }),
    ("audit.deadline", |a, b| {
        a.audit.deadline == b.audit.deadline
    }),
    ("audit.access_on_failure", |a, b| {
        a.audit.access_on_failure == b.audit.access_on_failure
    }),
    ("audit.access_success", |a, b| {
        a.audit.access_success == b.audit.access_success
    }),
    ("audit.proxy_request", |a, b| {
        a.audit.proxy_request == b.audit.proxy_request
    }),
    ("audit.queue", |a, b| a.audit.queue == b.audit.queue),
    ("audit.format", |a, b| a.audit.format == b.audit.format),
    ("audit.events", |a, b| a.audit.events == b.audit.events),
    ("audit.user_id", |a, b| a.audit.user_id == b.audit.user_id),
    ("audit.cliproxy_millis", |a, b| {
        a.audit.cliproxy_millis == b.audit.cliproxy_millis
    }),
    ("audit.checkpoint_every.events", |a, b| {
        a.audit.checkpoint_every.events == b.audit.checkpoint_every.events
    }),
    ("audit.checkpoint_every.interval", |a, b| {
        a.audit.checkpoint_every.interval == b.audit.checkpoint_every.interval
    }),
    ("audit.rotate", |a, b| a.audit.rotate == b.audit.rotate),
    ("audit.anchor", |a, b| a.audit.anchor == b.audit.anchor),
    ("audit.sinks", |a, b| a.audit.sinks == b.audit.sinks),
    ("logging.format", |a, b| {
        a.logging.format == b.logging.format
    }),
    ("logging.output", |a, b| {
        a.logging.output == b.logging.output
    }),
    ("logging.rotation", |a, b| {
        a.logging.rotation == b.logging.rotation
    }),
    ("logging.access", |a, b| {
        a.logging.access == b.logging.access
    }),
    ("logging.style", |a, b| a.logging.style == b.logging.style),
    // Which goods were had for money must not change under a payment.
    ("payments.sandbox", |a, b| {
        a.payments.sandbox == b.payments.sandbox
    }),
    ("sandbox.upstream", |a, b| {
        a.sandbox.upstream == b.sandbox.upstream
    }),
];

/// The one address of the data plane, if it was written as one.
fn one_address(settings: &Settings) -> Option<SocketAddr> {
    let listen = settings.server.listen.first()?;
    (!settings.server.listen_written).then_some(listen.addr)
}

/// Whether a key is read at start only.
pub(crate) fn is_start_only(path: &KeyPath) -> bool {
    let path = path.to_string();
    START_ONLY.iter().any(|(key, _)| *key == path)
}

impl Settings {
    /// The keys read at start only in which `new` differs (EDGE-136).
    pub fn start_only_changes(&self, new: &Self) -> impl Iterator<Item = &'static str> {
        let changed = START_ONLY.iter().filter(|(_, same)| !same(self, new));
        changed.map(|(key, _)| *key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;

    #[test]
    fn every_key_of_the_list_is_there() {
        let catalog = Catalog::new();
        for (key, _) in START_ONLY {
            let mut lines = catalog.lines.iter();
            let found = lines.find(|line| line.path().to_string() == *key);
            assert!(found.is_some(), "{key} is no key");
        }
    }
}
