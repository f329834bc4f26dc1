//! Credentials: kept sealed, found by their secret, seen by their tenant.

use crate::world::{SECOND, SERVICE, World};
use std::num::NonZeroU32;
use tollkeep_crypto::SystemEntropy;
use tollkeep_store::{
    CallLimits, Credential, CredentialFilter, CredentialModel, CredentialRest, CredentialRules,
    CredentialUse, GivenUrl, NewCredential, PageRequest, PutCredential, Scope, SealedSecret,
    StoreError,
};
use tollkeep_types::{CredentialId, TokenHash, WallMillis};

/// What is kept of a secret whose hash is of this byte.
pub(crate) fn sealed(byte: u8) -> SealedSecret {
    SealedSecret {
        sealed: format!("enc:v2:k1:wrapped-{byte}:payload"),
        digest: TokenHash::from_bytes([byte; 32]),
        pepper_id: "1".to_owned(),
        hint: "sk-A****".to_owned(),
        origin: "https://api.example:443".to_owned(),
    }
}

pub(crate) fn new(world: &World, byte: u8) -> NewCredential {
    NewCredential {
        id: CredentialId::new(world.clock.as_ref(), &SystemEntropy),
        tenant_id: world.store.default_tenant().id,
        project_id: None,
        provider: "openai".to_owned(),
        secret: sealed(byte),
        file: None,
        rules: CredentialRules::default(),
    }
}

pub(crate) async fn put(world: &World, new: NewCredential) -> PutCredential {
    let put = world
        .store
        .put_credential(SERVICE, new, |_| Some(sealed(9)));
    put.await.unwrap()
}

async fn made(world: &World, byte: u8) -> Credential {
    match put(world, new(world, byte)).await {
        PutCredential::Made(credential) => credential,
        PutCredential::Resealed(credential) => panic!("{credential:?} was there"),
    }
}

fn in_use(world: &World) -> Vec<CredentialId> {
    let list = world.store.credentials_in_use();
    list.iter().map(|credential| credential.id).collect()
}

// ID-70
#[tokio::test]
async fn a_secret_is_kept_once_in_one_place_and_sealed_anew_by_the_same_again() {
    let world = World::new().await;
    let one = made(&world, 1).await;
    world.pass(SECOND);
    let again = NewCredential {
        secret: SealedSecret {
            digest: sealed(1).digest,
            ..sealed(8)
        },
        ..new(&world, 1)
    };
    let reseal = |id: CredentialId| {
        let text = format!("enc:v2:k1:{id}:again");
        Some(SealedSecret {
            sealed: text,
            ..sealed(1)
        })
    };
    let put = world.store.put_credential(SERVICE, again, reseal).await;
    let Ok(PutCredential::Resealed(again)) = put else {
        panic!("{put:?}");
    };
    assert_eq!(again.id, one.id);
    assert_eq!(again.secret.sealed, format!("enc:v2:k1:{}:again", one.id));
    assert!(again.sealed_at > one.sealed_at && again.created_at == one.created_at);
    let of_other = NewCredential {
        provider: "anthropic".to_owned(),
        ..new(&world, 1)
    };
    let other = put_made(&world, of_other).await;
    let project = world.project().await.id;
    world.pass(1);
    let of_project = NewCredential {
        project_id: Some(project),
        ..new(&world, 1)
    };
    let own = put_made(&world, of_project).await;
    assert_eq!(in_use(&world), [one.id, other.id, own.id]);
    let world = world.restart().await;
    assert_eq!(in_use(&world), [one.id, other.id, own.id]);
    let filter = CredentialFilter {
        project_id: Some(project),
        ..CredentialFilter::default()
    };
    let listed = world.store.credentials_like(SERVICE, filter).await.unwrap();
    assert_eq!(listed, [own]);
}

async fn put_made(world: &World, new: NewCredential) -> Credential {
    match put(world, new).await {
        PutCredential::Made(credential) => credential,
        PutCredential::Resealed(credential) => panic!("{credential:?} was there"),
    }
}

// ID-70
#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one member after the other")]
async fn what_is_changed_is_kept_and_shown() {
    let world = World::new().await;
    let store = &world.store;
    let one = made(&world, 1).await;
    let rules = CredentialRules {
        label: "main".to_owned(),
        models: vec![CredentialModel {
            name: "gpt-4o".to_owned(),
            alias: Some("fast".to_owned()),
        }],
        headers: [("openai-organization".to_owned(), "org-1".to_owned())].into(),
        excluded_models: vec!["o3*".to_owned()],
        priority: -7,
        weight: 0,
        is_disabled: true,
        base_url: Some(GivenUrl {
            url: "https://own.example/v1".to_owned(),
            by_tenant: true,
        }),
        egress_proxy: Some(GivenUrl {
            url: "https://proxy.example".to_owned(),
            by_tenant: false,
        }),
        prefix: Some("team".to_owned()),
        limits: CallLimits {
            requests_per_minute: NonZeroU32::new(5),
            ..CallLimits::default()
        },
    };
    let changed = store
        .set_credential_rules(SERVICE, one.id, rules.clone())
        .await
        .unwrap();
    assert_eq!(changed.rules, rules);
    let rest = CredentialRest {
        since: WallMillis(5),
        until: WallMillis(9),
        reason: Some("tired".to_owned()),
    };
    let rested = store.rest_credential(SERVICE, one.id, rest.clone()).await;
    assert_eq!(rested.unwrap().rest, Some(rest));
    let recovered = store.recover_credential(SERVICE, one.id).await.unwrap();
    assert_eq!(
        (recovered.rest, recovered.recovered_at),
        (None, Some(store.now()))
    );
    made(&world, 2).await;
    let taken = store.reseal_credential(SERVICE, one.id, sealed(2)).await;
    assert!(matches!(taken, Err(StoreError::Conflict(_))), "{taken:?}");
    let sealed = store
        .reseal_credential(SERVICE, one.id, sealed(3))
        .await
        .unwrap();
    assert_eq!(sealed.rules, rules);
    let error = Some(("auth".to_owned(), WallMillis(8)));
    for (used_at, error) in [(7, error), (6, None)] {
        let used_at = WallMillis(used_at);
        let id = one.id;
        let used = CredentialUse { id, used_at, error };
        store.note_credential_uses(vec![used]).await.unwrap();
    }
    let found = store.credential(SERVICE, one.id).await.unwrap();
    assert_eq!(found.last_used_at, Some(WallMillis(7)), "never earlier");
    assert_eq!(found.last_error_code.as_deref(), Some("auth"));
    let world = world.restart().await;
    let store = &world.store;
    assert_eq!(store.credential(SERVICE, one.id).await, Ok(found));
    let gone = store
        .delete_credentials(SERVICE, vec![one.id, one.id])
        .await;
    assert_eq!(gone, Ok(vec![one.id]));
    assert_eq!(in_use(&world).len(), 1);
    assert_eq!(
        store.credential(SERVICE, one.id).await,
        Err(StoreError::NotFound)
    );
}

// ID-70 ID-80
#[tokio::test]
async fn a_tenant_has_no_hand_on_the_credentials_of_another() {
    let (world, a, b) = crate::tenancy::two_tenants(World::new().await).await;
    let store = &world.store;
    let one = made(&world, 1).await;
    assert_eq!(
        store.credential(a, one.id).await.map(|one| one.id),
        Ok(one.id)
    );
    let foreign = b;
    assert_eq!(
        store.credential(foreign, one.id).await,
        Err(StoreError::NotFound)
    );
    let rules = CredentialRules::default();
    let changed = store.set_credential_rules(foreign, one.id, rules).await;
    assert_eq!(changed, Err(StoreError::NotFound));
    let sealed = store.reseal_credential(foreign, one.id, sealed(4)).await;
    assert_eq!(sealed, Err(StoreError::NotFound));
    let recovered = store.recover_credential(foreign, one.id).await;
    assert_eq!(recovered, Err(StoreError::NotFound));
    assert_eq!(
        store.delete_credentials(foreign, vec![one.id]).await,
        Ok(vec![])
    );
    let page = PageRequest {
        limit: 10,
        after: None,
    };
    let filter = CredentialFilter::default();
    let listed = store
        .credentials(foreign, filter.clone(), page)
        .await
        .unwrap();
    assert_eq!(listed.rows, []);
    let Scope::Tenant(tenant_id) = foreign else {
        panic!("a tenant");
    };
    let same = NewCredential {
        tenant_id,
        ..new(&world, 1)
    };
    let put = store.put_credential(foreign, same, |_| None).await;
    assert!(
        matches!(put, Ok(PutCredential::Made(_))),
        "another's secret is unknown: {put:?}"
    );
    let page = PageRequest {
        limit: 10,
        after: None,
    };
    assert_eq!(
        store
            .credentials(foreign, filter, page)
            .await
            .unwrap()
            .rows
            .len(),
        1
    );
    assert_eq!(store.credentials_in_use().len(), 2);
}

// ID-3
#[tokio::test]
async fn a_deleted_project_takes_its_own_credentials_along_and_no_others() {
    let world = World::new().await;
    let project = world.project().await;
    let shared = made(&world, 1).await;
    let own = NewCredential {
        project_id: Some(project.id),
        ..new(&world, 2)
    };
    let own_id = own.id;
    put(&world, own).await;
    assert_eq!(in_use(&world).len(), 2);
    let deleted = world.store.delete_project(SERVICE, project.id).await;
    assert_eq!(deleted.unwrap().credentials, [own_id]);
    assert_eq!(in_use(&world), [shared.id]);
    let found = world.store.credential(SERVICE, own_id).await;
    assert_eq!(found, Err(StoreError::NotFound));
}
