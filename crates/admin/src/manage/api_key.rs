//! The provider's secret of a project, as llm-proxy has it: one credential of that project alone.

use crate::State;
use crate::authn::Operator;
use crate::credential::event;
use crate::credential::given::{OfProvider, check};
use crate::members::Members;
use crate::problem::Problem;
use std::sync::Arc;
use tollkeep_audit::Action;
use tollkeep_config::settings::Provider;
use tollkeep_store::{
    Credential, CredentialFilter, CredentialRules, Project, PutCredential, Scope,
};
use tollkeep_types::Secret;

/// The provider that llm-proxy stands before.
const PROVIDER: &str = "openai";

/// A secret for a project.
pub(super) struct Key {
    member: &'static str,
    secret: Secret,
    provider: OfProvider,
}

/// Takes the secret by the first of these names that is there.
pub(super) fn take(state: &State, members: &mut Members, names: &[&'static str]) -> Option<Key> {
    let mut given = None;
    for name in names {
        let text = members.text(name);
        given = given.or(text.map(|text| (*name, Secret::new(text))));
    }
    let (member, secret) = given?;
    let Some(provider) = provider(state) else {
        let problem = "there is no provider `openai`, nor only one other, to use it with";
        members.fault(member, problem);
        return None;
    };
    Some(Key {
        member,
        secret,
        provider,
    })
}

/// The provider that secrets of projects are for.
fn provider(state: &State) -> Option<OfProvider> {
    let settings = state.settings();
    let called = Provider::called(&settings.providers, PROVIDER);
    let name = called.map(|provider| provider.name.clone()).or_else(|| {
        let mut taking = settings.providers.iter();
        let only = taking.next().filter(|_| taking.next().is_none())?;
        Some(only.name.clone())
    })?;
    OfProvider::named(state, &name)
}

/// The secret of a project, masked.
pub(super) fn hint(state: &State, project: &Project) -> Option<String> {
    let all = state.parts.store.credentials_in_use();
    let mut own = all.iter().rev();
    own.find(|credential| credential.project_id == Some(project.id))
        .map(|credential| credential.secret.hint.clone())
}

impl Key {
    /// The same, if it may be a secret.
    pub(super) fn checked(self) -> Result<Self, Problem> {
        check(&self.secret, self.member)?;
        Ok(self)
    }

    /// Makes it the project's own: in the credential that it has for the provider, or a new one.
    pub(super) async fn put(
        self,
        state: &Arc<State>,
        operator: &Operator,
        project: &Project,
    ) -> Result<(), Problem> {
        let scope = Scope::Tenant(project.tenant_id);
        let filter = CredentialFilter {
            provider: Some(self.provider.name.clone()),
            project_id: Some(project.id),
            digest: None,
        };
        let before = state.parts.store.credentials_like(scope, filter).await?;
        let (action, credential) = match before.first() {
            Some(before) => {
                let changed = self.reseal(state, scope, before).await?;
                (Action::CredentialRotate, changed)
            }
            None => {
                let of = (scope, Some(project.id));
                let rules = CredentialRules::default();
                let new = state.new_credential(of, self.provider, (&self.secret, rules))?;
                let put = state.put_credential(scope, new, self.secret).await?;
                let (PutCredential::Made(made) | PutCredential::Resealed(made)) = put;
                (Action::CredentialCreate, made)
            }
        };
        state
            .record(event(state, operator, action, &credential))
            .await
    }

    async fn reseal(
        self,
        state: &State,
        scope: Scope,
        before: &Credential,
    ) -> Result<Credential, Problem> {
        let (runtime, store) = (&state.parts.runtime, &state.parts.store);
        let place = (before.tenant_id, before.id);
        let sealed = runtime.sealed_secret(&self.secret, place, self.provider.origin);
        let sealed = sealed.ok_or_else(Problem::internal)?;
        let changed = store.reseal_credential(scope, before.id, sealed).await?;
        runtime.apply_credentials();
        Ok(changed)
    }
}
