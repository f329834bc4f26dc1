//! `/api/v1/maintenance` and `/v0/management/maintenance`: the switch over what the settings say
//! (EDGE-130).

use crate::State;
use crate::authn::Operator;
use crate::operation::{Call, Content, Method, Operation};
use crate::rights::Right;
use crate::router::{Answer, ok};
use crate::shape::{Member, bounded, choice, switch, text, time};
use serde_json::{Value as Json, json};
use tollkeep_audit::{Action, Key, Value};
use tollkeep_config::settings::MAINTENANCE_MESSAGE_CHARS_MAX;
use tollkeep_store::MaintenanceOn;

const PUT: &[Member] = &[
    switch("enabled", "Whether callers are told to come back later").required(),
    text(
        "message",
        MAINTENANCE_MESSAGE_CHARS_MAX,
        "What they are told",
    ),
    bounded(
        "retry_after_s",
        1,
        3_600,
        "For how long they may be told to stay away, in seconds",
    ),
];

const SHOWN: &[Member] = &[
    switch("enabled", "Whether callers are told to come back later"),
    text(
        "message",
        MAINTENANCE_MESSAGE_CHARS_MAX,
        "What they are told",
    ),
    bounded(
        "retry_after_s",
        0,
        crate::shape::UNBOUND,
        "For how long they are told to stay away",
    ),
    choice("source", &["runtime", "file"], "What switched it on").or_null(),
    time("since", "Since when").or_null(),
    text("by", 100, "Who switched it on; not for keys of a tenant").or_null(),
];

const ONE: &[(u16, Content)] = &[(200, Content::Object(&[SHOWN]))];

pub(crate) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "maintenance_get",
        command: "maintenance status",
        about: "Whether maintenance is on",
        method: Method::Get,
        path: "/api/v1/maintenance",
        also: Some("/v0/management/maintenance"),
        right: Right::Read,
        change: None,
        query: &[],
        body: None,
        answers: ONE,
        refusals: &[],
        run: |call| Box::pin(get(call)),
    },
    Operation {
        id: "maintenance_put",
        command: "maintenance on",
        about: "Switch maintenance on or off",
        method: Method::Put,
        path: "/api/v1/maintenance",
        also: Some("/v0/management/maintenance"),
        right: Right::Operate,
        change: Some(Action::MaintenanceOn),
        query: &[],
        body: Some(PUT),
        answers: ONE,
        refusals: &[],
        run: |call| Box::pin(put(call)),
    },
];

async fn get(call: Call) -> Answer {
    let on = call.state.parts.store.maintenance();
    Ok(ok(&call.state.maintenance(&call.operator, on.as_deref())))
}

async fn put(call: Call) -> Answer {
    let Call {
        state,
        operator,
        body: mut members,
        ..
    } = call;
    let enabled = members.switch("enabled");
    let message = members.text("message");
    let retry_after_s = members.number("retry_after_s");
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
    state.parts.store.set_maintenance(on.clone()).await?;
    state.parts.runtime.apply_overrides();
    state.record(event).await?;
    Ok(ok(&state.maintenance(&operator, on.as_ref())))
}

impl State {
    /// The object of maintenance (identity, section 9.4): on by the settings, or by an operator.
    fn maintenance(&self, operator: &Operator, on: Option<&MaintenanceOn>) -> Json {
        let settings = self.settings();
        let written = &settings.server.maintenance;
        let source = match on {
            Some(_) => Some("runtime"),
            None if written.on => Some("file"),
            None => None,
        };
        let message = on.and_then(|on| on.message.as_deref());
        let retry_after_s = on.and_then(|on| on.retry_after_s);
        // Who operates the deployment is none of a tenant's business.
        let by = on.filter(|_| operator.tenant().is_none());
        json!({
            "enabled": source.is_some(),
            "message": message.unwrap_or(&written.message),
            "retry_after_s": retry_after_s.unwrap_or(written.retry_after.as_secs()),
            "source": source,
            "since": on.map(|on| on.since),
            "by": by.map(|on| &on.by),
        })
    }
}
