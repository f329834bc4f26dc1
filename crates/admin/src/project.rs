//! `/api/v1/projects`

use crate::State;
use crate::members::Members;
use crate::operation::{Call, Content, Method, Operation};
use crate::parameters::{CURSOR, LIMIT, listed};
use crate::policy::{self, POLICY};
use crate::problem::{Fault, Problem};
use crate::rights::Right;
use crate::router::{Answer, created, no_content, ok};
use crate::shape::{Member, id, number, pairs, switch, text, texts, time};
use crate::token::{IN_FLIGHT, InFlight, in_flight, limits};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tollkeep_audit::{Action, Key, Value as Detail};
use tollkeep_store::live::Cut;
use tollkeep_store::{
    CallLimits, NewProject, Project, ProjectChange, ProjectRef, ProjectState, Scope, StoreError,
};
use tollkeep_types::{CredentialId, TenantId};

const CREATE: &[Member] = &[
    text("name", 200, "Its name, unique in its tenant").required(),
    text(
        "slug",
        63,
        "Its short name; made from the name if not given",
    ),
    text(
        "tenant",
        64,
        "Its tenant, by id or slug; the key's own or `default` if not given",
    ),
    limits("Rate limits that its tokens inherit"),
    POLICY,
    ALLOWED,
    pairs("metadata", 32, "Free pairs, 4 KiB in all"),
];

/// Credentials that a project lists at most.
const ALLOWED_MAX: usize = 200;

const ALLOWED: Member = texts(
    "allowed_credentials",
    ALLOWED_MAX,
    200,
    "The credentials that its calls go out with, by id, or as `provider/name` of the settings; \
     `null`: all that it could use, an empty list: none",
);

const UPDATE: &[Member] = &[
    text("name", 200, "Its name, unique in its tenant"),
    text("slug", 63, "Its short name, unique in its tenant"),
    switch("is_active", "Whether its tokens may be used"),
    limits("Rate limits that its tokens inherit, all of them; `null`: those of its tenant"),
    POLICY,
    ALLOWED,
    pairs("metadata", 32, "Free pairs, 4 KiB in all"),
    IN_FLIGHT,
];

const SHOWN: &[Member] = &[
    id("id", "prj_", "Its id"),
    id("tenant_id", "ten_", "Its tenant"),
    text("slug", 63, "Its short name"),
    text("name", 200, "Its name"),
    switch("is_active", "Whether its tokens may be used"),
    limits("Rate limits that its tokens inherit"),
    POLICY.or_null(),
    ALLOWED.or_null(),
    pairs("metadata", 32, "Free pairs"),
    number("token_count", "Tokens on record, ended ones included"),
    time("created_at", "When it was made"),
    time("updated_at", "When it last changed"),
    time("deactivated_at", "Since when it is switched off").or_null(),
];

const ONE: &[(u16, Content)] = &[(200, Content::Object(&[SHOWN]))];

pub(crate) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "project_list",
        command: "project list",
        about: "Projects, newest first",
        method: Method::Get,
        path: "/api/v1/projects",
        also: None,
        right: Right::Read,
        change: None,
        query: &[LIMIT, CURSOR],
        body: None,
        answers: &[(200, Content::Page(SHOWN))],
        refusals: &[],
        run: |call| Box::pin(list(call)),
    },
    Operation {
        id: "project_create",
        command: "project create",
        about: "Make a project",
        method: Method::Post,
        path: "/api/v1/projects",
        also: None,
        right: Right::Projects,
        change: Some(Action::ProjectCreate),
        query: &[],
        body: Some(CREATE),
        answers: &[(201, Content::Object(&[SHOWN]))],
        refusals: &[404, 409],
        run: |call| Box::pin(create(call)),
    },
    Operation {
        id: "project_get",
        command: "project get",
        about: "One project",
        method: Method::Get,
        path: "/api/v1/projects/{project}",
        also: None,
        right: Right::Read,
        change: None,
        query: &[],
        body: None,
        answers: ONE,
        refusals: &[],
        run: |call| Box::pin(get(call)),
    },
    Operation {
        id: "project_update",
        command: "project update",
        about: "Change a project, or switch it off and on",
        method: Method::Patch,
        path: "/api/v1/projects/{project}",
        also: None,
        right: Right::Projects,
        change: Some(Action::ProjectUpdate),
        query: &[],
        body: Some(UPDATE),
        answers: ONE,
        refusals: &[409],
        run: |call| Box::pin(update(call)),
    },
    Operation {
        id: "project_delete",
        command: "project delete",
        about: "End a project for good, with its tokens; its records stay",
        method: Method::Delete,
        path: "/api/v1/projects/{project}",
        also: None,
        right: Right::Projects,
        change: Some(Action::ProjectDelete),
        query: &[],
        body: None,
        answers: &[(204, Content::None)],
        refusals: &[],
        run: |call| Box::pin(delete(call)),
    },
];

async fn create(call: Call) -> Answer {
    let Call {
        state,
        operator,
        body: mut members,
        ..
    } = call;
    let name = members.name("name");
    let slug = members.text("slug");
    let tenant = members.text("tenant");
    let limits = members.typed("limits").unwrap_or_default();
    let policy = policy::take(&mut members).flatten();
    let allowed_credentials = take_allowed(&mut members);
    let metadata = members.metadata("metadata").unwrap_or_default();
    members.done()?;
    let name = name.unwrap_or_default();
    let (store, scope) = (&state.parts.store, state.scope_in(&operator, tenant).await?);
    let of_tenant = match scope {
        Scope::Tenant(id) => id,
        Scope::Service(_) => store.default_tenant().id,
    };
    check_allowed(&state, of_tenant, allowed_credentials.as_deref()).await?;
    state.check_audit()?;
    let new = NewProject {
        allowed_credentials,
        slug,
        name,
        limits,
        policy,
        metadata,
    };
    let project = store.create_project(scope, new).await?;
    state
        .record(
            state
                .event(&operator, Action::ProjectCreate)
                .with_tenant_id(project.tenant_id)
                .with_project_id(project.id),
        )
        .await?;
    let place = format!("/api/v1/projects/{}", project.id);
    Ok(created(&place, &shown(&project)))
}

async fn list(call: Call) -> Answer {
    let (state, operator) = (&call.state, &call.operator);
    let page = call.query.page(state, "projects")?;
    let page = state.parts.store.projects(operator.scope(), page).await?;
    state
        .record(state.event(operator, Action::ProjectList))
        .await?;
    Ok(ok(&listed(
        state,
        "projects",
        (&page, |row| (row.created_at, row.id)),
        shown,
    )))
}

async fn get(call: Call) -> Answer {
    let (state, operator) = (&call.state, &call.operator);
    let project = ProjectRef::of(&call.id);
    let project = state.parts.store.project(operator.scope(), project).await?;
    state
        .record(
            state
                .event(operator, Action::ProjectRead)
                .with_project_id(project.id),
        )
        .await?;
    Ok(ok(&shown(&project)))
}

async fn update(call: Call) -> Answer {
    let Call {
        state,
        operator,
        id,
        body: mut members,
        ..
    } = call;
    let name = members.name("name");
    let is_active = members.switch("is_active");
    let in_flight = in_flight(&mut members);
    let change = ProjectChange {
        name,
        slug: members.text("slug"),
        state: is_active.map(|is_active| match is_active {
            true => ProjectState::Active,
            false => ProjectState::Inactive,
        }),
        limits: members.or_cleared("limits", CallLimits::default, |members| {
            members.typed("limits")
        }),
        policy: policy::take(&mut members),
        allowed_credentials: members.or_cleared(
            "allowed_credentials",
            || None,
            |members| take_allowed(members).map(Some),
        ),
        metadata: members.or_cleared("metadata", BTreeMap::new, |members| {
            members.metadata("metadata")
        }),
    };
    let changed = members.present();
    members.done()?;
    if change == ProjectChange::default() {
        return Err(Problem::bad_request("There is nothing to change."));
    }
    let (store, scope) = (&state.parts.store, operator.scope());
    let project = store.project(scope, ProjectRef::of(&id)).await?;
    let allowed = change
        .allowed_credentials
        .as_ref()
        .and_then(Option::as_deref);
    check_allowed(&state, project.tenant_id, allowed).await?;
    state.check_audit()?;
    let project = store.change_project(scope, project.id, change).await?;
    if is_active == Some(false) {
        let cut = Cut::Project(project.id);
        state.cut(&operator, in_flight, [cut]).await?;
    }
    let mut event = state
        .event(&operator, Action::ProjectUpdate)
        .with_detail(Key::Changed, Detail::OwnedWord(changed.into()))
        .with_tenant_id(project.tenant_id)
        .with_project_id(project.id);
    if let Some(is_active) = is_active {
        event = event.with_detail(Key::IsActive, Detail::Flag(is_active));
    }
    state.record(event).await?;
    Ok(ok(&shown(&project)))
}

async fn delete(call: Call) -> Answer {
    let Call {
        state,
        operator,
        id,
        body,
        ..
    } = call;
    body.done()?;
    let (store, scope) = (&state.parts.store, operator.scope());
    let project = store.project(scope, ProjectRef::of(&id)).await?;
    state.check_audit()?;
    let deleted = store.delete_project(scope, project.id).await?;
    if !deleted.credentials.is_empty() {
        state.parts.runtime.apply_credentials();
    }
    let cut = Cut::Project(project.id);
    state.cut(&operator, InFlight::Cut, [cut]).await?;
    for id in &deleted.credentials {
        let event = state
            .event(&operator, Action::CredentialDelete)
            .with_tenant_id(project.tenant_id)
            .with_project_id(project.id)
            .with_detail(Key::Name, Detail::OwnedWord(id.to_string().into()));
        state.record(event).await?;
    }
    let revoked = u64::try_from(deleted.tokens.revoked.len()).unwrap_or(u64::MAX);
    let event = state
        .event(&operator, Action::ProjectDelete)
        .with_tenant_id(project.tenant_id)
        .with_project_id(project.id)
        .with_detail(Key::RevokedCount, Detail::Number(revoked));
    state.record(event).await?;
    Ok(no_content())
}

/// The credentials that a project may use.
fn take_allowed(members: &mut Members) -> Option<Vec<String>> {
    members.texts("allowed_credentials", |text| {
        let is_named = text
            .split_once('/')
            .is_some_and(|(provider, name)| !provider.is_empty() && !name.is_empty());
        let is_id = text.parse::<CredentialId>().is_ok();
        let problem = || "must be ids `crd_…`, or `provider/name` of the settings".to_owned();
        (is_named || is_id)
            .then(|| text.to_owned())
            .ok_or_else(problem)
    })
}

/// Whether the tenant has these credentials: one that is misspelt would leave the project without any.
async fn check_allowed(
    state: &State,
    tenant: TenantId,
    allowed: Option<&[String]>,
) -> Result<(), Problem> {
    let (mut faults, settings) = (Vec::new(), state.settings());
    let is_configured = |text: &str| {
        let (provider, name) = text.split_once('/').unwrap_or_default();
        let mut providers = settings.providers.iter();
        let provider = providers.find(|known| known.name == provider);
        let mut known = provider.into_iter().flat_map(|known| &known.credentials);
        known.any(|known| known.name == name)
    };
    for (number, text) in allowed.unwrap_or_default().iter().enumerate() {
        let is_known = match text.parse::<CredentialId>() {
            Ok(id) => {
                let found = state
                    .parts
                    .store
                    .credential(Scope::Tenant(tenant), id)
                    .await;
                match found {
                    Ok(_) => true,
                    Err(StoreError::NotFound) => false,
                    Err(error) => return Err(error.into()),
                }
            }
            Err(_) => is_configured(text),
        };
        if !is_known {
            faults.push(Fault {
                path: format!("/allowed_credentials/{number}"),
                message: "the tenant has no such credential".to_owned(),
            });
        }
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(Problem::invalid(faults))
    }
}

fn shown(project: &Project) -> Value {
    json!({
        "id": project.id,
        "tenant_id": project.tenant_id,
        "slug": project.slug,
        "name": project.name,
        "is_active": project.is_active,
        "limits": project.limits,
        "policy": project.policy,
        "allowed_credentials": project.allowed_credentials,
        "metadata": project.metadata,
        "token_count": project.token_count,
        "created_at": project.created_at,
        "updated_at": project.updated_at,
        "deactivated_at": project.deactivated_at,
    })
}
