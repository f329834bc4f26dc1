//! `/api/v1/tenants`

use crate::State;
use crate::authn::Operator;
use crate::operation::{Call, Content, Method, Operation};
use crate::parameters::{CURSOR, LIMIT, listed};
use crate::policy::{self, POLICY};
use crate::problem::Problem;
use crate::rights::Right;
use crate::router::{Answer, created, no_content, ok};
use crate::shape::{Member, choice, id, pairs, text, time};
use crate::token::{IN_FLIGHT, InFlight, in_flight, limits};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tollkeep_audit::{Action, Key, Value as Detail};
use tollkeep_store::live::Cut;
use tollkeep_store::{CallLimits, NewTenant, Scope, Tenant, TenantChange, TenantRef, TenantStatus};

const CREATE: &[Member] = &[
    text("name", 200, "Its name").required(),
    text(
        "slug",
        63,
        "Its short name, unique; made from the name if not given",
    ),
    limits("Rate limits that its projects inherit"),
    POLICY,
    pairs("metadata", 32, "Free pairs, 4 KiB in all"),
];

const UPDATE: &[Member] = &[
    text("name", 200, "Its name"),
    text("slug", 63, "Its short name, unique"),
    limits("Rate limits that its projects inherit, all of them; `null`: none"),
    POLICY,
    pairs("metadata", 32, "Free pairs, 4 KiB in all"),
];

const SHOWN: &[Member] = &[
    id("id", "ten_", "Its id"),
    text("slug", 63, "Its short name"),
    text("name", 200, "Its name"),
    choice("status", &["active", "suspended"], "What it is now"),
    limits("Rate limits that its projects inherit"),
    POLICY.or_null(),
    pairs("metadata", 32, "Free pairs"),
    time("created_at", "When it was made"),
];

const ONE: &[(u16, Content)] = &[(200, Content::Object(&[SHOWN]))];

/// What most operations on tenants have in common.
const BASE: Operation = Operation {
    id: "tenant_get",
    command: "tenant get",
    about: "One tenant",
    method: Method::Get,
    path: "/api/v1/tenants/{tenant}",
    also: None,
    right: Right::Read,
    change: None,
    query: &[],
    body: None,
    answers: ONE,
    refusals: &[],
    run: |call| Box::pin(get(call)),
};

pub(crate) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "tenant_list",
        command: "tenant list",
        about: "Tenants, newest first",
        path: "/api/v1/tenants",
        query: &[LIMIT, CURSOR],
        answers: &[(200, Content::Page(SHOWN))],
        run: |call| Box::pin(list(call)),
        ..BASE
    },
    Operation {
        id: "tenant_create",
        command: "tenant create",
        about: "Make a tenant",
        method: Method::Post,
        path: "/api/v1/tenants",
        right: Right::Tenants,
        change: Some(Action::TenantCreate),
        body: Some(CREATE),
        answers: &[(201, Content::Object(&[SHOWN]))],
        refusals: &[409],
        run: |call| Box::pin(create(call)),
        ..BASE
    },
    BASE,
    Operation {
        id: "tenant_update",
        command: "tenant update",
        about: "Change a tenant",
        method: Method::Patch,
        right: Right::Tenants,
        change: Some(Action::TenantUpdate),
        body: Some(UPDATE),
        refusals: &[409],
        run: |call| Box::pin(update(call)),
        ..BASE
    },
    Operation {
        id: "tenant_suspend",
        command: "tenant suspend",
        about: "Refuse a tenant's calls and let its keys read only",
        method: Method::Post,
        path: "/api/v1/tenants/{tenant}/suspend",
        right: Right::Tenants,
        change: Some(Action::TenantSuspend),
        body: Some(&[IN_FLIGHT]),
        refusals: &[409],
        run: |call| {
            Box::pin(set_status(
                call,
                Action::TenantSuspend,
                TenantStatus::Suspended,
            ))
        },
        ..BASE
    },
    Operation {
        id: "tenant_resume",
        command: "tenant resume",
        about: "Take a suspended tenant's calls again",
        method: Method::Post,
        path: "/api/v1/tenants/{tenant}/resume",
        right: Right::Tenants,
        change: Some(Action::TenantResume),
        body: Some(&[]),
        run: |call| Box::pin(set_status(call, Action::TenantResume, TenantStatus::Active)),
        ..BASE
    },
    Operation {
        id: "tenant_delete",
        command: "tenant delete",
        about: "End a tenant for good, with its keys and tokens",
        method: Method::Delete,
        right: Right::Tenants,
        change: Some(Action::TenantDelete),
        answers: &[(204, Content::None)],
        refusals: &[409],
        run: |call| {
            Box::pin(set_status(
                call,
                Action::TenantDelete,
                TenantStatus::Deleted,
            ))
        },
        ..BASE
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
    let new = NewTenant {
        name: name.unwrap_or_default(),
        slug: members.text("slug"),
        limits: members.typed("limits").unwrap_or_default(),
        policy: policy::take(&mut members).flatten(),
        metadata: members.metadata("metadata").unwrap_or_default(),
    };
    members.done()?;
    state.check_audit()?;
    let tenant = state.parts.store.create_tenant(new).await?;
    let event = state.event(&operator, Action::TenantCreate);
    state.record(event.with_tenant_id(tenant.id)).await?;
    let place = format!("/api/v1/tenants/{}", tenant.id);
    Ok(created(&place, &shown(&tenant)))
}

async fn list(call: Call) -> Answer {
    let (state, operator) = (&call.state, &call.operator);
    let page = call.query.page(state, "tenants")?;
    let page = state.parts.store.tenants(operator.scope(), page).await?;
    state
        .record(state.event(operator, Action::TenantList))
        .await?;
    Ok(ok(&listed(
        state,
        "tenants",
        (&page, |row| (row.created_at, row.id)),
        shown,
    )))
}

async fn get(call: Call) -> Answer {
    let (state, operator) = (&call.state, &call.operator);
    let tenant = find(&call).await?;
    let event = state.event(operator, Action::TenantRead);
    state.record(event.with_tenant_id(tenant.id)).await?;
    Ok(ok(&shown(&tenant)))
}

async fn update(mut call: Call) -> Answer {
    let members = &mut call.body;
    let change = TenantChange {
        name: members.name("name"),
        slug: members.text("slug"),
        limits: members.or_cleared("limits", CallLimits::default, |members| {
            members.typed("limits")
        }),
        policy: policy::take(members),
        metadata: members.or_cleared("metadata", BTreeMap::new, |members| {
            members.metadata("metadata")
        }),
    };
    let tenant = find(&call).await?;
    let Call {
        state,
        operator,
        body,
        ..
    } = call;
    let changed = body.present();
    body.done()?;
    if change == TenantChange::default() {
        return Err(Problem::bad_request("There is nothing to change."));
    }
    state.check_audit()?;
    let store = &state.parts.store;
    let tenant = store.change_tenant(tenant.id, change).await?;
    let event = state
        .event(&operator, Action::TenantUpdate)
        .with_detail(Key::Changed, Detail::OwnedWord(changed.into()));
    state.record(event.with_tenant_id(tenant.id)).await?;
    Ok(ok(&shown(&tenant)))
}

async fn set_status(call: Call, action: Action, status: TenantStatus) -> Answer {
    let tenant = find(&call).await?;
    let Call {
        state,
        operator,
        body: mut members,
        ..
    } = call;
    let in_flight = match status {
        TenantStatus::Active => InFlight::Finish,
        TenantStatus::Suspended => in_flight(&mut members),
        TenantStatus::Deleted => InFlight::Cut,
    };
    members.done()?;
    state.check_audit()?;
    let store = &state.parts.store;
    let tenant = store.set_tenant_status(tenant.id, status).await?;
    let cut = Cut::Tenant(tenant.id);
    state.cut(&operator, in_flight, [cut]).await?;
    let event = state.event(&operator, action);
    state.record(event.with_tenant_id(tenant.id)).await?;
    Ok(match status {
        TenantStatus::Active | TenantStatus::Suspended => ok(&shown(&tenant)),
        TenantStatus::Deleted => no_content(),
    })
}

impl State {
    /// What an operator acts on who named one tenant, or none.
    pub(crate) async fn scope_in(
        &self,
        operator: &Operator,
        tenant: Option<String>,
    ) -> Result<Scope, Problem> {
        let scope = operator.scope();
        let Some(tenant) = tenant else {
            return Ok(scope);
        };
        let store = &self.parts.store;
        let tenant = store.tenant_by(scope, TenantRef::of(&tenant)).await?;
        Ok(Scope::Tenant(tenant.id))
    }
}

async fn find(call: &Call) -> Result<Tenant, Problem> {
    let scope = call.operator.scope();
    let tenant = TenantRef::of(&call.id);
    Ok(call.state.parts.store.tenant_by(scope, tenant).await?)
}

fn shown(tenant: &Tenant) -> Value {
    json!({
        "id": tenant.id,
        "slug": tenant.slug,
        "name": tenant.name,
        "status": tenant.status.as_str(),
        "limits": tenant.limits,
        "policy": tenant.policy,
        "metadata": tenant.metadata,
        "created_at": tenant.created_at,
    })
}
