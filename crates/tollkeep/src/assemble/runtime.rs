//! The running gateway as the management API sees it.

use super::overrides::Overriding;
use super::provider;
use super::reload::Reloader;
use std::sync::Arc;
use std::time::Duration;
use tollkeep_admin::{
    Asking, Breaker, BreakerState, Certificate, ProviderAsk, Reloaded, Runtime, SettingsState,
};
use tollkeep_config::{ConfigErrors, Settings};
use tollkeep_counters::ShownBreaker;
use tollkeep_gateway::Shared;
use tollkeep_policy::breaker::View;
use tollkeep_types::MonoNanos;

/// What operators act on.
pub(crate) struct Live {
    /// The settings.
    pub(crate) reloader: Arc<Reloader>,
    /// The data plane.
    shared: Arc<Shared>,
    /// What operators changed besides.
    pub(crate) overriding: Overriding,
}

impl Live {
    /// Of these parts.
    pub(crate) fn new(reloader: Reloader, shared: Arc<Shared>, overriding: Overriding) -> Self {
        Self {
            reloader: Arc::new(reloader),
            shared,
            overriding,
        }
    }

    fn now(&self) -> MonoNanos {
        self.shared.clock.mono()
    }
}

impl Runtime for Live {
    fn settings(&self) -> Arc<Settings> {
        self.reloader.settings()
    }

    fn settings_state(&self) -> SettingsState {
        self.reloader.state()
    }

    fn apply_overrides(&self) {
        self.overriding.apply();
    }

    fn reload(&self) -> Result<Reloaded, ConfigErrors> {
        self.reloader.reload()
    }

    fn reload_tls(&self) -> Result<Vec<Certificate>, ConfigErrors> {
        self.reloader.order_again();
        let read = self.reloader.reload_tls()?.into_iter();
        let told = read.map(|certificate| Certificate {
            name: certificate.name,
            subject: certificate.subject,
            not_after: certificate.not_after,
        });
        Ok(told.collect())
    }

    fn ask_provider(&self, ask: ProviderAsk) -> Asking {
        provider::ask(self.reloader.door(), ask)
    }

    fn breakers(&self) -> Vec<Breaker> {
        let now = self.now();
        let each = self.shared.breakers.shown(now).into_iter();
        each.map(|breaker| shown(breaker, now)).collect()
    }

    fn reset_breaker(&self, id: u64) -> Option<Breaker> {
        let now = self.now();
        let breaker = self.shared.breakers.reset(id, now)?;
        Some(shown(breaker, now))
    }

    fn upstream_states(&self) -> Vec<(Arc<str>, BreakerState)> {
        let each = self.shared.breakers.worst(self.now()).into_iter();
        each.map(|(upstream, view)| (upstream, state(view)))
            .collect()
    }
}

const fn state(view: View) -> BreakerState {
    match view {
        View::Closed { .. } => BreakerState::Closed,
        View::HalfOpen => BreakerState::HalfOpen,
        View::Open { .. } => BreakerState::Open,
    }
}

fn shown(breaker: ShownBreaker, now: MonoNanos) -> Breaker {
    let left = match breaker.view {
        View::Open { until } => Some(Duration::from_nanos(until.since(now))),
        View::Closed { .. } | View::HalfOpen => None,
    };
    Breaker {
        id: breaker.id,
        tenant: breaker.tenant,
        project: breaker.project,
        upstream: breaker.upstream,
        route: breaker.route,
        model: breaker.model,
        state: state(breaker.view),
        failures: breaker.failures,
        opened_at: breaker.opened_at,
        left,
    }
}
