//! The answer's way back: buffered where it is judged whole, streamed where it is not, metered
//! either way.

use crate::answer::Framed;
use crate::breaker::Pass;
use crate::cache::copy_within;
use crate::credentials::Credential;
use crate::holds::Drained;
use crate::lifecycle::{Exchange, Stop};
use crate::plan::Target;
use crate::pump::{Caps, Ended, Of, write_piece};
use crate::refusal::Refusal;
use crate::send::{Failed, FailedAs, LlmReply, Reply, ReplyFor};
use crate::stream_alive::StreamAlive;
use crate::upstream_body::{BodyStep, UpstreamBody};
use crate::upstream_error::{self, ErrorFate};
use tollkeep_http1::{AnswerFraming, Known, Method, write};
use tollkeep_llm::error::{ErrorText, StreamPlace, stream_event};
use tollkeep_llm::usage::{BodyEnd, BodyUsage, HiddenUsage, Outcome, StreamUsage};
use tollkeep_llm::{Dialect, Surface};
use tollkeep_net::{Raced, UpstreamConn};
use tollkeep_observe::RequestOutcome;
use tollkeep_policy::headers;

/// What a stream that can't go on tells its caller.
const INTERRUPTED: &str = "The upstream ended its answer early.";

impl Exchange<'_> {
    /// Brings the answer to the caller, and the connection back to the pool if both messages
    /// ended exactly.
    ///
    /// # Errors
    /// 502 before the first byte; after it, a cut.
    pub(crate) async fn stream_back(&mut self, reply: Reply<'_>) -> Result<(), Stop> {
        let Reply {
            mut upstream,
            target,
            as_what,
            grant,
            mut pass,
        } = reply;
        self.release_body();
        if self.hooked.is_some() {
            self.ask_answer_hooks();
        }
        let is_sent = self.incoming.as_ref().is_none_or(|body| body.is_whole());
        if !is_sent {
            self.closing |= self.left_to_drain().is_none();
        }
        let head_request = self.work.head.method == Method::Head;
        let mut body = UpstreamBody::new(
            self.work.answer.framing,
            self.work.answer.keep_alive,
            head_request,
        );
        let own = as_what.own_place();
        let ended = match as_what {
            ReplyFor::Plain(route) => {
                let rules = (target, route.stream_bytes_max);
                Box::pin(self.relay(&mut upstream, &mut body, rules, &mut pass)).await
            }
            ReplyFor::Llm(LlmReply {
                failed: Some(failed),
                credential,
                surface,
                ..
            }) => {
                let way = (target, &*credential);
                let told = Box::pin(self.error_back(surface, way, &failed)).await;
                body = failed.body;
                told
            }
            ReplyFor::Llm(mut llm) => {
                if let Some(held) = llm.held.take() {
                    body = held;
                }
                let way = (target, &llm);
                self.llm_back(&mut upstream, &mut body, way, &mut pass)
                    .await
            }
        };
        // That we ended it ourselves says nothing about the upstream.
        let is_ours = self.is_revoked() || self.conn.slot().is_denied();
        if let Some(pass) = pass.filter(|_| !is_ours) {
            pass.relayed(&ended, self.work.facts.outcome);
        }
        ended?;
        if is_sent && body.ended_exactly() {
            let own = own.as_deref();
            let endpoint = own.map_or(&target.endpoint, |own| &own.target(target).endpoint);
            self.worker
                .pool
                .give_back(endpoint, upstream, self.worker.deadlines.now());
        }
        drop(grant);
        Ok(())
    }

    async fn llm_back(
        &mut self,
        upstream: &mut UpstreamConn,
        body: &mut UpstreamBody,
        (target, llm): (&Target, &LlmReply),
        pass: &mut Option<Pass<'_>>,
    ) -> Result<(), Stop> {
        let (answer, bytes) = (&self.work.answer, &self.work.answer_bytes);
        let status = answer.status;
        let is_stream = answer
            .value(bytes, Known::ContentType)
            .is_some_and(is_event_stream);
        if (200..300).contains(&status) && is_stream {
            return Box::pin(self.relay_events(upstream, body, (target, llm), pass)).await;
        }
        let max = self.plan.limits.response_buffer_bytes_max;
        self.read_whole(upstream, body, target, max).await?;
        self.meter_body(llm, status);
        if status >= 300 {
            return Err(Refusal::UpstreamRedirect.into());
        }
        if self.caching.is_some() {
            let body = std::mem::take(&mut self.work.whole);
            self.keep_model_answer((target, llm), &body, false);
            self.work.whole = body;
        }
        let telling = self.telling();
        let receipt = if telling.is_any() {
            Box::pin(self.settled_receipt(telling)).await
        } else {
            None
        };
        self.begin_answer(status);
        if telling.is_any() {
            self.write_cost(telling, receipt.as_deref());
        }
        if llm.surface.dialect() == Dialect::Anthropic {
            self.write_request_id_field();
        }
        self.write_count_field(llm.surface);
        let secret = llm.credential.secret_bytes();
        self.copy_llm_fields(target, secret, headers::llm_response_field_allowed);
        self.write_cache_word();
        self.end_buffered().await?;
        self.work.facts.outcome = RequestOutcome::Served;
        Ok(())
    }

    /// Tells of an error, whose body is read: in the provider's words if it is about the call, in
    /// ours if it is about our account.
    async fn error_back(
        &mut self,
        surface: Surface,
        (target, credential): (&Target, &Credential),
        failed: &Failed,
    ) -> Result<(), Stop> {
        let status = self.work.answer.status;
        self.keep_nothing();
        if let ErrorFate::Replace(refusal) = self.error_fate(failed) {
            return Err(refusal.into());
        }
        // A refusal may quote the credential it refused; an answer to the call does not know it.
        if let Some(secret) = &credential.secret
            && let Some(redacted) = upstream_error::redact(&self.work.whole, secret.expose())
        {
            self.work.whole = redacted;
        }
        self.begin_answer(status);
        if surface.dialect() == Dialect::Anthropic {
            self.write_request_id_field();
        }
        write::field(&mut self.work.out, b"cache-control", b"no-store");
        let secret = credential.secret_bytes();
        if matches!(failed.how, FailedAs::Event) {
            // The fields of the answer are those of a stream.
            write::field(&mut self.work.out, b"content-type", b"application/json");
            self.copy_llm_fields(target, secret, |_| false);
        } else {
            self.copy_llm_fields(target, secret, headers::llm_response_field_allowed);
        }
        self.end_buffered().await?;
        self.work.facts.outcome = RequestOutcome::UpstreamError;
        Ok(())
    }

    pub(crate) fn meter_body(&mut self, llm: &LlmReply, status: u16) {
        let Some(dialect) = llm.surface.usage_dialect() else {
            return;
        };
        let read = BodyUsage::read(dialect, &llm.usage, status, &self.work.whole);
        if let Some(facts) = &mut self.work.facts.llm {
            facts.told = Some(read.told);
            facts.model_served = read.model.map(|name| self.worker.name(&name));
        }
    }

    pub(crate) async fn end_buffered(&mut self) -> Result<(), Stop> {
        let length = u64::try_from(self.work.whole.len()).unwrap_or(0);
        self.end_head(Framed::Length(length));
        self.work.facts.bytes_out = length;
        self.work.out.extend_from_slice(&self.work.whole);
        self.flush().await
    }

    /// Reads a whole body of at most `max` bytes into the scratch.
    pub(crate) async fn read_whole(
        &mut self,
        upstream: &mut UpstreamConn,
        body: &mut UpstreamBody,
        target: &Target,
        max: u64,
    ) -> Result<(), Stop> {
        self.work.whole.clear();
        if let AnswerFraming::Length(length) = self.work.answer.framing {
            if length > max {
                return Err(Refusal::ResponseTooLarge.into());
            }
            let length = usize::try_from(length).unwrap_or(0);
            self.work.whole.reserve_exact(length);
        }
        self.conn.slot().set(target.timeouts.total);
        loop {
            match body.step(upstream)? {
                BodyStep::End => return Ok(()),
                BodyStep::Data(data) => {
                    self.work.whole.extend_from_slice(data);
                    let len = data.len();
                    upstream.consume(len);
                    if u64::try_from(self.work.whole.len()).unwrap_or(u64::MAX) > max {
                        return Err(Refusal::ResponseTooLarge.into());
                    }
                }
                BodyStep::More => match self.fill(upstream).await {
                    Raced::Gone if self.go_alone() => {}
                    Raced::Gone => return Err(Stop::CallerGone),
                    Raced::Late => return Err(self.late().into()),
                    Raced::Done(Ok(read)) if read > 0 => {}
                    Raced::Done(Ok(_) | Err(_)) => {
                        if body.end_of_stream() {
                            return Ok(());
                        }
                        return Err(Refusal::UpstreamInterrupted.into());
                    }
                },
            }
        }
    }

    /// Copies the fields that `allowed` lets through, and those that the settings do.
    pub(crate) fn copy_llm_fields(
        &mut self,
        target: &Target,
        secret: &[u8],
        allowed: fn(&[u8]) -> bool,
    ) {
        let exposes = self.plan.llm.expose_upstream_limits;
        let head = &self.work.answer_bytes;
        let begun = self.work.out.len();
        for field in self.work.answer.fields.iter().filter(|field| !field.hop) {
            let (name, value) = (field.name.of(head), field.value.of(head));
            let wanted = (allowed(name) && field.known != Known::RetryAfter)
                || (exposes && headers::tells_upstream_limits(name))
                || target.returns(name, (&self.work.out, begun));
            let is_secret =
                || headers::carries_credential(value, secret) || target.brings_back(value);
            if wanted && !is_secret() {
                write::field(&mut self.work.out, name, value);
            }
        }
    }

    pub(crate) fn write_request_id_field(&mut self) {
        let out = &mut self.work.out;
        out.extend_from_slice(b"request-id: req_");
        out.extend_from_slice(&self.work.facts.id.hex());
        out.extend_from_slice(b"\r\n");
    }

    /// Notes what a stream told of its usage; says whether it ended as its dialect does.
    pub(crate) fn note_stream(
        &mut self,
        meter: Option<StreamUsage>,
        drained: Option<&Drained>,
        ended: &Result<Ended, Stop>,
    ) -> bool {
        let (Some(meter), Some(facts)) = (meter, &mut self.work.facts.llm) else {
            return false;
        };
        let end = match (drained, ended) {
            (Some(Drained::Ended(end)), _) => *end,
            (None, Ok(Ended::Whole)) => BodyEnd::Clean,
            (Some(Drained::LeftOff) | None, _) => BodyEnd::Broken,
        };
        let report = meter.finish(end);
        facts.told = Some(report.told);
        facts.ended_by_us =
            !matches!(drained, Some(Drained::Ended(_))) && !ended_by_upstream(ended);
        facts.model_served = report.model.map(|name| self.worker.name(&name));
        report.outcome == Outcome::Complete
    }

    /// Begins the answer to a call that is streamed.
    pub(crate) fn begin_event_stream(
        &mut self,
        (target, surface, secret): (&Target, Surface, &[u8]),
        tells_cost: bool,
    ) {
        self.begin_answer(self.work.answer.status);
        if tells_cost {
            self.write_hold();
        }
        self.work.out.extend_from_slice(
            b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\nx-accel-buffering: no\r\n",
        );
        if surface.dialect() == Dialect::Anthropic {
            self.write_request_id_field();
        }
        if !target.returned.is_empty() || self.plan.llm.expose_upstream_limits {
            self.copy_llm_fields(target, secret, |_| false);
        }
    }

    /// Relays an event stream byte for byte and reads its usage as it goes by.
    async fn relay_events(
        &mut self,
        upstream: &mut UpstreamConn,
        body: &mut UpstreamBody,
        (target, llm): (&Target, &LlmReply),
        pass: &mut Option<Pass<'_>>,
    ) -> Result<(), Stop> {
        let telling = self.telling();
        let secret = llm.credential.secret_bytes();
        self.begin_event_stream((target, llm.surface, secret), telling.cost);
        self.write_cache_word();
        let chunked = self.begin_stream();
        let _open = StreamOpen::new(self.worker);
        let mut meter = llm
            .surface
            .usage_dialect()
            .map(|dialect| StreamUsage::new(dialect, llm.usage.clone()));
        let hides_usage = (self.work.facts.llm.as_ref()).is_some_and(|llm| llm.hides_usage);
        let mut caps = Caps {
            of: Of::Events,
            hidden: hides_usage.then(HiddenUsage::default),
            last: telling.inline.then(Box::default),
            alive: StreamAlive::new(self.plan.llm.keep_alive, llm.surface.dialect()),
            chunked,
            sent: 0,
            max: self.plan.limits.response_stream_bytes_max,
            idle: target.timeouts.idle,
            total: self.plan.llm.stream_max.min(target.timeouts.total_stream),
            pass,
        };
        let mut copy = self.copy_to_keep();
        self.write_held(&mut caps, |held| {
            copy_within(&mut copy, held);
            if let Some(meter) = &mut meter {
                meter.feed(held);
            }
        });
        let ended = if self.alone_until.is_some() {
            Err(Stop::CallerGone)
        } else {
            let pumped = self.pump(upstream, body, &mut caps, |exchange, data| {
                copy_within(&mut copy, data);
                let meter = meter.as_mut()?;
                meter.feed(data);
                exchange.overrun(meter)
            });
            pumped.await
        };
        let mut drained = None;
        if let (Err(Stop::CallerGone), Some(meter)) = (&ended, &mut meter)
            && self.go_alone()
        {
            drained = Some(Box::pin(self.drain_events(upstream, body, meter)).await);
        }
        let sequence = meter.as_ref().map_or(0, StreamUsage::events);
        let is_complete = self.note_stream(meter, drained.as_ref(), &ended);
        if let (Some((events, _)), Ok(Ended::Whole), true) = (copy, &ended, is_complete) {
            self.keep_model_answer((target, llm), &events, true);
        } else {
            self.keep_nothing();
        }
        self.work.facts.bytes_out = caps.sent;
        let last = caps.end(&mut self.work.out);
        if telling.inline && ended.is_ok() {
            Box::pin(self.tell_before_end(telling, &last, chunked)).await;
        }
        match ended? {
            Ended::Whole => self.work.facts.outcome = RequestOutcome::Served,
            Ended::Failed(refusal) => {
                self.work.facts.refused(&refusal);
                self.work.facts.outcome = RequestOutcome::Cut;
                self.tell_stream(llm.surface.dialect(), &refusal, (sequence, chunked));
            }
        }
        self.end_stream(chunked).await
    }

    /// Tells the reader of a stream that it failed, in its dialect's own event; the body then
    /// ends regularly, because cutting the connection makes common clients drop the event.
    fn tell_stream(
        &mut self,
        dialect: Dialect,
        refusal: &Refusal,
        (sequence, chunked): (u64, bool),
    ) {
        let public = refusal.public();
        let id = self.work.facts.id.to_string();
        let text = ErrorText {
            kind: public.kind,
            code: public.code,
            message: if matches!(
                refusal,
                Refusal::UpstreamProtocol(_) | Refusal::UpstreamInterrupted
            ) {
                INTERRUPTED
            } else {
                public.text
            },
            request_id: &id,
            status: public.status,
            cooldown: None,
        };
        let model = self
            .work
            .facts
            .llm
            .as_ref()
            .and_then(|llm| llm.model_asked.as_deref())
            .unwrap_or_default();
        let place = StreamPlace {
            sequence,
            created_at_s: self.work.facts.at.0 / 1000,
            model,
        };
        let mut event = b"\n\n".to_vec();
        if stream_event(&mut event, dialect, &text, &place) {
            write_piece(&mut self.work.out, &event, chunked);
        }
    }
}

/// Counts an open stream.
struct StreamOpen<'a>(&'a crate::worker::Worker);

impl<'a> StreamOpen<'a> {
    fn new(worker: &'a crate::worker::Worker) -> Self {
        worker.counters.stream_opened();
        Self(worker)
    }
}

impl Drop for StreamOpen<'_> {
    fn drop(&mut self) {
        self.0.counters.stream_closed();
    }
}

pub(crate) fn is_event_stream(value: &[u8]) -> bool {
    let essence = value.split(|byte| *byte == b';').next().unwrap_or_default();
    essence
        .trim_ascii()
        .eq_ignore_ascii_case(b"text/event-stream")
}

/// Whether a body ended by its upstream's doing, or the network's; what we end, it goes on writing.
pub(crate) const fn ended_by_upstream(ended: &Result<Ended, Stop>) -> bool {
    match ended {
        Ok(Ended::Whole) => true,
        Ok(Ended::Failed(refusal)) => !matches!(
            refusal,
            Refusal::AccessRevoked
                | Refusal::CredentialUnavailable(_)
                | Refusal::Timeout
                | Refusal::ResponseTooLarge
                | Refusal::BudgetExhausted { .. }
        ),
        Err(_) => false,
    }
}
