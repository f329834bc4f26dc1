//! What the tokens of each line do in each minute, counted from the records that workers hand over
//! in batches: a request pays nothing for it.

use crate::record::{Facts, RefusedAs};
use smallvec::SmallVec;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tollkeep_observe::RequestOutcome;
use tollkeep_types::LineageId;

/// Lines and minutes counted until somebody takes the counts; what comes beyond is not counted.
const LINES_MAX: usize = 100_000;
/// Networks told of one line in one minute.
const NETWORKS_MAX: usize = 16;
/// Clients told of one line in one minute.
const CLIENTS_MAX: usize = 8;
/// Codes of what a token may not, beside its bindings.
const PROBES: [&str; 8] = [
    "endpoint_not_found",
    "feature_not_allowed",
    "header_required",
    "limit_exceeded",
    "method_not_allowed",
    "model_not_found",
    "param_not_allowed",
    "policy_denied",
];

/// What the tokens of a line did in a minute.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LineCounts {
    /// Its requests.
    pub requests: u64,
    /// Those that failed (4xx, 5xx).
    pub errors: u64,
    /// Those that were for what the token may not.
    pub refusals: u64,
    /// What they cost, as far as that is known.
    pub spend_nano: u64,
    /// The networks they came from, /24 or /48.
    pub networks: SmallVec<[IpAddr; 2]>,
    /// What they called themselves.
    pub clients: SmallVec<[Option<Arc<str>>; 2]>,
}

impl LineCounts {
    /// Adds more of the same line and minute.
    pub fn add(&mut self, more: Self) {
        self.requests = self.requests.saturating_add(more.requests);
        self.errors = self.errors.saturating_add(more.errors);
        self.refusals = self.refusals.saturating_add(more.refusals);
        self.spend_nano = self.spend_nano.saturating_add(more.spend_nano);
        for network in more.networks {
            self.saw_network(network);
        }
        for client in more.clients {
            self.saw_client(client.as_ref());
        }
    }

    fn saw_network(&mut self, network: IpAddr) {
        if !self.networks.contains(&network) && self.networks.len() < NETWORKS_MAX {
            self.networks.push(network);
        }
    }

    fn saw_client(&mut self, client: Option<&Arc<str>>) {
        let is_known = |known: &Option<Arc<str>>| known.as_deref() == client.map(|name| &**name);
        if !self.clients.iter().any(is_known) && self.clients.len() < CLIENTS_MAX {
            self.clients.push(client.map(Arc::clone));
        }
    }

    fn count(&mut self, facts: &Facts) {
        self.requests += 1;
        self.errors += u64::from(facts.status >= 400);
        self.refusals += u64::from(is_probe(facts));
        if let Some(Ok(cost)) = facts.llm.as_ref().and_then(|llm| llm.cost.as_ref()) {
            let nano = u64::try_from(cost.get()).unwrap_or_default();
            self.spend_nano = self.spend_nano.saturating_add(nano);
        }
        self.saw_network(network_of(facts.client_ip));
        self.saw_client(facts.user_agent.as_ref());
    }
}

/// Counts by minute, from 1970, and line.
pub type LineMinutes = HashMap<(u64, LineageId), LineCounts>;

/// The counts since they were taken last.
#[derive(Default)]
pub struct Tally {
    is_on: AtomicBool,
    fresh: Mutex<LineMinutes>,
}

impl Tally {
    /// Counts from now on, or no longer.
    pub fn switch(&self, on: bool) {
        self.is_on.store(on, Ordering::Relaxed);
    }

    /// Takes the counts out.
    pub fn take(&self) -> LineMinutes {
        std::mem::take(&mut *self.fresh.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts a batch of records.
    pub(crate) fn count(&self, batch: &[Facts]) {
        if !self.is_on.load(Ordering::Relaxed) {
            return;
        }
        let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        // Records of one line mostly come one after the other.
        for run in batch.chunk_by(|a, b| key(a) == key(b)) {
            let Some(key) = run.first().and_then(key) else {
                continue;
            };
            if fresh.len() >= LINES_MAX && !fresh.contains_key(&key) {
                continue;
            }
            let counts = fresh.entry(key).or_default();
            run.iter().for_each(|facts| counts.count(facts));
        }
    }
}

fn key(facts: &Facts) -> Option<(u64, LineageId)> {
    let token = facts.token.as_ref()?;
    Some((facts.at.0 / 60_000, token.lineage.id))
}

/// Whether the token asked for what it may not.
fn is_probe(facts: &Facts) -> bool {
    match facts.refusal {
        Some((_, RefusedAs::Binding(_))) => true,
        Some((code, _)) => facts.outcome == RequestOutcome::Refused && PROBES.contains(&code),
        None => false,
    }
}

/// The /24 of an address, or the /48.
fn network_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() & !0xff).into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !((1 << 80) - 1)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // ID-40
    #[test]
    fn a_network_is_a_24_or_a_48() {
        for (ip, want) in [
            ("192.0.2.77", "192.0.2.0"),
            ("::ffff:192.0.2.77", "192.0.2.0"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1::"),
        ] {
            let network = network_of(ip.parse().unwrap());
            assert_eq!(network, want.parse::<IpAddr>().unwrap(), "{ip}");
        }
    }

    // ID-40
    #[test]
    fn what_a_line_shows_of_itself_in_a_minute_is_bounded() {
        let mut counts = LineCounts::default();
        for number in 0..100_u32 {
            counts.saw_network(network_of(Ipv4Addr::from_bits(number << 8).into()));
            let name: Arc<str> = number.to_string().into();
            counts.saw_client(Some(&name));
            counts.saw_client(Some(&name));
            counts.saw_client(None);
        }
        assert_eq!(counts.networks.len(), NETWORKS_MAX);
        assert_eq!(counts.clients.len(), CLIENTS_MAX);
        let twice = counts.clone();
        counts.add(twice);
        assert_eq!(counts.networks.len(), NETWORKS_MAX);
        assert_eq!(counts.clients.len(), CLIENTS_MAX);
    }
}
