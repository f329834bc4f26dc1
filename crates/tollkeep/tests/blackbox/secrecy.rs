//! What must stand nowhere: texts of tokens and keys, and what callers said.

use crate::callers::{
    PROVIDER_KEY, act, answer, bearer, call_to, chat, get, made, models, post_json,
};
use crate::fixture;
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tollkeep_testkit::{Gateway, MANAGEMENT_KEY, Origin, PATIENCE, Signal, eventually};

/// Asserts that no file of the gateway, its output included, holds a secret in any of its guises.
pub(crate) fn assert_kept_nowhere(gateway: &Gateway, secret: &str) {
    for path in files(gateway.folder()) {
        let bytes = fs::read(&path).unwrap_or_default();
        for (name, guise) in guises(secret) {
            let found = bytes.windows(guise.len()).any(|window| window == guise);
            assert!(!found, "{secret} {name} in {}", path.display());
        }
    }
}

fn guises(secret: &str) -> Vec<(&'static str, Vec<u8>)> {
    let bytes = secret.as_bytes();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let random = secret.split_once('-').map_or(secret, |(_, random)| random);
    let (front, back) = random.split_at(random.len() / 2);
    let guises = [
        ("as it is", secret.to_owned()),
        (
            "in base64",
            BASE64_STANDARD
                .encode(bytes)
                .trim_end_matches('=')
                .to_owned(),
        ),
        ("in base64url", BASE64_URL_SAFE_NO_PAD.encode(bytes)),
        ("in hex", hex.clone()),
        ("in upper-case hex", hex.to_ascii_uppercase()),
        (
            "in a URL",
            secret
                .replace('%', "%25")
                .replace('+', "%2B")
                .replace('/', "%2F"),
        ),
        ("backwards", secret.chars().rev().collect()),
        ("its front half", front.to_owned()),
        ("its back half", back.to_owned()),
    ];
    guises
        .into_iter()
        .map(|(name, text)| (name, text.into_bytes()))
        .collect()
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let below = folders.iter().flat_map(|folder| self::files(folder));
    files
        .iter()
        .filter(|path| path.is_file())
        .cloned()
        .chain(below.collect::<Vec<_>>())
        .collect()
}

// ID-12 ID-13 AUD-32
#[test]
fn no_file_holds_the_text_of_a_token_or_key_or_what_a_caller_said() {
    const PROMPT: &str = "the-moon-is-made-of-green-cheese";
    let origin = Origin::start(answer);
    // A provider of every name, so that any model goes into the records.
    let mut gateway = models(&origin).set("providers.openai.models", "*").start();
    let token = gateway.mint_token(&json!({}));
    let (id, rotated) = made(&gateway, &json!({ "name": "rotated" }));
    let revoked = gateway.mint_token(&json!({}));
    let (status, next) = act(&gateway, &id, "rotate", &json!({}));
    assert_eq!(status, 200);
    let next = next["secret"].as_str().unwrap().to_owned();
    let wrong = format!("{token}x");
    for text in [&token, &rotated, &next, &revoked, &wrong] {
        gateway.call(&chat(&bearer(text), PROMPT));
    }
    // Where a secret strays: paths, queries, agents, correlation ids, models, bad requests.
    let stray = |path: &str, lines: String| gateway.call(&call_to(path, &lines, PROMPT));
    stray(&format!("/v1/{token}"), bearer(&token));
    stray(
        &format!("/v1/chat/completions?token={token}&q={PROMPT}"),
        bearer(&token),
    );
    stray(
        "/v1/chat/completions",
        format!("{}user-agent: {token} {PROVIDER_KEY}\r\n", bearer(&token)),
    );
    stray(
        "/v1/chat/completions",
        format!("{}x-correlation-id: {token}\r\n", bearer(&token)),
    );
    stray(
        "/v1/chat/completions",
        format!(
            "{}x-note: {PROMPT}\r\ncookie: session={token}\r\n",
            bearer(&token)
        ),
    );
    for model in [token.as_str(), PROVIDER_KEY] {
        let body = json!({ "model": model, "messages": [{ "role": "user", "content": PROMPT }] });
        gateway.call(&post_json("/v1/chat/completions", &bearer(&token), &body));
    }
    gateway.call(&get(&format!("/v1/models/{token}"), &bearer(&token)));
    gateway.call(format!("GET /{token} {PROMPT}\r\n\r\n").as_bytes());
    gateway.api("GET", &format!("/api/v1/tokens/{token}?key={token}"), None);
    let metrics = gateway.metrics_text();
    gateway.signal(Signal::TERM);
    assert!(gateway.wait_exit(PATIENCE).is_some(), "ends in order");
    for secret in [
        &token,
        &rotated,
        &next,
        &revoked,
        PROVIDER_KEY,
        MANAGEMENT_KEY,
        PROMPT,
    ] {
        assert_kept_nowhere(&gateway, secret);
        assert!(!metrics.contains(secret), "{secret} in the metrics");
    }
}

// ID-12 ID-51
#[test]
fn the_first_management_key_is_in_a_file_of_its_owner_and_nowhere_else() {
    let gateway = fixture::gateway("sandbox: { upstream: true }\n")
        .without_env("TOLLKEEP_MANAGEMENT_KEY")
        .start();
    let path = gateway.data_dir().join("first-management-key");
    // It is written right behind the line that says the gateway is ready.
    let key = eventually("the key", || {
        let text = fs::read_to_string(&path).ok()?;
        Some(text.strip_suffix('\n')?.to_owned())
    });
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    for file in files(gateway.folder())
        .into_iter()
        .filter(|file| *file != path)
    {
        let bytes = fs::read(&file).unwrap();
        assert!(
            !String::from_utf8_lossy(&bytes).contains(&key),
            "in {}",
            file.display()
        );
        if file.starts_with(gateway.data_dir()) {
            let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{}", file.display());
        }
    }
}
