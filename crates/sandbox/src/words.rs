//! Words: how an answer is counted, cut, filled up and split into stream pieces.

/// What an answer is filled up with when more words are asked for than were said.
const FILLER: [&str; 10] = [
    "and", "then", "some", "more", "words,", "as", "many", "as", "were", "asked",
];

/// A text and where its stream pieces end.
pub(crate) struct Pieces {
    text: String,
    ends: Vec<usize>,
}

impl Pieces {
    /// Splits at word borders into `wanted` pieces, fewer when there are fewer words.
    pub(crate) fn by_words(text: String, wanted: usize) -> Self {
        let borders = word_ends(&text);
        Self::at(text, &borders, wanted)
    }

    /// Splits at character borders into `wanted` pieces, fewer when there are fewer characters.
    pub(crate) fn by_chars(text: String, wanted: usize) -> Self {
        let borders: Vec<usize> = text
            .char_indices()
            .map(|(at, c)| at + c.len_utf8())
            .collect();
        Self::at(text, &borders, wanted)
    }

    fn at(text: String, borders: &[usize], wanted: usize) -> Self {
        let pieces = wanted.clamp(1, borders.len().max(1));
        let end_of = |piece: usize| {
            let border = (piece * borders.len() / pieces).checked_sub(1)?;
            borders.get(border).copied()
        };
        let ends = (1..=pieces).filter_map(end_of).collect();
        Self { text, ends }
    }

    /// The text in one.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The pieces in order; none is empty.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        let mut from = 0;
        self.ends.iter().filter_map(move |&end| {
            let piece = self.text.get(from..end);
            from = end;
            piece
        })
    }
}

/// Number of words, which is also what they cost in output tokens.
pub(crate) fn count(text: &str) -> usize {
    text.split_whitespace().count()
}

/// The first `words` words, byte for byte, without the blanks after the last.
pub(crate) fn cut(text: &str, words: usize) -> String {
    let end = match words.checked_sub(1) {
        None => Some(0),
        Some(last) => word_ends(text).get(last).copied(),
    };
    match end.and_then(|end| text.get(..end)) {
        Some(kept) if kept.len() < text.len() => kept.trim_end().to_owned(),
        Some(_) | None => text.to_owned(),
    }
}

/// The text cut or filled up to exactly `words` words.
pub(crate) fn fit(text: &str, words: usize) -> String {
    let have = count(text);
    if have >= words {
        return cut(text, words);
    }
    let mut out = text.to_owned();
    for filler in FILLER.iter().cycle().take(words - have) {
        if !out.is_empty() && !out.ends_with(char::is_whitespace) {
            out.push(' ');
        }
        out.push_str(filler);
    }
    out
}

/// Where each word ends, with the blanks that follow it; the last is the end of the text.
fn word_ends(text: &str) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut seen_word = false;
    let mut after_blank = false;
    for (at, c) in text.char_indices() {
        let blank = c.is_whitespace();
        if !blank && after_blank && seen_word {
            ends.push(at);
        }
        seen_word |= !blank;
        after_blank = blank;
    }
    if !text.is_empty() {
        ends.push(text.len());
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_the_text_again_and_as_many_as_asked_for() {
        for (name, text, wanted, want) in [
            ("as asked", "a b c d", 2, vec!["a b ", "c d"]),
            ("uneven", "a b c", 2, vec!["a ", "b c"]),
            ("too many asked", "a b", 9, vec!["a ", "b"]),
            ("none asked", "a b", 0, vec!["a b"]),
            ("blanks around", "  a \n b ", 2, vec!["  a \n ", "b "]),
            ("no words", "  ", 3, vec!["  "]),
            ("nothing", "", 3, vec![]),
        ] {
            let pieces = Pieces::by_words(text.to_owned(), wanted);
            assert_eq!(pieces.iter().collect::<Vec<_>>(), want, "{name}");
        }
        let letters = Pieces::by_chars("äöü!".to_owned(), 3);
        assert_eq!(letters.iter().collect::<Vec<_>>(), ["ä", "ö", "ü!"]);
    }

    #[test]
    fn a_text_is_cut_or_filled_to_the_word() {
        for (text, words, want) in [
            ("a  b c", 2, "a  b"),
            ("a b", 2, "a b"),
            ("a b ", 2, "a b "),
            ("a b", 0, ""),
            ("a", 3, "a and then"),
            ("You said: ", 3, "You said: and"),
            ("", 2, "and then"),
        ] {
            assert_eq!(fit(text, words), want, "{text:?} to {words}");
            assert_eq!(count(&fit(text, words)), words, "{text:?} to {words}");
        }
    }
}
