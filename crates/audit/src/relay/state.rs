//! How far a relay came, on disk.

use crate::chain::{Link, hex, parse_hash};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use tollkeep_types::StreamId;

/// What it remembers is shorter.
const STATE_BYTES_MAX: u64 = 16 << 10;

/// How far a relay came.
#[derive(Clone, Debug)]
pub(super) struct State {
    stream: StreamId,
    /// The last record that was read.
    pub(super) read: Option<(StreamId, u64)>,
    /// The last record of its own chain that was taken.
    pub(super) own: Link,
    /// Records that were read since this was written.
    pub(super) unkept: u64,
}

#[derive(Deserialize, Serialize)]
struct Kept {
    read: Option<KeptPlace>,
    own: KeptLink,
}

#[derive(Deserialize, Serialize)]
struct KeptPlace {
    stream: StreamId,
    seq: u64,
}

#[derive(Deserialize, Serialize)]
struct KeptLink {
    stream: StreamId,
    seq: u64,
    hash: String,
}

impl State {
    /// A new chain that goes on behind this record of the log.
    pub(super) const fn new(stream: StreamId, read: Option<(StreamId, u64)>) -> Self {
        Self {
            stream,
            read,
            own: Link::START,
            unkept: 0,
        }
    }

    pub(super) const fn stream(&self) -> StreamId {
        self.stream
    }

    /// What is on disk; `None` if nothing is.
    pub(super) fn load(path: &Path) -> io::Result<Option<Self>> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let mut text = String::new();
        file.take(STATE_BYTES_MAX).read_to_string(&mut text)?;
        let broken = || {
            let problem = "says nothing readable of how far the sink came: without the file it \
                           begins with what comes from then on";
            io::Error::new(io::ErrorKind::InvalidData, problem)
        };
        let kept: Kept = serde_json::from_str(&text).map_err(|_| broken())?;
        Ok(Some(Self {
            stream: kept.own.stream,
            read: kept.read.map(|place| (place.stream, place.seq)),
            own: Link {
                seq: kept.own.seq,
                hash: parse_hash(&kept.own.hash).ok_or_else(broken)?,
            },
            unkept: 0,
        }))
    }

    /// Writes it beside and puts it into place.
    pub(super) fn save(&self, path: &Path) -> io::Result<()> {
        let kept = Kept {
            read: self.read.map(|(stream, seq)| KeptPlace { stream, seq }),
            own: KeptLink {
                stream: self.stream,
                seq: self.own.seq,
                hash: String::from_utf8_lossy(&hex(&self.own.hash)).into_owned(),
            },
        };
        let mut beside = path.as_os_str().to_owned();
        beside.push(".part");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)?;
        file.write_all(&serde_json::to_vec(&kept)?)?;
        file.sync_data()?;
        std::fs::rename(&beside, path)
    }
}
