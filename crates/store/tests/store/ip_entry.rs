//! Entries of address lists, and maintenance: what operators change besides the settings.

use crate::world::{HOUR, SECOND, World};
use ipnet::IpNet;
use tollkeep_store::{
    IpEntry, IpEntryRef, IpListName, MaintenanceOn, NewIpEntry, PutIpEntry, StoreError,
};
use tollkeep_types::WallMillis;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn new(list: IpListName, text: &str, expires_at: Option<WallMillis>) -> NewIpEntry {
    NewIpEntry {
        list,
        net: net(text),
        reason: Some("test".to_owned()),
        created_by: "local:0".to_owned(),
        expires_at,
    }
}

async fn made(world: &World, new: NewIpEntry) -> IpEntry {
    match world.store.put_ip_entry(new).await.unwrap() {
        PutIpEntry::Made(entry) => entry,
        PutIpEntry::Updated(entry) => panic!("{entry:?} was there"),
    }
}

fn nets(world: &World) -> Vec<String> {
    let entries = world.store.ip_entries();
    let told = entries
        .iter()
        .map(|entry| format!("{} {}", entry.list.as_str(), entry.net));
    told.collect()
}

// EDGE-67
#[tokio::test]
async fn an_entry_is_kept_once_per_list_and_changed_by_the_same_again() {
    let world = World::new().await;
    let one = made(&world, new(IpListName::Deny, "10.0.0.0/8", None)).await;
    world.pass(SECOND);
    let other = made(&world, new(IpListName::Allow, "10.0.0.0/8", None)).await;
    assert_ne!(one.id, other.id);
    let end = Some(WallMillis(world.clock_says() + HOUR));
    let again = NewIpEntry {
        reason: None,
        ..new(IpListName::Deny, "10.0.0.0/8", end)
    };
    let PutIpEntry::Updated(changed) = world.store.put_ip_entry(again).await.unwrap() else {
        panic!("made twice");
    };
    let want = IpEntry {
        reason: None,
        expires_at: end,
        ..one.clone()
    };
    assert_eq!(changed, want);
    let world = world.restart().await;
    assert_eq!(nets(&world), ["allow 10.0.0.0/8", "deny 10.0.0.0/8"]);
    let by_id = IpEntryRef::Id(other.id);
    let wrong = world.store.remove_ip_entry(IpListName::Deny, by_id).await;
    assert_eq!(wrong, Err(StoreError::NotFound), "it is on the other list");
    assert_eq!(nets(&world).len(), 2);
    let by_net = IpEntryRef::Net(net("10.0.0.0/8"));
    let removed = world.store.remove_ip_entry(IpListName::Deny, by_net).await;
    assert_eq!(removed.unwrap().id, one.id);
    let twice = world.store.remove_ip_entry(IpListName::Deny, by_net).await;
    assert_eq!(twice, Err(StoreError::NotFound));
    let removed = world.store.remove_ip_entry(IpListName::Allow, by_id).await;
    assert_eq!(removed.unwrap(), other);
    assert_eq!(nets(&world), Vec::<String>::new());
}

// EDGE-67
#[tokio::test]
async fn what_has_ended_is_forgotten_and_nothing_else() {
    let world = World::new().await;
    let now = world.clock_says();
    made(
        &world,
        new(
            IpListName::Deny,
            "192.0.2.1/32",
            Some(WallMillis(now + SECOND)),
        ),
    )
    .await;
    made(
        &world,
        new(
            IpListName::Deny,
            "192.0.2.2/32",
            Some(WallMillis(now + HOUR)),
        ),
    )
    .await;
    made(&world, new(IpListName::Deny, "2001:db8::/64", None)).await;
    assert_eq!(world.store.forget_ip_entries().await, Ok(0));
    world.pass(SECOND);
    let entries = world.store.ip_entries();
    let holding = entries
        .iter()
        .filter(|entry| entry.holds(world.store.now()));
    assert_eq!(holding.count(), 2, "at its very end it holds no more");
    assert_eq!(world.store.forget_ip_entries().await, Ok(1));
    assert_eq!(nets(&world).len(), 2);
    let world = world.restart().await;
    assert_eq!(nets(&world).len(), 2);
}

// EDGE-130
#[tokio::test]
async fn maintenance_outlives_a_restart_until_it_is_switched_off() {
    let world = World::new().await;
    assert_eq!(world.store.maintenance(), None);
    let on = MaintenanceOn {
        message: Some("back at noon".to_owned()),
        retry_after_s: Some(60),
        since: WallMillis(world.clock_says()),
        by: "local:0".to_owned(),
    };
    world.store.set_maintenance(Some(on.clone())).await.unwrap();
    let world = world.restart().await;
    assert_eq!(world.store.maintenance().as_deref(), Some(&on));
    world.store.set_maintenance(None).await.unwrap();
    assert_eq!(world.store.maintenance(), None);
    let world = world.restart().await;
    assert_eq!(world.store.maintenance(), None);
}
