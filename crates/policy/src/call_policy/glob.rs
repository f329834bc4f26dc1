//! Globs on values of parameters: `*` is any run of characters, `?` any one.

/// Longest value that is compared, in bytes; a longer one is only like `*`.
const VALUE_BYTES_MAX: usize = 4096;

/// Whether `text` matches `pattern`, case included. Takes time in the length of one times that of
/// the other at most, and both are bounded.
pub(super) fn glob(pattern: &str, text: &str) -> bool {
    if !pattern.is_empty() && pattern.bytes().all(|byte| byte == b'*') {
        return true;
    }
    if text.len() > VALUE_BYTES_MAX {
        return false;
    }
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    // Where to go on when what follows the last `*` does not fit here.
    let mut again = None;
    loop {
        let here = text.clone();
        match (pattern.next(), text.next()) {
            (Some('*'), _) => {
                text = here.clone();
                again = Some((pattern.clone(), here));
            }
            (Some('?'), Some(_)) => {}
            (Some(wanted), Some(letter)) if wanted == letter => {}
            (None, None) => return true,
            _ => {
                let Some((after_star, from)) = &mut again else {
                    return false;
                };
                if from.next().is_none() {
                    return false;
                }
                (pattern, text) = (after_star.clone(), from.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // LLM-34
    #[test]
    fn globs_have_two_signs() {
        for (pattern, text, want) in [
            ("gpt-4*", "gpt-4o", true),
            ("gpt-4*", "gpt-3.5", false),
            ("gpt-4?", "gpt-4o", true),
            ("gpt-4?", "gpt-4", false),
            ("gpt-4?", "gpt-4oo", false),
            ("?", "é", true),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("?*", "", false),
            ("a*b?c", "axxbyc", true),
            ("a*b?c", "axxbc", false),
            ("*-mini", "o4-mini", true),
            ("GPT", "gpt", false),
            ("[a]", "a", false),
        ] {
            assert_eq!(glob(pattern, text), want, "{pattern} {text}");
        }
        let long = "a".repeat(VALUE_BYTES_MAX + 1);
        assert!(glob("*", &long) && glob("**", &long));
        assert!(!glob("a*", &long), "too long to be compared");
    }

    /// What the words say, slowly.
    fn naive(pattern: &[char], text: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some(('*', rest)) => (0..=text.len()).any(|at| naive(rest, &text[at..])),
            Some(('?', rest)) => !text.is_empty() && naive(rest, &text[1..]),
            Some((letter, rest)) => text.first() == Some(letter) && naive(rest, &text[1..]),
        }
    }

    proptest::proptest! {
        #[test]
        fn glob_agrees_with_its_definition(pattern in "[ab*?]{0,8}", text in "[abé]{0,10}") {
            let (p, t): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
            proptest::prop_assert_eq!(glob(&pattern, &text), naive(&p, &t));
        }
    }
}
