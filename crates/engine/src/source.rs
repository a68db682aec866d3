//! Source rows as the operators see them: keys as bytes, times in microseconds, a total order.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, UInt64Type};
use arrow_array::{Array, ArrayRef, RecordBatch, TimestampMicrosecondArray, UInt64Array};
use arrow_row::{RowConverter, Rows, SortField};
use arrow_schema::{DataType, Schema};
use bytemuck::{Pod, Zeroable};
use futures::StreamExt;
use futures::stream::{BoxStream, SelectAll};
use provender_core::provider::{OfflineStore, RowAccess, WantedKeys};
use provender_core::request::{ColumnRange, KeyColumn, Scan, TimedSource};
use provender_core::time::to_instants;
use provender_core::{BatchStream, Context, Error, Result, ValueType, codes, names};

use crate::cast::cast_value;
use crate::error;
use crate::keys::{EncodedKeys, KeyEncoder};
use crate::spill::Spilled;
use crate::spine::SpineIndex;

/// Where the rows of one source come from.
#[derive(Clone, Debug)]
pub(crate) enum Feed {
    /// The store, read anew each time.
    Scan(Arc<dyn OfflineStore>, Scan),
    /// The store at one state, whose rows can be asked for by number; beside it the scan it was
    /// opened for.
    Numbered(Arc<dyn RowAccess>, Scan),
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
            Self::Numbered(access, scan) => {
                access
                    .scan(cx, scan.columns.as_deref().unwrap_or_default())
                    .await
            }
            Self::Spilled(spilled) => Ok(vec![spilled.stream()]),
        }
    }

    /// The same by number, where the store can; of rows with other keys some may be left out.
    pub(crate) async fn by_number(self, cx: &Context, keys: Vec<WantedKeys>) -> Result<Self> {
        let Self::Scan(store, scan) = self else {
            return Ok(self);
        };
        if !store.capabilities().row_access {
            return Ok(Self::Scan(store, scan));
        }
        Ok(match store.open_rows_of(cx, scan.clone(), keys).await? {
            Some(access) => Self::Numbered(access, scan),
            None => Self::Scan(store, scan),
        })
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
    deciding: Deciding,
    numbers: RowNumbers,
}

/// What decides between rows of one key and event time.
pub(crate) struct Deciding {
    created: Option<TimestampMicrosecondArray>,
    ties: Option<Rows>,
}

/// What tells the rows of a source apart, below 2^63 each and the same on every run.
#[derive(Clone, Debug)]
pub(crate) enum RowNumbers {
    /// Consecutive ones, from the first row's on.
    From(u64),
    /// Those that the source answers with its rows.
    Listed(UInt64Array),
}

/// What decides between two rows of a key, apart from tie breakers: the greater one wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct RowTime {
    /// How far the event is from the least instant.
    event: u64,
    /// The same of the created time, 0 where there is none.
    created: u64,
    /// Whether there is a created time in the highest bit, which is above the least created time
    /// there can be; below it the row's number from the greatest one down, so that of equal rows
    /// the first wins on every run.
    rank: u64,
}

/// The bits of a rank that hold a row's number.
const NUMBER: u64 = u64::MAX >> 1;

impl RowTime {
    /// Less than the time of any row, and all zeros.
    pub(crate) const NONE: Self = Self {
        event: 0,
        created: 0,
        rank: 0,
    };

    pub(crate) fn new(event: i64, created: Option<i64>, number: u64) -> Self {
        Self {
            event: event.abs_diff(i64::MIN),
            created: created.unwrap_or(i64::MIN).abs_diff(i64::MIN),
            rank: (u64::from(created.is_some()) << 63) | (NUMBER - number),
        }
    }

    pub(crate) fn event(self) -> i64 {
        i64::MIN.wrapping_add_unsigned(self.event)
    }

    /// Whether both are of rows with the same event time.
    pub(crate) fn is_as_late_as(self, other: Self) -> bool {
        (self.event == other.event) & (self != Self::NONE) & (other != Self::NONE)
    }

    /// The same of another row, which has no created time.
    pub(crate) fn with_number(self, number: u64) -> Self {
        Self::new(self.event(), None, number)
    }

    /// The row's number.
    pub(crate) fn number(self) -> u64 {
        NUMBER - (self.rank & NUMBER)
    }
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

    pub(crate) fn source(&self) -> &TimedSource {
        &self.source
    }

    pub(crate) fn read(&self, batch: &RecordBatch, numbers: RowNumbers) -> Result<TimedRows> {
        let keys: Vec<ArrayRef> = self
            .key_names
            .iter()
            .map(|name| column(batch, name))
            .collect::<Result<_>>()?;
        let names: Vec<&str> = self.key_names.iter().map(String::as_str).collect();
        Ok(TimedRows {
            keys: self.encoder.encode(&names, &keys, batch.num_rows())?,
            event: to_instants(&column(batch, &self.source.timestamp)?)?,
            deciding: self.deciding(batch)?,
            numbers,
        })
    }

    /// The created times and tie breakers of a batch.
    pub(crate) fn deciding(&self, batch: &RecordBatch) -> Result<Deciding> {
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
        Ok(Deciding { created, ties })
    }
}

impl RowNumbers {
    /// The numbers of a batch whose last column they are.
    pub(crate) fn of(batch: &RecordBatch) -> Result<Self> {
        let last = batch.columns().last();
        match last.and_then(|column| column.as_primitive_opt::<UInt64Type>()) {
            Some(numbers) if numbers.null_count() == 0 => Ok(Self::Listed(numbers.clone())),
            _ => Err(Error::new(
                &codes::PROVIDER_CONTRACT,
                "a scan that numbers rows answered a batch without numbers",
            )),
        }
    }

    fn get(&self, row: usize) -> u64 {
        match self {
            Self::From(first) => first + row as u64,
            Self::Listed(numbers) => numbers.value(row) & NUMBER,
        }
    }
}

impl TimedRows {
    pub(crate) fn len(&self) -> usize {
        self.event.len()
    }

    /// The slots of the keys of some rows, none for a row that can count for none. `numbers` are those of the
    /// keys of all rows.
    pub(crate) fn slots(
        &self,
        index: &SpineIndex,
        numbers: &[u32],
        rows: impl Iterator<Item = usize> + Clone,
        slots: &mut [(u32, u32)],
    ) {
        let starts = index.starts();
        for (slots, row) in slots.iter_mut().zip(rows.clone()) {
            let number = numbers[row] as usize;
            *slots = match starts.get(number..number + 2) {
                Some(&[start, end]) => (start, end),
                _ => (0, 0),
            };
        }
        if let Some(nulls) = self.event.nulls() {
            for (slots, row) in slots.iter_mut().zip(rows) {
                if nulls.is_null(row) {
                    *slots = (0, 0);
                }
            }
        }
    }

    /// The row's created time, if it has one.
    pub(crate) fn created(&self, row: usize) -> Option<i64> {
        self.deciding.created(row)
    }

    /// The row's times; `None` if it has no event time and so is never a candidate.
    pub(crate) fn time(&self, row: usize) -> Option<RowTime> {
        self.event.is_valid(row).then(|| self.time_at(row))
    }

    /// The times of a row that is known to have an event time.
    pub(crate) fn time_at(&self, row: usize) -> RowTime {
        RowTime::new(
            self.event.value(row),
            self.created(row),
            self.numbers.get(row),
        )
    }

    /// The row's tie breakers as bytes that compare like them; empty if there are none.
    pub(crate) fn ties(&self, row: usize) -> &[u8] {
        self.deciding.ties(row)
    }
}

impl Deciding {
    /// The row's created time, if it has one.
    pub(crate) fn created(&self, row: usize) -> Option<i64> {
        let created = self.created.as_ref()?;
        created.is_valid(row).then(|| created.value(row))
    }

    /// The row's tie breakers as bytes that compare like them; empty if there are none.
    pub(crate) fn ties(&self, row: usize) -> &[u8] {
        match &self.ties {
            None => &[],
            Some(ties) => ties.row(row).data(),
        }
    }
}

/// Compares rows of one key: event time, created time with null lowest, tie breakers, and for rows
/// equal even then the number, so that the same row wins on every run.
pub(crate) fn compare(a: (RowTime, &[u8]), b: (RowTime, &[u8])) -> Ordering {
    let (time_a, ties_a) = a;
    let (time_b, ties_b) = b;
    let times = |time: RowTime| (time.event, time.created, time.rank > NUMBER);
    times(time_a)
        .cmp(&times(time_b))
        .then_with(|| ties_a.cmp(ties_b))
        .then_with(|| time_a.rank.cmp(&time_b.rank))
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

/// Some rows of a batch, by their places in the order from its last row to its first, or in that of the batch where its
/// times descend.
pub(crate) fn latest_first(
    events: &TimestampMicrosecondArray,
    places: Range<usize>,
) -> impl Iterator<Item = usize> + use<> {
    let n_rows = events.len();
    let descends = events.values().first() > events.values().last();
    places.map(move |at| if descends { at } else { n_rows - 1 - at })
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
