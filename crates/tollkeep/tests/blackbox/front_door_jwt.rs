//! Tokens of an identity provider at the front door.

use crate::fixture::{before, free, gateway, head};
use serde_json::{Value, json};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tollkeep_testkit::{
    Builder, Client, Gate, Gateway, Issuer, MANAGEMENT_KEY, Origin, SigningAlgorithm, eventually,
};

const ISSUER: &str = "https://team.cloudflareaccess.example";

fn jwt(issuer: &Issuer, further: &str) -> String {
    format!(
        "jwt: {{ issuer: \"{ISSUER}\", audience: [aud-1], jwks_url: \"{}\", allow_private: [\"127.0.0.1/32\"]{further} }}",
        issuer.url()
    )
}

fn behind(origin: &Origin, door: &str) -> Builder {
    let config = before(origin, &free("GET /x"));
    gateway(format!("server: {{ front_door: {{ {door} }} }}\n{config}"))
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_secs()
}

fn claims() -> Value {
    json!({ "iss": ISSUER, "aud": ["aud-1"], "exp": now() + 600, "nbf": now(), "sub": "person" })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn status(gateway: &Gateway, token: &str) -> u16 {
    let line = format!("Cf-Access-Jwt-Assertion: {token}\r\n");
    gateway.call(&head("GET /x", &line)).status
}

/// Waits until the keys are there: the first fetch is under way when the gateway serves.
fn ready(gateway: &Gateway, token: &str) {
    eventually("the keys", || (status(gateway, token) == 200).then_some(()));
}

// EDGE-126 EDGE-127
#[test]
fn tokens_of_the_provider_open_the_door_and_go_no_further() {
    let (origin, issuer) = (Origin::plain(), Issuer::start());
    let algorithms = [
        SigningAlgorithm::Rs256,
        SigningAlgorithm::Es256,
        SigningAlgorithm::EdDsa,
    ];
    for (kid, algorithm) in ["rs", "es", "ed"].into_iter().zip(algorithms) {
        issuer.add(kid, algorithm);
    }
    let gateway = behind(&origin, &jwt(&issuer, "")).start();
    ready(&gateway, &issuer.token("ed", &claims()));
    for kid in ["rs", "es", "ed"] {
        let token = issuer.token(kid, &claims());
        assert_eq!(status(&gateway, &token), 200, "{kid}");
        let records = || {
            gateway
                .access_lines()
                .iter()
                .map(Value::to_string)
                .collect::<String>()
        };
        eventually("its line", || records().contains("/x").then_some(()));
        assert!(!records().contains(&token) && !gateway.stderr().contains(&token));
    }
    for request in origin.requests() {
        assert_eq!(request.field("cf-access-jwt-assertion"), None);
    }
    assert_eq!(issuer.fetches(), 1);
}

// EDGE-126 EDGE-127
#[test]
#[rustfmt::skip]
fn hostile_tokens_are_refused_alike() {
    let (origin, issuer) = (Origin::plain(), Issuer::start());
    issuer.add("ed", SigningAlgorithm::EdDsa);
    issuer.make("secret", SigningAlgorithm::EdDsa);
    let gateway = behind(&origin, &jwt(&issuer, ", algorithms: [EdDSA]")).start();
    let good = issuer.token("ed", &claims());
    ready(&gateway, &good);
    let signed = |header: Value| issuer.signed(&header, "ed", &claims());
    let (unsigned, _) = good.rsplit_once('.').unwrap();
    let lines = |token: &str| format!("cf-access-jwt-assertion: {token}\r\n");
    let answer = |lines: &str| {
        let answer = gateway.call(&head("GET /x", lines));
        (answer.status, answer.text())
    };
    let none = answer("");
    assert_eq!(none.0, 403);
    for (name, token) in [
        ("no algorithm", signed(json!({ "alg": "none", "kid": "ed" }))),
        ("no signature", format!("{unsigned}.")),
        ("HMAC", signed(json!({ "alg": "HS256", "kid": "ed" }))),
        ("not in the list", signed(json!({ "alg": "RS256", "kid": "ed" }))),
        ("no kid", signed(json!({ "alg": "EdDSA" }))),
        ("another's key", issuer.signed(&json!({ "alg": "EdDSA", "kid": "ed" }), "secret", &claims())),
        ("expired", issuer.token("ed", &with("exp", json!(now() - 61)))),
        ("not yet", issuer.token("ed", &with("nbf", json!(now() + 90)))),
        ("another audience", issuer.token("ed", &with("aud", json!(["aud-2"])))),
        ("another issuer", issuer.token("ed", &with("iss", json!("https://evil.example")))),
        ("no end", issuer.token("ed", &with("exp", Value::Null))),
        ("no beginning", issuer.token("ed", &with("nbf", Value::Null))),
        ("noise", "x.y.z".to_owned()),
        ("huge", issuer.token("ed", &with("pad", json!("x".repeat(5_000))))),
    ] {
        let huge = name == "huge";
        let got = answer(&lines(&token));
        // What fits into a line is read; more is refused by the limits of the head.
        assert!(
            got == none || (huge && [200, 431].contains(&got.0)),
            "{name}: {got:?}"
        );
    }
    let twice = format!("{}{}", lines(&good), lines(&good));
    assert_eq!(answer(&twice), none);
    assert_eq!(
        answer(&lines(&issuer.token("ed", &with("exp", json!(now() - 30))))).0,
        200,
        "leeway"
    );
}

// EDGE-126
#[test]
fn a_flood_of_unknown_keys_fetches_once_and_keeps_nobody_waiting() {
    let (origin, issuer) = (Origin::plain(), Issuer::start());
    issuer.add("ed", SigningAlgorithm::EdDsa);
    issuer.make("new", SigningAlgorithm::EdDsa);
    let gateway = behind(&origin, &jwt(&issuer, "")).start();
    let good = issuer.token("ed", &claims());
    ready(&gateway, &good);
    let unknown = issuer.token("new", &claims());
    let started = Instant::now();
    let mut client = gateway.connect();
    for _ in 0..200 {
        let line = format!("Cf-Access-Jwt-Assertion: {unknown}\r\n");
        assert_eq!(client.call(&head("GET /x", &line)).status, 403);
    }
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "none of them waited"
    );
    assert_eq!(issuer.fetches(), 1, "at most once a minute");
    assert_eq!(status(&gateway, &good), 200);
}

// EDGE-126
#[test]
fn who_comes_before_the_keys_waits_for_them_but_not_for_long() {
    let gate = Gate::default();
    let (origin, issuer) = (Origin::plain(), Issuer::start_behind(gate.clone()));
    issuer.add("ed", SigningAlgorithm::EdDsa);
    let gateway = behind(&origin, &jwt(&issuer, "")).start();
    let token = issuer.token("ed", &claims());
    let started = Instant::now();
    assert_eq!(status(&gateway, &token), 403, "nobody has answered");
    let waited = started.elapsed();
    assert!(
        waited >= Duration::from_millis(900) && waited < Duration::from_secs(8),
        "{waited:?}"
    );
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| status(&gateway, &token));
        gate.open();
        assert_eq!(asked.join().unwrap(), 200);
    });
    assert_eq!(issuer.fetches(), 1, "one fetch for all of them");
}

// EDGE-126
#[test]
fn without_keys_nobody_comes_in() {
    let origin = Origin::plain();
    let failing = Issuer::start();
    failing.make("ed", SigningAlgorithm::EdDsa);
    failing.fail();
    let redirecting = Origin::start(|_| {
        vec![tollkeep_testkit::Step::Send(
            b"HTTP/1.1 302 Found\r\nlocation: /certs\r\ncontent-length: 0\r\n\r\n".to_vec(),
        )]
    });
    let token = failing.token("ed", &claims());
    let elsewhere = format!(
        "jwt: {{ issuer: \"{ISSUER}\", audience: [aud-1], jwks_url: \"{}\", allow_private: [\"127.0.0.1/32\"] }}",
        redirecting.url()
    );
    for (door, fetches) in [(jwt(&failing, ""), 1), (elsewhere, 2)] {
        let gateway = behind(&origin, &door).start();
        eventually("the failure", || {
            gateway.stderr().contains("can't be fetched").then_some(())
        });
        assert_eq!(status(&gateway, &token), 403);
        // The next try is a minute away.
        assert_eq!(failing.fetches() + redirecting.count(), fetches);
    }
    assert_eq!(origin.count(), 0);
}

// EDGE-125 EDGE-126
#[test]
fn require_all_wants_the_token_and_the_service_token() {
    let (origin, issuer) = (Origin::plain(), Issuer::start());
    issuer.add("es", SigningAlgorithm::Es256);
    let both = |require: &str| {
        format!(
            "require: {require}, service_token: {{}}, {}",
            jwt(&issuer, "")
        )
    };
    let token = issuer.token("es", &claims());
    let jwt_line = format!("Cf-Access-Jwt-Assertion: {token}\r\n");
    for (require, one, two) in [("any", 200, 200), ("all", 403, 200)] {
        let gateway = behind(&origin, &both(require)).start();
        let (_, made) = gateway.api("POST", "/api/v1/service-tokens", Some(&json!({})));
        let (id, secret) = (
            made["id"].as_str().unwrap(),
            made["secret"].as_str().unwrap(),
        );
        let service = format!("CF-Access-Client-Id: {id}\r\nCF-Access-Client-Secret: {secret}\r\n");
        let status = |lines: &str| gateway.call(&head("GET /x", lines)).status;
        eventually("the keys", || {
            (status(&format!("{jwt_line}{service}")) == two).then_some(())
        });
        assert_eq!(
            [status(&jwt_line), status(&service), status("")],
            [one, one, 403],
            "{require}"
        );
    }
}

// EDGE-126 ID-125
#[test]
fn management_takes_tokens_of_the_provider_too() {
    let issuer = Issuer::start();
    issuer.add("rs", SigningAlgorithm::Rs256);
    issuer.make("other", SigningAlgorithm::Rs256);
    let door = format!(
        "sandbox: {{ upstream: true }}\nmanagement: {{ front_door: {{ {} }} }}\n",
        jwt(&issuer, "")
    );
    let gateway = gateway(door).start();
    let status = |lines: &str| {
        let host = gateway.management();
        let request = format!(
            "GET /api/v1/status HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {MANAGEMENT_KEY}\r\n{lines}connection: close\r\n\r\n"
        );
        Client::connect(host).call(request.as_bytes()).status
    };
    let line = |token: &str| format!("cf-access-jwt-assertion: {token}\r\n");
    let good = line(&issuer.token("rs", &claims()));
    eventually("the keys", || (status(&good) == 200).then_some(()));
    for (name, lines) in [
        ("nothing", String::new()),
        ("twice", format!("{good}{good}")),
        (
            "expired",
            line(&issuer.token("rs", &with("exp", json!(now() - 61)))),
        ),
        ("an unknown key", line(&issuer.token("other", &claims()))),
    ] {
        assert_eq!(status(&lines), 403, "{name}");
    }
    assert_eq!(issuer.fetches(), 1);
}

// EDGE-126
#[test]
#[ignore = "waits for the minute between two fetches"]
fn a_new_key_is_found_within_a_minute_and_the_old_ones_outlast_a_failure() {
    let (origin, issuer) = (Origin::plain(), Issuer::start());
    issuer.add("old", SigningAlgorithm::Es256);
    let gateway = behind(&origin, &jwt(&issuer, "")).start();
    let old = issuer.token("old", &claims());
    ready(&gateway, &old);
    issuer.add("new", SigningAlgorithm::EdDsa);
    let new = issuer.token("new", &claims());
    assert_eq!(status(&gateway, &new), 403, "too soon to ask again");
    std::thread::sleep(Duration::from_secs(61));
    assert_eq!(
        status(&gateway, &new),
        200,
        "it waited for the fetch it caused"
    );
    assert_eq!(issuer.fetches(), 2);
    issuer.fail();
    issuer.make("third", SigningAlgorithm::EdDsa);
    std::thread::sleep(Duration::from_secs(61));
    assert_eq!(status(&gateway, &issuer.token("third", &claims())), 403);
    assert_eq!(issuer.fetches(), 3);
    let old = issuer.token("old", &claims());
    assert_eq!((status(&gateway, &old), status(&gateway, &new)), (200, 200));
}
