//! What depends on where the gateway runs and what time it is.

use super::*;
use rcgen::{CertificateParams, CertifiedKey as Made, DnType, KeyPair};
use std::fs;
use std::os::unix::fs::PermissionsExt;

const DAY_MS: u64 = 86_400_000;

fn self_signed(folder: &Path) -> PairFiles {
    let mut params = CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "a");
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2027, 1, 1);
    let signing_key = KeyPair::generate().unwrap();
    let cert = params.self_signed(&signing_key).unwrap();
    let made = Made { cert, signing_key };
    let (cert_file, key_file) = (folder.join("a.pem"), folder.join("a.key"));
    fs::write(&cert_file, made.cert.pem()).unwrap();
    fs::write(&key_file, made.signing_key.serialize_pem()).unwrap();
    fs::set_permissions(&key_file, fs::Permissions::from_mode(0o600)).unwrap();
    let names = Vec::new();
    PairFiles {
        cert_file,
        key_file,
        names,
        may_be_over: false,
    }
}

fn rules(at: &str) -> Rules {
    Rules {
        now: at.parse().unwrap(),
        insecure_key_mode: false,
        in_production: true,
    }
}

// EDGE-11
#[test]
fn nobody_vouches_for_a_self_signed_certificate_which_is_told_in_production() {
    let folder = tempfile::tempdir().unwrap();
    let files = self_signed(folder.path());
    let strict = rules("2026-11-22T00:00:00Z");
    for (in_production, want) in [(true, 1), (false, 0)] {
        let rules = Rules {
            in_production,
            ..strict
        };
        let pair = Pair::load(&files, rules).ok().unwrap();
        let told = pair.warnings.iter();
        let told = told.filter(|warning| matches!(warning, Warning::SelfSigned { .. }));
        assert_eq!(told.count(), want);
    }
}

// EDGE-11
#[test]
fn a_certificate_is_good_from_its_first_to_its_last_second() {
    let folder = tempfile::tempdir().unwrap();
    let files = self_signed(folder.path());
    let first: WallMillis = "2026-01-01T00:00:00Z".parse().unwrap();
    let last: WallMillis = "2027-01-01T00:00:00Z".parse().unwrap();
    for (now, good) in [
        (first.0 - 1, false),
        (first.0, true),
        (last.0, true),
        (last.0 + 1, false),
        (last.0 + DAY_MS, false),
    ] {
        let rules = Rules {
            now: WallMillis(now),
            ..rules("2026-11-22T00:00:00Z")
        };
        assert_eq!(Pair::load(&files, rules).is_ok(), good, "{now}");
    }
}

// EDGE-11
#[test]
fn a_file_that_is_none_or_too_long_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = self_signed(folder.path());
    files.cert_file = folder.path().to_owned();
    let long = folder.path().join("long.key");
    fs::write(&long, vec![b'\n'; 1024 * 1024 + 1]).unwrap();
    files.key_file = long;
    let faults = Pair::load(&files, rules("2026-11-22T00:00:00Z"))
        .err()
        .unwrap();
    assert_eq!(faults.len(), 2, "{faults:?}");
    for fault in faults {
        assert!(
            fault.to_string().contains("it is no file, or longer"),
            "{fault}"
        );
    }
}
