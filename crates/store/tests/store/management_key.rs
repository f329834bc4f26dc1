//! Management keys.

use crate::world::{DAY, HOUR, SECOND, SERVICE, World, conflict, digest, first, management_secret};
use tollkeep_store::{Conflict, KeyChange, LastOwner, ManagementKey, NewManagementKey, Role};
use tollkeep_types::WallMillis;

fn key(world: &World, text: u8, role: Role) -> NewManagementKey {
    NewManagementKey {
        name: format!("key {text}"),
        role,
        scopes: None,
        allowed_ips: Vec::new(),
        secret: management_secret(text),
        expires_at: WallMillis(world.store.now().0 + 90 * DAY),
        created_by: None,
    }
}

#[tokio::test]
async fn a_key_is_found_by_its_hash_until_it_expires() {
    let world = World::new().await;
    let new = key(&world, 1, Role::Owner);
    let made = world
        .store
        .create_management_key(SERVICE, new.clone())
        .await
        .unwrap();
    assert_eq!((made.role, made.tenant_id), (Role::Owner, None));
    let world = world.restart().await;
    let found = world.store.find_management_key(SERVICE, &digest(1)).await;
    assert_eq!(found, Ok(Some(made.clone())));
    assert_eq!(
        world.store.find_management_key(SERVICE, &digest(2)).await,
        Ok(None)
    );
    let twice = world.store.create_management_key(SERVICE, new).await;
    assert_eq!(conflict(twice), Conflict::TokenKnown);
    world.pass(90 * DAY);
    assert_eq!(
        world.store.find_management_key(SERVICE, &digest(1)).await,
        Ok(None)
    );
    let kept = world.store.management_keys(SERVICE, first(10)).await;
    assert_eq!(kept.unwrap().rows, vec![made]);
}

#[tokio::test]
async fn live_owners_are_counted() {
    let world = World::new().await;
    assert_eq!(world.store.count_live_owners(SERVICE).await, Ok(0));
    for (text, role) in [
        (1, Role::Owner),
        (2, Role::Owner),
        (3, Role::Admin),
        (4, Role::Operator),
        (5, Role::Viewer),
        (6, Role::TenantAdmin),
    ] {
        let made = world
            .store
            .create_management_key(SERVICE, key(&world, text, role))
            .await;
        assert_eq!(made.unwrap().role, role);
    }
    assert_eq!(world.store.count_live_owners(SERVICE).await, Ok(2));
    world.pass(90 * DAY);
    assert_eq!(world.store.count_live_owners(SERVICE).await, Ok(0));
}

#[tokio::test]
async fn the_last_use_is_kept_to_the_minute() {
    let world = World::new().await;
    let new = key(&world, 1, Role::Viewer);
    world
        .store
        .create_management_key(SERVICE, new)
        .await
        .unwrap();
    let used = async || {
        let key = world
            .store
            .find_management_key(SERVICE, &digest(1))
            .await
            .unwrap()
            .unwrap();
        world
            .store
            .touch_management_key(SERVICE, key.id, Some([192, 0, 2, 7].into()))
            .await
            .unwrap();
        let key = world
            .store
            .find_management_key(SERVICE, &digest(1))
            .await
            .unwrap()
            .unwrap();
        key.last_used_at.unwrap()
    };
    let first = used().await;
    assert_eq!(first, world.store.now());
    world.pass(59 * SECOND);
    assert_eq!(used().await, first);
    world.pass(SECOND);
    assert_eq!(used().await, world.store.now());
}

async fn made(world: &World, text: u8, role: Role) -> ManagementKey {
    let new = key(world, text, role);
    let made = world.store.create_management_key(SERVICE, new).await;
    made.unwrap()
}

async fn changed(
    world: &World,
    was: &ManagementKey,
    change: KeyChange,
) -> Result<ManagementKey, tollkeep_store::StoreError> {
    world
        .store
        .change_management_key(SERVICE, was.clone(), change, LastOwner::Stays)
        .await
}

// ID-52
#[tokio::test]
async fn after_a_rotation_both_texts_work_until_the_overlap_ends() {
    let world = World::new().await;
    let key = made(&world, 1, Role::Admin).await;
    let now = world.store.now();
    let rotate = KeyChange::Rotate {
        secret: management_secret(2),
        previous_ends_at: WallMillis(now.0 + HOUR),
        expires_at: WallMillis(now.0 + 90 * DAY),
    };
    let rotated = changed(&world, &key, rotate).await.unwrap();
    assert_eq!(rotated.id, key.id);
    let works = async |text| {
        let digest = digest(text);
        let found = world.store.find_management_key(SERVICE, &digest).await;
        found.unwrap().is_some()
    };
    assert!(works(1).await && works(2).await);
    world.pass(HOUR);
    assert!(!works(1).await && works(2).await);
    changed(&world, &rotated, KeyChange::Revoke).await.unwrap();
    assert!(!works(2).await);
    let again = changed(&world, &rotated, KeyChange::Revoke).await.unwrap();
    assert!(again.revoked_at.is_some(), "revoking twice changes nothing");
}

// ID-52
#[tokio::test]
async fn the_last_owner_stays_and_nobody_changes_what_they_did_not_see() {
    let world = World::new().await;
    let (first, second) = (
        made(&world, 1, Role::Owner).await,
        made(&world, 2, Role::Owner).await,
    );
    changed(&world, &second, KeyChange::Revoke).await.unwrap();
    let demoted = ManagementKey {
        role: Role::Viewer,
        ..first.clone()
    };
    for change in [KeyChange::Revoke, KeyChange::Settings(demoted)] {
        let refused = changed(&world, &first, change).await;
        assert_eq!(conflict(refused), Conflict::LastOwner);
    }
    let named = ManagementKey {
        name: "renamed".to_owned(),
        ..first.clone()
    };
    let after = changed(&world, &first, KeyChange::Settings(named.clone())).await;
    assert_eq!(after.unwrap(), named);
    let late = changed(&world, &first, KeyChange::Settings(named)).await;
    assert_eq!(conflict(late), Conflict::Changed);
}
