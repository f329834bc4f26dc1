//! Fields that hold JSON in base64.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::Value;

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(false);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Compact JSON in base64 of the standard alphabet, padded.
pub(super) fn encode(value: &Value) -> String {
    STANDARD.encode(value.to_string())
}

/// The bytes of base64 in one alphabet, padded or not.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let is_url = text.contains(['-', '_']);
    let engine = if is_url { &URL_SAFE } else { &STANDARD };
    engine.decode(text).ok()
}
