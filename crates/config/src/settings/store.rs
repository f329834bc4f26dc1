//! The database.

use super::ms;
use super::postgres::PostgresServer;
use crate::check::Checks;
use crate::field::KindExt;
use crate::kind::{choice, duration, maybe, path, secret, whole};
use crate::reader::keys;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tollkeep_types::Secret;

/// The database.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// The database file, where it is SQLite.
    pub path: PathBuf,
    /// The server, where it is PostgreSQL.
    pub postgres: Option<Box<Postgres>>,
    /// How long a statement waits for other writers, a connection and an answer.
    pub busy_timeout: Duration,
    /// What is done about a schema of an earlier version.
    pub migrate: Migrate,
}

/// A PostgreSQL database.
#[derive(Clone, Debug)]
pub struct Postgres {
    /// The login for what is done for one tenant.
    pub app: PostgresServer,
    /// The login for the gateway's own work.
    pub jobs: PostgresServer,
    /// The login that may change the schema.
    pub owner: Option<PostgresServer>,
    /// Connections at most, for each of the first two.
    pub pool_size: u32,
    /// How old a connection becomes.
    pub conn_max_lifetime: Duration,
}

/// What is done about a schema of an earlier version.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Migrate {
    /// It is brought up to date.
    Auto,
    /// It is refused.
    Check,
    /// Nobody looks.
    Off,
}

/// Which database.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Driver {
    Sqlite,
    Postgres,
}

keys! {
    /// The database.
    pub(crate) struct StoreFile {
        /// Which database. Default: PostgreSQL if there is a `store.url`, else SQLite.
        driver: Option<Driver> = choice(&[
            ("sqlite", Driver::Sqlite),
            ("postgres", Driver::Postgres),
            ("postgresql", Driver::Postgres),
        ]).later(&["mysql", "memory"]).optional(),
        /// The database file of SQLite. Default: `tollkeep.db` in `data_dir`. Beside it stands `-wal`,
        /// what is not in the file yet, 16 MiB and under load more; whoever copies the file copies both.
        /// The gateway keeps up to 16 MiB of its pages in memory.
        path: Option<PathBuf> = path().optional(),
        /// A PostgreSQL database of the gateway's own, as
        /// `postgres://tollkeep_app:password@host:5432/tollkeep?sslmode=verify-full`, with the login
        /// for what is done for one tenant. Without `sslmode` the server must prove its name by a
        /// certificate, but on this machine. `sslrootcert` names a file of authorities.
        url: Option<Secret> = maybe(secret()).or(None),
        /// The same database with the login for the gateway's own work, `tollkeep_jobs`.
        jobs_url: Option<Secret> = maybe(secret()).or(None),
        /// The same database with a login that may become `tollkeep_owner`. It is used to bring the
        /// schema up to date, and for nothing else.
        owner_url: Option<Secret> = maybe(secret()).or(None),
        /// Connections to PostgreSQL at most, for each of the first two logins. A few more watch
        /// for changes.
        pool_size: u32 = whole(1..=1_000).or(10),
        /// How old a connection to PostgreSQL becomes.
        conn_max_lifetime: Duration = duration(1_000..=604_800_000).or(ms(3_600_000)),
        /// What is done at the start about a schema of an earlier version: `auto` brings it up to
        /// date, `check` refuses it, `off` doesn't look.
        migrate: Migrate = choice(&[
            ("auto", Migrate::Auto),
            ("check", Migrate::Check),
            ("off", Migrate::Off),
        ]).or(Migrate::Auto),
        /// How long a statement waits for other writers, for a free connection, and for an answer of
        /// PostgreSQL.
        busy_timeout: Duration = duration(1..=600_000).or(ms(5_000)),
    }
}

impl StoreFile {
    pub(super) fn check(self, data_dir: &Path, checks: &mut Checks<'_>) -> StoreSettings {
        let path = self.path.clone();
        StoreSettings {
            path: path.unwrap_or_else(|| data_dir.join("tollkeep.db")),
            busy_timeout: self.busy_timeout,
            migrate: self.migrate,
            postgres: self.postgres(checks).map(Box::new),
        }
    }

    fn postgres(self, checks: &mut Checks<'_>) -> Option<Postgres> {
        let written = |url: Option<Secret>| url.filter(|url| !url.expose().is_empty());
        let urls = [self.url, self.jobs_url, self.owner_url].map(written);
        let is_told = urls.iter().any(Option::is_some);
        match self.driver {
            Some(Driver::Sqlite) if is_told => {
                checks.warn(
                    "store.url",
                    "has no effect with `store.driver: sqlite`, nor have the other URLs",
                );
                return None;
            }
            Some(Driver::Sqlite) => return None,
            None if !is_told => return None,
            Some(Driver::Postgres) | None => {}
        }
        let [app, jobs, owner] = urls;
        let app = login("store.url", app.as_ref(), checks);
        let jobs = login("store.jobs_url", jobs.as_ref(), checks);
        let owner = owner.and_then(|url| login("store.owner_url", Some(&url), checks));
        let (app, jobs) = (app?, jobs?);
        if app.user == jobs.user {
            let problem = "is the login of `store.url`: rows of other tenants are hidden from that \
                           one, and must not be from this";
            checks.error("store.jobs_url", problem);
        }
        Some(Postgres {
            app,
            jobs,
            owner,
            pool_size: self.pool_size,
            conn_max_lifetime: self.conn_max_lifetime,
        })
    }
}

fn login(key: &str, url: Option<&Secret>, checks: &mut Checks<'_>) -> Option<PostgresServer> {
    let Some(url) = url else {
        let problem = "is needed with PostgreSQL (docs/guide/postgresql.md); `store.driver: sqlite` \
                       needs none";
        checks.error(key, problem);
        return None;
    };
    match PostgresServer::read(url.expose()) {
        Ok(server) => {
            server.check(key, checks);
            Some(server)
        }
        Err(problem) => {
            checks.error(key, problem);
            None
        }
    }
}

impl StoreSettings {
    /// Whether a login of PostgreSQL is the same in both.
    pub(crate) fn is_same_login(
        &self,
        other: &Self,
        login: impl Fn(&Postgres) -> Option<&PostgresServer>,
    ) -> bool {
        let of = |settings: &'_ Self| settings.postgres.as_deref().and_then(&login).cloned();
        match (of(self), of(other)) {
            (Some(a), Some(b)) => a.is_same(&b),
            (a, b) => a.is_none() && b.is_none(),
        }
    }

    /// How connections to a server are kept.
    pub(crate) fn pool(&self) -> Option<(u32, Duration)> {
        let postgres = self.postgres.as_ref()?;
        Some((postgres.pool_size, postgres.conn_max_lifetime))
    }
}
