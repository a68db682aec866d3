//! Spines that the caller holds: a few rows inside of the statement, more in a temporary table.
//!
//! Only keys, times and row numbers travel. The table lies in a session of its own, so it is gone
//! with the session: when the answer has been read, when it is dropped half read, and some time
//! after the whole process was killed.

use arrow_array::RecordBatch;
use futures::StreamExt;
use provender_core::request::SpineRows;
use provender_core::{BatchStream, Context, Error, Result, codes};
use provender_dialects::{Dialect, RowTexts, SpineLayout, TableName, TimeRange};
use uuid::Uuid;

use crate::client::OwnSession;
use crate::error::internal;
use crate::rows::{Kind, RowShape, cast_columns, push};
use crate::session::Statement;
use crate::store::SnowflakeOfflineStore;

/// What names of temporary tables start with.
pub(crate) const TEMPORARY_PREFIX: &str = "PROVENDER_TMP_";

/// A new name for a temporary table.
pub(crate) fn temporary_name(store: &SnowflakeOfflineStore) -> TableName {
    let id = Uuid::new_v4().simple().to_string().to_uppercase();
    store.tables.own(&format!("{TEMPORARY_PREFIX}{id}"))
}

/// Where a spine has been put.
pub(crate) enum PlacedSpine {
    /// In memory, to be written into the statement.
    Inline(RecordBatch),
    /// In a temporary table of a session.
    Table(TableName, OwnSession),
}

/// Puts a spine where a statement can read it, and tells its layout between which times it lies.
///
/// # Errors
/// Those of the spine, and `P503` to `P532` of Snowflake.
pub(crate) async fn place(
    store: &SnowflakeOfflineStore,
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
            let batch = arrow_select::concat::concat_batches(&schema, &first)
                .map_err(|error| internal("a spine's batches are not of its schema", error))?;
            let mut times = TimeRange::default();
            times.add(&layout.encode(&batch)?);
            return Ok((PlacedSpine::Inline(batch), times.bound(layout)));
        };
        let batch = batch?;
        n_rows += batch.num_rows();
        first.push(batch);
    }
    let rows = futures::stream::iter(first.into_iter().map(Ok)).chain(rows);
    let table = temporary_name(store);
    let session = store.client.own_session()?;
    let uploaded = upload(
        store,
        cx,
        &session,
        &layout,
        &table,
        BatchStream::new(schema, rows),
    )
    .await;
    match uploaded {
        Ok(times) => Ok((PlacedSpine::Table(table, session), times.bound(layout))),
        Err(error) => {
            session.close().await;
            Err(error)
        }
    }
}

async fn upload(
    store: &SnowflakeOfflineStore,
    cx: &Context,
    session: &OwnSession,
    layout: &SpineLayout,
    table: &TableName,
    mut rows: BatchStream,
) -> Result<TimeRange> {
    session
        .execute(
            cx,
            Statement::new(layout.create(Dialect::Snowflake, table)?),
        )
        .await?;
    let sql = table.sql(Dialect::Snowflake)?;
    let encoded = layout.encoded_schema();
    let mut shape = RowShape {
        names: Vec::new(),
        kinds: Vec::new(),
    };
    for field in encoded.fields() {
        let (kind, _) = Kind::of_field(field).ok_or_else(|| {
            Error::new(
                &codes::INTERNAL,
                format!("a spine's column is {}", field.data_type()),
            )
        })?;
        shape.names.push(field.name().clone());
        shape.kinds.push(kind);
    }
    let mut times = TimeRange::default();
    let mut texts = RowTexts::new(store.insert_bytes);
    while let Some(batch) = rows.batches.next().await {
        let batch = layout.encode(&batch?)?;
        times.add(&batch);
        let columns = cast_columns(&batch, &shape.kinds)?;
        for row in 0..batch.num_rows() {
            push(&mut texts, &shape.kinds, &columns, row);
            if texts.is_full()
                && let Some(text) = texts.take()
            {
                session.execute(cx, shape.insert(&sql, &text)?).await?;
            }
        }
    }
    if let Some(text) = texts.take() {
        session.execute(cx, shape.insert(&sql, &text)?).await?;
    }
    Ok(times)
}
