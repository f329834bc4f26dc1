//! What one tenant sees of another: nothing.

use crate::world::{HOUR, SERVICE, World, digest, first, management_secret, secret};
use tollkeep_store::live::ProjectStanding;
use tollkeep_store::{
    NewManagementKey, NewProject, NewToken, ProjectRef, ProjectState, Role, Rotation, Scope,
    StoreError, TokenFilter,
};
use tollkeep_types::{TenantId, WallMillis};

pub(crate) const TENANT_B: TenantId = TenantId::from_bytes([0xbb; 16]);

pub(crate) async fn two_tenants(world: World) -> (World, Scope, Scope) {
    let tenant = "INSERT INTO tenants (id, slug, name, created_at)
      VALUES ('ten_bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb', 'b', 'b', 0)";
    world.home.by_hand(tenant).await;
    let a = Scope::Tenant(world.store.default_tenant().id);
    (world, a, Scope::Tenant(TENANT_B))
}

// ID-80
#[tokio::test]
async fn a_foreign_id_is_as_missing_as_one_that_does_not_exist() {
    let (world, a, b) = two_tenants(World::new().await).await;
    let token = world.token(1).await;
    let store = &world.store;
    let project = token.project_id;
    let to = || Rotation {
        secret: secret(2),
        overlap_ms: HOUR,
        expires_at: None,
    };
    let new = NewToken {
        secret: secret(3),
        ..world.new_token(3).await
    };
    let missing = Err(StoreError::NotFound);
    assert_eq!(
        store.project(b, ProjectRef::Id(project)).await.map(|_| ()),
        missing
    );
    assert_eq!(
        store
            .project(b, ProjectRef::Slug("default"))
            .await
            .map(|_| ()),
        missing
    );
    let switched = store
        .set_project_state(b, project, ProjectState::Inactive)
        .await;
    assert_eq!(switched.map(|_| ()), missing);
    assert_eq!(store.token(b, token.id).await.map(|_| ()), missing);
    assert_eq!(store.create_token(b, new).await.map(|_| ()), missing);
    assert_eq!(
        store.revoke_token(b, token.id, "x").await.map(|_| ()),
        missing
    );
    assert_eq!(
        store.rotate_token(b, token.id, to()).await.map(|_| ()),
        missing
    );
    assert_eq!(
        store.token(a, token.id).await,
        Ok(token.clone()),
        "nothing was changed"
    );
    assert_eq!(
        world.live(1).unwrap().project.standing(),
        ProjectStanding::Active
    );
    store.rotate_token(a, token.id, to()).await.unwrap();
}

// ID-80
#[tokio::test]
async fn lists_hold_the_rows_of_one_tenant() {
    let (world, a, b) = two_tenants(World::new().await).await;
    let store = &world.store;
    world.token(1).await;
    let new = NewProject {
        name: "default".to_owned(),
        ..NewProject::default()
    };
    let project = store.create_project(b, new).await.unwrap();
    assert_eq!(
        (project.tenant_id, project.slug.as_str()),
        (TENANT_B, "default")
    );
    let new = NewToken {
        project_id: project.id,
        ..world.new_token(2).await
    };
    let token = store.create_token(b, new).await.unwrap();
    assert_eq!(token.tenant_id, TENANT_B);
    for (name, scope, want) in [("a", a, 1), ("b", b, 1), ("service", SERVICE, 2)] {
        let projects = store.projects(scope, first(10)).await.unwrap();
        assert_eq!(projects.rows.len(), want, "projects of {name}");
        let tokens = store
            .tokens(scope, TokenFilter::default(), first(10))
            .await
            .unwrap();
        assert_eq!(tokens.rows.len(), want, "tokens of {name}");
    }
    let by_slug = store
        .project(SERVICE, ProjectRef::Slug("default"))
        .await
        .unwrap();
    assert_ne!(
        by_slug.tenant_id, TENANT_B,
        "the gateway means the default tenant"
    );
}

// ID-80
#[tokio::test]
async fn keys_of_a_tenant_are_its_own() {
    let (world, a, b) = two_tenants(World::new().await).await;
    let store = &world.store;
    let key = |text| NewManagementKey {
        operator_id: None,
        name: "k".to_owned(),
        role: Role::Owner,
        scopes: None,
        allowed_ips: Vec::new(),
        secret: management_secret(text),
        expires_at: WallMillis::MAX,
        created_by: None,
    };
    store.create_management_key(SERVICE, key(1)).await.unwrap();
    let made = store.create_management_key(b, key(2)).await.unwrap();
    assert_eq!(made.tenant_id, Some(TENANT_B));
    for (name, scope, want) in [("a", a, 0), ("b", b, 1), ("service", SERVICE, 2)] {
        assert_eq!(
            store
                .management_keys(scope, None, first(10))
                .await
                .unwrap()
                .rows
                .len(),
            want,
            "{name}"
        );
        assert_eq!(
            store.count_live_owners(scope).await,
            Ok(want as u64),
            "{name}"
        );
        let found = store.find_management_key(scope, &digest(2)).await.unwrap();
        assert_eq!(found.is_some(), name != "a", "{name}");
    }
}

#[tokio::test]
async fn a_tenant_that_does_not_exist_owns_nothing() {
    let world = World::new().await;
    let nobody = Scope::Tenant(TENANT_B);
    let new = NewProject {
        name: "x".to_owned(),
        ..NewProject::default()
    };
    let made = world.store.create_project(nobody, new).await;
    assert_eq!(made, Err(StoreError::NotFound));
}
