//! The credentials of a provider: who may call with which, whose turn it is, and the field that
//! carries each.
//!
//! Those of the settings and those that the store keeps stand in one list. It is exchanged whole
//! when either changes; a call keeps the credential it took.

mod made;
mod picking;

pub(crate) use made::field;
pub(crate) use picking::{Entered, NoCredential, Picked, Wanted};

use crate::plan::{CredentialPlace, Target};
use arc_swap::ArcSwap;
use std::sync::Arc;
use tollkeep_config::settings::Provider;
use tollkeep_counters::{CredentialLimits, CredentialState};
use tollkeep_llm::catalog::CredentialForm;
use tollkeep_llm::resolve::glob;
use tollkeep_net::tls::UpstreamTls;
use tollkeep_policy::headers::same_field;
use tollkeep_store::CallLimits;
use tollkeep_store::live::LiveProject;
use tollkeep_types::{CredentialId, ProjectId, Secret, TenantId, WallMillis};
use zeroize::Zeroizing;

/// A credential and the field that carries it.
pub(crate) struct Credential {
    /// What it is called.
    name: CredentialName,
    /// `None` where the provider takes calls without one.
    pub(crate) secret: Option<Secret>,
    /// The field, and those that it sets besides, ready to write.
    pub(crate) field: Zeroizing<Vec<u8>>,
    /// Names of those, lower case.
    settled: Vec<Box<[u8]>>,
    /// Whose calls it serves; `None` for all.
    tenant: Option<TenantId>,
    /// The one project whose calls it serves.
    project: Option<ProjectName>,
    /// What it serves; nothing listed: all of its provider.
    models: Vec<ServedModel>,
    excluded_models: Vec<String>,
    priority: i32,
    weight: u32,
    /// The word before `/` by which callers ask for it.
    prefix: Option<Box<str>>,
    limits: CredentialLimits,
    /// Its provider at a place of its own, where it has one.
    own: Option<Box<Target>>,
    /// Errors are noted and keep it from nothing.
    pub(crate) never_cools: bool,
    /// What is known of it, which goes on when the settings change.
    pub(crate) state: Arc<CredentialState>,
}

/// A project, by either of its names.
#[derive(Clone, Debug)]
enum ProjectName {
    Id(ProjectId),
    Slug(Box<str>),
}

/// What a credential is called.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum CredentialName {
    /// By the settings.
    Configured(Arc<str>),
    /// By the store.
    Stored(CredentialId),
}

/// A model that a credential serves.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServedModel {
    /// Its name upstream, or a glob of names.
    pub name: String,
    /// What callers call it, where that is another.
    pub alias: Option<String>,
}

/// A credential of the store, opened.
#[derive(Clone, Debug)]
pub struct StoredCredential {
    /// Its id.
    pub id: CredentialId,
    /// Whose calls it serves.
    pub tenant: TenantId,
    /// The one project whose calls it serves.
    pub project: Option<ProjectId>,
    /// The provider.
    pub provider: String,
    /// The secret.
    pub secret: Secret,
    /// Scheme, host and port that it was given for.
    pub origin: String,
    /// What it serves; nothing listed: all of its provider.
    pub models: Vec<ServedModel>,
    /// Globs of what it does not serve.
    pub excluded_models: Vec<String>,
    /// Fields set on calls; names are lower case.
    pub headers: Vec<(String, String)>,
    /// Higher first.
    pub priority: i32,
    /// Share among those of one priority.
    pub weight: u32,
    /// Where its calls go, if not to its provider's own place.
    pub place: CredentialPlace,
    /// The word before `/` by which callers ask for it.
    pub prefix: Option<String>,
    /// What it bears.
    pub limits: CallLimits,
    /// An operator lets it rest until then.
    pub rests_until: Option<WallMillis>,
    /// What kept it from use before then is forgotten.
    pub recovered_at: Option<WallMillis>,
}

/// The credentials of one provider.
pub(crate) struct CredentialPool {
    form: CredentialForm,
    /// Scheme, host and port of the provider.
    origin: String,
    /// Names of fields that the provider's settings set or remove, which no credential sets.
    settled: Vec<String>,
    configured: Vec<Arc<Credential>>,
    /// All of them, the highest priority first.
    all: ArcSwap<Vec<Arc<Credential>>>,
}

impl CredentialPool {
    /// Those of the settings; what is known of each goes on from the pool `before`.
    pub(crate) fn new(
        provider: &Provider,
        (form, default_tenant): (CredentialForm, TenantId),
        before: Option<&Self>,
    ) -> Self {
        let url = &provider.base_url;
        let origin = url.origin();
        let is_same_place = |before: &&Self| before.origin == origin;
        let known = before
            .filter(is_same_place)
            .map(|pool| pool.all.load_full());
        let known = known.as_deref().map_or(&[][..], Vec::as_slice);
        let usable = provider.credentials.iter();
        let usable = usable.filter(|credential| credential.weight > 0);
        let mut configured: Vec<_> = usable
            .map(|one| Arc::new(made::of_settings(one, (form, default_tenant), known)))
            .collect();
        if configured.is_empty() && form == CredentialForm::None {
            configured.push(Arc::new(Credential::none()));
        }
        let rules = &provider.headers;
        let set = rules.set.iter().map(|(name, _)| name.clone());
        let removed = rules.remove.iter().map(|name| name.to_string());
        let pool = Self {
            form,
            origin,
            settled: set.chain(removed).collect(),
            configured,
            all: ArcSwap::default(),
        };
        let all = known.iter().cloned().chain(pool.configured.iter().cloned());
        // What the store keeps is filled in before the pool is used; states are taken from here.
        pool.all.store(Arc::new(all.collect()));
        pool
    }

    /// One without any.
    pub(crate) fn none() -> Self {
        Self {
            form: CredentialForm::None,
            origin: String::new(),
            settled: Vec::new(),
            configured: Vec::new(),
            all: ArcSwap::default(),
        }
    }

    /// Takes what the store keeps for this provider, `stored`, beside those of the settings. Says
    /// whether one of them has a prefix.
    pub(crate) fn fill(
        &self,
        target: &Target,
        stored: &[StoredCredential],
        tls: &Arc<UpstreamTls>,
    ) -> bool {
        let known = self.all.load_full();
        let mut all = self.configured.clone();
        if self.form != CredentialForm::None {
            let own = stored
                .iter()
                .filter(|stored| *stored.provider == *target.name && stored.weight > 0);
            let form = (self.form, &*self.settled);
            let made = own.filter_map(|stored| made::of_store(stored, form, (target, tls), &known));
            all.extend(made.map(Arc::new));
        }
        all.sort_by_key(|credential| std::cmp::Reverse(credential.priority));
        let has_prefix = all.iter().any(|credential| credential.prefix.is_some());
        self.all.store(Arc::new(all));
        has_prefix
    }

    /// Whether one that serves this caller has the prefix.
    pub(crate) fn has_prefix(
        &self,
        prefix: &str,
        whose: (Option<&LiveProject>, TenantId),
        provider: &str,
    ) -> bool {
        let all = self.all.load();
        let mut own = all
            .iter()
            .filter(|one| one.prefix.as_deref() == Some(prefix));
        own.any(|one| one.is_for(whose, provider))
    }

    /// The prefixes of those that serve this caller.
    pub(crate) fn prefixes(
        &self,
        whose: (Option<&LiveProject>, TenantId),
        provider: &str,
    ) -> Vec<Box<str>> {
        let all = self.all.load();
        let own = all.iter().filter(|one| one.is_for(whose, provider));
        own.filter_map(|one| one.prefix.clone()).collect()
    }

    /// Whether a credential is used by connections to this endpoint.
    pub(crate) fn calls(&self, endpoint: u64) -> bool {
        let all = self.all.load();
        let mut own = all.iter().filter_map(|credential| credential.own.as_ref());
        own.any(|target| target.endpoint.id == endpoint)
    }

    /// What is known of each.
    pub(crate) fn states(&self, mut see: impl FnMut(&CredentialName, &CredentialState)) {
        for credential in self.all.load().iter() {
            see(&credential.name, &credential.state);
        }
    }
}

impl CredentialName {
    /// As operators know it: its name in the settings or its id.
    pub(crate) fn told(&self) -> (String, Option<CredentialId>) {
        match self {
            Self::Configured(name) => (name.to_string(), None),
            Self::Stored(id) => (id.to_string(), Some(*id)),
        }
    }
}

impl Credential {
    /// The bytes of its secret; none where it has none.
    pub(crate) fn secret_bytes(&self) -> &[u8] {
        let secret = self.secret.as_ref();
        secret.map_or(&b""[..], |secret| secret.expose().as_bytes())
    }

    /// Its id, if the store keeps it.
    pub(crate) const fn stored_id(&self) -> Option<CredentialId> {
        match self.name {
            CredentialName::Configured(_) => None,
            CredentialName::Stored(id) => Some(id),
        }
    }

    /// One that sends nothing, for everybody.
    fn none() -> Self {
        Self {
            name: CredentialName::Configured(Arc::from("c1")),
            secret: None,
            field: Zeroizing::default(),
            settled: Vec::new(),
            tenant: None,
            project: None,
            models: Vec::new(),
            excluded_models: Vec::new(),
            priority: 0,
            weight: 1,
            prefix: None,
            limits: CredentialLimits::default(),
            own: None,
            never_cools: true,
            state: Arc::default(),
        }
    }

    /// Its provider as its calls reach it.
    pub(crate) fn target<'t>(&'t self, of_provider: &'t Target) -> &'t Target {
        self.own.as_deref().unwrap_or(of_provider)
    }

    /// Whether its calls go to a place of its own.
    pub(crate) const fn has_place(&self) -> bool {
        self.own.is_some()
    }

    /// Whether it serves calls of this project, or of nobody, whose are a tenant's.
    fn is_for(
        &self,
        (project, default_tenant): (Option<&LiveProject>, TenantId),
        provider: &str,
    ) -> bool {
        let tenant = project.map_or(default_tenant, |project| project.tenant_id);
        self.tenant.is_none_or(|own| own == tenant)
            && self.project.as_ref().is_none_or(|own| own.is(project))
            && project.is_none_or(|project| match &self.name {
                CredentialName::Configured(name) => project.may_use(None, (provider, name)),
                CredentialName::Stored(id) => project.may_use(Some(*id), (provider, "")),
            })
    }

    fn fits(&self, wanted: &Wanted<'_>, full: &[Arc<Self>]) -> bool {
        self.is_for((wanted.project, wanted.default_tenant), wanted.provider)
            && wanted
                .prefix
                .is_none_or(|prefix| self.prefix.as_deref() == Some(prefix))
            && (self.models.is_empty() || self.served(wanted.model).is_some())
            && !self
                .excluded_models
                .iter()
                .any(|excluded| glob(excluded, wanted.model))
            && !wanted.tried.iter().chain(full).any(|tried| self.is(tried))
    }

    fn served(&self, model: &str) -> Option<&ServedModel> {
        self.models.iter().find(|served| match &served.alias {
            Some(alias) => alias == model,
            None => glob(&served.name, model),
        })
    }

    /// Whether it sets this field.
    pub(crate) fn settles(&self, name: &[u8]) -> bool {
        let mut settled = self.settled.iter();
        settled.any(|own| same_field(name, own))
    }

    /// What names it to whoever takes it away while a call goes out with it.
    pub(crate) fn means(&self) -> Option<[u8; 16]> {
        match &self.name {
            CredentialName::Stored(id) => Some(*id.bytes()),
            CredentialName::Configured(_) => None,
        }
    }

    /// Whether it is the same one, whatever list it is from.
    fn is(&self, other: &Self) -> bool {
        self.name == other.name
    }

    /// What is known of the one of this name and secret.
    fn known(
        name: &CredentialName,
        secret: Option<&Secret>,
        known: &[Arc<Self>],
    ) -> Arc<CredentialState> {
        let mut known = known.iter().filter(|known| known.name == *name);
        let same = known
            .find(|known| known.secret.as_ref().map(Secret::expose) == secret.map(Secret::expose));
        same.map(|same| Arc::clone(&same.state)).unwrap_or_default()
    }
}

impl ProjectName {
    fn is(&self, project: Option<&LiveProject>) -> bool {
        project.is_some_and(|project| match self {
            Self::Id(id) => *id == project.id,
            Self::Slug(slug) => *slug == project.slug,
        })
    }
}
