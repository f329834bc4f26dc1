//! Whose a certificate is: a distinguished name, read and written as RFC 4514 says.
//!
//! Names are compared as values, not as texts, so that it does not matter which tool wrote one
//! down: `CN=M\C3\BCller` and `CN=Müller` are the same.

use std::fmt;
use std::str::FromStr;

/// A distinguished name.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DistinguishedName {
    /// In the order of the text, which is the other way round than in a certificate. The
    /// attributes of one set have no order of their own and are sorted.
    sets: Vec<Vec<Attribute>>,
}

/// An attribute of a name.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Attribute {
    /// Its object identifier in dots.
    pub oid: String,
    /// Its value.
    pub value: AttributeValue,
}

/// The value of an attribute.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum AttributeValue {
    /// A text, whatever string it was.
    Text(String),
    /// Something else, in DER.
    Der(Vec<u8>),
}

const COMMON_NAME: &str = "2.5.4.3";

/// The names of RFC 4514, and others that tools write.
const NAMED: &[(&str, &str)] = &[
    (COMMON_NAME, "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "STREET"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "title"),
    ("2.5.4.42", "GN"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];

/// What is escaped anywhere in a value.
const SPECIAL: &str = "\"+,;<>\\";

impl DistinguishedName {
    /// From the sets of attributes of a certificate, in its order.
    pub fn new(mut sets: Vec<Vec<Attribute>>) -> Self {
        sets.reverse();
        for set in &mut sets {
            set.sort();
        }
        Self { sets }
    }

    /// Whether it names nothing.
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }

    /// The first common name, in the certificate's order.
    pub fn common_name(&self) -> Option<&str> {
        let attributes = self.sets.iter().rev().flatten();
        let mut common = attributes.filter(|attribute| attribute.oid == COMMON_NAME);
        common.find_map(|attribute| match &attribute.value {
            AttributeValue::Text(text) => Some(text.as_str()),
            AttributeValue::Der(_) => None,
        })
    }

    /// The name with each text that this one wants replaced.
    pub(crate) fn with_texts(&self, replace: impl Fn(&str) -> Option<String>) -> Self {
        let mut name = self.clone();
        for attribute in name.sets.iter_mut().flatten() {
            if let AttributeValue::Text(text) = &mut attribute.value
                && let Some(other) = replace(text)
            {
                *text = other;
            }
        }
        name
    }
}

impl fmt::Display for DistinguishedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, set) in self.sets.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            for (index, attribute) in set.iter().enumerate() {
                if index > 0 {
                    f.write_str("+")?;
                }
                let known = NAMED.iter().find(|(oid, _)| *oid == attribute.oid);
                f.write_str(known.map_or(attribute.oid.as_str(), |(_, name)| name))?;
                f.write_str("=")?;
                attribute.value.fmt(f)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for AttributeValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Text(text) => text,
            Self::Der(der) => {
                f.write_str("#")?;
                return der.iter().try_for_each(|byte| write!(f, "{byte:02x}"));
            }
        };
        let last = text.chars().count().saturating_sub(1);
        for (at, letter) in text.chars().enumerate() {
            if letter.is_control() {
                let mut bytes = [0; 4];
                for byte in letter.encode_utf8(&mut bytes).bytes() {
                    write!(f, "\\{byte:02x}")?;
                }
                continue;
            }
            let at_edge = (at == 0 && matches!(letter, ' ' | '#')) || (at == last && letter == ' ');
            if at_edge || SPECIAL.contains(letter) {
                f.write_str("\\")?;
            }
            write!(f, "{letter}")?;
        }
        Ok(())
    }
}

/// The text is no distinguished name.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ParseNameError {
    /// It is not made of types and values.
    #[error(
        "want a subject such as `CN=ci,O=Example`, as `openssl x509 -noout -subject -nameopt \
         RFC2253` prints it: the last part of the certificate first, no space around `,` and `=`"
    )]
    Form,
    /// A type has no known name.
    #[error("{0:?} is no known type of a name: write its object identifier in dots")]
    UnknownType(String),
}

impl FromStr for DistinguishedName {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Self, ParseNameError> {
        let (mut sets, mut set) = (Vec::new(), Vec::new());
        let mut rest = text;
        loop {
            let (name, behind) = rest.split_once('=').ok_or(ParseNameError::Form)?;
            let oid = oid_of(name)?;
            let (value, end) = read_value(behind)?;
            set.push(Attribute { oid, value });
            match end {
                End::Text => break,
                End::Attribute(behind) => rest = behind,
                End::Set(behind) => {
                    sets.push(std::mem::take(&mut set));
                    rest = behind;
                }
            }
        }
        sets.push(set);
        sets.reverse();
        Ok(Self::new(sets))
    }
}

fn oid_of(name: &str) -> Result<String, ParseNameError> {
    let known = NAMED
        .iter()
        .find(|(_, known)| known.eq_ignore_ascii_case(name));
    if let Some((oid, _)) = known {
        return Ok((*oid).to_owned());
    }
    let arc = |arc: &str| {
        let digits = !arc.is_empty() && arc.bytes().all(|byte| byte.is_ascii_digit());
        digits && (arc == "0" || !arc.starts_with('0'))
    };
    if name.contains('.') && name.split('.').all(arc) {
        return Ok(name.to_owned());
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if name.is_empty() || !name.bytes().all(plain) {
        return Err(ParseNameError::Form);
    }
    Err(ParseNameError::UnknownType(name.to_owned()))
}

/// What ends a value, and what is behind it.
enum End<'t> {
    /// Nothing is.
    Text,
    /// `+`: one more attribute of the set.
    Attribute(&'t str),
    /// `,`: the next set.
    Set(&'t str),
}

fn read_value(text: &str) -> Result<(AttributeValue, End<'_>), ParseNameError> {
    const WRONG: ParseNameError = ParseNameError::Form;
    if let Some(digits) = text.strip_prefix('#') {
        let stop = digits.find([',', '+']).unwrap_or(digits.len());
        let (digits, behind) = digits.split_at(stop);
        let der = from_hex(digits).filter(|der| !der.is_empty());
        return Ok((AttributeValue::Der(der.ok_or(WRONG)?), end_of(behind)));
    }
    let mut bytes = Vec::new();
    let mut bare_space_last = text.starts_with(' ');
    if bare_space_last {
        return Err(WRONG);
    }
    let mut letters = text.char_indices();
    let behind = loop {
        let Some((at, letter)) = letters.next() else {
            break "";
        };
        let taken = match letter {
            ',' | '+' => break text.get(at..).unwrap_or_default(),
            '\\' => {
                bare_space_last = false;
                let (_, escaped) = letters.next().ok_or(WRONG)?;
                if SPECIAL.contains(escaped) || matches!(escaped, ' ' | '#' | '=') {
                    escaped
                } else {
                    let (_, low) = letters.next().ok_or(WRONG)?;
                    let pair = String::from_iter([escaped, low]);
                    bytes.extend(from_hex(&pair).ok_or(WRONG)?);
                    continue;
                }
            }
            '"' | ';' | '<' | '>' | '\0' => return Err(WRONG),
            plain => {
                bare_space_last = plain == ' ';
                plain
            }
        };
        bytes.extend_from_slice(taken.encode_utf8(&mut [0; 4]).as_bytes());
    };
    if bare_space_last {
        return Err(WRONG);
    }
    let value = String::from_utf8(bytes).map_err(|_| WRONG)?;
    Ok((AttributeValue::Text(value), end_of(behind)))
}

fn end_of(behind: &str) -> End<'_> {
    match (behind.strip_prefix('+'), behind.strip_prefix(',')) {
        (Some(behind), _) => End::Attribute(behind),
        (None, Some(behind)) => End::Set(behind),
        (None, None) => End::Text,
    }
}

/// Bytes of pairs of hexadecimal digits.
fn from_hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let byte = |[high, low]: &[u8; 2]| u8::try_from(digit(*high)? << 4 | digit(*low)?).ok();
    let bytes = pairs.iter().map(byte).collect::<Option<_>>();
    bytes.filter(|_| rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(oid: &str, value: &str) -> Attribute {
        Attribute {
            oid: oid.to_owned(),
            value: AttributeValue::Text(value.to_owned()),
        }
    }

    // EDGE-15
    #[test]
    fn a_name_is_the_same_however_a_tool_writes_it() {
        let name = DistinguishedName::new(vec![
            vec![text("2.5.4.6", "CH")],
            vec![text("2.5.4.10", "Müller, Söhne + Co")],
            vec![
                text("2.5.4.3", "ci"),
                text("0.9.2342.19200300.100.1.1", "7"),
            ],
        ]);
        assert_eq!(
            name.to_string(),
            "UID=7+CN=ci,O=Müller\\, Söhne \\+ Co,C=CH"
        );
        for same in [
            "UID=7+CN=ci,O=Müller\\, Söhne \\+ Co,C=CH",
            "cn=ci+uid=7,O=M\\C3\\BCller\\2c S\\c3\\b6hne \\2B Co,2.5.4.6=CH",
        ] {
            assert_eq!(same.parse().as_ref(), Ok(&name), "{same}");
        }
        for other in [
            "CN=ci,UID=7,O=Müller\\, Söhne \\+ Co,C=CH",
            "C=CH,O=Müller\\, Söhne \\+ Co,UID=7+CN=ci",
            "UID=7+CN=CI,O=Müller\\, Söhne \\+ Co,C=CH",
            "UID=7+CN=ci\\ ,O=Müller\\, Söhne \\+ Co,C=CH",
            "CN=ci",
        ] {
            let other: DistinguishedName = other.parse().unwrap();
            assert_ne!(other, name);
        }
        assert_eq!(name.common_name(), Some("ci"));
    }

    // EDGE-15
    #[test]
    fn what_is_no_name_is_refused() {
        for wrong in [
            "",
            "ci",
            "CN",
            "=ci",
            "CN=a,",
            "CN=a,,O=b",
            "CN=a, O=b",
            "C = CH, CN = a",
            "CN= a",
            "CN=a ",
            "CN=a+",
            "CN=a;O=b",
            "CN=\"a\"",
            "CN=a\\",
            "CN=a\\x",
            "CN=\\C3",
            "CN=#",
            "CN=#0",
            "CN=#0g",
            "CN=a<b",
            "/CN=a/O=b",
            "2..5=a",
            "2.05=a",
        ] {
            let read: Result<DistinguishedName, _> = wrong.parse();
            assert_eq!(read, Err(ParseNameError::Form), "{wrong}");
        }
        let unknown: Result<DistinguishedName, _> = "XX=a".parse();
        assert_eq!(unknown, Err(ParseNameError::UnknownType("XX".to_owned())));
    }

    proptest! {
        /// What is written is read as the same name, so no value can look like two.
        #[test]
        fn a_written_name_is_read_as_itself(
            values in proptest::collection::vec(".{0,12}", 1..4),
            der in proptest::collection::vec(any::<u8>(), 1..5),
        ) {
            let mut sets: Vec<_> = values.iter().map(|value| vec![text("2.5.4.11", value)]).collect();
            sets.push(vec![Attribute { oid: "1.2.3".to_owned(), value: AttributeValue::Der(der) }]);
            let name = DistinguishedName::new(sets);
            prop_assert_eq!(name.to_string().parse(), Ok(name));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[CNO=,+#\\\\ a0é\"]{0,16}") {
            let read: Result<DistinguishedName, _> = text.parse();
            if let Ok(name) = read {
                prop_assert_eq!(name.to_string().parse(), Ok(name));
            }
        }
    }
}
