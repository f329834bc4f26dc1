//! Who a client is by its certificate, once it was verified: a fact of its connection.

use crate::{DistinguishedName, WallMillis};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A client's certificate, verified in the handshake of its connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientCertificate {
    /// Whose it is; may be empty, where only alternative names say so.
    pub subject: DistinguishedName,
    /// Its alternative names of the known kinds, in its order.
    pub names: Vec<AlternativeName>,
    /// Its fingerprint.
    pub sha256: CertificateSha256,
    /// From when it is valid, and until when.
    pub validity: (WallMillis, WallMillis),
    told: ToldCertificate,
}

/// An alternative name of a certificate's subject.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AlternativeName {
    /// A DNS name, lower case.
    Dns(String),
    /// A URI, such as a SPIFFE id.
    Uri(String),
    /// A mail address.
    Email(String),
    /// An address.
    Ip(IpAddr),
}

/// The SHA-256 of a certificate, as tools call its fingerprint.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CertificateSha256(pub [u8; 32]);

/// A certificate as records tell it. Mail addresses are hidden, and texts are bounded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ToldCertificate {
    /// Whose it is; empty if it does not say.
    pub subject: Box<str>,
    /// Its alternative names, a comma between; empty if it has none.
    pub names: Box<str>,
    /// Its fingerprint.
    pub sha256: Box<str>,
}

/// Characters of a text that records keep at most.
const TOLD_CHARS_MAX: usize = 256;
/// What stands for a mail address.
const HIDDEN: &str = "********";

impl ClientCertificate {
    /// One of these facts.
    pub fn new(
        subject: DistinguishedName,
        names: Vec<AlternativeName>,
        sha256: CertificateSha256,
        validity: (WallMillis, WallMillis),
    ) -> Self {
        Self {
            told: ToldCertificate::of(&subject, &names, sha256),
            subject,
            names,
            sha256,
            validity,
        }
    }

    /// What records tell of it.
    pub fn told(&self) -> &ToldCertificate {
        &self.told
    }
}

impl ToldCertificate {
    fn of(subject: &DistinguishedName, all: &[AlternativeName], sha256: CertificateSha256) -> Self {
        let hide = |text: &str| text.contains('@').then(|| HIDDEN.to_owned());
        let mut names = String::new();
        for name in all {
            // What is cut off need not be made.
            if names.len() > TOLD_CHARS_MAX * 4 {
                break;
            }
            if !names.is_empty() {
                names.push(',');
            }
            match name {
                AlternativeName::Email(_) => names.push_str("email:********"),
                AlternativeName::Dns(_) | AlternativeName::Uri(_) | AlternativeName::Ip(_) => {
                    let text = name.to_string();
                    names.push_str(hide(&text).as_deref().unwrap_or(&text));
                }
            }
        }
        Self {
            subject: bounded(&subject.with_texts(hide).to_string()),
            names: bounded(&names),
            sha256: sha256.to_string().into(),
        }
    }
}

fn bounded(text: &str) -> Box<str> {
    text.chars().take(TOLD_CHARS_MAX).collect::<String>().into()
}

/// The prefixes of alternative names, as OpenSSL prints them.
const PREFIXES: [&str; 4] = ["DNS:", "URI:", "email:", "IP:"];

impl fmt::Display for AlternativeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [dns, uri, email, ip] = PREFIXES;
        match self {
            Self::Dns(name) => write!(f, "{dns}{name}"),
            Self::Uri(uri_text) => write!(f, "{uri}{uri_text}"),
            Self::Email(address) => write!(f, "{email}{address}"),
            Self::Ip(address) => write!(f, "{ip}{address}"),
        }
    }
}

/// The text is no alternative name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "want an alternative name such as `DNS:ci.example.com`, `URI:spiffe://…`, `email:…` or `IP:…`"
)]
pub struct ParseAlternativeNameError;

impl AlternativeName {
    /// Whether a text is meant as one: it begins with the prefix of a kind.
    pub fn is_meant(text: &str) -> bool {
        PREFIXES.iter().any(|prefix| behind(text, prefix).is_some())
    }
}

fn behind<'t>(text: &'t str, prefix: &str) -> Option<&'t str> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

impl FromStr for AlternativeName {
    type Err = ParseAlternativeNameError;

    fn from_str(text: &str) -> Result<Self, ParseAlternativeNameError> {
        let [dns, uri, email, ip] = PREFIXES.map(|prefix| behind(text, prefix));
        let graphic = |text: &&str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        let address = ip.and_then(|address| address.parse().ok()).map(Self::Ip);
        let dns = dns
            .filter(graphic)
            .map(|name| Self::Dns(name.to_ascii_lowercase()));
        let uri = uri.filter(graphic).map(|uri| Self::Uri(uri.to_owned()));
        let email = email
            .filter(graphic)
            .map(|email| Self::Email(email.to_owned()));
        dns.or(uri)
            .or(email)
            .or(address)
            .ok_or(ParseAlternativeNameError)
    }
}

impl fmt::Display for CertificateSha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The text is no SHA-256.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "want the SHA-256 of a certificate: 64 hexadecimal digits, with or without `:` between the \
     pairs"
)]
pub struct ParseSha256Error;

impl FromStr for CertificateSha256 {
    type Err = ParseSha256Error;

    fn from_str(text: &str) -> Result<Self, ParseSha256Error> {
        let mut bytes = [0; 32];
        let step = if text.len() == 64 { 2 } else { 3 };
        if text.len() != 64 && text.len() != 95 {
            return Err(ParseSha256Error);
        }
        for (index, byte) in bytes.iter_mut().enumerate() {
            let at = index * step;
            let pair = text.get(at..at + 2).ok_or(ParseSha256Error)?;
            let colon = text.get(at + 2..at + step);
            if !pair.bytes().all(|digit| digit.is_ascii_hexdigit())
                || colon.is_some_and(|colon| !colon.is_empty() && colon != ":")
            {
                return Err(ParseSha256Error);
            }
            *byte = u8::from_str_radix(pair, 16).map_err(|_| ParseSha256Error)?;
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // EDGE-15
    #[test]
    fn fingerprints_are_read_as_tools_print_them() {
        let digits = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
        let pairs = digits.as_bytes().chunks(2).map(str::from_utf8);
        let pairs: Vec<_> = pairs.map(|pair| pair.unwrap().to_uppercase()).collect();
        let read: CertificateSha256 = digits.parse().unwrap();
        assert_eq!(read.to_string(), digits);
        assert_eq!(pairs.join(":").parse(), Ok(read));
        for wrong in [
            String::new(),
            digits.replacen('0', "", 1),
            format!("{digits}0"),
            digits.replacen('0', "g", 1),
            digits.replacen("00", "+0", 1),
            pairs.join("-"),
            pairs.join(": ").chars().take(95).collect(),
            "é".repeat(32),
        ] {
            assert_eq!(
                wrong.parse::<CertificateSha256>(),
                Err(ParseSha256Error),
                "{wrong}"
            );
        }
    }

    // EDGE-15
    #[test]
    fn alternative_names_are_read_by_their_prefix() {
        for (text, want) in [
            (
                "DNS:CI.example.com",
                Some(AlternativeName::Dns("ci.example.com".to_owned())),
            ),
            ("dns:a", Some(AlternativeName::Dns("a".to_owned()))),
            (
                "URI:spiffe://a/B",
                Some(AlternativeName::Uri("spiffe://a/B".to_owned())),
            ),
            (
                "email:a@b.example",
                Some(AlternativeName::Email("a@b.example".to_owned())),
            ),
            (
                "IP:10.0.0.1",
                Some(AlternativeName::Ip([10, 0, 0, 1].into())),
            ),
            ("IP:::1", Some(AlternativeName::Ip("::1".parse().unwrap()))),
            ("IP:10.0.0", None),
            ("DNS:", None),
            ("DNS:a b", None),
            ("CN=a", None),
        ] {
            assert_eq!(text.parse().ok(), want, "{text}");
            assert_eq!(AlternativeName::is_meant(text), text != "CN=a", "{text}");
        }
    }

    // EDGE-15
    #[test]
    fn records_tell_no_mail_address_and_no_long_text() {
        let long = format!("CN={}", "é".repeat(300));
        let make = |subject: &str, names: Vec<AlternativeName>| {
            let (subject, sha256) = (subject.parse().unwrap(), CertificateSha256([0xab; 32]));
            let validity = (WallMillis(0), WallMillis(1));
            ClientCertificate::new(subject, names, sha256, validity)
                .told()
                .clone()
        };
        let names = [
            "DNS:a",
            "email:bob@example.com",
            "URI:mailto:bob@example.com",
            "IP:::1",
        ];
        let names = names.map(|name| name.parse().unwrap()).to_vec();
        let told = make("CN=bob@example.com,emailAddress=bob@example.com,O=x", names);
        assert_eq!(&*told.subject, "CN=********,emailAddress=********,O=x");
        assert_eq!(&*told.names, "DNS:a,email:********,********,IP:::1");
        assert_eq!(&*told.sha256, "ab".repeat(32));
        let many = vec![AlternativeName::Dns("x".repeat(250)); 2_000];
        let told = make(&long, many);
        assert_eq!(
            (told.subject.chars().count(), told.names.chars().count()),
            (256, 256)
        );
    }
}
