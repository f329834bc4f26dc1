//! Writing answers: the lines every answer has, whole answers of our own, and refusals.

use crate::lifecycle::{After, Exchange, Stop};
use crate::refusal::Refusal;
use std::pin::pin;
use std::time::Duration;
use tollkeep_http1::{Framing, Method, Version, write};
use tollkeep_llm::error::{Cooldown, ErrorText, write_body};
use tollkeep_llm::{Dialect, Surface, SurfaceMatch, surface_of};
use tollkeep_net::{Fill, StreamEnd};
use tollkeep_types::WallMillis;

/// A body that is still expected may be drained up to this size, to save the connection.
const DRAIN_BYTES_MAX: u64 = 64 * 1024;
/// How long draining may take.
const DRAIN_WAIT: Duration = Duration::from_secs(1);

/// A whole body of our own.
pub(crate) struct Body<'a> {
    pub(crate) kind: &'a str,
    pub(crate) bytes: &'a [u8],
}

/// How the length of an answer's body is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Framed {
    /// No body, and none announced (204, 304).
    None,
    Length(u64),
    Chunked,
    /// Until the connection ends (HTTP/1.0).
    UntilClose,
}

impl Exchange<'_> {
    /// Begins an answer in the scratch: status line and the lines every answer has.
    pub(crate) fn begin_answer(&mut self, status: u16) {
        self.work.facts.status = status;
        let out = &mut self.work.out;
        out.clear();
        write::status_line(out, status);
        out.extend_from_slice(b"date: ");
        self.worker.write_date(out, self.work.facts.at.0);
        out.extend_from_slice(b"\r\nx-request-id: ");
        match &self.callers_request_id {
            Some(id) => out.extend_from_slice(id.as_bytes()),
            None => {
                out.extend_from_slice(b"req_");
                out.extend_from_slice(&self.work.facts.id.hex());
            }
        }
        out.extend_from_slice(b"\r\n");
        if let Some(id) = self.work.facts.correlation_id.as_ref()
            && self.plan.trust_request_id
        {
            write::field(out, b"x-correlation-id", id.as_bytes());
        }
        out.extend_from_slice(self.lines);
        out.extend_from_slice(self.plan.mark);
        if self.secure {
            out.extend_from_slice(&self.plan.hsts);
        }
        if (200..300).contains(&status) {
            out.extend_from_slice(&self.work.limits);
        }
        if let Some(hooked) = &self.hooked {
            out.extend_from_slice(&hooked.lines);
        }
        if let Some(paying) = &self.paying {
            paying.write(out, status);
        }
        if let Some(receipt) = &self.told_receipt {
            out.extend_from_slice(receipt.as_bytes());
        }
    }

    /// Begins an answer that brings its own fields but the date.
    pub(crate) fn begin_bare_answer(&mut self, status: u16) {
        self.work.facts.status = status;
        let out = &mut self.work.out;
        out.clear();
        write::status_line(out, status);
        out.extend_from_slice(b"date: ");
        self.worker.write_date(out, self.work.facts.at.0);
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(self.plan.mark);
    }

    /// Ends the head begun with [`Self::begin_answer`].
    pub(crate) fn end_head(&mut self, framed: Framed) {
        if self.conn.is_stream() {
            return self.end_stream_head(framed);
        }
        let out = &mut self.work.out;
        match framed {
            Framed::None => {}
            Framed::Length(length) => {
                out.extend_from_slice(b"content-length: ");
                write::number(out, length);
                out.extend_from_slice(b"\r\n");
            }
            Framed::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
            Framed::UntilClose => self.closing = true,
        }
        if self.closing || self.work.head.close || self.work.head.version == Version::Http10 {
            self.closing = true;
            out.extend_from_slice(b"connection: close\r\n");
        }
        write::end(out);
    }

    /// Sends the head begun with [`Self::begin_answer`] on a stream of HTTP/2, where a body has
    /// no framing of its own.
    #[cold]
    fn end_stream_head(&mut self, framed: Framed) {
        let out = &mut self.work.out;
        if let Framed::Length(length) = framed {
            out.extend_from_slice(b"content-length: ");
            write::number(out, length);
            out.extend_from_slice(b"\r\n");
        }
        let end = match framed {
            _ if self.work.head.method == Method::Head => StreamEnd::Head,
            Framed::None => StreamEnd::Head,
            Framed::Length(length) => StreamEnd::Length(length),
            Framed::Chunked | Framed::UntilClose => StreamEnd::Open,
        };
        self.conn.send_head(self.work.facts.status, out, end);
        out.clear();
    }

    /// Writes the scratch to the caller.
    ///
    /// # Errors
    /// The caller is gone.
    pub(crate) async fn flush(&mut self) -> Result<(), Stop> {
        let stall = self.plan.timeouts.write_stall;
        let out = std::mem::take(&mut self.work.out);
        let written = self.conn.write(&out, stall).await;
        self.work.out = out;
        self.work.out.clear();
        Ok(written?)
    }

    /// Answers with a whole body.
    ///
    /// # Errors
    /// The caller is gone.
    pub(crate) async fn answer_whole(&mut self, status: u16, body: Body<'_>) -> Result<(), Stop> {
        self.begin_answer(status);
        self.end_whole(body).await
    }

    pub(crate) async fn end_whole(&mut self, body: Body<'_>) -> Result<(), Stop> {
        write::field(&mut self.work.out, b"content-type", body.kind.as_bytes());
        self.end_head(Framed::Length(u64::try_from(body.bytes.len()).unwrap_or(0)));
        if self.work.head.method != Method::Head {
            self.work.out.extend_from_slice(body.bytes);
            self.work.facts.bytes_out = u64::try_from(body.bytes.len()).unwrap_or(0);
        }
        self.flush().await?;
        if !self.work.facts.is_probe && self.work.facts.refusal.is_none() {
            self.work.facts.outcome = tollkeep_observe::RequestOutcome::Served;
        }
        Ok(())
    }

    /// The dialect a refusal is told in: that of the path, once it is known.
    pub(crate) fn dialect(&self) -> Dialect {
        match surface_of(self.work.head.method.as_str(), &self.work.path) {
            SurfaceMatch::Surface(Surface::Models | Surface::Model) => self.list_form(),
            SurfaceMatch::Surface(surface) => surface.dialect(),
            SurfaceMatch::MethodNotAllowed { dialect, .. } | SurfaceMatch::Unknown(dialect) => {
                dialect
            }
            SurfaceMatch::NotLlm => Dialect::Plain,
        }
    }

    /// The bytes of the request's head, wherever they are by now.
    pub(crate) fn request_bytes(&self) -> &[u8] {
        if self.detached {
            &self.work.request
        } else {
            self.conn.unread()
        }
    }

    /// Tells the caller no.
    pub(crate) async fn refuse(&mut self, refusal: Refusal) -> After {
        self.work.facts.refused(&refusal);
        self.keep_nothing();
        tracing::debug!(request_id = %self.work.facts.id, "refused: {refusal}");
        // Whoever comes again at once must not meet its own payment.
        if self.paying.is_some() {
            Box::pin(self.give_back_use()).await;
        }
        let public = refusal.public();
        self.closing |= public.closes;
        if matches!(refusal, Refusal::Unauthenticated(_)) {
            self.wait_for_floor().await;
        }
        let drain = self.left_to_drain();
        self.closing |= drain.is_none();
        let answered = self.write_refusal(&refusal).await;
        let Some(drain) = drain.filter(|_| answered.is_ok() && !self.closing) else {
            return if answered.is_ok() {
                After::Close
            } else {
                After::Abort
            };
        };
        self.drain(drain).await
    }

    async fn write_refusal(&mut self, refusal: &Refusal) -> Result<(), Stop> {
        if let Refusal::Payment(no) = refusal {
            return Box::pin(self.write_payment_no(no)).await;
        }
        let (public, dialect) = (refusal.public(), self.dialect());
        let status = if matches!(
            refusal,
            Refusal::Overloaded(_) | Refusal::Shed(_) | Refusal::UpstreamOverloaded
        ) {
            public.kind.status(dialect)
        } else {
            public.status
        };
        self.begin_answer(status);
        let out = &mut self.work.out;
        write::field(out, b"cache-control", b"no-store");
        let code = refusal.code_in_field(dialect);
        write::field(out, b"x-tollkeep-error", code.as_bytes());
        if let Some(allow) = refusal.allow() {
            write::field(out, b"allow", allow.as_bytes());
        }
        if matches!(refusal, Refusal::Unauthenticated(_)) {
            write::field(out, b"www-authenticate", b"Bearer realm=\"tollkeep\"");
        }
        if refusal.retry_is_vain() {
            write::field(out, b"x-should-retry", b"false");
        }
        write_waits(out, refusal);
        write_budget(out, refusal);
        if matches!(refusal, Refusal::BudgetExhausted { .. }) {
            self.write_asked();
        }
        let mut id = String::from("req_");
        id.push_str(std::str::from_utf8(&self.work.facts.id.hex()).unwrap_or_default());
        let detail = refusal.detail();
        let text = ErrorText {
            kind: public.kind,
            code: refusal.code_in(dialect),
            message: detail.unwrap_or(public.text),
            request_id: &id,
            status,
            cooldown: self.cooldown(refusal),
        };
        let mut body = Vec::with_capacity(256);
        write_body(&mut body, dialect, &text);
        if dialect == Dialect::Anthropic {
            write::field(&mut self.work.out, b"request-id", id.as_bytes());
        }
        self.end_whole(Body {
            kind: "application/json",
            bytes: &body,
        })
        .await
    }

    /// Until when the model that was asked for can't be.
    fn cooldown(&self, refusal: &Refusal) -> Option<Cooldown<'_>> {
        let Refusal::ModelCooldown { retry_after } = refusal else {
            return None;
        };
        let seconds = whole_seconds(*retry_after);
        let at = self.worker.shared.clock.wall();
        Some(Cooldown {
            model: self.work.facts.llm.as_ref()?.model_asked.as_deref()?,
            until: WallMillis(at.0.saturating_add(seconds.saturating_mul(1000))),
            seconds,
        })
    }

    /// A failed authentication is told at the floor, not sooner, so that time tells nothing.
    async fn wait_for_floor(&mut self) {
        let passed = Duration::from_nanos(self.worker.shared.clock.mono().since(self.started));
        let left = self.plan.failure_floor.saturating_sub(passed);
        self.conn.slot().set(left + DRAIN_WAIT);
        let raced = self.conn.race(pin!(tokio::time::sleep(left))).await;
        tracing::trace!("failure floor: {raced:?}");
    }

    /// What of the request is still to come: `None` when that is unknown or too much.
    pub(crate) fn left_to_drain(&self) -> Option<usize> {
        if let Some(body) = &self.incoming {
            return body.left_to_drain(DRAIN_BYTES_MAX);
        }
        if self.detached {
            return Some(0);
        }
        let total = match self.work.head.framing {
            Framing::None => self.work.head.len,
            Framing::Length(length) if length <= DRAIN_BYTES_MAX + (1 << 20) => {
                let came = self.conn.unread().len().checked_sub(self.work.head.len)?;
                let expected = length.saturating_sub(u64::try_from(came).ok()?);
                let length = usize::try_from(length).ok()?;
                (expected <= DRAIN_BYTES_MAX).then_some(self.work.head.len + length)?
            }
            Framing::Length(_) | Framing::Chunked => return None,
        };
        let waits_for_leave = self.work.head.expect_continue && self.conn.unread().len() < total;
        (!waits_for_leave).then_some(total)
    }

    /// Throws the rest of the request away.
    async fn drain(&mut self, total: usize) -> After {
        let mut left = total;
        self.conn.slot().set(DRAIN_WAIT);
        loop {
            let now = left.min(self.conn.unread().len());
            self.conn.consume(now);
            left -= now;
            if left == 0 {
                return After::KeepAlive;
            }
            if self.conn.fill().await != Fill::Bytes {
                return After::Close;
            }
        }
    }

    /// After an answer that was written whole.
    pub(crate) async fn finish(&mut self) -> After {
        let Some(drain) = self.left_to_drain().filter(|_| !self.closing) else {
            return After::Close;
        };
        self.drain(drain).await
    }
}

/// Which budget is used up, and when it has room again, if it ever has by itself.
fn write_budget(out: &mut Vec<u8>, refusal: &Refusal) {
    let Refusal::BudgetExhausted { budget, reset } = refusal else {
        return;
    };
    if let Some(budget) = budget {
        write::field(out, b"x-tollkeep-budget", budget.to_string().as_bytes());
    }
    if let Some(reset) = reset {
        write::field(out, b"x-tollkeep-reset", reset.to_string().as_bytes());
    }
}

/// When to come back.
fn nanos(wait: Duration) -> u64 {
    u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX)
}

fn whole_seconds(wait: Duration) -> u64 {
    tollkeep_policy::rate::retry_after_s(nanos(wait))
}

fn write_waits(out: &mut Vec<u8>, refusal: &Refusal) {
    let Some(wait) = refusal.retry_after() else {
        return;
    };
    let (ns, seconds) = (nanos(wait), whole_seconds(wait));
    out.extend_from_slice(b"retry-after: ");
    write::number(out, seconds);
    if seconds < 10 {
        out.extend_from_slice(b"\r\nretry-after-ms: ");
        write::number(out, tollkeep_policy::rate::retry_after_ms(ns));
    }
    out.extend_from_slice(b"\r\n");
    let Refusal::RateLimited(limited) = refusal else {
        return;
    };
    for (name, value) in [
        (
            "ratelimit-policy",
            format!(
                "\"{}\";q={};w={}",
                limited.class.name(),
                limited.quota,
                limited.window_s
            ),
        ),
        (
            "ratelimit",
            format!("\"{}\";r=0;t={seconds}", limited.class.name()),
        ),
    ] {
        write::field(out, name.as_bytes(), value.as_bytes());
    }
}

/// `Sun, 22 Nov 2026 10:15:30 GMT` (RFC 9110, section 5.6.7), always 29 bytes.
pub(crate) fn http_date(unix_s: u64) -> [u8; 29] {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let at = WallMillis(unix_s.saturating_mul(1000)).min(WallMillis::MAX);
    let (year, month, day) = at.date();
    let seconds = at.0 / 1000;
    let name = |names: &[&'static str], index: u64| {
        usize::try_from(index)
            .ok()
            .and_then(|i| names.get(i))
            .copied()
    };
    let weekday = name(&DAYS, seconds / 86_400 % 7).unwrap_or("Thu");
    let month = name(&MONTHS, month.saturating_sub(1)).unwrap_or("Jan");
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let text =
        format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT");
    let mut date = [b' '; 29];
    for (slot, byte) in date.iter_mut().zip(text.bytes()) {
        *slot = byte;
    }
    date
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_rfc() {
        for (unix, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (1_795_342_530, "Sun, 22 Nov 2026 10:15:30 GMT"),
        ] {
            assert_eq!(
                http_date(unix),
                *text.as_bytes().first_chunk::<29>().unwrap()
            );
        }
    }
}
