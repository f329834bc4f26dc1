//! Lists in parts: newest first, stable while rows are added.

use tollkeep_types::WallMillis;

/// Most rows of one part.
const ROWS_MAX: u32 = 1000;

/// Which part of a list is wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PageRequest<Id> {
    /// Most rows wanted; at least 1 and at most 1000 are given.
    pub limit: u32,
    /// Where the part before ended.
    pub after: Option<After<Id>>,
}

/// The last row of the part before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct After<Id> {
    /// When the row was made.
    pub created_at: WallMillis,
    /// Its id: rows of one millisecond are in the order of their ids.
    pub id: Id,
}

/// A part of a list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Page<Row> {
    /// The rows, newest first.
    pub rows: Vec<Row>,
    /// Whether there are older ones.
    pub more: bool,
}

impl<Id: ToString> PageRequest<Id> {
    /// Rows to ask the database for: one more than wanted shows whether there are more.
    pub(crate) fn rows_asked(&self) -> u32 {
        self.limit.clamp(1, ROWS_MAX) + 1
    }

    /// Where to go on, as statements compare it.
    pub(crate) fn from(&self) -> (Option<i64>, Option<String>) {
        self.after.as_ref().map_or((None, None), |after| {
            (
                Some(crate::row::millis(after.created_at)),
                Some(after.id.to_string()),
            )
        })
    }

    /// The page from the rows that came.
    pub(crate) fn page<Row>(&self, mut rows: Vec<Row>) -> Page<Row> {
        let wanted = usize::try_from(self.limit.clamp(1, ROWS_MAX)).unwrap_or(usize::MAX);
        let more = rows.len() > wanted;
        rows.truncate(wanted);
        Page { rows, more }
    }
}
