//! Certificates while the gateway serves: files that change, and ends that come near.

use super::Base;
use super::reload::{Cause, Reloader};
use super::tls::{self, InUse};
use super::watch::Files;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tollkeep_audit::{Action, Actor, Event, Key, Logger, Outcome, Value};
use tollkeep_net::tls::Ends as TlsEnds;
use tollkeep_observe::health::{Health, Reason};
use tollkeep_observe::metrics::Metrics;
use tollkeep_policy::expiry::Nearness;
use tollkeep_types::{Clock, WallMillis};

/// How often files and ends are looked at; a change must last until the next look.
const LOOK: Duration = Duration::from_secs(1);

/// Looks after the certificates until the process ends.
pub(crate) async fn keep(keeper: Keeper) {
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut ends = Ends::default();
    let mut last = Files::default();
    loop {
        ticks.tick().await;
        let files = tls::files(&keeper.reloader.settings());
        // Half-written pairs settle first.
        if files == last && !keeper.reloader.has_read(&files) {
            let reloader = Arc::clone(&keeper.reloader);
            let reading =
                tokio::task::spawn_blocking(move || reloader.reload_tls_by(Cause::Certificates));
            if reading.await.is_err() {
                tracing::error!("Reading the certificates again panicked");
            }
        }
        last = files;
        let now = keeper.clock.wall();
        keeper.tell(ends.look(keeper.reloader.certificates(), now));
        keeper.metrics.certificates(ends.gauges());
    }
}

/// What is looked after, and where it is told.
pub(crate) struct Keeper {
    reloader: Arc<Reloader>,
    clock: Arc<dyn Clock>,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    audit: Option<Arc<Logger>>,
}

impl Keeper {
    /// The certificates of a running gateway.
    pub(crate) fn new(
        base: &Base,
        reloader: &Arc<Reloader>,
        health: &Arc<Health>,
        audit: Option<&Arc<Logger>>,
    ) -> Self {
        Self {
            reloader: Arc::clone(reloader),
            clock: Arc::clone(&base.clock),
            health: Arc::clone(health),
            metrics: Arc::clone(&base.metrics),
            audit: audit.cloned(),
        }
    }

    fn tell(&self, news: News) {
        if news.any_expired {
            self.health.raise(Reason::Certificate);
        } else {
            self.health.clear(Reason::Certificate);
        }
        for (certificate, nearness) in news.nearer {
            let (name, path) = (&certificate.name, &certificate.path);
            let until = certificate.not_after;
            let what = match certificate.ends {
                TlsEnds::Certificate | TlsEnds::ClientAuthority => "certificate",
                TlsEnds::RevocationList => "revocation list",
            };
            match nearness {
                Nearness::Expired => {
                    tracing::error!("{name}: the {what} in {path} expired at {until}");
                }
                Nearness::Far | Nearness::ThirtyDays | Nearness::SevenDays | Nearness::OneDay => {
                    tracing::warn!("{name}: the {what} in {path} expires at {until}");
                }
            }
            self.record(Action::SystemDegraded, name, nearness.as_str());
        }
        for name in news.renewed {
            self.record(Action::SystemRecovered, &name, "renewed");
        }
    }

    fn record(&self, action: Action, name: &str, reason: &str) {
        let Some(audit) = &self.audit else {
            return;
        };
        let event = Event::new(action, Actor::System, Outcome::Success)
            .at(self.clock.wall())
            .with_detail(Key::Reason, Value::Word(reason))
            .with_detail(Key::Kind, Value::Word("certificate"))
            .with_detail(Key::Name, Value::Word(name));
        if let Err(error) = audit.enqueue(&event) {
            tracing::warn!("The end of a certificate was not recorded: {error}");
        }
    }
}

/// What there is to tell.
#[derive(Debug, Default, Eq, PartialEq)]
struct News {
    /// Certificates whose end came a step nearer.
    nearer: Vec<(InUse, Nearness)>,
    /// Names of those that had expired and were replaced.
    renewed: Vec<String>,
    any_expired: bool,
}

/// The ends of the certificates, and what was told of each.
#[derive(Default)]
struct Ends(BTreeMap<String, (WallMillis, Nearness)>);

impl Ends {
    fn look(&mut self, certificates: Vec<InUse>, now: WallMillis) -> News {
        let mut news = News::default();
        let mut ends = BTreeMap::new();
        for certificate in certificates {
            let end = certificate.not_after;
            let nearness = Nearness::of(end, now);
            let known = self.0.get(&certificate.name);
            let told = match known {
                Some((known, told)) if *known == end => *told,
                Some((_, Nearness::Expired)) => {
                    news.renewed.push(certificate.name.clone());
                    Nearness::Far
                }
                Some(_) | None => Nearness::Far,
            };
            news.any_expired |= nearness == Nearness::Expired;
            ends.insert(certificate.name.clone(), (end, nearness));
            // Revocation lists live for days: only that one was not renewed is news.
            let is_usual = certificate.ends == TlsEnds::RevocationList;
            if nearness > told && (nearness == Nearness::Expired || !is_usual) {
                news.nearer.push((certificate, nearness));
            }
        }
        self.0 = ends;
        news
    }

    fn gauges(&self) -> Vec<(String, u64)> {
        let ends = self.0.iter();
        ends.map(|(name, (end, _))| (name.clone(), end.0 / 1000))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: u64 = 86_400_000;

    fn certificate(end_ms: u64) -> InUse {
        InUse {
            ends: TlsEnds::Certificate,
            name: "server.tls".to_owned(),
            subject: "CN=a".to_owned(),
            path: "a.pem".to_owned(),
            not_after: WallMillis(end_ms),
        }
    }

    // EDGE-12
    #[test]
    fn each_step_towards_an_end_is_told_once() {
        let mut ends = Ends::default();
        let end = 100 * DAY_MS;
        let mut told = Vec::new();
        for hour in 0..=101 * 24 {
            let now = WallMillis(hour * DAY_MS / 24);
            let news = ends.look(vec![certificate(end)], now);
            assert_eq!(news.any_expired, now.0 > end);
            told.extend(
                news.nearer
                    .into_iter()
                    .map(|(_, nearness)| nearness.as_str()),
            );
        }
        assert_eq!(told, ["30_days", "7_days", "1_day", "expired"]);
        let renewed = ends.look(vec![certificate(200 * DAY_MS)], WallMillis(101 * DAY_MS));
        assert_eq!(renewed.renewed, ["server.tls"]);
        assert!(renewed.nearer.is_empty() && !renewed.any_expired);
        // One that replaces it and is near its end too is told from the start.
        let short = ends.look(vec![certificate(103 * DAY_MS)], WallMillis(101 * DAY_MS));
        assert_eq!(short.nearer[0].1, Nearness::SevenDays);
        assert!(short.renewed.is_empty());
    }

    // EDGE-15
    #[test]
    fn of_a_revocation_list_only_the_end_is_told() {
        let mut ends = Ends::default();
        let list = InUse {
            ends: TlsEnds::RevocationList,
            ..certificate(2 * DAY_MS)
        };
        let mut told = Vec::new();
        for hour in 0..=49 {
            let news = ends.look(vec![list.clone()], WallMillis(hour * DAY_MS / 24));
            told.extend(news.nearer.into_iter().map(|(_, nearness)| nearness));
        }
        assert_eq!(told, [Nearness::Expired]);
    }
}
