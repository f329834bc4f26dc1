//! The edge of a request: who sends it, whether the name is served, whether there is room, and
//! its canonical path.

use crate::counted::Counted;
use crate::edge_limits::Debited;
use crate::lifecycle::Exchange;
use crate::refusal::Refusal;
use crate::shared_limits::SharedLimits;
use std::net::IpAddr;
use tollkeep_counters::{IpGuard, SeatGuard};
use tollkeep_http1::Known;
use tollkeep_policy::client_ip::{ClientScheme, prefix_key};
use tollkeep_policy::headers::request_id_acceptable;
use tollkeep_policy::ip_list::Listing;
use tollkeep_types::path::{Canonical, PathRules, canonicalize, check_query, split_target};

/// Characters of a `User-Agent` that are kept.
const USER_AGENT_BYTES_MAX: usize = 200;

/// A longer target is judged anew each time.
const PLAIN_TARGET_BYTES_MAX: usize = 256;

/// The request may be looked at: its framing is strict, its authority served, its address known,
/// and there was room for it.
pub(crate) struct Entry<'w> {
    client_ip: IpAddr,
    query: Option<std::ops::Range<usize>>,
    has_encoded_slash: bool,
    has_semicolon: bool,
    debited: Debited,
    _running: Room<'w>,
}

/// The request counts as running, in all and by address, until it is over.
type Room<'w> = (Counted<'w>, OfAddress<'w>);

/// How a request is counted by its address.
enum OfAddress<'w> {
    /// A trusted proxy's own: not at all.
    Uncounted,
    /// With the others of its connection's address.
    Direct(SeatGuard<'w>),
    /// By the address that a trusted proxy tells.
    Told(IpGuard<'w>),
}

impl OfAddress<'_> {
    fn count(&self) -> usize {
        match self {
            Self::Uncounted => 0,
            Self::Direct(guard) => guard.count(),
            Self::Told(guard) => guard.count(),
        }
    }
}

impl Entry<'_> {
    pub(crate) fn client_ip(&self) -> IpAddr {
        self.client_ip
    }

    /// Where the query stands in the target, without its `?`.
    pub(crate) fn query(&self) -> Option<std::ops::Range<usize>> {
        self.query.clone()
    }

    pub(crate) fn has_encoded_slash(&self) -> bool {
        self.has_encoded_slash
    }

    pub(crate) fn has_semicolon(&self) -> bool {
        self.has_semicolon
    }

    /// What the limits of the edge took for it.
    pub(crate) fn debited(&self) -> &Debited {
        &self.debited
    }
}

impl<'w> Exchange<'w> {
    /// Admits the head. The order of checks is part of the contract: authority, expectation,
    /// address lists, room, maintenance, limits, path.
    ///
    /// # Errors
    /// 421, 417, 403, 503, 429, 400, 508.
    pub(crate) fn admit(&mut self) -> Result<Entry<'w>, Refusal> {
        let (client_ip, listing, running) = self.knock()?;
        let debited = self.check_edge_limits(client_ip, listing)?;
        self.enter(client_ip, running, debited)
    }

    /// The same, where replicas share limits.
    ///
    /// # Errors
    /// As [`Self::admit`].
    pub(crate) async fn admit_shared(
        &mut self,
        limits: &SharedLimits,
    ) -> Result<Entry<'w>, Refusal> {
        let (client_ip, listing, running) = self.knock()?;
        let debited = self
            .check_shared_edge_limits(limits, client_ip, listing)
            .await?;
        self.enter(client_ip, running, debited)
    }

    /// Who asks, whether they may and are served here, and whether there is room.
    fn knock(&mut self) -> Result<(IpAddr, Listing, Room<'w>), Refusal> {
        let client_ip = self.client_ip();
        self.note_fields();
        self.check_authority()?;
        if self.work.head.expect_other {
            return Err(Refusal::ExpectationFailed);
        }
        let listing = self.check_lists(client_ip)?;
        let running = self.find_room(client_ip)?;
        self.check_maintenance(client_ip)?;
        Ok((client_ip, listing, running))
    }

    fn enter(
        &mut self,
        client_ip: IpAddr,
        running: Room<'w>,
        debited: Debited,
    ) -> Result<Entry<'w>, Refusal> {
        let pathed = self.check_hop().and_then(|()| self.canonical_path());
        let (query, canonical) =
            pathed.inspect_err(|_| self.debit_unproven(&debited, client_ip))?;
        Ok(Entry {
            client_ip,
            query,
            has_encoded_slash: canonical.has_encoded_slash,
            has_semicolon: canonical.has_semicolon,
            debited,
            _running: running,
        })
    }

    fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
        let bytes = self.conn.unread();
        self.work
            .head
            .fields
            .iter()
            .map(move |field| (field.name.of(bytes), field.value.of(bytes)))
    }

    fn client_ip(&mut self) -> IpAddr {
        let peer = self.conn.peer().ip();
        let rules = &self.plan.client_ip;
        if !rules.trusts(peer) {
            return tollkeep_policy::client_ip::fold(peer);
        }
        let resolved = rules.resolve(peer, self.fields());
        let scheme = rules.forwarded_scheme(peer, self.fields());
        self.conn.slot().serve(Some(resolved.ip));
        self.work.facts.client_ip = resolved.ip;
        self.work.facts.header_spoof = resolved.spoof;
        self.secure |= scheme == Some(ClientScheme::Https);
        resolved.ip
    }

    /// Keeps what records tell of the head.
    fn note_fields(&mut self) {
        self.work.facts.method = self.work.head.method.as_str();
        let bytes = self.conn.unread();
        let text = |known| {
            self.work
                .head
                .value(bytes, known)
                .and_then(|value| std::str::from_utf8(value).ok())
        };
        let agent = text(Known::UserAgent).map(|agent| {
            let kept = agent.get(..agent.floor_char_boundary(USER_AGENT_BYTES_MAX));
            self.worker.name(kept.unwrap_or_default())
        });
        let correlation = text(Known::XCorrelationId)
            .filter(|id| request_id_acceptable(id.as_bytes()))
            .map(Box::from);
        let request_id = text(Known::XRequestId)
            .filter(|id| self.plan.trust_request_id && request_id_acceptable(id.as_bytes()))
            .map(Box::from);
        (self.work.facts.user_agent, self.work.facts.correlation_id) = (agent, correlation);
        self.callers_request_id = request_id;
    }

    fn check_authority(&self) -> Result<(), Refusal> {
        let (plan, authority) = (self.plan, self.work.head.authority.of(self.conn.unread()));
        let tls = self.conn.tls();
        if tls.is_some_and(|tls| tls.misdirects(authority)) {
            return Err(Refusal::Misdirected);
        }
        let served = plan.served_authority.get();
        if served.is_some_and(|served| **served == *authority) {
            return Ok(());
        }
        let mut hosts = plan.hosts.iter();
        if !hosts.any(|pattern| pattern.matches(authority)) {
            return Err(Refusal::Misdirected);
        }
        plan.served_authority.get_or_init(|| authority.into());
        Ok(())
    }

    /// Whether the client may come at all.
    fn check_lists(&self, client_ip: IpAddr) -> Result<Listing, Refusal> {
        match self.worker.listing(self.plan, client_ip) {
            Listing::Denied => Err(Refusal::Forbidden("ip_list")),
            listing @ (Listing::Passes | Listing::Exempt) => Ok(listing),
        }
    }

    /// Refuses while there is no room: fails closed when the audit can't be written.
    fn find_room(&self, client_ip: IpAddr) -> Result<Room<'w>, Refusal> {
        let (shared, limits) = (&self.worker.shared, &self.plan.limits);
        if shared
            .audit
            .as_ref()
            .is_some_and(|audit| !audit.accepting(self.started))
        {
            return Err(Refusal::AuditUnavailable);
        }
        if self.lane.crowded {
            return Err(Refusal::ConnectionLimit);
        }
        let running = Counted::within(&shared.running, 1, limits.concurrent_requests_max);
        let running = running.ok_or_else(|| self.turned_away())?;
        self.shed(client_ip, running.count())?;
        let told = prefix_key(client_ip) != prefix_key(self.conn.peer().ip());
        let of_address = match self.lane.seat {
            _ if self.plan.client_ip.trusts(client_ip) => OfAddress::Uncounted,
            Some(seat) if !told => OfAddress::Direct(seat.enter()),
            _ => OfAddress::Told(shared.requests.enter(client_ip)),
        };
        if of_address.count() > limits.concurrent_requests_per_ip_max {
            return Err(Refusal::ConnectionLimit);
        }
        Ok((running, of_address))
    }

    /// Tells callers to come back later, in the dialect of the path they ask for.
    fn check_maintenance(&mut self, client_ip: IpAddr) -> Result<(), Refusal> {
        let Some(refusal) = self.worker.maintenance(self.plan, client_ip) else {
            return Ok(());
        };
        if self.canonical_path().is_err() {
            self.work.path.clear();
        }
        Err(refusal)
    }

    /// A request of our own that came back.
    fn check_hop(&self) -> Result<(), Refusal> {
        let head = &self.work.head;
        if !head.has(Known::TollkeepHop) {
            return Ok(());
        }
        let (own, bytes) = (self.plan.instance.as_bytes(), self.conn.unread());
        let mut hops = head
            .fields
            .iter()
            .filter(|field| field.known == Known::TollkeepHop);
        if hops.any(|field| field.value.of(bytes) == own) {
            return Err(Refusal::Loop);
        }
        Ok(())
    }

    fn canonical_path(&mut self) -> Result<(Option<std::ops::Range<usize>>, Canonical), Refusal> {
        // `OPTIONS *` has no path; no route can be meant.
        if self.work.head.asterisk {
            return Ok((None, Canonical::default()));
        }
        let target = self.work.head.target.of(self.conn.unread());
        let mut plain = self.worker.plain_target.borrow_mut();
        if plain.as_bytes() == target {
            self.work.path.clone_from(&plain);
            return Ok((None, Canonical::default()));
        }
        let (path, query) = split_target(target);
        let canonical = canonicalize(path, PathRules::PERMISSIVE, &mut self.work.path)
            .map_err(|_| Refusal::BadRequest("path"))?;
        let Some(query) = query else {
            let is_plain = canonical == Canonical::default() && self.work.path.as_bytes() == target;
            if is_plain && target.len() <= PLAIN_TARGET_BYTES_MAX {
                plain.clone_from(&self.work.path);
            }
            return Ok((None, canonical));
        };
        check_query(query).map_err(|_| Refusal::BadRequest("query"))?;
        Ok((Some(path.len() + 1..target.len()), canonical))
    }
}
