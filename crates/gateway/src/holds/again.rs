//! Another attempt at a call: it has its own bound, beside that of the one that may have run (LED-54).

use super::take::Aside;
use crate::lifecycle::{Exchange, Stop};
use tollkeep_types::usage::UsageReport;

/// Whether another attempt may be made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Again {
    /// Its bound is taken aside, and the attempt before has ended.
    Taken,
    /// It does not fit: what the attempt before brought is final.
    DoesNotFit,
}

impl Exchange<'_> {
    /// Takes the bound of another attempt aside. The one before keeps its own meanwhile, unless it is
    /// known that nothing was billed for it.
    ///
    /// # Errors
    /// The caller hung up.
    pub(crate) async fn take_again(&mut self, aside: Aside<'_>) -> Result<Again, Stop> {
        if !self.is_free_so_far() {
            let before = self.work.facts.hold.take();
            self.work.facts.attempts = self.work.facts.attempts.saturating_add(1);
            let taken = Box::pin(self.take_aside(aside)).await;
            self.work.facts.attempts = self.work.facts.attempts.saturating_sub(1);
            let next = std::mem::replace(&mut self.work.facts.hold, before);
            return match taken {
                Ok(()) => {
                    self.end_attempt();
                    self.work.facts.hold = next;
                    Ok(Again::Taken)
                }
                Err(Stop::Refused(_)) => Ok(Again::DoesNotFit),
                Err(stop) => Err(stop),
            };
        }
        self.end_attempt();
        match Box::pin(self.take_aside(aside)).await {
            Ok(()) => Ok(Again::Taken),
            Err(Stop::Refused(_)) => Ok(Again::DoesNotFit),
            Err(stop) => Err(stop),
        }
    }

    /// Whether nothing was billed for the attempt that failed.
    pub(crate) fn is_free_so_far(&self) -> bool {
        let llm = self.work.facts.llm.as_ref();
        let told = llm.and_then(|llm| llm.told.as_ref());
        told.is_some_and(|told| matches!(told.report, UsageReport::Released))
    }
}
