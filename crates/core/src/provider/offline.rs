//! The offline store: history, in tables.

use std::fmt::Debug;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, UInt64Array};
use arrow_schema::SchemaRef;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Provider, unsupported};
use crate::context::Context;
use crate::error::Result;
use crate::model::SourceVersion;
use crate::request::{
    LatestPerKey, Maintenance, MaintenanceSummary, OfflineRequest, OfflineWrite, PointInTimeJoin,
    Scan, SourceRef, Spine, WindowsAt, WriteSummary,
};
use crate::stream::BatchStream;

/// What an offline store does itself. Whatever it does not, Provender does over `scan`, so a store
/// that declares nothing still serves every feature of the product.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OfflineCapabilities {
    /// SQL in sources: `query:` and `filter:`.
    pub sql_sources: bool,
    /// Point-in-time joins of features.
    pub point_in_time_join: bool,
    /// Window aggregations inside of point-in-time joins.
    pub point_in_time_windows: bool,
    /// Spines that the store itself holds.
    pub sql_spine: bool,
    /// The latest row per key.
    pub latest: bool,
    /// Windows as of one instant.
    pub windows: bool,
    /// Appending rows.
    pub write: bool,
    /// Deleting keys.
    pub delete: bool,
    /// Naming and reading a table's past states.
    pub versions: bool,
    /// Appending rows with columns that a table lacks: `WriteMode::Extend`.
    #[serde(default)]
    pub new_columns: bool,
    /// Looking after a table's files: [`OfflineStore::maintain`].
    #[serde(default)]
    pub maintenance: bool,
    /// Reading columns of single rows after others were scanned: [`OfflineStore::open_rows`].
    #[serde(default)]
    pub row_access: bool,
}

/// One state of a source, held open, whose rows have numbers. So a caller can read the few columns
/// that decide which rows it needs, and then the others of these rows alone. The numbers hold for
/// this object only; everything that it answers is of the state that it was opened at, whatever is
/// written meanwhile. Dropping it ends nothing but the hold.
#[async_trait]
pub trait RowAccess: Debug + Send + Sync {
    /// The columns that it was opened for, in the order and of the types that a scan would answer.
    fn schema(&self) -> &SchemaRef;

    /// Some columns of all rows in the ranges that it was opened with, and after them the rows'
    /// numbers: one more column, uint64 and not null, each below 2^63, the same on every call. Rows
    /// come in streams as small as the store can cut them (at least one), which do nothing until they
    /// are read, so that each core can take the next one that nobody reads yet. Their order is free; who
    /// looks for the latest rows begins with the last streams, so later rows are best in these.
    ///
    /// # Errors
    /// As [`OfflineStore::scan`].
    async fn scan(&self, cx: &Context, columns: &[String]) -> Result<Vec<BatchStream>>;

    /// Some columns of the rows of these numbers, which ascend strictly and are of rows that a scan
    /// answers. The rows of stream after stream, read in order, are those of the numbers, in their
    /// order; streams may be read at the same time.
    ///
    /// # Errors
    /// As [`OfflineStore::scan`].
    async fn fetch(
        &self,
        cx: &Context,
        columns: &[String],
        rows: UInt64Array,
    ) -> Result<Vec<BatchStream>>;
}

/// All values that a caller will use of a column, as one of its key columns: none of them is null.
#[derive(Clone, Debug)]
pub struct WantedKeys {
    /// The source's column.
    pub column: String,
    /// The values, in no order and of the key's declared type, which may be another than the column's.
    pub values: ArrayRef,
}

/// A store of feature history.
#[async_trait]
pub trait OfflineStore: Provider {
    /// What is pushed down.
    fn capabilities(&self) -> OfflineCapabilities;

    /// The source's columns, as the store names them.
    ///
    /// # Errors
    /// `NotFound` (`P120`) if there is no such table; `InvalidArgument` (`P123`) for a query that fails.
    async fn schema(&self, cx: &Context, source: &SourceRef) -> Result<SchemaRef>;

    /// Rows of a source in one stream per partition, each of which can be read on a core of its own.
    /// There is at least one stream, and all have the schema of the asked columns in the asked order.
    /// The order of rows is not defined, but the same on every run over the same state.
    ///
    /// # Errors
    /// As [`Self::schema`], and `InvalidArgument` (`P121`) for an unknown column.
    async fn scan(&self, cx: &Context, scan: Scan) -> Result<Vec<BatchStream>>;

    /// Holds the source's state open for a scan whose rows can be read again one by one; `None` where
    /// this source does not allow it (a query, say), and the caller then scans. Its `columns` are all
    /// that will be asked for.
    ///
    /// Unless a store overrides it, this answers `None`, so that whatever wraps a store and passes its
    /// capabilities on, this one with them, is scanned.
    ///
    /// # Errors
    /// As [`Self::scan`].
    async fn open_rows(&self, cx: &Context, scan: Scan) -> Result<Option<Arc<dyn RowAccess>>> {
        let _ = (cx, scan);
        Ok(None)
    }

    /// [`Self::open_rows`] for a caller that will use few keys: rows with other values may be left out,
    /// so as to read less, but need not be.
    ///
    /// Unless a store overrides it, this leaves none out.
    ///
    /// # Errors
    /// As [`Self::scan`].
    async fn open_rows_of(
        &self,
        cx: &Context,
        scan: Scan,
        keys: Vec<WantedKeys>,
    ) -> Result<Option<Arc<dyn RowAccess>>> {
        let _ = keys;
        self.open_rows(cx, scan).await
    }

    /// Feature values as they were; see [`PointInTimeJoin`] for the rules and [`Spine`] for the answer's shape.
    ///
    /// # Errors
    /// `InvalidArgument` (`P501`, `P502`) for values that do not fit.
    async fn point_in_time_join(
        &self,
        cx: &Context,
        join: PointInTimeJoin,
        spine: Spine,
    ) -> Result<BatchStream>;

    /// The winning row of each key; see [`LatestPerKey`].
    ///
    /// # Errors
    /// As [`Self::point_in_time_join`].
    async fn latest(&self, cx: &Context, latest: LatestPerKey) -> Result<BatchStream>;

    /// Windows as of one instant; see [`WindowsAt`].
    ///
    /// # Errors
    /// As [`Self::point_in_time_join`].
    async fn windows(&self, cx: &Context, windows: WindowsAt) -> Result<BatchStream>;

    /// Adds rows to a table. Durable when it returns; nothing is visible before.
    ///
    /// # Errors
    /// `FailedPrecondition` (`P505`) if the table's columns differ.
    async fn write(
        &self,
        cx: &Context,
        write: OfflineWrite,
        rows: BatchStream,
    ) -> Result<WriteSummary>;

    /// Deletes all rows of the given keys (columns as the source names them), for erasure requests.
    ///
    /// # Errors
    /// `Unsupported` for sources that are queries.
    async fn delete(&self, cx: &Context, source: &SourceRef, keys: RecordBatch) -> Result<()>;

    /// Looks after a table's files; its rows stay as they are. See [`Maintenance`].
    ///
    /// Unless a store overrides it, this answers `Unsupported`, as the capability's absence says.
    ///
    /// # Errors
    /// `NotFound` (`P120`) if there is no such table; `FailedPrecondition` (`P515`) for a time to keep
    /// files that is too short.
    async fn maintain(&self, cx: &Context, work: Maintenance) -> Result<MaintenanceSummary> {
        let _ = (cx, work);
        Err(unsupported(&self.info(), "looking after tables"))
    }

    /// What the store would do, for people: a plan, or SQL.
    ///
    /// # Errors
    /// As the request itself.
    async fn explain(&self, cx: &Context, request: &OfflineRequest) -> Result<String>;

    /// The source's present state, which later reads can name.
    ///
    /// # Errors
    /// `Unsupported` without the capability.
    async fn pin(&self, cx: &Context, source: &SourceRef) -> Result<SourceVersion>;
}
