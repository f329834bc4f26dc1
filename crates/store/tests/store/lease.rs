//! Leases: one holder at a time, and freed by time.

use crate::world::{SECOND, World};
use std::time::Duration;

const TIME: Duration = Duration::from_secs(15);

// EDGE-14
#[tokio::test]
async fn one_holder_at_a_time_until_it_is_done_or_its_time_is_over() {
    let world = World::new().await;
    let store = world.store.clone();
    let take = async |name: &str, holder: &str| store.take_lease(name, holder, TIME).await.unwrap();
    assert!(take("orders", "one").await);
    assert!(!take("orders", "two").await, "it is taken");
    assert!(take("other", "two").await, "another one is not");
    world.pass(14 * SECOND);
    assert!(take("orders", "one").await, "for longer");
    world.pass(14 * SECOND);
    assert!(!take("orders", "two").await, "it was for longer");
    store.give_lease_back("orders", "two").await.unwrap();
    assert!(!take("orders", "two").await, "nobody gives another's back");
    world.pass(SECOND);
    assert!(take("orders", "two").await, "its holder is gone");
    assert!(!take("orders", "one").await, "who was gone has lost it");
    store.give_lease_back("orders", "two").await.unwrap();
    assert!(take("orders", "one").await);
}

// EDGE-14
#[tokio::test]
async fn a_lease_outlives_a_crash_and_not_its_time() {
    let world = World::new().await;
    assert!(world.store.take_lease("orders", "one", TIME).await.unwrap());
    let world = world.crash().await;
    assert!(!world.store.take_lease("orders", "two", TIME).await.unwrap());
    world.pass(15 * SECOND);
    assert!(world.store.take_lease("orders", "two", TIME).await.unwrap());
}

// EDGE-14
#[tokio::test]
async fn of_many_who_ask_at_once_one_gets_it() {
    let world = World::new().await;
    let mut asked = tokio::task::JoinSet::new();
    for number in 0..50 {
        let store = world.store.clone();
        asked.spawn(async move {
            let holder = format!("holder-{number}");
            store.take_lease("orders", &holder, TIME).await.unwrap()
        });
    }
    let got = asked.join_all().await;
    assert_eq!(got.into_iter().filter(|taken| *taken).count(), 1);
}
