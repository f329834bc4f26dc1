//! What a client may spend on frames that cost it little and us much: counts frames and says when
//! it was too much.

use crate::frame::{END_STREAM, Frame, Kind};
use tollkeep_types::MonoNanos;

/// When a budget begins to be counted anew.
const WINDOW_NS: u64 = 10_000_000_000;

/// Resets of either side in ten seconds, before they are compared with the streams opened.
const RESETS_MAX: u32 = 100;
/// Frames that ask for work and carry nothing, in ten seconds.
const IDLE_FRAMES_MAX: u32 = 1_000;
/// CONTINUATION frames of one block of fields.
const CONTINUATIONS_MAX: u32 = 8;

/// What there was too much of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Breach {
    /// Streams reset, by either side.
    Resets,
    /// PING, SETTINGS, PRIORITY, empty DATA, smallest WINDOW_UPDATE, unknown frames.
    IdleFrames,
    /// CONTINUATION frames of one block of fields.
    Continuations,
    /// Frames that answer the client's and wait because it does not read.
    Unread,
}

impl Breach {
    /// Its name in metrics and logs.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Resets => "http2_resets",
            Self::IdleFrames => "http2_idle_frames",
            Self::Continuations => "http2_continuations",
            Self::Unread => "http2_unread",
        }
    }
}

/// What one connection has spent.
#[derive(Clone, Debug, Default)]
pub struct Budget {
    window_began: MonoNanos,
    /// The newest stream of the client.
    newest: u32,
    streams: u32,
    resets: u32,
    idle_frames: u32,
    continuations: u32,
}

impl Budget {
    /// HOT. Counts a frame that the client sent.
    ///
    /// # Errors
    /// It was one too many.
    pub fn received(&mut self, frame: Frame, now: MonoNanos) -> Result<(), Breach> {
        self.begin_window(now);
        match frame.kind {
            Kind::Headers => {
                self.continuations = 0;
                // Not the fields behind a body, or they would hide half of the resets.
                if frame.stream > self.newest {
                    self.newest = frame.stream;
                    self.streams = self.streams.saturating_add(1);
                }
                Ok(())
            }
            Kind::Continuation => {
                self.continuations = self.continuations.saturating_add(1);
                within(self.continuations, CONTINUATIONS_MAX, Breach::Continuations)
            }
            Kind::ResetStream => self.reset(),
            // One that ends its stream is the regular end of a body.
            Kind::Data if frame.length > 0 || frame.flags & END_STREAM != 0 => Ok(()),
            Kind::WindowUpdate if frame.increment > 1 => Ok(()),
            Kind::Data
            | Kind::WindowUpdate
            | Kind::Ping
            | Kind::Settings
            | Kind::Priority
            | Kind::PushPromise
            | Kind::GoAway
            | Kind::Unknown => self.carried_nothing(),
        }
    }

    /// Counts a frame that turned out to carry nothing: padding alone, or fields for a stream that
    /// has left.
    ///
    /// # Errors
    /// It was one too many.
    pub fn carried_nothing(&mut self) -> Result<(), Breach> {
        self.idle_frames = self.idle_frames.saturating_add(1);
        within(self.idle_frames, IDLE_FRAMES_MAX, Breach::IdleFrames)
    }

    /// Counts a stream that we reset, whoever makes us do it.
    ///
    /// # Errors
    /// It was one too many.
    pub fn sent_reset(&mut self, now: MonoNanos) -> Result<(), Breach> {
        self.begin_window(now);
        self.reset()
    }

    fn begin_window(&mut self, now: MonoNanos) {
        if now.since(self.window_began) >= WINDOW_NS {
            self.window_began = now;
            (self.streams, self.resets, self.idle_frames) = (0, 0, 0);
        }
    }

    fn reset(&mut self) -> Result<(), Breach> {
        self.resets = self.resets.saturating_add(1);
        let most = self.resets.saturating_mul(2) > self.streams;
        if most {
            return within(self.resets, RESETS_MAX, Breach::Resets);
        }
        Ok(())
    }
}

fn within(count: u32, max: u32, breach: Breach) -> Result<(), Breach> {
    if count > max { Err(breach) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn frame(kind: Kind) -> Frame {
        Frame {
            kind,
            length: 0,
            flags: 0,
            stream: 1,
            increment: 0,
        }
    }

    /// How many frames of this sort pass.
    fn passing(frame: Frame) -> usize {
        let mut budget = Budget::default();
        let count = (0..5_000).take_while(|_| budget.received(frame, MonoNanos(1)).is_ok());
        count.count()
    }

    // EDGE-42
    #[test]
    fn frames_that_carry_nothing_are_counted_together() {
        let idle = |kind| passing(frame(kind));
        for (name, passed, want) in [
            ("ping", idle(Kind::Ping), 1_000),
            ("settings", idle(Kind::Settings), 1_000),
            ("priority", idle(Kind::Priority), 1_000),
            ("empty data", idle(Kind::Data), 1_000),
            ("unknown", idle(Kind::Unknown), 1_000),
            ("a window by nothing", idle(Kind::WindowUpdate), 1_000),
            ("continuation", idle(Kind::Continuation), 8),
            ("headers", idle(Kind::Headers), 5_000),
            (
                "a window by one",
                passing(Frame {
                    increment: 1,
                    ..frame(Kind::WindowUpdate)
                }),
                1_000,
            ),
            (
                "a window by more",
                passing(Frame {
                    increment: 2,
                    ..frame(Kind::WindowUpdate)
                }),
                5_000,
            ),
            (
                "data",
                passing(Frame {
                    length: 1,
                    ..frame(Kind::Data)
                }),
                5_000,
            ),
            (
                "the end of a body",
                passing(Frame {
                    flags: END_STREAM,
                    ..frame(Kind::Data)
                }),
                5_000,
            ),
        ] {
            assert_eq!(passed, want, "{name}");
        }
    }

    // EDGE-42
    #[test]
    fn counts_begin_anew_after_ten_seconds_and_not_before() {
        let mut budget = Budget::default();
        for _ in 0..1_000 {
            assert_eq!(
                budget.received(frame(Kind::Ping), MonoNanos(SECOND)),
                Ok(())
            );
        }
        let late = MonoNanos(10 * SECOND - 1);
        let refused = budget.received(frame(Kind::Settings), late);
        assert_eq!(refused, Err(Breach::IdleFrames));
        assert_eq!(
            budget.received(frame(Kind::Ping), MonoNanos(10 * SECOND)),
            Ok(())
        );
    }

    // EDGE-42
    #[test]
    fn resets_of_either_side_count_once_they_are_most_of_the_streams() {
        let run = |streams_a_reset: usize, ours: bool| {
            let mut budget = Budget::default();
            let mut ids = (1_u32..).step_by(2);
            let rounds = (0..1_000).take_while(|_| {
                for stream in ids.by_ref().take(streams_a_reset) {
                    let begin = Frame {
                        stream,
                        ..frame(Kind::Headers)
                    };
                    budget.received(begin, MonoNanos(1)).unwrap();
                    budget.received(begin, MonoNanos(1)).unwrap();
                }
                let counted = if ours {
                    budget.sent_reset(MonoNanos(1))
                } else {
                    budget.received(frame(Kind::ResetStream), MonoNanos(1))
                };
                counted.is_ok()
            });
            rounds.count()
        };
        for (name, streams, ours, want) in [
            ("each stream reset by the client", 1, false, 100),
            ("each stream reset by us", 1, true, 100),
            ("half of them", 2, false, 1_000),
            ("none opened", 0, false, 100),
        ] {
            assert_eq!(run(streams, ours), want, "{name}");
        }
    }

    // EDGE-42
    #[test]
    fn each_block_of_fields_has_its_own_continuations() {
        let mut budget = Budget::default();
        for _ in 0..20 {
            budget.received(frame(Kind::Headers), MonoNanos(1)).unwrap();
            for _ in 0..8 {
                budget
                    .received(frame(Kind::Continuation), MonoNanos(1))
                    .unwrap();
            }
        }
    }
}
