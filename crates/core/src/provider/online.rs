//! The online store: the latest row of each key.

use std::sync::Arc;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::Provider;
use crate::context::Context;
use crate::error::Result;
use crate::request::{OnlineRows, ReadPlan, ViewLayout, WriteSummary};
use crate::stream::BatchStream;

/// What an online store can do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OnlineCapabilities {
    /// Whether the store drops expired rows by itself.
    pub expiry: bool,
    /// Whether several processes can use it at once.
    pub shared: bool,
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

    /// Writes rows: keys by name, `event_timestamp` (us, UTC), `created_timestamp` (us, UTC, may be
    /// null), tie breakers as `tie_0`, `tie_1`, ..., features by name.
    ///
    /// Newer wins by (event time, created time with null lowest, tie breakers with null lowest),
    /// atomically per key, in whatever order rows arrive; a full tie is replaced by the later write.
    ///
    /// # Errors
    /// `Unavailable`, `ResourceExhausted`; rows of batches before the failing one may be written,
    /// and writing all again is right.
    async fn write(
        &self,
        cx: &Context,
        view: &ViewLayout,
        rows: BatchStream,
    ) -> Result<WriteSummary>;

    /// Erases keys (columns by name), whatever their times.
    ///
    /// # Errors
    /// As [`Self::write`].
    async fn delete(&self, cx: &Context, view: &ViewLayout, keys: RecordBatch) -> Result<()>;

    /// Erases all rows of a view's version and gives their space back.
    ///
    /// # Errors
    /// As [`Self::write`].
    async fn drop_view(&self, cx: &Context, view: &ViewLayout) -> Result<()>;
}

/// A prepared read. Held and used by many calls at once.
#[async_trait]
pub trait OnlineReader: Send + Sync {
    /// Reads N keys (columns as [`ReadPlan::keys`]) in one round trip; row j answers key j.
    /// A null in a key finds nothing.
    ///
    /// # Errors
    /// `Unavailable`, `DeadlineExceeded`. A row whose bytes cannot be read is no error of the call.
    async fn read(&self, cx: &Context, keys: &RecordBatch) -> Result<OnlineRows>;
}
