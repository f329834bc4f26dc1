//! Files of certificates, keys and revocation lists.

use super::fault::Fault;
use rustls_pki_types::pem::{PemObject, SectionKind};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use zeroize::Zeroizing;

/// Bytes of a file of certificates or of a key at most.
pub(super) const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The text of a file, which may be a key.
pub(super) type PemText = Zeroizing<Vec<u8>>;

/// The kinds of PEM sections in a text.
fn sections(text: &[u8]) -> Vec<SectionKind> {
    struct Any(SectionKind);
    impl PemObject for Any {
        fn from_pem(kind: SectionKind, _: Vec<u8>) -> Option<Self> {
            Some(Self(kind))
        }
    }
    let found = Any::pem_slice_iter(text).filter_map(Result::ok);
    found.map(|any| any.0).collect()
}

/// What a file that lacks what it should have holds, for a message.
pub(super) fn something_else(text: &[u8]) -> &'static str {
    if sections(text).is_empty() {
        ""
    } else {
        ", but something else"
    }
}

/// The bytes of a file, which may be so many, and its mode.
pub(super) fn read(file: &Path, bytes_max: u64) -> Result<(PemText, u32), Fault> {
    let unreadable = |error: io::Error| Fault::Unreadable {
        path: told(file),
        problem: error.to_string(),
    };
    // Before it is opened: that of a pipe would wait for a writer.
    let about = std::fs::metadata(file).map_err(unreadable)?;
    if !about.is_file() || about.len() > bytes_max {
        let mebibytes = bytes_max >> 20;
        let problem = format!("it is no file, or longer than {mebibytes} MiB");
        return Err(unreadable(io::Error::other(problem)));
    }
    let mut text = Zeroizing::new(Vec::with_capacity(
        usize::try_from(about.len()).unwrap_or(0),
    ));
    let opened = File::open(file).map_err(unreadable)?;
    let mut bounded = opened.take(bytes_max);
    bounded.read_to_end(&mut text).map_err(unreadable)?;
    Ok((text, about.permissions().mode()))
}

/// A path as messages show it.
pub(super) fn told(path: &Path) -> String {
    path.display().to_string()
}
