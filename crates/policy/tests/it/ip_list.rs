//! Lists of addresses: whom they name, whatever form list and address have.

use ipnet::IpNet;
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use tollkeep_policy::ip_list::{
    AddedIps, Allow, IpLists, IpSet, Listing, covers_loopback, is_wide, parse_denied, parse_network,
};

fn set(nets: &[&str]) -> IpSet {
    IpSet::new(nets.iter().map(|net| net.parse::<IpNet>().unwrap()))
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

// EDGE-62 EDGE-65
#[test]
fn a_set_holds_the_addresses_of_its_networks_and_no_neighbour() {
    let listed = set(&[
        "10.0.0.0/8",
        "192.168.1.100/32",
        "203.0.113.0/25",
        "203.0.113.128/25",
        "203.0.113.7/32",
        "::ffff:198.51.100.0/120",
        "2001:db8::/32",
        "2001:db8:ffff::/48",
        "255.255.255.255/32",
        "ffff:ffff::/32",
    ]);
    for (address, want) in [
        ("10.0.0.0", true),
        ("10.255.255.255", true),
        ("9.255.255.255", false),
        ("11.0.0.0", false),
        ("192.168.1.100", true),
        ("192.168.1.99", false),
        ("192.168.1.101", false),
        ("203.0.113.255", true),
        ("203.0.114.0", false),
        ("198.51.100.200", true),
        ("198.51.101.0", false),
        ("::ffff:10.1.2.3", true),
        ("::ffff:11.1.2.3", false),
        ("::10.1.2.3", false),
        ("2001:db8::1", true),
        ("2001:db8:ffff:ffff::1", true),
        ("2001:db9::", false),
        ("2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", false),
        ("255.255.255.255", true),
        ("255.255.255.254", false),
        ("ffff:ffff:ffff::", true),
        ("0.0.0.0", false),
        ("::", false),
    ] {
        assert_eq!(listed.contains(ip(address)), want, "{address}");
    }
    let everybody = set(&["0.0.0.0/0", "::/0", "10.0.0.0/8"]);
    assert!(everybody.contains(ip("255.255.255.255")) && everybody.contains(ip("ff::")));
    assert!(set(&[]).is_empty() && !set(&[]).contains(ip("0.0.0.0")));
}

// EDGE-65
#[test]
fn deny_beats_allow_and_an_allow_list_refuses_others_or_exempts_its_own() {
    let deny = || set(&["10.9.0.0/16"]);
    let allow = || set(&["10.0.0.0/8"]);
    use Listing::{Denied, Exempt, Passes};
    for (name, lists, denied, listed, other) in [
        ("no lists", IpLists::default(), Passes, Passes, Passes),
        (
            "deny only",
            IpLists {
                deny: deny(),
                allow: Allow::Everybody,
            },
            Denied,
            Passes,
            Passes,
        ),
        (
            "allow only these",
            IpLists {
                deny: deny(),
                allow: Allow::Only(allow()),
            },
            Denied,
            Passes,
            Denied,
        ),
        (
            "exempt these",
            IpLists {
                deny: deny(),
                allow: Allow::Exempt(allow()),
            },
            Denied,
            Exempt,
            Passes,
        ),
    ] {
        let got = ["10.9.1.1", "10.1.1.1", "11.1.1.1"].map(|address| lists.judge(ip(address)));
        assert_eq!(got, [denied, listed, other], "{name}");
        assert_eq!(lists.is_off(), name == "no lists", "{name}");
    }
}

// EDGE-65 EDGE-67
#[test]
fn what_operators_add_joins_the_lists_and_never_locks_others_out() {
    let added = AddedIps {
        deny: set(&["10.1.0.0/16"]),
        allow: set(&["10.1.0.0/16", "11.0.0.0/8"]),
    };
    let with = |allow| IpLists {
        deny: set(&["11.9.0.0/16"]),
        allow,
    };
    let ten = || set(&["10.0.0.0/8"]);
    use Listing::{Denied, Exempt, Passes};
    for (name, lists, want) in [
        (
            "everybody",
            with(Allow::Everybody),
            [Denied, Passes, Exempt, Denied, Passes],
        ),
        (
            "only these",
            with(Allow::Only(ten())),
            [Denied, Passes, Passes, Denied, Denied],
        ),
        (
            "exempt these",
            with(Allow::Exempt(ten())),
            [Denied, Exempt, Exempt, Denied, Passes],
        ),
    ] {
        let addresses = ["10.1.1.1", "10.2.2.2", "11.1.1.1", "11.9.9.9", "12.1.1.1"];
        let got = addresses.map(|address| lists.judge_with(&added, ip(address)));
        assert_eq!(got, want, "{name}");
    }
    assert!(AddedIps::default().is_empty() && !added.is_empty());
}

// EDGE-67
#[test]
fn networks_that_are_probably_a_slip_are_known() {
    for (text, wide, loopback) in [
        ("0.0.0.0/0", true, true),
        ("64.0.0.0/7", true, false),
        ("126.0.0.0/7", true, true),
        ("64.0.0.0/8", false, false),
        ("127.0.0.0/8", false, true),
        ("127.0.0.1/32", false, true),
        ("127.200.0.0/16", false, true),
        ("128.0.0.0/8", false, false),
        ("::ffff:127.0.0.0/104", false, true),
        ("::/0", true, true),
        ("::/64", false, true),
        ("::1/128", false, true),
        ("::2/128", false, false),
        ("2001::/23", true, false),
        ("2001::/24", false, false),
    ] {
        let net = parse_network(text).unwrap();
        assert_eq!(
            (is_wide(net), covers_loopback(net)),
            (wide, loopback),
            "{text}"
        );
    }
}

// EDGE-62 EDGE-65
#[test]
fn what_operators_write_is_one_network_or_told_what_is_wrong() {
    for (text, network, denied) in [
        ("10.0.0.0/8", "10.0.0.0/8", "10.0.0.0/8"),
        ("192.168.1.100", "192.168.1.100/32", "192.168.1.100/32"),
        ("::ffff:10.1.2.3", "10.1.2.3/32", "10.1.2.3/32"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8", "10.0.0.0/8"),
        ("2001:db8::1", "2001:db8::1/128", "2001:db8::/64"),
        ("2001:db8::1/128", "2001:db8::1/128", "2001:db8::1/128"),
        ("2001:db8::/48", "2001:db8::/48", "2001:db8::/48"),
        ("::1", "::1/128", "::1/128"),
    ] {
        assert_eq!(parse_network(text).unwrap().to_string(), network, "{text}");
        assert_eq!(parse_denied(text).unwrap().to_string(), denied, "{text}");
    }
    let host_bits = "10.1.2.3/8 has host bits set; the network is 10.0.0.0/8";
    assert_eq!(parse_network("10.1.2.3/8").unwrap_err(), host_bits);
    assert_eq!(parse_denied("10.1.2.3/8").unwrap_err(), host_bits);
    for text in [
        "",
        "10",
        "10.0.0.0/33",
        "10.0.0.0/",
        "10.0.0/8",
        "fe80::1%eth0",
        "localhost",
        "1.2.3.4:80",
        "010.0.0.1",
        " 10.0.0.1",
        "*",
    ] {
        assert!(parse_network(text).is_err(), "{text}");
    }
}

fn any_net() -> impl Strategy<Value = IpNet> {
    // Few bits vary, so that networks often overlap and touch.
    let v4 = (0..64_u32, 24..=32_u8).prop_map(|(bits, length)| {
        let ip = Ipv4Addr::from_bits(0x0a00_0000 | bits);
        IpNet::new(ip.into(), length).unwrap().trunc()
    });
    let v6 = (0..64_u128, 120..=128_u8).prop_map(|(bits, length)| {
        let ip = Ipv6Addr::from_bits((0x2001_0db8 << 96) | bits);
        IpNet::new(ip.into(), length).unwrap().trunc()
    });
    prop_oneof![v4, v6]
}

proptest! {
    // EDGE-65
    #[test]
    fn a_set_is_the_union_of_its_networks(
        nets in prop::collection::vec(any_net(), 0..12),
        bits in 0..300_u32,
    ) {
        let set = IpSet::new(nets.iter().copied());
        let v4 = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 | bits));
        let v6 = IpAddr::V6(Ipv6Addr::from_bits((0x2001_0db8 << 96) | u128::from(bits)));
        for address in [v4, v6] {
            let want = nets.iter().any(|net| net.contains(&address));
            prop_assert_eq!(set.contains(address), want, "{}", address);
        }
        prop_assert_eq!(set.is_empty(), nets.is_empty());
    }
}
