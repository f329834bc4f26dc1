//! What is unusual in the use of tokens, and what is done then.

use super::{DAY_MS, days};
use crate::field::{KindExt, section};
use crate::kind::{Parsed, choice, duration, parsed, switch, whole};
use crate::reader::keys;
use std::time::Duration;
use tollkeep_policy::anomaly::{Rules, Signal};
use tollkeep_types::money::{NanoUsd, ParseAmountError};

/// What is unusual in the use of tokens, and what is done then.
#[derive(Clone, Debug)]
pub struct Anomaly {
    /// Whether anybody looks.
    pub enabled: bool,
    /// When which signal fires.
    pub rules: Rules,
    /// What is done, by signal.
    actions: Vec<(Signal, AnomalyAction)>,
}

impl Anomaly {
    /// What is done when a signal fires.
    pub fn action(&self, signal: Signal) -> AnomalyAction {
        let mut actions = self.actions.iter();
        let found = actions.find(|(of, _)| *of == signal);
        found.map_or(AnomalyAction::Event, |(_, action)| *action)
    }
}

/// What is done when a signal fires.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AnomalyAction {
    /// It is recorded and counted.
    Event,
    /// And the tokens of the line are suspended.
    Suspend,
    /// Nothing: nobody looks.
    Off,
}

const ACTIONS: [(&str, AnomalyAction); 3] = [
    ("event", AnomalyAction::Event),
    ("suspend", AnomalyAction::Suspend),
    ("off", AnomalyAction::Off),
];

keys! {
    /// What is unusual in the use of an access token, judged from its minutes, those of its
    /// predecessors and successors by rotation included.
    pub(crate) struct AnomalyFile {
        /// Whether the use of tokens is looked at.
        enabled: bool = switch().or(true),
        /// Minutes of use before it is known how many requests are usual.
        warmup_minutes: u64 = whole(1..=43_200).or(60),
        /// After how long a minute counts half for what is usual.
        half_life: Duration = duration(600_000..=30 * DAY_MS).or(days(1)),
        /// What is done when a signal fires that says nothing else: `event` records and counts it,
        /// `suspend` also suspends the tokens of the line until `tollkeep token resume`, `off`
        /// does not look.
        action: AnomalyAction = choice(&ACTIONS).or(AnomalyAction::Event),
        signals: SignalsFile = section(),
    }
}

keys! {
    /// What is unusual.
    pub(crate) struct SignalsFile {
        request_rate: RequestRate = section(),
        error_ratio: ErrorRatio = section(),
        new_network: NewNetwork = section(),
        new_client: NewClient = section(),
        policy_probe: PolicyProbe = section(),
        dormant_wake: DormantWake = section(),
        spend_rate: SpendRate = section(),
    }
}

keys! {
    /// More requests in a minute than usual.
    pub(crate) struct RequestRate {
        /// As `anomaly.action`, for this signal.
        action: Option<AnomalyAction> = choice(&ACTIONS).optional(),
        /// How many deviations above the mean are unusual.
        sigma: u64 = whole(1..=1_000).or(6),
        /// Fewer requests in a minute never are.
        floor: u64 = whole(1..=1_000_000_000).or(60),
    }
}

keys! {
    /// At least half of the requests of five minutes failed (4xx, 5xx).
    pub(crate) struct ErrorRatio {
        /// As `anomaly.action`, for this signal.
        action: Option<AnomalyAction> = choice(&ACTIONS).optional(),
        /// With fewer requests in five minutes that says nothing.
        floor: u64 = whole(1..=1_000_000_000).or(20),
    }
}

keys! {
    /// A request from a network (/24, of IPv6 /48) that the line was not used from before.
    pub(crate) struct NewNetwork {
        /// As `anomaly.action`, for this signal.
        action: Option<AnomalyAction> = choice(&ACTIONS).optional(),
        /// How long from its first use on its networks are only learnt.
        after: Duration = duration(60_000..=365 * DAY_MS).or(days(7)),
    }
}

keys! {
    /// A request by a kind of client (the first word of `User-Agent`) that did not use it before.
    pub(crate) struct NewClient {
        /// As `anomaly.action`, for this signal.
        action: Option<AnomalyAction> = choice(&ACTIONS).optional(),
        /// How long from its first use on its clients are only learnt.
        after: Duration = duration(60_000..=365 * DAY_MS).or(days(7)),
    }
}

keys! {
    /// Requests in a minute for what the token may not, such as other models or paths.
    pub(crate) struct PolicyProbe {
        /// As `anomaly.action`, for this signal.
        action: Option<AnomalyAction> = choice(&ACTIONS).optional(),
        /// So many of them.
        floor: u64 = whole(1..=1_000_000_000).or(10),
    }
}

keys! {
    /// A use after a long silence.
    pub(crate) struct DormantWake {
        /// As `anomaly.action`, for this signal.
        action: Option<AnomalyAction> = choice(&ACTIONS).optional(),
        /// How long that is.
        after: Duration = duration(60_000..=365 * DAY_MS).or(days(30)),
    }
}

const fn dollars() -> Parsed<NanoUsd> {
    parsed("dollars such as `$1.50`", |text| {
        text.parse()
            .map_err(|error: ParseAmountError| error.to_string())
    })
}

keys! {
    /// More spent in a minute than usual, as far as costs are known.
    pub(crate) struct SpendRate {
        /// As `anomaly.action`, for this signal.
        action: Option<AnomalyAction> = choice(&ACTIONS).optional(),
        /// How many deviations above the mean are unusual.
        sigma: u64 = whole(1..=1_000).or(6),
        /// Less in a minute never is, in dollars.
        floor: NanoUsd = dollars().or(NanoUsd::new(1_000_000_000)),
    }
}

impl AnomalyFile {
    pub(super) fn check(self) -> Anomaly {
        let all = self.action;
        let signals = self.signals;
        let actions: Vec<_> = [
            (Signal::RequestRate, signals.request_rate.action),
            (Signal::ErrorRatio, signals.error_ratio.action),
            (Signal::NewNetwork, signals.new_network.action),
            (Signal::NewClient, signals.new_client.action),
            (Signal::PolicyProbe, signals.policy_probe.action),
            (Signal::DormantWake, signals.dormant_wake.action),
            (Signal::SpendRate, signals.spend_rate.action),
        ]
        .map(|(signal, action)| (signal, action.unwrap_or(all)))
        .into();
        let is_on = |signal| {
            let off = (signal, AnomalyAction::Off);
            !actions.contains(&off)
        };
        let spend_floor = signals.spend_rate.floor.get();
        let spend_floor = u64::try_from(spend_floor).unwrap_or_default();
        let rules = Rules {
            warmup: self.warmup_minutes,
            half_life: minutes(self.half_life),
            request_rate: is_on(Signal::RequestRate)
                .then_some((signals.request_rate.sigma, signals.request_rate.floor)),
            error_ratio: is_on(Signal::ErrorRatio).then_some(signals.error_ratio.floor),
            new_network: is_on(Signal::NewNetwork).then(|| minutes(signals.new_network.after)),
            new_client: is_on(Signal::NewClient).then(|| minutes(signals.new_client.after)),
            policy_probe: is_on(Signal::PolicyProbe).then_some(signals.policy_probe.floor),
            dormant_wake: is_on(Signal::DormantWake).then(|| minutes(signals.dormant_wake.after)),
            spend_rate: is_on(Signal::SpendRate).then_some((signals.spend_rate.sigma, spend_floor)),
        };
        Anomaly {
            enabled: self.enabled,
            rules,
            actions,
        }
    }
}

fn minutes(duration: Duration) -> u64 {
    duration.as_secs() / 60
}
