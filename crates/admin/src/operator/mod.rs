//! `/api/v1/operators`: people who operate. Who may make keys of a role may make operators of it.

mod password;
mod sessions;
mod totp;

use crate::State;
use crate::authn::{Operator, Who};
use crate::grant;
use crate::members::Members;
use crate::operation::{Call, Content, Method, Operation};
use crate::parameters::{CURSOR, LIMIT, listed};
use crate::problem::Problem;
use crate::rights::Right;
use crate::router::{Answer, created, no_content, ok};
use crate::session;
use crate::shape::{Member, choice, id, number, text, time};
use serde_json::{Value as Json, json};
use tollkeep_audit::{Action, Event, Key, Value};
use tollkeep_store::{LastOwner, NewOperator, Operator as Person, OperatorChange, Role};
use tollkeep_types::{OperatorId, Secret};

const ROLES: &[&str] = &["owner", "admin", "operator", "viewer", "tenant-admin"];

const NAME: Member = text("name", 100, "The name they sign in with, in any case");
const EMAIL: Member = text("email", 254, "Their address");

const CREATE: &[Member] = &[
    NAME.required(),
    choice("role", ROLES, "What they may do").required(),
    text(
        "tenant_id",
        64,
        "The one tenant they are bound to, by id or slug",
    ),
    EMAIL,
    text(
        "password",
        1000,
        "What they sign in with, 12 characters at least; may be set later",
    ),
];

const UPDATE: &[Member] = &[NAME, choice("role", ROLES, "What they may do"), EMAIL];

pub(super) const SHOWN: &[Member] = &[
    id("id", "opr_", "Their id"),
    text("name", 200, "Their name"),
    text("email", 254, "Their address").or_null(),
    choice("role", ROLES, "What they may do"),
    id("tenant_id", "ten_", "The one tenant they are bound to").or_null(),
    choice(
        "status",
        &["active", "locked", "disabled"],
        "Whether they can sign in",
    ),
    choice(
        "source",
        &["password", "provider"],
        "Who vouches for them: their password, or the identity provider",
    ),
    choice(
        "mfa",
        &["off", "totp"],
        "What they are asked for beside the password",
    ),
    number("recovery_codes", "How many recovery codes are left"),
    time("locked_until", "Until when their password is not looked at").or_null(),
    time("disabled_at", "Since when they may not sign in").or_null(),
    time("created_at", "When they were made known"),
    text("created_by", 100, "Who made them known").or_null(),
    time("last_login_at", "When they last signed in").or_null(),
];

const BASE: Operation = Operation {
    id: "operator_get",
    command: "operator get",
    about: "One operator",
    method: Method::Get,
    path: "/api/v1/operators/{id}",
    also: None,
    right: Right::Read,
    change: None,
    query: &[],
    body: None,
    answers: &[(200, Content::Object(&[SHOWN]))],
    refusals: &[],
    run: |call| Box::pin(get(call)),
};

pub(crate) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "operator_list",
        command: "operator list",
        about: "People who operate, newest first",
        path: "/api/v1/operators",
        query: &[LIMIT, CURSOR],
        answers: &[(200, Content::Page(SHOWN))],
        run: |call| Box::pin(list(call)),
        ..BASE
    },
    Operation {
        id: "operator_create",
        command: "operator create",
        about: "Let somebody operate",
        method: Method::Post,
        path: "/api/v1/operators",
        right: Right::Keys,
        change: Some(Action::OperatorCreate),
        body: Some(CREATE),
        answers: &[(201, Content::Object(&[SHOWN]))],
        refusals: &[404, 409],
        run: |call| Box::pin(create(call)),
        ..BASE
    },
    BASE,
    Operation {
        id: "operator_update",
        command: "operator update",
        about: "Change an operator; another role ends their sessions",
        method: Method::Patch,
        right: Right::Keys,
        change: Some(Action::OperatorUpdate),
        body: Some(UPDATE),
        refusals: &[409],
        run: |call| Box::pin(update(call)),
        ..BASE
    },
    Operation {
        id: "operator_password",
        command: "operator password",
        about: "Set an operator's password: one's own, or that of somebody one may make",
        method: Method::Post,
        path: "/api/v1/operators/{id}/password",
        change: Some(Action::OperatorPassword),
        body: Some(password::MEMBERS),
        refusals: &[409],
        run: |call| Box::pin(password::set(call)),
        ..BASE
    },
    Operation {
        id: "operator_totp",
        command: "operator totp",
        about: "Begin with one-time codes of a device, for oneself",
        method: Method::Post,
        path: "/api/v1/operators/{id}/totp",
        change: Some(Action::OperatorTotp),
        body: Some(&[]),
        answers: &[(200, Content::Object(&[totp::BEGUN]))],
        refusals: &[409],
        run: |call| Box::pin(totp::begin(call)),
        ..BASE
    },
    Operation {
        id: "operator_totp_confirm",
        command: "operator totp",
        about: "Ask for codes from now on, once the device has shown one",
        method: Method::Post,
        path: "/api/v1/operators/{id}/totp/confirm",
        change: Some(Action::OperatorTotp),
        body: Some(totp::CONFIRM),
        answers: &[(200, Content::Object(&[totp::CONFIRMED]))],
        refusals: &[409],
        run: |call| Box::pin(totp::confirm(call)),
        ..BASE
    },
    Operation {
        id: "operator_totp_off",
        command: "operator totp",
        about: "Ask for codes no more: one's own, or those of somebody one may make",
        method: Method::Delete,
        path: "/api/v1/operators/{id}/totp",
        change: Some(Action::OperatorTotp),
        refusals: &[409],
        run: |call| Box::pin(totp::off(call)),
        ..BASE
    },
    Operation {
        id: "operator_disable",
        command: "operator disable",
        about: "Let an operator sign in no more, and end their sessions",
        method: Method::Post,
        path: "/api/v1/operators/{id}/disable",
        right: Right::Keys,
        change: Some(Action::OperatorDisable),
        body: Some(&[]),
        refusals: &[409],
        run: |call| {
            Box::pin(switch(
                call,
                OperatorChange::Disable,
                Action::OperatorDisable,
            ))
        },
        ..BASE
    },
    Operation {
        id: "operator_enable",
        command: "operator enable",
        about: "Let a disabled operator sign in again",
        method: Method::Post,
        path: "/api/v1/operators/{id}/enable",
        right: Right::Keys,
        change: Some(Action::OperatorEnable),
        body: Some(&[]),
        refusals: &[409],
        run: |call| Box::pin(switch(call, OperatorChange::Enable, Action::OperatorEnable)),
        ..BASE
    },
    Operation {
        id: "operator_delete",
        command: "operator delete",
        about: "Forget an operator, and end their sessions",
        method: Method::Delete,
        right: Right::Keys,
        change: Some(Action::OperatorDelete),
        answers: &[(204, Content::None)],
        run: |call| Box::pin(delete(call)),
        ..BASE
    },
    Operation {
        id: "operator_sessions",
        command: "operator sessions",
        about: "Where an operator is signed in: oneself, or somebody one may make",
        path: "/api/v1/operators/{id}/sessions",
        query: &[LIMIT, CURSOR],
        answers: &[(200, Content::Page(session::SHOWN))],
        run: |call| Box::pin(sessions::list(call)),
        ..BASE
    },
    Operation {
        id: "operator_sessions_end",
        command: "operator sessions",
        about: "Sign an operator out everywhere",
        method: Method::Delete,
        path: "/api/v1/operators/{id}/sessions",
        right: Right::Keys,
        change: Some(Action::SessionEnd),
        answers: &[(204, Content::None)],
        run: |call| Box::pin(sessions::end(call)),
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
    let name = members.name("name").map(|name| name.trim().to_owned());
    let role: Option<Role> = members.choice("role");
    let tenant = members.text("tenant_id");
    let email = take_email(&mut members);
    let password = password::take(&mut members, name.as_deref(), email.as_deref());
    let is_bound = tenant.is_some() || operator.tenant().is_some();
    if let Some(fault) = role.and_then(|role| grant::binding_fault(role, is_bound)) {
        members.fault("role", fault);
    }
    members.done()?;
    let (name, role) = name.zip(role).ok_or_else(Problem::internal)?;
    check_grant(&operator, role)?;
    let (store, scope) = (&state.parts.store, state.scope_in(&operator, tenant).await?);
    state.check_audit()?;
    let password = match password {
        Some(password) => Some(state.hash_password(password).await?),
        None => None,
    };
    let new = NewOperator {
        login: login_of(&name),
        name,
        email,
        role,
        password,
        created_by: Some(operator.name()),
    };
    let person = store.create_operator(scope, new).await?;
    let event = told(&state, &operator, Action::OperatorCreate, &person);
    if let Err(problem) = state.record(event).await {
        // Who can't be recorded isn't let in.
        store
            .delete_operator(scope, person.id, LastOwner::MayGo)
            .await?;
        return Err(problem);
    }
    let place = format!("/api/v1/operators/{}", person.id);
    Ok(created(&place, &shown(&state, &person)))
}

async fn list(call: Call) -> Answer {
    let (state, operator) = (&call.state, &call.operator);
    let page = call.query.page(state, "operators")?;
    let store = &state.parts.store;
    let page = store.operators(operator.scope(), page).await?;
    let read = state.event(operator, Action::OperatorList);
    state.record(read).await?;
    Ok(ok(&listed(
        state,
        "operators",
        (&page, |row| (row.created_at, row.id)),
        |person| shown(state, person),
    )))
}

async fn get(call: Call) -> Answer {
    let (state, operator) = (&call.state, &call.operator);
    let person = find(&call).await?;
    let read = told(state, operator, Action::OperatorRead, &person);
    state.record(read).await?;
    Ok(ok(&shown(state, &person)))
}

async fn update(mut call: Call) -> Answer {
    let person = find(&call).await?;
    let members = &mut call.body;
    let mut wanted = person.clone();
    if let Some(name) = members.name("name") {
        wanted.login = wanted.login.map(|_| login_of(&name));
        name.trim().clone_into(&mut wanted.name);
    }
    if let Some(role) = members.choice("role") {
        wanted.role = role;
    }
    let has_email = members.has("email");
    let email = take_email(members);
    if has_email {
        wanted.email = email;
    }
    if let Some(fault) = grant::binding_fault(wanted.role, wanted.tenant_id.is_some()) {
        members.fault("role", fault);
    }
    let Call {
        state,
        operator,
        body,
        ..
    } = call;
    body.done()?;
    check_grant(&operator, person.role)?;
    check_grant(&operator, wanted.role)?;
    if person.issuer.is_some() {
        let detail = "The identity provider says who they are and what they may do.";
        return Err(Problem::conflict(detail));
    }
    let change = OperatorChange::Details(wanted);
    changed(&state, &operator, person, change, Action::OperatorUpdate).await
}

async fn switch(call: Call, change: OperatorChange, action: Action) -> Answer {
    let person = find(&call).await?;
    let Call {
        state,
        operator,
        body,
        ..
    } = call;
    body.done()?;
    check_grant(&operator, person.role)?;
    changed(&state, &operator, person, change, action).await
}

async fn delete(call: Call) -> Answer {
    let person = find(&call).await?;
    let (state, operator) = (&call.state, &call.operator);
    check_grant(operator, person.role)?;
    state.check_audit()?;
    let store = &state.parts.store;
    store
        .delete_operator(operator.scope(), person.id, state.last_owner())
        .await?;
    let event = told(state, operator, Action::OperatorDelete, &person);
    state.record(event).await?;
    Ok(no_content())
}

async fn find(call: &Call) -> Result<Person, Problem> {
    let id: OperatorId = call.id.parse().map_err(|_| Problem::not_found())?;
    let scope = call.operator.scope();
    Ok(call.state.parts.store.operator(scope, id).await?)
}

/// Changes an operator, records it and shows what they are now.
async fn changed(
    state: &State,
    operator: &Operator,
    person: Person,
    change: OperatorChange,
    action: Action,
) -> Answer {
    state.check_audit()?;
    let store = &state.parts.store;
    let person = store
        .change_operator(operator.scope(), person, change, state.last_owner())
        .await?;
    state.record(told(state, operator, action, &person)).await?;
    Ok(ok(&shown(state, &person)))
}

/// Whether the caller may make somebody of this role, who is narrowed to nothing and comes from
/// anywhere.
fn check_grant(operator: &Operator, role: Role) -> Result<(), Problem> {
    grant::check_role(operator, role, None)?;
    grant::check_addresses(operator, &[])
}

/// Whether the caller is this person.
fn is_own(operator: &Operator, person: &Person) -> bool {
    matches!(&operator.who, Who::Person(own) if own.id == person.id)
}

fn take_email(members: &mut Members) -> Option<String> {
    let email = members.text("email").filter(|email| !email.is_empty())?;
    let is_address = email.split_once('@').is_some_and(|(own, host)| {
        !own.is_empty() && !host.is_empty() && !host.contains('@') && !email.contains(' ')
    });
    if !is_address {
        members.fault("email", "is no address");
    }
    Some(email)
}

/// Names that differ in case alone are one.
pub(crate) fn login_of(name: &str) -> String {
    name.trim().to_lowercase()
}

fn told<'a>(state: &State, operator: &Operator, action: Action, person: &Person) -> Event<'a> {
    let event = state
        .event(operator, action)
        .with_detail(Key::Kind, Value::Word(person.role.as_str()))
        .with_detail(Key::Name, Value::OwnedWord(person.id.to_string().into()));
    match person.tenant_id {
        Some(tenant) => event.with_tenant_id(tenant),
        None => event,
    }
}

fn shown(state: &State, person: &Person) -> Json {
    let now = state.parts.store.now();
    let locked_until = person.locked_until.filter(|until| now < *until);
    let status = match (person.disabled_at, locked_until) {
        (Some(_), _) => "disabled",
        (None, Some(_)) => "locked",
        (None, None) => "active",
    };
    json!({
        "id": person.id,
        "name": person.name,
        "email": person.email,
        "role": person.role.as_str(),
        "tenant_id": person.tenant_id,
        "status": status,
        "source": if person.issuer.is_some() { "provider" } else { "password" },
        "mfa": if person.totp_is_on { "totp" } else { "off" },
        "recovery_codes": person.recovery_codes,
        "locked_until": locked_until,
        "disabled_at": person.disabled_at,
        "created_at": person.created_at,
        "created_by": person.created_by,
        "last_login_at": person.last_login_at,
    })
}

/// A password that somebody of these names may have.
fn password_fault(password: &Secret, names: &[&str]) -> Option<&'static str> {
    tollkeep_crypto::password::fault(password, names)
}
