//! Changes that owe the audit log a record: the row is there if and only if the change is.

use crate::world::{SECOND, SERVICE, World};
use tollkeep_store::{NewProject, OwedRecord, Scope, Store};
use tollkeep_types::WallMillis;

const OWN: &str = "rep_1";

fn project(slug: &str) -> NewProject {
    NewProject {
        name: slug.to_owned(),
        slug: Some(slug.to_owned()),
        ..NewProject::default()
    }
}

/// What is owed, by acts before this moment.
async fn owed(store: &Store, replica: &str, any: WallMillis) -> Vec<String> {
    let found = store.audit_owed(replica, WallMillis::MAX, any).await;
    found.unwrap().into_iter().map(|one| one.act).collect()
}

// AUD-40
#[tokio::test]
async fn the_first_change_of_an_act_brings_its_row_and_a_refused_one_none() {
    let world = World::new().await;
    let store = &world.store;
    let nobody = WallMillis(0);
    let (acting, due) = store.owing("req_1", OWN, "{}".to_owned());
    assert_eq!(due.owed(), None, "nothing was changed");
    acting.create_project(SERVICE, project("a")).await.unwrap();
    acting.create_project(SERVICE, project("b")).await.unwrap();
    assert_eq!(due.owed(), Some(("req_1", false)));
    let at = store.now();
    let found = store
        .audit_owed(OWN, WallMillis::MAX, nobody)
        .await
        .unwrap();
    let row = OwedRecord {
        act: "req_1".to_owned(),
        at,
        told: "{}".to_owned(),
    };
    assert_eq!(found, [row]);
    due.is_recorded();
    assert_eq!(due.owed(), Some(("req_1", true)));

    let (refused, due) = store.owing("req_2", OWN, "{}".to_owned());
    let twice = refused.create_project(SERVICE, project("a")).await;
    assert!(twice.is_err());
    assert_eq!(due.owed(), None);
    let (tried, due) = store.owing("req_3", OWN, "{}".to_owned());
    let (tried, trial) = tried.trial();
    tried.create_project(SERVICE, project("c")).await.unwrap();
    trial.end().await;
    assert_eq!(due.owed(), None, "a trial changes nothing");
    let (late, due) = store.owing("req_4", OWN, "{}".to_owned());
    due.is_recorded();
    late.create_project(SERVICE, project("d")).await.unwrap();
    assert_eq!(due.owed(), None, "its record was there before");
    assert_eq!(owed(store, OWN, nobody).await, ["req_1"]);

    store
        .audit_recorded(vec!["req_1".to_owned(), "req_9".to_owned()])
        .await
        .unwrap();
    assert_eq!(owed(store, OWN, nobody).await, Vec::<String>::new());
}

// AUD-40
#[tokio::test]
async fn what_a_crash_leaves_is_found_by_its_replica_and_later_by_any() {
    let world = World::new().await;
    // A tenant's own change brings a row too, though it sees no such rows.
    let (acting, _) = world.store.owing("req_1", OWN, "{}".to_owned());
    let tenant = world.project().await.tenant_id;
    acting
        .create_project(Scope::Tenant(tenant), project("a"))
        .await
        .unwrap();
    drop(acting);
    let at = world.store.now();
    world.pass(SECOND);
    let (acting, _) = world.store.owing("req_2", "rep_2", "{}".to_owned());
    acting.create_project(SERVICE, project("b")).await.unwrap();
    drop(acting);
    let world = world.crash().await;
    let store = &world.store;
    assert_eq!(owed(store, OWN, at).await, ["req_1"]);
    assert_eq!(
        owed(store, "rep_2", at).await,
        ["req_2"],
        "not before that moment"
    );
    let later = WallMillis(at.0 + 1);
    assert_eq!(owed(store, "rep_3", later).await, ["req_1"]);
    assert_eq!(
        owed(store, "rep_3", WallMillis::MAX).await,
        ["req_1", "req_2"]
    );
}
