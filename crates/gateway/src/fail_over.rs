//! A provider answered with an error: what it says about the credential, and whether another one is
//! asked.
//!
//! Nothing of the answer has gone to the caller yet. The error is read whole, judged, and noted with
//! the credential. If another credential may do better, the call goes out again with that.

use crate::breaker::is_provider_failure;
use crate::credentials::Credential;
use crate::grant::Grant;
use crate::holds::{Again, Aside};
use crate::identify::Caller;
use crate::lifecycle::{Exchange, Stop};
use crate::plan::Target;
use crate::read_call::{Call, LlmCall};
use crate::refusal::Refusal;
use crate::send::{Called, Failed, FailedAs, LlmReply};
use crate::upstream_body::UpstreamBody;
use crate::upstream_error::{ErrorFate, fate};
use std::sync::Arc;
use std::time::Duration;
use tollkeep_http1::Method;
use tollkeep_llm::failure::{Failure, of_answer, told_wait};
use tollkeep_policy::cooling::Met;

/// Attempts at one call.
const ATTEMPTS_MAX: usize = 6;
/// After so long no other attempt is made.
const ELAPSED_MAX: Duration = Duration::from_secs(60);

/// Who asks what.
pub(crate) type Asked<'r, 'p> = (&'r Caller, &'r Call<'p>, &'r LlmCall);

impl<'p> Exchange<'p> {
    /// Takes what an attempt brought, if that is an answer, and else asks others.
    ///
    /// # Errors
    /// As [`Self::fail_over`].
    pub(crate) async fn answered<'r>(
        &mut self,
        (caller, call, llm): Asked<'r, 'p>,
        (mut called, reply): (Called<'r>, &mut LlmReply),
        grant: &mut Grant<'_>,
    ) -> Result<Called<'r>, Stop>
    where
        'p: 'r,
    {
        let Some(failed) = self.failure_of(llm, (&mut called, &mut *reply)).await? else {
            return Ok(called);
        };
        let asked = (caller, call, llm);
        Box::pin(self.fail_over(asked, (called, reply, failed), grant)).await
    }

    /// How an attempt failed, if it did.
    async fn failure_of(
        &mut self,
        llm: &LlmCall,
        (called, reply): (&mut Called<'_>, &mut LlmReply),
    ) -> Result<Option<Failed>, Stop> {
        let (target, _) = self.provider_of(llm)?;
        if self.work.answer.status >= 400 {
            let failed = Box::pin(self.read_error(called, target)).await?;
            self.meter_body(reply, self.work.answer.status);
            return Ok(Some(failed));
        }
        match self.failed_at_once(called, (target, &mut *reply)).await {
            Ok(None) => {
                reply.credential.state.succeeded(&llm.model);
                Ok(None)
            }
            Ok(Some(failed)) => Ok(Some(failed)),
            Err(stop) => {
                self.note_unanswered(&stop, llm, &reply.credential);
                Err(stop)
            }
        }
    }

    /// Asks other credentials while that may help. The reply is that of the attempt whose answer
    /// stands.
    ///
    /// # Errors
    /// The caller hung up, the upstream broke, or all attempts failed and an earlier one's error
    /// tells the caller more than the last one's.
    async fn fail_over<'r>(
        &mut self,
        (caller, call, llm): Asked<'r, 'p>,
        (mut called, reply, mut failed): (Called<'r>, &mut LlmReply, Failed),
        grant: &mut Grant<'_>,
    ) -> Result<Called<'r>, Stop>
    where
        'p: 'r,
    {
        let (target, provider) = self.provider_of(llm)?;
        let mut tried: Vec<Arc<Credential>> = Vec::new();
        let mut best: Option<(u8, Refusal)> = None;
        loop {
            let failure = failed.failure;
            self.note_failure(failure, llm, &reply.credential);
            tried.push(Arc::clone(&reply.credential));
            let went_to = &reply.credential.target(target).endpoint;
            let next = if asks_another(failure) && self.may_go_on(tried.len(), went_to.id) {
                self.pick(llm, (target, provider), &tried).ok()
            } else {
                None
            };
            // A breaker that opened meanwhile ends it too.
            let next = next.and_then(|next| Some((next, self.pass(caller, call).ok()?)));
            let Some((next, pass)) = next else {
                reply.failed = Some(Box::new(failed));
                return match best {
                    Some((rank, refusal)) if rank < rank_of(failure) => Err(refusal.into()),
                    Some(_) | None => Ok(called),
                };
            };
            if let ErrorFate::Replace(refusal) = self.error_fate(&failed)
                && best
                    .as_ref()
                    .is_none_or(|(rank, _)| rank_of(failure) < *rank)
            {
                best = Some((rank_of(failure), refusal));
            }
            // Another credential may have had another name for the model.
            let name = next.rename.as_deref().or(llm.rename.as_deref());
            self.rename_model(llm.surface, name.unwrap_or(&llm.model))?;
            if self.is_budgeted() {
                let aside = Aside::of(llm, target, &next);
                if Box::pin(self.take_again(aside)).await? == Again::DoesNotFit {
                    reply.failed = Some(Box::new(failed));
                    return Ok(called);
                }
            } else {
                self.end_uncounted();
            }
            if failed.body.ended_exactly() {
                let now = self.worker.deadlines.now();
                self.worker.pool.give_back(went_to, called.upstream, now);
            }
            *reply = self.write_llm_head(llm, (target, provider), next)?;
            let goes_to = reply.credential.target(target);
            let sent = self.call_upstream(goes_to, is_provider_failure, (pass, &mut *grant));
            called = match sent.await {
                Ok(called) => called,
                Err(stop) => {
                    self.note_unanswered(&stop, llm, &reply.credential);
                    return Err(stop);
                }
            };
            match self.failure_of(llm, (&mut called, &mut *reply)).await? {
                None => return Ok(called),
                Some(next) => failed = next,
            }
        }
    }

    /// Reads an error whole and says what it is.
    async fn read_error(
        &mut self,
        called: &mut Called<'_>,
        target: &Target,
    ) -> Result<Failed, Stop> {
        let answer = &self.work.answer;
        let is_head = self.work.head.method == Method::Head;
        let mut body = UpstreamBody::new(answer.framing, answer.keep_alive, is_head);
        let max = self.plan.limits.response_buffer_bytes_max;
        self.read_whole(&mut called.upstream, &mut body, target, max)
            .await?;
        let is_challenge = self.answer_field("cf-mitigated").is_some();
        let failure = of_answer(self.work.answer.status, is_challenge, &self.work.whole);
        Ok(Failed {
            failure,
            body,
            how: FailedAs::Answer,
        })
    }

    /// What becomes of the failure that was read.
    pub(crate) fn error_fate(&self, failed: &Failed) -> ErrorFate {
        match &failed.how {
            FailedAs::Answer | FailedAs::Event => {}
            FailedAs::Broken(refusal) => return ErrorFate::Replace(refusal.clone()),
        }
        let told = told_wait(|name| self.answer_field(name), &self.work.whole);
        fate(self.work.answer.status, failed.failure, told)
    }

    fn answer_field(&self, name: &str) -> Option<&[u8]> {
        let head = &self.work.answer_bytes;
        let mut fields = self.work.answer.fields.iter();
        let found = fields.find(|field| field.name.of(head).eq_ignore_ascii_case(name.as_bytes()));
        found.map(|field| field.value.of(head))
    }

    fn may_go_on(&self, tried: usize, endpoint: u64) -> bool {
        let elapsed = self.worker.deadlines.now().since(self.started);
        tried < ATTEMPTS_MAX
            && Duration::from_nanos(elapsed) < ELAPSED_MAX
            && self.worker.may_repeat(endpoint)
    }

    fn note_failure(&self, failure: Failure, llm: &LlmCall, credential: &Credential) {
        let Some(met) = met(failure) else {
            return;
        };
        let told = told_wait(|name| self.answer_field(name), &self.work.whole);
        self.note(met, told, (llm, credential));
    }

    /// Nothing came, or not in time.
    pub(crate) fn note_unanswered(&self, stop: &Stop, llm: &LlmCall, credential: &Credential) {
        if let Stop::Refused(Refusal::Timeout) = stop {
            self.note(Met::Timeout, None, (llm, credential));
        }
    }

    fn note(&self, met: Met, told: Option<Duration>, (llm, credential): (&LlmCall, &Credential)) {
        let clock = &self.worker.shared.clock;
        let (mono, wall) = (clock.mono(), clock.wall());
        if credential.never_cools {
            return credential.state.note_error(met, wall);
        }
        credential.state.met(&llm.model, (met, told), (mono, wall));
    }
}

/// Whether another credential may do better.
const fn asks_another(failure: Failure) -> bool {
    match failure {
        Failure::Transient
        | Failure::Timeout
        | Failure::Overload
        | Failure::RateLimit
        | Failure::Quota
        | Failure::Billing
        | Failure::Auth
        | Failure::ModelMissing => true,
        Failure::ContextOverflow
        | Failure::Policy
        | Failure::BadRequest
        | Failure::Resource
        | Failure::Challenge => false,
    }
}

/// What a failure says about the credential.
const fn met(failure: Failure) -> Option<Met> {
    match failure {
        Failure::Timeout => Some(Met::Timeout),
        Failure::Transient => Some(Met::Transient),
        Failure::Overload => Some(Met::Overload),
        Failure::RateLimit => Some(Met::RateLimit),
        Failure::Quota => Some(Met::Quota),
        Failure::Billing => Some(Met::Billing),
        Failure::Auth => Some(Met::Auth),
        Failure::ModelMissing => Some(Met::ModelMissing),
        Failure::ContextOverflow
        | Failure::Policy
        | Failure::BadRequest
        | Failure::Resource
        | Failure::Challenge => None,
    }
}

/// Which of several errors tells the caller most (LLM-R42): the lower.
const fn rank_of(failure: Failure) -> u8 {
    match failure {
        Failure::ContextOverflow => 0,
        Failure::BadRequest => 1,
        Failure::Policy => 2,
        Failure::RateLimit | Failure::Quota | Failure::Overload => 3,
        Failure::Timeout => 4,
        Failure::Transient | Failure::ModelMissing | Failure::Resource | Failure::Challenge => 5,
        Failure::Auth | Failure::Billing => 6,
    }
}
