//! Management keys.

use crate::world::{DAY, HOUR, SECOND, SERVICE, World, conflict, digest, first, management_secret};
use tollkeep_store::{
    Conflict, KeyChange, LastOwner, ManagementKey, NewManagementKey, NewTenant, Role, Scope,
    StoreError, TenantStatus,
};
use tollkeep_types::WallMillis;

fn key(world: &World, text: u8, role: Role) -> NewManagementKey {
    NewManagementKey {
        operator_id: None,
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
    let kept = world.store.management_keys(SERVICE, None, first(10)).await;
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
) -> Result<ManagementKey, StoreError> {
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

// ID-52
#[tokio::test]
async fn an_owner_that_is_narrow_or_ends_soon_does_not_keep_the_last_one_from_staying() {
    let world = World::new().await;
    let whole = key(&world, 1, Role::Owner);
    let at = |text, expires_at: u64| NewManagementKey {
        expires_at: WallMillis(world.store.now().0 + expires_at),
        ..key(&world, text, Role::Owner)
    };
    let narrow = NewManagementKey {
        scopes: Some(vec!["token:list".to_owned()]),
        ..key(&world, 2, Role::Owner)
    };
    let elsewhere = NewManagementKey {
        allowed_ips: vec!["192.0.2.0/24".parse().unwrap()],
        ..key(&world, 3, Role::Owner)
    };
    for new in [narrow, elsewhere, at(4, DAY)] {
        let made = world.store.create_management_key(SERVICE, new).await;
        assert_eq!(made.unwrap().role, Role::Owner);
    }
    assert_eq!(world.store.count_live_owners(SERVICE).await, Ok(0));
    let made = world.store.create_management_key(SERVICE, whole).await;
    let last = made.unwrap();
    assert_eq!(world.store.count_live_owners(SERVICE).await, Ok(1));
    let soon = WallMillis(world.store.now().0 + DAY);
    let settings = |change: fn(&mut ManagementKey)| {
        let mut wanted = last.clone();
        change(&mut wanted);
        KeyChange::Settings(wanted)
    };
    let shorter = ManagementKey {
        expires_at: soon,
        ..last.clone()
    };
    for (name, change) in [
        ("ended", KeyChange::Revoke),
        (
            "scoped",
            settings(|key| key.scopes = Some(vec!["*:*".to_owned()])),
        ),
        (
            "kept to addresses",
            settings(|key| key.allowed_ips = vec!["192.0.2.7/32".parse().unwrap()]),
        ),
        ("shortened", KeyChange::Settings(shorter)),
        (
            "rotated to a short end",
            KeyChange::Rotate {
                secret: management_secret(9),
                previous_ends_at: soon,
                expires_at: soon,
            },
        ),
    ] {
        let refused = changed(&world, &last, change).await;
        assert_eq!(conflict(refused), Conflict::LastOwner, "{name}");
    }
    let second = made_until(&world, at(5, DAY + 1)).await;
    changed(&world, &last, KeyChange::Revoke).await.unwrap();
    // In its last day it may still be renamed, and not be ended.
    world.pass(HOUR);
    let refused = changed(&world, &second, KeyChange::Revoke).await;
    assert_eq!(conflict(refused), Conflict::LastOwner);
    let named = ManagementKey {
        name: "renamed".to_owned(),
        ..second.clone()
    };
    let after = changed(&world, &second, KeyChange::Settings(named)).await;
    assert_eq!(after.unwrap().name, "renamed");
}

async fn made_until(world: &World, new: NewManagementKey) -> ManagementKey {
    let made = world.store.create_management_key(SERVICE, new).await;
    made.unwrap()
}

// ID-52
#[tokio::test]
async fn a_rotation_does_not_prolong_the_text_before() {
    let world = World::new().await;
    let now = world.store.now();
    let ends_at = WallMillis(now.0 + HOUR);
    let new = NewManagementKey {
        expires_at: ends_at,
        ..key(&world, 1, Role::Admin)
    };
    let key = made_until(&world, new).await;
    let rotate = KeyChange::Rotate {
        secret: management_secret(2),
        previous_ends_at: WallMillis(now.0 + 30 * DAY),
        expires_at: WallMillis(now.0 + 90 * DAY),
    };
    let rotated = changed(&world, &key, rotate).await.unwrap();
    assert_eq!(rotated.previous_ends_at, Some(ends_at));
    world.pass(HOUR);
    let old = world.store.find_management_key(SERVICE, &digest(1)).await;
    assert_eq!(old, Ok(None));
    let new = world.store.find_management_key(SERVICE, &digest(2)).await;
    assert!(new.unwrap().is_some());
}

async fn tenant(world: &World, slug: &str) -> Scope {
    let new = NewTenant {
        name: slug.to_owned(),
        slug: Some(slug.to_owned()),
        ..NewTenant::default()
    };
    Scope::Tenant(world.store.create_tenant(new).await.unwrap().id)
}

// ID-52
#[tokio::test]
async fn a_tenant_uses_up_its_own_keys_and_nobody_elses() {
    let world = World::new().await;
    let (a, b) = (tenant(&world, "a").await, tenant(&world, "b").await);
    let create = async |scope, text| {
        let new = key(&world, text, Role::Viewer);
        world.store.create_management_key(scope, new).await
    };
    let first = create(a, 0).await.unwrap();
    for text in 1..200 {
        create(a, text).await.unwrap();
    }
    assert_eq!(conflict(create(a, 200).await), Conflict::ManagementKeysFull);
    create(b, 201).await.unwrap();
    create(SERVICE, 202).await.unwrap();
    let ended = world
        .store
        .change_management_key(a, first, KeyChange::Revoke, LastOwner::Stays)
        .await;
    ended.unwrap();
    create(a, 203).await.unwrap();
    assert_eq!(conflict(create(a, 204).await), Conflict::ManagementKeysFull);
}

// ID-52
#[tokio::test]
async fn the_record_of_an_ended_key_stays_ninety_days() {
    let world = World::new().await;
    let revoked = made(&world, 1, Role::Viewer).await;
    let expiring = made(&world, 2, Role::Viewer).await;
    let long = NewManagementKey {
        expires_at: WallMillis(world.store.now().0 + 365 * DAY),
        ..key(&world, 3, Role::Viewer)
    };
    let long = made_until(&world, long).await;
    changed(&world, &revoked, KeyChange::Revoke).await.unwrap();
    let is_there = async |key: &ManagementKey| {
        let found = world.store.management_key(SERVICE, key.id).await;
        found != Err(StoreError::NotFound)
    };
    let purged = async || world.store.clean().await.unwrap().purged_keys;
    world.pass(90 * DAY - 1);
    assert_eq!(purged().await, 0);
    world.pass(1);
    assert_eq!(purged().await, 1);
    assert!(!is_there(&revoked).await && is_there(&expiring).await);
    world.pass(90 * DAY - 1);
    assert_eq!(purged().await, 0);
    world.pass(1);
    assert_eq!(purged().await, 1);
    assert!(!is_there(&expiring).await && is_there(&long).await);
}

// ID-52
#[tokio::test]
async fn a_deleted_tenant_has_no_keys() {
    let world = World::new().await;
    let scope = tenant(&world, "a").await;
    let Scope::Tenant(id) = scope else {
        panic!("{scope:?}");
    };
    let create = async |text| {
        let new = key(&world, text, Role::TenantAdmin);
        world.store.create_management_key(scope, new).await
    };
    let works = async || {
        let found = world.store.find_management_key(SERVICE, &digest(1)).await;
        found.unwrap().is_some()
    };
    create(1).await.unwrap();
    let set = async |status| world.store.set_tenant_status(id, status).await.unwrap();
    set(TenantStatus::Suspended).await;
    assert!(works().await, "to read");
    set(TenantStatus::Deleted).await;
    assert!(!works().await);
    assert_eq!(conflict(create(2).await), Conflict::TenantDeleted);
    // As one that was made while the tenant was being deleted.
    let revive = "UPDATE management_keys SET state = 'active', revoked_at = NULL";
    world.home.by_hand(revive).await;
    assert!(!works().await);
}
