//! Fields that a credential sets on calls that go out with it.

use crate::fixture::{UPSTREAM_KEY, gateway, post};
use crate::operators::{ask, code};
use serde_json::{Value, json};
use tollkeep_testkit::{Gateway, MANAGEMENT_KEY, Origin, ok};

const PLACE: &str = "/api/v1/credentials";
const BODY: &str = r#"{"model":"m","messages":[]}"#;

/// A provider that sets `x-fixed` and forwards `x-mine`, and a credential that says who we are.
fn served(origin: &Origin) -> (Gateway, String) {
    let url = origin.url();
    let config = format!(
        "providers:\n  openai:\n    base_url: \"{url}/v1\"\n    allow_private: [\"127.0.0.1/32\"]\n    \
         headers: {{ set: {{ x-fixed: theirs }} }}\n    forward_headers: [x-mine]\n    \
         credentials: [{{ secret: \"${{UPSTREAM_KEY}}\", headers: {{ OpenAI-Organization: org-a, x-mine: ours }} }}]\n"
    );
    let gateway = gateway(config).env("UPSTREAM_KEY", UPSTREAM_KEY).start();
    let token = gateway.mint_token(&json!({ "project": "default" }));
    (gateway, token)
}

/// What the provider is told of this name by a call, in all its lines.
fn told(gateway: &Gateway, (origin, token): (&Origin, &str), name: &str) -> Vec<String> {
    let lines = format!(
        "Authorization: Bearer {token}\r\nContent-Type: application/json\r\n\
         X-Mine: callers\r\nUser-Agent: callers\r\n"
    );
    let answer = gateway.call(&post("/v1/chat/completions", &lines, BODY.as_bytes()));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let fields = origin.last().fields.into_iter();
    let same = fields.filter(|(known, _)| known.eq_ignore_ascii_case(name));
    same.map(|(_, value)| value).collect()
}

// ID-70 LLM-R1
#[test]
fn calls_carry_the_fields_of_the_credential_they_go_out_with() {
    let origin = Origin::start(|_| ok(b"{}"));
    let (gateway, token) = served(&origin);
    let told = |name: &str| told(&gateway, (&origin, &token), name);
    assert_eq!(told("openai-organization"), ["org-a"]);
    assert_eq!(told("x-mine"), ["ours"], "once, and not the caller's");

    let headers = json!({ "OpenAI-Organization": "org-b", "user-agent": "we" });
    let new = json!({
        "provider": "openai", "secret": "sk-another-4kfX0wq8Zt2LsV7pQ", "priority": 5, "headers": headers
    });
    let (status, made) = gateway.api("POST", PLACE, Some(&new));
    assert_eq!(status, 201, "{made}");
    let kept = json!({ "openai-organization": "org-b", "user-agent": "we" });
    assert_eq!(made["headers"], kept);
    assert_eq!(told("openai-organization"), ["org-b"]);
    assert_eq!(told("user-agent"), ["we"]);
    assert_eq!(told("x-mine"), ["callers"], "that is the other one's");
    assert_eq!(told("x-fixed"), ["theirs"]);

    // A credential that is tried out says the same.
    let id = made["id"].as_str().unwrap();
    assert!(gateway.cli(&["credential", "test", id]).status.success());
    assert_eq!(origin.last().field("openai-organization"), Some("org-b"));

    let place = format!("{PLACE}/{id}");
    let ran = gateway.cli(&["credential", "update", id, "--header", "openai-project=p=1"]);
    assert!(ran.status.success(), "{ran:?}");
    assert_eq!(told("openai-project"), ["p=1"]);
    assert_eq!(told("openai-organization"), [] as [&str; 0]);
    // What is not said stays; nothing is nothing.
    let label = json!({ "label": "named" });
    assert_eq!(
        gateway.api("PATCH", &place, Some(&label)).1["headers"]["openai-project"],
        "p=1"
    );
    let (status, changed) = gateway.api("PATCH", &place, Some(&json!({ "headers": {} })));
    assert_eq!((status, &changed["headers"]), (200, &json!({})));
    assert_eq!(told("openai-project"), [] as [&str; 0]);
}

// ID-70 LLM-R4
#[test]
fn fields_that_are_secret_or_not_a_credentials_to_set_are_refused() {
    let origin = Origin::start(|_| ok(b"{}"));
    let (gateway, _) = served(&origin);
    let many: serde_json::Map<String, Value> = (0..17)
        .map(|number| (format!("x-{number}"), json!("a")))
        .collect();
    for (name, headers) in [
        (
            "the credential itself",
            json!({ "Authorization": "Bearer x" }),
        ),
        ("another secret", json!({ "x-api-key": "x" })),
        ("framing", json!({ "Content-Length": "1" })),
        ("no name", json!({ "a b": "x" })),
        ("a second line", json!({ "x-a": "b\r\nx-c: d" })),
        ("outer blanks", json!({ "x-a": " b" })),
        ("what the provider sets", json!({ "X-Fixed": "ours" })),
        ("too many", Value::Object(many)),
        ("no text", json!({ "x-a": 1 })),
        ("no pairs", json!(["x-a"])),
    ] {
        let new = json!({
            "provider": "openai", "secret": "sk-another-4kfX0wq8Zt2LsV7pQ", "headers": headers
        });
        let answer = ask(
            &gateway,
            MANAGEMENT_KEY,
            &format!("POST {PLACE}"),
            Some(&new),
        );
        let got = (answer.status, code(&answer));
        assert!(
            matches!(got.0, 400 | 422),
            "{name}: {got:?} {}",
            answer.text()
        );
        assert!(!answer.text().contains("Bearer x"), "{name}");
    }
    let (_, list) = gateway.api("GET", PLACE, None);
    assert_eq!(list["data"], json!([]));
}
