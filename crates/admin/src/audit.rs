//! Every management act is recorded, durably before its answer; what can't be recorded isn't done.

use crate::State;
use crate::acting::Acting;
use crate::authn::Operator;
use crate::problem::Problem;
use tollkeep_audit::{Action, Event, Key, Outcome, Pending, Value};
use tollkeep_store::DueRecord;

impl State {
    /// An event of an operator's act, done as asked.
    pub(crate) fn event<'a>(&self, operator: &Operator, action: Action) -> Event<'a> {
        self.event_of(operator, action, Outcome::Success)
    }

    /// The same, and how it ended.
    pub(crate) fn event_of<'a>(
        &self,
        operator: &Operator,
        action: Action,
        outcome: Outcome,
    ) -> Event<'a> {
        let (actor, id) = operator.actor();
        let event = Event::new(action, actor, outcome).at(self.parts.clock.wall());
        let mut event = operator.asked.told_in(event);
        if self.acting == Acting::Trying {
            event = event.with_detail(Key::DryRun, Value::Flag(true));
        }
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

    /// Records a change that was refused. Nothing happened, so nothing waits for it.
    pub(crate) fn record_refused(&self, operator: &Operator, action: Action, problem: &Problem) {
        let Some(audit) = &self.parts.audit else {
            return;
        };
        let outcome = if problem.status().is_server_error() {
            Outcome::Error
        } else {
            Outcome::Denied
        };
        let status = Value::Number(problem.status().as_u16().into());
        let mut event = self
            .event_of(operator, action, outcome)
            .with_reason(problem.code())
            .with_detail(Key::StatusCode, status);
        // Of settings it matters what was wrong with them; of other requests only that it was.
        if action == Action::ConfigReject
            && let Some((count, first)) = problem.first_fault()
        {
            event = event
                .with_detail(Key::Count, Value::Number(count))
                .with_error(first);
        }
        if let Err(error) = audit.enqueue(&event) {
            tracing::warn!("A refused management act was not recorded: {error}");
        }
    }

    /// Records an act; done only when this succeeds. What is tried is recorded when that is over.
    pub(crate) async fn record(&self, event: Event<'_>) -> Result<(), Problem> {
        let recording = self.recording(&event);
        if self.acting == Acting::Trying {
            self.tried.add(recording);
            return Ok(());
        }
        recording.done().await
    }

    /// Begins to record an act; done only when [`Recording::done`] succeeds.
    pub(crate) fn recording(&self, event: &Event<'_>) -> Recording {
        let audit = self.parts.audit.as_ref();
        let audit = audit.filter(|_| self.acting != Acting::Looking);
        Recording {
            pending: audit.map(|audit| audit.log_async(event)),
            due: self.due.clone(),
        }
    }
}

/// A record that is being written.
#[must_use]
pub(crate) struct Recording {
    pending: Option<Pending>,
    /// Of the change it tells of.
    due: Option<DueRecord>,
}

impl Recording {
    /// Waits for it.
    pub(crate) async fn done(self) -> Result<(), Problem> {
        let Some(pending) = self.pending else {
            return Ok(());
        };
        match pending.await {
            Ok(_) => {
                if let Some(due) = self.due {
                    due.is_recorded();
                }
                Ok(())
            }
            Err(error) => {
                tracing::error!("A management act could not be recorded: {error}");
                Err(Problem::recorded_late())
            }
        }
    }
}
