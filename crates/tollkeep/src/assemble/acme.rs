//! Certificates are ordered before they are needed: one look a second at those that the settings
//! want, one order at a time, and by one process of those that share a folder or a store.

use super::Base;
use super::ordered::{self, Standing, Wanted};
use super::reload::Reloader;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tollkeep_audit::{Action, Actor, Event, Key, Logger, Outcome, Value};
use tollkeep_net::acme::{Challenges, Order, OrderError, Place, State, Turn, obtain, suggested};
use tollkeep_observe::health::{Health, Reason};
use tollkeep_observe::metrics::Metrics;
use tollkeep_policy::acme::Due;
use tollkeep_policy::egress::Exceptions;
use tollkeep_store::Store;
use tollkeep_types::{Clock, Entropy, WallMillis};

/// How often is looked.
const LOOK: Duration = Duration::from_secs(1);
/// How long the lease of an order holds, and so keeps others from it when its holder was killed.
const LEASE: Duration = Duration::from_secs(15);
/// How often it is taken for longer.
const LEASE_RENEWED: Duration = Duration::from_secs(5);

/// Orders certificates for as long as the process runs.
pub(crate) struct Orders {
    reloader: Arc<Reloader>,
    store: Store,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    audit: Option<Arc<Logger>>,
    challenges: Arc<Challenges>,
    /// Stands for this process in leases.
    holder: String,
    /// What became of orders where the folder did not take it.
    unkept: BTreeMap<String, State>,
    /// Certificates that were told to be missing.
    told: BTreeSet<String>,
}

/// Why there is no new certificate this time.
enum NotOrdered {
    /// Another process is at it, or has just done it.
    NotOurs,
    /// It failed.
    Failed(String),
}

impl From<io::Error> for NotOrdered {
    fn from(error: io::Error) -> Self {
        Self::Failed(format!("the folder can't be used: {error}"))
    }
}

/// Answers the challenges that stand in the folders, whichever process ordered.
async fn answer(reloader: Arc<Reloader>, challenges: Arc<Challenges>, clock: Arc<dyn Clock>) {
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let settings = reloader.settings();
        let (challenges, clock) = (Arc::clone(&challenges), Arc::clone(&clock));
        let look = tokio::task::spawn_blocking(move || {
            look_for_challenges(&Wanted::all(&settings), &challenges, clock.wall());
        });
        if look.await.is_err() {
            tracing::error!("A look at open challenges ended before it was done");
        }
    }
}

fn look_for_challenges(all: &[Wanted], challenges: &Challenges, now: WallMillis) {
    if all.is_empty() && !challenges.any() {
        return;
    }
    let folders: BTreeMap<_, _> = all
        .iter()
        .map(|wanted| (wanted.cache.folder(), &wanted.cache))
        .collect();
    let open = folders.values().flat_map(|cache| cache.open(now));
    challenges.replace(open.collect());
}

impl Orders {
    /// Those of a running gateway.
    pub(crate) fn new(
        base: &Base,
        (reloader, store): (&Arc<Reloader>, &Store),
        health: &Arc<Health>,
        audit: Option<&Arc<Logger>>,
        challenges: &Arc<Challenges>,
    ) -> Self {
        let mut holder = [0; 8];
        base.entropy.fill(&mut holder);
        Self {
            reloader: Arc::clone(reloader),
            store: store.clone(),
            clock: Arc::clone(&base.clock),
            entropy: Arc::clone(&base.entropy),
            health: Arc::clone(health),
            metrics: Arc::clone(&base.metrics),
            audit: audit.cloned(),
            challenges: Arc::clone(challenges),
            holder: format!("{:016x}", u64::from_be_bytes(holder)),
            unkept: BTreeMap::new(),
            told: BTreeSet::new(),
        }
    }

    /// Looks after them, and answers for them, until the process ends.
    pub(crate) fn start(self, control: &tokio::runtime::Runtime) {
        let (reloader, clock) = (Arc::clone(&self.reloader), Arc::clone(&self.clock));
        control.spawn(answer(reloader, Arc::clone(&self.challenges), clock));
        control.spawn(self.keep());
    }

    async fn keep(mut self) {
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let settings = self.reloader.settings();
            let all = Wanted::all(&settings);
            let at_once = self.reloader.take_order_again();
            let mut stand = Vec::new();
            for wanted in &all {
                if at_once {
                    self.forget_failures(wanted);
                }
                stand.push(self.look(wanted).await);
            }
            let missing = stand.iter().any(|standing| standing.is_missing);
            let failing = stand.iter().any(|standing| standing.state.failures > 0);
            self.tell(Reason::NoCertificate, missing);
            self.tell(Reason::CertificateOrder, failing);
            for (wanted, standing) in all.iter().zip(&stand) {
                match standing.due {
                    Due::Now => self.order(wanted).await,
                    Due::At(_) => self.ask_for_window(wanted, standing).await,
                }
            }
        }
    }

    fn tell(&self, reason: Reason, holds: bool) {
        if holds {
            self.health.raise(reason);
        } else {
            self.health.clear(reason);
        }
    }

    async fn look(&mut self, wanted: &Wanted) -> Standing {
        let now = self.clock.wall();
        let at = wanted.clone();
        let looked = tokio::task::spawn_blocking(move || at.standing(now)).await;
        let mut standing = looked.unwrap_or_else(|_| wanted.standing(now));
        if let Some(unkept) = self.unkept.get(wanted.cache.id()) {
            standing.state = unkept.clone();
            standing.due = ordered::next(standing.kept.as_ref(), unkept, now);
        }
        let id = wanted.cache.id();
        if !standing.is_missing {
            self.told.remove(id);
        } else if self.told.insert(id.to_owned()) {
            tracing::warn!(
                "{}: there is no certificate for {} yet: TLS handshakes fail until one is ordered",
                wanted.name(),
                wanted.acme.domains.join(", ")
            );
        }
        standing
    }

    /// An operator has mended something: the wait of our own ends, that of the authority does not.
    fn forget_failures(&mut self, wanted: &Wanted) {
        let now = self.clock.wall();
        let mut state = wanted.cache.state();
        if let Some(unkept) = self.unkept.remove(wanted.cache.id()) {
            state = unkept;
        }
        if state.failures > 0 && state.asked_ms.is_none_or(|asked| asked <= now.0) {
            state.failures = 0;
            self.keep_state(wanted, state);
        }
    }

    fn keep_state(&mut self, wanted: &Wanted, state: State) {
        let id = wanted.cache.id().to_owned();
        match wanted.cache.keep_state(&state) {
            Ok(()) => drop(self.unkept.remove(&id)),
            Err(error) => {
                let folder = wanted.cache.folder().display();
                tracing::error!("{folder}: does not take what became of an order: {error}");
                self.unkept.insert(id, state);
            }
        }
    }

    fn draw(&self) -> u32 {
        let mut draw = [0; 4];
        self.entropy.fill(&mut draw);
        u32::from_be_bytes(draw)
    }

    /// Orders one, unless somebody else does, and takes what came of it into use.
    async fn order(&mut self, wanted: &Wanted) {
        let place = self.place(wanted);
        // Kept until what became of it is written down, for those who share the folder.
        let mut turn = None;
        let ordered = match &place {
            Ok(place) => self.order_in_turn(wanted, place, &mut turn).await,
            Err(problem) => Err(NotOrdered::Failed(problem.clone())),
        };
        let domains = wanted.acme.domains.join(", ");
        match ordered {
            Ok(()) => {
                tracing::info!(
                    "{}: a new certificate for {domains} is there",
                    wanted.name()
                );
                self.record(wanted, Outcome::Success, None);
            }
            Err(NotOrdered::NotOurs) => {}
            Err(NotOrdered::Failed(problem)) => {
                let unkept = self.unkept.remove(wanted.cache.id());
                let before = unkept.unwrap_or_else(|| wanted.cache.state());
                let failures = before.failures.saturating_add(1);
                tracing::error!(
                    "{}: no certificate for {domains} came of order {failures}, what is there \
                     stays: {problem}",
                    wanted.name()
                );
                let asked = place.ok().and_then(|place| place.take_asked());
                let state = State {
                    failures,
                    failed_at_ms: self.clock.wall().0,
                    asked_ms: asked.map(|at| at.0),
                    problem: Some(problem.clone()),
                    draw: self.draw(),
                    ..before
                };
                // First what keeps the next one from coming too soon.
                self.keep_state(wanted, state);
                self.record(wanted, Outcome::Error, Some(&problem));
            }
        }
    }

    async fn order_in_turn(
        &mut self,
        wanted: &Wanted,
        place: &Place,
        turn: &mut Option<Turn>,
    ) -> Result<(), NotOrdered> {
        wanted.cache.prepare()?;
        *turn = wanted.cache.take_turn()?;
        if turn.is_none() {
            return Err(NotOrdered::NotOurs);
        }
        // Somebody else may have had the turn just before.
        let standing = self.look(wanted).await;
        if standing.due != Due::Now {
            self.take_into_use(wanted).await;
            return Err(NotOrdered::NotOurs);
        }
        let lease = format!("acme-{}", wanted.cache.authority());
        let broken = |error| NotOrdered::Failed(format!("the store gives no lease: {error}"));
        let taken = self.store.take_lease(&lease, &self.holder, LEASE).await;
        if !taken.map_err(broken)? {
            return Err(NotOrdered::NotOurs);
        }
        tracing::info!(
            "{}: a certificate for {} is ordered at {}",
            wanted.name(),
            wanted.acme.domains.join(", "),
            wanted.acme.directory
        );
        let ordered = tokio::select! {
            ordered = self.obtain(wanted, place, &standing) => ordered,
            lost = self.hold(&lease) => Err(lost),
        };
        if let Err(error) = self.store.give_lease_back(&lease, &self.holder).await {
            tracing::warn!("The lease of an order ends by its time: {error}");
        }
        ordered?;
        let state = State {
            draw: self.draw(),
            ..State::default()
        };
        self.keep_state(wanted, state);
        self.take_into_use(wanted).await;
        Ok(())
    }

    async fn obtain(
        &self,
        wanted: &Wanted,
        place: &Place,
        standing: &Standing,
    ) -> Result<(), NotOrdered> {
        let order = Order {
            domains: &wanted.acme.domains,
            email: wanted.acme.email.as_deref(),
            challenge: wanted.challenge(),
            replaces: standing.kept.as_ref(),
        };
        let published = || {
            let all = Wanted::all(&self.reloader.settings());
            look_for_challenges(&all, &self.challenges, self.clock.wall());
        };
        let obtained = Box::pin(obtain(place, &wanted.cache, order, &published)).await;
        obtained.map_err(|error| {
            if let OrderError::Egress(refused) = &error {
                self.metrics.egress_refused(refused.reason().label());
            }
            NotOrdered::Failed(error.to_string())
        })
    }

    /// Takes the lease for longer, again and again; ends when it is lost.
    async fn hold(&self, lease: &str) -> NotOrdered {
        loop {
            tokio::time::sleep(LEASE_RENEWED).await;
            match self.store.take_lease(lease, &self.holder, LEASE).await {
                Ok(true) => {}
                Ok(false) => return NotOrdered::NotOurs,
                // It may still be ours; it is, for as long as it was taken for.
                Err(error) => tracing::warn!("The lease of an order is not renewed: {error}"),
            }
        }
    }

    async fn take_into_use(&self, wanted: &Wanted) {
        let reloader = Arc::clone(&self.reloader);
        let sections = wanted.sections.clone();
        let taking = tokio::task::spawn_blocking(move || reloader.take_ordered(&sections));
        if taking.await.is_err() {
            tracing::error!("Reading a new certificate panicked");
        }
    }

    /// Asks the authority when it would like to renew, where that is due.
    async fn ask_for_window(&mut self, wanted: &Wanted, standing: &Standing) {
        let Some(kept) = &standing.kept else {
            return;
        };
        let state = &standing.state;
        let now = self.clock.wall();
        if state.window_of == kept.serial() && now.0 < state.look_at_ms {
            return;
        }
        let (Ok(place), Ok(Some(_turn))) = (self.place(wanted), wanted.cache.take_turn()) else {
            return;
        };
        let told = Box::pin(suggested(&place, &wanted.cache, kept)).await;
        let again = u64::try_from(told.again.as_millis()).unwrap_or(u64::MAX);
        let window_ms = told.window.map(|window| (window.from.0, window.to.0));
        let state = State {
            // A time within the window is drawn once, so that looking again does not move it.
            draw: if window_ms == state.window_ms {
                state.draw
            } else {
                self.draw()
            },
            window_ms,
            window_of: kept.serial(),
            look_at_ms: now.0.saturating_add(again),
            ..state.clone()
        };
        self.keep_state(wanted, state);
    }

    fn place(&self, wanted: &Wanted) -> Result<Place, String> {
        let acme = &wanted.acme;
        let door = self.reloader.door().ok_or("there is no way out")?;
        let way = door.to_authority(acme.directory_ca_file.as_deref(), self.clock.wall())?;
        let exceptions = Exceptions {
            allow_private: acme.allow_private.clone(),
            allow_metadata: false,
        };
        let clock = Arc::clone(&self.clock);
        Ok(Place::new(acme.directory.clone(), exceptions, way, clock))
    }

    fn record(&self, wanted: &Wanted, outcome: Outcome, problem: Option<&str>) {
        let Some(audit) = &self.audit else {
            return;
        };
        let name = wanted.name();
        let mut event = Event::new(Action::CertificateOrder, Actor::System, outcome)
            .at(self.clock.wall())
            .with_detail(Key::Name, Value::Word(&name))
            .with_detail(
                Key::Message,
                Value::Text(wanted.acme.domains.join(", ").into()),
            );
        if let Some(problem) = problem {
            event = event.with_error(problem);
        }
        if let Err(error) = audit.enqueue(&event) {
            tracing::warn!("An order of a certificate was not recorded: {error}");
        }
    }
}
