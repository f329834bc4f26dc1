//! Requests that lose their right to be answered while they run.

use crate::lifecycle::{Exchange, Stop};
use crate::refusal::Refusal;
use tollkeep_observe::RequestOutcome;

impl Exchange<'_> {
    /// Its address was denied while it ran: it ends where it is.
    pub(crate) fn denied_meanwhile(&mut self) -> Stop {
        self.work.facts.refused(&Refusal::Forbidden("ip_list"));
        self.work.facts.outcome = RequestOutcome::Cut;
        Stop::Cut
    }

    /// The caller's access ended while it ran: whatever it was about to be told, it is told that.
    #[cold]
    pub(crate) fn revoked_meanwhile(&mut self, stop: Stop) -> Stop {
        match stop {
            Stop::Refused(_) => self.cut_off().into(),
            // An answer was on its way, and its reader is slow.
            Stop::CallerGone if self.work.facts.status > 0 => {
                let refusal = self.cut_off();
                self.work.facts.refused(&refusal);
                self.work.facts.outcome = RequestOutcome::Cut;
                Stop::Cut
            }
            Stop::CallerGone | Stop::Cut | Stop::Short => stop,
        }
    }
}
