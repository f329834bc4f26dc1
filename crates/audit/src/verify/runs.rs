//! Unbroken runs of a chain, from whatever files, laid end to end.

use super::report::FaultKind;
use std::collections::BTreeMap;

/// A place in a file.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct At {
    /// By its place among those given.
    pub(super) file: usize,
    pub(super) line: u64,
}

/// Records of one file, each behind the one before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) first: u64,
    /// What its first record names as the one before it.
    pub(super) prev: [u8; 32],
    /// The hash it names as its own.
    pub(super) first_hash: [u8; 32],
    pub(super) last: u64,
    /// The hash its last record names as its own, and that of what it says.
    pub(super) hash: [u8; 32],
    pub(super) real: [u8; 32],
    /// Its first record, and its last.
    pub(super) at: At,
    pub(super) last_at: At,
    /// It stands behind a record of the same file that came after it.
    pub(super) goes_back: bool,
}

/// The last record of a chain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Last {
    pub(super) seq: u64,
    pub(super) hash: [u8; 32],
    pub(super) real: [u8; 32],
    at: At,
}

/// What is known of a chain.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) name: String,
    runs: Vec<Run>,
    /// In the file that is being read.
    pub(super) last: Option<Last>,
    /// Records that checkpoints from elsewhere know, and that were not met yet.
    pub(super) expected: BTreeMap<u64, ([u8; 32], At)>,
    /// Number of the last good checkpoint.
    pub(super) signed_through: Option<u64>,
    /// Up to where it was deleted on purpose, and the hash there.
    pub(super) pruned: Option<(u64, [u8; 32])>,
}

type Found = (At, Option<u64>, FaultKind);

impl Chain {
    pub(super) const fn named(name: String) -> Self {
        Self {
            name,
            runs: Vec::new(),
            last: None,
            expected: BTreeMap::new(),
            signed_through: None,
            pruned: None,
        }
    }

    pub(super) fn begin(&mut self, run: Run) {
        self.last = Some(run.end());
        self.runs.push(run);
    }

    pub(super) fn extend(&mut self, seq: u64, (hash, real): ([u8; 32], [u8; 32]), at: At) {
        if let Some(run) = self.runs.last_mut() {
            (run.last, run.hash, run.real) = (seq, hash, real);
            run.last_at = at;
            self.last = Some(run.end());
        }
    }

    /// Its first number and its last record, once the runs are sorted.
    pub(super) fn ends(&self) -> Option<(u64, Last)> {
        let first = self.runs.first()?.first;
        let last = self.runs.iter().max_by_key(|run| run.last)?;
        Some((first, last.end()))
    }

    /// What is wrong between its runs and at its ends.
    pub(super) fn lay_end_to_end(&mut self, is_part: bool) -> Vec<Found> {
        self.runs.sort_by_key(|run| (run.first, run.goes_back));
        let mut found = Vec::new();
        let mut before: Option<Last> = None;
        for run in &self.runs {
            let fault = match before {
                None => self.beginning(run, is_part),
                Some(last) => self.between(last, run),
            };
            found.extend(fault.map(|what| (run.at, Some(run.first), what)));
            if before.is_none_or(|last| last.seq <= run.last) {
                before = Some(run.end());
            }
        }
        self.beyond(before, &mut found);
        found
    }

    fn beginning(&self, run: &Run, is_part: bool) -> Option<FaultKind> {
        let missing = run.first.saturating_sub(1);
        match self.pruned {
            _ if run.goes_back => Some(FaultKind::Reordered),
            _ if missing == 0 => (run.prev != [0; 32]).then_some(FaultKind::Replaced),
            Some((through, head)) if through == missing => {
                (run.prev != head).then_some(FaultKind::Replaced)
            }
            // What was deleted on purpose may be here all the same.
            Some((through, _)) if through > missing => None,
            Some((through, _)) if !is_part => {
                Some(FaultKind::NoBeginning(missing.saturating_sub(through)))
            }
            None if !is_part => Some(FaultKind::NoBeginning(missing)),
            Some(_) | None => None,
        }
    }

    fn between(&self, last: Last, run: &Run) -> Option<FaultKind> {
        let next = last.seq.saturating_add(1);
        if run.first < next {
            // Of records before the last one nobody remembers the hash.
            let is_other = run.first == last.seq && run.first_hash != last.hash;
            return Some(if is_other {
                FaultKind::OtherThere
            } else {
                FaultKind::Twice
            });
        }
        if run.first > next {
            let through = self.pruned.map_or(0, |(through, _)| through);
            let missing = run.first - next;
            return (run.first - 1 > through).then_some(FaultKind::Missing(missing));
        }
        if run.goes_back {
            return Some(FaultKind::Reordered);
        }
        let follows = run.prev == last.hash || run.prev == last.real;
        (!follows).then_some(FaultKind::Replaced)
    }

    /// What checkpoints from elsewhere know and nobody met.
    fn beyond(&self, last: Option<Last>, found: &mut Vec<Found>) {
        let Some((seq, (_, at))) = self.expected.last_key_value() else {
            return;
        };
        match last {
            None => found.push((*at, Some(*seq), FaultKind::NoStream)),
            Some(last) if *seq > last.seq => {
                let cut = FaultKind::Truncated(*seq - last.seq);
                found.push((last.at, Some(last.seq), cut));
            }
            // Those before are missing within, which is told where they are missing.
            Some(_) => {}
        }
    }
}

impl Run {
    const fn end(&self) -> Last {
        Last {
            seq: self.last,
            hash: self.hash,
            real: self.real,
            at: self.last_at,
        }
    }
}
