//! Opening, closing, and who may.

use crate::world::{SERVICE, World, first, open};
use std::fs;
use std::os::unix::fs::PermissionsExt;
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

// OPS-105
#[tokio::test]
async fn a_second_process_is_refused_and_told_the_pid() {
    let world = World::new().await;
    let refused = open(&world.folder, &world.clock).await.map(|_| ());
    let message = refused.unwrap_err().to_string();
    let want = format!("is in use by another process (pid {})", std::process::id());
    assert!(message.ends_with(&want), "{message}");
    world.restart().await;
}

#[tokio::test]
async fn only_the_owner_may_read_the_files() {
    let world = World::new().await;
    world.token(1).await;
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let folder = world.path().parent().unwrap().to_owned();
    assert_eq!(mode(&folder), 0o700);
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        names.push(path.file_name().unwrap().to_str().unwrap().to_owned());
    }
    names.sort();
    let want = [
        "tollkeep.db",
        "tollkeep.db-shm",
        "tollkeep.db-wal",
        "tollkeep.db.lock",
    ];
    assert_eq!(names, want);
}

// OPS-105
#[tokio::test]
async fn a_damaged_file_is_refused_and_left_alone() {
    let World {
        store,
        clock,
        folder,
    } = World::new().await;
    store.close().await.unwrap();
    drop(store);
    let path = folder.path().join("data/tollkeep.db");
    let garbage = vec![0x5a; 8192];
    fs::write(&path, &garbage).unwrap();
    let refused = open(&folder, &clock).await.map(|_| ());
    assert!(
        matches!(refused, Err(OpenError::Damaged { .. })),
        "{refused:?}"
    );
    assert_eq!(fs::read(&path).unwrap(), garbage);
}

#[tokio::test]
async fn a_file_of_a_newer_program_is_refused() {
    let World {
        store,
        clock,
        folder,
    } = World::new().await;
    store.close().await.unwrap();
    drop(store);
    crate::tenancy::by_hand(
        &folder.path().join("data/tollkeep.db"),
        "INSERT INTO schema_migrations VALUES (9999, 'later', 0)",
    )
    .await;
    let refused = open(&folder, &clock).await.map(|_| ());
    assert!(
        matches!(refused, Err(OpenError::Newer { found: 9999, .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_folder_that_can_not_be_made_is_told() {
    let world = World::new().await;
    let below_a_file = world.path().join("x.db");
    let refused = tollkeep_store::Store::open(
        &below_a_file,
        &tollkeep_store::StoreOptions::default(),
        world.clock.clone(),
        std::sync::Arc::new(tollkeep_crypto::SystemEntropy),
    )
    .await
    .map(|_| ());
    assert!(matches!(refused, Err(OpenError::Io { .. })), "{refused:?}");
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
