//! The live table and the counts on their way to disk.

use crate::world::{HOUR, SECOND, SERVICE, World, grants, secret};
use std::sync::Arc;
use tokio::sync::Barrier;
use tollkeep_store::{NewToken, Rotation, Standing};
use tollkeep_types::WallMillis;

// ID-20
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_callers_get_exactly_ten_calls_and_none_after_a_restart() {
    let world = World::new().await;
    let token = world.limited_token(1, 10).await;
    let now = world.store.now();
    let barrier = Arc::new(Barrier::new(100));
    let callers: Vec<_> = (0..100)
        .map(|_| {
            let (store, barrier) = (world.store.clone(), Arc::clone(&barrier));
            tokio::spawn(async move {
                let token = store.live().find(&crate::world::digest(1)).unwrap();
                barrier.wait().await;
                usize::from(grants(&store, &token).await)
            })
        })
        .collect();
    let mut granted = 0;
    for caller in callers {
        granted += caller.await.unwrap();
    }
    assert_eq!(granted, 10);
    let world = world.restart().await;
    let record = world.store.token(SERVICE, token.id).await.unwrap();
    assert_eq!((record.request_count, record.last_used_at), (10, Some(now)));
    assert!(!grants(&world.store, &world.live(1).unwrap()).await);
}

#[tokio::test]
async fn counts_are_flushed_once_and_refunds_too() {
    let world = World::new().await;
    let token = world.token(1).await;
    let live = world.live(1).unwrap();
    let count = async || {
        world
            .store
            .token(SERVICE, token.id)
            .await
            .unwrap()
            .request_count
    };
    for _ in 0..3 {
        assert!(live.try_grant(world.store.now()).is_granted());
    }
    assert_eq!(world.store.flush_usage().await, Ok(1));
    assert_eq!(count().await, 3);
    assert_eq!(world.store.flush_usage().await, Ok(0), "nothing new");
    live.refund();
    assert_eq!(world.store.flush_usage().await, Ok(1));
    assert_eq!(count().await, 2);
    assert_eq!(live.lineage.granted(), 2);
}

#[tokio::test]
async fn a_flush_that_fails_loses_no_count() {
    let world = World::new().await;
    world.token(1).await;
    let live = world.live(1).unwrap();
    assert!(live.try_grant(world.store.now()).is_granted());
    let batch = world.store.live().take_usage();
    assert_eq!(batch.rows().len(), 1);
    drop(batch);
    assert_eq!(world.store.flush_usage().await, Ok(1));
    world.store.close().await.unwrap();
    assert!(live.try_grant(world.store.now()).is_granted());
    assert!(world.store.flush_usage().await.is_err());
    assert_eq!(
        world.store.live().take_usage().rows().len(),
        1,
        "still there"
    );
}

#[tokio::test]
async fn a_call_that_outlives_its_token_is_counted() {
    let world = World::new().await;
    let token = world.token(1).await;
    let held = world.live(1).unwrap();
    world
        .store
        .revoke_token(SERVICE, token.id, "x")
        .await
        .unwrap();
    assert_eq!(world.store.live().sweep(world.store.now()), 1);
    assert_eq!(world.store.flush_usage().await, Ok(0));
    assert!(held.try_grant(world.store.now()).is_granted());
    drop(held);
    assert_eq!(world.store.flush_usage().await, Ok(1));
    assert_eq!(world.store.flush_usage().await, Ok(0));
    let record = world.store.token(SERVICE, token.id).await.unwrap();
    assert_eq!(record.request_count, 1);
}

// ID-23
#[tokio::test]
async fn sweeping_drops_what_ended_and_nothing_else() {
    let world = World::new().await;
    let short = NewToken {
        expires_at: Some(WallMillis(world.store.now().0 + HOUR)),
        ..world.new_token(1).await
    };
    world.store.create_token(SERVICE, short).await.unwrap();
    world.token(2).await;
    let eternal = NewToken {
        expires_at: None,
        ..world.new_token(3).await
    };
    world.store.create_token(SERVICE, eternal).await.unwrap();
    let revoked = world.token(4).await;
    world
        .store
        .revoke_token(SERVICE, revoked.id, "x")
        .await
        .unwrap();
    assert_eq!(world.store.live().len(), 4);
    assert_eq!(world.store.live().sweep(world.store.now()), 1);
    world.pass(HOUR);
    assert_eq!(world.standing(1), Some(Standing::Expired));
    assert_eq!(world.store.live().sweep(world.store.now()), 1);
    assert_eq!(world.store.live().sweep(world.store.now()), 0);
    let found = [1, 2, 3, 4].map(|text| world.standing(text));
    assert_eq!(
        found,
        [None, Some(Standing::Live), Some(Standing::Live), None]
    );
}

#[tokio::test]
async fn a_token_used_in_time_does_not_idle_out() {
    let world = World::new().await;
    let idle = NewToken {
        idle_ttl_ms: Some(HOUR),
        ..world.new_token(1).await
    };
    world.store.create_token(SERVICE, idle).await.unwrap();
    let mut world = world;
    for _ in 0..3 {
        world.pass(HOUR - SECOND);
        assert!(
            world
                .live(1)
                .unwrap()
                .try_grant(world.store.now())
                .is_granted()
        );
        assert_eq!(world.store.clean().await.unwrap().expired, 0);
        world = world.restart().await;
    }
    world.pass(HOUR);
    assert_eq!(world.standing(1), Some(Standing::Expired));
    let cleaned = world.store.clean().await.unwrap();
    assert_eq!((cleaned.expired, cleaned.swept), (1, 1));
    let world = world.restart().await;
    assert_eq!(world.standing(1), None);
}

/// Readers never see a gap while other tokens come and go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn finding_goes_on_while_the_table_changes() {
    let world = World::new().await;
    world.token(1).await;
    let live = Arc::clone(world.store.live());
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let reader = std::thread::spawn(move || {
        let mut found = 0_u64;
        while matches!(
            stopped.try_recv(),
            Err(std::sync::mpsc::TryRecvError::Empty)
        ) {
            assert!(live.find(&crate::world::digest(1)).is_some());
            found += 1;
        }
        found
    });
    for round in 0..20 {
        // Same first byte as the token that is looked for, so the same part of the table.
        let mut bytes = [1; 32];
        bytes[31] = 100 + round;
        let mut new = world.new_token(2).await;
        new.secret.digest = tollkeep_types::TokenHash::from_bytes(bytes);
        let token = world.store.create_token(SERVICE, new).await.unwrap();
        let to = Rotation {
            secret: secret(50 + round),
            overlap_ms: 0,
            expires_at: None,
        };
        world
            .store
            .rotate_token(SERVICE, token.id, to)
            .await
            .unwrap();
        world.store.live().sweep(world.store.now());
    }
    stop.send(()).unwrap();
    assert!(reader.join().unwrap() > 0);
    assert_eq!(world.store.live().len(), 21);
}
