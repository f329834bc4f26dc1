//! Entries as an auditor compares them with what the audit log told of them.

use super::Ledger;
use crate::database::GATEWAY;
use crate::query::{Row, query};
use crate::{StoreError, row};
use std::fmt::Write as _;
use tollkeep_types::{EntryId, WallMillis};

/// What comes from elsewhere than from what was held for a call raises what a prepaid account has:
/// that has to be told of. What a rail brought for one delivery is a row of its own.
const LIST: &str = "SELECT number, id, kind, at, hash,
    EXISTS (SELECT 1 FROM postings AS gains WHERE gains.entry = number AND gains.amount > 0
       AND substr(gains.account, 1, 11) = 'credit:acc_')
     AND NOT EXISTS (SELECT 1 FROM postings AS gives WHERE gives.entry = number AND gives.amount < 0
       AND substr(gives.account, 1, 5) = 'held:') AS is_gain
  FROM entries WHERE number > $1 ORDER BY number LIMIT $2";

/// An entry, and its hash over all of it and the hash of the one before.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EntryRecord {
    /// Its place among all entries, from 1.
    pub number: u64,
    /// Its id.
    pub id: EntryId,
    /// Why it was made, as `settle`.
    pub kind: String,
    /// When it was written.
    pub at: WallMillis,
    /// Its hash, in hex.
    pub hash: String,
    /// A payer has more by it.
    pub is_gain: bool,
}

impl Ledger {
    /// Entries of all tenants in their order, those behind a number.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn entries(&self, after: u64, limit: u32) -> Result<Vec<EntryRecord>, StoreError> {
        let mut connection = self.0.read(GATEWAY).await?;
        let rows = query(LIST).bind(row::count(after)).bind(limit);
        let rows = rows.fetch_all(&mut connection).await?;
        rows.iter().map(read).collect()
    }
}

fn read(row: &Row) -> Result<EntryRecord, StoreError> {
    let hash: Vec<u8> = row::value(row, "hash")?;
    let hash: [u8; 32] = hash.try_into().unwrap_or_default();
    Ok(EntryRecord {
        number: row::number(row, "number")?,
        id: row::id(row, "id")?,
        kind: row::text(row, "kind")?,
        at: row::time(row, "at")?,
        hash: digests(&[hash]),
        is_gain: row::value(row, "is_gain")?,
    })
}

/// Hashes of entries as the audit log tells them: in hex, with a space between.
pub fn digests(entries: &[[u8; 32]]) -> String {
    let mut text = String::with_capacity(entries.len() * 65);
    for (number, hash) in entries.iter().enumerate() {
        if number > 0 {
            text.push(' ');
        }
        for byte in hash {
            // A text takes whatever is written.
            let _always = write!(text, "{byte:02x}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_hex_with_spaces() {
        assert_eq!(digests(&[]), "");
        let two = digests(&[[0xab; 32], [0x01; 32]]);
        assert_eq!(two, format!("{} {}", "ab".repeat(32), "01".repeat(32)));
    }
}
