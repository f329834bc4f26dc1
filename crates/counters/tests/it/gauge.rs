//! Live connections and requests by address.

use std::hash::RandomState;
use std::net::{IpAddr, Ipv4Addr};
use tollkeep_counters::IpGauge;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn what_is_live_counts_until_it_is_dropped() {
    let gauge = IpGauge::new(RandomState::new());
    let first = gauge.enter(ip("192.0.2.1"));
    let second = gauge.enter(ip("192.0.2.1"));
    let other = gauge.enter(ip("192.0.2.2"));
    assert_eq!((first.count(), second.count(), other.count()), (2, 2, 1));
    drop(first);
    assert_eq!((second.count(), gauge.addresses()), (1, 2));
    drop((second, other));
    assert_eq!(
        gauge.addresses(),
        0,
        "nothing is kept of an address that left"
    );
    assert_eq!(gauge.enter(ip("192.0.2.1")).count(), 1);
}

#[test]
fn a_seat_counts_nothing_but_what_sits_there_and_others_see_it() {
    let gauge = IpGauge::new(RandomState::new());
    let seat = gauge.seat(ip("192.0.2.1"));
    let told = gauge.enter(ip("192.0.2.1"));
    assert_eq!(told.count(), 1);
    let first = seat.enter();
    assert_eq!((first.count(), told.count()), (2, 2));
    assert_eq!(seat.enter().count(), 3);
    drop((first, told));
    assert_eq!((seat.enter().count(), gauge.addresses()), (1, 1));
    drop(seat);
    assert_eq!(gauge.addresses(), 0);
}

// EDGE-62
#[test]
fn a_v6_network_counts_as_one_and_a_mapped_address_as_v4() {
    let gauge = IpGauge::new(RandomState::new());
    let _first = gauge.enter(ip("2001:db8::1"));
    assert_eq!(gauge.enter(ip("2001:db8::ffff")).count(), 2);
    assert_eq!(gauge.enter(ip("2001:db8:0:1::1")).count(), 1);
    let _v4 = gauge.enter(ip("192.0.2.1"));
    assert_eq!(gauge.enter(ip("::ffff:192.0.2.1")).count(), 2);
}

#[test]
fn many_threads_leave_nothing_behind() {
    let gauge = IpGauge::new(RandomState::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for round in 0..5_000_u32 {
                    let guard = gauge.enter(Ipv4Addr::from(round % 7).into());
                    assert!((1..=4).contains(&guard.count()));
                }
            });
        }
    });
    assert_eq!(gauge.addresses(), 0);
}
