//! Sealed records: found wherever they stand, exchanged whole or not at all.

use crate::world::{HOUR, START, World};
use std::collections::BTreeSet;
use tollkeep_store::{SEALED_BATCH, SealedCursor, SealedRecord, Store};
use tollkeep_types::WallMillis;

async fn plant(store: &Store, count: usize) {
    for number in 0..count {
        let (key, text) = (format!("secret.{number:05}"), format!("enc:v2:k1:{number}"));
        store.set_sealed_once(&key, &text).await.unwrap();
    }
}

async fn all(store: &Store) -> Vec<SealedRecord> {
    let (mut found, mut next) = (Vec::new(), Some(SealedCursor::default()));
    while let Some(from) = next {
        let (records, then) = store.sealed(from).await.unwrap();
        found.extend(records);
        next = then;
    }
    found
}

// ID-66
#[tokio::test]
async fn every_sealed_record_is_found_once_with_its_place_and_date() {
    let world = World::new().await;
    world
        .store
        .set_meta_once("plain", "no secret")
        .await
        .unwrap();
    let count = SEALED_BATCH + 3;
    plant(&world.store, count).await;
    let found = all(&world.store).await;
    let rows: BTreeSet<_> = found.iter().map(|record| &record.row).collect();
    assert_eq!((found.len(), rows.len()), (count, count));
    let tenant = world.store.default_tenant().id.to_string();
    assert_eq!(
        found[0],
        SealedRecord {
            tenant,
            table: "meta",
            row: "secret.00000".to_owned(),
            field: "value",
            sealed: "enc:v2:k1:0".to_owned(),
            sealed_at: Some(WallMillis(START)),
        }
    );
}

// ID-66
#[tokio::test]
async fn records_are_exchanged_batch_by_batch_or_all_at_once() {
    let world = World::new().await;
    let store = &world.store;
    plant(store, SEALED_BATCH + 3).await;
    world.pass(HOUR);
    let moved = |record: &SealedRecord| Some(record.sealed.replace(":k1:", ":k2:"));
    let (exchanged, next) = store.reseal(SealedCursor::default(), moved).await.unwrap();
    assert_eq!(exchanged, SEALED_BATCH as u64);
    let under = |records: &[SealedRecord], kek: &str| {
        let each = records.iter();
        each.filter(|record| record.sealed.contains(kek)).count()
    };
    assert_eq!(under(&all(store).await, ":k1:"), 3, "one batch and no more");
    let (exchanged, mut next) = store.reseal(next.unwrap(), moved).await.unwrap();
    assert_eq!(exchanged, 3);
    // Nothing is sealed in the tables behind.
    while let Some(from) = next {
        let (exchanged, further) = store.reseal(from, moved).await.unwrap();
        assert_eq!(exchanged, 0);
        next = further;
    }
    let found = all(store).await;
    assert_eq!(under(&found, ":k2:"), SEALED_BATCH + 3);
    let later = Some(WallMillis(START + HOUR));
    assert!(found.iter().all(|record| record.sealed_at == later));
    let back = |record: &SealedRecord| {
        let is_first = record.row == "secret.00000";
        is_first.then(|| "enc:v2:k3:x".to_owned())
    };
    assert_eq!(store.reseal_all(back).await, Ok(1), "what is left stays");
    let world = world.restart().await;
    assert_eq!(under(&all(&world.store).await, ":k2:"), SEALED_BATCH + 2);
}

// ID-66
#[tokio::test]
async fn of_two_processes_that_start_first_one_sets_the_sealed_fact() {
    let world = World::new().await;
    for text in ["enc:v2:k1:one", "enc:v2:k1:two"] {
        let kept = world.store.set_sealed_once("pepper", text).await;
        assert_eq!(kept, Ok("enc:v2:k1:one".to_owned()));
    }
}
