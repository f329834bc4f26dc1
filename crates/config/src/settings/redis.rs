//! Redis, where replicas share the counters of rate limits.

use super::ms;
use crate::check::Checks;
use crate::field::KindExt;
use crate::kind::{Parsed, maybe, millis, parsed, secret};
use crate::reader::keys;
use std::time::Duration;
use tollkeep_types::Secret;
use url::Url;

/// Where replicas share the counters of rate limits.
#[derive(Clone, Debug)]
pub struct Redis {
    /// Where it is.
    pub server: RedisServer,
    /// What the names of its keys begin with.
    pub prefix: String,
    /// How long a request waits for an answer.
    pub timeout: Duration,
}

/// A Redis server and how to log in.
#[derive(Clone, Debug)]
pub struct RedisServer {
    /// Whether it is spoken to over TLS.
    pub tls: bool,
    /// Its host, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The user, where it is not the default one.
    pub username: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// Number of the database.
    pub database: u32,
}

keys! {
    /// Redis 6.2 or later, or Valkey: where replicas share the counters of rate limits, and with
    /// PostgreSQL tell each other of changes, on the channel `<prefix>:changes`. Without it each
    /// replica counts for itself, and changes come by the database alone.
    pub(crate) struct RedisFile {
        /// Where it is, as `redis://user:password@host:6379/0`, with TLS as `rediss://`. One
        /// primary, by its own protocol (not the HTTP one that some hosters have beside it).
        url: Option<Secret> = maybe(secret()).or(None),
        /// What the names of its keys begin with; replicas that share counters have the same.
        prefix: String = prefix().or("tollkeep".into()),
        /// How long a request waits for it. After that this replica counts alone, with its share
        /// of each limit, until Redis answers again.
        timeout as "timeout_ms": Duration = millis(1..=10_000).or(ms(25)),
    }
}

const fn prefix() -> Parsed<String> {
    parsed("1 to 64 of letters, digits, `-`, `_`, `.`, `:`", |text| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
        if (1..=64).contains(&text.len()) && text.bytes().all(plain) {
            return Ok(text.to_owned());
        }
        Err(format!(
            "want 1 to 64 of letters, digits, `-`, `_`, `.`, `:`, not {text:?}"
        ))
    })
}

const URL: &str = "redis.url";

impl RedisFile {
    pub(super) fn check(self, checks: &mut Checks<'_>) -> Option<Redis> {
        let url = self.url.filter(|url| !url.expose().is_empty())?;
        match RedisServer::read(url.expose()) {
            Ok(server) => {
                server.check(checks);
                Some(Redis {
                    server,
                    prefix: self.prefix,
                    timeout: self.timeout,
                })
            }
            Err(problem) => {
                checks.error(URL, problem);
                None
            }
        }
    }
}

impl RedisServer {
    /// Reads a URL. What is wrong is told without a part of it, since it may hold a password.
    fn read(text: &str) -> Result<Self, &'static str> {
        let url = Url::parse(text).map_err(|_| "want `redis://host:port` or `rediss://…`")?;
        let tls = match url.scheme() {
            "redis" => false,
            "rediss" => true,
            "http" | "https" => {
                return Err(
                    "is the address of an HTTP interface: want that of the server's own \
                            protocol, `redis://` or `rediss://`",
                );
            }
            _ => return Err("want `redis://host:port` or `rediss://host:port`"),
        };
        if url.query().is_some() || url.fragment().is_some() {
            return Err("has a query or fragment, which has no meaning here");
        }
        let host = url.host_str().filter(|host| !host.is_empty());
        let host = host.ok_or("names no host")?;
        let database = match url.path().trim_start_matches('/') {
            "" => 0,
            number => number
                .parse()
                .map_err(|_| "its path is no number of a database")?,
        };
        let decoded = |text: &str| {
            let bytes = percent_decoded(text).ok_or("has a `%` that encodes nothing");
            bytes
                .and_then(|bytes| String::from_utf8(bytes).map_err(|_| "is not UTF-8 when decoded"))
        };
        let username = Some(url.username()).filter(|name| !name.is_empty());
        Ok(Self {
            tls,
            host: host
                .trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned(),
            port: url.port().unwrap_or(6_379),
            username: username.map(decoded).transpose()?,
            password: url.password().map(decoded).transpose()?.map(Secret::new),
            database,
        })
    }

    /// Whether it is the same server, asked as the same user.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let parts = |server: &Self| {
            (
                server.tls,
                server.host.clone(),
                server.port,
                server.username.clone(),
                server
                    .password
                    .as_ref()
                    .map(|secret| secret.expose().to_owned()),
                server.database,
            )
        };
        parts(self) == parts(other)
    }

    fn check(&self, checks: &mut Checks<'_>) {
        let here = self.host == "localhost"
            || self
                .host
                .parse()
                .is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
        if !here && (!self.tls || self.password.is_none()) {
            let problem = "is beyond this machine without TLS or without a password: whoever can \
                           reach it can lift every rate limit";
            checks.warn(URL, problem);
        }
        if self.username.is_some() && self.password.is_none() {
            checks.error(URL, "names a user without a password");
        }
    }
}

pub(super) fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    Some(bytes)
}
