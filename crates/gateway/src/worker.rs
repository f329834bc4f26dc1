//! What one worker thread owns, and what all of them share.

use crate::cache::ResponseCache;
use crate::holds::Holds;
use crate::hooks::{HookDoor, HookFailures};
use crate::lifecycle::{self, Work};
use crate::management_door::ManagementDoor;
use crate::names::Names;
use crate::overrides::Overrides;
use crate::own_token::TokenDoor;
use crate::paid::{Payers, PaymentDoor};
use crate::plan::Plan;
use crate::record::Facts;
use crate::recorder::Recorder;
use crate::refusal::Refusal;
use crate::shared_limits::SharedLimits;
use crate::shed::MemoryPressure;
use crate::stored::StoredCredentials;
use crate::tally::Tally;
use crate::told_limits::ToldPolicy;
use arc_swap::{ArcSwap, Cache};
use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, OnceLock};
use tollkeep_audit::{Action, AuditHealth};
use tollkeep_counters::{Breakers, IpGauge, RateTable, Recent};
use tollkeep_crypto::TokenHasher;
use tollkeep_ledger::price::Book;
use tollkeep_net::acme::Challenges;
use tollkeep_net::buffers::Buffers;
use tollkeep_net::worker::{Service, WorkerParts};
use tollkeep_net::{Deadlines, Drain, Pool};
use tollkeep_observe::health::{Health, Reason};
use tollkeep_observe::metrics::{Listener, Metrics, Recorder as Counters};
use tollkeep_policy::client_ip::fold;
use tollkeep_policy::ip_list::Listing;
use tollkeep_policy::retry::RetryBudget;
use tollkeep_store::Store;
use tollkeep_store::live::LiveTokens;
use tollkeep_types::{Clock, CredentialId, Entropy, RequestId, TokenHash};

/// Scratch that a worker keeps for later exchanges.
const IDLE_WORK_MAX: usize = 256;
/// Records gathered before they are handed to the writer.
const RECORDS_BATCH: usize = 512;
/// How long a record may wait for others.
const RECORDS_WAIT: std::time::Duration = std::time::Duration::from_millis(10);
/// The reason of a denial before there was a request.
const AT_ACCEPT: &str = "closed_at_accept";

/// What all workers share: snapshots, atomics, and doors to other threads. No worker waits on it.
pub struct Shared {
    /// The settings in force; a request keeps the snapshot it began with.
    pub plan: ArcSwap<Plan>,
    /// The credentials that the store keeps, as the plan was filled with them.
    pub stored_credentials: StoredCredentials,
    /// What operators changed while the process runs.
    pub overrides: Arc<ArcSwap<Overrides>>,
    /// Live access tokens.
    pub tokens: Arc<LiveTokens>,
    /// The store, for its time that never goes back.
    pub store: Store,
    /// Makes the digest of a token.
    pub hasher: Arc<TokenHasher>,
    /// Rate limit cells by address, route and project.
    pub rates: RateTable,
    /// Limits that replicas share; `None` where each counts for itself.
    pub shared_limits: Option<Arc<SharedLimits>>,
    /// The state of the limit of all requests.
    pub global_tat: AtomicU64,
    /// Which upstreams are left alone.
    pub breakers: Arc<Breakers>,
    /// Live connections by address.
    pub connections: IpGauge,
    /// Running requests by address.
    pub requests: IpGauge,
    /// Running requests in all.
    pub running: AtomicUsize,
    /// How short memory is.
    pub memory: MemoryPressure,
    /// Addresses that showed a valid token lately.
    pub known: Recent,
    /// Body bytes buffered.
    pub body_bytes: AtomicUsize,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Whether the audit log takes events; `None` when audit is off.
    pub audit: Option<Arc<AuditHealth>>,
    /// Where records go.
    pub recorder: Arc<Recorder>,
    /// What is taken aside for calls.
    pub holds: Arc<Holds>,
    /// What models cost.
    pub prices: ArcSwap<Book>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Liveness and readiness.
    pub health: Arc<Health>,
    /// Whether the process is going away.
    pub drain: Arc<Drain>,
    /// What an authority finds that asks whether a name is ours.
    pub challenges: Arc<Challenges>,
    /// The way to management on the data listener, once management is there.
    pub management: OnceLock<Arc<dyn ManagementDoor>>,
    /// The way to the records of tokens, for their holders.
    pub token_door: OnceLock<Arc<dyn TokenDoor>>,
    /// The way to those who keep payments, once they are there.
    pub payments: OnceLock<Arc<dyn PaymentDoor>>,
    /// The way to those whom hooks ask and tell, once it is there.
    pub hooks: OnceLock<Arc<dyn HookDoor>>,
    /// Hooks that failed lately.
    pub hook_failures: HookFailures,
    /// What payers have running.
    pub payers: Arc<Payers>,
    /// What receipts are verified with, as a key set, where receipts are made.
    pub receipt_keys: OnceLock<Arc<ArcSwap<String>>>,
    /// Counts of what tokens do.
    pub tally: Arc<Tally>,
    /// Answers that are kept.
    pub cache: Arc<ResponseCache>,
}

impl Shared {
    /// Brings into force what operators changed.
    pub fn set_overrides(&self, overrides: Overrides) {
        self.overrides.store(Arc::new(overrides));
        self.tell_maintenance();
    }

    /// Whether the process wants traffic, as far as maintenance goes.
    fn tell_maintenance(&self) {
        if self.plan.load().maintenance.on || self.overrides.load().maintenance.is_some() {
            self.health.raise(Reason::Maintenance);
        } else {
            self.health.clear(Reason::Maintenance);
        }
    }
}

/// One worker.
pub struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) index: usize,
    pub(crate) pool: Pool,
    pub(crate) buffers: Rc<Buffers>,
    pub(crate) deadlines: Rc<Deadlines>,
    pub(crate) counters: Counters,
    #[expect(
        clippy::vec_box,
        reason = "the boxes move between exchanges; the scratch itself is large"
    )]
    work: RefCell<Vec<Box<Work>>>,
    records: RefCell<Vec<Facts>>,
    flush_due: Cell<bool>,
    overrides: RefCell<Cache<Arc<ArcSwap<Overrides>>, Arc<Overrides>>>,
    /// What open connections were judged by as last.
    judged_by: RefCell<(Arc<Plan>, Arc<Overrides>)>,
    /// How often running answers were cut, as far as this worker has seen to it.
    cuts_seen: Cell<u64>,
    ids: Cell<u64>,
    id_base: [u8; 16],
    date: RefCell<([u8; 29], u64)>,
    rotation: Cell<usize>,
    names: RefCell<Names>,
    /// The last target that was its own canonical path: most callers ask for one.
    pub(crate) plain_target: RefCell<String>,
    /// The address that showed a valid token last, and in which span of time.
    pub(crate) noted: Cell<(IpAddr, u64)>,
    /// What limits were told as last.
    pub(crate) told_policy: RefCell<ToldPolicy>,
    /// What may be repeated, by endpoint.
    repeats: RefCell<Vec<(u64, RetryBudget)>>,
    /// Scratch for which providers know a model, best first.
    pub(crate) candidates: RefCell<Vec<usize>>,
}

impl Worker {
    /// The service of one worker: builds the worker and gives the loop what it calls.
    pub fn service(shared: &Arc<Shared>, parts: &WorkerParts) -> Service {
        let worker = Rc::new(Self::new(Arc::clone(shared), parts));
        let (admitting, ticking) = (Rc::clone(&worker), Rc::clone(&worker));
        Service {
            admits: Box::new(move |peer| admitting.admits(peer.ip())),
            serve: Rc::new(move |conn| Box::pin(lifecycle::serve(Rc::clone(&worker), conn))),
            tick: Box::new(move || ticking.tick()),
        }
    }

    fn new(shared: Arc<Shared>, parts: &WorkerParts) -> Self {
        let mut id_base = [0_u8; 16];
        shared.entropy.fill(&mut id_base);
        Self {
            index: parts.index,
            pool: Pool::new(Rc::clone(&parts.buffers)),
            buffers: Rc::clone(&parts.buffers),
            deadlines: Rc::clone(&parts.deadlines),
            counters: shared.metrics.recorder(),
            work: RefCell::default(),
            records: RefCell::default(),
            flush_due: Cell::new(false),
            overrides: RefCell::new(Cache::new(Arc::clone(&shared.overrides))),
            judged_by: RefCell::new((shared.plan.load_full(), shared.overrides.load_full())),
            cuts_seen: Cell::new(shared.tokens.cuts()),
            ids: Cell::new(u64::from_be_bytes(first_eight(&id_base)) >> 8),
            id_base,
            date: RefCell::new(([b' '; 29], 0)),
            rotation: Cell::new(0),
            names: RefCell::default(),
            plain_target: RefCell::new(String::from("/")),
            noted: Cell::new((Ipv4Addr::UNSPECIFIED.into(), u64::MAX)),
            told_policy: RefCell::default(),
            repeats: RefCell::default(),
            candidates: RefCell::default(),
            shared,
        }
    }

    /// Whether a connection from there is served at all. Whom a proxy speaks for is not known yet.
    fn admits(&self, peer: IpAddr) -> bool {
        let plan = self.shared.plan.load();
        let listing = self.listing(&plan, peer);
        let admitted = listing != Listing::Denied || plan.client_ip.trusts(peer);
        if !admitted {
            let public = Refusal::Forbidden("ip_list").public();
            self.shared.metrics.refusal(public.code, Listener::Data);
            let at = self.shared.clock.wall();
            self.shared
                .recorder
                .told_of_peer(Action::IpDenied, AT_ACCEPT, fold(peer), at);
        }
        admitted
    }

    /// Tells of what came from there and was refused before there was a request.
    pub(crate) fn rejected(&self, peer: IpAddr, reason: &'static str) {
        self.shared.metrics.rejected(reason);
        let at = self.shared.clock.wall();
        self.shared
            .recorder
            .told_of_peer(Action::RequestRejected, reason, fold(peer), at);
    }

    /// HOT. What the lists of the settings and of operators say about an address.
    pub(crate) fn listing(&self, plan: &Plan, ip: IpAddr) -> Listing {
        let mut overrides = self.overrides.borrow_mut();
        let added = &overrides.load().ips;
        if plan.ip_lists.is_off() && added.is_empty() {
            return Listing::Passes;
        }
        plan.ip_lists.judge_with(added, ip)
    }

    /// What a caller is told while maintenance is on, unless its address is served all the same.
    pub(crate) fn maintenance(&self, plan: &Plan, ip: IpAddr) -> Option<Refusal> {
        let mut overrides = self.overrides.borrow_mut();
        let (written, by_operator) = (&plan.maintenance, &overrides.load().maintenance);
        if (!written.on && by_operator.is_none()) || written.allow.contains(ip) {
            return None;
        }
        let message = by_operator.as_ref().and_then(|on| on.message.as_deref());
        let retry_after = by_operator.as_ref().and_then(|on| on.retry_after);
        Some(Refusal::Maintenance {
            message: message.unwrap_or(&written.message).into(),
            retry_after: retry_after.unwrap_or(written.retry_after),
        })
    }

    /// Denies open connections whose address may no longer come, when lists have changed.
    fn judge_anew(&self) {
        let (plan, overrides) = (
            self.shared.plan.load_full(),
            self.shared.overrides.load_full(),
        );
        let mut judged_by = self.judged_by.borrow_mut();
        if Arc::ptr_eq(&judged_by.0, &plan) && Arc::ptr_eq(&judged_by.1, &overrides) {
            return;
        }
        self.deadlines
            .deny(|ip| plan.ip_lists.judge_with(&overrides.ips, ip) == Listing::Denied);
        *judged_by = (plan, overrides);
        self.shared.tell_maintenance();
    }

    /// Ends running answers to tokens that were revoked or switched off, when there are some.
    fn cut_revoked(&self) {
        let tokens = &self.shared.tokens;
        let cuts = tokens.cuts();
        if self.cuts_seen.replace(cuts) == cuts {
            return;
        }
        self.deadlines.cut(
            |digest| {
                let token = tokens.find(&TokenHash::from_bytes(*digest));
                token.is_some_and(|token| token.is_cut())
            },
            |id| tokens.is_credential_cut(&CredentialId::from_bytes(*id)),
        );
    }

    fn tick(&self) {
        self.judge_anew();
        self.cut_revoked();
        let now = self.deadlines.now();
        self.shared.health.beat(self.index, now);
        let plan = self.shared.plan.load();
        if self.index == 0 && plan.cache.is_some() {
            self.shared.cache.sweep(now);
        }
        self.pool.sweep(now, |endpoint| plan.calls(endpoint));
        self.repeats
            .borrow_mut()
            .retain(|(_, budget)| !budget.is_over(now));
    }

    /// Scratch for one exchange.
    pub(crate) fn take_work(&self) -> Box<Work> {
        self.work.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes scratch back.
    pub(crate) fn give_back(&self, mut work: Box<Work>) {
        let mut idle = self.work.borrow_mut();
        if work.is_small() && idle.len() < IDLE_WORK_MAX {
            work.clear();
            idle.push(work);
        }
    }

    /// The next request id: time, this worker's random bits, and a counter among them. Ids are
    /// not secrets, so they need not be unpredictable, only unique.
    pub(crate) fn request_id(&self, wall_ms: u64) -> RequestId {
        let count = self.ids.get().wrapping_add(1);
        self.ids.set(count);
        let [_, _, t0, t1, t2, t3, t4, t5] = wall_ms.to_be_bytes();
        let [c0, c1, c2, c3, c4, c5, c6, c7] = count.to_be_bytes();
        let [.., r0, r1] = self.id_base;
        RequestId::from_bytes([
            t0,
            t1,
            t2,
            t3,
            t4,
            t5,
            0x70 | (r0 & 0x0f),
            r1,
            0x80 | (c0 & 0x3f),
            c1,
            c2,
            c3,
            c4,
            c5,
            c6,
            c7,
        ])
    }

    /// The `Date` field's value, made once a second (RFC 9110, section 5.6.7).
    pub(crate) fn write_date(&self, out: &mut Vec<u8>, wall_ms: u64) {
        let mut date = self.date.borrow_mut();
        let second = wall_ms / 1000;
        if date.1 != second {
            *date = (crate::answer::http_date(second), second);
        }
        out.extend_from_slice(&date.0);
    }

    /// A name that callers give again and again (a model, a user agent), shared between records.
    pub(crate) fn name(&self, text: &str) -> Arc<str> {
        self.names.borrow_mut().share(text)
    }

    /// A number that goes up by one each call, for taking turns.
    pub(crate) fn turn(&self) -> usize {
        self.rotation.replace(self.rotation.get().wrapping_add(1))
    }

    /// HOT. A call goes to this endpoint.
    pub(crate) fn note_call(&self, endpoint: u64) {
        let now = self.deadlines.now();
        let mut repeats = self.repeats.borrow_mut();
        if let Some((_, budget)) = repeats.iter_mut().find(|(of, _)| *of == endpoint) {
            return budget.call(now);
        }
        let mut budget = RetryBudget::default();
        budget.call(now);
        repeats.push((endpoint, budget));
    }

    /// Whether something may be repeated at this endpoint; if so, it is counted.
    pub(crate) fn may_repeat(&self, endpoint: u64) -> bool {
        let now = self.deadlines.now();
        let mut repeats = self.repeats.borrow_mut();
        let mut of_endpoint = repeats.iter_mut().filter(|(of, _)| *of == endpoint);
        of_endpoint
            .next()
            .is_some_and(|(_, budget)| budget.try_repeat(now))
    }

    /// Takes the record of a finished request; a full batch goes to the writer at once, a first
    /// one within milliseconds.
    pub(crate) fn record(self: &Rc<Self>, facts: &mut Facts) {
        let mut records = self.records.borrow_mut();
        records.push(std::mem::take(facts));
        if records.len() >= RECORDS_BATCH {
            let batch = std::mem::replace(&mut *records, self.shared.recorder.batch());
            drop(records);
            self.deliver(batch);
        } else if !self.flush_due.replace(true) {
            drop(records);
            self.flush_later();
        }
    }

    fn flush_later(self: &Rc<Self>) {
        let worker = Rc::clone(self);
        Self::beside(async move {
            tokio::time::sleep(RECORDS_WAIT).await;
            worker.flush();
        });
    }

    /// Does something on this worker's thread beside what it does now. A panic ends that alone.
    #[expect(
        clippy::disallowed_methods,
        reason = "the flush of records, which the worker's last drop repeats, and streams of a \
                  connection, which end with it"
    )]
    pub(crate) fn beside(work: impl Future<Output = ()> + 'static) {
        tokio::task::spawn_local(work);
    }

    fn flush(&self) {
        self.flush_due.set(false);
        let mut records = self.records.borrow_mut();
        if !records.is_empty() {
            let batch = std::mem::replace(&mut *records, self.shared.recorder.batch());
            drop(records);
            self.deliver(batch);
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.flush();
    }
}

fn first_eight(bytes: &[u8; 16]) -> [u8; 8] {
    let [a, b, c, d, e, f, g, h, ..] = *bytes;
    [a, b, c, d, e, f, g, h]
}
