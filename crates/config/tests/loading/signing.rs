//! Signing of requests to upstreams: what may be written, and what it means.

use crate::support::Case;
use std::time::Duration;
use tollkeep_config::settings::{BoltPath, SigningMode};

const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn signed(signing: &str) -> Case {
    Case::yaml(&format!(
        "upstreams: {{api: {{url: 'https://api.example', signing: {signing}}}}}\n"
    ))
}

fn one_key(further: &str) -> Case {
    signed(&format!("{{keys: [{{id: a, secret: {A}}}], {further}}}"))
}

// EDGE-120 EDGE-121
#[test]
fn modes_have_their_defaults() {
    let mode = |further: &str| {
        let signing = one_key(further).settings().upstreams[0].signing.clone();
        signing.map(|signing| signing.mode)
    };
    assert_eq!(mode("mode: off"), None);
    let bolthub = |path, ms| {
        let backdate = Duration::from_millis(ms);
        Some(SigningMode::Bolthub { path, backdate })
    };
    assert_eq!(mode("mode: bolthub"), bolthub(BoltPath::Raw, 1_000));
    assert_eq!(
        mode("mode: bolthub, path_form: decoded, backdate_ms: 0"),
        bolthub(BoltPath::Decoded, 0)
    );
    let v1 = |body, headers: &[&str], identity| {
        let headers = headers.iter().map(|&name| name.to_owned()).collect();
        Some(SigningMode::V1 {
            body,
            headers,
            identity,
        })
    };
    let covered = ["content-type", "x-request-id"];
    assert_eq!(mode("mode: v1"), v1(true, &covered, false));
    let covered = [
        "accept",
        "content-type",
        "x-request-id",
        "x-tollkeep-project",
        "x-tollkeep-token",
        "x-zed",
    ];
    assert_eq!(
        mode("mode: v1, body: unsigned, headers: [X-Zed, Accept, accept], identity: true"),
        v1(false, &covered, true)
    );
    assert_eq!(mode("mode: secret"), Some(SigningMode::Secret));
}

// EDGE-120 EDGE-123
#[test]
#[rustfmt::skip]
fn what_could_not_be_verified_is_refused() {
    let two = format!("keys: [{{id: a, secret: {A}}}, {{id: b, secret: b{A}}}]");
    for (name, signing, want) in [
        (
            "no key",
            "{mode: v1}".to_owned(),
            "signing.keys: is empty, and there is nothing to sign with",
        ),
        (
            "a short secret",
            "{mode: v1, keys: [{id: a, secret: short}]}".to_owned(),
            "signing.keys[0].secret: is shorter than 32 characters",
        ),
        (
            "a placeholder",
            format!("{{mode: v1, keys: [{{id: a, secret: '<{A}>'}}]}}"),
            "signing.keys[0].secret: is a placeholder",
        ),
        (
            "a blank in the secret",
            format!("{{mode: v1, keys: [{{id: a, secret: '{A} b'}}]}}"),
            "signing.keys[0].secret: holds a blank",
        ),
        (
            "no secret",
            "{mode: v1, keys: [{id: a}]}".to_owned(),
            "signing.keys[0].secret: is missing",
        ),
        (
            "a name that is none",
            format!("{{mode: v1, keys: [{{id: 'a,b', secret: {A}}}]}}"),
            "signing.keys[0].id: want 1 to 64 of letters",
        ),
        (
            "two keys, none active",
            format!("{{mode: v1, {two}}}"),
            "signing.active: is missing: which of the keys signs?",
        ),
        (
            "an active key that is not there",
            format!("{{mode: v1, active: c, {two}}}"),
            "signing.active: is the id of none of `keys`",
        ),
        (
            "one name twice",
            format!("{{mode: v1, active: a, {}}}", two.replace("id: b", "id: a")),
            "signing.keys[1].id: is the id of another key too",
        ),
        (
            "a future mode",
            "{mode: rfc9421}".to_owned(),
            "signing.mode: want `off`, `bolthub`, `v1`, `secret`",
        ),
    ] {
        let errors = signed(&signing).errors();
        assert!(errors.contains(want), "{name}: {errors}");
        assert!(!errors.contains(A), "{name}: {errors}");
    }
}

// EDGE-120 EDGE-121
#[test]
fn a_key_without_effect_in_its_mode_is_refused() {
    for (further, want) in [
        (
            "mode: v1, path_form: raw",
            "signing.path_form: has an effect with `mode: bolthub` only",
        ),
        (
            "mode: v1, backdate_ms: 5",
            "signing.backdate_ms: has an effect with `mode: bolthub` only",
        ),
        (
            "mode: bolthub, body: unsigned",
            "signing.body: has an effect with `mode: v1` only",
        ),
        (
            "mode: bolthub, headers: [accept]",
            "signing.headers: has an effect with `mode: v1` only",
        ),
        (
            "mode: secret, identity: true",
            "signing.identity: has an effect with `mode: v1` only",
        ),
        (
            "mode: bolthub, backdate_ms: 30000",
            "signing.backdate_ms: want",
        ),
        ("mode: v1, headers: [host]", "is written by the gateway"),
        (
            "mode: v1, headers: [x-tollkeep-signature]",
            "is a field of the signature itself",
        ),
        ("mode: v1, headers: ['a b']", "is no field name"),
    ] {
        let errors = one_key(further).errors();
        assert!(errors.contains(want), "{further}: {errors}");
    }
}

// EDGE-120
#[test]
fn fields_of_the_signature_can_not_be_set_by_hand_too() {
    for (name, clashes) in [
        ("X-Gateway-Nonce", true),
        ("X-Tollkeep-Token", true),
        ("X-Own", false),
    ] {
        let case = Case::yaml(&format!(
            "upstreams: {{api: {{url: 'https://api.example', headers: {{{name}: v}}, signing: {{mode: v1, keys: [{{id: a, secret: {A}}}]}}}}}}\n"
        ));
        let refused = case
            .load()
            .err()
            .is_some_and(|errors| errors.contains("is written by `signing`"));
        assert_eq!(refused, clashes, "{name}");
    }
}

// EDGE-120
#[test]
fn mode_secret_warns() {
    for (mode, warns) in [("secret", true), ("v1", false), ("bolthub", false)] {
        let warnings = one_key(&format!("mode: {mode}")).loaded().warnings.concat();
        let warned = warnings.contains("proves the sender, not the message");
        assert_eq!(warned, warns, "{warnings}");
    }
}
