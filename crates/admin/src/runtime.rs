//! The running gateway, as far as operators look into it and act on it. The binary provides it,
//! so that this crate needs to know neither the data plane nor how it is put together.

use crate::audit_log::AuditKeeper;
use crate::receipt_keys::ReceiptKeeper;
use ipnet::IpNet;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tollkeep_config::{ConfigErrors, Loaded, Origins, Settings};
use tollkeep_crypto::Keyring;
use tollkeep_ledger::price::Book;
use tollkeep_policy::call_policy::{
    CallPolicy, CallRefusal, HeadFacts, allow_model, check_head, deny_model,
};
use tollkeep_policy::egress::{EgressReason, EgressUrl, Purpose};
use tollkeep_store::{Credential, SealedSecret, StoreError};
use tollkeep_types::{CachePurge, CredentialId, ProjectId, Secret, TenantId, WallMillis};

/// The running gateway.
pub trait Runtime: Send + Sync {
    /// The settings in force.
    fn settings(&self) -> Arc<Settings>;

    /// The settings in force as they may be shown; nothing where they were not loaded from anywhere.
    fn shown_settings(&self) -> Arc<ShownSettings>;

    /// Which settings these are.
    fn settings_state(&self) -> SettingsState;

    /// Brings into force what the store keeps besides the settings: entries of address lists,
    /// maintenance, and budgets.
    fn apply_overrides(&self);

    /// What is kept of a secret in a credential of this tenant and id; `None` if it can't be sealed.
    fn sealed_secret(
        &self,
        secret: &Secret,
        of: (TenantId, CredentialId),
        origin: String,
    ) -> Option<SealedSecret>;

    /// Brings into force what the store keeps as credentials.
    fn apply_credentials(&self);

    /// How a credential of the store is doing in this process.
    fn credential_view(&self, id: CredentialId) -> CredentialView;

    /// Tries a credential out with one small request; `None` if it can't be opened, or the settings
    /// have no such provider.
    fn test_credential(&self, credential: &Credential) -> Option<CredentialTesting>;

    /// Credentials that are left alone for something in this process, those of the settings too.
    fn cooled_credentials(&self, of: &CoolDownsOf) -> Vec<CooledCredential>;

    /// All credentials that are used, whether they are left alone or not.
    fn known_credentials(&self, of: &CoolDownsOf) -> Vec<CooledCredential>;

    /// Forgets what they met: all, or what they met with one model.
    fn clear_cool_downs(&self, of: &CoolDownsOf, model: Option<&str>);

    /// Leaves them alone in this process until then.
    fn rest_credentials(&self, of: &CoolDownsOf, until: WallMillis);

    /// Loads the settings again and takes them over, all or nothing. Blocks.
    ///
    /// # Errors
    /// Every fault at once; the settings in force stay.
    fn reload(&self) -> Result<Reloaded, ConfigErrors>;

    /// What [`Self::reload`] would take over; nothing is. Blocks.
    ///
    /// # Errors
    /// Every fault at once.
    fn try_reload(&self) -> Result<Reloaded, ConfigErrors>;

    /// Reads the certificates of all listeners again and serves new connections with them. Blocks.
    ///
    /// # Errors
    /// Every fault at once; those in use stay.
    fn reload_tls(&self) -> Result<Vec<Certificate>, ConfigErrors>;

    /// What [`Self::reload_tls`] would use; nothing is. Blocks.
    ///
    /// # Errors
    /// Every fault at once.
    fn try_reload_tls(&self) -> Result<Vec<Certificate>, ConfigErrors>;

    /// Asks an identity provider, through the egress door.
    fn ask_provider(&self, ask: ProviderAsk) -> Asking;

    /// Whether a URL may be stored: it is judged, by all addresses of its name, as if it were dialled.
    fn vet(&self, asked: UrlToStore) -> Vetting;

    /// What would become of a request with this method, target and model. Nothing is sent.
    fn explain(&self, method: &str, target: &str, model: Option<&str>) -> Explained;

    /// The prices in use.
    fn prices(&self) -> Arc<Book>;

    /// The price table that is shipped, without anybody's own prices; `None` if the program has none.
    fn shipped_prices(&self) -> Option<Arc<Book>>;

    /// Every breaker that remembers a failure, the worst first.
    fn breakers(&self) -> Vec<Breaker>;

    /// Closes a breaker; what it was. `None` if it remembers nothing.
    fn reset_breaker(&self, id: u64) -> Option<Breaker>;

    /// The worst state of each upstream's breakers.
    fn upstream_states(&self) -> Vec<(Arc<str>, BreakerState)>;

    /// Takes answers of a tenant, or of all, out of the cache; gives how many. `None` while no answer
    /// is kept.
    fn purge_cache(&self, whose: Option<TenantId>, purge: &CachePurge) -> Option<usize>;

    /// How many [`Self::purge_cache`] would take out; nothing is.
    fn count_cached(&self, whose: Option<TenantId>, purge: &CachePurge) -> Option<usize>;

    /// The key-encryption keys that are loaded.
    fn keyring(&self) -> Arc<Keyring>;

    /// Every key-encryption key that is known, and where it comes from.
    fn keks(&self) -> Vec<KnownKek>;

    /// Whether keys are made here, rather than given from outside.
    fn makes_keks(&self) -> bool;

    /// Lets another key seal from now on.
    fn seal_under(&self, kek: KekChoice) -> Choosing<'_>;

    /// The keys that sign the audit log.
    fn audit_keeper(&self) -> &dyn AuditKeeper;

    /// The keys that sign receipts, where receipts are made.
    fn receipt_keeper(&self) -> Option<&dyn ReceiptKeeper>;
}

/// The keys after another one was let seal.
pub type Choosing<'a> = Pin<Box<dyn Future<Output = Result<Arc<Keyring>, KekRefused>> + Send + 'a>>;

/// Which key shall seal.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum KekChoice {
    /// One that is made for it.
    New,
    /// The active one of that id.
    Id(String),
}

/// Why another key does not seal.
#[derive(Debug, thiserror::Error)]
pub enum KekRefused {
    /// No key that may seal has that id.
    #[error("no active key has that id")]
    NotActive,
    /// Only keys in files of our own are made by us.
    #[error("keys come from the settings: add one there")]
    FromOutside,
    /// There are too many keys.
    #[error("{0}")]
    Full(String),
    /// The disk.
    #[error("{0}")]
    NotWritten(String),
    /// The store.
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// A key-encryption key as operators know it.
#[derive(Clone, Debug)]
pub struct KnownKek {
    /// Its id.
    pub id: String,
    /// What it is for, in a word.
    pub state: &'static str,
    /// Where it comes from; `None` of one that is not looked for.
    pub source: Option<&'static str>,
    /// Tells keys apart; `None` of one that is not loaded.
    pub fingerprint: Option<String>,
    /// Whether it is the one that seals.
    pub seals: bool,
}

/// The body of the answer, or why there is none.
pub type Asking = Pin<Box<dyn Future<Output = Result<Vec<u8>, String>> + Send>>;

/// What an identity provider is asked.
#[derive(Debug)]
pub struct ProviderAsk {
    /// Where.
    pub url: EgressUrl,
    /// Private networks that may be.
    pub allow_private: Vec<IpNet>,
    /// What is posted; nothing is sent if there is none.
    pub form: Option<ProviderForm>,
}

/// What is posted to it.
#[derive(Debug)]
pub struct ProviderForm {
    /// The form, as `application/x-www-form-urlencoded`.
    pub body: Secret,
    /// The credential of this client.
    pub authorization: Option<Secret>,
}

/// A URL that came by the management API.
#[derive(Clone, Debug)]
pub struct UrlToStore {
    /// As it was written.
    pub text: String,
    /// What it is for.
    pub purpose: Purpose,
    /// Whoever gave it is bound to a tenant.
    pub by_tenant: bool,
    /// Private networks that the settings let it lead to, where it was given by nobody who is.
    pub allow_private: Vec<IpNet>,
}

/// The URL as it was read, or by which rule it may not be stored.
pub type Vetting = Pin<Box<dyn Future<Output = Result<EgressUrl, EgressReason>> + Send>>;

/// What would become of a request.
#[derive(Clone, Debug)]
pub struct Explained {
    /// The canonical path.
    pub path: String,
    /// The path that policies are asked about, if that is another.
    pub judged_path: Option<String>,
    /// The model that the path names, if it does.
    pub asked: Option<String>,
    /// The code of the refusal, as far as method, path and model decide.
    pub refused: Option<&'static str>,
    /// The methods that the path has, if the one asked about is none of them.
    pub allow: Option<String>,
    /// The name of its route.
    pub route: Option<Arc<str>>,
    /// The upstream or provider it goes to.
    pub upstream: Option<Arc<str>>,
    /// What the provider calls the model.
    pub model: Option<String>,
    /// Whether a token is needed.
    pub needs_token: bool,
    /// Bytes of a body at most.
    pub body_bytes_max: Option<u64>,
    /// The route's own limit: requests, their window, and whose are counted together.
    pub rate: Option<(u64, Duration, &'static str)>,
    /// The policies that bind it, each with where it stands.
    pub policies: Vec<(&'static str, Arc<CallPolicy>)>,
}

impl Explained {
    /// The code by which its policies refuse it, as far as method, path and model decide.
    pub(crate) fn refused_by_policies(
        &self,
        method: &str,
        model: Option<&str>,
    ) -> Option<&'static str> {
        let policies: Vec<_> = self
            .policies
            .iter()
            .map(|(_, policy)| Arc::clone(policy))
            .collect();
        let facts = HeadFacts {
            method,
            path: self.judged_path.as_deref().unwrap_or(&self.path),
            fields: std::iter::empty(),
        };
        let denied = |asked| {
            let sent = self.model.as_deref().unwrap_or(asked);
            !allow_model(&policies, asked) || deny_model(&policies, sent)
        };
        match check_head(&policies, &facts) {
            Err(CallRefusal::Method { .. }) => Some("method_not_allowed"),
            Err(CallRefusal::Endpoint) => Some("endpoint_not_found"),
            _ if self.asked.as_deref().or(model).is_some_and(denied) => Some("model_not_found"),
            _ => None,
        }
    }
}

/// How a credential is doing.
#[derive(Clone, Debug, Default)]
pub struct CredentialView {
    /// Its secret can't be opened.
    pub is_unreadable: bool,
    /// For what it is left alone.
    pub cool_downs: Vec<CredentialCoolDown>,
    /// When it was used last.
    pub last_used_at: Option<WallMillis>,
    /// What it met last, and when.
    pub last_error: Option<(&'static str, WallMillis)>,
}

/// Which credentials are meant; all if nothing is said.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CoolDownsOf {
    /// Those of this provider.
    pub provider: Option<String>,
    /// The one of this id, or of this name in the settings.
    pub credential: Option<String>,
}

impl CoolDownsOf {
    /// Whether a credential is meant.
    pub fn fits(&self, provider: &str, credential: &str) -> bool {
        let is = |wanted: &Option<String>, own: &str| wanted.as_deref().is_none_or(|it| it == own);
        is(&self.provider, provider) && is(&self.credential, credential)
    }
}

/// A credential and for what it is left alone in this process.
#[derive(Clone, Debug)]
pub struct CooledCredential {
    /// Its provider.
    pub provider: String,
    /// Its id, or its name in the settings.
    pub credential: String,
    /// Its id, if it is of the store.
    pub stored: Option<CredentialId>,
    /// An operator lets it rest until then.
    pub rests_until: Option<WallMillis>,
    /// What it met.
    pub cool_downs: Vec<CredentialCoolDown>,
}

/// A time in which a credential is left alone.
#[derive(Clone, Debug)]
pub struct CredentialCoolDown {
    /// The model; `None` for all.
    pub model: Option<Box<str>>,
    /// Why.
    pub reason: &'static str,
    /// Since when.
    pub since: WallMillis,
    /// Until when.
    pub until: WallMillis,
    /// How often it was met again right after.
    pub level: u8,
    /// The provider said how long.
    pub is_told: bool,
    /// Nothing is called meanwhile; else others are only preferred.
    pub forbids: bool,
}

/// What came of trying a credential out.
#[derive(Clone, Copy, Debug)]
pub struct CredentialTest {
    /// The first digit of the status; `None` if there was no answer.
    pub status_class: Option<u16>,
    /// Why there was none.
    pub problem: Option<&'static str>,
    /// How long it took.
    pub latency: Duration,
}

/// A credential being tried out.
pub type CredentialTesting = Pin<Box<dyn Future<Output = CredentialTest> + Send>>;

/// A certificate that a listener uses.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// Where its settings stand.
    pub name: String,
    /// Its subject.
    pub subject: String,
    /// Until when it is valid.
    pub not_after: WallMillis,
}

/// Which settings are in force.
#[derive(Clone, Copy, Debug)]
pub struct SettingsState {
    /// 1 for those of the start, one more with each that were taken over.
    pub generation: u64,
    /// Since when.
    pub since: WallMillis,
    /// When others were last refused, if that was after these were taken over.
    pub refused_at: Option<WallMillis>,
}

/// Settings as they may be shown: secrets are not in them.
#[derive(Clone, Debug, Default)]
pub struct ShownSettings {
    /// The file they come from.
    pub path: Option<PathBuf>,
    /// Every key.
    pub origins: Origins,
}

impl ShownSettings {
    /// Of what was loaded.
    pub fn of(loaded: &Loaded) -> Self {
        Self {
            path: loaded.path.clone(),
            origins: loaded.origins.clone(),
        }
    }
}

/// Settings that were taken over.
#[derive(Clone, Debug)]
pub struct Reloaded {
    /// Which.
    pub state: SettingsState,
    /// What the operator should know about them.
    pub warnings: Vec<String>,
}

/// What a breaker does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BreakerState {
    /// It lets everything pass.
    Closed,
    /// It lets trials pass.
    HalfOpen,
    /// It lets nothing pass.
    Open,
}

/// One breaker.
#[derive(Clone, Debug)]
pub struct Breaker {
    /// Stands for it while the process lives.
    pub id: u64,
    /// Whose calls; none of anonymous callers.
    pub tenant: Option<TenantId>,
    /// Whose calls, if projects are told apart.
    pub project: Option<ProjectId>,
    /// The upstream or provider.
    pub upstream: Arc<str>,
    /// The route, of a plain upstream.
    pub route: Option<Box<str>>,
    /// The model, of a provider.
    pub model: Option<Box<str>>,
    /// What it does now.
    pub state: BreakerState,
    /// Failures in a row.
    pub failures: u32,
    /// When it opened last, if it is not closed.
    pub opened_at: Option<WallMillis>,
    /// How long it still lets nothing pass.
    pub left: Option<Duration>,
}
