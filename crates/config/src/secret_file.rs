//! Files that hold one secret: `${file:/path}` and the `_FILE` names of the environment.

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Bytes of a secret's file.
const BYTES_MAX: u64 = 64 * 1024;

/// What such a file says.
pub(crate) struct SecretFile {
    /// The text without the newline at its end.
    pub(crate) text: String,
    /// What the operator should know about the file.
    pub(crate) warning: Option<String>,
}

/// Reads one. A file that others may write is refused; one that others may read, as secret
/// mounts of containers are, is a warning.
pub(crate) fn read(path: &Path) -> Result<SecretFile, String> {
    let name = path.display();
    if !path.is_absolute() {
        return Err(format!("`{name}` is no absolute path"));
    }
    let unreadable = |error: std::io::Error| format!("can't read `{name}`: {}", error.kind());
    let about = fs::metadata(path).map_err(unreadable)?;
    if !about.is_file() {
        return Err(format!("`{name}` is not a file"));
    }
    if about.mode() & 0o022 != 0 {
        let problem = "may be written by group or others";
        return Err(format!("`{name}` {problem}: chmod go-w {name}"));
    }
    let mut text = String::new();
    fs::File::open(path)
        .and_then(|file| file.take(BYTES_MAX + 1).read_to_string(&mut text))
        .map_err(unreadable)?;
    if text.len() as u64 > BYTES_MAX {
        return Err(format!("`{name}` is longer than {BYTES_MAX} bytes"));
    }
    let end = text.trim_end_matches(['\r', '\n']).len();
    text.truncate(end);
    if text.is_empty() {
        return Err(format!("`{name}` is empty"));
    }
    let wide = about.mode() & 0o004 != 0;
    let warning = wide.then(|| format!("`{name}` may be read by everybody: chmod o-r {name}"));
    Ok(SecretFile { text, warning })
}
