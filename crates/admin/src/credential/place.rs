//! Where the calls of a credential go, if not to its provider's own place. A URL that came by the API is
//! judged by the rules of the egress door before it is stored, and at each dial (EDGE-99).

use super::given::OfProvider;
use crate::State;
use crate::authn::Operator;
use crate::problem::Problem;
use crate::runtime::UrlToStore;
use tollkeep_audit::{Action, Key, Outcome, Value};
use tollkeep_config::settings::Provider;
use tollkeep_policy::egress::{Giver, Purpose, parse_url};
use tollkeep_store::{Credential, CredentialRules, GivenUrl};

/// The provider as a credential of these rules reaches it: its secret is sealed for that origin. Of
/// URLs only those are judged that `before` did not have.
///
/// # Errors
/// 422 `egress_refused`, which is recorded.
pub(super) async fn vet(
    state: &State,
    operator: &Operator,
    provider: OfProvider,
    (rules, before): (&CredentialRules, Option<&CredentialRules>),
) -> Result<OfProvider, Problem> {
    for (member, purpose, url, known) in [
        (
            "base_url",
            Purpose::Provider,
            &rules.base_url,
            before.and_then(|before| before.base_url.as_ref()),
        ),
        (
            "egress_proxy",
            Purpose::Proxy,
            &rules.egress_proxy,
            before.and_then(|before| before.egress_proxy.as_ref()),
        ),
    ] {
        if let Some(url) = url.as_ref().filter(|url| Some(*url) != known) {
            vet_one(state, operator, &provider.name, (member, purpose, url)).await?;
        }
    }
    let origin = origin(rules, &provider).ok_or_else(Problem::internal)?;
    Ok(OfProvider { origin, ..provider })
}

async fn vet_one(
    state: &State,
    operator: &Operator,
    provider: &str,
    (member, purpose, given): (&str, Purpose, &GivenUrl),
) -> Result<(), Problem> {
    let settings = state.settings();
    let of_provider = Provider::called(&settings.providers, provider);
    let asked = UrlToStore {
        text: given.url.clone(),
        purpose,
        by_tenant: given.by_tenant,
        allow_private: of_provider
            .map(|provider| provider.allow_private.clone())
            .unwrap_or_default(),
    };
    let Err(reason) = state.parts.runtime.vet(asked).await else {
        return Ok(());
    };
    let event = state
        .event_of(operator, Action::EgressBlocked, Outcome::Denied)
        .with_reason(reason.label())
        .with_detail(Key::Provider, Value::OwnedWord(provider.to_owned().into()))
        .with_detail(Key::Kind, Value::Word("store"));
    state.record(event).await?;
    Err(Problem::egress_refused(member, reason.rule()))
}

/// The origin that calls by these rules go to; `None` if it can't be read.
pub(super) fn origin(rules: &CredentialRules, provider: &OfProvider) -> Option<String> {
    let Some(given) = &rules.base_url else {
        return Some(provider.origin.clone());
    };
    let giver = match given.by_tenant {
        true => Giver::Tenant,
        false => Giver::Operator,
    };
    let url = parse_url(&given.url, Purpose::Provider, giver);
    url.ok().map(|url| url.origin())
}

impl State {
    /// The provider of a credential as it is reached by that; `None` if the settings have it no more.
    pub(super) fn provider_of(&self, credential: &Credential) -> Option<OfProvider> {
        let provider = OfProvider::named(self, &credential.provider)?;
        let origin = origin(&credential.rules, &provider)?;
        Some(OfProvider { origin, ..provider })
    }
}
