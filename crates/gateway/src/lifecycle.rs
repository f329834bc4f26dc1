//! The life of a request, in the order it is lived.
//!
//! [`serve`] is one connection: exchanges one after the other, or, with HTTP/2, one for each
//! stream ([`live_stream`]). [`Exchange::run`] can't fail and always records;
//! [`Exchange::live`] has a line per stage, and each stage hands on the proof that the next one
//! takes.

use crate::cache::Caching;
use crate::counted::Counted;
use crate::hooks::Hooked;
use crate::http2;
use crate::paid::{PaidCall, Sold};
use crate::plan::Plan;
use crate::record::Facts;
use crate::refusal::Refusal;
use crate::stream_up::Incoming;
use crate::worker::Worker;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tollkeep_counters::IpSeat;
use tollkeep_crypto::LastHash;
use tollkeep_http1::{Answer, Head};
use tollkeep_http2::Opening;
use tollkeep_net::tls::Protocol;
use tollkeep_net::{Downstream, Fill, Gone, StreamFault};
use tollkeep_policy::call_policy::CallPolicy;
use tollkeep_types::money::NanoUsd;
use tollkeep_types::{MonoNanos, WallMillis};

/// Scratch of one exchange, kept by the worker for the next.
#[derive(Default)]
pub(crate) struct Work {
    /// The request's head.
    pub(crate) head: Head,
    /// Its canonical path.
    pub(crate) path: String,
    /// Its body, where it did not stay among the bytes read (chunked).
    pub(crate) body: Vec<u8>,
    /// The bytes read: head, and the body if it came with a length.
    pub(crate) request: Vec<u8>,
    /// The upstream's head.
    pub(crate) answer: Answer,
    /// The bytes of that head.
    pub(crate) answer_bytes: Vec<u8>,
    /// What is about to be written, to either side.
    pub(crate) out: Vec<u8>,
    /// Field lines that tell what is left of the caller's limits.
    pub(crate) limits: Vec<u8>,
    /// An upstream's body that is judged whole.
    pub(crate) whole: Vec<u8>,
    /// What is known of the request.
    pub(crate) facts: Facts,
}

/// Scratch that grew past this is freed rather than kept.
const WORK_BYTES_MAX: usize = 64 * 1024;

impl Work {
    pub(crate) fn is_small(&self) -> bool {
        let kept = [&self.body, &self.out, &self.whole].map(Vec::capacity);
        kept.iter().sum::<usize>() + self.path.capacity() <= WORK_BYTES_MAX
    }

    pub(crate) fn clear(&mut self) {
        self.path.clear();
        self.body.clear();
        self.out.clear();
        self.limits.clear();
        self.whole.clear();
    }
}

/// Why an exchange ended before its answer did.
#[derive(Debug)]
pub(crate) enum Stop {
    /// We say no; nothing is answered yet.
    Refused(Refusal),
    /// The caller is gone: nobody to answer.
    CallerGone,
    /// The answer began and must not look whole.
    Cut,
    /// The answer began and shows by its framing that it is not whole.
    Short,
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Gone> for Stop {
    fn from(_: Gone) -> Self {
        Self::CallerGone
    }
}

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum After {
    KeepAlive,
    Close,
    Abort,
}

/// One connection, to its end.
pub(crate) async fn serve(worker: Rc<Worker>, mut conn: Downstream) {
    let opened = conn.slot().now();
    let shared = Arc::clone(&worker.shared);
    let peer = conn.peer().ip();
    let mut plans = arc_swap::Cache::new(&shared.plan);
    let trusted = plans.load().client_ip.trusts(peer);
    let counted = (!trusted).then(|| shared.connections.enter(peer));
    let seat = (!trusted).then(|| shared.requests.seat(peer));
    let shown = RefCell::new(LastHash::new(Arc::clone(&shared.hasher)));
    let mut served = 0_u64;
    loop {
        // Whom a proxy speaks for is told by each request.
        conn.slot().serve((!trusted).then_some(peer));
        let timeouts = &plans.load().timeouts;
        let wait = if served == 0 {
            timeouts.first_byte
        } else {
            timeouts.keep_alive_idle
        };
        if conn.idle(wait).await != Fill::Bytes {
            return;
        }
        // Only now: a connection may idle for longer than settings last.
        let plan: &Plan = plans.load();
        if served == 0 {
            match protocol(&mut conn, plan).await {
                None => return,
                Some(Protocol::Http2) => {
                    let counted = counted.as_ref();
                    let opened = http2::Opened {
                        at: opened,
                        counted,
                    };
                    return Box::pin(http2::serve(&worker, &mut plans, conn, opened)).await;
                }
                Some(Protocol::Http11) => {}
            }
        }
        let timeouts = &plan.timeouts;
        served += 1;
        let crowded = counted
            .as_ref()
            .is_some_and(|counted| counted.count() > plan.limits.connections_per_ip_max);
        let age = Duration::from_nanos(conn.slot().now().since(opened));
        let last =
            served >= timeouts.requests_per_connection_max || age >= timeouts.connection_age_max;
        let lane = Lane {
            last,
            crowded,
            seat: seat.as_ref(),
            shown: Some(&shown),
        };
        match exchange(&worker, plan, &mut conn, lane).await {
            After::KeepAlive => {}
            After::Close => return conn.close().await,
            After::Abort => return conn.abort(),
        }
    }
}

/// What a connection speaks: as was agreed behind TLS, in clear text as the first bytes say. Waits
/// for as many as it takes to tell; nothing when they don't come.
async fn protocol(conn: &mut Downstream, plan: &Plan) -> Option<Protocol> {
    if let Some(tls) = conn.tls() {
        return Some(tls.protocol);
    }
    if !plan.doors.speak_h2c(conn.door()) {
        return Some(Protocol::Http11);
    }
    loop {
        match conn.opening() {
            Opening::Http2 => return Some(Protocol::Http2),
            Opening::Other => return Some(Protocol::Http11),
            Opening::Partial if conn.fill().await != Fill::Bytes => return None,
            Opening::Partial => {}
        }
    }
}

/// One stream of an HTTP/2 connection, with the settings of when it came.
pub(crate) async fn live_stream(worker: Rc<Worker>, mut conn: Downstream, lane: Lane<'static>) {
    let plan = worker.shared.plan.load_full();
    let head = conn.read_stream_head(plan.timeouts.header).await;
    // Taken back before it was looked at: no work, or resets would be a cheap way to make some.
    if conn.is_taken_back() {
        return;
    }
    let mut work = worker.take_work();
    let mut exchange = Exchange::begin(&worker, &plan, &mut conn, &mut work, lane);
    let after = match head {
        Ok(()) => exchange.run().await,
        Err(fault) => exchange.run_malformed(fault).await,
    };
    drop(exchange);
    worker.give_back(work);
    match after {
        After::KeepAlive | After::Close => conn.end(),
        After::Abort => conn.abort(),
    }
}

/// One request and its answer, with scratch of the worker's.
async fn exchange<'a>(
    worker: &'a Rc<Worker>,
    plan: &'a Plan,
    conn: &'a mut Downstream,
    lane: Lane<'a>,
) -> After {
    let mut work = worker.take_work();
    let after = Exchange::begin(worker, plan, conn, &mut work, lane)
        .run()
        .await;
    worker.give_back(work);
    after
}

/// What the connection says about the exchange on it.
#[derive(Clone, Copy)]
pub(crate) struct Lane<'a> {
    /// No further request is served on it.
    last: bool,
    /// Its address holds more connections than it may.
    pub(crate) crowded: bool,
    /// Where its requests are counted, unless it is a trusted proxy's.
    pub(crate) seat: Option<&'a IpSeat<'a>>,
    /// The credential it showed last, where one request follows the other.
    pub(crate) shown: Option<&'a RefCell<LastHash>>,
}

impl Lane<'_> {
    /// That of a stream: its connection ends by other means than its answer.
    pub(crate) const fn of_stream(crowded: bool) -> Lane<'static> {
        Lane {
            last: false,
            crowded,
            seat: None,
            shown: None,
        }
    }
}

/// One request and its answer.
pub(crate) struct Exchange<'a> {
    pub(crate) worker: &'a Rc<Worker>,
    pub(crate) plan: &'a Plan,
    pub(crate) conn: &'a mut Downstream,
    pub(crate) work: &'a mut Work,
    pub(crate) lane: Lane<'a>,
    /// The lines that every answer has.
    pub(crate) lines: &'a [u8],
    pub(crate) started: MonoNanos,
    /// The answer must say `Connection: close`.
    pub(crate) closing: bool,
    /// The caller came over TLS: ours, or so a trusted proxy says.
    pub(crate) secure: bool,
    /// The caller's own request id, where it is trusted.
    pub(crate) callers_request_id: Option<Box<str>>,
    /// The request's bytes were taken out of the connection: nothing of it is left to drain.
    pub(crate) detached: bool,
    /// Its body, where that is sent on while it arrives.
    pub(crate) incoming: Option<Box<Incoming>>,
    /// The policies that bind the call; mostly none.
    pub(crate) policies: Vec<Arc<CallPolicy>>,
    /// What its body takes of the memory for all bodies, while it is large and needed.
    pub(crate) body_held: Option<Counted<'a>>,
    /// The caller has gone, and the answer is read without, until then.
    pub(crate) alone_until: Option<MonoNanos>,
    /// Its route, where that is sold.
    pub(crate) sold: Option<&'a Sold>,
    /// What it costs its token, where its route has a price.
    pub(crate) token_cost: Option<NanoUsd>,
    /// What it is paid with.
    pub(crate) paying: Option<Box<PaidCall>>,
    /// What hooks have said of it, where its route has any.
    pub(crate) hooked: Option<Box<Hooked<'a>>>,
    /// Told of money that moved for a payment that it is not served for.
    pub(crate) told_receipt: Option<Box<str>>,
    /// What becomes of its answer, where answers like it may be kept.
    pub(crate) caching: Option<Box<Caching>>,
    /// It came to its end, and what becomes of the connection is decided.
    ended: bool,
}

impl<'a> Exchange<'a> {
    fn begin(
        worker: &'a Rc<Worker>,
        plan: &'a Plan,
        conn: &'a mut Downstream,
        work: &'a mut Work,
        lane: Lane<'a>,
    ) -> Self {
        let clock = &worker.shared.clock;
        let (started, wall) = (clock.mono(), clock.wall());
        work.facts
            .begin(worker.request_id(wall.0), wall, conn.peer().ip());
        worker.counters.begin();
        let closing = lane.last || worker.shared.drain.is_draining();
        let tls = conn.tls();
        let secure = tls.is_some();
        work.facts.certificate = tls.and_then(|tls| tls.client.clone());
        Self {
            worker,
            plan,
            conn,
            work,
            lane,
            lines: &plan.security_headers,
            started,
            closing,
            secure,
            callers_request_id: None,
            detached: false,
            incoming: None,
            policies: Vec::new(),
            body_held: None,
            alone_until: None,
            sold: None,
            token_cost: None,
            paying: None,
            hooked: None,
            told_receipt: None,
            caching: None,
            ended: false,
        }
    }

    /// Lives the exchange and records it, however it ends.
    async fn run(&mut self) -> After {
        let lived = self.live().await;
        self.conclude(lived).await
    }

    /// Refuses a stream whose head is no request.
    async fn run_malformed(&mut self, fault: StreamFault) -> After {
        // What stands there is the head of an earlier request.
        self.work.head.reset();
        let refusal = if fault == StreamFault::TooLarge {
            Refusal::HeadersTooLarge
        } else {
            Refusal::BadRequest(fault.reason())
        };
        self.conclude(Err(refusal.into())).await
    }

    async fn conclude(&mut self, mut lived: Result<(), Stop>) -> After {
        // What was refused for it already is told as ever.
        let is_told = matches!(lived, Ok(()) | Err(Stop::Refused(Refusal::Forbidden(_))));
        if !is_told && self.conn.slot().is_denied() {
            lived = Err(self.denied_meanwhile());
        } else if lived.is_err() && self.is_revoked() {
            lived = lived.map_err(|stop| self.revoked_meanwhile(stop));
        }
        self.conn.slot().hold(None);
        let after = match lived {
            Ok(()) => self.finish().await,
            // Boxed here and below: what is rare must not make every connection larger.
            Err(Stop::Refused(refusal)) => Box::pin(self.refuse(refusal)).await,
            Err(Stop::CallerGone) => {
                self.work.facts.caller_gone();
                After::Abort
            }
            Err(Stop::Cut) => After::Abort,
            // The length of a stream's answer is told by nothing but its end.
            Err(Stop::Short) if self.conn.is_stream() => After::Abort,
            Err(Stop::Short) => After::Close,
        };
        let ended = self.worker.shared.clock.mono();
        self.work.facts.end(ended.since(self.started));
        self.tell_failure();
        self.ended = true;
        after
    }

    /// The product in one sentence.
    async fn live(&mut self) -> Result<(), Stop> {
        self.read_head().await?;
        if self.worker.shared.challenges.any()
            && let Some(proof) = self.challenge()
        {
            return Box::pin(self.answer_challenge(&proof)).await;
        }
        if let Some(port) = self.plan.doors.led_away(self.conn.door()) {
            return Box::pin(self.lead_away(port)).await;
        }
        let cors = self.plan.cors.as_ref();
        if let Some(cors) = cors {
            self.look_at_origin(cors);
        }
        if let Some(probe) = self.health_probe() {
            if let Some(door) = &self.plan.front_door {
                Box::pin(self.front_door_of_probe(door, probe.path())).await?;
            }
            return Box::pin(self.answer_probe(probe)).await;
        }
        if self.plan.on_data_port
            && let Some(door) = self.management_door()
        {
            return Box::pin(self.manage(&*door)).await;
        }
        let shared = self.worker.shared.shared_limits.as_deref();
        let entry = match shared {
            None => self.admit()?,
            Some(limits) => Box::pin(self.admit_shared(limits)).await?,
        };
        if let Some(door) = &self.plan.front_door {
            Box::pin(self.front_door(door, &entry)).await?;
        }
        if self.is_asked_itself(cors) {
            return Box::pin(self.answer_itself(cors, &entry)).await;
        }
        let route = self.route(&entry)?;
        self.find_hooks(&route);
        let caller = self.identify(&entry, &route)?;
        self.hold_slot();
        let call = self.read_call(&entry, &route, &caller).await?;
        if self.names_purchase(&route) && Box::pin(self.recall(&entry, &route)).await? {
            return Ok(());
        }
        let pass = self.pass(&caller, &call)?;
        if self.hooked.is_some() {
            Box::pin(self.ask_hooks(&entry, &route)).await?;
        }
        let proven = self.judge(&entry, &route, &caller)?;
        let mut grant = match shared {
            None => self.grant(&entry, &route, &caller)?,
            Some(limits) => Box::pin(self.grant_shared(limits, &entry, &route, &caller)).await?,
        };
        if grant.asks() {
            Box::pin(self.ask_count(&mut grant)).await?;
        }
        if let Some(proven) = proven {
            Box::pin(self.pay(&entry, proven)).await?;
        }
        if let Some(cache) = &self.plan.cache
            && Box::pin(self.ask_cache(cache, &call, &mut grant)).await?
        {
            return Ok(());
        }
        let Some(reply) = self.send(&caller, &call, (pass, grant)).await? else {
            return Ok(());
        };
        self.stream_back(reply).await
    }

    /// The time by which tokens live and end: that of the request's first byte.
    pub(crate) fn store_now(&self) -> WallMillis {
        self.worker.shared.store.now_at(self.work.facts.at)
    }

    async fn read_head(&mut self) -> Result<(), Stop> {
        self.conn.slot().set(self.plan.timeouts.header);
        self.work.head.reset();
        loop {
            let read = self.work.head.read(
                self.conn.unread(),
                &self.plan.head_limits,
                &self.plan.underscore_headers,
            );
            match read {
                Ok(tollkeep_http1::Progress::Done) => return Ok(()),
                Err(fault) => return Err(Refusal::of_head(fault).into()),
                Ok(tollkeep_http1::Progress::More) => match self.conn.fill().await {
                    Fill::Bytes => {}
                    Fill::Closed => return Err(Stop::CallerGone),
                    Fill::Late => return Err(Refusal::RequestTimeout.into()),
                },
            }
        }
    }
}

impl Drop for Exchange<'_> {
    /// Records, also when the exchange was dropped half-way or panicked. Nothing here may panic:
    /// a second panic while the first one unwinds ends the process.
    fn drop(&mut self) {
        if !self.ended {
            // What ends with the connection (HTTP/1.0) would look whole after a clean close.
            self.conn.cut();
        }
        self.work.facts.count(self.worker);
        self.worker
            .buffers
            .give_back(std::mem::take(&mut self.work.request));
        self.worker.record(&mut self.work.facts);
    }
}
