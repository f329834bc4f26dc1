//! The keys that seal: which are taken, what moves to another, what is refused.

use crate::callers::{answer, bearer, chat, models};
use crate::fixture::gateway;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tollkeep_crypto::{Keyring, SealContext, SystemEntropy, key_text};
use tollkeep_store::{Place, SealedCursor, SealedRecord, Store, StoreOptions};
use tollkeep_testkit::{Builder, Gateway, Origin, PATIENCE, Signal, eventually};
use tollkeep_types::{Clock, MonoNanos, WallMillis};

const KEY: &str = "8f3a9c1e5b7d2f4a6c8e0b1d3f5a7c9e8f3a9c1e5b7d2f4a6c8e0b1d3f5a7c9e";
const OTHER: &str = "1d3f5a7c9e8f3a9c1e5b7d2f4a6c8e0b1d3f5a7c9e8f3a9c1e5b7d2f4a6c8e0b";

/// The clock of this machine.
struct Now(Instant);

impl Clock for Now {
    fn mono(&self) -> MonoNanos {
        MonoNanos(u64::try_from(self.0.elapsed().as_nanos()).unwrap())
    }

    fn wall(&self) -> WallMillis {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        WallMillis(u64::try_from(since.as_millis()).unwrap())
    }
}

/// The store of a gateway that does not run.
pub(crate) fn with_store<T>(data: &Path, act: impl AsyncFnOnce(&Store) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let place = Place::Sqlite(data.join("tollkeep.db"));
        let (clock, entropy) = (Arc::new(Now(Instant::now())), Arc::new(SystemEntropy));
        let options = StoreOptions::default();
        // The process that was killed may take a moment to let go of the file.
        let store = Store::open(&place, &options, clock, entropy).await.unwrap();
        let done = act(&store).await;
        store.close().await.unwrap();
        done
    })
}

pub(crate) async fn sealed_records(store: &Store) -> Vec<SealedRecord> {
    let (mut all, mut next) = (Vec::new(), Some(SealedCursor::default()));
    while let Some(from) = next {
        let (records, then) = store.sealed(from).await.unwrap();
        all.extend(records);
        next = then;
    }
    all
}

pub(crate) fn place(record: &SealedRecord) -> SealContext<'_> {
    SealContext {
        tenant: &record.tenant,
        table: record.table,
        row: &record.row,
        field: record.field,
    }
}

/// Seals secrets into the store of a gateway that does not run.
pub(crate) fn plant(data: &Path, ring: &Keyring, secrets: &[String]) {
    with_store(data, async |store| {
        let tenant = store.default_tenant().id.to_string();
        for (number, secret) in secrets.iter().enumerate() {
            let row = format!("planted.{number:05}");
            let at = SealContext {
                tenant: &tenant,
                table: "meta",
                row: &row,
                field: "value",
            };
            let sealed = ring.seal(secret.as_bytes(), &at, &SystemEntropy).unwrap();
            store.set_sealed_once(&row, &sealed).await.unwrap();
        }
    });
}

pub(crate) fn ring(id: &str, text: &str) -> Keyring {
    Keyring::new(id, &key_text::parse(text).unwrap().bytes).unwrap()
}

/// A gateway in a folder that outlives it.
fn in_folder(folder: &Path, config: &str) -> Builder {
    gateway(format!("sandbox: {{ upstream: true }}\n{config}")).folder(folder)
}

fn stop(mut gateway: Gateway) {
    gateway.signal(Signal::TERM);
    assert!(gateway.wait_exit(PATIENCE).is_some());
}

pub(crate) fn kek(gateway: &Gateway, id: &str) -> Value {
    let (status, vault) = gateway.api("GET", "/api/v1/vault", None);
    assert_eq!(status, 200, "{vault}");
    let keks = vault["keks"].as_array().unwrap();
    let found = keks.iter().find(|kek| kek["id"] == id);
    found
        .cloned()
        .unwrap_or_else(|| panic!("no {id} in {vault}"))
}

// ID-66
#[test]
fn a_key_that_is_set_later_takes_over_what_was_sealed_before() {
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::start(answer);
    let start = || models(&origin).folder(folder.path());
    let first = start().start();
    let token = first.mint_token(&json!({}));
    assert_eq!(kek(&first, "kek-1")["records"], 4);
    stop(first);
    let second = start().env("TOLLKEEP_ENCRYPTION_KEY", KEY).start();
    assert_eq!(second.call(&chat(&bearer(&token), "hi")).status, 200);
    let (old, new) = (kek(&second, "kek-1"), kek(&second, "k1"));
    assert_eq!(
        (&old["state"], &old["records"]),
        (&json!("decrypt-only"), &json!(0))
    );
    assert_eq!((&new["seals"], &new["records"]), (&json!(true), &json!(4)));
    assert!(new["oldest_sealed_at"].is_string() && new["fingerprint"].is_string());
    let told = second.audit_line("the move", |line| line["action"] == "vault.migrate");
    assert_eq!(
        (&told["details"]["count"], &told["details"]["kek"]),
        (&json!(4), &json!("k1"))
    );
    stop(second);
    fs::remove_file(folder.path().join("data/keys/kek-1")).unwrap();
    let third = start().env("TOLLKEEP_ENCRYPTION_KEY", KEY).start();
    assert_eq!(third.call(&chat(&bearer(&token), "hi")).status, 200);
    let moves = third.audit_lines();
    let moves = moves
        .iter()
        .filter(|line| line["action"] == "vault.migrate");
    assert_eq!(moves.count(), 1, "nothing is left to move");
}

// ID-65 ID-66
#[test]
fn a_key_is_changed_by_naming_the_old_one_too() {
    let folder = tempfile::tempdir().unwrap();
    stop(
        in_folder(folder.path(), "")
            .env("ENCRYPTION_KEY", KEY)
            .start(),
    );
    let file = folder.path().join("old-key");
    fs::write(&file, KEY).unwrap();
    let keks = |state: &str| {
        format!(
            "vault: {{ keks: [{{ id: k2, source: env, name: NEW_KEK }}, {{ id: k1, source: file, \
             path: \"{}\", state: {state} }}] }}\n",
            file.display()
        )
    };
    let start = |state: &str| in_folder(folder.path(), &keks(state)).env("NEW_KEK", OTHER);
    let early = start("retired").try_start().err().unwrap();
    assert_eq!(early.code, Some(3));
    assert!(early.stderr.contains("not loaded"), "{}", early.stderr);
    let moved = start("decrypt-only").start();
    assert_eq!(
        (
            kek(&moved, "k2")["records"].clone(),
            kek(&moved, "k2")["source"].clone()
        ),
        (json!(4), json!("env"))
    );
    assert_eq!(kek(&moved, "k1")["records"], 0);
    stop(moved);
    fs::remove_file(&file).unwrap();
    let retired = start("retired").start();
    assert_eq!(kek(&retired, "k1")["state"], "retired");
}

// ID-67
#[test]
fn another_key_of_the_same_id_is_told_by_its_fingerprint() {
    let folder = tempfile::tempdir().unwrap();
    stop(
        in_folder(folder.path(), "")
            .env("ENCRYPTION_KEY", KEY)
            .start(),
    );
    let wrong = in_folder(folder.path(), "").env("ENCRYPTION_KEY", OTHER);
    let failed = wrong.try_start().err().unwrap();
    assert_eq!(failed.code, Some(3));
    let want = "key \"k1\" is not the one that sealed this store (expected fingerprint ";
    assert!(failed.stderr.contains(want), "{}", failed.stderr);
    let none = in_folder(folder.path(), "").try_start().err().unwrap();
    assert_eq!(none.code, Some(3));
    assert!(
        none.stderr.contains("4 records are sealed under it"),
        "{}",
        none.stderr
    );
    stop(
        in_folder(folder.path(), "")
            .env("ENCRYPTION_KEY", KEY)
            .start(),
    );
}

// ID-62 ID-67
#[test]
fn swapped_values_do_not_open_and_the_process_runs_without_them() {
    let folder = tempfile::tempdir().unwrap();
    let start = || in_folder(folder.path(), "").env("ENCRYPTION_KEY", KEY);
    stop(start().start());
    let (data, ring) = (folder.path().join("data"), ring("k1", KEY));
    let secrets = ["sk-one", "sk-two", "sk-three"].map(str::to_owned);
    plant(&data, &ring, &secrets);
    let texts = with_store(&data, async |store| {
        let all = sealed_records(store).await;
        let text = move |row: &str| {
            let found = all.iter().find(|record| record.row == row);
            found.unwrap().sealed.clone()
        };
        let (first, second) = (text("planted.00000"), text("planted.00001"));
        let (one, other) = (first.clone(), second.clone());
        let swap = move |record: &SealedRecord| match &*record.row {
            "planted.00000" => Some(other.clone()),
            "planted.00001" => Some(one.clone()),
            _ => None,
        };
        assert_eq!(store.reseal_all(swap).await, Ok(2));
        (first, second)
    });
    let gateway = start().start();
    let (_, vault) = gateway.api("GET", "/api/v1/vault", None);
    assert_eq!(
        (&vault["records"], &vault["unreadable"]),
        (&json!(7), &json!(2))
    );
    let rows = vault["unreadable_records"].as_array().unwrap();
    let rows: Vec<_> = rows.iter().map(|record| &record["row"]).collect();
    assert_eq!(rows, ["planted.00000", "planted.00001"]);
    for row in ["planted.00000", "planted.00001"] {
        let name = format!("meta/{row}/value");
        gateway.audit_line("each of them", |line| {
            line["action"] == "vault.open_failed" && line["details"]["name"] == *name
        });
    }
    // They are left as they are, so that a backup of the other half still mends them.
    let done = gateway.cli(&["vault", "rekey", "--deep"]);
    assert!(done.status.success());
    let job: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(
        (&job["result"]["unreadable"], &job["result"]["resealed"]),
        (&json!(2), &json!(5))
    );
    stop(gateway);
    with_store(&data, async |store| {
        for record in sealed_records(store).await {
            let opened = ring.open(&record.sealed, &place(&record));
            match &*record.row {
                "planted.00000" => assert_eq!(record.sealed, texts.1),
                "planted.00001" => assert_eq!(record.sealed, texts.0),
                "planted.00002" => assert_eq!(opened.unwrap().as_slice(), b"sk-three"),
                _ => assert!(opened.is_ok(), "{}", record.row),
            }
        }
        let broken = |record: &SealedRecord| {
            (record.row == "pepper.1").then(|| record.sealed.replace("k1:", "k1:A"))
        };
        assert_eq!(store.reseal_all(broken).await, Ok(1));
    });
    let failed = start().try_start().err().unwrap();
    assert_eq!(failed.code, Some(3), "nobody can do without the pepper");
    assert!(failed.stderr.contains("pepper.1"), "{}", failed.stderr);
}

// ID-63 ID-64
#[test]
fn the_encryption_page_of_a_seed_works_as_printed() {
    let generators = [
        "openssl rand -base64 32",
        "python3 -c \"import secrets; print(secrets.token_urlsafe(32))\"",
        "head -c 32 /dev/urandom | base64",
    ];
    let page = "sandbox: { upstream: true }\nauth:\n  encryption:\n    enabled: true\n    key: \"${CLIPROXY_ENCRYPTION_KEY}\"\n";
    for line in generators {
        let made = Command::new("sh").args(["-c", line]).output().unwrap();
        assert!(made.status.success(), "{line}");
        let key = String::from_utf8(made.stdout).unwrap();
        // The page exports another name than it reads.
        let gateway = gateway(page)
            .env("CLIPRO_ENCRYPTION_KEY", key.trim())
            .start();
        assert_eq!(kek(&gateway, "k1")["seals"], true, "{line}");
        let warned = eventually("the warning", || {
            let log = gateway.stderr();
            log.contains("CLIPRO_ENCRYPTION_KEY").then_some(log)
        });
        assert!(!warned.contains(key.trim()), "{line}");
    }
    let sample = page.replace(
        "${CLIPROXY_ENCRYPTION_KEY}",
        "YOUR_32_BYTE_ENCRYPTION_KEY_HERE",
    );
    let failed = gateway(sample).try_start().err().unwrap();
    assert_eq!(failed.code, Some(3));
    assert!(failed.stderr.contains("placeholder"), "{}", failed.stderr);
}
