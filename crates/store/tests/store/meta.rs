//! Facts of the deployment, and the clock that never goes back.

use crate::world::{HOUR, SECOND, START, World};
use tollkeep_store::Standing;
use tollkeep_types::WallMillis;

#[tokio::test]
async fn facts_are_set_once_and_kept() {
    let world = World::new().await;
    assert_eq!(world.store.meta("instance").await, Ok(None));
    for value in ["one", "two"] {
        let set = world.store.set_meta_once("instance", value).await;
        assert_eq!(set, Ok("one".to_owned()), "the first one holds");
    }
    let world = world.restart().await;
    assert_eq!(
        world.store.meta("instance").await,
        Ok(Some("one".to_owned()))
    );
}

// ID-21
#[tokio::test]
async fn a_clock_set_back_never_revives_a_token() {
    let world = World::new().await;
    world.token(1).await;
    world.pass(25 * HOUR);
    assert_eq!(world.standing(1), Some(Standing::Expired));
    world.set_clock(START);
    assert_eq!(world.standing(1), Some(Standing::Expired), "while running");
    let world = world.restart().await;
    assert_eq!(world.clock_says(), START);
    assert_eq!(
        world.standing(1),
        Some(Standing::Expired),
        "after a restart"
    );
}

// ID-21
#[tokio::test]
async fn the_greatest_time_survives_a_crash_once_a_minute_has_passed() {
    let world = World::new().await;
    world.store.keep_time().await.unwrap();
    world.pass(59 * SECOND);
    world.store.keep_time().await.unwrap();
    world.pass(SECOND);
    world.store.keep_time().await.unwrap();
    world.set_clock(0);
    let world = world.crash().await;
    assert_eq!(world.store.now(), WallMillis(START + 60 * SECOND));
}

// ID-21
#[tokio::test]
async fn time_goes_on_when_the_clock_has_caught_up() {
    let world = World::new().await;
    world.pass(HOUR);
    assert_eq!(world.store.now(), WallMillis(START + HOUR));
    world.set_clock(START);
    assert_eq!(world.store.now(), WallMillis(START + HOUR));
    world.pass(2 * HOUR);
    assert_eq!(world.store.now(), WallMillis(START + 2 * HOUR));
}

impl World {
    pub(crate) fn clock_says(&self) -> u64 {
        use tollkeep_types::Clock;
        self.clock.wall().0
    }
}
