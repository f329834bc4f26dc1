//! Calling the upstream: the head is written new, the credential is put in, and the answer's head
//! is read as strictly as a request's.

use crate::breaker::{Pass, is_failure, is_provider_failure};
use crate::credentials::{Credential, Entered, NoCredential, Picked, Wanted};
use crate::grant::Grant;
use crate::holds::Aside;
use crate::identify::Caller;
use crate::lifecycle::{Exchange, Stop};
use crate::plan::{ProviderPlan, Target, TargetKind};
use crate::read_call::{Call, LlmCall};
use crate::record::Asked;
use crate::refusal::Refusal;
use crate::route::PlainRoute;
use crate::upstream_body::UpstreamBody;
use std::sync::Arc;
use std::time::Duration;
use tollkeep_http1::{Method, Progress};
use tollkeep_llm::failure::Failure;
use tollkeep_llm::usage::Asked as UsageAsked;
use tollkeep_llm::{Dialect, Surface};
use tollkeep_net::{DialError, ProxyFault, Raced, UpstreamConn};
use tollkeep_observe::metrics::AttemptResult;
use tollkeep_policy::cooling::Met;
use tollkeep_types::usage::{Told, UnknownUsage, UsageReport};

/// Interim answers (1xx) an upstream may send before its final one.
pub(crate) const INTERIM_MAX: usize = 8;

/// The upstream has answered: its head is in the scratch, its body is still to come.
pub(crate) struct Reply<'p> {
    pub(crate) upstream: Box<UpstreamConn>,
    pub(crate) target: &'p Target,
    pub(crate) as_what: ReplyFor<'p>,
    pub(crate) grant: Grant<'p>,
    /// Until it is told how the upstream did.
    pub(crate) pass: Option<Pass<'p>>,
}

/// The upstream has answered one attempt.
pub(crate) struct Called<'p> {
    pub(crate) upstream: Box<UpstreamConn>,
    pub(crate) pass: Option<Pass<'p>>,
}

/// What a reply answers.
pub(crate) enum ReplyFor<'p> {
    Plain(&'p PlainRoute),
    Llm(LlmReply),
}

impl ReplyFor<'_> {
    /// The credential, if its calls go to a place of its own.
    pub(crate) fn own_place(&self) -> Option<Arc<Credential>> {
        match self {
            Self::Llm(llm) if llm.credential.has_place() => Some(Arc::clone(&llm.credential)),
            Self::Llm(_) | Self::Plain(_) => None,
        }
    }
}

/// How the answer to a call of a model is read.
pub(crate) struct LlmReply {
    pub(crate) surface: Surface,
    pub(crate) usage: UsageAsked,
    pub(crate) credential: Arc<Credential>,
    /// Counts the call with its credential for as long as it is answered.
    _entered: Entered,
    /// Of an error: what it is. Its body is read.
    pub(crate) failed: Option<Box<Failed>>,
    /// Of a stream whose head waited: its body from here on. What came before is in the scratch.
    pub(crate) held: Option<UpstreamBody>,
}

/// A failure that a provider answered with, its body in the scratch.
pub(crate) struct Failed {
    pub(crate) failure: Failure,
    pub(crate) body: UpstreamBody,
    pub(crate) how: FailedAs,
}

/// How a provider told that it failed.
pub(crate) enum FailedAs {
    /// With an error answer.
    Answer,
    /// With an event, before anything else of a stream.
    Event,
    /// By a stream that ended before it said anything: what its caller is told.
    Broken(Refusal),
}

impl<'p> Exchange<'p> {
    /// Sends the call. `None` when the gateway answered by itself.
    ///
    /// # Errors
    /// 502, 503, 504; the caller hung up.
    pub(crate) async fn send<'r>(
        &mut self,
        caller: &'r Caller,
        call: &'r Call<'p>,
        (pass, mut grant): (Pass<'r>, Grant<'r>),
    ) -> Result<Option<Reply<'r>>, Stop>
    where
        'p: 'r,
    {
        let (target, mut as_what) = match call {
            Call::Own(own) => {
                return Box::pin(self.answer_own(*own)).await.map(|()| None);
            }
            Call::Plain(route) => {
                // What is paid for is not taken from a budget too.
                if self.paying.is_none() && self.is_budgeted() {
                    let aside = Aside {
                        llm: None,
                        target: &route.target,
                        model: "",
                        credential: None,
                        price: self.token_cost,
                    };
                    Box::pin(self.take_aside(aside)).await?;
                }
                self.write_paid_bounds()?;
                self.write_plain_head(route)?;
                (&*route.target, ReplyFor::Plain(route))
            }
            Call::Llm(call) => {
                let (target, provider) = self.provider_of(call)?;
                let picked = self.pick(call, (target, provider), &[])?;
                if let Some(name) = picked.rename.as_deref().or(call.rename.as_deref()) {
                    self.rename_model(call.surface, name)?;
                }
                if self.is_budgeted() {
                    let aside = Aside::of(call, target, &picked);
                    Box::pin(self.take_aside(aside)).await?;
                }
                if self.is_rated(provider) {
                    let aside = Aside::of(call, target, &picked);
                    self.take_tokens(&aside, provider)?;
                }
                let reply = self.write_llm_head(call, (target, provider), picked)?;
                (target, ReplyFor::Llm(reply))
            }
        };
        let (goes_to, fails): (_, fn(u16) -> bool) = match &as_what {
            ReplyFor::Plain(_) => (target, is_failure),
            ReplyFor::Llm(reply) => (reply.credential.target(target), is_provider_failure),
        };
        let mut called = self.call_upstream(goes_to, fails, (pass, &mut grant)).await;
        if let ReplyFor::Llm(reply) = &mut as_what
            && let Call::Llm(llm) = call
        {
            called = match called {
                Ok(called) => {
                    let asked = (caller, call, llm);
                    self.answered(asked, (called, reply), &mut grant).await
                }
                Err(stop) => {
                    self.note_unanswered(&stop, llm, &reply.credential);
                    Err(stop)
                }
            };
        }
        let Called { upstream, pass } = called?;
        Ok(Some(Reply {
            upstream,
            target,
            as_what,
            grant,
            pass,
        }))
    }

    /// The provider of a call.
    pub(crate) fn provider_of(
        &self,
        call: &LlmCall,
    ) -> Result<(&'p Target, &'p ProviderPlan), Refusal> {
        let target = self.plan.llm.providers.get(call.provider);
        let found = target.and_then(|target| Some((&**target, target.provider()?)));
        found.ok_or(Refusal::Internal)
    }

    /// The credential that a call goes out with; none of those that were `tried`.
    ///
    /// # Errors
    /// 503 where there is none, 429 where all are left alone for too many calls.
    pub(crate) fn pick(
        &self,
        call: &LlmCall,
        (target, provider): (&Target, &ProviderPlan),
        tried: &[Arc<Credential>],
    ) -> Result<Picked, Refusal> {
        let token = self.work.facts.token.as_ref();
        let wanted = Wanted {
            project: token.map(|token| &*token.project),
            default_tenant: self.plan.llm.default_tenant,
            model: &call.model,
            provider: &target.name,
            prefix: call.prefix.as_deref(),
            tried,
            worker: self.worker.index,
            now: (self.started, self.work.facts.at),
        };
        let picked = provider.credentials.pick(&wanted);
        picked.map_err(|none| match none {
            NoCredential::Cooling(Met::RateLimit | Met::Quota, until) => Refusal::ModelCooldown {
                retry_after: Duration::from_nanos(until.since(self.started)),
            },
            NoCredential::None | NoCredential::Cooling(..) => {
                Refusal::CredentialUnavailable(target.name.to_string())
            }
        })
    }

    /// Writes the head of a call that goes out with this credential.
    pub(crate) fn write_llm_head(
        &mut self,
        call: &LlmCall,
        (target, provider): (&Target, &ProviderPlan),
        picked: Picked,
    ) -> Result<LlmReply, Refusal> {
        let credential = picked.credential;
        let goes_to = credential.target(target);
        let provider = goes_to.provider().unwrap_or(provider);
        let model = picked.rename.as_deref().unwrap_or(&call.model);
        self.write_provider_head(call, goes_to, (provider, model), &credential)?;
        credential.state.note_use(self.work.facts.at);
        self.conn.slot().hold_means(credential.means());
        Ok(LlmReply {
            surface: call.surface,
            usage: call.usage.clone(),
            credential,
            _entered: picked.entered,
            failed: None,
            held: None,
        })
    }

    /// Puts the provider's own name of the model into the body, every other byte as it was.
    pub(crate) fn rename_model(&mut self, surface: Surface, name: &str) -> Result<(), Refusal> {
        if surface.dialect() == Dialect::Gemini {
            return self.rename_gemini(name);
        }
        let view = tollkeep_llm::body::CallView::read(self.body(), self.plan.llm.max_depth);
        let renamed = view
            .ok()
            .and_then(|view| view.with_model(self.body(), name))
            .ok_or(Refusal::Internal)?;
        self.work.body = renamed;
        self.work.head.framing = tollkeep_http1::Framing::Chunked;
        Ok(())
    }

    /// Sends what is written.
    pub(crate) async fn call_upstream<'r>(
        &mut self,
        target: &Target,
        fails: fn(u16) -> bool,
        (pass, grant): (Pass<'r>, &mut Grant<'_>),
    ) -> Result<Called<'r>, Stop> {
        let mut head = std::mem::take(&mut self.work.out);
        let open = head.len();
        self.seal_head(target, (&mut head, open))?;
        self.work.facts.asked = Some(Asked {
            name: Arc::clone(&target.name),
            label: target.label,
            kind: target.kind_name(),
            self_hosted: target.self_hosted(),
            hung_up: target.hung_up(),
            is_elsewhere: target.is_elsewhere,
        });
        self.note_usage(UsageReport::Released);
        let sent_at = self.worker.shared.clock.mono();
        let called = self.attempts(target, (&mut head, open), grant).await;
        self.work.out = head;
        self.work.facts.upstream_ns = Some(self.worker.shared.clock.mono().since(sent_at));
        let result = match &called {
            Ok(_) => AttemptResult::Answered,
            Err(Stop::CallerGone | Stop::Cut | Stop::Short) => AttemptResult::Cancelled,
            Err(Stop::Refused(refusal)) => refusal.attempt_result(),
        };
        self.worker.counters.attempt(target.label, result);
        let upstream = match called {
            Ok(upstream) => upstream,
            Err(stop) => {
                if let Stop::Refused(refusal) = &stop {
                    pass.refused(refusal);
                }
                return Err(stop);
            }
        };
        let status = self.work.answer.status;
        let pass = if fails(status) {
            pass.failed();
            None
        } else {
            Some(pass)
        };
        Ok(Called { upstream, pass })
    }

    /// From here on the call counts, and what it used is unknown until the upstream says so.
    pub(crate) fn commit(&mut self, grant: &mut Grant<'_>) {
        grant.commit();
        if let Some(hold) = &mut self.work.facts.hold {
            hold.commit();
        }
        self.note_usage(UsageReport::Unknown(UnknownUsage::Cut));
    }

    /// No byte of the attempt was taken by any connection: nobody can bill it (LED-50).
    pub(crate) fn not_sent(&mut self) {
        if let Some(hold) = &mut self.work.facts.hold {
            hold.not_sent();
        }
        self.note_usage(UsageReport::Released);
    }

    fn note_usage(&mut self, report: UsageReport) {
        if let Some(llm) = &mut self.work.facts.llm
            && llm.surface.usage_dialect().is_some()
        {
            llm.told = Some(Told::plain(report));
        }
    }

    /// Reads the head of the final answer; `false` when the connection ended before its first
    /// byte.
    pub(crate) async fn read_answer(
        &mut self,
        upstream: &mut UpstreamConn,
        wait: Duration,
    ) -> Result<bool, Stop> {
        let head_request = self.work.head.method == Method::Head;
        let mut interim = 0;
        self.conn.slot().set(wait);
        loop {
            match self.work.answer.read(upstream.unread(), head_request) {
                Err(fault) => return Err(Refusal::UpstreamProtocol(fault.to_string()).into()),
                Ok(Progress::Done) if self.work.answer.status >= 200 => {
                    let head = upstream
                        .unread()
                        .get(..self.work.answer.len)
                        .unwrap_or_default();
                    self.work.answer_bytes.clear();
                    self.work.answer_bytes.extend_from_slice(head);
                    upstream.consume(self.work.answer.len);
                    return Ok(true);
                }
                Ok(Progress::Done) => {
                    interim += 1;
                    if interim > INTERIM_MAX {
                        return Err(Refusal::UpstreamProtocol(
                            "too many interim answers".to_owned(),
                        )
                        .into());
                    }
                    upstream.consume(self.work.answer.len);
                    continue;
                }
                Ok(Progress::More) => {}
            }
            let started = !upstream.unread().is_empty() || interim > 0;
            match self.fill(upstream).await {
                Raced::Gone if self.go_alone() => {}
                Raced::Gone => return Err(Stop::CallerGone),
                Raced::Late => return Err(self.late().into()),
                Raced::Done(Ok(read)) if read > 0 => {}
                Raced::Done(Ok(_) | Err(_)) if !started => return Ok(false),
                Raced::Done(Ok(_) | Err(_)) => {
                    return Err(
                        Refusal::UpstreamProtocol("closed within its head".to_owned()).into(),
                    );
                }
            }
        }
    }
}

impl Target {
    /// The provider, if this is one.
    pub(crate) fn provider(&self) -> Option<&ProviderPlan> {
        match &self.kind {
            TargetKind::Provider(provider) => Some(provider),
            TargetKind::Plain { .. } => None,
        }
    }

    /// Whether calls of this surface can be passed through.
    pub(crate) fn serves(&self, surface: Surface) -> bool {
        self.provider()
            .is_some_and(|provider| provider.speaks().serves(surface))
    }
}

pub(crate) fn dial_refusal(error: &DialError, target: &Target) -> Refusal {
    match error {
        DialError::Refused(refused) => {
            tracing::warn!(upstream.name = %target.name, "Egress to `{}` refused: {refused}", target.name);
            Refusal::EgressRefused(refused.reason())
        }
        DialError::Proxy(fault) => proxy_refusal(fault, target),
        DialError::Resolve(problem) => Refusal::UpstreamDns(problem.to_string()),
        DialError::TooMany => Refusal::Overloaded("upstream connections"),
        DialError::NoDescriptor => Refusal::Overloaded("file descriptors"),
        DialError::Tls(problem) => {
            tracing::warn!(upstream.name = %target.name, "TLS with `{}` failed: {problem}", target.name);
            Refusal::UpstreamError(error.to_string())
        }
        DialError::Connect(_) => Refusal::UpstreamError(error.to_string()),
    }
}

/// Of the proxy: its own kind, since it says nothing about the upstream.
#[cold]
fn proxy_refusal(fault: &ProxyFault, target: &Target) -> Refusal {
    let name = &target.name;
    tracing::warn!(upstream.name = %name, "No tunnel to `{name}`: the proxy of egress.proxy {fault}");
    match fault {
        ProxyFault::Refused(refused) => Refusal::EgressRefused(refused.reason()),
        ProxyFault::Status(status) => Refusal::ProxyRefused(*status),
        ProxyFault::Resolve(_)
        | ProxyFault::Connect(_)
        | ProxyFault::Tls(_)
        | ProxyFault::Closed
        | ProxyFault::Protocol(_)
        | ProxyFault::Spoke
        | ProxyFault::Login => Refusal::ProxyUnavailable(fault.to_string()),
    }
}

impl Refusal {
    fn attempt_result(&self) -> AttemptResult {
        // A body that is sent on while it arrives may turn out to be none.
        let is_callers = matches!(
            self,
            Self::BadRequest(_) | Self::BodyTooLarge | Self::RequestTimeout
        );
        let is_cut = matches!(self, Self::AccessRevoked | Self::CredentialUnavailable(_));
        if is_callers || is_cut {
            return AttemptResult::Cancelled;
        }
        if matches!(self, Self::Timeout) {
            return AttemptResult::Timeout;
        }
        if matches!(self, Self::EgressRefused(_)) {
            return AttemptResult::EgressRefused;
        }
        if matches!(self, Self::UpstreamProtocol(_) | Self::UpstreamInterrupted) {
            return AttemptResult::ProtocolError;
        }
        AttemptResult::ConnectFailed
    }
}
