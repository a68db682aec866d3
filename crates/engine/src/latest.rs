//! The winning row of each key.
//!
//! Rows stream by once; one winner per key is held. Keys that do not fit the memory limit are
//! partitioned on disk, and each partition is answered on its own.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{Field, Schema, SchemaRef};
use async_stream::try_stream;
use provender_core::provider::{OfflineStore, Resources};
use provender_core::request::{ColumnRange, LatestPerKey};
use provender_core::time::{instant_type, to_instants};
use provender_core::{BatchStream, Context, Error, Result, ValueType, codes};

use crate::cast::cast_value;
use crate::error;
use crate::join::split_rows;
use crate::keys::{KeyEncoder, NO_KEY};
use crate::source::{Feed, Positioned, RowNumbers, RowReader, column, column_type, columns_of};
use crate::spill::SpillBuffer;
use crate::values::{NOWHERE, Place, Values};
use crate::winners::Winners;

const BATCH_ROWS: usize = 8_192;
const N_PARTITIONS: usize = 16;
/// Sixteen partitions five levels deep are more than a million.
const MAX_DEPTH: u64 = 5;

/// Answers the winning row of each key over a store that can `scan`; see [`LatestPerKey`]. Rows with a
/// null in a key or in the event time are never answered. The order of keys is not defined.
///
/// # Errors
/// What the store answers; `InvalidArgument` (`P501`) for values that do not fit.
pub async fn latest(
    cx: &Context,
    resources: &Resources,
    store: Arc<dyn OfflineStore>,
    latest: LatestPerKey,
) -> Result<BatchStream> {
    let features = latest
        .features
        .iter()
        .map(|feature| feature.column.as_str());
    let ranged = latest.ranges.iter().map(|range| range.column.as_str());
    let columns = columns_of(&latest.source, &latest.keys, features.chain(ranged));
    let feed = Feed::new(&store, &latest.source, columns, latest.ranges.clone());
    // The types of tie breakers are the source's, so a first look at it gives the schema.
    let source_schema = match feed.streams(cx).await?.first() {
        Some(stream) => stream.schema.clone(),
        None => {
            return Err(Error::new(
                &codes::PROVIDER_CONTRACT,
                "a scan answered no stream",
            ));
        }
    };
    let schema = answer_schema(&latest, &source_schema)?;
    let work = Work {
        cx: cx.clone(),
        resources: resources.clone(),
        latest: Arc::new(latest),
        schema: schema.clone(),
    };
    Ok(BatchStream::new(
        schema,
        try_stream! {
            let mut pending = vec![(feed, 0_u64)];
            while let Some((feed, depth)) = pending.pop() {
                match work.answer(&feed).await {
                    Ok(answer) => {
                        for start in (0..answer.n_rows()).step_by(BATCH_ROWS) {
                            yield work.batch(&answer, start)?;
                        }
                    }
                    Err(error) if error.code() == codes::MEMORY_LIMIT.id && depth < MAX_DEPTH => {
                        for part in work.split(&feed, depth).await? {
                            pending.push((part, depth + 1));
                        }
                    }
                    Err(error) => Err(error)?,
                }
            }
        },
    ))
}

fn answer_schema(latest: &LatestPerKey, source: &Schema) -> Result<SchemaRef> {
    let mut fields: Vec<Field> = latest
        .keys
        .iter()
        .map(|key| key.value_type.to_field(&key.spine))
        .collect();
    fields.push(Field::new(&latest.source.timestamp, instant_type(), true));
    if let Some(created) = &latest.source.created_timestamp {
        fields.push(Field::new(created, instant_type(), true));
    }
    for tie in &latest.source.tie_breakers {
        let found = column_type(source, tie)?;
        let value_type = ValueType::from_arrow(&found).ok_or_else(|| {
            Error::new(
                &codes::TYPE_MISMATCH,
                format!("tie breaker {tie:?} has the type {found}, which is not supported"),
            )
        })?;
        fields.push(value_type.to_field(tie));
    }
    fields.extend(
        latest
            .features
            .iter()
            .map(|f| f.value_type.to_field(&f.output)),
    );
    Ok(Arc::new(Schema::new(fields)))
}

struct Work {
    cx: Context,
    resources: Resources,
    latest: Arc<LatestPerKey>,
    schema: SchemaRef,
}

struct Answer {
    values: Values,
    places: Vec<Place>,
}

impl Answer {
    fn n_rows(&self) -> usize {
        self.places.len()
    }
}

impl Work {
    async fn answer(&self, feed: &Feed) -> Result<Answer> {
        let streams = feed.streams(&self.cx).await?;
        let Some(source) = streams.first().map(|stream| stream.schema.clone()) else {
            return Err(Error::new(
                &codes::PROVIDER_CONTRACT,
                "a scan answered no stream",
            ));
        };
        let reader = RowReader::new(&self.latest.source, &self.latest.keys, &source)?;
        let features = self
            .latest
            .features
            .iter()
            .map(|feature| feature.column.as_str());
        let columns = columns_of(&self.latest.source, &self.latest.keys, features);
        let types = columns
            .iter()
            .map(|name| column_type(&source, name))
            .collect::<Result<_>>()?;
        let with_ties = !self.latest.source.tie_breakers.is_empty();
        let mut winners = Winners::copied(0, columns, types, with_ties);
        let mut keys = KeyEncoder::new(&self.latest.keys)?.table();
        let mut batches = Positioned::new(streams.into_iter().enumerate().collect());
        while let Some(next) = batches.next().await {
            self.cx.check()?;
            let (position, batch) = next?;
            let inside = Inside::new(&self.latest.ranges, &batch)?;
            let rows = reader.read(&batch, RowNumbers::From(position))?;
            for row in 0..rows.len() {
                let Some(time) = rows.time(row) else { continue };
                if !inside.contains(row) {
                    continue;
                }
                let number = keys.find_or_insert(&rows.keys, row);
                if number != NO_KEY {
                    let slot = number as usize;
                    winners.grow(slot + 1);
                    winners.offer(slot, time, rows.ties(row), row);
                }
            }
            winners.keep(&batch)?;
            let memory = (winners.memory() + keys.memory()) as u64;
            if memory > self.resources.memory_limit_bytes / 2 && keys.len() > 1 {
                return Err(Error::new(
                    &codes::MEMORY_LIMIT,
                    "the latest rows of all keys do not fit the memory limit",
                )
                .help("raise limits.memory in provender.yaml"));
            }
            tokio::task::yield_now().await;
        }
        let (values, mut places) = winners.into_values();
        places.retain(|&place| place != NOWHERE);
        Ok(Answer { values, places })
    }

    async fn split(&self, feed: &Feed, depth: u64) -> Result<Vec<Feed>> {
        let streams = feed.streams(&self.cx).await?;
        let Some(schema) = streams.first().map(|stream| stream.schema.clone()) else {
            return Ok(Vec::new());
        };
        let mut buffers: Vec<SpillBuffer> = (0..N_PARTITIONS)
            .map(|_| SpillBuffer::with_memory(&self.resources, schema.clone(), 0))
            .collect();
        split_rows(
            &self.cx,
            &self.latest.keys,
            streams,
            &mut buffers,
            depth + 1,
            false,
        )
        .await?;
        buffers
            .into_iter()
            .map(|buffer| Ok(Feed::Spilled(buffer.finish()?)))
            .collect()
    }

    fn batch(&self, answer: &Answer, start: usize) -> Result<RecordBatch> {
        let places = &answer.places[start..(start + BATCH_ROWS).min(answer.n_rows())];
        let values = answer.values.gather(places)?;
        let value = |name: &str| answer.values.value_of(&values, name);
        let source = &self.latest.source;
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(self.schema.fields().len());
        for key in &self.latest.keys {
            arrays.push(self.cast(value(&key.column)?, &key.value_type, true, &key.spine)?);
        }
        arrays.push(Arc::new(to_instants(value(&source.timestamp)?)?));
        if let Some(created) = &source.created_timestamp {
            arrays.push(Arc::new(to_instants(value(created)?)?));
        }
        for tie in &source.tie_breakers {
            let column = value(tie)?;
            let value_type = ValueType::from_arrow(column.data_type()).unwrap_or(ValueType::String);
            arrays.push(self.cast(column, &value_type, true, tie)?);
        }
        for feature in &self.latest.features {
            let column = value(&feature.column)?;
            arrays.push(self.cast(
                column,
                &feature.value_type,
                feature.checked,
                &feature.output,
            )?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(places.len()));
        RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)
            .map_err(error::arrow)
    }

    fn cast(
        &self,
        column: &ArrayRef,
        to: &ValueType,
        checked: bool,
        name: &str,
    ) -> Result<ArrayRef> {
        cast_value(column, to, checked).map_err(|failure| {
            Error::new(
                &codes::CHECKED_CAST,
                format!(
                    "{name:?}: the value {} does not fit {to}: {}",
                    failure.value, failure.reason
                ),
            )
        })
    }
}

/// Which rows of a batch lie inside of all ranges.
struct Inside(Vec<(arrow_array::TimestampMicrosecondArray, ColumnRange)>);

impl Inside {
    fn new(ranges: &[ColumnRange], batch: &RecordBatch) -> Result<Self> {
        let read =
            |range: &ColumnRange| Ok((to_instants(&column(batch, &range.column)?)?, range.clone()));
        Ok(Self(ranges.iter().map(read).collect::<Result<_>>()?))
    }

    fn contains(&self, row: usize) -> bool {
        use arrow_array::Array;
        self.0.iter().all(|(times, range)| {
            times.is_valid(row)
                && range.min_us.is_none_or(|min| times.value(row) >= min)
                && range.max_us.is_none_or(|max| times.value(row) <= max)
        })
    }
}
