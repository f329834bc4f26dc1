//! The passwords that are tried first.

/// Ten thousand of them, sorted: the head of zxcvbn's list of passwords by frequency (version
/// 4.4.2; Copyright (c) 2012-2016 Dan Wheeler and Dropbox, Inc., under the MIT licence, whose text is
/// that of LICENSE-MIT).
const FREQUENT: &str = include_str!("frequent.txt");

/// Fewer different characters than this are no password.
const DISTINCT_MIN: usize = 5;

/// Whether a password, in lower case, is one of them, alone, twice, or with digits and signs around
/// it; or a row of digits.
pub(super) fn is_frequent(lower: &str) -> bool {
    let mut distinct: Vec<char> = lower.chars().collect();
    distinct.sort_unstable();
    distinct.dedup();
    if distinct.len() < DISTINCT_MIN || is_row(lower) {
        return true;
    }
    let word = lower.trim_matches(|c: char| !c.is_alphabetic());
    [lower, word, half(lower), half(word)]
        .into_iter()
        .any(is_listed)
}

fn is_listed(text: &str) -> bool {
    !text.is_empty() && FREQUENT.lines().any(|frequent| frequent == text)
}

/// One half of a text that is the same twice; else nothing.
fn half(text: &str) -> &str {
    let halves = text.split_at_checked(text.len() / 2);
    halves
        .filter(|(one, other)| one == other)
        .map_or("", |(one, _)| one)
}

/// Digits that count up or down, nought behind nine.
fn is_row(text: &str) -> bool {
    let goes = |step: u32| {
        let digits: Option<Vec<u32>> = text.chars().map(|c| c.to_digit(10)).collect();
        let follows = |pair: &[u32]| matches!(pair, [a, b] if (a + step) % 10 == *b);
        digits.is_some_and(|digits| digits.windows(2).all(follows))
    };
    goes(1) || goes(9)
}

#[cfg(test)]
mod tests {
    use super::*;

    // ID-123
    #[test]
    fn the_list_has_ten_thousand_each_once() {
        let list: Vec<&str> = FREQUENT.lines().collect();
        assert_eq!(list.len(), 10_000);
        assert!(list.is_sorted_by(|one, next| one < next));
        for word in ["123456", "password", "sunshine", "qwertyuiop"] {
            assert!(is_listed(word), "{word}");
        }
    }
}
