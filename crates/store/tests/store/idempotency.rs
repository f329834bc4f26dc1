//! Requests that are carried out once, whatever happens to the process that does.

use crate::world::{DAY, SECOND, SERVICE, World, conflict, first};
use tollkeep_store::{Claim, Conflict, KeptAnswer, NewProject, RunEnd, RunKey, Scope, Store};

/// The request number `request` with the idempotency key number `slot`.
fn run(slot: u8, request: u8, run: &str) -> RunKey {
    RunKey {
        slot: [slot; 32],
        owner: "mky_1".to_owned(),
        request: [request; 32],
        run: run.to_owned(),
    }
}

fn answer(text: &str) -> KeptAnswer {
    KeptAnswer {
        status: 201,
        sealed: text.to_owned(),
    }
}

fn named(name: &str) -> NewProject {
    NewProject {
        name: name.to_owned(),
        ..NewProject::default()
    }
}

async fn projects(store: &Store) -> usize {
    store
        .projects(SERVICE, first(100))
        .await
        .unwrap()
        .rows
        .len()
}

// ID-104
#[tokio::test]
async fn an_answer_is_kept_for_a_day_and_given_to_the_same_request() {
    let world = World::new().await;
    let key = run(1, 1, "one");
    assert_eq!(world.store.claim_run(key.clone()).await, Ok(Claim::Begun));
    let other = world.store.claim_run(run(1, 1, "two")).await;
    assert_eq!(other, Ok(Claim::Running));
    let doing = world.store.running(key.clone());
    doing.create_project(SERVICE, named("a")).await.unwrap();
    doing.create_project(SERVICE, named("b")).await.unwrap();
    drop(doing);
    let end = RunEnd::Answered(answer("sealed"));
    world.store.end_run(key, end).await.unwrap();
    let kept = Ok(Claim::Answered(answer("sealed")));
    assert_eq!(world.store.claim_run(run(1, 1, "three")).await, kept);
    let world = world.restart().await;
    assert_eq!(world.store.claim_run(run(1, 1, "four")).await, kept);
    let reused = world.store.claim_run(run(1, 2, "five")).await;
    assert_eq!(reused, Ok(Claim::OtherRequest));
    world.pass(DAY - 1);
    world.store.clean().await.unwrap();
    assert_eq!(world.store.claim_run(run(1, 1, "six")).await, kept);
    world.pass(1);
    let again = world.store.claim_run(run(1, 2, "seven")).await;
    assert_eq!(again, Ok(Claim::Begun));
}

// ID-104
#[tokio::test]
async fn a_run_that_died_before_it_did_anything_is_begun_again() {
    let world = World::new().await;
    let first = run(1, 1, "first");
    assert_eq!(world.store.claim_run(first.clone()).await, Ok(Claim::Begun));
    let world = world.crash().await;
    let early = world.store.claim_run(run(1, 1, "early")).await;
    assert_eq!(early, Ok(Claim::Running), "it may live at another replica");
    world.pass(30 * SECOND);
    let second = run(1, 1, "second");
    assert_eq!(
        world.store.claim_run(second.clone()).await,
        Ok(Claim::Begun)
    );
    // The first was only slow: what it does now would be done twice.
    let slow = world.store.running(first.clone());
    let done = slow.create_project(SERVICE, named("a")).await;
    assert_eq!(conflict(done), Conflict::Overtaken);
    let end = RunEnd::Answered(answer("of the first"));
    world.store.end_run(first, end).await.unwrap();
    let doing = world.store.running(second.clone());
    doing.create_project(SERVICE, named("a")).await.unwrap();
    let end = RunEnd::Answered(answer("of the second"));
    world.store.end_run(second, end).await.unwrap();
    let kept = world.store.claim_run(run(1, 1, "third")).await;
    assert_eq!(kept, Ok(Claim::Answered(answer("of the second"))));
    assert_eq!(projects(&world.store).await, 2);
}

// ID-104
#[tokio::test]
async fn a_run_that_died_after_it_did_something_is_never_begun_again() {
    let world = World::new().await;
    let first = run(1, 1, "first");
    assert_eq!(world.store.claim_run(first.clone()).await, Ok(Claim::Begun));
    let doing = world.store.running(first);
    doing.create_project(SERVICE, named("a")).await.unwrap();
    drop(doing);
    let world = world.crash().await;
    let early = world.store.claim_run(run(1, 1, "early")).await;
    assert_eq!(early, Ok(Claim::Running));
    for seconds in [30, 3_600] {
        world.pass(seconds * SECOND);
        let again = world.store.claim_run(run(1, 1, "again")).await;
        assert_eq!(again, Ok(Claim::Lost), "after {seconds} s");
    }
    assert_eq!(projects(&world.store).await, 2);
}

// ID-104
#[tokio::test]
async fn a_refusal_is_kept_only_if_something_was_done_before() {
    let world = World::new().await;
    let nothing = run(1, 1, "nothing");
    world.store.claim_run(nothing.clone()).await.unwrap();
    let end = RunEnd::Refused(answer("refused"));
    world.store.end_run(nothing, end.clone()).await.unwrap();
    let mended = world.store.claim_run(run(1, 2, "mended")).await;
    assert_eq!(mended, Ok(Claim::Begun));
    for (slot, end, want) in [
        (2, end, Claim::Answered(answer("refused"))),
        (3, RunEnd::Broken, Claim::Lost),
    ] {
        let something = run(slot, 1, "something");
        world.store.claim_run(something.clone()).await.unwrap();
        let doing = world.store.running(something.clone());
        let name = format!("p{slot}");
        doing.create_project(SERVICE, named(&name)).await.unwrap();
        world.store.end_run(something, end).await.unwrap();
        let again = world.store.claim_run(run(slot, 1, "again")).await;
        assert_eq!(again, Ok(want), "{slot}");
    }
    let broken = run(4, 1, "broken");
    world.store.claim_run(broken.clone()).await.unwrap();
    world.store.end_run(broken, RunEnd::Broken).await.unwrap();
    let again = world.store.claim_run(run(4, 1, "again")).await;
    assert_eq!(again, Ok(Claim::Begun));
}

// ID-104
#[tokio::test]
async fn what_is_done_for_one_tenant_marks_the_request_too() {
    let world = World::new().await;
    let key = run(1, 1, "of a tenant");
    world.store.claim_run(key.clone()).await.unwrap();
    let own = Scope::Tenant(world.store.default_tenant().id);
    let doing = world.store.running(key);
    doing.create_project(own, named("a")).await.unwrap();
    world.pass(30 * SECOND);
    let again = world.store.claim_run(run(1, 1, "again")).await;
    assert_eq!(again, Ok(Claim::Lost));
}

// ID-104
#[tokio::test]
async fn of_many_claims_at_once_one_begins() {
    let world = World::new().await;
    let claims = (0..16).map(|number| {
        let store = world.store.clone();
        tokio::spawn(async move { store.claim_run(run(1, 1, &number.to_string())).await })
    });
    let claims: Vec<_> = claims.collect();
    let mut begun = 0;
    for claim in claims {
        match claim.await.unwrap() {
            Ok(Claim::Begun) => begun += 1,
            other => assert_eq!(other, Ok(Claim::Running)),
        }
    }
    assert_eq!(begun, 1);
}

// ID-104
#[tokio::test]
async fn an_owner_has_a_bounded_number_of_requests_on_record() {
    let world = World::new().await;
    let fill = "INSERT INTO idempotency (slot, owner, request, run, started_at, ends_at)
      WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
      SELECT SLOT, 'mky_1', REQUEST, 'x', 1795342530000, 1795428930000 FROM n";
    let fill = match world.home {
        crate::world::Home::Folder(_) => fill
            .replace("SLOT", "unhex(printf('%064x', i))")
            .replace("REQUEST", "zeroblob(32)"),
        crate::world::Home::Server(_) => fill
            .replace("SLOT", "decode(lpad(to_hex(i), 64, '0'), 'hex')")
            .replace("REQUEST", "decode(repeat('00', 32), 'hex')"),
    };
    world.home.by_hand(Box::leak(fill.into_boxed_str())).await;
    assert_eq!(
        world.store.claim_run(run(255, 1, "a")).await,
        Ok(Claim::Full)
    );
    let other = RunKey {
        owner: "mky_2".to_owned(),
        ..run(254, 1, "b")
    };
    assert_eq!(world.store.claim_run(other).await, Ok(Claim::Begun));
    world.pass(DAY);
    world.store.clean().await.unwrap();
    assert_eq!(
        world.store.claim_run(run(255, 1, "c")).await,
        Ok(Claim::Begun)
    );
}
