//! What is to be told to others: each receiver's own, and no more than there may be.

use crate::world::{HOUR, World};
use tollkeep_store::{Notice, Untold};
use tollkeep_types::WallMillis;

fn notice(id: &str, receiver: &str) -> Notice {
    Notice {
        id: id.to_owned(),
        receiver: receiver.to_owned(),
        event: "payment.settled",
        body: "{}".to_owned(),
    }
}

async fn due(world: &World, receiver: &str) -> Vec<String> {
    let due = world.store.due_notices(receiver, WallMillis::MAX).await;
    due.unwrap().into_iter().map(|notice| notice.id).collect()
}

async fn clear(world: &World, known: &[&str], before: WallMillis, most: u32) -> Untold {
    let known = known.iter().map(|one| (*one).to_owned()).collect();
    world
        .store
        .clear_notices(known, before, most)
        .await
        .unwrap()
}

// PAY-80
#[tokio::test]
async fn a_receiver_is_given_what_is_its_own_whatever_waits_for_others() {
    let world = World::new().await;
    let many: Vec<_> = (0..200)
        .map(|number| notice(&format!("evt_{number:03}"), "a"))
        .collect();
    world.store.add_notices(many).await.unwrap();
    world.pass(HOUR);
    world
        .store
        .add_notices(vec![notice("evt_b", "b")])
        .await
        .unwrap();
    assert_eq!(due(&world, "b").await, ["evt_b"]);
    let first = due(&world, "a").await;
    assert_eq!((first.len(), &*first[0]), (16, "evt_000"));
    assert_eq!(due(&world, "nobody").await, Vec::<String>::new());
}

// PAY-80
#[tokio::test]
async fn what_is_too_much_or_nobodys_goes_and_the_rest_stays() {
    let world = World::new().await;
    for (id, receiver) in [
        ("evt_1", "a"),
        ("evt_2", "gone"),
        ("evt_3", "b"),
        ("evt_4", "a"),
    ] {
        world
            .store
            .add_notices(vec![notice(id, receiver)])
            .await
            .unwrap();
        world.pass(HOUR);
    }
    let nothing = Untold::default();
    let early = WallMillis(0);
    assert_eq!(
        clear(&world, &["a", "b"], early, 4).await,
        nothing,
        "it may be another's"
    );
    let late = WallMillis::MAX;
    let of_nobody = Untold {
        of_nobody: 1,
        surplus: 0,
    };
    assert_eq!(clear(&world, &["a", "b"], late, 3).await, of_nobody);
    let surplus = Untold {
        of_nobody: 0,
        surplus: 1,
    };
    assert_eq!(clear(&world, &["a", "b"], late, 2).await, surplus);
    assert_eq!(due(&world, "a").await, ["evt_4"], "the oldest went");
    assert_eq!(due(&world, "b").await, ["evt_3"]);
    assert_eq!(clear(&world, &[], late, 2).await.of_nobody, 2);
}
