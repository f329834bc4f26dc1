//! Whether the caller may call now: rates, concurrency, count. All limits pass or none is debited.

use crate::admit::Entry;
use crate::identify::Caller;
use crate::lifecycle::Exchange;
use crate::refusal::{CountedBy, LimitClass, Limited, Refusal};
use crate::route::{Destination, Route, RouteLimit};
use crate::shared_limits::SharedLimits;
use crate::told_limits;
use smallvec::SmallVec;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tollkeep_config::settings::RateBy;
use tollkeep_counters::{Claim, Class, Key, RateRefusal};
use tollkeep_policy::client_ip::prefix_key;
use tollkeep_policy::rate::Quota;
use tollkeep_store::live::{Granting, LiveToken};
use tollkeep_types::MonoNanos;

const SECOND_NS: u64 = 1_000_000_000;

/// What a call was granted: it may go upstream once. A grant that was never used gives the
/// token's count back.
#[must_use]
pub(crate) struct Grant<'c> {
    token: Option<&'c LiveToken>,
    used: bool,
    running: bool,
    /// Its count must be asked for, where other replicas count too.
    asks: bool,
}

impl Grant<'_> {
    /// Whether [`Exchange::ask_count`] comes before the call.
    pub(crate) const fn asks(&self) -> bool {
        self.asks
    }

    /// The call goes out: from now on it counts.
    pub(crate) fn commit(&mut self) {
        self.used = true;
    }

    /// Whether an attempt at the call has gone out.
    pub(crate) const fn is_used(&self) -> bool {
        self.used
    }

    /// None has gone out after all.
    pub(crate) fn not_sent(&mut self) {
        self.used = false;
    }
}

impl Drop for Grant<'_> {
    fn drop(&mut self) {
        let Some(token) = self.token else { return };
        if self.running {
            token.lineage.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
        if !self.used {
            token.refund();
        }
    }
}

/// The limits of one call: a second and a minute of its token, and its route's.
const LIMITS_MAX: usize = 3;

/// Limits, and how to tell of each.
#[derive(Default)]
pub(crate) struct Limits<'a> {
    claims: SmallVec<[Claim<'a>; LIMITS_MAX]>,
    told: SmallVec<[Told; LIMITS_MAX]>,
}

/// How a limit is told.
#[derive(Clone, Copy)]
pub(crate) struct Told {
    pub(crate) class: LimitClass,
    pub(crate) by: CountedBy,
    pub(crate) requests: u64,
    pub(crate) window_s: u64,
}

impl<'a> Limits<'a> {
    fn push(&mut self, claim: Claim<'a>, told: Told) {
        self.claims.push(claim);
        self.told.push(told);
    }

    pub(crate) fn each(&self) -> impl Iterator<Item = (&Claim<'a>, &Told)> {
        self.claims.iter().zip(&self.told)
    }

    /// Puts the tightest first.
    fn sort(&mut self, now: MonoNanos) {
        if self.claims.len() < 2 {
            return;
        }
        let (claims, told) = (self.claims.drain(..), self.told.drain(..));
        let mut limits: SmallVec<[_; LIMITS_MAX]> = claims.zip(told).collect();
        limits.sort_by_key(|(claim, _)| claim.quota().remaining(claim.tat(), now));
        (self.claims, self.told) = limits.into_iter().unzip();
    }
}

impl Exchange<'_> {
    /// Grants the call.
    ///
    /// # Errors
    /// 429.
    pub(crate) fn grant<'c>(
        &mut self,
        entry: &Entry<'_>,
        route: &Route<'_>,
        caller: &'c Caller,
    ) -> Result<Grant<'c>, Refusal> {
        let mut limits = Limits::default();
        let mut grant = self.claim(entry, route, caller, &mut limits)?;
        if !limits.claims.is_empty() {
            let rates = &self.worker.shared.rates;
            let admitted = rates.admit(self.started, &mut limits.claims);
            self.check(entry, &limits, admitted)?;
        }
        self.granted(route, &mut grant, &mut limits)?;
        Ok(grant)
    }

    /// The same, where replicas share limits.
    ///
    /// # Errors
    /// 429.
    pub(crate) async fn grant_shared<'c>(
        &mut self,
        shared: &SharedLimits,
        entry: &Entry<'_>,
        route: &Route<'_>,
        caller: &'c Caller,
    ) -> Result<Grant<'c>, Refusal> {
        let mut limits = Limits::default();
        let mut grant = self.claim(entry, route, caller, &mut limits)?;
        if !limits.claims.is_empty() {
            let rates = &self.worker.shared.rates;
            let now = self.worker.shared.clock.mono();
            let admitted = shared.admit(rates, now, &mut limits.claims).await;
            self.check(entry, &limits, admitted)?;
        }
        self.granted(route, &mut grant, &mut limits)?;
        Ok(grant)
    }

    /// What the call needs, of which only a place among the running ones is taken yet. What must
    /// not be debited when another limit says no comes first, and is given back by the grant's end;
    /// rates are debited together, last but for the count.
    fn claim<'c>(
        &self,
        entry: &Entry<'_>,
        route: &Route<'_>,
        caller: &'c Caller,
        limits: &mut Limits<'c>,
    ) -> Result<Grant<'c>, Refusal> {
        let mut grant = Grant {
            token: None,
            used: true,
            running: false,
            asks: false,
        };
        if let Some(token) = caller.token() {
            grant.running = enter(token).inspect_err(|_| self.give_back(entry))?;
            grant.token = Some(token);
            if token.is_used_up() {
                return Err(Refusal::RequestsUsedUp);
            }
            let shared = self.worker.shared.shared_limits.is_some();
            token_limits(token, shared, limits);
        }
        if let Destination::Plain(plain) = route.destination()
            && let Some(limit) = &plain.limit
            && !(limit.is_default && self.plan.edge_limits.is_exempt(entry.client_ip()))
        {
            push_route_limit(entry, caller, (plain.id, limit), limits);
        }
        Ok(grant)
    }

    /// What the limits said; where one said no the edge's debits are taken back.
    fn check(
        &self,
        entry: &Entry<'_>,
        limits: &Limits<'_>,
        admitted: Result<(), RateRefusal>,
    ) -> Result<(), Refusal> {
        let Err(refused) = admitted else {
            return Ok(());
        };
        self.give_back(entry);
        Err(match limits.told.get(refused.claim) {
            Some(told) => Refusal::RateLimited(Limited {
                class: told.class,
                by: told.by,
                quota: told.requests,
                window_s: told.window_s,
                retry_after: Duration::from_nanos(refused.retry_after_ns),
            }),
            None => Refusal::Internal,
        })
    }

    fn granted(
        &mut self,
        route: &Route<'_>,
        grant: &mut Grant<'_>,
        limits: &mut Limits<'_>,
    ) -> Result<(), Refusal> {
        self.tell_limits(route, limits);
        if let Some(token) = grant.token {
            match token.try_grant(self.store_now()) {
                Granting::Granted => grant.used = false,
                Granting::UsedUp => return Err(Refusal::RequestsUsedUp),
                Granting::Ask => grant.asks = true,
            }
        }
        Ok(())
    }

    /// Asks for the call's count, where other replicas count too.
    ///
    /// # Errors
    /// 429, or 503 while nobody knows how many are left.
    pub(crate) async fn ask_count(&self, grant: &mut Grant<'_>) -> Result<(), Refusal> {
        let Some(token) = grant.token.filter(|_| grant.asks) else {
            return Ok(());
        };
        let store = &self.worker.shared.store;
        match store.take_call(token, self.store_now()).await {
            Ok(true) => {
                grant.used = false;
                Ok(())
            }
            Ok(false) => Err(Refusal::RequestsUsedUp),
            Err(_) => Err(Refusal::AuthUnavailable),
        }
    }

    /// Tells what is left of the limits that passed, where there are any.
    fn tell_limits(&mut self, route: &Route<'_>, limits: &mut Limits<'_>) {
        if limits.claims.is_empty() {
            return;
        }
        limits.sort(self.started);
        let mut policy = self.worker.told_policy.borrow_mut();
        let out = &mut self.work.limits;
        told_limits::write(out, &mut policy, limits, self.started);
        if self.plan.x_ratelimit {
            told_limits::write_old(out, limits, self.started, self.work.facts.at);
        }
        if let Some(surface) = route.surface() {
            let dialect = surface.dialect();
            told_limits::write_own(out, dialect, limits, self.started, self.work.facts.at);
        }
    }
}

/// The limit of a route, counted by what it says.
fn push_route_limit(
    entry: &Entry<'_>,
    caller: &Caller,
    (route, limit): (u32, &RouteLimit),
    limits: &mut Limits<'_>,
) {
    let address = || Key::addr(Class::Route, prefix_key(entry.client_ip()));
    let (key, by) = match (limit.by, caller.token()) {
        (RateBy::Global, _) => (Key::whole(Class::Route), CountedBy::All),
        (RateBy::Token, Some(token)) => {
            let key = Key::id(Class::Route, *token.lineage.id.bytes());
            (key, CountedBy::Token)
        }
        (RateBy::Project, Some(token)) => {
            let key = Key::id(Class::Route, *token.project.id.bytes());
            (key, CountedBy::Project)
        }
        // A caller without a token is counted by address.
        (RateBy::Ip, _) | (RateBy::Token | RateBy::Project, None) => {
            (address(), CountedBy::Address)
        }
    };
    let told = Told {
        class: LimitClass::Route,
        by,
        requests: limit.requests,
        window_s: limit.window_s,
    };
    limits.push(Claim::key(key.on_route(route), limit.quota), told);
}

/// One of at most so many calls at a time, where the token is limited in that.
fn enter(token: &LiveToken) -> Result<bool, Refusal> {
    let Some(max) = token.limits().concurrency else {
        return Ok(false);
    };
    let one_more = |running: u32| (running < max.get()).then_some(running.saturating_add(1));
    let entered =
        token
            .lineage
            .in_flight
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
    let refusal = Limited {
        class: LimitClass::Token,
        by: CountedBy::Token,
        quota: max.get().into(),
        window_s: 1,
        retry_after: Duration::from_secs(1),
    };
    entered
        .map(|_| true)
        .map_err(|_| Refusal::RateLimited(refusal))
}

/// The rate limits of a token; their state is its lineage's, so that rotating refills nothing.
fn token_limits<'t>(token: &'t LiveToken, shared: bool, limits: &mut Limits<'t>) {
    let (lineage, given) = (&token.lineage, token.limits());
    let rates = [
        (given.requests_per_second, 1, &lineage.second_tat),
        (given.requests_per_minute, 60, &lineage.minute_tat),
    ];
    for (requests, window_s, cell) in rates {
        let Some(requests) = requests.map(|requests| u64::from(requests.get())) else {
            continue;
        };
        let burst = given.burst.map_or(requests, |burst| burst.get().into());
        let quota = Quota::per(requests, u64::from(window_s) * SECOND_NS, burst);
        let claim = if shared {
            // Each of its windows is a limit of its own.
            let key = Key::id(Class::Token, *lineage.id.bytes());
            Claim::key(key.on_route(window_s), quota)
        } else {
            Claim::cell(cell, quota)
        };
        let told = Told {
            class: LimitClass::Token,
            by: CountedBy::Token,
            requests,
            window_s: window_s.into(),
        };
        limits.push(claim, told);
    }
}
