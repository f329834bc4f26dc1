//! Reading JSON strictly: one value, bounded in depth and in members, no member twice, numbers
//! kept as they are written.
//!
//! Prices are chosen and money is judged by what is read here. A reader that takes the last of two
//! members, or that makes a float of a number, can be told something else than the one behind us.

use std::str;

/// A value as it was written. Numbers are texts: no digit is lost.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Value {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, by the grammar of RFC 8259.
    Number(Box<str>),
    /// A text, unescaped.
    Text(String),
    /// A list.
    List(Vec<Self>),
    /// Members in their order, each name once.
    Map(Vec<(String, Self)>),
}

impl Value {
    /// The member of this name, if this is an object that has it.
    pub fn get(&self, name: &str) -> Option<&Self> {
        let Self::Map(members) = self else {
            return None;
        };
        let member = members.iter().find(|(known, _)| known == name)?;
        Some(&member.1)
    }

    /// The element of this number, if this is a list that has it.
    pub fn at(&self, index: usize) -> Option<&Self> {
        match self {
            Self::List(items) => items.get(index),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_) | Self::Map(_) => None,
        }
    }

    /// The text, if this is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::List(_) | Self::Map(_) => None,
        }
    }

    /// The number as it is written, if this is one.
    pub fn as_number(&self) -> Option<&str> {
        match self {
            Self::Number(text) => Some(text),
            Self::Null | Self::Bool(_) | Self::Text(_) | Self::List(_) | Self::Map(_) => None,
        }
    }

    /// Whether this is `true`, if it is a switch.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(on) => Some(*on),
            Self::Null | Self::Number(_) | Self::Text(_) | Self::List(_) | Self::Map(_) => None,
        }
    }

    /// Whether this is an object.
    pub fn is_object(&self) -> bool {
        matches!(self, Self::Map(_))
    }
}

/// Why a text is not read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Fault {
    /// Not UTF-8.
    #[error("is not UTF-8")]
    NotUtf8,
    /// Not JSON, or more than one value.
    #[error("is no JSON")]
    Broken,
    /// Lists and objects in each other beyond the bound.
    #[error("is nested too deeply")]
    TooDeep,
    /// Values beyond the bound.
    #[error("has too many values")]
    TooMany,
    /// A member that stands twice in one object.
    #[error("has a member twice")]
    Twice,
}

/// Values in one text at most, whatever their kind.
const VALUES_MAX: usize = 1 << 20;

/// Reads one value, nested at most `depth_max` deep.
///
/// # Errors
/// The bytes are not one JSON value in UTF-8, or go beyond a bound, or repeat a member.
pub fn read(bytes: &[u8], depth_max: usize) -> Result<Value, Fault> {
    let text = str::from_utf8(bytes).map_err(|_| Fault::NotUtf8)?;
    let mut reader = Reader {
        text,
        at: 0,
        values_left: VALUES_MAX,
    };
    reader.skip_space();
    let value = reader.value(depth_max)?;
    reader.skip_space();
    if reader.at == text.len() {
        Ok(value)
    } else {
        Err(Fault::Broken)
    }
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    values_left: usize,
}

impl<'t> Reader<'t> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), Fault> {
        if self.next() == Some(byte) {
            Ok(())
        } else {
            Err(Fault::Broken)
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, Fault> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        if rest.starts_with(word) {
            self.at += word.len();
            return Ok(value);
        }
        Err(Fault::Broken)
    }

    fn value(&mut self, depth_left: usize) -> Result<Value, Fault> {
        self.values_left = self.values_left.checked_sub(1).ok_or(Fault::TooMany)?;
        match self.peek().ok_or(Fault::Broken)? {
            b'n' => self.word("null", Value::Null),
            b't' => self.word("true", Value::Bool(true)),
            b'f' => self.word("false", Value::Bool(false)),
            b'"' => Ok(Value::Text(self.string()?)),
            b'[' => self.list(depth_left.checked_sub(1).ok_or(Fault::TooDeep)?),
            b'{' => self.object(depth_left.checked_sub(1).ok_or(Fault::TooDeep)?),
            _ => self.number(),
        }
    }

    fn list(&mut self, depth_left: usize) -> Result<Value, Fault> {
        self.expect(b'[')?;
        self.skip_space();
        let mut items = Vec::new();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Value::List(items));
        }
        loop {
            self.skip_space();
            items.push(self.value(depth_left)?);
            self.skip_space();
            match self.next() {
                Some(b',') => {}
                Some(b']') => return Ok(Value::List(items)),
                _ => return Err(Fault::Broken),
            }
        }
    }

    fn object(&mut self, depth_left: usize) -> Result<Value, Fault> {
        self.expect(b'{')?;
        self.skip_space();
        let mut members: Vec<(String, Value)> = Vec::new();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Value::Map(members));
        }
        loop {
            self.skip_space();
            let name = self.string()?;
            self.skip_space();
            self.expect(b':')?;
            self.skip_space();
            members.push((name, self.value(depth_left)?));
            self.skip_space();
            match self.next() {
                Some(b',') => {}
                Some(b'}') => break,
                _ => return Err(Fault::Broken),
            }
        }
        if has_twins(&members) {
            return Err(Fault::Twice);
        }
        Ok(Value::Map(members))
    }

    fn number(&mut self) -> Result<Value, Fault> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.next() {
            Some(b'0') => {}
            Some(b'1'..=b'9') => self.skip_digits(),
            _ => return Err(Fault::Broken),
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        let text = self.text.get(start..self.at).ok_or(Fault::Broken)?;
        Ok(Value::Number(text.into()))
    }

    fn skip_digits(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }

    fn digits(&mut self) -> Result<(), Fault> {
        let start = self.at;
        self.skip_digits();
        if self.at == start {
            return Err(Fault::Broken);
        }
        Ok(())
    }

    fn string(&mut self) -> Result<String, Fault> {
        self.expect(b'"')?;
        let mut text = String::new();
        loop {
            let start = self.at;
            while self
                .peek()
                .is_some_and(|byte| byte != b'"' && byte != b'\\' && byte >= 0x20)
            {
                self.at += 1;
            }
            // What ends a run is ASCII, so a run never ends inside a letter.
            text.push_str(self.text.get(start..self.at).ok_or(Fault::Broken)?);
            match self.next() {
                Some(b'"') => return Ok(text),
                Some(b'\\') => text.push(self.escape()?),
                _ => return Err(Fault::Broken),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Fault> {
        Ok(match self.next().ok_or(Fault::Broken)? {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode(),
            _ => return Err(Fault::Broken),
        })
    }

    fn unicode(&mut self) -> Result<char, Fault> {
        let first = self.hex4()?;
        if !(0xd800..0xe000).contains(&first) {
            return char::from_u32(first).ok_or(Fault::Broken);
        }
        self.expect(b'\\')?;
        self.expect(b'u')?;
        let second = self.hex4()?;
        if first >= 0xdc00 || !(0xdc00..0xe000).contains(&second) {
            return Err(Fault::Broken);
        }
        let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        char::from_u32(code).ok_or(Fault::Broken)
    }

    fn hex4(&mut self) -> Result<u32, Fault> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.next().map(char::from).and_then(|c| c.to_digit(16));
            code = code * 16 + digit.ok_or(Fault::Broken)?;
        }
        Ok(code)
    }
}

/// Whether a name stands twice. Few members are compared with each other, many are sorted.
fn has_twins(members: &[(String, Value)]) -> bool {
    const FEW: usize = 16;
    if members.len() <= FEW {
        let mut rest = members;
        while let Some(((name, _), others)) = rest.split_first() {
            if others.iter().any(|(other, _)| other == name) {
                return true;
            }
            rest = others;
        }
        return false;
    }
    let mut names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names
        .windows(2)
        .any(|pair| matches!(pair, [a, b] if a == b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_plain_value_is_read() {
        for (text, want) in [
            ("", Fault::Broken),
            ("{", Fault::Broken),
            ("{}{}", Fault::Broken),
            ("{} x", Fault::Broken),
            ("[1,]", Fault::Broken),
            ("{\"a\":1,}", Fault::Broken),
            ("{'a':1}", Fault::Broken),
            ("01", Fault::Broken),
            ("+1", Fault::Broken),
            (".5", Fault::Broken),
            ("1.", Fault::Broken),
            ("1e", Fault::Broken),
            ("NaN", Fault::Broken),
            ("nul", Fault::Broken),
            ("\"\n\"", Fault::Broken),
            ("\"\\x\"", Fault::Broken),
            ("\"\\ud800\"", Fault::Broken),
            ("\"\\udc00\\udc00\"", Fault::Broken),
            ("\u{feff}{}", Fault::Broken),
            ("{\"a\":1,\"a\":1}", Fault::Twice),
            ("{\"a\":1,\"\\u0061\":1}", Fault::Twice),
            ("{\"x\":{\"a\":1,\"a\":1}}", Fault::Twice),
            ("[[[[[]]]]]", Fault::TooDeep),
        ] {
            assert_eq!(read(text.as_bytes(), 4), Err(want), "{text}");
        }
        assert_eq!(read(b"\"\xff\"", 4), Err(Fault::NotUtf8));
        let many: String = (0..40).map(|at| format!("\"k{at}\":{at},")).collect();
        let twice = format!("{{{many}\"k7\":0}}");
        assert_eq!(read(twice.as_bytes(), 4), Err(Fault::Twice));
        assert!(read(b"[[[[]]]]", 4).is_ok());
    }

    #[test]
    fn numbers_stay_as_they_are_written() {
        for text in ["0", "-0", "1.50", "1e400", "10000000000000000000000001"] {
            let value = read(text.as_bytes(), 1).unwrap();
            assert_eq!(value.as_number(), Some(text));
        }
    }

    fn same(ours: &Value, theirs: &serde_json::Value) -> bool {
        match (ours, theirs) {
            (Value::Null, serde_json::Value::Null) => true,
            (Value::Bool(one), serde_json::Value::Bool(other)) => one == other,
            (Value::Text(one), serde_json::Value::String(other)) => one == other,
            (Value::Number(one), serde_json::Value::Number(other)) => {
                one.parse::<f64>().ok() == other.as_f64()
            }
            (Value::List(ours), serde_json::Value::Array(theirs)) => {
                ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| same(a, b))
            }
            (Value::Map(ours), serde_json::Value::Object(theirs)) => {
                ours.len() == theirs.len()
                    && ours
                        .iter()
                        .zip(theirs)
                        .all(|((name, value), (key, other))| name == key && same(value, other))
            }
            _ => false,
        }
    }

    proptest::proptest! {
        /// What we read, another reader reads alike; what we refuse as broken, it refuses.
        #[test]
        fn another_reader_agrees(text in "[\\[\\]{}:, \"\\\\a-cu0-9.eE+-]{0,24}|\\PC{0,8}") {
            let theirs = serde_json::from_str::<serde_json::Value>(&text);
            match (read(text.as_bytes(), 64), theirs) {
                (Ok(ours), Ok(theirs)) => proptest::prop_assert!(same(&ours, &theirs), "{}", text),
                (Err(Fault::Twice | Fault::TooDeep), _) | (Err(_), Err(_)) => {}
                // It knows no number beyond a float.
                (Ok(_), Err(error)) => proptest::prop_assert!(
                    error.to_string().contains("out of range"), "{}: {}", text, error),
                (Err(fault), Ok(_)) => proptest::prop_assert!(false, "{}: {}", text, fault),
            }
        }
    }
}
