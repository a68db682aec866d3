//! A stream of record batches that knows its schema.

use std::fmt;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};
use futures::stream::{BoxStream, StreamExt};

use crate::error::Result;

/// Batches of one schema; dropping the stream cancels the work behind it. May hold no batch, or
/// batches of zero rows; after an error it ends.
pub struct BatchStream {
    /// The schema of every batch.
    pub schema: SchemaRef,
    /// The batches, in order.
    pub batches: BoxStream<'static, Result<RecordBatch>>,
}

impl BatchStream {
    /// A stream over `batches`, each of `schema`.
    pub fn new(
        schema: SchemaRef,
        batches: impl futures::Stream<Item = Result<RecordBatch>> + Send + 'static,
    ) -> Self {
        Self {
            schema,
            batches: batches.boxed(),
        }
    }

    /// A stream over batches that are already there.
    pub fn from_batches(schema: SchemaRef, batches: Vec<RecordBatch>) -> Self {
        Self::new(schema, futures::stream::iter(batches.into_iter().map(Ok)))
    }

    /// A stream with a schema and no rows.
    pub fn empty(schema: Schema) -> Self {
        Self::from_batches(Arc::new(schema), Vec::new())
    }

    /// Reads everything into memory. For results that are known to be small, and for tests.
    ///
    /// # Errors
    /// The stream's first error.
    pub async fn collect(mut self) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        while let Some(batch) = self.batches.next().await {
            batches.push(batch?);
        }
        Ok(batches)
    }
}

impl fmt::Debug for BatchStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchStream")
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}
