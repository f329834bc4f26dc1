//! What X.509 certificates and revocation lists say of themselves, as far as we have to judge or
//! tell it.
//!
//! rustls checks what a certificate is worth; it does not tell until when it lives, whose it is,
//! or how long its key is. This is the only place that looks into one besides.

use rustls_pki_types::SignatureVerificationAlgorithm;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use tollkeep_types::{
    AlternativeName, Attribute, AttributeValue, CertificateSha256, ClientCertificate,
    DistinguishedName, WallMillis,
};
use x509_parser::asn1_rs::{Any, BmpString, FromDer, Header, Tag, ToDer};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::{
    OID_KEY_TYPE_EC_PUBLIC_KEY, OID_SIG_ED25519, OID_X509_EXT_ISSUER_DISTRIBUTION_POINT,
};
use x509_parser::public_key::PublicKey;
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::time::ASN1Time;
use x509_parser::x509::{SubjectPublicKeyInfo, X509Name};

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
    /// Whose it is.
    pub subject: DistinguishedName,
    /// Its alternative names of the known kinds.
    pub names: Vec<AlternativeName>,
    /// Whether it names anybody as RFC 6125 wants it, be it in another way.
    pub has_names: bool,
    /// From when it is valid.
    pub not_before: WallMillis,
    /// Until when it is valid.
    pub not_after: WallMillis,
    /// Its key.
    pub key: KeyKind,
    /// Its serial number, as it stands in it.
    pub serial: Vec<u8>,
    /// What stands for its issuer's key, if it says.
    pub issuer_key: Option<Vec<u8>>,
    issuer: Vec<u8>,
    subject_der: Vec<u8>,
}

impl Certificate {
    /// Reads a certificate; `None` if it is none.
    pub fn read(der: &[u8]) -> Option<Self> {
        Self::of(&parse(der)?)
    }

    fn of(parsed: &X509Certificate<'_>) -> Option<Self> {
        let alternative = parsed.subject_alternative_name().ok()?;
        let general = alternative.map(|extension| extension.value.general_names.as_slice());
        let general = general.unwrap_or_default();
        let mut names = Vec::new();
        for name in general {
            names.extend(alternative_name(name)?);
        }
        Some(Self {
            subject: distinguished_name(parsed.subject())?,
            has_names: !general.is_empty(),
            names,
            not_before: wall(parsed.validity().not_before),
            not_after: wall(parsed.validity().not_after),
            key: key_kind(parsed.public_key())?,
            serial: parsed.raw_serial().to_vec(),
            issuer_key: issuer_key(parsed),
            issuer: parsed.issuer().as_raw().to_vec(),
            subject_der: parsed.subject().as_raw().to_vec(),
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

    /// The DNS names it is for, lower case.
    pub fn dns_names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().filter_map(|name| match name {
            AlternativeName::Dns(name) => Some(name.as_str()),
            AlternativeName::Uri(_) | AlternativeName::Email(_) | AlternativeName::Ip(_) => None,
        })
    }
}

/// What stands for the key of its issuer (RFC 5280, section 4.2.1.1).
fn issuer_key(parsed: &X509Certificate<'_>) -> Option<Vec<u8>> {
    parsed.iter_extensions().find_map(|one| {
        let ParsedExtension::AuthorityKeyIdentifier(issuer) = one.parsed_extension() else {
            return None;
        };
        Some(issuer.key_identifier.as_ref()?.0.to_vec())
    })
}

/// The certificate of a client, which was verified; `None` if it is none.
pub(crate) fn client_certificate(der: &[u8]) -> Option<ClientCertificate> {
    let read = Certificate::read(der)?;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
    let sha256 = CertificateSha256(digest.as_ref().try_into().ok()?);
    let validity = (read.not_before, read.not_after);
    Some(ClientCertificate::new(
        read.subject,
        read.names,
        sha256,
        validity,
    ))
}

/// A certificate that may issue others.
#[derive(Clone, Debug)]
pub(crate) struct Authority {
    pub(crate) certificate: Certificate,
    /// Whether it may sign revocation lists.
    may_revoke: bool,
    serial: Vec<u8>,
    key_algorithm: Vec<u8>,
    key: Vec<u8>,
}

/// Why a certificate can't be believed to issue others.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum NoAuthority {
    /// It is not even a certificate.
    Damaged,
    /// It may not: whose it is.
    MayNot(String),
}

impl Authority {
    /// Reads the certificate of an authority.
    ///
    /// # Errors
    /// It is none.
    pub(crate) fn read(der: &[u8]) -> Result<Self, NoAuthority> {
        let parsed = parse(der).ok_or(NoAuthority::Damaged)?;
        let certificate = Certificate::of(&parsed).ok_or(NoAuthority::Damaged)?;
        let usage = parsed.key_usage().map_err(|_| NoAuthority::Damaged)?;
        let usage = usage.map(|extension| extension.value);
        let constraints = parsed
            .basic_constraints()
            .map_err(|_| NoAuthority::Damaged)?;
        let is_one = constraints.is_some_and(|extension| extension.value.ca)
            && usage.is_none_or(|usage| usage.key_cert_sign());
        if !is_one {
            return Err(NoAuthority::MayNot(certificate.subject.to_string()));
        }
        let info = parsed.public_key();
        let algorithm = content(info.raw).and_then(|(inside, _)| content(inside));
        let (key_algorithm, _) = algorithm.ok_or(NoAuthority::Damaged)?;
        Ok(Self {
            certificate,
            may_revoke: usage.is_none_or(|usage| usage.crl_sign()),
            serial: parsed.raw_serial().to_vec(),
            key_algorithm: key_algorithm.to_vec(),
            key: info.subject_public_key.data.to_vec(),
        })
    }
}

/// A revocation list.
pub(crate) struct RevocationList<'d> {
    parsed: CertificateRevocationList<'d>,
    /// How it is signed, as certificates say it.
    algorithm: &'d [u8],
    /// Whose it is.
    pub(crate) issuer: DistinguishedName,
}

impl<'d> RevocationList<'d> {
    /// Reads a list; `None` if it is none.
    pub(crate) fn read(der: &'d [u8]) -> Option<Self> {
        let (rest, parsed) = CertificateRevocationList::from_der(der).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let (inside, _) = content(der)?;
        let behind = inside.get(parsed.tbs_cert_list.as_ref().len()..)?;
        let (algorithm, _) = content(behind)?;
        let issuer = distinguished_name(parsed.issuer())?;
        Some(Self {
            parsed,
            algorithm,
            issuer,
        })
    }

    /// From when it holds.
    pub(crate) fn this_update(&self) -> WallMillis {
        wall(self.parsed.last_update())
    }

    /// Until when it holds, if it says so.
    pub(crate) fn next_update(&self) -> Option<WallMillis> {
        self.parsed.next_update().map(wall)
    }

    /// Whether `other` is about the same certificates.
    pub(crate) fn is_about_the_same(&self, other: &Self) -> bool {
        let part = |list: &Self| {
            let oid = OID_X509_EXT_ISSUER_DISTRIBUTION_POINT;
            let found = list.parsed.tbs_cert_list.find_extension(&oid);
            found.map(|extension| extension.value.to_vec())
        };
        let issuer = |list: &Self| list.parsed.issuer().as_raw().to_vec();
        issuer(self) == issuer(other) && part(self) == part(other)
    }

    /// Whether it is this authority's: by name and by signature.
    pub(crate) fn is_of(
        &self,
        authority: &Authority,
        algorithms: &[&dyn SignatureVerificationAlgorithm],
    ) -> bool {
        let named = authority.certificate.subject_der == self.parsed.issuer().as_raw();
        let signed = |algorithm: &&&dyn SignatureVerificationAlgorithm| {
            algorithm.signature_alg_id().as_ref() == self.algorithm
                && algorithm.public_key_alg_id().as_ref() == authority.key_algorithm
                && algorithm
                    .verify_signature(
                        &authority.key,
                        self.parsed.tbs_cert_list.as_ref(),
                        &self.parsed.signature_value.data,
                    )
                    .is_ok()
        };
        named && authority.may_revoke && algorithms.iter().any(|algorithm| signed(&algorithm))
    }

    /// Whether it revokes this authority itself.
    pub(crate) fn revokes(&self, authority: &Authority) -> bool {
        let mut revoked = self.parsed.iter_revoked_certificates();
        authority.certificate.issuer == self.parsed.issuer().as_raw()
            && revoked.any(|revoked| revoked.raw_serial() == authority.serial)
    }
}

fn parse(der: &[u8]) -> Option<X509Certificate<'_>> {
    let (rest, parsed) = X509Certificate::from_der(der).ok()?;
    rest.is_empty().then_some(parsed)
}

/// What is inside of the first element, and what is behind it.
fn content(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (rest, header) = Header::from_der(der).ok()?;
    rest.split_at_checked(header.length().definite().ok()?)
}

/// A root may have begun before 1970, which is as good as that.
fn wall(time: ASN1Time) -> WallMillis {
    let seconds = u64::try_from(time.timestamp()).unwrap_or(0);
    WallMillis(seconds.saturating_mul(1000))
}

fn key_kind(info: &SubjectPublicKeyInfo<'_>) -> Option<KeyKind> {
    let algorithm = &info.algorithm.algorithm;
    if *algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY || *algorithm == OID_SIG_ED25519 {
        return Some(KeyKind::Elliptic);
    }
    let PublicKey::RSA(key) = info.parsed().ok()? else {
        return Some(KeyKind::Other);
    };
    let zeros = key.modulus.iter().take_while(|byte| **byte == 0).count();
    let modulus = key.modulus.get(zeros..)?;
    let top = usize::try_from(modulus.first()?.leading_zeros()).ok()?;
    Some(KeyKind::Rsa(modulus.len() * 8 - top))
}

fn distinguished_name(name: &X509Name<'_>) -> Option<DistinguishedName> {
    let mut sets = Vec::new();
    for set in name.iter() {
        let mut attributes = Vec::new();
        for attribute in set.iter() {
            attributes.push(Attribute {
                oid: attribute.attr_type().to_id_string(),
                value: attribute_value(attribute.attr_value())?,
            });
        }
        sets.push(attributes);
    }
    Some(DistinguishedName::new(sets))
}

fn attribute_value(value: &Any<'_>) -> Option<AttributeValue> {
    let text = match value.tag() {
        Tag::NumericString | Tag::PrintableString | Tag::Utf8String | Tag::Ia5String => {
            std::str::from_utf8(value.data).ok().map(str::to_owned)
        }
        Tag::BmpString => {
            let text = BmpString::try_from(value).ok();
            text.map(|text| text.as_ref().to_owned())
        }
        _ => None,
    };
    match text {
        Some(text) => Some(AttributeValue::Text(text)),
        None => value.to_der_vec().ok().map(AttributeValue::Der),
    }
}

/// The outer `None` is a name that is not what it says; the inner one is of another kind.
fn alternative_name(name: &GeneralName<'_>) -> Option<Option<AlternativeName>> {
    Some(Some(match name {
        GeneralName::DNSName(name) => AlternativeName::Dns(name.to_ascii_lowercase()),
        GeneralName::URI(uri) => AlternativeName::Uri((*uri).to_owned()),
        GeneralName::RFC822Name(address) => AlternativeName::Email((*address).to_owned()),
        GeneralName::IPAddress(bytes) => AlternativeName::Ip(address(bytes)?),
        GeneralName::Invalid(Tag(1 | 2 | 6 | 7), _) => return None,
        GeneralName::OtherName(..)
        | GeneralName::X400Address(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EDIPartyName(_)
        | GeneralName::RegisteredID(_)
        | GeneralName::Invalid(..) => return Some(None),
    }))
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(Ipv4Addr::from);
    let sixteen = <[u8; 16]>::try_from(bytes).map(Ipv6Addr::from);
    four.map(IpAddr::V4).or(sixteen.map(IpAddr::V6)).ok()
}

#[cfg(test)]
mod tests;
