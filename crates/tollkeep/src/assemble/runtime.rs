//! The running gateway as the management API sees it.

use super::Base;
use super::audit_keys::AuditKeys;
use super::auth_dir::AuthDir;
use super::credentials::{self, Credentials};
use super::ledger::Budgeting;
use super::overrides::Overriding;
use super::prices;
use super::pricing::Pricing;
use super::provider;
use super::receipt_keys::ReceiptKeys;
use super::reload::Reloader;
use super::tls::InUse;
use super::vault::{Chooser, Vault};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tollkeep_admin::{
    Asking, AuditKeeper, Breaker, BreakerState, Certificate, Choosing, CoolDownsOf,
    CooledCredential, CredentialTesting, CredentialView, Explained, Jobs, KekChoice, KnownKek,
    ProviderAsk, ReceiptKeeper, Reloaded, Runtime, SettingsState, ShownSettings, Unproven,
    UrlToStore, Vetting,
};
use tollkeep_audit::Logger;
use tollkeep_config::settings::Anomaly;
use tollkeep_config::{ConfigErrors, Settings};
use tollkeep_counters::ShownBreaker;
use tollkeep_crypto::Keyring;
use tollkeep_gateway::Shared;
use tollkeep_ledger::price::Book;
use tollkeep_policy::breaker::View;
use tollkeep_store::{Credential, SealedSecret, Store};
use tollkeep_types::{CachePurge, CredentialId, MonoNanos, Secret, TenantId, WallMillis};

/// What operators act on.
pub(crate) struct Live {
    /// The settings.
    pub(crate) reloader: Arc<Reloader>,
    /// The data plane.
    shared: Arc<Shared>,
    /// What operators changed besides.
    pub(crate) overriding: Overriding,
    /// Its prices.
    pub(crate) pricing: Pricing,
    /// Its budgets.
    pub(crate) budgeting: Budgeting,
    /// Credentials of the store.
    pub(crate) credentials: Credentials,
    /// The files that some of them stand in.
    pub(crate) auth_dir: AuthDir,
    /// The key-encryption keys.
    chooser: Arc<Chooser>,
    /// The keys that sign the audit log.
    audit_keys: AuditKeys,
    /// The keys that sign receipts, where receipts are made.
    pub(crate) receipt_keys: Option<Arc<ReceiptKeys>>,
    /// Long work that operators begin.
    pub(crate) jobs: Arc<Jobs>,
    /// What was refused to whoever has shown nothing.
    pub(crate) unproven: Arc<Unproven>,
}

impl Live {
    /// With what the store keeps in force.
    pub(crate) fn new(
        base: &Base,
        (store, vault, audit): (&Store, &Vault, Option<&Arc<Logger>>),
        reloader: Reloader,
        shared: &Arc<Shared>,
    ) -> Self {
        let reloader = Arc::new(reloader);
        Self {
            pricing: Pricing::new(Arc::clone(&reloader), Arc::clone(shared)),
            reloader,
            shared: Arc::clone(shared),
            overriding: Overriding::new(store.clone(), Arc::clone(shared)),
            budgeting: Budgeting::start(
                base,
                store,
                &shared.holds,
                (audit, &shared.metrics.ledger()),
            ),
            credentials: Credentials::new(base, (store, vault), shared, audit),
            auth_dir: AuthDir::default(),
            audit_keys: AuditKeys::new(base, store, vault),
            receipt_keys: vault
                .receipt_keys
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take()
                .map(|known| Arc::new(ReceiptKeys::new(base, store, &vault.chooser, known))),
            chooser: Arc::clone(&vault.chooser),
            jobs: Arc::default(),
            unproven: Arc::default(),
        }
    }

    /// The settings in force.
    pub(crate) fn settings_now(&self) -> Arc<Settings> {
        self.reloader.settings()
    }

    /// What is unusual in the use of tokens, by the settings in force.
    pub(crate) fn anomaly(&self) -> Anomaly {
        self.reloader.settings().anomaly.clone()
    }

    fn now(&self) -> MonoNanos {
        self.shared.clock.mono()
    }
}

impl Runtime for Live {
    fn settings(&self) -> Arc<Settings> {
        self.reloader.settings()
    }

    fn shown_settings(&self) -> Arc<ShownSettings> {
        self.reloader.shown()
    }

    fn settings_state(&self) -> SettingsState {
        self.reloader.state()
    }

    fn apply_overrides(&self) {
        self.overriding.apply();
        self.pricing.apply();
        self.budgeting.apply();
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

    fn cooled_credentials(&self, of: &CoolDownsOf) -> Vec<CooledCredential> {
        let mut found = self.credentials.cooled(of);
        found.retain(|one| one.rests_until.is_some() || !one.cool_downs.is_empty());
        found
    }

    fn known_credentials(&self, of: &CoolDownsOf) -> Vec<CooledCredential> {
        self.credentials.cooled(of)
    }

    fn clear_cool_downs(&self, of: &CoolDownsOf, model: Option<&str>) {
        self.credentials.each(of, |state| state.forget(model));
    }

    fn rest_credentials(&self, of: &CoolDownsOf, until: WallMillis) {
        self.credentials.each(of, |state| state.rest(until));
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

    fn try_reload(&self) -> Result<Reloaded, ConfigErrors> {
        self.reloader.try_reload()
    }

    fn try_reload_tls(&self) -> Result<Vec<Certificate>, ConfigErrors> {
        let read = self.reloader.try_reload_tls()?.into_iter();
        Ok(read.map(certificate).collect())
    }

    fn reload_tls(&self) -> Result<Vec<Certificate>, ConfigErrors> {
        self.reloader.order_again();
        let read = self.reloader.reload_tls()?.into_iter();
        Ok(read.map(certificate).collect())
    }

    fn ask_provider(&self, ask: ProviderAsk) -> Asking {
        provider::ask(self.reloader.door(), ask)
    }

    fn vet(&self, asked: UrlToStore) -> Vetting {
        let door = self.reloader.door();
        let refused = self.reloader.metrics();
        Box::pin(async move {
            let vetted = provider::vet(door, asked).await;
            vetted.inspect_err(|reason| refused.egress_refused(reason.label()))
        })
    }

    fn explain(&self, method: &str, target: &str, model: Option<&str>) -> Explained {
        let told = self.shared.plan.load().explain(method, target, model);
        Explained {
            path: told.path,
            judged_path: told.judged_path,
            asked: told.asked,
            refused: told.refused,
            allow: told.allow,
            route: told.route,
            upstream: told.upstream,
            model: told.model,
            needs_token: told.needs_token,
            body_bytes_max: told.body_bytes_max,
            rate: told.rate,
            policies: told.policies,
        }
    }

    fn prices(&self) -> Arc<Book> {
        self.shared.prices.load_full()
    }

    fn shipped_prices(&self) -> Option<Arc<Book>> {
        prices::shipped().map(Arc::new).ok()
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

    fn purge_cache(&self, whose: Option<TenantId>, purge: &CachePurge) -> Option<usize> {
        self.shared.purge_cache(whose, purge)
    }

    fn count_cached(&self, whose: Option<TenantId>, purge: &CachePurge) -> Option<usize> {
        self.shared.count_cached(whose, purge)
    }

    fn keyring(&self) -> Arc<Keyring> {
        self.chooser.keyring()
    }

    fn audit_keeper(&self) -> &dyn AuditKeeper {
        &self.audit_keys
    }

    fn receipt_keeper(&self) -> Option<&dyn ReceiptKeeper> {
        let keys = self.receipt_keys.as_deref();
        keys.map(|keys| keys as &dyn ReceiptKeeper)
    }

    fn keks(&self) -> Vec<KnownKek> {
        self.chooser.keks()
    }

    fn makes_keks(&self) -> bool {
        self.chooser.makes_keks()
    }

    fn seal_under(&self, kek: KekChoice) -> Choosing<'_> {
        Box::pin(async move {
            match kek {
                KekChoice::New => self.chooser.seal_under_new().await,
                KekChoice::Id(id) => self.chooser.seal_under(&id).await,
            }
        })
    }

    fn upstream_states(&self) -> Vec<(Arc<str>, BreakerState)> {
        let each = self.shared.breakers.worst(self.now()).into_iter();
        each.map(|(upstream, view)| (upstream, state(view)))
            .collect()
    }
}

fn certificate(in_use: InUse) -> Certificate {
    Certificate {
        name: in_use.name,
        subject: in_use.subject,
        not_after: in_use.not_after,
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
