//! Puts streams with equal numbers of rows side by side.

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::SchemaRef;
use async_stream::try_stream;
use futures::StreamExt;
use provender_core::{BatchStream, Error, Result, codes};

use crate::error;

/// One stream whose batches have the columns of all `streams`, in order, under `schema`. Batches are
/// cut where any of the streams cuts. A stream that ends before the others is a provider's defect (`P802`).
pub fn zip(schema: SchemaRef, streams: Vec<BatchStream>) -> BatchStream {
    let output = schema.clone();
    BatchStream::new(
        output,
        try_stream! {
            let mut sides: Vec<Side> = streams.into_iter().map(Side::new).collect();
            loop {
                let mut n_rows = usize::MAX;
                let mut n_ended = 0;
                for side in &mut sides {
                    match side.available().await? {
                        Some(available) => n_rows = n_rows.min(available),
                        None => n_ended += 1,
                    }
                }
                if n_ended == sides.len() {
                    break;
                }
                if n_ended > 0 {
                    Err(Error::new(
                        &codes::PROVIDER_CONTRACT,
                        "answers that belong side by side have different numbers of rows",
                    ))?;
                }
                let columns = sides.iter_mut().flat_map(|side| side.take(n_rows)).collect();
                let options = RecordBatchOptions::new().with_row_count(Some(n_rows));
                yield RecordBatch::try_new_with_options(schema.clone(), columns, &options)
                    .map_err(error::arrow)?;
            }
        },
    )
}

struct Side {
    stream: BatchStream,
    batch: Option<RecordBatch>,
    offset: usize,
}

impl Side {
    fn new(stream: BatchStream) -> Self {
        Self {
            stream,
            batch: None,
            offset: 0,
        }
    }

    /// Rows that are there now, at least one; `None` at the end.
    async fn available(&mut self) -> Result<Option<usize>> {
        loop {
            if let Some(batch) = &self.batch {
                let left = batch.num_rows() - self.offset;
                if left > 0 {
                    return Ok(Some(left));
                }
            }
            self.offset = 0;
            self.batch = self.stream.batches.next().await.transpose()?;
            if self.batch.is_none() {
                return Ok(None);
            }
        }
    }

    fn take(&mut self, n_rows: usize) -> Vec<arrow_array::ArrayRef> {
        let Some(batch) = &self.batch else {
            return Vec::new();
        };
        let slice = batch.slice(self.offset, n_rows);
        self.offset += n_rows;
        slice.columns().to_vec()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use super::*;
    use arrow_array::Int64Array;
    use arrow_schema::{DataType, Field, Schema};

    fn stream(name: &str, cuts: &[i64]) -> BatchStream {
        let schema = Arc::new(Schema::new(vec![Field::new(name, DataType::Int64, true)]));
        let batches = cuts.windows(2).map(|cut| {
            let values = Int64Array::from_iter_values(cut[0]..cut[1]);
            RecordBatch::try_new(schema.clone(), vec![Arc::new(values)]).unwrap()
        });
        BatchStream::from_batches(schema.clone(), batches.collect())
    }

    fn pair() -> SchemaRef {
        let field = |name| Field::new(name, DataType::Int64, true);
        Arc::new(Schema::new(vec![field("a"), field("b")]))
    }

    #[tokio::test]
    async fn rows_stay_side_by_side_across_different_cuts() {
        let zipped = zip(
            pair(),
            vec![stream("a", &[0, 3, 3, 10]), stream("b", &[0, 7, 10])],
        );
        let batches = zipped.collect().await.unwrap();
        assert_eq!(
            batches
                .iter()
                .map(RecordBatch::num_rows)
                .collect::<Vec<_>>(),
            [3, 4, 3]
        );
        assert!(
            batches
                .iter()
                .all(|batch| batch.column(0) == batch.column(1))
        );
    }

    #[tokio::test]
    async fn a_side_that_ends_early_breaks_the_contract() {
        let zipped = zip(pair(), vec![stream("a", &[0, 3]), stream("b", &[0, 2])]);
        assert_eq!(zipped.collect().await.unwrap_err().code(), "P802");
    }
}
