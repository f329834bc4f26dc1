//! Whether the process is alive, and whether it wants traffic.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use tollkeep_types::MonoNanos;

/// Why the process does not want traffic.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Reason {
    /// It is going down.
    Draining,
    /// The store cannot be reached.
    Store,
    /// Audit events cannot be written.
    Audit,
    /// The vault holds no usable key.
    Vault,
    /// A certificate of ours has expired; who does not look at it is served all the same.
    Certificate,
    /// A certificate that is to be ordered is not there yet; what needs none is served.
    NoCertificate,
    /// The last order of a certificate failed; those that are there are served.
    CertificateOrder,
    /// A further place of audit records takes nothing; they wait in the audit file.
    AuditSink,
    /// Callers are told to come back later.
    Maintenance,
}

impl Reason {
    /// Every reason, in the order of the enum.
    pub const ALL: [Self; 9] = [
        Self::Draining,
        Self::Store,
        Self::Audit,
        Self::Vault,
        Self::Certificate,
        Self::NoCertificate,
        Self::CertificateOrder,
        Self::AuditSink,
        Self::Maintenance,
    ];

    /// The word in `/ready`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::Store => "store",
            Self::Audit => "audit",
            Self::Vault => "vault",
            Self::Certificate => "certificate",
            Self::NoCertificate => "no_certificate",
            Self::CertificateOrder => "certificate_order",
            Self::AuditSink => "audit_sink",
            Self::Maintenance => "maintenance",
        }
    }

    /// Whether the process serves all the same.
    const fn lets_serve(self) -> bool {
        match self {
            Self::Draining | Self::Store | Self::Audit | Self::Vault | Self::Maintenance => false,
            Self::Certificate | Self::NoCertificate | Self::CertificateOrder | Self::AuditSink => {
                true
            }
        }
    }

    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// Asked at `/ready`: whether the reason holds now.
pub type Check = Box<dyn Fn(MonoNanos) -> bool + Send + Sync>;

/// Whether the process is alive, and whether it wants traffic.
pub struct Health {
    flags: AtomicU32,
    checks: Vec<(Reason, Check)>,
    beats: Box<[AtomicU64]>,
}

/// A worker that has not shown itself for this long is stuck.
pub const HEARTBEAT_NS_MAX: u64 = 5_000_000_000;

impl Health {
    /// Health of a process with that many workers; `checks` tell of reasons that come and go by
    /// themselves.
    pub fn new(workers: usize, now: MonoNanos, checks: Vec<(Reason, Check)>) -> Self {
        Self {
            flags: AtomicU32::new(0),
            checks,
            beats: (0..workers).map(|_| AtomicU64::new(now.0)).collect(),
        }
    }

    /// From now on the process does not want traffic, for this reason.
    pub fn raise(&self, reason: Reason) {
        self.flags.fetch_or(reason.bit(), Ordering::Relaxed);
    }

    /// The reason is gone.
    pub fn clear(&self, reason: Reason) {
        self.flags.fetch_and(!reason.bit(), Ordering::Relaxed);
    }

    /// Whether somebody raised it, and nobody took it back.
    pub fn is_raised(&self, reason: Reason) -> bool {
        self.flags.load(Ordering::Relaxed) & reason.bit() != 0
    }

    /// Why the process does not want traffic now; empty if it does.
    pub fn reasons(&self, now: MonoNanos) -> Vec<Reason> {
        let raised = self.flags.load(Ordering::Relaxed);
        let holds = |reason: &Reason| {
            raised & reason.bit() != 0
                || self
                    .checks
                    .iter()
                    .any(|(of, check)| of == reason && check(now))
        };
        Reason::ALL.into_iter().filter(holds).collect()
    }

    /// What `/ready` answers: status, kind of its body, body.
    pub fn ready(&self, now: MonoNanos) -> (u16, &'static str, String) {
        let reasons = self.reasons(now);
        if reasons.is_empty() {
            return (200, "text/plain; charset=utf-8", "ready".to_owned());
        }
        let serves = reasons.iter().all(|reason| reason.lets_serve());
        let words: Vec<_> = reasons
            .iter()
            .map(|reason| format!("\"{}\"", reason.as_str()))
            .collect();
        let words = words.join(",");
        let (status, word) = if serves {
            (200, "degraded")
        } else {
            (503, "unready")
        };
        let body = format!("{{\"status\":\"{word}\",\"reasons\":[{words}]}}");
        (status, "application/json", body)
    }

    /// A worker shows that it is not stuck.
    pub fn beat(&self, worker: usize, now: MonoNanos) {
        if let Some(beat) = self.beats.get(worker) {
            beat.store(now.0, Ordering::Relaxed);
        }
    }

    /// Whether every worker has shown itself lately.
    pub fn live(&self, now: MonoNanos) -> bool {
        self.beats
            .iter()
            .all(|beat| now.since(MonoNanos(beat.load(Ordering::Relaxed))) < HEARTBEAT_NS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // OPS-50
    #[test]
    fn every_reason_is_told_and_only_while_it_holds() {
        let audit: Check = Box::new(|now| now.0 > 10);
        let health = Health::new(0, MonoNanos(0), vec![(Reason::Audit, audit)]);
        assert_eq!(health.reasons(MonoNanos(0)), []);
        health.raise(Reason::Draining);
        assert_eq!(
            health.reasons(MonoNanos(11)),
            [Reason::Draining, Reason::Audit]
        );
        health.clear(Reason::Draining);
        assert_eq!(health.reasons(MonoNanos(0)), []);
    }

    // OPS-50 EDGE-12
    #[test]
    fn an_expired_certificate_is_told_and_turns_no_traffic_away() {
        let health = Health::new(0, MonoNanos(0), Vec::new());
        let ready = || {
            let (status, _, body) = health.ready(MonoNanos(0));
            (status, body)
        };
        assert_eq!(ready(), (200, "ready".to_owned()));
        health.raise(Reason::Certificate);
        let told = r#"{"status":"degraded","reasons":["certificate"]}"#;
        assert_eq!(ready(), (200, told.to_owned()));
        health.raise(Reason::Store);
        let told = r#"{"status":"unready","reasons":["store","certificate"]}"#;
        assert_eq!(ready(), (503, told.to_owned()));
    }

    // OPS-50
    #[test]
    fn one_stuck_worker_is_enough_to_be_dead() {
        let health = Health::new(2, MonoNanos(0), Vec::new());
        let later = MonoNanos(HEARTBEAT_NS_MAX);
        assert!(health.live(MonoNanos(HEARTBEAT_NS_MAX - 1)));
        health.beat(0, later);
        assert!(!health.live(later));
        health.beat(1, later);
        assert!(health.live(later));
    }
}
