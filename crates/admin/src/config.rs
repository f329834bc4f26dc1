//! `/api/v1/config`, and where clients of cliproxyapi++ look for it. The settings are those of a file:
//! they are shown here and loaded again, and written there.

use crate::operation::{Call, Content, Method, Operation};
use crate::reload::{Read, reload};
use crate::rights::Right;
use crate::router::{Answer, ok};
use crate::shape::{Member, choice, document, number, switch, text, texts, time};
use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use serde_json::{Map, Value as Json, json};
use tollkeep_audit::{Action, Key, Value};
use tollkeep_config::yaml;
use tollkeep_crypto::sha256;

const RELOADED: &[Member] = &[
    number(
        "generation",
        "1 for those of the start, one more with each taken over",
    ),
    time("loaded_at", "Since when they are in force"),
    texts("warnings", 1000, 1000, "What to know about them"),
];

const SHOWN: &[Member] = &[
    choice("source", &["file", "none"], "What they are loaded from"),
    text("path", 4_096, "The file").or_null(),
    number(
        "revision",
        "1 for those of the start, one more with each taken over",
    ),
    time("loaded_at", "Since when they are in force"),
    text("hash", 64, "A digest of what is shown here of all of them"),
    document(
        "values",
        "The values, in the form of the file; secrets are `‹set›`",
    ),
    document("origins", "Where each key comes from"),
];

const QUERY: &[Member] = &[switch(
    "defaults",
    "Whether keys that nobody wrote are shown too",
)];

/// Where their file is shown as such.
pub(crate) const FILE: &str = "/v0/management/config.yaml";

const BASE: Operation = Operation {
    id: "config_get",
    command: "config get",
    about: "The settings in force, secrets hidden",
    method: Method::Get,
    path: "/api/v1/config",
    also: None,
    right: Right::ReadDeployment,
    change: None,
    query: QUERY,
    body: None,
    answers: &[(200, Content::Object(&[SHOWN]))],
    refusals: &[],
    run: |call| Box::pin(get(call)),
};

pub(crate) const OPERATIONS: &[Operation] = &[
    BASE,
    Operation {
        id: "management_config",
        about: "The settings in force, secrets hidden (cliproxyapi++)",
        path: "/v0/management/config",
        answers: &[(200, Content::Document)],
        run: |call| Box::pin(tree(call)),
        ..BASE
    },
    Operation {
        id: "management_config_file",
        about: "The settings in force as a file, secrets hidden (cliproxyapi++)",
        path: FILE,
        answers: &[(200, Content::Yaml)],
        run: |call| Box::pin(file(call)),
        ..BASE
    },
    Operation {
        id: "config_reload",
        command: "config reload",
        about: "Load the settings again and take them over, all or nothing",
        method: Method::Post,
        path: "/api/v1/config/reload",
        right: Right::Configuration,
        change: Some(Action::ConfigReject),
        query: &[],
        body: Some(&[]),
        answers: &[(200, Content::Object(&[RELOADED]))],
        run: |call| Box::pin(reload_settings(call)),
        ..BASE
    },
];

async fn get(call: Call) -> Answer {
    let (state, defaults) = (&call.state, call.query.is_on("defaults"));
    let shown = state.parts.runtime.shown_settings();
    let origins = shown.origins.each(defaults);
    let origins: Map<String, Json> = origins
        .map(|(key, _, origin)| (key.to_owned(), origin.to_string().into()))
        .collect();
    let all = sha256(&[shown.origins.tree(true).to_string().as_bytes()]);
    let in_force = state.parts.runtime.settings_state();
    Ok(ok(&json!({
        "source": if shown.path.is_some() { "file" } else { "none" },
        "path": shown.path.as_ref().map(|path| path.display().to_string()),
        "revision": in_force.generation,
        "loaded_at": in_force.since,
        "hash": all.iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
        "values": shown.origins.tree(defaults),
        "origins": origins,
    })))
}

async fn tree(call: Call) -> Answer {
    let shown = call.state.parts.runtime.shown_settings();
    Ok(ok(&shown.origins.tree(call.query.is_on("defaults"))))
}

async fn file(call: Call) -> Answer {
    let shown = call.state.parts.runtime.shown_settings();
    let text = yaml(&shown.origins.tree(call.query.is_on("defaults")));
    let mut answer = Response::new(Body::from(text));
    let kind = HeaderValue::from_static("application/yaml");
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(answer)
}

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
