//! The benchmark's rows and requests: pure functions of a driver's number, the same ones that
//! `benches/online/generate.py` has.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use provender_core::request::ViewLayout;
use provender_core::time::instant_type;

use crate::Outcome;

/// The first event time, in us.
pub(crate) const START_US: i64 = 1_735_689_600_000_000;
/// Later than every event time and created time, in us.
pub(crate) const END_US: i64 = START_US + 2 * 86_400_000_000;
/// Requests made before a measurement, which then takes one after the other.
const N_REQUESTS: usize = 256;
const STRIDE: u64 = 611_953;
const ROWS_PER_BATCH: u64 = 8_192;

fn mixed(driver: u64, number: u64) -> u64 {
    let mut x = driver
        .wrapping_mul(1_000_003)
        .wrapping_add(number + 1)
        .wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[allow(clippy::cast_precision_loss)] // 53 bits are what a float64 holds.
fn feature(driver: i64, number: usize) -> f64 {
    (mixed(driver.cast_unsigned(), number as u64) >> 11) as f64 * 2f64.powi(-53)
}

fn event_us(driver: i64) -> i64 {
    START_US + driver % 86_400 * 1_000_000
}

/// Columns that rows of a view are made of.
struct Rows {
    drivers: ArrayRef,
    events: ArrayRef,
    created: ArrayRef,
    features: Vec<ArrayRef>,
}

impl Rows {
    /// The rows `from..to` of `n_drivers`.
    fn new(from: u64, to: u64, n_drivers: u64, n_features: usize) -> Self {
        let drivers: Vec<i64> = (from..to)
            .map(|row| (row * STRIDE % n_drivers).cast_signed())
            .collect();
        let times = |later_us: i64| -> ArrayRef {
            let times = drivers.iter().map(|driver| event_us(*driver) + later_us);
            Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC"))
        };
        let features = (0..n_features).map(|number| -> ArrayRef {
            let values = drivers.iter().map(|driver| feature(*driver, number));
            Arc::new(Float64Array::from_iter_values(values))
        });
        Self {
            events: times(0),
            created: times(1_000_000),
            features: features.collect(),
            drivers: Arc::new(Int64Array::from(drivers)),
        }
    }
}

fn chunks(n_drivers: u64) -> impl Iterator<Item = (u64, u64)> {
    (0..n_drivers.div_ceil(ROWS_PER_BATCH)).map(move |chunk| {
        let from = chunk * ROWS_PER_BATCH;
        (from, (from + ROWS_PER_BATCH).min(n_drivers))
    })
}

/// All rows of a view as an online store takes them.
pub(crate) fn online_batches(
    layout: &ViewLayout,
    n_drivers: u64,
) -> Outcome<(SchemaRef, Vec<RecordBatch>)> {
    let schema = Arc::new(layout.write_schema());
    let mut batches = Vec::new();
    for (from, to) in chunks(n_drivers) {
        let rows = Rows::new(from, to, n_drivers, layout.features.len());
        let tombstones = BooleanArray::from(vec![false; rows.drivers.len()]);
        let mut columns = vec![
            rows.drivers,
            rows.events,
            rows.created,
            Arc::new(tombstones) as ArrayRef,
        ];
        columns.extend(rows.features);
        batches.push(RecordBatch::try_new(schema.clone(), columns)?);
    }
    Ok((schema, batches))
}

/// All rows of a view as a table of an offline store has them.
pub(crate) fn offline_batches(
    n_features: usize,
    n_drivers: u64,
) -> Outcome<(SchemaRef, Vec<RecordBatch>)> {
    let mut fields = vec![
        Field::new("driver_id", DataType::Int64, true),
        Field::new("event_timestamp", instant_type(), true),
        Field::new("created", instant_type(), true),
    ];
    fields.extend((0..n_features).map(|n| Field::new(format!("f{n}"), DataType::Float64, true)));
    let schema = Arc::new(Schema::new(fields));
    let mut batches = Vec::new();
    for (from, to) in chunks(n_drivers) {
        let rows = Rows::new(from, to, n_drivers, n_features);
        let mut columns = vec![rows.drivers, rows.events, rows.created];
        columns.extend(rows.features);
        batches.push(RecordBatch::try_new(schema.clone(), columns)?);
    }
    Ok((schema, batches))
}

/// Requests of `n_keys` random drivers each.
pub(crate) fn requests(n_keys: usize, n_drivers: u64, seed: u64) -> Outcome<Vec<RecordBatch>> {
    let mut number = 0;
    let requests = (0..N_REQUESTS).map(|_| {
        let drivers = (0..n_keys).map(|_| {
            number += 1;
            (mixed(seed, number) % n_drivers).cast_signed()
        });
        request(drivers.collect())
    });
    requests.collect()
}

/// A request of these drivers.
pub(crate) fn request(drivers: Vec<i64>) -> Outcome<RecordBatch> {
    let schema = Schema::new(vec![Field::new("driver_id", DataType::Int64, true)]);
    let column: ArrayRef = Arc::new(Int64Array::from(drivers));
    Ok(RecordBatch::try_new(Arc::new(schema), vec![column])?)
}
