//! Attempts at one upstream: what may be repeated is, within bounds.
//!
//! Repeated is only what can't have had an effect: connecting, a request that a kept connection
//! swallowed when it had died of age, and that only if it may be done twice or was not sent at
//! all. Never anything after a byte of the answer.

use crate::grant::Grant;
use crate::lifecycle::{Exchange, Stop};
use crate::plan::Target;
use crate::refusal::Refusal;
use crate::send::dial_refusal;
use crate::upstream_head::JOINED_BODY_BYTES;
use std::time::Duration;
use tollkeep_http1::{Framing, Known, Method};
use tollkeep_net::pool::Owner;
use tollkeep_net::{DialError, Raced, Tried, UpstreamConn};
use tollkeep_observe::metrics::AttemptResult;

/// How long to wait before an address is tried again that just refused; twice as long each time.
const PAUSE: Duration = Duration::from_millis(25);

/// What one attempt came to.
enum Attempt {
    Answered(Box<UpstreamConn>),
    /// The kept connection had died; nothing of an answer was seen, and the request may be sent
    /// again.
    DiedInPool,
}

impl Exchange<'_> {
    /// Sends the request until it is answered or may not be repeated.
    pub(crate) async fn attempts(
        &mut self,
        target: &Target,
        (head, open): (&mut Vec<u8>, usize),
        grant: &mut Grant<'_>,
    ) -> Result<Box<UpstreamConn>, Stop> {
        let worker = std::rc::Rc::clone(self.worker);
        worker.note_call(target.endpoint.id);
        let mut left = target.retry.reused;
        let owner = self.owner(target);
        let mut kept = worker.pool.reuse(&target.endpoint, owner);
        let mut sent = false;
        while let Some(reused) = kept.take() {
            match self.tried(reused, target, (head, grant, &mut sent)).await? {
                Attempt::Answered(upstream) => return Ok(upstream),
                Attempt::DiedInPool if left == 0 || !worker.may_repeat(target.endpoint.id) => {
                    return Err(unanswered().into());
                }
                Attempt::DiedInPool => left -= 1,
            }
            worker.counters.attempt(target.label, AttemptResult::Reset);
            self.seal_head(target, (head, open))?;
            // The last try is on a connection that can't have died of age.
            if left > 0 {
                kept = worker.pool.reuse(&target.endpoint, owner);
            }
        }
        let fresh = self.dial(target).await?;
        match self.tried(fresh, target, (head, grant, &mut sent)).await? {
            Attempt::Answered(upstream) => Ok(upstream),
            Attempt::DiedInPool => Err(unanswered().into()),
        }
    }

    /// One attempt, for which the call counts, unless no byte of it was taken and none before. `sent`
    /// tells whether one was, of this attempt or one before.
    async fn tried(
        &mut self,
        upstream: Box<UpstreamConn>,
        target: &Target,
        (head, grant, sent): (&[u8], &mut Grant<'_>, &mut bool),
    ) -> Result<Attempt, Stop> {
        let was_used = grant.is_used();
        self.commit(grant);
        let tried = self.attempt(upstream, target, (head, &mut *sent)).await;
        if !*sent && !matches!(tried, Ok(Attempt::Answered(_))) {
            self.not_sent();
            // Another upstream may have been asked before.
            if !was_used {
                grant.not_sent();
            }
        }
        tried
    }

    /// Whose connections are used, where they are kept apart.
    fn owner(&self, target: &Target) -> Owner {
        let token = self.work.facts.token.as_ref();
        let token = token.filter(|_| target.endpoint.pool.by_owner);
        token.map(|token| *token.project.id.bytes())
    }

    /// Connects, all tries within the time that connecting may take.
    async fn dial(&mut self, target: &Target) -> Result<Box<UpstreamConn>, Stop> {
        if target.endpoint.is_reported() {
            let host = target.endpoint.url.host();
            tracing::warn!(
                upstream.name = %target.name,
                "`{host}` is called though it is not in egress.allow_hosts"
            );
        }
        self.conn.slot().set(target.timeouts.connect);
        let worker = std::rc::Rc::clone(self.worker);
        let owner = self.owner(target);
        let (mut tried, mut tries) = (Tried::default(), 0);
        loop {
            let dialling = Box::pin(worker.pool.dial(&target.endpoint, owner, &mut tried));
            let error = match self.conn.race(dialling).await {
                Raced::Gone => return Err(Stop::CallerGone),
                Raced::Late => return Err(self.late().into()),
                Raced::Done(Ok(upstream)) => return Ok(upstream),
                Raced::Done(Err(error)) => error,
            };
            let again = tries < target.retry.connect
                && error.is_of_connecting()
                && worker.may_repeat(target.endpoint.id);
            if !again {
                return Err(dial_refusal(&error, target).into());
            }
            let failed = AttemptResult::ConnectFailed;
            worker.counters.attempt(target.label, failed);
            // Where TCP failed, it failed at every address.
            if matches!(error, DialError::Connect(_) | DialError::Proxy(_)) {
                let pause = PAUSE.saturating_mul(1 << tries.min(8));
                match self.conn.race(Box::pin(tokio::time::sleep(pause))).await {
                    Raced::Gone => return Err(Stop::CallerGone),
                    Raced::Late if self.is_revoked() => {
                        return Err(self.cut_off().into());
                    }
                    Raced::Late => return Err(dial_refusal(&error, target).into()),
                    Raced::Done(()) => {}
                }
            }
            tries += 1;
        }
    }

    /// Whether sending the request twice does no more than sending it once.
    fn is_repeatable(&self, target: &Target) -> bool {
        let safe = matches!(
            self.work.head.method,
            Method::Get | Method::Head | Method::Options
        );
        safe || (target.retry.with_idempotency_key && {
            let (head, bytes) = (&self.work.head, &self.work.request);
            let key = head.value(bytes, Known::IdempotencyKey);
            key.is_some_and(|key| !key.is_empty())
        })
    }

    async fn attempt(
        &mut self,
        mut upstream: Box<UpstreamConn>,
        target: &Target,
        (head, sent): (&[u8], &mut bool),
    ) -> Result<Attempt, Stop> {
        // Of an answer that broke off within its head, the rest is not to come.
        self.work.answer.reset();
        let is_kept = self.incoming.is_none();
        let repeatable = upstream.is_reused() && is_kept && self.is_repeatable(target);
        // The body is taken out so that the connection can be watched while it is written.
        let request = std::mem::take(&mut self.work.request);
        let chunked = std::mem::take(&mut self.work.body);
        let body = match self.work.head.framing {
            Framing::Chunked => &*chunked,
            Framing::None | Framing::Length(_) => {
                request.get(self.work.head.len..).unwrap_or_default()
            }
        };
        let apart = if body.len() > JOINED_BODY_BYTES {
            body
        } else {
            &[]
        };
        self.conn.slot().set(target.timeouts.first_byte);
        let written = self.conn.race(upstream.write(head, apart)).await;
        (self.work.request, self.work.body) = (request, chunked);
        *sent |= upstream.wrote();
        match written {
            Raced::Gone => return Err(Stop::CallerGone),
            Raced::Late => return Err(self.late().into()),
            Raced::Done(Err(_)) if repeatable || (upstream.is_reused() && !upstream.wrote()) => {
                return Ok(Attempt::DiedInPool);
            }
            Raced::Done(Err(error)) if upstream.is_reused() => {
                return Err(Refusal::UpstreamError(error.to_string()).into());
            }
            Raced::Done(Ok(())) if !is_kept => {
                Box::pin(self.send_incoming(&mut upstream, target)).await?;
            }
            // An upstream that did not take it all may have answered before it closed.
            Raced::Done(Ok(()) | Err(_)) => {}
        }
        let answered = self
            .read_answer(&mut upstream, target.timeouts.first_byte)
            .await?;
        if answered {
            Ok(Attempt::Answered(upstream))
        } else if repeatable {
            Ok(Attempt::DiedInPool)
        } else {
            Err(unanswered().into())
        }
    }
}

fn unanswered() -> Refusal {
    Refusal::UpstreamError("closed without an answer".to_owned())
}
