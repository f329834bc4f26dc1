//! How long a credential is left alone after what its provider answered, and how it is tried again
//! (LLM-R40, R50, R51).
//!
//! A [`CoolDown`] belongs to a credential, or to a credential and a model. Some reasons are the
//! credential's own: nothing is called with it while they last, but for one probe now and then.
//! Others may be anybody's: then other credentials are only preferred to it.

use std::time::Duration;
use tollkeep_types::MonoNanos;

const SECOND_NS: u64 = 1_000_000_000;
const MINUTE_NS: u64 = 60 * SECOND_NS;

/// A cool-down that lasts longer is probed, first after so long.
const PROBE_FIRST_NS: u64 = MINUTE_NS;
/// Longest time between probes.
const PROBE_MAX_NS: u64 = 10 * MINUTE_NS;
/// What a provider says about its rates is believed up to here, and about quotas four times as
/// far: what they say is often wrong, and never known to be.
const TOLD_MAX_NS: u64 = 15 * MINUTE_NS;
/// Without failures for so long, a level is forgotten.
const LEVEL_KEPT_NS: u64 = 10 * MINUTE_NS;
/// Above this the steps have long reached their bounds.
const LEVEL_MAX: u8 = 20;
/// Failures in a row that count where one may be chance.
const STRIKES: u8 = 2;

/// What a call met, as far as it says something about its credential.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Met {
    /// Too many calls for now.
    RateLimit,
    /// What may be used is used up.
    Quota,
    /// The account is not paid for.
    Billing,
    /// The credential is refused.
    Auth,
    /// The provider has too much to do.
    Overload,
    /// No answer in time.
    Timeout,
    /// The provider failed.
    Transient,
    /// The model is not there for this credential.
    ModelMissing,
}

impl Met {
    /// Each of them.
    pub const ALL: [Self; 8] = [
        Self::RateLimit,
        Self::Quota,
        Self::Billing,
        Self::Auth,
        Self::Overload,
        Self::Timeout,
        Self::Transient,
        Self::ModelMissing,
    ];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RateLimit => "rate_limit",
            Self::Quota => "quota",
            Self::Billing => "billing",
            Self::Auth => "auth",
            Self::Overload => "overload",
            Self::Timeout => "timeout",
            Self::Transient => "transient",
            Self::ModelMissing => "model_missing",
        }
    }

    /// Whether it holds for the credential whatever model is called.
    pub const fn is_of_credential(self) -> bool {
        matches!(self, Self::Billing | Self::Auth)
    }

    /// Whether nothing is called meanwhile; else others are only preferred.
    pub const fn forbids(self) -> bool {
        match self {
            Self::RateLimit | Self::Quota | Self::Billing | Self::Auth => true,
            Self::Overload | Self::Timeout | Self::Transient | Self::ModelMissing => false,
        }
    }
}

/// A credential that is, or was lately, left alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CoolDown {
    /// Why.
    pub met: Met,
    /// Since when.
    pub since: MonoNanos,
    /// Until when.
    pub until: MonoNanos,
    /// How often it was met again right after.
    pub level: u8,
    /// The provider said how long.
    pub is_told: bool,
    strikes: u8,
    raised_at: MonoNanos,
    probe_at: MonoNanos,
    probe_step_ns: u64,
}

/// Whether a credential may be used now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stands {
    /// It may.
    Free,
    /// It may, if no other can.
    Behind,
    /// It may not.
    Cools {
        /// Why.
        met: Met,
        /// Until when.
        until: MonoNanos,
        /// One call may try, if no other credential can: see [`CoolDown::probe`].
        may_probe: bool,
    },
}

impl CoolDown {
    /// The first that was met.
    pub fn new(met: Met, told: Option<Duration>, now: MonoNanos) -> Self {
        let mut new = Self {
            met,
            since: now,
            until: now,
            level: 0,
            is_told: false,
            strikes: 0,
            raised_at: now,
            probe_at: now,
            probe_step_ns: PROBE_FIRST_NS,
        };
        new.once_more(told, now);
        new
    }

    /// It was met, maybe again; `told` is how long the provider says to wait.
    pub fn again(&mut self, met: Met, told: Option<Duration>, now: MonoNanos) {
        if self.met == met {
            return self.once_more(told, now);
        }
        // Something else has no history, and ends nothing that forbids for longer.
        let forbidden = self.until > now && self.met.forbids();
        if forbidden && !met.forbids() {
            return;
        }
        let until = self.until;
        *self = Self::new(met, told, now);
        if forbidden {
            self.until = self.until.max(until);
        }
    }

    fn once_more(&mut self, told: Option<Duration>, now: MonoNanos) {
        let (met, is_over) = (self.met, now >= self.until);
        if is_over {
            self.level = self.level_at(now);
            if self.until > self.since {
                self.level = self.level.saturating_add(1).min(LEVEL_MAX);
            }
        }
        self.strikes = self.strikes.saturating_add(1);
        self.raised_at = now;
        let strikes_wanted = match met {
            Met::Timeout | Met::Transient => STRIKES,
            Met::RateLimit
            | Met::Quota
            | Met::Billing
            | Met::Auth
            | Met::Overload
            | Met::ModelMissing => 1,
        };
        if self.strikes < strikes_wanted {
            return;
        }
        let told = told.map(|told| bounded(met, told));
        if !is_over {
            // A burst of the same, or a probe that failed: it lasts as long as it did, unless the
            // provider says longer.
            if let Some(told_ns) = told {
                self.until = self.until.max(MonoNanos(now.0.saturating_add(told_ns)));
            }
            return;
        }
        let lasts_ns = told.unwrap_or_else(|| own_ns(met, self.level));
        self.is_told = told.is_some();
        self.since = now;
        self.until = MonoNanos(now.0.saturating_add(lasts_ns));
        self.probe_step_ns = PROBE_FIRST_NS;
        self.probe_at = MonoNanos(now.0.saturating_add(PROBE_FIRST_NS));
    }

    /// What it says now.
    pub fn stands(&self, now: MonoNanos) -> Stands {
        if now >= self.until {
            return Stands::Free;
        }
        if !self.met.forbids() {
            return Stands::Behind;
        }
        Stands::Cools {
            met: self.met,
            until: self.until,
            may_probe: now >= self.probe_at,
        }
    }

    /// One call tries now; the next may after a longer time, unless this one goes well.
    pub fn probe(&mut self, now: MonoNanos) {
        self.probe_step_ns = self.probe_step_ns.saturating_mul(2).min(PROBE_MAX_NS);
        self.probe_at = MonoNanos(now.0.saturating_add(self.probe_step_ns));
    }

    /// Whether nothing of it is worth remembering.
    pub fn is_past(&self, now: MonoNanos) -> bool {
        now >= self.until && now.since(self.raised_at.max(self.until)) >= LEVEL_KEPT_NS
    }

    fn level_at(&self, now: MonoNanos) -> u8 {
        let quiet = now.since(self.until) / LEVEL_KEPT_NS;
        self.level
            .saturating_sub(u8::try_from(quiet).unwrap_or(u8::MAX))
    }
}

fn bounded(met: Met, told: Duration) -> u64 {
    let max_ns = match met {
        Met::Quota | Met::Billing => 4 * TOLD_MAX_NS,
        Met::RateLimit
        | Met::Auth
        | Met::Overload
        | Met::Timeout
        | Met::Transient
        | Met::ModelMissing => TOLD_MAX_NS,
    };
    u64::try_from(told.as_nanos())
        .unwrap_or(u64::MAX)
        .min(max_ns)
}

/// How long, where the provider says nothing.
fn own_ns(met: Met, level: u8) -> u64 {
    let doubled = |first_ns: u64, max_ns: u64| {
        let factor = 1_u64.checked_shl(level.into()).unwrap_or(u64::MAX);
        first_ns.saturating_mul(factor).min(max_ns)
    };
    match met {
        Met::RateLimit => doubled(SECOND_NS, 30 * MINUTE_NS),
        Met::Quota => 30 * MINUTE_NS,
        Met::Billing => doubled(15 * MINUTE_NS, 240 * MINUTE_NS),
        Met::Auth => doubled(10 * MINUTE_NS, 240 * MINUTE_NS),
        Met::Overload => 15 * SECOND_NS,
        Met::Timeout | Met::Transient => MINUTE_NS,
        Met::ModelMissing => 60 * MINUTE_NS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> MonoNanos {
        MonoNanos(seconds * SECOND_NS)
    }

    fn lasts_s(cool: &CoolDown) -> u64 {
        cool.until.since(cool.since) / SECOND_NS
    }

    // LLM-R40 LLM-R50
    #[test]
    fn each_reason_has_its_time() {
        for (met, told_s, want_s) in [
            (Met::RateLimit, None, 1),
            (Met::RateLimit, Some(20), 20),
            (Met::RateLimit, Some(1_555_200), 900),
            (Met::Quota, None, 1_800),
            (Met::Quota, Some(1_555_200), 3_600),
            (Met::Billing, None, 900),
            (Met::Auth, None, 600),
            (Met::Overload, None, 15),
            (Met::Overload, Some(3), 3),
            (Met::Timeout, None, 0),
            (Met::Transient, None, 0),
            (Met::ModelMissing, None, 3_600),
        ] {
            let told = told_s.map(Duration::from_secs);
            let cool = CoolDown::new(met, told, at(100));
            assert_eq!(lasts_s(&cool), want_s, "{met:?} {told_s:?}");
            assert_eq!(cool.is_told, told_s.is_some(), "{met:?}");
        }
    }

    // LLM-R40
    #[test]
    fn one_failure_of_the_provider_may_be_chance() {
        let mut cool = CoolDown::new(Met::Transient, None, at(0));
        assert_eq!(cool.stands(at(0)), Stands::Free);
        cool.again(Met::Transient, None, at(1));
        assert_eq!(cool.stands(at(2)), Stands::Behind);
        assert_eq!(cool.stands(at(61)), Stands::Free);
    }

    // LLM-R50
    #[test]
    fn bursts_raise_the_level_once() {
        let mut cool = CoolDown::new(Met::RateLimit, None, at(0));
        for _ in 0..100 {
            cool.again(Met::RateLimit, None, at(0));
        }
        assert_eq!((cool.level, lasts_s(&cool)), (0, 1));
        for (seconds, level, lasts) in [(1, 1, 2), (3, 2, 4), (7, 3, 8)] {
            cool.again(Met::RateLimit, None, at(seconds));
            assert_eq!((cool.level, lasts_s(&cool)), (level, lasts), "{seconds}");
        }
        // Half an hour of quiet forgets three levels, and the failure then is one more.
        cool.again(Met::RateLimit, None, at(15 + 1_800));
        assert_eq!((cool.level, lasts_s(&cool)), (1, 2));
        for _ in 0..40 {
            cool.again(Met::RateLimit, None, cool.until);
        }
        assert_eq!(lasts_s(&cool), 1_800, "no longer than half an hour");
    }

    // LLM-R51
    #[test]
    fn what_lasts_long_is_probed_and_a_failed_probe_moves_only_the_next() {
        let mut cool = CoolDown::new(Met::Quota, Some(Duration::from_secs(1_555_200)), at(0));
        let probe = |cool: &CoolDown, seconds| match cool.stands(at(seconds)) {
            Stands::Cools { may_probe, .. } => Some(may_probe),
            Stands::Free | Stands::Behind => None,
        };
        assert_eq!(probe(&cool, 59), Some(false));
        assert_eq!(probe(&cool, 60), Some(true));
        cool.probe(at(60));
        assert_eq!(probe(&cool, 61), Some(false), "one is enough");
        let level = cool.level;
        cool.again(Met::Quota, None, at(61));
        assert_eq!((cool.level, cool.until), (level, at(3_600)));
        assert_eq!(probe(&cool, 179), Some(false));
        assert_eq!(probe(&cool, 180), Some(true));
        let mut seconds = 180;
        let mut longest = 0;
        while seconds < 3_600 {
            if probe(&cool, seconds) == Some(true) {
                cool.probe(at(seconds));
                longest = longest.max(cool.probe_at.since(at(seconds)));
            }
            seconds += 1;
        }
        assert_eq!(longest, PROBE_MAX_NS, "never more than ten minutes");
        assert_eq!(probe(&cool, 3_600), None);
    }

    #[test]
    fn what_only_may_be_meant_does_not_end_what_is_meant() {
        let mut cool = CoolDown::new(Met::Auth, None, at(0));
        cool.again(Met::Transient, None, at(1));
        assert_eq!((cool.met, cool.until), (Met::Auth, at(600)));
        cool.again(Met::Billing, None, at(2));
        assert_eq!(cool.met, Met::Billing);
        assert_eq!(cool.until, at(902), "the longer of the two");
        assert!(!cool.is_past(at(1_000)));
        assert!(cool.is_past(at(1_600)));
    }

    proptest::proptest! {
        #[test]
        fn nothing_lasts_longer_than_four_hours(
            steps in proptest::collection::vec((0_usize..8, 0_u64..20_000, proptest::option::of(0_u64..u64::MAX)), 1..60)
        ) {
            let mut now = at(1);
            let mut cool: Option<CoolDown> = None;
            for (met, wait, told) in steps {
                now = MonoNanos(now.0 + wait * SECOND_NS);
                let (met, told) = (Met::ALL[met], told.map(Duration::from_secs));
                match &mut cool {
                    Some(cool) => cool.again(met, told, now),
                    None => cool = Some(CoolDown::new(met, told, now)),
                }
                let left = cool.unwrap().until.since(now);
                proptest::prop_assert!(left <= 240 * MINUTE_NS);
            }
        }
    }
}
