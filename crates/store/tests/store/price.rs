//! Prices that operators write, and tables that they take in: kept, and shown everywhere.

use crate::world::{World, follow, open};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Barrier;
use tollkeep_store::{Conflict, KeptTable, Store, StoreError};
use tollkeep_types::WallMillis;

fn table(name: char) -> KeptTable {
    KeptTable {
        sha256: name.to_string().repeat(64),
        version: format!("2027-01-01.{name}"),
        document: format!("{{\"{name}\":\"\u{e4}\n\"}}"),
        imported_at: WallMillis(0),
    }
}

// LED-34 LED-35
#[tokio::test]
async fn prices_are_kept_and_the_last_table_that_was_taken_in_is_in_use() {
    let world = World::new().await;
    let store = &world.store;
    assert_eq!(*store.prices(), tollkeep_store::KeptPrices::default());
    for (id, document) in [("b", "{}"), ("a", "{\"x\":1}"), ("b", "{\"y\":2}")] {
        let put = store
            .put_price(id.to_owned(), document.to_owned(), |_| false)
            .await;
        assert_eq!(put.unwrap().document, document);
    }
    for name in ['a', 'b', 'a'] {
        store.use_price_table(Some(table(name))).await.unwrap();
        let kept = store.prices();
        let kept = kept.table.as_ref().unwrap();
        assert_eq!(kept.document, table(name).document);
    }
    let world = world.restart().await;
    let kept = world.store.prices();
    let ids: Vec<_> = kept
        .overrides
        .iter()
        .map(|one| (&*one.id, &*one.document))
        .collect();
    assert_eq!(ids, [("a", "{\"x\":1}"), ("b", "{\"y\":2}")]);
    assert_eq!(kept.table.as_ref().unwrap().version, "2027-01-01.a");
    world.store.use_price_table(None).await.unwrap();
    world.store.delete_price("a".to_owned()).await.unwrap();
    let again = world.store.delete_price("a".to_owned()).await;
    assert_eq!(again, Err(StoreError::NotFound));
    let kept = world.store.prices();
    assert_eq!((kept.overrides.len(), kept.table.is_none()), (1, true));
}

/// Sixteen write the same under names of their own at the same moment: those who could.
async fn at_once(stores: &[&Store]) -> Vec<String> {
    let start = Arc::new(Barrier::new(16));
    let tries = (0..16).zip(stores.iter().cycle()).map(|(number, store)| {
        let (store, start) = (Store::clone(store), Arc::clone(&start));
        tokio::spawn(async move {
            start.wait().await;
            let same = |other: &str| other == "same";
            let put = store.put_price(format!("p{number}"), "same".to_owned(), same);
            put.await
        })
    });
    let tries: Vec<_> = tries.collect();
    let mut written = Vec::new();
    for one in tries {
        match one.await.unwrap() {
            Ok(put) => written.push(put.id),
            Err(error) => assert_eq!(error, StoreError::Conflict(Conflict::PriceKnown)),
        }
    }
    written
}

// LED-34
#[tokio::test]
async fn of_several_who_write_the_same_at_once_one_does() {
    let world = World::new().await;
    let written = at_once(&[&world.store]).await;
    assert_eq!(written.len(), 1, "{written:?}");
    let kept = world.store.prices();
    let ids: Vec<_> = kept.overrides.iter().map(|one| one.id.clone()).collect();
    assert_eq!(ids, written);
    // Whoever has it may write it anew, and it is free again once it is taken away.
    let same = |other: &str| other == "same";
    let again = world
        .store
        .put_price(written[0].clone(), "same".to_owned(), same);
    again.await.unwrap();
    world.store.delete_price(written[0].clone()).await.unwrap();
    let other = world
        .store
        .put_price("other".to_owned(), "same".to_owned(), same);
    other.await.unwrap();
}

// LED-34
#[tokio::test]
#[ignore = "needs PostgreSQL: `make test`"]
async fn of_several_who_write_the_same_at_once_on_several_replicas_one_does() {
    let world = World::on_server().await;
    let other = open(&world.home, &world.clock).await.unwrap();
    let written = at_once(&[&world.store, &other]).await;
    assert_eq!(written.len(), 1, "{written:?}");
}

// LED-34
#[tokio::test]
#[ignore = "needs PostgreSQL: `make test`"]
async fn a_price_that_one_replica_writes_the_other_has() {
    let world = World::on_server().await;
    let other = open(&world.home, &world.clock).await.unwrap();
    let following = follow(&other);
    let put = world
        .store
        .put_price("a".to_owned(), "{}".to_owned(), |_| false);
    put.await.unwrap();
    for _ in 0..300 {
        if !other.prices().overrides.is_empty() {
            following.abort();
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never shown");
}

/// Refuses every write of a price that the server would acknowledge before it is on disk.
const ON_DISK: &str = "CREATE FUNCTION on_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF current_setting('synchronous_commit') NOT IN ('on', 'remote_apply') THEN
      RAISE EXCEPTION 'acknowledged too early';
    END IF;
    RETURN NEW;
  END $$;
  CREATE TRIGGER on_disk BEFORE INSERT ON price_overrides
    FOR EACH ROW EXECUTE FUNCTION on_disk();";

// LED-71
#[tokio::test]
#[ignore = "needs PostgreSQL: `make test`"]
async fn what_is_acknowledged_is_on_disk_whatever_the_server_is_content_with() {
    for (wanted, keeps) in [
        ("off", "on"),
        ("local", "on"),
        ("remote_apply", "remote_apply"),
    ] {
        let world = World::on_server().await;
        let crate::world::Home::Server(server) = &world.home else {
            panic!("it is on a server");
        };
        server
            .run(ON_DISK.replace("'on', 'remote_apply'", &format!("'{keeps}'")))
            .await;
        let set = format!(
            "ALTER DATABASE {} SET synchronous_commit = {wanted}",
            server.name
        );
        server.run(set).await;
        // Connections that are made from here on begin with that.
        let other = open(&world.home, &world.clock).await.unwrap();
        let put = other.put_price("a".to_owned(), "{}".to_owned(), |_| false);
        assert!(put.await.is_ok(), "{wanted}");
    }
}
