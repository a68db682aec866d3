//! Windows as of one instant: a point-in-time join whose spine is every active key at that instant.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow_schema::{DataType, Field, Schema};
use futures::StreamExt;
use provender_core::provider::{OfflineStore, Resources};
use provender_core::request::{
    ColumnRange, KeyColumn, LatestPerKey, PointInTimeJoin, SpineRows, ViewJoin, WindowsAt,
};
use provender_core::time::{UTC, instant_type};
use provender_core::{BatchStream, Context, Result};

use crate::spill::SpillBuffer;
use crate::{error, zip};

const TIME: &str = "__time";
const ROW: &str = "__row";

/// Answers windows over a store that can `scan`; see [`WindowsAt`]. The order of keys is not defined.
///
/// # Errors
/// What the store answers; `InvalidArgument` (`P501`, `P502`) for values that do not fit.
pub async fn windows(
    cx: &Context,
    resources: &Resources,
    store: Arc<dyn OfflineStore>,
    windows: WindowsAt,
) -> Result<BatchStream> {
    // Only a row's time matters for whether its key is active, so ties need not be read.
    let mut source = windows.source.clone();
    source.created_timestamp = None;
    source.tie_breakers.clear();
    let active = LatestPerKey {
        source,
        keys: windows.keys.clone(),
        features: Vec::new(),
        ranges: vec![ColumnRange {
            column: windows.source.timestamp.clone(),
            min_us: Some(windows.active_after_us.saturating_add(1)),
            max_us: Some(windows.at_us),
        }],
    };
    let mut active = crate::latest(cx, resources, store.clone(), active).await?;

    let key_fields: Vec<Field> = windows
        .keys
        .iter()
        .map(|key| key.value_type.to_field(&key.spine))
        .collect();
    let own = [
        Field::new(TIME, instant_type(), true),
        Field::new(ROW, DataType::Int64, false),
    ];
    let schema = Arc::new(Schema::new([key_fields.as_slice(), &own].concat()));
    let mut buffer = SpillBuffer::new(resources, schema.clone());
    while let Some(batch) = active.batches.next().await {
        let batch = batch?;
        let n_rows = batch.num_rows();
        let first = buffer.n_rows() as i64;
        let mut columns: Vec<ArrayRef> = batch.columns()[..windows.keys.len()].to_vec();
        let times = TimestampMicrosecondArray::from_value(windows.at_us, n_rows).with_timezone(UTC);
        columns.push(Arc::new(times));
        columns.push(Arc::new(Int64Array::from_iter_values(
            first..first + n_rows as i64,
        )));
        buffer
            .push(RecordBatch::try_new(schema.clone(), columns).map_err(error::arrow)?)
            .await?;
    }
    let spine = buffer.finish()?;

    let view = ViewJoin {
        name: windows.source.source.describe(),
        source: windows.source.clone(),
        keys: windows.keys.iter().map(KeyColumn::clone).collect(),
        ttl_us: None,
        features: Vec::new(),
        aggregations: windows.aggregations.clone(),
    };
    let join = PointInTimeJoin {
        views: vec![view],
        as_known: false,
    };
    let rows = SpineRows {
        rows: spine.stream(),
        timestamp: TIME.to_owned(),
        row_number: ROW.to_owned(),
    };
    let values = crate::point_in_time_join(cx, resources, store, join, rows).await?;

    let n_keys = windows.keys.len();
    let key_schema = Arc::new(Schema::new(key_fields.clone()));
    let keys_only = key_schema.clone();
    let keys = spine.stream().batches.map(move |batch| {
        let batch = batch?
            .project(&(0..n_keys).collect::<Vec<_>>())
            .map_err(error::arrow)?;
        batch.with_schema(keys_only.clone()).map_err(error::arrow)
    });
    let fields: Vec<Field> = key_fields
        .into_iter()
        .chain(
            values
                .schema
                .fields()
                .iter()
                .map(|field| field.as_ref().clone()),
        )
        .collect();
    Ok(zip::zip(
        Arc::new(Schema::new(fields)),
        vec![BatchStream::new(key_schema, keys), values],
    ))
}
