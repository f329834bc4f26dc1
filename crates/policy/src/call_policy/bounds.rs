//! How much a call of a model may ask for, and what it may bring.

use super::{CallPolicy, CallRefusal, OnExcess, WrittenPolicy};
use std::sync::Arc;

/// A number that a call asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Count {
    /// This.
    Number(u64),
    /// No whole number: more than any.
    Other,
}

impl Count {
    const fn exceeds(self, max: u64) -> bool {
        match self {
            Self::Number(number) => number > max,
            Self::Other => true,
        }
    }
}

/// What a call of a model asks for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct CallAsks {
    /// Tokens of output; the most, where it says it twice. `None`: as many as the model gives.
    pub output_tokens: Option<Count>,
    /// Answers at once; `None` is one.
    pub choices: Option<Count>,
    /// Tokens of input, estimated.
    pub input_tokens: u64,
    /// Tools it brings.
    pub tools: u64,
    /// It brings an image.
    pub images: bool,
    /// It brings a file, a document or audio.
    pub files: bool,
    /// It wants its answer as a stream.
    pub stream: bool,
    /// It wants the provider to search the web.
    pub web_search: bool,
    /// It names addresses for the provider to fetch from.
    pub remote_urls: bool,
}

/// To what a call is brought down before it is sent on.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct CallBounds {
    /// Tokens of output: written where more is asked for, or nothing said.
    pub output_tokens: Option<u64>,
    /// Answers at once: written where more are asked for.
    pub choices: Option<u64>,
}

/// Whether all policies let a call ask for this, and to what it is brought down.
///
/// # Errors
/// The first rule broken.
pub fn check_asks(
    policies: &[Arc<CallPolicy>],
    asks: &CallAsks,
) -> Result<CallBounds, CallRefusal> {
    let mut bounds = CallBounds::default();
    for policy in policies {
        let written = &policy.written;
        check_features(written, asks)?;
        if written
            .max_input_tokens
            .is_some_and(|max| asks.input_tokens > max)
        {
            return Err(CallRefusal::Limit("max_input_tokens"));
        }
        if written.max_tools.is_some_and(|max| asks.tools > max) {
            return Err(CallRefusal::Limit("max_tools"));
        }
        if let Some(max) = written.max_output_tokens {
            let exceeds = asks.output_tokens.is_some_and(|asked| asked.exceeds(max));
            if exceeds && written.on_excess == Some(OnExcess::Refuse) {
                return Err(CallRefusal::Limit("max_output_tokens"));
            }
            bounds.output_tokens = least(bounds.output_tokens, max);
        }
        if let Some(max) = written.max_n
            && asks.choices.is_some_and(|asked| asked.exceeds(max))
        {
            if written.on_excess != Some(OnExcess::Clamp) {
                return Err(CallRefusal::Limit("max_n"));
            }
            bounds.choices = least(bounds.choices, max);
        }
    }
    Ok(bounds)
}

fn least(so_far: Option<u64>, max: u64) -> Option<u64> {
    Some(so_far.map_or(max, |so_far| so_far.min(max)))
}

fn check_features(written: &WrittenPolicy, asks: &CallAsks) -> Result<(), CallRefusal> {
    let features = [
        (written.allow_tools, asks.tools > 0, "allow_tools"),
        (written.allow_images, asks.images, "allow_images"),
        (written.allow_files, asks.files, "allow_files"),
        (written.allow_stream, asks.stream, "allow_stream"),
        (
            written.allow_web_search,
            asks.web_search,
            "allow_web_search",
        ),
        (
            written.allow_remote_urls,
            asks.remote_urls,
            "allow_remote_urls",
        ),
    ];
    let mut features = features.into_iter();
    match features.find(|(allowed, is_asked, _)| *allowed == Some(false) && *is_asked) {
        Some((.., key)) => Err(CallRefusal::Feature(key)),
        None => Ok(()),
    }
}
