//! A login of PostgreSQL, told by a URL.

use super::redis::percent_decoded;
use crate::check::Checks;
use std::path::PathBuf;
use tollkeep_types::Secret;
use url::Url;

/// Where a PostgreSQL server is, and as whom it is asked.
#[derive(Clone, Debug)]
pub struct PostgresServer {
    /// Its host, without brackets; the folder of its socket, if it begins with `/`.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The user.
    pub user: String,
    /// The password.
    pub password: Option<Secret>,
    /// The database.
    pub database: String,
    /// Whether it is spoken to over TLS.
    pub tls: PostgresTls,
    /// Certificates of authorities that are trusted besides the usual ones.
    pub roots: Option<PathBuf>,
}

/// TLS towards a PostgreSQL server, as `sslmode` calls it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PostgresTls {
    /// `disable`.
    Off,
    /// `prefer`.
    Preferred,
    /// `require`.
    Required,
    /// `verify-ca`.
    VerifiedAuthority,
    /// `verify-full`.
    Verified,
}

const FORM: &str = "want `postgres://user:password@host:5432/database`";

impl PostgresServer {
    /// Reads a URL. What is wrong is told without a part of it, since it may hold a password.
    pub(super) fn read(text: &str) -> Result<Self, &'static str> {
        let url = Url::parse(text).map_err(|_| FORM)?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(FORM);
        }
        if url.fragment().is_some() {
            return Err("has a fragment, which has no meaning here");
        }
        let host = url.host_str().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let database = url.path().trim_start_matches('/');
        let mut server = Self {
            host: decoded(host)?,
            port: url.port().unwrap_or(5_432),
            user: decoded(url.username())?,
            password: url.password().map(decoded).transpose()?.map(Secret::new),
            database: decoded(database)?,
            tls: PostgresTls::Verified,
            roots: None,
        };
        let mut tls = None;
        for (name, value) in url.query_pairs() {
            match &*name {
                "host" => server.host = value.into_owned(),
                "sslmode" => tls = Some(mode(&value)?),
                "sslrootcert" => server.roots = Some(PathBuf::from(value.into_owned())),
                _ => return Err("has a parameter besides `host`, `sslmode` and `sslrootcert`"),
            }
        }
        let missing = [
            (&server.host, "names no host"),
            (&server.user, "names no user"),
            (&server.database, "names no database"),
        ];
        if let Some((_, problem)) = missing.into_iter().find(|(part, _)| part.is_empty()) {
            return Err(problem);
        }
        let usual = if server.is_here() {
            PostgresTls::Preferred
        } else {
            PostgresTls::Verified
        };
        server.tls = tls.unwrap_or(usual);
        Ok(server)
    }

    /// Whether it is on this machine.
    fn is_here(&self) -> bool {
        let ip = self.host.parse();
        self.host == "localhost"
            || self.host.starts_with('/')
            || ip.is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
    }

    pub(super) fn check(&self, key: &str, checks: &mut Checks<'_>) {
        let proved = matches!(
            self.tls,
            PostgresTls::Verified | PostgresTls::VerifiedAuthority
        );
        if !self.is_here() && !proved {
            let problem = "is beyond this machine without proof of who answers: `sslmode` should \
                           be `verify-full`";
            checks.warn(key, problem);
        }
    }

    /// Whether it is the same server, asked as the same user.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let parts = |server: &Self| {
            let password = server.password.as_ref().map(Secret::expose);
            (
                (server.host.clone(), server.port, server.tls),
                (server.user.clone(), password.map(str::to_owned)),
                (server.database.clone(), server.roots.clone()),
            )
        };
        parts(self) == parts(other)
    }
}

fn mode(text: &str) -> Result<PostgresTls, &'static str> {
    Ok(match text {
        "disable" => PostgresTls::Off,
        "prefer" => PostgresTls::Preferred,
        "require" => PostgresTls::Required,
        "verify-ca" => PostgresTls::VerifiedAuthority,
        "verify-full" => PostgresTls::Verified,
        _ => {
            return Err(
                "its `sslmode` is none of `disable`, `prefer`, `require`, `verify-ca`, \
                        `verify-full`",
            );
        }
    })
}

fn decoded(text: &str) -> Result<String, &'static str> {
    let bytes = percent_decoded(text).ok_or("has a `%` that encodes nothing")?;
    String::from_utf8(bytes).map_err(|_| "is not UTF-8 when decoded")
}
