//! Operators under test: keys of each role and tenant, and what they ask for.

use serde_json::{Value, json};
use tollkeep_testkit::{Answer, Client, Gateway};

/// One request to the management listener with this key.
pub(crate) fn ask(gateway: &Gateway, key: &str, start: &str, body: Option<&Value>) -> Answer {
    let credential = match key {
        "" => String::new(),
        key => format!("authorization: Bearer {key}\r\n"),
    };
    let (kind, body) = match body {
        None => ("", String::new()),
        Some(body) => ("content-type: application/json\r\n", body.to_string()),
    };
    let request = format!(
        "{start} HTTP/1.1\r\nhost: {}\r\n{credential}{kind}content-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        gateway.management(),
        body.len()
    );
    Client::connect(gateway.management()).call(request.as_bytes())
}

/// Makes a management key with these members: its id and its text.
pub(crate) fn key(gateway: &Gateway, members: &Value) -> (String, String) {
    let (status, made) = gateway.api("POST", "/api/v1/keys", Some(members));
    assert_eq!(status, 201, "{made}");
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    (text("id"), text("secret"))
}

/// Makes a tenant and gives its id.
pub(crate) fn tenant(gateway: &Gateway, slug: &str) -> String {
    let body = json!({ "name": slug, "slug": slug });
    let (status, made) = gateway.api("POST", "/api/v1/tenants", Some(&body));
    assert_eq!(status, 201, "{made}");
    made["id"].as_str().unwrap().to_owned()
}

/// Makes something of a tenant and gives its id.
pub(crate) fn made(gateway: &Gateway, path: &str, members: &Value) -> String {
    let (status, made) = gateway.api("POST", path, Some(members));
    assert_eq!(status, 201, "{path}: {made}");
    made["id"].as_str().unwrap().to_owned()
}

/// The code of a refusal.
pub(crate) fn code(answer: &Answer) -> String {
    answer.json()["code"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}
