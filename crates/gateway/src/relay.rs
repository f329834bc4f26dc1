//! The answer of a plain upstream on its way back: as it is, but for what never goes back.

use crate::answer::Framed;
use crate::breaker::Pass;
use crate::cache::copy_within;
use crate::lifecycle::{Exchange, Stop};
use crate::paid::copy_piece;
use crate::plan::Target;
use crate::pump::{Caps, Ended, Of};
use crate::refusal::Refusal;
use crate::stream_back::is_event_stream;
use crate::upstream_body::UpstreamBody;
use crate::upstream_head::is_among;
use std::time::Duration;
use tollkeep_http1::{AnswerFraming, Known, Method, write};
use tollkeep_llm::usage::HiddenUsage;
use tollkeep_net::UpstreamConn;
use tollkeep_observe::RequestOutcome;
use tollkeep_policy::{egress, headers};

impl Exchange<'_> {
    /// Passes on the answer of a plain upstream.
    pub(crate) async fn relay(
        &mut self,
        upstream: &mut UpstreamConn,
        body: &mut UpstreamBody,
        (target, max): (&Target, u64),
        pass: &mut Option<Pass<'_>>,
    ) -> Result<(), Stop> {
        let status = self.work.answer.status;
        let framing = self.work.answer.framing;
        if matches!(framing, AnswerFraming::Length(length) if length > max) {
            return Err(Refusal::ResponseTooLarge.into());
        }
        // It would look as if we asked for it.
        if status == 402 {
            return Err(Refusal::UpstreamPaymentRequired.into());
        }
        self.begin_plain(target, status).await?;
        self.write_cache_word();
        let chunked = self.begin_body(framing);
        let mut caps = Caps {
            of: Of::Bytes,
            hidden: self.hides_paid_usage().then(HiddenUsage::default),
            last: None,
            alive: None,
            chunked,
            sent: 0,
            max,
            idle: target.timeouts.idle,
            total: target.timeouts.total_stream,
            pass,
        };
        let ended = self.pump_plain(upstream, body, (target, &mut caps)).await;
        let tells = matches!(caps.of, Of::Events) && !matches!(framing, AnswerFraming::Length(_));
        let is_uncovered = matches!(ended, Ok(Ended::Failed(Refusal::Payment(_))));
        self.end_delivery(&ended).await;
        match ended? {
            Ended::Failed(refusal) if is_uncovered && tells => {
                self.work.facts.refused(&refusal);
                self.work.facts.outcome = RequestOutcome::Cut;
                self.tell_uncovered(chunked);
                self.end_stream(chunked).await
            }
            Ended::Whole => {
                self.work.facts.outcome = RequestOutcome::Served;
                self.end_stream(chunked).await
            }
            // What can't end well must not look as if it did: a body whose end is told stays
            // without it, any other is reset.
            Ended::Failed(refusal) => {
                self.work.facts.refused(&refusal);
                self.work.facts.outcome = RequestOutcome::Cut;
                if !matches!(framing, AnswerFraming::Length(_)) {
                    self.tell_broken_off(chunked);
                }
                self.flush().await?;
                if !chunked && !matches!(framing, AnswerFraming::Length(_)) {
                    return Err(Stop::Cut);
                }
                Err(Stop::Short)
            }
        }
    }

    /// How the answer ended; what is made good for is kept before that is told.
    async fn end_delivery(&mut self, ended: &Result<Ended, Stop>) {
        self.note_delivery(ended);
        if self.gives_back() {
            Box::pin(self.give_back_use()).await;
        }
    }

    /// Takes what is paid for the answer, and begins it with the upstream's fields.
    ///
    /// # Errors
    /// 402, 503: nothing of the answer goes out.
    pub(crate) async fn begin_plain(&mut self, target: &Target, status: u16) -> Result<(), Stop> {
        if self.paying.is_some() {
            Box::pin(self.deliver()).await?;
        } else if self.token_cost.is_some() {
            self.charge_token(status);
        }
        self.begin_answer(status);
        self.copy_plain_fields(target);
        self.tell_charge(status);
        if self.paying.is_some() {
            let out = &mut self.work.out;
            write::field(out, b"cache-control", b"private, no-store");
            write::field(
                out,
                b"vary",
                b"PAYMENT-SIGNATURE, X-PAYMENT, X-Session-Token",
            );
        } else if status >= 400 {
            write::field(&mut self.work.out, b"cache-control", b"no-store");
        }
        Ok(())
    }

    /// Ends the head of an answer whose body is framed so; says whether it is sent in chunks.
    fn begin_body(&mut self, framing: AnswerFraming) -> bool {
        match framing {
            AnswerFraming::Length(length) => {
                self.end_head(Framed::Length(length));
                false
            }
            AnswerFraming::None => {
                let announced = self.announced_length();
                self.end_head(announced.map_or(Framed::None, Framed::Length));
                false
            }
            AnswerFraming::Chunked | AnswerFraming::UntilClose => self.begin_stream(),
        }
    }

    /// Moves a body along, and takes from it what is kept for its payer or reckoned with it.
    async fn pump_plain(
        &mut self,
        upstream: &mut UpstreamConn,
        body: &mut UpstreamBody,
        (target, caps): (&Target, &mut Caps<'_, '_>),
    ) -> Result<Ended, Stop> {
        let is_counted = self.covered().is_some();
        // What is counted as it goes is not kept besides.
        let mut copy = self.copy_for_payer().filter(|_| !is_counted);
        let mut kept = self.copy_to_keep();
        let mut reading = self.read_paid_usage();
        let ended = if is_counted {
            Box::pin(self.pump_covered(upstream, body, caps)).await
        } else {
            let pump = self.pump(upstream, body, caps, |exchange, data| {
                copy_piece(&mut copy, data);
                copy_within(&mut kept, data);
                if let Some(reading) = &mut reading {
                    exchange.meter_piece(reading, data);
                }
                None
            });
            pump.await
        };
        // What was held back by mistake.
        drop(caps.end(&mut self.work.out));
        self.work.facts.bytes_out = caps.sent;
        self.note_paid_usage(reading, &ended);
        self.note_copy(copy, &ended);
        if matches!(ended, Ok(Ended::Whole)) {
            self.keep_plain_answer(target, kept);
        } else {
            self.keep_nothing();
        }
        ended
    }

    /// Moves a body along whose bytes are paid for, and takes more of its session as it needs it.
    async fn pump_covered(
        &mut self,
        upstream: &mut UpstreamConn,
        body: &mut UpstreamBody,
        caps: &mut Caps<'_, '_>,
    ) -> Result<Ended, Stop> {
        let (most, all) = (caps.max, caps.total);
        let began = self.worker.deadlines.now();
        let head = &self.work.answer_bytes;
        let kind = self.work.answer.value(head, Known::ContentType);
        if kind.is_some_and(is_event_stream) {
            caps.of = Of::Events;
        }
        let mut covered = self.covered().unwrap_or(0);
        loop {
            caps.max = most.min(covered);
            let passed = Duration::from_nanos(self.worker.deadlines.now().since(began));
            caps.total = all.saturating_sub(passed);
            let ended = self.pump(upstream, body, caps, |_, _| None).await;
            let is_full = matches!(ended, Ok(Ended::Failed(Refusal::ResponseTooLarge)));
            if !is_full || covered >= most {
                return ended;
            }
            covered = match self.cover_more(caps.sent).await {
                Some(covered) => covered,
                None => return Ok(Ended::Failed(self.uncovered())),
            };
        }
    }

    /// The length an answer without body speaks of: that of HEAD; 0 where nothing is said.
    fn announced_length(&self) -> Option<u64> {
        let head = &self.work.answer_bytes;
        let bodiless = matches!(self.work.answer.status, 204 | 304);
        let value = self.work.answer.value(head, Known::ContentLength);
        let length = value
            .and_then(|value| std::str::from_utf8(value).ok())
            .and_then(|text| text.parse().ok());
        if bodiless {
            None
        } else {
            length
                .or(Some(0))
                .filter(|_| length.is_some() || self.work.head.method != Method::Head)
        }
    }

    fn copy_plain_fields(&mut self, target: &Target) {
        let head = &self.work.answer_bytes;
        let begun = self.work.out.len();
        // Nobody else may be served what one has paid for.
        let is_paid = self.paying.is_some();
        let correlated = self.plan.trust_request_id && self.work.facts.correlation_id.is_some();
        for field in self.work.answer.fields.iter().filter(|field| !field.hop) {
            let (name, value) = (field.name.of(head), field.value.of(head));
            let ours = matches!(
                field.known,
                Known::ContentLength | Known::Date | Known::XRequestId
            ) || (correlated && field.known == Known::XCorrelationId)
                || (is_paid && name.eq_ignore_ascii_case(b"cache-control"));
            let barred = headers::response_field_forbidden(name)
                && !target.returns(name, (&self.work.out, begun));
            if ours || barred || target.brings_back(value) {
                continue;
            }
            if field.known == Known::Location {
                if let Some(location) = egress::relayed_location(value, &target.endpoint.url) {
                    write::field(&mut self.work.out, name, &location);
                }
                continue;
            }
            write::field(&mut self.work.out, name, value);
        }
    }
}

impl Target {
    /// Whether the settings let this answer field come back. What we wrote into the answer
    /// ourselves, its first `begun` bytes, stays alone.
    pub(crate) fn returns(&self, name: &[u8], (out, begun): (&[u8], usize)) -> bool {
        is_among(&self.returned, name)
            && !out
                .get(..begun)
                .unwrap_or_default()
                .split(|byte| *byte == b'\n')
                .any(|line| {
                    let own = line.get(..name.len()).unwrap_or_default();
                    own.eq_ignore_ascii_case(name) && line.get(name.len()) == Some(&b':')
                })
    }

    /// Whether a field's value holds a secret that we sent.
    pub(crate) fn brings_back(&self, value: &[u8]) -> bool {
        let mut secrets = self.secrets.iter();
        secrets.any(|secret| headers::carries_credential(value, secret.expose().as_bytes()))
    }
}
