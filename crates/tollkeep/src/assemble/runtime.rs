//! The running gateway as the management API sees it.

use super::Base;
use super::auth_dir::AuthDir;
use super::credentials::{self, Credentials};
use super::overrides::Overriding;
use super::reload::Reloader;
use super::vault::Vault;
use std::sync::Arc;
use std::time::Duration;
use tollkeep_admin::{
    Breaker, BreakerState, Certificate, CredentialTesting, CredentialView, Reloaded, Runtime,
    SettingsState,
};
use tollkeep_audit::Logger;
use tollkeep_config::{ConfigErrors, Settings};
use tollkeep_counters::ShownBreaker;
use tollkeep_gateway::Shared;
use tollkeep_policy::breaker::View;
use tollkeep_store::{Credential, SealedSecret, Store};
use tollkeep_types::{CredentialId, MonoNanos, Secret, TenantId};

/// What operators act on.
pub(crate) struct Live {
    /// The settings.
    pub(crate) reloader: Arc<Reloader>,
    /// The data plane.
    shared: Arc<Shared>,
    /// What operators changed besides.
    pub(crate) overriding: Overriding,
    /// Credentials of the store.
    pub(crate) credentials: Credentials,
    /// The files that some of them stand in.
    pub(crate) auth_dir: AuthDir,
}

impl Live {
    /// With what the store keeps in force.
    pub(crate) fn new(
        base: &Base,
        (store, vault, audit): (&Store, &Vault, Option<&Arc<Logger>>),
        reloader: Reloader,
        shared: &Arc<Shared>,
    ) -> Self {
        Self {
            reloader: Arc::new(reloader),
            shared: Arc::clone(shared),
            overriding: Overriding::new(store.clone(), Arc::clone(shared)),
            credentials: Credentials::new(base, (store, vault), shared, audit),
            auth_dir: AuthDir::default(),
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

    fn sealed_secret(
        &self,
        secret: &Secret,
        of: (TenantId, CredentialId),
        origin: String,
    ) -> Option<SealedSecret> {
        self.credentials.sealed(secret, of, origin)
    }

    fn apply_credentials(&self) {
        self.credentials.apply();
    }

    fn credential_view(&self, id: CredentialId) -> CredentialView {
        self.credentials.view(id)
    }

    fn test_credential(&self, credential: &Credential) -> Option<CredentialTesting> {
        let probe = self.credentials.probe(credential)?;
        Some(Box::pin(credentials::run(
            probe,
            Arc::clone(&self.shared.clock),
        )))
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
