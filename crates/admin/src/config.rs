//! `/api/v1/config`

use crate::State;
use crate::authn::{Operator, Right};
use crate::members::Members;
use crate::problem::Problem;
use crate::router::{Answer, ok};
use axum::body::Bytes;
use axum::extract::{Extension, State as Of};
use serde_json::json;
use std::sync::Arc;
use tollkeep_audit::{Action, Key, Value};

/// `POST /api/v1/config/reload`
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
        let reloaded = state.parts.runtime.reload();
        let reloaded = reloaded.map_err(|errors| Problem::config_invalid(&errors))?;
        let event = state
            .event(&operator, Action::ConfigReload)
            .with_detail(Key::Version, Value::Number(reloaded.state.generation));
        Ok((reloaded, state.recording(&event)))
    });
    let (reloaded, recording) = reloading.await.map_err(|_| Problem::internal())??;
    recording.done().await?;
    Ok(ok(&json!({
        "generation": reloaded.state.generation,
        "loaded_at": reloaded.state.since,
        "warnings": reloaded.warnings,
    })))
}
