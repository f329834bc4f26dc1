//! Changes that are tried, and changes of what is as expected.

use crate::world::{SERVICE, World, conflict, first};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tollkeep_store::{
    CallLimits, Check, Conflict, NewProject, NewTenant, ProjectChange, ProjectRef, Scope, Standing,
    StoreError, Suspender, Switch, TenantChange, TokenChange,
};

fn named(name: &str) -> NewProject {
    NewProject {
        name: name.to_owned(),
        ..NewProject::default()
    }
}

// ID-105
#[tokio::test]
async fn what_is_tried_is_seen_by_who_tries_it_and_by_nobody_else() {
    let world = World::new().await;
    let token = world.token(1).await;
    let (tried, trial) = world.store.trial();
    let project = tried.create_project(SERVICE, named("tried")).await.unwrap();
    let other = TokenChange {
        name: Some("other".to_owned()),
        ..TokenChange::default()
    };
    tried.change_token(SERVICE, token.id, other).await.unwrap();
    let by = Suspender {
        by: "test".to_owned(),
        reason: "a trial".to_owned(),
    };
    tried
        .switch_token(SERVICE, token.id, Switch::Off(by))
        .await
        .unwrap();
    let seen = tried.token(SERVICE, token.id).await.unwrap();
    assert_eq!(seen.name, "other");
    assert_eq!(seen.standing(world.store.now()), Standing::Suspended);
    let seen = tried.projects(SERVICE, first(10)).await.unwrap();
    assert_eq!(seen.rows.len(), 2);
    // One that is refused leaves the others as they are.
    assert_eq!(
        conflict(tried.create_project(SERVICE, named("tried")).await),
        Conflict::ProjectName
    );
    let again = tried.project(SERVICE, ProjectRef::Id(project.id)).await;
    assert_eq!(again.unwrap().name, "tried");
    // Those who only read are not held up, and see what is there.
    assert_eq!(world.store.token(SERVICE, token.id).await.unwrap(), token);
    assert_eq!(world.standing(1), Some(Standing::Live));
    trial.end().await;
    let left = world.store.projects(SERVICE, first(10)).await.unwrap();
    assert_eq!(left.rows.len(), 1);
    let late = tried.create_project(SERVICE, named("late")).await;
    assert!(matches!(late, Err(StoreError::Unavailable(_))), "{late:?}");
    let made = world.store.create_project(SERVICE, named("tried")).await;
    assert_eq!(made.unwrap().name, "tried", "the turn is free");
    drop(tried);
    let world = world.restart().await;
    assert_eq!(world.store.token(SERVICE, token.id).await.unwrap(), token);
}

// ID-105
#[tokio::test]
async fn a_trial_may_be_about_several_tenants() {
    let world = World::new().await;
    let new = NewTenant {
        name: "a".to_owned(),
        slug: None,
        limits: CallLimits::default(),
        policy: None,
        metadata: BTreeMap::new(),
    };
    let a = world.store.create_tenant(new).await.unwrap();
    let (tried, trial) = world.store.trial();
    let renamed = TenantChange {
        name: Some("b".to_owned()),
        ..TenantChange::default()
    };
    tried.change_tenant(a.id, renamed).await.unwrap();
    let own = Scope::Tenant(a.id);
    tried.create_project(own, named("of a")).await.unwrap();
    let ours = Scope::Tenant(world.store.default_tenant().id);
    tried.create_project(ours, named("ours")).await.unwrap();
    let seen = tried.projects(own, first(10)).await.unwrap();
    assert_eq!(seen.rows.len(), 1);
    drop((tried, trial));
    let left = world.store.projects(SERVICE, first(10)).await.unwrap();
    assert_eq!(left.rows.len(), 1, "given up is undone too");
    let made = world.store.create_project(own, named("of a")).await;
    made.unwrap();
}

// ID-105
#[tokio::test]
async fn a_change_is_made_to_what_is_as_expected_within_its_own_transaction() {
    let world = World::new().await;
    let project = world.project().await;
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let (id, name) = (project.id, project.name.clone());
    let check: Check = Arc::new(move |store| {
        let (counted, name) = (Arc::clone(&counted), name.clone());
        Box::pin(async move {
            counted.fetch_add(1, Ordering::Relaxed);
            let found = store.project(SERVICE, ProjectRef::Id(id)).await;
            found.is_ok_and(|project| project.name == name)
        })
    });
    let change = |name: &str| ProjectChange {
        name: Some(name.to_owned()),
        ..ProjectChange::default()
    };
    let expecting = world.store.expecting(Arc::clone(&check));
    let first = expecting.change_project(SERVICE, id, change("b")).await;
    assert_eq!(first.unwrap().name, "b");
    let second = expecting.change_project(SERVICE, id, change("c")).await;
    assert_eq!(second.unwrap().name, "c", "its own changes are expected");
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    let expecting = world.store.expecting(check);
    let refused = expecting.change_project(SERVICE, id, change("d")).await;
    assert_eq!(conflict(refused), Conflict::Unexpected);
    assert_eq!(
        world
            .store
            .project(SERVICE, ProjectRef::Id(id))
            .await
            .unwrap()
            .name,
        "c"
    );
    let plain = world.store.change_project(SERVICE, id, change("e")).await;
    plain.unwrap();
}
