//! The emulated Gemini API: content, streamed or whole, token counts, models.

pub(crate) mod error;
pub(crate) mod generate;
pub(crate) mod models;
mod stream;

use crate::ids::Ids;

/// Where the API lives: the version that clients ask for, and the one that has less in it.
const VERSIONS: [&str; 2] = ["/v1beta/models/", "/v1/models/"];

/// The model and the method of a path such as `/v1beta/models/sandbox-1:generateContent`.
pub(crate) fn method_of(path: &str) -> Option<(&str, &str)> {
    let mut rest = VERSIONS
        .iter()
        .filter_map(|version| path.strip_prefix(version));
    rest.next()?.rsplit_once(':')
}

/// Header fields of every answer.
pub(crate) fn headers(ids: Ids) -> Vec<(&'static str, String)> {
    vec![
        ("server-timing", "gfet4t7; dur=1".to_owned()),
        ("x-gemini-service-tier", "standard".to_owned()),
        ("x-cloud-trace-context", ids.hex("", 32, 0)),
    ]
}
