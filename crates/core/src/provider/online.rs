//! The online store: the latest row of each key.

use std::sync::Arc;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Provider, ViewVersion};
use crate::context::Context;
use crate::error::Result;
use crate::request::{OnlineRows, OnlineStats, ReadPlan, ViewLayout, WriteSummary};
use crate::stream::BatchStream;

/// What an online store can do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OnlineCapabilities {
    /// Whether the store drops expired rows by itself.
    pub expiry: bool,
    /// Whether several processes can use it at once.
    pub shared: bool,
    /// Whether the store may lose rows that it acknowledged, and tells so by
    /// [`OnlineStore::checkpoint`] and [`OnlineStore::holds`].
    #[serde(default)]
    pub checkpoints: bool,
}

/// A store of latest values.
#[async_trait]
pub trait OnlineStore: Provider {
    /// What it can do.
    fn capabilities(&self) -> OnlineCapabilities;

    /// Prepares what does not change between requests: layouts, key prefixes, decoders.
    ///
    /// # Errors
    /// `InvalidArgument` for a plan whose indices or types do not fit.
    async fn prepare(&self, cx: &Context, plan: Arc<ReadPlan>) -> Result<Arc<dyn OnlineReader>>;

    /// Writes rows: batches of exactly [`ViewLayout::write_schema`], by position. Durable when it
    /// returns. Rows with a null in a key or in the event time are refused.
    ///
    /// Newer wins by (event time, created time with null lowest, tie breakers with null lowest),
    /// atomically per key, in whatever order rows arrive, within a call and between calls; a full tie
    /// is replaced by the later write. A tombstone obeys the same order; what it wins over is gone,
    /// and the key reads as absent until a newer row comes. A store may drop rows and tombstones that
    /// are older than the layout's ttl.
    ///
    /// # Errors
    /// `InvalidArgument` (`P406`) for other columns and for nulls in keys or event times; `Unavailable`,
    /// `ResourceExhausted`; rows of batches before the failing one may be written, and writing all
    /// again is right.
    async fn write(
        &self,
        cx: &Context,
        view: &ViewLayout,
        rows: BatchStream,
    ) -> Result<WriteSummary>;

    /// Erases keys (batches of [`ViewLayout::key_schema`], by position), whatever their times. A key
    /// that is not held, or has a null, is no error.
    ///
    /// # Errors
    /// As [`Self::write`].
    async fn delete(&self, cx: &Context, view: &ViewLayout, keys: RecordBatch) -> Result<()>;

    /// The versions of views that the store holds anything of, in the context's project.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn views(&self, cx: &Context) -> Result<Vec<ViewVersion>>;

    /// How much is held of a view's version; zeros for one that was never written.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn stats(&self, cx: &Context, view: &ViewVersion) -> Result<OnlineStats>;

    /// Erases all rows of a view's version and gives their space back. Readers that are open find
    /// nothing afterwards. A version that is not held is no error.
    ///
    /// # Errors
    /// As [`Self::write`].
    async fn drop_view(&self, cx: &Context, view: &ViewVersion) -> Result<()>;

    /// Marks everything that was acknowledged for a view's version, behind it, and answers the mark's
    /// number for the caller to keep elsewhere; [`Self::holds`] tells later whether it was lost. Numbers
    /// grow. `since` is the number kept so far, whose rows the view still builds on; `None` says that the
    /// view was filled from the beginning. Asked of stores that declare `checkpoints`; any other answers
    /// `None`, as every store does that does not override it.
    ///
    /// # Errors
    /// `DataLoss` (`P612`) if what `since` stands for is not held any more; `Unavailable`.
    async fn checkpoint(
        &self,
        cx: &Context,
        view: &ViewVersion,
        since: Option<i64>,
    ) -> Result<Option<i64>> {
        let _ = (view, since);
        cx.check()?;
        Ok(None)
    }

    /// Whether everything is still held that was acknowledged before a checkpoint of this number. False
    /// means that rows are missing which a caller believes to be there, so that the view must be filled
    /// from the beginning.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn holds(&self, cx: &Context, view: &ViewVersion, checkpoint: i64) -> Result<bool> {
        let _ = (view, checkpoint);
        cx.check()?;
        Ok(true)
    }
}

/// A prepared read. Held and used by many calls at once.
#[async_trait]
pub trait OnlineReader: Send + Sync {
    /// Reads N keys (columns of [`ReadPlan::keys`]'s types, by position) in one round trip; row j
    /// answers key j. A null in a key finds nothing, and neither does a tombstone. Rows are answered
    /// whatever their age; ttl is the caller's.
    ///
    /// # Errors
    /// `Unavailable`, `DeadlineExceeded`. A row whose bytes cannot be read is no error of the call.
    async fn read(&self, cx: &Context, keys: &RecordBatch) -> Result<OnlineRows>;
}
