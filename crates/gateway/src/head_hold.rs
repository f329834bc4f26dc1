//! The head of a streamed answer waits until its upstream has said something of it.
//!
//! An upstream may say 200 and then, as its first event, that it has no answer. As long as nothing of it
//! went to the caller, that is a failure like any other: another credential is asked, or the caller is
//! told with a status. So greetings are kept back, and the first content takes them along.

use crate::lifecycle::{Exchange, Stop};
use crate::plan::Target;
use crate::pump::{Caps, Ended};
use crate::refusal::Refusal;
use crate::send::{Called, Failed, FailedAs, LlmReply};
use crate::stream_back::is_event_stream;
use crate::upstream_body::{BodyStep, UpstreamBody};
use std::time::Duration;
use tollkeep_http1::Known;
use tollkeep_llm::failure::Failure;
use tollkeep_llm::opening::{Begun, FailedStart, Opening};
use tollkeep_llm::surface::UsageDialect;
use tollkeep_llm::usage::StreamUsage;
use tollkeep_net::{Raced, UpstreamConn};

/// Bytes of a stream that wait for its first content at most.
const HELD_BYTES_MAX: usize = 64 * 1024;
/// What a stream that ended without a word is known as.
const NO_ANSWER: u16 = 502;

/// What waiting for the first content came to.
enum First {
    /// It is there, or nobody waits for it any longer.
    Came,
    /// That there is none.
    Failed(FailedStart),
    /// The body ended.
    Ended,
    /// It broke off.
    Broke(Refusal),
}

impl Exchange<'_> {
    /// Waits for the first content of an answer that is a stream; what came before it then stands in the
    /// scratch. Gives the failure of a stream that failed instead.
    ///
    /// # Errors
    /// The caller is gone, or its access; the upstream says nothing.
    pub(crate) async fn failed_at_once(
        &mut self,
        called: &mut Called<'_>,
        (target, reply): (&Target, &mut LlmReply),
    ) -> Result<Option<Failed>, Stop> {
        self.work.whole.clear();
        let Some(dialect) = reply.surface.usage_dialect() else {
            return Ok(None);
        };
        let (answer, bytes) = (&self.work.answer, &self.work.answer_bytes);
        let kind = answer.value(bytes, Known::ContentType);
        let waits = !self.plan.llm.head_hold.is_zero() && self.alone_until.is_none();
        if !waits || answer.status >= 300 || !kind.is_some_and(is_event_stream) {
            return Ok(None);
        }
        Box::pin(self.hold_head(called, (target, dialect), reply)).await
    }

    async fn hold_head(
        &mut self,
        called: &mut Called<'_>,
        (target, dialect): (&Target, UsageDialect),
        reply: &mut LlmReply,
    ) -> Result<Option<Failed>, Stop> {
        let (framing, keep_alive) = (self.work.answer.framing, self.work.answer.keep_alive);
        let mut body = UpstreamBody::new(framing, keep_alive, false);
        let mut opening = Opening::new(dialect);
        let looks_at = (&mut body, &mut opening);
        let first = self.first_content(&mut called.upstream, looks_at, target);
        let (ended, start) = match first.await {
            Ok(First::Came) => {
                reply.held = Some(body);
                return Ok(None);
            }
            Ok(First::Failed(start)) => (Ok(Ended::Whole), Ok(start)),
            Ok(First::Ended) => match opening.end() {
                Begun::Content => {
                    reply.held = Some(body);
                    return Ok(None);
                }
                Begun::Failed(start) => (Ok(Ended::Whole), Ok(start)),
                Begun::Nothing => (Ok(Ended::Whole), Err(Refusal::UpstreamInterrupted)),
            },
            Ok(First::Broke(refusal)) => (Ok(Ended::Failed(refusal.clone())), Err(refusal)),
            Err(stop) => {
                let ended = Err(stop);
                self.note_beginning(dialect, reply, &ended);
                return ended.map(|_: Ended| None);
            }
        };
        self.note_beginning(dialect, reply, &ended);
        self.work.whole.clear();
        let (failure, how) = match start {
            Ok(start) => {
                self.work.answer.status = start.status;
                self.work.whole = start.body;
                (start.failure, FailedAs::Event)
            }
            Err(refusal) => {
                self.work.answer.status = NO_ANSWER;
                (Failure::Transient, FailedAs::Broken(refusal))
            }
        };
        if crate::breaker::is_provider_failure(self.work.answer.status)
            && let Some(pass) = called.pass.take()
        {
            pass.failed();
        }
        Ok(Some(Failed { failure, body, how }))
    }

    /// Notes what the beginning told of the usage.
    fn note_beginning(
        &mut self,
        dialect: UsageDialect,
        reply: &LlmReply,
        ended: &Result<Ended, Stop>,
    ) {
        let mut meter = StreamUsage::new(dialect, reply.usage.clone());
        meter.feed(&self.work.whole);
        self.note_stream(Some(meter), None, ended);
    }

    async fn first_content(
        &mut self,
        upstream: &mut UpstreamConn,
        (body, opening): (&mut UpstreamBody, &mut Opening),
        target: &Target,
    ) -> Result<First, Stop> {
        let began = self.worker.deadlines.now();
        let most = usize::try_from(self.plan.limits.response_stream_bytes_max);
        let most = most.map_or(HELD_BYTES_MAX, |most| most.min(HELD_BYTES_MAX));
        loop {
            match body.step(upstream) {
                Err(refusal) => return Ok(First::Broke(refusal)),
                Ok(BodyStep::End) => return Ok(First::Ended),
                Ok(BodyStep::Data(data)) => {
                    let (begun, len) = (opening.feed(data), data.len());
                    let fits = self.work.whole.len().saturating_add(len) <= most;
                    match begun {
                        Begun::Failed(start) => {
                            self.work.whole.extend_from_slice(data);
                            return Ok(First::Failed(start));
                        }
                        Begun::Nothing if fits => {
                            self.work.whole.extend_from_slice(data);
                            upstream.consume(len);
                        }
                        Begun::Nothing | Begun::Content => {
                            body.keep(len);
                            return Ok(First::Came);
                        }
                    }
                }
                Ok(BodyStep::More) => {
                    let waited = Duration::from_nanos(self.worker.deadlines.now().since(began));
                    let left = self.plan.llm.head_hold.saturating_sub(waited);
                    if left.is_zero() {
                        return Ok(First::Came);
                    }
                    let total = self.plan.llm.stream_max.min(target.timeouts.total_stream);
                    let patience = target.timeouts.idle.min(total.saturating_sub(waited));
                    let is_too_late = patience < left;
                    self.conn.slot().set(left.min(patience));
                    match self.fill(upstream).await {
                        // It is read on without its caller.
                        Raced::Gone if self.go_alone() => return Ok(First::Came),
                        Raced::Gone => return Err(Stop::CallerGone),
                        Raced::Late if is_too_late || self.is_revoked() => {
                            return Err(self.late().into());
                        }
                        Raced::Late if self.conn.slot().is_denied() => return Err(Stop::Cut),
                        Raced::Late => return Ok(First::Came),
                        Raced::Done(Ok(read)) if read > 0 => {}
                        Raced::Done(Ok(_) | Err(_)) => {
                            return Ok(if body.end_of_stream() {
                                First::Ended
                            } else {
                                First::Broke(Refusal::UpstreamInterrupted)
                            });
                        }
                    }
                }
            }
        }
    }

    /// Writes what waited, as the first piece of the stream. `seen` is shown it.
    pub(crate) fn write_held(&mut self, caps: &mut Caps<'_, '_>, seen: impl FnOnce(&[u8])) {
        let mut held = std::mem::take(&mut self.work.whole);
        if !held.is_empty() {
            seen(&held);
            caps.sent += u64::try_from(held.len()).unwrap_or(0);
            caps.write(&mut self.work.out, &held);
            held.clear();
        }
        self.work.whole = held;
    }
}
