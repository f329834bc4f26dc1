//! The keys of identity providers at the front doors: one task for each place they are published
//! at, on the control runtime and through the egress door.

use arc_swap::ArcSwapOption;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::Notify;
use tollkeep_config::settings::{FrontDoor, Jwt, Settings};
use tollkeep_crypto::jwt::{JwtKeys, KeySet};
use tollkeep_net::ProxyFault;
use tollkeep_net::dial::{DialError, Dialer, Endpoint, PoolSettings};
use tollkeep_net::fetch::{self, Bounds, FetchError};
use tollkeep_net::tls::UpstreamTls;
use tollkeep_observe::metrics::Metrics;
use tollkeep_policy::egress::Exceptions;
use tollkeep_types::Clock;

/// A key set is a few kilobytes; who waits for it waits a second.
const BOUNDS: Bounds = Bounds {
    bytes_max: 256 * 1024,
    patience: Duration::from_secs(10),
};

/// The keys at the management listener's front door, exchanged when settings are.
pub(crate) type ManagementKeys = Arc<ArcSwapOption<JwtKeys>>;

/// Every place that keys are fetched from.
pub(crate) struct Jwks {
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    control: tokio::runtime::Handle,
    known: Mutex<Vec<Known>>,
}

/// A place whose keys somebody uses.
struct Known {
    endpoint: Arc<Endpoint>,
    keys: Weak<JwtKeys>,
}

/// The keys of each listener's front door.
#[derive(Default)]
pub(crate) struct DoorKeys {
    /// That of callers.
    pub(crate) data: Option<Arc<JwtKeys>>,
    /// That of operators.
    pub(crate) management: Option<Arc<JwtKeys>>,
}

impl Jwks {
    /// Nothing is fetched yet.
    pub(crate) fn new(
        clock: &Arc<dyn Clock>,
        metrics: &Arc<Metrics>,
        control: &tokio::runtime::Handle,
    ) -> Self {
        Self {
            clock: Arc::clone(clock),
            metrics: Arc::clone(metrics),
            control: control.clone(),
            known: Mutex::default(),
        }
    }

    /// The keys that the settings ask for. Those of a place that is used already are shared, over
    /// a reload too; those that nobody uses any more are forgotten, and their task ends.
    pub(crate) fn of(
        &self,
        settings: &Settings,
        dialer: &Dialer,
        tls: &Arc<UpstreamTls>,
    ) -> DoorKeys {
        let keys_of = |door: &Option<FrontDoor>| {
            let jwt = door.as_ref()?.jwt.as_ref()?;
            Some(self.keys_of(endpoint(jwt, dialer, tls)))
        };
        DoorKeys {
            data: keys_of(&settings.server.front_door),
            management: keys_of(&settings.management.front_door),
        }
    }

    fn keys_of(&self, endpoint: Endpoint) -> Arc<JwtKeys> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|known| known.keys.strong_count() > 0);
        let mut same = known
            .iter()
            .filter(|known| known.endpoint.leads_where(&endpoint));
        if let Some(keys) = same.find_map(|known| known.keys.upgrade()) {
            return keys;
        }
        let endpoint = Arc::new(endpoint);
        let keys = self.keep(&endpoint);
        known.push(Known {
            endpoint,
            keys: Arc::downgrade(&keys),
        });
        keys
    }

    fn keep(&self, endpoint: &Arc<Endpoint>) -> Arc<JwtKeys> {
        let wake = Arc::new(Notify::new());
        let woken = Arc::clone(&wake);
        let keys = Arc::new(JwtKeys::new(move || wake.notify_one()));
        let place = Place {
            endpoint: Arc::clone(endpoint),
            clock: Arc::clone(&self.clock),
            metrics: Arc::clone(&self.metrics),
        };
        self.control
            .spawn(place.keep_fresh(Arc::downgrade(&keys), woken));
        keys
    }
}

fn endpoint(jwt: &Jwt, dialer: &Dialer, tls: &Arc<UpstreamTls>) -> Endpoint {
    let url = jwt.jwks_url.clone();
    Endpoint {
        dialer: dialer.clone(),
        // It is never pooled.
        id: 0,
        tls: url.scheme().is_tls().then(|| Arc::clone(tls)),
        url,
        exceptions: Exceptions {
            allow_private: jwt.allow_private.clone(),
            allow_metadata: false,
        },
        pool: PoolSettings {
            idle_per_host_max: 0,
            idle: Duration::ZERO,
            connections_max: 1,
            by_owner: false,
        },
    }
}

/// Where one provider publishes its keys.
struct Place {
    endpoint: Arc<Endpoint>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

impl Place {
    /// Fetches whenever it is due, for as long as somebody uses the keys.
    async fn keep_fresh(self, keys: Weak<JwtKeys>, woken: Arc<Notify>) {
        while let Some(used) = keys.upgrade() {
            let due = used.due(self.clock.mono());
            if !due.is_zero() {
                drop(used);
                tokio::select! { () = tokio::time::sleep(due) => {}, () = woken.notified() => {} }
                continue;
            }
            used.begin(self.clock.mono());
            let fetched = self.fetch().await;
            used.end(fetched, self.clock.mono());
        }
    }

    async fn fetch(&self) -> Option<KeySet> {
        let place = self.endpoint.url.authority();
        let body = match fetch::get(&self.endpoint, BOUNDS).await {
            Ok(body) => body,
            Err(error) => {
                if let FetchError::Dial(
                    DialError::Refused(refused) | DialError::Proxy(ProxyFault::Refused(refused)),
                ) = &error
                {
                    self.metrics.egress_refused(refused.reason().label());
                }
                tracing::warn!(
                    "The keys of the front door can't be fetched from `{place}`: {error}"
                );
                return None;
            }
        };
        match KeySet::read(&body) {
            Ok(keys) => Some(keys),
            Err(fault) => {
                tracing::warn!("`{place}` has no keys for the front door: {fault}");
                None
            }
        }
    }
}
