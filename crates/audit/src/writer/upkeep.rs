//! What the writer does beside writing: checkpoints, closing the file and beginning the next, and
//! letting go of the oldest parts.

use super::{Writer, after};
use crate::file::{AuditFile, First, Packing, Place, Segment, first_record, pack_closed};
use crate::signing::{Anchor, CHECKPOINT, PRUNE, Signing, signed};
use crate::{Action, Actor, Event, Key, Outcome, Receipt, Value};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;
use tollkeep_types::{Entropy, MonoNanos, WallMillis};

/// How long a rotation that failed is left alone.
const TRY_AGAIN_NS: u64 = 60_000_000_000;

const DAY_MS: u64 = 86_400_000;

/// When the file is closed and what becomes of closed ones.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rotation {
    /// Bytes of a file at most, but for what is written at once.
    pub size_bytes: u64,
    /// Whether each day (UTC) begins a file.
    pub daily: bool,
    /// Closed files that are kept at most.
    pub keep: usize,
    /// How long a closed file is kept after its last record.
    pub keep_for: Option<Duration>,
    /// Whether closed files are compressed, but for the last.
    pub compress: bool,
    /// Whether closed files are sealed, the last one too.
    pub seal: bool,
}

impl Default for Rotation {
    fn default() -> Self {
        Self {
            size_bytes: 100 << 20,
            daily: true,
            keep: 90,
            keep_for: None,
            compress: true,
            seal: false,
        }
    }
}

/// What the writer knows for it.
#[derive(Default)]
pub(crate) struct Upkeep {
    signing: Option<Signing>,
    rotation: Option<Rotation>,
    /// Up to where a checkpoint of this process speaks.
    signed_through: u64,
    /// Since when a record waits for one.
    unsigned_since: Option<MonoNanos>,
    /// Checkpoints that are not on disk yet.
    anchors: Vec<Anchor>,
    /// The day on which the file began.
    day: Option<u64>,
    rest_until: MonoNanos,
    /// What seals closed parts.
    entropy: Option<Arc<dyn Entropy>>,
    /// Where it is asked for another form of closed parts.
    packer: Option<SyncSender<()>>,
}

impl Upkeep {
    pub(crate) fn new(
        signing: Option<Signing>,
        rotation: Option<Rotation>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self {
            signing,
            rotation,
            entropy: Some(entropy),
            ..Self::default()
        }
    }
}

impl Writer {
    /// The file is open, and its chain goes on after this record.
    pub(super) fn begin_upkeep(&mut self) {
        let (_, seq, _) = self.appender.head();
        self.upkeep.signed_through = seq;
        self.note_day();
    }

    fn note_day(&mut self) {
        let path = &self.place.path;
        // A pipe would be waited for.
        let is_file = std::fs::metadata(path).is_ok_and(|data| data.is_file());
        let first = is_file.then(|| first_record(path, None).ok().flatten());
        let first = first.flatten();
        let began = first.map_or_else(|| self.queue.clock.wall(), |first| first.at);
        self.upkeep.day = Some(began.0 / DAY_MS);
    }

    /// When something is due, if nothing is written until then.
    pub(super) fn upkeep_due(&self) -> Option<MonoNanos> {
        let since = self.upkeep.unsigned_since?;
        let every = self.upkeep.signing.as_ref()?.every;
        Some(after(
            since,
            u64::try_from(every.as_nanos()).unwrap_or(u64::MAX),
        ))
    }

    /// Does what is due. A file that can't be closed is written on.
    pub(super) fn keep_up(&mut self) -> io::Result<()> {
        if self.checkpoint_is_due() {
            self.checkpoint();
        }
        if self.rotation_is_due() {
            self.write_out()?;
            self.sync()?;
            if let Err(error) = self.rotate() {
                let path = self.place.path.display();
                tracing::warn!("The audit file `{path}` can't be rotated and grows on: {error}");
                self.upkeep.rest_until = after(self.now(), TRY_AGAIN_NS);
            }
        }
        Ok(())
    }

    fn checkpoint_is_due(&mut self) -> bool {
        let Some(signing) = &self.upkeep.signing else {
            return false;
        };
        let (_, seq, _) = self.appender.head();
        let waiting = seq.saturating_sub(self.upkeep.signed_through);
        if waiting == 0 {
            return false;
        }
        let every = signing.every_events;
        let now = self.now();
        self.upkeep.unsigned_since.get_or_insert(now);
        waiting >= every || self.upkeep_due().is_some_and(|due| now >= due)
    }

    /// Appends a signed record of where the chain stands.
    pub(super) fn checkpoint(&mut self) {
        let Some(signing) = &self.upkeep.signing else {
            return;
        };
        let (stream, seq, head) = self.appender.head();
        let count = seq.saturating_sub(self.upkeep.signed_through);
        let mut details = vec![
            (Key::Stream, Value::OwnedWord(stream.to_string().into())),
            (Key::Seq, Value::Number(seq)),
            (Key::Head, Value::OwnedWord(head.into())),
            (Key::Count, Value::Number(count)),
        ];
        let ledger = signing.ledger_head.lock();
        if let Some(head) = ledger.ok().and_then(|head| head.clone()) {
            details.push((Key::LedgerHead, Value::OwnedWord(head.into())));
        }
        if let Some(heads) = signing.heads(stream) {
            details.push((Key::Heads, Value::Long(heads.into())));
        }
        let details = signed(&signing.signer.key(), CHECKPOINT, details);
        let before = self.appender.bytes().len();
        let event = Event::new(Action::AuditCheckpoint, Actor::System, Outcome::Success);
        self.append_with(event, details);
        let line = self.appender.bytes().get(before..).unwrap_or_default();
        let line = line.strip_suffix(b"\n").unwrap_or(line).to_vec();
        self.upkeep.anchors.push(Anchor { stream, seq, line });
        self.upkeep.signed_through = seq.saturating_add(1);
        self.upkeep.unsigned_since = None;
    }

    fn append_with(
        &mut self,
        event: Event<'static>,
        details: Vec<(Key, Value<'static>)>,
    ) -> Receipt {
        let mut event = event;
        for (key, value) in details {
            event = event.with_detail(key, value);
        }
        self.appender.append(&event)
    }

    /// Everything written is on disk: checkpoints are told.
    pub(super) fn tell_anchors(&mut self) {
        if self.upkeep.anchors.is_empty() {
            return;
        }
        let anchors = std::mem::take(&mut self.upkeep.anchors);
        let told = self.upkeep.signing.as_ref();
        if let Some(told) = told.and_then(|signing| signing.told.as_ref()) {
            anchors.into_iter().for_each(|anchor| told(anchor));
        }
    }

    fn rotation_is_due(&self) -> bool {
        let (Some(rotation), Some(file)) = (&self.upkeep.rotation, &self.file) else {
            return false;
        };
        if !file.is_regular() || self.now() < self.upkeep.rest_until {
            return false;
        }
        let today = self.queue.clock.wall().0 / DAY_MS;
        let is_new_day = rotation.daily && self.upkeep.day.is_some_and(|day| day < today);
        is_new_day || file.len().is_ok_and(|len| len >= rotation.size_bytes)
    }

    /// Closes the file under a name of its own and begins the next.
    fn rotate(&mut self) -> io::Result<()> {
        let path = self.place.path.clone();
        if !self.file.as_ref().is_some_and(|file| file.is_at(&path)) {
            // Somebody moved it away.
            return self.open_next();
        }
        let Some(first) = first_record(&path, None)? else {
            // Its first line is none of ours: it is closed all the same, under its last number.
            let (stream, seq, _) = self.appender.head();
            let (at, prev) = (self.queue.clock.wall(), [0; 32]);
            let first = First {
                at,
                stream,
                seq,
                prev,
            };
            return self.close_as(first);
        };
        self.close_as(first)
    }

    fn close_as(&mut self, first: First) -> io::Result<()> {
        let path = self.place.path.clone();
        let closed = self.place.segment_path(first);
        if closed.exists() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let name = closed.file_name().unwrap_or_default().to_string_lossy();
        let event = Event::new(Action::AuditRotate, Actor::System, Outcome::Success);
        let name = Value::OwnedWord(name.into());
        self.append_with(event, vec![(Key::File, name)]);
        self.checkpoint();
        self.write_out()?;
        self.sync()?;
        std::fs::rename(&path, &closed)?;
        if let Err(error) = self.open_next() {
            // The name must not be missing.
            if !path.exists()
                && let Err(error) = std::fs::rename(&closed, &path)
            {
                tracing::warn!("The audit file can't be given its name back: {error}");
            }
            return Err(error);
        }
        self.tidy();
        Ok(())
    }

    /// Goes on in the file that has the name now; the one before stays with whoever moved it.
    fn open_next(&mut self) -> io::Result<()> {
        let now = self.queue.clock.wall();
        let (file, _) = self.place.open(now).map_err(io::Error::other)?;
        self.file = Some(file);
        self.upkeep.day = Some(now.0 / DAY_MS);
        let (_, seq, head) = self.appender.head();
        let event = Event::new(Action::AuditOpen, Actor::System, Outcome::Success);
        let details = vec![
            (Key::Seq, Value::Number(seq)),
            (Key::Head, Value::OwnedWord(head.into())),
        ];
        self.append_with(event, details);
        self.write_out()?;
        self.sync()
    }

    /// Opens the file by its name again, if that is another file now. Until then everything went
    /// into the one that was moved away.
    pub(super) fn open_by_name(&mut self) -> io::Result<()> {
        let Some(file) = &self.file else {
            return Err(io::ErrorKind::NotFound.into());
        };
        if !file.is_regular() || file.is_at(&self.place.path) {
            return Ok(());
        }
        self.checkpoint();
        self.write_out()?;
        self.sync()?;
        self.open_next()
    }

    /// Lets go of closed files that are too many or too old, and compresses others. What goes
    /// wrong is told and tried again with the next rotation.
    pub(super) fn tidy(&mut self) {
        let is_regular = self.file.as_ref().is_some_and(AuditFile::is_regular);
        let Some(rotation) = self.upkeep.rotation.filter(|_| is_regular) else {
            return;
        };
        if let Err(error) = self.prune(rotation) {
            tracing::warn!("Old audit files can't be deleted: {error}");
        }
        if !rotation.compress && !rotation.seal {
            return;
        }
        let entropy = self.upkeep.entropy.clone().filter(|_| rotation.seal);
        let packing = Packing {
            compress: rotation.compress,
            seal: self.place.key.clone().zip(entropy),
        };
        // One that waits already will see what is closed now, too.
        let packer = self
            .upkeep
            .packer
            .get_or_insert_with(|| packer(self.place.clone(), packing));
        let _waits = packer.try_send(());
    }

    fn prune(&mut self, rotation: Rotation) -> io::Result<()> {
        let (segments, key) = (self.place.segments()?, self.place.key.as_ref());
        let now = self.queue.clock.wall();
        let too_many = segments.len().saturating_sub(rotation.keep);
        let mut through: Option<(usize, First, First)> = None;
        for (number, segment) in segments.iter().enumerate() {
            let next = segments.get(number + 1);
            let next = next.map_or(self.place.path.as_path(), |next| &next.path);
            let Some(following) = first_record(next, key)? else {
                break;
            };
            if number >= too_many && !is_old(following, now, rotation.keep_for) {
                break;
            }
            let Some(first) = first_record(&segment.path, key)? else {
                break;
            };
            // A stream that ends with a file is not told by what follows.
            if first.stream != following.stream {
                break;
            }
            let begins = through.map_or(first, |(_, begins, _)| begins);
            through = Some((number + 1, begins, following));
        }
        let Some((count, begins, following)) = through else {
            return Ok(());
        };
        self.tell_pruned(begins, following);
        self.write_out()?;
        self.sync()?;
        delete(segments.get(..count).unwrap_or_default())
    }

    /// Says what is deleted, before it is.
    fn tell_pruned(&mut self, begins: First, following: First) {
        let through = following.seq.saturating_sub(1);
        let count = following.seq.saturating_sub(begins.seq);
        let head = crate::chain::hex(&following.prev);
        let head = String::from_utf8_lossy(&head).into_owned();
        let stream = following.stream.to_string();
        let mut details = vec![
            (Key::Stream, Value::OwnedWord(stream.into())),
            (Key::ThroughSeq, Value::Number(through)),
            (Key::Head, Value::OwnedWord(head.into())),
            (Key::Count, Value::Number(count)),
        ];
        if let Some(signing) = &self.upkeep.signing {
            details = signed(&signing.signer.key(), PRUNE, details);
        }
        let event = Event::new(Action::AuditPrune, Actor::System, Outcome::Success);
        self.append_with(event, details);
    }
}

/// Begins a thread that compresses or seals closed parts whenever it is asked to, until nobody can ask.
fn packer(place: Place, packing: Packing) -> SyncSender<()> {
    let (ask, asked) = sync_channel(1);
    let thread = thread::Builder::new().name("audit-pack".to_owned());
    let begun = thread.spawn(move || {
        // Of this thread alone: there is no hurry, and calls are to be served.
        if let Err(error) = rustix::process::nice(19) {
            tracing::debug!("Compression can't be made less urgent: {error}");
        }
        for () in asked {
            if let Err(error) = pack_closed(&place, &packing) {
                let done = match packing.seal {
                    Some(_) => "sealed",
                    None => "compressed",
                };
                tracing::warn!("A closed audit file can't be {done}: {error}");
            }
        }
    });
    if let Err(error) = begun {
        tracing::warn!("Closed audit files are not compressed or sealed: {error}");
    }
    ask
}

fn is_old(following: First, now: WallMillis, keep_for: Option<Duration>) -> bool {
    keep_for.is_some_and(|keep_for| {
        let kept = u64::try_from(keep_for.as_millis()).unwrap_or(u64::MAX);
        following.at.0.saturating_add(kept) < now.0
    })
}

fn delete(segments: &[Segment]) -> io::Result<()> {
    segments.iter().try_for_each(Segment::delete)
}
