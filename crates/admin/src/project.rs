//! `/api/v1/projects`

use crate::operation::{Call, Content, Method, Operation};
use crate::parameters::{CURSOR, LIMIT, next_cursor};
use crate::problem::Problem;
use crate::rights::Right;
use crate::router::{Answer, created, ok};
use crate::shape::{Member, id, number, switch, text, time};
use crate::token::{IN_FLIGHT, in_flight, limits};
use serde_json::{Value, json};
use tollkeep_audit::{Action, Key, Value as Detail};
use tollkeep_store::live::Cut;
use tollkeep_store::{
    After, NewProject, Project, ProjectChange, ProjectRef, ProjectState, Scope, TenantRef,
};

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
];

const UPDATE: &[Member] = &[
    text("name", 200, "Its name, unique in its tenant"),
    switch("is_active", "Whether its tokens may be used"),
    IN_FLIGHT,
];

const SHOWN: &[Member] = &[
    id("id", "prj_", "Its id"),
    id("tenant_id", "ten_", "Its tenant"),
    text("slug", 63, "Its short name"),
    text("name", 200, "Its name"),
    switch("is_active", "Whether its tokens may be used"),
    limits("Rate limits that its tokens inherit"),
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
];

async fn create(call: Call) -> Answer {
    let Call {
        state,
        operator,
        body: mut members,
        ..
    } = call;
    let name = members.text("name");
    if name.as_ref().is_some_and(|name| name.trim().is_empty()) {
        members.fault("name", "1 to 200 characters");
    }
    let slug = members.text("slug");
    let tenant = members.text("tenant");
    let limits = members.typed("limits").unwrap_or_default();
    members.done()?;
    let name = name.unwrap_or_default();
    let store = &state.parts.store;
    let mut scope = operator.scope();
    if let Some(tenant) = tenant {
        let tenant = store.tenant_by(scope, TenantRef::of(&tenant)).await?;
        scope = Scope::Tenant(tenant.id);
    }
    state.check_audit()?;
    let new = NewProject { slug, name, limits };
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
    let last = page.rows.last().filter(|_| page.more);
    let last = last.map(|last| After {
        created_at: last.created_at,
        id: last.id,
    });
    let data: Vec<Value> = page.rows.iter().map(shown).collect();
    Ok(ok(&json!({
        "data": data,
        "has_more": page.more,
        "next_cursor": next_cursor(state, "projects", last),
    })))
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
    let name = members.text("name");
    if name.as_ref().is_some_and(|name| name.trim().is_empty()) {
        members.fault("name", "1 to 200 characters");
    }
    let is_active = members.switch("is_active");
    let in_flight = in_flight(&mut members);
    members.done()?;
    if name.is_none() && is_active.is_none() {
        return Err(Problem::bad_request("There is nothing to change."));
    }
    let (store, scope) = (&state.parts.store, operator.scope());
    let project = store.project(scope, ProjectRef::of(&id)).await?;
    state.check_audit()?;
    let switch = is_active.map(|is_active| match is_active {
        true => ProjectState::Active,
        false => ProjectState::Inactive,
    });
    let change = ProjectChange {
        name,
        state: switch,
    };
    let project = store.change_project(scope, project.id, change).await?;
    if is_active == Some(false) {
        let cut = Cut::Project(project.id);
        state.cut(&operator, in_flight, [cut]).await?;
    }
    let mut event = state
        .event(&operator, Action::ProjectUpdate)
        .with_tenant_id(project.tenant_id)
        .with_project_id(project.id);
    if let Some(is_active) = is_active {
        event = event.with_detail(Key::IsActive, Detail::Flag(is_active));
    }
    state.record(event).await?;
    Ok(ok(&shown(&project)))
}

fn shown(project: &Project) -> Value {
    json!({
        "id": project.id,
        "tenant_id": project.tenant_id,
        "slug": project.slug,
        "name": project.name,
        "is_active": project.is_active,
        "limits": project.limits,
        "token_count": project.token_count,
        "created_at": project.created_at,
        "updated_at": project.updated_at,
        "deactivated_at": project.deactivated_at,
    })
}
