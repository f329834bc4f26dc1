//! `/api/v1/keys`: management keys. Nobody makes one that may do more than their own.

use crate::State;
use crate::authn::Operator;
use crate::end::{self, DAY_MS, take_overlap};
use crate::grant;
use crate::members::Members;
use crate::operation::{Call, Content, Method, Operation};
use crate::parameters::{CURSOR, LIMIT, listed};
use crate::problem::Problem;
use crate::rights::{self, Right};
use crate::router::{Answer, created, ok};
use crate::secret::with_secret;
use crate::shape::{Member, choice, duration, id, text, texts, time};
use ipnet::IpNet;
use serde_json::{Value as Json, json};
use tollkeep_audit::{Action, Event, Key, Value};
use tollkeep_store::{KeyChange, LastOwner, ManagementKey, NewManagementKey, Role, Scope};
use tollkeep_types::{ManagementKeyId, OperatorId, WallMillis};

/// How long one lives unless the request says so.
pub(crate) const TTL_MS_DEFAULT: u64 = 90 * DAY_MS;
const TTL_MS_MAX: u64 = 365 * DAY_MS;
/// How long the old text works after a rotation unless the request says so.
const OVERLAP_MS_DEFAULT: u64 = 3_600_000;

const ROLES: &[&str] = &["owner", "admin", "operator", "viewer", "tenant-admin"];

pub(crate) const SCOPES: Member = texts(
    "scopes",
    64,
    100,
    "What it is narrowed to, as `noun:verb` with `*`; `null`: all that its role allows",
);
pub(crate) const ALLOWED_IPS: Member = texts(
    "allowed_ips",
    256,
    60,
    "Addresses and networks it may be used from; none: from anywhere",
);
pub(crate) const EXPIRES_AT: Member = time(
    "expires_at",
    "When it stops working, 365 days from now at most",
);

const CREATE: &[Member] = &[
    text("name", 200, "Its name in lists").required(),
    choice("role", ROLES, "What it may do").required(),
    text(
        "tenant_id",
        64,
        "The one tenant it is bound to, by id or slug",
    ),
    SCOPES,
    ALLOWED_IPS,
    EXPIRES_AT,
    duration("ttl", "How long it works; 90d if not given"),
];

const UPDATE: &[Member] = &[
    text("name", 200, "Its name in lists"),
    choice("role", ROLES, "What it may do"),
    SCOPES,
    ALLOWED_IPS,
    EXPIRES_AT,
    duration("ttl", "How long it works from now on"),
];

const ROTATE: &[Member] = &[
    duration(
        "overlap",
        "How long the old text goes on working; 1h if not given",
    ),
    EXPIRES_AT,
    duration("ttl", "How long it works from now on; 90d if not given"),
];

pub(crate) const SHOWN: &[Member] = &[
    id("id", "mky_", "Its id"),
    text("name", 200, "Its name in lists"),
    choice("role", ROLES, "What it may do"),
    id("tenant_id", "ten_", "The one tenant it is bound to").or_null(),
    id("operator_id", "opr_", "The person whose own it is").or_null(),
    texts("scopes", 64, 100, "What it is narrowed to").or_null(),
    texts(
        "allowed_ips",
        256,
        60,
        "From where it may be used; none: from anywhere",
    ),
    text("hint", 100, "Its text, masked"),
    choice(
        "status",
        &["active", "rotating", "expired", "revoked"],
        "What it is now",
    ),
    time("created_at", "When it was made"),
    text("created_by", 100, "Who made it").or_null(),
    time("expires_at", "When it stops working"),
    time("rotated_at", "When it last got another text").or_null(),
    time("previous_works_until", "Until when the text before works").or_null(),
    time("revoked_at", "When it was revoked").or_null(),
    time("last_used_at", "When it was last used, to the minute").or_null(),
    text("last_used_ip", 60, "From where it was last used").or_null(),
];

pub(crate) const SECRET: &[Member] = &[text("secret", 256, "Its text, shown here alone")];

const BASE: Operation = Operation {
    id: "key_get",
    command: "key get",
    about: "One management key",
    method: Method::Get,
    path: "/api/v1/keys/{id}",
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
        id: "key_list",
        command: "key list",
        about: "Management keys, newest first",
        path: "/api/v1/keys",
        query: &[LIMIT, CURSOR],
        answers: &[(200, Content::Page(SHOWN))],
        run: |call| Box::pin(list(call)),
        ..BASE
    },
    Operation {
        id: "key_create",
        command: "key create",
        about: "Make a management key; its text is shown once",
        method: Method::Post,
        path: "/api/v1/keys",
        right: Right::Keys,
        change: Some(Action::ManagementKeyCreate),
        body: Some(CREATE),
        answers: &[(201, Content::Object(&[SHOWN, SECRET]))],
        refusals: &[404, 409],
        run: |call| Box::pin(create(call)),
        ..BASE
    },
    BASE,
    Operation {
        id: "key_update",
        command: "key update",
        about: "Change a management key, from its next use on",
        method: Method::Patch,
        right: Right::Keys,
        change: Some(Action::ManagementKeyUpdate),
        body: Some(UPDATE),
        refusals: &[409],
        run: |call| Box::pin(update(call)),
        ..BASE
    },
    Operation {
        id: "key_rotate",
        command: "key rotate",
        about: "Give a management key another text; the old one works for a while",
        method: Method::Post,
        path: "/api/v1/keys/{id}/rotate",
        right: Right::Keys,
        change: Some(Action::ManagementKeyRotate),
        body: Some(ROTATE),
        answers: &[(200, Content::Object(&[SHOWN, SECRET]))],
        refusals: &[409],
        run: |call| Box::pin(rotate(call)),
        ..BASE
    },
    Operation {
        id: "key_revoke",
        command: "key revoke",
        about: "End a management key for good",
        method: Method::Post,
        path: "/api/v1/keys/{id}/revoke",
        right: Right::Keys,
        change: Some(Action::ManagementKeyRevoke),
        body: Some(&[]),
        refusals: &[409],
        run: |call| Box::pin(revoke(call)),
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
    let now = state.parts.store.now();
    let name = members.name("name");
    let role: Option<Role> = members.choice("role");
    let tenant = members.text("tenant_id");
    let scopes = take_scopes(&mut members);
    let allowed_ips = members.networks("allowed_ips").unwrap_or_default();
    let end = take_end(&mut members, now);
    let is_bound = tenant.is_some() || operator.tenant().is_some();
    if let Some(fault) = role.and_then(|role| grant::binding_fault(role, is_bound)) {
        members.fault("role", fault);
    }
    members.done()?;
    let role = role.ok_or_else(Problem::internal)?;
    grant::check_role(&operator, role, scopes.as_deref())?;
    grant::check_addresses(&operator, &allowed_ips)?;
    let expires_at = grant::end(&operator, end, end::after(now, TTL_MS_DEFAULT))?;
    let scope = state.scope_in(&operator, tenant).await?;
    let wanted = Wanted {
        operator_id: None,
        name: name.unwrap_or_default(),
        role,
        scopes,
        allowed_ips,
        expires_at,
    };
    make(&state, &operator, scope, wanted).await
}

/// A key to make, but for its text.
pub(crate) struct Wanted {
    pub(crate) operator_id: Option<OperatorId>,
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) scopes: Option<Vec<String>>,
    pub(crate) allowed_ips: Vec<IpNet>,
    pub(crate) expires_at: WallMillis,
}

/// Makes a key, and shows it with its text.
pub(crate) async fn make(
    state: &State,
    operator: &Operator,
    scope: Scope,
    wanted: Wanted,
) -> Answer {
    state.check_audit()?;
    let store = &state.parts.store;
    let secret = state.mint(&state.settings().auth.management_prefix, None)?;
    let new = NewManagementKey {
        operator_id: wanted.operator_id,
        name: wanted.name,
        role: wanted.role,
        scopes: wanted.scopes,
        allowed_ips: wanted.allowed_ips,
        secret: state.kept_of_key(&secret),
        expires_at: wanted.expires_at,
        created_by: Some(operator.name()),
    };
    let key = store.create_management_key(scope, new).await?;
    let event = told(state, operator, Action::ManagementKeyCreate, &key);
    if let Err(problem) = state.record(event).await {
        // What can't be recorded isn't given out.
        let change = KeyChange::Revoke;
        store
            .change_management_key(scope, key, change, LastOwner::MayGo)
            .await?;
        return Err(problem);
    }
    Ok(created(
        &format!("/api/v1/keys/{}", key.id),
        &with_secret(shown(state, &key), &["secret"], &secret),
    ))
}

async fn list(call: Call) -> Answer {
    list_of(call, None).await
}

/// All keys, or those of a person.
pub(crate) async fn list_of(call: Call, of: Option<OperatorId>) -> Answer {
    let (state, operator) = (&call.state, &call.operator);
    let filters = of.map_or_else(|| "keys".to_owned(), |id| format!("keys {id}"));
    let page = call.query.page(state, &filters)?;
    let store = &state.parts.store;
    let page = store.management_keys(operator.scope(), of, page).await?;
    state
        .record(state.event(operator, Action::ManagementKeyList))
        .await?;
    Ok(ok(&listed(
        state,
        &filters,
        (&page, |row| (row.created_at, row.id)),
        |key| shown(state, key),
    )))
}

async fn get(call: Call) -> Answer {
    let (state, operator) = (&call.state, &call.operator);
    let key = find(&call).await?;
    state
        .record(told(state, operator, Action::ManagementKeyRead, &key))
        .await?;
    Ok(ok(&shown(state, &key)))
}

async fn update(mut call: Call) -> Answer {
    let now = call.state.parts.store.now();
    let key = find(&call).await?;
    let members = &mut call.body;
    let mut wanted = key.clone();
    if let Some(name) = members.name("name") {
        wanted.name = name;
    }
    if let Some(role) = members.choice("role") {
        wanted.role = role;
    }
    if members.has("scopes") {
        wanted.scopes = take_scopes(members);
    } else {
        members.take("scopes");
    }
    if let Some(ips) = members.networks("allowed_ips") {
        wanted.allowed_ips = ips;
    }
    if let Some(end) = take_end(members, now) {
        wanted.expires_at = end;
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
    let changed = body.present();
    body.done()?;
    grant::check_change(&operator, &key, &wanted)?;
    if key.operator_id.is_some() && wanted.role != key.role {
        let detail = "It is somebody's own, and may do what they may.";
        return Err(Problem::conflict(detail));
    }
    let change = KeyChange::Settings(wanted);
    let key = change_key(&state, &operator, key, change).await?;
    let event = told(&state, &operator, Action::ManagementKeyUpdate, &key);
    let changed = Value::OwnedWord(changed.into());
    state
        .record(event.with_detail(Key::Changed, changed))
        .await?;
    Ok(ok(&shown(&state, &key)))
}

async fn rotate(mut call: Call) -> Answer {
    let now = call.state.parts.store.now();
    let key = find(&call).await?;
    let overlap_ms = take_overlap(&mut call.body, OVERLAP_MS_DEFAULT);
    let end = take_end(&mut call.body, now);
    let Call {
        state,
        operator,
        body,
        ..
    } = call;
    body.done()?;
    grant::check_role(&operator, key.role, key.scopes.as_deref())?;
    grant::check_addresses(&operator, &key.allowed_ips)?;
    if key.operator_id.is_some() {
        let detail = "It is somebody's own: they make another.";
        return Err(Problem::conflict(detail));
    }
    let expires_at = grant::end(&operator, end, end::after(now, TTL_MS_DEFAULT))?;
    let secret = state.mint(&state.settings().auth.management_prefix, None)?;
    let change = KeyChange::Rotate {
        secret: state.kept_of_key(&secret),
        previous_ends_at: end::after(now, overlap_ms),
        expires_at,
    };
    let key = change_key(&state, &operator, key, change).await?;
    state
        .record(told(&state, &operator, Action::ManagementKeyRotate, &key))
        .await?;
    Ok(ok(&with_secret(shown(&state, &key), &["secret"], &secret)))
}

async fn revoke(call: Call) -> Answer {
    let key = find(&call).await?;
    let Call {
        state,
        operator,
        body,
        ..
    } = call;
    body.done()?;
    grant::check_role(&operator, key.role, key.scopes.as_deref())?;
    end(&state, &operator, key).await
}

/// Ends a key for good, and shows it.
pub(crate) async fn end(state: &State, operator: &Operator, key: ManagementKey) -> Answer {
    let key = change_key(state, operator, key, KeyChange::Revoke).await?;
    state
        .record(told(state, operator, Action::ManagementKeyRevoke, &key))
        .await?;
    Ok(ok(&shown(state, &key)))
}

pub(crate) async fn find(call: &Call) -> Result<ManagementKey, Problem> {
    let id: ManagementKeyId = call.id.parse().map_err(|_| Problem::not_found())?;
    let scope = call.operator.scope();
    Ok(call.state.parts.store.management_key(scope, id).await?)
}

async fn change_key(
    state: &State,
    operator: &Operator,
    key: ManagementKey,
    change: KeyChange,
) -> Result<ManagementKey, Problem> {
    state.check_audit()?;
    let last = state.last_owner();
    let store = &state.parts.store;
    let scope = operator.scope();
    Ok(store
        .change_management_key(scope, key, change, last)
        .await?)
}

pub(crate) fn take_scopes(members: &mut Members) -> Option<Vec<String>> {
    let scopes = members.texts("scopes", |scope| match rights::scope_fault(scope) {
        Some(fault) => Err(fault.to_owned()),
        None => Ok(scope.to_owned()),
    });
    if scopes.as_ref().is_some_and(Vec::is_empty) {
        members.fault("scopes", "is empty: name what is allowed, or leave it out");
    }
    scopes
}

pub(crate) fn take_end(members: &mut Members, now: WallMillis) -> Option<WallMillis> {
    match end::Wanted::take(members, now, None) {
        end::Wanted::Nothing => None,
        end::Wanted::Never => {
            members.fault("expires_at", "management keys have an end");
            None
        }
        end::Wanted::At(at) => {
            if let Some(message) = end::fault(now, at, TTL_MS_MAX) {
                members.fault("expires_at", message);
            }
            Some(at)
        }
    }
}

fn told<'a>(state: &State, operator: &Operator, action: Action, key: &ManagementKey) -> Event<'a> {
    let event = state
        .event(operator, action)
        .with_detail(Key::Name, Value::OwnedWord(key.id.to_string().into()))
        .with_detail(Key::Kind, Value::Word(key.role.as_str()));
    match key.tenant_id {
        Some(tenant) => event.with_tenant_id(tenant),
        None => event,
    }
}

fn shown(state: &State, key: &ManagementKey) -> Json {
    let now = state.parts.store.now();
    let previous = key.previous_ends_at.filter(|end| now < *end);
    let status = match (key.revoked_at, key.is_live(now), previous) {
        (Some(_), ..) => "revoked",
        (None, false, _) => "expired",
        (None, true, Some(_)) => "rotating",
        (None, true, None) => "active",
    };
    json!({
        "id": key.id,
        "name": key.name,
        "role": key.role.as_str(),
        "tenant_id": key.tenant_id,
        "operator_id": key.operator_id,
        "scopes": key.scopes,
        "allowed_ips": key.allowed_ips,
        "hint": key.hint,
        "status": status,
        "created_at": key.created_at,
        "created_by": key.created_by,
        "expires_at": key.expires_at,
        "rotated_at": key.rotated_at,
        "previous_works_until": previous,
        "revoked_at": key.revoked_at,
        "last_used_at": key.last_used_at,
        "last_used_ip": key.last_used_ip,
    })
}
