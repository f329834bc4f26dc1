//! Opening, closing, and who may.

use crate::world::{SERVICE, World, first, open};
use tollkeep_store::{OpenError, ProjectRef, StoreError};

// ID-2
#[tokio::test]
async fn first_start_makes_one_tenant_and_one_project() {
    let world = World::new().await;
    let tenant = world.store.default_tenant().clone();
    assert_eq!(tenant.slug, "default");
    let projects = world.store.projects(SERVICE, first(10)).await.unwrap();
    let [project] = projects.rows.as_slice() else {
        panic!("{projects:?}");
    };
    assert_eq!(
        (project.slug.as_str(), project.is_active),
        ("default", true)
    );
    assert_eq!(project.tenant_id, tenant.id);
    let world = world.restart().await;
    assert_eq!(world.store.default_tenant(), &tenant, "made once");
    let again = world.store.projects(SERVICE, first(10)).await.unwrap();
    assert_eq!(again, projects, "made once");
}

#[tokio::test]
async fn opening_again_and_again_changes_no_schema() {
    let mut world = World::new().await;
    let project = world.project().await;
    for _ in 0..3 {
        world = world.restart().await;
        let by_id = ProjectRef::Id(project.id);
        assert_eq!(
            world.store.project(SERVICE, by_id).await,
            Ok(project.clone())
        );
    }
}

#[tokio::test]
async fn a_database_of_a_newer_program_is_refused() {
    let world = World::new().await;
    world.store.close().await.unwrap();
    let (clock, home) = world.end();
    home.by_hand("INSERT INTO schema_migrations VALUES (9999, 'later', 0)")
        .await;
    let refused = open(&home, &clock).await.map(|_| ());
    assert!(
        matches!(refused, Err(OpenError::Newer { found: 9999, .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let world = World::new().await;
    world.store.ping().await.unwrap();
    world.store.close().await.unwrap();
    let refused = world.store.ping().await;
    assert!(
        matches!(refused, Err(StoreError::Unavailable(_))),
        "{refused:?}"
    );
}
