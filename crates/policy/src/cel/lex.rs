//! The words of a condition, each with its place.

use super::ConditionFault;

/// A word.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Word {
    Name(String),
    Text(String),
    Int(i64),
    Double(f64),
    /// An operator or bracket.
    Sign(&'static str),
    End,
}

/// The operators and brackets, longer ones first.
const SIGNS: [&str; 25] = [
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "+", "-", "*", "/", "%", "?", ":", ".", ",",
    "(", ")", "[", "]", "{", "}", "=",
];

/// The words of a text, each with its column, the end last.
pub(super) fn words(text: &str) -> Result<Vec<(usize, Word)>, ConditionFault> {
    let mut words = Vec::new();
    let mut rest = Rest { text, column: 1 };
    loop {
        rest.skip_blanks();
        let column = rest.column;
        let word = rest
            .word()
            .map_err(|problem| ConditionFault { column, problem })?;
        let is_end = word == Word::End;
        words.push((column, word));
        if is_end {
            return Ok(words);
        }
    }
}

struct Rest<'t> {
    text: &'t str,
    column: usize,
}

impl<'t> Rest<'t> {
    fn take(&mut self, bytes: usize) -> &'t str {
        let (taken, rest) = self.text.split_at_checked(bytes).unwrap_or((self.text, ""));
        self.text = rest;
        self.column = self.column.saturating_add(taken.chars().count());
        taken
    }

    fn take_while(&mut self, is_part: impl Fn(char) -> bool) -> &'t str {
        let end = self.text.find(|letter| !is_part(letter));
        self.take(end.unwrap_or(self.text.len()))
    }

    fn skip_blanks(&mut self) {
        loop {
            self.take_while(char::is_whitespace);
            if !self.text.starts_with("//") {
                return;
            }
            self.take_while(|letter| letter != '\n');
        }
    }

    fn word(&mut self) -> Result<Word, String> {
        let Some(first) = self.text.chars().next() else {
            return Ok(Word::End);
        };
        let second = self.text.chars().nth(1);
        let is_quote = |letter| matches!(letter, Some('"' | '\''));
        match first {
            '"' | '\'' => self.quoted(Escapes::Read),
            'r' | 'R' if is_quote(second) => {
                self.take(1);
                self.quoted(Escapes::Kept)
            }
            'b' | 'B' if is_quote(second) => Err("bytes are not supported".to_owned()),
            '0'..='9' => self.number(),
            '.' if second.is_some_and(|letter| letter.is_ascii_digit()) => self.number(),
            'a'..='z' | 'A'..='Z' | '_' => {
                let name =
                    self.take_while(|letter| letter.is_ascii_alphanumeric() || letter == '_');
                Ok(Word::Name(name.to_owned()))
            }
            other => {
                let sign = SIGNS.iter().find(|sign| self.text.starts_with(**sign));
                let sign = sign.ok_or_else(|| {
                    format!("`{}` is no part of a condition", other.escape_default())
                })?;
                self.take(sign.len());
                Ok(Word::Sign(sign))
            }
        }
    }

    fn number(&mut self) -> Result<Word, String> {
        if self.text.starts_with("0x") || self.text.starts_with("0X") {
            self.take(2);
            let digits = self.take_while(|letter| letter.is_ascii_alphanumeric());
            let number = i64::from_str_radix(digits, 16);
            return number.map(Word::Int).map_err(|_| "no number".to_owned());
        }
        let bytes = self.text.as_bytes();
        let mut end = 0;
        let mut is_double = false;
        while let Some(byte) = bytes.get(end) {
            let before = end.checked_sub(1).and_then(|at| bytes.get(at));
            match byte {
                b'0'..=b'9' => {}
                b'.' | b'e' | b'E' => is_double = true,
                b'+' | b'-' if matches!(before, Some(b'e' | b'E')) => {}
                b'u' | b'U' => return Err("unsigned numbers are not supported".to_owned()),
                letter if letter.is_ascii_alphabetic() || *letter == b'_' => {
                    return Err("no number".to_owned());
                }
                _ => break,
            }
            end = end.saturating_add(1);
        }
        let digits = self.take(end);
        if is_double {
            let number = digits
                .parse()
                .ok()
                .filter(|number: &f64| number.is_finite());
            return number
                .map(Word::Double)
                .ok_or_else(|| "no number".to_owned());
        }
        let number = digits.parse();
        number
            .map(Word::Int)
            .map_err(|_| "a number beyond 64 bits".to_owned())
    }

    fn quoted(&mut self, escapes: Escapes) -> Result<Word, String> {
        let quote = self.take(1);
        if self.text.starts_with(&quote.repeat(2)) {
            return Err("texts of several lines are not supported".to_owned());
        }
        let mut text = String::new();
        loop {
            let unfinished = || "a text without its end".to_owned();
            let letter = self.text.chars().next().ok_or_else(unfinished)?;
            self.take(letter.len_utf8());
            match letter {
                '\n' | '\r' => return Err(unfinished()),
                '\\' if escapes == Escapes::Read => text.push(self.escaped()?),
                letter if quote.starts_with(letter) => return Ok(Word::Text(text)),
                letter => text.push(letter),
            }
        }
    }

    fn escaped(&mut self) -> Result<char, String> {
        let letter = self.text.chars().next().unwrap_or_default();
        self.take(letter.len_utf8());
        let digits = match letter {
            '\\' | '"' | '\'' | '`' | '?' => return Ok(letter),
            'n' => return Ok('\n'),
            'r' => return Ok('\r'),
            't' => return Ok('\t'),
            'x' | 'X' => 2,
            'u' => 4,
            'U' => 8,
            _ => return Err("an unknown escape in a text".to_owned()),
        };
        let code = u32::from_str_radix(self.take(digits), 16).ok();
        let letter = code.and_then(char::from_u32);
        letter.ok_or_else(|| "an escape that names no character".to_owned())
    }
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Escapes {
    Read,
    Kept,
}
