//! All counters as Prometheus text, format 0.0.4.

mod cache;
mod ledger;
mod payments;
mod seed;
mod spend;
mod words;

use self::spend::Counts;
use super::Metrics;
use super::histogram::{BUCKETS, HistogramSum, OVERHEAD_BOUNDS, REQUEST_BOUNDS};
use super::labels::{AttemptResult, NameList, Names, RATE_CLASSES, STATUS_CLASSES};
use super::meters::{SinkMeter, Words};
use super::process::Process;
use super::shard::{Requests, Shard, Tally};
use crate::RequestOutcome;
use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use tollkeep_types::usage::Class;

impl Metrics {
    /// Everything in the text format 0.0.4 of Prometheus.
    pub fn render(&self) -> String {
        let shards = self
            .shards
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let mut text = Text::default();
        let mut left = self.series_max;
        self.render_requests(&mut text, &shards, &mut left);
        self.render_tokens(&mut text, &shards, &mut left);
        self.render_spend(&mut text, &shards, &mut left);
        Self::render_qualities(&mut text, &shards);
        self.render_ledger(&mut text, &shards);
        self.render_cache(&mut text);
        self.render_payments(&mut text);
        render_totals(&mut text, &shards);
        self.render_attempts(&mut text, &shards);
        self.render_violations(&mut text, &shards);
        self.render_breakers(&mut text);
        self.render_words(&mut text);
        self.render_own(&mut text);
        Process::read().render(&mut text);
        if let Some(seeds) = &self.seeds {
            self.render_seeds(&mut text, seeds, &shards);
        }
        text.0
    }

    fn render_requests(&self, text: &mut Text, shards: &[Arc<Shard>], left: &mut usize) {
        let mut sums: BTreeMap<(usize, usize), RequestSum> = BTreeMap::new();
        for (place, cell) in shards.iter().flat_map(|shard| shard.requests.used()) {
            sums.entry(place).or_default().add(cell);
        }
        let names = [&self.routes, &self.providers].map(Names::list);
        let sums = named(sums, &names, left, RequestSum::merge);
        text.family("tollkeep_requests_total", "counter", "Finished requests.");
        for ((route, provider), sum) in &sums {
            for (status, by_outcome) in STATUS_CLASSES.iter().zip(&sum.by_end) {
                for (outcome, count) in RequestOutcome::ALL.iter().zip(by_outcome) {
                    if *count > 0 {
                        let labels = [
                            ("route", *route),
                            ("provider", *provider),
                            ("status", *status),
                            ("outcome", outcome.as_str()),
                        ];
                        text.sample("tollkeep_requests_total", &labels, count);
                    }
                }
            }
        }
        for (name, help, bounds, of) in HISTOGRAMS {
            text.family(name, "histogram", help);
            for ((route, provider), sum) in &sums {
                let labels = [("route", *route), ("provider", *provider)];
                text.histogram(name, &labels, bounds, of(sum));
            }
        }
    }

    fn render_tokens(&self, text: &mut Text, shards: &[Arc<Shard>], left: &mut usize) {
        let mut sums: BTreeMap<(usize, usize), Counts<{ Class::ALL.len() }>> = BTreeMap::new();
        for (place, cell) in shards.iter().flat_map(|shard| shard.tokens.used()) {
            sums.entry(place)
                .or_default()
                .add(cell.iter().map(Tally::total));
        }
        let merge = |sum: &mut Counts<{ Class::ALL.len() }>,
                     other: &Counts<{ Class::ALL.len() }>| {
            sum.add(other.0.into_iter());
        };
        let names = [&self.providers, &self.models].map(Names::list);
        let sums = named(sums, &names, left, merge);
        text.family(
            "tollkeep_tokens_total",
            "counter",
            "Tokens upstreams reported.",
        );
        for ((provider, model), sum) in &sums {
            for (class, count) in Class::ALL.iter().zip(sum.0) {
                if count > 0 {
                    let labels = [
                        ("provider", *provider),
                        ("model", *model),
                        ("class", class.name()),
                    ];
                    text.sample("tollkeep_tokens_total", &labels, count);
                }
            }
        }
    }

    fn render_attempts(&self, text: &mut Text, shards: &[Arc<Shard>]) {
        let name = "tollkeep_upstream_attempts_total";
        text.family(name, "counter", "Attempts at upstreams.");
        for (at, provider) in self.providers.list().iter().enumerate() {
            for (result, word) in AttemptResult::ALL.iter().map(|r| r.as_str()).enumerate() {
                let cells = shards
                    .iter()
                    .filter_map(|shard| shard.attempts.get(at)?.get());
                let count: u64 = cells
                    .filter_map(|by| by.get(result))
                    .map(Tally::total)
                    .sum();
                if count > 0 {
                    text.sample(name, &[("provider", provider), ("result", word)], count);
                }
            }
        }
    }

    fn render_violations(&self, text: &mut Text, shards: &[Arc<Shard>]) {
        let name = "tollkeep_rate_limit_violations_total";
        text.family(name, "counter", "Rate limits that were hit.");
        for (at, route) in self.routes.list().iter().enumerate() {
            for (class, word) in RATE_CLASSES.iter().enumerate() {
                let cells = shards
                    .iter()
                    .filter_map(|shard| shard.violations.get(at)?.get());
                let count: u64 = cells.filter_map(|by| by.get(class)).map(Tally::total).sum();
                if count > 0 {
                    text.sample(name, &[("class", word), ("route", route)], count);
                }
            }
        }
        let strict = self.strict_violations.load(Ordering::Relaxed);
        if strict > 0 {
            text.sample(name, &[("class", "strict"), ("route", "none")], strict);
        }
    }

    fn render_breakers(&self, text: &mut Text) {
        let name = "tollkeep_breaker_state";
        let help = "Worst state of an upstream's breakers: 0 closed, 1 half-open, 2 open.";
        text.family(name, "gauge", help);
        let states = self.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        for (provider, state) in states.iter() {
            text.sample(name, &[("provider", provider)], state);
        }
    }

    fn render_own(&self, text: &mut Text) {
        let draining = u8::from(self.draining.load(Ordering::Relaxed));
        text.single(
            "tollkeep_draining",
            "gauge",
            "Whether the process is draining.",
            draining,
        );
        let loaded = u8::from(!self.reloads.failed.load(Ordering::Relaxed));
        text.single(
            "tollkeep_config_last_reload_success",
            "gauge",
            "Whether the settings could be taken over when they were loaded last.",
            loaded,
        );
        text.single(
            "tollkeep_config_last_reload_success_timestamp_seconds",
            "gauge",
            "When settings were taken over last.",
            self.reloads.at_ms.load(Ordering::Relaxed) / 1000,
        );
        let shared = u8::from(self.counters_shared.load(Ordering::Relaxed));
        text.single(
            "tollkeep_counters_shared",
            "gauge",
            "Whether rate limits are counted together with other replicas.",
            shared,
        );
        text.single(
            "tollkeep_log_dropped_total",
            "counter",
            "Log lines dropped because nobody took them.",
            self.log().lines_dropped(),
        );
        text.single(
            "tollkeep_audit_queue",
            "gauge",
            "Audit events waiting to be written.",
            self.audit.queue(),
        );
        text.single(
            "tollkeep_audit_database_lag_records",
            "gauge",
            "Audit records of the file that the database does not have yet.",
            self.audit.behind(),
        );
        text.single(
            "tollkeep_audit_failures_total",
            "counter",
            "Audit writes that failed.",
            self.audit.failures(),
        );
        self.render_sinks(text);
        let name = "tollkeep_certificate_expiry_timestamp_seconds";
        text.family(name, "gauge", "Until when a certificate of ours is valid.");
        for (certificate, end) in &*self.ends() {
            text.sample(name, &[("name", certificate)], end);
        }
        text.family("tollkeep_build_info", "gauge", "Version of the program.");
        let labels = [
            ("version", self.build.version),
            ("commit", self.build.commit),
        ];
        text.sample("tollkeep_build_info", &labels, 1);
    }
}

impl Metrics {
    /// Further places of audit records, where there are any.
    fn render_sinks(&self, text: &mut Text) {
        let sinks = self.sinks.lock().unwrap_or_else(PoisonError::into_inner);
        let counts: Vec<_> = sinks
            .iter()
            .map(|(name, meter)| (name, meter.counts()))
            .collect();
        for (at, (end, kind, help, _)) in SinkMeter::default().counts().into_iter().enumerate() {
            let name = format!("tollkeep_audit_sink_{end}");
            text.family(&name, kind, help);
            for (sink, counts) in &counts {
                if let Some((_, _, _, count)) = counts.get(at) {
                    text.sample(&name, &[("sink", sink)], count);
                }
            }
        }
    }
}

/// Requests of all workers.
#[derive(Clone, Default)]
struct RequestSum {
    by_end: [[u64; RequestOutcome::ALL.len()]; STATUS_CLASSES.len()],
    duration: HistogramSum,
    overhead: HistogramSum,
    first_token: HistogramSum,
}

impl RequestSum {
    fn add(&mut self, cell: &Requests) {
        for (slot, tally) in self
            .by_end
            .iter_mut()
            .flatten()
            .zip(cell.by_end.iter().flatten())
        {
            *slot += tally.total();
        }
        self.duration.add(&cell.duration);
        self.overhead.add(&cell.overhead);
        self.first_token.add(&cell.first_token);
    }

    fn merge(&mut self, other: &Self) {
        for (slot, count) in self
            .by_end
            .iter_mut()
            .flatten()
            .zip(other.by_end.iter().flatten())
        {
            *slot += count;
        }
        self.duration.merge(&other.duration);
        self.overhead.merge(&other.overhead);
        self.first_token.merge(&other.first_token);
    }
}

impl Series for RequestSum {
    fn series(&self) -> usize {
        let ends = self.by_end.iter().flatten().filter(|count| **count > 0);
        let histograms = [&self.duration, &self.overhead, &self.first_token];
        let used = histograms.iter().filter(|sum| sum.count() > 0);
        ends.count() + used.count() * (BUCKETS + 3)
    }
}

type HistogramRow = (
    &'static str,
    &'static str,
    &'static [u64; BUCKETS],
    fn(&RequestSum) -> &HistogramSum,
);

const HISTOGRAMS: [HistogramRow; 3] = [
    (
        "tollkeep_request_duration_seconds",
        "First byte of a request to last byte of its answer.",
        &REQUEST_BOUNDS,
        |sum| &sum.duration,
    ),
    (
        "tollkeep_overhead_seconds",
        "Our own part of requests that went upstream.",
        &OVERHEAD_BOUNDS,
        |sum| &sum.overhead,
    ),
    (
        "tollkeep_time_to_first_token_seconds",
        "First byte of a request to first body byte of its streamed answer.",
        &REQUEST_BOUNDS,
        |sum| &sum.first_token,
    ),
];

/// How many series a sum becomes.
trait Series {
    fn series(&self) -> usize;
}

/// The sums by the names of their labels; once `left` series are used up, the rest as one sum
/// called `other`.
fn named<'n, T: Series + Clone>(
    sums: BTreeMap<(usize, usize), T>,
    [rows, columns]: &'n [NameList; 2],
    left: &mut usize,
    merge: impl Fn(&mut T, &T),
) -> Vec<((&'n str, &'n str), T)> {
    let mut shown: Vec<((&str, &str), T)> = Vec::new();
    let mut rest: Option<T> = None;
    for ((row, column), sum) in sums {
        match left.checked_sub(sum.series()) {
            Some(after) if rest.is_none() => {
                *left = after;
                shown.push(((rows.name(row), columns.name(column)), sum));
            }
            Some(_) | None => match &mut rest {
                Some(rest) => merge(rest, &sum),
                None => rest = Some(sum),
            },
        }
    }
    if let Some(rest) = rest {
        *left = 0;
        let same_name = shown
            .iter_mut()
            .find(|(names, _)| *names == ("other", "other"));
        match same_name {
            Some((_, sum)) => merge(sum, &rest),
            None => shown.push((("other", "other"), rest)),
        }
    }
    shown
}

fn render_totals(text: &mut Text, shards: &[Arc<Shard>]) {
    let sum = |of: fn(&Shard) -> &Tally| {
        let totals = shards.iter().map(|shard| of(shard).total());
        totals.fold(0_u64, u64::wrapping_add)
    };
    let in_flight = sum(|shard| &shard.in_flight);
    text.single(
        "tollkeep_in_flight",
        "gauge",
        "Requests being served.",
        in_flight,
    );
    let streams = sum(|shard| &shard.streams);
    text.single(
        "tollkeep_streams_open",
        "gauge",
        "Streamed answers under way.",
        streams,
    );
    let name = "tollkeep_body_bytes_total";
    text.family(
        name,
        "counter",
        "Body bytes received from and sent to callers.",
    );
    text.sample(name, &[("direction", "in")], sum(|shard| &shard.bytes_in));
    text.sample(name, &[("direction", "out")], sum(|shard| &shard.bytes_out));
}

/// Nanoseconds as seconds, exactly.
pub(super) fn seconds(nanos: u64) -> String {
    let text = format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The text so far. Writing to a `String` cannot fail.
#[derive(Default)]
pub(super) struct Text(String);

impl Text {
    fn put(&mut self, part: impl Display) {
        let _always_ok = write!(self.0, "{part}");
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.put(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    pub(super) fn single(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.put(name);
        for (at, (label, text)) in labels.iter().enumerate() {
            self.put(if at == 0 { '{' } else { ',' });
            self.put(format_args!("{label}=\""));
            for c in text.chars() {
                match c {
                    '\\' => self.put("\\\\"),
                    '"' => self.put("\\\""),
                    '\n' => self.put("\\n"),
                    c => self.put(c),
                }
            }
            self.put('"');
        }
        if !labels.is_empty() {
            self.put('}');
        }
        self.put(format_args!(" {value}\n"));
    }

    fn words(&mut self, name: &str, [first, second]: [&str; 2], words: &Words) {
        for ((a, b), count) in words.counts() {
            if second.is_empty() {
                self.sample(name, &[(first, a)], count);
            } else {
                self.sample(name, &[(first, a), (second, b)], count);
            }
        }
    }

    /// A histogram, unless it is empty.
    fn histogram(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        bounds: &[u64; BUCKETS],
        sum: &HistogramSum,
    ) {
        let count = sum.count();
        if count == 0 {
            return;
        }
        let bucket = format!("{name}_bucket");
        let mut so_far = 0;
        for (bound, in_bucket) in bounds.iter().zip(sum.buckets) {
            so_far += in_bucket;
            let bound = seconds(*bound);
            self.sample(&bucket, &[labels, &[("le", &bound)]].concat(), so_far);
        }
        self.sample(&bucket, &[labels, &[("le", "+Inf")]].concat(), count);
        self.sample(&format!("{name}_sum"), labels, seconds(sum.sum_ns));
        self.sample(&format!("{name}_count"), labels, count);
    }
}

#[cfg(test)]
mod tests;
