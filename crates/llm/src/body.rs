//! What the gateway needs to know of a JSON call, read in one strict pass.

use crate::error::ErrorKind;
use crate::json::{Place, Scalar, scan, write_string};
use std::borrow::Cow;
use std::ops::Range;

/// What a request body says, borrowed from it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CallView<'a> {
    /// The value of `model` when it is a string, unescaped.
    pub model: Option<Cow<'a, str>>,
    /// Where the value of `model` stands in the body, quotes included.
    pub model_span: Option<Range<usize>>,
    /// The value of `stream` when it is `true` or `false`.
    pub stream: Option<bool>,
    /// `stream_options.include_usage` is `true`.
    pub include_usage: bool,
    /// The value of `service_tier` when it is a string.
    pub service_tier: Option<Cow<'a, str>>,
    /// There is a `web_search_options`.
    pub web_search: bool,
    /// The least of the caps of output that the body names.
    pub output_cap: Option<u64>,
    /// The most answers that the body asks for at once; 0 where it says nothing.
    pub choices: u64,
    /// Some object of the body says `"ttl":"1h"`: cache writes of unstated lifetime are hour ones.
    pub hour_cache: bool,
}

impl<'a> CallView<'a> {
    /// Reads a whole body.
    ///
    /// # Errors
    /// When the body is not one strict JSON object, nests deeper than `depth_max` (the body
    /// itself is 1 deep), or has a key twice in one object.
    pub fn read(body: &'a [u8], depth_max: usize) -> Result<Self, BodyRefusal> {
        let mut view = Self::default();
        scan(body, depth_max, |place, value| view.note(place, value))?;
        Ok(view)
    }

    /// Not inlined: few members come here, and the scanner's loop is short of registers.
    #[inline(never)]
    fn note(&mut self, place: &Place<'a, '_>, value: Scalar) {
        match value {
            Scalar::Text(text) if place.depth == 1 && place.is("model") => {
                self.model = Some(text.text(place.body));
                self.model_span = Some(text.quoted());
            }
            Scalar::Text(text) if place.depth == 1 && place.is("service_tier") => {
                self.service_tier = Some(text.text(place.body));
            }
            Scalar::Text(text) if place.is("ttl") => {
                self.hour_cache |= text.is(place.body, "1h");
            }
            Scalar::Bool(stream) if place.depth == 1 && place.is("stream") => {
                self.stream = Some(stream);
            }
            Scalar::Bool(true) if place.depth == 2 && place.is("include_usage") => {
                self.include_usage |= place.is_below("stream_options");
            }
            Scalar::Number(digits)
                if place.depth == 1
                    && (place.is("max_tokens")
                        || place.is("max_completion_tokens")
                        || place.is("max_output_tokens")) =>
            {
                let cap = digits.text(place.body).parse().ok();
                let least = self.output_cap.into_iter().chain(cap).min();
                self.output_cap = least;
            }
            Scalar::Number(digits)
                if place.depth == 1 && (place.is("n") || place.is("best_of")) =>
            {
                let choices = digits.text(place.body).parse().unwrap_or(0);
                self.choices = self.choices.max(choices);
            }
            Scalar::Opened if place.depth == 1 && place.is("web_search_options") => {
                self.web_search = true;
            }
            Scalar::Text(_) | Scalar::Bool(_) | Scalar::Number(_) | Scalar::Opened => {}
        }
    }

    /// The body with the value of `model` replaced, every other byte as it was. `None` when the
    /// body names no model.
    pub fn with_model(&self, body: &[u8], model: &str) -> Option<Vec<u8>> {
        let span = self.model_span.clone()?;
        let (before, after) = (body.get(..span.start)?, body.get(span.end..)?);
        let mut edited = Vec::with_capacity(body.len() + model.len());
        edited.extend_from_slice(before);
        write_string(&mut edited, model);
        edited.extend_from_slice(after);
        Some(edited)
    }
}

/// Why a body is refused (400).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BodyRefusal {
    /// What is wrong.
    pub fault: BodyFault,
    /// Byte offset where it was seen.
    pub offset: usize,
}

/// What is wrong with a body.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum BodyFault {
    /// Not the grammar of RFC 8259, or beyond its limits here; says what was wanted.
    Syntax(&'static str),
    /// Nested deeper than this.
    TooDeep(usize),
    /// A key twice in one object; the JSON pointer (RFC 6901) of the second one, its tail left
    /// out when it is long.
    DuplicateKey(String),
}

impl BodyRefusal {
    /// The error class for the caller: `duplicate_key` or `invalid_json`.
    pub const fn kind(&self) -> ErrorKind {
        match self.fault {
            BodyFault::Syntax(_) | BodyFault::TooDeep(_) => ErrorKind::InvalidJson,
            BodyFault::DuplicateKey(_) => ErrorKind::DuplicateKey,
        }
    }

    /// A sentence for the caller, with the byte offset or the pointer.
    pub fn message(&self) -> String {
        let offset = self.offset;
        match &self.fault {
            BodyFault::Syntax(wanted) => {
                format!("The body is not valid JSON at byte {offset}: want {wanted}.")
            }
            BodyFault::TooDeep(depth) => {
                format!("The body nests deeper than {depth} at byte {offset}.")
            }
            BodyFault::DuplicateKey(pointer) => {
                format!("The body has a key twice in one object: {pointer}")
            }
        }
    }
}
