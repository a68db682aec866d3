//! The benchmark's rows, requests and shapes: pure functions of their numbers, so that every machine
//! makes the same.

use std::fmt;
use std::fs::File;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use provender_core::time::instant_type;

use crate::Outcome;

/// The first event time, in us.
pub(crate) const START_US: i64 = 1_735_689_600_000_000;
/// Later than every event time, in us.
pub(crate) const END_US: i64 = START_US + 100 * DAY_US;
/// The name of the key's column.
pub(crate) const KEY: &str = "driver_id";
/// Features of the view that training sets are made of.
const HISTORY_FEATURES: usize = 4;
/// Requests made before a measurement, which then takes one after the other.
const N_REQUESTS: usize = 256;
const DAY_US: i64 = 86_400_000_000;
/// Rows come in no order of their keys, as they do where they come in order of time.
const STRIDE: u64 = 611_953;
const ROWS_PER_BATCH: u64 = 65_536;

/// How many keys one batch asks for, and how many features each has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Shape {
    pub(crate) n_keys: usize,
    pub(crate) n_features: usize,
}

/// What is measured.
pub(crate) const SHAPES: [Shape; 4] = [
    Shape::new(1, 10),
    Shape::new(100, 10),
    Shape::new(500, 10),
    Shape::new(100, 50),
];
/// The shape of streams that run beside others.
pub(crate) const USUAL: Shape = SHAPES[1];

impl Shape {
    const fn new(n_keys: usize, n_features: usize) -> Self {
        Self { n_keys, n_features }
    }

    /// The service that has as many features.
    pub(crate) fn service(self) -> &'static str {
        match self.n_features {
            10 => "narrow_service",
            _ => "wide_service",
        }
    }

    /// By how many microseconds an answer may be above the floor at p50.
    pub(crate) fn goal_us(self) -> Option<f64> {
        match (self.n_keys, self.n_features) {
            (1, 10) => Some(40.0),
            (100, 10) => Some(100.0),
            _ => None,
        }
    }

    /// Ready data of this shape.
    pub(crate) fn ready(self) -> Outcome<RecordBatch> {
        let drivers = (0..self.n_keys as u64).map(u64::cast_signed).collect();
        feature_batch(drivers, self.n_features)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.n_keys, self.n_features)
    }
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shape = text.split_once('x').and_then(|(n_keys, n_features)| {
            Some(Self::new(n_keys.parse().ok()?, n_features.parse().ok()?))
        });
        shape.ok_or_else(|| format!("{text:?} is no shape"))
    }
}

/// Splitmix64 of two numbers.
fn mixed(one: u64, other: u64) -> u64 {
    let mut x = one
        .wrapping_mul(1_000_003)
        .wrapping_add(other + 1)
        .wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[allow(clippy::cast_precision_loss)] // 53 bits are what a float64 holds.
fn feature(row: i64, number: usize) -> f64 {
    (mixed(row.cast_unsigned(), number as u64) >> 11) as f64 * 2f64.powi(-53)
}

fn float_fields(n_features: usize) -> impl Iterator<Item = Field> {
    (0..n_features).map(|number| Field::new(format!("f{number}"), DataType::Float64, true))
}

fn float_columns(rows: &[i64], n_features: usize) -> impl Iterator<Item = ArrayRef> {
    (0..n_features).map(|number| -> ArrayRef {
        let values = rows.iter().map(|row| feature(*row, number));
        Arc::new(Float64Array::from_iter_values(values))
    })
}

/// Keys and features, as an online read answers them.
fn feature_batch(drivers: Vec<i64>, n_features: usize) -> Outcome<RecordBatch> {
    let mut fields = vec![Field::new(KEY, DataType::Int64, true)];
    fields.extend(float_fields(n_features));
    let mut columns: Vec<ArrayRef> = float_columns(&drivers, n_features).collect();
    columns.insert(0, Arc::new(Int64Array::from(drivers)));
    Ok(RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        columns,
    )?)
}

/// Keys, event times, and features that are functions of the row's number.
fn rows(
    drivers: Vec<i64>,
    events_us: Vec<i64>,
    numbers: &[i64],
    n_features: usize,
) -> Outcome<RecordBatch> {
    let mut fields = vec![
        Field::new(KEY, DataType::Int64, true),
        Field::new("event_timestamp", instant_type(), true),
    ];
    fields.extend(float_fields(n_features));
    let events = TimestampMicrosecondArray::from(events_us).with_timezone("UTC");
    let mut columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(drivers)), Arc::new(events)];
    columns.extend(float_columns(numbers, n_features));
    Ok(RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        columns,
    )?)
}

/// The driver of a row of a file in which every driver comes once before one comes again.
fn driver(row: u64, n_keys: u64) -> i64 {
    (row % n_keys * STRIDE % n_keys).cast_signed()
}

/// Writes one row for each of `n_keys` drivers.
pub(crate) fn write_latest(path: &Path, n_keys: u64, n_features: usize) -> Outcome<()> {
    write(path, n_keys, |chunk| {
        let drivers: Vec<i64> = chunk.map(|row| driver(row, n_keys)).collect();
        let events_us = drivers
            .iter()
            .map(|driver| START_US + driver % 86_400 * 1_000_000);
        let (events_us, numbers) = (events_us.collect(), drivers.clone());
        rows(drivers, events_us, &numbers, n_features)
    })
}

/// Writes `n_rows` of the drivers in turn, in order of time.
pub(crate) fn write_history(path: &Path, n_rows: u64, n_keys: u64) -> Outcome<()> {
    let step_us = (END_US - START_US) / n_rows.cast_signed();
    write(path, n_rows, |chunk| {
        let numbers: Vec<i64> = chunk.clone().map(u64::cast_signed).collect();
        let drivers = chunk.map(|row| driver(row, n_keys)).collect();
        let events_us = numbers.iter().map(|row| START_US + row * step_us).collect();
        rows(drivers, events_us, &numbers, HISTORY_FEATURES)
    })
}

/// Writes a spine of any drivers at any times.
pub(crate) fn write_labels(path: &Path, n_labels: u64, n_keys: u64) -> Outcome<()> {
    let span_us = (END_US - START_US).cast_unsigned();
    write(path, n_labels, |chunk| {
        let drivers = chunk
            .clone()
            .map(|row| (mixed(row, 1) % n_keys).cast_signed());
        let events_us = chunk
            .clone()
            .map(|row| START_US + (mixed(row, 2) % span_us).cast_signed());
        rows(drivers.collect(), events_us.collect(), &[], 0)
    })
}

/// Writes a file in chunks; it has its name once it is whole.
fn write(
    path: &Path,
    n_rows: u64,
    chunk: impl Fn(std::ops::Range<u64>) -> Outcome<RecordBatch>,
) -> Outcome<()> {
    if path.exists() {
        return Ok(());
    }
    let unfinished = path.with_extension("new");
    let schema = chunk(0..0)?.schema();
    let mut writer = ArrowWriter::try_new(File::create(&unfinished)?, schema, None)?;
    for from in (0..n_rows).step_by(ROWS_PER_BATCH as usize) {
        writer.write(&chunk(from..(from + ROWS_PER_BATCH).min(n_rows))?)?;
    }
    writer.close()?;
    Ok(std::fs::rename(&unfinished, path)?)
}

/// Requests of random drivers.
pub(crate) fn requests(shape: Shape, n_keys: u64, seed: u64) -> Outcome<Vec<RecordBatch>> {
    let schema = Arc::new(Schema::new(vec![Field::new(KEY, DataType::Int64, true)]));
    let mut number = 0;
    let requests = (0..N_REQUESTS).map(|_| {
        let drivers = (0..shape.n_keys).map(|_| {
            number += 1;
            (mixed(seed, number) % n_keys).cast_signed()
        });
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(drivers));
        Ok(RecordBatch::try_new(schema.clone(), vec![column])?)
    });
    requests.collect()
}
