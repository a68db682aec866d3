//! The offline store: history, in tables.

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::Provider;
use crate::context::Context;
use crate::error::Result;
use crate::model::SourceVersion;
use crate::request::{
    LatestPerKey, OfflineRequest, OfflineWrite, PointInTimeJoin, Scan, SourceRef, Spine, WindowsAt,
    WriteSummary,
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
