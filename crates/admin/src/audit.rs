//! Every management act is recorded, durably before its answer; what can't be recorded isn't done.

use crate::State;
use crate::authn::Operator;
use crate::problem::Problem;
use tollkeep_audit::{Action, Event, Outcome};

impl State {
    /// An event of an operator's act.
    pub(crate) fn event<'a>(&self, operator: &Operator, action: Action) -> Event<'a> {
        let (actor, id) = operator.actor();
        let event = Event::new(action, actor, Outcome::Success).at(self.parts.clock.wall());
        let event = operator.asked.told_in(event);
        match id {
            Some(id) => event.with_actor_id(id),
            None => event,
        }
    }

    /// Refuses before anything is changed while the log can't be written.
    pub(crate) fn check_audit(&self) -> Result<(), Problem> {
        let Some(audit) = &self.parts.audit else {
            return Ok(());
        };
        if audit.health().writable(self.parts.clock.mono()) {
            Ok(())
        } else {
            Err(Problem::audit_unavailable())
        }
    }

    /// Records an act; done only when this succeeds.
    pub(crate) async fn record(&self, event: Event<'_>) -> Result<(), Problem> {
        let Some(audit) = &self.parts.audit else {
            return Ok(());
        };
        let pending = audit.log_async(&event);
        match pending.await {
            Ok(_) => Ok(()),
            Err(error) => {
                tracing::error!("A management act could not be recorded: {error}");
                Err(Problem::audit_unavailable())
            }
        }
    }
}
