//! Where the data plane listens, and which of its addresses may be public (EDGE-1).

use super::tls::{ClientAuth, Tls};
use crate::check::Checks;
use crate::field::KindExt;
use crate::kind::{address, switch, whole};
use crate::reader::keys;
use crate::tree::KeyPath;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use tollkeep_types::tls::ClientCertNeed;

/// A data listener.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Listen {
    /// Address and port; port 0 lets the system choose.
    pub addr: SocketAddr,
    /// Whether it speaks TLS, with the certificates of all.
    pub tls: bool,
    /// Whether it speaks HTTP/2; `None` is as the others.
    pub http2: Option<bool>,
    /// Whether all it does is to send callers to TLS (EDGE-13).
    pub redirect_http: bool,
    /// The port it sends them to; `None` is that of the first listener that speaks TLS.
    pub redirect_port: Option<u16>,
}

keys! {
    /// A data listener among several, which stand here instead of `server.host` and
    /// `server.port`. All are served by the same workers, routes and limits.
    pub(crate) struct ListenFile {
        /// Its address.
        host: IpAddr = address().or(LOOPBACK),
        /// Its port; 0 lets the system choose one.
        port: Option<u16> = whole(0..=65_535).required(),
        /// Whether it speaks TLS, by `server.tls`. Without it: as `server.tls.enabled` says.
        tls: Option<bool> = switch().optional(),
        /// Whether it speaks HTTP/2. Without it: over TLS as `server.http2` says, in clear text as
        /// `server.h2c` says.
        http2: Option<bool> = switch().optional(),
        /// Whether it sends callers to the first listener that speaks TLS, and serves nothing:
        /// GET and HEAD get 308, everything else 403.
        redirect_http: bool = switch().or(false),
        /// The port that `redirect_http` sends callers to: the public one, where something in
        /// front gives TLS another than it is bound to. Without it: that of the first listener
        /// that speaks TLS.
        redirect_port: Option<u16> = whole(1..=65_535).optional(),
    }
}

/// The address where nothing else is written.
pub(super) const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Listeners at most: each takes a socket of every worker.
const LISTENERS_MAX: usize = 16;

/// What decides whether a listener may be public.
#[derive(Clone, Copy)]
pub(super) struct Guards {
    /// `server.tls` is on.
    pub(super) tls: bool,
    /// A proxy stands in front, or clear text is wanted.
    pub(super) clear_text_allowed: bool,
}

/// The one listener of `server.host` and `server.port`.
pub(super) fn one(host: IpAddr, port: u16, guards: Guards, checks: &mut Checks<'_>) -> Vec<Listen> {
    let listen = Listen {
        addr: SocketAddr::new(host, port),
        tls: guards.tls,
        http2: None,
        redirect_http: false,
        redirect_port: None,
    };
    check_bind(&KeyPath::of("server.host"), listen, guards, checks);
    vec![listen]
}

/// The listeners of `server.listen`.
pub(super) fn several(
    files: &[ListenFile],
    guards: Guards,
    checks: &mut Checks<'_>,
) -> Vec<Listen> {
    let root = KeyPath::of(ROOT);
    for key in ["server.host", "server.port"] {
        if checks.is_written(key) {
            let problem = "stands beside `server.listen`, which says all addresses; write one";
            checks.error(key, problem);
        }
    }
    if files.len() > LISTENERS_MAX {
        checks.error(ROOT, format!("has more than {LISTENERS_MAX} entries"));
    }
    let mut all: Vec<Listen> = Vec::new();
    for (index, file) in files.iter().enumerate() {
        let path = root.index(index);
        let listen = file.check(&path, guards, checks);
        if listen.addr.port() != 0 && all.iter().any(|other| other.addr == listen.addr) {
            checks.error_at(&path, format!("says {} once more", listen.addr));
        }
        all.push(listen);
    }
    if guards.tls && !all.iter().any(|listen| listen.tls) {
        checks.error(ROOT, "has no entry with TLS, though `server.tls` is on");
    }
    all
}

const ROOT: &str = "server.listen";

/// Tells where nobody is asked for the certificate that all shall show.
pub(super) fn check_clients(all: &[Listen], tls: &Tls, checks: &mut Checks<'_>) {
    let needed = |asked: &ClientAuth| asked.need == ClientCertNeed::Required;
    if !tls.client_auth.as_ref().is_some_and(needed) {
        return;
    }
    for (index, listen) in all.iter().enumerate() {
        if !listen.tls && !listen.redirect_http {
            let path = KeyPath::of(ROOT).index(index);
            let problem = "is in clear text: callers come in there without the certificate that \
                           `server.tls.client_auth` requires";
            if checks.in_production() && !listen.addr.ip().is_loopback() {
                checks.error_at(&path, problem);
            } else {
                checks.warn_at(&path, problem);
            }
        }
    }
}

impl ListenFile {
    fn check(&self, path: &KeyPath, guards: Guards, checks: &mut Checks<'_>) -> Listen {
        let listen = Listen {
            addr: SocketAddr::new(self.host, self.port.unwrap_or(0)),
            tls: self.tls.unwrap_or(guards.tls && !self.redirect_http),
            http2: self.http2,
            redirect_http: self.redirect_http,
            redirect_port: self.redirect_port,
        };
        if self.tls == Some(true) && !guards.tls {
            let problem = "is on, but `server.tls` is not, which names the certificates";
            checks.error_at(&path.name("tls"), problem);
        }
        if !listen.redirect_http && self.redirect_port.is_some() {
            let problem = "has no effect without `redirect_http`";
            checks.error_at(&path.name("redirect_port"), problem);
        }
        if listen.redirect_http {
            let redirect = path.name("redirect_http");
            if self.tls == Some(true) {
                checks.error_at(&redirect, "is for clear text, and this listener speaks TLS");
            } else if !guards.tls {
                let problem = "leads nowhere: `server.tls` is off";
                checks.error_at(&redirect, problem);
            }
            if self.http2 == Some(true) {
                let problem = "has no effect: a listener with `redirect_http` speaks HTTP/1.1";
                checks.error_at(&path.name("http2"), problem);
            }
        }
        check_bind(&path.name("host"), listen, guards, checks);
        listen
    }
}

fn check_bind(path: &KeyPath, listen: Listen, guards: Guards, checks: &mut Checks<'_>) {
    let host = listen.addr.ip();
    if host.is_loopback() {
        return;
    }
    // One that only sends callers away serves nothing in clear text.
    if !listen.tls && !listen.redirect_http && !guards.clear_text_allowed {
        let problem = format!(
            "{host} is a public address without TLS: set `server.tls`, or name the proxy in front \
             in `server.trusted_proxies`, or set `server.insecure_public_http: true`"
        );
        checks.error_at(path, problem);
    } else {
        checks.warn_at(path, &format!("{host} is reached from beyond this machine"));
    }
}
