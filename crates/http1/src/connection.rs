//! The `Connection` field: what it asks of this connection, and which fields end here.

use crate::bytes::is_token;
use crate::fields::{Field, Known};
use crate::reserved::is_refused_in_connection;

/// Options of one message, all `Connection` fields together.
pub(crate) const OPTIONS_MAX: usize = 32;

/// What `Connection` said so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    pub(crate) close: bool,
    /// Whether an option was sent that may be the name of a field.
    pub(crate) name_fields: bool,
    count: usize,
}

/// An option is no token, names a field that must not be taken out, or is one too many.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct OptionFault;

impl Options {
    /// Adds the options of one field.
    pub(crate) fn read(&mut self, value: &[u8]) -> Result<(), OptionFault> {
        for option in options(value) {
            self.count += 1;
            if self.count > OPTIONS_MAX || !is_token(option) {
                return Err(OptionFault);
            }
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if !option.eq_ignore_ascii_case(b"keep-alive") {
                self.name_fields = true;
            }
        }
        Ok(())
    }

    /// HOT. Marks the fields that were named.
    #[inline]
    pub(crate) fn mark(self, fields: &mut [Field], buf: &[u8]) {
        if self.name_fields {
            mark_named(fields, buf);
        }
    }
}

fn mark_named(fields: &mut [Field], buf: &[u8]) {
    for index in 0..fields.len() {
        let Some(field) = fields
            .get(index)
            .filter(|field| field.known == Known::Connection)
        else {
            continue;
        };
        for option in options(field.value.of(buf)) {
            for named in fields.iter_mut() {
                named.hop |= named.name.of(buf).eq_ignore_ascii_case(option);
            }
        }
    }
}

/// Whether a value names a field that a request must not take out of itself: upstream would then
/// read another message than we checked.
pub(crate) fn names_reserved(value: &[u8]) -> bool {
    options(value).any(is_refused_in_connection)
}

fn options(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}
