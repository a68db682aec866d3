//! Spines that the caller holds: a few rows inside of the statement, more in a table that is dropped
//! afterwards. Only keys, times and row numbers travel.

use arrow_array::RecordBatch;
use futures::StreamExt;
use provender_core::request::SpineRows;
use provender_core::{BatchStream, Context, Error, Result, codes};
use provender_dialects::{Dialect, RowTexts, SpineLayout, TimeRange};

use super::rows::RowShape;
use super::scratch::Scratch;
use super::statement::Statement;
use super::store::DatabricksOfflineStore;

/// Where a spine has been put.
pub(crate) enum PlacedSpine {
    /// In memory, to be written into the statement.
    Inline(RecordBatch),
    /// In a table of its own.
    Table(Box<Scratch>),
}

/// Puts a spine where a statement can read it, and tells its layout between which times it lies.
///
/// # Errors
/// Those of the spine, and `P503` to `P531` of Databricks.
pub(crate) async fn place(
    store: &DatabricksOfflineStore,
    cx: &Context,
    layout: SpineLayout,
    spine: SpineRows,
) -> Result<(PlacedSpine, SpineLayout)> {
    let schema = spine.rows.schema.clone();
    let mut rows = spine.rows.batches;
    let mut first: Vec<RecordBatch> = Vec::new();
    let mut n_rows = 0;
    while n_rows <= store.inline_rows {
        let Some(batch) = rows.next().await else {
            let batch = datafusion::arrow::compute::concat_batches(&schema, &first);
            let batch = batch.map_err(|error| {
                Error::new(&codes::INTERNAL, "a spine's batches are not of its schema")
                    .source(error)
            })?;
            let mut times = TimeRange::default();
            times.add(&layout.encode(&batch)?);
            return Ok((PlacedSpine::Inline(batch), times.bound(layout)));
        };
        let batch = batch?;
        n_rows += batch.num_rows();
        first.push(batch);
    }
    let rows = futures::stream::iter(first.into_iter().map(Ok)).chain(rows);
    let scratch = store.scratch()?;
    let rows = BatchStream::new(schema, rows);
    let times = upload(store, cx, &layout, &scratch, rows).await;
    match times {
        Ok(times) => Ok((PlacedSpine::Table(Box::new(scratch)), times.bound(layout))),
        Err(error) => {
            scratch.close().await;
            Err(error)
        }
    }
}

async fn upload(
    store: &DatabricksOfflineStore,
    cx: &Context,
    layout: &SpineLayout,
    scratch: &Scratch,
    mut rows: BatchStream,
) -> Result<TimeRange> {
    let client = store.client()?;
    let create = Statement::change(layout.create(Dialect::Spark, &scratch.table)?);
    client.execute(cx, &create).await?;
    let table = scratch.table.sql(Dialect::Spark)?;
    let shape = RowShape::new("spine", &layout.encoded_schema())?;
    let mut times = TimeRange::default();
    let mut texts = RowTexts::new(store.insert_bytes);
    while let Some(batch) = rows.batches.next().await {
        cx.check()?;
        let batch = layout.encode(&batch?)?;
        times.add(&batch);
        for row in 0..batch.num_rows() {
            shape.push(&mut texts, &batch, row);
            if texts.is_full()
                && let Some(text) = texts.take()
            {
                client.execute(cx, &shape.insert(&table, text)?).await?;
            }
        }
    }
    if let Some(text) = texts.take() {
        client.execute(cx, &shape.insert(&table, text)?).await?;
    }
    Ok(times)
}
