//! The fields that settings add to requests, ready to write.

use tollkeep_config::settings::SecretOrText;

/// The lines of the fields that are set, and the names of them and of those that are removed.
pub(crate) fn set_fields(
    fields: &[(String, SecretOrText)],
    removed: &[Box<str>],
) -> (Box<[u8]>, Vec<Box<[u8]>>) {
    let mut lines = Vec::new();
    for (name, value) in fields {
        tollkeep_http1::write::field(&mut lines, name.as_bytes(), value.expose().as_bytes());
    }
    let mut settled = names(removed);
    settled.extend(fields.iter().map(|(name, _)| name.as_bytes().into()));
    (lines.into(), settled)
}

/// Names as they are compared: as bytes, in lower case already.
pub(crate) fn names(of: &[Box<str>]) -> Vec<Box<[u8]>> {
    of.iter().map(|name| name.as_bytes().into()).collect()
}
