//! What may be dialled, and how names are resolved.

use super::egress_proxy::{Proxy, ProxyFile};
use super::ms;
use crate::check::Checks;
use crate::field::{KindExt, section};
use crate::kind::{choice, list, maybe, millis, parsed, path, socket, whole};
use crate::reader::keys;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tollkeep_policy::egress::{
    EgressPolicy, EgressReason, EgressUrl, Exceptions, Giver, HostList, HostMode, HostPattern,
    HostPatternError, Purpose, Scheme, parse_url,
};
use tollkeep_types::tls::RootStore;

/// What may be dialled.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Egress {
    /// Ports a URL given by a tenant may name besides 80 and 443.
    pub ports: Vec<u16>,
    /// Ports an operator's URL may name although they are on the block list.
    pub allow_ports: Vec<u16>,
    /// How names are resolved.
    pub resolver: Resolver,
    /// Where root certificates come from.
    pub roots: RootStore,
    /// Further root certificates, PEM.
    pub ca_file: Option<PathBuf>,
    /// The proxy that public destinations are reached through.
    pub proxy: Option<Proxy>,
    /// The hosts that may be called.
    pub hosts: HostList,
}

/// How names are resolved.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Resolver {
    /// Who answers.
    pub mode: ResolverMode,
    /// One try.
    pub timeout: Duration,
    /// Tries.
    pub attempts: u32,
}

/// Who answers name look-ups.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ResolverMode {
    /// The servers of the system.
    System,
    /// These servers.
    Servers(Vec<SocketAddr>),
}

const ROOTS: [(&str, RootStore); 3] = [
    ("system", RootStore::System),
    ("bundled", RootStore::Bundled),
    ("file", RootStore::File),
];

const HOST_MODES: [(&str, HostMode); 2] =
    [("enforce", HostMode::Enforce), ("report", HostMode::Report)];

keys! {
    /// The one door out: what may be dialled.
    pub(crate) struct EgressFile {
        /// Ports a URL may name, besides 80 and 443, that came by the management API from somebody
        /// bound to a tenant.
        ports: Vec<u16> = list(whole(1..=65_535)).or_empty(),
        /// Ports a URL of this file may name although they are those of mail, shell, file or
        /// database servers.
        allow_ports: Vec<u16> = list(whole(1..=65_535)).or_empty(),
        /// The only hosts that are called, such as `api.example.com`, or `*.example.com` for all
        /// names below. Empty: any.
        allow_hosts: Vec<HostPattern> = list(parsed("host or `*.name`", |text| {
            text.parse().map_err(|error: HostPatternError| error.to_string())
        }))
        .or_empty(),
        /// What becomes of a host that is not in `allow_hosts`: `enforce`, it is refused, at the
        /// start if the file names it; `report`, it is called and the log tells.
        mode: HostMode = choice(&HOST_MODES).or(HostMode::Enforce),
        resolver: ResolverFile = section(),
        proxy: ProxyFile = section(),
        /// Whose root certificates count: `system`, those of the operating system; `bundled`, those
        /// of Mozilla's programme that came with this version; `file`, those of `ca_file` alone.
        roots: RootStore = choice(&ROOTS).or(RootStore::System),
        /// PEM file with further root certificates; with `roots: file` the only ones.
        ca_file: Option<PathBuf> = maybe(path()).or(None),
    }
}

keys! {
    /// How names are resolved.
    pub(crate) struct ResolverFile {
        /// `system` asks the servers of the system, `servers` those listed.
        mode: Mode = choice(&[("system", Mode::System), ("servers", Mode::Servers)])
            .or(Mode::System),
        /// The servers of mode `servers`.
        servers: Vec<SocketAddr> = list(socket()).or_empty(),
        /// One try.
        timeout as "timeout_ms": Duration = millis(1..=60_000).or(ms(5_000)),
        /// Tries.
        attempts: u32 = whole(1..=10).or(2),
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mode {
    System,
    Servers,
}

impl EgressFile {
    pub(super) fn check(self, checks: &mut Checks<'_>) -> Egress {
        if self.roots == RootStore::File && self.ca_file.is_none() {
            let problem = "is `file`, but `egress.ca_file` names none";
            checks.error("egress.roots", problem);
        }
        let policy = EgressPolicy::new(Vec::new(), self.allow_ports.clone(), Vec::new());
        Egress {
            proxy: self.proxy.check(&policy, checks),
            ports: self.ports,
            allow_ports: self.allow_ports,
            resolver: self.resolver.check(checks),
            roots: self.roots,
            ca_file: self.ca_file,
            hosts: HostList {
                patterns: self.allow_hosts,
                mode: self.mode,
            },
        }
    }
}

impl ResolverFile {
    fn check(self, checks: &mut Checks<'_>) -> Resolver {
        const SERVERS: &str = "egress.resolver.servers";
        let mode = match self.mode {
            Mode::Servers if self.servers.is_empty() => {
                checks.error(SERVERS, "is empty, and `mode: servers` asks nobody else");
                ResolverMode::System
            }
            Mode::System if !self.servers.is_empty() => {
                checks.error(SERVERS, "has no effect without `mode: servers`");
                ResolverMode::System
            }
            Mode::Servers => ResolverMode::Servers(self.servers),
            Mode::System => ResolverMode::System,
        };
        Resolver {
            mode,
            timeout: self.timeout,
            attempts: self.attempts,
        }
    }
}

impl Egress {
    /// What an operator's URL would meet at the door (EDGE-97).
    ///
    /// # Errors
    /// The reason, with the line that would allow it.
    pub(super) fn admit(&self, url: &EgressUrl, exceptions: &Exceptions) -> Result<(), String> {
        let policy = EgressPolicy::new(Vec::new(), self.allow_ports.clone(), Vec::new())
            .only_to(self.hosts.clone());
        policy.admit(url, exceptions).map_err(|refusal| {
            let port = url.port();
            match refusal.reason() {
                EgressReason::Port if port != 0 => {
                    format!("{refusal}; to call it, set `egress.allow_ports: [{port}]`")
                }
                EgressReason::Name => format!(
                    "{refusal}; to call it, list the networks it is in, such as \
                     `allow_private: [\"127.0.0.1/32\"]`"
                ),
                EgressReason::NotListed => {
                    format!("{refusal}; to call it, add it to `egress.allow_hosts`")
                }
                EgressReason::Port
                | EgressReason::Scheme
                | EgressReason::Userinfo
                | EgressReason::HostSyntax
                | EgressReason::Private
                | EgressReason::Special
                | EgressReason::Metadata
                | EgressReason::EmbeddedV4
                | EgressReason::MixedAnswer
                | EgressReason::TooMany
                | EgressReason::Own
                | EgressReason::Redirect
                | EgressReason::Dns => refusal.to_string(),
            }
        })
    }
}

impl Egress {
    /// The files of certificates that it is made of.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let proxy = self.proxy.iter().filter_map(|proxy| proxy.ca_file.as_ref());
        self.ca_file.iter().chain(proxy)
    }
}

/// A URL of the file.
///
/// # Errors
/// What is wrong with it; the text is not quoted.
pub(super) fn operator_url(text: &str, purpose: Purpose) -> Result<EgressUrl, String> {
    let url = parse_url(text, purpose, Giver::Operator).map_err(|refusal| {
        if refusal.reason() == EgressReason::Scheme {
            "want a URL that starts with `https://` or `http://`".to_owned()
        } else {
            refusal.to_string()
        }
    })?;
    if url.query().is_some() {
        return Err("a base URL has no query".to_owned());
    }
    Ok(url)
}

/// Whether a URL is spoken in clear text.
pub(super) fn is_clear_text(url: &EgressUrl) -> bool {
    url.scheme() == Scheme::Http
}
