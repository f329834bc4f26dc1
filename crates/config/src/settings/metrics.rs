//! The metrics listener.

use super::AllowedHosts;
use super::Egress;
use super::server::authority;
use super::tls::{Tls, TlsFile};
use crate::check::Checks;
use crate::field::{KindExt, section};
use crate::kind::{Parsed, address, list, parsed, switch, whole};
use crate::reader::keys;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use tollkeep_types::AuthorityPattern;

/// The metrics listener.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Whether it listens.
    pub enabled: bool,
    /// Address and port; port 0 lets the system choose.
    pub addr: SocketAddr,
    /// Path of the scrape.
    pub path: String,
    /// TLS towards who scrapes; `None` is clear text.
    pub tls: Option<Tls>,
    /// Authorities served.
    pub allowed_hosts: AllowedHosts,
    /// Whether counters also have the names that other gateways gave them.
    pub seed_names: bool,
    /// Whether the addresses that meet limits most have series of their own.
    pub compat_ip_label: bool,
}

keys! {
    /// The metrics listener, which Prometheus scrapes.
    pub(crate) struct MetricsFile {
        /// Whether it listens.
        enabled: bool = switch().or(true),
        /// Its address. Another than loopback needs `tls` and `allowed_hosts`.
        host: IpAddr = address().or(LOOPBACK),
        /// Its port; 0 lets the system choose one.
        port: u16 = whole(0..=65_535).or(9_090),
        tls: TlsFile = section(),
        /// Path of the scrape.
        path: String = scrape_path().or("/metrics".into()),
        /// Hosts this listener serves. Empty: loopback names and the address bound.
        allowed_hosts: Vec<AuthorityPattern> = list(authority()).or_empty(),
        /// Whether counters also have the names that cliproxyapi++, llm-proxy and tollbooth gave them, so
        /// that what watched those goes on.
        seed_names: bool = switch().or(true),
        /// Whether `cliproxy_rate_limit_violations_total` has series for the 100 addresses (IPv6:
        /// networks) that meet limits most, besides `ip="all"`. Addresses are personal data.
        compat_ip_label: bool = switch().or(false),
    }
}

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Paths of every listener that are not the scrape's.
const PROBES: [&str; 4] = ["/health", "/healthz", "/live", "/ready"];

const fn scrape_path() -> Parsed<String> {
    parsed("path such as `/metrics`", |text| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte);
        let ends = !text.starts_with('/') || text.contains("//") || text.contains("/.");
        if ends || text.len() > 200 || !text.bytes().all(plain) {
            return Err(format!("want a path such as `/metrics`, not {text:?}"));
        }
        if PROBES.contains(&text) {
            return Err(format!("`{text}` is where health is asked for"));
        }
        Ok(text.to_owned())
    })
}

impl MetricsFile {
    pub(super) fn check(self, egress: &Egress, checks: &mut Checks<'_>) -> Metrics {
        let host = if self.enabled { self.host } else { LOOPBACK };
        if !host.is_loopback() && !self.tls.enabled {
            let problem = format!(
                "{host} is a public address without TLS: set `metrics.tls`, or listen on loopback"
            );
            checks.error("metrics.host", problem);
        } else if !host.is_loopback() {
            let problem = format!("{host} is reached from beyond this machine");
            checks.warn("metrics.host", &problem);
        }
        if self.compat_ip_label && !self.seed_names {
            let problem = "has no effect while `metrics.seed_names` is off";
            checks.error("metrics.compat_ip_label", problem);
        }
        let key = "metrics.allowed_hosts";
        Metrics {
            enabled: self.enabled,
            addr: SocketAddr::new(self.host, self.port),
            path: self.path,
            tls: self.tls.check("metrics.tls", egress, checks),
            allowed_hosts: AllowedHosts::check(self.allowed_hosts, host, key, checks),
            seed_names: self.seed_names,
            compat_ip_label: self.compat_ip_label,
        }
    }
}
