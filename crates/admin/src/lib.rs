//! The management API: who may operate the gateway, and a file per noun of what can be done.
//!
//! The API is served on the management listener (a key is needed) and on a local socket of the
//! gateway's own user (the socket's permissions are the key, so a locked-out operator is never
//! stuck). Every answer is JSON; every refusal a problem document (RFC 9457).

#![warn(missing_docs)]

mod account;
mod acting;
mod audit;
mod audit_export;
mod audit_log;
mod authn;
mod bindings;
mod breaker;
mod budget;
mod config;
mod cooldown;
mod credential;
mod cursor;
mod data_port;
mod due;
mod end;
mod etag;
mod front_door;
mod grant;
mod history;
mod hold;
mod idempotency;
mod ip_list;
mod job;
mod key;
mod ledger;
mod lockout;
mod log_level;
mod maintenance;
mod manage;
mod members;
mod metrics;
mod not_offered;
mod once;
mod openapi;
mod operation;
mod operator;
mod own_key;
mod own_token;
mod parameters;
mod passwords;
mod payment;
mod payment_session;
mod policy;
mod price;
mod price_own;
mod problem;
mod project;
mod receipt_keys;
mod reload;
mod request;
mod rights;
mod route;
mod router;
mod runtime;
mod secret;
mod serve;
mod service_token;
mod session;
mod shape;
mod status;
mod strict;
mod survey;
mod tenant;
mod tls;
mod token;
mod unproven;
mod usage;
mod vault;

pub use audit_log::{AuditKeeper, Keeping, NextKey};
pub use budget::{ScopeError, scope_of, tenant_of};
pub use data_port::DataPort;
pub use job::Jobs;
pub use openapi::document as openapi;
pub use own_token::{Holder, HolderNo};
pub use receipt_keys::ReceiptKeeper;
pub use runtime::{
    Asking, Breaker, BreakerState, Certificate, Choosing, CoolDownsOf, CooledCredential,
    CredentialCoolDown, CredentialTest, CredentialTesting, CredentialView, Explained, KekChoice,
    KekRefused, KnownKek, ProviderAsk, ProviderForm, Reloaded, Runtime, SettingsState,
    ShownSettings, UrlToStore, Vetting,
};
pub use serve::{Door, IsBelieved, Misdirects, Peer, Scheme};
pub use survey::{KekRecords, Survey, Unreadable, place_of};
pub use unproven::Unproven;

use arc_swap::ArcSwapOption;
use std::net::SocketAddr;
use std::sync::Arc;
use tollkeep_audit::{Logger, Masker};
use tollkeep_config::Settings;
use tollkeep_crypto::jwt::JwtKeys;
use tollkeep_crypto::mint::{self, MintError};
use tollkeep_crypto::{TokenHasher, hmac_sha256};
use tollkeep_observe::health::Health;
use tollkeep_observe::metrics::Metrics;
use tollkeep_store::{DueRecord, NewManagementKey, Role, Scope, Store, StoreError};
use tollkeep_types::{Clock, Entropy, Secret, WallMillis};

/// How long the first management key lives: 90 days.
const FIRST_KEY_TTL_MS: u64 = 90 * 86_400_000;

/// What the management API is made with.
#[derive(Clone)]
pub struct AdminParts {
    /// Where things are kept.
    pub store: Store,
    /// Makes the digests of tokens and keys.
    pub hasher: Arc<TokenHasher>,
    /// Which pepper the hasher has.
    pub pepper_id: &'static str,
    /// Makes fingerprints.
    pub fingerprint_key: [u8; 32],
    /// How keys are shown that are not known.
    pub masker: Masker,
    /// The running gateway, which has the settings too.
    pub runtime: Arc<dyn Runtime>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// The audit log; `None` when it is off.
    pub audit: Option<Arc<Logger>>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Health.
    pub health: Arc<Health>,
    /// Which of several gateways on one store this is.
    pub replica: String,
    /// The version of the build.
    pub version: &'static str,
    /// Where the process listens.
    pub listeners: Vec<SocketAddr>,
    /// Long work that operators began.
    pub jobs: Arc<Jobs>,
    /// What was refused to whoever has shown nothing.
    pub unproven: Arc<Unproven>,
    /// The keys of the identity provider at the front door, where there is one.
    pub jwt_keys: Arc<ArcSwapOption<JwtKeys>>,
}

/// The management API.
#[derive(Clone)]
pub struct Admin(Arc<State>);

#[derive(Clone)]
pub(crate) struct State {
    pub(crate) parts: AdminParts,
    pub(crate) started_at: WallMillis,
    /// Signs cursors, so that they can't be made up.
    pub(crate) cursor_key: [u8; 32],
    pub(crate) lockouts: Arc<lockout::Lockouts>,
    pub(crate) let_in: Arc<authn::LetIn>,
    pub(crate) strict: Arc<strict::Strict>,
    pub(crate) passwords: Arc<passwords::Passwords>,
    pub(crate) provider: Arc<session::Provider>,
    /// What a request does with it.
    pub(crate) acting: acting::Acting,
    /// What a trial is to be recorded by.
    pub(crate) tried: acting::Tried,
    /// The record that what a request changes owes the audit log.
    pub(crate) due: Option<DueRecord>,
    /// What was changed and not recorded yet.
    pub(crate) dues: Arc<due::Dues>,
}

impl State {
    /// The settings in force. Whoever looks at them twice in one request keeps them.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        self.parts.runtime.settings()
    }
}

/// Why there is no first management key.
#[derive(Debug, thiserror::Error)]
pub enum FirstKeyError {
    /// The settings' prefix makes no key.
    #[error("management key: {0}")]
    Mint(#[from] MintError),
    /// The store.
    #[error("management key: {0}")]
    Store(#[from] StoreError),
}

impl Admin {
    /// Makes the API; nothing is served yet.
    pub fn new(parts: AdminParts) -> Self {
        // Every replica reads the cursors of every other.
        let cursor_key = hmac_sha256(&parts.fingerprint_key, b"cursors of lists");
        let started_at = parts.clock.wall();
        Self(Arc::new(State {
            parts,
            started_at,
            cursor_key,
            lockouts: Arc::default(),
            let_in: Arc::default(),
            strict: Arc::default(),
            passwords: Arc::default(),
            provider: Arc::default(),
            acting: acting::Acting::Really,
            tried: acting::Tried::default(),
            due: None,
            dues: Arc::default(),
        }))
    }

    /// Makes the first owner key, unless one is configured or stored. Its text is given once and
    /// never written to a log.
    ///
    /// # Errors
    /// The store, or a prefix that makes no key.
    pub async fn ensure_management_key(&self) -> Result<Option<Secret>, FirstKeyError> {
        let (parts, settings) = (&self.0.parts, self.0.settings());
        let scope = Scope::Service("first management key");
        if settings.management.key.is_some() || parts.store.count_live_owners(scope).await? > 0 {
            return Ok(None);
        }
        let prefix = &settings.auth.management_prefix;
        let key = mint::mint(prefix, None, parts.entropy.as_ref())?;
        let now = parts.store.now();
        let new = NewManagementKey {
            operator_id: None,
            name: "first".to_owned(),
            role: Role::Owner,
            scopes: None,
            allowed_ips: Vec::new(),
            secret: self.0.kept_of_key(&key),
            expires_at: WallMillis(now.0 + FIRST_KEY_TTL_MS),
            created_by: None,
        };
        parts.store.create_management_key(scope, new).await?;
        Ok(Some(key))
    }
}
