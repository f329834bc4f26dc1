//! What is asked: the body, read within its bound and parsed once.

use crate::admit::Entry;
use crate::body_coding::content_coding;
use crate::counted::Counted;
use crate::identify::Caller;
use crate::lifecycle::{Exchange, Stop};
use crate::record::LlmFacts;
use crate::refusal::Refusal;
use crate::route::{Destination, PlainRoute, Route};
use std::sync::Arc;
use std::time::Duration;
use tollkeep_config::settings::ContentCoding;
use tollkeep_http1::{ChunkDecoder, ChunkEvent, Framing, Known};
use tollkeep_llm::Surface;
use tollkeep_llm::body::CallView;
use tollkeep_llm::usage::Asked;
use tollkeep_net::Fill;
use tollkeep_policy::call_policy::{CallRefusal, allow_model, deny_model, max_body_bytes};
use tollkeep_types::MonoNanos;

/// A body may be slow for this long before its rate is looked at.
const RATE_GRACE: Duration = Duration::from_secs(5);
/// Bodies up to this are not counted against the shared budget: a connection's own buffer.
pub(crate) const UNCOUNTED_BYTES: usize = 64 * 1024;

/// Where a request goes and what it asks there. The body stands in the exchange's scratch.
pub(crate) enum Call<'p> {
    /// Passed on as it is.
    Plain(&'p PlainRoute),
    /// A call to a model.
    Llm(LlmCall),
    /// Answered by the gateway itself.
    Own(Own),
}

/// What the gateway answers by itself.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Own {
    /// A list of models, or one.
    Models(Surface),
    /// So many tokens are in a call, by the gateway's own count.
    Count(u64),
}

/// A call to a model.
pub(crate) struct LlmCall {
    pub(crate) surface: Surface,
    /// The provider that serves it: its place in the plan.
    pub(crate) provider: usize,
    /// What the provider calls the model.
    pub(crate) model: Arc<str>,
    /// The prefix that it was asked for with.
    pub(crate) prefix: Option<Box<str>>,
    /// The name to send, if it is not the one in the body.
    pub(crate) rename: Option<Box<str>>,
    pub(crate) stream: bool,
    /// The caller wants the usage of its stream told.
    pub(crate) wants_usage: bool,
    pub(crate) usage: Asked,
}

impl<'p> Exchange<'p> {
    /// Reads the body and, on LLM surfaces, what it asks.
    ///
    /// # Errors
    /// 413, 408, 400, 415, 503, 404 for a model that is not there for this caller.
    pub(crate) async fn read_call(
        &mut self,
        entry: &Entry<'_>,
        route: &Route<'p>,
        caller: &Caller,
    ) -> Result<Call<'p>, Stop> {
        let most = max_body_bytes(&self.policies);
        let most = most.map_or(route.body_bytes_max(), |most| {
            most.min(route.body_bytes_max())
        });
        let coding = self.check_announced(route, most)?;
        if self.streams_up(route) {
            self.begin_incoming(most);
        } else {
            self.read_body(most).await?;
        }
        if let Some(coding) = coding {
            Box::pin(self.decode_body(coding, most)).await?;
        }
        match route.destination() {
            Destination::Plain(route) => {
                if !self.policies.is_empty() {
                    self.check_plain_params()?;
                    self.check_conditions(entry, caller, None)?;
                }
                Ok(Call::Plain(route))
            }
            Destination::Surface(surface @ (Surface::Models | Surface::Model)) => {
                self.check_conditions(entry, caller, None)?;
                Ok(Call::Own(Own::Models(surface)))
            }
            Destination::Surface(surface) => Ok(self.read_llm(entry, surface, caller)?),
        }
    }

    /// What can be refused from the head alone. Gives the coding that the body has.
    fn check_announced(
        &self,
        route: &Route<'_>,
        most: u64,
    ) -> Result<Option<ContentCoding>, Refusal> {
        let (head, bytes) = (&self.work.head, self.conn.unread());
        if let Framing::Length(length) = head.framing
            && length > most
        {
            return Err(Refusal::BodyTooLarge);
        }
        let coding = head.value(bytes, Known::ContentEncoding);
        let coding = coding.map(|sent| content_coding(sent, route.content_encodings()));
        let coding = coding.transpose()?.flatten();
        let is_json_surface = route
            .surface()
            .is_some_and(|surface| surface.upstream_path().is_some());
        if is_json_surface && !head.value(bytes, Known::ContentType).is_some_and(is_json) {
            return Err(Refusal::BadContentType);
        }
        if !self.policies.is_empty() {
            self.limited_kind(bytes)?;
        }
        Ok(coding)
    }

    /// Reads the whole body and takes the request's bytes out of the connection.
    pub(crate) async fn read_body(&mut self, bytes_max: u64) -> Result<(), Stop> {
        let head_len = self.work.head.len;
        let total = match self.work.head.framing {
            Framing::None => head_len,
            Framing::Length(length) => {
                let length = usize::try_from(length).map_err(|_| Refusal::BodyTooLarge)?;
                if self.conn.unread().len() < head_len + length {
                    Box::pin(self.read_length(head_len + length)).await?;
                }
                head_len + length
            }
            Framing::Chunked => Box::pin(self.read_chunks(head_len, bytes_max)).await?,
        };
        let detached = self.conn.detach(total);
        self.worker
            .buffers
            .give_back(std::mem::replace(&mut self.work.request, detached));
        self.detached = true;
        self.work.facts.bytes_in = u64::try_from(self.body().len()).unwrap_or(u64::MAX);
        Ok(())
    }

    /// The whole body.
    pub(crate) fn body(&self) -> &[u8] {
        match self.work.head.framing {
            Framing::Chunked => &self.work.body,
            Framing::None | Framing::Length(_) => self
                .work
                .request
                .get(self.work.head.len..)
                .unwrap_or_default(),
        }
    }

    async fn read_length(&mut self, total: usize) -> Result<(), Stop> {
        let worker = self.worker;
        self.body_held = Some(count_body(&worker.shared.body_bytes, total, self.plan)?);
        self.say_continue().await?;
        self.conn.reserve(total);
        let pace = self.pace();
        while self.conn.unread().len() < total {
            self.fill_body(&pace, self.conn.unread().len()).await?;
        }
        Ok(())
    }

    /// Decodes a chunked body into the scratch; returns how many bytes head and body took.
    async fn read_chunks(&mut self, head_len: usize, bytes_max: u64) -> Result<usize, Stop> {
        self.say_continue().await?;
        let worker = self.worker;
        let pace = self.pace();
        let mut decoder = ChunkDecoder::new();
        let mut at = head_len;
        loop {
            let input = self.conn.unread().get(at..).unwrap_or_default();
            match decoder
                .next(input)
                .map_err(|fault| Refusal::BadRequest(fault.reason()))?
            {
                ChunkEvent::End { used } => {
                    let whole = self.work.body.len();
                    if let Some(held) = &mut self.body_held {
                        held.shrink_to(whole);
                    }
                    return Ok(at + used);
                }
                ChunkEvent::Data { skip, len } => {
                    self.work
                        .body
                        .extend_from_slice(input.get(skip..skip + len).unwrap_or_default());
                    at += skip + len;
                    let so_far = self.work.body.len();
                    if u64::try_from(so_far).unwrap_or(u64::MAX) > bytes_max {
                        return Err(Refusal::BodyTooLarge.into());
                    }
                    if self.body_held.is_none() && so_far > UNCOUNTED_BYTES {
                        let bound = usize::try_from(bytes_max).unwrap_or(usize::MAX);
                        let held = count_body(&worker.shared.body_bytes, bound, self.plan)?;
                        self.body_held = Some(held);
                    }
                }
                ChunkEvent::More { used } => {
                    at += used;
                    // Decoded bytes need not be kept twice: drop them, keep the head.
                    if at > head_len {
                        self.conn.forget(head_len, at);
                        at = head_len;
                    }
                    self.fill_body(&pace, self.work.body.len()).await?;
                }
            }
        }
    }

    /// Gives a large body back once it is sent: its answer may take minutes.
    pub(crate) fn release_body(&mut self) {
        if self.body_held.take().is_some() {
            self.work.body = Vec::new();
            self.work.request.truncate(self.work.head.len);
            self.work.request.shrink_to_fit();
        }
    }

    /// `100 Continue`, once everything a head can be refused for has passed.
    pub(crate) async fn say_continue(&mut self) -> Result<(), Stop> {
        if self.work.head.expect_continue && self.conn.is_stream() {
            self.conn.say_continue();
        } else if self.work.head.expect_continue {
            let stall = self.plan.timeouts.write_stall;
            self.conn
                .write(b"HTTP/1.1 100 Continue\r\n\r\n", stall)
                .await?;
        }
        Ok(())
    }

    pub(crate) fn pace(&self) -> Pace {
        Pace {
            began: self.worker.deadlines.now(),
            silence: self.plan.timeouts.body,
            rate: self.plan.timeouts.body_min_rate_bytes_s,
        }
    }

    async fn fill_body(&mut self, pace: &Pace, so_far: usize) -> Result<(), Stop> {
        let left = pace
            .left(self.worker.deadlines.now(), so_far)
            .ok_or(Refusal::RequestTimeout)?;
        self.conn.slot().set(left);
        match self.conn.fill().await {
            Fill::Bytes => Ok(()),
            Fill::Closed => Err(Stop::CallerGone),
            Fill::Late => Err(Refusal::RequestTimeout.into()),
        }
    }

    fn read_llm(
        &mut self,
        entry: &Entry<'_>,
        surface: Surface,
        caller: &Caller,
    ) -> Result<Call<'p>, Refusal> {
        let view = CallView::read(self.body(), self.plan.llm.max_depth)
            .map_err(|refused| Refusal::of_body(&refused))?;
        let named = self.named(entry, surface, &view)?;
        let model = &*named.model;
        if caller.token().is_some_and(|token| {
            crate::identify::bindings_of(token)
                .check_model(model)
                .is_err()
        }) {
            return Err(Refusal::ModelNotFound(model.to_owned()));
        }
        let llm = &self.plan.llm;
        let mut candidates = self.worker.candidates.borrow_mut();
        let project = caller.token().map(|token| &*token.project);
        let mut served = llm.served(surface, (model, project), &mut candidates);
        // Where nobody who serves it can be asked, its tokens are counted here.
        let counts = served.is_none() && surface.counts_tokens();
        if counts {
            served = llm.served(Surface::Chat, (model, project), &mut candidates);
        }
        drop(candidates);
        let Some(served) = served else {
            return Err(Refusal::ModelNotFound(model.to_owned()));
        };
        let (sent, provider) = (served.model, served.provider);
        let prefix = served.prefix.map(Box::from);
        let bounds = if self.policies.is_empty() {
            None
        } else {
            self.check_model_policies(model, sent)?;
            let bounds = self.check_llm_asks(surface, &named)?;
            let public = if model.is_empty() { sent } else { model };
            self.check_conditions(entry, caller, Some((surface, public)))?;
            Some(bounds)
        };
        if counts {
            return self.counted(surface).map(Call::Own);
        }
        let rename = (sent != model).then(|| Box::from(sent));
        let (stream, wants_usage) = (named.stream, view.include_usage);
        let usage = Asked::of_call(surface, &view, self.body());
        let asked = self.worker.name(model);
        let model = if rename.is_some() {
            self.worker.name(sent)
        } else {
            Arc::clone(&asked)
        };
        self.work.facts.llm = Some(LlmFacts {
            stream,
            model_sent: rename.is_some().then(|| Arc::clone(&model)),
            output_cap: named.output_cap,
            choices: named.choices.max(1),
            ..LlmFacts::of(surface, asked, llm.model_labels.of(sent))
        });
        if let Some(bounds) = bounds {
            self.bound_body(surface, bounds, self.output_bound_name(surface, provider))?;
        }
        Ok(Call::Llm(LlmCall {
            surface,
            provider,
            model,
            prefix,
            rename,
            stream,
            wants_usage,
            usage,
        }))
    }
}

impl Exchange<'_> {
    /// What a bound on the output is called there.
    pub(crate) fn output_bound_name(&self, surface: Surface, provider: usize) -> &'static str {
        let target = self.plan.llm.providers.get(provider);
        match target.and_then(|target| target.provider()) {
            Some(target) if target.says_completion_tokens(surface) => "max_completion_tokens",
            Some(_) | None if surface == Surface::Responses => "max_output_tokens",
            Some(_) | None => "max_tokens",
        }
    }

    /// Whether the policies let the model be used: by the name it was asked for, and under no name
    /// that is denied.
    fn check_model_policies(&self, asked: &str, sent: &str) -> Result<(), Refusal> {
        let name = if asked.is_empty() { sent } else { asked };
        let policies = &self.policies;
        if allow_model(policies, name) && !deny_model(policies, sent) {
            return Ok(());
        }
        Err(Refusal::Policy(CallRefusal::Model))
    }
}

/// How fast a body must arrive: no silence longer than `silence`, and after the first seconds no
/// less than `rate` bytes a second on the whole. One that makes progress is never cut.
pub(crate) struct Pace {
    began: MonoNanos,
    silence: Duration,
    rate: u64,
}

impl Pace {
    /// How long the next bytes may take; `None` when the body is late already.
    fn left(&self, now: MonoNanos, so_far: usize) -> Option<Duration> {
        self.left_of(now, u64::try_from(so_far).unwrap_or(u64::MAX))
    }

    /// The same, of a body that is not kept.
    pub(crate) fn left_of(&self, now: MonoNanos, so_far: u64) -> Option<Duration> {
        let earned = Duration::from_secs(so_far / self.rate.max(1));
        let passed = Duration::from_nanos(now.since(self.began));
        let left = RATE_GRACE.max(earned).checked_sub(passed)?;
        Some(left.min(self.silence)).filter(|left| !left.is_zero())
    }

    /// This long nobody waited for the caller.
    pub(crate) fn excuse(&mut self, ns: u64) {
        self.began = MonoNanos(self.began.0.saturating_add(ns));
    }
}

pub(crate) fn count_body<'a>(
    gauge: &'a std::sync::atomic::AtomicUsize,
    bytes: usize,
    plan: &crate::plan::Plan,
) -> Result<Counted<'a>, Refusal> {
    let max = usize::try_from(plan.limits.request_body_memory_bytes_max).unwrap_or(usize::MAX);
    Counted::within(gauge, bytes, max).ok_or(Refusal::Overloaded("body memory"))
}

/// `application/json`, with no parameter but `charset=utf-8`.
pub(crate) fn is_json(value: &[u8]) -> bool {
    if value == b"application/json" {
        return true;
    }
    let mut parts = value.split(|byte| *byte == b';');
    let essence = parts.next().unwrap_or_default().trim_ascii();
    essence.eq_ignore_ascii_case(b"application/json")
        && parts.all(|parameter| {
            let parameter = parameter.trim_ascii().to_ascii_lowercase();
            match parameter.strip_prefix(b"charset=") {
                Some(charset) => matches!(charset, b"utf-8" | b"\"utf-8\"" | b"utf8"),
                None => true,
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    // EDGE-53
    #[test]
    fn a_body_may_be_slow_but_not_silent_and_not_forever() {
        let pace = Pace {
            began: MonoNanos(0),
            silence: Duration::from_secs(30),
            rate: 512,
        };
        let at = |seconds: u64, bytes| pace.left(MonoNanos(seconds * 1_000_000_000), bytes);
        for (name, left, want) in [
            ("at the start the grace counts", at(0, 0), Some(5)),
            ("nothing within the grace", at(5, 0), None),
            ("fast so far: the silence counts", at(5, 1 << 20), Some(30)),
            ("just under the rate", at(10, 512 * 10 - 1), None),
            ("just over it", at(10, 512 * 12), Some(2)),
        ] {
            assert_eq!(left, want.map(Duration::from_secs), "{name}");
        }
    }

    // LLM-4
    #[test]
    fn json_is_utf_8_whatever_else_is_said() {
        for (name, value, want) in [
            ("plain", "application/json", true),
            ("case", "Application/JSON", true),
            ("charset", "application/json; charset=UTF-8", true),
            ("another charset", "application/json; charset=latin1", false),
            ("text", "text/json", false),
            ("suffix", "application/problem+json", false),
            ("empty", "", false),
        ] {
            assert_eq!(is_json(value.as_bytes()), want, "{name}");
        }
    }
}
