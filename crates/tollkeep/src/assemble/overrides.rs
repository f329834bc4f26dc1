//! What the store keeps besides the settings, brought into force: entries of address lists, and
//! maintenance.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tollkeep_gateway::{MaintenanceOverride, Overrides, Shared};
use tollkeep_policy::ip_list::{AddedIps, IpSet};
use tollkeep_store::{IpEntry, IpListName, MaintenanceOn, Store};
use tollkeep_types::WallMillis;

/// The overrides of a running gateway.
pub(crate) struct Overriding {
    store: Store,
    shared: Arc<Shared>,
    /// What is in force; whoever changes it holds the lock, so that the last change wins.
    applied: Mutex<Applied>,
}

/// What was taken from the store as last.
struct Applied {
    entries: Arc<Vec<IpEntry>>,
    maintenance: Option<Arc<MaintenanceOn>>,
    /// When the first of the entries ends.
    until: Option<WallMillis>,
}

impl Overriding {
    /// The gateway of `shared`, with what the store keeps for it in force.
    pub(crate) fn new(store: Store, shared: Arc<Shared>) -> Self {
        let nothing = Applied {
            entries: Arc::default(),
            maintenance: None,
            until: None,
        };
        let overriding = Self {
            store,
            shared,
            applied: Mutex::new(nothing),
        };
        overriding.apply();
        overriding
    }

    /// Brings in what the store has now.
    pub(crate) fn apply(&self) {
        let mut applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.store.now();
        let (entries, maintenance) = (self.store.ip_entries(), self.store.maintenance());
        let overrides = overrides(&entries, maintenance.as_deref(), now);
        let ends = entries.iter().filter_map(|entry| entry.expires_at);
        let until = ends.filter(|end| *end > now).min();
        self.shared.set_overrides(overrides);
        *applied = Applied {
            entries,
            maintenance,
            until,
        };
    }

    /// Lets go of entries whose time is over, and brings in what an operator changed who did not
    /// wait for the answer.
    pub(crate) fn keep(&self) {
        let applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.store.now();
        let is_stale = applied.until.is_some_and(|until| until <= now)
            || !Arc::ptr_eq(&applied.entries, &self.store.ip_entries())
            || !is_same(
                applied.maintenance.as_ref(),
                self.store.maintenance().as_ref(),
            );
        drop(applied);
        if is_stale {
            self.apply();
        }
    }
}

fn is_same<T>(one: Option<&Arc<T>>, other: Option<&Arc<T>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// What the store keeps besides the settings.
pub(super) fn stored_overrides(store: &Store) -> Overrides {
    overrides(
        &store.ip_entries(),
        store.maintenance().as_deref(),
        store.now(),
    )
}

fn overrides(
    entries: &[IpEntry],
    maintenance: Option<&MaintenanceOn>,
    now: WallMillis,
) -> Overrides {
    let of = |list: IpListName| {
        let holding = entries
            .iter()
            .filter(|entry| entry.list == list && entry.holds(now));
        IpSet::new(holding.map(|entry| entry.net))
    };
    Overrides {
        ips: AddedIps {
            deny: of(IpListName::Deny),
            allow: of(IpListName::Allow),
        },
        maintenance: maintenance.map(|on| MaintenanceOverride {
            message: on.message.clone(),
            retry_after: on.retry_after_s.map(Duration::from_secs),
        }),
    }
}
