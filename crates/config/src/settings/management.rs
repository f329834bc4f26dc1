//! The management listener.

use super::front_door::{FrontDoor, FrontDoorFile};
use super::server::authority;
use super::tls::{Tls, TlsFile};
use super::{AllowedHosts, Egress};
use crate::check::Checks;
use crate::field::{KindExt, from_environment, section};
use crate::kind::{list, parsed, secret, switch};
use crate::reader::keys;
use crate::tree::KeyPath;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
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
    /// Whether the local admin socket in the data folder is open (ID-57).
    pub local_socket: bool,
    /// The owner key named `env` (ID-51).
    pub key: Option<Secret>,
    /// The second factor.
    pub front_door: Option<FrontDoor>,
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

keys! {
    /// The management listener, which operators use.
    pub(crate) struct ManagementFile {
        /// Address and port, `unix:/path` for a socket (mode 0600), or empty for none. Another
        /// address than loopback needs `tls` and `allowed_hosts`.
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
        /// Whether `tollkeep.sock` in the data folder serves this user and root without a key,
        /// so that nobody locks themselves out.
        local_socket: bool = switch().or(true),
        front_door: FrontDoorFile = section(),
        /// An owner key that is never stored and holds while it is set.
        key: Option<Secret> = from_environment("TOLLKEEP_MANAGEMENT_KEY", secret()),
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
        let key = "management.allowed_hosts";
        Management {
            allowed_hosts: AllowedHosts::check(self.allowed_hosts, host, key, checks),
            tls: self.tls.check("management.tls", checks),
            listen: self.listen,
            local_socket: self.local_socket,
            key: self.key,
            front_door: self.front_door.check(
                &KeyPath::of("management.front_door"),
                egress,
                checks,
            ),
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
