//! `/v0/management/auths`: credentials as cliproxyapi++'s clients ask for them. There a lower
//! priority is used first, so it is kept negated.

use super::act::in_flight;
use super::given::{self, Given, OfProvider};
use super::shown::{STATUSES, event, status};
use crate::State;
use crate::authn::Operator;
use crate::members::Members;
use crate::operation::{Call, Content, Method, Operation};
use crate::problem::Problem;
use crate::rights::Right;
use crate::router::{Answer, created, ok};
use crate::shape::{Member, choice, id, number, object, objects, signed, text, texts};
use serde_json::{Value as Json, json};
use std::sync::Arc;
use tollkeep_audit::Action;
use tollkeep_store::live::Cut;
use tollkeep_store::{
    Credential, CredentialFilter, CredentialModel, CredentialRules, ProjectRef, PutCredential,
    Scope,
};
use tollkeep_types::{CredentialId, ProjectId, Secret};

const CREATE: &[Member] = &[
    text("provider", 60, "The provider, by its name or kind").required(),
    text("type", 40, "`api_key`, which is the only one").required(),
    text("token", 16_384, "The provider's secret, in full").required(),
    signed(
        "priority",
        -1_000_000,
        1_000_000,
        "Lower is used first; 0 if not given",
    ),
    text("label", 200, "Its name in lists"),
    texts(
        "models",
        200,
        256,
        "The models it serves; all of its provider if not given",
    ),
    text(
        "project",
        64,
        "The one project that may use it, by id or slug",
    ),
];

/// What one of a set is.
const OF_SET: &[Member] = &[
    text("type", 40, "`api_key`, which is the only one"),
    text("token", 16_384, "The provider's secret, in full").required(),
    signed(
        "priority",
        -1_000_000,
        1_000_000,
        "Lower is used first; 0 if not given",
    ),
    text("label", 200, "Its name in lists"),
    texts(
        "models",
        200,
        256,
        "The models it serves; all of its provider if not given",
    ),
    text(
        "project",
        64,
        "The one project that may use it, by id or slug",
    ),
];

const REPLACE: &[Member] =
    &[objects("auths", OF_SET, "The credentials that it has from now on").required()];

const QUOTA: &[Member] = &[
    number("limit", "What may be used"),
    number("used", "What is used"),
    number("remaining", "What is left"),
];

const SHOWN: &[Member] = &[
    id("id", "crd_", "Its id"),
    text("provider", 60, "The provider"),
    choice("type", &["api_key"], "What it is"),
    signed("priority", i64::MIN, i64::MAX, "Lower is used first"),
    choice("status", STATUSES, "What it is now"),
    text("token_hint", 100, "Its secret, masked"),
];

const LISTED: &[Member] = &[
    id("id", "crd_", "Its id").required(),
    text("provider", 60, "The provider").required(),
    choice("type", &["api_key"], "What it is").required(),
    signed("priority", i64::MIN, i64::MAX, "Lower is used first").required(),
    object(
        "quota",
        QUOTA,
        "Always absent: quotas of credentials are not supported",
    ),
    choice("status", STATUSES, "What it is now").required(),
    text("token_hint", 100, "Its secret, masked").required(),
];

const AUTHS: &[Member] = &[objects("auths", LISTED, "The credentials")];

const DELETED: &[Member] = &[number("deleted", "How many were deleted")];

const BASE: Operation = Operation {
    id: "auth_list",
    command: "credential list",
    about: "Credentials of providers (cliproxyapi++)",
    method: Method::Get,
    path: "/v0/management/auths",
    also: None,
    right: Right::Read,
    change: None,
    query: &[],
    body: None,
    answers: &[(200, Content::Object(&[AUTHS]))],
    refusals: &[],
    run: |call| Box::pin(list(call)),
};

pub(crate) const OPERATIONS: &[Operation] = &[
    Operation {
        query: &[text("provider", 60, "Those of this provider")],
        ..BASE
    },
    Operation {
        id: "auth_create",
        command: "credential add",
        about: "Add a credential; the same secret again is sealed anew (cliproxyapi++)",
        method: Method::Post,
        right: Right::Credentials,
        change: Some(Action::CredentialCreate),
        body: Some(CREATE),
        answers: &[
            (201, Content::Object(&[SHOWN])),
            (200, Content::Object(&[SHOWN])),
        ],
        refusals: &[404, 409],
        run: |call| Box::pin(create(call)),
        ..BASE
    },
    Operation {
        id: "auth_of_provider",
        command: "credential list",
        about: "Credentials of one provider (cliproxyapi++)",
        path: "/v0/management/auths/{provider}",
        run: |call| Box::pin(list_of(call)),
        ..BASE
    },
    Operation {
        id: "auth_replace",
        command: "credential replace",
        about: "Replace the credentials of a provider by others (cliproxyapi++)",
        method: Method::Put,
        path: "/v0/management/auths/{provider}",
        right: Right::Credentials,
        change: Some(Action::CredentialUpdate),
        body: Some(REPLACE),
        refusals: &[409],
        run: |call| Box::pin(replace(call)),
        ..BASE
    },
    Operation {
        id: "auth_delete",
        command: "credential delete",
        about: "Delete a credential of a provider, or all of them (cliproxyapi++)",
        method: Method::Delete,
        path: "/v0/management/auths/{provider}",
        right: Right::Credentials,
        change: Some(Action::CredentialDelete),
        query: &[
            text(
                // A full secret in percent-encoding has to fit into an address.
                "id",
                4_096,
                "The id of the one to delete, or its secret in full",
            ),
            super::IN_FLIGHT,
        ],
        answers: &[(200, Content::Object(&[DELETED]))],
        run: |call| Box::pin(delete(call)),
        ..BASE
    },
];

async fn list(call: Call) -> Answer {
    let provider = call.query.get("provider").map(str::to_owned);
    let provider = provider.map(|name| named(&call.state, name));
    listed(call, provider).await
}

async fn list_of(call: Call) -> Answer {
    let provider = named(&call.state, call.id.clone());
    let known = OfProvider::named(&call.state, &provider).is_some();
    if !known && like(&call, Some(provider.clone())).await?.is_empty() {
        return Err(Problem::not_found());
    }
    listed(call, Some(provider)).await
}

async fn listed(call: Call, provider: Option<String>) -> Answer {
    let found = like(&call, provider).await?;
    let (state, operator) = (&call.state, &call.operator);
    state
        .record(state.event(operator, Action::CredentialList))
        .await?;
    let auths: Vec<Json> = found.iter().map(|one| shown(state, one)).collect();
    Ok(ok(&json!({ "auths": auths })))
}

/// The credentials of a provider, or all.
async fn like(call: &Call, provider: Option<String>) -> Result<Vec<Credential>, Problem> {
    let filter = CredentialFilter {
        provider,
        ..CredentialFilter::default()
    };
    let store = &call.state.parts.store;
    Ok(store
        .credentials_like(call.operator.scope(), filter)
        .await?)
}

/// A provider's own name, by whatever name it goes.
fn named(state: &State, name: String) -> String {
    OfProvider::named(state, &name).map_or(name, |provider| provider.name)
}

async fn create(call: Call) -> Answer {
    let Call {
        state,
        operator,
        body: mut members,
        ..
    } = call;
    let one = One::take(&mut members);
    let provider = given::provider(&state, &mut members);
    members.done()?;
    let provider = provider.ok_or_else(Problem::internal)?;
    let one = one.checked(&state, &operator).await?;
    state.check_audit()?;
    let put = one.put(&state, &operator, provider).await?;
    let (PutCredential::Made(credential) | PutCredential::Resealed(credential)) = &put;
    let told = shown(&state, credential);
    Ok(match &put {
        PutCredential::Made(_) => created(&format!("/api/v1/credentials/{}", credential.id), &told),
        PutCredential::Resealed(_) => ok(&told),
    })
}

/// Makes what is new, seals anew what is there already, and deletes the rest: there is always one
/// of the provider that can be used.
async fn replace(call: Call) -> Answer {
    let Call {
        state,
        operator,
        id,
        body: mut members,
        ..
    } = call;
    let ones = members.each("auths", OF_SET, One::take);
    members.done()?;
    let provider = || OfProvider::named(&state, &id).ok_or_else(Problem::not_found);
    let name = provider()?.name;
    let mut checked = Vec::new();
    for one in ones.unwrap_or_default() {
        checked.push(one.checked(&state, &operator).await?);
    }
    state.check_audit()?;
    let (store, scope) = (&state.parts.store, operator.scope());
    let filter = CredentialFilter {
        provider: Some(name),
        ..CredentialFilter::default()
    };
    let before = store.credentials_like(scope, filter.clone()).await?;
    let mut stays = Vec::new();
    for one in checked {
        let rules = one.rules.clone();
        let put = one.put(&state, &operator, provider()?).await?;
        let (PutCredential::Made(credential) | PutCredential::Resealed(credential)) = put;
        if credential.rules != rules {
            let changed = store.set_credential_rules(scope, credential.id, rules);
            changed.await?;
        }
        stays.push(credential.id);
    }
    let gone = before.iter().filter(|one| !stays.contains(&one.id));
    let gone: Vec<CredentialId> = gone.map(|one| one.id).collect();
    let gone = store.delete_credentials(scope, gone).await?;
    state.parts.runtime.apply_credentials();
    for credential in before.iter().filter(|one| gone.contains(&one.id)) {
        let event = event(&state, &operator, Action::CredentialDelete, credential);
        state.record(event).await?;
    }
    let after = store.credentials_like(scope, filter).await?;
    let auths: Vec<Json> = after.iter().map(|one| shown(&state, one)).collect();
    Ok(ok(&json!({ "auths": auths })))
}

/// A credential as a request gives it.
struct One {
    given: Given,
    project: Option<String>,
    rules: CredentialRules,
}

impl One {
    fn take(members: &mut Members) -> Self {
        let given = Given::take(members, "token");
        let priority = members.signed("priority").unwrap_or_default();
        let models = members.texts("models", |text| Ok(text.to_owned()));
        let models = models.unwrap_or_default().into_iter();
        let rules = CredentialRules {
            label: members.text("label").unwrap_or_default(),
            models: models
                .map(|name| CredentialModel { name, alias: None })
                .collect(),
            priority: i32::try_from(-priority).unwrap_or_default(),
            ..CredentialRules::default()
        };
        Self {
            given,
            project: members.text("project"),
            rules,
        }
    }

    async fn checked(self, state: &State, operator: &Operator) -> Result<Checked, Problem> {
        let secret = self.given.secret()?;
        let (store, scope) = (&state.parts.store, operator.scope());
        let of = match self.project {
            None => (scope, None),
            Some(project) => {
                let project = store.project(scope, ProjectRef::of(&project)).await?;
                (Scope::Tenant(project.tenant_id), Some(project.id))
            }
        };
        let rules = self.rules;
        Ok(Checked { secret, of, rules })
    }
}

/// The same, of which everything is known to be right.
struct Checked {
    secret: Secret,
    of: (Scope, Option<ProjectId>),
    rules: CredentialRules,
}

impl Checked {
    async fn put(
        self,
        state: &Arc<State>,
        operator: &Operator,
        provider: OfProvider,
    ) -> Result<PutCredential, Problem> {
        let new = state.new_credential(self.of, provider, (&self.secret, self.rules))?;
        let put = state.put_credential(self.of.0, new, self.secret).await?;
        let (action, credential) = match &put {
            PutCredential::Made(credential) => (Action::CredentialCreate, credential),
            PutCredential::Resealed(credential) => (Action::CredentialRefresh, credential),
        };
        let event = event(state, operator, action, credential);
        state.record(event).await?;
        Ok(put)
    }
}

async fn delete(call: Call) -> Answer {
    let provider = named(&call.state, call.id.clone());
    let which = call
        .query
        .get("id")
        .map(|text| match text.parse::<CredentialId>() {
            Ok(id) => Which::Id(id),
            Err(_) => Which::Secret(Secret::new(text)),
        });
    let found = like(&call, Some(provider.clone())).await?;
    let (state, operator) = (&call.state, &call.operator);
    if found.is_empty() && OfProvider::named(state, &provider).is_none() {
        return Err(Problem::not_found());
    }
    let digest = match &which {
        Some(Which::Secret(secret)) => Some(state.parts.hasher.hash(secret.expose())),
        Some(Which::Id(_)) | None => None,
    };
    let is_meant = |one: &&Credential| match &which {
        None => true,
        Some(Which::Id(id)) => one.id == *id,
        Some(Which::Secret(_)) => Some(one.secret.digest) == digest,
    };
    let meant: Vec<&Credential> = found.iter().filter(is_meant).collect();
    if meant.is_empty() && which.is_some() {
        return Err(Problem::not_found());
    }
    state.check_audit()?;
    let ids = meant.iter().map(|one| one.id).collect();
    let store = &state.parts.store;
    let gone = store.delete_credentials(operator.scope(), ids).await?;
    state.parts.runtime.apply_credentials();
    let cuts = gone.iter().copied().map(Cut::Credential);
    state.cut(operator, in_flight(&call), cuts).await?;
    for credential in meant.iter().filter(|one| gone.contains(&one.id)) {
        let event = event(state, operator, Action::CredentialDelete, credential);
        state.record(event).await?;
    }
    Ok(ok(&json!({ "deleted": gone.len() })))
}

/// Which credential is meant.
enum Which {
    Id(CredentialId),
    Secret(Secret),
}

fn shown(state: &State, credential: &Credential) -> Json {
    json!({
        "id": credential.id,
        "provider": credential.provider,
        "type": "api_key",
        "priority": -i64::from(credential.rules.priority),
        "status": status(state, credential),
        "token_hint": credential.secret.hint,
    })
}
