//! What an answer used, read from its body or its stream without changing a byte of either.

mod body;
mod event;
mod lines;
mod stream;
mod tally;
mod wire;

pub use body::BodyUsage;
pub use stream::{BodyEnd, StreamReport, StreamUsage};

use std::borrow::Cow;

/// Longest model name that is kept from an answer, in bytes.
const MODEL_BYTES_MAX: usize = 256;

/// What the request asked for that decides how its usage reads.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Asked {
    /// [`crate::body::CallView::hour_cache`].
    pub hour_cache: bool,
}

/// How an answer ended, for the usage record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// With its dialect's own end mark.
    Complete,
    /// Without one.
    Cut,
    /// With an error of the upstream inside the answer.
    Error,
}

impl Outcome {
    /// The name in records: `complete`, `cut` or `error`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Cut => "cut",
            Self::Error => "error",
        }
    }
}

/// A model name as it is kept: not empty, and no longer than records allow.
fn kept_model(name: Cow<'_, str>) -> Option<Cow<'_, str>> {
    if name.is_empty() {
        return None;
    }
    let cut = name.floor_char_boundary(MODEL_BYTES_MAX);
    if cut == name.len() {
        return Some(name);
    }
    name.get(..cut).map(|kept| Cow::Owned(kept.to_owned()))
}
