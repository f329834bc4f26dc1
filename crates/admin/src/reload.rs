//! What is read again from files while the gateway runs: settings, and certificates.

use crate::State;
use crate::audit::Recording;
use crate::operation::Call;
use crate::problem::Problem;
use crate::router::{Answer, ok};
use serde_json::Value;
use tollkeep_audit::Event;
use tollkeep_config::ConfigErrors;

/// Something read anew: what is told of it, and the event of it.
pub(crate) struct Read {
    pub(crate) told: Value,
    pub(crate) event: Event<'static>,
}

/// Reads by `read`. What was begun is also recorded when the operator goes away meanwhile.
pub(crate) async fn reload(
    call: Call,
    read: impl FnOnce(&State, Event<'static>) -> Result<Read, ConfigErrors> + Send + 'static,
) -> Answer {
    let Call {
        state,
        operator,
        body,
        ..
    } = call;
    body.done()?;
    state.check_audit()?;
    let reading = tokio::task::spawn_blocking(move || -> Result<(Value, Recording), Problem> {
        let event = state.event(&operator, tollkeep_audit::Action::ConfigReload);
        let read = read(&state, event).map_err(|errors| Problem::config_invalid(&errors))?;
        Ok((read.told, state.recording(&read.event)))
    });
    let (told, recording) = reading.await.map_err(|_| Problem::internal())??;
    recording.done().await?;
    Ok(ok(&told))
}
