//! The credentials of a provider: who may call with which, whose turn it is, and the field that
//! carries each.
//!
//! Those of the settings and those that the store keeps stand in one list. It is exchanged whole
//! when either changes; a call keeps the credential it took.

use arc_swap::ArcSwap;
use std::sync::Arc;
use tollkeep_config::settings::{self, CredentialTenant, Provider};
use tollkeep_counters::CredentialState;
use tollkeep_llm::catalog::CredentialForm;
use tollkeep_llm::resolve::glob;
use tollkeep_policy::cooling::{Met, Stands};
use tollkeep_policy::headers::same_field;
use tollkeep_policy::turns;
use tollkeep_store::live::LiveProject;
use tollkeep_types::{CredentialId, MonoNanos, ProjectId, Secret, TenantId, WallMillis};
use zeroize::Zeroizing;

/// A cool-down that ends so soon is not waited for.
const SOON_NS: u64 = 2_000_000_000;

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

/// For what a credential is wanted.
pub(crate) struct Wanted<'a> {
    /// Whose call it is; `None` is nobody's.
    pub(crate) project: Option<&'a LiveProject>,
    /// Whose calls of nobody are.
    pub(crate) default_tenant: TenantId,
    /// What the call asks of the provider.
    pub(crate) model: &'a str,
    /// What was tried for it before.
    pub(crate) tried: &'a [Arc<Credential>],
    pub(crate) worker: usize,
    pub(crate) now: (MonoNanos, WallMillis),
}

/// A credential for a call.
pub(crate) struct Picked {
    pub(crate) credential: Arc<Credential>,
    /// The name that the model has with it, if that is another.
    pub(crate) rename: Option<Box<str>>,
}

/// Why there is no credential for a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum NoCredential {
    /// There is none.
    None,
    /// Each is left alone; the first for this reason, until then.
    Cooling(Met, MonoNanos),
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
            .map(|credential| Arc::new(of_settings(credential, (form, default_tenant), known)))
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

    /// Takes what the store keeps for this provider, `stored`, beside those of the settings.
    pub(crate) fn fill(&self, provider: &str, stored: &[StoredCredential]) {
        let known = self.all.load_full();
        let mut all = self.configured.clone();
        if self.form != CredentialForm::None {
            let own = stored.iter().filter(|stored| {
                stored.provider == provider && stored.origin == self.origin && stored.weight > 0
            });
            let form = (self.form, &*self.settled);
            all.extend(own.map(|stored| Arc::new(of_store(stored, form, &known))));
        }
        all.sort_by_key(|credential| std::cmp::Reverse(credential.priority));
        self.all.store(Arc::new(all));
    }

    /// HOT. A credential for this call: of the highest priority, in turns, one that is not left
    /// alone. One that others are preferred to serves if there are no others; one that is left
    /// alone may be probed.
    pub(crate) fn pick(&self, wanted: &Wanted<'_>) -> Result<Picked, NoCredential> {
        let all = self.all.load();
        let mut cooling: Option<(&Arc<Credential>, Stands)> = None;
        let mut behind: Option<&Arc<Credential>> = None;
        for tier in all.chunk_by(|one, next| one.priority == next.priority) {
            let mut fit = tier.iter().filter(|credential| {
                if !credential.fits(wanted) {
                    return false;
                }
                match credential.state.stands(wanted.model, wanted.now) {
                    Stands::Free => true,
                    Stands::Behind => {
                        behind = behind.or(Some(*credential));
                        false
                    }
                    stands @ Stands::Cools { .. } => {
                        if cooling.is_none_or(|(_, other)| is_sooner(stands, other)) {
                            cooling = Some((*credential, stands));
                        }
                        false
                    }
                }
            });
            let picked = match tier {
                [_] => fit.next(),
                _ => turns::pick(fit.map(|one| (one, one.weight, one.state.turn(wanted.worker)))),
            };
            if let Some(credential) = picked {
                return Ok(credential.picked(wanted.model));
            }
        }
        if let Some(credential) = behind {
            return Ok(credential.picked(wanted.model));
        }
        let (credential, stands) = cooling.ok_or(NoCredential::None)?;
        let Stands::Cools {
            met,
            until,
            may_probe,
        } = stands
        else {
            return Ok(credential.picked(wanted.model));
        };
        let (mono, _) = wanted.now;
        if may_probe {
            credential.state.probe(wanted.model, mono);
        }
        if may_probe || until.since(mono) <= SOON_NS {
            return Ok(credential.picked(wanted.model));
        }
        Err(NoCredential::Cooling(met, until))
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

/// Which of two that are left alone is tried first.
fn is_sooner(one: Stands, other: Stands) -> bool {
    match (one, other) {
        (
            Stands::Cools {
                until, may_probe, ..
            },
            Stands::Cools {
                until: other,
                may_probe: other_probes,
                ..
            },
        ) => (!may_probe, until) < (!other_probes, other),
        (Stands::Free | Stands::Behind, _) | (_, Stands::Free | Stands::Behind) => false,
    }
}

impl Credential {
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
            never_cools: true,
            state: Arc::default(),
        }
    }

    fn fits(&self, wanted: &Wanted<'_>) -> bool {
        let tenant = wanted
            .project
            .map_or(wanted.default_tenant, |project| project.tenant_id);
        self.tenant.is_none_or(|own| own == tenant)
            && self
                .project
                .as_ref()
                .is_none_or(|own| own.is(wanted.project))
            && (self.models.is_empty() || self.served(wanted.model).is_some())
            && !self
                .excluded_models
                .iter()
                .any(|excluded| glob(excluded, wanted.model))
            && !wanted.tried.iter().any(|tried| self.is(tried))
    }

    fn served(&self, model: &str) -> Option<&ServedModel> {
        self.models.iter().find(|served| match &served.alias {
            Some(alias) => alias == model,
            None => glob(&served.name, model),
        })
    }

    fn picked(self: &Arc<Self>, model: &str) -> Picked {
        let served = self.served(model).filter(|served| served.alias.is_some());
        Picked {
            credential: Arc::clone(self),
            rename: served.map(|served| served.name.as_str().into()),
        }
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

fn of_settings(
    credential: &settings::Credential,
    (form, default_tenant): (CredentialForm, TenantId),
    known: &[Arc<Credential>],
) -> Credential {
    let name = CredentialName::Configured(Arc::from(credential.name.as_str()));
    let state = Credential::known(&name, credential.secret.as_ref(), known);
    let set = credential.headers.iter();
    let set = set.map(|(name, value)| (name.as_str(), value.expose()));
    let (field, settled) = fields(credential.secret.as_ref(), form, set);
    Credential {
        field,
        settled,
        secret: credential.secret.clone(),
        tenant: match credential.tenant {
            CredentialTenant::Default => Some(default_tenant),
            CredentialTenant::Id(id) => Some(id),
            CredentialTenant::Every => None,
        },
        project: credential
            .project
            .as_deref()
            .map(|project| match project.parse() {
                Ok(id) => ProjectName::Id(id),
                Err(_) => ProjectName::Slug(project.into()),
            }),
        models: credential
            .models
            .iter()
            .map(|model| ServedModel {
                name: model.clone(),
                alias: None,
            })
            .collect(),
        excluded_models: credential.excluded_models.clone(),
        priority: credential.priority,
        weight: credential.weight,
        never_cools: credential.disable_cooling,
        state,
        name,
    }
}

fn of_store(
    stored: &StoredCredential,
    (form, provider): (CredentialForm, &[String]),
    known: &[Arc<Credential>],
) -> Credential {
    let name = CredentialName::Stored(stored.id);
    let state = Credential::known(&name, Some(&stored.secret), known);
    state.follow(stored.rests_until, stored.recovered_at);
    let set = stored.headers.iter();
    let set = set.map(|(name, value)| (name.as_str(), value.as_str()));
    // The settings may have come to it since it was stored.
    let set = set.filter(|(name, _)| !provider.iter().any(|own| own == name));
    let (field, settled) = fields(Some(&stored.secret), form, set);
    Credential {
        field,
        settled,
        secret: Some(stored.secret.clone()),
        tenant: Some(stored.tenant),
        project: stored.project.map(ProjectName::Id),
        models: stored.models.clone(),
        excluded_models: stored.excluded_models.clone(),
        priority: stored.priority,
        weight: stored.weight,
        never_cools: false,
        state,
        name,
    }
}

/// The field of a secret and those that are set besides, and the names of these.
fn fields<'s>(
    secret: Option<&Secret>,
    form: CredentialForm,
    set: impl Iterator<Item = (&'s str, &'s str)>,
) -> (Zeroizing<Vec<u8>>, Vec<Box<[u8]>>) {
    let (mut lines, mut names) = (field(secret, form), Vec::new());
    for (name, value) in set {
        tollkeep_http1::write::field(&mut lines, name.as_bytes(), value.as_bytes());
        names.push(name.as_bytes().into());
    }
    (lines, names)
}

pub(crate) fn field(secret: Option<&Secret>, form: CredentialForm) -> Zeroizing<Vec<u8>> {
    let mut field = Zeroizing::new(Vec::new());
    let Some(secret) = secret else {
        return field;
    };
    let (name, scheme) = match form {
        CredentialForm::Bearer => ("authorization", "Bearer "),
        CredentialForm::XApiKey => ("x-api-key", ""),
        CredentialForm::ApiKey => ("api-key", ""),
        CredentialForm::None => return field,
    };
    for part in [name, ": ", scheme, secret.expose(), "\r\n"] {
        field.extend_from_slice(part.as_bytes());
    }
    field
}
