//! Service tokens: which secret opens which door, and when.

use crate::world::{DAY, HOUR, SECOND, SERVICE, World, conflict, digest};
use tollkeep_store::{
    Conflict, Door, NewServiceToken, Scope, ServiceRotation, ServiceSecret, ServiceToken,
    StoreError,
};
use tollkeep_types::{ServiceTokenId, TenantId, WallMillis};

fn secret(text: u8) -> ServiceSecret {
    ServiceSecret {
        digest: digest(text),
        pepper_id: "p1".to_owned(),
        hint: "svs-AbCd****wXyZ".to_owned(),
    }
}

async fn made(world: &World, text: u8, door: Door, ttl: Option<u64>) -> ServiceToken {
    let now = world.store.now().0;
    let new = NewServiceToken {
        name: format!("token {text}"),
        door,
        secret: secret(text),
        expires_at: ttl.map(|ttl| WallMillis(now + ttl)),
    };
    world
        .store
        .create_service_token(SERVICE, new)
        .await
        .unwrap()
}

fn rotation(text: u8, overlap_ms: u64) -> ServiceRotation {
    ServiceRotation {
        secret: secret(text),
        overlap_ms,
        expires_at: None,
    }
}

fn opens(world: &World, door: Door, id: ServiceTokenId, text: u8) -> bool {
    let live = world.store.live().service_tokens();
    live.admits(door, Some(id), &digest(text), world.store.now())
}

// EDGE-125
#[tokio::test]
async fn a_secret_opens_its_own_door_with_its_own_id() {
    let world = World::new().await;
    let data = made(&world, 1, Door::Data, None).await;
    let management = made(&world, 2, Door::Management, None).await;
    for world in [world] {
        let world = world.restart().await;
        for (name, door, id, text, want) in [
            ("its own", Door::Data, data.id, 1, true),
            ("the other's own", Door::Management, management.id, 2, true),
            ("another door", Door::Management, data.id, 1, false),
            ("the other's secret", Door::Data, data.id, 2, false),
            ("no secret of anybody", Door::Data, data.id, 3, false),
            (
                "an unknown id",
                Door::Data,
                ServiceTokenId::from_bytes([0; 16]),
                1,
                false,
            ),
        ] {
            assert_eq!(opens(&world, door, id, text), want, "{name}");
        }
        let live = world.store.live().service_tokens();
        assert!(!live.admits(Door::Data, None, &digest(1), world.store.now()));
        // What unknown ids are compared with opens nothing.
        assert!(!live.admits(Door::Data, None, &digest(0), world.store.now()));
    }
}

// EDGE-125
#[tokio::test]
async fn an_unknown_id_with_the_empty_hash_stays_outside() {
    let world = World::new().await;
    let zero = tollkeep_types::TokenHash::from_bytes([0; 32]);
    let live = world.store.live().service_tokens();
    let unknown = Some(ServiceTokenId::from_bytes([0; 16]));
    assert!(!live.admits(Door::Data, unknown, &zero, WallMillis(0)));
    let token = made(&world, 1, Door::Data, None).await;
    assert!(!live.admits(Door::Data, Some(token.id), &zero, WallMillis(0)));
}

// EDGE-125
#[tokio::test]
async fn after_a_rotation_both_secrets_hold_for_the_overlap() {
    let world = World::new().await;
    let token = made(&world, 1, Door::Data, Some(30 * DAY)).await;
    let rotated = world
        .store
        .rotate_service_token(SERVICE, token.id, rotation(2, HOUR))
        .await
        .unwrap();
    assert_eq!(rotated.expires_at, token.expires_at);
    let both = |world: &World| [1, 2].map(|text| opens(world, Door::Data, token.id, text));
    assert_eq!(both(&world), [true, true]);
    let world = world.crash().await;
    world.pass(HOUR - SECOND);
    assert_eq!(both(&world), [true, true]);
    world.pass(SECOND);
    assert_eq!(both(&world), [false, true]);
    // The second rotation drops what is left of the first one's overlap.
    for text in [3, 4] {
        let rotated = world
            .store
            .rotate_service_token(SERVICE, token.id, rotation(text, HOUR))
            .await;
        rotated.unwrap();
    }
    let which = [1, 2, 3, 4].map(|text| opens(&world, Door::Data, token.id, text));
    assert_eq!(which, [false, false, true, true]);
    let at_once = world
        .store
        .rotate_service_token(SERVICE, token.id, rotation(5, 0))
        .await
        .unwrap();
    assert_eq!(at_once.previous, None);
    assert!(!opens(&world, Door::Data, token.id, 4));
}

// EDGE-125
#[tokio::test]
async fn what_expired_or_was_revoked_opens_nothing_and_is_not_rotated() {
    let world = World::new().await;
    let short = made(&world, 1, Door::Data, Some(DAY)).await;
    let revoked = made(&world, 2, Door::Data, None).await;
    let rotated = world
        .store
        .rotate_service_token(SERVICE, revoked.id, rotation(3, DAY))
        .await;
    rotated.unwrap();
    let first = world.store.revoke_service_token(SERVICE, revoked.id).await;
    world.pass(DAY);
    let again = world.store.revoke_service_token(SERVICE, revoked.id).await;
    assert_eq!(first, again, "once is for good");
    assert!(!opens(&world, Door::Data, short.id, 1), "expired");
    for text in [2, 3] {
        assert!(
            !opens(&world, Door::Data, revoked.id, text),
            "revoked {text}"
        );
    }
    for id in [short.id, revoked.id] {
        let rotated = world
            .store
            .rotate_service_token(SERVICE, id, rotation(9, 0))
            .await;
        assert_eq!(conflict(rotated), Conflict::TokenNotActive);
    }
    let world = world.restart().await;
    assert!(!opens(&world, Door::Data, revoked.id, 3));
    // Records of the ended go after 90 days, when there is need for room.
    assert_eq!(world.store.service_tokens(SERVICE).await.unwrap().len(), 2);
    world.pass(91 * DAY);
    let new = made(&world, 4, Door::Data, None).await;
    assert_eq!(world.store.service_tokens(SERVICE).await, Ok(vec![new]));
}

// EDGE-125
#[tokio::test]
async fn they_belong_to_the_deployment_and_not_to_a_tenant() {
    let world = World::new().await;
    let token = made(&world, 1, Door::Data, None).await;
    let tenant = Scope::Tenant(TenantId::from_bytes([7; 16]));
    assert_eq!(world.store.service_tokens(tenant).await, Ok(Vec::new()));
    let store = &world.store;
    let rotated = store
        .rotate_service_token(tenant, token.id, rotation(2, 0))
        .await;
    assert_eq!(rotated, Err(StoreError::NotFound));
    let revoked = store.revoke_service_token(tenant, token.id).await;
    assert_eq!(revoked, Err(StoreError::NotFound));
    let nobody = ServiceTokenId::from_bytes([1; 16]);
    let missing = store.revoke_service_token(SERVICE, nobody).await;
    assert_eq!(missing, Err(StoreError::NotFound));
    let twice = NewServiceToken {
        name: String::new(),
        door: Door::Data,
        secret: secret(1),
        expires_at: None,
    };
    let twice = store.create_service_token(SERVICE, twice).await;
    assert_eq!(conflict(twice), Conflict::TokenKnown);
}
