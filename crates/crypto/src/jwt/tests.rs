//! Tokens as identity providers sign them, and as others would like them to be.

use super::*;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RSA_PSS_SHA256, RsaEncoding,
};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tollkeep_types::MonoNanos;

const ALL: [Algorithm; 4] = [
    Algorithm::Rs256,
    Algorithm::Ps256,
    Algorithm::Es256,
    Algorithm::EdDsa,
];

const NOW: u64 = 1_795_342_530;

/// An identity provider with a key of each kind.
struct Issuer {
    rsa: RsaKeyPair,
    ec: EcdsaKeyPair,
    ed: Ed25519KeyPair,
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

impl Issuer {
    fn new() -> Self {
        Self {
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
            ec: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
            ed: Ed25519KeyPair::generate().unwrap(),
        }
    }

    fn jwk(&self, algorithm: Algorithm) -> Value {
        match algorithm {
            Algorithm::Rs256 | Algorithm::Ps256 => {
                // A PKCS#1 public key of 2048 bits: two integers behind headers of fixed length.
                let der = self.rsa.public_key().as_ref();
                let (n, e) = (&der[9..265], &der[267..]);
                let is_pss = algorithm == Algorithm::Ps256;
                let (kid, alg) = if is_pss {
                    ("ps", "PS256")
                } else {
                    ("rs", "RS256")
                };
                json!({ "kty": "RSA", "kid": kid, "alg": alg, "use": "sig", "n": b64(n), "e": b64(e) })
            }
            Algorithm::Es256 => {
                let point = self.ec.public_key().as_ref();
                json!({ "kty": "EC", "crv": "P-256", "kid": "es", "x": b64(&point[1..33]), "y": b64(&point[33..]) })
            }
            Algorithm::EdDsa => {
                json!({ "kty": "OKP", "crv": "Ed25519", "kid": "ed", "key_ops": ["verify"], "x": b64(self.ed.public_key()) })
            }
        }
    }

    fn keys(&self) -> KeySet {
        let all = ALL.map(|one| self.jwk(one));
        KeySet::read(json!({ "keys": all }).to_string().as_bytes()).unwrap()
    }

    /// A token with these parts, signed as `how` says, whatever its header says.
    fn signed(&self, header: &Value, claims: &Value, how: Algorithm) -> String {
        let text = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
        let signature = match how {
            Algorithm::Rs256 | Algorithm::Ps256 => {
                let mut signature = vec![0; self.rsa.public_modulus_len()];
                let random = SystemRandom::new();
                let is_pss = how == Algorithm::Ps256;
                let padding: &dyn RsaEncoding = if is_pss {
                    &RSA_PSS_SHA256
                } else {
                    &RSA_PKCS1_SHA256
                };
                self.rsa
                    .sign(padding, &random, text.as_bytes(), &mut signature)
                    .unwrap();
                signature
            }
            Algorithm::Es256 => {
                let random = SystemRandom::new();
                self.ec
                    .sign(&random, text.as_bytes())
                    .unwrap()
                    .as_ref()
                    .to_vec()
            }
            Algorithm::EdDsa => self.ed.sign(text.as_bytes()).as_ref().to_vec(),
        };
        format!("{text}.{}", b64(signature))
    }
}

fn rules() -> JwtRules {
    JwtRules {
        issuer: "https://team.example".to_owned(),
        audience: vec!["aud-1".to_owned(), "aud-2".to_owned()],
        algorithms: ALL.to_vec(),
        leeway_s: 60,
    }
}

fn claims() -> Value {
    json!({ "iss": "https://team.example", "aud": "aud-1", "exp": NOW + 600, "nbf": NOW, "sub": "a" })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

// EDGE-126
#[test]
fn each_algorithm_of_the_list_is_verified_with_its_own_key() {
    let (issuer, rules) = (Issuer::new(), rules());
    let keys = issuer.keys();
    for (algorithm, kid) in [
        (Algorithm::Rs256, "rs"),
        (Algorithm::Ps256, "ps"),
        (Algorithm::Es256, "es"),
        (Algorithm::EdDsa, "ed"),
    ] {
        let header = json!({ "alg": algorithm.name(), "kid": kid, "typ": "JWT" });
        let token = issuer.signed(&header, &claims(), algorithm);
        assert_eq!(rules.verify(token.as_bytes(), &keys, NOW), Ok(()), "{kid}");
        let others = JwtRules {
            algorithms: rules
                .algorithms
                .iter()
                .copied()
                .filter(|one| *one != algorithm)
                .collect(),
            ..rules.clone()
        };
        let refused = others.verify(token.as_bytes(), &keys, NOW);
        assert_eq!(refused, Err(JwtRefused::Algorithm), "{kid} not in the list");
        let other = Issuer::new().signed(&header, &claims(), algorithm);
        let refused = rules.verify(other.as_bytes(), &keys, NOW);
        assert_eq!(
            refused,
            Err(JwtRefused::Signature),
            "{kid} of another issuer"
        );
    }
}

// EDGE-126
#[test]
#[rustfmt::skip]
fn hostile_headers_are_refused() {
    let (issuer, rules) = (Issuer::new(), rules());
    let keys = issuer.keys();
    for (name, header, want) in [
        ("none", json!({ "alg": "none", "kid": "ed" }), JwtRefused::Algorithm),
        ("None", json!({ "alg": "None", "kid": "ed" }), JwtRefused::Algorithm),
        ("HMAC", json!({ "alg": "HS256", "kid": "rs" }), JwtRefused::Algorithm),
        ("RSA of another hash", json!({ "alg": "RS512", "kid": "rs" }), JwtRefused::Algorithm),
        ("no algorithm", json!({ "kid": "ed" }), JwtRefused::Malformed),
        ("an algorithm that is no text", json!({ "alg": ["EdDSA"], "kid": "ed" }), JwtRefused::Malformed),
        ("a key of another algorithm", json!({ "alg": "ES256", "kid": "ed" }), JwtRefused::UnknownKey),
        ("an unknown key", json!({ "alg": "EdDSA", "kid": "xx" }), JwtRefused::UnknownKey),
        ("no key", json!({ "alg": "EdDSA" }), JwtRefused::UnknownKey),
        ("a key of its own", json!({ "alg": "EdDSA", "jwk": issuer.jwk(Algorithm::EdDsa) }), JwtRefused::UnknownKey),
        ("an extension", json!({ "alg": "EdDSA", "kid": "ed", "crit": ["b64"], "b64": false }), JwtRefused::Malformed),
    ] {
        let token = issuer.signed(&header, &claims(), Algorithm::EdDsa);
        assert_eq!(rules.verify(token.as_bytes(), &keys, NOW), Err(want), "{name}");
    }
}

// EDGE-126
#[test]
fn a_public_key_is_no_secret_of_an_hmac() {
    let (issuer, rules) = (Issuer::new(), rules());
    let modulus = issuer.jwk(Algorithm::Rs256)["n"]
        .as_str()
        .unwrap()
        .to_owned();
    for alg in ["HS256", "RS256"] {
        let header = json!({ "alg": alg, "kid": "rs" });
        let text = format!("{}.{}", b64(header.to_string()), b64(claims().to_string()));
        let tag = crate::hmac_sha256(modulus.as_bytes(), text.as_bytes());
        let token = format!("{text}.{}", b64(tag));
        assert!(
            rules.verify(token.as_bytes(), &issuer.keys(), NOW).is_err(),
            "{alg}"
        );
    }
    // A symmetric key in the set is no key.
    let oct =
        json!({ "keys": [{ "kty": "oct", "kid": "rs", "alg": "HS256", "k": b64("secret") }] });
    assert_eq!(
        KeySet::read(oct.to_string().as_bytes()).err(),
        Some(JwksFault::NoKey)
    );
}

// EDGE-126
#[test]
#[rustfmt::skip]
fn every_claim_that_bounds_a_token_is_required_and_checked() {
    let (issuer, rules) = (Issuer::new(), rules());
    let keys = issuer.keys();
    let many: Vec<_> = (0..100).map(|n| format!("a{n}")).chain(["aud-1".to_owned()]).collect();
    for (name, claims, want) in [
        ("as it should be", claims(), Ok(())),
        ("no exp", without("exp"), Err(JwtRefused::MissingClaim)),
        ("no nbf", without("nbf"), Err(JwtRefused::MissingClaim)),
        ("no iss", without("iss"), Err(JwtRefused::MissingClaim)),
        ("no aud", without("aud"), Err(JwtRefused::MissingClaim)),
        ("null", with("exp", Value::Null), Err(JwtRefused::MissingClaim)),
        ("another issuer", with("iss", json!("https://team.example/")), Err(JwtRefused::Issuer)),
        ("another audience", with("aud", json!("aud-3")), Err(JwtRefused::Audience)),
        ("a part of the audience", with("aud", json!("aud")), Err(JwtRefused::Audience)),
        ("the other audience", with("aud", json!("aud-2")), Ok(())),
        ("several audiences", with("aud", json!(["x", "aud-2"])), Ok(())),
        ("no audience of several", with("aud", json!(["x", "y"])), Err(JwtRefused::Audience)),
        ("no audience in the list", with("aud", json!([])), Err(JwtRefused::Audience)),
        ("too many audiences", with("aud", json!(many)), Err(JwtRefused::Audience)),
        ("an audience that is no text", with("aud", json!([1])), Err(JwtRefused::Malformed)),
        ("just expired", with("exp", json!(NOW - 60)), Err(JwtRefused::Expired)),
        ("within the leeway", with("exp", json!(NOW - 59)), Ok(())),
        ("not yet", with("nbf", json!(NOW + 61)), Err(JwtRefused::NotYet)),
        ("nearly", with("nbf", json!(NOW + 60)), Ok(())),
        ("a fraction", with("exp", json!(1_795_342_531.5)), Ok(())),
        ("a negative time", with("nbf", json!(-1)), Err(JwtRefused::Malformed)),
        ("an endless time", with("exp", json!(1e300)), Err(JwtRefused::Malformed)),
        ("a time as text", with("exp", json!("1795342600")), Err(JwtRefused::Malformed)),
        ("no object", json!([1]), Err(JwtRefused::Malformed)),
    ] {
        let header = json!({ "alg": "EdDSA", "kid": "ed" });
        let token = issuer.signed(&header, &claims, Algorithm::EdDsa);
        assert_eq!(rules.verify(token.as_bytes(), &keys, NOW), want, "{name}");
    }
}

// EDGE-126
#[test]
fn what_is_no_token_is_refused_before_anything_is_worked_out() {
    let (issuer, rules) = (Issuer::new(), rules());
    let keys = issuer.keys();
    let header = json!({ "alg": "EdDSA", "kid": "ed" });
    let good = issuer.signed(&header, &claims(), Algorithm::EdDsa);
    let (text, signature) = good.rsplit_once('.').unwrap();
    let huge = issuer.signed(
        &header,
        &with("pad", json!("x".repeat(20_000))),
        Algorithm::EdDsa,
    );
    let twice = format!(
        "{}.{}",
        b64(r#"{"alg":"none","alg":"EdDSA","kid":"ed"}"#),
        b64(claims().to_string())
    );
    for (name, token) in [
        ("empty", String::new()),
        ("two parts", text.to_owned()),
        ("four parts", format!("{good}.x")),
        ("no signature", format!("{text}.")),
        ("padded", format!("{good}==")),
        (
            "another alphabet",
            format!("{text}.+/{}", signature.trim_start_matches(|_| true)),
        ),
        ("blanks", format!(" {good}")),
        ("huge", huge),
        ("a member twice", format!("{twice}.{signature}")),
        ("encrypted", "a.b.c.d.e".to_owned()),
    ] {
        let refused = rules.verify(token.as_bytes(), &keys, NOW);
        assert_eq!(refused, Err(JwtRefused::Malformed), "{name}");
    }
    for at in [0, text.len() / 2, good.len() - 1] {
        let mut bytes = good.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        assert!(rules.verify(&bytes, &keys, NOW).is_err(), "changed at {at}");
    }
}

// EDGE-126
#[test]
#[rustfmt::skip]
fn of_a_key_set_only_keys_that_verify_are_taken() {
    let issuer = Issuer::new();
    let ed = || issuer.jwk(Algorithm::EdDsa);
    let changed = |name: &str, value: Value| {
        let mut key = ed();
        key[name] = value;
        json!({ "keys": [key] }).to_string()
    };
    let many = json!({ "keys": vec![ed(); 101] }).to_string();
    for (name, text, want) in [
        ("one key", json!({ "keys": [ed()] }).to_string(), None),
        ("beside keys of others", json!({ "keys": [1, { "kty": "XX" }, ed(), {}] }).to_string(), None),
        ("not JSON", "<html>".to_owned(), Some(JwksFault::Malformed)),
        ("no keys", "{}".to_owned(), Some(JwksFault::Malformed)),
        ("none", json!({ "keys": [] }).to_string(), Some(JwksFault::NoKey)),
        ("for encryption", changed("use", json!("enc")), Some(JwksFault::NoKey)),
        ("to sign with", changed("key_ops", json!(["sign"])), Some(JwksFault::NoKey)),
        ("for another algorithm", changed("alg", json!("ES256")), Some(JwksFault::NoKey)),
        ("on another curve", changed("crv", json!("Ed448")), Some(JwksFault::NoKey)),
        ("without an id", changed("kid", Value::Null), Some(JwksFault::NoKey)),
        ("cut", changed("x", json!("AAAA")), Some(JwksFault::NoKey)),
        ("too many", many, Some(JwksFault::TooLarge)),
        ("too large", format!("{{\"keys\":[]}}{}", " ".repeat(300_000)), Some(JwksFault::TooLarge)),
    ] {
        assert_eq!(KeySet::read(text.as_bytes()).err(), want, "{name}");
    }
    let mut weak = issuer.jwk(Algorithm::Rs256);
    weak["n"] = json!(b64([0xc3; 128]));
    let weak = json!({ "keys": [weak] }).to_string();
    assert_eq!(KeySet::read(weak.as_bytes()).err(), Some(JwksFault::NoKey), "RSA of 1024 bits");
}

// EDGE-126
#[test]
fn keys_are_fetched_hourly_once_a_minute_on_demand_and_kept_for_a_day() {
    let woken = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&woken);
    let cache = JwtKeys::new(move || {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let at = |seconds: u64| MonoNanos((1_000 + seconds) * 1_000_000_000);
    let issuer = Issuer::new();
    assert!(cache.current(at(0)).is_none());
    assert_eq!(cache.due(at(0)), Duration::ZERO, "at once");
    assert_eq!(cache.want(at(0)), Wait::ForFetch);
    cache.begin(at(0));
    assert_eq!(cache.want(at(0)), Wait::ForFetch, "under way");
    cache.end(Some(issuer.keys()), at(1));
    assert!(cache.current(at(1)).is_some());
    assert_eq!(cache.due(at(1)), Duration::from_secs(3_600));
    assert_eq!(cache.want(at(30)), Wait::InVain, "less than a minute ago");
    assert!(!cache.is_pending(at(30)));
    for _ in 0..1_000 {
        assert_eq!(cache.want(at(61)), Wait::ForFetch);
    }
    assert_eq!(woken.load(Ordering::Relaxed), 2, "one for all of them");
    assert_eq!(cache.due(at(61)), Duration::ZERO);
    cache.begin(at(61));
    cache.end(None, at(62));
    assert!(cache.current(at(62)).is_some(), "the last ones stay");
    assert_eq!(cache.want(at(63)), Wait::InVain);
    cache.begin(at(4_000));
    cache.end(None, at(4_001));
    assert_eq!(
        cache.due(at(4_001)),
        Duration::from_secs(59),
        "after a failure each minute"
    );
    assert!(cache.current(at(86_400)).is_some());
    assert!(
        cache.current(at(86_401)).is_none(),
        "for a day and no longer"
    );
}

// ID-124
#[test]
fn an_identity_token_needs_no_beginning_of_its_own_and_gives_its_claims() {
    let (issuer, rules) = (Issuer::new(), rules());
    let keys = issuer.keys();
    let header = json!({ "alg": "PS256", "kid": "ps" });
    let claimed = |change: &dyn Fn(&mut Value)| {
        let mut claims = without("nbf");
        claims["iat"] = json!(NOW);
        change(&mut claims);
        let token = issuer.signed(&header, &claims, Algorithm::Ps256);
        let found = rules.verify_identity(token.as_bytes(), &keys, NOW);
        found.map(|claims| claims["sub"].clone())
    };
    assert_eq!(claimed(&|_| {}), Ok(json!("a")));
    assert_eq!(
        claimed(&|claims| claims["azp"] = json!("aud-1")),
        Ok(json!("a"))
    );
    for (name, member, value, want) in [
        (
            "no beginning at all",
            "iat",
            Value::Null,
            JwtRefused::MissingClaim,
        ),
        (
            "from the future",
            "iat",
            json!(NOW + 61),
            JwtRefused::NotYet,
        ),
        ("not valid yet", "nbf", json!(NOW + 61), JwtRefused::NotYet),
        (
            "asked for by another",
            "azp",
            json!("aud-3"),
            JwtRefused::Audience,
        ),
        (
            "for several",
            "aud",
            json!(["aud-1", "aud-3"]),
            JwtRefused::Audience,
        ),
        ("expired", "exp", json!(NOW - 60), JwtRefused::Expired),
    ] {
        assert_eq!(
            claimed(&|claims| claims[member] = value.clone()),
            Err(want),
            "{name}"
        );
    }
}

// ID-124
#[test]
fn an_rsa_key_is_for_the_padding_that_it_names_or_for_both() {
    let (issuer, rules) = (Issuer::new(), rules());
    // A key that names no algorithm is good for both of its kind, one that does for that alone.
    let mut bare = issuer.jwk(Algorithm::Rs256);
    bare.as_object_mut().unwrap().remove("alg");
    let keys = KeySet::read(json!({ "keys": [bare] }).to_string().as_bytes()).unwrap();
    for algorithm in [Algorithm::Rs256, Algorithm::Ps256] {
        let header = json!({ "alg": algorithm.name(), "kid": "rs" });
        let token = issuer.signed(&header, &claims(), algorithm);
        assert_eq!(
            rules.verify(token.as_bytes(), &keys, NOW),
            Ok(()),
            "{algorithm:?}"
        );
        let named = issuer.keys();
        let verified = rules.verify(token.as_bytes(), &named, NOW);
        let is_named = algorithm == Algorithm::Rs256;
        let want = if is_named {
            Ok(())
        } else {
            Err(JwtRefused::UnknownKey)
        };
        assert_eq!(verified, want, "{algorithm:?}");
    }
}
