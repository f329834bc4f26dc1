//! `/manage`: projects and tokens as llm-proxy's clients ask for them, in its shapes.

mod api_key;
mod cache;
mod token;

use crate::State;
use crate::cursor;
use crate::operation::{Call, Content, Method, Operation};
use crate::parameters::{CURSOR, next_cursor};
use crate::problem::Problem;
use crate::rights::Right;
use crate::router::{Answer, created, ok};
use crate::shape::{Member, id, switch, text, time};
use crate::token::InFlight;
use axum::http::{HeaderValue, header};
use serde_json::{Value as Json, json};
use tollkeep_audit::Action;
use tollkeep_store::live::Cut;
use tollkeep_store::{
    After, NewProject, Page, PageRequest, Project, ProjectChange, ProjectRef, ProjectState,
};

/// Entries of a list; more follow behind the `Link`.
const LISTED: u32 = 1_000;

const PROJECT: &[Member] = &[
    id("id", "prj_", "Its id"),
    text("name", 200, "Its name"),
    text(
        "api_key",
        100,
        "Its credential of the provider, masked; `null`: it has none of its own",
    )
    .or_null(),
    switch("is_active", "Whether its tokens may be used"),
    time("deactivated_at", "Since when it is switched off").or_null(),
    time("created_at", "When it was made"),
    time("updated_at", "When it last changed"),
];

const API_KEY: &str = "Its own credential of the provider `openai`, or of the only one there is";

const PROJECT_CREATE: &[Member] = &[
    text("name", 200, "Its name").required(),
    text("api_key", 16_384, API_KEY),
    text("openai_api_key", 16_384, "The same"),
];

const PROJECT_UPDATE: &[Member] = &[
    text("name", 200, "Its name"),
    text("api_key", 16_384, API_KEY),
    switch("is_active", "Whether its tokens may be used"),
    switch(
        "revoke_tokens",
        "Whether its tokens end for good, with `is_active: false`",
    ),
];

const BASE: Operation = Operation {
    id: "manage_project_list",
    command: "project list",
    about: "Projects, newest first (llm-proxy)",
    method: Method::Get,
    path: "/manage/projects",
    also: None,
    right: Right::Read,
    change: None,
    query: &[],
    body: None,
    answers: &[(200, Content::Object(&[PROJECT]))],
    refusals: &[],
    run: |call| Box::pin(list_projects(call)),
};

pub(crate) const OPERATIONS: &[Operation] = &[
    Operation {
        query: &[CURSOR],
        answers: &[(200, Content::List(PROJECT))],
        ..BASE
    },
    Operation {
        id: "manage_project_create",
        command: "project create",
        about: "Make a project (llm-proxy)",
        method: Method::Post,
        right: Right::Projects,
        change: Some(Action::ProjectCreate),
        body: Some(PROJECT_CREATE),
        answers: &[(201, Content::Object(&[PROJECT]))],
        refusals: &[409],
        run: |call| Box::pin(create_project(call)),
        ..BASE
    },
    Operation {
        id: "manage_project_get",
        command: "project get",
        about: "One project (llm-proxy)",
        path: "/manage/projects/{project}",
        run: |call| Box::pin(get_project(call)),
        ..BASE
    },
    Operation {
        id: "manage_project_update",
        command: "project update",
        about: "Change a project, or switch it off and on (llm-proxy)",
        method: Method::Patch,
        path: "/manage/projects/{project}",
        right: Right::Projects,
        change: Some(Action::ProjectUpdate),
        body: Some(PROJECT_UPDATE),
        refusals: &[409],
        run: |call| Box::pin(update_project(call)),
        ..BASE
    },
    Operation {
        id: "manage_token_list",
        command: "token list",
        about: "Tokens, newest first (llm-proxy)",
        path: "/manage/tokens",
        query: token::QUERY,
        answers: &[(200, Content::List(token::TOKEN))],
        refusals: &[404],
        run: |call| Box::pin(token::list(call)),
        ..BASE
    },
    Operation {
        id: "manage_token_create",
        command: "token create",
        about: "Make a token; its text is shown once (llm-proxy)",
        method: Method::Post,
        path: "/manage/tokens",
        right: Right::Tokens,
        change: Some(Action::TokenCreate),
        body: Some(token::CREATE),
        answers: &[(201, Content::Object(&[token::MADE]))],
        refusals: &[404, 409],
        run: |call| Box::pin(token::create(call)),
        ..BASE
    },
    Operation {
        id: "manage_token_get",
        command: "token get",
        about: "One token (llm-proxy)",
        path: "/manage/tokens/{id}",
        answers: &[(200, Content::Object(&[token::TOKEN]))],
        run: |call| Box::pin(token::get(call)),
        ..BASE
    },
    Operation {
        id: "manage_token_update",
        command: "token update",
        about: "Switch a token off and on, or change how often it may be used (llm-proxy)",
        method: Method::Patch,
        path: "/manage/tokens/{id}",
        right: Right::Tokens,
        change: Some(Action::TokenUpdate),
        body: Some(token::UPDATE),
        answers: &[(200, Content::Object(&[token::TOKEN]))],
        refusals: &[409],
        run: |call| Box::pin(token::update(call)),
        ..BASE
    },
    Operation {
        id: "manage_token_delete",
        command: "token revoke",
        about: "End a token for good (llm-proxy)",
        method: Method::Delete,
        path: "/manage/tokens/{id}",
        right: Right::Tokens,
        change: Some(Action::TokenRevoke),
        answers: &[(204, Content::None)],
        run: |call| Box::pin(token::delete(call)),
        ..BASE
    },
    Operation {
        id: "manage_cache_purge",
        command: "cache purge",
        about: "Take answers out of the cache (llm-proxy)",
        method: Method::Post,
        path: "/manage/cache/purge",
        right: Right::Breakers,
        change: Some(Action::CachePurge),
        body: Some(cache::PURGE),
        answers: &[(200, Content::Object(&[cache::PURGED]))],
        run: |call| Box::pin(cache::purge(call)),
        ..BASE
    },
];

/// Which part of the list that `filters` names is wanted.
fn page<Id: std::str::FromStr>(call: &Call, filters: &str) -> Result<PageRequest<Id>, Problem> {
    let cursor = call.query.get("cursor");
    let after = cursor.map(|cursor| cursor::read(&call.state.cursor_key, filters, cursor));
    Ok(PageRequest {
        limit: LISTED,
        after: after.transpose()?,
    })
}

/// A bare list, with the way to what follows.
fn listed(rows: Vec<Json>, path: &str, next: Option<String>) -> Answer {
    let mut response = ok(&Json::Array(rows));
    let link = next.map(|cursor| format!("<{path}cursor={cursor}>; rel=\"next\""));
    if let Some(Ok(link)) = link.map(|link| HeaderValue::from_str(&link)) {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

async fn list_projects(call: Call) -> Answer {
    let (state, operator) = (&call.state, &call.operator);
    let page = page(&call, "manage projects")?;
    let page: Page<Project> = state.parts.store.projects(operator.scope(), page).await?;
    state
        .record(state.event(operator, Action::ProjectList))
        .await?;
    let last = page.rows.last().filter(|_| page.more);
    let last = last.map(|last| After {
        created_at: last.created_at,
        id: last.id,
    });
    let next = next_cursor(state, "manage projects", last);
    let rows = page.rows.iter();
    let rows = rows.map(|row| project_shown(state, row)).collect();
    listed(rows, "/manage/projects?", next)
}

async fn create_project(call: Call) -> Answer {
    let Call {
        state,
        operator,
        body: mut members,
        ..
    } = call;
    let name = members.name("name");
    let key = api_key::take(&state, &mut members, &["api_key", "openai_api_key"]);
    members.done()?;
    let key = key.map(api_key::Key::checked).transpose()?;
    state.check_audit()?;
    let new = NewProject {
        allowed_credentials: None,
        name: name.unwrap_or_default(),
        ..NewProject::default()
    };
    let store = &state.parts.store;
    let project = store.create_project(operator.scope(), new).await?;
    let event = state.event(&operator, Action::ProjectCreate);
    state.record(event.with_project_id(project.id)).await?;
    if let Some(key) = key {
        key.put(&state, &operator, &project).await?;
    }
    let place = format!("/manage/projects/{}", project.id);
    Ok(created(&place, &project_shown(&state, &project)))
}

async fn project(call: &Call) -> Result<Project, Problem> {
    let scope = call.operator.scope();
    let project = ProjectRef::of(&call.id);
    Ok(call.state.parts.store.project(scope, project).await?)
}

async fn get_project(call: Call) -> Answer {
    let (state, operator) = (&call.state, &call.operator);
    let project = project(&call).await?;
    let event = state.event(operator, Action::ProjectRead);
    state.record(event.with_project_id(project.id)).await?;
    Ok(ok(&project_shown(state, &project)))
}

async fn update_project(call: Call) -> Answer {
    let project = project(&call).await?;
    let Call {
        state,
        operator,
        body: mut members,
        ..
    } = call;
    let name = members.name("name");
    let is_active = members.switch("is_active");
    let revokes = members.switch("revoke_tokens") == Some(true);
    let key = api_key::take(&state, &mut members, &["api_key"]);
    members.done()?;
    let key = key.map(api_key::Key::checked).transpose()?;
    if revokes && is_active != Some(false) {
        let problem = "revoke_tokens goes with is_active: false only";
        return Err(Problem::bad_request(problem));
    }
    if name.is_none() && is_active.is_none() && key.is_none() {
        return Err(Problem::bad_request("no fields to update"));
    }
    state.check_audit()?;
    let (store, scope) = (&state.parts.store, operator.scope());
    let change = ProjectChange {
        name,
        state: is_active.map(|is_active| match is_active {
            true => ProjectState::Active,
            false => ProjectState::Inactive,
        }),
        ..ProjectChange::default()
    };
    let changed = store.change_project(scope, project.id, change).await?;
    if let Some(key) = key {
        key.put(&state, &operator, &project).await?;
    }
    if revokes {
        let reason = "the project was switched off";
        store
            .revoke_project_tokens(scope, project.id, reason)
            .await?;
    }
    if is_active == Some(false) {
        let cut = Cut::Project(project.id);
        state.cut(&operator, InFlight::Cut, [cut]).await?;
    }
    let event = state.event(&operator, Action::ProjectUpdate);
    state.record(event.with_project_id(project.id)).await?;
    Ok(ok(&project_shown(&state, &changed)))
}

fn project_shown(state: &State, project: &Project) -> Json {
    json!({
        "id": project.id,
        "name": project.name,
        "api_key": api_key::hint(state, project),
        "is_active": project.is_active,
        "deactivated_at": project.deactivated_at,
        "created_at": project.created_at,
        "updated_at": project.updated_at,
    })
}
