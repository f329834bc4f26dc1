//! Whether a request acts, tries what acting would do, or only looks. Handlers are the same for all
//! three: what they hold of the gateway is another.

use crate::audit::Recording;
use crate::audit_log::AuditKeeper;
use crate::problem::Problem;
use crate::receipt_keys::ReceiptKeeper;
use crate::runtime::{
    Asking, Breaker, BreakerState, Certificate, Choosing, CoolDownsOf, CooledCredential,
    CredentialTesting, CredentialView, Explained, KekChoice, KekRefused, KnownKek, ProviderAsk,
    Reloaded, Runtime, SettingsState, ShownSettings, UrlToStore, Vetting,
};
use crate::{AdminParts, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use std::sync::{Arc, Mutex, PoisonError};
use tollkeep_config::{ConfigErrors, Settings};
use tollkeep_crypto::Keyring;
use tollkeep_ledger::price::Book;
use tollkeep_store::{Credential, SealedSecret, Store};
use tollkeep_types::{CachePurge, CredentialId, Secret, TenantId, WallMillis};

/// What a request does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Acting {
    /// What is asked.
    Really,
    /// Nothing, and it tells what it would (`?dry_run=true`). Recorded as such.
    Trying,
    /// It looks at something for its own ends: not recorded.
    Looking,
}

/// The records of a trial. They are waited for when it is over: until then it has the turn to write,
/// which the audit log may need too.
#[derive(Clone, Default)]
pub(crate) struct Tried(Arc<Mutex<Vec<Recording>>>);

impl Tried {
    pub(crate) fn add(&self, recording: Recording) {
        let mut recordings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        recordings.push(recording);
    }

    /// Waits for all of them.
    pub(crate) async fn done(&self) -> Result<(), Problem> {
        let recordings = {
            let mut recordings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *recordings)
        };
        for recording in recordings {
            recording.done().await?;
        }
        Ok(())
    }
}

/// Says that nothing was done.
const DRY_RUN: &str = "tollkeep-dry-run";

impl State {
    /// The same, acting on this handle of the store.
    pub(crate) fn with_store(&self, store: Store) -> Arc<Self> {
        let parts = AdminParts {
            store,
            ..self.parts.clone()
        };
        Arc::new(Self {
            parts,
            ..self.clone()
        })
    }

    /// The same, trying: what it changes in the store is on trial, and the gateway is not touched.
    pub(crate) fn trying(&self, store: Store) -> Arc<Self> {
        let parts = AdminParts {
            store,
            runtime: Arc::new(Would(Arc::clone(&self.parts.runtime))),
            ..self.parts.clone()
        };
        Arc::new(Self {
            parts,
            acting: Acting::Trying,
            tried: Tried::default(),
            ..self.clone()
        })
    }

    /// The same, looking.
    pub(crate) fn looking(&self, store: Store) -> Arc<Self> {
        let parts = AdminParts {
            store,
            runtime: Arc::new(Would(Arc::clone(&self.parts.runtime))),
            ..self.parts.clone()
        };
        Arc::new(Self {
            parts,
            acting: Acting::Looking,
            ..self.clone()
        })
    }
}

/// The answer of a request that tried: nothing was made, so it has no place.
pub(crate) fn tried(mut response: Response) -> Response {
    if response.status() == StatusCode::CREATED {
        *response.status_mut() = StatusCode::OK;
    }
    let fields = response.headers_mut();
    fields.remove(header::LOCATION);
    fields.insert(DRY_RUN, HeaderValue::from_static("true"));
    response
}

/// The running gateway for who only tries: everything is read, nothing is changed.
struct Would(Arc<dyn Runtime>);

impl Runtime for Would {
    fn settings(&self) -> Arc<Settings> {
        self.0.settings()
    }

    fn shown_settings(&self) -> Arc<ShownSettings> {
        self.0.shown_settings()
    }

    fn settings_state(&self) -> SettingsState {
        self.0.settings_state()
    }

    fn apply_overrides(&self) {}

    fn sealed_secret(
        &self,
        secret: &Secret,
        of: (TenantId, CredentialId),
        origin: String,
    ) -> Option<SealedSecret> {
        self.0.sealed_secret(secret, of, origin)
    }

    fn apply_credentials(&self) {}

    fn credential_view(&self, id: CredentialId) -> CredentialView {
        self.0.credential_view(id)
    }

    fn cooled_credentials(&self, of: &CoolDownsOf) -> Vec<CooledCredential> {
        self.0.cooled_credentials(of)
    }

    fn known_credentials(&self, of: &CoolDownsOf) -> Vec<CooledCredential> {
        self.0.known_credentials(of)
    }

    fn clear_cool_downs(&self, _: &CoolDownsOf, _: Option<&str>) {}

    fn rest_credentials(&self, _: &CoolDownsOf, _: WallMillis) {}

    /// Nobody is asked.
    fn test_credential(&self, _: &Credential) -> Option<CredentialTesting> {
        None
    }

    fn reload(&self) -> Result<Reloaded, ConfigErrors> {
        self.0.try_reload()
    }

    fn try_reload(&self) -> Result<Reloaded, ConfigErrors> {
        self.0.try_reload()
    }

    fn reload_tls(&self) -> Result<Vec<Certificate>, ConfigErrors> {
        self.0.try_reload_tls()
    }

    fn try_reload_tls(&self) -> Result<Vec<Certificate>, ConfigErrors> {
        self.0.try_reload_tls()
    }

    fn vet(&self, asked: UrlToStore) -> Vetting {
        self.0.vet(asked)
    }

    fn ask_provider(&self, ask: ProviderAsk) -> Asking {
        self.0.ask_provider(ask)
    }

    fn explain(&self, method: &str, target: &str, model: Option<&str>) -> Explained {
        self.0.explain(method, target, model)
    }

    fn prices(&self) -> Arc<Book> {
        self.0.prices()
    }

    fn shipped_prices(&self) -> Option<Arc<Book>> {
        self.0.shipped_prices()
    }

    fn breakers(&self) -> Vec<Breaker> {
        self.0.breakers()
    }

    fn reset_breaker(&self, id: u64) -> Option<Breaker> {
        let mut breakers = self.0.breakers().into_iter();
        breakers.find(|breaker| breaker.id == id)
    }

    fn purge_cache(&self, whose: Option<TenantId>, purge: &CachePurge) -> Option<usize> {
        self.0.count_cached(whose, purge)
    }

    fn count_cached(&self, whose: Option<TenantId>, purge: &CachePurge) -> Option<usize> {
        self.0.count_cached(whose, purge)
    }

    fn upstream_states(&self) -> Vec<(Arc<str>, BreakerState)> {
        self.0.upstream_states()
    }

    fn keyring(&self) -> Arc<Keyring> {
        self.0.keyring()
    }

    fn audit_keeper(&self) -> &dyn AuditKeeper {
        // Nothing is kept on trial.
        self.0.audit_keeper()
    }

    fn receipt_keeper(&self) -> Option<&dyn ReceiptKeeper> {
        self.0.receipt_keeper()
    }

    fn keks(&self) -> Vec<KnownKek> {
        self.0.keks()
    }

    fn makes_keks(&self) -> bool {
        self.0.makes_keks()
    }

    fn seal_under(&self, kek: KekChoice) -> Choosing<'_> {
        let ring = self.0.keyring();
        let chosen = match kek {
            KekChoice::New if self.0.makes_keks() => Ok(ring),
            KekChoice::New => Err(KekRefused::FromOutside),
            KekChoice::Id(id) => {
                let ring = ring.sealing_under(&id).map(Arc::new);
                ring.ok_or(KekRefused::NotActive)
            }
        };
        Box::pin(std::future::ready(chosen))
    }
}
