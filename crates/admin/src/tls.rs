//! `/api/v1/tls`

use crate::operation::{Call, Content, Method, Operation};
use crate::reload::{Read, reload};
use crate::rights::Right;
use crate::router::Answer;
use crate::shape::{Member, objects, text, time};
use serde_json::{Value as Json, json};
use tollkeep_audit::{Action, Key, Value};

const CERTIFICATE: &[Member] = &[
    text("name", 200, "Where its settings stand").required(),
    text("subject", 1000, "Its subject").required(),
    time("not_after", "Until when it is valid").required(),
];

const SHOWN: &[Member] = &[objects(
    "certificates",
    CERTIFICATE,
    "Those in use from now on",
)];

pub(crate) const OPERATIONS: &[Operation] = &[Operation {
    id: "tls_reload",
    command: "tls reload",
    about: "Read the certificates of all listeners again",
    method: Method::Post,
    path: "/api/v1/tls/reload",
    also: None,
    right: Right::Configuration,
    change: Some(Action::ConfigReject),
    query: &[],
    body: Some(&[]),
    answers: &[(200, Content::Object(&[SHOWN]))],
    refusals: &[],
    run: |call| Box::pin(reload_certificates(call)),
}];

async fn reload_certificates(call: Call) -> Answer {
    reload(call, |state, event| {
        let certificates = state.parts.runtime.reload_tls()?.into_iter();
        let told = certificates.map(|certificate| {
            json!({
                "name": certificate.name,
                "subject": certificate.subject,
                "not_after": certificate.not_after,
            })
        });
        Ok(Read {
            event: event.with_detail(Key::Kind, Value::Word("certificates")),
            told: json!({ "certificates": told.collect::<Vec<Json>>() }),
        })
    })
    .await
}
