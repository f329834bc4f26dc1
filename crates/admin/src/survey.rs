//! What is sealed under which key, and what does not open.

use std::collections::BTreeMap;
use std::fmt;
use tollkeep_crypto::{Keyring, SealContext, kek_of};
use tollkeep_store::{SealedCursor, SealedRecord, Store, StoreError};
use tollkeep_types::WallMillis;

/// Unreadable records that are named; all are counted.
const NAMED_MAX: usize = 100;

/// What stands under one key.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct KekRecords {
    /// How many records.
    pub records: u64,
    /// When the oldest of them was sealed; `None` if no record is there.
    pub oldest: Option<WallMillis>,
}

/// A record that does not open.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unreadable {
    /// Its tenant.
    pub tenant: String,
    /// Its table.
    pub table: &'static str,
    /// Its row.
    pub row: String,
    /// Its field.
    pub field: &'static str,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.table, self.row, self.field)
    }
}

/// All sealed records at one moment.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// By the id of the key that they say.
    pub keks: BTreeMap<String, KekRecords>,
    /// Those that don't open, at most 100.
    pub unreadable: Vec<Unreadable>,
    /// How many those are in all.
    pub unreadable_count: u64,
    /// How many records there are.
    pub records: u64,
}

/// Where a record stands, as it was sealed for.
pub const fn place_of(record: &SealedRecord) -> SealContext<'_> {
    SealContext {
        tenant: record.tenant.as_str(),
        table: record.table,
        row: record.row.as_str(),
        field: record.field,
    }
}

impl Survey {
    /// Looks at all of them, and opens each.
    ///
    /// # Errors
    /// The store.
    pub async fn take(store: &Store, keyring: &Keyring) -> Result<Self, StoreError> {
        let mut survey = Self::default();
        let first = store.default_tenant().created_at;
        let mut next = Some(SealedCursor::default());
        while let Some(from) = next {
            let (records, then) = store.sealed(from).await?;
            for record in &records {
                // Earlier versions sealed at the first start only.
                survey.count(record, record.sealed_at.unwrap_or(first), keyring);
            }
            next = then;
        }
        Ok(survey)
    }

    fn count(&mut self, record: &SealedRecord, sealed_at: WallMillis, keyring: &Keyring) {
        self.records += 1;
        if let Some(kek) = kek_of(&record.sealed) {
            let under = self.keks.entry(kek.to_owned()).or_default();
            under.records += 1;
            under.oldest = Some(
                under
                    .oldest
                    .map_or(sealed_at, |oldest| oldest.min(sealed_at)),
            );
        }
        if keyring.open(&record.sealed, &place_of(record)).is_err() {
            self.unreadable_count += 1;
            if self.unreadable.len() < NAMED_MAX {
                self.unreadable.push(Unreadable {
                    tenant: record.tenant.clone(),
                    table: record.table,
                    row: record.row.clone(),
                    field: record.field,
                });
            }
        }
    }

    /// When the oldest record was sealed.
    pub fn oldest(&self) -> Option<WallMillis> {
        self.keks.values().filter_map(|under| under.oldest).min()
    }
}
