//! `/api/v1/projects`

use crate::State;
use crate::authn::{Operator, Right};
use crate::members::Members;
use crate::router::{Answer, created, ok};
use axum::body::Bytes;
use axum::extract::{Extension, Path, State as Of};
use serde_json::{Value, json};
use std::sync::Arc;
use tollkeep_audit::Action;
use tollkeep_store::{NewProject, PageRequest, Project, ProjectRef};

/// `POST /api/v1/projects`
pub(crate) async fn create(
    Of(state): Of<Arc<State>>,
    Extension(operator): Extension<Operator>,
    body: Bytes,
) -> Answer {
    operator.check(Right::Projects)?;
    let mut members = Members::read(&body)?;
    let name = members.text("name", 200);
    if name.as_ref().is_none_or(|name| name.trim().is_empty()) {
        members.fault("name", "required, 1 to 200 characters");
    }
    let slug = members.text("slug", 63);
    let limits = members.typed("limits").unwrap_or_default();
    members.done()?;
    let name = name.unwrap_or_default();
    state.check_audit()?;
    let project = state
        .parts
        .store
        .create_project(operator.scope(), NewProject { slug, name, limits })
        .await?;
    state
        .record(
            state
                .event(&operator, Action::ProjectCreate)
                .with_project_id(project.id),
        )
        .await?;
    Ok(created(
        &format!("/api/v1/projects/{}", project.id),
        &shown(&project),
    ))
}

/// `GET /api/v1/projects`
pub(crate) async fn list(
    Of(state): Of<Arc<State>>,
    Extension(operator): Extension<Operator>,
) -> Answer {
    operator.check(Right::Read)?;
    let page = PageRequest {
        limit: 200,
        after: None,
    };
    let page = state.parts.store.projects(operator.scope(), page).await?;
    state
        .record(state.event(&operator, Action::ProjectList))
        .await?;
    let data: Vec<Value> = page.rows.iter().map(shown).collect();
    Ok(ok(
        &json!({ "data": data, "has_more": page.more, "next_cursor": null }),
    ))
}

/// `GET /api/v1/projects/{project}`
pub(crate) async fn get(
    Of(state): Of<Arc<State>>,
    Extension(operator): Extension<Operator>,
    Path(project): Path<String>,
) -> Answer {
    operator.check(Right::Read)?;
    let project = state
        .parts
        .store
        .project(operator.scope(), ProjectRef::of(&project))
        .await?;
    state
        .record(
            state
                .event(&operator, Action::ProjectRead)
                .with_project_id(project.id),
        )
        .await?;
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
        "created_at": project.created_at,
        "updated_at": project.updated_at,
        "deactivated_at": project.deactivated_at,
    })
}
