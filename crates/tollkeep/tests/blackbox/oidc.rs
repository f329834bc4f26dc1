//! Signing in by an identity provider, and what others would make of it.

use crate::fixture::gateway;
use crate::operators::code;
use crate::sessions::{Browser, cookie, send};
use serde_json::{Value, json};
use tollkeep_testkit::{
    Answer, Builder, Gateway, IdentityProvider, Issuer, OIDC_CLIENT_ID, OIDC_CLIENT_SECRET,
    SentBack, SigningAlgorithm, eventually,
};

pub(crate) fn behind(provider: &IdentityProvider, more: &str) -> Builder {
    let url = provider.url();
    let config = format!(
        "management:\n  oidc:\n    issuer: \"{url}\"\n    client_id: {OIDC_CLIENT_ID}\n    \
         client_secret: \"${{SECRET}}\"\n    allow_private: [\"127.0.0.1/32\"]\n    \
         role_map: {{ ops: operator, root: owner }}\n{more}"
    );
    gateway(config)
        .env("SECRET", OIDC_CLIENT_SECRET)
        .set("management.lockout.failures", "1000")
}

/// A browser that was sent to the provider: where, and with which cookie of ours.
pub(crate) struct Sent {
    pub(crate) link: String,
    pub(crate) cookie: String,
}

fn set_cookie<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    let mut lines = answer.values("set-cookie").into_iter();
    lines.find(|line| line.starts_with(name))
}

pub(crate) fn begin(gateway: &Gateway, query: &str) -> Sent {
    let start = format!("GET /api/v1/session/oidc{query}");
    let answer = send(gateway, &start, "sec-fetch-site: cross-site\r\n", None);
    assert_eq!(answer.status, 303, "{}", answer.text());
    let line = set_cookie(&answer, "tollkeep_login=").unwrap();
    let (cookie, attributes) = line.split_once(';').unwrap();
    assert_eq!(attributes, " Path=/; HttpOnly; SameSite=Lax");
    Sent {
        link: answer.field("location").unwrap().to_owned(),
        cookie: cookie.to_owned(),
    }
}

pub(crate) fn end(gateway: &Gateway, cookie: &str, back: &SentBack) -> Answer {
    let (code, state) = (&back.code, &back.state);
    end_with(gateway, cookie, &format!("code={code}&state={state}"))
}

fn end_with(gateway: &Gateway, cookie: &str, query: &str) -> Answer {
    let start = format!("GET /api/v1/session/oidc/callback?{query}");
    let lines = format!("cookie: {cookie}\r\nsec-fetch-site: cross-site\r\n");
    send(gateway, &start, &lines, None)
}

pub(crate) fn signed(issuer: &Issuer, claims: &Value) -> String {
    issuer.token("ed", claims)
}

/// Signs in with what the token should claim, changed so.
fn sign_in(
    gateway: &Gateway,
    provider: &IdentityProvider,
    change: impl FnOnce(&mut Value),
) -> Answer {
    let sent = begin(gateway, "");
    let back = provider.sign_in(&sent.link, |issuer, mut claims| {
        change(&mut claims);
        signed(issuer, &claims)
    });
    end(gateway, &sent.cookie, &back)
}

fn browser<'a>(gateway: &'a Gateway, answer: &Answer) -> Browser<'a> {
    Browser {
        gateway,
        cookie: cookie(answer).unwrap(),
        csrf: answer.json()["csrf"].as_str().unwrap().to_owned(),
    }
}

// ID-124
#[test]
fn somebody_the_provider_vouches_for_is_an_operator_with_the_role_of_their_group() {
    let provider = IdentityProvider::start();
    let gateway = behind(&provider, "").start();
    let answer = sign_in(&gateway, &provider, |_| {});
    assert_eq!(answer.status, 200, "{}", answer.text());
    let gone = set_cookie(&answer, "tollkeep_login=").unwrap();
    assert!(gone.contains("Max-Age=0"), "{gone}");
    let browser = browser(&gateway, &answer);
    let who = browser.ask("GET /api/v1/whoami", None).json();
    assert_eq!(
        (&who["name"], &who["role"], &who["via"]),
        (&json!("Jane Roe"), &json!("operator"), &json!("session"))
    );
    assert_eq!(
        browser.ask("POST /api/v1/tokens", Some(&json!({}))).status,
        201
    );
    let id = who["id"].as_str().unwrap();
    let (_, shown) = gateway.api("GET", &format!("/api/v1/operators/{id}"), None);
    assert_eq!(
        (&shown["source"], &shown["email"]),
        (&json!("provider"), &json!("jane@team.example")),
        "{shown}"
    );
    // They are the same person the next time; another role ends what went on.
    let again = sign_in(&gateway, &provider, |claims| {
        claims["groups"] = json!(["root", "ops"]);
    });
    assert_eq!((again.status, &again.json()["holder"]), (200, &json!(id)));
    assert_eq!(again.json()["role"], "owner");
    assert_eq!(browser.status("GET /api/v1/status"), 401);
    // Somebody else is another one, whatever their address.
    let other = sign_in(&gateway, &provider, |claims| {
        claims["sub"] = json!("person-2");
    });
    assert_ne!(other.json()["holder"], json!(id));
    // One who is disabled here does not come in, whatever the provider says.
    let path = format!("/api/v1/operators/{id}/disable");
    assert_eq!(gateway.api("POST", &path, Some(&json!({}))).0, 200);
    assert_eq!(sign_in(&gateway, &provider, |_| {}).status, 401);
    let event = gateway.audit_line("the login", |event| event["action"] == "admin.login");
    assert_eq!(event["actor_id"], json!(id), "{event}");
    for text in [gateway.stderr(), format!("{:?}", gateway.audit_lines())] {
        assert!(!text.contains(OIDC_CLIENT_SECRET) && !text.contains("code-0"));
    }
}

fn with(name: &str, value: Value) -> impl FnOnce(&Issuer, Value) -> String {
    let name = name.to_owned();
    move |issuer, mut claims| {
        claims[name] = value;
        signed(issuer, &claims)
    }
}

fn headed(header: Value) -> impl FnOnce(&Issuer, Value) -> String {
    move |issuer, claims| issuer.signed(&header, "ed", &claims)
}

type Maker = Box<dyn FnOnce(&Issuer, Value) -> String>;

// ID-124
#[test]
#[rustfmt::skip]
fn tokens_that_are_not_this_login_of_this_provider_are_refused_alike() {
    let provider = IdentityProvider::start();
    provider.issuer.make("secret", SigningAlgorithm::EdDsa);
    let gateway = behind(&provider, "    allowed_domains: [team.example]\n").start();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let rows: Vec<(&str, &str, Maker)> = vec![
        ("wrong issuer", "token_issuer", Box::new(with("iss", json!("https://evil.example")))),
        ("issuer with a slash", "token_issuer", Box::new(with("iss", json!(format!("{}/", provider.url()))))),
        ("another audience", "token_audience", Box::new(with("aud", json!("another")))),
        ("shared and asked for by another", "token_audience", Box::new(|issuer, mut claims| {
            claims["aud"] = json!([OIDC_CLIENT_ID, "another"]);
            claims["azp"] = json!("another");
            signed(issuer, &claims)
        })),
        ("shared and asked for by nobody", "token_audience", Box::new(with("aud", json!([OIDC_CLIENT_ID, "another"])))),
        ("wrong nonce", "token_nonce", Box::new(with("nonce", json!("another")))),
        ("no nonce", "token_nonce", Box::new(with("nonce", Value::Null))),
        ("expired", "token_expired", Box::new(with("exp", json!(now - 61)))),
        ("from tomorrow", "token_not_yet", Box::new(with("iat", json!(now + 86_400)))),
        ("no beginning", "token_claims", Box::new(with("iat", Value::Null))),
        ("nobody", "token_claims", Box::new(with("sub", Value::Null))),
        ("no algorithm", "token_algorithm", Box::new(headed(json!({ "alg": "none", "kid": "ed" })))),
        ("the public key as a secret", "token_algorithm", Box::new(headed(json!({ "alg": "HS256", "kid": "ed" })))),
        ("no key named", "token_unknown_key", Box::new(headed(json!({ "alg": "EdDSA" })))),
        ("another's key", "token_signature", Box::new(|issuer, claims| {
            issuer.signed(&json!({ "alg": "EdDSA", "kid": "ed" }), "secret", &claims)
        })),
        ("noise", "token_malformed", Box::new(|_, _| "x.y.z".to_owned())),
        ("another domain", "email_domain", Box::new(with("email", json!("jane@evil.example")))),
        ("an address nobody verified", "email_domain", Box::new(with("email_verified", json!(false)))),
        ("no role", "no_role", Box::new(with("groups", json!(["others"])))),
    ];
    let mut told = None;
    for (name, reason, make) in rows {
        let sent = begin(&gateway, "");
        let back = provider.sign_in(&sent.link, make);
        let answer = end(&gateway, &sent.cookie, &back);
        assert_eq!((answer.status, cookie(&answer)), (401, None), "{name}: {}", answer.text());
        let mut problem = answer.json();
        problem.as_object_mut().unwrap().remove("request_id");
        assert_eq!(*told.get_or_insert_with(|| problem.clone()), problem, "{name}");
        gateway.audit_line(name, |event| event["action"] == "admin.login" && event["reason"] == reason);
    }
    assert_eq!(sign_in(&gateway, &provider, |claims| claims["exp"] = json!(now - 30)).status, 200, "leeway");
}

// ID-124 ID-121
#[test]
fn a_login_is_of_one_browser_and_has_one_answer() {
    let provider = IdentityProvider::start();
    let gateway = behind(&provider, "").start();
    let sent = begin(&gateway, "");
    let back = provider.sign_in(&sent.link, |issuer, claims| signed(issuer, &claims));
    let other = begin(&gateway, "");
    let made_up = format!(
        "tollkeep_login=9999999999999-{}-{}",
        "0".repeat(32),
        "0".repeat(32)
    );
    for (name, cookie, query) in [
        (
            "no cookie",
            "",
            format!("code={}&state={}", back.code, back.state),
        ),
        (
            "another browser",
            &*other.cookie,
            format!("code={}&state={}", back.code, back.state),
        ),
        (
            "a cookie of one's own",
            &made_up,
            format!("code={}&state={}", back.code, back.state),
        ),
        ("no state", &sent.cookie, format!("code={}", back.code)),
        (
            "another state",
            &sent.cookie,
            format!("code={}&state=x", back.code),
        ),
        ("no code", &sent.cookie, format!("state={}", back.state)),
        (
            "another provider",
            &sent.cookie,
            format!(
                "code={}&state={}&iss=https://evil.example",
                back.code, back.state
            ),
        ),
        (
            "refused there",
            &sent.cookie,
            format!("error=access_denied&state={}", back.state),
        ),
    ] {
        let answer = end_with(&gateway, cookie, &query);
        assert_eq!(answer.status, 401, "{name}: {}", answer.text());
    }
    assert_eq!(
        provider.exchanges(),
        0,
        "nothing of that reached the provider"
    );
    assert_eq!(end(&gateway, &sent.cookie, &back).status, 200);
    assert_eq!(end(&gateway, &sent.cookie, &back).status, 401, "again");
    assert_eq!(
        provider.exchanges(),
        1,
        "a replay does not reach the provider"
    );
}

// ID-124
#[test]
fn a_code_of_another_login_is_bound_to_the_verifier_of_that_one() {
    let provider = IdentityProvider::start();
    let gateway = behind(&provider, "").start();
    let (one, two) = (begin(&gateway, ""), begin(&gateway, ""));
    let stolen = provider.sign_in(&one.link, |issuer, claims| signed(issuer, &claims));
    let own = provider.sign_in(&two.link, |issuer, claims| signed(issuer, &claims));
    let mixed = SentBack {
        code: stolen.code,
        state: own.state,
    };
    assert_eq!(end(&gateway, &two.cookie, &mixed).status, 401);
    gateway.audit_line("the provider's no", |event| {
        event["reason"] == "code_refused"
    });
    assert!(
        begin(&gateway, "")
            .link
            .contains("code_challenge_method=S256")
    );
}

// ID-124
#[test]
fn scopes_claim_and_default_role_are_those_of_the_settings() {
    let provider = IdentityProvider::start();
    let more = "    scopes: [openid, profile]\n    role_claim: /realm_access/roles\n    \
                default_role: viewer\n";
    let gateway = behind(&provider, more).start();
    let link = begin(&gateway, "").link;
    assert!(link.contains("scope=openid%20profile&"), "{link}");
    for (roles, want) in [(json!(["root"]), "owner"), (json!(["others"]), "viewer")] {
        let answer = sign_in(&gateway, &provider, |claims| {
            claims["realm_access"] = json!({ "roles": roles });
        });
        assert_eq!(answer.json()["role"], want, "{}", answer.text());
    }
    let without =
        behind(&provider, "    role_claim: none\n").set("management.oidc.scopes", "email");
    let refused = without.try_start().err().unwrap();
    assert!(
        refused.stderr.contains("lacks `openid`"),
        "{}",
        refused.stderr
    );
}

// ID-122 ID-124
#[test]
fn a_login_at_the_provider_is_a_proof_of_when_it_says() {
    let provider = IdentityProvider::start();
    let gateway = behind(&provider, "").start();
    let fresh = begin(&gateway, "?fresh=true").link;
    assert!(
        fresh.contains("max_age=0") && fresh.contains("prompt=login"),
        "{fresh}"
    );
    let long_ago = 1_700_000_000;
    for (name, change, want) in [
        ("now", None, 201),
        ("long ago", Some(json!(long_ago)), 403),
        ("it does not say", Some(Value::Null), 403),
    ] {
        let answer = sign_in(&gateway, &provider, |claims| {
            if let Some(value) = change {
                claims["auth_time"] = value;
            }
        });
        let browser = browser(&gateway, &answer);
        let made = browser.ask("POST /api/v1/tokens", Some(&json!({})));
        assert_eq!(made.status, want, "{name}: {}", made.text());
        if want == 403 {
            assert_eq!(code(&made), "proof_required", "{name}");
            assert!(made.text().contains("oidc?fresh=true"), "{name}");
        }
    }
}

// ID-124
#[test]
fn keys_are_fetched_again_at_most_once_a_minute() {
    let provider = IdentityProvider::start();
    let gateway = behind(&provider, "").start();
    assert_eq!(sign_in(&gateway, &provider, |_| {}).status, 200);
    assert_eq!(provider.issuer.fetches(), 1);
    provider.issuer.add("new", SigningAlgorithm::Es256);
    for _ in 0..3 {
        let sent = begin(&gateway, "");
        let back = provider.sign_in(&sent.link, |issuer, claims| issuer.token("new", &claims));
        assert_eq!(end(&gateway, &sent.cookie, &back).status, 401);
    }
    assert_eq!(provider.issuer.fetches(), 1, "they were fetched just now");
}

// ID-124
#[test]
fn without_a_provider_there_is_no_such_login_and_one_that_is_away_is_told() {
    let gateway = gateway("").start();
    for start in [
        "GET /api/v1/session/oidc",
        "GET /api/v1/session/oidc/callback?code=x",
    ] {
        assert_eq!(send(&gateway, start, "", None).status, 404, "{start}");
    }
    let provider = IdentityProvider::start();
    provider.issuer.fail();
    let gateway = behind(&provider, "").start();
    let answer = send(&gateway, "GET /api/v1/session/oidc", "", None);
    assert_eq!(
        (answer.status, code(&answer)),
        (503, "provider_unavailable".to_owned())
    );
    eventually("why", || {
        gateway.stderr().contains("identity provider").then_some(())
    });
}
