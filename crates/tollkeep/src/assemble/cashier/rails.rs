//! The facilitators of the settings, and what they take.

use super::super::egress::Door;
use super::Cashier;
use super::back::Health;
use http::{HeaderName, HeaderValue};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tollkeep_config::settings::{
    Facilitator as FacilitatorSettings, FacilitatorAt, Settings, X402,
};
use tollkeep_net::dial::{Endpoint, PoolSettings};
use tollkeep_payments::evm::Address;
use tollkeep_payments::x402::{Network, Offer, PlayChain, Scheme, Supported, Version};
use tollkeep_policy::egress::{EgressUrl, Exceptions};
use tollkeep_rails::{Facilitator, FacilitatorParts, Node, Place, Timeouts};
use tollkeep_types::{Clock, MonoNanos};

/// How often a facilitator is asked what it takes.
const ASK_EVERY_NS: u64 = 600_000_000_000;
/// The same, of one that has not said it yet.
const ASK_AGAIN_NS: u64 = 5_000_000_000;
/// How often it is looked whether the settings are others.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A facilitator, and what it said it takes.
pub(super) struct Known {
    pub(super) facilitator: Facilitator,
    supported: Mutex<Option<Arc<Supported>>>,
    next: Mutex<Option<MonoNanos>>,
    pub(super) health: Health,
}

/// The facilitators of some settings.
pub(super) struct Rails {
    pub(super) settings: Arc<Settings>,
    all: Vec<Arc<Known>>,
    nodes: Vec<(Network, Arc<Node>)>,
    has_door: bool,
    /// What the sandbox has taken, whatever the settings are by now.
    play: Arc<Mutex<PlayChain>>,
}

impl Rails {
    /// None, before there is a way out.
    pub(super) fn none(settings: Arc<Settings>) -> Self {
        Self {
            settings,
            all: Vec::new(),
            nodes: Vec::new(),
            has_door: false,
            play: Arc::default(),
        }
    }

    /// Those of the settings. What one said at the same place before stands until it says something
    /// else: its offers are made all the while.
    fn new(settings: &Arc<Settings>, before: &Self, door: &Door, clock: &Arc<dyn Clock>) -> Self {
        let x402 = &settings.payments.x402;
        let all = x402.facilitators.iter().map(|of| {
            let place = match &of.at {
                FacilitatorAt::Url(url) => Place::Remote(endpoint(url.clone(), x402, door)),
                FacilitatorAt::Sandbox => Place::Play(Arc::clone(&before.play)),
            };
            let facilitator = Facilitator::new(parts(of, place, clock));
            Arc::new(Known {
                facilitator,
                supported: Mutex::new(before.said(of)),
                next: Mutex::default(),
                health: Health::default(),
            })
        });
        let nodes = x402.rpc.iter().map(|(network, url)| {
            let node = Node::new(endpoint(url.clone(), x402, door));
            (network.clone(), Arc::new(node))
        });
        Self {
            settings: Arc::clone(settings),
            all: all.collect(),
            nodes: nodes.collect(),
            has_door: true,
            play: Arc::clone(&before.play),
        }
    }

    /// What a facilitator at this place said.
    fn said(&self, of: &FacilitatorSettings) -> Option<Arc<Supported>> {
        let mut known = self.settings.payments.x402.facilitators.iter();
        known.find(|known| known.name == of.name && known.at == of.at)?;
        let known = self.named(&of.name)?;
        let supported = known.supported.lock();
        supported.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether there is nobody who could be asked.
    pub(super) const fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether somebody takes such an offer, in whatever version. One that is settled for less is
    /// made out to whoever may do that.
    pub(super) fn readies(&self, offer: &mut Offer, by: &[Box<str>]) -> bool {
        if offer.scheme == Scheme::Upto {
            let mut of_network = self.of_network(offer.network(), by);
            let account = of_network.find_map(|known| known.account(offer.network()));
            drop(of_network);
            offer.facilitator = account;
            return account.is_some();
        }
        let mut of_network = self.of_network(offer.network(), by);
        of_network.any(|known| {
            let versions = [Version::Two, Version::One];
            versions
                .into_iter()
                .any(|version| known.takes(offer, version))
        })
    }

    /// The facilitator of that name.
    pub(super) fn named(&self, name: &str) -> Option<Arc<Known>> {
        let mut all = self.all.iter();
        all.find(|known| known.facilitator.name() == name)
            .map(Arc::clone)
    }

    /// All of them, with what is known of them.
    pub(super) fn known(&self) -> impl Iterator<Item = &Arc<Known>> {
        self.all.iter()
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = &Facilitator> {
        self.all.iter().map(|known| &known.facilitator)
    }

    /// Whether chains are asked what became of payments.
    pub(super) const fn reads_chains(&self) -> bool {
        !self.nodes.is_empty()
    }

    /// The node that reads this network, by its CAIP-2 name.
    pub(super) fn node(&self, network: &str) -> Option<Arc<Node>> {
        let network = Network::from_caip2(network)?;
        let mut nodes = self.nodes.iter();
        let found = nodes.find(|(known, _)| *known == network);
        found.map(|(_, node)| Arc::clone(node))
    }

    /// Those that take a proof for this offer, best first; of these names alone, where there are some.
    pub(super) fn taking(
        &self,
        offer: &Offer,
        version: Version,
        by: &[Box<str>],
    ) -> Vec<Arc<Known>> {
        let of_network = self.of_network(offer.network(), by);
        let taking = of_network.filter(|known| known.takes(offer, version));
        taking.collect()
    }

    fn of_network(&self, network: &Network, by: &[Box<str>]) -> impl Iterator<Item = Arc<Known>> {
        let wanted: Vec<_> = if by.is_empty() {
            let wanted = self.settings.payments.x402.facilitators_of(network);
            wanted.into_iter().map(|of| self.named(&of.name)).collect()
        } else {
            by.iter().map(|name| self.named(name)).collect()
        };
        wanted.into_iter().flatten()
    }
}

impl Known {
    fn takes(&self, offer: &Offer, version: Version) -> bool {
        let supported = self.supported.lock();
        let supported = supported.unwrap_or_else(PoisonError::into_inner);
        let supported = supported.as_ref();
        supported.is_some_and(|it| {
            let is_named = offer.scheme == Scheme::Exact
                || it.facilitator(offer.network()) == offer.facilitator;
            let is_listed = it.lists(version, offer.scheme, offer.network());
            offer.fits(version) && is_listed && is_named
        })
    }

    /// The account by which it settles less than was signed.
    fn account(&self, network: &Network) -> Option<Address> {
        let supported = self.supported.lock();
        let supported = supported.unwrap_or_else(PoisonError::into_inner);
        supported.as_ref()?.facilitator(network)
    }

    fn is_due(&self, now: MonoNanos) -> bool {
        let next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        next.is_none_or(|next| now >= next)
    }

    /// Asks what it takes. What it said stands until it says something else.
    async fn ask(&self, settings: &Settings, clock: &dyn Clock) {
        let said = self.facilitator.supported(&settings.networks).await;
        let is_known = said.is_some();
        let name = self.facilitator.name();
        let mut supported = self
            .supported
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match said {
            Some(said) if supported.as_deref() != Some(&said) => {
                tracing::info!("Facilitator `{name}` says what it takes");
                *supported = Some(Arc::new(said));
            }
            Some(_) => {}
            None => tracing::warn!("Facilitator `{name}` does not say what it takes"),
        }
        let pause = if is_known { ASK_EVERY_NS } else { ASK_AGAIN_NS };
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        *next = Some(MonoNanos(clock.mono().0.saturating_add(pause)));
    }
}

impl Cashier {
    /// Follows the settings, and asks facilitators what they take.
    pub(super) async fn keep_rails(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let rails = self.follow_settings();
            let now = self.clock.mono();
            let due = rails.all.iter().filter(|known| known.is_due(now));
            let mut asked = tokio::task::JoinSet::new();
            for known in due.map(Arc::clone) {
                let (rails, clock) = (Arc::clone(&rails), Arc::clone(&self.clock));
                asked.spawn(async move { known.ask(&rails.settings, clock.as_ref()).await });
            }
            while asked.join_next().await.is_some() {}
        }
    }

    fn follow_settings(&self) -> Arc<Rails> {
        let settings = self.reloader.settings();
        let rails = self.rails.load_full();
        if rails.has_door && Arc::ptr_eq(&rails.settings, &settings) {
            return rails;
        }
        let Some(door) = self.reloader.door() else {
            return rails;
        };
        let next = Rails::new(&settings, &rails, &door, &self.clock);
        self.rails.store(Arc::new(next));
        self.rails.load_full()
    }
}

fn parts(of: &FacilitatorSettings, place: Place, clock: &Arc<dyn Clock>) -> FacilitatorParts {
    let fields = of.headers.iter().filter_map(|(name, value)| {
        let name = HeaderName::try_from(name.as_str()).ok()?;
        Some((name, HeaderValue::try_from(value.expose()).ok()?))
    });
    FacilitatorParts {
        name: of.name.clone(),
        place,
        fields: fields.collect(),
        timeouts: Timeouts {
            connect: of.timeouts.connect,
            verify: of.timeouts.verify,
            settle: of.timeouts.settle,
        },
        clock: Arc::clone(clock),
    }
}

pub(super) fn endpoint(url: EgressUrl, x402: &X402, door: &Door) -> Endpoint {
    Endpoint {
        dialer: door.dialer.clone(),
        // It is never pooled.
        id: 0,
        tls: url.scheme().is_tls().then(|| Arc::clone(&door.tls.of_all)),
        url,
        exceptions: Exceptions {
            allow_private: x402.allow_private.clone(),
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
