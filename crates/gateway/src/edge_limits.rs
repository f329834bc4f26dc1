//! Limits that a data request meets before anything of it is known: of all requests, and of its
//! address.

use crate::admit::Entry;
use crate::lifecycle::Exchange;
use crate::refusal::{CountedBy, LimitClass, Limited, Refusal};
use ipnet::IpNet;
use smallvec::SmallVec;
use std::net::IpAddr;
use std::time::Duration;
use tollkeep_config::settings::{Rate, RateScope, Server};
use tollkeep_counters::{Claim, Class, Key};
use tollkeep_http1::Known;
use tollkeep_policy::client_ip::prefix_key;
use tollkeep_policy::rate::{Quota, Verdict};

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
    fn key(&self, client_ip: IpAddr) -> Key {
        if self.per_ip {
            Key::addr(Class::Ip, prefix_key(client_ip))
        } else {
            Key::whole(Class::Global)
        }
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

impl Exchange<'_> {
    /// The limit of all requests and that of the address, cheapest first and debited together. In
    /// scope `unproven` the address is only looked at, for a request without a credential, and its
    /// debit waits for the end.
    ///
    /// # Errors
    /// 429.
    pub(crate) fn check_edge_limits(&self, client_ip: IpAddr) -> Result<Debited, Refusal> {
        let limits = &self.plan.edge_limits;
        let (global, address) = (limits.global.as_ref(), limits.of_address(client_ip));
        let mut debited = Debited::default();
        if let Some(address) = address.filter(|address| address.scope == RateScope::Unproven) {
            self.look_at_address(address, client_ip)?;
            debited.address_later = true;
        }
        let address = address.filter(|address| address.scope == RateScope::All);
        if global.is_none() && address.is_none() {
            return Ok(debited);
        }
        let shared = &self.worker.shared;
        let mut claims: SmallVec<[Claim<'_>; 2]> = SmallVec::new();
        claims.extend(global.map(|limit| Claim::cell(&shared.global_tat, limit.quota)));
        claims
            .extend(address.map(|address| Claim::key(address.key(client_ip), address.limit.quota)));
        let admitted = shared.rates.admit(self.started, &mut claims);
        admitted.map_err(|refused| {
            let of_all = global.filter(|_| refused.claim == 0);
            match (of_all, address) {
                (Some(limit), _) => {
                    limit.refused(LimitClass::Global, CountedBy::All, refused.retry_after_ns)
                }
                (None, Some(address)) => address.refused(refused.retry_after_ns),
                (None, None) => Refusal::Internal,
            }
        })?;
        let mut tats = claims.iter().map(Claim::tat);
        debited.global = global.and_then(|_| tats.next());
        debited.address = address.and_then(|_| tats.next());
        Ok(debited)
    }

    fn look_at_address(&self, address: &AddressLimit, client_ip: IpAddr) -> Result<(), Refusal> {
        let rates = &self.worker.shared.rates;
        let key = address.key(client_ip);
        match rates.peek(self.started, key, &address.limit.quota) {
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
        if let Some(address) = self.plan.edge_limits.of_address(client_ip) {
            let key = address.key(client_ip);
            let rates = &self.worker.shared.rates;
            rates.debit(self.started, key, &address.limit.quota);
        }
    }

    /// Another limit refused the request after all, so that the edge's debits are taken back
    /// (EDGE-85), as far as they still count.
    pub(crate) fn give_back(&self, entry: &Entry<'_>) {
        let (debited, limits) = (entry.debited(), &self.plan.edge_limits);
        if debited.global.is_none() && debited.address.is_none() {
            return;
        }
        let shared = &self.worker.shared;
        let now = shared.clock.mono();
        if let Some((limit, tat)) = limits.global.as_ref().zip(debited.global) {
            let claim = Claim::cell(&shared.global_tat, limit.quota);
            shared.rates.give_back(now, &claim, tat);
        }
        if let Some((address, tat)) = limits.address.as_ref().zip(debited.address) {
            let claim = Claim::key(address.key(entry.client_ip()), address.limit.quota);
            shared.rates.give_back(now, &claim, tat);
        }
    }
}
