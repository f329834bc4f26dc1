//! What is true of a file alone.

use crate::world::{World, open};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use tollkeep_store::{OpenError, Place};

// OPS-105
#[tokio::test]
async fn a_second_process_is_refused_and_told_the_pid() {
    let world = World::new().await;
    let refused = open(&world.home, &world.clock).await.map(|_| ());
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
    let world = World::new().await;
    world.store.close().await.unwrap();
    let (clock, home) = world.end();
    let path = home.path();
    let garbage = vec![0x5a; 8192];
    fs::write(&path, &garbage).unwrap();
    let refused = open(&home, &clock).await.map(|_| ());
    assert!(
        matches!(refused, Err(OpenError::Damaged { .. })),
        "{refused:?}"
    );
    assert_eq!(fs::read(&path).unwrap(), garbage);
}

#[tokio::test]
async fn a_folder_that_can_not_be_made_is_told() {
    let world = World::new().await;
    let below_a_file = world.path().join("x.db");
    let refused = tollkeep_store::Store::open(
        &Place::Sqlite(below_a_file),
        &tollkeep_store::StoreOptions::default(),
        world.clock.clone(),
        std::sync::Arc::new(tollkeep_crypto::SystemEntropy),
    )
    .await
    .map(|_| ());
    assert!(matches!(refused, Err(OpenError::Io { .. })), "{refused:?}");
}
