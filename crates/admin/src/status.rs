//! `/api/v1/status` and `/api/v1/whoami`

use crate::authn::Who;
use crate::breaker;
use crate::operation::{Call, Content, Method, Operation};
use crate::problem::Problem;
use crate::rights::Right;
use crate::router::{Answer, ok};
use crate::shape::{Member, choice, id, number, object, objects, switch, text, texts, time};
use serde_json::json;
use tollkeep_config::settings::Environment;
use tollkeep_observe::health::Reason;

const SETTINGS: &[Member] = &[
    number(
        "generation",
        "1 for those of the start, one more with each taken over",
    )
    .required(),
    time("loaded_at", "Since when they are in force").required(),
    time("refused_at", "When others were last refused")
        .or_null()
        .required(),
];

const SHOWN: &[Member] = &[
    text("version", 100, "The version of the build"),
    choice(
        "environment",
        &["development", "production"],
        "Where it runs",
    ),
    time("started_at", "When it was started"),
    object("settings", SETTINGS, "Which settings are in force"),
    choice("store", &["ok", "unavailable"], "The store"),
    choice("audit", &["off", "not writable", "ok"], "The audit log"),
    texts("degraded", 100, 100, "Why it is not all well"),
    switch("draining", "Whether it is ending"),
    switch("maintenance", "Whether callers are told to come back later"),
    switch("sandbox", "Whether the built-in model answers"),
    objects("breakers", breaker::SHOWN, "Breakers that are not closed"),
    number(
        "tokens",
        "Tokens in use, of the tenant for a key that is bound to one",
    ),
];

const WHO: &[Member] = &[
    choice(
        "actor",
        &["management", "local"],
        "What records call the caller",
    ),
    text(
        "id",
        100,
        "The key's or operator's id, `env`, or `local:` and the user",
    ),
    text("name", 200, "The key's or operator's name").or_null(),
    text("role", 20, "What it may do"),
    id("tenant_id", "ten_", "The one tenant it is bound to").or_null(),
    texts("scopes", 64, 100, "What it is narrowed to").or_null(),
    time("expires_at", "When it stops working").or_null(),
    choice(
        "via",
        &["key", "session", "env", "socket", "loopback"],
        "How it came",
    ),
];

pub(crate) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "status",
        command: "status",
        about: "How the gateway is doing",
        method: Method::Get,
        path: "/api/v1/status",
        also: None,
        right: Right::Read,
        change: None,
        query: &[],
        body: None,
        answers: &[(200, Content::Object(&[SHOWN]))],
        refusals: &[],
        run: |call| Box::pin(status(call)),
    },
    Operation {
        id: "whoami",
        command: "whoami",
        about: "Who the caller is, and what it may do",
        method: Method::Get,
        path: "/api/v1/whoami",
        also: None,
        right: Right::Read,
        change: None,
        query: &[],
        body: None,
        answers: &[(200, Content::Object(&[WHO]))],
        refusals: &[],
        run: |call| Box::pin(whoami(call)),
    },
];

async fn status(call: Call) -> Answer {
    let (state, operator) = (&call.state, &call.operator);
    let (parts, settings) = (&state.parts, state.settings());
    let loaded = parts.runtime.settings_state();
    let reasons = parts.health.reasons(parts.clock.mono());
    let store = parts.store.ping().await;
    let is = |reason| reasons.contains(&reason);
    let audit = match &parts.audit {
        None => "off",
        Some(_) if is(Reason::Audit) => "not writable",
        Some(_) => "ok",
    };
    // How many others have is none of a tenant's business.
    let live = parts.store.live();
    let tokens = match operator.tenant() {
        Some(tenant) => live.len_of(tenant),
        None => live.len(),
    };
    let degraded: Vec<&str> = reasons.iter().map(|reason| reason.as_str()).collect();
    Ok(ok(&json!({
        "version": parts.version,
        "environment": match settings.environment {
            Environment::Development => "development",
            Environment::Production => "production",
        },
        "started_at": state.started_at,
        "settings": {
            "generation": loaded.generation,
            "loaded_at": loaded.since,
            "refused_at": loaded.refused_at,
        },
        "store": if store.is_ok() && !is(Reason::Store) { "ok" } else { "unavailable" },
        "audit": audit,
        "degraded": degraded,
        "draining": is(Reason::Draining),
        "maintenance": is(Reason::Maintenance),
        "sandbox": settings.sandbox.upstream,
        "breakers": breaker::tripped(state, operator),
        "tokens": tokens,
    })))
}

async fn whoami(call: Call) -> Answer {
    let operator = &call.operator;
    let (actor, via, key) = match &operator.who {
        Who::Key(key) => ("management", "key", Some(key)),
        Who::Environment => ("management", "env", None),
        Who::Person(_) => ("management", "session", None),
        Who::Local { .. } => ("local", "socket", None),
        Who::Loopback => ("local", "loopback", None),
        Who::Nobody(_) => return Err(Problem::unauthorized()),
    };
    let via = match &operator.session {
        Some(_) => "session",
        None => via,
    };
    let name = match &operator.who {
        Who::Key(key) => Some(&key.name),
        Who::Person(person) => Some(&person.name),
        Who::Environment | Who::Local { .. } | Who::Loopback | Who::Nobody(_) => None,
    };
    Ok(ok(&json!({
        "actor": actor,
        "id": operator.name(),
        "name": name,
        "role": operator.role().as_str(),
        "tenant_id": operator.tenant(),
        "scopes": operator.scopes(),
        "expires_at": key.map(|key| key.expires_at),
        "via": via,
    })))
}
