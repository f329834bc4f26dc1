//! Bringing file and database together at the start, by the numbers of records.

use super::{DatabaseError, DatabaseStore, Standing};
use crate::chain::{Link, parse_hash};
use crate::file::Found;
use crate::{AuditError, Verifier};
use serde::Deserialize;
use std::path::Path;
use tollkeep_types::StreamId;

/// Records that are asked of the database at once.
const LINES_AT_ONCE: usize = 500;

/// Brings file and database together before anything new is written: what the file lacks is
/// appended to it, and a file that is new goes on with the chain. Gives where the database stands.
pub(crate) fn reconcile(
    store: &dyn DatabaseStore,
    path: Option<&Path>,
    found: &mut Found,
    append: impl FnOnce(&[u8]) -> std::io::Result<()>,
) -> Result<Option<Standing>, AuditError> {
    let failed = |error: DatabaseError| AuditError::Database(error.0);
    if found.unreadable {
        return Ok(None);
    }
    let Some((stream, last)) = found.last else {
        let standing = store.standing(None).map_err(failed)?;
        found.last = standing.map(|at| (at.stream, at.link()));
        return Ok(standing);
    };
    let standing = store.standing(Some(stream)).map_err(failed)?;
    let Some(at) = standing.filter(|at| at.seq > last.seq) else {
        return Ok(standing);
    };
    let missing = missing(store, stream, last).map_err(failed)?;
    let Some(lines) = missing else {
        tracing::error!(
            "The database has records of the audit log after {} that do not follow it; they are left \
             alone and a new stream begins",
            last.seq
        );
        found.last = None;
        return Ok(None);
    };
    let records = lines.lines().count();
    if let Some(path) = path {
        append(lines.as_bytes()).map_err(|source| AuditError::NotWritable {
            path: path.to_owned(),
            uid: rustix::process::geteuid().as_raw(),
            source,
        })?;
        tracing::warn!("{records} audit records that the file lacked came from the database");
    }
    found.last = Some((stream, at.link()));
    Ok(Some(at))
}

impl Standing {
    const fn link(&self) -> Link {
        Link {
            seq: self.seq,
            hash: self.hash,
        }
    }
}

/// What of a stream the database has behind a record; `None` if it does not follow that record.
fn missing(
    store: &dyn DatabaseStore,
    stream: StreamId,
    last: Link,
) -> Result<Option<String>, DatabaseError> {
    let (mut all, mut seq) = (String::new(), last.seq);
    loop {
        let lines = store.lines_after(stream, seq, LINES_AT_ONCE)?;
        let Some(end) = lines.lines().next_back().and_then(seq_of) else {
            break;
        };
        all.push_str(&lines);
        seq = end;
    }
    let follows = all.lines().next().and_then(prev_of) == Some(last.hash);
    let mut verifier = Verifier::default().of_a_part();
    let read = verifier.read("the database", all.as_bytes());
    let is_whole = read.is_ok() && verifier.finish().is_clean();
    Ok((follows && is_whole).then_some(all))
}

#[derive(Deserialize)]
pub(super) struct Numbered<'l> {
    pub(super) seq: u64,
    #[serde(borrow)]
    prev: &'l str,
    #[serde(borrow)]
    pub(super) stream: &'l str,
}

/// The number of a record.
pub(super) fn seq_of(line: &str) -> Option<u64> {
    let record: Numbered<'_> = serde_json::from_str(line).ok()?;
    Some(record.seq)
}

fn prev_of(line: &str) -> Option<[u8; 32]> {
    let record: Numbered<'_> = serde_json::from_str(line).ok()?;
    parse_hash(record.prev)
}
