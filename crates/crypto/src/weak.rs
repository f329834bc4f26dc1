//! Whether a key that somebody supplied could be guessed.

use crate::samples;
use std::collections::HashSet;
use std::fmt;

/// Fewest characters of a supplied key.
const CHARS_MIN: usize = 24;
/// Fewest different characters.
const DISTINCT_MIN: usize = 10;
/// Longest run of one character, plus one.
const RUN_MIN: usize = 6;
/// Fewest of the classes lower, upper, digit, symbol.
const CLASSES_MIN: usize = 3;
/// From this length on pure hex needs no third class.
const HEX_MIN: usize = 32;
/// From this length on base64url needs no third class.
const BASE64URL_MIN: usize = 22;

const WORDS: &[&str] = &[
    "password", "changeme", "default", "secret", "token", "admin", "qwerty", "letmein", "123456",
];

/// One reason to call a key weak.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WeakRule {
    /// Fewer than 24 characters.
    TooShort,
    /// Contains this word, in any case.
    Word(&'static str),
    /// One character six or more times in a row.
    Run,
    /// Fewer than three of lower, upper, digit and symbol, and neither long hex nor base64url.
    FewClasses,
    /// Fewer than ten different characters.
    FewDistinct,
    /// A value printed in a manual.
    Sample,
}

impl fmt::Display for WeakRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort => write!(f, "shorter than {CHARS_MIN} characters"),
            Self::Word(word) => write!(f, "contains `{word}`"),
            Self::Run => write!(f, "one character {RUN_MIN} or more times in a row"),
            Self::FewClasses => write!(
                f,
                "fewer than {CLASSES_MIN} of lower case, upper case, digits and symbols"
            ),
            Self::FewDistinct => write!(f, "fewer than {DISTINCT_MIN} different characters"),
            Self::Sample => f.write_str("a sample value printed in a manual"),
        }
    }
}

/// A key was refused as weak. The message names every rule broken, never the key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WeakKey {
    /// The rules broken, at least one.
    pub rules: Vec<WeakRule>,
}

impl fmt::Display for WeakKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("weak key: ")?;
        for (at, rule) in self.rules.iter().enumerate() {
            if at > 0 {
                f.write_str("; ")?;
            }
            rule.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for WeakKey {}

/// Passes a key that breaks no rule.
///
/// # Errors
/// [`WeakKey`] with every rule that the text breaks.
pub fn check(text: &str) -> Result<(), WeakKey> {
    let lower = text.to_ascii_lowercase();
    let words = WORDS
        .iter()
        .filter(|word| lower.contains(**word))
        .map(|word| WeakRule::Word(word));
    let others = [
        (text.chars().count() < CHARS_MIN, WeakRule::TooShort),
        (longest_run(text) >= RUN_MIN, WeakRule::Run),
        (too_few_classes(text), WeakRule::FewClasses),
        (
            text.chars().collect::<HashSet<_>>().len() < DISTINCT_MIN,
            WeakRule::FewDistinct,
        ),
        (samples::is_sample(text), WeakRule::Sample),
    ];
    let broken = others.into_iter().filter(|(broken, _)| *broken);
    let rules: Vec<_> = broken.map(|(_, rule)| rule).chain(words).collect();
    if rules.is_empty() {
        Ok(())
    } else {
        Err(WeakKey { rules })
    }
}

fn longest_run(text: &str) -> usize {
    let (mut longest, mut run, mut last) = (0, 0, None);
    for char in text.chars() {
        run = if last == Some(char) { run + 1 } else { 1 };
        last = Some(char);
        longest = longest.max(run);
    }
    longest
}

fn too_few_classes(text: &str) -> bool {
    let base64url = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let dense = (text.len() >= HEX_MIN && text.bytes().all(|byte| byte.is_ascii_hexdigit()))
        || (text.len() >= BASE64URL_MIN && text.bytes().all(base64url));
    let classes = [
        text.chars().any(char::is_lowercase),
        text.chars().any(char::is_uppercase),
        text.chars().any(char::is_numeric),
        text.chars().any(|char| !char.is_alphanumeric()),
    ];
    !dense && classes.into_iter().filter(|class| *class).count() < CLASSES_MIN
}

#[cfg(test)]
mod tests {
    use super::*;
    use WeakRule::{FewClasses, FewDistinct, Run, Sample, TooShort, Word};

    // ID-59
    #[test]
    fn each_rule_is_named_and_its_neighbour_passes() {
        let cases: &[(&str, &str, &[WeakRule])] = &[
            ("24 of three classes", "Abcdefghij-klmnopqrs.tuv", &[]),
            ("23 of them", "Abcdefghij-klmnopqrs.tu", &[TooShort]),
            ("word", "xyPASSword-0123-GHIjklmn.", &[Word("password")]),
            (
                "digits as a word",
                "Xy-123456.GHIjklmnopqrst",
                &[Word("123456")],
            ),
            ("five of them", "Xy-12345.GHIjklmnopqrstu", &[]),
            ("run of six", "Xy-aaaaaa.GHIjklmnopqrst", &[Run]),
            ("run of five", "Xy-aaaaa.GHIjklmnopqrstu", &[]),
            ("two classes", "abcdefghijkl.mnopqrstuvw.", &[FewClasses]),
            ("pure hex of 32", "0f1e2d3c4b5a69788796a5b4c3d2e1f0", &[]),
            ("base64url of 24", "abcdefghijklmnopqrstuvwx", &[]),
            (
                "nine characters",
                "Abc.defghAbc.defghAbc.defgh",
                &[FewDistinct],
            ),
            ("ten characters", "Abc.defghiAbc.defghiAbc.defghi", &[]),
            ("sample", "YOUR_32_BYTE_ENCRYPTION_KEY_HERE", &[Sample]),
            (
                "openssl rand -base64 32",
                "q3Jm0uVw8bYx5TtKz1LhRf7oPdCe2sAgNi4XyB6MwkU=",
                &[],
            ),
            ("not ascii", "ÄÖÜäöüßéèêàâçñøåæœ¿¡§¶·×÷", &[]),
            ("empty", "", &[TooShort, FewClasses, FewDistinct]),
            (
                "everything",
                "changeme",
                &[TooShort, FewClasses, FewDistinct, Sample, Word("changeme")],
            ),
        ];
        for (name, text, want) in cases {
            let broken = check(text).err().map_or(Vec::new(), |weak| weak.rules);
            assert_eq!(&broken, want, "{name}");
        }
    }

    // ID-59
    #[test]
    fn the_message_names_the_rules_and_not_the_key() {
        let message = check("MyToken").unwrap_err().to_string();
        assert_eq!(
            message,
            "weak key: shorter than 24 characters; \
             fewer than 3 of lower case, upper case, digits and symbols; \
             fewer than 10 different characters; contains `token`"
        );
    }
}
