//! Moving a body of any length from an upstream to its caller, within its caps and deadlines.

use crate::answer::Framed;
use crate::breaker::Pass;
use crate::lifecycle::{Exchange, Stop};
use crate::refusal::Refusal;
use crate::stream_alive::StreamAlive;
use crate::upstream_body::{BodyStep, UpstreamBody};
use std::time::Duration;
use tollkeep_http1::{Version, write};
use tollkeep_llm::usage::{HiddenUsage, LastWord};
use tollkeep_net::{Raced, UpstreamConn};
use tollkeep_types::MonoNanos;

/// How much of an answer passed, and how much may.
pub(crate) struct Caps<'c, 'r> {
    pub(crate) of: Of,
    /// What its reader did not ask for is taken out.
    pub(crate) hidden: Option<HiddenUsage>,
    /// Its end waits until its caller has been told something more.
    pub(crate) last: Option<Box<LastWord>>,
    /// Something is said where it is silent for long.
    pub(crate) alive: Option<StreamAlive>,
    pub(crate) chunked: bool,
    pub(crate) sent: u64,
    pub(crate) max: u64,
    /// The upstream must send something this often.
    pub(crate) idle: Duration,
    /// And be done by then.
    pub(crate) total: Duration,
    /// Told early where others wait for it: an answer that flows may flow for an hour.
    pub(crate) pass: &'c mut Option<Pass<'r>>,
}

/// What a body is made of, which says how much passes of the piece that goes beyond the cap.
#[derive(Clone, Copy)]
pub(crate) enum Of {
    /// All that is within the cap.
    Bytes,
    /// Whole events: half of one would hide the event that tells of the end.
    Events,
}

impl Of {
    fn whole(self, within: &[u8]) -> &[u8] {
        let len = match self {
            Self::Bytes => Some(within.len()),
            Self::Events => memchr::memmem::rfind(within, b"\n\n").map(|at| at + 2),
        };
        len.and_then(|len| within.get(..len)).unwrap_or_default()
    }
}

/// How a body ended.
pub(crate) enum Ended {
    Whole,
    Failed(Refusal),
}

pub(crate) fn write_piece(out: &mut Vec<u8>, data: &[u8], chunked: bool) {
    if chunked {
        write::chunk(out, data);
    } else {
        out.extend_from_slice(data);
    }
}

/// Writes to `out` what goes to the caller.
struct Sink<'s> {
    out: &'s mut Vec<u8>,
    chunked: bool,
    alive: &'s mut Option<StreamAlive>,
    last: &'s mut Option<Box<LastWord>>,
}

impl Sink<'_> {
    fn write(&mut self, data: &[u8]) {
        let (out, chunked, alive) = (&mut *self.out, self.chunked, &mut *self.alive);
        let mut write = |passed: &[u8]| {
            if let Some(alive) = alive {
                alive.note(passed);
            }
            write_piece(out, passed, chunked);
        };
        match self.last {
            None => write(data),
            Some(last) => last.feed(data, write),
        }
    }
}

impl Caps<'_, '_> {
    /// The upstream does what upstreams should.
    fn works(&mut self) {
        if let Some(pass) = self.pass.take() {
            pass.succeeded();
        }
    }

    fn room(&self) -> usize {
        usize::try_from(self.max.saturating_sub(self.sent)).unwrap_or(usize::MAX)
    }

    fn has_room_for(&self, data: &[u8]) -> bool {
        data.len() <= self.room()
    }

    /// What of a piece is within the cap.
    fn within<'d>(&self, data: &'d [u8]) -> &'d [u8] {
        let within = data.get(..self.room()).filter(|_| !self.has_room_for(data));
        within.map_or(data, |within| self.of.whole(within))
    }

    /// Writes a piece, without what is taken out of it.
    pub(crate) fn write(&mut self, out: &mut Vec<u8>, data: &[u8]) {
        let (alive, last) = (&mut self.alive, &mut self.last);
        let chunked = self.chunked;
        let mut sink = Sink {
            out,
            chunked,
            alive,
            last,
        };
        match &mut self.hidden {
            None => sink.write(data),
            Some(hidden) => hidden.feed(data, |kept| sink.write(kept)),
        }
    }

    /// Says that it is not over, unless that would stand within an event.
    fn say_alive(&mut self, out: &mut Vec<u8>) {
        let alive = self.alive.as_ref();
        if let Some(alive) = alive.filter(|alive| alive.is_between_events()) {
            write_piece(out, alive.word, self.chunked);
        }
    }

    /// Writes what was taken out by mistake, and gives the end that waits.
    pub(crate) fn end(&mut self, out: &mut Vec<u8>) -> Vec<u8> {
        if let Some(rest) = self.hidden.take().as_mut().map(HiddenUsage::end)
            && !rest.is_empty()
        {
            self.write(out, &rest);
        }
        let last = self.last.as_deref_mut();
        last.map(LastWord::end).unwrap_or_default()
    }
}

/// How long a body may keep those waiting who read it.
struct Waits {
    began: MonoNanos,
    /// When its upstream was heard last, if nothing came since.
    heard: MonoNanos,
    is_news: bool,
    /// When its reader was told something last.
    spoke: MonoNanos,
    /// So long others wait to hear that its upstream works.
    watched: Option<Duration>,
}

impl Waits {
    fn new(began: MonoNanos, caps: &Caps<'_, '_>) -> Self {
        Self {
            began,
            heard: began,
            is_news: true,
            spoke: began,
            watched: caps.pass.as_ref().and_then(Pass::watched),
        }
    }

    /// How long to wait for more, and whether something is said to the reader then. `None`: it has taken
    /// too long.
    fn next(&mut self, now: MonoNanos, caps: &mut Caps<'_, '_>) -> Option<(Duration, bool)> {
        if std::mem::take(&mut self.is_news) {
            self.heard = now;
        }
        let since = |at| Duration::from_nanos(now.since(at));
        let passed = since(self.began);
        let left = caps.total.checked_sub(passed)?;
        if self.watched.is_some_and(|watched| passed > watched) {
            caps.works();
        }
        let wait = left.min(caps.idle.saturating_sub(since(self.heard)));
        let every = caps.alive.as_ref().map(|alive| alive.every);
        let quiet = every.map(|every| every.saturating_sub(since(self.spoke)));
        Some(match quiet.filter(|quiet| *quiet < wait) {
            Some(quiet) => (quiet, true),
            None => (wait, false),
        })
    }
}

impl Exchange<'_> {
    /// The first byte of the answer is on its way.
    fn note_first_byte(&mut self) {
        if self.work.facts.first_byte_ns.is_none() {
            let passed = self.worker.shared.clock.mono().since(self.started);
            self.work.facts.first_byte_ns = Some(passed);
        }
    }

    /// HOT. Names whose call this is, so that it ends when their access does, whatever it waits
    /// for.
    pub(crate) fn hold_slot(&self) {
        let token = self.work.facts.token.as_deref();
        let holder = token.map(|token| *token.digest().bytes());
        self.conn.slot().hold(holder);
    }

    /// Whether the caller's access ended since it was proven.
    pub(crate) fn is_revoked(&self) -> bool {
        self.conn.slot().is_cut()
    }

    /// Why waiting for an upstream came to its end: the caller's access did, or time.
    pub(crate) fn late(&self) -> Refusal {
        if self.is_revoked() {
            self.cut_off()
        } else {
            Refusal::Timeout
        }
    }

    /// Why it ends though it could go on: the caller's access ended, or that of the provider's
    /// credential.
    #[cold]
    pub(crate) fn cut_off(&self) -> Refusal {
        let token = self.work.facts.token.as_ref();
        match &self.work.facts.asked {
            Some(asked) if !token.is_some_and(|token| token.is_cut()) => {
                Refusal::CredentialUnavailable(asked.name.to_string())
            }
            Some(_) | None => Refusal::AccessRevoked,
        }
    }

    /// Ends the head of an answer of unknown length; says whether its body is chunked.
    pub(crate) fn begin_stream(&mut self) -> bool {
        let chunked = self.work.head.version == Version::Http11 && !self.conn.is_stream();
        self.end_head(if chunked {
            Framed::Chunked
        } else {
            Framed::UntilClose
        });
        chunked
    }

    pub(crate) async fn end_stream(&mut self, chunked: bool) -> Result<(), Stop> {
        if chunked {
            write::last_chunk(&mut self.work.out);
        }
        if self.work.out.is_empty() {
            Ok(())
        } else {
            self.flush().await
        }
    }

    /// Moves the body along until it ends, or the caller's access does. What is not yet written
    /// stays in the scratch, so that the end can go out with the last bytes. Whoever has `seen` a piece
    /// may end it there.
    pub(crate) async fn pump(
        &mut self,
        upstream: &mut UpstreamConn,
        body: &mut UpstreamBody,
        caps: &mut Caps<'_, '_>,
        mut seen: impl FnMut(&Self, &[u8]) -> Option<Refusal>,
    ) -> Result<Ended, Stop> {
        let mut waits = Waits::new(self.worker.deadlines.now(), caps);
        loop {
            if self.conn.slot().is_denied() {
                return Err(Stop::Cut);
            }
            if self.is_revoked() {
                return Ok(Ended::Failed(self.cut_off()));
            }
            match body.step(upstream) {
                Err(refusal) => return Ok(Ended::Failed(refusal)),
                Ok(BodyStep::End) => {
                    // Before the last bytes go out, so that it counts for the caller's next call.
                    caps.works();
                    return Ok(Ended::Whole);
                }
                Ok(BodyStep::Data(data)) => {
                    let (all, too_large) = (data.len(), !caps.has_room_for(data));
                    let data = caps.within(data);
                    let len = data.len();
                    caps.sent += u64::try_from(len).unwrap_or(0);
                    self.note_first_byte();
                    let mut stopped = None;
                    if len > 0 {
                        stopped = seen(self, data);
                        caps.write(&mut self.work.out, data);
                    }
                    upstream.consume(len);
                    body.keep(all.saturating_sub(len));
                    if let Some(refusal) = stopped {
                        return Ok(Ended::Failed(refusal));
                    }
                    if too_large {
                        return Ok(Ended::Failed(Refusal::ResponseTooLarge));
                    }
                }
                Ok(BodyStep::More) => {
                    let now = self.worker.deadlines.now();
                    if !self.work.out.is_empty() {
                        self.flush().await?;
                        waits.spoke = now;
                    }
                    let Some((wait, is_quiet)) = waits.next(now, caps) else {
                        return Ok(Ended::Failed(Refusal::Timeout));
                    };
                    self.conn.slot().set(wait);
                    match self.fill(upstream).await {
                        Raced::Gone => return Err(Stop::CallerGone),
                        Raced::Late if self.conn.slot().is_denied() => return Err(Stop::Cut),
                        // Said at the beginning of the loop.
                        Raced::Late if self.is_revoked() => {}
                        Raced::Late if is_quiet => {
                            caps.say_alive(&mut self.work.out);
                            waits.spoke = self.worker.deadlines.now();
                        }
                        Raced::Late => return Ok(Ended::Failed(Refusal::Timeout)),
                        Raced::Done(Ok(read)) if read > 0 => waits.is_news = true,
                        Raced::Done(Ok(_) | Err(_)) => {
                            return Ok(if body.end_of_stream() {
                                Ended::Whole
                            } else {
                                Ended::Failed(Refusal::UpstreamInterrupted)
                            });
                        }
                    }
                }
            }
        }
    }
}
