//! What is unusual in how a line of tokens is used (ID-40), decided from what it did minute by
//! minute and from nothing else: the same minutes give the same answers.

mod usual;

use serde::{Deserialize, Serialize};
use usual::Usual;

/// Minutes over which errors are looked at, the running one included.
const ERROR_MINUTES: u64 = 5;
/// A signal that fired is silent for at least so many minutes.
const SILENT_MINUTES: u64 = 15;
/// Networks that are remembered for a line; those not seen for longest make room.
const NETWORKS_MAX: usize = 128;
/// What is spent is learnt in micro-dollars: no line spends a million dollars in a minute.
const SPEND_UNIT_NANO: u64 = 1_000;
/// Clients that are remembered for a line.
const CLIENTS_MAX: usize = 64;

/// What can be unusual.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Signal {
    /// Many more requests in a minute than usual.
    RequestRate,
    /// At least half of the requests of five minutes failed.
    ErrorRatio,
    /// A request from a network that the line was not used from before.
    NewNetwork,
    /// A request by a kind of client that did not use it before.
    NewClient,
    /// Many requests in a minute for what the token may not.
    PolicyProbe,
    /// Used again after a long silence.
    DormantWake,
    /// Much more spent in a minute than usual.
    SpendRate,
}

impl Signal {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::RequestRate,
        Self::ErrorRatio,
        Self::NewNetwork,
        Self::NewClient,
        Self::PolicyProbe,
        Self::DormantWake,
        Self::SpendRate,
    ];

    /// Its name in settings and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RequestRate => "request_rate",
            Self::ErrorRatio => "error_ratio",
            Self::NewNetwork => "new_network",
            Self::NewClient => "new_client",
            Self::PolicyProbe => "policy_probe",
            Self::DormantWake => "dormant_wake",
            Self::SpendRate => "spend_rate",
        }
    }

    /// Its kind in audit events.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::RequestRate => "anomaly.request_rate",
            Self::ErrorRatio => "anomaly.error_ratio",
            Self::NewNetwork => "anomaly.new_network",
            Self::NewClient => "anomaly.new_client",
            Self::PolicyProbe => "anomaly.policy_probe",
            Self::DormantWake => "anomaly.dormant_wake",
            Self::SpendRate => "anomaly.spend_rate",
        }
    }
}

/// When which signal fires. Times are in minutes; a signal that is off is `None`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rules {
    /// Minutes of use before it is known what is usual.
    pub warmup: u64,
    /// After how long a minute counts half.
    pub half_life: u64,
    /// Deviations above the mean, and the fewest requests that matter.
    pub request_rate: Option<(u64, u64)>,
    /// The fewest requests that matter.
    pub error_ratio: Option<u64>,
    /// How long the networks of a line are only learnt.
    pub new_network: Option<u64>,
    /// How long the clients of a line are only learnt.
    pub new_client: Option<u64>,
    /// Refusals from which on it is a probe.
    pub policy_probe: Option<u64>,
    /// What counts as a long silence.
    pub dormant_wake: Option<u64>,
    /// Deviations above the mean, and the least that matters, in nano-dollars.
    pub spend_rate: Option<(u64, u64)>,
}

impl Default for Rules {
    fn default() -> Self {
        const DAY: u64 = 1440;
        Self {
            warmup: 60,
            half_life: DAY,
            request_rate: Some((6, 60)),
            error_ratio: Some(20),
            new_network: Some(7 * DAY),
            new_client: Some(7 * DAY),
            policy_probe: Some(10),
            dormant_wake: Some(30 * DAY),
            spend_rate: Some((6, 1_000_000_000)),
        }
    }
}

/// What a line did in one minute, or so far in the running one.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Minute {
    /// Which minute, counted from 1970.
    pub minute: u64,
    /// Its requests.
    pub requests: u64,
    /// Those that failed (4xx, 5xx).
    pub errors: u64,
    /// Those that were for what the token may not.
    pub refusals: u64,
    /// What they cost, as far as that is known, in nano-dollars.
    pub spend_nano: u64,
    /// The networks they came from, hashed.
    pub networks: Vec<u64>,
    /// The kinds of clients they came by, hashed.
    pub clients: Vec<u64>,
}

/// A signal, and why it fires.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Firing {
    /// What is unusual.
    pub signal: Signal,
    /// What was seen.
    pub seen: u64,
    /// From what on that is unusual.
    pub limit: u64,
}

/// What is known of a line.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Habits {
    /// The first minute it was used in.
    since: u64,
    /// The last minute that was learnt.
    last: u64,
    /// Minutes in which it was used.
    active: u64,
    rate: Usual,
    /// Of what was spent, in [`SPEND_UNIT_NANO`].
    #[serde(default)]
    spend: Usual,
    /// Requests and errors of the last minutes.
    recent: Vec<(u64, u64, u64)>,
    /// In which minute each signal fired last, in the order of [`Signal::ALL`]; 0 for never.
    fired: Vec<u64>,
    networks: Vec<Sighting>,
    clients: Vec<Sighting>,
}

/// Something seen, and in which minute last.
type Sighting = (u64, u64);

impl Habits {
    /// Looks at a minute that may not be over yet. What is unusual in a part of a minute is so in
    /// the whole.
    pub fn look(&mut self, minute: &Minute, rules: &Rules) -> Vec<Firing> {
        if minute.requests == 0 || (self.active > 0 && minute.minute <= self.last) {
            return Vec::new();
        }
        // What was kept before there was a signal says nothing of it.
        self.fired.resize(Signal::ALL.len(), 0);
        let mut firings = Vec::new();
        for (signal, fired) in Signal::ALL.into_iter().zip(self.fired.iter().copied()) {
            let is_silent = fired > 0 && minute.minute <= fired.saturating_add(SILENT_MINUTES);
            if let Some((seen, limit)) = self.judge(signal, minute, rules).filter(|_| !is_silent) {
                firings.push(Firing {
                    signal,
                    seen,
                    limit,
                });
            }
        }
        for firing in &firings {
            let all = Signal::ALL.iter().zip(&mut self.fired);
            all.filter(|(signal, _)| **signal == firing.signal)
                .for_each(|(_, fired)| *fired = minute.minute);
        }
        firings
    }

    /// Looks at a minute that is over, and learns from it.
    pub fn close(&mut self, minute: &Minute, rules: &Rules) -> Vec<Firing> {
        if minute.requests == 0 || (self.active > 0 && minute.minute <= self.last) {
            return Vec::new();
        }
        let firings = self.look(minute, rules);
        if self.active == 0 {
            self.since = minute.minute;
        }
        let passed = minute.minute.saturating_sub(self.last);
        self.rate.learn(minute.requests, passed, rules.half_life);
        let spend = minute.spend_nano.div_ceil(SPEND_UNIT_NANO);
        self.spend.learn(spend, passed, rules.half_life);
        self.active = self.active.saturating_add(1);
        self.last = minute.minute;
        self.recent
            .push((minute.minute, minute.requests, minute.errors));
        // The running minute comes on top.
        let from = minute.minute.saturating_sub(ERROR_MINUTES - 2);
        self.recent.retain(|(minute, ..)| *minute >= from);
        remember(
            &mut self.networks,
            &minute.networks,
            (minute.minute, NETWORKS_MAX),
        );
        remember(
            &mut self.clients,
            &minute.clients,
            (minute.minute, CLIENTS_MAX),
        );
        firings
    }

    /// What was seen and from what on it is unusual, if it is.
    fn judge(&self, signal: Signal, minute: &Minute, rules: &Rules) -> Option<(u64, u64)> {
        let silence = minute.minute.saturating_sub(self.last);
        let unusual = |seen: u64, limit: u64| (seen >= limit).then_some((seen, limit));
        let unknown = |seen: &[u64], known: &[Sighting], learnt_after: u64| {
            let is_known = |one: &&u64| known.iter().any(|(known, _)| known == *one);
            let new = seen.iter().filter(|one| !is_known(one)).count();
            let is_learnt = minute.minute.saturating_sub(self.since) >= learnt_after;
            let new = u64::try_from(new).unwrap_or(u64::MAX);
            (self.active > 0 && is_learnt && new > 0).then_some((new, 1))
        };
        match signal {
            Signal::RequestRate => {
                let (sigma, floor) = rules.request_rate?;
                let limit = floor.max(self.rate.limit(sigma));
                unusual(minute.requests, limit).filter(|_| self.active >= rules.warmup)
            }
            Signal::SpendRate => {
                let (sigma, floor) = rules.spend_rate?;
                let usual = self.spend.limit(sigma).saturating_mul(SPEND_UNIT_NANO);
                unusual(minute.spend_nano, floor.max(usual)).filter(|_| self.active >= rules.warmup)
            }
            Signal::ErrorRatio => {
                let floor = rules.error_ratio?;
                let from = minute.minute.saturating_sub(ERROR_MINUTES - 1);
                let recent = self.recent.iter().filter(|(minute, ..)| *minute >= from);
                let (requests, errors) = recent.fold(
                    (minute.requests, minute.errors),
                    |(requests, errors), (_, more, failed)| {
                        (
                            requests.saturating_add(*more),
                            errors.saturating_add(*failed),
                        )
                    },
                );
                unusual(errors, requests.div_ceil(2)).filter(|_| requests >= floor)
            }
            Signal::NewNetwork => unknown(&minute.networks, &self.networks, rules.new_network?),
            Signal::NewClient => unknown(&minute.clients, &self.clients, rules.new_client?),
            Signal::PolicyProbe => unusual(minute.refusals, rules.policy_probe?),
            Signal::DormantWake => {
                unusual(silence, rules.dormant_wake?).filter(|_| self.active > 0)
            }
        }
    }
}

/// Takes in what was seen; what was not seen for longest makes room.
fn remember(known: &mut Vec<Sighting>, seen: &[u64], (minute, max): (u64, usize)) {
    for one in seen {
        match known.iter_mut().find(|(known, _)| known == one) {
            Some((_, last)) => *last = minute,
            None => known.push((*one, minute)),
        }
    }
    if known.len() > max {
        known.sort_by_key(|(_, last)| std::cmp::Reverse(*last));
        known.truncate(max);
    }
}

#[cfg(test)]
mod tests;
