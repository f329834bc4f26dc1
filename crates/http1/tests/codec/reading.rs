//! Reads heads in every test the same way: whole and byte by byte, which must agree.

use tollkeep_http1::{Head, HeadFault, Known, Limits, Progress};

/// The listed names of the default settings.
pub(crate) fn underscore_names() -> [Box<str>; 2] {
    ["session_id".into(), "conversation_id".into()]
}

/// A head with its bytes.
pub(crate) struct Read {
    pub(crate) head: Head,
    bytes: Vec<u8>,
}

impl Read {
    pub(crate) fn value(&self, known: Known) -> Option<&str> {
        let value = self.head.value(&self.bytes, known)?;
        Some(std::str::from_utf8(value).unwrap())
    }

    pub(crate) fn target(&self) -> &str {
        std::str::from_utf8(self.head.target.of(&self.bytes)).unwrap()
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        let name = |field: &tollkeep_http1::Field| field.name.of(&self.bytes);
        let names = self.head.fields.iter().map(name);
        names
            .map(|name| std::str::from_utf8(name).unwrap())
            .collect()
    }
}

/// Reads a head with default limits, whole and byte by byte; both must agree.
pub(crate) fn read(bytes: impl AsRef<[u8]>) -> Result<Read, HeadFault> {
    read_within(bytes, &Limits::default())
}

pub(crate) fn read_within(bytes: impl AsRef<[u8]>, limits: &Limits) -> Result<Read, HeadFault> {
    let bytes = bytes.as_ref();
    let whole = verdict(bytes, limits, bytes.len()..=bytes.len());
    let trickled = verdict(bytes, limits, 0..=bytes.len());
    let outcome = |read: &Result<Head, HeadFault>| match read {
        Ok(head) => format!("{head:?}"),
        Err(fault) => format!("{fault:?}"),
    };
    assert_eq!(
        outcome(&whole),
        outcome(&trickled),
        "whole and byte by byte differ for {:?}",
        String::from_utf8_lossy(bytes)
    );
    whole.map(|head| Read {
        head,
        bytes: bytes.to_vec(),
    })
}

/// What `Head::read` says when it is called with the buffer grown to each of these lengths.
pub(crate) fn verdict(
    bytes: &[u8],
    limits: &Limits,
    lengths: impl IntoIterator<Item = usize>,
) -> Result<Head, HeadFault> {
    let mut head = Head::new();
    for len in lengths {
        match head.read(&bytes[..len], limits, &underscore_names()) {
            Ok(Progress::More) => {}
            Ok(Progress::Done) => return Ok(head),
            Err(refusal) => {
                assert_eq!(refusal.reason(), refusal.kind.reason());
                return Err(refusal.kind);
            }
        }
    }
    panic!("incomplete: {:?}", String::from_utf8_lossy(bytes));
}

/// The fault of a head, or `None` if it is accepted.
pub(crate) fn fault(bytes: impl AsRef<[u8]>) -> Option<HeadFault> {
    read(bytes).err()
}

/// A GET with these further field lines.
pub(crate) fn get_with(lines: impl AsRef<[u8]>) -> Vec<u8> {
    [
        b"GET /ok HTTP/1.1\r\nHost: gw.test\r\n",
        lines.as_ref(),
        b"\r\n",
    ]
    .concat()
}

/// A POST with these further field lines.
pub(crate) fn post_with(lines: impl AsRef<[u8]>) -> Vec<u8> {
    [
        b"POST /ok HTTP/1.1\r\nHost: gw.test\r\n",
        lines.as_ref(),
        b"\r\n",
    ]
    .concat()
}
