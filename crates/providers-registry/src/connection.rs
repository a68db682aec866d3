//! One face for both databases: statements with `$1` placeholders in, plain rows out.
//!
//! Decides the few texts in which SQLite and PostgreSQL differ ([`Dialect`]). Knows no table but for
//! the one that tells whether a registry is there. sqlx's own `Any` driver would do less: it takes a
//! URL where both drivers have typed options, and keeps its list of drivers in a global variable.

use std::fmt;
use std::sync::Arc;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow, Postgres};
use sqlx::sqlite::{Sqlite, SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Row as _, TypeInfo, ValueRef};

use crate::error::Target;

/// How to make a connection.
#[derive(Clone)]
pub(crate) enum Connector {
    Sqlite(Box<SqliteConnectOptions>),
    Postgres {
        connect: Box<PgConnectOptions>,
        schema: String,
        max_connections: u32,
    },
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sqlite(_) => "Connector(sqlite)",
            Self::Postgres { .. } => "Connector(postgres)",
        })
    }
}

impl Connector {
    pub(crate) async fn connect(&self, target: &Arc<Target>) -> Result<Session, sqlx::Error> {
        let connection = match self {
            Self::Sqlite(options) => Connection::Sqlite(options.connect().await?),
            Self::Postgres { connect, .. } => Connection::Postgres(connect.connect().await?),
        };
        Ok(Session {
            connection,
            dialect: self.dialect(),
            target: target.clone(),
        })
    }

    pub(crate) fn dialect(&self) -> &'static Dialect {
        match self {
            Self::Sqlite(_) => &SQLITE,
            Self::Postgres { .. } => &POSTGRES,
        }
    }

    /// How many connections to hold at most. SQLite has one writer at a time, so a few serve all.
    pub(crate) fn max_connections(&self) -> usize {
        match self {
            Self::Sqlite(_) => 4,
            Self::Postgres {
                max_connections, ..
            } => usize::try_from(*max_connections).unwrap_or(usize::MAX),
        }
    }
}

/// The texts in which the databases differ.
#[derive(Debug)]
pub(crate) struct Dialect {
    /// Begins a transaction that will write. SQLite's takes the write lock at once: a transaction that
    /// reads first and writes later could not be told to wait.
    pub(crate) begin: &'static str,
    /// The database's clock, in microseconds since the epoch.
    pub(crate) now_us: &'static str,
    /// Counts the schemas that this user may not look into, where there are schemas. Their tables seem
    /// not to exist.
    pub(crate) count_denied_schemas: Option<&'static str>,
    /// Counts the tables called `registry_format`, and the tables that make a database somebody else's
    /// if it has none of that name. One statement, since another process may be making the registry.
    pub(crate) count_tables: &'static str,
    /// Tunes a database for good, outside of transactions.
    pub(crate) tune: Option<&'static str>,
    /// Makes concurrent set-ups take turns, where beginning does not.
    pub(crate) lock_setup: Option<&'static str>,
    /// Facts for people: a label and a query of one text.
    pub(crate) facts: &'static [(&'static str, &'static str)],
}

static SQLITE: Dialect = Dialect {
    begin: "BEGIN IMMEDIATE",
    now_us: "SELECT CAST(round(unixepoch('now', 'subsec') * 1000.0) AS INTEGER) * 1000",
    count_denied_schemas: None,
    count_tables:
        "SELECT count(*) FILTER (WHERE type = 'table' AND name = 'registry_format'), count(*)
        FROM sqlite_master WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
    tune: Some("PRAGMA journal_mode = WAL"),
    lock_setup: None,
    facts: &[
        ("SQLite", "SELECT sqlite_version()"),
        ("journal mode", "PRAGMA journal_mode"),
        ("integrity", "PRAGMA quick_check(1)"),
    ],
};

static POSTGRES: Dialect = Dialect {
    begin: "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
    now_us: "SELECT CAST(floor(extract(epoch FROM clock_timestamp()) * 1000000) AS BIGINT)",
    count_denied_schemas: Some(
        "SELECT count(*) FROM pg_catalog.pg_namespace WHERE nspname = current_setting('search_path')
            AND NOT has_schema_privilege(oid, 'USAGE')",
    ),
    // A schema can be shared with others.
    count_tables: "SELECT count(*), CAST(0 AS BIGINT) FROM pg_catalog.pg_tables
        WHERE schemaname = current_schema() AND tablename = 'registry_format'",
    tune: None,
    // Any number will do, as long as it stays the same.
    lock_setup: Some("SELECT pg_advisory_xact_lock(8245931987826405234)"),
    facts: &[
        ("PostgreSQL", "SHOW server_version"),
        ("encoding", "SHOW server_encoding"),
        ("synchronous_commit", "SHOW synchronous_commit"),
    ],
};

enum Connection {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

/// A parameter of a statement.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'a> {
    Int(i64),
    NullableInt(Option<i64>),
    Text(&'a str),
}

/// A value of a row.
#[derive(Clone, Debug, PartialEq)]
enum Cell {
    Null,
    Int(i64),
    Text(String),
    /// A type that no table of ours has.
    Foreign(String),
}

/// One row of an answer.
#[derive(Clone, Debug)]
pub(crate) struct Row(Vec<Cell>);

impl Row {
    pub(crate) fn int(&self, column: usize) -> Result<i64, sqlx::Error> {
        self.nullable_int(column)?
            .ok_or_else(|| unexpected(column, "a whole number", &Cell::Null))
    }

    pub(crate) fn nullable_int(&self, column: usize) -> Result<Option<i64>, sqlx::Error> {
        match self.0.get(column) {
            Some(Cell::Int(value)) => Ok(Some(*value)),
            None | Some(Cell::Null) => Ok(None),
            Some(other) => Err(unexpected(column, "a whole number", other)),
        }
    }

    pub(crate) fn text(&self, column: usize) -> Result<&str, sqlx::Error> {
        match self.0.get(column).unwrap_or(&Cell::Null) {
            Cell::Text(value) => Ok(value),
            other => Err(unexpected(column, "text", other)),
        }
    }
}

fn unexpected(column: usize, wanted: &str, found: &Cell) -> sqlx::Error {
    let found = match found {
        Cell::Null => "null",
        Cell::Int(_) => "a whole number",
        Cell::Text(_) => "text",
        Cell::Foreign(name) => name,
    };
    sqlx::Error::Decode(format!("column {column} is {found}, not {wanted}").into())
}

macro_rules! bound {
    ($database:ty, $sql:expr, $values:expr) => {{
        let mut query = sqlx::query::<$database>($sql);
        for value in $values {
            query = match *value {
                Value::Int(value) => query.bind(value),
                Value::NullableInt(value) => query.bind(value),
                Value::Text(value) => query.bind(value),
            };
        }
        query
    }};
}

/// One connection. Closing it, which is what dropping does, rolls back what was not committed.
pub(crate) struct Session {
    connection: Connection,
    pub(crate) dialect: &'static Dialect,
    pub(crate) target: Arc<Target>,
}

impl Session {
    /// Runs a statement and answers how many rows it changed.
    pub(crate) async fn execute(
        &mut self,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<u64, sqlx::Error> {
        Ok(match &mut self.connection {
            Connection::Sqlite(connection) => {
                let query = bound!(Sqlite, sql, values);
                query.execute(connection).await?.rows_affected()
            }
            Connection::Postgres(connection) => {
                let query = bound!(Postgres, sql, values);
                query.execute(connection).await?.rows_affected()
            }
        })
    }

    /// Runs a statement made at run time. Its text must come from nobody's input unchecked.
    pub(crate) async fn execute_text(&mut self, sql: String) -> Result<(), sqlx::Error> {
        let sql = AssertSqlSafe(sql);
        match &mut self.connection {
            Connection::Sqlite(connection) => {
                sqlx::query::<Sqlite>(sql).execute(connection).await?;
            }
            Connection::Postgres(connection) => {
                sqlx::query::<Postgres>(sql).execute(connection).await?;
            }
        }
        Ok(())
    }

    /// Runs a statement and answers its rows.
    pub(crate) async fn rows(
        &mut self,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<Vec<Row>, sqlx::Error> {
        match &mut self.connection {
            Connection::Sqlite(connection) => {
                let rows = bound!(Sqlite, sql, values).fetch_all(connection).await?;
                rows.iter().map(sqlite_row).collect()
            }
            Connection::Postgres(connection) => {
                let rows = bound!(Postgres, sql, values).fetch_all(connection).await?;
                rows.iter().map(postgres_row).collect()
            }
        }
    }

    /// Runs a statement and answers its first row.
    pub(crate) async fn row(
        &mut self,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<Row, sqlx::Error> {
        let rows = self.rows(sql, values).await?;
        rows.into_iter().next().ok_or(sqlx::Error::RowNotFound)
    }

    /// The database's clock, in microseconds since the epoch.
    pub(crate) async fn now_us(&mut self) -> Result<i64, sqlx::Error> {
        self.row(self.dialect.now_us, &[]).await?.int(0)
    }
}

fn sqlite_row(row: &SqliteRow) -> Result<Row, sqlx::Error> {
    let cell = |column: usize| {
        let value = row.try_get_raw(column)?;
        if value.is_null() {
            return Ok(Cell::Null);
        }
        let kind = value.type_info().name().to_owned();
        Ok(match kind.as_str() {
            "INTEGER" | "BIGINT" => Cell::Int(row.try_get_unchecked(column)?),
            "TEXT" => Cell::Text(row.try_get_unchecked(column)?),
            _ => Cell::Foreign(kind),
        })
    };
    (0..row.len()).map(cell).collect::<Result<_, _>>().map(Row)
}

fn postgres_row(row: &PgRow) -> Result<Row, sqlx::Error> {
    let cell = |column: usize| {
        let value = row.try_get_raw(column)?;
        if value.is_null() {
            return Ok(Cell::Null);
        }
        let kind = value.type_info().name().to_owned();
        Ok(match kind.as_str() {
            "INT8" => Cell::Int(row.try_get(column)?),
            "TEXT" => Cell::Text(row.try_get(column)?),
            _ => Cell::Foreign(kind),
        })
    };
    (0..row.len()).map(cell).collect::<Result<_, _>>().map(Row)
}
