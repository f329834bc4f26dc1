//! Credentials as they are made of what the settings and the store say.

use super::{Credential, CredentialName, ProjectName, ServedModel, StoredCredential};
use crate::plan::Target;
use std::sync::Arc;
use tollkeep_config::settings::{self, CredentialTenant};
use tollkeep_counters::CredentialLimits;
use tollkeep_llm::catalog::CredentialForm;
use tollkeep_net::tls::UpstreamTls;
use tollkeep_policy::rate::Quota;
use tollkeep_store::CallLimits;
use tollkeep_types::{Secret, TenantId};
use zeroize::Zeroizing;

pub(super) fn of_settings(
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
        prefix: None,
        limits: CredentialLimits::default(),
        own: None,
        never_cools: credential.disable_cooling,
        state,
        name,
    }
}

/// `None` of one that goes nowhere: its secret was given for another place, or it may not go where it
/// says.
pub(super) fn of_store(
    stored: &StoredCredential,
    (form, provider): (CredentialForm, &[String]),
    (target, tls): (&Target, &Arc<UpstreamTls>),
    known: &[Arc<Credential>],
) -> Option<Credential> {
    let name = CredentialName::Stored(stored.id);
    let own = own_target(stored, (target, tls), known)?;
    let goes_to = own.as_deref().unwrap_or(target);
    if goes_to.endpoint.url.origin() != stored.origin {
        return None;
    }
    let state = Credential::known(&name, Some(&stored.secret), known);
    state.follow(stored.rests_until, stored.recovered_at);
    let set = stored.headers.iter();
    let set = set.map(|(name, value)| (name.as_str(), value.as_str()));
    // The settings may have come to it since it was stored.
    let set = set.filter(|(name, _)| !provider.iter().any(|own| own == name));
    let (field, settled) = fields(Some(&stored.secret), form, set);
    Some(Credential {
        field,
        settled,
        secret: Some(stored.secret.clone()),
        tenant: Some(stored.tenant),
        project: stored.project.map(ProjectName::Id),
        models: stored.models.clone(),
        excluded_models: stored.excluded_models.clone(),
        priority: stored.priority,
        weight: stored.weight,
        prefix: stored.prefix.as_deref().map(Into::into),
        limits: limits(&stored.limits),
        own,
        never_cools: false,
        state,
        name,
    })
}

/// The provider at the place of a credential, if it has one of its own; connections that were opened
/// to the same before are good for it. `None` if it may not go there.
fn own_target(
    stored: &StoredCredential,
    (target, tls): (&Target, &Arc<UpstreamTls>),
    known: &[Arc<Credential>],
) -> Option<Option<Box<Target>>> {
    if stored.place.is_of_provider() {
        return Some(None);
    }
    let mut own = match target.at(target.provider()?, &stored.place, tls) {
        Ok(own) => own,
        Err(refused) => {
            let id = stored.id;
            tracing::warn!(
                credential.id = %id,
                "The credential {id} of `{}` is not used: {refused}",
                target.name
            );
            return None;
        }
    };
    let name = CredentialName::Stored(stored.id);
    let mut before = known.iter().filter(|known| known.name == name);
    if let Some(before) = before.find_map(|known| known.own.as_ref())
        && before.endpoint.leads_where(&own.endpoint)
    {
        own.endpoint.id = before.endpoint.id;
    }
    Some(Some(Box::new(own)))
}

const SECOND_NS: u64 = 1_000_000_000;

fn limits(given: &CallLimits) -> CredentialLimits {
    let rates = [
        (given.requests_per_second, SECOND_NS),
        (given.requests_per_minute, 60 * SECOND_NS),
    ];
    CredentialLimits {
        rates: rates.map(|(requests, window_ns)| {
            let requests = u64::from(requests?.get());
            let burst = given.burst.map_or(requests, |burst| burst.get().into());
            Some(Quota::per(requests, window_ns, burst))
        }),
        at_once: given.concurrency,
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
        CredentialForm::XGoogApiKey => ("x-goog-api-key", ""),
        CredentialForm::None => return field,
    };
    for part in [name, ": ", scheme, secret.expose(), "\r\n"] {
        field.extend_from_slice(part.as_bytes());
    }
    field
}
