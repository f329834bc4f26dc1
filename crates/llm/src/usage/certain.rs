//! How many tokens of output a stream has brought for certain: no upstream that keeps to its cap may be
//! taken for one that does not (LED-53, LED-57).
//!
//! Bytes prove little, since a token may have many: of spaces, of dashes. Events prove nothing by
//! themselves, since some servers cut their text without regard to tokens. So what counts are the
//! beginnings of words, and only in what is the model's own text: thoughts may be told in other words
//! than were thought, and what comes in other forms has other sizes.

/// Longer than any token of a vocabulary in use, twice over.
const TOKEN_BYTES_MOST: u64 = 256;
/// More words than a token of any vocabulary has; of most, a token is one word at most.
const TOKEN_WORDS_MOST: u64 = 4;

/// A piece of the model's text.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Spoken {
    bytes: u64,
    /// Words that begin within it, behind white space of its own.
    begun: u64,
    /// It begins with a word, or with the rest of one.
    starts_in_word: bool,
    ends_in_word: bool,
}

impl Spoken {
    pub(super) fn of(text: &str) -> Self {
        let mut spoken = Self::default();
        for byte in text.bytes() {
            let in_word = !byte.is_ascii_whitespace();
            if spoken.bytes == 0 {
                spoken.starts_in_word = in_word;
            } else if in_word && !spoken.ends_in_word {
                spoken.begun = spoken.begun.saturating_add(1);
            }
            spoken.ends_in_word = in_word;
            spoken.bytes = spoken.bytes.saturating_add(1);
        }
        spoken
    }

    /// What comes after it.
    pub(super) fn then(&mut self, next: Self) {
        if next.bytes == 0 {
            return;
        }
        if self.bytes == 0 {
            *self = next;
            return;
        }
        let begins = next.starts_in_word && !self.ends_in_word;
        let begun = next.begun.saturating_add(u64::from(begins));
        self.begun = self.begun.saturating_add(begun);
        self.bytes = self.bytes.saturating_add(next.bytes);
        self.ends_in_word = next.ends_in_word;
    }
}

/// What all events together prove.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Certain {
    all: Spoken,
    /// Events in which a word begins.
    pieces: u64,
    /// Answers come side by side: which word goes on where, nobody knows.
    is_many: bool,
}

impl Certain {
    /// Takes what an event brought.
    pub(super) fn event(&mut self, spoken: Spoken) {
        if self.is_many {
            let apart = Spoken {
                starts_in_word: false,
                ..spoken
            };
            return self.all.then(apart);
        }
        let (before, was_empty) = (self.all.begun, self.all.bytes == 0);
        self.all.then(spoken);
        let begins = self.all.begun > before || was_empty && spoken.starts_in_word;
        self.pieces = self.pieces.saturating_add(u64::from(begins));
    }

    /// There is more than one answer.
    pub(super) const fn many(&mut self) {
        self.is_many = true;
    }

    /// Tokens of output at least, over all answers.
    pub(super) fn tokens(&self) -> u64 {
        let by_bytes = self.all.bytes.div_ceil(TOKEN_BYTES_MOST);
        let by_words = self.all.begun.div_ceil(TOKEN_WORDS_MOST);
        let by_pieces = if self.is_many { 0 } else { self.pieces };
        by_bytes.max(by_words).max(by_pieces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(pieces: &[&str]) -> u64 {
        let mut certain = Certain::default();
        for piece in pieces {
            certain.event(Spoken::of(piece));
        }
        certain.tokens()
    }

    // LED-57
    #[test]
    fn only_what_no_vocabulary_could_say_with_fewer_tokens_is_certain() {
        let spaces = " ".repeat(12_800);
        let dashes = "-".repeat(12_800);
        for (name, pieces, want) in [
            ("nothing", &[][..], 0),
            ("nothing said", &["", ""], 0),
            ("a word", &["word"], 1),
            ("word by word", &["one", " two", " three"], 3),
            ("behind each its space", &["one ", "two ", "three"], 3),
            ("letter by letter", &["o", "n", "e", " ", "t", "w", "o"], 2),
            ("cut within words", &["on", "e t", "wo th", "ree"], 3),
            ("in one piece, four to a token", &["a b c d e f g h i"], 2),
            ("white space alone", &[" ", "\n", "\t"], 1),
            ("a hundred tokens of spaces", &[&spaces], 50),
            ("a hundred tokens of dashes", &[&dashes], 50),
            ("what has no spaces", &["中", "文", "字"], 1),
        ] {
            assert_eq!(tokens(pieces), want, "{name}");
        }
    }

    #[test]
    fn answers_side_by_side_prove_no_more_than_their_own_words() {
        let mut certain = Certain::default();
        certain.event(Spoken::of("a b c d e f "));
        certain.many();
        for _ in 0..8 {
            certain.event(Spoken::of("x"));
        }
        assert_eq!(certain.tokens(), 2, "the letters may all go on");
    }

    #[test]
    fn words_are_the_same_however_they_are_cut() {
        let text = " one  two\nthree four ";
        for at in 0..=text.len() {
            let (before, after) = text.split_at(at);
            let mut cut = Spoken::of(before);
            cut.then(Spoken::of(after));
            assert_eq!(cut, Spoken::of(text), "{at}");
        }
    }
}
