//! The rows that one dataset has and another has not.
//!
//! Rows are compared as a whole and counted, whatever their order: a row that one has twice and the
//! other once is a difference. What is held in memory is a hash of each distinct row, not the rows.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use arrow_select::filter::filter_record_batch;
use futures::{StreamExt, TryStreamExt};
use provender_core::request::Scan;
use provender_core::{BatchStream, Context, Error, Result, codes};

use super::encoding::encode_column;
use super::hash::sha256;
use super::manifest::Dataset;
use crate::FeatureStore;

/// The first half of a SHA-256: two rows of one hash are one row, for all that can happen.
type RowHash = [u8; 16];
/// What one entry takes, the map's own share included.
const ENTRY_BYTES: u64 = 56;
/// The name of the column that says which dataset a row is of.
const ONLY_IN: &str = "only_in";

/// Differing rows of two datasets.
#[derive(Clone, Debug)]
pub struct RowDiff {
    /// How many rows of the first have no equal in the second.
    pub only_a: u64,
    /// How many rows of the second have no equal in the first.
    pub only_b: u64,
    /// Some of both, the first dataset's first: `only_in` (the dataset), then the compared columns.
    pub rows: RecordBatch,
}

impl FeatureStore {
    /// Compares the kept rows of two datasets in the columns that both have with one type, and answers
    /// at most `limit` differing rows of each.
    ///
    /// # Errors
    /// `NotFound` (`P420`), what the stores say of tables that are gone, `InvalidArgument` (`P406`) if
    /// the datasets have no column in common, `ResourceExhausted` (`P904`) if even the hashes of the
    /// rows do not fit the memory limit.
    pub async fn diff_dataset_rows(
        &self,
        cx: &Context,
        a: &str,
        b: &str,
        limit: usize,
    ) -> Result<RowDiff> {
        let (a, b) = (self.dataset(cx, a).await?, self.dataset(cx, b).await?);
        let columns: Vec<String> = (a.columns.iter())
            .filter(|column| {
                let mut others = b.columns.iter();
                others.any(|other| other.name == column.name && other.data_type == column.data_type)
            })
            .map(|column| column.name.clone())
            .collect();
        if columns.is_empty() {
            return Err(Error::new(
                &codes::BAD_REQUEST,
                format!(
                    "datasets {:?} and {:?} have no column in common whose rows could be compared",
                    a.full_name(),
                    b.full_name()
                ),
            ));
        }
        let max_entries = self.resources(cx).memory_limit_bytes / ENTRY_BYTES;
        let mut balance: HashMap<RowHash, i64, foldhash::fast::RandomState> = HashMap::default();
        for (dataset, step) in [(&a, 1), (&b, -1)] {
            let mut rows = self.kept_rows(cx, dataset, &columns).await?;
            while let Some(batch) = rows.batches.next().await {
                cx.check()?;
                for hash in hashes(&batch?)? {
                    *balance.entry(hash).or_default() += step;
                }
                if balance.len() as u64 > max_entries {
                    return Err(Error::new(
                        &codes::MEMORY_LIMIT,
                        "the hashes of the rows of two datasets do not fit the memory limit",
                    )
                    .help("raise `limits.memory` in provender.yaml, or compare without rows"));
                }
            }
        }
        balance.retain(|_, n| *n != 0);
        let sum = |sign: i64| {
            let ours = balance.values().map(|n| n * sign).filter(|n| *n > 0);
            ours.sum::<i64>().unsigned_abs()
        };
        let (only_a, only_b) = (sum(1), sum(-1));
        let mut batches = Vec::new();
        let mut schema: Option<SchemaRef> = None;
        for (dataset, sign) in [(&a, 1), (&b, -1)] {
            let mut n_left = limit;
            let mut rows = self.kept_rows(cx, dataset, &columns).await?;
            let schema = schema.get_or_insert_with(|| labelled(&columns, &rows.schema));
            while n_left > 0 {
                let Some(batch) = rows.batches.next().await else {
                    break;
                };
                cx.check()?;
                let batch = batch?;
                let mut wanted = Vec::with_capacity(batch.num_rows());
                for hash in hashes(&batch)? {
                    let is_wanted = match balance.get_mut(&hash) {
                        Some(n) if *n * sign > 0 && n_left > 0 => {
                            *n -= sign;
                            n_left -= 1;
                            true
                        }
                        _ => false,
                    };
                    wanted.push(is_wanted);
                }
                let rows = filter_record_batch(&batch, &BooleanArray::from(wanted))
                    .map_err(|error| internal(&error.to_string()))?;
                if rows.num_rows() > 0 {
                    batches.push(label(&rows, &dataset.full_name(), schema)?);
                }
            }
        }
        let schema = schema.ok_or_else(|| internal("no rows were compared"))?;
        let rows = arrow_select::concat::concat_batches(&schema, &batches)
            .map_err(|error| internal(&error.to_string()))?;
        Ok(RowDiff {
            only_a,
            only_b,
            rows,
        })
    }

    /// The rows of a dataset as they are kept, in any order.
    ///
    /// # Errors
    /// What the store says.
    async fn kept_rows(
        &self,
        cx: &Context,
        dataset: &Dataset,
        columns: &[String],
    ) -> Result<BatchStream> {
        let store = dataset.table.store.as_deref();
        let store = self.stores().offline(cx, store).await?;
        let scan = Scan {
            source: dataset.table.source_ref(),
            columns: Some(columns.to_vec()),
            ranges: Vec::new(),
        };
        let partitions = store.scan(cx, scan).await.map_err(|error| {
            let name = &dataset.name;
            let restore = format!("`provender dataset recreate {name} --restore` puts it back");
            let is_missing = error.code() == codes::MISSING_TABLE.id;
            let error = error.context("dataset", dataset.full_name());
            if is_missing {
                error.help(restore)
            } else {
                error
            }
        })?;
        let schema = partitions
            .first()
            .map_or_else(|| Arc::new(Schema::empty()), |first| first.schema.clone());
        let rows = futures::stream::iter(partitions)
            .map(|partition| Ok::<_, Error>(partition.batches))
            .try_flatten();
        Ok(BatchStream::new(schema, rows))
    }
}

fn internal(why: &str) -> Error {
    Error::new(
        &codes::INTERNAL,
        format!("differing rows cannot be put together: {why}"),
    )
}

fn hashes(batch: &RecordBatch) -> Result<Vec<RowHash>> {
    let mut encoded = Vec::with_capacity(batch.num_columns());
    let schema = batch.schema();
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        encode_column(field.name(), column, &mut bytes, &mut ends)?;
        encoded.push((bytes, ends));
    }
    let mut row_bytes = Vec::new();
    Ok((0..batch.num_rows())
        .map(|row| {
            row_bytes.clear();
            for (bytes, ends) in &encoded {
                let start = row.checked_sub(1).map_or(0, |before| ends[before]);
                row_bytes.extend_from_slice(&bytes[start..ends[row]]);
            }
            let mut half = RowHash::default();
            half.copy_from_slice(&sha256(&row_bytes)[..16]);
            half
        })
        .collect())
}

fn labelled(columns: &[String], found: &Schema) -> SchemaRef {
    let mut name = ONLY_IN.to_owned();
    while columns.contains(&name) {
        name.push('_');
    }
    let mut fields = vec![Field::new(name, DataType::Utf8, false)];
    let known = columns.iter().zip(found.fields());
    fields.extend(known.map(|(name, field)| Field::new(name, field.data_type().clone(), true)));
    Arc::new(Schema::new(fields))
}

fn label(rows: &RecordBatch, dataset: &str, schema: &SchemaRef) -> Result<RecordBatch> {
    let labels = StringArray::from_iter_values(std::iter::repeat_n(dataset, rows.num_rows()));
    let mut columns: Vec<ArrayRef> = vec![Arc::new(labels)];
    columns.extend(rows.columns().iter().cloned());
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options)
        .map_err(|error| internal(&error.to_string()))
}
