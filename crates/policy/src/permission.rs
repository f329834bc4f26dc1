//! What a token may be used for: bindings, and globs on names.

mod bindings;
mod border;
mod glob;

pub(crate) use self::bindings::Sent;
pub use self::bindings::{BindingFacts, BindingRefusal, Bindings};
pub use self::border::{BindingsError, parse_network};
pub use self::glob::glob;
