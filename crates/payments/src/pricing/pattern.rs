//! Patterns of texts: `*` stands for any run, `\*` for itself.

use std::fmt;

/// A pattern of a whole text, case and all.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pattern {
    written: Box<str>,
    /// The plain runs between stars.
    runs: Box<[Box<str>]>,
}

/// Bytes of a pattern at most.
const BYTES_MAX: usize = 512;

impl Pattern {
    /// The pattern of this text; `None` if it is too long, or ends in a lone `\`.
    pub fn new(written: &str) -> Option<Self> {
        if written.len() > BYTES_MAX {
            return None;
        }
        let mut runs = vec![String::new()];
        let mut letters = written.chars();
        while let Some(letter) = letters.next() {
            let plain = match letter {
                '*' => {
                    runs.push(String::new());
                    continue;
                }
                '\\' => match letters.next()? {
                    escaped @ ('*' | '\\') => escaped,
                    // As it is written: only these two need it.
                    other => {
                        runs.last_mut()?.push('\\');
                        other
                    }
                },
                plain => plain,
            };
            runs.last_mut()?.push(plain);
        }
        Some(Self {
            written: written.into(),
            runs: runs.into_iter().map(Into::into).collect(),
        })
    }

    /// As it is written.
    pub(super) fn written(&self) -> &str {
        &self.written
    }

    /// Whether it has no star: it fits one text only.
    pub fn is_exact(&self) -> bool {
        self.runs.len() == 1
    }

    /// Whether it fits the whole text. The time is that of reading both once a star.
    pub fn fits(&self, text: &str) -> bool {
        let Some((first, rest)) = self.runs.split_first() else {
            return false;
        };
        let Some((last, middle)) = rest.split_last() else {
            return **first == *text;
        };
        let inner = text
            .strip_prefix(&**first)
            .and_then(|text| text.strip_suffix(&**last));
        let Some(mut left) = inner else {
            return false;
        };
        for run in middle {
            let Some((_, behind)) = left.split_once(&**run) else {
                return false;
            };
            left = behind;
        }
        true
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // PAY-25
    #[test]
    fn a_star_is_any_run_and_the_rest_is_itself() {
        for (pattern, text, want) in [
            ("gpt-4*", "gpt-4", true),
            ("gpt-4*", "gpt-4o-mini", true),
            ("gpt-4*", "GPT-4", false),
            ("gpt-4*", " gpt-4", false),
            ("a*z", "az", true),
            ("a*z", "abcz", true),
            ("a*z", "abc", false),
            ("a*a", "a", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("*b*b*", "ab", false),
            ("*b*b*", "abcb", true),
            ("*ab*ba*", "aba", false),
            ("a.c", "abc", false),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("a\\\\*", "a\\x", true),
            ("a\\d", "a\\d", true),
        ] {
            let pattern = Pattern::new(pattern).unwrap();
            assert_eq!(pattern.fits(text), want, "{pattern} {text}");
        }
        assert_eq!(Pattern::new("a\\"), None);
        assert_eq!(Pattern::new(&"a".repeat(513)), None);
    }
}
