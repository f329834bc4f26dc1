//! `/api/v1/credentials`: secrets of providers, kept sealed, and how they are used (ID-70).

mod act;
pub(crate) mod auths;
pub(crate) mod given;
mod place;
pub(crate) mod pool;
mod shown;

use crate::end::DAY_MS;
use crate::operation::{Call, Content, Method, Operation};
use crate::parameters::{CURSOR, LIMIT, listed};
use crate::problem::Problem;
use crate::rights::Right;
use crate::router::{Answer, created, ok};
use crate::shape::{Member, choice, duration, objects, pairs, signed, switch, text, texts};
use crate::token::limits;
use given::Given;
use shown::{SHOWN, TESTED};
pub(crate) use shown::{event, shown};
use tollkeep_audit::Action;
use tollkeep_store::{Credential, CredentialFilter, ProjectRef, PutCredential, Scope};
use tollkeep_types::CredentialId;

/// Longest rest that an operator can say: 30 days.
const REST_MS_MAX: u64 = 30 * DAY_MS;
/// A rest, unless the request says so.
const REST_MS_DEFAULT: u64 = DAY_MS / 24;

const MODEL: &[Member] = &[
    text("name", 256, "Its name upstream, or a glob of names").required(),
    text("alias", 256, "What callers call it"),
];

/// Longest prefix.
const PREFIX_CHARS_MAX: usize = 63;

const SECRET: Member = text("secret", 16_384, "The provider's secret, in full").required();

const CREATE: &[Member] = &[
    text("provider", 60, "The provider, by its name in the settings").required(),
    SECRET,
    text("type", 40, "`api_key`, which is the only one"),
    text("label", 200, "Its name in lists"),
    text(
        "project",
        64,
        "The one project that may use it, by id or slug; all of the tenant if not given",
    ),
    text(
        "tenant",
        64,
        "Its tenant, by id or slug; the project's, the key's own or `default` if not given",
    ),
    objects(
        "models",
        MODEL,
        "The models it serves; all of its provider if not given",
    ),
    texts(
        "excluded_models",
        200,
        256,
        "Globs of models it does not serve",
    ),
    pairs(
        "headers",
        16,
        "Fields set on calls that go out with it; none that sounds like a secret",
    ),
    signed(
        "priority",
        -1_000_000,
        1_000_000,
        "Higher is used first; 0 if not given",
    ),
    signed(
        "weight",
        0,
        1_000_000,
        "Share among those of one priority; 0 leaves it out; 1 if not given",
    ),
    text(
        "base_url",
        2_000,
        "Where its calls go, if not to its provider's own place; the secret is for there alone",
    ),
    text(
        "egress_proxy",
        2_000,
        "A proxy that its calls go through, `http://` or `https://`, without a login",
    ),
    text(
        "prefix",
        PREFIX_CHARS_MAX,
        "Calls for `prefix/model` go out with it, or another of this prefix, alone",
    ),
    limits("What it bears; calls beyond that go out with others"),
    switch("disabled", "Whether it is kept without being used"),
];

const UPDATE: &[Member] = &[
    text("label", 200, "Its name in lists"),
    objects(
        "models",
        MODEL,
        "The models it serves; an empty list: all of its provider",
    ),
    texts(
        "excluded_models",
        200,
        256,
        "Globs of models it does not serve",
    ),
    pairs(
        "headers",
        16,
        "Fields set on calls that go out with it; none that sounds like a secret",
    ),
    signed("priority", -1_000_000, 1_000_000, "Higher is used first"),
    signed(
        "weight",
        0,
        1_000_000,
        "Share among those of one priority; 0 leaves it out",
    ),
    text(
        "base_url",
        2_000,
        "Where its calls go, if not to its provider's own place; the secret is for there alone",
    ),
    text(
        "egress_proxy",
        2_000,
        "A proxy that its calls go through, `http://` or `https://`, without a login",
    ),
    text(
        "prefix",
        PREFIX_CHARS_MAX,
        "Calls for `prefix/model` go out with it, or another of this prefix, alone",
    ),
    limits("What it bears; calls beyond that go out with others"),
    switch("disabled", "Whether it is kept without being used"),
];

const ROTATE: &[Member] = &[SECRET];

const REST: &[Member] = &[
    duration(
        "duration",
        "How long it is left alone, at most 30d; 1h if not given",
    ),
    text("reason", 200, "Why, for the records"),
];

/// What becomes of calls on their way with a credential that is deleted.
pub(crate) const IN_FLIGHT: Member = choice(
    "in_flight",
    &["finish", "cut"],
    "What becomes of calls on their way with it; `finish` if not given",
);

const LISTED: &[Member] = &[
    LIMIT,
    CURSOR,
    text("provider", 60, "Those of this provider"),
    text("project", 64, "Those of this project alone, by id or slug"),
];

const ONE: &[(u16, Content)] = &[(200, Content::Object(&[SHOWN]))];

const BASE: Operation = Operation {
    id: "credential_list",
    command: "credential list",
    about: "Credentials of providers, newest first; never their secrets",
    method: Method::Get,
    path: "/api/v1/credentials",
    also: None,
    right: Right::Read,
    change: None,
    query: &[],
    body: None,
    answers: ONE,
    refusals: &[],
    run: |call| Box::pin(list(call)),
};

pub(crate) const OPERATIONS: &[Operation] = &[
    Operation {
        query: LISTED,
        answers: &[(200, Content::Page(SHOWN))],
        refusals: &[404],
        ..BASE
    },
    Operation {
        id: "credential_create",
        command: "credential add",
        about: "Add a credential; the same secret again is sealed anew",
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
        id: "credential_get",
        command: "credential get",
        about: "One credential",
        path: "/api/v1/credentials/{id}",
        run: |call| Box::pin(get(call)),
        ..BASE
    },
    Operation {
        id: "credential_update",
        command: "credential update",
        about: "Change how a credential is used",
        method: Method::Patch,
        path: "/api/v1/credentials/{id}",
        right: Right::Credentials,
        change: Some(Action::CredentialUpdate),
        body: Some(UPDATE),
        refusals: &[409],
        run: |call| Box::pin(act::update(call)),
        ..BASE
    },
    Operation {
        id: "credential_delete",
        command: "credential delete",
        about: "Delete a credential for good, secret and all",
        method: Method::Delete,
        path: "/api/v1/credentials/{id}",
        right: Right::Credentials,
        change: Some(Action::CredentialDelete),
        query: &[IN_FLIGHT],
        answers: &[(204, Content::None)],
        run: |call| Box::pin(act::delete(call)),
        ..BASE
    },
    Operation {
        id: "credential_rotate",
        command: "credential rotate",
        about: "Give a credential another secret, at once",
        method: Method::Post,
        path: "/api/v1/credentials/{id}/rotate",
        right: Right::Credentials,
        change: Some(Action::CredentialRotate),
        body: Some(ROTATE),
        refusals: &[409],
        run: |call| Box::pin(act::rotate(call)),
        ..BASE
    },
    Operation {
        id: "credential_test",
        command: "credential test",
        about: "Try a credential out with one small request",
        method: Method::Post,
        path: "/api/v1/credentials/{id}/test",
        right: Right::Breakers,
        change: Some(Action::CredentialTest),
        body: Some(&[]),
        answers: &[(200, Content::Object(&[TESTED]))],
        refusals: &[409],
        run: |call| Box::pin(act::test(call)),
        ..BASE
    },
    Operation {
        id: "credential_enable",
        command: "credential enable",
        about: "Use a credential again",
        method: Method::Post,
        path: "/api/v1/credentials/{id}/enable",
        right: Right::Credentials,
        change: Some(Action::CredentialEnable),
        body: Some(&[]),
        run: |call| Box::pin(act::enable(call)),
        ..BASE
    },
    Operation {
        id: "credential_disable",
        command: "credential disable",
        about: "Keep a credential without using it",
        method: Method::Post,
        path: "/api/v1/credentials/{id}/disable",
        right: Right::Credentials,
        change: Some(Action::CredentialDisable),
        body: Some(&[]),
        run: |call| Box::pin(act::disable(call)),
        ..BASE
    },
    Operation {
        id: "credential_cooldown",
        command: "credential cooldown",
        about: "Leave a credential alone for a while",
        method: Method::Post,
        path: "/api/v1/credentials/{id}/cooldown",
        right: Right::Breakers,
        change: Some(Action::CredentialCooldown),
        body: Some(REST),
        run: |call| Box::pin(act::rest(call)),
        ..BASE
    },
    Operation {
        id: "credential_recover",
        command: "credential recover",
        about: "Forget whatever a credential is left alone for",
        method: Method::Delete,
        path: "/api/v1/credentials/{id}/cooldown",
        right: Right::Breakers,
        change: Some(Action::CredentialCooldown),
        run: |call| Box::pin(act::recover(call)),
        ..BASE
    },
];

async fn list(call: Call) -> Answer {
    let (state, operator) = (&call.state, &call.operator);
    let (store, scope) = (&state.parts.store, operator.scope());
    let provider = call.query.get("provider").map(str::to_owned);
    let project = match call.query.get("project") {
        Some(project) => Some(store.project(scope, ProjectRef::of(project)).await?.id),
        None => None,
    };
    let filters = format!("credentials {provider:?} {project:?}");
    let page = call.query.page(state, &filters)?;
    let filter = CredentialFilter {
        provider,
        project_id: project,
        digest: None,
    };
    let page = store.credentials(scope, filter, page).await?;
    state
        .record(state.event(operator, Action::CredentialList))
        .await?;
    Ok(ok(&listed(
        state,
        &filters,
        (&page, |row| (row.created_at, row.id)),
        |row| shown(state, row),
    )))
}

async fn create(call: Call) -> Answer {
    let Call {
        state,
        operator,
        body: mut members,
        ..
    } = call;
    let given = Given::take(&mut members, "secret");
    let project = members.text("project");
    let tenant = members.text("tenant");
    let rules = given::rules(&state, &operator, &mut members, None);
    let provider = given::provider(&state, &mut members);
    let name = provider.as_ref().map(|provider| &*provider.name);
    given::check_headers(&state, &mut members, (name, &rules));
    members.done()?;
    let (secret, provider) = (given.secret()?, provider.ok_or_else(Problem::internal)?);
    let provider = place::vet(&state, &operator, provider, (&rules, None)).await?;
    let store = &state.parts.store;
    let mut of = (state.scope_in(&operator, tenant).await?, None);
    if let Some(project) = project {
        let project = store.project(of.0, ProjectRef::of(&project)).await?;
        of = (Scope::Tenant(project.tenant_id), Some(project.id));
    }
    state.check_audit()?;
    let new = state.new_credential(of, provider, (&secret, rules))?;
    let put = state.put_credential(of.0, new, secret).await?;
    match &put {
        PutCredential::Made(credential) => {
            let recorded = event(&state, &operator, Action::CredentialCreate, credential);
            if let Err(problem) = state.record(recorded).await {
                // What can't be recorded isn't used.
                store.delete_credentials(of.0, vec![credential.id]).await?;
                state.parts.runtime.apply_credentials();
                return Err(problem);
            }
            let place = format!("/api/v1/credentials/{}", credential.id);
            Ok(created(&place, &shown(&state, credential)))
        }
        PutCredential::Resealed(credential) => {
            let recorded = event(&state, &operator, Action::CredentialRefresh, credential);
            state.record(recorded).await?;
            Ok(ok(&shown(&state, credential)))
        }
    }
}

async fn get(call: Call) -> Answer {
    let (state, operator) = (&call.state, &call.operator);
    let credential = find(&call).await?;
    let event = event(state, operator, Action::CredentialRead, &credential);
    state.record(event).await?;
    Ok(ok(&shown(state, &credential)))
}

/// The credential that the path names.
async fn find(call: &Call) -> Result<Credential, Problem> {
    let id: CredentialId = call.id.parse().map_err(|_| Problem::not_found())?;
    let store = &call.state.parts.store;
    Ok(store.credential(call.operator.scope(), id).await?)
}
