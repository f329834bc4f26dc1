//! Events becoming records: encoded, chained, counted, and kept until they are durable.

use crate::chain::{Chain, Link};
use crate::cliproxy::{Chosen, Cliproxy, CliproxyEncoder};
use crate::encode::{Encoder, Shown};
use crate::{Class, Event, Receipt};
use std::sync::Arc;
use tollkeep_types::{Clock, Entropy, EventId, StreamId, WallMillis};

/// Where a batch of the data plane puts its events. It lives in the writer thread.
pub struct EventSink<'a>(&'a mut Appender);

impl<'a> EventSink<'a> {
    pub(crate) const fn new(appender: &'a mut Appender) -> Self {
        Self(appender)
    }

    /// Appends one event to the chain.
    pub fn append(&mut self, event: &Event<'_>) {
        self.0.append(event);
    }
}

/// A place to come back to when a record must not stay.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    chain: Chain,
    len: usize,
    counts: [u64; Class::ALL.len()],
}

impl Mark {
    /// Where in [`Appender::bytes`] it is.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }
}

/// Makes lines of events, in the words of one family or the other.
#[expect(clippy::large_enum_variant, reason = "there is one")]
enum Lines {
    LlmProxy(Encoder),
    Cliproxy(CliproxyEncoder),
}

/// Encodes events into memory. Records stay there until [`Appender::forget`].
pub(crate) struct Appender {
    chain: Chain,
    lines: Lines,
    chosen: Chosen,
    ids: Ids,
    bytes: Vec<u8>,
    /// Records by class since they were last asked for.
    counts: [u64; Class::ALL.len()],
    last: EventId,
}

/// What a buffer grew beyond this is given back. A busy log syncs when this is half full.
const KEPT_BYTES_MAX: usize = 4 << 20;

impl Appender {
    /// An appender with a stream of its own.
    pub(crate) fn new(
        shown: Shown,
        (cliproxy, chosen): (Option<Cliproxy>, Chosen),
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        let stream = StreamId::new(&*clock, &*entropy);
        Self {
            chain: Chain::new(stream, Link::START),
            lines: match cliproxy {
                None => Lines::LlmProxy(Encoder::new(shown)),
                Some(settings) => Lines::Cliproxy(CliproxyEncoder::new(settings, shown)),
            },
            chosen,
            ids: Ids::new(clock, entropy),
            bytes: Vec::new(),
            counts: [0; Class::ALL.len()],
            last: EventId::from_bytes([0; 16]),
        }
    }

    /// Goes on with a stream that was found. Only before the first record.
    pub(crate) fn resume(&mut self, stream: StreamId, last: Link) {
        self.chain = Chain::new(stream, last);
    }

    /// Adds one record, if it is one of those that are chosen.
    pub(crate) fn append(&mut self, event: &Event<'_>) -> Receipt {
        if !self.chosen.has(event) {
            return self.last();
        }
        let at = event.at.unwrap_or_else(|| self.ids.clock.wall());
        let id = self.ids.next(at);
        self.last = id;
        let seq = self.chain.next_seq();
        let (out, chain) = (&mut self.bytes, &mut self.chain);
        match &mut self.lines {
            Lines::LlmProxy(encoder) => encoder.append(out, event, (id, at), chain),
            Lines::Cliproxy(encoder) => encoder.append(out, event, (id, at), chain),
        }
        if let Some(count) = self.counts.get_mut(event.class() as usize) {
            *count += 1;
        }
        Receipt {
            id,
            stream: self.chain.stream,
            seq,
        }
    }

    /// The last record.
    pub(crate) const fn last(&self) -> Receipt {
        Receipt {
            id: self.last,
            stream: self.chain.stream,
            seq: self.chain.last_seq(),
        }
    }

    /// The stream, the number of its last record and the digits of its hash.
    pub(crate) fn head(&self) -> (StreamId, u64, String) {
        let head = String::from_utf8_lossy(self.chain.prev_hex()).into_owned();
        (self.chain.stream, self.chain.last_seq(), head)
    }

    /// The records that may not be durable yet.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// All records are durable.
    pub(crate) fn forget(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES_MAX);
    }

    /// Here.
    pub(crate) const fn mark(&self) -> Mark {
        Mark {
            chain: self.chain,
            len: self.bytes.len(),
            counts: self.counts,
        }
    }

    /// Takes back every record since `mark`.
    pub(crate) fn rewind(&mut self, mark: &Mark) {
        self.chain = mark.chain;
        self.bytes.truncate(mark.len);
        self.counts = mark.counts;
    }

    /// Records by class since this was last asked.
    pub(crate) fn take_counts(&mut self) -> impl Iterator<Item = (Class, u64)> {
        let counts = std::mem::take(&mut self.counts);
        Class::ALL.iter().copied().zip(counts)
    }
}

/// Ids of events. Randomness is drawn for many at a time.
struct Ids {
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    drawn: [[u8; 16]; 64],
    used: usize,
}

impl Ids {
    fn new(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        let drawn = [[0; 16]; 64];
        Self {
            clock,
            entropy,
            used: drawn.len(),
            drawn,
        }
    }

    fn next(&mut self, at: WallMillis) -> EventId {
        if self.used == self.drawn.len() {
            self.entropy.fill(self.drawn.as_flattened_mut());
            self.used = 0;
        }
        let random = self.drawn.get(self.used).copied().unwrap_or_default();
        self.used += 1;
        EventId::of(at, random)
    }
}
