//! What is counted under the names of the gateways that this one stands in for: `cliproxy_*`,
//! `llm_proxy_*` and `tollbooth_*`.
//!
//! Workers count none of it: what they hand over when a batch of requests is recorded is counted
//! here at once, so that a request costs nothing where nobody asked for these names, and next to
//! nothing where somebody did.

use super::histogram::{HistogramSum, REQUEST_BOUNDS};
use super::labels::{ModelLabel, ProviderLabel, RouteLabel};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use tollkeep_types::MonoNanos;

/// How many different requests are told apart; whatever else comes counts as one sort of its own.
const SORTS_MAX: usize = 20_000;

/// Requests that wait to be counted while a reader holds the counts, which takes milliseconds; more
/// are not counted.
const WAITING_MAX: usize = 65_536;

/// Whether addresses that meet limits are shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LimitedAddresses {
    /// They are counted together.
    Hidden,
    /// The busiest have series of their own, which makes personal data public to whoever may scrape.
    Shown,
}

/// What a request showed where it is paid for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Payment {
    /// A payment that did.
    Success,
    /// A payment that did not do.
    Rejected,
    /// None.
    Missing,
}

impl Payment {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Rejected => "rejected",
            Self::Missing => "missing",
        }
    }
}

/// One finished request.
#[derive(Clone, Copy, Debug, Default)]
pub struct SeedRequest {
    /// Its route.
    pub route: RouteLabel,
    /// Its method, from the closed set that is served; empty where none was read.
    pub method: &'static str,
    /// The status; 0 when nothing was answered.
    pub status: u16,
    /// Who was asked, or would have been: an answer from the cache is somebody's too.
    pub provider: Option<ProviderLabel>,
    /// The model, if it is a call of one.
    pub model: Option<ModelLabel>,
    /// First byte of the request to last byte of the answer.
    pub duration_ns: u64,
    /// How long the upstream took for the head of its answer.
    pub upstream_ns: Option<u64>,
    /// What became of its payment, where one was due.
    pub payment: Option<Payment>,
    /// Why it failed, in a word of the program.
    pub fault: Option<&'static str>,
    /// The upstream answered with an error, or not at all.
    pub is_upstream_fault: bool,
    /// A credential was not accepted: the caller's by us (`NONE`), or ours by this provider.
    pub auth_failure: Option<ProviderLabel>,
    /// What is suspicious about it, in words of the program.
    pub suspicious: [Option<&'static str>; 2],
}

/// What requests are told apart by.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Sort {
    pub(super) route: RouteLabel,
    pub(super) provider: Option<ProviderLabel>,
    pub(super) model: Option<ModelLabel>,
    pub(super) status: u16,
    pub(super) method: &'static str,
    pub(super) failed: bool,
}

impl Sort {
    /// Whatever came when there was no room for another sort.
    const REST: Self = Self {
        route: RouteLabel::NONE,
        provider: None,
        model: None,
        status: 0,
        method: "other",
        failed: false,
    };

    fn of(request: &SeedRequest) -> Self {
        Self {
            route: request.route,
            provider: request.provider,
            model: request.model,
            status: request.status,
            method: if request.method.is_empty() {
                "none"
            } else {
                request.method
            },
            failed: request.fault.is_some(),
        }
    }
}

/// Requests of one sort.
#[derive(Clone, Copy, Default)]
pub(super) struct Requests {
    pub(super) count: u64,
    pub(super) duration: HistogramSum,
    pub(super) upstream: HistogramSum,
}

#[derive(Default)]
pub(super) struct Counts {
    pub(super) requests: BTreeMap<Sort, Requests>,
    pub(super) payments: BTreeMap<(RouteLabel, Payment), u64>,
    pub(super) faults: BTreeMap<(ProviderLabel, &'static str), u64>,
    pub(super) upstream_faults: BTreeMap<(ProviderLabel, u16), u64>,
    pub(super) auth_failures: BTreeMap<ProviderLabel, u64>,
    pub(super) suspicious: BTreeMap<&'static str, u64>,
}

/// Counts by these names.
pub struct SeedMeter {
    began: MonoNanos,
    now: AtomicU64,
    counts: Mutex<Counts>,
    /// What ended while somebody else held the counts.
    waiting: Mutex<Vec<SeedRequest>>,
}

impl SeedMeter {
    pub(super) fn new(began: MonoNanos) -> Self {
        Self {
            began,
            now: AtomicU64::new(began.0),
            counts: Mutex::default(),
            waiting: Mutex::default(),
        }
    }

    /// Requests ended. A worker does not wait for a reader.
    pub fn count(&self, requests: impl Iterator<Item = SeedRequest>) {
        let counts = match self.counts.try_lock() {
            Ok(counts) => Some(counts),
            Err(TryLockError::Poisoned(counts)) => Some(counts.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        };
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut counts) = counts else {
            let room = WAITING_MAX.saturating_sub(waiting.len());
            waiting.extend(requests.take(room));
            return;
        };
        for request in waiting.drain(..) {
            counts.add(&request);
        }
        drop(waiting);
        for request in requests {
            counts.add(&request);
        }
    }

    /// What time it is, told before each reading.
    pub fn now(&self, now: MonoNanos) {
        self.now.store(now.0, Ordering::Relaxed);
    }

    pub(super) fn uptime_ns(&self) -> u64 {
        MonoNanos(self.now.load(Ordering::Relaxed)).since(self.began)
    }

    pub(super) fn counts(&self) -> MutexGuard<'_, Counts> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        for request in waiting.drain(..) {
            counts.add(&request);
        }
        drop(waiting);
        counts
    }
}

impl Counts {
    fn add(&mut self, request: &SeedRequest) {
        let mut sort = Sort::of(request);
        if self.requests.len() >= SORTS_MAX && !self.requests.contains_key(&sort) {
            sort = Sort::REST;
        }
        let requests = self.requests.entry(sort).or_default();
        requests.count += 1;
        requests
            .duration
            .observe(&REQUEST_BOUNDS, request.duration_ns);
        if let Some(ns) = request.upstream_ns {
            requests.upstream.observe(&REQUEST_BOUNDS, ns);
        }
        if let Some(payment) = request.payment {
            *self.payments.entry((request.route, payment)).or_default() += 1;
        }
        let provider = request.provider.unwrap_or(ProviderLabel::NONE);
        if let (Some(fault), Some(_)) = (request.fault, request.model) {
            *self.faults.entry((provider, fault)).or_default() += 1;
        }
        if request.is_upstream_fault {
            let key = (provider, request.status);
            *self.upstream_faults.entry(key).or_default() += 1;
        }
        if let Some(whose) = request.auth_failure {
            *self.auth_failures.entry(whose).or_default() += 1;
        }
        for kind in request.suspicious.into_iter().flatten() {
            *self.suspicious.entry(kind).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // OPS-52
    #[test]
    fn sorts_of_requests_are_bounded_and_none_is_lost() {
        let meter = SeedMeter::new(MonoNanos(5));
        let sorts = u16::try_from(SORTS_MAX).unwrap();
        let request = |route: u16| SeedRequest {
            route: RouteLabel(route),
            method: "GET",
            status: 200,
            ..SeedRequest::default()
        };
        meter.count((0..sorts + 500).map(request));
        meter.count((0..10).map(request));
        let counts = meter.counts();
        assert_eq!(counts.requests.len(), SORTS_MAX + 1);
        let all = counts.requests.values().map(|of| of.count).sum::<u64>();
        assert_eq!(all, u64::from(sorts) + 510);
        let rest = counts.requests.get(&Sort::REST).unwrap();
        assert_eq!(rest.count, 500);
        assert_eq!(rest.duration.count(), 500);
    }

    #[test]
    fn who_counts_does_not_wait_for_who_reads() {
        let meter = SeedMeter::new(MonoNanos(5));
        let request = SeedRequest {
            method: "GET",
            status: 200,
            ..SeedRequest::default()
        };
        let reader = meter.counts();
        meter.count(std::iter::repeat_n(request, 7));
        assert!(reader.requests.is_empty());
        drop(reader);
        let all = |counts: &Counts| counts.requests.values().map(|of| of.count).sum::<u64>();
        assert_eq!(all(&meter.counts()), 7, "the next reader sees them");
        let reader = meter.counts();
        meter.count(std::iter::repeat_n(request, WAITING_MAX + 1));
        drop(reader);
        meter.count(std::iter::once(request));
        let all = all(&meter.counts());
        assert_eq!(all, 7 + u64::try_from(WAITING_MAX).unwrap() + 1);
    }

    #[test]
    fn nothing_runs_before_it_began() {
        let meter = SeedMeter::new(MonoNanos(5));
        assert_eq!(meter.uptime_ns(), 0);
        meter.now(MonoNanos(1_000_000_005));
        assert_eq!(meter.uptime_ns(), 1_000_000_000);
        meter.now(MonoNanos(1));
        assert_eq!(meter.uptime_ns(), 0);
    }
}
