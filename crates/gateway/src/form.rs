//! The form that a route lets its requests have: a body where there is mostly none, and characters
//! that are mostly refused in paths.

use crate::admit::Entry;
use crate::lifecycle::Exchange;
use crate::refusal::Refusal;
use tollkeep_http1::{Framing, Method, Upgrade};
use tollkeep_llm::{Dialect, Surface};

/// What requests may bring.
pub(crate) struct FormRules {
    pub(crate) body: bool,
    pub(crate) encoded_slash: bool,
    pub(crate) semicolon: bool,
}

impl FormRules {
    /// Official SDKs encode ids such as `vendor/model`.
    pub(crate) fn of_surface(surface: Surface) -> Self {
        Self {
            body: false,
            encoded_slash: surface == Surface::Model || surface.dialect() == Dialect::Gemini,
            semicolon: false,
        }
    }
}

impl Exchange<'_> {
    /// Whether the request has the form that its route wants.
    ///
    /// # Errors
    /// 400.
    pub(crate) fn check_form(&self, entry: &Entry<'_>, rules: &FormRules) -> Result<(), Refusal> {
        let head = &self.work.head;
        if (entry.has_encoded_slash() && !rules.encoded_slash)
            || (entry.has_semicolon() && !rules.semicolon)
        {
            return Err(Refusal::BadRequest("path"));
        }
        if head.upgrade == Upgrade::WebSocket {
            return Err(Refusal::BadRequest("upgrade"));
        }
        let has_body = !matches!(head.framing, Framing::None | Framing::Length(0));
        if has_body
            && matches!(head.method, Method::Get | Method::Head | Method::Options)
            && !rules.body
        {
            return Err(Refusal::BadRequest("body_on_get"));
        }
        Ok(())
    }
}

/// The refusal of a path that no route takes: none allows an encoded slash or semicolon either.
pub(crate) fn unrouted(entry: &Entry<'_>, refusal: Refusal) -> Refusal {
    if entry.has_encoded_slash() || entry.has_semicolon() {
        Refusal::BadRequest("path")
    } else {
        refusal
    }
}
