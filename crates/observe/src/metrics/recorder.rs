//! What a worker counts, once a request.

use super::histogram::{OVERHEAD_BOUNDS, REQUEST_BOUNDS};
use super::labels::{
    AttemptResult, ModelLabel, ProviderLabel, RATE_CLASSES, RouteLabel, USAGE_REASONS, status_class,
};
use super::shard::Shard;
use crate::RequestOutcome;
use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;
use tollkeep_types::money::NanoUsd;
use tollkeep_types::usage::{Quality, Usage};

/// One finished request.
#[derive(Clone, Copy, Debug)]
pub struct Finished {
    /// Its route.
    pub route: RouteLabel,
    /// Who answered it.
    pub provider: ProviderLabel,
    /// The status; 0 when nothing was answered.
    pub status: u16,
    /// How it ended.
    pub outcome: RequestOutcome,
    /// First byte of the request to last byte of the answer.
    pub duration_ns: u64,
    /// Our own part of it, if an upstream was asked.
    pub overhead_ns: Option<u64>,
    /// First byte of the request to first byte of the answer's body, if it was streamed.
    pub ttft_ns: Option<u64>,
    /// Body bytes received.
    pub bytes_in: u64,
    /// Body bytes sent.
    pub bytes_out: u64,
}

/// One worker's counters. It stays in one thread, so that counting costs plain loads and stores.
pub struct Recorder {
    shard: Arc<Shard>,
    one_thread: PhantomData<Cell<()>>,
}

impl Recorder {
    pub(super) const fn new(shard: Arc<Shard>) -> Self {
        Self {
            shard,
            one_thread: PhantomData,
        }
    }

    /// A request began.
    pub fn begin(&self) {
        self.shard.in_flight.add(1);
    }

    /// A request ended; every [`Self::begin`] has exactly one.
    pub fn finish(&self, request: &Finished) {
        self.shard.in_flight.subtract(1);
        self.shard.bytes_in.add(request.bytes_in);
        self.shard.bytes_out.add(request.bytes_out);
        let Some(cell) = self
            .shard
            .requests
            .cell(request.route.0, request.provider.0)
        else {
            return;
        };
        let ends = cell.by_end.get(status_class(request.status));
        if let Some(tally) = ends.and_then(|by| by.get(request.outcome as usize)) {
            tally.add(1);
        }
        cell.duration.observe(&REQUEST_BOUNDS, request.duration_ns);
        if let Some(nanos) = request.overhead_ns {
            cell.overhead.observe(&OVERHEAD_BOUNDS, nanos);
        }
        if let Some(nanos) = request.ttft_ns {
            cell.first_token.observe(&REQUEST_BOUNDS, nanos);
        }
    }

    /// A streamed answer began.
    pub fn stream_opened(&self) {
        self.shard.streams.add(1);
    }

    /// A streamed answer ended.
    pub fn stream_closed(&self) {
        self.shard.streams.subtract(1);
    }

    /// A hold was taken.
    pub fn hold_taken(&self) {
        self.shard.holds.add(1);
    }

    /// A hold ended; every [`Self::hold_taken`] has exactly one.
    pub fn hold_ended(&self) {
        self.shard.holds.subtract(1);
    }

    /// Tokens a call used.
    pub fn tokens(&self, provider: ProviderLabel, model: ModelLabel, usage: &Usage) {
        let Some(cell) = self.shard.tokens.cell(provider.0, model.0) else {
            return;
        };
        for (class, count) in usage.iter() {
            if let Some(tally) = cell.get(class as usize) {
                tally.add(count);
            }
        }
    }

    /// What a call cost.
    pub fn spent(
        &self,
        provider: ProviderLabel,
        model: ModelLabel,
        quality: Quality,
        cost: NanoUsd,
    ) {
        let cell = self.shard.spend.cell(provider.0, model.0);
        let cost = u64::try_from(cost.get()).unwrap_or(0);
        if let Some(tally) = cell.and_then(|cell| cell.get(quality as usize)) {
            tally.add(cost);
        }
    }

    /// How far to trust what is known of a call's usage, and why no further.
    pub fn usage_quality(&self, quality: Quality, reason: &'static str) {
        let at = USAGE_REASONS.iter().position(|known| *known == reason);
        let by_reason = self.shard.qualities.get(quality as usize);
        if let Some(tally) = by_reason.zip(at).and_then(|(by, at)| by.get(at)) {
            tally.add(1);
        }
    }

    /// A rate limit of this class (`ip`, `token`, `route`, …) was hit.
    pub fn rate_limited(&self, route: RouteLabel, class: &'static str) {
        let at = RATE_CLASSES.iter().position(|known| *known == class);
        let by_class = self.shard.violations.get(usize::from(route.0));
        let by_class = by_class.map(|slot| slot.get_or_init(Box::default));
        if let Some(tally) = by_class.zip(at).and_then(|(by, at)| by.get(at)) {
            tally.add(1);
        }
    }

    /// One attempt at an upstream.
    pub fn attempt(&self, provider: ProviderLabel, result: AttemptResult) {
        let Some(slot) = self.shard.attempts.get(usize::from(provider.0)) else {
            return;
        };
        if let Some(tally) = slot.get_or_init(Box::default).get(result as usize) {
            tally.add(1);
        }
    }
}
