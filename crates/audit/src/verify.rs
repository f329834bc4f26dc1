//! Whether files are what was written: every record by its own hash and by the one before it, every
//! checkpoint by its signature.
//!
//! Files are parts of what was written and come in any order. Of each file only its unbroken runs
//! are kept: where one begins and where it ends. When all are read, the runs of a chain are laid end
//! to end. So the memory that is used grows with what is broken, up to a bound, and not with the log.

mod heads;
mod open;
mod record;
mod report;
mod runs;
mod trust;

pub use open::{in_order, is_sealed, open_log};
pub use report::{Fault, FaultKind, Report, StreamReport};
pub use trust::{Trust, TrustFault};

use crate::Manifest;
use crate::chain::{hex, parse_hash};
use crate::signing::{CHECKPOINT, MANIFEST, PRUNE};
use record::{Reader, Stated};
use runs::{At, Chain, Run};
use std::io::{self, BufRead, Read};

/// A longer line is none of ours.
const LINE_BYTES_MAX: u64 = 256 << 10;
/// Chains that are followed at once.
const STREAMS_MAX: usize = 1_024;
/// Unbroken runs that are kept.
const RUNS_MAX: usize = 100_000;

/// Reads files of the log and says what is wrong with them.
///
/// ```
/// use tollkeep_audit::Verifier;
///
/// let mut verifier = Verifier::default();
/// verifier.read("audit.log", &b"{}\n"[..])?;
/// let report = verifier.finish();
/// assert_eq!(report.faults[0].to_string(), "audit.log:1: is no record");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Verifier {
    trust: Trust,
    is_part: bool,
    reader: Reader,
    report: Report,
    files: Vec<String>,
    chains: Vec<Chain>,
    runs: usize,
    listed: Vec<(At, Manifest)>,
    heard: heads::Heard,
}

/// Chain, number and hash that a checkpoint from elsewhere knows.
type Known = (String, u64, [u8; 32]);

/// What is known within one file.
#[derive(Default)]
struct Inside {
    /// The file.
    file: usize,
    line: u64,
    /// The chain of the last record.
    chain: Option<usize>,
    /// Lines since then that were no records.
    unreadable: u64,
}

impl Verifier {
    /// Believes these keys.
    #[must_use]
    pub fn trusting(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self
    }

    /// The files are only a part of what is kept: what comes before them is not missed.
    #[must_use]
    pub const fn of_a_part(mut self) -> Self {
        self.is_part = true;
        self
    }

    /// Knows a checkpoint that was kept elsewhere: the record itself, or its details. Says whether
    /// it is one; a signature is checked if keys are believed.
    pub fn expect(&mut self, name: &str, line: &[u8]) -> bool {
        let Some(known) = self.checkpoint_of(line) else {
            return false;
        };
        let file = self.file(name);
        match known {
            Ok((stream, seq, head)) => {
                let at = At { file, line: 0 };
                if let Some(chain) = self.chain(stream.as_bytes()) {
                    self.expect_of(chain, (seq, head), at);
                    // The record knows itself too.
                    if let Some(own) = self.reader.read(line)
                        && own.is_true()
                        && own.stream.of(line) == stream.as_bytes()
                    {
                        self.expect_of(chain, (own.seq, own.real), at);
                    }
                }
            }
            Err(what) => self.fault(At { file, line: 0 }, None, what),
        }
        true
    }

    /// Knows a manifest of an export: its signature is checked if keys are believed, and its chains must
    /// end as it says, both when all is read. What it lists is a part of the log.
    pub fn expect_listed(&mut self, name: &str, manifest: &Manifest) {
        self.is_part = true;
        let at = At {
            file: self.file(name),
            line: 0,
        };
        self.listed.push((at, manifest.clone()));
    }

    /// Tells a fault that was found elsewhere, about a whole file.
    pub fn blame(&mut self, name: &str, what: FaultKind) {
        let file = self.file(name);
        self.fault(At { file, line: 0 }, None, what);
    }

    /// Compares the ends of chains with what manifests list.
    fn compare_listed(&mut self) {
        for (at, manifest) in std::mem::take(&mut self.listed) {
            // Only now: the key may be one that a record of the log tells.
            let signed = manifest.signed.as_bytes();
            match self.trust.key(&manifest.key_id) {
                _ if self.trust.is_empty() => self.report.unchecked += 1,
                None => self.fault(at, None, FaultKind::UnknownKey),
                Some(key) if key.verifies(MANIFEST, signed, &manifest.sig) => {}
                Some(_) => self.fault(at, None, FaultKind::Signature),
            }
            for (name, first, last, head) in manifest.streams {
                let mut found = self.report.streams.iter();
                let found = found.find(|one| one.stream == name);
                let is_same = found.is_some_and(|one| {
                    one.first <= first && one.last >= last && (one.last > last || one.head == head)
                });
                if !is_same {
                    self.fault(at, Some(last), FaultKind::NotAsListed);
                }
            }
        }
    }

    /// Chain, number and hash that a checkpoint from elsewhere knows, or what is wrong with it.
    fn checkpoint_of(&self, line: &[u8]) -> Option<Result<Known, FaultKind>> {
        let given: serde_json::Value = serde_json::from_slice(line).ok()?;
        let details = given.get("details").unwrap_or(&given).as_object()?;
        let text = |name: &str| details.get(name)?.as_str();
        let stream = text("stream")?.to_owned();
        let seq = details.get("seq")?.as_u64()?;
        let head = parse_hash(text("head")?)?;
        let (key, sig) = (text("key_id")?, text("sig")?);
        if !self.trust.is_empty() {
            let Some(key) = self.trust.key(key) else {
                return Some(Err(FaultKind::UnknownKey));
            };
            let signed: std::collections::BTreeMap<_, _> =
                details.iter().filter(|(name, _)| *name != "sig").collect();
            let signed = serde_json::to_vec(&signed).ok()?;
            if !key.verifies(CHECKPOINT, &signed, sig) {
                return Some(Err(FaultKind::Signature));
            }
        }
        Some(Ok((stream, seq, head)))
    }

    fn expect_of(&mut self, chain: usize, (seq, head): (u64, [u8; 32]), at: At) {
        if let Some(chain) = self.chains.get_mut(chain) {
            chain.expected.insert(seq, (head, at));
        }
    }

    /// Reads a file to its end, in constant memory. `name` is what faults call it.
    ///
    /// # Errors
    /// It can't be read.
    pub fn read(&mut self, name: &str, mut input: impl BufRead) -> io::Result<()> {
        self.report.files += 1;
        let mut inside = Inside {
            file: self.file(name),
            ..Inside::default()
        };
        for chain in &mut self.chains {
            chain.last = None;
        }
        let mut line = Vec::new();
        loop {
            line.clear();
            let mut part = (&mut input).take(LINE_BYTES_MAX);
            if part.read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            inside.line += 1;
            if line.pop_if(|last| *last == b'\n').is_none() {
                self.fault(inside.at(), None, FaultKind::Torn);
                inside.unreadable += 1;
            } else {
                self.take(&line, &mut inside);
            }
        }
    }

    fn file(&mut self, name: &str) -> usize {
        self.files.push(name.to_owned());
        self.files.len() - 1
    }

    fn fault(&mut self, at: At, seq: Option<u64>, what: FaultKind) {
        let file = self.files.get(at.file).cloned().unwrap_or_default();
        let line = at.line;
        self.report.add(Fault {
            file,
            line,
            seq,
            what,
        });
    }

    /// The chain of that name; `None` if there are too many.
    fn chain(&mut self, name: &[u8]) -> Option<usize> {
        let mut known = self.chains.iter();
        if let Some(at) = known.position(|chain| chain.name.as_bytes() == name) {
            return Some(at);
        }
        (self.chains.len() < STREAMS_MAX).then_some(())?;
        let name = String::from_utf8_lossy(name).into_owned();
        self.chains.push(Chain::named(name));
        Some(self.chains.len() - 1)
    }

    fn take(&mut self, line: &[u8], inside: &mut Inside) {
        let Some(stated) = self.reader.read(line) else {
            self.fault(inside.at(), None, FaultKind::Unreadable);
            inside.unreadable += 1;
            return;
        };
        self.report.records += 1;
        let is_true = stated.is_true();
        if !is_true {
            self.fault(inside.at(), Some(stated.seq), FaultKind::Edited);
        }
        // What an edited record says of its chain can't be believed.
        let believed = if is_true { None } else { inside.chain };
        let found = believed.or_else(|| self.chain_of(inside.chain, stated.stream.of(line)));
        let Some(found) = found else {
            return self.fault(inside.at(), Some(stated.seq), FaultKind::TooBroken);
        };
        inside.chain = Some(found);
        self.follow(found, &stated, inside);
        if is_true {
            self.anchored(found, &stated, inside);
            match stated.action.of(line) {
                b"audit.checkpoint" => self.checkpoint(line, found, &stated, inside),
                b"audit.prune" => self.prune(line, found, inside),
                b"audit.gap" => {
                    let lost = self.reader.detail_number(line, "count");
                    self.report.told_lost += lost.unwrap_or_default();
                }
                b"audit.key_rotate" => self.next_key(line),
                _ => {}
            }
        }
        inside.unreadable = 0;
    }

    fn chain_of(&mut self, last: Option<usize>, name: &[u8]) -> Option<usize> {
        let known = last.and_then(|at| self.chains.get(at));
        match known {
            Some(chain) if chain.name.as_bytes() == name => last,
            Some(_) | None => self.chain(name),
        }
    }

    /// Lays the record behind the last one of its chain in this file, or begins a run with it.
    fn follow(&mut self, at: usize, stated: &Stated, inside: &Inside) {
        let is_true = stated.is_true();
        let real = stated.real;
        let hash = stated.hash.unwrap_or(real);
        let place = inside.at();
        let Some(chain) = self.chains.get_mut(at) else {
            return;
        };
        let Some(last) = chain.last else {
            return self.begin_run(at, stated, place, false);
        };
        let next = last.seq.saturating_add(1);
        // A record that was edited stands where it stands.
        let seq = if is_true { stated.seq } else { next };
        let skipped = seq.saturating_sub(next);
        if seq < next || skipped > inside.unreadable {
            return self.begin_run(at, stated, place, seq < next);
        }
        chain.extend(seq, (hash, real), place);
        let follows = stated.prev == Some(last.hash) || stated.prev == Some(last.real);
        if is_true && skipped == 0 && !follows {
            self.fault(place, Some(seq), FaultKind::Replaced);
        }
    }

    fn begin_run(&mut self, at: usize, stated: &Stated, place: At, goes_back: bool) {
        if self.runs >= RUNS_MAX {
            return self.fault(place, Some(stated.seq), FaultKind::TooBroken);
        }
        self.runs += 1;
        if let Some(chain) = self.chains.get_mut(at) {
            chain.begin(Run {
                first: stated.seq,
                prev: stated.prev.unwrap_or_default(),
                first_hash: stated.hash.unwrap_or(stated.real),
                last: stated.seq,
                hash: stated.hash.unwrap_or(stated.real),
                real: stated.real,
                at: place,
                last_at: place,
                goes_back,
            });
        }
    }

    /// Compares the record with what a checkpoint from elsewhere knows.
    fn anchored(&mut self, at: usize, stated: &Stated, inside: &Inside) {
        let Some(chain) = self.chains.get_mut(at) else {
            return;
        };
        if chain.expected.is_empty() {
            return;
        }
        if let Some((head, _)) = chain.expected.remove(&stated.seq)
            && stated.hash != Some(head)
        {
            self.fault(inside.at(), Some(stated.seq), FaultKind::NotAsAnchored);
        }
    }

    fn checkpoint(&mut self, line: &[u8], at: usize, stated: &Stated, inside: &Inside) {
        let detail = |name| self.reader.detail(line, name);
        let head = detail("head").and_then(parse_hash);
        let before = stated.seq.checked_sub(1);
        let stream = detail("stream").map(str::as_bytes);
        let is_here = head == stated.prev
            && self.reader.detail_number(line, "seq") == before
            && stream == Some(stated.stream.of(line));
        if !is_here {
            let what = FaultKind::CheckpointElsewhere;
            return self.fault(inside.at(), Some(stated.seq), what);
        }
        match self.signature(line, CHECKPOINT) {
            Some(Ok(())) => {
                self.report.checkpoints += 1;
                self.hear(line, inside.at());
                if let Some(chain) = self.chains.get_mut(at) {
                    chain.signed_through = chain.signed_through.max(Some(stated.seq));
                }
            }
            Some(Err(what)) => self.fault(inside.at(), Some(stated.seq), what),
            None => {
                self.report.unchecked += 1;
                self.hear(line, inside.at());
            }
        }
    }

    /// What is wrong with the signature of the line that was read last; `None` if no key is
    /// believed.
    fn signature(&mut self, line: &[u8], kind: &str) -> Option<Result<(), FaultKind>> {
        if self.trust.is_empty() {
            return None;
        }
        let Some(text) = self.reader.signed_text(line) else {
            return Some(Err(FaultKind::Signature));
        };
        let detail = |name| self.reader.detail(line, name);
        let (Some(id), Some(sig)) = (detail("key_id"), detail("sig")) else {
            return Some(Err(FaultKind::Signature));
        };
        let Some(key) = self.trust.key(id) else {
            return Some(Err(FaultKind::UnknownKey));
        };
        let holds = key.verifies(kind, &text, sig);
        Some(holds.then_some(()).ok_or(FaultKind::Signature))
    }

    /// Records up to there were deleted on purpose.
    fn prune(&mut self, line: &[u8], at: usize, inside: &Inside) {
        let through = self.reader.detail_number(line, "through_seq");
        let detail = |name| self.reader.detail(line, name);
        let head = detail("head").and_then(parse_hash);
        let stream = detail("stream").map(|name| name.as_bytes().to_vec());
        let is_signed = detail("sig").is_some();
        let (Some(through), Some(head), Some(stream)) = (through, head, stream) else {
            return self.fault(inside.at(), None, FaultKind::Signature);
        };
        match self.signature(line, PRUNE) {
            Some(Err(what)) if is_signed => return self.fault(inside.at(), None, what),
            // Whoever gives keys wants deletions signed.
            Some(Err(_)) => return,
            Some(Ok(())) => {}
            None => self.report.unchecked += u64::from(is_signed),
        }
        let of = self.chain(&stream).unwrap_or(at);
        if let Some(chain) = self.chains.get_mut(of)
            && chain.pruned.is_none_or(|(pruned, _)| pruned < through)
        {
            chain.pruned = Some((through, head));
        }
    }

    fn next_key(&mut self, line: &[u8]) {
        let detail = |name| self.reader.detail(line, name);
        if let (Some(public), Some(previous), Some(sig)) =
            (detail("public_key"), detail("previous"), detail("sig"))
        {
            self.trust.extend(public, previous, sig);
        }
    }

    /// What was found.
    pub fn finish(mut self) -> Report {
        let chains = std::mem::take(&mut self.chains);
        for mut chain in chains {
            if let Some((at, seq, what)) = self.compare_heard(&mut chain) {
                self.fault(at, Some(seq), what);
            }
            for (at, seq, what) in chain.lay_end_to_end(self.is_part) {
                self.fault(at, seq, what);
            }
            if let Some(told) = chain.report() {
                self.report.streams.push(told);
            }
        }
        self.compare_listed();
        self.report
    }
}

impl Inside {
    const fn at(&self) -> At {
        At {
            file: self.file,
            line: self.line,
        }
    }
}

impl Chain {
    fn report(&self) -> Option<StreamReport> {
        let (first, last) = self.ends()?;
        Some(StreamReport {
            stream: self.name.clone(),
            first,
            last: last.seq,
            head: String::from_utf8_lossy(&hex(&last.hash)).into_owned(),
            signed_through: self.signed_through,
            unsigned_tail: last
                .seq
                .saturating_sub(self.signed_through.unwrap_or(0).max(first - 1)),
            pruned_through: self.pruned.map(|(through, _)| through),
        })
    }
}

#[cfg(test)]
mod tests;
