//! Who may come at all: allow and deny lists of addresses, compiled so that a look-up is a search
//! in a sorted list and allocates nothing.

use crate::client_ip::{fold, fold_net};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A set of addresses, whatever networks it was written as.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct IpSet {
    /// First and last addresses of runs that neither meet nor touch, in order.
    v4: Box<[(u32, u32)]>,
    v6: Box<[(u128, u128)]>,
}

impl IpSet {
    /// The addresses of these networks. A v4-mapped network is the IPv4 one.
    pub fn new(nets: impl IntoIterator<Item = IpNet>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for net in nets {
            match fold_net(net) {
                IpNet::V4(net) => v4.push((net.network().to_bits(), net.broadcast().to_bits())),
                IpNet::V6(net) => v6.push((net.network().to_bits(), net.broadcast().to_bits())),
            }
        }
        Self {
            v4: merged(v4, |last| last.checked_add(1)),
            v6: merged(v6, |last| last.checked_add(1)),
        }
    }

    /// HOT. Whether the address is one of the set.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match fold(ip) {
            IpAddr::V4(ip) => within(&self.v4, ip.to_bits()),
            IpAddr::V6(ip) => within(&self.v6, ip.to_bits()),
        }
    }

    /// Whether no address is one of the set.
    pub const fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }
}

fn merged<T: Copy + Ord>(mut runs: Vec<(T, T)>, after: impl Fn(T) -> Option<T>) -> Box<[(T, T)]> {
    runs.sort_unstable();
    let mut merged: Vec<(T, T)> = Vec::with_capacity(runs.len());
    for (first, last) in runs {
        match merged.last_mut() {
            // Behind the last address of all there is nothing that would not touch it.
            Some(run) if after(run.1).is_none_or(|after| first <= after) => {
                run.1 = run.1.max(last);
            }
            Some(_) | None => merged.push((first, last)),
        }
    }
    merged.into()
}

fn within<T: Copy + Ord>(runs: &[(T, T)], address: T) -> bool {
    let behind = runs.partition_point(|(first, _)| *first <= address);
    let run = behind.checked_sub(1).and_then(|at| runs.get(at));
    run.is_some_and(|(_, last)| address <= *last)
}

/// What an allow list does.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Allow {
    /// There is none: everybody may come.
    #[default]
    Everybody,
    /// Nobody else may come (`deny_all`).
    Only(IpSet),
    /// Everybody may come; these have no limit by address.
    Exempt(IpSet),
}

/// The lists of a listener, as its settings write them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct IpLists {
    /// Who may not come, whatever the allow list says.
    pub deny: IpSet,
    /// Who may.
    pub allow: Allow,
}

/// Entries that operators made while the gateway runs. They join the lists of the settings.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AddedIps {
    /// Denied besides.
    pub deny: IpSet,
    /// Allowed besides. Without an allow list in the settings they are only exempt from the limit
    /// by address: the first entry must not lock everybody else out.
    pub allow: IpSet,
}

impl AddedIps {
    /// Whether nothing was added.
    pub const fn is_empty(&self) -> bool {
        self.deny.is_empty() && self.allow.is_empty()
    }
}

/// What the lists say about an address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Listing {
    /// It may not come.
    Denied,
    /// It may come.
    Passes,
    /// It may come, and has no limit by address.
    Exempt,
}

impl IpLists {
    /// Whether everybody may come and nobody is exempt.
    pub fn is_off(&self) -> bool {
        self.deny.is_empty() && self.allow == Allow::Everybody
    }

    /// What these lists say about an address (EDGE-65).
    pub fn judge(&self, ip: IpAddr) -> Listing {
        self.judge_with(&AddedIps::default(), ip)
    }

    /// HOT. What these lists, and what was added to them, say about an address. Deny beats allow.
    pub fn judge_with(&self, added: &AddedIps, ip: IpAddr) -> Listing {
        if self.deny.contains(ip) || added.deny.contains(ip) {
            return Listing::Denied;
        }
        match &self.allow {
            Allow::Only(set) if set.contains(ip) || added.allow.contains(ip) => Listing::Passes,
            Allow::Only(_) => Listing::Denied,
            Allow::Exempt(set) if set.contains(ip) => Listing::Exempt,
            Allow::Everybody | Allow::Exempt(_) if added.allow.contains(ip) => Listing::Exempt,
            Allow::Everybody | Allow::Exempt(_) => Listing::Passes,
        }
    }
}

/// A network as operators write it: CIDR, or one address. Its v4-mapped form is the IPv4 one.
///
/// # Errors
/// What is wrong with the text; for host bits, the network that was probably meant.
pub fn parse_network(text: &str) -> Result<IpNet, String> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(fold(ip)));
    }
    let net: IpNet = text
        .parse()
        .map_err(|_| format!("want an address or CIDR such as `10.0.0.0/8`, not {text:?}"))?;
    let right = net.trunc();
    if net != right {
        return Err(format!("{net} has host bits set; the network is {right}"));
    }
    Ok(fold_net(net))
}

/// As [`parse_network`], for a deny list: one IPv6 address stands for its /64, all of which one
/// subscriber has (EDGE-62). A network is taken as it is written.
///
/// # Errors
/// As [`parse_network`].
pub fn parse_denied(text: &str) -> Result<IpNet, String> {
    let net = parse_network(text)?;
    match net {
        IpNet::V6(v6) if !text.contains('/') && !v6.addr().is_loopback() => {
            Ok(IpNet::new(net.addr(), 64).map_or(net, |wide| wide.trunc()))
        }
        IpNet::V4(_) | IpNet::V6(_) => Ok(net),
    }
}

/// Whether a network is so wide that an entry for it is probably a slip: shorter than /8, of IPv6
/// than /24 (EDGE-67).
pub const fn is_wide(net: IpNet) -> bool {
    match net {
        IpNet::V4(net) => net.prefix_len() < 8,
        IpNet::V6(net) => net.prefix_len() < 24,
    }
}

/// Whether a network holds a loopback address.
pub fn covers_loopback(net: IpNet) -> bool {
    match fold_net(net) {
        // Networks meet only if one holds the other.
        IpNet::V4(net) => net.network().is_loopback() || net.contains(&Ipv4Addr::LOCALHOST),
        IpNet::V6(net) => net.contains(&Ipv6Addr::LOCALHOST),
    }
}
