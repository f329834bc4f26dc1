//! Key-encryption keys that a service keeps: sealed there, opened at each start, never on disk.

use crate::callers::{answer, bearer, chat, models};
use crate::vault::kek;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use tollkeep_testkit::{
    AWS_KEY_ID, AWS_REGION, AWS_SECRET, Builder, Gateway, KeyServiceMood, KeyServices, Origin,
    PATIENCE, Signal, VAULT_TOKEN, free_addr,
};

const SOURCES: [&str; 2] = ["vault-transit", "aws-kms"];

/// A gateway whose one key is kept by a service.
fn kept(folder: &Path, origin: &Origin, url: &str, source: &str) -> Builder {
    let mut kek = json!({
        "id": "remote",
        "source": source,
        "address": url,
        "allow_private": ["127.0.0.1/32"],
    });
    let of_source = match source {
        "vault-transit" => json!({ "name": "tollkeep", "token": VAULT_TOKEN, "namespace": "team" }),
        _ => json!({
            "name": "alias/tollkeep",
            "region": AWS_REGION,
            "access_key_id": AWS_KEY_ID,
            "secret_access_key": AWS_SECRET,
        }),
    };
    let members = kek.as_object_mut().unwrap();
    members.extend(of_source.as_object().unwrap().clone());
    models(origin)
        .set("vault.keks", json!([kek]).to_string())
        .folder(folder)
}

fn stop(mut gateway: Gateway) {
    gateway.signal(Signal::TERM);
    assert!(gateway.wait_exit(PATIENCE).is_some());
}

/// Everything that was written below a folder.
fn all_bytes(folder: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            bytes.extend(all_bytes(&entry.path()));
        } else if kind.is_file() {
            bytes.extend(fs::read(entry.path()).unwrap());
        }
    }
    bytes
}

// ID-65
#[test]
fn a_service_seals_the_key_once_and_opens_it_at_every_start() {
    for source in SOURCES {
        let (folder, origin) = (tempfile::tempdir().unwrap(), Origin::start(answer));
        let services = KeyServices::start();
        let start = || kept(folder.path(), &origin, &services.url(), source);
        let first = start().start();
        assert_eq!(services.asked(), ["encrypt", "decrypt"], "{source}");
        let token = first.mint_token(&json!({}));
        let shown = kek(&first, "remote");
        let told = (&shown["source"], &shown["seals"], &shown["records"]);
        assert_eq!(told, (&json!(source), &json!(true), &json!(4)), "{shown}");
        stop(first);
        let second = start().start();
        assert_eq!(services.asked().len(), 3, "{source}: it was only opened");
        assert_eq!(
            second.call(&chat(&bearer(&token), "hi")).status,
            200,
            "{source}"
        );
        stop(second);
        let data = folder.path().join("data");
        assert!(!data.join("keys/kek-1").exists(), "{source}");
        let (written, keys) = (all_bytes(&data), services.keys());
        for secret in [VAULT_TOKEN, AWS_SECRET, &keys[0]] {
            let is_there = memchr(&written, secret.as_bytes());
            assert!(!is_there, "{source}: a secret is on disk");
        }
    }
}

fn memchr(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

// ID-65 ID-67
#[test]
fn a_start_without_its_key_is_refused_and_says_why() {
    for source in SOURCES {
        let (folder, origin) = (tempfile::tempdir().unwrap(), Origin::start(answer));
        let services = KeyServices::start();
        let start = || kept(folder.path(), &origin, &services.url(), source);
        for (mood, code, want) in [
            (KeyServiceMood::Refuses, 3, "answered with status 403"),
            (KeyServiceMood::Babbles, 3, "the answer holds no sealed key"),
            (KeyServiceMood::Silent, 7, "no answer within 2 s"),
            (KeyServiceMood::Right, 0, ""),
            (
                KeyServiceMood::Babbles,
                3,
                "the answer holds no key of 32 bytes",
            ),
            (
                KeyServiceMood::Mistakes,
                3,
                "key \"remote\" is not the one that sealed this store",
            ),
            (KeyServiceMood::Right, 0, ""),
        ] {
            services.set_mood(mood);
            match start().try_start() {
                Ok(gateway) => {
                    assert_eq!(code, 0, "{source} {mood:?}");
                    stop(gateway);
                }
                Err(failed) => {
                    let told = &failed.stderr;
                    assert_eq!(failed.code, Some(code), "{source} {mood:?}: {told}");
                    assert!(told.contains(want), "{source} {mood:?}: {told}");
                    assert!(!told.contains(VAULT_TOKEN) && !told.contains(AWS_SECRET));
                }
            }
        }
        let gone = format!("http://{}", free_addr());
        let failed = kept(folder.path(), &origin, &gone, source)
            .try_start()
            .err()
            .unwrap();
        assert_eq!(failed.code, Some(7), "{source}: {}", failed.stderr);
        let want = format!("key `remote`: {source}: ");
        assert!(failed.stderr.contains(&want), "{}", failed.stderr);
    }
}

// ID-65 ID-66
#[test]
fn records_move_to_a_key_that_a_service_keeps() {
    let (folder, origin) = (tempfile::tempdir().unwrap(), Origin::start(answer));
    let services = KeyServices::start();
    let before = models(&origin).folder(folder.path()).start();
    let token = before.mint_token(&json!({}));
    stop(before);
    let after = kept(folder.path(), &origin, &services.url(), "vault-transit").start();
    assert_eq!(after.call(&chat(&bearer(&token), "hi")).status, 200);
    assert_eq!(kek(&after, "remote")["records"], 4);
    assert_eq!(kek(&after, "kek-1")["records"], 0);
    let done = after.cli(&["vault", "rekey", "--deep", "--json"]);
    let job: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(job["result"]["resealed"], 4, "{job}");
    assert_eq!(services.asked().len(), 2, "sealing asks nobody");
}
