//! Addresses that did something lately are remembered for a while, and only so many.

use std::hash::RandomState;
use std::net::{IpAddr, Ipv4Addr};
use tollkeep_counters::Recent;
use tollkeep_types::MonoNanos;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

// EDGE-54
#[test]
fn an_address_is_remembered_for_one_span_to_two() {
    let recent = Recent::new(30, RandomState::new());
    recent.note(ip("10.0.0.1"), MonoNanos(100));
    for (name, at, now, want) in [
        ("at once", "10.0.0.1", 100, true),
        ("its neighbour", "10.0.0.2", 100, false),
        ("a span later", "10.0.0.1", 130, true),
        ("at the end of the next span", "10.0.0.1", 149, true),
        ("two spans later", "10.0.0.1", 150, false),
    ] {
        assert_eq!(recent.contains(ip(at), MonoNanos(now)), want, "{name}");
    }
    recent.note(ip("10.0.0.1"), MonoNanos(150));
    assert!(recent.contains(ip("10.0.0.1"), MonoNanos(160)), "again");
    assert!(
        !recent.contains(ip("10.0.0.1"), MonoNanos(1_000_000)),
        "long after"
    );
    recent.note(ip("2001:db8::1"), MonoNanos(1_000_000));
    assert!(recent.contains(ip("2001:db8::2"), MonoNanos(1_000_000)));
    assert!(!recent.contains(ip("2001:db8:0:1::1"), MonoNanos(1_000_000)));
}

// EDGE-54
#[test]
fn a_flood_of_addresses_is_remembered_up_to_the_bound() {
    let recent = Recent::new(30, RandomState::new());
    let addresses = || (0..200_000_u32).map(|bits| IpAddr::from(Ipv4Addr::from_bits(bits)));
    for address in addresses() {
        recent.note(address, MonoNanos(0));
    }
    let known = addresses().filter(|address| recent.contains(*address, MonoNanos(0)));
    assert_eq!(known.count(), 65_536);
}
