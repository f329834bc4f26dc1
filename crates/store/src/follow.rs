//! What other processes changed, shown here too. A server keeps a list of changes; each process
//! reads it when it is told that there is news, and twice a second in any case.

mod changed;

use crate::database::{Database, GATEWAY};
use crate::live::{Change, Cut};
use crate::open::Inner;
use crate::postgres::{self, Server};
use crate::query::{Connection, Row, query};
use crate::row::{self, millis};
use crate::{
    Scope, Store, StoreError, budget, credential, ip_entry, maintenance, project, service_token,
    tenant, token,
};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{Mutex, Notify};
use tollkeep_types::{MonoNanos, WallMillis};

pub(crate) use changed::Changed;
use changed::What;

/// How often the list is read without having been told.
const POLL_EVERY: Duration = Duration::from_millis(500);
/// How long to wait before listening again, when the server went away.
const LISTEN_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Changes read at once.
const PAGE: usize = 500;
/// How long a change stays on the list.
const KEPT_MS: u64 = 3_600_000;
/// Whoever has not read the list for so long reads everything anew. Well below [`KEPT_MS`], as
/// clocks differ.
const MISSED_NS: u64 = 600 * 1_000_000_000;

const LAST: &str = "SELECT coalesce(max(id), 0) FROM changes";

const NEWS: &str = "SELECT id, what, row_id FROM changes WHERE id > $1 ORDER BY id LIMIT $2";

const TELL: &str = "INSERT INTO changes (what, row_id, tenant_id, at)
  VALUES ($1, $2, nullif(current_setting('tollkeep.tenant', true), ''), $3)";

const FORGET: &str = "DELETE FROM changes WHERE at <= $1";

/// Uses of tokens that end by disuse: they are used at other processes too.
const USES: &str = "SELECT digest, last_used_at FROM tokens
  WHERE idle_ttl_ms IS NOT NULL AND ended_at IS NULL AND last_used_at >= $1";

/// How far this process has read.
pub(crate) struct Follower {
    read: Mutex<Read>,
    /// When the list was last asked for with success.
    confirmed: AtomicU64,
    heard: Notify,
    /// Told when this process changed something that others must know.
    herald: OnceLock<Herald>,
}

/// Carries the word that there is news, by a way of its own.
pub type Herald = Box<dyn Fn() + Send + Sync>;

struct Read {
    /// The last change that is shown here.
    last: i64,
    /// The latest use of a token that is shown here.
    used: WallMillis,
}

impl Follower {
    /// One that has everything up to now. Call it before what is to be shown is read.
    pub(crate) async fn new(
        connection: &mut Connection,
        now: (MonoNanos, WallMillis),
    ) -> Result<Self, StoreError> {
        let last = match connection {
            Connection::Sqlite(_) | Connection::Lent(_) => 0,
            Connection::Postgres(_) => query(LAST).fetch_number(connection).await?,
        };
        Ok(Self {
            read: Mutex::new(Read { last, used: now.1 }),
            confirmed: AtomicU64::new(now.0.0),
            heard: Notify::new(),
            herald: OnceLock::new(),
        })
    }

    /// Writes down what a change changes, for other processes. Nobody shares a file.
    pub(crate) async fn tell(
        &self,
        connection: &mut Connection,
        changed: &[Changed],
        now: WallMillis,
    ) -> Result<(), StoreError> {
        if matches!(connection, Connection::Sqlite(_)) || changed.is_empty() {
            return Ok(());
        }
        for changed in changed {
            query(TELL)
                .bind(changed.what.as_str())
                .bind(&changed.row)
                .bind(millis(now))
                .execute(connection)
                .await?;
        }
        Ok(postgres::announce(connection).await?)
    }

    /// Says that what was told is committed.
    pub(crate) fn told(&self, changed: &[Changed]) {
        if let Some(herald) = self.herald.get().filter(|_| !changed.is_empty()) {
            herald();
        }
    }

    /// While this is held, nothing that others changed is shown.
    pub(crate) async fn pause(&self) -> impl Sized {
        self.read.lock().await
    }
}

/// Forgets changes that every process has read, or will not read any more.
pub(crate) async fn forget(connection: &mut Connection, now: WallMillis) -> Result<(), StoreError> {
    if let Connection::Postgres(_) = connection {
        let before = WallMillis(now.0.saturating_sub(KEPT_MS));
        let forgotten = query(FORGET).bind(millis(before));
        forgotten.execute(connection).await?;
    }
    Ok(())
}

impl Store {
    /// Ends answers on their way, here and elsewhere. Call it after what they ended by.
    ///
    /// # Errors
    /// The disk; they go on.
    pub async fn cut(&self, scope: Scope, cuts: Vec<Cut>) -> Result<(), StoreError> {
        self.unattended(async move |inner| {
            let write = inner.begin(scope).await?;
            let changes: Vec<_> = cuts.into_iter().map(Change::Cut).collect();
            write.commit(&changes).await
        })
        .await
    }

    /// Has a herald told after each change that other processes must know, beside what the
    /// database tells them itself. The first one stays.
    pub fn set_herald(&self, herald: Herald) {
        drop(self.0.follower.herald.set(herald));
    }

    /// Looks for changes made elsewhere at once, as somebody says that there are some.
    pub fn look(&self) {
        self.0.follower.heard.notify_one();
    }

    /// How long ago it was last certain that nothing changed elsewhere without being shown here, in
    /// nanoseconds; 0 where nobody else can change anything. HOT: a branch, or two loads.
    pub fn unconfirmed_ns(&self, now: MonoNanos) -> u64 {
        match &self.0.database {
            Database::Sqlite(_) => 0,
            Database::Postgres(_) => {
                let confirmed = self.0.follower.confirmed.load(Ordering::Relaxed);
                now.since(MonoNanos(confirmed))
            }
        }
    }

    /// Shows what other processes change, and tells each time something was shown; leases calls of
    /// counted tokens. Runs until it is dropped; where nobody else can change anything it has nothing to do.
    pub async fn follow(&self, shown: impl Fn()) {
        let Database::Postgres(server) = &self.0.database else {
            return;
        };
        tokio::join!(
            self.0.listen(server),
            self.0.poll(server, shown),
            self.0.lend(server)
        );
    }
}

impl Inner {
    async fn listen(&self, server: &Server) {
        loop {
            let lost = server.listen(|| self.follower.heard.notify_one()).await;
            if let Err(error) = lost {
                tracing::debug!(%error, "Not told of changes; they are looked for");
            }
            tokio::time::sleep(LISTEN_AGAIN_AFTER).await;
        }
    }

    async fn poll(&self, server: &Server, shown: impl Fn()) {
        let mut is_lost = false;
        loop {
            tokio::select! {
                () = self.follower.heard.notified() => {}
                () = tokio::time::sleep(POLL_EVERY) => {}
            }
            match self.catch_up(server, &shown).await {
                Ok(()) => {
                    if std::mem::take(&mut is_lost) {
                        tracing::info!("Changes made elsewhere are seen again");
                    }
                }
                Err(error) => {
                    if !std::mem::replace(&mut is_lost, true) {
                        tracing::warn!("Changes made elsewhere are not seen: {error}");
                    }
                }
            }
        }
    }

    /// Shows the changes since the last time, in their order: whoever can use a token that was made
    /// after a budget or a credential finds those in force.
    async fn catch_up(&self, server: &Server, shown: impl Fn()) -> Result<(), StoreError> {
        let asked = self.wall.clock().mono();
        let mut read = self.follower.read.lock().await;
        let confirmed = MonoNanos(self.follower.confirmed.load(Ordering::Relaxed));
        let mut connection = server.watch().await?;
        let connection = &mut connection;
        let (mut news, mut waits) = (false, false);
        if asked.since(confirmed) > MISSED_NS {
            read.last = query(LAST).fetch_number(connection).await?;
            self.show_all(connection).await?;
            (news, waits) = (true, true);
        }
        loop {
            let rows = query(NEWS).bind(read.last).bind(count(PAGE));
            let rows = rows.fetch_all(connection).await?;
            for row in &rows {
                let what: What = row::id(row, "what")?;
                let at_once = what.is_live_at_once();
                if at_once && std::mem::take(&mut waits) {
                    shown();
                }
                self.show(connection, (what, row)).await?;
                read.last = row::value(row, "id")?;
                (news, waits) = (true, waits || !at_once);
            }
            if rows.len() < PAGE {
                break;
            }
        }
        if news {
            shown();
        }
        self.show_uses(connection, &mut read).await?;
        self.follower.confirmed.store(asked.0, Ordering::Relaxed);
        Ok(())
    }

    /// Shows a row as it is now, which may be later than the change.
    async fn show(
        &self,
        connection: &mut Connection,
        (what, change): (What, &Row),
    ) -> Result<(), StoreError> {
        match what {
            What::Tenant => {
                let id = row::id(change, "row_id")?;
                if let Some(tenant) = there(tenant::by_id(connection, id).await)? {
                    self.live.apply(Change::Tenant(&tenant));
                }
            }
            What::Project => {
                let id = row::id(change, "row_id")?;
                if let Some(project) = there(project::by_id(connection, GATEWAY, id).await)? {
                    self.live.apply(Change::Project(&project));
                }
            }
            What::Token => {
                let id = row::id(change, "row_id")?;
                if let Some(token) = there(token::by_id(connection, GATEWAY, id).await)? {
                    self.live.apply(Change::Token(&token));
                }
            }
            What::ServiceToken => {
                let id = row::id(change, "row_id")?;
                if let Some(token) = there(service_token::by_id(connection, id).await)? {
                    self.live.apply(Change::ServiceToken(&token));
                }
            }
            What::IpEntries => {
                let entries = ip_entry::all(connection).await?;
                self.ip_entries.store(Arc::new(entries));
            }
            What::CutToken => {
                let id = row::id(change, "row_id")?;
                if let Some(token) = there(token::by_id(connection, GATEWAY, id).await)? {
                    let cut = Cut::Token(id, token.secret.digest);
                    self.live.apply(Change::Cut(cut));
                }
            }
            What::CutProject => {
                let cut = Cut::Project(row::id(change, "row_id")?);
                self.live.apply(Change::Cut(cut));
            }
            What::CutTenant => {
                let cut = Cut::Tenant(row::id(change, "row_id")?);
                self.live.apply(Change::Cut(cut));
            }
            What::CutCredential => {
                let cut = Cut::Credential(row::id(change, "row_id")?);
                self.live.apply(Change::Cut(cut));
            }
            What::Credential => {
                let id = row::id(change, "row_id")?;
                match there(credential::by_id(connection, GATEWAY, id).await)? {
                    Some(credential) => self.show_credential(&credential),
                    None => self.forget_credential(id),
                }
            }
            What::Budget => {
                let id = row::id(change, "row_id")?;
                match there(budget::by_id(connection, GATEWAY, id).await)? {
                    Some(record) => self.show_budget(&record),
                    None => self.forget_budget(id),
                }
            }
            What::Accounts => self.show_accounts(connection).await?,
            What::Quarantines => self.show_quarantines(connection).await?,
            What::Prices => self.show_prices(connection).await?,
            What::Maintenance => self.maintenance.store(maintenance::read(connection).await?),
        }
        Ok(())
    }

    async fn show_all(&self, connection: &mut Connection) -> Result<(), StoreError> {
        let projects = project::all(connection).await?;
        let tokens = token::open(connection).await?;
        let service_tokens = service_token::all(connection).await?;
        let of_note = tenant::of_note(connection).await?;
        self.live
            .replace((&of_note, &projects), &tokens, &service_tokens);
        self.budgets
            .store(Arc::new(budget::in_use(connection).await?));
        self.show_accounts(connection).await?;
        self.show_quarantines(connection).await?;
        self.show_prices(connection).await?;
        self.credentials
            .store(Arc::new(credential::all(connection).await?));
        self.ip_entries
            .store(Arc::new(ip_entry::all(connection).await?));
        self.maintenance.store(maintenance::read(connection).await?);
        Ok(())
    }

    async fn show_uses(
        &self,
        connection: &mut Connection,
        read: &mut Read,
    ) -> Result<(), StoreError> {
        // Other processes store their uses a moment later, and by their own clocks.
        const SLACK_MS: u64 = 10_000;
        let since = WallMillis(read.used.0.saturating_sub(SLACK_MS));
        let rows = query(USES)
            .bind(millis(since))
            .fetch_all(connection)
            .await?;
        for row in &rows {
            let used_at = row::time(row, "last_used_at")?;
            self.live.note_use(&row::digest(row, "digest")?, used_at);
            read.used = read.used.max(used_at);
        }
        Ok(())
    }
}

/// A row that may have been deleted since.
fn there<T>(found: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match found {
        Ok(row) => Ok(Some(row)),
        Err(StoreError::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

fn count(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}
