//! One statement text for both databases: parameters are written `$1`, which SQLite takes too.

use crate::postgres::{Link, within};
use crate::trial::Lent;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Arguments, AssertSqlSafe, Error, SqlSafeStr, SqlStr, Sqlite};
use std::sync::{Arc, OnceLock};

/// A connection to whichever database it is.
pub(crate) enum Connection {
    /// The file.
    Sqlite(PoolConnection<Sqlite>),
    /// The server, within a transaction.
    Postgres(Link),
    /// That of a trial, until this is dropped.
    Lent(Lent),
}

impl Connection {
    /// Makes the transaction of a server so.
    pub(crate) async fn commit(self) -> Result<(), Error> {
        match self {
            Self::Sqlite(_) | Self::Lent(_) => Ok(()),
            Self::Postgres(link) => link.commit().await,
        }
    }

    pub(crate) async fn close(self) -> Result<(), Error> {
        match self {
            Self::Sqlite(connection) => connection.close().await,
            Self::Postgres(_) | Self::Lent(_) => Ok(()),
        }
    }

    /// The connection that statements go to.
    fn own(&mut self) -> Result<&mut Self, Error> {
        match self {
            Self::Sqlite(_) | Self::Postgres(_) => Ok(self),
            Self::Lent(lent) => lent.connection(),
        }
    }

    /// The text for this database, of a statement that can't be the same for both.
    pub(crate) fn dialect(&self, sqlite: &'static str, postgres: &'static str) -> &'static str {
        match self {
            Self::Sqlite(_) => sqlite,
            Self::Postgres(_) => postgres,
            Self::Lent(lent) => lent.dialect(sqlite, postgres),
        }
    }
}

/// Runs a text of several statements.
pub(crate) async fn script(text: &'static str, connection: &mut Connection) -> Result<(), Error> {
    let run = sqlx::raw_sql(text);
    match connection.own()? {
        Connection::Sqlite(connection) => run.execute(&mut **connection).await.map(|_| ()),
        Connection::Postgres(link) => {
            let done = within(link.patience(), run.execute(link.server()?)).await;
            link.judge(done).map(|_| ())
        }
        Connection::Lent(_) => Err(Error::PoolClosed),
    }
}

/// A row of whichever database it is; `row` reads its columns.
pub(crate) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

/// A statement and its parameters.
pub(crate) struct Query {
    text: SqlStr,
    values: Vec<Value>,
}

/// A parameter.
pub(crate) enum Value {
    Text(Option<String>),
    /// A text that other rows have too.
    Shared(Arc<str>),
    Number(Option<i64>),
    Bytes(Option<Vec<u8>>),
    Switch(bool),
}

pub(crate) const fn query(text: &'static str) -> Query {
    let values = Vec::new();
    let text = SqlStr::from_static(text);
    Query { text, values }
}

/// Numbers of rows that one statement writes. A few, so that each of them is prepared once.
const ROWS_AT_ONCE: [usize; 5] = [256, 64, 16, 4, 1];

/// A statement that writes many rows of so many columns: the text before its rows and behind them.
pub(crate) struct Bulk {
    pub(crate) columns: usize,
    head: &'static str,
    tail: &'static str,
    /// The whole text, for each number of rows: for a file, and for a server.
    texts: [Texts; 2],
}

type Texts = [OnceLock<Arc<str>>; ROWS_AT_ONCE.len()];

impl Bulk {
    pub(crate) const fn new(columns: usize, head: &'static str, tail: &'static str) -> Self {
        Self {
            columns,
            head,
            tail,
            texts: [const { [const { OnceLock::new() }; ROWS_AT_ONCE.len()] }; 2],
        }
    }

    /// Runs it for all rows, whose values stand one after the other; gives the rows it changed.
    pub(crate) async fn execute(
        &self,
        values: Vec<Value>,
        connection: &mut Connection,
    ) -> Result<u64, Error> {
        let mut rows = values.len() / self.columns.max(1);
        let mut values = values.into_iter();
        let mut changed = 0;
        let [for_file, for_server] = &self.texts;
        // SQLite looks for each name among all of them; a parameter without one costs nothing.
        let (texts, numbered) = match connection {
            Connection::Sqlite(_) => (for_file, false),
            Connection::Postgres(_) | Connection::Lent(_) => (for_server, true),
        };
        for (at_once, text) in ROWS_AT_ONCE.into_iter().zip(texts) {
            while rows >= at_once {
                rows -= at_once;
                let text = text.get_or_init(|| self.text(at_once, numbered).into());
                // Nothing stands in it but our own text and numbers.
                let text = AssertSqlSafe(Arc::clone(text)).into_sql_str();
                let values = values.by_ref().take(at_once * self.columns);
                changed += execute(text, values, connection).await?;
            }
        }
        Ok(changed)
    }

    /// The statement for so many rows.
    fn text(&self, rows: usize, numbered: bool) -> String {
        let mut text = self.head.to_owned();
        if !numbered {
            // A failure undoes the whole change, as whoever makes one does then anyway: else SQLite copies
            // each page before the statement changes it, to undo that alone.
            text = text.replacen("INSERT INTO", "INSERT OR ROLLBACK INTO", 1);
        }
        let mut parameter = 0;
        for row in 0..rows {
            text.push_str(if row == 0 { " VALUES (" } else { ", (" });
            for column in 0..self.columns {
                parameter += 1;
                if column > 0 {
                    text.push(',');
                }
                if numbered {
                    text.push('$');
                    text.push_str(&parameter.to_string());
                } else {
                    text.push('?');
                }
            }
            text.push(')');
        }
        text.push_str(self.tail);
        text
    }
}

/// A text of a column that is often the same as in the row before: it is made once.
pub(crate) struct Repeated<K>(Option<(K, Arc<str>)>);

impl<K> Default for Repeated<K> {
    fn default() -> Self {
        Self(None)
    }
}

impl<K: Clone + PartialEq> Repeated<K> {
    /// The text of this key.
    pub(crate) fn of<T: Into<Arc<str>>>(&mut self, key: K, text: impl FnOnce(K) -> T) -> Arc<str> {
        if let Some((last, made)) = &self.0
            && *last == key
        {
            return Arc::clone(made);
        }
        let made = text(key.clone()).into();
        self.0 = Some((key, Arc::clone(&made)));
        made
    }
}

/// The query of `sqlx` for a database, with the arguments that it takes.
macro_rules! bound {
    ($query:expr, $arguments:ty) => {{
        let query = $query;
        bound!(query.text, query.values.into_iter(), $arguments)
    }};
    ($text:expr, $values:expr, $arguments:ty) => {{
        let (values, mut arguments) = ($values, <$arguments>::default());
        arguments.reserve(values.len(), 0);
        for value in values {
            let added = match value {
                Value::Text(text) => arguments.add(text),
                Value::Shared(text) => arguments.add(text),
                Value::Number(number) => arguments.add(number),
                Value::Bytes(bytes) => arguments.add(bytes),
                Value::Switch(on) => arguments.add(on),
            };
            added.map_err(Error::Encode)?;
        }
        sqlx::query_with($text, arguments)
    }};
}

/// Runs a statement; gives the rows it changed.
async fn execute(
    text: SqlStr,
    values: impl ExactSizeIterator<Item = Value>,
    connection: &mut Connection,
) -> Result<u64, Error> {
    match connection.own()? {
        Connection::Sqlite(connection) => {
            let query = bound!(text, values, SqliteArguments);
            Ok(query.execute(&mut **connection).await?.rows_affected())
        }
        Connection::Postgres(link) => {
            let query = bound!(text, values, PgArguments);
            let done = within(link.patience(), query.execute(link.server()?)).await;
            Ok(link.judge(done)?.rows_affected())
        }
        Connection::Lent(_) => Err(Error::PoolClosed),
    }
}

impl Query {
    /// A statement put together of our own texts: nothing that came from outside stands in it.
    pub(crate) fn composed(text: String) -> Self {
        Self {
            text: AssertSqlSafe(text).into_sql_str(),
            values: Vec::new(),
        }
    }

    /// Gives the next parameter.
    pub(crate) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Runs it; gives the rows it changed.
    pub(crate) async fn execute(self, connection: &mut Connection) -> Result<u64, Error> {
        execute(self.text, self.values.into_iter(), connection).await
    }

    /// All rows.
    pub(crate) async fn fetch_all(self, connection: &mut Connection) -> Result<Vec<Row>, Error> {
        match connection.own()? {
            Connection::Sqlite(connection) => {
                let rows = bound!(self, SqliteArguments)
                    .fetch_all(&mut **connection)
                    .await?;
                Ok(rows.into_iter().map(Row::Sqlite).collect())
            }
            Connection::Postgres(link) => {
                let query = bound!(self, PgArguments);
                let rows = within(link.patience(), query.fetch_all(link.server()?)).await;
                Ok(link.judge(rows)?.into_iter().map(Row::Postgres).collect())
            }
            Connection::Lent(_) => Err(Error::PoolClosed),
        }
    }

    /// The first row, if there is one.
    pub(crate) async fn fetch_optional(
        self,
        connection: &mut Connection,
    ) -> Result<Option<Row>, Error> {
        match connection.own()? {
            Connection::Sqlite(connection) => {
                let row = bound!(self, SqliteArguments)
                    .fetch_optional(&mut **connection)
                    .await?;
                Ok(row.map(Row::Sqlite))
            }
            Connection::Postgres(link) => {
                let query = bound!(self, PgArguments);
                let row = within(link.patience(), query.fetch_optional(link.server()?)).await;
                Ok(link.judge(row)?.map(Row::Postgres))
            }
            Connection::Lent(_) => Err(Error::PoolClosed),
        }
    }

    /// The first row.
    pub(crate) async fn fetch_one(self, connection: &mut Connection) -> Result<Row, Error> {
        let row = self.fetch_optional(connection).await?;
        row.ok_or(Error::RowNotFound)
    }

    /// The number that the statement asks for.
    pub(crate) async fn fetch_number(self, connection: &mut Connection) -> Result<i64, Error> {
        use sqlx::Row as _;
        match self.fetch_one(connection).await? {
            Row::Sqlite(row) => row.try_get(0),
            Row::Postgres(row) => row.try_get(0),
        }
    }
}

macro_rules! into_value {
    ($($from:ty => $value:expr;)*) => {$(
        impl From<$from> for Value {
            fn from(value: $from) -> Self {
                $value(value)
            }
        }
    )*};
}

into_value! {
    String => |text| Self::Text(Some(text));
    Arc<str> => Self::Shared;
    Option<Arc<str>> => |text: Option<Arc<str>>| text.map_or(Self::Text(None), Self::Shared);
    &str => |text: &str| Self::Shared(text.into());
    &String => |text: &String| Self::Shared(text.as_str().into());
    Option<String> => Self::Text;
    Option<&str> => |text: Option<&str>| text.map_or(Self::Text(None), Into::into);
    &Option<String> => |text: &Option<String>| text.as_deref().into();
    i64 => |number| Self::Number(Some(number));
    u32 => |number: u32| Self::Number(Some(number.into()));
    Option<i64> => Self::Number;
    Vec<u8> => |bytes| Self::Bytes(Some(bytes));
    &[u8] => |bytes: &[u8]| Self::Bytes(Some(bytes.to_vec()));
    Option<Vec<u8>> => Self::Bytes;
    bool => Self::Switch;
}
