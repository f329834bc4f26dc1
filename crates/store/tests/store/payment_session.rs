//! Sessions that payments buy: begun with the money of their payment, taken of by calls, and never
//! more taken than there is.

use crate::payment::{bought, checks};
use crate::world::{SERVICE, World};
use std::sync::Arc;
use tollkeep_store::{
    NewUse, SessionEnded, SessionJudge, SessionRecord, SessionShare, SessionState, SessionTaken,
    SessionVerdict, UseCharge,
};
use tollkeep_types::{HoldId, RequestId, WallMillis};

/// What a call takes.
const UNIT: u64 = 4_000;
/// An hour.
const LASTS_MS: u64 = 3_600_000;

fn judge() -> SessionJudge {
    Arc::new(|session: &SessionRecord, now: WallMillis| {
        if session.expires_at <= now {
            return SessionVerdict::Ended;
        }
        if session.money < UNIT {
            return SessionVerdict::Short;
        }
        SessionVerdict::Take(SessionShare {
            money: UNIT,
            calls: 0,
        })
    })
}

async fn begun(world: &World) -> SessionRecord {
    let ends = WallMillis(world.store.now().0 + LASTS_MS);
    bought(world, 7, ends).await
}

async fn take(world: &World, of: &SessionRecord, number: u8) -> SessionTaken {
    let new = NewUse {
        id: HoldId::from_bytes([number; 16]),
        request: RequestId::from_bytes([number; 16]),
        lease: ("me".to_owned(), WallMillis(world.store.now().0 + 1_000)),
    };
    let taken = world.store.take_of_session((of.id, new), judge()).await;
    taken.unwrap()
}

fn hold(number: u8) -> HoldId {
    HoldId::from_bytes([number; 16])
}

async fn now(world: &World, of: &SessionRecord) -> (u64, u64) {
    let session = world.store.session(SERVICE, of.id).await.unwrap();
    (session.money, session.held)
}

// PAY-60a PAY-75 PAY-77
#[tokio::test]
async fn calls_take_what_there_is_and_no_more() {
    let world = World::new().await;
    let session = begun(&world).await;
    assert_eq!(
        (session.money, session.held, session.paid),
        (10_000, 0, 10_000)
    );
    checks(&world).await;
    for number in [1, 2] {
        let taken = take(&world, &session, number).await;
        assert!(matches!(taken, SessionTaken::Taken(..)), "{taken:?}");
    }
    let short = take(&world, &session, 3).await;
    let SessionTaken::Short(left) = short else {
        panic!("{short:?}");
    };
    assert_eq!((left.money, left.held), (2_000, 8_000));
    assert_eq!(now(&world, &session).await, (2_000, 8_000));
    checks(&world).await;
    // One is delivered, the other was not; each is said twice.
    for (is_first, number, charge) in [
        (true, 1, UseCharge::All),
        (false, 1, UseCharge::All),
        (true, 2, UseCharge::Nothing),
        (false, 2, UseCharge::All),
    ] {
        let ended = world.store.end_use_of_session(hold(number), charge).await;
        assert_eq!(ended, Ok(is_first), "{number}");
    }
    assert_eq!(now(&world, &session).await, (6_000, 0));
    // What was earned by a delivery that broke off comes back.
    let back = SessionShare {
        money: UNIT,
        calls: 0,
    };
    let of = (session.id, RequestId::from_bytes([1; 16]));
    world.store.give_back_to_session(of, back).await.unwrap();
    assert_eq!(now(&world, &session).await, (10_000, 0));
    checks(&world).await;
}

// PAY-79 PAY-80 AUD-10
#[tokio::test]
async fn the_end_of_a_session_is_written_down_once_and_its_money_stays() {
    let world = World::new().await;
    let (session, store) = (begun(&world).await, &world.store);
    let over = store.sessions_over(SERVICE, store.now()).await.unwrap();
    assert!(over.is_empty(), "{over:?}");
    world.set_clock(store.now().0 + LASTS_MS);
    let over = store.sessions_over(SERVICE, store.now()).await.unwrap();
    assert_eq!(over.len(), 1);
    // All replicas see it at the same time.
    let mut closing = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (store, id) = (store.clone(), session.id);
        closing.spawn(async move { store.close_session(id, SessionEnded::Expired).await });
    }
    let mut closed = 0;
    while let Some(done) = closing.join_next().await {
        closed += usize::from(done.unwrap().unwrap().is_some());
    }
    assert_eq!(closed, 1);
    let at = store.now();
    assert!(store.sessions_over(SERVICE, at).await.unwrap().is_empty());
    assert!(
        store
            .routes_of_sessions(SERVICE, at)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(now(&world, &session).await, (10_000, 0), "it stays owed");
    checks(&world).await;

    // A route that is gone takes what began before, and nothing that began since.
    let before = store.now();
    world.set_clock(before.0 + 10);
    let ends = WallMillis(store.now().0 + LASTS_MS);
    let other = bought(&world, 9, ends).await;
    let of = |before| store.sessions_of_route(SERVICE, (other.scope.as_str(), before));
    assert!(of(before).await.unwrap().is_empty());
    let after = WallMillis(store.now().0 + 1);
    assert_eq!(of(after).await.unwrap().len(), 1);
    let routes = store.routes_of_sessions(SERVICE, after).await.unwrap();
    assert_eq!(routes, std::slice::from_ref(&other.scope));
    let closed = store
        .close_session(other.id, SessionEnded::RouteRemoved)
        .await;
    assert_eq!(closed.unwrap().unwrap().state, SessionState::Revoked);
}

// PAY-76 ID-21
#[tokio::test]
async fn a_clock_that_is_set_back_revives_no_session() {
    let world = World::new().await;
    let session = begun(&world).await;
    let began = world.store.now().0;
    world.set_clock(began + LASTS_MS);
    let ended = take(&world, &session, 1).await;
    assert!(matches!(
        ended,
        SessionTaken::Refused(SessionVerdict::Ended)
    ));
    world.set_clock(began);
    let ended = take(&world, &session, 2).await;
    assert!(matches!(
        ended,
        SessionTaken::Refused(SessionVerdict::Ended)
    ));
    assert_eq!(now(&world, &session).await, (10_000, 0), "it stays owed");
    checks(&world).await;
}

// PAY-61 PAY-77
#[tokio::test]
async fn what_a_process_left_behind_ends_by_what_is_written_down() {
    let world = World::new().await;
    let session = begun(&world).await;
    for number in [1, 2] {
        let taken = take(&world, &session, number).await;
        assert!(matches!(taken, SessionTaken::Taken(..)), "{taken:?}");
    }
    assert_eq!(world.store.deliver_of_session(hold(2), 0).await, Ok(true));
    assert_eq!(world.store.deliver_of_session(hold(2), 0).await, Ok(false));
    let later = WallMillis(world.store.now().0 + 1_000);
    let more = world
        .store
        .take_more_of_session((hold(2), 1_500), later, judge());
    assert_eq!(more.await, Ok(None), "2,000 are not enough for more");
    let at_work = world.store.abandoned_uses(SERVICE, world.store.now()).await;
    assert_eq!(at_work.unwrap().len(), 0);
    let left = world.store.abandoned_uses(SERVICE, later).await.unwrap();
    assert_eq!(left.len(), 2);
    for used in &left {
        // Somebody who looks too early ends nothing.
        let early = world.store.end_abandoned_use(used, WallMillis(0)).await;
        assert_eq!(early, Ok(false));
        let ended = world.store.end_abandoned_use(used, later).await;
        assert_eq!(ended, Ok(true));
        let again = world.store.end_abandoned_use(used, later).await;
        assert_eq!(again, Ok(false));
    }
    assert_eq!(now(&world, &session).await, (8_500, 0));
    let ended = world
        .store
        .end_use_of_session(hold(1), UseCharge::All)
        .await;
    assert_eq!(ended, Ok(false), "its worker comes too late");
    checks(&world).await;
}

// PAY-75
#[tokio::test]
async fn a_pass_is_earned_by_its_first_call() {
    let world = World::new().await;
    let session = begun(&world).await;
    let request = RequestId::from_bytes([1; 16]);
    for _ in 0..2 {
        world.store.earn_pass(session.id, request).await.unwrap();
        assert_eq!(now(&world, &session).await, (0, 0));
    }
    checks(&world).await;
}

// PAY-75 PAY-77 LED-55
#[tokio::test]
async fn what_a_call_comes_to_at_least_is_written_down_as_it_begins() {
    let world = World::new().await;
    let session = begun(&world).await;
    let taken = take(&world, &session, 1).await;
    assert!(matches!(taken, SessionTaken::Taken(..)), "{taken:?}");
    assert_eq!(world.store.deliver_of_session(hold(1), 700).await, Ok(true));
    let later = WallMillis(world.store.now().0 + 1_000);
    let left = world.store.abandoned_uses(SERVICE, later).await.unwrap();
    assert_eq!(left[0].due, 700);
    let ended = world.store.end_abandoned_use(&left[0], later).await;
    assert_eq!(ended, Ok(true));
    assert_eq!(now(&world, &session).await, (9_300, 0));
    checks(&world).await;
}
