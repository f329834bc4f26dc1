//! Calling the upstream: the head is written new, the credential is put in, and the answer's head
//! is read as strictly as a request's.

use crate::breaker::{Pass, is_failure, is_provider_failure};
use crate::grant::Grant;
use crate::lifecycle::{Exchange, Stop};
use crate::plan::{Credential, ProviderPlan, Target, TargetKind};
use crate::read_call::{Call, LlmCall};
use crate::record::Asked;
use crate::refusal::Refusal;
use crate::route::PlainRoute;
use std::sync::Arc;
use std::time::Duration;
use tollkeep_http1::{Method, Progress};
use tollkeep_llm::Surface;
use tollkeep_llm::usage::Asked as UsageAsked;
use tollkeep_net::{DialError, ProxyFault, Raced, UpstreamConn};
use tollkeep_observe::metrics::AttemptResult;
use tollkeep_types::usage::{Told, UnknownUsage, UsageReport};

/// Interim answers (1xx) an upstream may send before its final one.
const INTERIM_MAX: usize = 8;

/// The upstream has answered: its head is in the scratch, its body is still to come.
pub(crate) struct Reply<'p> {
    pub(crate) upstream: Box<UpstreamConn>,
    pub(crate) target: &'p Target,
    pub(crate) as_what: ReplyFor<'p>,
    pub(crate) grant: Grant<'p>,
    /// Until it is told how the upstream did.
    pub(crate) pass: Option<Pass<'p>>,
}

/// What a reply answers.
pub(crate) enum ReplyFor<'p> {
    Plain(&'p PlainRoute),
    Llm(LlmReply<'p>),
}

/// How the answer to a call of a model is read.
pub(crate) struct LlmReply<'p> {
    pub(crate) surface: Surface,
    pub(crate) usage: UsageAsked,
    pub(crate) credential: &'p Credential,
}

impl<'p> Exchange<'p> {
    /// Sends the call. `None` when the gateway answered by itself.
    ///
    /// # Errors
    /// 502, 503, 504; the caller hung up.
    pub(crate) async fn send<'r>(
        &mut self,
        call: &Call<'p>,
        pass: Pass<'r>,
        grant: Grant<'r>,
    ) -> Result<Option<Reply<'r>>, Stop>
    where
        'p: 'r,
    {
        let (target, reply_for) = match call {
            Call::Models(surface) => {
                return Box::pin(self.answer_models(*surface)).await.map(|()| None);
            }
            Call::Plain(route) => {
                self.write_plain_head(route);
                (&*route.target, ReplyFor::Plain(route))
            }
            Call::Llm(call) => self.write_llm_head(call)?,
        };
        self.call_upstream(target, reply_for, (pass, grant))
            .await
            .map(Some)
    }

    fn write_llm_head(&mut self, call: &LlmCall) -> Result<(&'p Target, ReplyFor<'p>), Refusal> {
        let target = self.plan.llm.providers.get(call.provider);
        let Some((target, provider)) = target.and_then(|target| Some((target, target.provider()?)))
        else {
            return Err(Refusal::Internal);
        };
        let credential = provider
            .credentials
            .get(self.worker.turn() % provider.credentials.len().max(1));
        let Some(credential) = credential else {
            return Err(Refusal::CredentialUnavailable(target.name.to_string()));
        };
        if let Some(name) = &call.rename {
            self.rename_model(name)?;
        }
        let begin = provider.head(call.surface).ok_or(Refusal::Internal)?;
        self.write_provider_head(call, target, (provider, begin), credential);
        let reply_for = ReplyFor::Llm(LlmReply {
            surface: call.surface,
            usage: call.usage.clone(),
            credential,
        });
        Ok((target, reply_for))
    }

    /// Puts the provider's own name of the model into the body, every other byte as it was.
    fn rename_model(&mut self, name: &str) -> Result<(), Refusal> {
        let view = tollkeep_llm::body::CallView::read(self.body(), self.plan.llm.max_depth);
        let renamed = view
            .ok()
            .and_then(|view| view.with_model(self.body(), name))
            .ok_or(Refusal::Internal)?;
        self.work.body = renamed;
        self.work.head.framing = tollkeep_http1::Framing::Chunked;
        Ok(())
    }

    async fn call_upstream<'r>(
        &mut self,
        target: &'r Target,
        as_what: ReplyFor<'r>,
        (pass, mut grant): (Pass<'r>, Grant<'r>),
    ) -> Result<Reply<'r>, Stop> {
        let mut head = std::mem::take(&mut self.work.out);
        let open = head.len();
        self.seal_head(target, (&mut head, open))?;
        self.work.facts.asked = Some(Asked {
            name: Arc::clone(&target.name),
            label: target.label,
            kind: target.kind_name(),
            self_hosted: target.self_hosted(),
        });
        self.note_usage(UsageReport::Released);
        let sent_at = self.worker.shared.clock.mono();
        let called = self.attempts(target, (&mut head, open), &mut grant).await;
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
        let failed = match &as_what {
            ReplyFor::Plain(_) => is_failure(status),
            ReplyFor::Llm(_) => is_provider_failure(status),
        };
        let pass = if failed {
            pass.failed();
            None
        } else {
            Some(pass)
        };
        Ok(Reply {
            upstream,
            target,
            as_what,
            grant,
            pass,
        })
    }

    /// From here on the call counts, and what it used is unknown until the upstream says so.
    pub(crate) fn commit(&mut self, grant: &mut Grant<'_>) {
        grant.commit();
        self.note_usage(UsageReport::Unknown(UnknownUsage::Cut));
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
            match self.conn.race(upstream.fill()).await {
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
        if matches!(self, Self::AccessRevoked) {
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
