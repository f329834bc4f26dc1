//! Opening, sharing and closing the store.

use crate::database::{Database, GATEWAY};
use crate::follow::Follower;
use crate::intent::Intent;
use crate::lend::Lender;
use crate::live::{Change, LiveTokens};
use crate::outbox::TellerSlot;
use crate::query::Connection;
use crate::wall::SteadyWall;
use crate::{
    BudgetRecord, Credential, IpEntry, KeptPrices, MaintenanceOn, Migrate, OpenError,
    PostgresOptions, Quarantine, StoreError, Tenant,
};
use crate::{
    budget, credential, ip_entry, ledger, maintenance, meta, prepaid, price, project, quarantine,
    service_token, tenant, token,
};
use arc_swap::{ArcSwap, ArcSwapOption};
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tollkeep_ledger::prepaid::Prepaid;
use tollkeep_types::{Clock, Entropy, WallMillis};

/// Where the database is.
#[derive(Clone, Debug)]
pub enum Place {
    /// In a file that this process has for itself.
    Sqlite(PathBuf),
    /// On a server.
    Postgres(Box<PostgresOptions>),
}

/// How the store is opened, and how it waits.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// Longest wait for other writers, for a free connection, for an answer of a server.
    pub busy_timeout: Duration,
    /// What is done about a schema of an earlier version.
    pub migrate: Migrate,
}

impl Default for StoreOptions {
    /// Five seconds; the schema is brought up to date.
    fn default() -> Self {
        Self {
            busy_timeout: Duration::from_secs(5),
            migrate: Migrate::default(),
        }
    }
}

/// The open store. Clones are the same store.
#[derive(Clone)]
pub struct Store(pub(crate) Arc<Inner>);

/// What a handle of the store holds: the store, and what the handle is for.
pub(crate) struct Inner {
    pub(crate) core: Arc<Core>,
    pub(crate) intent: Intent,
}

impl Deref for Inner {
    type Target = Core;

    fn deref(&self) -> &Core {
        &self.core
    }
}

/// The store that all handles share.
pub(crate) struct Core {
    pub(crate) database: Database,
    pub(crate) follower: Follower,
    pub(crate) ledger: ledger::Shared,
    pub(crate) lender: Lender,
    pub(crate) live: Arc<LiveTokens>,
    /// Budgets, as they are in the database.
    pub(crate) budgets: ArcSwap<Vec<BudgetRecord>>,
    /// Open prepaid accounts, as they are in the database.
    pub(crate) accounts: ArcSwap<Vec<Prepaid>>,
    /// Models in quarantine, as they are in the database.
    pub(crate) quarantines: ArcSwap<Vec<Quarantine>>,
    /// Prices that operators wrote or took in, as they are in the database.
    pub(crate) prices: ArcSwap<KeptPrices>,
    /// Credentials, as they are in the database, oldest first.
    pub(crate) credentials: ArcSwap<Vec<Credential>>,
    /// Entries of address lists, as they are in the database.
    pub(crate) ip_entries: ArcSwap<Vec<IpEntry>>,
    /// Maintenance, as it is in the database.
    pub(crate) maintenance: ArcSwapOption<MaintenanceOn>,
    /// Who is told of what happens.
    pub(crate) teller: TellerSlot,
    pub(crate) wall: SteadyWall,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) default_tenant: Tenant,
}

impl Store {
    /// Opens the database, making the file and its folder if missing, brings its schema up to date,
    /// makes the default tenant and project at first start, and loads the live tokens.
    ///
    /// # Errors
    /// [`OpenError`]: in use, newer than this program, damaged, out of reach, or refused by the
    /// system or the server. A damaged file is never replaced.
    pub async fn open(
        place: &Place,
        options: &StoreOptions,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, OpenError> {
        let database = Database::open(place, options, clock.wall()).await?;
        let default_tenant =
            tenant::ensure_default(&database, clock.as_ref(), entropy.as_ref()).await?;
        let mut connection = database.read(GATEWAY).await?;
        let connection = &mut connection;
        let now = (clock.mono(), clock.wall());
        let follower = Follower::new(connection, now).await?;
        let highest = meta::read(connection, meta::HIGHEST_WALL_TIME).await?;
        let highest = highest
            .and_then(|text| text.parse().ok())
            .map_or(WallMillis(0), WallMillis);
        let core = Core {
            follower,
            ledger: ledger::Shared::default(),
            lender: Lender::default(),
            live: Arc::new(live_tokens(connection).await?),
            budgets: ArcSwap::from_pointee(budget::in_use(connection).await?),
            accounts: ArcSwap::from_pointee(prepaid::in_use(connection).await?),
            quarantines: ArcSwap::from_pointee(quarantine::all(connection).await?),
            prices: ArcSwap::from_pointee(price::kept(connection).await?),
            credentials: ArcSwap::from_pointee(credential::all(connection).await?),
            ip_entries: ArcSwap::from_pointee(ip_entry::all(connection).await?),
            maintenance: ArcSwapOption::new(maintenance::read(connection).await?),
            teller: TellerSlot::default(),
            wall: SteadyWall::new(clock, highest),
            entropy,
            default_tenant,
            database,
        };
        let store = Self::of(Arc::new(core), Intent::default());
        project::ensure_default(&store.0).await?;
        Ok(store)
    }

    /// A handle for this.
    pub(crate) fn of(core: Arc<Core>, intent: Intent) -> Self {
        Self(Arc::new(Inner { core, intent }))
    }

    /// The tokens in use, for the data plane.
    pub fn live(&self) -> &Arc<LiveTokens> {
        &self.0.live
    }

    /// The tenant that is meant when none is named.
    pub fn default_tenant(&self) -> &Tenant {
        &self.0.default_tenant
    }

    /// The wall clock, or the greatest time it ever showed if that is later: what expired stays
    /// expired when the clock is set back. HOT: two loads.
    pub fn now(&self) -> WallMillis {
        self.0.wall.now()
    }

    /// As [`Self::now`], for one that has read the wall clock already.
    pub fn now_at(&self, wall: WallMillis) -> WallMillis {
        self.0.wall.at(wall)
    }

    /// Whether the database can be read now.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.meta(meta::HIGHEST_WALL_TIME).await.map(|_| ())
    }

    /// Whether something can be written now: waits for its turn, and writes nothing.
    ///
    /// # Errors
    /// [`StoreError::Full`] or [`StoreError::Unavailable`].
    pub async fn can_write(&self) -> Result<(), StoreError> {
        self.unattended(async move |inner| {
            let turn = inner.database.begin_ledger().await?;
            turn.undo().await;
            Ok(())
        })
        .await
    }

    /// Stores the greatest wall time, at most once a minute. Call it every few seconds.
    ///
    /// # Errors
    /// [`StoreError::Full`] or [`StoreError::Unavailable`]; the next call tries again.
    pub async fn keep_time(&self) -> Result<(), StoreError> {
        match self.0.wall.due() {
            Some(now) => self.store_time(now).await,
            None => Ok(()),
        }
    }

    /// Stores what is still in memory, waits for changes under way, and closes the
    /// database.
    ///
    /// # Errors
    /// [`StoreError`] if something could not be stored; the database is closed all the same.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.0.live.let_go();
        self.0.ledger.close();
        let usage = self.flush_usage().await;
        let time = self.store_time(self.now()).await;
        let closed = self.0.database.close().await;
        usage.and(time).and(closed)
    }

    async fn store_time(&self, now: WallMillis) -> Result<(), StoreError> {
        self.keep_highest_time(now).await?;
        self.0.wall.stored(now);
        Ok(())
    }
}

/// The live table as the database has it.
async fn live_tokens(connection: &mut Connection) -> Result<LiveTokens, StoreError> {
    let projects = project::all(connection).await?;
    let tokens = token::open(connection).await?;
    let service_tokens = service_token::all(connection).await?;
    let is_shared = matches!(connection, Connection::Postgres(_));
    let live = LiveTokens::load(is_shared, &projects, &tokens, &service_tokens);
    for tenant in tenant::of_note(connection).await? {
        live.apply(Change::Tenant(&tenant));
    }
    Ok(live)
}
