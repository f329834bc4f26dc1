//! Addresses that operators deny or allow while the gateway runs.

use crate::database::GATEWAY;
use crate::follow::Changed;
use crate::open::Inner;
use crate::query::{Connection, Row, query};
use crate::row::{self, millis};
use crate::write::Write;
use crate::{Conflict, Store, StoreError};
use ipnet::IpNet;
use std::str::FromStr;
use std::sync::Arc;
use tollkeep_types::{IpEntryId, WallMillis};

/// Entries of both lists together.
const ENTRIES_MAX: usize = 10_000;

/// Which list an entry is on.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum IpListName {
    /// Those who may not come.
    Deny,
    /// Those who may.
    Allow,
}

impl IpListName {
    /// The word for it in the database and in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Allow => "allow",
        }
    }
}

impl FromStr for IpListName {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        let mut lists = [Self::Deny, Self::Allow].into_iter();
        lists.find(|list| list.as_str() == word).ok_or(())
    }
}

/// An entry.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IpEntry {
    /// Its id.
    pub id: IpEntryId,
    /// The list it is on.
    pub list: IpListName,
    /// The addresses.
    pub net: IpNet,
    /// Why.
    pub reason: Option<String>,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    pub created_at: WallMillis,
    /// When it ends by itself.
    pub expires_at: Option<WallMillis>,
}

impl IpEntry {
    /// Whether it holds at `now`.
    pub fn holds(&self, now: WallMillis) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }
}

/// An entry to be made, or to be made anew.
#[derive(Clone, Debug)]
pub struct NewIpEntry {
    /// The list.
    pub list: IpListName,
    /// The addresses.
    pub net: IpNet,
    /// Why.
    pub reason: Option<String>,
    /// Who makes it.
    pub created_by: String,
    /// When it ends by itself.
    pub expires_at: Option<WallMillis>,
}

/// What became of an entry that was asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PutIpEntry {
    /// It is new.
    Made(IpEntry),
    /// It was there; its reason and end are the new ones.
    Updated(IpEntry),
}

/// An entry by either of its names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum IpEntryRef {
    /// By id.
    Id(IpEntryId),
    /// By its addresses.
    Net(IpNet),
}

const ALL: &str = "SELECT id, list, cidr, reason, created_by, created_at, expires_at
  FROM ip_entries ORDER BY created_at DESC, id DESC";

const COUNT: &str = "SELECT count(*) FROM ip_entries";

const UPDATE: &str =
    "UPDATE ip_entries SET reason = $3, expires_at = $4 WHERE list = $1 AND cidr = $2";

const INSERT: &str = "INSERT INTO ip_entries
  (id, list, cidr, reason, created_by, created_at, expires_at)
  VALUES ($1, $2, $3, $4, $5, $6, $7)";

const DELETE: &str = "DELETE FROM ip_entries WHERE list = $1 AND (id = $2 OR cidr = $3)";

const FORGET: &str = "DELETE FROM ip_entries WHERE expires_at <= $1";

impl Store {
    /// All entries, newest first, those included whose time has just ended. They belong to the
    /// deployment, so there is no scope.
    pub fn ip_entries(&self) -> Arc<Vec<IpEntry>> {
        self.0.ip_entries.load_full()
    }

    /// Makes an entry. One that is there already gets the new reason and end.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when there are 10 000; the disk.
    pub async fn put_ip_entry(&self, new: NewIpEntry) -> Result<PutIpEntry, StoreError> {
        self.unattended(async move |inner| {
            let now = inner.wall.now();
            let mut write = inner.begin(GATEWAY).await?;
            let updated = query(UPDATE)
                .bind(new.list.as_str())
                .bind(new.net.to_string())
                .bind(&new.reason)
                .bind(new.expires_at.map(millis))
                .execute(write.connection());
            let updated = updated.await? > 0;
            if !updated {
                insert(&inner, &mut write, &new, now).await?;
            }
            let shown = show(&inner, write).await?;
            let mut entries = shown.iter();
            let entry = entries
                .find(|entry| entry.list == new.list && entry.net == new.net)
                .cloned()
                .ok_or(StoreError::NotFound)?;
            Ok(if updated {
                PutIpEntry::Updated(entry)
            } else {
                PutIpEntry::Made(entry)
            })
        })
        .await
    }

    /// Removes an entry and gives what it was.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; the disk.
    pub async fn remove_ip_entry(
        &self,
        list: IpListName,
        which: IpEntryRef,
    ) -> Result<IpEntry, StoreError> {
        self.unattended(async move |inner| {
            let mut write = inner.begin(GATEWAY).await?;
            let (id, net) = match which {
                IpEntryRef::Id(id) => (Some(id), None),
                IpEntryRef::Net(net) => (None, Some(net)),
            };
            let before = inner.ip_entries.load_full();
            let mut entries = before.iter().filter(|entry| entry.list == list);
            let removed = entries
                .find(|entry| Some(entry.id) == id || Some(entry.net) == net)
                .cloned()
                .ok_or(StoreError::NotFound)?;
            query(DELETE)
                .bind(list.as_str())
                .bind(id.map(|id| id.to_string()))
                .bind(net.map(|net| net.to_string()))
                .execute(write.connection())
                .await?;
            show(&inner, write).await?;
            Ok(removed)
        })
        .await
    }

    /// Deletes the entries whose time is over; says how many.
    ///
    /// # Errors
    /// The disk.
    pub async fn forget_ip_entries(&self) -> Result<u64, StoreError> {
        let now = self.now();
        if self
            .0
            .ip_entries
            .load()
            .iter()
            .all(|entry| entry.holds(now))
        {
            return Ok(0);
        }
        self.unattended(async move |inner| {
            let mut write = inner.begin(GATEWAY).await?;
            let gone = query(FORGET)
                .bind(millis(now))
                .execute(write.connection())
                .await?;
            show(&inner, write).await?;
            Ok(gone)
        })
        .await
    }
}

async fn insert(
    inner: &Inner,
    write: &mut Write<'_>,
    new: &NewIpEntry,
    now: WallMillis,
) -> Result<(), StoreError> {
    let count = query(COUNT).fetch_number(write.connection()).await?;
    if usize::try_from(count).unwrap_or(usize::MAX) >= ENTRIES_MAX {
        return Err(StoreError::Conflict(Conflict::IpEntriesFull));
    }
    let id = IpEntryId::new(inner.wall.clock(), inner.entropy.as_ref());
    query(INSERT)
        .bind(id.to_string())
        .bind(new.list.as_str())
        .bind(new.net.to_string())
        .bind(&new.reason)
        .bind(&new.created_by)
        .bind(millis(now))
        .bind(new.expires_at.map(millis))
        .execute(write.connection())
        .await?;
    Ok(())
}

/// Commits, and shows the entries as they are then.
async fn show(inner: &Inner, mut write: Write<'_>) -> Result<Arc<Vec<IpEntry>>, StoreError> {
    let entries = Arc::new(all(write.connection()).await?);
    let shown = Arc::clone(&entries);
    let show = || inner.ip_entries.store(shown);
    write.commit_then(&[Changed::IP_ENTRIES], show).await?;
    Ok(entries)
}

/// The entries in the database.
pub(crate) async fn all(connection: &mut Connection) -> Result<Vec<IpEntry>, StoreError> {
    let rows = query(ALL).fetch_all(connection).await?;
    rows.iter().map(entry).collect()
}

fn entry(row: &Row) -> Result<IpEntry, StoreError> {
    Ok(IpEntry {
        id: row::id(row, "id")?,
        list: row::id(row, "list")?,
        net: row::id(row, "cidr")?,
        reason: row::value(row, "reason")?,
        created_by: row::text(row, "created_by")?,
        created_at: row::time(row, "created_at")?,
        expires_at: row::time_if_set(row, "expires_at")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Place, StoreOptions};
    use tollkeep_crypto::SystemEntropy;
    use tollkeep_types::{Clock, MonoNanos};

    struct StandStill;

    impl Clock for StandStill {
        fn mono(&self) -> MonoNanos {
            MonoNanos(0)
        }

        fn wall(&self) -> WallMillis {
            WallMillis(1_795_342_530_000)
        }
    }

    const FILL: &str = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9999)
      INSERT INTO ip_entries (id, list, cidr, created_by, created_at)
      SELECT 'ipe_' || printf('%032x', i), 'deny', '10.0.' || (i / 256) || '.' || (i % 256) || '/32',
        'test', 1 FROM n";

    // EDGE-67
    #[tokio::test]
    async fn there_are_ten_thousand_entries_at_most() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::Sqlite(folder.path().join("tollkeep.db"));
        let (clock, entropy) = (Arc::new(StandStill), Arc::new(SystemEntropy));
        let options = StoreOptions::default();
        let store = Store::open(&place, &options, clock, entropy).await.unwrap();
        let mut write = store.0.begin(GATEWAY).await.unwrap();
        query(FILL).execute(write.connection()).await.unwrap();
        write.commit(&[]).await.unwrap();
        let put = async |net: &str| {
            let new = NewIpEntry {
                list: IpListName::Deny,
                net: net.parse().unwrap(),
                reason: None,
                created_by: "test".to_owned(),
                expires_at: None,
            };
            store.put_ip_entry(new).await
        };
        assert!(matches!(put("192.0.2.1/32").await, Ok(PutIpEntry::Made(_))));
        assert_eq!(
            put("192.0.2.2/32").await,
            Err(StoreError::Conflict(Conflict::IpEntriesFull))
        );
        let again = put("192.0.2.1/32").await;
        assert!(matches!(again, Ok(PutIpEntry::Updated(_))), "{again:?}");
        assert_eq!(store.ip_entries().len(), ENTRIES_MAX);
    }
}
