//! The names of other gateways: relabelled, or counted by [`SeedMeter`].
//!
//! What such a name counts and nothing here can do, has no samples at all rather than a zero.

use super::{Text, seconds};
use crate::metrics::Metrics;
use crate::metrics::histogram::{HistogramSum, REQUEST_BOUNDS};
use crate::metrics::labels::{NameList, ProviderLabel};
use crate::metrics::payments::{PaymentPhase, Settlement};
use crate::metrics::seed::{Counts, Requests, SeedMeter, Sort};
use crate::metrics::shard::{Shard, Tally};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use tollkeep_types::usage::Class;

/// What llm-proxy counts, with the member of its JSON object that has the same.
struct LlmProxy {
    requests: u64,
    errors: u64,
    hits: u64,
    misses: u64,
    bypass: u64,
    stores: u64,
}

impl Metrics {
    /// The object that llm-proxy answers with, where other gateways' names are wanted.
    pub fn llm_proxy_json(&self) -> Option<String> {
        let seeds = self.seeds.as_ref()?;
        let sums = self.llm_proxy(&seeds.counts());
        let members = [
            ("request_count", sums.requests),
            ("error_count", sums.errors),
            ("cache_hits", sums.hits),
            ("cache_misses", sums.misses),
            ("cache_bypass", sums.bypass),
            ("cache_stores", sums.stores),
        ];
        let members = members.map(|(name, count)| format!(",\"{name}\":{count}"));
        let uptime = seconds(seeds.uptime_ns());
        Some(format!(
            "{{\"uptime_seconds\":{uptime}{}}}",
            members.concat()
        ))
    }

    fn llm_proxy(&self, counts: &Counts) -> LlmProxy {
        let asked = counts.requests.iter();
        let asked = asked.filter(|(sort, _)| sort.provider.is_some());
        let (mut requests, mut errors) = (0, 0);
        for (sort, of) in asked {
            requests += of.count;
            errors += if sort.failed { of.count } else { 0 };
        }
        let cache = |results: &[&str]| {
            let wanted = self.cache.results();
            let wanted = wanted.filter(|(result, _)| results.contains(result));
            wanted.map(|(_, count)| count).sum()
        };
        LlmProxy {
            requests,
            errors,
            hits: cache(&["hit", "collapsed"]),
            misses: cache(&["miss"]),
            bypass: cache(&["refresh", "bypass"]),
            stores: self.cache.0.kept.load(Ordering::Relaxed),
        }
    }

    pub(super) fn render_seeds(&self, text: &mut Text, seeds: &SeedMeter, shards: &[Arc<Shard>]) {
        let counts = seeds.counts();
        let names = Labels {
            routes: self.routes.list(),
            providers: self.providers.list(),
            models: self.models.list(),
        };
        self.render_cliproxy_safety(text, &counts, &names, shards);
        render_cliproxy_calls(text, &counts, &names, shards);
        render_llm_proxy(text, &self.llm_proxy(&counts), seeds.uptime_ns());
        render_tollbooth_requests(text, &counts, &names);
        self.render_tollbooth_payments(text, &counts, &names);
        render_blocks(text, &names, shards);
        let name = "tollbooth_upstream_errors_total";
        text.family(name, "counter", "Upstreams that failed, by what was told.");
        for ((provider, status), count) in &counts.upstream_faults {
            let status = status.to_string();
            let upstream = names.provider(*provider);
            text.sample(name, &[("upstream", upstream), ("status", &status)], count);
        }
        let shards = shards.iter();
        let running = shards.fold(0_u64, |sum, shard| {
            sum.wrapping_add(shard.in_flight.total())
        });
        text.single(
            "tollbooth_active_requests",
            "gauge",
            "Requests being served.",
            running,
        );
    }

    fn render_cliproxy_safety(
        &self,
        text: &mut Text,
        counts: &Counts,
        names: &Labels,
        shards: &[Arc<Shard>],
    ) {
        let name = "cliproxy_auth_failures_total";
        text.family(name, "counter", "Credentials that were not accepted.");
        for (at, provider) in names.providers.iter().enumerate() {
            let label = u16::try_from(at).map_or(ProviderLabel::NONE, ProviderLabel);
            let count = counts.auth_failures.get(&label).copied().unwrap_or(0);
            text.sample(name, &[("provider", provider)], count);
        }
        let name = "cliproxy_rate_limit_violations_total";
        text.family(name, "counter", "Rate limits that were hit, by address.");
        let all = violations(shards).into_iter().sum::<u64>();
        text.sample(name, &[("ip", "all")], all);
        if let Some(busiest) = &self.limited_addresses {
            let busiest = busiest.lock().unwrap_or_else(PoisonError::into_inner);
            let shown = busiest.shown();
            drop(busiest);
            for (address, count) in shown {
                text.sample(name, &[("ip", &address.to_string())], count);
            }
        }
        let name = "cliproxy_security_events_total";
        text.family(name, "counter", "What looked like an attack or a misuse.");
        let anomalies = self.anomalies.counts();
        let unusual = anomalies.iter().map(|(_, count)| count).sum::<u64>();
        text.sample(name, &[("event_type", "suspicious_activity")], unusual);
        for ((signal, _), count) in anomalies {
            let kind = format!("anomaly.{signal}");
            text.sample(name, &[("event_type", &kind)], count);
        }
        for (kind, count) in &counts.suspicious {
            text.sample(name, &[("event_type", kind)], count);
        }
    }

    fn render_tollbooth_payments(&self, text: &mut Text, counts: &Counts, names: &Labels) {
        let name = "tollbooth_payments_total";
        text.family(
            name,
            "counter",
            "Requests that are paid for, by their payment.",
        );
        for ((route, payment), count) in &counts.payments {
            let route = names.routes.name(usize::from(route.0));
            let labels = [("route", route), ("outcome", payment.as_str())];
            text.sample(name, &labels, count);
        }
        let paid = &self.payments.0;
        let name = "tollbooth_settlements_total";
        text.family(
            name,
            "counter",
            "What facilitators said that were to settle.",
        );
        for (settlement, count) in Settlement::ALL.into_iter().zip(&paid.settlements) {
            let labels = [
                ("strategy", "facilitator"),
                ("outcome", settlement.as_str()),
            ];
            text.sample(name, &labels, count.load(Ordering::Relaxed));
        }
        let verifications = paid.verifications.routes().clone();
        for (at, name, help) in [
            (
                0,
                "tollbooth_cache_hits_total",
                "Proofs whose verification was remembered.",
            ),
            (
                1,
                "tollbooth_cache_misses_total",
                "Proofs whose verification was not remembered.",
            ),
        ] {
            text.family(name, "counter", help);
            for (route, counts) in &verifications {
                let count = counts.get(at).copied().unwrap_or(0);
                text.sample(name, &[("route", route)], count);
            }
        }
        let name = "tollbooth_settlement_duration_seconds";
        text.family(name, "histogram", "How long facilitators took to settle.");
        let mut sum = HistogramSum::default();
        for (_, phases) in paid.phases.rails().iter() {
            let phases = PaymentPhase::ALL.iter().zip(phases);
            for (_, settle) in phases.filter(|(phase, _)| **phase == PaymentPhase::Settle) {
                sum.add(settle);
            }
        }
        let labels = [("strategy", "facilitator")];
        text.histogram(name, &labels, &REQUEST_BOUNDS, &sum);
    }
}

/// The names of labels, as they were at one moment.
struct Labels {
    routes: NameList,
    providers: NameList,
    models: NameList,
}

impl Labels {
    fn provider(&self, label: ProviderLabel) -> &str {
        self.providers.name(usize::from(label.0))
    }
}

fn render_cliproxy_calls(text: &mut Text, counts: &Counts, names: &Labels, shards: &[Arc<Shard>]) {
    let mut calls: BTreeMap<_, u64> = BTreeMap::new();
    let mut took: BTreeMap<ProviderLabel, HistogramSum> = BTreeMap::new();
    for (sort, of) in &counts.requests {
        let Some(model) = sort.model else {
            continue;
        };
        let provider = sort.provider.unwrap_or(ProviderLabel::NONE);
        let status = if sort.failed { "error" } else { "success" };
        *calls.entry((provider, model, status)).or_default() += of.count;
        took.entry(provider).or_default().merge(&of.duration);
    }
    let name = "cliproxy_requests_total";
    text.family(name, "counter", "Calls of models.");
    for ((provider, model, status), count) in calls {
        let labels = [
            ("provider", names.provider(provider)),
            ("model", names.models.name(usize::from(model.0))),
            ("status", status),
        ];
        text.sample(name, &labels, count);
    }
    let name = "cliproxy_errors_total";
    text.family(name, "counter", "Calls of models that failed.");
    for ((provider, fault), count) in &counts.faults {
        let labels = [
            ("provider", names.provider(*provider)),
            ("error_type", *fault),
        ];
        text.sample(name, &labels, count);
    }
    let name = "cliproxy_tokens_total";
    text.family(name, "counter", "Tokens upstreams reported.");
    for ((provider, model), sums) in tokens(shards) {
        for (kind, count) in ["input", "output"].into_iter().zip(sums) {
            let labels = [
                ("provider", names.providers.name(provider)),
                ("model", names.models.name(model)),
                ("type", kind),
            ];
            text.sample(name, &labels, count);
        }
    }
    let name = "cliproxy_request_duration_seconds";
    text.family(name, "histogram", "How long calls of models took.");
    for (provider, sum) in took {
        let labels = [("provider", names.provider(provider))];
        text.histogram(name, &labels, &REQUEST_BOUNDS, &sum);
    }
}

fn render_llm_proxy(text: &mut Text, sums: &LlmProxy, uptime_ns: u64) {
    text.single(
        "llm_proxy_uptime_seconds",
        "gauge",
        "For how long the process has run.",
        seconds(uptime_ns),
    );
    for (end, help, count) in [
        (
            "requests",
            "Requests that an upstream or the cache was asked for.",
            sums.requests,
        ),
        ("errors", "Those of them that failed.", sums.errors),
        (
            "cache_hits",
            "Calls that a kept answer was given to.",
            sums.hits,
        ),
        (
            "cache_misses",
            "Calls that no answer was kept for.",
            sums.misses,
        ),
        (
            "cache_bypass",
            "Calls that wanted nothing kept.",
            sums.bypass,
        ),
        ("cache_stores", "Answers that were kept.", sums.stores),
    ] {
        let name = format!("llm_proxy_{end}_total");
        text.single(&name, "counter", help, count);
    }
}

fn render_tollbooth_requests(text: &mut Text, counts: &Counts, names: &Labels) {
    let name = "tollbooth_requests_total";
    text.family(name, "counter", "Finished requests.");
    let mut sums: BTreeMap<_, u64> = BTreeMap::new();
    let mut took: BTreeMap<_, HistogramSum> = BTreeMap::new();
    let mut waited: BTreeMap<_, HistogramSum> = BTreeMap::new();
    for (sort, of) in &counts.requests {
        let Sort {
            route,
            provider,
            status,
            method,
            ..
        } = *sort;
        let Requests {
            count,
            duration,
            upstream,
        } = of;
        *sums.entry((route, method, status)).or_default() += count;
        took.entry((route, method)).or_default().merge(duration);
        if let Some(provider) = provider {
            waited.entry(provider).or_default().merge(upstream);
        }
    }
    for ((route, method, status), count) in sums {
        let labels = [
            ("route", names.routes.name(usize::from(route.0))),
            ("method", method),
            ("status", &status.to_string()),
        ];
        text.sample(name, &labels, count);
    }
    let name = "tollbooth_request_duration_seconds";
    text.family(
        name,
        "histogram",
        "First byte of a request to last byte of its answer.",
    );
    for ((route, method), sum) in took {
        let route = names.routes.name(usize::from(route.0));
        let labels = [("route", route), ("method", method)];
        text.histogram(name, &labels, &REQUEST_BOUNDS, &sum);
    }
    let name = "tollbooth_upstream_duration_seconds";
    text.family(
        name,
        "histogram",
        "How long upstreams took for the heads of their answers.",
    );
    for (provider, sum) in waited {
        let labels = [("upstream", names.provider(provider))];
        text.histogram(name, &labels, &REQUEST_BOUNDS, &sum);
    }
}

fn render_blocks(text: &mut Text, names: &Labels, shards: &[Arc<Shard>]) {
    let name = "tollbooth_rate_limit_blocks_total";
    text.family(name, "counter", "Rate limits that were hit, by route.");
    let counts = violations(shards);
    for (at, route) in names.routes.iter().enumerate() {
        let count = counts.get(at).copied().unwrap_or(0);
        text.sample(name, &[("route", route)], count);
    }
}

/// Rate limits that were hit, by the number of the route.
fn violations(shards: &[Arc<Shard>]) -> Vec<u64> {
    let mut sums = Vec::new();
    for shard in shards {
        sums.resize(sums.len().max(shard.violations.len()), 0_u64);
        for (sum, by_class) in sums.iter_mut().zip(&shard.violations) {
            let tallies = by_class.get().into_iter().flat_map(|by| by.iter());
            *sum += tallies.map(Tally::total).sum::<u64>();
        }
    }
    sums
}

/// Tokens by provider and model: those read, and those written.
fn tokens(shards: &[Arc<Shard>]) -> BTreeMap<(usize, usize), [u64; 2]> {
    let mut sums: BTreeMap<(usize, usize), [u64; 2]> = BTreeMap::new();
    for (place, cell) in shards.iter().flat_map(|shard| shard.tokens.used()) {
        let [input, output] = sums.entry(place).or_default();
        for (class, tally) in Class::ALL.iter().zip(cell) {
            *(if class.is_input() {
                &mut *input
            } else {
                &mut *output
            }) += tally.total();
        }
    }
    sums
}
