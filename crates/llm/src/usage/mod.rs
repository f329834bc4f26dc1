//! What an answer used, read from its body or its stream without changing a byte of either.

mod batch;
mod body;
mod certain;
mod classes;
mod delivered;
mod event;
mod hidden;
mod last_word;
mod lines;
mod made;
mod side;
mod stream;
mod tally;
mod wire;

pub use batch::{BatchForm, BatchLine};
pub use body::BodyUsage;
pub use hidden::HiddenUsage;
pub use last_word::LastWord;
pub(crate) use lines::EventLines;
pub(crate) use side::service_of;
pub use stream::{BodyEnd, StreamReport, StreamUsage};

use crate::body::CallView;
use crate::surface::Surface;
use std::borrow::Cow;
use tollkeep_types::usage::Service;

/// Longest model name that is kept from an answer, in bytes.
const MODEL_BYTES_MAX: usize = 256;

/// The quality and size of images where the request names none.
const IMAGE_SORT: &str = "standard:1024x1024";

/// What the request asked for that decides how its usage reads.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Asked {
    /// [`crate::body::CallView::hour_cache`].
    pub hour_cache: bool,
    /// The service that was asked for, if the request named one.
    pub service: Option<Service>,
    /// The request has `web_search_options`: one search.
    pub web_search: bool,
    /// Unicode scalar values of a text to be spoken.
    pub chars_in: u64,
    /// `<quality>:<size>` of images; `None`: what is usual.
    pub image_sort: Option<Box<str>>,
    /// It was part of a batch, which has a price of its own.
    pub batch: bool,
}

impl Asked {
    /// What a request of this surface asked for.
    pub fn of_call(surface: Surface, view: &CallView<'_>, body: &[u8]) -> Self {
        let asked = Self::of(view);
        match surface {
            Surface::Images => Self {
                image_sort: crate::demand::image_sort(body),
                ..asked
            },
            Surface::Speech => Self {
                chars_in: crate::demand::chars_in(body),
                ..asked
            },
            Surface::Chat
            | Surface::Completions
            | Surface::Responses
            | Surface::Embeddings
            | Surface::Messages
            | Surface::CountTokens
            | Surface::Generate
            | Surface::StreamGenerate
            | Surface::GeminiCount
            | Surface::Models
            | Surface::Model => asked,
        }
    }

    /// What a request's body asked for.
    pub fn of(view: &CallView<'_>) -> Self {
        Self {
            hour_cache: view.hour_cache,
            service: view.service_tier.as_deref().and_then(service_of),
            web_search: view.web_search,
            ..Self::default()
        }
    }
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
