//! Two stores on one database: what one of them changes, the other shows.

use crate::world::{HOUR, Home, SERVICE, World, follow, grants, management_secret, open, secret};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;
use tollkeep_store::live::{LiveToken, ProjectStanding};
use tollkeep_store::{
    IpListName, MaintenanceOn, NewIpEntry, NewProject, NewTenant, NewToken, ProjectState, Rotation,
    Scope, Standing, Store, TenantStatus,
};
use tollkeep_types::WallMillis;

/// A store on the same database, which follows.
struct Other {
    store: Store,
    following: tokio::task::JoinHandle<()>,
}

impl Other {
    async fn of(world: &World) -> Self {
        let store = open(&world.home, &world.clock).await.unwrap();
        let following = follow(&store);
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
#[expect(clippy::too_many_lines, reason = "every change, as seen by another")]
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
    let put = crate::credential::put(&world, crate::credential::new(&world, 1)).await;
    let tollkeep_store::PutCredential::Made(credential) = put else {
        panic!("{put:?}");
    };
    let shows = |store: &Store| {
        let list = store.credentials_in_use();
        list.iter().find(|one| one.id == credential.id).map(|_| ())
    };
    other.shows("the credential", shows).await;
    let gone = store.delete_credentials(SERVICE, vec![credential.id]).await;
    gone.unwrap();
    other
        .shows("its end", |store| shows(store).is_none().then_some(()))
        .await;
    let new = crate::budget::new(store.default_tenant().id, "daily");
    let made = store.create_budget(SERVICE, new).await.unwrap();
    let shows = |store: &Store| {
        let list = store.budgets_in_use();
        list.iter().find(|one| **one == made).map(|_| ())
    };
    other.shows("the budget", shows).await;
    let ended = store.end_budget(SERVICE, made.budget.id).await;
    ended.unwrap();
    other
        .shows("its end", |store| shows(store).is_none().then_some(()))
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

// ID-4 ID-33
#[tokio::test]
#[ignore = "needs PostgreSQL: `make test`"]
async fn a_tenant_suspended_here_is_suspended_there() {
    let world = World::on_server().await;
    let other = Other::of(&world).await;
    let store = &world.store;
    let new = NewTenant {
        name: "guest".to_owned(),
        slug: None,
        ..NewTenant::default()
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
    assert!(
        world
            .live(1)
            .unwrap()
            .try_grant(world.store.now())
            .is_granted()
    );
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
}

// ID-20
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: `make test`"]
async fn calls_are_counted_together_however_unevenly_they_come() {
    let world = World::on_server().await;
    let other = Other::of(&world).await;
    for (text, max) in [(1, 10), (2, 1_000), (3, 5_000)] {
        let token = world.limited_token(text, max).await;
        let there = other.stands(text, Standing::Live).await;
        let here = world.live(text).unwrap();
        // One caller here, many there, all at once and beyond the end.
        let mut callers = tokio::task::JoinSet::new();
        for caller in 0..20 {
            let (store, token) = if caller == 0 {
                (world.store.clone(), Arc::clone(&here))
            } else {
                (other.store.clone(), Arc::clone(&there))
            };
            let tries = max / 10 + 10;
            callers.spawn(async move {
                let mut granted = 0;
                for _ in 0..tries {
                    granted += u64::from(grants(&store, &token).await);
                }
                granted
            });
        }
        let granted: u64 = callers.join_all().await.into_iter().sum();
        assert!(granted <= max, "{granted} of {max}");
        // What is leased and not used comes back, and then none is missing.
        for _ in 0..2 {
            world.store.flush_usage().await.unwrap();
            other.store.flush_usage().await.unwrap();
        }
        let mut rest = 0;
        tokio::time::sleep(Duration::from_millis(300)).await;
        while grants(&world.store, &here).await {
            rest += 1;
        }
        assert_eq!(granted + rest, max);
        assert!(!grants(&other.store, &there).await);
        world.store.flush_usage().await.unwrap();
        let kept = world.store.token(SERVICE, token.id).await.unwrap();
        assert_eq!(kept.request_count, max);
    }
}

// ID-20
#[tokio::test]
#[ignore = "needs PostgreSQL: `make test`"]
async fn what_a_process_did_not_use_is_there_for_the_others_when_it_stops() {
    let world = World::on_server().await;
    let other = Other::of(&world).await;
    world.limited_token(1, 5_000).await;
    let there = other.stands(1, Standing::Live).await;
    assert!(grants(&other.store, &there).await);
    let taken = "SELECT request_count FROM lineages";
    let taken = async || match &world.home {
        Home::Server(database) => database.number(taken).await,
        Home::Folder(_) => 0,
    };
    assert_eq!(taken().await, 257, "one call and a lease");
    other.store.close().await.unwrap();
    assert_eq!(taken().await, 1);
}

// ID-20
#[tokio::test]
#[ignore = "needs PostgreSQL: `make test`"]
async fn nobody_calls_while_nobody_counts() {
    let world = World::on_server().await;
    world.limited_token(1, 10).await;
    let token = world.live(1).unwrap();
    assert!(grants(&world.store, &token).await);
    world.store.close().await.unwrap();
    let refused = world.store.take_call(&token, world.store.now()).await;
    assert!(refused.is_err(), "{refused:?}");
}

// ID-52
#[tokio::test]
#[ignore = "needs PostgreSQL: `make test`"]
async fn of_two_stores_that_end_one_of_the_last_two_owners_each_one_is_refused() {
    use tollkeep_store::{Conflict, KeyChange, LastOwner, NewManagementKey, Role, StoreError};
    let world = World::on_server().await;
    // Whatever a server or a login has for a default.
    for isolation in ["read committed", "repeatable read", "serializable"] {
        let Home::Server(database) = &world.home else {
            panic!("only for PostgreSQL")
        };
        let name = &database.name;
        let by_default = "SET default_transaction_isolation =";
        database
            .run(format!("ALTER DATABASE {name} {by_default} '{isolation}'"))
            .await;
        let stores = [
            open(&world.home, &world.clock).await.unwrap(),
            open(&world.home, &world.clock).await.unwrap(),
        ];
        let other = || NewManagementKey {
            operator_id: None,
            name: "k".to_owned(),
            role: Role::Owner,
            scopes: None,
            allowed_ips: Vec::new(),
            secret: management_secret(0),
            expires_at: WallMillis::MAX,
            created_by: None,
        };
        let mut kept = None;
        for round in 0..10 {
            let make = async |text: u8| {
                let secret = management_secret(text);
                let new = NewManagementKey { secret, ..other() };
                stores[0].create_management_key(SERVICE, new).await.unwrap()
            };
            let base = 10 + 2 * round;
            let first = match kept.take() {
                Some(kept) => kept,
                None => make(base).await,
            };
            let owners = [first, make(base + 1).await];
            let end = |at: usize| {
                let (store, owner) = (stores[at].clone(), owners[at].clone());
                async move {
                    let last = LastOwner::Stays;
                    store
                        .change_management_key(SERVICE, owner, KeyChange::Revoke, last)
                        .await
                }
            };
            let (one, two) = tokio::join!(tokio::spawn(end(0)), tokio::spawn(end(1)));
            let outcomes = [one.unwrap(), two.unwrap()];
            let refused = |outcome: &Result<_, StoreError>| {
                outcome.as_ref().err() == Some(&StoreError::Conflict(Conflict::LastOwner))
            };
            let count = outcomes.iter().filter(|outcome| refused(outcome)).count();
            assert_eq!(count, 1, "{isolation}, round {round}: {outcomes:?}");
            assert_eq!(stores[0].count_live_owners(SERVICE).await, Ok(1));
            let stays = usize::from(refused(&outcomes[1]));
            kept = Some(owners[stays].clone());
        }
        // None is left for the next isolation.
        let last = kept.unwrap();
        let revoke = KeyChange::Revoke;
        let gone = stores[0].change_management_key(SERVICE, last, revoke, LastOwner::MayGo);
        gone.await.unwrap();
        for store in stores {
            store.close().await.unwrap();
        }
        database.run("DELETE FROM management_keys".to_owned()).await;
    }
}
