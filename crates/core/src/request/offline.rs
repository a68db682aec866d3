//! Requests to offline stores.

use serde::{Deserialize, Serialize};

use crate::model::{AggregateFunction, Relation, Source, SourceVersion};
use crate::{BatchStream, ValueType};

/// Rows of an offline store: a table or query, a condition, and a state in time.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SourceRef {
    /// A table or query.
    pub relation: Relation,
    /// A SQL condition that rows must fulfil, in the store's own SQL.
    pub filter: Option<String>,
    /// The state to read; `None` is the newest.
    pub version: Option<SourceVersion>,
}

impl SourceRef {
    /// The newest state of a table.
    pub fn table(name: impl Into<String>) -> Self {
        Self {
            relation: Relation::Table(name.into()),
            filter: None,
            version: None,
        }
    }

    /// For messages: the table's name, or the query.
    pub fn describe(&self) -> String {
        match &self.relation {
            Relation::Table(table) => format!("table {table:?}"),
            Relation::Query(query) => format!("query {query:?}"),
        }
    }
}

impl From<&Source> for SourceRef {
    fn from(source: &Source) -> Self {
        Self {
            relation: source.relation.clone(),
            filter: source.filter.clone(),
            version: source.version.clone(),
        }
    }
}

/// A source and the columns that order its rows in time.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TimedSource {
    /// The rows.
    pub source: SourceRef,
    /// The column of event times; any timestamp or date type.
    pub timestamp: String,
    /// The column of created times; any timestamp or date type.
    pub created_timestamp: Option<String>,
    /// Columns that decide between rows of equal event and created time: greatest wins, null lowest.
    pub tie_breakers: Vec<String>,
}

/// Bounds on a time column: `min_us <= value <= max_us` in microseconds, UTC, after flooring. Rows
/// with a null in the column lie outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnRange {
    /// The column.
    pub column: String,
    /// The least value, included.
    pub min_us: Option<i64>,
    /// The greatest value, included.
    pub max_us: Option<i64>,
}

/// Some columns of the rows of a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scan {
    /// The rows.
    pub source: SourceRef,
    /// The columns, in this order; `None` is all, in the source's order.
    pub columns: Option<Vec<String>>,
    /// What the caller will use: a store may leave out rows outside of any of these ranges, so as to
    /// read less, but need not. Rows inside of all are always answered.
    pub ranges: Vec<ColumnRange>,
}

/// A join key: where the asker's value is, and which column of the source it is compared with.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeyColumn {
    /// The spine's column (requests without a spine: the output column's name).
    pub spine: String,
    /// The source's column.
    pub column: String,
    /// The key's declared type, which both are compared as.
    pub value_type: ValueType,
}

/// A feature: a column of the source, cast, under an output name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FeatureColumn {
    /// The source's column.
    pub column: String,
    /// The output's column.
    pub output: String,
    /// The output's type.
    pub value_type: ValueType,
    /// Whether the cast may meet values that do not fit, which is then an error (`P501`); else the
    /// cast is one that cannot lose values.
    pub checked: bool,
}

/// A sliding window: rows with t - window < event time <= t.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WindowAggregate {
    /// What is computed.
    pub function: AggregateFunction,
    /// The source's column; `None` only for `count` of rows.
    pub column: Option<String>,
    /// The window's length.
    pub window_us: i64,
    /// The output's column.
    pub output: String,
    /// The output's type.
    pub value_type: ValueType,
}

/// One view of a point-in-time join. Either `features` or `aggregations` is empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ViewJoin {
    /// The view's name (or alias), for messages and plans.
    pub name: String,
    /// Its source.
    pub source: TimedSource,
    /// Its keys; all must match. None: the source holds one global key.
    pub keys: Vec<KeyColumn>,
    /// How old a row may be at the spine's time; both ends included. `None` is no limit.
    pub ttl_us: Option<i64>,
    /// Features of the winning row.
    pub features: Vec<FeatureColumn>,
    /// Features over windows.
    pub aggregations: Vec<WindowAggregate>,
}

/// For each spine row and view, the feature values as they were at the row's time.
///
/// The rules are those of the product's semantics: per view, candidates are source rows with equal,
/// non-null keys, event time <= t and (with a ttl) event time >= t - ttl; the greatest (event time,
/// created time with null lowest, tie breakers with null lowest) wins as a whole row; without a
/// candidate all features are null. Windows cover t - w < event time <= t.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PointInTimeJoin {
    /// The views. The output has their features in this order, a view's features before its aggregations.
    pub views: Vec<ViewJoin>,
    /// Also demands created time <= t of every row; a null created time is never known.
    pub as_known: bool,
}

/// The rows to find features for.
#[derive(Debug)]
pub enum Spine {
    /// Rows that the caller holds. The answer has one row per spine row, in order, with features alone.
    Rows(SpineRows),
    /// Rows that the offline store holds. The answer has the spine's columns, then the features, in any order of rows.
    Sql(SqlSpine),
}

/// Keys and times of the rows to find features for, and nothing else.
#[derive(Debug)]
pub struct SpineRows {
    /// Key columns (named by [`KeyColumn::spine`], of their declared types), the timestamp
    /// (microseconds, UTC) and the row number (int64, 0, 1, 2, ... in order).
    pub rows: BatchStream,
    /// The timestamp's column.
    pub timestamp: String,
    /// The row number's column.
    pub row_number: String,
}

/// A spine that the offline store holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SqlSpine {
    /// A table or one SELECT.
    pub relation: Relation,
    /// Its timestamp column.
    pub timestamp: String,
}

/// For each key with a row in the asked range, its winning row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatestPerKey {
    /// The rows.
    pub source: TimedSource,
    /// The keys, which come first in the output, under [`KeyColumn::spine`]'s names.
    pub keys: Vec<KeyColumn>,
    /// The features, which come last in the output. Between them: the event time, the created time
    /// and the tie breakers, under the source's names.
    pub features: Vec<FeatureColumn>,
    /// Rows must lie inside of all these ranges (exactly, unlike [`Scan::ranges`]).
    pub ranges: Vec<ColumnRange>,
}

/// Windows as of one instant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowsAt {
    /// The rows.
    pub source: TimedSource,
    /// The keys, which come first in the output, under [`KeyColumn::spine`]'s names.
    pub keys: Vec<KeyColumn>,
    /// The windows, which come last in the output.
    pub aggregations: Vec<WindowAggregate>,
    /// The instant as of which all windows are computed.
    pub at_us: i64,
    /// One row is answered for each key with a row of `active_after_us < event time <= at_us`.
    pub active_after_us: i64,
}

/// How rows are added to a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WriteMode {
    /// Adds rows; makes the table if there is none. Columns must fit the table's.
    Append,
    /// Replaces all rows in one step.
    Overwrite,
    /// Adds rows, and to the table the columns that it lacks; they are null in older rows. Needs
    /// [`OfflineCapabilities::new_columns`](crate::provider::OfflineCapabilities::new_columns).
    Extend,
}

/// Rows for a table of the offline store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfflineWrite {
    /// The table, as sources name it.
    pub table: String,
    /// How.
    pub mode: WriteMode,
    /// Columns to partition a new table by; ignored for one that exists.
    pub partition_by: Vec<String>,
    /// Makes a retry count once: a write with an id that was committed before changes nothing.
    pub id: Option<String>,
}

/// What a write did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteSummary {
    /// Rows taken in.
    pub n_rows: u64,
    /// Rows that changed something; online, rows that lost against a newer one do not.
    pub n_applied: u64,
    /// The table's state after the write, if it has versions.
    pub version: Option<SourceVersion>,
}

/// Anything that an offline store can explain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OfflineRequest {
    /// A scan.
    Scan(Scan),
    /// A join, and the spine if it is the store's own.
    PointInTimeJoin(PointInTimeJoin, Option<SqlSpine>),
    /// The latest rows.
    Latest(LatestPerKey),
    /// Windows.
    Windows(WindowsAt),
}
