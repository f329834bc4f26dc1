//! The listeners of the data plane: what each speaks, and the one that only leads to TLS.

use crate::answer::Framed;
use crate::lifecycle::{Exchange, Stop};
use crate::refusal::Refusal;
use std::net::SocketAddr;
use tollkeep_config::settings::{Listen, Server};
use tollkeep_http1::{Method, write};
use tollkeep_observe::RequestOutcome;

/// The port that an `https` address does not name.
const HTTPS: u16 = 443;

/// The listeners, in the order of the settings.
pub(crate) struct Doors {
    /// Whether HTTP/2 is spoken in clear text there.
    h2c: Box<[bool]>,
    /// The port that callers are led to there, if any door leads them away.
    away: Option<Box<[Option<u16>]>>,
}

impl Doors {
    /// Those of the settings, at the addresses they are `bound` to.
    pub(crate) fn new(server: &Server, bound: &[SocketAddr]) -> Self {
        let listen = || server.listen.iter();
        // Preferred is one that is reached from where its callers are.
        let mut tls = listen().zip(bound).filter(|(listen, _)| listen.tls);
        let port = tls.next().map(|(_, bound)| bound.port());
        let away = |listen: &Listen| {
            let port = listen.redirect_port.or(port);
            port.filter(|_| listen.redirect_http)
        };
        Self {
            h2c: listen()
                .map(|listen| !listen.redirect_http && listen.http2.unwrap_or(server.h2c))
                .collect(),
            away: listen()
                .any(|listen| listen.redirect_http)
                .then(|| listen().map(away).collect()),
        }
    }

    pub(crate) fn speak_h2c(&self, door: usize) -> bool {
        self.h2c.get(door).copied().unwrap_or(false)
    }

    /// HOT. The port that callers of this door are led to.
    pub(crate) fn led_away(&self, door: usize) -> Option<u16> {
        self.away.as_ref()?.get(door).copied().flatten()
    }
}

impl Exchange<'_> {
    /// Leads a caller to where TLS is spoken, and serves nothing (EDGE-13).
    ///
    /// # Errors
    /// What keeps any request out; 403 for what can't be led without having been sent in clear
    /// text already; the caller is gone.
    pub(crate) async fn lead_away(&mut self, port: u16) -> Result<(), Stop> {
        let shared = self.worker.shared.shared_limits.as_deref();
        let entry = match shared {
            None => self.admit()?,
            Some(limits) => Box::pin(self.admit_shared(limits)).await?,
        };
        // Nobody proves anything here.
        self.debit_address(&entry);
        if !matches!(self.work.head.method, Method::Get | Method::Head) {
            return Err(Refusal::ClearText.into());
        }
        self.begin_answer(308);
        let (head, bytes) = (&self.work.head, self.conn.unread());
        let (authority, target) = (head.authority.of(bytes), head.target.of(bytes));
        let out = &mut self.work.out;
        out.extend_from_slice(b"location: https://");
        out.extend_from_slice(without_port(authority));
        if port != HTTPS {
            out.push(b':');
            write::number(out, port.into());
        }
        out.extend_from_slice(target);
        out.extend_from_slice(b"\r\n");
        self.end_head(Framed::Length(0));
        self.work.facts.outcome = RequestOutcome::Served;
        self.flush().await
    }
}

/// The host of an authority that was read already: a name, or an address, in brackets if IPv6.
fn without_port(authority: &[u8]) -> &[u8] {
    let from = authority.iter().rposition(|byte| *byte == b']');
    let port = authority.iter().rposition(|byte| *byte == b':');
    let end = port.filter(|port| from.is_none_or(|from| *port > from));
    end.and_then(|end| authority.get(..end))
        .unwrap_or(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_told_without_its_port() {
        for (authority, host) in [
            ("api.example.com", "api.example.com"),
            ("api.example.com:80", "api.example.com"),
            ("[::1]", "[::1]"),
            ("[2001:db8::1]:8080", "[2001:db8::1]"),
            ("127.0.0.1:1", "127.0.0.1"),
        ] {
            assert_eq!(without_port(authority.as_bytes()), host.as_bytes());
        }
    }
}
