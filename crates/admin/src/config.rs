//! `/api/v1/config`

use crate::operation::{Call, Content, Method, Operation};
use crate::reload::{Read, reload};
use crate::rights::Right;
use crate::router::Answer;
use crate::shape::{Member, number, texts, time};
use serde_json::json;
use tollkeep_audit::{Action, Key, Value};

const SHOWN: &[Member] = &[
    number(
        "generation",
        "1 for those of the start, one more with each taken over",
    ),
    time("loaded_at", "Since when they are in force"),
    texts("warnings", 1000, 1000, "What to know about them"),
];

pub(crate) const OPERATIONS: &[Operation] = &[Operation {
    id: "config_reload",
    command: "config reload",
    about: "Load the settings again and take them over, all or nothing",
    method: Method::Post,
    path: "/api/v1/config/reload",
    also: None,
    right: Right::Configuration,
    change: Some(Action::ConfigReject),
    query: &[],
    body: Some(&[]),
    answers: &[(200, Content::Object(&[SHOWN]))],
    refusals: &[],
    run: |call| Box::pin(reload_settings(call)),
}];

async fn reload_settings(call: Call) -> Answer {
    reload(call, |state, event| {
        let reloaded = state.parts.runtime.reload()?;
        Ok(Read {
            event: event.with_detail(Key::Version, Value::Number(reloaded.state.generation)),
            told: json!({
                "generation": reloaded.state.generation,
                "loaded_at": reloaded.state.since,
                "warnings": reloaded.warnings,
            }),
        })
    })
    .await
}
