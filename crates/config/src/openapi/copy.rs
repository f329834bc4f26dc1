//! The last good copy of a document that is fetched, in the data folder. What is read from there is
//! checked again: the document may be of another URL by now, and the file is a file like others.

use super::{DOCUMENT_BYTES_MAX, Document, read};
use crate::load::read_text_of;
use crate::parse::Format;
use crate::settings::{OpenApiAt, Upstream};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The folder of copies in the data folder.
const FOLDER: &str = "openapi";
/// Bytes of a URL, with which a copy begins.
const URL_BYTES_MAX: u64 = 8_192;

/// Why there is no document.
pub(super) enum NoDocument {
    /// Nothing was fetched yet.
    NotFetched,
    /// It can't be used.
    Faulty(String),
}

/// The document of an upstream, from its file or from the copy of what was fetched; and the file that
/// was read.
pub(super) fn document(
    data_dir: &Path,
    upstream: &str,
    at: &OpenApiAt,
) -> (PathBuf, Result<Document, NoDocument>) {
    match at {
        OpenApiAt::File(path) => {
            let text = read_text_of(path, DOCUMENT_BYTES_MAX);
            let document = text.and_then(|text| read(format_of(path, &text), &text));
            (path.clone(), document.map_err(NoDocument::Faulty))
        }
        OpenApiAt::Url(url) => {
            let path = copy_of(data_dir, upstream);
            let document = copied(&path, &url.to_string());
            (path, document)
        }
    }
}

fn copied(path: &Path, url: &str) -> Result<Document, NoDocument> {
    if !path.exists() {
        return Err(NoDocument::NotFetched);
    }
    let text = read_text_of(path, DOCUMENT_BYTES_MAX + URL_BYTES_MAX);
    let text = text.map_err(NoDocument::Faulty)?;
    match text.split_once('\n') {
        Some((of, text)) if of == url => {
            read(format_of(Path::new(""), text), text).map_err(NoDocument::Faulty)
        }
        // Another document stood there when it was fetched.
        Some(_) | None => Err(NoDocument::NotFetched),
    }
}

/// JSON is YAML, but slower to read as such.
fn format_of(path: &Path, text: &str) -> Format {
    match Format::of(path) {
        Format::Yaml | Format::Toml if text.trim_start().starts_with('{') => Format::Json,
        Format::Yaml | Format::Toml => Format::Yaml,
        Format::Json => Format::Json,
    }
}

fn copy_of(data_dir: &Path, upstream: &str) -> PathBuf {
    data_dir.join(FOLDER).join(upstream)
}

/// Reads a document that was fetched: how many routes it makes, and what is left out of it.
///
/// # Errors
/// Why it can't be used.
pub fn check_document(text: &str) -> Result<(usize, Vec<String>), String> {
    let document = read(format_of(Path::new(""), text), text)?;
    Ok((document.operations.len(), document.left_out))
}

/// Keeps a document that was fetched for an upstream and passed [`check_document`]. The one before is
/// replaced at once or not at all.
///
/// # Errors
/// The file can't be written.
pub fn keep_copy(data_dir: &Path, upstream: &Upstream, url: &str, text: &str) -> io::Result<()> {
    let folder = data_dir.join(FOLDER);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)?;
    let path = copy_of(data_dir, &upstream.name);
    let new = folder.join(format!(".{}.new", upstream.name));
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(url.as_bytes())?;
    file.write_all(b"\n")?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, &path)
}
