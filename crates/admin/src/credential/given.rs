//! What a request gives of a credential: its secret, its provider, how it is used.

use crate::State;
use crate::authn::Operator;
use crate::members::Members;
use crate::problem::{Fault, Problem};
use std::collections::BTreeMap;
use std::sync::Arc;
use tollkeep_config::settings::Provider;
use tollkeep_config::{credential_fault, header_fault, looks_masked};
use tollkeep_store::{
    CallLimits, Credential, CredentialFilter, CredentialModel, CredentialRules, GivenUrl,
    NewCredential, PutCredential, Scope,
};
use tollkeep_types::{CredentialId, ProjectId, Secret};

/// Models that one credential lists at most.
const MODELS_MAX: usize = 200;

/// Fields that one credential sets at most.
const HEADERS_MAX: usize = 16;

/// A secret as it was given, and what kind it is said to be.
pub(crate) struct Given {
    member: &'static str,
    text: Secret,
    kind: Option<String>,
}

impl Given {
    /// Takes the secret, which stands in `member`, and `type`.
    pub(crate) fn take(members: &mut Members, member: &'static str) -> Self {
        let text = Secret::new(members.text(member).unwrap_or_default());
        let kind = members.text("type");
        Self { member, text, kind }
    }

    /// A secret alone.
    pub(crate) fn alone(members: &mut Members, member: &'static str) -> Self {
        Self {
            member,
            text: Secret::new(members.text(member).unwrap_or_default()),
            kind: None,
        }
    }

    /// The secret, if it is one. It is never told back.
    pub(crate) fn secret(self) -> Result<Secret, Problem> {
        if self.kind.is_some_and(|kind| kind != "api_key") {
            return Err(Problem::unsupported_credential_type());
        }
        check(&self.text, self.member)?;
        Ok(self.text)
    }
}

/// Whether this may be a provider's secret.
pub(crate) fn check(secret: &Secret, member: &str) -> Result<(), Problem> {
    let text = secret.expose();
    if looks_masked(text) {
        return Err(Problem::looks_masked());
    }
    match credential_fault(text) {
        None => Ok(()),
        Some(fault) => Err(Problem::invalid(vec![Fault {
            path: format!("/{member}"),
            message: fault.to_owned(),
        }])),
    }
}

/// A provider as credentials know it.
pub(crate) struct OfProvider {
    pub(crate) name: String,
    pub(crate) origin: String,
}

impl OfProvider {
    fn of(provider: &Provider) -> Self {
        Self {
            name: provider.name.clone(),
            origin: provider.base_url.origin(),
        }
    }

    /// The provider of this name, or the only one of this kind.
    pub(crate) fn named(state: &State, name: &str) -> Option<Self> {
        let settings = state.settings();
        Provider::called(&settings.providers, name).map(Self::of)
    }
}

/// Takes the provider.
pub(crate) fn provider(state: &State, members: &mut Members) -> Option<OfProvider> {
    let name = members.text("provider")?;
    let found = OfProvider::named(state, &name);
    if found.is_none() {
        let problem = "the settings have no such provider that takes a credential";
        members.fault("provider", problem);
    }
    found
}

/// Takes how a credential is used; what is not given stays.
pub(crate) fn rules(
    state: &State,
    operator: &Operator,
    members: &mut Members,
    before: Option<CredentialRules>,
) -> CredentialRules {
    let before = before.unwrap_or_default();
    let prefix = prefix(state, members);
    let mut url = |name| {
        let given = members.or_cleared(name, || None, |members| members.text(name).map(Some));
        given.map(|text| {
            text.map(|url| GivenUrl {
                url,
                by_tenant: operator.tenant().is_some(),
            })
        })
    };
    let (base_url, egress_proxy) = (url("base_url"), url("egress_proxy"));
    let limits = members.or_cleared("limits", CallLimits::default, limits);
    let models: Option<Vec<CredentialModel>> = members.typed("models");
    let is_name =
        |name: &str| !name.is_empty() && name.len() <= 256 && !name.chars().any(char::is_control);
    if let Some(models) = &models {
        let fits = |model: &CredentialModel| {
            let alias = model.alias.as_deref();
            is_name(&model.name)
                && alias.is_none_or(|alias| is_name(alias) && !model.name.contains('*'))
        };
        if models.len() > MODELS_MAX || !models.iter().all(fits) {
            let problem = "at most 200, names and aliases of 1 to 256 bytes; a glob has no alias";
            members.fault("models", problem);
        }
    }
    let excluded = members.texts("excluded_models", |text| {
        let problem = || "1 to 256 bytes".to_owned();
        is_name(text).then(|| text.to_owned()).ok_or_else(problem)
    });
    let headers: Option<BTreeMap<String, String>> = members.typed("headers");
    let lower = |(name, value): (String, String)| (name.to_ascii_lowercase(), value);
    let headers = headers.map(|given| given.into_iter().map(lower).collect());
    let priority = members.signed("priority").and_then(|it| it.try_into().ok());
    let weight = members.signed("weight").and_then(|it| it.try_into().ok());
    CredentialRules {
        label: members.text("label").unwrap_or(before.label),
        models: models.unwrap_or(before.models),
        excluded_models: excluded.unwrap_or(before.excluded_models),
        headers: headers.unwrap_or(before.headers),
        priority: priority.unwrap_or(before.priority),
        weight: weight.unwrap_or(before.weight),
        is_disabled: members.switch("disabled").unwrap_or(before.is_disabled),
        base_url: base_url.unwrap_or(before.base_url),
        egress_proxy: egress_proxy.unwrap_or(before.egress_proxy),
        prefix: prefix.unwrap_or(before.prefix),
        limits: limits.unwrap_or(before.limits),
    }
}

/// Takes how many calls it bears. Tokens are known when they are spent, so none are asked for.
fn limits(members: &mut Members) -> Option<CallLimits> {
    const KNOWN: [&str; 4] = [
        "requests_per_second",
        "requests_per_minute",
        "concurrency",
        "burst",
    ];
    members.take_as("limits", |value| {
        let mut names = value
            .as_object()
            .into_iter()
            .flat_map(|limits| limits.keys());
        match names.find(|name| !KNOWN.contains(&name.as_str())) {
            Some(other) => Err(format!("`{other}` is not supported: {}", KNOWN.join(", "))),
            None => serde_json::from_value(value).map_err(|error| error.to_string()),
        }
    })
}

/// Takes the word that stands before a model; `null` takes it away.
fn prefix(state: &State, members: &mut Members) -> Option<Option<String>> {
    let given = members.or_cleared(
        "prefix",
        || None,
        |members| members.text("prefix").map(Some),
    );
    if let Some(Some(prefix)) = &given {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if prefix.is_empty() || !prefix.bytes().all(is_word) {
            members.fault("prefix", "letters, digits, `.`, `_` and `-` only");
        }
        let settings = state.settings();
        let mut providers = settings.providers.iter();
        if providers.any(|provider| provider.name == *prefix) {
            members.fault("prefix", "is the name of a provider");
        }
    }
    given
}

/// Whether the fields that a credential sets can be set.
pub(crate) fn check_headers(
    state: &State,
    members: &mut Members,
    (provider, rules): (Option<&str>, &CredentialRules),
) {
    let settings = state.settings();
    let provider = provider.and_then(|name| Provider::called(&settings.providers, name));
    if rules.headers.len() > HEADERS_MAX {
        members.fault("headers", "at most 16");
    }
    for (name, value) in &rules.headers {
        let clash = || provider.and_then(|provider| provider.header_clash(name));
        let fault = header_fault(name, value).or_else(|| clash().map(str::to_owned));
        if let Some(fault) = fault {
            members.fault("headers", format!("`{name}` {fault}"));
        }
    }
}

impl State {
    /// A credential to be made.
    pub(crate) fn new_credential(
        &self,
        (scope, project_id): (Scope, Option<ProjectId>),
        provider: OfProvider,
        (secret, rules): (&Secret, CredentialRules),
    ) -> Result<NewCredential, Problem> {
        let parts = &self.parts;
        let tenant_id = match scope {
            Scope::Tenant(id) => id,
            Scope::Service(_) => parts.store.default_tenant().id,
        };
        let id = CredentialId::new(parts.clock.as_ref(), parts.entropy.as_ref());
        let sealed = parts
            .runtime
            .sealed_secret(secret, (tenant_id, id), provider.origin);
        Ok(NewCredential {
            id,
            tenant_id,
            project_id,
            provider: provider.name,
            secret: sealed.ok_or_else(Problem::internal)?,
            file: None,
            rules,
        })
    }

    /// Makes it, or seals the one that has this secret anew; in force when it returns.
    pub(crate) async fn put_credential(
        self: &Arc<Self>,
        scope: Scope,
        new: NewCredential,
        secret: Secret,
    ) -> Result<PutCredential, Problem> {
        let same = CredentialFilter {
            provider: Some(new.provider.clone()),
            project_id: new.project_id,
            digest: Some(new.secret.digest),
        };
        let store = &self.parts.store;
        let known = store.credentials_like(Scope::Tenant(new.tenant_id), same);
        let url = |rules: &CredentialRules| rules.base_url.as_ref().map(|given| given.url.clone());
        let is_elsewhere = |one: &Credential| {
            one.project_id == new.project_id && url(&one.rules) != url(&new.rules)
        };
        if known.await?.iter().any(is_elsewhere) {
            let detail = "There is a credential of this secret with another `base_url`.";
            return Err(Problem::conflict(detail));
        }
        let (state, tenant, origin) = (Arc::clone(self), new.tenant_id, new.secret.origin.clone());
        let runtime = Arc::clone(&state.parts.runtime);
        let reseal = move |id| runtime.sealed_secret(&secret, (tenant, id), origin);
        let put = self.parts.store.put_credential(scope, new, reseal).await?;
        self.parts.runtime.apply_credentials();
        Ok(put)
    }
}
