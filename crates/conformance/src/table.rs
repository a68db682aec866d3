//! Tables and spines in memory, which the oracle reads and the reference stores serve.

use std::collections::BTreeMap;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use arrow_select::concat::concat_batches;
use provender_core::request::SpineRows;
use provender_core::{BatchStream, Result};

/// Rows of one schema, in batches of any sizes.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// The columns.
    pub schema: SchemaRef,
    /// The rows.
    pub batches: Vec<RecordBatch>,
}

/// Tables by name.
pub type Tables = BTreeMap<String, Table>;

impl Table {
    /// A table without rows.
    pub fn empty(schema: SchemaRef) -> Self {
        Self {
            schema,
            batches: Vec::new(),
        }
    }

    /// A table of one batch.
    pub fn of(batch: RecordBatch) -> Self {
        Self {
            schema: batch.schema(),
            batches: vec![batch],
        }
    }

    /// Reads a stream to its end.
    ///
    /// # Errors
    /// The stream's first error.
    pub async fn collect(stream: BatchStream) -> Result<Self> {
        Ok(Self {
            schema: stream.schema.clone(),
            batches: stream.collect().await?,
        })
    }

    /// How many rows all batches hold.
    pub fn n_rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// All rows as one batch.
    ///
    /// # Errors
    /// A text that names the difference if a batch's schema is not the table's.
    pub fn one_batch(&self) -> Result<RecordBatch, String> {
        for batch in &self.batches {
            if batch.schema() != self.schema {
                return Err(format!(
                    "a batch has the schema {:?}, its stream {:?}",
                    batch.schema(),
                    self.schema
                ));
            }
        }
        concat_batches(&self.schema, &self.batches).map_err(|error| error.to_string())
    }

    /// The rows as a stream.
    pub fn stream(&self) -> BatchStream {
        BatchStream::from_batches(self.schema.clone(), self.batches.clone())
    }
}

/// A spine in memory: keys, time and row number, as [`SpineRows`] wants them, readable many times.
#[derive(Clone, Debug, PartialEq)]
pub struct SpineTable {
    /// The rows.
    pub table: Table,
    /// The timestamp's column.
    pub timestamp: String,
    /// The row number's column.
    pub row_number: String,
}

impl SpineTable {
    /// The spine as a request carries it.
    pub fn to_rows(&self) -> SpineRows {
        SpineRows {
            rows: self.table.stream(),
            timestamp: self.timestamp.clone(),
            row_number: self.row_number.clone(),
        }
    }
}
