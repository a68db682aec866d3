//! The spine as a table: rows get numbers when they are written, and come back in their order.
//!
//! A store may answer rows in any order, so numbers decide. Rows that come in order are passed on as
//! they come; as soon as one does not, the rest is collected in ascending runs, which spill, and merged.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch};
use arrow_cast::cast;
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use arrow_select::take::take_record_batch;
use async_stream::try_stream;
use futures::StreamExt;
use provender_core::provider::{OfflineStore, Resources};
use provender_core::request::Scan;
use provender_core::{BatchStream, Context, Error, Result, codes};
use provender_engine::spill::SpillBuffer;

use super::manifest::StoredSpine;

/// A name for the row numbers that no column of the spine has, whatever its case.
pub(super) fn number_name(schema: &Schema) -> String {
    let mut name = "row_number".to_owned();
    let taken = |name: &str| {
        let mut fields = schema.fields().iter();
        fields.any(|field| field.name().to_lowercase() == name)
    };
    while taken(&name) {
        name.push('_');
    }
    name
}

/// The rows with their numbers in a last column.
pub(super) fn numbered(spine: BatchStream, name: &str) -> BatchStream {
    let mut fields = spine.schema.fields().to_vec();
    fields.push(Arc::new(Field::new(name, DataType::Int64, false)));
    let schema = Arc::new(Schema::new(fields));
    let answered = schema.clone();
    let mut batches = spine.batches;
    BatchStream::new(
        answered,
        try_stream! {
            let mut first = 0_i64;
            while let Some(batch) = batches.next().await {
                let batch = batch?;
                let next = first + i64::try_from(batch.num_rows()).unwrap_or(i64::MAX);
                let mut columns = batch.columns().to_vec();
                columns.push(Arc::new(Int64Array::from_iter_values(first..next)));
                first = next;
                yield RecordBatch::try_new(schema.clone(), columns).map_err(|error| {
                    Error::new(
                        &codes::BAD_REQUEST,
                        "a batch of the spine has other columns than the spine's schema",
                    )
                    .source(error)
                })?;
            }
        },
    )
}

/// The rows of a stored spine, in order, with the asked columns and without their numbers.
///
/// # Errors
/// What the store says; the stream fails with `DataLoss` (`P504`) if rows are missing or doubled.
pub(super) async fn read(
    cx: &Context,
    store: &dyn OfflineStore,
    resources: &Resources,
    spine: &StoredSpine,
    columns: &[String],
) -> Result<BatchStream> {
    let mut asked = columns.to_vec();
    asked.push(spine.row_number.clone());
    let scan = Scan {
        source: spine.table.source_ref(),
        columns: Some(asked),
        ranges: Vec::new(),
    };
    let partitions = store.scan(cx, scan).await?;
    let found = partitions
        .first()
        .map_or_else(|| Arc::new(Schema::empty()), |first| first.schema.clone());
    // A store may spell names otherwise; the columns are those that were asked for, in order.
    let fields: Vec<Field> = (columns.iter().zip(found.fields()))
        .map(|(name, field)| Field::new(name, field.data_type().clone(), true))
        .collect();
    let schema = Arc::new(Schema::new(fields));
    Ok(ordered(
        cx.clone(),
        resources.clone(),
        partitions,
        schema,
        spine.table.table.clone(),
    ))
}

/// Puts rows in the order of the numbers in their last column, which is left out of the answer.
fn ordered(
    cx: Context,
    resources: Resources,
    partitions: Vec<BatchStream>,
    schema: SchemaRef,
    table: String,
) -> BatchStream {
    let answered = schema.clone();
    BatchStream::new(
        answered,
        try_stream! {
            let mut next = 0_i64;
            let mut runs: Option<Runs> = None;
            for mut partition in partitions {
                while let Some(batch) = partition.batches.next().await {
                    cx.check()?;
                    let batch = ascending(batch?)?;
                    let numbers = numbers(&batch)?;
                    let (Some(&first), Some(&last)) = (numbers.first(), numbers.last()) else {
                        continue;
                    };
                    let is_next = first == next && last - first == numbers.len() as i64 - 1;
                    match &mut runs {
                        None if is_next => {
                            next = last + 1;
                            yield without_number(&batch, &schema)?;
                        }
                        None => {
                            let mut started = Runs::new(&resources);
                            started.push(batch.clone(), first, last).await?;
                            runs = Some(started);
                        }
                        Some(runs) => runs.push(batch.clone(), first, last).await?,
                    }
                }
            }
            let mut heads = match runs {
                None => Vec::new(),
                Some(runs) => runs.finish()?,
            };
            loop {
                cx.check()?;
                let mut stretch = None;
                let mut is_over = true;
                for head in &mut heads {
                    if !head.load().await? {
                        continue;
                    }
                    is_over = false;
                    stretch = head.take_from(next)?;
                    if stretch.is_some() {
                        break;
                    }
                }
                match stretch {
                    Some(batch) => {
                        next += batch.num_rows() as i64;
                        yield without_number(&batch, &schema)?;
                    }
                    None if is_over => break,
                    None => Err(damaged(&table, next))?,
                }
            }
        },
    )
}

fn damaged(table: &str, row: i64) -> Error {
    Error::new(
        &codes::OFFLINE_DATA,
        format!("table {table:?}, which holds the spine of a dataset, has row {row} not just once"),
    )
    .help("the table was changed by others; restore it, or make a new version of the dataset")
    .context("table", table)
}

fn misfit(error: ArrowError) -> Error {
    Error::new(
        &codes::INTERNAL,
        "the rows of a stored spine cannot be put in order",
    )
    .source(error)
}

/// A batch whose numbers are int64 and ascend.
fn ascending(batch: RecordBatch) -> Result<RecordBatch> {
    let Some((last, others)) = batch.columns().split_last() else {
        return Err(Error::new(
            &codes::INTERNAL,
            "a stored spine was answered without columns",
        ));
    };
    let mut batch = batch.clone();
    if last.data_type() != &DataType::Int64 || last.null_count() > 0 {
        let mut columns = others.to_vec();
        columns.push(cast(last, &DataType::Int64).map_err(misfit)?);
        let mut fields = batch.schema().fields().to_vec();
        fields.pop();
        fields.push(Arc::new(Field::new("n", DataType::Int64, true)));
        batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(misfit)?;
    }
    let values = numbers(&batch)?;
    if values.is_sorted() {
        return Ok(batch);
    }
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_unstable_by_key(|&row| values[row]);
    let order = Int64Array::from_iter_values(order.into_iter().map(|row| row as i64));
    take_record_batch(&batch, &order).map_err(misfit)
}

fn numbers(batch: &RecordBatch) -> Result<&[i64]> {
    let column: Option<&ArrayRef> = batch.columns().last();
    column
        .and_then(|column| column.as_primitive_opt::<Int64Type>())
        .map(|column| &column.values()[..])
        .ok_or_else(|| Error::new(&codes::INTERNAL, "a stored spine has no row numbers"))
}

fn without_number(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = batch.columns()[..batch.num_columns() - 1].to_vec();
    let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(misfit)
}

/// Batches in runs of ascending numbers.
struct Runs {
    resources: Resources,
    memory_left: u64,
    done: Vec<SpillBuffer>,
    present: Option<(SpillBuffer, i64)>,
}

impl Runs {
    fn new(resources: &Resources) -> Self {
        Self {
            resources: resources.clone(),
            memory_left: resources.memory_limit_bytes / 8,
            done: Vec::new(),
            present: None,
        }
    }

    async fn push(&mut self, batch: RecordBatch, first: i64, last: i64) -> Result<()> {
        let n_bytes = batch.get_array_memory_size() as u64;
        match &mut self.present {
            Some((run, end)) if *end < first => {
                run.push(batch).await?;
                *end = last;
            }
            _ => {
                let mut run =
                    SpillBuffer::with_memory(&self.resources, batch.schema(), self.memory_left);
                run.push(batch).await?;
                let before = self.present.replace((run, last));
                self.done.extend(before.map(|(run, _)| run));
            }
        }
        // All runs share one allowance; what is beyond it lies on disk.
        self.memory_left = self.memory_left.saturating_sub(n_bytes);
        Ok(())
    }

    fn finish(self) -> Result<Vec<Head>> {
        let present = self.present.map(|(run, _)| run);
        (self.done.into_iter().chain(present))
            .map(|run| {
                Ok(Head {
                    rows: run.finish()?.stream(),
                    batch: None,
                    offset: 0,
                    is_over: false,
                })
            })
            .collect()
    }
}

/// Where reading a run has come to.
struct Head {
    rows: BatchStream,
    batch: Option<RecordBatch>,
    offset: usize,
    is_over: bool,
}

impl Head {
    /// Whether there is a row left, which is then at hand.
    async fn load(&mut self) -> Result<bool> {
        while !self.is_over {
            match &self.batch {
                Some(batch) if self.offset < batch.num_rows() => return Ok(true),
                _ => {}
            }
            self.offset = 0;
            self.batch = self.rows.batches.next().await.transpose()?;
            self.is_over = self.batch.is_none();
        }
        Ok(false)
    }

    /// The rows from number `next` on that follow each other, if the next one is of that number.
    fn take_from(&mut self, next: i64) -> Result<Option<RecordBatch>> {
        let Some(batch) = &self.batch else {
            return Ok(None);
        };
        let left = &numbers(batch)?[self.offset..];
        let n = (left.iter().zip(next..))
            .take_while(|(number, expected)| *number == expected)
            .count();
        if n == 0 {
            return Ok(None);
        }
        let rows = batch.slice(self.offset, n);
        self.offset += n;
        Ok(Some(rows))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use rand::rngs::StdRng;
    use rand::seq::SliceRandom;
    use rand::{Rng, SeedableRng};

    use super::*;

    fn batch(numbers: &[i64]) -> RecordBatch {
        let values = Int64Array::from_iter_values(numbers.iter().map(|number| number * 10));
        RecordBatch::try_from_iter([
            ("a", Arc::new(values) as ArrayRef),
            ("n", Arc::new(Int64Array::from(numbers.to_vec()))),
        ])
        .unwrap()
    }

    async fn read_back(partitions: Vec<Vec<RecordBatch>>, memory: u64) -> Result<Vec<i64>> {
        let partitions = partitions
            .into_iter()
            .map(|batches| BatchStream::from_batches(batch(&[]).schema(), batches))
            .collect();
        let schema = Arc::new(batch(&[]).schema().project(&[0]).unwrap());
        let resources = Resources {
            memory_limit_bytes: memory,
            ..Resources::default()
        };
        let rows = ordered(
            Context::new("p"),
            resources,
            partitions,
            schema,
            "spine".to_owned(),
        );
        let mut values = Vec::new();
        for batch in rows.collect().await? {
            assert_eq!(batch.num_columns(), 1);
            values.extend_from_slice(batch.column(0).as_primitive::<Int64Type>().values());
        }
        Ok(values)
    }

    #[tokio::test]
    async fn rows_come_in_order_whatever_order_the_store_answers() {
        let mut rng = StdRng::seed_from_u64(3);
        for round in 0..60 {
            let n: i64 = rng.random_range(0..300);
            let mut numbers: Vec<i64> = (0..n).collect();
            let is_shuffled = round % 3 == 0;
            if is_shuffled {
                numbers.shuffle(&mut rng);
            }
            let mut batches = Vec::new();
            let mut rest = &numbers[..];
            while !rest.is_empty() {
                let (first, others) = rest.split_at(rng.random_range(1..=rest.len()));
                batches.push(batch(first));
                rest = others;
            }
            if round % 3 == 1 {
                batches.shuffle(&mut rng);
            }
            let at = rng.random_range(0..=batches.len());
            let second = batches.split_off(at);
            let memory = if round % 2 == 0 { 0 } else { 1 << 30 };
            let found = read_back(vec![batches, second], memory).await.unwrap();
            let expected: Vec<i64> = (0..n).map(|number| number * 10).collect();
            assert_eq!(found, expected, "round {round}");
        }
    }

    #[tokio::test]
    async fn a_row_that_is_missing_or_doubled_is_noticed() {
        for numbers in [&[0, 2][..], &[0, 1, 1], &[1]] {
            let error = read_back(vec![vec![batch(numbers)]], 1 << 20)
                .await
                .unwrap_err();
            assert_eq!(error.code(), "P504", "{numbers:?}");
        }
    }
}
