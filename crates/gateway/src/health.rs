//! Health probes on the data listener: any valid Host, no limits, no records (they are asked by
//! orchestrators, by address, all day).

use crate::answer::Body;
use crate::lifecycle::{Exchange, Stop};
use tollkeep_http1::Method;
use tollkeep_observe::health::Reason;

/// A probe, by its path.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Probe {
    Health,
    Healthz,
    Live,
    Ready,
}

impl Probe {
    /// Its path.
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Health => "/health",
            Self::Healthz => "/healthz",
            Self::Live => "/live",
            Self::Ready => "/ready",
        }
    }
}

impl Exchange<'_> {
    /// The probe this request is, if it is one.
    pub(crate) fn health_probe(&mut self) -> Option<Probe> {
        if !matches!(self.work.head.method, Method::Get | Method::Head) {
            return None;
        }
        let probe = match self.work.head.target.of(self.conn.unread()) {
            b"/health" => Probe::Health,
            b"/healthz" => Probe::Healthz,
            b"/live" => Probe::Live,
            b"/ready" => Probe::Ready,
            _ => return None,
        };
        self.work.facts.is_probe = true;
        Some(probe)
    }

    /// Answers a probe.
    ///
    /// # Errors
    /// The caller is gone.
    pub(crate) async fn answer_probe(&mut self, probe: Probe) -> Result<(), Stop> {
        let (health, now) = (&self.worker.shared.health, self.started);
        let (status, kind, text) = match probe {
            Probe::Health => {
                let sandbox = if self.plan.sandbox {
                    ",\"sandbox\":true"
                } else {
                    ""
                };
                let maintenance = if health.reasons(now).contains(&Reason::Maintenance) {
                    ",\"maintenance\":true"
                } else {
                    ""
                };
                (
                    200,
                    "application/json",
                    format!(
                        "{{\"status\":\"ok\",\"timestamp\":\"{}\"{sandbox}{maintenance}}}",
                        self.work.facts.at
                    ),
                )
            }
            Probe::Healthz => (200, "application/json", "{\"status\":\"ok\"}".to_owned()),
            Probe::Live if health.live(now) => {
                (200, "text/plain; charset=utf-8", "alive".to_owned())
            }
            Probe::Live => (503, "text/plain; charset=utf-8", "stuck".to_owned()),
            Probe::Ready => health.ready(now),
        };
        self.answer_whole(
            status,
            Body {
                kind,
                bytes: text.as_bytes(),
            },
        )
        .await
    }
}
