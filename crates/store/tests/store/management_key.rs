//! Management keys.

use crate::world::{DAY, SECOND, SERVICE, World, conflict, digest};
use tollkeep_store::{Conflict, NewManagementKey, Role};
use tollkeep_types::WallMillis;

fn key(world: &World, text: u8, role: Role) -> NewManagementKey {
    NewManagementKey {
        name: format!("key {text}"),
        role,
        digest: digest(text),
        pepper_id: "p1".to_owned(),
        hint: "mgt-AbCd****wXyZ".to_owned(),
        expires_at: WallMillis(world.store.now().0 + 90 * DAY),
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
    assert_eq!(world.store.management_keys(SERVICE).await, Ok(vec![made]));
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
            .touch_management_key(SERVICE, key.id)
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
