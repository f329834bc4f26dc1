//! What was found, in words for people and members for programs.

use serde_json::{Value, json};
use std::fmt;

/// Faults that are told one by one; the others are counted.
pub(super) const TOLD_MAX: usize = 100;

/// What was found in all files.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Report {
    /// Files that were read.
    pub files: u64,
    /// Whole records, good or not.
    pub records: u64,
    /// Chains, in the order they were met.
    pub streams: Vec<StreamReport>,
    /// The first faults.
    pub faults: Vec<Fault>,
    /// How many there are in all.
    pub faults_in_all: u64,
    /// Events that the log itself says were lost while it could not be written.
    pub told_lost: u64,
    /// Checkpoints whose signature is right.
    pub checkpoints: u64,
    /// Signatures that were not looked at, as no key was given.
    pub unchecked: u64,
}

impl Report {
    /// The report as programs read it.
    pub fn json(&self) -> Value {
        let streams = self.streams.iter().map(|stream| {
            json!({
                "stream": stream.stream,
                "first": stream.first,
                "last": stream.last,
                "head": stream.head,
                "signed_through": stream.signed_through,
                "unsigned_tail": stream.unsigned_tail,
                "pruned_through": stream.pruned_through,
            })
        });
        let faults = self.faults.iter().map(|fault| {
            json!({
                "file": fault.file,
                "line": fault.line,
                "seq": fault.seq,
                "code": fault.what.as_str(),
                "problem": fault.what.to_string(),
            })
        });
        json!({
            "valid": self.is_clean(),
            "files": self.files,
            "records": self.records,
            "checkpoints": self.checkpoints,
            "unchecked_signatures": self.unchecked,
            "told_lost": self.told_lost,
            "streams": streams.collect::<Vec<_>>(),
            "faults": faults.collect::<Vec<_>>(),
            "faults_in_all": self.faults_in_all,
        })
    }
}

/// What was found of one chain.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct StreamReport {
    /// Its id.
    pub stream: String,
    /// Number of its first record here.
    pub first: u64,
    /// Number of its last record here.
    pub last: u64,
    /// Hash of its last record, as hex digits.
    pub head: String,
    /// Up to where the last good checkpoint speaks.
    pub signed_through: Option<u64>,
    /// Records after that: they could be cut off or written anew unseen.
    pub unsigned_tail: u64,
    /// Up to where it was deleted on purpose, as a signed record says.
    pub pruned_through: Option<u64>,
}

/// Something wrong.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fault {
    /// The file, as it was given.
    pub file: String,
    /// Its line, from 1; 0 if it is about no line.
    pub line: u64,
    /// The number that the record has, or the first of those that are missing.
    pub seq: Option<u64>,
    /// What is wrong.
    pub what: FaultKind,
}

/// What can be wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FaultKind {
    /// A line is no record.
    Unreadable,
    /// A line has no end.
    Torn,
    /// A record's hash is not that of what it says.
    Edited,
    /// So many records before it are missing.
    Missing(u64),
    /// The first records of a chain are missing, so many, and no signed record says that they were
    /// deleted on purpose.
    NoBeginning(u64),
    /// A record does not follow the one before it: that one was written anew, or this one put in.
    Replaced,
    /// A record stands behind one that came after it.
    Reordered,
    /// A record is there twice.
    Twice,
    /// Another record has the same number.
    OtherThere,
    /// A checkpoint does not say where its chain stood.
    CheckpointElsewhere,
    /// A signature is not that of what it stands in.
    Signature,
    /// A signature by a key that is not believed.
    UnknownKey,
    /// Records that a checkpoint knows are not there any more, so many.
    Truncated(u64),
    /// A checkpoint knows another record by that number.
    NotAsAnchored,
    /// A checkpoint knows a chain of which nothing is here.
    NoStream,
    /// A manifest lists other bytes or other records than are here.
    NotAsListed,
    /// More breaks than are followed.
    TooBroken,
}

impl FaultKind {
    /// A word for programs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Torn => "torn",
            Self::Edited => "edited",
            Self::Missing(_) => "missing",
            Self::NoBeginning(_) => "no_beginning",
            Self::Replaced => "replaced",
            Self::Reordered => "reordered",
            Self::Twice => "twice",
            Self::OtherThere => "inserted",
            Self::CheckpointElsewhere => "checkpoint_elsewhere",
            Self::Signature => "bad_signature",
            Self::UnknownKey => "unknown_key",
            Self::Truncated(_) => "truncated",
            Self::NotAsAnchored => "not_as_anchored",
            Self::NoStream => "no_stream",
            Self::NotAsListed => "not_as_listed",
            Self::TooBroken => "too_broken",
        }
    }
}

fn records(count: u64) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} record{s}")
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable => f.write_str("is no record"),
            Self::Torn => f.write_str("is torn off"),
            Self::Edited => f.write_str("was edited"),
            Self::Missing(count) => write!(f, "comes after {} that were deleted", records(*count)),
            Self::NoBeginning(count) => write!(
                f,
                "is the first of its chain here: {} before it are missing, and no signed prune says so",
                records(*count)
            ),
            Self::Replaced => f.write_str(
                "does not follow the record before it: one of the two was put in or written anew",
            ),
            Self::Reordered => f.write_str("stands behind a record that came after it"),
            Self::Twice => f.write_str("is there twice"),
            Self::OtherThere => f.write_str("has the number of another record: one was inserted"),
            Self::CheckpointElsewhere => {
                f.write_str("is a checkpoint that does not say where the chain stood")
            }
            Self::Signature => f.write_str("has a wrong signature"),
            Self::UnknownKey => f.write_str("is signed by a key that is not known"),
            Self::Truncated(count) => write!(
                f,
                "is the last record, but a checkpoint knows {} more: the end was cut off",
                records(*count)
            ),
            Self::NotAsAnchored => f.write_str("is not the record that a checkpoint knows"),
            Self::NoStream => f.write_str("knows a chain of which no record is here"),
            Self::NotAsListed => f.write_str("is not what the manifest lists"),
            Self::TooBroken => f.write_str("is one break too many to follow"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        f.write_str(":")?;
        if let Some(seq) = self.seq {
            write!(f, " record {seq}")?;
        }
        write!(f, " {}", self.what)
    }
}

impl Report {
    /// Whether nothing is wrong.
    pub const fn is_clean(&self) -> bool {
        self.faults_in_all == 0
    }

    pub(super) fn add(&mut self, fault: Fault) {
        self.faults_in_all += 1;
        if self.faults.len() < TOLD_MAX {
            self.faults.push(fault);
        }
    }
}
