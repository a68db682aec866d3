//! The keys that are verified: a sample that is uniform over distinct keys, or all.
//!
//! A sample is the keys of the smallest hashes: whichever keys a source holds, and however often, each
//! distinct key has the same chance, one pass over keys and times is enough, and no more keys are held
//! than are asked for. The same seed over the same keys draws the same sample.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow_row::{RowConverter, RowParser, SortField};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use foldhash::quality::FixedState;
use futures::StreamExt;
use provender_core::provider::{OfflineStore, Resources};
use provender_core::request::{ColumnRange, KeyColumn, LatestPerKey, Scan, SpineRows};
use provender_core::time::{UTC, instant_type, to_instants};
use provender_core::{Context, Error, Result, codes};
use provender_engine::cast::cast_value;
use provender_engine::spill::{SpillBuffer, Spilled};

use crate::request::source::Bound;
use crate::spine::defect;

const TIMESTAMP: &str = "t";
const ROW_NUMBER: &str = "n";
/// Rows of a sample's batches, so that answers are compared bit by bit.
const BATCH_ROWS: usize = 4_096;

/// Where keys are drawn from.
pub(super) struct Drawing<'a> {
    pub(super) store: &'a Arc<dyn OfflineStore>,
    pub(super) resources: &'a Resources,
    pub(super) bound: &'a Bound,
    /// The keys, under the names that they have in [`Keys`].
    pub(super) keys: &'a [KeyColumn],
    /// Keys count whose first row is at or before it.
    pub(super) at_us: i64,
}

/// Distinct keys, each with the instant that it is verified at.
pub(super) struct Keys {
    rows: Spilled,
}

impl Keys {
    /// How many keys there are.
    pub(super) fn n_rows(&self) -> u64 {
        self.rows.n_rows()
    }

    /// The columns: keys, instant, row number.
    pub(super) fn rows(&self) -> &Spilled {
        &self.rows
    }

    /// As a spine.
    pub(super) fn spine(&self) -> SpineRows {
        SpineRows {
            rows: self.rows.stream(),
            timestamp: TIMESTAMP.to_owned(),
            row_number: ROW_NUMBER.to_owned(),
        }
    }
}

impl Drawing<'_> {
    /// Every distinct key with a row at or before the instant.
    ///
    /// # Errors
    /// What the store says; `P501` for key values that do not fit.
    pub(super) async fn all(&self, cx: &Context) -> Result<Keys> {
        let latest = LatestPerKey {
            source: self.bound.source.clone(),
            keys: self.keys.to_vec(),
            features: Vec::new(),
            ranges: vec![self.range()],
        };
        let store = self.store.clone();
        let mut answer = if store.capabilities().latest {
            store.latest(cx, latest).await?
        } else {
            provender_engine::latest(cx, self.resources, store, latest).await?
        };
        let mut building = self.building();
        while let Some(batch) = answer.batches.next().await {
            cx.check()?;
            let batch = batch?;
            let keys: Vec<ArrayRef> = batch
                .columns()
                .iter()
                .take(self.keys.len())
                .cloned()
                .collect();
            building.push(keys, batch.num_rows()).await?;
        }
        building.finish()
    }

    /// At most `n` of them: those of the smallest hashes under `seed`.
    ///
    /// # Errors
    /// As [`Self::all`].
    pub(super) async fn sample(&self, cx: &Context, n: usize, seed: u64) -> Result<Keys> {
        let converter = self.converter()?;
        let hasher = FixedState::with_seed(seed);
        // The hash comes first, so the last entry is the one to give up for a better one.
        let mut smallest: BTreeMap<(u64, Box<[u8]>), ()> = BTreeMap::new();
        for mut stream in self.store.scan(cx, self.scan()).await? {
            while let Some(batch) = stream.batches.next().await {
                cx.check()?;
                let batch = batch?;
                let keys = self.keys_of(&batch)?;
                let times = self.times_of(&batch)?;
                let rows = match &converter {
                    None => None,
                    Some(converter) => {
                        let rows = converter.convert_columns(&keys);
                        Some(rows.map_err(|error| defect("keys cannot be compared", error))?)
                    }
                };
                for row in 0..batch.num_rows() {
                    let counts = times.is_valid(row)
                        && times.value(row) <= self.at_us
                        && keys.iter().all(|key| key.is_valid(row));
                    if !counts {
                        continue;
                    }
                    let key = rows.as_ref().map(|rows| rows.row(row));
                    let bytes = key.as_ref().map_or(&[][..], |key| key.data());
                    let hash = hasher.hash_one(bytes);
                    let is_smaller = smallest
                        .last_key_value()
                        .is_none_or(|((greatest, _), ())| hash <= *greatest);
                    if smallest.len() < n || is_smaller {
                        smallest.insert((hash, bytes.into()), ());
                        if smallest.len() > n {
                            smallest.pop_last();
                        }
                    }
                }
            }
        }
        let mut building = self.building();
        let drawn: Vec<Box<[u8]>> = smallest.into_keys().map(|(_, key)| key).collect();
        match &converter {
            None => building.push(Vec::new(), drawn.len()).await?,
            Some(converter) => {
                let parser = converter.parser();
                for chunk in drawn.chunks(BATCH_ROWS) {
                    let keys = self.parsed(converter, &parser, chunk)?;
                    building.push(keys, chunk.len()).await?;
                }
            }
        }
        building.finish()
    }

    fn parsed(
        &self,
        converter: &RowConverter,
        parser: &RowParser,
        keys: &[Box<[u8]>],
    ) -> Result<Vec<ArrayRef>> {
        converter
            .convert_rows(keys.iter().map(|key| parser.parse(key)))
            .map_err(|error| defect("drawn keys cannot be read back", error))
    }

    /// `None` for a view without join keys, whose only key has no bytes.
    fn converter(&self) -> Result<Option<RowConverter>> {
        if self.keys.is_empty() {
            return Ok(None);
        }
        let fields = self
            .keys
            .iter()
            .map(|key| SortField::new(key.value_type.to_arrow()))
            .collect();
        RowConverter::new(fields)
            .map(Some)
            .map_err(|error| defect("keys cannot be compared", error))
    }

    fn range(&self) -> ColumnRange {
        ColumnRange {
            column: self.bound.source.timestamp.clone(),
            min_us: None,
            max_us: Some(self.at_us),
        }
    }

    fn scan(&self) -> Scan {
        let mut columns = vec![self.bound.source.timestamp.clone()];
        for key in self.keys {
            if !columns.contains(&key.column) {
                columns.push(key.column.clone());
            }
        }
        Scan {
            source: self.bound.source.source.clone(),
            columns: Some(columns),
            ranges: vec![self.range()],
        }
    }

    fn keys_of(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let cast = |key: &KeyColumn| {
            let column = column(batch, &key.column)?;
            cast_value(column, &key.value_type, true).map_err(|failure| {
                Error::new(
                    &codes::CHECKED_CAST,
                    format!(
                        "the value {} of key column {:?} does not fit the declared type {}",
                        failure.value, key.column, key.value_type
                    ),
                )
            })
        };
        self.keys.iter().map(cast).collect()
    }

    fn times_of(&self, batch: &RecordBatch) -> Result<TimestampMicrosecondArray> {
        to_instants(column(batch, &self.bound.source.timestamp)?.as_ref())
    }

    fn building(&self) -> Building {
        let mut fields: Vec<Field> = self
            .keys
            .iter()
            .map(|key| key.value_type.to_field(&key.spine))
            .collect();
        fields.push(Field::new(TIMESTAMP, instant_type(), true));
        fields.push(Field::new(ROW_NUMBER, DataType::Int64, false));
        let schema = Arc::new(Schema::new(fields));
        Building {
            at_us: self.at_us,
            buffer: SpillBuffer::new(self.resources, schema.clone()),
            schema,
        }
    }
}

struct Building {
    at_us: i64,
    schema: SchemaRef,
    buffer: SpillBuffer,
}

impl Building {
    async fn push(&mut self, mut columns: Vec<ArrayRef>, n_rows: usize) -> Result<()> {
        if n_rows == 0 {
            return Ok(());
        }
        let first = i64::try_from(self.buffer.n_rows()).unwrap_or(i64::MAX);
        let last = first.saturating_add(i64::try_from(n_rows).unwrap_or(i64::MAX));
        let times = TimestampMicrosecondArray::from_value(self.at_us, n_rows).with_timezone(UTC);
        columns.push(Arc::new(times));
        columns.push(Arc::new(Int64Array::from_iter_values(first..last)));
        let batch = RecordBatch::try_new(self.schema.clone(), columns)
            .map_err(|error| defect("keys do not fit their types", error))?;
        self.buffer.push(batch).await
    }

    fn finish(self) -> Result<Keys> {
        Ok(Keys {
            rows: self.buffer.finish()?,
        })
    }
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    batch.column_by_name(name).ok_or_else(|| {
        Error::new(
            &codes::PROVIDER_CONTRACT,
            format!("a scan was asked for column {name:?} and did not answer it"),
        )
    })
}
