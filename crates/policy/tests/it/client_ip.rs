//! Who the client is, whatever the forwarding fields say.

use ipnet::IpNet;
use proptest::prelude::*;
use std::net::IpAddr;
use tollkeep_policy::client_ip::{ClientIpRules, ClientIpSource, ClientScheme, fold, prefix_key};

const TRUSTED: [&str; 4] = [
    "10.0.0.0/8",
    "127.0.0.1/32",
    "2001:db8:7::/48",
    "::ffff:172.16.0.0/108",
];

fn rules(source: ClientIpSource, hops: Option<u32>) -> ClientIpRules {
    let trusted: Vec<IpNet> = TRUSTED.iter().map(|net| net.parse().unwrap()).collect();
    ClientIpRules::new(&trusted, source, hops)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// `client!` is that client and a report of spoofing.
fn resolve(rules: &ClientIpRules, peer: &str, fields: &[(&str, &str)]) -> String {
    let fields = fields
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    let client = rules.resolve(ip(peer), fields);
    format!("{}{}", client.ip, if client.spoof { "!" } else { "" })
}

type Row = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static str,
);

const XFF: &str = "X-Forwarded-For";

#[rustfmt::skip]
const X_FORWARDED_FOR: [Row; 46] = [
    ("stranger, no field", "198.51.100.9", &[], "198.51.100.9"),
    ("stranger forges", "198.51.100.9", &[(XFF, "1.2.3.4")], "198.51.100.9"),
    ("stranger forges a trusted one", "198.51.100.9", &[(XFF, "10.0.0.1")], "198.51.100.9"),
    ("stranger forges loopback", "198.51.100.9", &[(XFF, "127.0.0.1")], "198.51.100.9"),
    ("stranger sends noise", "198.51.100.9", &[(XFF, "unknown")], "198.51.100.9"),
    ("stranger forges all fields", "198.51.100.9", &[("Forwarded", "for=1.2.3.4"), ("X-Real-IP", "1.2.3.4")], "198.51.100.9"),
    ("neighbour of a trusted net", "11.0.0.1", &[(XFF, "1.2.3.4")], "11.0.0.1"),
    ("mapped stranger", "::ffff:198.51.100.9", &[(XFF, "1.2.3.4")], "198.51.100.9"),
    ("proxy, no field", "10.0.0.1", &[], "10.0.0.1"),
    ("proxy, one", "10.0.0.1", &[(XFF, "1.2.3.4")], "1.2.3.4"),
    ("field in capitals", "10.0.0.1", &[("X-FORWARDED-FOR", "1.2.3.4")], "1.2.3.4"),
    ("mapped proxy", "::ffff:10.0.0.1", &[(XFF, "1.2.3.4")], "1.2.3.4"),
    ("proxy of a mapped net", "172.16.5.5", &[(XFF, "1.2.3.4")], "1.2.3.4"),
    ("loopback proxy", "127.0.0.1", &[(XFF, "1.2.3.4")], "1.2.3.4"),
    ("other loopback address", "127.0.0.2", &[(XFF, "1.2.3.4")], "127.0.0.2"),
    ("v6 proxy", "2001:db8:7::1", &[(XFF, "1.2.3.4")], "1.2.3.4"),
    ("v6 neighbour", "2001:db8:8::1", &[(XFF, "1.2.3.4")], "2001:db8:8::1"),
    ("client forged a left one", "10.0.0.1", &[(XFF, "6.6.6.6, 1.2.3.4")], "1.2.3.4"),
    ("client forged a trusted left one", "10.0.0.1", &[(XFF, "10.9.9.9, 1.2.3.4")], "1.2.3.4"),
    ("client forged noise on the left", "10.0.0.1", &[(XFF, "<script>, 1.2.3.4")], "1.2.3.4"),
    ("two proxies", "10.0.0.1", &[(XFF, "1.2.3.4, 10.0.0.2")], "1.2.3.4"),
    ("two proxies, forged left", "10.0.0.1", &[(XFF, "6.6.6.6, 1.2.3.4, 10.0.0.2")], "1.2.3.4"),
    ("two lines", "10.0.0.1", &[(XFF, "6.6.6.6"), (XFF, "1.2.3.4")], "1.2.3.4"),
    ("two lines, two proxies", "10.0.0.1", &[(XFF, "6.6.6.6, 1.2.3.4"), (XFF, "10.0.0.2, 10.0.0.3")], "1.2.3.4"),
    ("all trusted", "10.0.0.1", &[(XFF, "10.0.0.4, 10.0.0.3, 10.0.0.2")], "10.0.0.4"),
    ("no blanks", "10.0.0.1", &[(XFF, "6.6.6.6,1.2.3.4,10.0.0.2")], "1.2.3.4"),
    ("many blanks", "10.0.0.1", &[(XFF, " \t1.2.3.4\t , 10.0.0.2 ")], "1.2.3.4"),
    ("v4 with port", "10.0.0.1", &[(XFF, "1.2.3.4:5678")], "1.2.3.4"),
    ("v6", "10.0.0.1", &[(XFF, "2606:4700::1")], "2606:4700::1"),
    ("v6 in brackets", "10.0.0.1", &[(XFF, "[2606:4700::1]")], "2606:4700::1"),
    ("v6 with port", "10.0.0.1", &[(XFF, "[2606:4700::1]:443")], "2606:4700::1"),
    ("v6 with zone", "10.0.0.1", &[(XFF, "fe80::1%eth0")], "fe80::1"),
    ("mapped client", "10.0.0.1", &[(XFF, "::ffff:1.2.3.4")], "1.2.3.4"),
    ("mapped proxy in the list", "10.0.0.1", &[(XFF, "1.2.3.4, ::ffff:10.0.0.2")], "1.2.3.4"),
    ("unknown on the right", "10.0.0.1", &[(XFF, "1.2.3.4, unknown")], "10.0.0.1!"),
    ("unknown behind a proxy", "10.0.0.1", &[(XFF, "1.2.3.4, unknown, 10.0.0.2")], "10.0.0.2!"),
    ("name", "10.0.0.1", &[(XFF, "client.example.com")], "10.0.0.1!"),
    ("empty", "10.0.0.1", &[(XFF, "")], "10.0.0.1!"),
    ("empty on the right", "10.0.0.1", &[(XFF, "1.2.3.4,")], "10.0.0.1!"),
    ("port too large", "10.0.0.1", &[(XFF, "1.2.3.4:65536")], "10.0.0.1!"),
    ("port of letters", "10.0.0.1", &[(XFF, "1.2.3.4:http")], "10.0.0.1!"),
    ("port with a sign", "10.0.0.1", &[(XFF, "[2606:4700::1]:+1")], "10.0.0.1!"),
    ("quoted", "10.0.0.1", &[(XFF, "\"1.2.3.4\"")], "10.0.0.1!"),
    ("octal", "10.0.0.1", &[(XFF, "01.2.3.4")], "10.0.0.1!"),
    ("number", "10.0.0.1", &[(XFF, "16909060")], "10.0.0.1!"),
    ("separated by blanks", "10.0.0.1", &[(XFF, "6.6.6.6 1.2.3.4")], "10.0.0.1!"),
];

// EDGE-60 EDGE-62
#[test]
fn x_forwarded_for_is_believed_as_far_as_our_proxies_wrote_it() {
    let rules = rules(ClientIpSource::XForwardedFor, None);
    for (name, peer, fields, want) in X_FORWARDED_FOR {
        assert_eq!(resolve(&rules, peer, fields), want, "{name}");
    }
}

#[rustfmt::skip]
const FORWARDED: [Row; 26] = [
    ("stranger forges", "198.51.100.9", &[("Forwarded", "for=1.2.3.4")], "198.51.100.9"),
    ("one", "10.0.0.1", &[("Forwarded", "for=1.2.3.4")], "1.2.3.4"),
    ("in capitals", "10.0.0.1", &[("FORWARDED", "FOR=1.2.3.4")], "1.2.3.4"),
    ("other parameters", "10.0.0.1", &[("Forwarded", "by=10.0.0.1;for=1.2.3.4;proto=https;host=x")], "1.2.3.4"),
    ("empty parameters", "10.0.0.1", &[("Forwarded", ";for=1.2.3.4; ;")], "1.2.3.4"),
    ("quoted v4 with port", "10.0.0.1", &[("Forwarded", "for=\"1.2.3.4:80\"")], "1.2.3.4"),
    ("v6", "10.0.0.1", &[("Forwarded", "for=\"[2606:4700::1]\"")], "2606:4700::1"),
    ("v6 with port", "10.0.0.1", &[("Forwarded", "for=\"[2606:4700::1]:443\"")], "2606:4700::1"),
    ("two proxies", "10.0.0.1", &[("Forwarded", "for=6.6.6.6, for=1.2.3.4, for=10.0.0.2")], "1.2.3.4"),
    ("two lines", "10.0.0.1", &[("Forwarded", "for=6.6.6.6"), ("Forwarded", "for=1.2.3.4")], "1.2.3.4"),
    ("comma in quotes", "10.0.0.1", &[("Forwarded", "for=1.2.3.4;x=\", for=6.6.6.6\"")], "1.2.3.4"),
    ("semicolon in quotes", "10.0.0.1", &[("Forwarded", "x=\";for=6.6.6.6;\";for=1.2.3.4")], "1.2.3.4"),
    ("escaped quote", "10.0.0.1", &[("Forwarded", "x=\"\\\", for=6.6.6.6\";for=1.2.3.4")], "1.2.3.4"),
    ("client's open quote on a line of its own", "10.0.0.1", &[("Forwarded", "for=\""), ("Forwarded", "for=1.2.3.4")], "1.2.3.4"),
    ("client's open quote swallows our proxy", "10.0.0.1", &[("Forwarded", "for=6.6.6.6;x=\", for=1.2.3.4")], "10.0.0.1!"),
    ("client's quote closed by our proxy", "10.0.0.1", &[("Forwarded", "for=6.6.6.6;x=\", for=1.2.3.4;by=\"[::1]\"")], "10.0.0.1!"),
    ("unknown", "10.0.0.1", &[("Forwarded", "for=unknown")], "10.0.0.1!"),
    ("made up", "10.0.0.1", &[("Forwarded", "for=_gazonk")], "10.0.0.1!"),
    ("made up port", "10.0.0.1", &[("Forwarded", "for=\"1.2.3.4:_p\"")], "10.0.0.1!"),
    ("two addresses", "10.0.0.1", &[("Forwarded", "for=1.2.3.4;for=6.6.6.6")], "10.0.0.1!"),
    ("no address", "10.0.0.1", &[("Forwarded", "proto=https")], "10.0.0.1!"),
    ("blank before the equals sign", "10.0.0.1", &[("Forwarded", "for =1.2.3.4")], "10.0.0.1!"),
    ("v6 without quotes", "10.0.0.1", &[("Forwarded", "for=[2606:4700::1]")], "10.0.0.1!"),
    ("escaped address", "10.0.0.1", &[("Forwarded", "for=\"1.2.3\\.4\"")], "10.0.0.1!"),
    ("empty", "10.0.0.1", &[("Forwarded", "")], "10.0.0.1!"),
    ("only the other field", "10.0.0.1", &[(XFF, "6.6.6.6"), ("X-Real-IP", "6.6.6.6")], "10.0.0.1"),
];

// EDGE-60
#[test]
fn forwarded_is_read_by_its_grammar() {
    let rules = rules(ClientIpSource::Forwarded, None);
    for (name, peer, fields, want) in FORWARDED {
        assert_eq!(resolve(&rules, peer, fields), want, "{name}");
    }
}

// EDGE-60
#[test]
fn exactly_one_source_is_read() {
    let named = ClientIpSource::Named("cf-connecting-ip".into());
    let all = [
        (XFF, "1.1.1.1"),
        ("Forwarded", "for=2.2.2.2"),
        ("X-Real-IP", "3.3.3.3"),
        ("CF-Connecting-IP", "4.4.4.4"),
        ("X-Forwarded-Host", "6.6.6.6"),
        ("X-Client-IP", "6.6.6.6"),
        ("X_Forwarded_For", "6.6.6.6"),
    ];
    #[rustfmt::skip]
    let rows = [
        (ClientIpSource::XForwardedFor, "1.1.1.1"),
        (ClientIpSource::Forwarded, "2.2.2.2"),
        (ClientIpSource::XRealIp, "3.3.3.3"),
        (named, "4.4.4.4"),
    ];
    for (source, want) in rows {
        let rules = rules(source, None);
        assert_eq!(resolve(&rules, "10.0.0.1", &all), want);
        assert_eq!(resolve(&rules, "10.0.0.1", &all[4..]), "10.0.0.1");
        assert_eq!(resolve(&rules, "198.51.100.9", &all), "198.51.100.9");
    }
}

// EDGE-60
#[test]
fn hops_stop_the_walk() {
    #[rustfmt::skip]
    let rows = [
        ("one hop, a client on loopback", Some(1), "6.6.6.6, 127.0.0.1", "127.0.0.1"),
        ("one hop, a client in a trusted net", Some(1), "6.6.6.6, 10.0.0.2", "10.0.0.2"),
        ("one hop, forged left", Some(1), "6.6.6.6, 1.2.3.4", "1.2.3.4"),
        ("two hops", Some(2), "6.6.6.6, 10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("two hops, noise beyond", Some(2), "unknown, 10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("two hops, a stranger at the first", Some(2), "6.6.6.6, 1.2.3.4", "1.2.3.4"),
        ("more hops than entries", Some(9), "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("no such stop", None, "6.6.6.6, 10.0.0.3, 10.0.0.2", "6.6.6.6"),
    ];
    for (name, hops, value, want) in rows {
        let rules = rules(ClientIpSource::XForwardedFor, hops);
        assert_eq!(resolve(&rules, "10.0.0.1", &[(XFF, value)]), want, "{name}");
    }
}

// EDGE-60
#[test]
fn a_field_that_is_too_long_is_not_believed() {
    let rules = rules(ClientIpSource::XForwardedFor, None);
    let list = |count: usize| vec!["1.2.3.4"; count].join(",");
    let (fits, over) = (list(32), list(33));
    let (padded, too_padded) = (
        format!("{}1.2.3.4", " ".repeat(2_041)),
        format!("{}1.2.3.4", " ".repeat(2_042)),
    );
    #[rustfmt::skip]
    let rows = [
        ("32 elements", vec![fits.as_str()], "1.2.3.4"),
        ("33 elements", vec![over.as_str()], "10.0.0.1"),
        ("33 elements on two lines", vec![fits.as_str(), "1.2.3.4"], "10.0.0.1"),
        ("2 KiB", vec![padded.as_str()], "1.2.3.4"),
        ("2 KiB and a byte", vec![too_padded.as_str()], "10.0.0.1"),
        ("2 KiB and a byte on two lines", vec![padded.as_str(), "1"], "10.0.0.1"),
    ];
    for (name, lines, want) in rows {
        let fields: Vec<_> = lines.into_iter().map(|line| (XFF, line)).collect();
        assert_eq!(resolve(&rules, "10.0.0.1", &fields), want, "{name}");
    }
}

// EDGE-62
#[test]
fn the_scheme_is_believed_from_proxies_that_say_it_clearly() {
    let rules = rules(ClientIpSource::XForwardedFor, None);
    let scheme = |peer: &str, values: &[&str]| {
        let fields = values
            .iter()
            .map(|value| (&b"X-Forwarded-Proto"[..], value.as_bytes()));
        rules.forwarded_scheme(ip(peer), fields)
    };
    assert_eq!(scheme("10.0.0.1", &["https"]), Some(ClientScheme::Https));
    assert_eq!(scheme("10.0.0.1", &["http"]), Some(ClientScheme::Http));
    #[rustfmt::skip]
    let rows = [
        ("stranger", "198.51.100.9", &["https"][..]),
        ("none", "10.0.0.1", &[]),
        ("two", "10.0.0.1", &["https", "https"]),
        ("list", "10.0.0.1", &["https,http"]),
        ("capitals", "10.0.0.1", &["HTTPS"]),
        ("other", "10.0.0.1", &["wss"]),
        ("empty", "10.0.0.1", &[""]),
    ];
    for (name, peer, values) in rows {
        assert_eq!(scheme(peer, values), None, "{name}");
    }
}

// EDGE-62
#[test]
fn limits_go_by_v4_address_and_v6_network() {
    #[rustfmt::skip]
    let rows = [
        ("v4", "1.2.3.4", "1.2.3.4"),
        ("mapped", "::ffff:1.2.3.4", "1.2.3.4"),
        ("v6", "2606:4700:1:2:3:4:5:6", "2606:4700:1:2::"),
        ("v6 last of its network", "2606:4700:1:2:ffff:ffff:ffff:ffff", "2606:4700:1:2::"),
        ("v6 next network", "2606:4700:1:3::", "2606:4700:1:3::"),
    ];
    for (name, given, want) in rows {
        assert_eq!(prefix_key(ip(given)), ip(want), "{name}");
    }
    assert_eq!(fold(ip("::ffff:1.2.3.4")), ip("1.2.3.4"));
}

proptest! {
    /// Whatever is to the left of an address that is no proxy of ours, it changes nothing.
    #[test]
    fn nothing_a_client_writes_is_seen(forged in r"[ -~]{0,60}", proxies in 0..4_usize) {
        let value = format!("{forged}, 1.2.3.4{}", ", 10.0.0.2".repeat(proxies));
        let rules = rules(ClientIpSource::XForwardedFor, None);
        prop_assume!(value.split(',').count() <= 32);
        prop_assert_eq!(resolve(&rules, "10.0.0.1", &[(XFF, &value)]), "1.2.3.4");
    }

    #[test]
    fn a_stranger_is_always_itself(value in prop::collection::vec(any::<u8>(), 0..80), bits: u32) {
        let peer = IpAddr::from(bits.to_be_bytes());
        for source in [ClientIpSource::XForwardedFor, ClientIpSource::Forwarded] {
            let rules = rules(source, None);
            let fields = [(&b"x-forwarded-for"[..], &value[..]), (&b"forwarded"[..], &value[..])];
            let client = rules.resolve(peer, fields.into_iter());
            prop_assert!(rules.trusts(peer) || (client.ip == peer && !client.spoof));
        }
    }
}
