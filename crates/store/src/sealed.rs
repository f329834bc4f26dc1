//! Records that hold sealed texts: listed in one place, so that whoever seals anew finds all.
//!
//! The store does not know how to open or seal; it knows where sealed texts stand.

use crate::database::GATEWAY;
use crate::query::{Connection, query};
use crate::row;
use crate::row::{count, millis};
use crate::{Store, StoreError};
use tollkeep_types::WallMillis;

/// A field that holds sealed texts. Its table has a column `sealed_at` beside it.
struct SealedField {
    table: &'static str,
    field: &'static str,
    /// A part of the records, by row.
    page: &'static str,
    /// Exchanges one text for another, unless it was exchanged meanwhile.
    exchange: &'static str,
}

/// A field by its table, the column that tells rows apart, its own column, and what gives the
/// tenant of a row; an empty tenant is the default one.
macro_rules! sealed {
    ($table:literal, row $row:literal, field $field:literal, tenant $tenant:literal) => {
        SealedField {
            table: $table,
            field: $field,
            page: concat!(
                "SELECT ",
                $row,
                " AS row_id, ",
                $tenant,
                " AS tenant_id, ",
                $field,
                " AS sealed, coalesce(sealed_at, 0) AS sealed_at FROM ",
                $table,
                " WHERE ",
                $field,
                " LIKE 'enc:%' AND ",
                $row,
                " > $1 ORDER BY ",
                $row,
                " LIMIT $2"
            ),
            exchange: concat!(
                "UPDATE ",
                $table,
                " SET ",
                $field,
                " = $1, sealed_at = $2 WHERE ",
                $row,
                " = $3 AND ",
                $field,
                " = $4"
            ),
        }
    };
}

/// Every field that holds sealed texts. Whoever adds one adds a line.
const SEALED: &[SealedField] = &[
    sealed!("meta", row "key", field "value", tenant "''"),
    sealed!("operators", row "id", field "totp", tenant "coalesce(tenant_id, '')"),
    sealed!("credentials", row "id", field "secret", tenant "tenant_id"),
    sealed!("payments", row "id", field "proof", tenant "tenant_id"),
    sealed!("payment_identifiers", row "payment_id", field "answer", tenant "tenant_id"),
];

const SEAL_ONCE: &str = "INSERT INTO meta (key, value, sealed_at) VALUES ($1, $2, $3)
  ON CONFLICT (key) DO NOTHING";

/// Records that are read or written at a time.
pub const SEALED_BATCH: usize = 500;

/// A sealed text and where it stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SealedRecord {
    /// Its tenant.
    pub tenant: String,
    /// Its table.
    pub table: &'static str,
    /// Its row.
    pub row: String,
    /// Its field.
    pub field: &'static str,
    /// The sealed text.
    pub sealed: String,
    /// When it was sealed; `None` if an earlier version did that.
    pub sealed_at: Option<WallMillis>,
}

/// How far a walk through the sealed records has come.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SealedCursor {
    field: usize,
    row: String,
}

impl Store {
    /// The sealed records behind a place, at most [`SEALED_BATCH`], and where to go on; `None` if
    /// there are no more. They belong to the deployment, so there is no scope.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn sealed(
        &self,
        from: SealedCursor,
    ) -> Result<(Vec<SealedRecord>, Option<SealedCursor>), StoreError> {
        let mut connection = self.0.read(GATEWAY).await?;
        let (mut records, next) = page(&mut connection, from).await?;
        self.name_tenants(&mut records);
        Ok((records, next))
    }

    /// Seals the records behind a place anew, at most [`SEALED_BATCH`], in one transaction:
    /// `seal` gives the text that takes the place of one, or `None` to leave it. Gives how many
    /// were exchanged and where to go on.
    ///
    /// # Errors
    /// The disk; nothing was exchanged.
    pub async fn reseal(
        &self,
        from: SealedCursor,
        seal: impl FnMut(&SealedRecord) -> Option<String> + Send + 'static,
    ) -> Result<(u64, Option<SealedCursor>), StoreError> {
        self.reseal_some(from, 1, seal).await
    }

    /// As [`Self::reseal`], all of them in one transaction.
    ///
    /// # Errors
    /// As there.
    pub async fn reseal_all(
        &self,
        seal: impl FnMut(&SealedRecord) -> Option<String> + Send + 'static,
    ) -> Result<u64, StoreError> {
        let start = SealedCursor::default();
        let (exchanged, _) = self.reseal_some(start, usize::MAX, seal).await?;
        Ok(exchanged)
    }

    async fn reseal_some(
        &self,
        from: SealedCursor,
        pages: usize,
        mut seal: impl FnMut(&SealedRecord) -> Option<String> + Send + 'static,
    ) -> Result<(u64, Option<SealedCursor>), StoreError> {
        let store = self.clone();
        self.unattended(async move |inner| {
            let mut write = inner.begin(GATEWAY).await?;
            let now = inner.wall.now();
            let (mut exchanged, mut next) = (0_u64, Some(from));
            for _ in 0..pages {
                let Some(from) = next.take() else { break };
                let (mut records, then) = page(write.connection(), from).await?;
                store.name_tenants(&mut records);
                for record in &records {
                    if let Some(text) = seal(record) {
                        exchanged += exchange(write.connection(), record, text, now).await?;
                    }
                }
                next = then;
            }
            write.commit(&[]).await?;
            Ok((exchanged, next))
        })
        .await
    }

    /// Keeps a sealed fact under that name, unless there is one; gives what it is then.
    ///
    /// # Errors
    /// As [`Store::set_meta_once`].
    pub async fn set_sealed_once(&self, key: &str, sealed: &str) -> Result<String, StoreError> {
        let (key, sealed) = (key.to_owned(), sealed.to_owned());
        self.unattended(async move |inner| {
            let mut write = inner.begin(GATEWAY).await?;
            let set = query(SEAL_ONCE).bind(&key).bind(sealed);
            let set = set.bind(millis(inner.wall.now()));
            set.execute(write.connection()).await?;
            let kept = crate::meta::read(write.connection(), &key).await?;
            write.commit(&[]).await?;
            kept.ok_or(StoreError::NotFound)
        })
        .await
    }

    fn name_tenants(&self, records: &mut [SealedRecord]) {
        let default = self.default_tenant().id.to_string();
        for record in records.iter_mut().filter(|record| record.tenant.is_empty()) {
            record.tenant.clone_from(&default);
        }
    }
}

/// At most a batch of records of one field, and where the next ones stand.
async fn page(
    connection: &mut Connection,
    mut from: SealedCursor,
) -> Result<(Vec<SealedRecord>, Option<SealedCursor>), StoreError> {
    while let Some(field) = SEALED.get(from.field) {
        let rows = query(field.page).bind(&from.row);
        let rows = rows.bind(count(SEALED_BATCH as u64));
        let rows = rows.fetch_all(connection).await?;
        let read = |found| -> Result<SealedRecord, StoreError> {
            let sealed_at = row::time(found, "sealed_at")?;
            Ok(SealedRecord {
                tenant: row::text(found, "tenant_id")?,
                table: field.table,
                row: row::text(found, "row_id")?,
                field: field.field,
                sealed: row::text(found, "sealed")?,
                sealed_at: Some(sealed_at).filter(|at| at.0 > 0),
            })
        };
        let records = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let next_field = SealedCursor {
            field: from.field + 1,
            row: String::new(),
        };
        if let Some(last) = records.last() {
            let next = if records.len() < SEALED_BATCH {
                next_field
            } else {
                let row = last.row.clone();
                SealedCursor { row, ..from }
            };
            let next = Some(next).filter(|next| next.field < SEALED.len());
            return Ok((records, next));
        }
        from = next_field;
    }
    Ok((Vec::new(), None))
}

async fn exchange(
    connection: &mut Connection,
    record: &SealedRecord,
    text: String,
    now: WallMillis,
) -> Result<u64, StoreError> {
    let mut fields = SEALED.iter();
    let field = fields.find(|field| field.table == record.table && field.field == record.field);
    let field = field.ok_or(StoreError::NotFound)?;
    let exchanged = query(field.exchange)
        .bind(text)
        .bind(millis(now))
        .bind(&record.row)
        .bind(&record.sealed)
        .execute(connection);
    Ok(exchanged.await?)
}
