//! Globs on names: `*` is any run, nothing else is special.

use memchr::memmem;

/// Whether `text` matches `pattern`, in which `*` is any run of bytes (also `/`, also none) and
/// nothing else is special (LLM-R11). Takes time linear in `text`, whatever the pattern.
pub fn glob(pattern: impl AsRef<[u8]>, text: impl AsRef<[u8]>) -> bool {
    let (pattern, text) = (pattern.as_ref(), text.as_ref());
    let mut parts = pattern.split(|b| *b == b'*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        // The leftmost match leaves the most for the parts behind it.
        let Some(after) = memmem::find(rest, part).and_then(|at| rest.get(at + part.len()..))
        else {
            return false;
        };
        rest = after;
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_as_the_routing_chapter_says() {
        #[rustfmt::skip]
        let rows = [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "vendor/model", true),
            ("gpt-4o", "gpt-4o", true),
            ("gpt-4o", "gpt-4o-mini", false),
            ("gpt-4o*", "gpt-4o-mini", true),
            ("gpt-4o*", "gpt-4", false),
            ("*-mini", "gpt-4o-mini", true),
            ("*-mini", "gpt-4o-minis", false),
            ("*sonnet*", "claude-sonnet-4", true),
            ("*sonnet*", "claude-opus-4", false),
            ("a*b", "ab", true),
            ("a*b", "a/x/b", true),
            ("a*b", "a", false),
            ("ab*ba", "aba", false),
            ("a*b*a", "abba", true),
            ("**a**", "a", true),
            ("gpt-4?", "gpt-4o", false),
            ("gpt-[45]", "gpt-4", false),
            ("GPT-4o", "gpt-4o", false),
        ];
        for (pattern, text, want) in rows {
            assert_eq!(glob(pattern, text), want, "{pattern} {text}");
        }
    }

    /// What the words say, slowly.
    fn naive(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|at| naive(rest, &text[at..])),
            Some((byte, rest)) => text.first() == Some(byte) && naive(rest, &text[1..]),
        }
    }

    proptest::proptest! {
        #[test]
        fn glob_agrees_with_its_definition(pattern in "[ab*]{0,8}", text in "[ab]{0,10}") {
            proptest::prop_assert_eq!(glob(&pattern, &text), naive(pattern.as_bytes(), text.as_bytes()));
        }
    }

    #[test]
    fn a_hostile_pair_takes_no_long_time() {
        let pattern = "*a".repeat(120) + "*b";
        let text = "a".repeat(1_000_000);
        assert!(!glob(&pattern, &text));
    }
}
