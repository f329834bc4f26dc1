//! Every member of a JSON object, however deep it stands, one after the other.

use super::tokens::{Tokens, syntax};
use crate::body::{BodyFault, BodyRefusal};
use std::borrow::Cow;

/// What a member has as its value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Walked<'a> {
    Text(Cow<'a, str>),
    /// An object or a list; its members come next.
    Opened,
    /// A number, a switch or `null`.
    Other,
}

/// A member: its name, and 1 if it is one of the body itself.
pub(crate) struct At<'a> {
    pub(crate) name: Cow<'a, str>,
    pub(crate) depth: usize,
}

/// Walks through a body that must be one object.
///
/// # Errors
/// It is no JSON object, or is nested deeper than that.
pub(crate) fn walk<'a>(
    body: &'a [u8],
    depth_max: usize,
    told: &mut dyn FnMut(&At<'a>, Walked<'a>),
) -> Result<(), BodyRefusal> {
    let text = std::str::from_utf8(body).map_err(|error| syntax("UTF-8", error.valid_up_to()))?;
    let mut walker = Walker {
        text,
        tokens: Tokens::new(text),
        depth_max,
    };
    if walker.tokens.next_byte() != Some(b'{') {
        return Err(walker.tokens.wants("a JSON object"));
    }
    walker.object(1, told)?;
    match walker.tokens.next_byte() {
        Some(_) => Err(walker.tokens.wants("nothing after the object")),
        None => Ok(()),
    }
}

struct Walker<'a> {
    text: &'a str,
    tokens: Tokens<'a>,
    depth_max: usize,
}

impl<'a> Walker<'a> {
    /// What stands inside an object or a list, behind its bracket.
    fn inside(
        &mut self,
        depth: usize,
        told: &mut dyn FnMut(&At<'a>, Walked<'a>),
    ) -> Result<(), BodyRefusal> {
        if depth > self.depth_max {
            return Err(BodyRefusal {
                fault: BodyFault::TooDeep(self.depth_max),
                offset: self.tokens.at(),
            });
        }
        match self.tokens.next_byte() {
            Some(b'{') => self.object(depth, told),
            _ => self.list(depth, told),
        }
    }

    fn object(
        &mut self,
        depth: usize,
        told: &mut dyn FnMut(&At<'a>, Walked<'a>),
    ) -> Result<(), BodyRefusal> {
        self.tokens.advance(1);
        if self.tokens.next_byte() == Some(b'}') {
            self.tokens.advance(1);
            return Ok(());
        }
        loop {
            if self.tokens.next_byte() != Some(b'"') {
                return Err(self.tokens.wants("a key"));
            }
            let name = self.tokens.string()?.text(self.text);
            if self.tokens.next_byte() != Some(b':') {
                return Err(self.tokens.wants("`:`"));
            }
            self.tokens.advance(1);
            let at = At { name, depth };
            match self.tokens.next_byte() {
                Some(b'"') => {
                    let text = self.tokens.string()?.text(self.text);
                    told(&at, Walked::Text(text));
                }
                Some(b'{' | b'[') => {
                    told(&at, Walked::Opened);
                    self.inside(depth + 1, told)?;
                }
                _ => {
                    self.plain()?;
                    told(&at, Walked::Other);
                }
            }
            if self.ends(b'}')? {
                return Ok(());
            }
        }
    }

    fn list(
        &mut self,
        depth: usize,
        told: &mut dyn FnMut(&At<'a>, Walked<'a>),
    ) -> Result<(), BodyRefusal> {
        self.tokens.advance(1);
        if self.tokens.next_byte() == Some(b']') {
            self.tokens.advance(1);
            return Ok(());
        }
        loop {
            match self.tokens.next_byte() {
                Some(b'"') => drop(self.tokens.string()?),
                Some(b'{' | b'[') => self.inside(depth + 1, told)?,
                _ => self.plain()?,
            }
            if self.ends(b']')? {
                return Ok(());
            }
        }
    }

    /// Takes a number, a switch or `null`.
    fn plain(&mut self) -> Result<(), BodyRefusal> {
        match self.tokens.next_byte() {
            Some(b'-' | b'0'..=b'9') => self.tokens.number(),
            _ => self.tokens.literal().map(drop),
        }
    }

    /// Takes a comma, or the end of what is open.
    fn ends(&mut self, bracket: u8) -> Result<bool, BodyRefusal> {
        let here = self.tokens.next_byte();
        if here != Some(b',') && here != Some(bracket) {
            return Err(self.tokens.wants("`,` or the end"));
        }
        self.tokens.advance(1);
        Ok(here == Some(bracket))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn of(text: &str) -> Option<Vec<String>> {
        let mut seen = Vec::new();
        let walked = walk(text.as_bytes(), 8, &mut |at, value| {
            seen.push(format!("{} {} {value:?}", at.depth, at.name));
        });
        walked.ok().map(|()| seen)
    }

    #[test]
    fn every_member_is_told_of_wherever_it_stands() {
        let text = r#" {"a":"x", "b":[1,{"\u0063":null,"d":["t",{"e":"f"}]}], "g":{}, "h":true} "#;
        let want = [
            r#"1 a Text("x")"#,
            "1 b Opened",
            "3 c Other",
            "3 d Opened",
            r#"5 e Text("f")"#,
            "1 g Opened",
            "1 h Other",
        ];
        assert_eq!(of(text).unwrap(), want);
    }

    #[test]
    fn what_is_broken_or_deep_is_an_error() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(8), "]".repeat(8));
        for text in [
            "",
            "[]",
            "{",
            "{\"a\":}",
            "{\"a\":1,}",
            "{\"a\":[1 2]}",
            "{} x",
            &deep,
        ] {
            assert_eq!(of(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn it_takes_what_is_json_and_nothing_else(text in "\\{[\\[\\]{}\",:a1 truenl-]{0,24}\\}") {
            let is_object = serde_json::from_str::<Value>(&text).is_ok_and(|it| it.is_object());
            proptest::prop_assert_eq!(of(&text).is_some(), is_object, "{}", text);
        }
    }
}
