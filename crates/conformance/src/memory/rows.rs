//! Rows of a table in memory by number.

use std::sync::Arc;

use arrow_array::{Array, RecordBatch, UInt64Array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use arrow_select::take::take_record_batch;
use async_trait::async_trait;
use provender_core::error::{Error, Result, codes};
use provender_core::provider::RowAccess;
use provender_core::{BatchStream, Context};

use super::offline::internal;
use crate::Table;

/// A table's rows, numbered batch by batch.
#[derive(Debug)]
pub(super) struct MemoryRows {
    table: Table,
    n_partitions: usize,
}

impl MemoryRows {
    /// The rows of a table, scanned in so many streams.
    pub(super) fn new(table: Table, n_partitions: usize) -> Self {
        Self {
            table,
            n_partitions,
        }
    }

    fn indices(&self, columns: &[String]) -> Result<Vec<usize>> {
        let index = |name: &String| self.table.schema.index_of(name).map_err(internal);
        columns.iter().map(index).collect()
    }
}

#[async_trait]
impl RowAccess for MemoryRows {
    fn schema(&self) -> &SchemaRef {
        &self.table.schema
    }

    /// The last batches come first, so that nobody takes the order of rows for that of their numbers.
    async fn scan(&self, cx: &Context, columns: &[String]) -> Result<Vec<BatchStream>> {
        cx.check()?;
        let indices = self.indices(columns)?;
        let mut fields = self
            .table
            .schema
            .project(&indices)
            .map_err(internal)?
            .fields
            .to_vec();
        fields.push(Arc::new(Field::new("__number", DataType::UInt64, false)));
        let schema = SchemaRef::new(Schema::new(fields));
        let mut partitions = vec![Vec::new(); self.n_partitions];
        let mut first = 0;
        for (at, batch) in self.table.batches.iter().enumerate() {
            let end = first + batch.num_rows() as u64;
            let mut arrays = batch
                .project(&indices)
                .map_err(internal)?
                .columns()
                .to_vec();
            arrays.push(Arc::new(UInt64Array::from_iter_values(first..end)));
            let numbered = RecordBatch::try_new(schema.clone(), arrays).map_err(internal)?;
            partitions[at % self.n_partitions].insert(0, numbered);
            first = end;
        }
        Ok(partitions
            .into_iter()
            .map(|batches| BatchStream::from_batches(schema.clone(), batches))
            .collect())
    }

    async fn fetch(
        &self,
        cx: &Context,
        columns: &[String],
        rows: UInt64Array,
    ) -> Result<Vec<BatchStream>> {
        cx.check()?;
        let ascends = rows.values().windows(2).all(|pair| pair[0] < pair[1]);
        if !ascends || rows.null_count() > 0 {
            return Err(Error::new(
                &codes::BAD_REQUEST,
                "the numbers of rows do not ascend",
            ));
        }
        let indices = self.indices(columns)?;
        let schema = self.table.schema.project(&indices).map_err(internal)?;
        let schema = SchemaRef::new(schema);
        let mut streams = vec![BatchStream::from_batches(schema.clone(), Vec::new())];
        let (mut first, mut n_found) = (0, 0);
        for batch in &self.table.batches {
            let end = first + batch.num_rows() as u64;
            let inside = rows
                .values()
                .iter()
                .filter(|&&row| first <= row && row < end);
            let wanted = UInt64Array::from_iter_values(inside.map(|row| row - first));
            n_found += wanted.len();
            let batch = batch.project(&indices).map_err(internal)?;
            let batch = take_record_batch(&batch, &wanted).map_err(internal)?;
            streams.push(BatchStream::from_batches(schema.clone(), vec![batch]));
            first = end;
        }
        if n_found < rows.len() {
            return Err(Error::new(
                &codes::BAD_REQUEST,
                "a row was asked for that is not there",
            ));
        }
        Ok(streams)
    }
}
