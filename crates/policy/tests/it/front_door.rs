//! The front door: which paths are behind it, and what opens it.

use tollkeep_policy::front_door::{DoorPath, Factor, FrontDoor, Require, Shown};

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
