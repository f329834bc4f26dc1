//! Projects.

use crate::world::{SECOND, SERVICE, START, World, conflict, first};
use std::num::NonZeroU32;
use tollkeep_store::live::ProjectStanding;
use tollkeep_store::{
    After, CallLimits, Conflict, NewProject, PageRequest, ProjectRef, ProjectState, StoreError,
};
use tollkeep_types::{ProjectId, WallMillis};

fn named(name: &str) -> NewProject {
    NewProject {
        name: name.to_owned(),
        ..NewProject::default()
    }
}

// ID-1
#[tokio::test]
async fn a_project_is_found_by_id_and_by_slug() {
    let world = World::new().await;
    let limits = CallLimits {
        concurrency: NonZeroU32::new(7),
        ..CallLimits::default()
    };
    let new = NewProject {
        limits,
        ..named("Team A")
    };
    let made = world.store.create_project(SERVICE, new).await.unwrap();
    assert_eq!((made.slug.as_str(), made.limits), ("team-a", limits));
    assert_eq!((made.created_at, made.token_count), (WallMillis(START), 0));
    let id = made.id.to_string();
    for text in [id.as_str(), "team-a"] {
        let found = world.store.project(SERVICE, ProjectRef::of(text)).await;
        assert_eq!(found, Ok(made.clone()), "{text}");
    }
    let missing = ProjectId::from_bytes([9; 16]).to_string();
    for text in [missing.as_str(), "team-b", ""] {
        let found = world.store.project(SERVICE, ProjectRef::of(text)).await;
        assert_eq!(found, Err(StoreError::NotFound), "{text}");
    }
}

// ID-1
#[tokio::test]
async fn names_and_slugs_are_unique() {
    let world = World::new().await;
    world
        .store
        .create_project(SERVICE, named("Team A"))
        .await
        .unwrap();
    let twice = world.store.create_project(SERVICE, named("Team A")).await;
    assert_eq!(conflict(twice), Conflict::ProjectName);
    let same_slug = NewProject {
        slug: Some("team-a".to_owned()),
        ..named("Other")
    };
    let twice = world.store.create_project(SERVICE, same_slug).await;
    assert_eq!(conflict(twice), Conflict::ProjectSlug);
    for name in ["team a", "TEAM A!", "日本"] {
        let made = world
            .store
            .create_project(SERVICE, named(name))
            .await
            .unwrap();
        let found = world
            .store
            .project(SERVICE, ProjectRef::of(&made.slug))
            .await;
        assert_eq!(found, Ok(made), "a slug of its own for {name}");
    }
}

#[tokio::test]
async fn names_and_slugs_that_can_not_be_are_refused() {
    let world = World::new().await;
    let longest = "ä".repeat(200);
    world
        .store
        .create_project(SERVICE, named(&longest))
        .await
        .unwrap();
    for (name, new) in [
        ("empty name", named("")),
        ("long name", named(&"a".repeat(201))),
        ("control character", named("a\nb")),
        (
            "bad slug",
            NewProject {
                slug: Some("A b".to_owned()),
                ..named("x")
            },
        ),
        (
            "empty slug",
            NewProject {
                slug: Some(String::new()),
                ..named("x")
            },
        ),
    ] {
        let made = world.store.create_project(SERVICE, new).await;
        assert!(matches!(made, Err(StoreError::Invalid(_))), "{name}");
    }
}

#[tokio::test]
async fn switching_off_and_on_is_seen_at_once_and_kept() {
    let world = World::new().await;
    let token = world.token(1).await;
    let live = world.live(1).unwrap();
    assert_eq!(live.project.standing(), ProjectStanding::Active);
    world.pass(SECOND);
    let switch = async |state| {
        let id = token.project_id;
        world
            .store
            .set_project_state(SERVICE, id, state)
            .await
            .unwrap()
    };
    let off = switch(ProjectState::Inactive).await;
    assert_eq!(live.project.standing(), ProjectStanding::Inactive);
    assert_eq!(off.deactivated_at, Some(WallMillis(START + SECOND)));
    assert_eq!(off.updated_at, WallMillis(START + SECOND));
    world.pass(SECOND);
    assert_eq!(
        switch(ProjectState::Inactive).await,
        off,
        "twice changes nothing"
    );
    let on = switch(ProjectState::Active).await;
    assert_eq!(live.project.standing(), ProjectStanding::Active);
    assert_eq!((on.is_active, on.deactivated_at), (true, None));
    switch(ProjectState::Inactive).await;
    let world = world.restart().await;
    assert_eq!(
        world.live(1).unwrap().project.standing(),
        ProjectStanding::Inactive
    );
    let missing = ProjectId::from_bytes([9; 16]);
    let none = world
        .store
        .set_project_state(SERVICE, missing, ProjectState::Active)
        .await;
    assert_eq!(none, Err(StoreError::NotFound));
}

#[tokio::test]
async fn lists_are_newest_first_and_stable_while_rows_are_added() {
    let world = World::new().await;
    for at in 0..7 {
        // Two of each millisecond: the id decides between them.
        world.pass(at % 2);
        let name = format!("p{at}");
        world
            .store
            .create_project(SERVICE, named(&name))
            .await
            .unwrap();
    }
    let all = world.store.projects(SERVICE, first(1000)).await.unwrap();
    assert_eq!((all.rows.len(), all.more), (8, false));
    assert!(
        all.rows
            .is_sorted_by_key(|row| std::cmp::Reverse((row.created_at, row.id)))
    );
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = PageRequest { limit: 3, after };
        let part = world.store.projects(SERVICE, page).await.unwrap();
        let last = part.rows.last().unwrap();
        after = Some(After {
            created_at: last.created_at,
            id: last.id,
        });
        seen.extend(part.rows);
        if !part.more {
            break;
        }
        world.pass(1);
        let name = format!("late {}", seen.len());
        world
            .store
            .create_project(SERVICE, named(&name))
            .await
            .unwrap();
    }
    assert_eq!(seen, all.rows);
    for limit in [0, 1] {
        let part = world.store.projects(SERVICE, first(limit)).await.unwrap();
        assert_eq!((part.rows.len(), part.more), (1, true), "{limit}");
    }
}
