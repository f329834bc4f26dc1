//! What operators change of tenants, projects and tokens, and what calls see of it.

use crate::tenancy::{TENANT_B, two_tenants};
use crate::world::{HOUR, SERVICE, World, conflict, first, secret};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use tollkeep_policy::call_policy::CallPolicy;
use tollkeep_store::live::{Change, Cut, ProjectStanding};
use tollkeep_store::{
    Bindings, CallLimits, Conflict, NewProject, NewTenant, NewToken, Permission, ProjectChange,
    ProjectRef, Rotation, Scope, Standing, StoreError, TenantChange, TenantStatus, TokenChange,
    TokenState,
};

fn policy(written: &Value) -> Arc<CallPolicy> {
    Arc::new(serde_json::from_value(written.clone()).unwrap())
}

fn models(glob: &str) -> Arc<CallPolicy> {
    policy(&json!({ "allowed_models": [glob] }))
}

fn a_second(requests: u32) -> CallLimits {
    CallLimits {
        requests_per_second: NonZeroU32::new(requests),
        ..CallLimits::default()
    }
}

/// The globs of the policies that bind a token, from tenant to token.
fn bound_by(world: &World, text: u8) -> Vec<String> {
    let mut policies = Vec::new();
    world.live(text).unwrap().policies(&mut policies);
    let globs = |policy: &Arc<CallPolicy>| policy.written().allowed_models.clone();
    policies.iter().filter_map(globs).flatten().collect()
}

// ID-90
#[tokio::test]
async fn every_member_of_a_token_can_be_changed_and_is_in_force_at_once() {
    let world = World::new().await;
    let token = world.token(1).await;
    let metadata = BTreeMap::from([("team".to_owned(), "a".to_owned())]);
    let change = TokenChange {
        name: Some("other".to_owned()),
        owner: Some("alice".to_owned()),
        idle_ttl_ms: Some(Some(HOUR)),
        limits: Some(a_second(3)),
        bindings: Some(Bindings {
            models: vec!["gpt-*".to_owned()],
            ..Bindings::default()
        }),
        policy: Some(Some(models("gpt-4*"))),
        permissions: Some(vec![Permission::UsageRead]),
        metadata: Some(metadata.clone()),
        ..TokenChange::default()
    };
    let changed = world.store.change_token(SERVICE, token.id, change).await;
    let changed = changed.unwrap();
    assert_eq!(
        (changed.owner.as_str(), &changed.metadata),
        ("alice", &metadata)
    );
    assert_eq!(changed.permissions, [Permission::UsageRead]);
    let live = world.live(1).unwrap();
    assert_eq!(
        (live.limits(), &live.bindings),
        (a_second(3), &changed.bindings)
    );
    assert_eq!(bound_by(&world, 1), ["gpt-4*"]);
    let world = world.restart().await;
    assert_eq!(world.store.token(SERVICE, token.id).await, Ok(changed));
    assert_eq!(bound_by(&world, 1), ["gpt-4*"]);
    assert_eq!(world.live(1).unwrap().limits(), a_second(3));
    world.pass(HOUR);
    assert_eq!(
        world.standing(1),
        Some(Standing::Expired),
        "idle for too long"
    );
}

// ID-90
#[tokio::test]
async fn what_is_taken_away_is_gone_and_the_rest_stays() {
    let world = World::new().await;
    let token = world.token(1).await;
    let given = TokenChange {
        idle_ttl_ms: Some(Some(HOUR)),
        policy: Some(Some(models("gpt-4*"))),
        limits: Some(a_second(3)),
        ..TokenChange::default()
    };
    world
        .store
        .change_token(SERVICE, token.id, given)
        .await
        .unwrap();
    let taken = TokenChange {
        idle_ttl_ms: Some(None),
        policy: Some(None),
        ..TokenChange::default()
    };
    let token = world
        .store
        .change_token(SERVICE, token.id, taken)
        .await
        .unwrap();
    assert_eq!((token.policy, token.idle_ttl_ms), (None, None));
    assert_eq!(token.limits, a_second(3));
    assert_eq!(bound_by(&world, 1), Vec::<String>::new());
}

// ID-30 ID-90
#[tokio::test]
async fn a_successor_has_the_policy_and_permissions_of_its_predecessor() {
    let world = World::new().await;
    let token = world.token(1).await;
    let change = TokenChange {
        policy: Some(Some(models("gpt-4*"))),
        permissions: Some(vec![Permission::DebugRouting]),
        ..TokenChange::default()
    };
    world
        .store
        .change_token(SERVICE, token.id, change)
        .await
        .unwrap();
    let rotation = Rotation {
        secret: secret(2),
        overlap_ms: HOUR,
        expires_at: token.expires_at,
    };
    let rotated = world.store.rotate_token(SERVICE, token.id, rotation).await;
    assert_eq!(rotated.unwrap().new.permissions, [Permission::DebugRouting]);
    assert_eq!(bound_by(&world, 2), ["gpt-4*"]);
}

// ID-34
#[tokio::test]
async fn a_stream_that_began_before_a_change_ends_with_the_token() {
    let world = World::new().await;
    let token = world.token(1).await;
    let held = world.live(1).unwrap();
    for rate in 1..4 {
        let change = TokenChange {
            limits: Some(a_second(rate)),
            ..TokenChange::default()
        };
        world
            .store
            .change_token(SERVICE, token.id, change)
            .await
            .unwrap();
    }
    assert!(!Arc::ptr_eq(&held, &world.live(1).unwrap()));
    assert!(!held.is_cut());
    let cut = Cut::Token(token.id, token.secret.digest);
    world.store.live().apply(Change::Cut(cut));
    assert!(held.is_cut() && world.live(1).unwrap().is_cut());
}

// ID-3 ID-90
#[tokio::test]
async fn limits_and_policies_of_project_and_tenant_reach_tokens_that_are_in_use() {
    let world = World::new().await;
    world.token(1).await;
    let (project, tenant) = (world.project().await, world.store.default_tenant().id);
    let of_tenant = TenantChange {
        limits: Some(CallLimits {
            concurrency: NonZeroU32::new(5),
            ..a_second(9)
        }),
        policy: Some(Some(models("t*"))),
        metadata: Some(BTreeMap::from([("a".to_owned(), "b".to_owned())])),
        name: Some("renamed".to_owned()),
        slug: None,
    };
    let changed = world.store.change_tenant(tenant, of_tenant).await.unwrap();
    assert_eq!(changed.name, "renamed");
    let of_project = ProjectChange {
        limits: Some(a_second(7)),
        policy: Some(Some(models("p*"))),
        slug: Some("renamed".to_owned()),
        ..ProjectChange::default()
    };
    let changed = world
        .store
        .change_project(SERVICE, project.id, of_project)
        .await;
    assert_eq!(changed.unwrap().slug, "renamed");
    let want = CallLimits {
        concurrency: NonZeroU32::new(5),
        ..a_second(7)
    };
    assert_eq!(world.live(1).unwrap().limits(), want);
    assert_eq!(bound_by(&world, 1), ["t*", "p*"]);
    let world = world.restart().await;
    assert_eq!(world.live(1).unwrap().limits(), want);
    assert_eq!(bound_by(&world, 1), ["t*", "p*"]);
    let plain = TenantChange {
        limits: Some(CallLimits::default()),
        policy: Some(None),
        ..TenantChange::default()
    };
    world.store.change_tenant(tenant, plain).await.unwrap();
    assert_eq!(world.live(1).unwrap().limits(), a_second(7));
    assert_eq!(bound_by(&world, 1), ["p*"]);
}

// ID-4 ID-90
#[tokio::test]
async fn a_project_made_later_has_what_its_tenant_says() {
    let world = World::new().await;
    let new = NewTenant {
        name: "later".to_owned(),
        policy: Some(models("t*")),
        limits: a_second(2),
        ..NewTenant::default()
    };
    let tenant = world.store.create_tenant(new).await.unwrap();
    let scope = Scope::Tenant(tenant.id);
    let project = NewProject {
        name: "p".to_owned(),
        ..NewProject::default()
    };
    let project = world.store.create_project(scope, project).await.unwrap();
    let token = NewToken {
        project_id: project.id,
        ..world.new_token(1).await
    };
    world.store.create_token(scope, token).await.unwrap();
    assert_eq!(bound_by(&world, 1), ["t*"]);
    assert_eq!(world.live(1).unwrap().limits(), a_second(2));
    let suspended = world
        .store
        .set_tenant_status(tenant.id, TenantStatus::Suspended)
        .await;
    assert_eq!(suspended.unwrap().limits, a_second(2));
    let standing = world.live(1).unwrap().project.standing();
    assert_eq!(standing, ProjectStanding::TenantSuspended);
    assert_eq!(
        bound_by(&world, 1),
        ["t*"],
        "suspended, and bound as before"
    );
}

// ID-33 ID-90
#[tokio::test]
async fn what_a_tenant_no_longer_says_is_gone_when_everything_is_read_anew() {
    let world = World::new().await;
    let token = world.token(1).await;
    let tenant = world.store.default_tenant().id;
    let given = TenantChange {
        limits: Some(a_second(2)),
        policy: Some(Some(models("t*"))),
        ..TenantChange::default()
    };
    let changed = world.store.change_tenant(tenant, given).await.unwrap();
    let (live, project) = (world.store.live(), world.project().await);
    let tokens = [token];
    live.replace((&[], std::slice::from_ref(&project)), &tokens, &[]);
    assert_eq!(bound_by(&world, 1), Vec::<String>::new());
    assert_eq!(world.live(1).unwrap().limits(), CallLimits::default());
    live.replace((&[changed], &[project]), &tokens, &[]);
    assert_eq!(bound_by(&world, 1), ["t*"]);
    assert_eq!(world.live(1).unwrap().limits(), a_second(2));
}

// ID-3
#[tokio::test]
async fn a_deleted_project_is_found_by_nothing_and_its_tokens_are_revoked() {
    let world = World::new().await;
    let token = world.token(1).await;
    let project = world.project().await;
    let token_of_it = world.new_token(3).await;
    let stranger = Scope::Tenant(TENANT_B);
    let foreign = world.store.delete_project(stranger, project.id).await;
    assert_eq!(foreign, Err(StoreError::NotFound));
    let deleted = world
        .store
        .delete_project(SERVICE, project.id)
        .await
        .unwrap();
    let tokens = deleted.tokens;
    assert_eq!((tokens.revoked.len(), tokens.total), (1, 1));
    assert_eq!(world.standing(1), Some(Standing::Revoked));
    for name in [ProjectRef::Id(project.id), ProjectRef::Slug("default")] {
        let found = world.store.project(SERVICE, name).await;
        assert_eq!(found, Err(StoreError::NotFound));
    }
    assert_eq!(
        world.store.projects(SERVICE, first(9)).await.unwrap().rows,
        []
    );
    let again = world.store.delete_project(SERVICE, project.id).await;
    assert_eq!(again, Err(StoreError::NotFound));
    let change = ProjectChange {
        name: Some("back".to_owned()),
        ..ProjectChange::default()
    };
    let changed = world
        .store
        .change_project(SERVICE, project.id, change)
        .await;
    assert_eq!(changed, Err(StoreError::NotFound));
    let made = world.store.create_token(SERVICE, token_of_it).await;
    assert_eq!(made, Err(StoreError::NotFound));
    let kept = world.store.token(SERVICE, token.id).await.unwrap();
    assert_eq!(
        (kept.state, kept.revoked_reason.as_deref()),
        (TokenState::Revoked, Some("the project was deleted"))
    );
    let same_name = NewProject {
        name: "default".to_owned(),
        slug: Some("default".to_owned()),
        ..NewProject::default()
    };
    let same_name = world
        .store
        .create_project(SERVICE, same_name)
        .await
        .unwrap();
    assert_ne!(same_name.id, project.id);
    let world = world.restart().await;
    assert!(world.live(1).is_none());
}

// ID-4
#[tokio::test]
async fn the_tokens_of_a_deleted_tenant_are_revoked_in_their_records() {
    let (world, _, scope_b) = two_tenants(World::new().await).await;
    let project = NewProject {
        name: "p".to_owned(),
        ..NewProject::default()
    };
    let project = world.store.create_project(scope_b, project).await.unwrap();
    let new = NewToken {
        project_id: project.id,
        ..world.new_token(1).await
    };
    let token = world
        .store
        .create_token(scope_b, new.clone())
        .await
        .unwrap();
    let deleted = world
        .store
        .set_tenant_status(TENANT_B, TenantStatus::Deleted)
        .await;
    assert_eq!(deleted.unwrap().status, TenantStatus::Deleted);
    let kept = world.store.token(SERVICE, token.id).await.unwrap();
    assert_eq!(
        (kept.state, kept.revoked_reason.as_deref()),
        (TokenState::Revoked, Some("the tenant was deleted"))
    );
    let back = NewToken {
        project_id: world.project().await.id,
        ..new
    };
    let back = world.store.create_token(SERVICE, back).await;
    assert_eq!(conflict(back), Conflict::TokenBlocked);
}

// ID-1
#[tokio::test]
async fn slugs_can_be_changed_and_stay_unique() {
    let (world, _, _) = two_tenants(World::new().await).await;
    let slug = |slug: &str| TenantChange {
        slug: Some(slug.to_owned()),
        ..TenantChange::default()
    };
    let other = TENANT_B;
    let changed = world
        .store
        .change_tenant(other, slug("other"))
        .await
        .unwrap();
    assert_eq!(changed.slug, "other");
    let taken = world.store.change_tenant(other, slug("default")).await;
    assert_eq!(conflict(taken), Conflict::TenantSlug);
    let bad = world.store.change_tenant(other, slug("A b")).await;
    assert!(matches!(bad, Err(StoreError::Invalid(_))), "{bad:?}");
    let default = world.store.default_tenant().id;
    let moved = world.store.change_tenant(default, slug("moved")).await;
    assert_eq!(conflict(moved), Conflict::TenantDefault);
    let project = world.project().await;
    let bad = ProjectChange {
        slug: Some("-".to_owned()),
        ..ProjectChange::default()
    };
    let bad = world.store.change_project(SERVICE, project.id, bad).await;
    assert!(matches!(bad, Err(StoreError::Invalid(_))), "{bad:?}");
}
