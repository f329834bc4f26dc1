//! The front door: which paths are behind it, and what opens it.

use tollkeep_policy::front_door::{
    Certificates, DoorPath, Factor, FrontDoor, Require, Shown, WantedSubject,
};
use tollkeep_types::{CertificateSha256, ClientCertificate, DistinguishedName, WallMillis};

fn door(require: Require, paths: &[&str], exempt: &[&str]) -> FrontDoor {
    let read = |list: &[&str]| list.iter().map(|path| path.parse().unwrap()).collect();
    FrontDoor {
        require,
        paths: read(paths),
        exempt: read(exempt),
    }
}

// EDGE-125 EDGE-127
#[test]
fn every_path_is_behind_it_unless_the_settings_say_otherwise() {
    for (name, paths, exempt, path, want) in [
        ("by default", &[][..], &[][..], "/v1/models", true),
        ("health too", &[], &[], "/health", true),
        ("listed health", &[], &["/health"], "/health", false),
        ("below an exempt path", &[], &["/health"], "/health/x", true),
        (
            "longer than an exempt path",
            &[],
            &["/health"],
            "/healthz",
            true,
        ),
        (
            "below an exempt prefix",
            &[],
            &["/open/*"],
            "/open/a/b",
            false,
        ),
        ("an exempt prefix itself", &[], &["/open/*"], "/open", true),
        ("guarded", &["/v1/*"], &[], "/v1/models", true),
        ("a guarded prefix itself", &["/v1/*"], &[], "/v1", true),
        ("beside it", &["/v1/*"], &[], "/v11", false),
        (
            "exempt within guarded",
            &["/v1/*"],
            &["/v1/open"],
            "/v1/open",
            false,
        ),
        ("case counts", &["/v1/*"], &[], "/V1/models", false),
        ("no path at all", &["/v1/*"], &[], "*", true),
        ("all", &["/*"], &[], "/", true),
    ] {
        let door = door(Require::Any, paths, exempt);
        assert_eq!(door.guards(path), want, "{name}");
    }
}

// EDGE-125
#[test]
fn any_wants_one_factor_and_all_wants_every_one() {
    use Shown::{Absent, Passed, Refused};
    let bad = Refused("has expired");
    for (name, shown, any, all) in [
        ("both", [Passed, Passed], true, true),
        ("one, the other absent", [Passed, Absent], true, false),
        ("one, the other wrong", [Passed, bad], true, false),
        ("the other", [Absent, Passed], true, false),
        ("none", [Absent, Absent], false, false),
        ("one wrong", [bad, Absent], false, false),
        ("both wrong", [bad, bad], false, false),
    ] {
        let findings = [(Factor::ServiceToken, shown[0]), (Factor::Jwt, shown[1])];
        for (require, want) in [(Require::Any, any), (Require::All, all)] {
            let decided = door(require, &[], &[]).decide(findings);
            assert_eq!(decided.is_ok(), want, "{name} {require:?}");
        }
    }
    for require in [Require::Any, Require::All] {
        assert!(
            door(require, &[], &[]).decide([]).is_err(),
            "nothing to ask for"
        );
    }
}

// EDGE-127
#[test]
fn operators_learn_which_factor_it_was() {
    let door = door(Require::Any, &[], &[]);
    let shown = [
        (Factor::ServiceToken, Shown::Refused("is not known")),
        (Factor::Jwt, Shown::Absent),
    ];
    let refused = door.decide(shown).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "front door: service token is not known"
    );
}

#[test]
fn paths_are_paths() {
    for (text, fits) in [
        ("/", true),
        ("/v1/*", true),
        ("/v1/a%2Fb", true),
        ("", false),
        ("v1", false),
        ("*", false),
        ("/v1*", false),
        ("/*/x", false),
        ("/a b", false),
        ("/a?b", false),
    ] {
        let read = text.parse::<DoorPath>();
        assert_eq!(read.is_ok(), fits, "{text}");
        if let Ok(path) = read {
            assert_eq!(path.to_string(), text);
        }
    }
}

// EDGE-15 EDGE-126
#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn a_certificate_opens_it_by_subject_name_or_fingerprint_while_it_is_valid() {
    use Shown::{Absent, Passed, Refused};
    let digest = |byte: u8| CertificateSha256([byte; 32]);
    let shown = |subject: &str, names: &[&str]| {
        let subject = match subject {
            "" => DistinguishedName::default(),
            text => text.parse().unwrap(),
        };
        let names = names.iter().map(|name| name.parse().unwrap()).collect();
        let validity = (WallMillis(100), WallMillis(200));
        ClientCertificate::new(subject, names, digest(7), validity)
    };
    let wanted = |subjects: &[&str], sha256: &[u8]| Certificates {
        subjects: subjects.iter().map(|text| text.parse().unwrap()).collect(),
        sha256: sha256.iter().map(|byte| digest(*byte)).collect(),
    };
    let (ci, spiffe) = (
        shown("CN=ci,O=Example", &["DNS:ci.example.com"]),
        shown("", &["URI:spiffe://example.com/ci"]),
    );
    let unlisted = Refused("is not listed");
    for (name, shown, wanted, at, want) in [
        (
            "its subject",
            &ci,
            wanted(&["CN=ci,O=Example"], &[]),
            150,
            Passed,
        ),
        (
            "as another tool writes it",
            &ci,
            wanted(&["cn=\\63i,2.5.4.10=Example"], &[]),
            150,
            Passed,
        ),
        ("a part of it", &ci, wanted(&["CN=ci"], &[]), 150, unlisted),
        (
            "more than it",
            &ci,
            wanted(&["CN=ci,O=Example,C=CH"], &[]),
            150,
            unlisted,
        ),
        (
            "the other way round",
            &ci,
            wanted(&["O=Example,CN=ci"], &[]),
            150,
            unlisted,
        ),
        (
            "another case",
            &ci,
            wanted(&["CN=CI,O=Example"], &[]),
            150,
            unlisted,
        ),
        (
            "its name",
            &ci,
            wanted(&["CN=x", "dns:CI.example.com"], &[]),
            150,
            Passed,
        ),
        (
            "another's name",
            &ci,
            wanted(&["DNS:example.com"], &[]),
            150,
            unlisted,
        ),
        (
            "a name of another kind",
            &ci,
            wanted(&["URI:ci.example.com"], &[]),
            150,
            unlisted,
        ),
        (
            "its fingerprint",
            &ci,
            wanted(&["CN=x"], &[1, 7]),
            150,
            Passed,
        ),
        (
            "another's fingerprint",
            &ci,
            wanted(&[], &[1, 2]),
            150,
            unlisted,
        ),
        (
            "no subject, its URI",
            &spiffe,
            wanted(&["URI:spiffe://example.com/ci"], &[]),
            150,
            Passed,
        ),
        (
            "no subject, another URI",
            &spiffe,
            wanted(&["URI:spiffe://example.com/CI"], &[]),
            150,
            unlisted,
        ),
        ("nothing is listed", &ci, wanted(&[], &[]), 150, unlisted),
        ("its first moment", &ci, wanted(&[], &[7]), 100, Passed),
        ("its last", &ci, wanted(&[], &[7]), 200, Passed),
        (
            "before it",
            &ci,
            wanted(&[], &[7]),
            99,
            Refused("is not valid now"),
        ),
        (
            "after it",
            &ci,
            wanted(&[], &[7]),
            201,
            Refused("is not valid now"),
        ),
    ] {
        assert_eq!(wanted.judge(Some(shown), WallMillis(at)), want, "{name}");
        assert_eq!(wanted.judge(None, WallMillis(at)), Absent, "{name}");
    }
    assert!("CN=ci, O=Example".parse::<WantedSubject>().is_err());
    assert!("IP:10.0.0".parse::<WantedSubject>().is_err());
}
