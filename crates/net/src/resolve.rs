//! Names to addresses, on the control runtime: workers ask through a channel and wait.
//!
//! One query per name at a time, whoever asks; answers are kept for their own lifetime within 1 to
//! 60 s, failures for 5 s. When the resolver fails, the last good answer serves for up to 300 s; it is
//! vetted again like any other.

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::lookup_ip::LookupIp;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::{ResolverBuilder, TokioResolver};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tollkeep_types::{Clock, MonoNanos};

/// Questions waiting for the resolver; a full queue answers "unavailable".
const ASKS_MAX: usize = 1024;
/// Names whose last answer is remembered.
const NAMES_MAX: usize = 1024;
/// How long an answer serves without asking again, whatever its own lifetime.
const FRESH_NS: u64 = 1_000_000_000;
/// How long a failure does.
const FAILED_NS: u64 = 5_000_000_000;
/// How long a last good answer may serve while the resolver fails.
const STALE_NS_MAX: u64 = 300_000_000_000;
/// Aliases followed at most.
const CNAMES_MAX: usize = 8;

/// Where names are asked.
#[derive(Clone, Debug)]
pub struct ResolverSettings {
    /// DNS servers; empty is what the system is configured with.
    pub servers: Vec<SocketAddr>,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// Attempts per question.
    pub attempts: u32,
}

/// A name that gave no usable answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ResolveError {
    /// The name does not exist, or has no address.
    #[error("the name has no address")]
    NoAddress,
    /// The resolver did not answer, or not properly.
    #[error("the resolver gave no answer")]
    Unavailable,
    /// More aliases in a row than are followed.
    #[error("the name is an alias of an alias too many times")]
    TooManyAliases,
}

type Answer = Result<Arc<[IpAddr]>, ResolveError>;

struct Ask {
    name: Box<str>,
    answer: oneshot::Sender<Answer>,
}

/// Asks for names. Cheap to clone; every worker has one.
#[derive(Clone)]
pub struct Names {
    asks: mpsc::Sender<Ask>,
}

impl Names {
    /// Starts the resolver on `runtime`.
    ///
    /// # Errors
    /// The system's resolver configuration can't be read.
    pub fn start(
        settings: &ResolverSettings,
        clock: Arc<dyn Clock>,
        runtime: &tokio::runtime::Handle,
    ) -> Result<Self, String> {
        let resolver =
            build(settings).map_err(|error| format!("cannot set up the resolver: {error}"))?;
        let (asks, asked) = mpsc::channel(ASKS_MAX);
        runtime.spawn(serve(resolver, clock, asked));
        Ok(Self { asks })
    }

    /// All addresses of `name`.
    ///
    /// # Errors
    /// See [`ResolveError`].
    pub async fn addresses(&self, name: &str) -> Answer {
        let (answer, answered) = oneshot::channel();
        let ask = Ask {
            name: name.into(),
            answer,
        };
        self.asks
            .try_send(ask)
            .map_err(|_| ResolveError::Unavailable)?;
        answered.await.unwrap_or(Err(ResolveError::Unavailable))
    }
}

fn build(settings: &ResolverSettings) -> Result<TokioResolver, hickory_resolver::net::NetError> {
    let mut builder: ResolverBuilder<TokioRuntimeProvider> = if settings.servers.is_empty() {
        TokioResolver::builder_tokio()?
    } else {
        let servers = settings.servers.iter().map(|server| {
            let mut udp = ConnectionConfig::udp();
            let mut tcp = ConnectionConfig::tcp();
            (udp.port, tcp.port) = (server.port(), server.port());
            NameServerConfig::new(server.ip(), true, vec![udp, tcp])
        });
        let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    };
    let options = builder.options_mut();
    options.ndots = 0;
    options.timeout = settings.timeout;
    options.attempts = usize::try_from(settings.attempts).unwrap_or(usize::MAX);
    options.preserve_intermediates = true;
    options.use_hosts_file = if settings.servers.is_empty() {
        ResolveHosts::Always
    } else {
        ResolveHosts::Never
    };
    options.positive_min_ttl = Some(Duration::from_secs(1));
    options.positive_max_ttl = Some(Duration::from_secs(60));
    options.negative_max_ttl = Some(Duration::from_secs(5));
    builder.build()
}

/// What is known of a name.
#[derive(Default)]
struct Known {
    good: Option<(Arc<[IpAddr]>, MonoNanos)>,
    failed: Option<(ResolveError, MonoNanos)>,
}

impl Known {
    /// The last good answer, while it may stand in for a resolver that fails.
    fn stale(&self, now: MonoNanos) -> Option<&Arc<[IpAddr]>> {
        let good = self.good.as_ref();
        good.filter(|(_, at)| now.since(*at) < STALE_NS_MAX)
            .map(|(addresses, _)| addresses)
    }

    /// An answer that is too fresh to ask again.
    fn fresh(&self, now: MonoNanos) -> Option<Answer> {
        if let Some((error, _)) = self.failed.filter(|(_, at)| now.since(*at) < FAILED_NS) {
            return Some(self.failing(error, now));
        }
        let good = self.good.as_ref();
        good.filter(|(_, at)| now.since(*at) < FRESH_NS)
            .map(|(addresses, _)| Ok(Arc::clone(addresses)))
    }

    fn failing(&self, error: ResolveError, now: MonoNanos) -> Answer {
        match error {
            ResolveError::Unavailable => self.stale(now).map(Arc::clone).ok_or(error),
            ResolveError::NoAddress | ResolveError::TooManyAliases => Err(error),
        }
    }
}

async fn serve(resolver: TokioResolver, clock: Arc<dyn Clock>, mut asked: mpsc::Receiver<Ask>) {
    let mut lookups: JoinSet<(Box<str>, Answer)> = JoinSet::new();
    let mut waiting: HashMap<Box<str>, Vec<oneshot::Sender<Answer>>> = HashMap::new();
    let mut known: HashMap<Box<str>, Known> = HashMap::new();
    loop {
        tokio::select! {
            ask = asked.recv() => {
                let Some(Ask { name, answer }) = ask else { return };
                if let Some(fresh) = known.get(&name).and_then(|known| known.fresh(clock.mono())) {
                    drop(answer.send(fresh));
                    continue;
                }
                let waiters = waiting.entry(name.clone()).or_default();
                if waiters.is_empty() {
                    let resolver = resolver.clone();
                    lookups.spawn(async move {
                        let answer = look_up(&resolver, &name).await;
                        (name, answer)
                    });
                }
                waiters.push(answer);
            }
            Some(done) = lookups.join_next() => {
                let Ok((name, fresh)) = done else { continue };
                let answer = settle(&mut known, &name, fresh, clock.mono());
                for waiter in waiting.remove(&name).unwrap_or_default() {
                    // A caller that hung up meanwhile no longer waits.
                    drop(waiter.send(answer.clone()));
                }
            }
        }
    }
}

/// Remembers an answer; lets the last good one stand in for a resolver failure.
fn settle(
    known: &mut HashMap<Box<str>, Known>,
    name: &str,
    fresh: Answer,
    now: MonoNanos,
) -> Answer {
    if known.len() >= NAMES_MAX && !known.contains_key(name) {
        known.retain(|_, known| known.stale(now).is_some());
        if known.len() >= NAMES_MAX {
            return fresh;
        }
    }
    let known = known.entry(name.into()).or_default();
    match fresh {
        Ok(addresses) => {
            known.failed = None;
            known.good = Some((Arc::clone(&addresses), now));
            Ok(addresses)
        }
        Err(error) => {
            known.failed = Some((error, now));
            known.failing(error, now)
        }
    }
}

async fn look_up(resolver: &TokioResolver, name: &str) -> Answer {
    match resolver.lookup_ip(name).await {
        Ok(found) if aliases(&found) > CNAMES_MAX => Err(ResolveError::TooManyAliases),
        Ok(found) => {
            let addresses: Arc<[IpAddr]> = found.iter().collect();
            if addresses.is_empty() {
                Err(ResolveError::NoAddress)
            } else {
                Ok(addresses)
            }
        }
        Err(error) if error.is_no_records_found() => Err(ResolveError::NoAddress),
        Err(_) => Err(ResolveError::Unavailable),
    }
}

fn aliases(found: &LookupIp) -> usize {
    let records = found.as_lookup().answers();
    records
        .iter()
        .filter(|record| record.record_type() == hickory_resolver::proto::rr::RecordType::CNAME)
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn answer(last: u8) -> Arc<[IpAddr]> {
        [IpAddr::V4(Ipv4Addr::new(93, 184, 216, last))].into()
    }

    // EDGE-98
    #[test]
    fn the_last_good_answer_stands_in_for_a_failing_resolver_for_a_while() {
        let mut known = HashMap::new();
        assert_eq!(
            settle(&mut known, "a.example", Ok(answer(1)), MonoNanos(0)),
            Ok(answer(1))
        );
        for (name, fresh, now, want) in [
            ("failing", Err(ResolveError::Unavailable), 1, Ok(answer(1))),
            (
                "failing for too long",
                Err(ResolveError::Unavailable),
                STALE_NS_MAX,
                Err(ResolveError::Unavailable),
            ),
            (
                "gone for certain",
                Err(ResolveError::NoAddress),
                1,
                Err(ResolveError::NoAddress),
            ),
        ] {
            assert_eq!(
                settle(&mut known, "a.example", fresh, MonoNanos(now)),
                want,
                "{name}"
            );
        }
        let other = settle(
            &mut known,
            "b.example",
            Err(ResolveError::Unavailable),
            MonoNanos(1),
        );
        assert_eq!(other, Err(ResolveError::Unavailable));
    }
    // EDGE-98
    #[test]
    fn a_failure_is_not_asked_about_again_for_five_seconds() {
        let mut known = HashMap::new();
        let fresh =
            |known: &HashMap<Box<str>, Known>, now| known["a.example"].fresh(MonoNanos(now));
        let missing = Err(ResolveError::NoAddress);
        assert_eq!(
            settle(&mut known, "a.example", missing.clone(), MonoNanos(0)),
            missing
        );
        assert_eq!(fresh(&known, FAILED_NS - 1), Some(missing));
        assert_eq!(fresh(&known, FAILED_NS), None);
        let found = settle(&mut known, "a.example", Ok(answer(1)), MonoNanos(FAILED_NS));
        assert_eq!(fresh(&known, FAILED_NS + FRESH_NS - 1), Some(found));
        assert_eq!(fresh(&known, FAILED_NS + FRESH_NS), None);
    }
}
