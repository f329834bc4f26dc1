//! What kind of address an address is: the special-purpose registries of IANA, and the metadata
//! services of clouds.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How an address stands to the public internet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Standing {
    /// Globally reachable.
    Public,
    /// Loopback, link-local, private or shared.
    Private,
    /// A cloud's metadata service.
    Metadata,
    /// Reserved, documentation, multicast and the like.
    Special,
    /// An IPv6 form of an IPv4 address.
    EmbeddedV4,
}

use Standing::{EmbeddedV4, Metadata, Private, Public, Special};

const METADATA: [IpAddr; 8] = [
    v4(169, 254, 169, 254),
    v4(169, 254, 170, 2),
    v4(169, 254, 170, 23),
    v4(100, 100, 100, 200),
    v4(168, 63, 129, 16),
    v4(192, 0, 0, 192),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
];

/// Network, prefix length, standing; everything else is public.
const V4: [([u8; 4], u32, Standing); 18] = [
    ([0, 0, 0, 0], 8, Special),
    ([10, 0, 0, 0], 8, Private),
    ([100, 64, 0, 0], 10, Private),
    ([127, 0, 0, 0], 8, Private),
    ([169, 254, 0, 0], 16, Private),
    ([172, 16, 0, 0], 12, Private),
    ([192, 0, 0, 0], 24, Special),
    ([192, 0, 2, 0], 24, Special),
    ([192, 31, 196, 0], 24, Special),
    ([192, 52, 193, 0], 24, Special),
    ([192, 88, 99, 0], 24, Special),
    ([192, 168, 0, 0], 16, Private),
    ([192, 175, 48, 0], 24, Special),
    ([198, 18, 0, 0], 15, Special),
    ([198, 51, 100, 0], 24, Special),
    ([203, 0, 113, 0], 24, Special),
    ([224, 0, 0, 0], 4, Special),
    ([240, 0, 0, 0], 4, Special),
];

/// First three groups, prefix length, standing; the first row that fits. What fits none is public
/// within 2000::/3 and special elsewhere.
const V6: [([u16; 3], u32, Standing); 12] = [
    ([0x64, 0xff9b, 1], 48, EmbeddedV4),
    ([0x2001, 0, 0], 32, EmbeddedV4),
    ([0x2001, 0, 0], 23, Special),
    ([0x2001, 0xdb8, 0], 32, Special),
    ([0x2002, 0, 0], 16, EmbeddedV4),
    ([0x2620, 0x4f, 0x8000], 48, Special),
    ([0x3fff, 0, 0], 20, Special),
    ([0xfc00, 0, 0], 7, Private),
    ([0xfe80, 0, 0], 10, Private),
    ([0xfec0, 0, 0], 10, Special),
    ([0xff00, 0, 0], 8, Special),
    ([0x2000, 0, 0], 3, Public),
];

/// Forms that end in an IPv4 address: v4-compatible, v4-mapped, v4-translated and NAT64.
const EMBEDDED: [u128; 4] = [0, 0xffff << 32, 0xffff << 48, 0x0064_ff9b << 96];

/// How `ip` stands.
pub(super) fn standing(ip: IpAddr) -> Standing {
    if METADATA.contains(&ip) {
        return Metadata;
    }
    match ip {
        IpAddr::V4(ip) => standing_v4(ip),
        IpAddr::V6(ip) => standing_v6(ip),
    }
}

fn standing_v4(ip: Ipv4Addr) -> Standing {
    let found = V4.iter().find(|(net, length, _)| {
        let differing = ip.to_bits() ^ u32::from_be_bytes(*net);
        differing.leading_zeros() >= *length
    });
    found.map_or(Public, |(_, _, standing)| *standing)
}

fn standing_v6(ip: Ipv6Addr) -> Standing {
    if ip.is_loopback() {
        return Private;
    }
    if ip.is_unspecified() {
        return Special;
    }
    let bits = ip.to_bits();
    if EMBEDDED.contains(&(bits & !0xffff_ffff)) {
        return EmbeddedV4;
    }
    let found = V6.iter().find(|([a, b, c], length, _)| {
        let net = Ipv6Addr::new(*a, *b, *c, 0, 0, 0, 0, 0).to_bits();
        (bits ^ net).leading_zeros() >= *length
    });
    found.map_or(Special, |(_, _, standing)| *standing)
}

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, public neighbour below, first, last, public neighbour above; `-` is none.
    const RANGES: &str = "
        special  this-network    -                  0.0.0.0          0.255.255.255        1.0.0.0
        private  ten             9.255.255.255      10.0.0.0         10.255.255.255       11.0.0.0
        private  shared          100.63.255.255     100.64.0.0       100.127.255.255      100.128.0.0
        private  loopback        126.255.255.255    127.0.0.0        127.255.255.255      128.0.0.0
        private  link-local      169.253.255.255    169.254.0.0      169.254.255.255      169.255.0.0
        private  sixteen         172.15.255.255     172.16.0.0       172.31.255.255       172.32.0.0
        special  protocols       191.255.255.255    192.0.0.0        192.0.0.255          192.0.1.0
        special  docs-1          192.0.1.255        192.0.2.0        192.0.2.255          192.0.3.0
        special  as112           192.31.195.255     192.31.196.0     192.31.196.255       192.31.197.0
        special  amt             192.52.192.255     192.52.193.0     192.52.193.255       192.52.194.0
        special  6to4-relay      192.88.98.255      192.88.99.0      192.88.99.255        192.88.100.0
        private  home            192.167.255.255    192.168.0.0      192.168.255.255      192.169.0.0
        special  as112-direct    192.175.47.255     192.175.48.0     192.175.48.255       192.175.49.0
        special  benchmarks      198.17.255.255     198.18.0.0       198.19.255.255       198.20.0.0
        special  docs-2          198.51.99.255      198.51.100.0     198.51.100.255       198.51.101.0
        special  docs-3          203.0.112.255      203.0.113.0      203.0.113.255        203.0.114.0
        special  class-d-and-e   223.255.255.255    224.0.0.0        255.255.255.255      -
        metadata azure           168.63.129.15      168.63.129.16    168.63.129.16        168.63.129.17
        embedded teredo          2000:ffff:ffff::   2001::           2001:0:ffff:ffff::   -
        special  ietf            -                  2001:1::         2001:1ff:ffff::      2001:200::
        special  docs-v6         2001:db7:ffff::    2001:db8::       2001:db8:ffff::      2001:db9::
        embedded 6to4            2001:ffff:ffff::   2002::           2002:ffff:ffff::     2003::
        special  as112-v6        2620:4f:7fff::     2620:4f:8000::   2620:4f:8000:ffff::  2620:4f:8001::
        special  docs-v6-again   3ffe:ffff::        3fff::           3fff:fff:ffff::      3fff:1000::
        special  not-unicast     3fff:ffff:ffff::   4000::           fbff:ffff::          -
        private  unique-local    -                  fc00::           fdff:ffff::          -
        private  link-local-v6   -                  fe80::           febf:ffff::          -
        special  site-local      -                  fec0::           feff:ffff::          -
        special  multicast       -                  ff00::           ffff:ffff::          -
        embedded v4-compatible   -                  ::2              ::255.255.255.255    -
        embedded v4-mapped       -                  ::ffff:0.0.0.0   ::ffff:8.8.8.8       -
        embedded v4-translated   -                  ::ffff:0:0:0     ::ffff:0:808:808     -
        embedded nat64           -                  64:ff9b::        64:ff9b::808:808     -
        embedded local-nat64     -                  64:ff9b:1::      64:ff9b:1:ffff::     -
        special  discard         -                  100::            100:0:0:1:ffff::     -
        special  segment-routing -                  5f00::           5f00:ffff::          -
        special  unspecified     -                  ::               ::                   -
        private  loopback-v6     -                  ::1              ::1                  -
    ";

    // EDGE-96
    #[test]
    fn ranges_begin_and_end_where_the_registries_say() {
        let standing_of = |text: &str| standing(text.parse().unwrap());
        for row in RANGES.lines().filter(|row| !row.trim().is_empty()) {
            let columns: Vec<&str> = row.split_whitespace().collect();
            let [want, _, below, first, last, above] = columns[..] else {
                panic!("{row}")
            };
            let want = match want {
                "private" => Private,
                "special" => Special,
                "metadata" => Metadata,
                _ => EmbeddedV4,
            };
            assert_eq!(
                (standing_of(first), standing_of(last)),
                (want, want),
                "{row}"
            );
            for neighbour in [below, above].into_iter().filter(|text| *text != "-") {
                assert_eq!(standing_of(neighbour), Public, "{row}");
            }
        }
    }

    // EDGE-97
    #[test]
    fn metadata_services_are_known_by_address() {
        for text in [
            "169.254.169.254",
            "169.254.170.2",
            "169.254.170.23",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
        ] {
            assert_eq!(standing(text.parse().unwrap()), Metadata, "{text}");
        }
        assert_eq!(standing("169.254.169.253".parse().unwrap()), Private);
    }

    proptest::proptest! {
        /// What the standard library calls loopback, private, link-local, documentation, multicast
        /// or unspecified is never public here.
        #[test]
        fn nothing_the_standard_library_knows_as_special_is_public(bits: u32) {
            let ip = Ipv4Addr::from_bits(bits);
            let known = ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_multicast()
                || ip.is_broadcast() || ip.is_documentation() || ip.is_unspecified();
            proptest::prop_assert!(!known || standing(ip.into()) != Public);
            proptest::prop_assert_eq!(standing(ip.to_ipv6_mapped().into()), EmbeddedV4);
        }

        #[test]
        fn only_global_unicast_is_public(bits: u128) {
            let ip = Ipv6Addr::from_bits(bits);
            proptest::prop_assert!(standing(ip.into()) != Public || bits >> 125 == 1);
        }
    }
}
