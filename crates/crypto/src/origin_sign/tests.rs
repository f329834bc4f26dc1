//! The valid vectors, byte for byte.

use super::{SigningKey, bolthub, v1};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde_json::Value;

fn vectors(of: &str) -> Vec<Value> {
    let text = include_str!("../../../../examples/origin-verifiers/vectors.json");
    let all: Value = serde_json::from_str(text).unwrap();
    all[of]["cases"].as_array().unwrap().clone()
}

fn text<'v>(case: &'v Value, pointer: &str) -> &'v str {
    case.pointer(pointer).and_then(Value::as_str).unwrap()
}

fn body(case: &Value, pointer: &str) -> Vec<u8> {
    BASE64_STANDARD.decode(text(case, pointer)).unwrap()
}

fn unhex(digits: &str) -> [u8; 16] {
    let value = u128::from_str_radix(digits, 16).unwrap();
    value.to_be_bytes()
}

// PAY-410
#[test]
fn bolthub_signatures_are_those_that_its_own_library_takes() {
    let file = include_str!("../../tests/data/origin-signature.json");
    let file: Value = serde_json::from_str(file).unwrap();
    let cases = file["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 10);
    for case in cases {
        let nonce = unhex(text(case, "/nonce"));
        let message = bolthub::Message {
            method: text(case, "/method").as_bytes(),
            path: text(case, "/path").as_bytes(),
            timestamp_ms: text(case, "/timestamp_ms").parse().unwrap(),
            nonce: &nonce,
            body: text(case, "/body").as_bytes(),
        };
        let key = SigningKey::new("", text(case, "/secret").as_bytes());
        let made = bolthub::sign(&key, &message).unwrap().signature;
        let is_same = made == text(case, "/signature");
        assert_eq!(
            is_same,
            case["verified_by_library"] == true,
            "{}",
            text(case, "/name")
        );
    }
}

// EDGE-120
#[test]
fn bolthub_signatures_are_those_of_the_vectors() {
    let valid = vectors("bolthub")
        .into_iter()
        .filter(|case| case["valid"] == true);
    let mut seen = 0;
    for case in valid {
        let name = text(&case, "/name");
        let nonce = unhex(text(&case, "/headers/X-Gateway-Nonce"));
        let want = text(&case, "/headers/X-Gateway-Signature");
        let target = text(&case, "/target_sent");
        let path = target.split('?').next().unwrap().as_bytes();
        let path = if name.contains("decoded") {
            bolthub::decoded(path)
        } else {
            path.into()
        };
        assert_eq!(path, text(&case, "/verifier_path").as_bytes(), "{name}");
        let body = body(&case, "/body_b64");
        let message = bolthub::Message {
            method: text(&case, "/method").as_bytes(),
            path: &path,
            timestamp_ms: text(&case, "/headers/X-Gateway-Timestamp").parse().unwrap(),
            nonce: &nonce,
            body: &body,
        };
        let secrets = case["secrets"].as_array().unwrap();
        let made = secrets.iter().map(|secret| {
            let key = SigningKey::new("", secret.as_str().unwrap().as_bytes());
            bolthub::sign(&key, &message).unwrap()
        });
        let made: Vec<_> = made.collect();
        let fits = made.iter().any(|signed| signed.signature == want);
        assert!(fits, "{name}: {:?}", made[0].signature);
        assert_eq!(
            made[0].nonce,
            text(&case, "/headers/X-Gateway-Nonce").as_bytes()
        );
        seen += 1;
    }
    assert_eq!(seen, 12);
}

// EDGE-121
#[test]
fn v1_signatures_are_those_of_the_vectors() {
    let mut seen = 0;
    for case in vectors("tollkeep_v1") {
        if case["valid"] != true {
            continue;
        }
        let name = text(&case, "/name");
        let want = text(&case, "/signature_header");
        let parts: Vec<&str> = want
            .split(',')
            .map(|part| part.split_once('=').unwrap().1)
            .collect();
        let [time, nonce, key, hash, names, _] = parts[..] else {
            panic!("{want}");
        };
        let target = text(&case, "/received/target");
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let fields = case["received"]["headers"].as_object().unwrap();
        let covered: Vec<(&[u8], &[u8])> = names
            .split(';')
            .filter(|name| !name.is_empty())
            .map(|name| (name.as_bytes(), fields[name].as_str().unwrap().as_bytes()))
            .collect();
        let body = body(&case, "/received/body_b64");
        let message = v1::Message {
            unix_s: time.parse().unwrap(),
            nonce: &BASE64_URL_SAFE_NO_PAD
                .decode(nonce)
                .unwrap()
                .try_into()
                .unwrap(),
            method: text(&case, "/received/method").as_bytes(),
            authority: text(&case, "/received/authority").as_bytes(),
            path: path.as_bytes(),
            query: query.as_bytes(),
            body: (hash != "UNSIGNED").then_some(&body),
            covered: &covered,
        };
        let secret = case["keys"][key].as_str().unwrap();
        let made = v1::sign(&SigningKey::new(key, secret.as_bytes()), &message);
        assert_eq!(made, want, "{name}");
        seen += 1;
    }
    assert_eq!(seen, 13);
}

// EDGE-120
#[test]
fn a_body_that_is_no_text_is_not_signed_in_bolthub_form() {
    let key = SigningKey::new("", b"0123456789abcdef0123456789abcdef");
    for (name, body, fits) in [
        ("empty", &b""[..], true),
        ("UTF-8", "Zölle ☕".as_bytes(), true),
        ("NUL is text", b"\0", true),
        ("latin-1", b"Z\xf6lle", false),
        ("cut within a character", b"\xe2\x98", false),
        ("a surrogate", b"\xed\xa0\x80", false),
    ] {
        let message = bolthub::Message {
            method: b"POST",
            path: b"/",
            timestamp_ms: 1,
            nonce: &[0; 16],
            body,
        };
        assert_eq!(bolthub::sign(&key, &message).is_ok(), fits, "{name}");
    }
}

#[test]
fn paths_decode_once_and_only_what_is_encoded() {
    for (path, want) in [
        ("/v1/caf%C3%A9", "/v1/café"),
        ("/a%2fb", "/a/b"),
        ("/%2541", "/%41"),
        ("/plain", "/plain"),
        ("/%", "/%"),
        ("/%4", "/%4"),
        ("/%zz", "/%zz"),
    ] {
        assert_eq!(bolthub::decoded(path.as_bytes()), want.as_bytes(), "{path}");
    }
}

#[test]
fn a_key_tells_its_name_and_not_its_secret() {
    let key = SigningKey::new("k1", b"0123456789abcdef0123456789abcdef");
    assert_eq!(format!("{key:?}"), "SigningKey(k1, …)");
}
