//! A URL somebody gives us, the addresses its name resolves to, and where a redirect would lead.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tollkeep_policy::egress::{
    EgressPolicy, EgressUrl, Exceptions, Giver, Purpose, check_redirect, parse_url,
    relayed_location,
};

/// The first line is a URL, each further one an address (as text, or as its 4 or 16 bytes); all
/// of what follows the first line is a `Location` as well.
///
/// Laws: a URL that is taken is written in one way, which is read back; without exceptions only
/// public addresses are vetted, by a second opinion too; our own listeners and, unless said,
/// metadata services never are; a relayed `Location` stays where it is followed.
pub fn egress(data: &[u8]) {
    let (line, rest) = match data.iter().position(|byte| *byte == b'\n') {
        Some(at) => (
            data.get(..at).unwrap_or_default(),
            data.get(at + 1..).unwrap_or_default(),
        ),
        None => (data, &[][..]),
    };
    let Ok(text) = std::str::from_utf8(line) else {
        return;
    };
    let ips: Vec<IpAddr> = rest
        .split(|byte| *byte == b'\n')
        .filter_map(address)
        .collect();
    for purpose in Purpose::ALL {
        for giver in [Giver::Tenant, Giver::Operator] {
            if let Ok(url) = parse_url(text, purpose, giver) {
                check_text(&url);
                check_vetted(&url, &ips);
                check_location(&url, rest);
            }
        }
    }
}

fn address(line: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(line)
        .ok()
        .and_then(|text| text.trim().parse().ok());
    let v4 = || <[u8; 4]>::try_from(line).ok().map(IpAddr::from);
    let v6 = || <[u8; 16]>::try_from(line).ok().map(IpAddr::from);
    text.or_else(v4).or_else(v6)
}

/// Longest URL that is read.
const URL_BYTES_MAX: usize = 8192;

/// A URL's parts are written into heads: nothing in them may end a line or a word.
fn check_text(url: &EgressUrl) {
    let parts = [url.authority(), url.path(), url.query().unwrap_or_default()];
    for part in parts {
        assert!(
            part.bytes().all(|byte| (0x21..0x7f).contains(&byte)),
            "{url}"
        );
    }
    assert!(
        !url.authority().contains(['@', '/', '\\', '?', '#', '%']),
        "{url}"
    );
    assert!(
        url.giver() == Giver::Operator || url.scheme().is_tls(),
        "{url}"
    );
    let text = url.to_string();
    // Written out, what was not ASCII is three times as long: too long to be read, maybe.
    if text.len() <= URL_BYTES_MAX {
        assert_eq!(
            parse_url(&text, url.purpose(), url.giver()).as_ref(),
            Ok(url),
            "{url}"
        );
    }
}

fn check_vetted(url: &EgressUrl, ips: &[IpAddr]) {
    let own = SocketAddr::new(Ipv4Addr::new(203, 0, 112, 7).into(), url.port());
    let policy = EgressPolicy::new(Vec::new(), Vec::new(), vec![own]);
    let addrs: Vec<_> = ips
        .iter()
        .map(|ip| SocketAddr::new(*ip, url.port()))
        .collect();
    let none = Exceptions::default();
    let admitted = policy.admit(url, &none);
    assert!(
        admitted.is_err() || url.giver() == Giver::Operator || matches!(url.port(), 80 | 443),
        "{url}"
    );
    if let Ok(vetted) = policy.vet(url, &none, &addrs) {
        assert!(admitted.is_ok() && vetted.len() == addrs.len(), "{url}");
        for addr in &vetted {
            assert!(
                is_public(addr.addr().ip()) && addr.addr() != own,
                "{url} at {}",
                addr.addr()
            );
        }
    }
    let everything = [IpAddr::from([0; 4]), IpAddr::from([0; 16])];
    let nets = everything
        .map(|ip| ipnet::IpNet::new(ip, 0))
        .into_iter()
        .flatten()
        .collect();
    let lifted = Exceptions {
        allow_private: nets,
        allow_metadata: false,
    };
    if let Ok(vetted) = policy.vet(url, &lifted, &addrs) {
        assert!(
            url.giver() == Giver::Operator || policy.vet(url, &none, &addrs).is_ok(),
            "{url}"
        );
        for addr in &vetted {
            assert!(
                addr.addr() != own && !is_metadata(addr.addr().ip()),
                "{url} at {}",
                addr.addr()
            );
        }
    }
}

/// A second opinion, rougher than the policy's own tables.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, ..] = ip.octets();
    let shared = a == 100 && (64..128).contains(&b);
    !(ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_documentation() || shared)
        && (1..224).contains(&a)
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let [a, b, ..] = ip.segments();
    let embeds_v4 = a == 0x2002 || (a == 0x2001 && b == 0);
    a & 0xe000 == 0x2000 && !embeds_v4 && !(a == 0x2001 && b == 0xdb8)
}

fn is_metadata(ip: IpAddr) -> bool {
    ip == IpAddr::from([169, 254, 169, 254]) || ip == IpAddr::from([100, 100, 100, 200])
}

/// Whoever follows a relayed `Location` from our origin stays there.
fn check_location(url: &EgressUrl, value: &[u8]) {
    for status in [200, 301, 302, 307, 308] {
        let usable = check_redirect(url.purpose(), status).is_ok();
        assert!(usable == (url.purpose() == Purpose::Upstream || status == 200));
    }
    let Some(location) = relayed_location(value, url) else {
        return;
    };
    assert!(
        location.iter().all(|byte| *byte > b' ' && *byte != 0x7f),
        "{}",
        location.escape_ascii()
    );
    let (Ok(text), Ok(base)) = (
        std::str::from_utf8(&location),
        url::Url::parse("https://gw.test/a/b"),
    ) else {
        return;
    };
    if let Ok(followed) = base.join(text) {
        assert_eq!(followed.origin(), base.origin(), "{text}");
    }
}
