//! Rate limits of tokens, of a caller and of a provider (LED-62, LLM-R61). What a call can use at most
//! is debited before it goes out, and corrected when what it did use is known.
//!
//! They are counted by this replica; where replicas share limits, each has its share of them.

use crate::holds::Aside;
use crate::lifecycle::Exchange;
use crate::plan::ProviderPlan;
use crate::record::Facts;
use crate::refusal::{CountedBy, LimitClass, Limited, Refusal};
use crate::told_limits;
use smallvec::SmallVec;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tollkeep_config::settings::ProviderRate;
use tollkeep_counters::TokenDebit;
use tollkeep_policy::token_rate::TokenQuota;
use tollkeep_store::live::Lineage;
use tollkeep_types::MonoNanos;
use tollkeep_types::usage::UsageReport;

const MINUTE_NS: u64 = 60_000_000_000;
const DAY_NS: u64 = 86_400_000_000_000;
/// The part of a provider's minute that may come at once.
const BURST: u64 = 10;

/// What passes to a provider.
pub(crate) struct ProviderRates {
    requests: Option<TokenQuota>,
    tokens: Option<TokenQuota>,
    /// It stays from one plan to the next.
    state: Arc<RateState>,
}

#[derive(Default)]
struct RateState {
    requests: AtomicU64,
    tokens: AtomicU64,
}

impl ProviderRates {
    /// `None`: no limit.
    pub(crate) fn new(rate: ProviderRate, before: Option<&Self>) -> Option<Box<Self>> {
        let quota = |limit: u64| TokenQuota::per(limit, MINUTE_NS, limit / BURST);
        let (requests, tokens) = (rate.requests_per_minute, rate.tokens_per_minute);
        if requests.is_none() && tokens.is_none() {
            return None;
        }
        Some(Box::new(Self {
            requests: requests.map(quota),
            tokens: tokens.map(quota),
            state: before.map_or_else(Arc::default, |before| Arc::clone(&before.state)),
        }))
    }
}

/// A limit that was debited for a call.
pub(crate) struct Debited {
    of: Of,
    quota: TokenQuota,
    debit: TokenDebit,
}

/// Whose limit it is.
enum Of {
    TokenMinute(Arc<Lineage>),
    TokenDay(Arc<Lineage>),
    ProviderRequests(Arc<RateState>),
    ProviderTokens(Arc<RateState>),
}

/// All limits that were debited for a call: at most four.
pub(crate) type TakenTokens = SmallVec<[Debited; 4]>;

impl Of {
    fn cell(&self) -> &AtomicU64 {
        match self {
            Self::TokenMinute(lineage) => &lineage.tokens_tat[0],
            Self::TokenDay(lineage) => &lineage.tokens_tat[1],
            Self::ProviderRequests(state) => &state.requests,
            Self::ProviderTokens(state) => &state.tokens,
        }
    }

    /// The weight of a call that uses so many tokens.
    const fn weight(&self, tokens: u64) -> u64 {
        match self {
            Self::ProviderRequests(_) => 1,
            Self::TokenMinute(_) | Self::TokenDay(_) | Self::ProviderTokens(_) => tokens,
        }
    }

    fn refused(&self, quota: &TokenQuota, wait_ns: u64) -> Refusal {
        let retry_after = Duration::from_nanos(wait_ns);
        match self {
            Self::TokenMinute(_) | Self::TokenDay(_) => Refusal::RateLimited(Limited {
                class: LimitClass::Token,
                by: CountedBy::Token,
                quota: quota.tokens(),
                window_s: quota.window_s(),
                retry_after,
            }),
            Self::ProviderRequests(_) | Self::ProviderTokens(_) => {
                Refusal::ModelCooldown { retry_after }
            }
        }
    }
}

impl Debited {
    fn correct(&self, now: MonoNanos, weight: u64) {
        self.debit.correct(self.of.cell(), &self.quota, now, weight);
    }
}

impl Exchange<'_> {
    /// HOT. Whether a limit of tokens, or of its provider, counts this call.
    pub(crate) fn is_rated(&self, provider: &ProviderPlan) -> bool {
        let token = self.work.facts.token.as_ref();
        provider.rates.is_some()
            || token.is_some_and(|token| token.token_limits().iter().any(Option::is_some))
    }

    /// Debits all limits that count the call, or none.
    ///
    /// # Errors
    /// 429.
    pub(crate) fn take_tokens(
        &mut self,
        aside: &Aside<'_>,
        provider: &ProviderPlan,
    ) -> Result<(), Refusal> {
        let weight = self.token_bound(aside);
        let now = self.worker.shared.clock.mono();
        let mut taken = TakenTokens::new();
        for (of, quota) in self.token_limits(provider) {
            match TokenDebit::take(of.cell(), &quota, now, of.weight(weight)) {
                Ok(debit) => taken.push(Debited { of, quota, debit }),
                Err(wait_ns) => {
                    for debited in taken {
                        debited.correct(now, 0);
                    }
                    return Err(of.refused(&quota, wait_ns));
                }
            }
        }
        if let (Some(llm), Some(own)) = (&self.work.facts.llm, taken.first())
            && matches!(own.of, Of::TokenMinute(_) | Of::TokenDay(_))
        {
            let state = (&own.quota, own.debit.tat());
            let (dialect, wall) = (llm.surface.dialect(), self.work.facts.at);
            told_limits::write_tokens(&mut self.work.limits, dialect, state, (now, wall));
        }
        self.work.facts.taken = Some(Box::new(taken));
        Ok(())
    }

    /// The limits that count the call, the caller's own first.
    fn token_limits(&self, provider: &ProviderPlan) -> SmallVec<[(Of, TokenQuota); 4]> {
        let mut limits: SmallVec<[(Of, TokenQuota); 4]> = SmallVec::new();
        if let Some(token) = &self.work.facts.token {
            let [minute, day] = token.token_limits();
            let lineage = || Arc::clone(&token.lineage);
            let quota = |limit: std::num::NonZeroU32, window_ns| {
                let limit = u64::from(limit.get());
                TokenQuota::per(limit, window_ns, limit)
            };
            limits
                .extend(minute.map(|limit| (Of::TokenMinute(lineage()), quota(limit, MINUTE_NS))));
            limits.extend(day.map(|limit| (Of::TokenDay(lineage()), quota(limit, DAY_NS))));
        }
        if let Some(rates) = &provider.rates {
            let state = || Arc::clone(&rates.state);
            limits.extend(
                rates
                    .requests
                    .map(|quota| (Of::ProviderRequests(state()), quota)),
            );
            limits.extend(
                rates
                    .tokens
                    .map(|quota| (Of::ProviderTokens(state()), quota)),
            );
        }
        if let Some(shared) = &self.worker.shared.shared_limits {
            for (_, quota) in &mut limits {
                *quota = quota.share(shared.replicas());
            }
        }
        limits
    }
}

/// Corrects what was debited for a call that is settled: by what it used, by nothing if it never went
/// out. Where nobody knows, it stays.
pub(crate) fn correct(facts: &mut Facts, now: MonoNanos) {
    let Some(taken) = facts.taken.take() else {
        return;
    };
    let told = facts.llm.as_ref().and_then(|llm| llm.told.as_ref());
    let was_sent = facts.upstream_ns.is_some();
    let used = match told.map(|told| &told.report) {
        Some(UsageReport::Reported(lines) | UsageReport::Estimated(lines)) => {
            Some(lines.input().saturating_add(lines.output()))
        }
        Some(UsageReport::Released) => Some(0),
        Some(UsageReport::Unknown(_)) => None,
        None => (!was_sent).then_some(0),
    };
    let Some(used) = used else { return };
    for debited in *taken {
        let weight = if was_sent { debited.of.weight(used) } else { 0 };
        debited.correct(now, weight);
    }
}
