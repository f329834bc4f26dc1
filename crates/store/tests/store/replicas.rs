//! Two stores on one database: what one of them changes, the other shows.

use crate::world::{HOUR, SERVICE, World, open, secret};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;
use tollkeep_store::live::{LiveToken, ProjectStanding};
use tollkeep_store::{
    IpListName, MaintenanceOn, NewIpEntry, NewProject, NewTenant, NewToken, ProjectState, Rotation,
    Scope, Standing, Store, TenantStatus,
};

/// A store on the same database, which follows.
struct Other {
    store: Store,
    following: tokio::task::JoinHandle<()>,
}

impl Other {
    async fn of(world: &World) -> Self {
        let store = open(&world.home, &world.clock).await.unwrap();
        let follower = store.clone();
        let following = tokio::spawn(async move { follower.follow(|| ()).await });
        Self { store, following }
    }

    async fn shows<T>(&self, what: &str, is_there: impl Fn(&Store) -> Option<T>) -> T {
        for _ in 0..300 {
            if let Some(there) = is_there(&self.store) {
                return there;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("never shown: {what}");
    }

    async fn stands(&self, text: u8, want: Standing) -> Arc<LiveToken> {
        let is = |store: &Store| {
            let found = store.live().find(&crate::world::digest(text))?;
            (found.standing(store.now()) == want).then_some(found)
        };
        self.shows("the token", is).await
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        self.following.abort();
    }
}

fn is_active(token: &LiveToken) -> bool {
    token.project.standing() == ProjectStanding::Active
}

// ID-3 ID-33
#[tokio::test]
#[ignore = "needs PostgreSQL: `make test`"]
#[expect(clippy::too_many_lines, reason = "one change after the other")]
async fn what_one_store_changes_the_other_shows() {
    let world = World::on_server().await;
    let other = Other::of(&world).await;
    let store = &world.store;
    let token = world.token(1).await;
    let shown = other.stands(1, Standing::Live).await;
    store
        .set_project_state(SERVICE, token.project_id, ProjectState::Inactive)
        .await
        .unwrap();
    other
        .shows("the inactive project", |_| {
            (!is_active(&shown)).then_some(())
        })
        .await;
    store
        .set_project_state(SERVICE, token.project_id, ProjectState::Active)
        .await
        .unwrap();
    let new = NewTenant {
        name: "guest".to_owned(),
        slug: None,
    };
    let tenant = store.create_tenant(new).await.unwrap().id;
    let new = NewProject {
        name: "guest".to_owned(),
        ..NewProject::default()
    };
    let project = store
        .create_project(Scope::Tenant(tenant), new)
        .await
        .unwrap();
    let new = NewToken {
        project_id: project.id,
        ..world.new_token(9).await
    };
    store
        .create_token(Scope::Tenant(tenant), new)
        .await
        .unwrap();
    let guest = other.stands(9, Standing::Live).await;
    for (status, want) in [
        (TenantStatus::Suspended, ProjectStanding::TenantSuspended),
        (TenantStatus::Active, ProjectStanding::Active),
        (TenantStatus::Deleted, ProjectStanding::Gone),
    ] {
        store.set_tenant_status(tenant, status).await.unwrap();
        let is = |_: &Store| (guest.project.standing() == want).then_some(());
        other.shows("the tenant", is).await;
    }
    let to = Rotation {
        secret: secret(2),
        overlap_ms: HOUR,
        expires_at: None,
    };
    store.rotate_token(SERVICE, token.id, to).await.unwrap();
    let new = other.stands(2, Standing::Live).await;
    assert!(
        Arc::ptr_eq(&new.lineage, &shown.lineage),
        "they share their counts"
    );
    store.revoke_token(SERVICE, token.id, "x").await.unwrap();
    other.stands(1, Standing::Revoked).await;
    let net = IpAddr::from(Ipv4Addr::new(192, 0, 2, 1)).into();
    let entry = NewIpEntry {
        list: IpListName::Deny,
        net,
        reason: None,
        created_by: "test".to_owned(),
        expires_at: None,
    };
    store.put_ip_entry(entry).await.unwrap();
    other
        .shows("the address", |store| {
            store
                .ip_entries()
                .iter()
                .find(|entry| entry.net == net)
                .map(|_| ())
        })
        .await;
    let on = MaintenanceOn {
        message: Some("soon".to_owned()),
        retry_after_s: None,
        since: store.now(),
        by: "test".to_owned(),
    };
    store.set_maintenance(Some(on.clone())).await.unwrap();
    let shown = other.shows("maintenance", Store::maintenance).await;
    assert_eq!(*shown, on);
    store.set_maintenance(None).await.unwrap();
    other
        .shows("its end", |store| {
            store.maintenance().is_none().then_some(())
        })
        .await;
}

// ID-33
#[tokio::test]
#[ignore = "needs PostgreSQL: `make test`"]
async fn a_token_that_is_used_anywhere_is_not_idle_and_one_that_idled_out_ends_everywhere() {
    let world = World::on_server().await;
    let other = Other::of(&world).await;
    for text in [1, 2] {
        let idle = NewToken {
            idle_ttl_ms: Some(HOUR),
            ..world.new_token(text).await
        };
        world.store.create_token(SERVICE, idle).await.unwrap();
    }
    let used = other.stands(1, Standing::Live).await;
    let unused = other.stands(2, Standing::Live).await;
    world.pass(HOUR - 1);
    assert!(world.live(1).unwrap().try_grant(world.store.now()));
    world.store.flush_usage().await.unwrap();
    let now = world.store.now();
    world.pass(1);
    other
        .shows("the use", |store| {
            (used.standing(store.now()) == Standing::Live).then_some(())
        })
        .await;
    // As if the clock of the other were behind: it is told.
    assert_eq!(unused.standing(now), Standing::Live);
    assert_eq!(world.store.clean().await.unwrap().expired, 1);
    other
        .shows("the end", |_| {
            (unused.standing(now) == Standing::Revoked).then_some(())
        })
        .await;
}

/// Each change takes its turn, whoever makes it: none is lost, none is shown in another order.
// ID-33
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: `make test`"]
async fn changes_of_both_at_once_end_in_one_state_everywhere() {
    let world = World::on_server().await;
    let other = Other::of(&world).await;
    let here = world.store.clone();
    let following = {
        let here = here.clone();
        tokio::spawn(async move { here.follow(|| ()).await })
    };
    let project = world.project().await.id;
    let flip = |store: Store| async move {
        for round in 0..25 {
            let state = if round % 2 == 0 {
                ProjectState::Inactive
            } else {
                ProjectState::Active
            };
            store
                .set_project_state(SERVICE, project, state)
                .await
                .unwrap();
        }
    };
    let both = [here.clone(), other.store.clone()].map(|store| tokio::spawn(flip(store)));
    for one in both {
        one.await.unwrap();
    }
    let token = world.token(1).await;
    let there = other.stands(1, Standing::Live).await;
    let here = world.live(1).unwrap();
    let project = tollkeep_store::ProjectRef::Id(token.project_id);
    let kept = world
        .store
        .project(SERVICE, project)
        .await
        .unwrap()
        .is_active;
    assert_eq!(is_active(&there), kept);
    let mut tries = 0;
    while is_active(&here) != kept {
        tries += 1;
        assert!(tries < 300, "never shown");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    following.abort();
}
