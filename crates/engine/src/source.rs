//! Source rows as the operators see them: keys as bytes, times in microseconds, a total order.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type};
use arrow_array::{Array, ArrayRef, RecordBatch, TimestampMicrosecondArray};
use arrow_row::{RowConverter, Rows, SortField};
use arrow_schema::{DataType, Schema};
use futures::StreamExt;
use futures::stream::{BoxStream, SelectAll};
use provender_core::provider::OfflineStore;
use provender_core::request::{ColumnRange, KeyColumn, Scan, TimedSource};
use provender_core::time::to_instants;
use provender_core::{BatchStream, Context, Error, Result, ValueType, codes, names};

use crate::cast::cast_value;
use crate::error;
use crate::keys::{EncodedKeys, KeyEncoder};
use crate::spill::Spilled;

/// Where the rows of one source come from.
#[derive(Clone, Debug)]
pub(crate) enum Feed {
    /// The store, read anew each time.
    Scan(Arc<dyn OfflineStore>, Scan),
    /// Rows that were put aside.
    Spilled(Spilled),
}

impl Feed {
    pub(crate) fn new(
        store: &Arc<dyn OfflineStore>,
        source: &TimedSource,
        columns: Vec<String>,
        ranges: Vec<ColumnRange>,
    ) -> Self {
        let scan = Scan {
            source: source.source.clone(),
            columns: Some(columns),
            ranges,
        };
        Self::Scan(store.clone(), scan)
    }

    pub(crate) async fn streams(&self, cx: &Context) -> Result<Vec<BatchStream>> {
        match self {
            Self::Scan(store, scan) => store.scan(cx, scan.clone()).await,
            Self::Spilled(spilled) => Ok(vec![spilled.stream()]),
        }
    }
}

/// The columns to ask of a source: times and ties, keys, and whatever else is named, each once.
pub(crate) fn columns_of<'a>(
    source: &'a TimedSource,
    keys: &'a [KeyColumn],
    others: impl IntoIterator<Item = &'a str>,
) -> Vec<String> {
    let times = std::iter::once(&source.timestamp).chain(&source.created_timestamp);
    let own = times
        .chain(&source.tie_breakers)
        .chain(keys.iter().map(|key| &key.column));
    let mut columns: Vec<String> = Vec::new();
    for column in own.map(String::as_str).chain(others) {
        if !columns.iter().any(|known| known == column) {
            columns.push(column.to_owned());
        }
    }
    columns
}

/// Batches of several partitions as one stream, each with the position of its first row: positions
/// are the same on every run, whichever partition is quicker.
pub(crate) struct Positioned {
    streams: SelectAll<BoxStream<'static, Result<(u64, RecordBatch)>>>,
}

impl Positioned {
    /// `streams` are pairs of the partition's number and its rows.
    pub(crate) fn new(streams: Vec<(usize, BatchStream)>) -> Self {
        let streams = streams.into_iter().map(|(partition, stream)| {
            let mut next = (partition as u64) << 40;
            stream
                .batches
                .map(move |batch| {
                    batch.map(|batch| {
                        let position = next;
                        next += batch.num_rows() as u64;
                        (position, batch)
                    })
                })
                .boxed()
        });
        Self {
            streams: futures::stream::select_all(streams),
        }
    }

    pub(crate) async fn next(&mut self) -> Option<Result<(u64, RecordBatch)>> {
        self.streams.next().await
    }
}

/// Reads batches of one source for one set of keys.
#[derive(Debug)]
pub(crate) struct RowReader {
    source: TimedSource,
    key_names: Vec<String>,
    encoder: KeyEncoder,
    ties: Option<RowConverter>,
}

/// A batch of source rows, keys encoded and times floored.
pub(crate) struct TimedRows {
    pub(crate) keys: EncodedKeys,
    pub(crate) event: TimestampMicrosecondArray,
    pub(crate) created: Option<TimestampMicrosecondArray>,
    ties: Option<Rows>,
    position: u64,
}

/// What decides between two rows of a key, apart from tie breakers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowTime {
    pub(crate) event: i64,
    /// `None` is lowest.
    pub(crate) created: Option<i64>,
    pub(crate) position: u64,
}

impl RowReader {
    /// `schema` is the one that the source's streams have.
    pub(crate) fn new(source: &TimedSource, keys: &[KeyColumn], schema: &Schema) -> Result<Self> {
        let ties = if source.tie_breakers.is_empty() {
            None
        } else {
            let fields = source
                .tie_breakers
                .iter()
                .map(|tie| Ok(SortField::new(comparable_type(column_type(schema, tie)?))))
                .collect::<Result<_>>()?;
            Some(RowConverter::new(fields).map_err(error::arrow)?)
        };
        Ok(Self {
            source: source.clone(),
            key_names: keys.iter().map(|key| key.column.clone()).collect(),
            encoder: KeyEncoder::new(keys)?,
            ties,
        })
    }

    pub(crate) fn read(&self, batch: &RecordBatch, position: u64) -> Result<TimedRows> {
        let keys: Vec<ArrayRef> = self
            .key_names
            .iter()
            .map(|name| column(batch, name))
            .collect::<Result<_>>()?;
        let names: Vec<&str> = self.key_names.iter().map(String::as_str).collect();
        let created = match &self.source.created_timestamp {
            None => None,
            Some(name) => Some(to_instants(&column(batch, name)?)?),
        };
        let ties = match &self.ties {
            None => None,
            Some(converter) => {
                let ties = self.source.tie_breakers.iter();
                let ties: Vec<ArrayRef> = ties
                    .map(|tie| comparable(column(batch, tie)?))
                    .collect::<Result<_>>()?;
                Some(converter.convert_columns(&ties).map_err(error::arrow)?)
            }
        };
        Ok(TimedRows {
            keys: self.encoder.encode(&names, &keys)?,
            event: to_instants(&column(batch, &self.source.timestamp)?)?,
            created,
            ties,
            position,
        })
    }
}

impl TimedRows {
    pub(crate) fn len(&self) -> usize {
        self.event.len()
    }

    /// The row's times; `None` if it has no event time and so is never a candidate.
    pub(crate) fn time(&self, row: usize) -> Option<RowTime> {
        if self.event.is_null(row) {
            return None;
        }
        Some(RowTime {
            event: self.event.value(row),
            created: self
                .created
                .as_ref()
                .and_then(|created| created.is_valid(row).then(|| created.value(row))),
            position: self.position + row as u64,
        })
    }

    /// The row's tie breakers as bytes that compare like them; empty if there are none.
    pub(crate) fn ties(&self, row: usize) -> &[u8] {
        match &self.ties {
            None => &[],
            Some(ties) => ties.row(row).data(),
        }
    }

    /// The time from which on a row counts; `None` if it never does. Under `as_known` that is the
    /// later of event and created time.
    pub(crate) fn known_from(time: RowTime, as_known: bool) -> Option<i64> {
        if as_known {
            time.created.map(|created| created.max(time.event))
        } else {
            Some(time.event)
        }
    }
}

/// Compares rows of one key: event time, created time with null lowest, tie breakers, and for rows
/// equal even then the position, so that the same row wins on every run.
pub(crate) fn compare(a: (RowTime, &[u8]), b: (RowTime, &[u8])) -> Ordering {
    let (time_a, ties_a) = a;
    let (time_b, ties_b) = b;
    time_a
        .event
        .cmp(&time_b.event)
        .then_with(|| time_a.created.cmp(&time_b.created))
        .then_with(|| ties_a.cmp(ties_b))
        .then_with(|| time_b.position.cmp(&time_a.position))
}

/// A tie breaker as it is compared: plain values, times floored, and all NaN made one, since a NaN
/// with its sign bit set would compare as the least value, where the semantics want every NaN to be
/// the greatest.
fn comparable(column: ArrayRef) -> Result<ArrayRef> {
    let plain = match ValueType::from_arrow(column.data_type()) {
        None => column,
        Some(value_type) => cast_value(&column, &value_type, true).map_err(|failure| {
            let what = format!("the tie breaker {} cannot be compared", failure.value);
            Error::new(&codes::CHECKED_CAST, what).source(failure)
        })?,
    };
    Ok(match plain.data_type() {
        DataType::Float64 => {
            let floats = plain.as_primitive::<Float64Type>();
            Arc::new(
                floats.unary::<_, Float64Type>(|v| if v.is_nan() { f64::NAN.abs() } else { v }),
            )
        }
        DataType::Float32 => {
            let floats = plain.as_primitive::<Float32Type>();
            Arc::new(
                floats.unary::<_, Float32Type>(|v| if v.is_nan() { f32::NAN.abs() } else { v }),
            )
        }
        _ => plain,
    })
}

/// The type of a tie breaker as it is compared.
fn comparable_type(found: DataType) -> DataType {
    ValueType::from_arrow(&found).map_or(found, |value_type| value_type.to_arrow())
}

/// A column by its exact name.
pub(crate) fn column(batch: &RecordBatch, name: &str) -> Result<ArrayRef> {
    match batch.column_by_name(name) {
        Some(column) => Ok(column.clone()),
        None => Err(missing(&batch.schema(), name)),
    }
}

/// The type of a column by its exact name.
pub(crate) fn column_type(schema: &Schema, name: &str) -> Result<DataType> {
    match schema.field_with_name(name) {
        Ok(field) => Ok(field.data_type().clone()),
        Err(_) => Err(missing(schema, name)),
    }
}

fn missing(schema: &Schema, name: &str) -> provender_core::Error {
    let columns = schema.fields().iter().map(|field| field.name().as_str());
    match names::find_column(name, columns) {
        Err(error) => error,
        Ok(other) => error::defect(format!(
            "column {name:?} was asked for where it is spelled {other:?}"
        )),
    }
}
