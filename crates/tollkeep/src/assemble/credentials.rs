//! Credentials of the store, brought into force: opened, and given to the data plane.

use super::Base;
use super::auth_dir::Found;
use super::vault::{Chooser, PEPPER_ID, Vault};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tollkeep_admin::{
    CoolDownsOf, CooledCredential, CredentialCoolDown, CredentialTest, CredentialView,
};
use tollkeep_audit::{Action, Actor, Event, Key, Logger, Outcome, Value};
use tollkeep_counters::CredentialState;
use tollkeep_crypto::{Keyring, OpenError, SealContext, TokenHasher};
use tollkeep_gateway::{CredentialPlace, CredentialProbe, ServedModel, Shared, StoredCredential};
use tollkeep_net::dial::DialError;
use tollkeep_net::fetch::FetchError;
use tollkeep_policy::egress::{Giver, Purpose, parse_url};
use tollkeep_store::{
    Credential, CredentialFilter, CredentialRules, CredentialUse, GivenUrl, NewCredential,
    PutCredential, Scope, SealedSecret, Store, StoreError,
};
use tollkeep_types::{Clock, CredentialId, Entropy, MonoNanos, Secret, TenantId, WallMillis};

/// The credentials of a running gateway.
pub(crate) struct Credentials {
    store: Store,
    chooser: Arc<Chooser>,
    hasher: Arc<TokenHasher>,
    shared: Arc<Shared>,
    audit: Option<Arc<Logger>>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    /// What is in force; whoever changes it holds the lock, so that the last change wins.
    applied: Mutex<Applied>,
}

/// What was taken from the store as last.
struct Applied {
    list: Arc<Vec<Credential>>,
    unreadable: BTreeSet<CredentialId>,
}

impl Credentials {
    /// Those of the store, in force.
    pub(crate) fn new(
        base: &Base,
        (store, vault): (&Store, &Vault),
        shared: &Arc<Shared>,
        audit: Option<&Arc<Logger>>,
    ) -> Self {
        let credentials = Self {
            store: store.clone(),
            chooser: Arc::clone(&vault.chooser),
            hasher: Arc::clone(&vault.hasher),
            shared: Arc::clone(shared),
            audit: audit.cloned(),
            clock: Arc::clone(&base.clock),
            entropy: Arc::clone(&base.entropy),
            applied: Mutex::new(Applied {
                list: Arc::default(),
                unreadable: BTreeSet::new(),
            }),
        };
        credentials.apply();
        credentials
    }

    /// Brings in what the store has now.
    pub(crate) fn apply(&self) {
        let mut applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        let list = self.store.credentials_in_use();
        let mut unreadable = BTreeSet::new();
        let mut opened = Vec::new();
        let keyring = self.chooser.keyring();
        for credential in list.iter() {
            match open(&keyring, credential) {
                Ok(secret) if !credential.rules.is_disabled => {
                    opened.extend(stored(credential, secret));
                }
                Ok(_) => {}
                Err(error) => {
                    if !applied.unreadable.contains(&credential.id) {
                        self.tell_unreadable(credential, &error);
                    }
                    unreadable.insert(credential.id);
                }
            }
        }
        self.shared.take_credentials(opened);
        *applied = Applied { list, unreadable };
    }

    /// Brings in what another replica changed, or an operator who did not wait for the answer.
    pub(crate) fn keep(&self) {
        let applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        let is_stale = !Arc::ptr_eq(&applied.list, &self.store.credentials_in_use());
        drop(applied);
        if is_stale {
            self.apply();
        }
    }

    /// Stores when credentials were used and what they met.
    ///
    /// # Errors
    /// The disk; what was not stored is told again by the next use.
    pub(crate) async fn flush(&self) -> Result<(), StoreError> {
        let mut uses = Vec::new();
        self.shared.stored_credential_states(|id, state| {
            uses.extend(state.take_used().map(|used| CredentialUse {
                id,
                used_at: used.used_at,
                error: used.error.map(|(met, at)| (met.as_str().to_owned(), at)),
            }));
        });
        self.store.note_credential_uses(uses).await
    }

    /// What is kept of a secret in a credential of this tenant and id.
    pub(crate) fn sealed(
        &self,
        secret: &Secret,
        of: (TenantId, CredentialId),
        origin: String,
    ) -> Option<SealedSecret> {
        let text = secret.expose();
        let (tenant, row) = (of.0.to_string(), of.1.to_string());
        let place = place(&tenant, &row);
        let sealed = self
            .chooser
            .keyring()
            .seal(text.as_bytes(), &place, &*self.entropy);
        Some(SealedSecret {
            sealed: sealed.ok()?,
            digest: self.hasher.hash(text),
            pepper_id: PEPPER_ID.to_owned(),
            hint: tollkeep_audit::mask(text),
            origin,
        })
    }

    /// Takes what stands in a file: the credential that was read from there gets the new secret, or
    /// there is a new one.
    pub(crate) async fn take_file(&self, found: Found) {
        let taken = self.put_file(&found).await;
        let file = &found.file;
        match taken {
            Ok(Some((action, credential))) => {
                self.apply();
                let provider = &found.provider;
                tracing::info!("auth_dir: {file} is taken as a credential of `{provider}`");
                self.tell(action, &credential);
            }
            Ok(None) => {}
            Err(error) => tracing::error!("auth_dir: {file} is not used: {error}"),
        }
    }

    async fn put_file(&self, found: &Found) -> Result<Option<(Action, Credential)>, StoreError> {
        let tenant_id = self.store.default_tenant().id;
        let scope = Scope::Tenant(tenant_id);
        let filter = CredentialFilter {
            provider: Some(found.provider.clone()),
            ..CredentialFilter::default()
        };
        let known = self.store.credentials_like(scope, filter).await?;
        let is_its = |one: &&Credential| one.file.as_ref() == Some(&found.file);
        let digest = self.hasher.hash(found.secret.expose());
        let same = known.iter().find(|one| {
            one.secret.digest == digest
                && one.project_id.is_none()
                && one.secret.origin == found.origin
        });
        if let Some(same) = same {
            return self.follow_priority(scope, same, found).await;
        }
        let sealed = |id| {
            let sealed = self.sealed(&found.secret, (tenant_id, id), found.origin.clone());
            sealed.ok_or(StoreError::Invalid("it can't be sealed"))
        };
        if let Some(before) = known.iter().find(is_its) {
            let secret = sealed(before.id)?;
            let changed = self.store.reseal_credential(scope, before.id, secret);
            let changed = changed.await?;
            let followed = self.follow_priority(scope, &changed, found).await?;
            let credential = followed.map_or(changed, |(_, credential)| credential);
            return Ok(Some((Action::CredentialRotate, credential)));
        }
        let id = CredentialId::new(self.clock.as_ref(), self.entropy.as_ref());
        let new = NewCredential {
            id,
            tenant_id,
            project_id: None,
            provider: found.provider.clone(),
            secret: sealed(id)?,
            file: Some(found.file.clone()),
            rules: CredentialRules {
                label: found.file.clone(),
                priority: found.priority,
                ..CredentialRules::default()
            },
        };
        let put = self.store.put_credential(scope, new, |_| None).await?;
        let (PutCredential::Made(made) | PutCredential::Resealed(made)) = put;
        Ok(Some((Action::CredentialCreate, made)))
    }

    /// The priority of its file, where it is read from one.
    async fn follow_priority(
        &self,
        scope: Scope,
        credential: &Credential,
        found: &Found,
    ) -> Result<Option<(Action, Credential)>, StoreError> {
        let is_its = credential.file.as_ref() == Some(&found.file);
        if !is_its || credential.rules.priority == found.priority {
            return Ok(None);
        }
        let rules = CredentialRules {
            priority: found.priority,
            ..credential.rules.clone()
        };
        let changed = self.store.set_credential_rules(scope, credential.id, rules);
        Ok(Some((Action::CredentialUpdate, changed.await?)))
    }

    fn tell(&self, action: Action, credential: &Credential) {
        let Some(audit) = &self.audit else {
            return;
        };
        let event = Event::new(action, Actor::System, Outcome::Success)
            .at(self.clock.wall())
            .with_tenant_id(credential.tenant_id)
            .with_detail(Key::Provider, Value::Word(&credential.provider))
            .with_detail(Key::Kind, Value::Word("auth_dir"))
            .with_detail(
                Key::Name,
                Value::OwnedWord(credential.id.to_string().into()),
            );
        if let Err(error) = audit.enqueue(&event) {
            tracing::warn!("A credential of auth_dir was not recorded: {error}");
        }
    }

    /// How a credential is doing in this process.
    pub(crate) fn view(&self, id: CredentialId) -> CredentialView {
        let applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        let is_unreadable = applied.unreadable.contains(&id);
        drop(applied);
        let now = (self.clock.mono(), self.clock.wall());
        let mut view = CredentialView {
            is_unreadable,
            ..CredentialView::default()
        };
        self.shared.stored_credential_states(|of, state| {
            if of == id {
                see(&mut view, state, now);
            }
        });
        view
    }

    /// Credentials and for what each is left alone in this process.
    pub(crate) fn cooled(&self, of: &CoolDownsOf) -> Vec<CooledCredential> {
        let now = (self.clock.mono(), self.clock.wall());
        let mut found = Vec::new();
        self.shared
            .credential_states(|provider, (credential, stored), state| {
                if !of.fits(provider, &credential) {
                    return;
                }
                let mut view = CredentialView::default();
                see(&mut view, state, now);
                found.push(CooledCredential {
                    provider: provider.to_owned(),
                    credential,
                    stored,
                    rests_until: state.rests_until(now.1),
                    cool_downs: view.cool_downs,
                });
            });
        found
    }

    /// Does something to what is known of each that is meant.
    pub(crate) fn each(&self, of: &CoolDownsOf, act: impl Fn(&CredentialState)) {
        self.shared
            .credential_states(|provider, (credential, _), state| {
                if of.fits(provider, &credential) {
                    act(state);
                }
            });
    }

    /// How a credential is tried out; `None` if it can't be opened or its provider is gone.
    pub(crate) fn probe(&self, credential: &Credential) -> Option<CredentialProbe> {
        let secret = open(&self.chooser.keyring(), credential).ok()?;
        self.shared.credential_probe(&stored(credential, secret)?)
    }

    fn tell_unreadable(&self, credential: &Credential, error: &OpenError) {
        let (id, provider) = (credential.id, credential.provider.as_str());
        tracing::error!(
            credential.id = %id,
            "The credential {id} of `{provider}` can't be opened, and is not used: {error}"
        );
        let Some(audit) = &self.audit else {
            return;
        };
        let event = Event::new(Action::VaultOpenFailed, Actor::System, Outcome::Error)
            .at(self.clock.wall())
            .with_tenant_id(credential.tenant_id)
            .with_detail(Key::Provider, Value::Word(provider))
            .with_detail(Key::Name, Value::OwnedWord(id.to_string().into()));
        if let Err(error) = audit.enqueue(&event) {
            tracing::warn!("An unreadable credential was not recorded: {error}");
        }
    }
}

fn see(view: &mut CredentialView, state: &CredentialState, (mono, wall): (MonoNanos, WallMillis)) {
    let used = state.used();
    view.last_used_at = Some(used.used_at).filter(|at| at.0 > 0);
    view.last_error = used.error.map(|(met, at)| (met.as_str(), at));
    let cools = state.shown(mono).into_iter();
    view.cool_downs = cools
        .map(|shown| {
            let cool = shown.cool;
            CredentialCoolDown {
                model: shown.model,
                reason: cool.met.as_str(),
                since: WallMillis(wall.0.saturating_sub(mono.since(cool.since) / 1_000_000)),
                until: WallMillis(wall.0.saturating_add(cool.until.since(mono) / 1_000_000)),
                level: cool.level,
                is_told: cool.is_told,
                forbids: cool.met.forbids(),
            }
        })
        .collect();
}

/// What the store has, opened, for the start; what can't be opened is told a moment later.
pub(super) fn stored_credentials(store: &Store, keyring: &Keyring) -> Vec<StoredCredential> {
    let list = store.credentials_in_use();
    let used = list.iter().filter(|one| !one.rules.is_disabled);
    used.filter_map(|one| stored(one, open(keyring, one).ok()?))
        .collect()
}

/// Where the secret of this credential stands.
fn place<'a>(tenant: &'a str, row: &'a str) -> SealContext<'a> {
    SealContext {
        tenant,
        table: SealedSecret::TABLE,
        row,
        field: SealedSecret::FIELD,
    }
}

/// The secret of a credential.
fn open(keyring: &Keyring, credential: &Credential) -> Result<Secret, OpenError> {
    let (tenant, row) = (credential.tenant_id.to_string(), credential.id.to_string());
    let plain = keyring.open(&credential.secret.sealed, &place(&tenant, &row))?;
    let text = std::str::from_utf8(&plain);
    text.map(Secret::new).map_err(|_| OpenError::Malformed)
}

/// As the data plane takes it; `None` if it goes to a place that can't be read, and so nowhere.
fn stored(credential: &Credential, secret: Secret) -> Option<StoredCredential> {
    let rules = &credential.rules;
    let read = |given: &Option<GivenUrl>, purpose| {
        let given = given.as_ref();
        let parsed = given.map(|given| parse_url(&given.url, purpose, giver(given.by_tenant)));
        parsed.transpose().ok()
    };
    let place = CredentialPlace {
        url: read(&rules.base_url, Purpose::Provider)?,
        proxy: read(&rules.egress_proxy, Purpose::Proxy)?,
    };
    Some(StoredCredential {
        place,
        prefix: rules.prefix.clone(),
        limits: rules.limits,
        id: credential.id,
        tenant: credential.tenant_id,
        project: credential.project_id,
        provider: credential.provider.clone(),
        secret,
        origin: credential.secret.origin.clone(),
        models: rules
            .models
            .iter()
            .map(|model| ServedModel {
                name: model.name.clone(),
                alias: model.alias.clone(),
            })
            .collect(),
        excluded_models: rules.excluded_models.clone(),
        headers: rules.headers.clone().into_iter().collect(),
        priority: rules.priority,
        weight: rules.weight,
        rests_until: credential.rest.as_ref().map(|rest| rest.until),
        recovered_at: credential.recovered_at,
    })
}

/// Who gave a URL that came by the management API.
pub(crate) const fn giver(by_tenant: bool) -> Giver {
    if by_tenant {
        Giver::Tenant
    } else {
        Giver::Operator
    }
}

/// Runs a probe and says no more than what came of it.
pub(crate) async fn run(probe: CredentialProbe, clock: Arc<dyn Clock>) -> CredentialTest {
    let began = clock.mono();
    let answered = probe.run().await;
    let latency = Duration::from_nanos(clock.mono().since(began));
    let (status_class, problem) = match answered {
        Ok(status) | Err(FetchError::Status(status)) => (Some(status / 100), None),
        Err(FetchError::Late(_)) => (None, Some("timeout")),
        Err(FetchError::Protocol(_)) => (None, Some("protocol")),
        Err(FetchError::Dial(error)) => (None, Some(dial_word(&error))),
    };
    CredentialTest {
        status_class,
        problem,
        latency,
    }
}

const fn dial_word(error: &DialError) -> &'static str {
    match error {
        DialError::Refused(_) => "egress_refused",
        DialError::Proxy(_) => "proxy",
        DialError::Resolve(_) => "dns",
        DialError::TooMany | DialError::NoDescriptor => "overloaded",
        DialError::Tls(_) => "tls",
        DialError::Connect(_) => "connect",
    }
}
