//! Credentials of providers: what calls are paid with upstream. The store keeps their secrets as
//! sealed texts and never opens one.

mod change;
mod read;

pub use change::PutCredential;
pub(crate) use change::delete_of_project;
pub(crate) use read::{all, by_id};

use crate::CallLimits;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tollkeep_types::{CredentialId, ProjectId, TenantId, TokenHash, WallMillis};

/// Credentials of a deployment at most.
const CREDENTIALS_MAX: u32 = 10_000;

/// A credential.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Credential {
    /// Its id.
    pub id: CredentialId,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// The one project that may use it; `None`: all of the tenant.
    pub project_id: Option<ProjectId>,
    /// The provider, by its name in the settings.
    pub provider: String,
    /// What is kept of its secret.
    pub secret: SealedSecret,
    /// The file it is read from, if it is kept in one.
    pub file: Option<String>,
    /// How it is used.
    pub rules: CredentialRules,
    /// An operator lets it rest.
    pub rest: Option<CredentialRest>,
    /// Whatever had kept it from use before then is forgotten.
    pub recovered_at: Option<WallMillis>,
    /// When it was made.
    pub created_at: WallMillis,
    /// When an operator last changed it.
    pub updated_at: WallMillis,
    /// When its secret was sealed.
    pub sealed_at: WallMillis,
    /// When a call last used it, as far as that is stored.
    pub last_used_at: Option<WallMillis>,
    /// The class of the last error that it met.
    pub last_error_code: Option<String>,
    /// When it met it.
    pub last_error_at: Option<WallMillis>,
}

/// What is kept of a credential's secret.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SealedSecret {
    /// The secret, sealed for the field `secret` of the row.
    pub sealed: String,
    /// The keyed hash of its text.
    pub digest: TokenHash,
    /// Which pepper made the hash.
    pub pepper_id: String,
    /// The text as lists show it, masked.
    pub hint: String,
    /// Scheme, host and port that it was given for.
    pub origin: String,
}

impl SealedSecret {
    /// The table that a sealed secret stands in.
    pub const TABLE: &'static str = "credentials";
    /// The field of its row.
    pub const FIELD: &'static str = "secret";
}

/// How a credential is used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CredentialRules {
    /// Its name in lists.
    pub label: String,
    /// The models it serves; none listed: all of its provider.
    pub models: Vec<CredentialModel>,
    /// Globs of models it does not serve.
    pub excluded_models: Vec<String>,
    /// Fields set on calls that go out with it; names are lower case.
    pub headers: BTreeMap<String, String>,
    /// Higher is used first.
    pub priority: i32,
    /// Share among credentials of one priority; 0 leaves it out.
    pub weight: u32,
    /// An operator switched it off.
    pub is_disabled: bool,
    /// Where its calls go, if not to its provider's own place.
    pub base_url: Option<GivenUrl>,
    /// The proxy that they go through.
    pub egress_proxy: Option<GivenUrl>,
    /// The word before `/` by which callers ask for it.
    pub prefix: Option<String>,
    /// What it bears.
    pub limits: CallLimits,
}

/// A URL that came by the management API. What it may lead to depends on who gave it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GivenUrl {
    /// The URL.
    pub url: String,
    /// Whoever gave it is bound to a tenant.
    pub by_tenant: bool,
}

impl Default for CredentialRules {
    fn default() -> Self {
        Self {
            label: String::new(),
            models: Vec::new(),
            excluded_models: Vec::new(),
            headers: BTreeMap::new(),
            priority: 0,
            weight: 1,
            is_disabled: false,
            base_url: None,
            egress_proxy: None,
            prefix: None,
            limits: CallLimits::default(),
        }
    }
}

/// A model that a credential serves.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialModel {
    /// Its name upstream, or a glob of names.
    pub name: String,
    /// What callers call it, where that is not its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
}

/// A time in which a credential is not used, as an operator says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CredentialRest {
    /// Since when.
    pub since: WallMillis,
    /// Until when.
    pub until: WallMillis,
    /// Why, for the records.
    pub reason: Option<String>,
}

/// A credential to be made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NewCredential {
    /// Its id, for which the secret is sealed.
    pub id: CredentialId,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// The one project that may use it.
    pub project_id: Option<ProjectId>,
    /// The provider.
    pub provider: String,
    /// Its secret.
    pub secret: SealedSecret,
    /// The file it is read from.
    pub file: Option<String>,
    /// How it is used.
    pub rules: CredentialRules,
}

/// Which credentials are wanted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CredentialFilter {
    /// Those of this provider.
    pub provider: Option<String>,
    /// Those of this project.
    pub project_id: Option<ProjectId>,
    /// The one whose secret has this keyed hash.
    pub digest: Option<TokenHash>,
}

/// What a process saw of a credential's use.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CredentialUse {
    /// The credential.
    pub id: CredentialId,
    /// When it was last used.
    pub used_at: WallMillis,
    /// The last error and when it was met.
    pub error: Option<(String, WallMillis)>,
}
