//! Every vector gets its verdict, and its reason.

#![cfg(test)]

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use tollkeep_origin_verifier::{Received, Refused, V1, bolthub};

fn vectors(of: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(include_str!("../../vectors.json")).unwrap();
    all[of]["cases"].as_array().unwrap().clone()
}

fn fields(of: &Value) -> Vec<(&str, &[u8])> {
    let members = of.as_object().unwrap().iter();
    members
        .map(|(name, value)| (name.as_str(), value.as_str().unwrap().as_bytes()))
        .collect()
}

fn decoded(value: &Value) -> Vec<u8> {
    BASE64_STANDARD.decode(value.as_str().unwrap()).unwrap()
}

fn v1(case: &Value, field: &str) -> Result<String, Refused> {
    let keys = case["keys"].as_object().unwrap().iter();
    let verifier = V1::new(keys.map(|(id, secret)| (id.as_str(), secret.as_str().unwrap())));
    let mut fields = fields(&case["received"]["headers"]);
    fields.push(("X-Tollkeep-Signature", field.as_bytes()));
    let body = decoded(&case["received"]["body_b64"]);
    let received = Received {
        method: case["received"]["method"].as_str().unwrap(),
        authority: case["received"]["authority"].as_str().unwrap(),
        target: case["received"]["target"].as_str().unwrap(),
        fields: &fields,
        body: &body,
    };
    let now = case["verify_at"].as_u64().unwrap();
    for _ in case["seen_nonces"].as_array().unwrap() {
        verifier.verify(&received, now).unwrap();
    }
    verifier.verify(&received, now).map(str::to_owned)
}

// EDGE-122
#[test]
fn every_v1_vector_gets_its_verdict_and_reason() {
    let cases = vectors("tollkeep_v1");
    assert_eq!(cases.len(), 27);
    for case in cases {
        let verdict = v1(&case, case["signature_header"].as_str().unwrap());
        let reason = verdict.err().map(|refused| refused.to_string());
        assert_eq!(
            reason.as_deref(),
            case["reason"].as_str(),
            "{}",
            case["name"]
        );
    }
}

// EDGE-122
#[test]
fn a_field_has_one_form() {
    let case = &vectors("tollkeep_v1")[3];
    let good = case["signature_header"].as_str().unwrap();
    assert_eq!(v1(case, good).as_deref(), Ok("k2026a"));
    for (name, from, to) in [
        ("a blank", ",n=", ", n="),
        ("another order", "t=1795312800,n=", "n=1795312800,t="),
        ("an unknown part", ",v1=", ",x=1,v1="),
        ("a part behind", "v1=", "v1=0,v1="),
        ("a leading zero", "t=1", "t=01"),
        ("a sign", "t=1", "t=+1"),
        ("a huge time", "t=1", "t=99999999999999999991"),
        ("a long nonce", "n=A", "n=AA"),
        ("a nonce of another alphabet", "n=A", "n=+"),
        ("a key with a blank", "k=k", "k=k "),
        ("no key", "k=k2026a", "k="),
        ("names in another case", "h=content-type", "h=Content-Type"),
        (
            "names out of order",
            "h=content-type;x-request-id",
            "h=x-request-id;content-type",
        ),
        (
            "a name twice",
            "h=content-type;",
            "h=content-type;content-type;",
        ),
        ("an empty name", "h=", "h=;"),
        ("a body in upper case", "b=0b", "b=0B"),
        ("a short body", "b=0b", "b=0"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{name}");
        assert_eq!(v1(case, &bad), Err(Refused::Malformed), "{name}");
    }
    let long = format!("{good}{}", " ".repeat(10_000));
    assert_eq!(v1(case, &long), Err(Refused::Malformed));
    // The hash of the body can't be taken out: the signature covers that there is one.
    let mut parts = good.split(',');
    let hash = parts.find(|part| part.starts_with("b=")).unwrap();
    assert_eq!(
        v1(case, &good.replace(hash, "b=UNSIGNED")),
        Err(Refused::Mismatch)
    );
}

// EDGE-122
#[test]
fn a_field_that_came_twice_counts_as_missing() {
    let case = &vectors("tollkeep_v1")[3];
    let good = case["signature_header"].as_str().unwrap().as_bytes();
    let key = case["keys"]["k2026a"].as_str().unwrap();
    let body = decoded(&case["received"]["body_b64"]);
    let own = fields(&case["received"]["headers"]);
    for (name, twice, want) in [
        (
            "the signature",
            ("x-tollkeep-signature", good),
            Refused::Malformed,
        ),
        (
            "a covered field",
            ("content-type", &b"application/json"[..]),
            Refused::Mismatch,
        ),
    ] {
        let mut fields = own.clone();
        fields.push(("X-Tollkeep-Signature", good));
        fields.push(twice);
        let received = Received {
            method: "POST",
            authority: "origin.example:8443",
            target: "/v1/chat/completions",
            fields: &fields,
            body: &body,
        };
        let verifier = V1::new([("k2026a", key)]);
        assert_eq!(
            verifier.verify(&received, 1_795_312_802),
            Err(want),
            "{name}"
        );
    }
}

// EDGE-120 EDGE-123
#[test]
fn every_bolthub_vector_gets_its_verdict() {
    let cases = vectors("bolthub");
    assert_eq!(cases.len(), 24);
    for case in cases {
        let secrets: Vec<_> = case["secrets"].as_array().unwrap().iter().collect();
        let secrets: Vec<_> = secrets
            .iter()
            .map(|secret| secret.as_str().unwrap())
            .collect();
        let (fields, body) = (fields(&case["headers"]), decoded(&case["body_b64"]));
        let received = Received {
            method: case["method"].as_str().unwrap(),
            authority: "",
            target: case["verifier_path"].as_str().unwrap(),
            fields: &fields,
            body: &body,
        };
        let verdict = bolthub::verify(&secrets, &received, case["verify_at_ms"].as_u64().unwrap());
        assert_eq!(
            Some(verdict.is_ok()),
            case["valid"].as_bool(),
            "{}",
            case["name"]
        );
    }
}
