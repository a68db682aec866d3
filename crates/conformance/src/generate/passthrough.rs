//! Columns of every Arrow type, for spines whose columns must come through untouched.

use std::sync::Arc;

use arrow_array::builder::{
    DurationMicrosecondBuilder, DurationMillisecondBuilder, DurationNanosecondBuilder,
    DurationSecondBuilder, IntervalDayTimeBuilder, IntervalMonthDayNanoBuilder,
    IntervalYearMonthBuilder, Time32MillisecondBuilder, Time32SecondBuilder,
    Time64MicrosecondBuilder, Time64NanosecondBuilder,
};
use arrow_array::types::{Int16Type, IntervalDayTime, IntervalMonthDayNano};
use arrow_array::{Array, ArrayRef, Int32Array, RunArray, StringArray, UnionArray};
use arrow_buffer::ScalarBuffer;
use arrow_schema::{DataType, Field, Fields, TimeUnit, UnionFields};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::build;
use super::types::value_of;
use crate::oracle::Value;

/// Columns of every Arrow type, nulls among them, each of `n_rows` rows: numbers of all widths,
/// decimals of all widths, strings, views, binary, times, durations, intervals, dictionaries,
/// run-end encoded, unions, lists of all kinds, structs, maps, and nested ones. Some fields carry
/// metadata, some forbid nulls. The same seed gives the same columns.
///
/// # Errors
/// A text if Arrow refuses a column; a defect of the generator.
pub fn passthrough_columns(seed: u64, n_rows: usize) -> Result<Vec<(Field, ArrayRef)>, String> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut columns = Vec::new();
    for (at, data_type) in plain_types().into_iter().enumerate() {
        let is_nullable = data_type == DataType::Null || !rng.random_bool(0.2);
        let values: Vec<Value> = (0..n_rows)
            .map(|_| {
                if is_nullable && rng.random_bool(0.2) {
                    Value::Null
                } else {
                    value_of(&mut rng, &data_type, false)
                }
            })
            .collect();
        let mut field = Field::new(format!("p{at} {data_type}"), data_type.clone(), is_nullable);
        if rng.random_bool(0.2) {
            let note = ("note".to_owned(), format!("of column {at}"));
            field = field.with_metadata([note].into());
        }
        columns.push((field, build(&data_type, &values)?));
    }
    for array in special_arrays(&mut rng, n_rows)? {
        let name = format!("p{} {}", columns.len(), array.data_type());
        columns.push((Field::new(name, array.data_type().clone(), true), array));
    }
    Ok(columns)
}

/// The types whose values [`value_of`] knows.
fn plain_types() -> Vec<DataType> {
    let item = |data_type: &DataType| Arc::new(Field::new("item", data_type.clone(), true));
    let mut types = vec![
        DataType::Null,
        DataType::Boolean,
        DataType::Int8,
        DataType::Int16,
        DataType::Int32,
        DataType::Int64,
        DataType::UInt8,
        DataType::UInt16,
        DataType::UInt32,
        DataType::UInt64,
        DataType::Float16,
        DataType::Float32,
        DataType::Float64,
        DataType::Decimal32(7, 2),
        DataType::Decimal64(17, 3),
        DataType::Decimal128(38, 10),
        DataType::Decimal256(38, 5),
        DataType::Utf8,
        DataType::LargeUtf8,
        DataType::Utf8View,
        DataType::Binary,
        DataType::LargeBinary,
        DataType::BinaryView,
        DataType::FixedSizeBinary(3),
        DataType::Date32,
        DataType::Date64,
    ];
    let units = [
        TimeUnit::Second,
        TimeUnit::Millisecond,
        TimeUnit::Microsecond,
        TimeUnit::Nanosecond,
    ];
    for unit in units {
        types.push(DataType::Timestamp(unit, None));
        types.push(DataType::Timestamp(unit, Some(Arc::from("+05:30"))));
        types.push(DataType::Timestamp(
            unit,
            Some(Arc::from("America/New_York")),
        ));
    }
    for key in [DataType::Int8, DataType::UInt16, DataType::Int64] {
        types.push(DataType::Dictionary(
            Box::new(key),
            Box::new(DataType::Utf8),
        ));
    }
    types.push(DataType::Dictionary(
        Box::new(DataType::Int32),
        Box::new(DataType::Int64),
    ));
    for inner in [DataType::Int32, DataType::Utf8View] {
        types.push(DataType::List(item(&inner)));
        types.push(DataType::LargeList(item(&inner)));
        types.push(DataType::ListView(item(&inner)));
        types.push(DataType::LargeListView(item(&inner)));
        types.push(DataType::FixedSizeList(item(&inner), 2));
    }
    let fields = Fields::from(vec![
        Field::new("a", DataType::Int64, true),
        Field::new("ä b", DataType::List(item(&DataType::Utf8)), true),
    ]);
    let structure = DataType::Struct(fields);
    let entries = Fields::from(vec![
        Field::new("keys", DataType::Utf8, false),
        Field::new("values", structure.clone(), true),
    ]);
    let entries = Arc::new(Field::new("entries", DataType::Struct(entries), false));
    types.push(DataType::List(item(&structure)));
    types.push(structure);
    types.push(DataType::Map(entries, false));
    types
}

/// Arrays of the types that no value type holds.
fn special_arrays(rng: &mut StdRng, n_rows: usize) -> Result<Vec<ArrayRef>, String> {
    macro_rules! built {
        ($builder:ty, $value:expr) => {{
            let mut builder = <$builder>::with_capacity(n_rows);
            for _ in 0..n_rows {
                if rng.random_bool(0.2) {
                    builder.append_null();
                } else {
                    builder.append_value($value);
                }
            }
            Arc::new(builder.finish()) as ArrayRef
        }};
    }
    Ok(vec![
        built!(Time32SecondBuilder, rng.random_range(0..86_400)),
        built!(Time32MillisecondBuilder, rng.random_range(0..86_400_000)),
        built!(
            Time64MicrosecondBuilder,
            rng.random_range(0..86_400_000_000)
        ),
        built!(
            Time64NanosecondBuilder,
            rng.random_range(0..86_400_000_000_000)
        ),
        built!(DurationSecondBuilder, rng.random_range(-9..9)),
        built!(DurationMillisecondBuilder, rng.random()),
        built!(DurationMicrosecondBuilder, rng.random()),
        built!(DurationNanosecondBuilder, rng.random()),
        built!(IntervalYearMonthBuilder, rng.random_range(-99..99)),
        built!(
            IntervalDayTimeBuilder,
            IntervalDayTime::new(rng.random(), 5)
        ),
        built!(
            IntervalMonthDayNanoBuilder,
            IntervalMonthDayNano::new(1, -2, rng.random())
        ),
        run_end_encoded(rng, n_rows)?,
        union(rng, n_rows, true)?,
        union(rng, n_rows, false)?,
    ])
}

fn run_end_encoded(rng: &mut StdRng, n_rows: usize) -> Result<ArrayRef, String> {
    let (mut ends, mut values) = (Vec::new(), Vec::new());
    let mut end = 0;
    while end < n_rows {
        end = (end + rng.random_range(1..=4)).min(n_rows);
        ends.push(i16::try_from(end).map_err(|error| error.to_string())?);
        values.push(rng.random_bool(0.8).then(|| format!("run {}", end % 3)));
    }
    let ends = arrow_array::PrimitiveArray::<Int16Type>::from(ends);
    let array = RunArray::try_new(&ends, &StringArray::from(values));
    Ok(Arc::new(array.map_err(|error| error.to_string())?))
}

fn union(rng: &mut StdRng, n_rows: usize, is_dense: bool) -> Result<ArrayRef, String> {
    let fields: UnionFields = [
        (0, Arc::new(Field::new("number", DataType::Int32, true))),
        (5, Arc::new(Field::new("text", DataType::Utf8, true))),
    ]
    .into_iter()
    .collect();
    let (mut ids, mut offsets) = (Vec::new(), Vec::new());
    let (mut numbers, mut texts) = (Vec::new(), Vec::new());
    for row in 0..n_rows {
        let is_number = rng.random();
        ids.push(if is_number { 0_i8 } else { 5 });
        let (number, text) = (
            rng.random_bool(0.8).then_some(row as i32),
            format!("t{row}"),
        );
        if is_dense {
            offsets.push(if is_number {
                numbers.len()
            } else {
                texts.len()
            } as i32);
        }
        if is_number || !is_dense {
            numbers.push(number);
        }
        if !is_number || !is_dense {
            texts.push(Some(text));
        }
    }
    let array = UnionArray::try_new(
        fields,
        ScalarBuffer::from(ids),
        is_dense.then(|| ScalarBuffer::from(offsets)),
        vec![
            Arc::new(Int32Array::from(numbers)),
            Arc::new(StringArray::from(texts)),
        ],
    );
    Ok(Arc::new(array.map_err(|error| error.to_string())?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeSet;

    use arrow_array::RecordBatch;
    use arrow_schema::Schema;

    use super::*;

    #[test]
    fn columns_of_every_type_make_a_batch() {
        for (seed, n_rows) in [(1, 0), (2, 1), (3, 50), (3, 50)] {
            let columns = passthrough_columns(seed, n_rows).unwrap();
            assert!(columns.len() > 60);
            let names: BTreeSet<&String> = columns.iter().map(|(field, _)| field.name()).collect();
            assert_eq!(names.len(), columns.len());
            let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = columns.into_iter().unzip();
            let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap();
            assert_eq!(batch.num_rows(), n_rows);
        }
        let (a, b) = (passthrough_columns(7, 20), passthrough_columns(7, 20));
        for ((_, a), (_, b)) in a.unwrap().iter().zip(&b.unwrap()) {
            assert_eq!(a.to_data(), b.to_data());
        }
    }
}
