//! Certificates of other makers, and bytes that are none.

use super::*;
use proptest::prelude::*;
use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair, SanType};

fn made(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
    let mut params = CertificateParams::new(vec!["A.example".to_owned()]).unwrap();
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    params.self_signed(&key).unwrap().der().to_vec()
}

// EDGE-11
#[test]
fn a_certificate_tells_whose_it_is_and_how_long() {
    let der = made(|params| {
        params.distinguished_name = DistinguishedName::new();
        let name = &mut params.distinguished_name;
        name.push(DnType::CountryName, "CH");
        name.push(DnType::OrganizationName, "Müller, Söhne + Co");
        name.push(DnType::CommonName, DnValue::Utf8String(" #x ".to_owned()));
        name.push(DnType::CustomDnType(vec![1, 2, 840, 99]), "a\nb");
        params
            .subject_alt_names
            .push(SanType::IpAddress([127, 0, 0, 1].into()));
        params.not_before = rcgen::date_time_ymd(2026, 11, 1);
        params.not_after = rcgen::date_time_ymd(2051, 2, 28);
    });
    let read = Certificate::read(&der).unwrap();
    assert_eq!(
        read.subject.to_string(),
        "1.2.840.99=a\\0ab,CN=\\ #x\\ ,O=Müller\\, Söhne \\+ Co,C=CH"
    );
    assert_eq!(read.subject.common_name(), Some(" #x "));
    assert_eq!(read.dns_names().collect::<Vec<_>>(), ["a.example"]);
    let address = AlternativeName::Ip([127, 0, 0, 1].into());
    assert!(read.has_names && read.names.contains(&address));
    assert_eq!(read.not_before, "2026-11-01T00:00:00Z".parse().unwrap());
    assert_eq!(read.not_after, "2051-02-28T00:00:00Z".parse().unwrap());
    assert_eq!(read.key, KeyKind::Elliptic);
}

#[test]
fn who_issued_whom_is_told_by_their_names() {
    let named = |name: &str| {
        let name = name.to_owned();
        let der = made(move |params| params.distinguished_name.push(DnType::CommonName, name));
        Certificate::read(&der).unwrap()
    };
    let (one, other) = (named("one"), named("other"));
    assert!(one.is_self_signed() && one.is_issuer_of(&one));
    assert!(!one.is_issuer_of(&other));
    let bare = made(|params| params.subject_alt_names.clear());
    assert!(!Certificate::read(&bare).unwrap().has_names);
}

proptest! {
    /// What is not a certificate is refused, and nothing panics.
    #[test]
    fn bytes_that_are_no_certificate_are_none(
        at in 0..400_usize,
        byte in any::<u8>(),
        cut in 0..600_usize,
        noise in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        prop_assert_eq!(Certificate::read(&noise), None);
        prop_assert!(RevocationList::read(&noise).is_none());
        let der = made(|_| {});
        prop_assert_eq!(Certificate::read(&der[..cut.min(der.len() - 1)]), None);
        let mut other = der.clone();
        other[at.min(der.len() - 1)] = byte;
        // A certificate or none, but no panic.
        let read = Certificate::read(&other);
        prop_assert!(RevocationList::read(&other).is_none());
        drop(Authority::read(&other));
        prop_assert!(read.is_some() || other != der);
    }
}

// EDGE-15
#[test]
fn what_a_client_is_told_by_is_read_and_what_is_behind_a_certificate_is_not() {
    let der = made(|params| {
        params.subject_alt_names = vec![
            SanType::URI("spiffe://example.com/ci".try_into().unwrap()),
            SanType::Rfc822Name("a@b.example".try_into().unwrap()),
            SanType::IpAddress("2001:db8::1".parse().unwrap()),
        ];
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(
            DnType::CommonName,
            DnValue::BmpString("ü".try_into().unwrap()),
        );
    });
    let client = client_certificate(&der).unwrap();
    assert_eq!(client.subject, "CN=ü".parse().unwrap());
    let names = [
        "URI:spiffe://example.com/ci",
        "email:a@b.example",
        "IP:2001:db8::1",
    ];
    assert_eq!(client.names, names.map(|name| name.parse().unwrap()));
    let (mut longer, mut other) = (der.clone(), der);
    longer.push(0);
    assert_eq!(client_certificate(&longer), None);
    // The signature is none of this reader's affairs, the fingerprint is of every byte.
    *other.last_mut().unwrap() ^= 1;
    let other = client_certificate(&other).unwrap();
    assert_ne!(other.sha256, client.sha256);
}
