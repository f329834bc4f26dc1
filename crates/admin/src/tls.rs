//! `/api/v1/tls`

use crate::State;
use crate::authn::{Operator, Right};
use crate::members::Members;
use crate::problem::Problem;
use crate::router::{Answer, ok};
use axum::body::Bytes;
use axum::extract::{Extension, State as Of};
use serde_json::{Value as Json, json};
use std::sync::Arc;
use tollkeep_audit::{Action, Key, Value};

/// `POST /api/v1/tls/reload`
pub(crate) async fn reload(
    Of(state): Of<Arc<State>>,
    Extension(operator): Extension<Operator>,
    body: Bytes,
) -> Answer {
    operator.check(Right::Configuration)?;
    Members::read(&body)?.done()?;
    state.check_audit()?;
    // Files are read. What was begun is also recorded when the operator goes away meanwhile.
    let reloading = tokio::task::spawn_blocking(move || -> Result<_, Problem> {
        let certificates = state.parts.runtime.reload_tls();
        let certificates = certificates.map_err(|errors| Problem::config_invalid(&errors))?;
        let event = state
            .event(&operator, Action::ConfigReload)
            .with_detail(Key::Kind, Value::Word("certificates"));
        let recording = state.recording(&event);
        Ok((certificates, recording))
    });
    let (certificates, recording) = reloading.await.map_err(|_| Problem::internal())??;
    recording.done().await?;
    let told = certificates.into_iter().map(|certificate| {
        json!({
            "name": certificate.name,
            "subject": certificate.subject,
            "not_after": certificate.not_after,
        })
    });
    Ok(ok(&json!({ "certificates": told.collect::<Vec<Json>>() })))
}
