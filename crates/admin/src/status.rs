//! `/api/v1/status` and `/api/v1/whoami`

use crate::State;
use crate::authn::{Operator, Right, Who};
use crate::breaker;
use crate::router::{Answer, ok};
use axum::extract::{Extension, State as Of};
use serde_json::{Value, json};
use std::sync::Arc;
use tollkeep_config::settings::Environment;
use tollkeep_observe::health::Reason;
use tollkeep_store::Role;

/// `GET /api/v1/status`
pub(crate) async fn status(
    Of(state): Of<Arc<State>>,
    Extension(operator): Extension<Operator>,
) -> Answer {
    operator.check(Right::Read)?;
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
        "breakers": breaker::tripped(&state, &operator),
        "tokens": parts.store.live().len(),
    })))
}

/// `GET /api/v1/whoami`
pub(crate) async fn whoami(Extension(operator): Extension<Operator>) -> Answer {
    operator.check(Right::Read)?;
    Ok(ok(&match operator.who {
        Who::Key { id, role, .. } => shown("management", &id.to_string(), role, "key"),
        Who::Environment => shown("management", "env", Role::Owner, "env"),
        Who::Local { uid } => shown("local", &format!("local:{uid}"), Role::Owner, "socket"),
    }))
}

fn shown(actor: &str, id: &str, role: Role, via: &str) -> Value {
    json!({ "actor": actor, "id": id, "role": role.as_str(), "via": via })
}
