//! A caller who has gone does not end what an upstream goes on billing: the answer is read to its
//! end, so that its cost is known (LED-58). And a stream that brings more than was taken aside for it
//! is ended (LED-57).

use crate::lifecycle::Exchange;
use crate::refusal::Refusal;
use crate::upstream_body::{BodyStep, UpstreamBody};
use std::io;
use std::time::Duration;
use tollkeep_ledger::decide::{CancelStopsBilling, Hard, OnDisconnect, caller_gone};
use tollkeep_ledger::price::Facts;
use tollkeep_llm::usage::{BodyEnd, StreamUsage};
use tollkeep_net::{Raced, UpstreamConn};
use tollkeep_types::MonoNanos;

impl Exchange<'_> {
    /// The caller has gone: whether the answer is read to its end all the same.
    pub(crate) fn go_alone(&mut self) -> bool {
        if self.alone_until.is_none() && self.drains() {
            let now = self.worker.shared.clock.mono().0;
            let most = u64::try_from(self.plan.llm.drain_max.as_nanos()).unwrap_or(u64::MAX);
            self.alone_until = Some(MonoNanos(now.saturating_add(most)));
        }
        self.alone_until.is_some()
    }

    fn drains(&self) -> bool {
        let facts = &self.work.facts;
        let Some(asked) = &facts.asked else {
            return false;
        };
        // Of a call whose cost is bounded, for hard budgets and accounts: nobody has said of its
        // model that cancelling it ends its bill.
        let hold = facts.hold.as_ref();
        let is_billed_on = hold.is_some_and(|hold| hold.is_billed_to_its_end());
        let (stated, pots) = if is_billed_on && !asked.hung_up.ends_bill(None) {
            (CancelStopsBilling::NotStated, Hard::Some)
        } else {
            (CancelStopsBilling::Stated, Hard::None)
        };
        caller_gone(asked.hung_up.wanted, stated, pots) == OnDisconnect::Drain
    }

    /// Reads more of an answer, as long as its caller waits, or as long as it may be read without.
    pub(crate) async fn fill(&mut self, upstream: &mut UpstreamConn) -> Raced<io::Result<usize>> {
        let Some(until) = self.alone_until else {
            return self.conn.race(upstream.fill()).await;
        };
        let left = until.since(self.worker.shared.clock.mono());
        tokio::select! {
            read = upstream.fill() => Raced::Done(read),
            () = tokio::time::sleep(Duration::from_nanos(left)) => Raced::Late,
        }
    }

    /// Reads what is left of a stream for its usage alone.
    pub(crate) async fn drain_events(
        &mut self,
        upstream: &mut UpstreamConn,
        body: &mut UpstreamBody,
        meter: &mut StreamUsage,
    ) -> Drained {
        loop {
            match body.step(upstream) {
                Err(_) => return Drained::Ended(BodyEnd::Broken),
                Ok(BodyStep::End) => return Drained::Ended(BodyEnd::Clean),
                Ok(BodyStep::Data(data)) => {
                    meter.feed(data);
                    let len = data.len();
                    upstream.consume(len);
                    if self.overrun(meter).is_some() {
                        return Drained::LeftOff;
                    }
                }
                Ok(BodyStep::More) => match self.fill(upstream).await {
                    Raced::Gone | Raced::Late => return Drained::LeftOff,
                    Raced::Done(Ok(read)) if read > 0 => {}
                    Raced::Done(Ok(_) | Err(_)) if body.end_of_stream() => {
                        return Drained::Ended(BodyEnd::Clean);
                    }
                    Raced::Done(Ok(_) | Err(_)) => return Drained::Ended(BodyEnd::Broken),
                },
            }
        }
    }

    /// What ends a stream that goes on though it has brought more than its upstream was asked for. One
    /// that keeps to its cap is never ended: only what is certain counts.
    pub(crate) fn overrun(&self, meter: &StreamUsage) -> Option<Refusal> {
        let most = self.work.facts.hold.as_ref()?.output_tokens()?;
        meter
            .goes_on_beyond(most)
            .then_some(Refusal::BudgetExhausted {
                budget: None,
                reset: None,
            })
    }
}

/// What the settings say of an upstream's calls whose caller hangs up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HungUp {
    pub(crate) wanted: OnDisconnect,
    /// It bills a call no further that is cancelled.
    pub(crate) cancel_stops_billing: bool,
}

impl HungUp {
    /// Of an upstream about which nothing is said.
    pub(crate) const CANCELLED: Self = Self {
        wanted: OnDisconnect::Cancel,
        cancel_stops_billing: false,
    };

    /// Whether cancelling a call ends its bill: if the settings say so of its upstream, or the price table of
    /// its model.
    pub(crate) fn ends_bill(self, model: Option<&Facts>) -> bool {
        self.cancel_stops_billing || model.is_some_and(|model| model.cancel_stops_billing)
    }
}

/// What became of the rest of a stream.
pub(crate) enum Drained {
    Ended(BodyEnd),
    /// It took longer than it may, or brought more, and goes on.
    LeftOff,
}
