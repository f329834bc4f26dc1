//! What a limit is counted by.

use std::net::IpAddr;
use tollkeep_policy::client_ip::prefix_key;
use tollkeep_policy::rate::RateClass;

/// What a key is counted for. Where the table is full, each class has its own cells: a flood of
/// addresses makes no limit of tokens coarser.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Class {
    /// All data requests.
    Global,
    /// One client address.
    Ip,
    /// One route.
    Route,
    /// One access token.
    Token,
    /// One project.
    Project,
    /// Failing credentials of one address (ID-56).
    FailedCredential,
}

impl Class {
    /// How many there are.
    pub(crate) const COUNT: usize = 6;

    /// The class as a caller is told of it.
    pub const fn told_as(self) -> RateClass {
        match self {
            Self::Global => RateClass::Global,
            Self::Ip | Self::FailedCredential => RateClass::Ip,
            Self::Route => RateClass::Route,
            Self::Token => RateClass::Token,
            Self::Project => RateClass::Project,
        }
    }

    pub(crate) const fn index(self) -> usize {
        match self {
            Self::Global => 0,
            Self::Ip => 1,
            Self::Route => 2,
            Self::Token => 3,
            Self::Project => 4,
            Self::FailedCredential => 5,
        }
    }
}

/// What one limit is counted by: a class, a route or none, and an address, an id or nothing. All
/// who use a key use one quota with it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Key {
    class: Class,
    route: u32,
    scope: [u64; 2],
}

impl Key {
    /// The one key of a class.
    pub const fn whole(class: Class) -> Self {
        Self {
            class,
            route: 0,
            scope: [0; 2],
        }
    }

    /// An address; of IPv6 its /64.
    pub const fn addr(class: Class, ip: IpAddr) -> Self {
        let bits = match prefix_key(ip) {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
            IpAddr::V6(ip) => ip.to_bits(),
        };
        Self::id(class, bits.to_be_bytes())
    }

    /// An id, such as that of a project.
    pub const fn id(class: Class, id: [u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = id;
        let scope = [
            u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            u64::from_be_bytes([i, j, k, l, m, n, o, p]),
        ];
        Self {
            class,
            route: 0,
            scope,
        }
    }

    /// The same, counted apart for one route: its number in the settings.
    #[must_use]
    pub const fn on_route(self, route: u32) -> Self {
        Self { route, ..self }
    }

    /// What it is counted for.
    pub const fn class(self) -> Class {
        self.class
    }

    /// The number of its route, 0 without one.
    pub const fn route(self) -> u32 {
        self.route
    }

    /// The address or id it is counted by, zeros without one.
    pub const fn scope(self) -> [u64; 2] {
        self.scope
    }
}
