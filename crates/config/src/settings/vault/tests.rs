//! Where keys come from, and what is wrong with one.

use super::*;
use crate::{Env, LoadRequest, Loaded};

const KEY: &str = "8f3a9c1e5b7d2f4a6c8e0b1d3f5a7c9e8f3a9c1e5b7d2f4a6c8e0b1d3f5a7c9e";

fn load(folder: &Path, keks: &str, env: &[(&str, &str)]) -> Result<Loaded, String> {
    let file = folder.join("tollkeep.yaml");
    std::fs::write(&file, format!("vault:\n  keks: [{keks}]\n")).unwrap();
    let request = LoadRequest {
        file: Some(file),
        sets: Vec::new(),
        env: Env::from_pairs(env.iter().copied()),
        working_dir: folder.to_owned(),
        env_file: None,
        running: false,
        looks_only: false,
        documents: crate::Documents::Needed,
    };
    crate::load(&request).map_err(|faults| faults.to_string())
}

// ID-65
#[test]
fn a_key_comes_from_a_variable_a_file_or_systemd() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    std::fs::write(at.join("kek"), format!("{KEY}\n")).unwrap();
    let path = at.join("kek");
    let file = format!("{{id: a, source: file, path: {}}}", path.display());
    let directory = at.display().to_string();
    for (name, kek, env, source) in [
        (
            "env",
            "{id: a, source: env, name: MINE}",
            ("MINE", KEY),
            KekSource::Env,
        ),
        ("file", &file, ("MINE", ""), KekSource::File),
        (
            "systemd",
            "{id: a, source: systemd-credential, name: kek}",
            ("CREDENTIALS_DIRECTORY", &directory),
            KekSource::SystemdCredential,
        ),
    ] {
        let vault = load(at, kek, &[env]).unwrap().settings.vault;
        let found = &vault.keks[0];
        assert_eq!(
            (found.source, found.state),
            (source, KekUse::Active),
            "{name}"
        );
        assert_eq!(found.key.as_ref().unwrap().expose(), KEY, "{name}");
    }
}

// ID-65
#[test]
fn what_is_wrong_with_a_key_is_told_by_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let many: Vec<_> = (0..33)
        .map(|id| format!("{{id: a{id}, source: env, name: MINE}}"))
        .collect();
    for (name, keks, want) in [
        ("no id", "{source: env, name: MINE}", "vault.keks[0].id"),
        ("no source", "{id: a, name: MINE}", "vault.keks[0].source"),
        (
            "another form",
            "{id: A, source: env, name: MINE}",
            "want 1 to 32 of a-z",
        ),
        (
            "a word",
            "{id: new, source: env, name: MINE}",
            "choose another id",
        ),
        (
            "no variable",
            "{id: a, source: env}",
            "vault.keks[0].name: is missing",
        ),
        (
            "not set",
            "{id: a, source: env, name: NOT_THERE}",
            "`NOT_THERE` is not set",
        ),
        (
            "no file",
            "{id: a, source: file, path: /nowhere/kek}",
            "can't read",
        ),
        (
            "no path",
            "{id: a, source: file}",
            "vault.keks[0].path: is missing",
        ),
        (
            "of another",
            "{id: a, source: env, name: MINE, path: /x}",
            "is not read",
        ),
        (
            "no systemd",
            "{id: a, source: systemd-credential, name: x}",
            "CREDENTIALS_DIRECTORY",
        ),
        (
            "state",
            "{id: a, source: env, name: MINE, state: off}",
            "vault.keks[0].state",
        ),
        (
            "twice",
            "{id: a, source: env, name: MINE}, {id: a, source: env, name: MINE}",
            "`a` is another key's id",
        ),
        ("many", &many.join(", "), "more than 32"),
    ] {
        let refused = load(folder.path(), keks, &[("MINE", KEY)]);
        let told = refused.err().unwrap_or_default();
        assert!(told.contains(want), "{name}: {told}");
        assert!(!told.contains(KEY), "{name}");
    }
}

// ID-65
#[test]
fn what_is_wrong_with_a_service_is_told_by_its_place() {
    let folder = tempfile::tempdir().unwrap();
    for (name, keks, want) in [
        (
            "no place",
            "{id: a, source: vault-transit, name: x, token: t}",
            "vault.keks[0].address: is missing",
        ),
        (
            "no token",
            "{id: a, source: vault-transit, name: x, address: \"https://vault.example\"}",
            "vault.keks[0].token: is missing",
        ),
        (
            "in the clear",
            "{id: a, source: vault-transit, name: x, token: t, address: \"http://vault.example\"}",
            "vault.keks[0].address: is `http` outside",
        ),
        (
            "a private address",
            "{id: a, source: vault-transit, name: x, token: t, address: \"https://10.0.0.1\"}",
            "vault.keks[0].address: ",
        ),
        (
            "a mount",
            "{id: a, source: vault-transit, name: x, token: t, address: \"https://v.example\", mount: ../x}",
            "vault.keks[0].mount: want segments",
        ),
        (
            "no region",
            "{id: a, source: aws-kms, name: x, access_key_id: A, secret_access_key: s}",
            "vault.keks[0].region: is missing",
        ),
        (
            "no secret",
            "{id: a, source: aws-kms, name: x, region: eu-central-1, access_key_id: A}",
            "vault.keks[0].secret_access_key: is missing",
        ),
        (
            "of another service",
            "{id: a, source: aws-kms, name: x, region: eu-central-1, access_key_id: A, secret_access_key: s, token: t}",
            "vault.keks[0].token: is not read",
        ),
    ] {
        let told = load(folder.path(), keks, &[]).err().unwrap_or_default();
        assert!(told.contains(want), "{name}: {told}");
    }
}

// ID-65
#[test]
fn a_retired_key_is_not_looked_for_and_satisfies_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let retired = "{id: a, source: env, name: GONE, state: retired}";
    let vault = load(folder.path(), retired, &[]).unwrap().settings.vault;
    assert!(vault.keks[0].key.is_none() && !vault.has_active());
    let required = [("REQUIRE_ENCRYPTION_KEY", "true"), ("MINE", KEY)];
    assert!(load(folder.path(), retired, &required).is_err());
    let active = "{id: a, source: env, name: MINE}";
    assert!(load(folder.path(), active, &required).is_ok());
}
