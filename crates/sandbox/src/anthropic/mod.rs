//! The emulated Anthropic API: messages, token counts, models.

pub(crate) mod error;
pub(crate) mod messages;
pub(crate) mod models;
mod stream;

use crate::ids::Ids;

/// Header fields of every answer. The limits and the organisation are there because a real
/// vendor's are, and a gateway must not let its callers see them.
pub(crate) fn headers(ids: Ids) -> Vec<(&'static str, String)> {
    vec![
        (
            "anthropic-organization-id",
            "00000000-0000-4000-8000-000000000000".to_owned(),
        ),
        ("anthropic-ratelimit-requests-limit", "10000".to_owned()),
        ("anthropic-ratelimit-requests-remaining", "9999".to_owned()),
        ("request-id", request_id(ids)),
    ]
}

fn request_id(ids: Ids) -> String {
    ids.letters("req_01", 22, 0)
}
