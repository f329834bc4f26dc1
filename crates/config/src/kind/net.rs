//! Addresses and networks.

use super::list::{List, list};
use super::number::as_switch;
use super::{Kind, Parsed, Shape, Wrong, parsed};
use crate::tree::Node;
use ipnet::IpNet;
use serde_json::json;
use std::net::{IpAddr, SocketAddr};
use tollkeep_policy::ip_list::{parse_denied, parse_network};

/// An IP address; `localhost` is 127.0.0.1.
pub(crate) const fn address() -> Parsed<IpAddr> {
    parsed("IP address", |text| {
        let text = if text == "localhost" {
            "127.0.0.1"
        } else {
            text
        };
        let bare = text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'));
        bare.unwrap_or(text)
            .parse::<IpAddr>()
            .map(|ip| ip.to_canonical())
            .map_err(|_| format!("want an IP address, not {text:?}"))
    })
}

/// An address and port.
pub(crate) const fn socket() -> Parsed<SocketAddr> {
    parsed("address and port such as `127.0.0.1:53`", |text| {
        text.parse()
            .map_err(|_| format!("want an address and port such as `127.0.0.1:53`, not {text:?}"))
    })
}

/// A network in CIDR form; a bare address is that one address.
pub(crate) const fn network() -> Parsed<IpNet> {
    parsed("address or CIDR such as `10.0.0.0/8`", parse_network)
}

/// A network to be denied: as [`network`], but one IPv6 address stands for its /64.
pub(crate) const fn denied_network() -> Parsed<IpNet> {
    parsed(
        "address (of IPv6 its /64) or CIDR such as `10.0.0.0/8`",
        parse_denied,
    )
}

/// Networks, or `true` for all that are private.
pub(crate) struct NetworksOrAll(List<Parsed<IpNet>>);

/// A list of networks, or `true` for loopback, RFC 1918 and unique local addresses.
pub(crate) const fn networks_or_all_private() -> NetworksOrAll {
    NetworksOrAll(list(network()))
}

const PRIVATE: [&str; 6] = [
    "127.0.0.0/8",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "::1/128",
    "fc00::/7",
];

impl Kind for NetworksOrAll {
    type Value = Vec<IpNet>;

    fn shape(&self) -> Shape {
        let list = self.0.shape();
        let schema = json!({"anyOf": [{"type": "boolean"}, list.schema]});
        let words = format!("{}; or `true` for {}", list.words, PRIVATE.join(", "));
        Shape::new(schema, words)
    }

    fn read(&self, node: &Node) -> Result<Self::Value, Vec<Wrong>> {
        match as_switch(node) {
            Some(false) => Ok(Vec::new()),
            Some(true) => Ok(PRIVATE.iter().filter_map(|net| net.parse().ok()).collect()),
            None => self.0.read(node),
        }
    }
}
