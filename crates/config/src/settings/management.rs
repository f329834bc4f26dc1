//! The management listener.

use super::front_door::{FrontDoor, FrontDoorFile};
use super::ip_lists::{self, AllowFile, DenyFile};
use super::oidc::{Oidc, OidcFile};
use super::server::authority;
use super::tls::{Tls, TlsFile, knows_certificates};
use super::{AllowedHosts, DAY_MS, Egress, ms};
use crate::check::Checks;
use crate::field::{KindExt, OnOrOff, from_environment, section, section_or_off};
use crate::kind::{choice, duration, list, network, parsed, secret, switch, whole};
use crate::reader::keys;
use crate::tree::KeyPath;
use ipnet::IpNet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use tollkeep_policy::ip_list::IpLists;
use tollkeep_policy::lockout::LockoutRules;
use tollkeep_types::{AuthorityPattern, Secret};

/// The management listener.
#[derive(Clone, Debug)]
pub struct Management {
    /// Where it listens.
    pub listen: ManagementListen,
    /// TLS towards operators; `None` is clear text.
    pub tls: Option<Tls>,
    /// Authorities served.
    pub allowed_hosts: AllowedHosts,
    /// Who may come at all.
    pub ip_lists: IpLists,
    /// When addresses that fail to authenticate are locked out.
    pub lockout: LockoutRules,
    /// Whether the local admin socket in the data folder is open (ID-57).
    pub local_socket: bool,
    /// Whether callers of this machine reach it on the data listener too (EDGE-4).
    pub on_data_port: OnDataPort,
    /// The owner key named `env` (ID-51).
    pub key: Option<Secret>,
    /// The second factor.
    pub front_door: Option<FrontDoor>,
    /// How long operators stay signed in.
    pub session: SessionTimes,
    /// The identity provider that they may sign in by.
    pub oidc: Option<Oidc>,
    /// Whether a change must name the version it changes (ID-105).
    pub require_if_match: bool,
    /// Whether callers of this machine need no key (ID-100).
    pub loopback_without_key: bool,
}

/// Where the management listener is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ManagementListen {
    /// A TCP address; port 0 lets the system choose.
    Tcp(SocketAddr),
    /// A Unix socket, mode 0600.
    Unix(PathBuf),
    /// Nowhere.
    Off,
}

/// Whether management is on the data listener too.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OnDataPort {
    /// It is not.
    Off,
    /// For callers of this machine.
    Loopback,
}

const ON_DATA_PORT: [(&str, OnDataPort); 2] =
    [("off", OnDataPort::Off), ("loopback", OnDataPort::Loopback)];

keys! {
    /// The management listener, which operators use.
    pub(crate) struct ManagementFile {
        /// Address and port, `unix:/path` for a socket (mode 0600), or empty for none. Another
        /// address than loopback needs `tls`, `allowed_hosts` and `allowed_ips`.
        listen: ManagementListen = parsed(
            "address and port, `unix:/path`, or `\"\"`",
            str::parse,
        )
        .or(ManagementListen::Tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8318))),
        tls: TlsFile = section(),
        /// Whether a public bind may be without TLS; refused in production.
        insecure_public_http: bool = switch().or(false),
        /// Hosts this listener serves. Empty: loopback names and the address bound.
        allowed_hosts: Vec<AuthorityPattern> = list(authority()).or_empty(),
        /// Addresses that may come, and nobody else: short for `security.ip_allowlist`. One of
        /// them is needed where `listen` is no loopback address.
        allowed_ips: Option<Vec<IpNet>> = list(network()).optional(),
        security: ManagementSecurity = section(),
        /// Whether `tollkeep.sock` in the data folder serves this user and root without a key,
        /// so that nobody locks themselves out.
        local_socket: bool = switch().or(true),
        lockout: Lockout = section(),
        session: SessionTimes = section(),
        oidc: OnOrOff<OidcFile> = section_or_off(),
        front_door: FrontDoorFile = section(),
        /// `loopback` serves management below `/api/v1`, `/manage` and `/v0` of the data listener
        /// too, for callers on loopback that name a loopback host and came through no proxy.
        /// Others get 404 there, whatever routes say.
        on_data_port: OnDataPort = choice(&ON_DATA_PORT).or(OnDataPort::Off),
        /// Whether changing a single thing (PUT, PATCH, DELETE) without `If-Match` is refused with
        /// 428, so that nobody overwrites what they have not seen.
        require_if_match: bool = switch().or(false),
        /// Whether a program of this machine may do everything without a key: by a loopback address
        /// and host, through no proxy, and from no web page. Refused in production.
        insecure_allow_loopback_without_key: bool = switch().or(false),
        /// An owner key that is never stored and holds while it is set.
        key: Option<Secret> = from_environment("TOLLKEEP_MANAGEMENT_KEY", secret()),
    }
}

keys! {
    /// Addresses (of IPv6: /64 networks) that fail to authenticate are locked out, right key or
    /// not. The local socket has no addresses; `tollkeep lockout clear` lets one in again.
    pub(crate) struct Lockout {
        /// How many failures.
        failures: u32 = whole(1..=1_000).or(5),
        /// Within how long.
        window: Duration = duration(1_000..=DAY_MS).or(ms(900_000)),
        /// For how long; each time again for twice as long, up to a day.
        ban: Duration = duration(1_000..=DAY_MS).or(ms(1_800_000)),
    }
}

keys! {
    /// Console sessions: how long an operator stays signed in.
    #[derive(Copy, Eq, PartialEq)]
    pub struct SessionTimes {
        /// Without using it.
        idle: Duration = duration(1_000..=30 * DAY_MS).or(ms(1_800_000)),
        /// In all, from the login on.
        absolute: Duration = duration(1_000..=30 * DAY_MS).or(ms(43_200_000)),
        /// How long a proof of who it is holds for what shows secrets or changes roles; after that
        /// a session is asked for the key or password again.
        proof: Duration = duration(1_000..=3_600_000).or(ms(600_000)),
    }
}

keys! {
    /// What guards the management listener. The local socket has no addresses.
    pub(crate) struct ManagementSecurity {
        ip_allowlist: AllowFile = section(),
        ip_denylist: DenyFile = section(),
    }
}

impl FromStr for ManagementListen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::Off);
        }
        if let Some(path) = text.strip_prefix("unix:") {
            if !path.starts_with('/') || path.contains('\0') {
                return Err("want an absolute path behind `unix:`".to_owned());
            }
            return Ok(Self::Unix(path.into()));
        }
        let text = text
            .strip_prefix("localhost")
            .map(|port| format!("127.0.0.1{port}"))
            .unwrap_or_else(|| text.to_owned());
        let wrong = |_| format!("want `127.0.0.1:8318` or `unix:/path`, not {text:?}");
        text.parse().map(Self::Tcp).map_err(wrong)
    }
}

impl fmt::Display for ManagementListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => write!(f, "{addr}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Off => Ok(()),
        }
    }
}

impl ManagementFile {
    pub(super) fn check(self, egress: &Egress, checks: &mut Checks<'_>) -> Management {
        let host = match &self.listen {
            ManagementListen::Tcp(addr) => addr.ip(),
            ManagementListen::Unix(_) | ManagementListen::Off => Ipv4Addr::LOCALHOST.into(),
        };
        if !host.is_loopback() {
            self.check_public(host, checks);
        }
        if self.insecure_allow_loopback_without_key && checks.in_production() {
            let key = "management.insecure_allow_loopback_without_key";
            checks.error(key, "is refused in production: give your programs a key");
        }
        let ip_lists = self.ip_lists(host, checks);
        let key = "management.allowed_hosts";
        let tls = self.tls.check("management.tls", egress, checks);
        let front_door = self.front_door.check(
            &KeyPath::of("management.front_door"),
            egress,
            match self.listen {
                ManagementListen::Tcp(_) => knows_certificates(tls.as_ref(), "management.tls"),
                ManagementListen::Unix(_) => Err("needs certificates of clients, and \
                    `management.listen` is a Unix socket, which has none"
                    .to_owned()),
                ManagementListen::Off => Err("needs certificates of clients, and \
                    `management.listen` is nowhere"
                    .to_owned()),
            },
            checks,
        );
        let oidc = match self.oidc {
            OnOrOff::On(file) => file.check(&KeyPath::of("management.oidc"), egress, checks),
            OnOrOff::Absent | OnOrOff::Off => None,
        };
        Management {
            ip_lists,
            allowed_hosts: AllowedHosts::check(self.allowed_hosts, host, key, checks),
            tls,
            listen: self.listen,
            lockout: LockoutRules {
                failures: self.lockout.failures,
                window: self.lockout.window,
                ban: self.lockout.ban,
            },
            local_socket: self.local_socket,
            on_data_port: self.on_data_port,
            key: self.key,
            front_door,
            session: self.session,
            oidc,
            require_if_match: self.require_if_match,
            loopback_without_key: self.insecure_allow_loopback_without_key,
        }
    }

    /// EDGE-1.
    fn check_public(&self, host: IpAddr, checks: &mut Checks<'_>) {
        const LISTEN: &str = "management.listen";
        if self.tls.enabled {
            let problem = format!("{host} is reached from beyond this machine");
            checks.warn(LISTEN, &problem);
        } else if !self.insecure_public_http {
            let problem = format!(
                "{host} is a public address without TLS: set `management.tls`, or listen on \
                 loopback or `unix:/path`"
            );
            checks.error(LISTEN, problem);
        } else if checks.in_production() {
            let key = "management.insecure_public_http";
            checks.error(key, "is refused in production: set `management.tls`");
        } else {
            let problem = format!(
                "{host} is reached from beyond this machine, and keys go there in clear text"
            );
            checks.warn(LISTEN, &problem);
        }
    }
}

impl ManagementFile {
    /// Who may come, by either spelling.
    fn ip_lists(&self, host: IpAddr, checks: &mut Checks<'_>) -> IpLists {
        let mut allow = self.security.ip_allowlist.clone();
        let deny = self.security.ip_denylist.clone();
        if !allow.deny_all {
            let key = "management.security.ip_allowlist.deny_all";
            checks.error(key, "has no effect: management has no limit by address");
        }
        if let Some(short) = self.allowed_ips.clone() {
            if allow.enabled == Some(true) || !allow.allowed_ips.is_empty() {
                let problem = "says the same as `management.security.ip_allowlist`; write one";
                checks.error("management.allowed_ips", problem);
            }
            allow.enabled = Some(true);
            allow.allowed_ips = short;
        }
        if !host.is_loopback() && allow.enabled != Some(true) {
            let problem = format!(
                "is missing, and {host} is reached from beyond this machine: list the addresses \
                 that may come, or listen on loopback or `unix:/path`"
            );
            checks.error("management.allowed_ips", problem);
        }
        ip_lists::check(allow, deny, "management.security", checks)
    }
}
