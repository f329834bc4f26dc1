//! The store, as the settings name it.

use super::Base;
use crate::exit::{self, Failed};
use std::sync::Arc;
use tollkeep_config::settings::{
    Migrate, Postgres, PostgresServer, PostgresTls as Tls, StoreSettings,
};
use tollkeep_store::{
    Migrate as StoreMigrate, OpenError, Place, PostgresLogin, PostgresOptions, PostgresTls, Store,
    StoreOptions,
};

/// Opens it.
///
/// # Errors
/// It is in use, out of reach, refuses, or is not as it must be.
pub(super) async fn open(base: &Base) -> anyhow::Result<Store> {
    let migrate = match base.settings.store.migrate {
        Migrate::Auto => StoreMigrate::Auto,
        Migrate::Check => StoreMigrate::Check,
        Migrate::Off => StoreMigrate::Off,
    };
    open_as(base, migrate).await
}

/// Opens it to look into it: an older schema is refused.
///
/// # Errors
/// As [`open`].
pub(crate) async fn look_into(base: &Base) -> anyhow::Result<Store> {
    open_as(base, StoreMigrate::Check).await
}

/// Opens it to look for something in it, also while a gateway has it open.
///
/// # Errors
/// As of opening it.
pub(crate) async fn look_beside(base: &Base) -> anyhow::Result<Store> {
    open_as(base, StoreMigrate::Beside).await
}

async fn open_as(base: &Base, migrate: StoreMigrate) -> anyhow::Result<Store> {
    let settings = &base.settings.store;
    let options = StoreOptions {
        busy_timeout: settings.busy_timeout,
        migrate,
    };
    let (clock, entropy) = (Arc::clone(&base.clock), Arc::clone(&base.entropy));
    let opened = Store::open(&place(settings), &options, clock, entropy).await;
    Ok(opened.map_err(|error| {
        let code = match &error {
            OpenError::Unreachable(_) => exit::UNREACHABLE,
            OpenError::InUse { .. }
            | OpenError::Newer { .. }
            | OpenError::Older { .. }
            | OpenError::Server(_)
            | OpenError::Damaged { .. }
            | OpenError::Io { .. }
            | OpenError::Store(_) => exit::INVALID,
        };
        Failed::new(code, error.to_string())
    })?)
}

fn place(settings: &StoreSettings) -> Place {
    match &settings.postgres {
        None => Place::Sqlite(settings.path.clone()),
        Some(postgres) => Place::Postgres(Box::new(server(postgres))),
    }
}

fn server(settings: &Postgres) -> PostgresOptions {
    PostgresOptions {
        app: login(&settings.app),
        jobs: login(&settings.jobs),
        owner: settings.owner.as_ref().map(login),
        pool_size: settings.pool_size,
        conn_max_lifetime: settings.conn_max_lifetime,
    }
}

fn login(server: &PostgresServer) -> PostgresLogin {
    PostgresLogin {
        host: server.host.clone(),
        port: server.port,
        user: server.user.clone(),
        password: server.password.clone(),
        database: server.database.clone(),
        tls: match server.tls {
            Tls::Off => PostgresTls::Off,
            Tls::Preferred => PostgresTls::Preferred,
            Tls::Required => PostgresTls::Required,
            Tls::VerifiedAuthority => PostgresTls::VerifiedAuthority,
            Tls::Verified => PostgresTls::Verified,
        },
        roots: server.roots.clone(),
    }
}
