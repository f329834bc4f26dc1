//! What depends on what time it is.

use super::*;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, IsCa,
    KeyIdMethod, KeyPair, SerialNumber, date_time_ymd,
};
use std::fs;

/// Files of an authority of 2026 and of its list of November.
fn files(folder: &Path) -> ClientAuthFiles {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2027, 1, 1);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2026, 11, 1),
        next_update: date_time_ymd(2026, 12, 1),
        crl_number: SerialNumber::from(1_u64),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let files = ClientAuthFiles {
        need: ClientCertNeed::Required,
        ca_file: folder.join("ca.pem"),
        crl_file: Some(folder.join("crl.pem")),
    };
    fs::write(&files.ca_file, issuer.pem()).unwrap();
    let list = list.signed_by(&issuer).unwrap().pem().unwrap();
    fs::write(folder.join("crl.pem"), list).unwrap();
    files
}

// EDGE-15
#[test]
fn authorities_and_lists_hold_from_their_first_to_their_last_second() {
    let folder = tempfile::tempdir().unwrap();
    let listed = files(folder.path());
    let alone = ClientAuthFiles {
        crl_file: None,
        ..listed.clone()
    };
    let at = |text: &str| text.parse::<WallMillis>().unwrap().0;
    for (name, files, first, last) in [
        (
            "authority",
            &alone,
            "2026-01-01T00:00:00Z",
            "2027-01-01T00:00:00Z",
        ),
        (
            "list",
            &listed,
            "2026-11-01T00:00:00Z",
            "2026-12-01T00:00:00Z",
        ),
    ] {
        let (first, last) = (at(first), at(last));
        for (now, good) in [
            (first - 1, false),
            (first, true),
            (last, true),
            (last + 1, false),
        ] {
            let loaded = ClientAuth::load(files, WallMillis(now), false);
            assert_eq!(loaded.is_ok(), good, "{name} at {now}");
        }
    }
    let loaded = ClientAuth::load(&listed, WallMillis(at("2026-11-22T00:00:00Z")), false);
    let told = loaded.ok().unwrap().expiries.into_iter();
    let told: Vec<_> = told
        .map(|expiry| (expiry.ends, expiry.not_after.0))
        .collect();
    let want = [
        (Ends::ClientAuthority, at("2027-01-01T00:00:00Z")),
        (Ends::RevocationList, at("2026-12-01T00:00:00Z")),
    ];
    assert_eq!(told, want);
}

// EDGE-15
#[test]
fn a_list_may_be_longer_than_a_certificate_but_not_endless() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = files(folder.path());
    let long = folder.path().join("long.pem");
    let mut text = fs::read(files.crl_file.as_ref().unwrap()).unwrap();
    text.resize(2 * 1024 * 1024, b'\n');
    fs::write(&long, &text).unwrap();
    files.crl_file = Some(long.clone());
    let now = "2026-11-22T00:00:00Z".parse().unwrap();
    assert!(ClientAuth::load(&files, now, false).is_ok());
    text.resize(16 * 1024 * 1024 + 1, b'\n');
    fs::write(&long, &text).unwrap();
    let faults = ClientAuth::load(&files, now, false).err().unwrap();
    assert!(
        faults[0].to_string().contains("longer than 16 MiB"),
        "{faults:?}"
    );
}
