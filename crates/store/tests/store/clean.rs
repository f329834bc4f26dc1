//! What time ends.

use crate::world::{DAY, HOUR, SERVICE, World, conflict, secret};
use tollkeep_store::{Cleaned, Conflict, NewToken, Rotation, StoreError, TokenState};
use tollkeep_types::WallMillis;

// ID-23 ID-32
#[tokio::test]
async fn an_expired_token_leaves_the_table_and_its_record_stays_ninety_days() {
    let world = World::new().await;
    let token = world.token(1).await;
    world.token(2).await;
    let nothing = world.store.clean().await.unwrap();
    assert_eq!(nothing, Cleaned::default());
    world.pass(DAY);
    let cleaned = world.store.clean().await.unwrap();
    assert_eq!(
        cleaned,
        Cleaned {
            expired: 2,
            swept: 2,
            ..Cleaned::default()
        }
    );
    let record = world.store.token(SERVICE, token.id).await.unwrap();
    assert_eq!(
        (record.state, record.ended_at),
        (TokenState::Active, token.expires_at)
    );
    assert_eq!(
        world.store.clean().await.unwrap(),
        Cleaned::default(),
        "twice changes nothing"
    );
    let again = world.new_token(1).await;
    assert_eq!(
        conflict(world.store.create_token(SERVICE, again).await),
        Conflict::TokenBlocked
    );
    world.pass(30 * DAY);
    let cleaned = world.store.clean().await.unwrap();
    assert_eq!(
        cleaned,
        Cleaned {
            unblocked: 2,
            ..Cleaned::default()
        }
    );
    let again = world.new_token(1).await;
    assert_eq!(
        conflict(world.store.create_token(SERVICE, again).await),
        Conflict::TokenKnown
    );
    world.pass(60 * DAY - 1);
    assert_eq!(world.store.clean().await.unwrap().purged, 0);
    world.pass(1);
    assert_eq!(world.store.clean().await.unwrap().purged, 2);
    assert_eq!(
        world.store.token(SERVICE, token.id).await,
        Err(StoreError::NotFound)
    );
}

// ID-23 ID-30
#[tokio::test]
async fn the_end_of_a_grace_is_recorded_as_a_revocation() {
    let world = World::new().await;
    let old = world.token(1).await;
    let to = Rotation {
        secret: secret(2),
        overlap_ms: HOUR,
        expires_at: None,
    };
    let rotated = world.store.rotate_token(SERVICE, old.id, to).await.unwrap();
    world.pass(3 * HOUR);
    let cleaned = world.store.clean().await.unwrap();
    assert_eq!(
        cleaned,
        Cleaned {
            rotated: 1,
            swept: 1,
            ..Cleaned::default()
        }
    );
    let record = world.store.token(SERVICE, old.id).await.unwrap();
    assert_eq!(record.state, TokenState::Revoked);
    assert_eq!(record.revoked_at, rotated.old.grace_ends_at);
    assert_eq!(record.revoked_reason.as_deref(), Some("rotated"));
    assert_eq!(record.replaced_by, Some(rotated.new.id));
    let again = world.new_token(1).await;
    assert_eq!(
        conflict(world.store.create_token(SERVICE, again).await),
        Conflict::TokenBlocked
    );
    world.pass(90 * DAY);
    assert_eq!(world.store.clean().await.unwrap().purged, 1);
    let successor = world.store.token(SERVICE, rotated.new.id).await.unwrap();
    assert_eq!(
        successor.lineage, old.lineage,
        "the lineage outlives the old token"
    );
}

// ID-32
#[tokio::test]
async fn an_eternal_token_stays_blocked_for_ever() {
    let world = World::new().await;
    let eternal = NewToken {
        expires_at: None,
        idle_ttl_ms: Some(HOUR),
        ..world.new_token(1).await
    };
    world.store.create_token(SERVICE, eternal).await.unwrap();
    world.pass(HOUR);
    assert_eq!(world.store.clean().await.unwrap().expired, 1);
    world.set_clock(WallMillis::MAX.0);
    assert_eq!(world.store.clean().await.unwrap().purged, 1);
    let again = world.new_token(1).await;
    assert_eq!(
        conflict(world.store.create_token(SERVICE, again).await),
        Conflict::TokenBlocked
    );
}

#[tokio::test]
async fn an_end_beyond_all_time_breaks_nothing() {
    let world = World::new().await;
    let new = NewToken {
        expires_at: Some(WallMillis(u64::MAX)),
        idle_ttl_ms: Some(u64::MAX),
        ..world.new_token(1).await
    };
    let token = world.store.create_token(SERVICE, new).await.unwrap();
    world.store.clean().await.unwrap();
    world
        .store
        .revoke_token(SERVICE, token.id, "x")
        .await
        .unwrap();
    world.set_clock(u64::MAX);
    world.store.clean().await.unwrap();
    world.restart().await;
}
