//! Limits that a data request meets before anything of it is known: of all requests, and of its
//! address.

use crate::admit::Entry;
use crate::lifecycle::Exchange;
use crate::refusal::{CountedBy, LimitClass, Limited, Refusal};
use crate::shared_limits::SharedLimits;
use ipnet::IpNet;
use smallvec::SmallVec;
use std::net::IpAddr;
use std::time::Duration;
use tollkeep_config::settings::{Rate, RateScope, Server};
use tollkeep_counters::{Claim, Class, Key, RateRefusal};
use tollkeep_http1::Known;
use tollkeep_policy::client_ip::prefix_key;
use tollkeep_policy::ip_list::Listing;
use tollkeep_policy::rate::{Quota, Verdict};
use tollkeep_types::MonoNanos;

/// The limits in force.
pub(crate) struct EdgeLimits {
    global: Option<Limit>,
    address: Option<AddressLimit>,
    exempt: Vec<IpNet>,
}

/// So many requests in a window, as it is checked and as it is told.
#[derive(Clone, Copy)]
struct Limit {
    quota: Quota,
    requests: u64,
    window_s: u64,
}

struct AddressLimit {
    limit: Limit,
    /// Whether each address has its own; else all share one.
    per_ip: bool,
    scope: RateScope,
}

/// What the edge debited for a request, as the states after it, so that it can be given back.
#[derive(Clone, Copy, Default)]
pub(crate) struct Debited {
    global: Option<u64>,
    address: Option<u64>,
    /// The address is debited when the request ends without a proven caller.
    address_later: bool,
}

impl Limit {
    fn new(rate: &Rate) -> Self {
        let window_ns = u64::try_from(rate.window.as_nanos()).unwrap_or(u64::MAX);
        Self {
            quota: Quota::per(rate.requests, window_ns, rate.burst),
            requests: rate.requests,
            window_s: rate.window.as_secs().max(1),
        }
    }

    fn refused(&self, class: LimitClass, by: CountedBy, retry_after_ns: u64) -> Refusal {
        Refusal::RateLimited(Limited {
            class,
            by,
            quota: self.requests,
            window_s: self.window_s,
            retry_after: Duration::from_nanos(retry_after_ns),
        })
    }
}

impl AddressLimit {
    /// Without `per_ip` it is one more limit of all requests, told as such.
    fn claim(&self, client_ip: IpAddr) -> Claim<'static> {
        let key = if self.per_ip {
            Key::addr(Class::Ip, prefix_key(client_ip))
        } else {
            Key::whole(Class::Ip)
        };
        Claim::key(key, self.limit.quota)
    }

    fn refused(&self, retry_after_ns: u64) -> Refusal {
        let (class, by) = if self.per_ip {
            (LimitClass::Ip, CountedBy::Address)
        } else {
            (LimitClass::Global, CountedBy::All)
        };
        self.limit.refused(class, by, retry_after_ns)
    }
}

impl EdgeLimits {
    pub(crate) fn new(server: &Server) -> Self {
        Self {
            global: server.rate.as_ref().map(Limit::new),
            address: server.ip_rate.as_ref().map(|address| AddressLimit {
                limit: Limit::new(&address.rate),
                per_ip: address.per_ip,
                scope: address.scope,
            }),
            exempt: server.rate_exempt.clone(),
        }
    }

    /// Whether limits by address, and the default limit of free routes, spare this one.
    pub(crate) fn is_exempt(&self, ip: IpAddr) -> bool {
        self.exempt.iter().any(|net| net.contains(&ip))
    }

    /// The limit that binds this address.
    fn of_address(&self, ip: IpAddr) -> Option<&AddressLimit> {
        self.address.as_ref().filter(|_| !self.is_exempt(ip))
    }
}

impl<'a> Exchange<'a> {
    /// The limit of all requests and that of the address, cheapest first and debited together. In
    /// scope `unproven` the address is only looked at, for a request without a credential, and its
    /// debit waits for the end. An address that an allow list exempts is not limited.
    ///
    /// # Errors
    /// 429.
    pub(crate) fn check_edge_limits(
        &self,
        client_ip: IpAddr,
        listing: Listing,
    ) -> Result<Debited, Refusal> {
        let mut pending = self.edge_claims(client_ip, listing)?;
        if !pending.claims.is_empty() {
            let rates = &self.worker.shared.rates;
            pending.admitted = rates.admit(self.started, &mut pending.claims);
        }
        pending.debited()
    }

    /// The same, where replicas share limits.
    ///
    /// # Errors
    /// 429.
    pub(crate) async fn check_shared_edge_limits(
        &self,
        limits: &SharedLimits,
        client_ip: IpAddr,
        listing: Listing,
    ) -> Result<Debited, Refusal> {
        let mut pending = self.edge_claims(client_ip, listing)?;
        if !pending.claims.is_empty() {
            let rates = &self.worker.shared.rates;
            pending.admitted = limits.admit(rates, self.started, &mut pending.claims).await;
        }
        pending.debited()
    }

    /// What the edge asks of a request, nothing of which is debited yet.
    fn edge_claims(&self, client_ip: IpAddr, listing: Listing) -> Result<Pending<'_>, Refusal> {
        let limits = &self.plan.edge_limits;
        let address = limits.of_address(client_ip);
        let address = address.filter(|_| listing != Listing::Exempt);
        let global = limits.global.as_ref();
        let mut pending = Pending {
            global,
            address: None,
            address_later: false,
            claims: SmallVec::new(),
            admitted: Ok(()),
        };
        pending
            .claims
            .extend(global.map(|limit| self.global_claim(limit)));
        if let Some(address) = address {
            if address.scope == RateScope::All || self.is_counted_at_once() {
                pending.claims.push(address.claim(client_ip));
                pending.address = Some(address);
            } else {
                self.look_at_address(address, client_ip)?;
                pending.address_later = true;
            }
        }
        Ok(pending)
    }

    /// Whether a request that can't be proven is debited before it is served: where replicas share
    /// limits, as looking at them without taking would cost as much and tell less.
    fn is_counted_at_once(&self) -> bool {
        self.worker.shared.shared_limits.is_some() && !self.has_credential()
    }

    fn global_claim(&self, limit: &Limit) -> Claim<'a> {
        let shared = &self.worker.shared;
        if shared.shared_limits.is_some() {
            return Claim::key(Key::whole(Class::Global), limit.quota);
        }
        Claim::cell(&shared.global_tat, limit.quota)
    }

    fn look_at_address(&self, address: &AddressLimit, client_ip: IpAddr) -> Result<(), Refusal> {
        let shared = &self.worker.shared;
        let claim = address.claim(client_ip);
        let verdict = match &shared.shared_limits {
            None => shared.rates.peek(self.started, &claim),
            Some(limits) => limits.peek(&shared.rates, self.started, claim),
        };
        match verdict {
            Verdict::Refuse { retry_after_ns } if !self.has_credential() => {
                Err(address.refused(retry_after_ns))
            }
            Verdict::Refuse { .. } | Verdict::Pass { .. } => Ok(()),
        }
    }

    fn has_credential(&self) -> bool {
        let carriers = [Known::Authorization, Known::XApiKey, Known::XGoogApiKey];
        carriers.iter().any(|known| self.work.head.has(*known))
    }

    /// Debits the address of a request that ended without a proven caller.
    pub(crate) fn debit_address(&self, entry: &Entry<'_>) {
        self.debit_unproven(entry.debited(), entry.client_ip());
    }

    pub(crate) fn debit_unproven(&self, debited: &Debited, client_ip: IpAddr) {
        if !debited.address_later {
            return;
        }
        let Some(address) = self.plan.edge_limits.of_address(client_ip) else {
            return;
        };
        let (shared, claim) = (&self.worker.shared, address.claim(client_ip));
        match &shared.shared_limits {
            None => shared.rates.debit(self.started, &claim),
            Some(limits) => limits.debit(&shared.rates, self.started, claim),
        }
    }

    /// Another limit refused the request after all, so that the edge's debits are taken back
    /// (EDGE-85), as far as they still count.
    pub(crate) fn give_back(&self, entry: &Entry<'_>) {
        let (debited, limits) = (entry.debited(), &self.plan.edge_limits);
        if debited.global.is_none() && debited.address.is_none() {
            return;
        }
        let now = self.worker.shared.clock.mono();
        if let Some((limit, tat)) = limits.global.as_ref().zip(debited.global) {
            self.give_back_one(now, self.global_claim(limit), tat);
        }
        if let Some((address, tat)) = limits.address.as_ref().zip(debited.address) {
            self.give_back_one(now, address.claim(entry.client_ip()), tat);
        }
    }

    fn give_back_one(&self, now: MonoNanos, claim: Claim<'_>, tat: u64) {
        let shared = &self.worker.shared;
        match &shared.shared_limits {
            None => shared.rates.give_back(now, &claim, tat),
            Some(limits) => limits.give_back(&shared.rates, now, claim, tat),
        }
    }
}

/// Limits of the edge that are being asked: that of all requests, then that of the address.
struct Pending<'a> {
    global: Option<&'a Limit>,
    address: Option<&'a AddressLimit>,
    address_later: bool,
    claims: SmallVec<[Claim<'a>; 2]>,
    admitted: Result<(), RateRefusal>,
}

impl Pending<'_> {
    fn debited(&self) -> Result<Debited, Refusal> {
        self.admitted.map_err(|refused| self.refused(refused))?;
        let mut tats = self.claims.iter().map(Claim::tat);
        Ok(Debited {
            global: self.global.and_then(|_| tats.next()),
            address: self.address.and_then(|_| tats.next()),
            address_later: self.address_later,
        })
    }

    fn refused(&self, refused: RateRefusal) -> Refusal {
        let of_all = self.global.filter(|_| refused.claim == 0);
        match (of_all, self.address) {
            (Some(limit), _) => {
                limit.refused(LimitClass::Global, CountedBy::All, refused.retry_after_ns)
            }
            (None, Some(address)) => address.refused(refused.retry_after_ns),
            (None, None) => Refusal::Internal,
        }
    }
}
