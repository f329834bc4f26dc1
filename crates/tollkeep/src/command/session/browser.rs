//! Signing in with a browser: the command waits on loopback for what the browser brings from the
//! identity provider, and exchanges it for a session.

use crate::exit::{self, Failed};
use anyhow::Context;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;
use tollkeep_crypto::{SystemEntropy, sha256};
use tollkeep_net::listen::bind_one;
use tollkeep_types::{Entropy, Secret};

/// How often the listener is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Looks until somebody who signs in has had ten minutes.
const LOOKS_MAX: u32 = 12_000;
/// One request may take so long, and so many bytes.
const PATIENCE: Duration = Duration::from_secs(5);
const BYTES_MAX: u64 = 8 * 1024;

/// A login that is waited for.
pub(super) struct Waiting {
    listener: TcpListener,
    port: u16,
    verifier: Secret,
}

impl Waiting {
    /// Listens on a free port of loopback.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn begin() -> anyhow::Result<Self> {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = bind_one(any, 8)?;
        listener.set_nonblocking(true)?;
        let mut random = [0; 32];
        SystemEntropy.fill(&mut random);
        Ok(Self {
            port: listener.local_addr()?.port(),
            listener,
            verifier: Secret::new(hex(&random)),
        })
    }

    /// What a browser is to open, behind the address of the gateway.
    pub(super) fn link(&self) -> String {
        let challenge = hex(&sha256(&[self.verifier.expose().as_bytes()]));
        let port = self.port;
        format!("/api/v1/session/oidc?port={port}&challenge={challenge}")
    }

    /// What the gateway takes for a session, once a browser has brought it.
    ///
    /// # Errors
    /// Nobody came in time.
    pub(super) fn end(self) -> anyhow::Result<serde_json::Value> {
        for _ in 0..LOOKS_MAX {
            match self.listener.accept() {
                Ok((caller, _)) => {
                    // Whoever else calls here is told nothing and not waited for long.
                    if let Ok(Some(login)) = brought(caller) {
                        let verifier = self.verifier.expose();
                        return Ok(serde_json::json!({ "login": login, "verifier": verifier }));
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(LOOK_EVERY),
                Err(error) => return Err(error).context("cannot wait for the browser"),
            }
        }
        Err(Failed::new(exit::UNREACHABLE, "nobody signed in within ten minutes").into())
    }
}

/// What a browser brings in `GET /?login=…`; it is told that it may be closed.
fn brought(mut caller: TcpStream) -> std::io::Result<Option<String>> {
    caller.set_nonblocking(false)?;
    caller.set_read_timeout(Some(PATIENCE))?;
    caller.set_write_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new((&caller).take(BYTES_MAX));
    let mut first = String::new();
    lines.read_line(&mut first)?;
    let mut line = String::new();
    while lines.read_line(&mut line)? > 2 {
        line.clear();
    }
    drop(lines);
    let login = login_in(&first).map(str::to_owned);
    let (status, text) = match &login {
        Some(_) => ("200 OK", "You are signed in: go back to the command line."),
        None => ("404 Not Found", "There is no such thing here."),
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\n\
         cache-control: no-store\r\nreferrer-policy: no-referrer\r\nconnection: close\r\n\r\n{text}",
        text.len()
    );
    caller.write_all(answer.as_bytes())?;
    Ok(login)
}

/// The login in the first line of a request.
fn login_in(line: &str) -> Option<&str> {
    let target = line.strip_prefix("GET /?login=")?;
    let (login, _) = target.split_once(' ')?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (!login.is_empty() && login.bytes().all(is_plain)).then_some(login)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_what_a_browser_is_sent_with_and_nothing_else() {
        for (line, want) in [
            ("GET /?login=12-opr_a-3 HTTP/1.1\r\n", Some("12-opr_a-3")),
            ("GET /?login= HTTP/1.1\r\n", None),
            ("GET /?login=a%20b HTTP/1.1\r\n", None),
            ("GET /?login=a&x=b HTTP/1.1\r\n", None),
            ("GET /favicon.ico HTTP/1.1\r\n", None),
            ("POST /?login=a HTTP/1.1\r\n", None),
            ("GET /?login=a", None),
            ("", None),
        ] {
            assert_eq!(login_in(line), want, "{line}");
        }
    }
}
