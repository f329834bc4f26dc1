//! Key texts that everybody knows: sample values of manuals, ours and others'.

/// Values from printed instructions. A key whose text is in a manual protects nothing.
const SAMPLES: &[&str] = &[
    "your-api-key",
    "your-api-key-1",
    "your-api-key-2",
    "your-api-key-3",
    "sk-1234",
    "changeme",
    "e2e-management-token",
    "YOUR_32_BYTE_ENCRYPTION_KEY_HERE",
    "tok-1234",
    "tok-1234567890abcdef",
    "sk-xxxx",
    "sk-ant-xxxxx",
    "sk-ant-abc123",
    "sk-ant-api03-AAAABBBBCCCCDDDD",
];

/// Whether the text is a known sample value; letter case and outer blanks don't hide one.
pub fn is_sample(text: &str) -> bool {
    let text = text.trim();
    SAMPLES
        .iter()
        .any(|sample| sample.eq_ignore_ascii_case(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    // ID-15
    #[test]
    fn known_samples_are_found_and_others_are_not() {
        for (name, text, want) in [
            ("first sample key", "your-api-key-1", true),
            ("last sample key", "your-api-key-3", true),
            ("short sample", "sk-1234", true),
            ("the word", "changeme", true),
            ("other case", "ChangeMe", true),
            ("outer blanks", " sk-1234\n", true),
            ("test suite's key", "e2e-management-token", true),
            ("placeholder", "YOUR_32_BYTE_ENCRYPTION_KEY_HERE", true),
            ("one more character", "sk-12345", false),
            ("sample inside", "xsk-1234", false),
            ("empty", "", false),
        ] {
            assert_eq!(is_sample(text), want, "{name}");
        }
    }
}
