//! `/api/v1/maintenance` and `/v0/management/maintenance`: the switch over what the settings say
//! (EDGE-130).

use crate::State;
use crate::authn::{Operator, Right};
use crate::members::Members;
use crate::router::{Answer, ok};
use axum::body::Bytes;
use axum::extract::{Extension, State as Of};
use serde_json::{Value as Json, json};
use std::sync::Arc;
use tollkeep_audit::{Action, Key, Value};
use tollkeep_config::settings::MAINTENANCE_MESSAGE_CHARS_MAX;
use tollkeep_store::MaintenanceOn;

/// Longest time that callers may be told to stay away, in seconds.
const RETRY_AFTER_S_MAX: u64 = 3_600;

/// `GET …/maintenance`
pub(crate) async fn get(
    Of(state): Of<Arc<State>>,
    Extension(operator): Extension<Operator>,
) -> Answer {
    operator.check(Right::Read)?;
    Ok(ok(&state.maintenance()))
}

/// `PUT …/maintenance`
pub(crate) async fn put(
    Of(state): Of<Arc<State>>,
    Extension(operator): Extension<Operator>,
    body: Bytes,
) -> Answer {
    operator.check(Right::Operate)?;
    let mut members = Members::read(&body)?;
    let enabled = members.take_as("enabled", |value| {
        value.as_bool().ok_or_else(|| "true or false".to_owned())
    });
    if enabled.is_none() && !members.is_faulty() {
        members.fault("enabled", "required");
    }
    let message = members.text("message", MAINTENANCE_MESSAGE_CHARS_MAX);
    let retry_after_s = members.number("retry_after_s");
    if retry_after_s.is_some_and(|seconds| !(1..=RETRY_AFTER_S_MAX).contains(&seconds)) {
        members.fault("retry_after_s", "1 to 3600");
    }
    members.done()?;
    state.check_audit()?;
    let on = (enabled == Some(true)).then(|| MaintenanceOn {
        message: message.filter(|message| !message.is_empty()),
        retry_after_s,
        since: state.parts.store.now(),
        by: operator.name(),
    });
    let action = match on {
        Some(_) => Action::MaintenanceOn,
        None => Action::MaintenanceOff,
    };
    let mut event = state.event(&operator, action);
    if let Some(message) = on.as_ref().and_then(|on| on.message.clone()) {
        event = event.with_detail(Key::Message, Value::Text(message.into()));
    }
    state.parts.store.set_maintenance(on).await?;
    state.parts.runtime.apply_overrides();
    state.record(event).await?;
    Ok(ok(&state.maintenance()))
}

impl State {
    /// The object of maintenance (identity, section 9.4): on by the settings, or by an operator.
    fn maintenance(&self) -> Json {
        let settings = self.settings();
        let written = &settings.server.maintenance;
        let on = self.parts.store.maintenance();
        let source = match &on {
            Some(_) => Some("runtime"),
            None if written.on => Some("file"),
            None => None,
        };
        let message = on.as_ref().and_then(|on| on.message.as_deref());
        let retry_after_s = on.as_ref().and_then(|on| on.retry_after_s);
        json!({
            "enabled": source.is_some(),
            "message": message.unwrap_or(&written.message),
            "retry_after_s": retry_after_s.unwrap_or(written.retry_after.as_secs()),
            "source": source,
            "since": on.as_ref().map(|on| on.since),
            "by": on.as_ref().map(|on| &on.by),
        })
    }
}
