//! What an X.509 certificate says about itself, as far as we have to judge or tell it.
//!
//! rustls checks what a certificate is worth; it does not tell until when it lives, whose it is,
//! or how long its key is. These few fields are read here, from DER with lengths that are
//! checked, and nothing is decided by them that a handshake relies on.

use tollkeep_types::WallMillis;

/// The kind of a certificate's key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyKind {
    /// RSA, with the bits of its modulus.
    Rsa(usize),
    /// ECDSA or EdDSA.
    Elliptic,
    /// Another.
    Other,
}

/// A certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Certificate {
    /// Whose it is, as RFC 4514 writes it.
    pub subject: String,
    /// The first common name of the subject.
    pub common_name: Option<String>,
    /// The DNS names it is for, lower case.
    pub dns_names: Vec<String>,
    /// Whether it names anybody as RFC 6125 wants it, be it by address.
    pub has_names: bool,
    /// From when it is valid.
    pub not_before: WallMillis,
    /// Until when it is valid.
    pub not_after: WallMillis,
    /// Its key.
    pub key: KeyKind,
    issuer: Vec<u8>,
    subject_der: Vec<u8>,
}

/// Universal and context tags used here.
mod tag {
    pub(super) const BOOLEAN: u8 = 0x01;
    pub(super) const INTEGER: u8 = 0x02;
    pub(super) const BIT_STRING: u8 = 0x03;
    pub(super) const OCTET_STRING: u8 = 0x04;
    pub(super) const OID: u8 = 0x06;
    pub(super) const UTC_TIME: u8 = 0x17;
    pub(super) const GENERALIZED_TIME: u8 = 0x18;
    pub(super) const BMP_STRING: u8 = 0x1e;
    pub(super) const SEQUENCE: u8 = 0x30;
    pub(super) const SET: u8 = 0x31;
    pub(super) const VERSION: u8 = 0xa0;
    pub(super) const EXTENSIONS: u8 = 0xa3;
    /// `dNSName` in a `GeneralName`.
    pub(super) const DNS_NAME: u8 = 0x82;
}

/// Object identifiers, as they stand in DER.
mod oid {
    pub(super) const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
    pub(super) const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
    pub(super) const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
    pub(super) const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    pub(super) const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

    /// The attribute names of RFC 4514.
    pub(super) const ATTRIBUTES: &[(&[u8], &str)] = &[
        (COMMON_NAME, "CN"),
        (&[0x55, 0x04, 0x06], "C"),
        (&[0x55, 0x04, 0x07], "L"),
        (&[0x55, 0x04, 0x08], "ST"),
        (&[0x55, 0x04, 0x09], "STREET"),
        (&[0x55, 0x04, 0x0a], "O"),
        (&[0x55, 0x04, 0x0b], "OU"),
        (
            &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x19],
            "DC",
        ),
        (
            &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x01],
            "UID",
        ),
    ];
}

impl Certificate {
    /// Reads a certificate; `None` if it is none.
    pub fn read(der: &[u8]) -> Option<Self> {
        let mut signed = Der(Der(der).expect(tag::SEQUENCE)?);
        let mut fields = Der(signed.expect(tag::SEQUENCE)?);
        fields.optional(tag::VERSION);
        fields.expect(tag::INTEGER)?; // serial number
        fields.expect(tag::SEQUENCE)?; // signature algorithm
        let issuer = fields.expect(tag::SEQUENCE)?;
        let mut validity = Der(fields.expect(tag::SEQUENCE)?);
        let (not_before, not_after) = (validity.time()?, validity.time()?);
        let subject_der = fields.expect(tag::SEQUENCE)?;
        let key = key_kind(fields.expect(tag::SEQUENCE)?)?;
        let mut names = AltNames::default();
        while let Some((tag, body)) = fields.next() {
            if tag == tag::EXTENSIONS {
                names.read(body)?;
            }
        }
        let attributes = attributes(subject_der)?;
        let common = attributes.iter().find(|(oid, _)| *oid == oid::COMMON_NAME);
        Some(Self {
            common_name: common.map(|(_, value)| value.clone()),
            subject: written(&attributes),
            dns_names: names.dns,
            has_names: names.any,
            not_before,
            not_after,
            key,
            issuer: issuer.to_vec(),
            subject_der: subject_der.to_vec(),
        })
    }

    /// Whether it names itself as its issuer.
    pub fn is_self_signed(&self) -> bool {
        self.issuer == self.subject_der
    }

    /// Whether `other` names this one as its issuer.
    pub fn is_issuer_of(&self, other: &Self) -> bool {
        self.subject_der == other.issuer
    }
}

/// The alternative names of a subject.
#[derive(Default)]
struct AltNames {
    dns: Vec<String>,
    any: bool,
}

impl AltNames {
    fn read(&mut self, extensions: &[u8]) -> Option<()> {
        let mut list = Der(Der(extensions).expect(tag::SEQUENCE)?);
        while let Some((_, extension)) = list.next() {
            let mut extension = Der(extension);
            let oid = extension.expect(tag::OID)?;
            extension.optional(tag::BOOLEAN);
            let value = extension.expect(tag::OCTET_STRING)?;
            if oid != oid::SUBJECT_ALT_NAME {
                continue;
            }
            let mut names = Der(Der(value).expect(tag::SEQUENCE)?);
            while let Some((tag, name)) = names.next() {
                self.any = true;
                if tag == tag::DNS_NAME {
                    self.dns
                        .push(std::str::from_utf8(name).ok()?.to_ascii_lowercase());
                }
            }
        }
        Some(())
    }
}

fn key_kind(info: &[u8]) -> Option<KeyKind> {
    let mut info = Der(info);
    let algorithm = Der(info.expect(tag::SEQUENCE)?).expect(tag::OID)?;
    if algorithm == oid::EC || algorithm == oid::ED25519 {
        return Some(KeyKind::Elliptic);
    }
    if algorithm != oid::RSA {
        return Some(KeyKind::Other);
    }
    let bits = info.expect(tag::BIT_STRING)?;
    // The first byte counts unused bits.
    let mut key = Der(Der(bits.get(1..)?).expect(tag::SEQUENCE)?);
    let modulus = key.expect(tag::INTEGER)?;
    let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    let modulus = modulus.get(zeros..)?;
    let top = usize::try_from(modulus.first()?.leading_zeros()).ok()?;
    Some(KeyKind::Rsa(modulus.len() * 8 - top))
}

/// The attributes of a name, in its order.
fn attributes(name: &[u8]) -> Option<Vec<(&[u8], String)>> {
    let mut all = Vec::new();
    let mut sets = Der(name);
    while let Some((tag::SET, set)) = sets.next() {
        let mut set = Der(set);
        while let Some((tag::SEQUENCE, attribute)) = set.next() {
            let mut attribute = Der(attribute);
            let oid = attribute.expect(tag::OID)?;
            let (tag, value) = attribute.next()?;
            all.push((oid, text(tag, value)));
        }
    }
    Some(all)
}

/// A string of whatever kind.
fn text(tag: u8, value: &[u8]) -> String {
    if tag == tag::BMP_STRING {
        let units = value.chunks_exact(2).filter_map(|pair| pair.first_chunk());
        let units: Vec<u16> = units.map(|pair| u16::from_be_bytes(*pair)).collect();
        return String::from_utf16_lossy(&units);
    }
    String::from_utf8_lossy(value).into_owned()
}

/// A name as RFC 4514 writes it: the last attribute first.
fn written(attributes: &[(&[u8], String)]) -> String {
    let mut out = String::new();
    for (oid, value) in attributes.iter().rev() {
        if !out.is_empty() {
            out.push(',');
        }
        let known = oid::ATTRIBUTES.iter().find(|(known, _)| known == oid);
        match known {
            Some((_, name)) => out.push_str(name),
            None => push_dotted(&mut out, oid),
        }
        out.push('=');
        let last = value.chars().count().saturating_sub(1);
        for (at, letter) in value.chars().enumerate() {
            let edge =
                (at == 0 && (letter == ' ' || letter == '#')) || (at == last && letter == ' ');
            if letter.is_control() {
                push_escaped(&mut out, letter);
                continue;
            }
            if edge || "\"+,;<>\\".contains(letter) {
                out.push('\\');
            }
            out.push(letter);
        }
    }
    out
}

/// A control character as the hexadecimal pairs of its UTF-8.
fn push_escaped(out: &mut String, letter: char) {
    for byte in letter.encode_utf8(&mut [0; 4]).bytes() {
        out.push_str(&format!("\\{byte:02x}"));
    }
}

/// An object identifier in dots.
fn push_dotted(out: &mut String, oid: &[u8]) {
    let mut arcs = Vec::new();
    let mut arc = 0_u64;
    for byte in oid {
        arc = arc << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            arcs.push(arc);
            arc = 0;
        }
    }
    let Some((first, rest)) = arcs.split_first() else {
        return;
    };
    let top = (first / 40).min(2);
    out.push_str(&format!("{top}.{}", first - top * 40));
    for arc in rest {
        out.push_str(&format!(".{arc}"));
    }
}

/// A reader of DER: definite lengths, low tag numbers.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next element: its tag and what is in it.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (tag, rest) = self.0.split_first()?;
        let (first, rest) = rest.split_first()?;
        let (length, rest) = if first & 0x80 == 0 {
            (usize::from(*first), rest)
        } else {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            if bytes.is_empty() || bytes.len() > 4 {
                return None;
            }
            let length = bytes
                .iter()
                .fold(0, |length, byte| length << 8 | usize::from(*byte));
            (length, rest)
        };
        let (body, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((*tag, body))
    }

    /// The next element, which must have this tag.
    fn expect(&mut self, wanted: u8) -> Option<&'a [u8]> {
        let (tag, body) = self.next()?;
        (tag == wanted).then_some(body)
    }

    /// Passes over the next element if it has this tag.
    fn optional(&mut self, tag: u8) {
        if self.0.first() == Some(&tag) {
            self.next();
        }
    }

    /// A time, as RFC 5280 allows it.
    fn time(&mut self) -> Option<WallMillis> {
        let (tag, body) = self.next()?;
        let text = std::str::from_utf8(body).ok()?;
        let (century, rest) = match tag {
            tag::UTC_TIME => {
                let year: u8 = text.get(..2)?.parse().ok()?;
                (if year < 50 { "20" } else { "19" }, text)
            }
            tag::GENERALIZED_TIME => text.split_at_checked(2)?,
            _ => return None,
        };
        let part = |from: usize| rest.get(from..from + 2);
        if rest.len() != 13 || !rest.ends_with('Z') {
            return None;
        }
        let text = format!(
            "{century}{}-{}-{}T{}:{}:{}Z",
            part(0)?,
            part(2)?,
            part(4)?,
            part(6)?,
            part(8)?,
            part(10)?
        );
        // A root may have begun before 1970, which is as good as that.
        match text.parse() {
            Ok(time) => Some(time),
            Err(_) if century == "19" => Some(WallMillis(0)),
            Err(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
