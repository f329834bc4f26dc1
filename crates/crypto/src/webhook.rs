//! The signature of what others are told, as receivers of webhooks check it.

use crate::hmac_sha256;

/// The digits of HMAC-SHA256 over `<milliseconds>.<body>`, under the receiver's secret.
pub fn webhook_signature(secret: &str, at_ms: &str, body: &[u8]) -> String {
    let data = [at_ms.as_bytes(), b".", body].concat();
    let mac = hmac_sha256(secret.as_bytes(), &data);
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
    let pairs = mac
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]);
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    // PAY-80
    #[test]
    fn signatures_are_those_that_receivers_check() {
        let vectors = include_str!("../tests/data/webhook-signature.json");
        let vectors: Value = serde_json::from_str(vectors).unwrap();
        let cases = vectors["cases"].as_array().unwrap();
        assert_eq!(cases.len(), 10);
        for case in cases {
            let text = |name: &str| case[name].as_str().unwrap();
            let body = text("payload").as_bytes();
            let signed = webhook_signature(text("secret"), text("timestamp"), body);
            // A receiver also refuses what is right and too old.
            let is_right = matches!(text("result"), "ok" | "timestamp_out_of_tolerance");
            let is_same = signed == text("signature");
            assert_eq!(is_same, is_right, "{}", text("name"));
        }
    }
}
