//! Forty secrets, planted wherever a caller or an operator can leave one, are found nowhere.

use crate::callers::{answer, bearer, call_to, chat, get, models, post_json};
use crate::operators::made;
use crate::secrecy::assert_kept_nowhere;
use serde_json::json;
use std::process::Command;
use tollkeep_testkit::{Gateway, MANAGEMENT_KEY, Origin, PATIENCE, Signal, eventually};

/// How many there are.
const CANARIES: usize = 40;

/// What secrets of providers and gateways begin with, and what begins with nothing known.
const PREFIXES: [&str; 10] = [
    "sk-",
    "sk-ant-api03-",
    "sk-proj-",
    "tok-",
    "mgt-",
    "ghp_",
    "AKIA",
    "xoxb-",
    "hf_",
    "",
];

/// A secret like no other.
fn canary(number: usize) -> String {
    let digest = tollkeep_crypto::sha256(&[b"canary".as_slice(), &number.to_be_bytes()]);
    let letters: String = digest
        .iter()
        .map(|byte| {
            char::from(
                b"abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
                    [usize::from(*byte) % 56],
            )
        })
        .collect();
    format!("{}{letters}", PREFIXES[number % PREFIXES.len()])
}

/// Leaves a secret somewhere.
fn plant(gateway: &Gateway, token: &str, number: usize, secret: &str) {
    let own = bearer(token);
    let chat_with = |lines: String| gateway.call(&chat(&format!("{own}{lines}"), "hi"));
    match number / 4 {
        // In what callers say, and in what they ask of.
        0 => drop(gateway.call(&chat(&own, secret))),
        1 => drop(gateway.call(&post_json(
            "/v1/chat/completions",
            &own,
            &json!({ "model": "gpt-4o", "user": secret, "messages": [], "tools": [secret] }),
        ))),
        // In header fields.
        2 => drop(chat_with(format!(
            "x-note: {secret}\r\nx-api-token: {secret}\r\n"
        ))),
        3 => drop(chat_with(format!("cookie: session={secret}\r\n"))),
        4 => drop(gateway.call(&chat(&bearer(secret), "hi"))),
        5 => drop(gateway.call(&chat(&format!("x-api-key: {secret}\r\n"), "hi"))),
        // In addresses.
        6 => {
            let path = format!("/v1/chat/completions?key={secret}&x={secret}");
            drop(gateway.call(&call_to(&path, &own, "hi")));
            drop(gateway.call(&get(&format!("/v1/models?token={secret}"), &own)));
        }
        // In what is malformed.
        7 => drop(gateway.call(format!("GET / HTTP/1.1\r\nbad {secret}\r\n\r\n").as_bytes())),
        // In what operators send: a credential, and a key that is none.
        8 => {
            let body = json!({ "provider": "openai", "secret": secret, "project": "default" });
            drop(gateway.api("POST", "/api/v1/credentials", Some(&body)));
        }
        _ => {
            let body = json!({ "key": secret });
            drop(gateway.api("POST", "/api/v1/session", Some(&body)));
            drop(gateway.api("GET", &format!("/api/v1/tokens?cursor={secret}"), None));
        }
    }
}

// AUD-32 AUD-80
#[test]
fn forty_canaries_are_found_in_no_file_no_metric_and_no_list() {
    let origin = Origin::start(answer);
    let mut gateway = models(&origin)
        .set("logging.level", "trace")
        .set("management.lockout.failures", "1000")
        .start();
    let token = gateway.mint_token(&json!({}));
    let canaries: Vec<String> = (0..CANARIES).map(canary).collect();
    for (number, secret) in canaries.iter().enumerate() {
        plant(&gateway, &token, number, secret);
    }
    made(&gateway, "/api/v1/projects", &json!({ "name": "last" }));
    let list = eventually("all is in the database", || {
        let (status, list) = gateway.api("GET", "/api/v1/audit?limit=200", None);
        assert_eq!(status, 200);
        let calls = gateway.audit_lines().len();
        let (_, sums) = gateway.api("GET", "/api/v1/audit/stats?by=class", None);
        let sums = sums["data"].as_array().unwrap();
        let kept: u64 = sums.iter().map(|sum| sum["events"].as_u64().unwrap()).sum();
        (kept + 1 >= calls as u64).then(|| list.to_string())
    });
    let commands = [
        &["config", "show"][..],
        &["doctor"],
        &["audit", "list"],
        &["credential", "list", "--json"],
    ];
    // The provider's key is one of them here.
    let provider_key = &canaries[0];
    let said = commands.map(|arguments| {
        let done = Command::new(env!("CARGO_BIN_EXE_tollkeep"))
            .args(arguments)
            .env_clear()
            .env("TOLLKEEP_MANAGEMENT_KEY", MANAGEMENT_KEY)
            .env("PROVIDER_KEY", provider_key)
            .current_dir(gateway.folder())
            .output()
            .unwrap();
        assert!(!done.stdout.is_empty(), "{arguments:?}: {done:?}");
        let said = [done.stdout, done.stderr].concat();
        String::from_utf8_lossy(&said).into_owned()
    });
    let told = [
        said.concat(),
        list,
        gateway.metrics_text(),
        gateway.api("GET", "/api/v1/status", None).1.to_string(),
    ];
    gateway.signal(Signal::TERM);
    assert!(gateway.wait_exit(PATIENCE).is_some(), "ends in order");
    for secret in &canaries {
        assert_kept_nowhere(&gateway, secret);
        for told in &told {
            assert!(!told.contains(secret.as_str()), "{secret} is told");
        }
    }
}
