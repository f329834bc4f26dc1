//! The extension `payment-identifier` of version 2: a name that a payer gives to what it buys, by
//! which it asks for a lost answer again.

use super::proof::Malformed;
use crate::json::Value as Json;
use serde_json::{Map, Value, json};

/// A name that a payer gave to what it buys.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identifier(Box<str>);

/// The name of the extension on the wire.
pub(super) const NAME: &str = "payment-identifier";
/// Its letters: so many.
const LETTERS: std::ops::RangeInclusive<usize> = 16..=128;

impl Identifier {
    /// One that is written in the letters of the extension.
    pub fn new(text: &str) -> Option<Self> {
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let fits = LETTERS.contains(&text.len()) && text.bytes().all(is_letter);
        fits.then(|| Self(text.into()))
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The one among the extensions of a proof. Clients send the extension back as they were told of
    /// it, also where they give no name.
    pub(super) fn among(extensions: &Json) -> Result<Option<Self>, Malformed> {
        let info = extensions.get(NAME).and_then(|of| of.get("info"));
        let Some(id) = info.and_then(|info| info.get("id")) else {
            return Ok(None);
        };
        let id = id.as_text().and_then(Self::new);
        id.map(Some).ok_or(Malformed::Identifier)
    }
}

/// What a challenge of version 2 says is taken besides.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Extensions(Map<String, Value>);

impl Extensions {
    /// Payers may name what they buy, or must.
    pub fn new(requires_id: bool) -> Self {
        Self(Map::from_iter([(NAME.to_owned(), declared(requires_id))]))
    }

    /// The same, with how a resource is asked for by this method, for those who list what is sold.
    pub fn listed(mut self, method: &str) -> Self {
        if let Some(declared) = super::bazaar::declared(method) {
            self.0.insert(super::bazaar::NAME.to_owned(), declared);
        }
        self
    }

    /// The member of a challenge; `None` if nothing is taken.
    pub(super) fn member(&self) -> Option<Value> {
        (!self.0.is_empty()).then(|| Value::Object(self.0.clone()))
    }
}

fn declared(requires_id: bool) -> Value {
    let (least, most) = LETTERS.into_inner();
    json!({
        "info": { "required": requires_id },
        "schema": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {
                "required": { "type": "boolean" },
                "id": { "type": "string", "minLength": least, "maxLength": most },
            },
            "required": ["required"],
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // PAY-135
    #[test]
    fn an_identifier_has_so_many_letters_and_no_others() {
        let long = "a".repeat(128);
        for good in ["0123456789abcdef", "pay_7d5d-747BE160e2", long.as_str()] {
            assert_eq!(Identifier::new(good).unwrap().as_str(), good);
        }
        let too_long = "a".repeat(129);
        for bad in [
            "",
            "0123456789abcde",
            "0123456789abcde.",
            "0123456789abcde ",
            "0123456789abcdé",
            too_long.as_str(),
        ] {
            assert_eq!(Identifier::new(bad), None, "{bad}");
        }
    }

    // PAY-135
    #[test]
    fn an_extension_without_a_name_is_none_and_a_bad_name_is_refused() {
        let read = |text: &str| Identifier::among(&crate::json::read(text.as_bytes(), 12).unwrap());
        for none in [
            "{}",
            "[]",
            "null",
            r#"{"payment-identifier":{}}"#,
            r#"{"payment-identifier":{"info":{"required":false}}}"#,
            r#"{"other":{"info":{"id":"0123456789abcdef"}}}"#,
        ] {
            assert_eq!(read(none), Ok(None), "{none}");
        }
        let good = r#"{"payment-identifier":{"info":{"id":"0123456789abcdef"}}}"#;
        assert!(read(good).unwrap().is_some());
        for bad in ["\"short\"", "7", "null", "{}", "\"0123456789abcde\\n\""] {
            let text = format!(r#"{{"payment-identifier":{{"info":{{"id":{bad}}}}}}}"#);
            assert_eq!(read(&text), Err(Malformed::Identifier), "{bad}");
        }
    }
}
